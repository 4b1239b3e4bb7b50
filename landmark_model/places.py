"""Where each landmark is and what it is called: the gazetteer behind the class names.

Class names come as folder names ("09.Golden_Gate_Bridge"); `find_place` turns any of their
spellings into a `Place`, and an unknown name into a `Place` that is at least fit to be shown.
"""

import json
import math
import re
import unicodedata
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

LANGUAGES = ("en", "es", "fr", "de", "zh")  # of names, places, countries and tags
EARTH_RADIUS_KM = 6371.0088

# Letters that Unicode does not decompose into plain ones, and apostrophes that it calls letters.
_PLAIN_LETTERS = str.maketrans(
    {"ł": "l", "ø": "o", "đ": "d", "ı": "i", "æ": "ae", "œ": "oe", "ʻ": "", "ʼ": ""}
)
_JOINING_WORDS = frozenset(
    ["a", "and", "da", "de", "del", "des", "di", "du", "la", "of", "the", "von"]
)
# What a data set puts before a class name, as written ("09.", "l10_", "03_") and once folded.
# Only a zero makes "03_" a number: "12_Apostles" is a name.
_PREFIX = re.compile(r"\A(?:\d+\.|l\d+_|0\d*[_-])\s*(?=[^\s\d])", re.IGNORECASE)
_FOLDED_PREFIX = re.compile(r"\A(?:l?\d+)?(?:the)?")


@dataclass(frozen=True)
class Place:
    """A landmark: its names, where it is, and words for it; None and () where unknown.

    Latitude and longitude are degrees (WGS84, north and east positive); extent_km is the rough
    radius of the landmark around that point, in km. `names` are those in other languages by code
    ("es", "fr", "de", "zh"), as far as there is an established one.
    """

    name: str
    local_name: str | None = None
    place: str | None = None
    country: str | None = None
    country_code: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    extent_km: float | None = None
    tags: tuple[str, ...] = ()
    names: dict[str, str] = field(default_factory=dict, hash=False)

    @property
    def where(self) -> str:
        """The place and its country as one would write them: "Paris, France"; "" if unknown."""
        return ", ".join(part for part in (self.place, self.country) if part)

    def name_in(self, language: str | None) -> str:
        """The name in a language ("de", "zh-CN"); where there is none, the English one."""
        return self.names.get(main_language(language), self.name)


def main_language(tag: str | None) -> str:
    """The language of a tag without region or script: "zh" of "zh-CN", "" of none."""
    return re.split("[-_]", tag or "")[0].strip().lower()


def country_in(language: str | None, country_code: str | None) -> str | None:
    """A country's name in one of the languages of `Place.names`; None where not known."""
    return _translations()["countries"].get(country_code, {}).get(main_language(language))


def place_in(language: str | None, place: str | None) -> str | None:
    """A place's name ("Rome") in one of those languages; the English one where not known."""
    return _translations()["places"].get(place, {}).get(main_language(language), place)


def tag_in(language: str | None, tag: str) -> str:
    """A tag ("bridge", "France") in one of those languages; the English one where not known."""
    words = _translations()
    versions = words["tags"].get(tag) or words["places"].get(tag, {})
    country = country_in(language, _country_codes().get(tag))
    return versions.get(main_language(language)) or country or tag


def find_place(class_name: str) -> Place:
    """The landmark of a class or folder name, in any spelling.

    Case, accents, apostrophes, separators, a leading "the" and number prefixes do not matter. A
    name that the gazetteer lacks gives a Place with a tidy name and nothing else.
    """
    spellings = _spellings()
    folded = _fold(class_name)
    bare = _FOLDED_PREFIX.sub("", folded)
    key = spellings.get(folded) or spellings.get(bare)
    return _gazetteer()[key] if key else Place(name=_tidy(class_name))


def all_places() -> dict[str, Place]:
    """Every landmark of the gazetteer by class key ("Eiffel_Tower"), in the order of the keys."""
    return dict(_gazetteer())


def nearest_place(position: tuple[float, float]) -> tuple[str, float]:
    """The class key of the landmark nearest to a (latitude, longitude), and its distance in km."""
    distances = {
        key: distance_km(position, (entry["latitude"], entry["longitude"]))
        for key, entry in _entries().items()
    }
    return min(distances.items(), key=lambda item: item[1])


def distance_km(start: tuple[float, float], end: tuple[float, float]) -> float:
    """The great-circle distance in km between two (latitude, longitude) pairs in degrees."""
    (lat_1, lon_1), (lat_2, lon_2) = (map(math.radians, pair) for pair in (start, end))
    haversine = (
        math.sin((lat_2 - lat_1) / 2) ** 2
        + math.cos(lat_1) * math.cos(lat_2) * math.sin((lon_2 - lon_1) / 2) ** 2
    )
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, haversine)))


def flag(country_code: str | None) -> str:
    """The flag emoji of an ISO 3166 alpha-2 code ("FR"); "" for anything else."""
    if not country_code or not re.fullmatch("[A-Za-z]{2}", country_code):
        return ""
    return "".join(chr(ord("🇦") + ord(letter) - ord("A")) for letter in country_code.upper())


@cache
def _entries() -> dict[str, dict]:
    """The gazetteer file as it stands, read once."""
    text = files(__package__).joinpath("gazetteer.json").read_text(encoding="utf-8")
    return json.loads(text)


@cache
def _translations() -> dict[str, dict[str, dict[str, str]]]:
    """The names of countries (Unicode CLDR), places and tags in other languages, read once."""
    text = files(__package__).joinpath("translations.json").read_text(encoding="utf-8")
    return json.loads(text)


@cache
def _country_codes() -> dict[str, str]:
    """The code of every country by its English name."""
    return {entry["country"]: entry["country_code"] for entry in _entries().values()}


@cache
def _gazetteer() -> dict[str, Place]:
    """Every Place by class key."""
    places = {}
    for key, entry in _entries().items():
        fields = {name: value for name, value in entry.items() if name not in ("aliases", "tags")}
        places[key] = Place(**fields, tags=tuple(entry["tags"]))
    return places


@cache
def _spellings() -> dict[str, str]:
    """The class key of every folded spelling: keys, display names and aliases."""
    return {
        _fold(spelling): key
        for key, entry in _entries().items()
        for spelling in (key, entry["name"], *entry.get("aliases", ()))
    }


def _fold(text: str) -> str:
    """The letters and digits of a text without case or accents, for comparing spellings."""
    plain = unicodedata.normalize("NFKD", text.casefold().translate(_PLAIN_LETTERS))
    return "".join(letter for letter in plain if letter.isalnum())


def _tidy(class_name: str) -> str:
    """A class name as a title: no prefix, spaces for separators, capitals where missing."""
    text = unicodedata.normalize("NFC", class_name).strip()
    words = re.split(r"[\s_-]+", _PREFIX.sub("", text).strip("_- "))
    if not words[0]:
        return text
    first, *rest = words
    return " ".join([_capitalised(first), *map(_title_word, rest)])


def _title_word(word: str) -> str:
    """A word as inside a title: joining words lower, others with a capital."""
    return word.lower() if word.lower() in _JOINING_WORDS else _capitalised(word)


def _capitalised(word: str) -> str:
    """A word with its first letter upper and the rest as it was ("McDonald")."""
    return word[:1].upper() + word[1:]
