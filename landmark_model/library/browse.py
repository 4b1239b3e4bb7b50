"""An index of `landmark tag`, to be looked through: opened for reading only, page by page.

Each question opens the file anew: threads can ask at once, and a run of `tag` may go on meanwhile.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

from landmark_model import LandmarkError, Prediction, find_place
from landmark_model.library.index import INDEX_NAME, require_ours
from landmark_model.library.tagging import writable

MOST_MOMENTS = 60  # of the timeline: days, months or years, the finest of which there are not more
LENGTHS = (10, 7, 4)  # of a day, a month, a year by ISO 8601
# The landmark of a photo, NULL where it shows none.
LANDMARK = "CASE WHEN status = 'tagged' THEN json_extract(guesses, '$[0][0]') END"
LABEL = "json_extract(guesses, '$[0][1]')"


@dataclass(frozen=True)
class LibraryQuery:
    """Which photos are looked for; "" for any.

    `text` is part of a landmark's name, place or tag, or of a file's name; `place` and `tag` as
    `LibraryView` lists them, all in `language`. `date` is the beginning of a time by ISO 8601:
    "2024", "2024-05". `status` is that of the index: "tagged", "unknown" or "unreadable".
    """

    language: str = "en"
    text: str = ""
    place: str = ""
    tag: str = ""
    date: str = ""
    status: str = ""


class LibraryPhoto(NamedTuple):
    """A photo of the index: the number of its row, the file's name without its folder, when it was
    taken (ISO 8601, "" if unknown), its status, and its landmark, if it shows one."""

    row: int
    name: str
    taken_at: str
    status: str
    best: Prediction | None


class LibraryView(NamedTuple):
    """What was found: some of the photos, newest first, and how many there are.

    `landmarks` are those on all photos found, and `moments` days, months or years, each with its
    number of photos. `total`, `places` and `tags` are those of the whole library, to choose from.
    """

    photos: list[LibraryPhoto]
    count: int
    total: int
    landmarks: list[tuple[Prediction, int]]
    moments: list[tuple[str, int]]
    places: list[str]
    tags: list[str]


class Library:
    """The index in a folder, for reading; made by `open_library`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / INDEX_NAME

    def find(self, wanted: LibraryQuery, start: int = 0, limit: int = 60) -> LibraryView:
        """The photos that are wanted, from the one at `start` on, at most `limit` of them.

        Raises LandmarkError if the index is gone, damaged or no longer ours.
        """
        with self._open() as connection:
            known = [best.in_language(wanted.language) for best, _ in _landmarks(connection)]
            where, values = _condition(wanted, known)
            undated, others = _condition(replace(wanted, date=""), known)
            order = "ORDER BY taken_at DESC, path LIMIT ? OFFSET ?"
            found = connection.execute(
                f"SELECT rowid, path, taken_at, status, {LANDMARK}, {LABEL}, probability "
                f"FROM photos WHERE {where} {order}",
                (*values, limit, start),
            )
            photos = [_photo(row, wanted.language) for row in found]
            landmarks = _landmarks(connection, where, values)
            counts = f"SELECT count(*) FROM photos WHERE {where}"
            return LibraryView(
                photos,
                connection.execute(counts, values).fetchone()[0],
                connection.execute("SELECT count(*) FROM photos WHERE NOT is_gone").fetchone()[0],
                [(best.in_language(wanted.language), count) for best, count in landmarks],
                _moments(connection, undated, others),
                sorted({best.where for best in known} - {""}),
                sorted({tag for best in known for tag in best.tags}),
            )

    def file(self, row: int) -> tuple[Path, bytes | None] | None:
        """Where the photo of a row was, and its small copy (WebP); None if there is no such row."""
        with self._open() as connection:
            found = connection.execute(
                "SELECT path, image FROM photos LEFT JOIN thumbnails USING (sha256) "
                "WHERE photos.rowid = ? AND NOT is_gone",
                (row,),
            ).fetchone()
        return (Path(os.fsdecode(found[0])), found[1]) if found else None

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(_connect(self._path)) as connection:
                connection.create_function("file_name", 1, _searched, deterministic=True)
                yield connection
        except sqlite3.Error as error:
            raise LandmarkError(
                f"{self._path} cannot be read as an index of photos ({error}). Make one: "
                f"landmark tag PHOTOS --out {self._path.parent}"
            ) from error


