"""What the report and the rows of a library say, in each language."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from landmark_model import LANGUAGES, LandmarkError

LOCALES = Path(__file__).with_name("locales")


@cache
def words_in(language: str | None) -> dict[str, str]:
    """The texts in a language by key; English where it is not spoken.

    Raises LandmarkError if it has no file, or one that lacks a text that the English one has.
    """
    name = language if language in LANGUAGES else "en"
    path = LOCALES / f"{name}.json"
    words = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    missing = [key for key in (words_in("en") if name != "en" else ()) if not words.get(key)]
    if missing:
        raise LandmarkError(
            f"The language {name!r} has no text {missing[0]!r} in landmark_model/library/locales/"
            f"{path.name}, though it has landmark_model/locales/{path.name}. Add it, or remove the "
            "other one."
        )
    return words
