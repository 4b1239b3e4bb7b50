"""What is said of a landmark that was taught, and the file that keeps landmarks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypedDict

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialise

from landmark_model.config import name_fault
from landmark_model.errors import LandmarkError
from landmark_model.files import parse_json, printable, staged
from landmark_model.places import LANGUAGES, Place, country_of, find_place
from landmark_model.teaching import MOST_LANDMARKS, MOST_PHOTOS, Lessons, Look
from landmark_model.tensors import Claim, read_claims, read_tensors

KIND = "landmark_model taught 1"  # and its version
MOST_STORED = 20_000_000  # numbers
MOST_TAGS, MOST_CHARACTERS = 20, 100
TEXTS = ("name", "local_name", "place", "region", "country", "country_code")
RANGES = {"latitude": 90, "longitude": 180, "extent_km": 20_000}
KEPT = (*TEXTS, *RANGES, "tags", "names", "says_region")  # of a Place, in the file


class Whereabouts(TypedDict, total=False):
    """What is known of a landmark that is taught; all of it may be left out.

    `country` is its name, or its ISO 3166 alpha-2 code; degrees are WGS84, north and east positive.
    """

    place: str | None
    region: str | None
    country: str | None
    latitude: float | None
    longitude: float | None
    tags: Sequence[str]


def make_place(name: object, where: Whereabouts) -> Place:
    """The landmark of that name, with what the gazetteer says of it, and what `where` does instead.

    Raises LandmarkError if a value is not of its kind, or cannot be displayed.
    """
    _require_text("name", name)
    known = find_place(name)
    place = known if known.latitude is not None else Place(name.strip())
    given = {key: value for key, value in where.items() if value not in (None, "", ())}
    if odd := given.keys() - Whereabouts.__annotations__.keys():
        allowed = ", ".join(Whereabouts.__annotations__)
        raise LandmarkError(f"teach knows no {min(odd)}. Give {allowed}.")
    if "tags" in given:
        given["tags"] = _tags(given["tags"])
    place = replace(place, **given)
    _require_place(place)
    if "country" in given:
        country, code = country_of(given["country"])
        place = replace(place, country=country, country_code=code)
    return place


def _tags(tags: object) -> tuple[str, ...]:
    if isinstance(tags, str) or not isinstance(tags, Sequence):
        raise LandmarkError("tags must be a list of words, such as ('castle', 'forest').")
    return tuple(tags)


def _require_place(place: Place) -> None:
    """Raises LandmarkError unless a landmark can be displayed, on maps too."""
    for key in TEXTS:
        if key == "name" or getattr(place, key) is not None:
            _require_text(key, getattr(place, key))
    for key, most in RANGES.items():
        value = getattr(place, key)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (is_number and -most <= value <= most):
            text = "{field} is {value}: it must be from -{most:,} to {most:,}."
            about = {"field": key, "value": f"{value!r:.60}", "most": most}
            raise LandmarkError.because("teach_position", text, **about)
    if (place.latitude is None) != (place.longitude is None):
        text = "A position needs latitude and longitude: give both, or none."
        raise LandmarkError.because("teach_position", text)
    if len(place.tags) > MOST_TAGS:
        raise LandmarkError(f"{len(place.tags)} tags are too many: give {MOST_TAGS} or fewer.")
    for tag in place.tags:
        _require_text("a tag", tag)


def _require_text(key: str, text: object) -> None:
    if not isinstance(text, str) or not text.strip():
        raise _no_text(key, text, "is no text that can be shown")
    fault = name_fault(text)
    if not fault and len(text) > MOST_CHARACTERS:
        fault = f"is longer than {MOST_CHARACTERS} characters"
    if fault:
        raise _no_text(key, printable(text), fault)


def _no_text(key: str, text: object, fault: str) -> LandmarkError:
    message = "{field} {said} {fault}. Write it otherwise."
    about = {"field": key, "said": f"{text!r:.60}", "fault": fault}
    return LandmarkError.because("teach_text", message, **about)


# --- the file ---


def write_taught(path: Path, lessons: Lessons, stamp: str) -> None:
    """Writes the landmarks to `path`, as safetensors: features as float16 (P, D), `owners` (P,).

    `stamp` is that of the network, in the metadata with what is said of each landmark.
    """
    said = [{key: asdict(place)[key] for key in KEPT} for place in lessons.places]
    about = {"kind": KIND, "stamp": stamp, "landmarks": json.dumps(said, ensure_ascii=False)}
    stored = {"features": lessons.features.astype(np.float16), "owners": lessons.owners}
    with staged(path.parent) as scratch:
        (scratch / path.name).write_bytes(serialise(stored, metadata=about))


def read_head(path: Path) -> tuple[dict[str, Claim], dict[str, str]]:
    """The tensors in the file at `path`, which are not read, and what it says of them.

    Raises LandmarkError if it is missing, or no file of landmarks.
    """
    try:
        claims = read_claims(path)
        with safe_open(path, "np") as file:
            about = file.metadata() or {}
    except (LandmarkError, SafetensorError, OSError) as error:
        if not path.is_file():
            raise
        raise _damaged(path, "it is not whole") from error
    if about.get("kind") != KIND:
        raise _damaged(path, "it does not say that it holds landmarks that were taught")
    return claims, about


def read_taught(path: Path, look: Look, stamp: str) -> Lessons:
    """The landmarks in the file at `path`, for the network with that look and stamp.

    Raises LandmarkError if it is missing, damaged, or of another network.
    """
    claims, about = read_head(path)
    if about.get("stamp") != stamp:
        theirs = printable(str(about.get("stamp")))[:80]
        raise LandmarkError.because(
            "teach_other",
            "{name} was taught to another network ({theirs}), and not to this one ({ours}). Load "
            "that network, or teach this one from the photos.",
            name=path.name,
            theirs=theirs,
            ours=stamp,
        )
    places = _read_places(path, about.get("landmarks", ""))
    _require_tables(path, claims, len(look.centre))
    stored = read_tensors(path)
    features, owners = stored["features"], stored["owners"]
    lengths = np.einsum("pd,pd->p", features, features)
    is_unit = ((lengths > 0.98) & (lengths < 1.02)).all()
    has_all = np.array_equal(np.unique(owners), np.arange(len(places)))
    if not is_unit or not has_all or np.bincount(owners).max(initial=0) > MOST_PHOTOS:
        raise _damaged(path, "its features are not those of its landmarks")
    return Lessons(look, places, features, owners)


def _require_tables(path: Path, claims: dict, width: int) -> None:
    """Raises LandmarkError unless the header lists features and owners of a network's width."""
    fits = claims.keys() == {"features", "owners"}
    if fits:
        features, owners = claims["features"], claims["owners"]
        is_table = features.is_float and features.shape == (*owners.shape[:1], width)
        fits = is_table and owners.kind == "I32" and len(owners.shape) == 1
        fits = fits and features.count <= MOST_STORED
    if not fits:
        raise _damaged(path, f"it does not hold {width} features for each photo")


