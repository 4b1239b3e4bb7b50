"""The words of the page in each language it speaks, and which language a visitor reads."""

import json
from functools import cache
from pathlib import Path

from landmark_model import LANGUAGES, LandmarkError

# Decimal mark, thousands mark, and what stands before a per cent sign.
NUMBER_MARKS = {"es": (",", "\u202f", "\u202f"), "fr": (",", "\u202f", "\u202f"),
                "de": (",", ".", "\u202f")}  # fmt: skip


@cache
def _table(name: str = "words") -> dict[str, dict[str, str]]:
    return json.loads(Path(__file__).with_name(f"{name}.json").read_text(encoding="utf-8"))


def say(key: str, language: str, table: str = "words", **values: object) -> str:
    """The words of `key` in `language`, with `values` filled in; English where it is not spoken.

    `table` names the JSON file that has them.
    """
    versions = _table(table)[key]
    return versions.get(language, versions["en"]).format(**values)


def explain(error: LandmarkError, language: str) -> str:
    """What is wrong, in `language`; as the error itself says it where there are no words for it."""
    return say(f"why_{error.reason}", language, **error.details) if error.reason else str(error)


def all_words(**values: object) -> dict[str, dict[str, str]]:
    """Every key's words by language, with those of `values` that it names filled in."""
    filled = _Filled(values)
    return {
        language: {key: words[language].format_map(filled) for key, words in _table().items()}
        for language in LANGUAGES
    }


class _Filled(dict):
    """Leaves placeholders without a value as they are."""

    def __missing__(self, key: str) -> str:
        return f"{{{key}}}"


def percent(share: float, language: str, digits: int = 0) -> str:
    """A share 0..1 in per cent, as one writes it in a language: "84.6%", "84,6 %"."""
    gap = NUMBER_MARKS.get(language, ("", "", ""))[2]
    return f"{number(100 * share, language, digits)}{gap}%"


def number(value: float, language: str, digits: int = 0) -> str:
    """A number as one writes it in a language: "1,522.5", "1.522,5"."""
    point, comma, _ = NUMBER_MARKS.get(language, (".", ",", ""))
    return f"{value:,.{digits}f}".translate({ord("."): point, ord(","): comma})


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
