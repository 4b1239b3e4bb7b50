"""A library tagged into a folder: finished work is on disk, and an interrupted run resumes.

Each batch of answers is a line of tags.partial.jsonl as soon as it is there, and each sidecar a
file, or merged into the one that is there, which changes nothing the second time. From these lines
tags.csv and tags.json are made at the end, and then it is removed. Batches are whole there or not
at all: a run that goes on forms the same ones that it would have formed unbroken, and so gets the
same answers to the last digit.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO, NamedTuple, TextIO

from landmark_model import Answer, LandmarkError, Place, Prediction
from landmark_model.files import lock, scratch_folder, staged
from landmark_model.library.merge import merge_file
from landmark_model.library.sidecars import sidecar_names, to_xmp
from landmark_model.library.tagging import Tagged, write_csv, write_json

PARTIAL_NAME = "tags.partial.jsonl"
TABLES: dict[str, tuple[Callable[[Iterator[Tagged], TextIO], None], str]] = {
    "tags.csv": (write_csv, "utf-8-sig"),
    "tags.json": (write_json, "utf-8"),
}
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FAILED = ("unreadable", "unwritten")
AGAIN = "Finished work is kept: run the same command again to resume."
Settings = dict[str, object]


class _Photo(NamedTuple):
    """A photo of the library; `stamp`, its size and time, shows whether the file changed."""

    file: str
    path: Path
    sidecar: str
    stamp: list[int] | None


class _Kept(NamedTuple):
    """A photo's entry in the partial file, and its position: start of the line, place in it."""

    line: int
    place: int
    stamp: list[int] | None
    status: str
    is_final: bool
    sidecar: str
    digest: str | None