def _read_places(path: Path, text: str) -> tuple[Place, ...]:
    said = parse_json(text, path.name)
    if not isinstance(said, list) or len(said) > MOST_LANDMARKS:
        raise _damaged(path, "it has no list of landmarks")
    places = tuple(_read_place(path, one) for one in said)
    if len({place.name for place in places}) < len(places):
        raise _damaged(path, "a landmark is there twice")
    return places


def _read_place(path: Path, said: object) -> Place:
    """A landmark as the file describes it."""
    fits = isinstance(said, dict) and said.keys() == set(KEPT)
    fits = fits and isinstance(said["tags"], list) and isinstance(said["says_region"], bool)
    names = said["names"] if fits else None
    if not isinstance(names, dict) or not names.keys() <= set(LANGUAGES):
        raise _damaged(path, "a landmark is not described as it should be")
    try:
        place = Place(**said | {"tags": tuple(said["tags"])})
        _require_place(place)
        for name in names.values():
            _require_text("name", name)
    except LandmarkError as error:
        raise _damaged(path, str(error)) from error
    return place


def _damaged(path: Path, why: str) -> LandmarkError:
    return LandmarkError(
        f"{path.name} is not a file of landmarks that were taught, or is damaged: {why}. Give one "
        "that save_taught or landmark teach wrote."
    )