def open_library(folder: Path) -> Library:
    """The index that `landmark tag --out` has written into `folder`, for reading only.

    Raises LandmarkError if there is none, or if it is of another program or of a newer version.
    """
    path = folder / INDEX_NAME
    if not path.is_file():
        what = "has no index of photos" if folder.is_dir() else "is not a folder"
        raise LandmarkError(f"{folder} {what}. Make one: landmark tag PHOTOS --out {folder}")
    library = Library(folder)
    with library._open() as connection:
        require_ours(connection, path, "Give the folder of `landmark tag`.")
    return library


def _connect(path: Path) -> sqlite3.Connection:
    """A connection that cannot write."""
    address = f"{path.resolve().as_uri()}?mode=ro"
    connection = sqlite3.connect(address, uri=True, timeout=10)
    try:
        connection.execute("SELECT 1 FROM sqlite_schema").fetchone()
    except sqlite3.OperationalError:  # where nothing can be written, not even SQLite's own notes
        connection.close()
        connection = sqlite3.connect(f"{address}&immutable=1", uri=True)
    return connection


def _landmarks(
    connection: sqlite3.Connection, where: str = "NOT is_gone", values: Iterable[object] = ()
) -> list[tuple[Prediction, int]]:
    """The landmarks on photos, each with how many of them show it."""
    query = f"SELECT {LANDMARK}, max({LABEL}), count(*) FROM photos WHERE {where} GROUP BY 1"
    found = connection.execute(query, (*values,))
    return [(_landmark(name, label), count) for name, label, count in found if name is not None]


def _condition(wanted: LibraryQuery, known: Iterable[Prediction]) -> tuple[str, list[object]]:
    """The condition for a query, and its values; `known` are all landmarks, in the language."""
    parts, values = ["NOT is_gone"], []
    if wanted.place or wanted.tag:
        chosen = [
            best.class_name
            for best in known
            if wanted.place in ("", best.where) and (not wanted.tag or wanted.tag in best.tags)
        ]
        parts.append(f"{LANDMARK} IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(chosen))
    if wanted.text:
        text = wanted.text.casefold()
        named = [
            best.class_name
            for best in known
            if any(text in said.casefold() for said in (best.label, best.where, *best.tags))
        ]
        parts.append(
            f"({LANDMARK} IN (SELECT value FROM json_each(?)) OR instr(file_name(path), ?))"
        )
        values += [json.dumps(named), text]
    if wanted.date:
        parts.append("substr(taken_at, 1, ?) = ?")
        values += [len(wanted.date), wanted.date]
    if wanted.status:
        parts.append("status = ?")
        values.append(wanted.status)
    return " AND ".join(parts), values


def _moments(
    connection: sqlite3.Connection, where: str, values: Iterable[object]
) -> list[tuple[str, int]]:
    """How many of the photos are of each day, month or year, in order."""
    for length in LENGTHS:
        query = (
            f"SELECT substr(taken_at, 1, {length}), count(*) FROM photos "
            f"WHERE {where} AND taken_at != '' GROUP BY 1 ORDER BY 1"
        )
        found = connection.execute(query, (*values,)).fetchall()
        if len(found) <= MOST_MOMENTS:
            break
    return found


def _photo(found: tuple, language: str) -> LibraryPhoto:
    row, path, taken_at, status, name, label, probability = found
    best = None
    if name is not None:
        guess = replace(_landmark(name, label), probability=probability)
        best = guess.in_language(language)
    return LibraryPhoto(row, _file_name(path), taken_at or "", status, best)


@cache
def _landmark(class_name: str, label: str) -> Prediction:
    return Prediction(label, class_name, 1.0, find_place(class_name))


def _file_name(path: str | bytes) -> str:
    """The name of a file without its folder, with placeholders for what is not text."""
    return writable(os.path.basename(os.fsdecode(path)))


def _searched(path: str | bytes) -> str:
    return _file_name(path).casefold()
