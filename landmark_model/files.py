"""Files that are whole or not there: a killed program leaves what was there before."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A scratch folder; all that is written there moves to `folder` at the end, or nothing does.

    Each file replaces its predecessor in one step of the file system. `folder` is made if needed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".staging-", dir=folder))
    try:
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
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Writes `text` to `path`, replacing what was there in one step."""
    with staged(path.parent) as scratch:
        (scratch / path.name).write_text(text, encoding="utf-8")
