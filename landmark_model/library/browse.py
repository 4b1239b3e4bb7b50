"""An index of `landmark tag`, to be looked through: opened for reading only, page by page.

Each question opens the file anew: threads can ask at once, and a run of `tag` may go on meanwhile.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from landmark_model import LandmarkError, Prediction
from landmark_model.library.index import (
    COLUMNS,
    INDEX_NAME,
    STOPS,
    UNTAGGED,
    Shown,
    View,
    place_of,
    require_ours,
    to_shown,
)
from landmark_model.library.tagging import writable
from landmark_model.library.words import words_in

MOST_MOMENTS = 60  # of the timeline: days, months or years, the finest of which there are not more
LENGTHS = (10, 7, 4)  # of a day, a month, a year by ISO 8601
# Each photo with what its trip says of it: the landmark that it shows, if any; of the place of the
# trip, the landmark near it, and that whose city it is in.
SHOWN = f"""
CREATE TEMP VIEW shown AS SELECT
    photos.rowid AS number, photos.path AS path, taken_at, is_gone, guesses,
    CASE {UNTAGGED} ELSE 'tagged' END AS status,
    ifnull(
        stops.landmark,
        CASE WHEN how IS NULL AND status = 'tagged' THEN json_extract(guesses, '$[0][0]') END
    ) AS landmark,
    CASE WHEN how = 'trip' THEN near END AS near,
    CASE WHEN how = 'trip' AND is_city THEN near END AS city
