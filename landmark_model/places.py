"""Where each landmark is and what it is called: the gazetteer behind the class names.

Class names come as folder names ("09.Golden_Gate_Bridge"); `find_place` turns any of their
spellings into a `Place`, and an unknown name into a `Place` that can at least be displayed.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from dataclasses import dataclass, field, replace
from functools import cache, reduce
from importlib.resources import files
from pathlib import Path

_LOCALES = files(__package__).joinpath("locales")
# Of names, places, countries and tags: English, and each that has a file.
LANGUAGES = ("en", *sorted({Path(file.name).stem for file in _LOCALES.iterdir()} - {"en"}))
WHERE = "{place}, {country}"
KEYWORD_ROOT = "Places"  # the keyword that photo programs file all places under
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
    """A landmark: its names, its place, and tags; None and () if unknown.

    `place` is the city or nearest town, None where none is near; `region` the state or region
    around it ("South Dakota", "Bavaria"), which people write between place and country where
    `says_region`. Latitude and longitude are degrees (WGS84, north and east positive); extent_km is
    the rough radius of the landmark around that point, in km. `names` are those in other languages
    by code ("es", "fr", "de", "zh"), as far as there is an established one.
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
    region: str | None = None
    says_region: bool = False
    where_pattern: str = field(default=WHERE, repr=False, compare=False)
    keyword_root: str = field(default=KEYWORD_ROOT, repr=False, compare=False)

    @property
    def where(self) -> str:
        """The place as people write it: "Paris, France"; "" if unknown."""
        parts = dict.fromkeys(filter(None, (self.area, self.country)))  # Singapore is both
        return reduce(self._inside, parts, "")

    @property
    def area(self) -> str:
        """`where` without the country: "Paris", "Keystone, South Dakota", "Queensland"."""
        return reduce(self._inside, filter(None, (self.place, self._said_region)), "")

    @property
    def _said_region(self) -> str | None:
        """The region, if it stands in `where`: where `says_region`, or for want of a place."""
        return self.region if self.says_region or not self.place else None

    def _inside(self, place: str, around: str) -> str:
        """A place and what is around it as one text: "Rome, Italy"."""
        return self.where_pattern.format(place=place, country=around) if place else around

    @property
    def flag(self) -> str:
        """The country's flag as emoji; "" if unknown."""
        return flag(self.country_code)

    def in_language(self, language: str | None) -> Place:
        """The same landmark with name, place, region, country and tags in a language ("de", "zh").

        What has no name there stays as it is. Place and country stand in the order of the language,
        where the place and the region beside it have names in it.
        """
        place, region = place_in(language, self.place), region_in(language, self.region)
        said = ((self.place, place), (self._said_region, region))
        is_named = all(english != name for english, name in said if english)
        return replace(
            self,
            name=self.name_in(language),
            place=place,
            region=region,
            country=country_in(language, self.country_code) or self.country,
            tags=tuple(dict.fromkeys(tag_in(language, tag) for tag in self.tags)),
            where_pattern=_locale(language)["where"] if is_named else WHERE,
            keyword_root=_locale(language).get("keyword_root", KEYWORD_ROOT),
        )

    def name_in(self, language: str | None) -> str:
        """The name in a language ("de", "zh-CN"); where there is none, the English one."""
        return self.names.get(main_language(language), self.name)


def main_language(tag: str | None) -> str:
    """The language of a tag without region or script: "zh" of "zh-CN", "" of none."""
    return re.split("[-_]", tag or "")[0].strip().lower()


def country_in(language: str | None, country_code: str | None) -> str | None:
    """A country's name in one of the languages of `Place.names`; None if not known."""
    return _words(language, "countries").get(country_code)


def country_of(text: str) -> tuple[str, str | None]:
    """Name and ISO code of a country, given either; as far as the gazetteer knows it.

    The code is None where it is not known; a code that is not known is the name, too.
    """
    codes = {fold(name): code for name, code in _country_codes().items()}
    names = {code: name for name, code in _country_codes().items()}
    code = text.strip().upper()
    if flag(code):
        return names.get(code, code), code
    code = codes.get(fold(text))
    return names.get(code, text.strip()), code


def place_in(language: str | None, place: str | None) -> str | None:
    """A place's name ("Rome") in one of those languages; the English one where not known."""
    return _words(language, "places").get(place, place)


def region_in(language: str | None, region: str | None) -> str | None:
    """A region's name ("Bavaria") in one of those languages; the English one where not known."""
    return _words(language, "regions").get(region, region)


def tag_in(language: str | None, tag: str) -> str:
    """A tag ("bridge", "France") in one of those languages; the English one where not known."""
    words = (_words(language, kind).get(tag) for kind in ("tags", "places", "regions"))
    return next(filter(None, words), country_in(language, _country_codes().get(tag)) or tag)


def reason_in(language: str | None, reason: str) -> str | None:
    """What is wrong with a photo, in one of those languages; None if there are no words for it.

    `reason` is that of a LandmarkError, whose details fill the gaps.
    """
    return _words(language, "reasons").get(reason)


def find_place(class_name: str) -> Place:
    """The landmark of a class or folder name, in any spelling.

    Case, accents, apostrophes, separators, a leading "the" and number prefixes do not matter. A
    name that the gazetteer lacks gives a Place with a tidy name and nothing else.
    """
    spellings = _spellings()
    folded = fold(class_name)
    bare = _FOLDED_PREFIX.sub("", folded)
    key = spellings.get(folded) or spellings.get(bare)
    return _gazetteer()[key] if key else Place(name=_tidy(class_name))


def all_places() -> dict[str, Place]:
    """Every landmark of the gazetteer by class key ("Eiffel_Tower"), in the order of the keys."""
    return dict(_gazetteer())


def nearest_place(position: tuple[float, float]) -> tuple[str, float]:
    """The class key of the landmark nearest to a (latitude, longitude), and its distance in km."""
    nearest, least = "", math.inf
    for key, entry in _entries().items():
        apart = math.radians(abs(entry["latitude"] - position[0])) * EARTH_RADIUS_KM
        if apart < least:  # else it cannot be nearer, whatever the longitude
            distance = distance_km(position, (entry["latitude"], entry["longitude"]))
            if distance < least:
                nearest, least = key, distance
    return nearest, least


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
def _locale(language: str | None) -> dict[str, object]:
    """The file of a language, read once; the English one if the language is missing."""
    name = main_language(language)
    file = _LOCALES.joinpath(f"{name if name in LANGUAGES else 'en'}.json")
    return json.loads(file.read_text(encoding="utf-8"))


def _words(language: str | None, kind: str) -> dict[str, str]:
    """The words of a kind ("landmarks", "places", "reasons", ...) in a language."""
    return _locale(language).get(kind, {})


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
        names = {code: _words(code, "landmarks").get(key) for code in LANGUAGES}
        names = {code: name for code, name in names.items() if name}
        places[key] = Place(**fields, tags=tuple(entry["tags"]), names=names)
    return places


@cache
def _spellings() -> dict[str, str]:
    """The class key of every folded spelling: keys, display names and aliases."""
    return {
        fold(spelling): key
        for key, entry in _entries().items()
        for spelling in (key, entry["name"], *entry.get("aliases", ()))
    }


def fold(text: str) -> str:
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
