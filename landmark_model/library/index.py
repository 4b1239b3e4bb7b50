"""The index of a photo library: a SQLite file with a row for each photo; exports are views of it.

A batch of rows is one transaction: it is there whole or not at all, whenever the process ends.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from functools import cache
from itertools import starmap
from pathlib import Path
from typing import NamedTuple

from landmark_model import Answer, CameraFacts, LandmarkError, Place, Prediction, find_place
from landmark_model.files import only_one
from landmark_model.library.tagging import Tagged, judged, placed, writable
from landmark_model.library.trips import End, Stop

INDEX_NAME = "library.sqlite"
APPLICATION_ID = 0x4C4D4B49  # "LMKI", in the header of the file
VERSION = 2
# Reasons that may be gone next time: what is wrong with a photo stays so, a disk may be back.
PASSING = {"", "missing", "locked", "raw_reader", "unreachable"}
AGAIN = "Finished work is kept: run the same command again to resume."
# Paths are text; bytes where they are not UTF-8. Positions are degrees, times are by ISO 8601.
# `guesses` are lists of class name, label and probability, best first; of landmarks that were
# taught, which no gazetteer knows, their place follows. An error is final where it is the photo's;
# its `cause` is the word for it and the numbers in it, for other languages. Of a
# sidecar, `fresh` is the hash of what it was to say, `sha256` of what it
# became, and `added` what of that was not there before; it is done once the file is written.
SCHEMA = """
CREATE TABLE photos (
    path PRIMARY KEY, size INTEGER, mtime_ns INTEGER, sha256 TEXT,
    taken_at TEXT, make TEXT, model TEXT, serial TEXT, latitude REAL, longitude REAL,
    status TEXT NOT NULL, guesses TEXT, probability REAL, score REAL, is_known INTEGER,
    place TEXT, tags TEXT, stamp TEXT, error TEXT, is_final INTEGER NOT NULL,
    is_gone INTEGER NOT NULL DEFAULT 0, cause TEXT
);
CREATE INDEX photos_by_content ON photos (sha256);
CREATE TABLE thumbnails (sha256 TEXT PRIMARY KEY, image BLOB NOT NULL);
CREATE TABLE sidecars (
    target, path, photo NOT NULL, is_done INTEGER NOT NULL, fresh TEXT NOT NULL,
    sha256 TEXT NOT NULL, added TEXT NOT NULL, is_ours INTEGER NOT NULL,
    PRIMARY KEY (target, path, is_done)
);
CREATE TABLE settings (name TEXT PRIMARY KEY, value);
"""
# What the photos of a trip say of each other: see `Stop`. `landmark` and `near` are class names;
# `ends` are lists of clock and class name. An index of before has no such table.
STOPS = """
CREATE TABLE IF NOT EXISTS stops (
    path PRIMARY KEY, how TEXT NOT NULL, landmark TEXT, confirmed REAL NOT NULL,
    near TEXT, radius_km REAL, latitude REAL, longitude REAL, ends TEXT NOT NULL,
    is_city INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS photos_by_camera ON photos (make, model, serial);
"""
TRIPS = "trips"  # the setting that is there while the stops are those of the rows


@dataclass(frozen=True)
class Row:
    """A photo as the index has it; see SCHEMA. Paths are as `os` gives them."""

    path: str
    size: int | None
    mtime_ns: int | None
    sha256: str | None
    taken_at: str = ""
    make: str = ""
    model: str = ""
    serial: str = ""
    latitude: float | None = None
    longitude: float | None = None
    status: str = "unreadable"
    guesses: str | None = None
    probability: float | None = None
    score: float | None = None
    is_known: bool | None = None
    place: str | None = None
    tags: str | None = None
    stamp: str = ""
    error: str = ""
    is_final: bool = True
    is_gone: bool = False
    cause: str | None = None


@dataclass(frozen=True)
class Sidecar:
    """What was written to a sidecar, or is about to be; see SCHEMA."""

    target: str
    path: str
    photo: str
    fresh: str
    sha256: str
    added: str
    is_ours: bool


class Shown(NamedTuple):
    """A photo as an export shows it: where it is, the hash of its bytes, and its row."""

    path: str
    sha256: str | None
    row: Tagged


class Camera(NamedTuple):
    """A camera, as it calls itself."""

    make: str
    model: str
    serial: str

    @property
    def name(self) -> str:
        """Make, model and serial number as people say them."""
        about = CameraFacts(make=self.make, model=self.model)
        return f"{about.name} {self.serial}".strip()


@dataclass(frozen=True)
class View:
    """How exports show the index: the language of names, from which probability on a photo is
    tagged, and whether the time of the file stands in where the camera wrote none."""

    language: str | None = None
    min_probability: float = 0.0
    file_time: bool = False


COLUMNS = [field.name for field in fields(Row)]
# Of a photo with its stop, if any: the beginning of a CASE that gives its status.
UNTAGGED = (
    "WHEN landmark IS NULL AND status != 'tagged' THEN status "
    "WHEN how NOT NULL AND landmark IS NULL THEN 'doubtful'"
)


class Index:
    """An index that is open; made by `open_index`."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection, self._path = connection, path

    # --- one photo ---

    def get(self, path: str) -> Row | None:
        """The row of a photo."""
        return next(iter(self._select("path = ?", _stored(path))), None)

    def find_copies(self, sha256: str, stamp: str | None, most: int) -> list[Row]:
        """The rows of photos with these bytes that need no other answer, those that are gone first;
        only by the network of `stamp`, if that is not None."""
        where = "sha256 = ? AND is_final AND stamp = ifnull(?, stamp) ORDER BY is_gone DESC, path"
        return self._select(f"{where} LIMIT ?", sha256, stamp, most)

    def _select(self, where: str, *values: object) -> list[Row]:
        found = self._connection.execute(f"SELECT * FROM photos WHERE {where}", values)
        return [*map(_to_row, found)]

    # --- writing ---

    @contextmanager
    def transaction(self, waits: bool = True) -> Iterator[None]:
        """What is written in it is there whole, or not at all, also where the process ends.

        Unless it `waits` for the disk, the last ones may be lost where the power fails.
        """
        self._connection.execute(f"PRAGMA synchronous = {'FULL' if waits else 'NORMAL'}")
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.require_there()
        except BaseException:
            if self._connection.in_transaction:  # a full disk has ended it
                self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def require_there(self) -> None:
        """Raises LandmarkError if somebody deleted the file: SQLite would write to it for ever."""
        if not self._path.exists():
            raise LandmarkError(
                f"{self._path} is gone: it was deleted or moved during the run. "
                "Run the same command again."
            )

    def put(
        self, rows: Iterable[Row], thumbnails: Mapping[str, bytes], moved: Iterable[tuple[str, str]]
    ) -> None:
        """Adds or replaces rows, in one transaction; photos that moved (from, to) are not doubled.

        `thumbnails` are WebP files by the hash of their photo. It does not wait for the disk: what
        is lost where the power fails is answered again.
        """
        marks = ", ".join("?" * len(COLUMNS))
        insert = f"INSERT OR REPLACE INTO photos ({', '.join(COLUMNS)}) VALUES ({marks})"
        execute = self._connection.execute
        with self.transaction(waits=False):
            for before, after in moved:
                execute("DELETE FROM photos WHERE path = ?", (_stored(before),))
                execute("UPDATE sidecars SET photo = ? WHERE photo = ?",
                        (_stored(after), _stored(before)))  # fmt: skip
            for row in rows:
                execute(insert, [*(asdict(row) | {"path": _stored(row.path)}).values()])
                execute("DELETE FROM stops WHERE path = ?", (_stored(row.path),))
            execute("DELETE FROM settings WHERE name = ?", (TRIPS,))
            for sha256, image in thumbnails.items():
                execute("INSERT OR REPLACE INTO thumbnails VALUES (?, ?)", (sha256, image))

    def mark_gone(self, paths: Iterable[str], is_gone: bool = True) -> None:
        """Records that photos are no longer there, or are there again; answers are kept."""
        values = [(is_gone, _stored(path)) for path in paths]
        with self.transaction():
            self._connection.executemany("UPDATE photos SET is_gone = ? WHERE path = ?", values)
            if values:
                self._connection.execute("DELETE FROM settings WHERE name = ?", (TRIPS,))

    def set_base(self, folders: Iterable[str | Path]) -> None:
        """Widens the folder that names of photos are relative to, so that `folders` are in it."""
        try:
            base = os.path.commonpath([*filter(None, [self.base]), *folders])
        except ValueError:  # on several drives
            base = ""
        insert = "INSERT OR REPLACE INTO settings VALUES ('base', ?)"
        with self.transaction():
            self._connection.execute(insert, (_stored(base),))

    # --- views ---

    @property
    def base(self) -> str:
        """The folder that names of photos are relative to."""
        found = self._connection.execute("SELECT value FROM settings WHERE name = 'base'")
        return next((os.fsdecode(value) for (value,) in found), "")

    def paths(self) -> Iterator[str]:
        """The paths of the photos that were there when last looked for, sorted."""
        found = self._connection.execute("SELECT path FROM photos WHERE NOT is_gone ORDER BY path")
        return (os.fsdecode(path) for (path,) in found)

    def rows(self, view: View, status: str | None = None) -> Iterator[Shown]:
        """The photos that are there, by path; only those of a `status` of the index, if any."""
        base, names = self.base, ", ".join(f"photos.{name}" for name in COLUMNS)
        found = self._connection.execute(
            f"SELECT {names}, stops.* FROM photos LEFT JOIN stops USING (path) "
            "WHERE NOT is_gone AND status = ifnull(?, status) ORDER BY photos.path",
            (status,),
        )
        return (to_shown(values, base, view) for values in found)

    def count(self, min_probability: float) -> Counter[str]:
        """How many photos have each status, and how many are "gone"."""
        status = (
            f"CASE WHEN is_gone THEN 'gone' {UNTAGGED} "
            "WHEN coalesce(confirmed, probability) < ? THEN 'doubtful' ELSE 'tagged' END"
        )
        counts = f"SELECT {status}, count(*) FROM photos LEFT JOIN stops USING (path) GROUP BY 1"
        return Counter(dict(self._connection.execute(counts, (min_probability,))))

    def count_others(self, stamp: str) -> int:
        """How many photos were answered by another network than that of `stamp`."""
        counts = "SELECT count(*) FROM photos WHERE guesses NOT NULL AND stamp != ? AND NOT is_gone"
        return self._connection.execute(counts, (stamp,)).fetchone()[0]

    def thumbnail(self, sha256: str | None) -> bytes | None:
        """The small copy (WebP) of the photo with these bytes."""
        found = self._connection.execute("SELECT image FROM thumbnails WHERE sha256 = ?", (sha256,))
        return next((image for (image,) in found), None)

    # --- trips ---

    def setting(self, name: str) -> str | None:
        """A text that was kept by this name."""
        found = self._connection.execute("SELECT value FROM settings WHERE name = ?", (name,))
        return next((value for (value,) in found), None)

    def keep_setting(self, name: str, value: str) -> None:
        """Keeps a text by a name; the stops are no longer those of the rows."""
        with self.transaction():
            self._connection.execute("DELETE FROM settings WHERE name = ?", (TRIPS,))
            self._connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))

    def cameras(self) -> Iterator[tuple[Camera, int]]:
        """The cameras that took the photos that are there, and how many have no time."""
        return (
            (Camera(*camera), count)
            for *camera, count in self._connection.execute(
                "SELECT make, model, serial, sum(taken_at = '') FROM photos "
                "WHERE NOT is_gone AND make || model != '' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
            ).fetchall()
        )

    def taken_by(self, camera: Camera) -> Iterator[Row]:
        """The photos of a camera that have a time, by what its clock said."""
        found = self._connection.execute(
            "SELECT * FROM photos WHERE NOT is_gone AND taken_at != '' AND (make, model, serial) "
            "= (?, ?, ?) ORDER BY substr(taken_at, 1, 19), sha256, path",
            camera,
        )
        return map(_to_row, found)

    def put_stops(self, stops: Iterable[tuple[str, Stop]], note: Callable[[], str]) -> None:
        """Replaces all stops, by the paths of their photos, in one transaction; `note` gives what
        is kept as the setting TRIPS once all are there."""
        insert = "INSERT INTO stops VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        with self.transaction():
            self._connection.execute("DELETE FROM stops")
            self._connection.executemany(insert, starmap(_of_stop, stops))
            self._connection.execute(
                "INSERT OR REPLACE INTO settings VALUES (?, ?)", (TRIPS, note())
            )

    # --- sidecars ---

    def sidecars(self, target: str, is_done: bool, path: str | None = None) -> Iterator[Sidecar]:
        """What was written to the sidecars of a `target`, or was about to be; only to that at
        `path`, if that is not None."""
        names = ", ".join(field.name for field in fields(Sidecar))
        where, values = "target = ? AND is_done = ?", [_stored(target), is_done]
        if path is not None:
            where, values = f"{where} AND path = ?", [*values, _stored(path)]
        found = self._connection.execute(f"SELECT {names} FROM sidecars WHERE {where}", values)
        return (Sidecar(*map(os.fsdecode, row[:3]), *row[3:6], bool(row[6])) for row in found)

    def plan_sidecars(self, records: Iterable[Sidecar]) -> None:
        """Records what is about to be written, in one transaction."""
        with self.transaction():
            for record in records:
                self._connection.execute(
                    "INSERT OR REPLACE INTO sidecars VALUES (?, ?, ?, 0, ?, ?, ?, ?)",
                    (*map(_stored, (record.target, record.path, record.photo)), record.fresh,
                     record.sha256, record.added, record.is_ours),
                )  # fmt: skip

    def settle_sidecars(self, written: Iterable[Sidecar], dropped: Iterable[Sidecar]) -> None:
        """Records which plans were carried out, and which were not and are to be forgotten."""
        execute = self._connection.execute
        key = "WHERE target = ? AND path = ? AND is_done ="
        with self.transaction():
            for record in written:
                which = (_stored(record.target), _stored(record.path))
                execute(f"DELETE FROM sidecars {key} 1", which)
                execute(f"UPDATE sidecars SET is_done = 1 {key} 0", which)
            for record in dropped:
                which = (_stored(record.target), _stored(record.path))
                execute(f"DELETE FROM sidecars {key} 0", which)

    def forget_sidecar(self, record: Sidecar) -> None:
        """Forgets a sidecar that is no longer there, or has nothing of ours any more."""
        with self.transaction():
            self._connection.execute(
                "DELETE FROM sidecars WHERE target = ? AND path = ?",
                (_stored(record.target), _stored(record.path)),
            )


