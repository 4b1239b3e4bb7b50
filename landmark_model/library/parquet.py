"""The table of a library as a Parquet file: the columns of the CSV, each with its type."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import BinaryIO

from landmark_model.library.tagging import COLUMNS, Tagged, line_of, writable

GROUP_SIZE = 10_000  # rows that are in memory together, and in the file
NUMBERS = {"probability", "latitude", "longitude", "trip_radius_km"}
LISTS = {"tags", "other_guesses"}


def write_parquet(rows: Iterable[Tagged], file: BinaryIO) -> None:
    """Writes a line for each photo, in groups of rows; what is empty in the CSV is null.

    Raises ModuleNotFoundError without pyarrow, which the extra `parquet` installs.
    """
    import pyarrow  # here, since the other exports do without
    from pyarrow import parquet

    kinds = dict.fromkeys(COLUMNS, pyarrow.string())
    kinds |= dict.fromkeys(NUMBERS, pyarrow.float64())
    kinds |= dict.fromkeys(LISTS, pyarrow.list_(pyarrow.string()))
    schema = pyarrow.schema(kinds)
    lines = (dict(zip(COLUMNS, map(_value, line_of(row)), strict=True)) for row in rows)
    with parquet.ParquetWriter(file, schema) as writer:
        while group := [*islice(lines, GROUP_SIZE)]:
            writer.write_table(pyarrow.Table.from_pylist(group, schema))
    del group
    pyarrow.default_memory_pool().release_unused()  # it would keep the room of a group


def _value(value: object) -> object:
    """A cell as Parquet has it."""
    if isinstance(value, tuple):
        return [writable(text) for text in value]
    return (writable(value) or None) if isinstance(value, str) else value
