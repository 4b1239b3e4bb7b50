"""Files are read with limits, and written whole or not at all."""

from __future__ import annotations

import json
import math
import os
import re
import reprlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from landmark_model.errors import LandmarkError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

MOST_LISTS = 1_000_000  # in a JSON file: an empty one takes 64 bytes of memory, but 2 of a file
# What a terminal obeys instead of showing it, what turns the direction of writing, line breaks,
# and halves of characters, which come from file names that are not UTF-8.
UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def printable(text: str) -> str:
    """`text` as one line that can be printed, with control characters escaped as \\x1b."""
    return UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


# --- reading ---


def read_bounded(path: Path, most_bytes: int) -> bytes:
    """The content of the file at `path`, which never takes more memory than `most_bytes`.

    Raises LandmarkError if it is larger, no file (but a folder or a pipe), or cannot be read.
    """
    if not path.is_file():
        raise LandmarkError(f"{path} is not a file. Copy the whole folder again.")
    try:
        size = path.stat().st_size
        content = path.read_bytes() if size <= most_bytes else b""
    except OSError as error:
        raise LandmarkError(
            f"{path} cannot be read ({error.strerror}). Check its permissions."
        ) from error
    if size > most_bytes:
        raise LandmarkError(
            f"{path.name} is larger than {most_bytes / 1e6:,.0f} MB, so it is not read. "
            "Use the file that training wrote."
        )
    return content


def read_text(path: Path, most_bytes: int) -> str:
    """The text of the UTF-8 file at `path`, without a byte-order mark, as Windows writes them.

    Raises LandmarkError if `read_bounded` does, or it is not UTF-8.
    """
    try:
        return read_bounded(path, most_bytes).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LandmarkError(f"{path.name} is not UTF-8 text. Copy it again.") from error


def parse_json(text: str, name: str, strict: bool = True) -> object:
    """What the JSON `text` of the file `name` says.

    With `strict`, numbers that are none or too large (NaN, 1e999) and keys that are there twice
    are refused. Raises LandmarkError if `text` is not whole JSON, or nested deeper than any of
    our files.
    """
    if text.count("[") + text.count("{") > MOST_LISTS:
        raise LandmarkError(
            f"{name} has more than {MOST_LISTS:,} lists. Use the file that training wrote."
        )
    hooks = {"parse_constant": _finite, "parse_float": _finite, "object_pairs_hook": _once}
    try:
        return json.loads(text, **(hooks if strict else {}))
    except (ValueError, RecursionError) as error:
        raise LandmarkError(
            f"{name} is not valid JSON ({error!r:.300}). Copy the whole folder again."
        ) from error


def _finite(text: str) -> float:
    if not math.isfinite(float(text)):
        raise ValueError(f"{text[:20]} is not a number that can be used")
    return float(text)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object whose keys are each there once."""
    found = dict(pairs)
    if len(found) < len(pairs):
        ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {reprlib.repr(twice)} appears twice")
    return found


# --- writing ---


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A scratch folder; everything written there moves to `folder` at the end, or nothing does.

    Each file replaces its predecessor in one step of the file system. `folder` is made if needed.
    """
    with scratch_folder(folder) as scratch:
        yield scratch
        moves = {path: folder / path.relative_to(scratch) for path in sorted(scratch.rglob("*"))}
        for path, target in moves.items():
            if target.exists() and target.is_dir() != path.is_dir():
                raise FileExistsError(f"{target} is in the way. Move it, or choose another folder.")
        for path, target in moves.items():
            if path.is_dir():
                target.mkdir(exist_ok=True)
            else:
                os.replace(path, target)


def write_text(path: Path, text: str) -> None:
    """Writes `text` to `path`, replacing what was there in one step."""
    with staged(path.parent) as scratch:
        (scratch / path.name).write_text(text, encoding="utf-8")


def write_between(path: Path, start: str, end: str, text: str) -> None:
    """Writes `text` between two markers of the document at `path`.

    Raises LandmarkError if it does not exist, or lacks a marker.
    """
    if not path.is_file():
        raise LandmarkError(f"{path} does not exist. Give a document with result markers.")
    head, found, rest = path.read_text(encoding="utf-8").partition(start)
    place = rest.find(end)
    if not found or place < 0:
        raise LandmarkError(f"{path.name} lacks the markers {start} and {end}. Add them.")
    write_text(path, f"{head}{start}\n{text}\n{rest[place:]}")


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """An empty folder in `folder`, which is made if needed; it is removed at the end.

    Those that killed programs left there are removed, too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder)
    scratch = Path(tempfile.mkdtemp(prefix=f".staging-{os.getpid()}-", dir=folder))
    descriptor = os.open(scratch, os.O_RDONLY) if fcntl else None
    try:
        if descriptor is not None:
            lock(descriptor)
        yield scratch
    finally:
        if descriptor is not None:
            os.close(descriptor)
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def only_one(folder: Path) -> Iterator[bool]:
    """Whether no other process is in a block of this kind with `folder`, which must be there.

    Where the system or the disk knows no locks, it is True.
    """
    descriptor = os.open(folder, os.O_RDONLY) if fcntl else None
    try:
        yield descriptor is None or lock(descriptor)
    finally:
        if descriptor is not None:
            os.close(descriptor)


def lock(descriptor: int) -> bool:
    """Locks an open file or folder; False if another process has done so.

    The system ends the lock when this process ends or closes it. Where the system or the disk
    knows no locks, nothing is locked, and the answer is True.
    """
    try:
        if fcntl:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _remove_abandoned(folder: Path) -> None:
    """Removes the scratch folders of processes that are gone."""
    for path in folder.glob(".staging-*-*"):
        name = re.fullmatch(r"\.staging-([1-9]\d{0,9})-\w+", path.name)
        if name is None or _is_running(int(name[1])):
            continue
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError:  # gone by now, or another user's
            continue
        try:
            # The lock is held where the process runs in another container, unseen from here.
            if lock(descriptor):
                shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(descriptor)


def _is_running(process: int) -> bool:
    """Whether there is such a process; True if that cannot be determined."""
    try:
        if fcntl:  # on Windows os.kill ends the process that it is to ask for
            os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