FROM photos LEFT JOIN stops USING (path)
"""


@dataclass(frozen=True)
class LibraryQuery:
    """Which photos are looked for; "" for any.

    `text` is part of a landmark's name, place or tag, or of a file's name; `place` and `tag` as
    `LibraryView` lists them, all in `language`. `date` is the beginning of a time by ISO 8601:
    "2024", "2024-05". `status` is "tagged", "unknown", "doubtful" or "unreadable".
    """

    language: str = "en"
    text: str = ""
    place: str = ""
    tag: str = ""
    date: str = ""
    status: str = ""


class LibraryPhoto(NamedTuple):
    """A photo of the index: the number of its row, the file's name without its folder, when it was
    taken (ISO 8601, "" if unknown), its status, and its landmark, if it shows one.

    `where` is "Paris, France", of the landmark or of the trip, `trip` the place of the trip in
    words, and `reason` why it shows no landmark; "" where there is none.
    """

    row: int
    name: str
    taken_at: str
    status: str
    best: Prediction | None
    where: str = ""
    trip: str = ""
    reason: str = ""


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
            _prepare(connection)
            known = _known(connection, wanted.language)
            where, values = _condition(wanted, known)
            undated, others = _condition(replace(wanted, date=""), known)
            counts = f"SELECT count(*) FROM shown WHERE {where}"
            landmarks = _landmarks(connection, where, values)
            places = {one.where for one in (*known.landmarks, *known.cities)}
            return LibraryView(
                _photos(connection, wanted.language, where, (*values, limit, start)),
                connection.execute(counts, values).fetchone()[0],
                connection.execute("SELECT count(*) FROM photos WHERE NOT is_gone").fetchone()[0],
                [(best.in_language(wanted.language), count) for best, count in landmarks],
                _moments(connection, undated, others),
                sorted(places - {""}),
                sorted({tag for best in known.landmarks for tag in best.tags}),
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


def open_library(folder: str | Path) -> Library:
    """The index that `landmark tag --out` has written into `folder`, for reading only.

    Raises LandmarkError if there is none, or if it is of another program or of a newer version.
    """
    folder = Path(folder)
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


def _prepare(connection: sqlite3.Connection) -> None:
    """Makes the view SHOWN, and in an index of before the table that it lacks; not in the file."""
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'stops'").fetchone():
        table = STOPS.split(";")[0]
        connection.execute(table.replace("TABLE IF NOT EXISTS", "TEMP TABLE"))
    connection.execute(SHOWN)


class Known(NamedTuple):
    """The landmarks on photos of a library, those that places of trips are near, and those whose
    city these are in; in a language."""

    landmarks: list[Prediction]
    nears: list[Prediction]
    cities: list[Prediction]


def _known(connection: sqlite3.Connection, language: str) -> Known:
    landmarks = [best.in_language(language) for best, _ in _landmarks(connection)]
    query = "SELECT DISTINCT near, city FROM shown WHERE near NOT NULL AND NOT is_gone"
    found = connection.execute(query).fetchall()
    named = {name: _near(name).in_language(language) for name, _ in found}
    cities = [named[city] for _, city in found if city]
    return Known(landmarks, [*named.values()], cities)


def _landmarks(
    connection: sqlite3.Connection, where: str = "NOT is_gone", values: Iterable[object] = ()
) -> list[tuple[Prediction, int]]:
    """The landmarks on photos, each with how many of them show it."""
    query = (  # with max(), the guesses are those of that row
        "SELECT landmark, guesses, max(number), count(*) FROM shown "
        f"WHERE {where} AND landmark NOT NULL GROUP BY landmark"
    )
    found = connection.execute(query, (*values,))
    return [(_landmark(name, guesses), count) for name, guesses, _, count in found]


def _condition(wanted: LibraryQuery, known: Known) -> tuple[str, list[object]]:
    """The condition for a query, and its values."""
    parts, values = ["NOT is_gone"], []

    def add(columns: str, *chosen: Iterable[Prediction], more: str = "") -> None:
        among = [f"{column} IN (SELECT value FROM json_each(?))" for column in columns.split()]
        parts.append(f"({' OR '.join(among)}{more})")
        values.extend(json.dumps([one.class_name for one in ones]) for ones in chosen)

    if wanted.place:
        there = [[one for one in ones if one.where == wanted.place] for ones in known]
        add("landmark city", there[0], there[2])
    if wanted.tag:
        add("landmark", [best for best in known.landmarks if wanted.tag in best.tags])
    if wanted.text:
        text = wanted.text.casefold()

        def says(*said: str) -> bool:
            return any(text in one.casefold() for one in said)

        add(
            "landmark near city",
            [best for best in known.landmarks if says(best.label, best.where, *best.tags)],
            [near for near in known.nears if says(near.label)],
            [city for city in known.cities if says(city.where)],
            more=" OR instr(file_name(path), ?)",
        )
        values.append(text)
    if wanted.date:
        parts.append("substr(taken_at, 1, ?) = ?")
        values += [len(wanted.date), wanted.date]
    if wanted.status:
        parts.append("status = ?")
        values.append(wanted.status)
    return " AND ".join(parts), values


def _photos(
    connection: sqlite3.Connection, language: str, where: str, values: Iterable[object]
) -> list[LibraryPhoto]:
    """Those of the photos that are on a page, as the table and the report have them."""
    names = [name for (name,) in connection.execute("SELECT name FROM pragma_table_info('photos')")]
    # An index of before lacks a column.
    columns = ", ".join(f"photos.{name}" if name in names else "NULL" for name in COLUMNS)
    order = "ORDER BY taken_at DESC, path"
    found = connection.execute(
        f"SELECT photos.rowid, {columns}, stops.* FROM photos LEFT JOIN stops USING (path) "
        f"WHERE photos.rowid IN (SELECT number FROM shown WHERE {where} {order} LIMIT ? OFFSET ?) "
        f"{order}",
        (*values,),
    )
    return [_photo(row, to_shown(rest, "", View(language))) for row, *rest in found]


def _moments(
    connection: sqlite3.Connection, where: str, values: Iterable[object]
) -> list[tuple[str, int]]:
    """How many of the photos are of each day, month or year, in order."""
    for length in LENGTHS:
        query = (
            f"SELECT substr(taken_at, 1, {length}), count(*) FROM shown "
            f"WHERE {where} AND taken_at != '' GROUP BY 1 ORDER BY 1"
        )
        found = connection.execute(query, (*values,)).fetchall()
        if len(found) <= MOST_MOMENTS:
            break
    return found


def _photo(number: int, shown: Shown) -> LibraryPhoto:
    row, name, trip = shown.row, _file_name(shown.path), ""
    if row.trip and row.trip.near:
        words = words_in(row.trip.language)["trip"]
        trip = words.format(km=math.ceil(row.trip.radius_km), place=row.trip.near.label)
    where = row.best.where if row.best else row.city.where if row.city else ""
    about = where, trip, writable(row.reason)
    return LibraryPhoto(number, name, row.camera.taken_at, row.status, row.best, *about)


def _landmark(class_name: str, guesses: str) -> Prediction:
    """A landmark as the guesses for a photo have it."""
    found = (guess for guess in json.loads(guesses) if guess[0] == class_name)
    _, label, _, *own = next(found)
    return Prediction(label, class_name, 1.0, place_of(class_name, *own))


def _near(class_name: str) -> Prediction:
    place = place_of(class_name)
    return Prediction(place.name, class_name, 1.0, place)


def _file_name(path: str | bytes) -> str:
    """The name of a file without its folder, with placeholders for what is not text."""
    return writable(os.path.basename(os.fsdecode(path)))


def _searched(path: str | bytes) -> str:
    return _file_name(path).casefold()