class LibraryRun(AbstractContextManager):
    """A tagging of `photos` (name to show, path) to `out`, which may have been started before.

    Enter it, ask `plan` what is left to do, `start`, give `keep` the rows of that, and `finish`.
    Entering raises LandmarkError if `out` cannot be written, or another run is writing to it.
    """

    def __init__(
        self,
        photos: Sequence[tuple[str, Path]],
        out: Path,
        overwrite: bool,
        xmp_name: str = "file",
    ) -> None:
        files = [file for file, _ in photos]
        names = sidecar_names(files, xmp_name, lambda name: os.path.isfile(out / name))
        self._photos = {
            file: _Photo(file, path, name, _stamp(path))
            for (file, path), name in zip(photos, names, strict=True)
        }
        self.out, self._overwrite = out, overwrite
        self._partial = out / PARTIAL_NAME
        self._settings: Settings | None = None
        self._kept: dict[str, _Kept] = {}
        self._done: list[_Photo] = []
        self._again: set[str] = set()
        self._last = 0
        self._end = 0
        self._closing = ExitStack()

    def __enter__(self) -> LibraryRun:
        with ExitStack() as opened:
            try:
                self._scratch = opened.enter_context(scratch_folder(self.out))
                flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
                self._descriptor = os.open(self._partial, flags, 0o666)
            except OSError as error:
                raise LandmarkError(
                    f"{self.out} cannot be written ({error.strerror}). Choose another folder."
                ) from error
            opened.callback(os.close, self._descriptor)
            if not lock(self._descriptor):
                raise LandmarkError(f"Another run is writing to {self.out}. Wait until it ends.")
            for path in (self.out / name for name in TABLES):
                if path.is_dir():
                    raise LandmarkError(
                        f"{path} is a folder where a file must be written. Move it, or choose "
                        "another folder."
                    )
            self._read()
            self._closing = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()
        if not self._kept:
            self._partial.unlink(missing_ok=True)

    def __len__(self) -> int:
        """How many photos the library has."""
        return len(self._photos)

    def plan(self, settings: Settings) -> tuple[list[tuple[str, Path]], str]:
        """The photos (name, path) still to be tagged, and a sentence on the others.

        `settings` are all that answers depend on; where the run was started with others, it starts
        anew. Nothing is changed yet.
        """
        fits = self._settings == settings
        self._done = [photo for photo in self._photos.values() if fits and self._is_done(photo)]
        done = {photo.file for photo in self._done}
        waiting = [photo for photo in self._photos.values() if photo.file not in done]
        self._again = {photo.sidecar for photo in waiting}
        said = f"{len(done)} of {len(self)} photos were already done." if done else ""
        if self._kept and not fits:
            said = (
                f"{self.out} holds an unfinished run with another network or other options: "
                "starting anew."
            )
        return [(photo.file, photo.path) for photo in waiting], said

    def start(self, settings: Settings) -> None:
        """Removes from the folder what `plan` found must be made again.

        Raises LandmarkError if the disk is full.
        """
        with self._partial.open("rb") as lines:
            for file, kept in self._kept.items():
                if kept.sidecar in self._again and kept.digest is not None:
                    self._take_back(self._record(lines, file))
        fits = self._settings == settings
        os.ftruncate(self._descriptor, self._end if fits else 0)
        if not fits:
            self._kept.clear()
            self._write({"settings": settings})
        self._complete()

    def keep(self, rows: Sequence[Tagged]) -> None:
        """Puts a batch of rows and their sidecars on disk.

        A row whose sidecar cannot be written is kept as "unwritten". Raises LandmarkError if the
        disk is full.
        """
        records = [_to_record(row, self._photos[row.file]) for row in rows]
        # The rows come first: a sidecar without one would be taken for somebody else's.
        self._write({"rows": records})
        self._keep_changed(map(self._with_sidecar, records))

    def finish(self) -> tuple[Counter[str], list[Tagged]]:
        """Writes tags.csv and tags.json, both or none; counts of rows by status, and failed rows.

        Raises LandmarkError if they cannot be written.
        """
        try:
            with staged(self.out) as scratch:
                for name, (write, encoding) in TABLES.items():
                    with (scratch / name).open("w", encoding=encoding, newline="") as file:
                        write(self.rows(), file)
        except OSError as error:
            raise self._stopped(error) from error
        counts = Counter(self._kept[file].status for file in self._photos)
        failed = list(self.rows(*FAILED))
        self._closing.close()
        self._partial.unlink(missing_ok=True)
        return counts, failed

    def rows(self, *statuses: str) -> Iterator[Tagged]:
        """The rows that are kept, in the order of the photos; only those of `statuses`, if any."""
        with self._partial.open("rb") as lines:
            for file in self._photos:
                if not statuses or self._kept[file].status in statuses:
                    yield _from_record(self._record(lines, file))

    def _record(self, lines: BinaryIO, file: str) -> dict:
        """A photo's record in the partial file."""
        lines.seek(self._kept[file].line)
        return json.loads(lines.readline())["rows"][self._kept[file].place]

    def _read(self) -> None:
        """Reads what an earlier run left, except a line that it did not finish."""
        start = 0
        with self._partial.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                # A line that is none of ours, say after a power failure, costs a few photos.
                with suppress(ValueError, LookupError, TypeError, AttributeError):
                    self._note(json.loads(line), start)
                start += len(line)
        self._end = start

    def _note(self, line: dict, start: int) -> None:
        """Records a line of the partial file: the settings, or the outcome of some photos."""
        self._settings = line.get("settings", self._settings)
        for place, record in enumerate(line.get("rows", ())):
            self._last = start
            digest = record["xmp"] and _digest(record["xmp"].encode())
            about = (record[name] for name in ("stamp", "status", "is_final", "sidecar"))
            self._kept[record["file"]] = _Kept(start, place, *about, digest)

    def _is_done(self, photo: _Photo) -> bool:
        """Whether the photo's row is there, and is still right."""
        kept = self._kept.get(photo.file)
        if kept is None or not kept.is_final or photo.stamp is None:
            return False
        return kept.stamp == photo.stamp and kept.sidecar == photo.sidecar

    def _is_own(self, kept: _Kept) -> bool:
        """Whether the sidecar is there as this run wrote it."""
        try:
            content = (self.out / kept.sidecar).read_bytes()
        except OSError:
            return False
        return _digest(content) == kept.digest

    def _take_back(self, record: dict) -> None:
        """Makes a sidecar what it was before this run, if nobody has changed it since."""
        path, fresh = self.out / record["sidecar"], record["xmp"]
        backup = _backup(path)
        with suppress(OSError, LandmarkError):  # `keep` says so, if it is still in the way
            if path.read_bytes() == fresh.encode():
                path.unlink()
            elif merge_file(backup, fresh) == path.read_bytes():
                self._replace(path, backup.read_bytes())

    def _complete(self) -> None:
        """Writes sidecars of finished photos that the killed run did not get to."""
        with self._partial.open("rb") as lines:
            for photo in self._done:
                kept, path = self._kept[photo.file], self.out / photo.sidecar
                if kept.digest is None or self._is_own(kept):
                    continue
                # The killed run had written those of all rows before its last ones: what differs
                # there was merged, or somebody changed it meanwhile, and is theirs to keep.
                is_open = kept.line == self._last or kept.status == "unwritten"
                if self._overwrite or is_open or not _has_content(path):
                    self._keep_changed([self._with_sidecar(self._record(lines, photo.file))])

    def _keep_changed(self, records: Iterable[dict | None]) -> None:
        if changed := [record for record in records if record]:
            self._write({"rows": changed})

    def _write(self, line: dict) -> None:
        """Adds a line to the partial file, through to the disk, and records it."""
        start, content = os.lseek(self._descriptor, 0, os.SEEK_END), json.dumps(line).encode()
        try:
            _write_all(self._descriptor, content + b"\n")
        except OSError as error:
            raise self._stopped(error) from error
        self._note(line, start)

    def _with_sidecar(self, record: dict) -> dict | None:
        """Writes the sidecar of a record, if it has one; the record, if that changed it."""
        name, text, found = record["sidecar"], record["xmp"], {"status": "tagged", "reason": ""}
        if text is None:
            return None
        try:
            self._put(self.out / name, text)
        except OSError as error:
            if error.errno in FULL:
                raise self._stopped(error) from error
            reason = f"Its sidecar {name} cannot be written ({error.strerror})."
            found = {"status": "unwritten", "reason": reason}
        except LandmarkError as error:
            reason = f"Its sidecar {name} stays as it is: {error}. Move it, or use --overwrite."
            found = {"status": "unwritten", "reason": reason}
        return record | found if record | found != record else None

    def _put(self, path: Path, fresh: str) -> None:
        """Writes a sidecar; one that is there is merged with it, after a backup.

        Raises LandmarkError if it cannot be merged.
        """
        is_odd = os.path.lexists(path) and not path.is_file() and not path.is_dir()
        if is_odd and not self._overwrite:
            raise LandmarkError("it is no file, or a link to none")
        if not _has_content(path):
            self._replace(path, fresh.encode())
            return
        content = fresh.encode() if self._overwrite else merge_file(path, fresh)
        if path.stat().st_size == len(content) and path.read_bytes() == content:
            return
        if not os.path.lexists(_backup(path)):
            shutil.copyfile(path, self._scratch / "backup")
            os.replace(self._scratch / "backup", _backup(path))
        self._replace(path, content)

    def _replace(self, path: Path, content: bytes) -> None:
        """Writes a file whole; one that is there keeps its permissions."""
        scratch = self._scratch / "sidecar"
        with scratch.open("wb") as file:
            file.write(content)
            if path.is_file():  # of somebody, who would lose it in a power failure
                os.fsync(file.fileno())
        if path.is_file():
            shutil.copymode(path, scratch)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(scratch, path)

    def _stopped(self, error: OSError) -> LandmarkError:
        """The error if the disk is full or has gone."""
        if error.errno in FULL:
            return LandmarkError(f"The disk of {self.out} is full. Make room. {AGAIN}")
        return LandmarkError(f"{self.out} cannot be written ({error.strerror}). {AGAIN}")


