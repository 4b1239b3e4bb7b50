"""A card for each landmark: its picture, a photo or a drawing of its kind, and how well it does."""

from __future__ import annotations

import csv
import html
from collections.abc import Iterable
from functools import cache

from landmark_model import Place, Prediction, find_place
from landmark_model.web import STATIC
from landmark_model.web.html.figures import find_mixups
from landmark_model.web.i18n import percent, say
from landmark_model.web.measured import Measured

FOLDER = STATIC / "landmarks"
PATH = "/pictures/"
# What a landmark is drawn as, by the first of its tags that is here; nothing else is a PLACE.
KINDS = {
    "arch": "arch, gate, natural arch, stone circle, triumphal arch",
    "bridge": "aqueduct, bridge",
    "castle": "castle, citadel, fortification, fortress, wall",
    "church": "abbey, basilica, cathedral, church",
    "dome": "dome, mausoleum, mosque",
    "garden": "forest, garden, park",
    "hall": "amphitheatre, ancient ruins, city hall, columns, house, museum, opera house, "
    "palace, parliament, stadium",
    "mountain": "canyon, cave, desert, monolith, mountain, mountains, national park, pyramid, "
    "rock formation, volcano",
    "skyscraper": "hotel, office building, skyscraper",
    "statue": "memorial, statue",
    "temple": "Buddhist temple, Hindu temple, Taoist temple, monastery",
    "tower": "Ferris wheel, clock, clock tower, column, lattice tower, minaret, obelisk, tower",
    "water": "bay, coral reef, fountain, island, lake, salt lake, sea, waterfall, village",
}
PLACE = "place"
MOST_MIXUPS = 3  # on a card
KIND_OF = {tag: kind for kind, tags in KINDS.items() for tag in tags.split(", ")}


def wall(landmarks: Iterable[Prediction], measured: Measured, root: str, language: str) -> str:
    """All landmarks by name, a card each, as HTML to be styled by pictures.css.

    `root` is the path that the app is served under, "" for none.
    """
    landmarks = list(landmarks)
    scores = {score["class_name"]: score for score in measured.test.get("classes", ())}
    mixups: dict[str, list[str]] = {}
    for pair in find_mixups(landmarks, measured):
        text = f"{pair.guess.name_in(language)} ({pair.wrong})"
        mixups.setdefault(pair.truth.class_name, []).append(text)
    named = [(one.in_language(language), one.landmark) for one in landmarks]
    cards = ""
    for here, place in sorted(named, key=lambda pair: pair[0].label.casefold()):
        score = scores.get(here.class_name, {})
        wrong = mixups.get(here.class_name, [])[:MOST_MIXUPS]
        cards += _card(here, picture(place, root), _score(score, wrong, language), language)
    return (
        f'{_drawings()}<div class="wall" role="group" tabindex="0" '
        f'aria-label="{say("landmarks", language)}"><ul>{cards}</ul></div>'
    )


def _card(here: Prediction, image: str, score: str, language: str) -> str:
    """The card of a landmark, as `here` says its name and place; page.js knows the button."""
    name, where = html.escape(here.label), html.escape(here.landmark.area or here.country or "")
    flag = f'<span aria-hidden="true">{here.flag}</span> ' if here.flag else ""
    find = say("find_photos", language)
    button = (
        f'<button type="button" class="find" data-name="{name}" aria-label="{find}: {name}">'
        f"{find}</button>"
    )
    return f"<li>{image}<b>{name}</b><small>{flag}{where}</small>{score}{button}</li>"


def _score(score: dict, mixups: list[str], language: str) -> str:
    """How many of its test photos were recognised, and what the others were taken for; as HTML."""
    if not score.get("support"):
        return ""
    share, count = percent(score["recall"], language), score["support"]
    lines = [say("card_score", language, share=share, count=count)]
    if mixups:
        lines.append(say("card_mixups", language, names=", ".join(mixups)))
    return "".join(f"<small>{html.escape(line)}</small>" for line in lines)


def picture(place: Place, root: str) -> str:
    """The photo of a landmark, loaded when it comes into sight, or its drawing."""
    credit = photo_credits().get(place)
    if credit is None:
        return (
            f'<svg class="picture" aria-hidden="true"><use href="#drawn-{kind_of(place)}"/></svg>'
        )
    source = html.escape(f"{root}{PATH}{credit['file']}")
    title = html.escape(f"{credit['author']}, {credit['licence']}")
    return f'<img class="picture" loading="lazy" alt="" src="{source}" title="{title}">'


def kind_of(place: Place) -> str:
    """What a landmark is drawn as, by its tags: a key of KINDS, or PLACE."""
    return next((KIND_OF[tag] for tag in place.tags if tag in KIND_OF), PLACE)


@cache
def photo_credits() -> dict[Place, dict[str, str]]:
    """File, title, author, licence and source of each photo, by its landmark."""
    with (FOLDER / "CREDITS.csv").open(encoding="utf-8", newline="") as file:
        return {find_place(row["landmark_class"]): row for row in csv.DictReader(file)}


@cache
def _drawings() -> str:
    """The drawings, each once and for all cards."""
    return (FOLDER / "drawings.svg").read_text(encoding="utf-8")
