"""Exports of an index as files: views of it, written whole or not at all, without a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from landmark_model import LandmarkError
from landmark_model.files import staged
from landmark_model.library.index import Index, View
from landmark_model.library.parquet import write_parquet
from landmark_model.library.tagging import Tagged, write_csv, write_json_lines

# By the option: the name of the file, what writes it, and its encoding, if it is text.
TABLES: dict[str, tuple[str, Callable[[Iterable[Tagged], IO], None], str | None]] = {
    "csv": ("tags.csv", write_csv, "utf-8-sig"),
    "json": ("tags.jsonl", write_json_lines, "utf-8"),
    "parquet": ("tags.parquet", write_parquet, None),
}
REPORT_NAME = "report.html"


def write_table(kind: str, index: Index, view: View, out: Path) -> None:
    """Writes one of TABLES into the folder `out`.

    Raises LandmarkError if it cannot be written; then the one that is there stays as it was.
    """
    name, write, encoding = TABLES[kind]
    how = {"mode": "w", "encoding": encoding, "newline": ""} if encoding else {"mode": "wb"}
    with written(out / name) as file_path, file_path.open(**how) as file:
        write((shown.row for shown in index.rows(view)), file)


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Where to write a file that shall be at `path` at the end, whole or not at all."""
    try:
        with staged(path.parent) as scratch:
            yield scratch / path.name
    except OSError as error:
        raise LandmarkError(
            f"{path} cannot be written ({error.strerror or error}). The index is whole: make room "
            "or move what is in the way, and run the same command again."
        ) from error
