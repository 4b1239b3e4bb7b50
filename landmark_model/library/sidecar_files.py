"""Sidecars of a library on disk: written, merged into those that are there, and taken back.

The index knows what was added to each, so that another language, network or threshold replaces our
words and leaves those of the user. A sidecar is recorded before it is written, so that one that a
killed run wrote is not taken for somebody else's.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

from landmark_model import LandmarkError
from landmark_model.library.addresses import is_address
from landmark_model.library.index import AGAIN, Index, Sidecar, View
from landmark_model.library.merge import added_to, facts_in, merge, read_sidecar, take_back
from landmark_model.library.sidecars import names_beside, sidecar_names, to_xmp

BESIDE = ""  # the target of sidecars that lie beside their photos; others are folders
SCRATCH_NAME = ".landmark.part"
BATCH_SIZE = 64
REMOTE = "It is at an address, where no sidecars are written. Give --xmp a folder."
AWAY = "It is not there now, so its sidecar beside it stays as it was."
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Unwritten(NamedTuple):
    """A photo whose sidecar could not be written, and why."""

    file: str
    reason: str


class _Change(NamedTuple):
    """What is to be written, as the index records it; without content it is there already. With a
    `backup`, the sidecar is copied there first."""

    file: str
    record: Sidecar
    content: bytes | None
    backup: Path | None


class SidecarFiles:
    """The sidecars of an index in `folder`, or beside the photos if it is None.

    `out` is where the index is. New ones are called by `style` ("file" or "stem"); with
    `overwrites`, those that are there are replaced instead of merged.
    """

    def __init__(
        self, index: Index, out: Path, folder: Path | None, style: str, overwrites: bool
    ) -> None:
        self._index, self._style, self._overwrites = index, style, overwrites
        self._root = folder or Path()
        # As seen from the index: both may be moved together.
        self._target = BESIDE if folder is None else os.path.relpath(folder, out)
        self._unwritten: list[Unwritten] = []

    def write(self, view: View) -> list[Unwritten]:
        """Writes the sidecar of every photo that is tagged or has a city, and takes back those of
        photos that are not any more or have moved; gives those that cannot be written.

        Raises LandmarkError if the disk is full.
        """
        self._settle()
        files, tagged = {}, set()
        for path, _, row in self._index.rows(view):
            files[path] = row.file
            if row.best or row.city:
                tagged.add(path)
        names = self._names(files)
        del files
        stale = [
            record.path
            for record in self._index.sidecars(self._target, True)
            if record.photo in names  # one that is gone may come back
            and not (record.photo in tagged and names[record.photo] == record.path)
            and not self._is_away(record.photo)
        ]
        del tagged
        for path in stale:
            self._take_back(self._record(path))
        changes: list[_Change] = []
        for path, _, row in self._index.rows(view):
            if not (row.best or row.city):
                continue
            if self._is_away(path):
                self._unwritten.append(Unwritten(row.file, REMOTE if is_address(path) else AWAY))
            elif change := self._change(row.file, path, names[path], to_xmp(row)):
                changes.append(change)
            if len(changes) >= BATCH_SIZE:
                self._carry_out(changes)
                changes = []
        self._carry_out(changes)
        return self._unwritten

    def _is_away(self, photo: str) -> bool:
        """Whether there is no photo for a sidecar to lie beside: its disk may come back."""
        return self._target == BESIDE and not os.path.lexists(photo)

    def _names(self, files: dict[str, str]) -> dict[str, str]:
        """Where the sidecar of each photo is or will be, by its path; as seen from the root."""
        if self._target == BESIDE:
            return names_beside(files, self._style)

        def is_there(name: str) -> bool:
            return os.path.isfile(self._root / name)

        names = sidecar_names(files.values(), self._style, is_there)
        return dict(zip(files, names, strict=True))

    def _settle(self) -> None:
        """Finds out which sidecars a killed run had written."""
        planned = [*self._index.sidecars(self._target, False)]
        written = [one for one in planned if _hash_of(self._root / one.path) == one.sha256]
        self._index.settle_sidecars(written, [one for one in planned if one not in written])

    def _take_back(self, record: Sidecar) -> None:
        """Removes what was added to a sidecar, if nobody has changed it since."""
        path = self._root / record.path
        try:
            content = read_sidecar(path)
            if _is_ours_alone(_hash(content), record):
                path.unlink()
            else:
                self._replace(path, take_back(content, json.loads(record.added)))
        except FileNotFoundError:
            pass
        except OSError as error:
            self._refuse(record.photo, record.path, error)
            return
        except LandmarkError:  # it is no sidecar any more
            pass
        self._index.forget_sidecar(record)

    def _record(self, path: str) -> Sidecar | None:
        """What was written to a sidecar before; not kept here: there may be a million."""
        return next(self._index.sidecars(self._target, True, path), None)

    def _change(self, file: str, photo: str, name: str, fresh: str) -> _Change | None:
        """What is to be written to a sidecar; None if nothing is, or it cannot be."""
        record, wanted = self._record(name), _hash(fresh.encode())
        path = self._root / name
        has_content = os.path.isfile(path) and os.path.getsize(path) > 0
        if record and record.fresh == wanted and has_content and not self._overwrites:
            return None
        try:
            if not has_content or self._overwrites:
                backup = _backup_of_lost(path, record) if has_content else None
                return self._whole(file, photo, name, fresh, backup)
            before = read_sidecar(path)
            if _is_ours_alone(_hash(before), record):
                return self._whole(file, photo, name, fresh, None)
            own = take_back(before, json.loads(record.added)) if record else before
            after = merge(own, fresh)
            added = json.dumps(added_to(own, after))
        except OSError as error:
            self._refuse(file, name, error)
        except LandmarkError as error:
            reason = f"Its sidecar {name} stays as it is: {error}. Move it, or use --overwrite."
            self._unwritten.append(Unwritten(file, reason))
        else:
            new = Sidecar(self._target, name, photo, wanted, _hash(after), added, False)
            first = _backup(path, 1)
            backup = None if os.path.lexists(first) else first
            return _Change(file, new, None if after == before else after, backup)
        return None

    def _whole(self, file: str, photo: str, name: str, fresh: str, backup: Path | None) -> _Change:
        """A sidecar that has only what we say."""
        path, content = self._root / name, fresh.encode()
        is_odd = os.path.lexists(path) and not path.is_file() and not path.is_dir()
        if is_odd and not self._overwrites:
            raise LandmarkError("it is no file, or a link to none")
        added = json.dumps(facts_in(content))
        digest = _hash(content)
        new = Sidecar(self._target, name, photo, digest, digest, added, True)
        return _Change(file, new, None if _hash_of(path) == digest else content, backup)

    def _carry_out(self, changes: Sequence[_Change]) -> None:
        """Writes the sidecars, recorded before and after in one transaction each."""
        self._index.plan_sidecars(change.record for change in changes)
        written: list[Sidecar] = []
        try:
            for file, record, content, backup in changes:
                path = self._root / record.path
                try:
                    if content is not None:
                        if backup:
                            self._copy(path, backup)
                        self._replace(path, content)
                    written.append(record)
                except OSError as error:
                    self._refuse(file, record.path, error)
        finally:
            dropped = [change.record for change in changes if change.record not in written]
            self._index.settle_sidecars(written, dropped)

    def _copy(self, path: Path, backup: Path) -> None:
        """Keeps a sidecar of somebody as it is before a change."""
        scratch = path.with_name(SCRATCH_NAME)
        shutil.copyfile(path, scratch)
        os.replace(scratch, backup)

    def _replace(self, path: Path, content: bytes) -> None:
        """Writes a file whole; one that is there keeps its permissions."""
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(SCRATCH_NAME)
        with scratch.open("wb") as file:
            file.write(content)
            if path.is_file():  # of somebody, who would lose it in a power failure
                os.fsync(file.fileno())
        if path.is_file():
            shutil.copymode(path, scratch)
        os.replace(scratch, path)

    def _refuse(self, file: str, name: str, error: OSError) -> None:
        """Notes that a sidecar cannot be written. Raises LandmarkError if the disk is full."""
        with suppress(OSError):
            (self._root / name).with_name(SCRATCH_NAME).unlink()
        if error.errno in FULL:
            raise LandmarkError(f"The disk of {name} is full. Make room. {AGAIN}") from error
        reason = f"Its sidecar {name} cannot be written ({error.strerror})."
        self._unwritten.append(Unwritten(file, reason))


def _backup_of_lost(path: Path, record: Sidecar | None) -> Path | None:
    """Where to keep a sidecar that is to be replaced; None if nothing of somebody else is in it, or
    a backup has that already."""
    digest = _hash_of(path)
    if _is_ours_alone(digest, record):
        return None
    lost = {digest} - {None}
    if record:
        with suppress(OSError, LandmarkError):  # it cannot be read, or is no sidecar any more
            lost.add(_hash(take_back(read_sidecar(path), json.loads(record.added))))
    for backup in map(partial(_backup, path), count(1)):
        if not os.path.lexists(backup):
            return backup
        if _hash_of(backup) in lost:
            return None


def _is_ours_alone(digest: str | None, record: Sidecar | None) -> bool:
    """Whether a sidecar with that hash is as we wrote it, without a word of somebody else."""
    return bool(record and record.is_ours and digest == record.sha256)


def _backup(path: Path, number: int) -> Path:
    """The name of a backup: photo.jpg.xmp.bak, photo.jpg.xmp.2.bak and so on."""
    return path.with_name(f"{path.name}.bak" if number == 1 else f"{path.name}.{number}.bak")


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _hash_of(path: Path) -> str | None:
    try:
        return _hash(path.read_bytes())
    except OSError:
        return None