def _stamp(path: Path) -> list[int] | None:
    """Size in bytes and time in ns of a file, which change when it does; None if it is gone."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return [found.st_size, found.st_mtime_ns]


def _has_content(path: Path) -> bool:
    """Whether there is a file with anything in it."""
    return path.is_file() and path.stat().st_size > 0


def _backup(path: Path) -> Path:
    """Where a sidecar is kept as it was before the first change."""
    return path.with_name(f"{path.name}.bak")


def _write_all(descriptor: int, content: bytes) -> None:
    """Writes through to the disk, so that not even a power failure loses it."""
    while content:
        content = content[os.write(descriptor, content) :]
    os.fsync(descriptor)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _to_record(row: Tagged, photo: _Photo) -> dict:
    """The fields of a row to keep; the camera position is not one of them."""
    answer = row.answer and {
        "guesses": [asdict(guess) for guess in row.answer],
        "score": row.answer.score,
        "is_known": row.answer.is_known,
    }
    return {
        "file": row.file,
        "stamp": photo.stamp,
        "status": row.status,
        # What is wrong with a photo stays so; a disk that was away for a while may be back.
        "is_final": row.error is None or bool(row.error.reason),
        "sidecar": photo.sidecar,
        "xmp": to_xmp(row) if row.best else None,
        "reason": row.reason,
        "answer": answer,
    }


def _from_record(record: dict) -> Tagged:
    """The row that `_to_record` was given, without its error and where its camera was."""
    answer, kept = None, record["answer"]
    if kept is not None:
        answer = Answer(map(_from_guess, kept["guesses"]), kept["score"], kept["is_known"])
    is_unwritten = record["status"] == "unwritten"
    return Tagged(record["file"], answer, record["reason"], is_unwritten=is_unwritten)


def _from_guess(record: dict) -> Prediction:
    place = record["landmark"]
    return Prediction(**record | {"landmark": Place(**place | {"tags": tuple(place["tags"])})})


def fingerprint(folder: Path, names: Sequence[str]) -> str:
    """Identifies a network: a hash of its files of these `names`."""
    digest = hashlib.sha256()
    for name in names:
        if (folder / name).is_file():
            with (folder / name).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        digest.update(b"\n")
    return digest.hexdigest()