@contextmanager
def open_index(folder: Path, is_new: bool, writes: bool) -> Iterator[Index]:
    """The index in `folder`, closed at the end; made if it `is_new`.

    Raises LandmarkError if it is not there and not new, if it cannot be written, is damaged, of a
    newer version or of another program, if it is deleted meanwhile, or, for one that `writes`, if
    another process does, too.
    """
    path = folder / INDEX_NAME
    if not is_new and not path.is_file():
        raise LandmarkError(f"There is no index in {folder}. Give the photos to be tagged, too.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LandmarkError(
            f"{folder} cannot be written ({error.strerror}). Choose another folder."
        ) from error
    with only_one(folder) if writes else nullcontext(True) as is_alone:
        if not is_alone:
            raise LandmarkError(f"Another run is writing to {folder}. Wait until it ends.")
        try:
            with closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as connection:
                _prepare(connection, path)
                index = Index(connection, path)
                yield index
                index.require_there()
        except sqlite3.Error as error:
            raise _explained(path, error) from error


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Makes the tables of a new file; raises LandmarkError for one that is not ours."""
    is_empty = not connection.execute("SELECT 1 FROM sqlite_schema").fetchone()
    version = require_ours(connection, path, "Choose another folder for --out.", is_empty)
    connection.execute("PRAGMA journal_mode = WAL")
    if version == 1:
        connection.executescript("BEGIN; ALTER TABLE photos ADD COLUMN cause TEXT; "
                                 f"PRAGMA user_version = {VERSION}; COMMIT")  # fmt: skip
    if not is_empty:
        connection.executescript(STOPS)
    if is_empty:
        connection.executescript(
            f"BEGIN; {SCHEMA} {STOPS} PRAGMA application_id = {APPLICATION_ID}; "
            f"PRAGMA user_version = {VERSION}; COMMIT"
        )


def require_ours(
    connection: sqlite3.Connection, path: Path, way_out: str, is_empty: bool = False
) -> int:
    """The version of an index; an empty file has no owner yet. Raises LandmarkError for one of
    another program, with the `way_out`, or of a newer version."""
    (owner,), (version,) = (
        connection.execute(f"PRAGMA {name}").fetchone()
        for name in ("application_id", "user_version")
    )
    if not is_empty and owner != APPLICATION_ID:
        raise LandmarkError(f"{path} is of another program. {way_out}")
    if version > VERSION:
        raise LandmarkError(
            f"{path} is of a newer version of this program. Update it: "
            "pip install --upgrade landmark-model"
        )
    return version


def _explained(path: Path, error: sqlite3.Error) -> LandmarkError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_NOTADB:
        return LandmarkError(f"{path} is of another program. Choose another folder for --out.")
    if code == sqlite3.SQLITE_CORRUPT:
        return LandmarkError(f"{path} is damaged. Move it away, and run the same command again.")
    if code == sqlite3.SQLITE_FULL:
        return LandmarkError(f"The disk of {path.parent} is full. Make room. {AGAIN}")
    return LandmarkError(f"{path} cannot be written ({error}). {AGAIN}")


def to_row(seen: Row, row: Tagged, stamp: str) -> Row:
    """The row of a photo that was just looked at; `seen` says what the file is."""
    camera = row.camera
    latitude, longitude = camera.position or (None, None)
    about = asdict(seen) | {
        "taken_at": camera.taken_at, "make": camera.make, "model": camera.model,
        "serial": camera.serial, "latitude": latitude, "longitude": longitude,
        "status": row.status, "stamp": stamp, "error": writable(str(row.error or "")),
        "is_final": row.error is None or row.error.reason not in PASSING,
        "cause": row.error and json.dumps([row.error.reason, dict(row.error.details)]),
    }  # fmt: skip
    if row.answer is None:
        return Row(**about)
    best = row.answer[0]
    guesses = [
        (guess.class_name, guess.label, guess.probability, *_own_place(guess))
        for guess in row.answer
    ]
    return Row(**about | {
        "guesses": json.dumps(guesses, ensure_ascii=False),
        "probability": best.probability,
        "score": row.answer.score,
        "is_known": row.answer.is_known,
        "place": best.where,
        "tags": json.dumps(best.tags, ensure_ascii=False),
    })  # fmt: skip


def to_shown(values: Sequence, base: str, view: View) -> Shown:
    """The photo with the values of COLUMNS, and those of its stop, or NULLs."""
    row, stop = _to_row(values[: len(COLUMNS)]), values[len(COLUMNS) :]
    tagged = placed(_to_tagged(row, base, view), _to_stop(stop[1:]) if stop[0] else None)
    return Shown(row.path, row.sha256, judged(tagged, view.language, view.min_probability))


def _to_tagged(row: Row, base: str, view: View) -> Tagged:
    position = None if row.latitude is None else (row.latitude, row.longitude)
    taken_at = row.taken_at
    if view.file_time and not taken_at and row.mtime_ns is not None:
        taken_at = datetime.fromtimestamp(row.mtime_ns // 10**9).astimezone().isoformat()
    camera = CameraFacts(position, taken_at, row.make, row.model, row.serial)
    file = os.path.relpath(row.path, base) if _is_in(row.path, base) else row.path
    error = _error_of(row)
    return Tagged(file.replace(os.sep, "/"), to_answer(row), row.error, camera, error)


def to_answer(row: Row) -> Answer | None:
    """The guesses of a row; None if it has none."""
    if row.guesses is None:
        return None
    guesses = (
        Prediction(label, name, share, place_of(name, *own))
        for name, label, share, *own in json.loads(row.guesses)
    )
    return Answer(guesses, row.score, row.is_known)


def _own_place(guess: Prediction) -> list[dict]:
    """The place of a landmark that was taught, if no gazetteer knows it."""
    is_found = guess.landmark == _place(guess.class_name)
    return [] if is_found else [asdict(guess.landmark)]


def place_of(class_name: str, own: dict | None = None) -> Place:
    """The place of a landmark: its `own`, which was taught, or that of the gazetteer."""
    return Place(**own | {"tags": tuple(own["tags"])}) if own else _place(class_name)


def _error_of(row: Row) -> LandmarkError | None:
    """What is wrong with a photo; None where nothing is, or it is in words only."""
    reason, details = json.loads(row.cause or '["", {}]')
    if not reason:
        return None
    error = LandmarkError(row.error)
    error.reason, error.details = reason, details
    return error


@cache
def _place(class_name: str) -> Place:
    return find_place(class_name)


def _of_stop(path: str, stop: Stop) -> tuple[object, ...]:
    """The values of STOPS."""
    ends = [(end.clock, end.landmark and end.landmark.class_name) for end in stop.ends]
    # Where the camera was stands in its row, and where landmarks are, in the gazetteer.
    is_nameless = stop.how == "trip" and stop.near is None
    latitude, longitude = stop.position if is_nameless else (None, None)
    landmark, near = (one and one.class_name for one in (stop.landmark, stop.near))
    return (_stored(path), stop.how, landmark, stop.confirmed, near, stop.radius_km, latitude,
            longitude, json.dumps(ends), stop.is_city)  # fmt: skip


def _to_stop(values: Sequence) -> Stop:
    how, landmark, confirmed, near, radius_km, latitude, longitude, ends, is_city = values

    def named(name: str | None) -> Prediction | None:
        return name and Prediction(_place(name).name, name, confirmed, _place(name))

    position = None if latitude is None else (latitude, longitude)
    shown = tuple(End(clock, named(name)) for clock, name in json.loads(ends))
    return Stop(
        how, named(landmark), confirmed, position, radius_km, named(near), shown, bool(is_city)
    )


def _is_in(path: str, base: str) -> bool:
    return bool(base) and path.startswith(os.path.join(base, ""))


def _stored(path: str) -> str | bytes:
    """A path as the index has it: text can be read by people, but not all names are text."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path)
    return path


def _to_row(values: tuple) -> Row:
    found = dict(zip(COLUMNS, values, strict=True))
    found["path"] = os.fsdecode(found["path"])
    for name in ("is_known", "is_final", "is_gone"):
        found[name] = None if found[name] is None else bool(found[name])
    return Row(**found)
