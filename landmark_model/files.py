"""Atomic file writes: a killed program leaves the previous files intact."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

# What a terminal obeys instead of showing it, what turns the direction of writing, line breaks,
# and halves of characters, which come from file names that are not UTF-8.
UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def printable(text: str) -> str:
    """`text` as one line that can be printed, with control characters escaped as \\x1b."""
    return UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


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


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """An empty folder in `folder`, which is made if needed; it is removed at the end.

    Those that killed programs left there are removed, too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder)
    scratch = Path(tempfile.mkdtemp(prefix=f".staging-{os.getpid()}-", dir=folder))
    try:
        descriptor = os.open(scratch, os.O_RDONLY) if fcntl else None
        try:
            if descriptor is not None:
                lock(descriptor)
            yield scratch
        finally:
            if descriptor is not None:
                os.close(descriptor)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def lock(descriptor: int) -> bool:
    """Locks an open file or folder; False if another process has done so.

    The system ends the lock when this process ends or closes it. Where the system or the disk
    knows no locks, nothing is locked, and the answer is True.
    """
    if fcntl is None:
        return True
    try:
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
    if fcntl is None:  # on Windows os.kill ends the process that it is to ask for
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def write_text(path: Path, text: str) -> None:
    """Writes `text` to `path`, replacing what was there in one step."""
    with staged(path.parent) as scratch:
        (scratch / path.name).write_text(text, encoding="utf-8")
