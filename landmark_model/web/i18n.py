"""The texts of the page in each language, and the choice of a visitor's language."""

import json
from functools import cache
from pathlib import Path

from landmark_model import LANGUAGES, LandmarkError

LOCALES = Path(__file__).with_name("locales")


@cache
def _locale(language: str) -> dict[str, dict[str, str]]:
    """The file of a language: "page", "quality" and "numbers"; English for any other.

    Raises LandmarkError if there is none beside the one for the names of landmarks.
    """
    name = language if language in LANGUAGES else "en"
    path = LOCALES / f"{name}.json"
    if not path.is_file():
        raise LandmarkError(
            f"The language {name!r} has no file landmark_model/web/locales/{path.name}, though it "
            f"has landmark_model/locales/{path.name}. Add it, or remove the other one."
        )
    return json.loads(path.read_text(encoding="utf-8"))


def say(key: str, language: str, section: str = "page", **values: object) -> str:
    """The words of `key` in `language`, with `values` filled in; English where it is not spoken.

    `section` is the part of the language's file that has them.
    """
    return _locale(language)[section][key].format(**values)


def explain(error: LandmarkError, language: str) -> str:
    """An error's message in `language`; its own text if there is no translation."""
    key = f"why_{error.reason}"
    if key in _locale(language)["page"]:
        return say(key, language, **error.details)
    return error.in_language(language)


def all_words(**values: object) -> dict[str, dict[str, str]]:
    """Every key's words by language, with those of `values` that it names filled in."""
    words: dict[str, dict[str, str]] = {}
    for language in LANGUAGES:
        words[language] = dict(_locale(language)["page"])
        for name, value in values.items():
            gap = f"{{{name}}}"
            words[language] |= {k: w.replace(gap, str(value)) for k, w in words[language].items()}
    return words


def percent(share: float, language: str, digits: int = 0) -> str:
    """A share 0..1 in per cent, as written in a language: "84.6%", "84,6 %"."""
    gap = _locale(language)["numbers"]["before_percent"]
    return f"{number(100 * share, language, digits)}{gap}%"


def number(value: float, language: str, digits: int = 0) -> str:
    """A number as written in a language: "1,522.5", "1.522,5"."""
    marks = _locale(language)["numbers"]
    return f"{value:,.{digits}f}".translate({46: marks["decimal"], 44: marks["thousands"]})


def pick_language(accepted: str | None) -> str:
    """The best of `LANGUAGES` for an Accept-Language header ("fr-CH, fr;q=0.9, en;q=0.8")."""
    wishes = []
    for part in (accepted or "").split(","):
        tag, _, weight = part.strip().partition(";q=")
        try:
            wishes.append((float(weight or 1), tag.split("-")[0].lower()))
        except ValueError:  # a header that some program made up
            continue
    for weight, tag in sorted(wishes, key=lambda wish: -wish[0]):
        if tag in LANGUAGES and weight > 0:
            return tag
    return "en"
