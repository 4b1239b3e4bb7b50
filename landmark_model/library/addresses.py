"""Photos at addresses (s3://, gs://, https://): found, and read within limits, by fsspec."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from glob import has_magic
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, NamedTuple
from urllib.parse import urlsplit

from landmark_model import PHOTO_ENDINGS, LandmarkError, is_raw

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

MOST_BYTES = 101 * 2**20  # more than a photo may have: what is larger is refused by its size
UNREACHABLE = "{name} cannot be fetched ({problem}). Check the address, and the network."
# What file systems call the time of the last change.
CHANGED = ("LastModified", "last_modified", "mtime", "updated", "created")


class Facts(NamedTuple):
    """The size of a file in bytes, and when it was changed, in ns; None where nobody says it."""

    size: int | None = None
    mtime_ns: int | None = None


class Fetched(NamedTuple):
    """A file that was read: its facts, its hash, and its bytes; or why it could not be."""

    facts: Facts
    sha256: str | None
    photo: BinaryIO | LandmarkError


@dataclass
class FoundAddresses:
    """The photos at addresses; the folders, ending in "/", that were searched for them; and the
    addresses that could not be, each with the reason."""

    photos: dict[str, Facts] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)


def is_address(name: str) -> bool:
    """Whether this is an address and no path: those of the index have no "//"."""
    return "://" in name


def find_at(addresses: Iterable[str]) -> FoundAddresses:
    """The photos at `addresses`: of photos, of folders with all that is in them, and patterns.

    Web servers list no folders, so theirs are photos. Hidden files are left out. Raises
    LandmarkError for an address of an unknown kind, or one that holds a password.
    """
    found = FoundAddresses()
    for address in addresses:
        fs, path = _open_system(address)
        if _is_web(address) or (_is_photo(address) and not has_magic(path)):
            found.photos.setdefault(fs.unstrip_protocol(path), Facts())
            continue
        try:
            files = (fs.glob if has_magic(path) else fs.find)(path, detail=True)
        except Exception as error:  # each kind of file system has its own
            found.failed.append((address, f"cannot be listed ({_problem(error)})"))
            continue
        if not files:  # some file systems say so where they were not reached
            found.failed.append((address, "nothing is there"))
        elif not has_magic(path):
            found.folders.append(f"{fs.unstrip_protocol(path).rstrip('/')}/")
        for name, about in sorted(files.items()):
            if about["type"] == "file" and _is_photo(name) and "/." not in name:
                found.photos[fs.unstrip_protocol(name)] = _facts(about)
    return found


def fetch(address: str) -> Fetched:
    """Reads a photo; never more than MOST_BYTES of it."""
    name = _path_in(address).name
    try:
        fs, path = _open_system(address)
        facts = _facts(fs.info(path))
        with fs.open(path, "rb", cache_type="none") as file:
            content = file.read(MOST_BYTES)
    except Exception as error:  # each kind of file system has its own
        problem = LandmarkError.because(
            "unreachable", UNREACHABLE, name=name, problem=_problem(error)
        )
        return Fetched(Facts(), None, problem)
    photo = io.BytesIO(content)
    photo.name = name
    return Fetched(facts, hashlib.sha256(content).hexdigest(), photo)


def _open_system(address: str) -> tuple[AbstractFileSystem, str]:
    """The file system of an address, and the path in it."""
    from fsspec.core import url_to_fs  # a second to import, which runs without addresses save

    if urlsplit(address).password:
        raise LandmarkError(
            f"The address at {urlsplit(address).hostname} holds a password, which would be in the "
            "index. Take it out, and give it by the environment or the service's settings file."
        )
    try:
        return url_to_fs(address)
    except ImportError as error:
        raise LandmarkError(
            f'{address} needs a package ({error}). Install it: pip install "landmark-model[remote]"'
        ) from error
    except ValueError as error:
        raise LandmarkError(
            f"{address} is an address of an unknown kind ({error}). Use s3://, gs:// or https://."
        ) from error


def _is_web(address: str) -> bool:
    return urlsplit(address).scheme in ("http", "https")


def _path_in(address: str) -> PurePosixPath:
    """The path in an address, without what web addresses have after it: files in a bucket may have
    "?" and "#" in their names."""
    return PurePosixPath(urlsplit(address).path if _is_web(address) else address)


def _is_photo(name: str) -> bool:
    path = _path_in(name)
    return path.suffix.lower() in PHOTO_ENDINGS or is_raw(path.name)


def _facts(about: dict[str, object]) -> Facts:
    """The facts in what a file system says about a file."""
    changed = next((about[key] for key in CHANGED if about.get(key)), None)
    if isinstance(changed, str):
        try:
            changed = datetime.fromisoformat(changed)
        except ValueError:
            return Facts(about.get("size"))
    seconds = changed.timestamp() if isinstance(changed, datetime) else changed
    return Facts(about.get("size"), None if seconds is None else round(seconds * 1e9))


def _problem(error: Exception) -> str:
    """What went wrong, in a few words without the address: that may hold a signature."""
    # Of a server that was not reached, fsspec says that a file is not there.
    while isinstance(error, FileNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    status = getattr(error, "status", None)
    if isinstance(error, FileNotFoundError) or status == 404:
        return "not there"
    if isinstance(status, int):
        return f"status {status}"
    return getattr(error, "strerror", None) or type(error).__name__
