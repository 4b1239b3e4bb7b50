"""The photos in a folder and its subfolders: each once, without system files."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from landmark_model.files import printable
from landmark_model.photos import PHOTO_ENDINGS, is_raw

# What Windows, macOS, Linux and network drives make: thumbnails, recycle bins, snapshots. Names
# that start with a dot (.Trash-1000, ._copy.jpg, .ipynb_checkpoints) are hidden anyway.
SYSTEM_FOLDERS = frozenset({
    "$recycle.bin", "recycler", "system volume information", "lost+found", "__macosx",
    "@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "@synoresource",
    "~snapshot", "__pycache__",
})  # fmt: skip


@dataclass(frozen=True)
class Skipped:
    """A file or folder that was left out, and why.

    `path` is relative to the folder that was searched, and safe to print.
    """

    path: str
    reason: str


@dataclass(frozen=True)
class FoundPhotos:
    """What `find_photos` found: the photos, what it left out, and what it could not look into.

    `raw` are files of cameras' sensors, which are no photos yet; `missing` are photos by name that
    are not where `find_named` was told.
    """

    paths: list[Path]
    skipped: list[Skipped]
    failed: list[Skipped]
    raw: list[Path] = field(default_factory=list)
    missing: list[Path] = field(default_factory=list)


def is_system_name(name: str) -> bool:
    """Whether a file or folder of this name is hidden or belongs to the system."""
    return name.startswith(".") or name.casefold().strip() in SYSTEM_FOLDERS


def find_photos(folder: Path, base: Path | None = None) -> FoundPhotos:
    """Every file under `folder` that is named like a photo, sorted by path.

    Links are followed, but each real folder and each real file counts once, so that links in a
    circle end. Hidden files and system folders are `skipped`; a folder that may not be read and
    a link to nothing are `failed`. Their paths are relative to `base`, or else to `folder`.
    """
    return find_named([folder], base or folder)


def find_named(named: Sequence[Path], base: Path) -> FoundPhotos:
    """`find_photos` of several folders, and the files among `named` that are photos by name."""
    is_folder = {path: os.path.isdir(path) for path in named}
    folders = [path for path in named if is_folder[path]]
    walk = _Walk(folders, base)
    for folder in folders:
        walk.enter(folder)
    # Links wait for all that is really there: a photo is found where it lies, not where a link is.
    while walk.folder_links:
        walk.enter(walk.folder_links.popleft())
    missing = {path for path in named if _is_named_so(path) and not os.path.exists(path)}
    files = (path for path in named if not is_folder[path] and path not in missing)
    for path in (*files, *walk.file_links):
        walk.add_photo(path)
    return FoundPhotos(
        sorted(walk.paths),
        sorted(walk.skipped, key=lambda item: item.path),
        sorted(walk.failed, key=lambda item: item.path),
        sorted(walk.raw),
        sorted(missing),
    )


class _Walk:
    """A search in progress: what was found, and what has been visited."""

    def __init__(self, folders: Sequence[Path], base: Path) -> None:
        self.base = base
        self.paths: list[Path] = []
        self.raw: list[Path] = []
        self.skipped: list[Skipped] = []
        self.failed: list[Skipped] = []
        self.folder_links: deque[Path] = deque()
        self.file_links: list[Path] = []
        # A link to a folder around one of `folders` would lead through half the disk and back.
        tops = [Path(os.path.realpath(folder)) for folder in folders if os.path.isdir(folder)]
        around = {path for top in tops for path in top.parents} - {*tops}
        self.seen = {_identity(path, os.stat(path)): path for path in sorted(around)}

    def enter(self, top: Path) -> None:
        """Looks into `top` and the folders in it that are not links."""
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            try:
                if not self._is_first(folder, os.stat(folder)):
                    continue
                with os.scandir(folder) as found:
                    # Sorted: disks list files in any order, and what is seen first counts.
                    entries = sorted(found, key=lambda entry: entry.name)
            except OSError as error:
                self.leave_out(folder, f"cannot be read ({error.strerror})", self.failed)
                continue
            waiting += reversed([Path(entry.path) for entry in entries if self._is_inside(entry)])

    def _is_inside(self, entry: os.DirEntry[str]) -> bool:
        """Whether `entry` is a folder to search now; links and photos are recorded."""
        path = Path(entry.path)
        try:
            is_folder = entry.is_dir()
        except OSError:  # a link to itself
            is_folder = False
        if not is_folder and not _is_named_so(path):
            return False
        if is_system_name(entry.name):
            kind = "hidden" if entry.name.startswith(".") else "system"
            self.leave_out(path, f"a {kind} {'folder' if is_folder else 'file'}", self.skipped)
        elif entry.is_symlink():
            (self.folder_links if is_folder else self.file_links).append(path)
        elif is_folder:
            return True
        else:
            self.add_photo(path)
        return False

    def add_photo(self, path: Path) -> None:
        """Adds a photo, unless it is none by its name or was seen under another one."""
        try:
            found = os.stat(path)
        except FileNotFoundError:
            what = "a link to a file that is not there" if path.is_symlink() else "not there"
            self.leave_out(path, what, self.failed)
            return
        except OSError as error:
            self.leave_out(path, f"cannot be read ({error.strerror})", self.failed)
            return
        if not _is_named_so(path):
            self.leave_out(path, "not named like a photo", self.skipped)
        elif not stat.S_ISREG(found.st_mode):
            self.leave_out(path, "a device or pipe, not a file", self.skipped)
        elif self._is_first(path, found):
            (self.raw if is_raw(path.name) else self.paths).append(path)

    def _is_first(self, path: Path, found: os.stat_result) -> bool:
        """Whether this file or folder is new; if not, that is recorded."""
        first = self.seen.setdefault(_identity(path, found), path)
        if first is path:
            return True
        there = printable(self._short(first))
        again = "a link back to the whole folder" if there == "." else f"the same as {there}"
        if first != path:  # else it was named twice
            self.leave_out(path, again, self.skipped)
        return False

    def leave_out(self, path: Path, reason: str, where: list[Skipped]) -> None:
        """Records in `where` that a file or folder is not among the photos, and why."""
        where.append(Skipped(printable(self._short(path)), reason))

    def _short(self, path: Path) -> str:
        """`path` as seen from `base`."""
        return (
            path.relative_to(self.base).as_posix() if path.is_relative_to(self.base) else path.name
        )


def _is_named_so(path: Path) -> bool:
    """Whether a file is named like a photo or a RAW file."""
    return path.suffix.lower() in PHOTO_ENDINGS or is_raw(path.name)


def _identity(path: Path, found: os.stat_result) -> object:
    """The identity of a file or folder, the same under all its names."""
    # Some network drives number no files.
    return (found.st_dev, found.st_ino) if found.st_ino else os.path.realpath(path)
