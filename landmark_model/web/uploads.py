"""The files a visitor may name: their own uploads and what this app made for them, no others.

gradio keeps an upload as <folder>/<hash>/<name>. The hash is seeded with a secret of this process,
so only who uploaded a photo, or was given a link to it, knows its path: the path is the key. It is
judged by its text, and nothing outside the folder is ever looked at.
"""

from __future__ import annotations

import atexit
import os
import re
import secrets
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from gradio import processing_utils

from landmark_model import LandmarkError, OpenedPhoto, open_safely

PREFIX = "landmark-uploads-"
NOT_YOURS = "There is no such upload. Upload the photo first, then send the path that came back."
TOO_LONG = "A text in the request is too long: use {limit} characters or fewer."
TOO_MANY = "There are too many values in the request: use {limit} or fewer."
TOO_DEEP = "The request is nested too deeply."
MAX_TEXT = 2000
MAX_NAME = 200
MAX_PHOTOS = 200  # of one upload, one batch, one visit to the tab for many
MAX_VALUES = 1000
MAX_DEPTH = 8
_FILE_KEYS = {"path", "url", "meta", "is_stream"}
_HASH = re.compile(r"[0-9a-f]{64}")
_NOT_PRINTED = re.compile(
    r"[\x00-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u202a-\u202e\u2028\u2029\u2060-\u2069"
    r"\ud800-\udfff\ufeff\ufff9-\ufffb]"
)


def make_private_folder() -> Path:
    """A new folder for uploads that only this process's user can enter, deleted when it ends.

    It lies in GRADIO_TEMP_DIR, or in the machine's folder for temporary files. What processes that
    were killed left there is deleted.
    """
    base = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir()).resolve()
    base.mkdir(parents=True, exist_ok=True)
    _delete_left_over(base)
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=base))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    # gradio's own seed lies in a file of its package, the same for every process.
    processing_utils.hash_seed = secrets.token_bytes(32)
    return folder


def _delete_left_over(base: Path) -> None:
    for folder in base.glob(f"{PREFIX}*-*"):
        number = folder.name.removeprefix(PREFIX).partition("-")[0]
        mine = not folder.is_symlink() and folder.stat().st_uid == getattr(os, "getuid", int)()
        # In a container each process is number 1: then it was an earlier one of that number.
        if mine and number.isdecimal() and (int(number) == os.getpid() or not _runs(int(number))):
            shutil.rmtree(folder, ignore_errors=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


class Uploads:
    """The uploads in `folder`, and how requests may refer to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, path: object) -> Path | None:
        """The upload at that path; None if there is none, whatever else is there."""
        if not isinstance(path, str) or len(path) > 4096 or "\0" in path:
            return None
        upload = Path(path)
        if upload.parent.parent != self.folder or not _HASH.fullmatch(upload.parent.name):
            return None
        if upload.name in ("", ".."):
            return None
        with suppress(OSError, ValueError):
            is_folder = stat.S_ISDIR(os.lstat(upload.parent).st_mode)
            if is_folder and stat.S_ISREG(os.lstat(upload).st_mode):
                return upload
        return None

    def admit(self, value: object, depth: int = 0) -> object:
        """`value`, as JSON has it, with each file in it replaced by what this app knows of it.

        Raises LandmarkError if it names a file that is no upload, or is larger than any request
        of the page: a text of over 2,000 characters, over 1,000 values in one list.
        """
        if depth > MAX_DEPTH:
            raise LandmarkError(TOO_DEEP)
        if isinstance(value, str) and len(value) > MAX_TEXT:
            raise LandmarkError(TOO_LONG.format(limit=f"{MAX_TEXT:,}"))
        if isinstance(value, list | dict) and len(value) > MAX_VALUES:
            raise LandmarkError(TOO_MANY.format(limit=f"{MAX_VALUES:,}"))
        if isinstance(value, list):
            return [self.admit(item, depth + 1) for item in value]
        if isinstance(value, dict):
            if _FILE_KEYS & value.keys():
                return self._file(value)
            return {key[:MAX_NAME]: self.admit(item, depth + 1) for key, item in value.items()}
        return value

    def _file(self, claimed: dict) -> dict[str, object]:
        upload = self.find(claimed.get("path"))
        if upload is None:
            raise LandmarkError(NOT_YOURS)
        name = claimed.get("orig_name")
        name = plain_name(name) if isinstance(name, str) else ""
        return {
            "path": str(upload),
            "url": None,
            "size": upload.stat().st_size,
            "orig_name": name or upload.name,
            "mime_type": None,
            "is_stream": False,
            "meta": {"_type": "gradio.FileData"},
        }


def open_upload(path: str | Path, fewest_pixels: int) -> OpenedPhoto:
    """The photo in an upload, decoded with limits, as a copy of as few pixels (`open_safely`).

    Raises LandmarkError if it cannot be read.
    """
    return open_safely(path, fewest_pixels)


def is_plain(text: str) -> bool:
    """Whether a text has none of the characters that hide, turn or break what is written."""
    return _NOT_PRINTED.search(text) is None


def plain_name(name: str) -> str:
    """The last part of a file's name, printable characters only, at most 200."""
    return _NOT_PRINTED.sub("", re.split(r"[/\\]", name)[-1])[:MAX_NAME].strip()
