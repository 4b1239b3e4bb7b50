"""The answers of the page as HTML: the result card and its parts."""

from __future__ import annotations

import html
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass

from landmark_model import Answer, LandmarkError, Prediction, distance_km
from landmark_model.web import i18n
from landmark_model.web.html.worldmap import Dot, world_map
from landmark_model.web.i18n import say

LEAST_LISTED = 0.01  # the probability of a guess that is named beside the best
LEVELS = ((0.9, "sure_90"), (0.7, "sure_70"), (0.45, "sure_45"), (0, "sure_0"))


@dataclass(frozen=True)
class Shown:
    """What a result card shows.

    `guesses` are best first. `is_known` is None where nobody measured a threshold. `link` is the
    query string of a link to the result, "" for none, `camera` the (latitude, longitude) in degrees
    that the camera wrote into the photo, `sidecar` the name and text of an XMP file. Where somebody
    shared it, `note` says so above the result, with the version that answered; when pointed at, it
    says the `stamp` of the model.
    """

    guesses: Sequence[Prediction]
    is_known: bool | None
    link: str = ""
    camera: tuple[float, float] | None = None
    sidecar: tuple[str, str] | None = None
    note: str = ""
    stamp: str = ""


def card(shown: Shown, language: str, known_count: int) -> str:
    """The result: the best guess in large type, or that no known landmark is recognised."""
    best, *others = listed(shown.guesses)
    if shown.is_known is False:
        kind = "result stranger"
        parts = [
            f"<h2>{say('unknown_head', language)}</h2>",
            f"<p>{say('unknown_text', language, count=known_count)}</p>",
            camera_line(shown.camera, None, language),
            guess_map(shown.guesses, None, language),
            bars(shown.guesses, say("nearest", language), language),
        ]
    else:
        kind = "result"
        parts = [
            _best(best, language),
            camera_line(shown.camera, best, language),
            guess_map([best, *others], best, language),
            map_links(best, language),
            bars(others, say("others", language), language),
            tag_chips(best.in_language(language), shown.sidecar, language),
        ]
    parts = [*parts, share_line(shown.link, language)]
    if shown.note:
        kind += " shared"
        own = f'<p class="own"><a href="#photo">{say("try_own", language)}</a></p>'
        parts = [_note(shown, language), *parts, own]
    body = "".join(parts)
    return f'<section class="{kind}" aria-live="polite">{body}</section>'


def listed(guesses: Sequence[Prediction]) -> list[Prediction]:
    """The best guess, and those of the others that are probable enough to be named beside it."""
    best, *others = guesses
    return [best, *(guess for guess in others if guess.probability >= LEAST_LISTED)]


def _note(shown: Shown, language: str) -> str:
    version = re.search(r"@(\d+\.\d+)", shown.stamp)  # not of a network of somebody's own
    by = f" {say('shared_by', language, version=version[1])}" if version else ""
    title = html.escape(shown.stamp)
    return f'<p class="note" title="{title}">{html.escape(shown.note + by)}</p>'


def guess_map(guesses: Sequence[Prediction], best: Prediction | None, language: str) -> str:
    """The map of the guesses: around the best, or of the world if the photo shows none of them."""
    dots = [
        Dot(
            guess.latitude,
            guess.longitude,
            guess.probability,
            f"{guess.name_in(language)}, {percent(guess.probability, language)}",
            best=guess is best,
        )
        for guess in guesses
    ]
    return world_map(dots, say("map", language), best is not None, language)


def _best(best: Prediction, language: str) -> str:
    name, where = best.name_in(language), best.where_in(language)
    local = ""
    if best.local_name and best.local_name not in (name, best.label):
        local = f'<p class="local">{html.escape(best.local_name)}</p>'
    flag = f'<span class="flag" aria-hidden="true">{best.flag}</span> ' if best.flag else ""
    where = f'<p class="where">{flag}{html.escape(where)}</p>' if where else ""
    sure = next(key for limit, key in LEVELS if best.probability >= limit)
    return (
        f'<p class="sure">{say(sure, language)} '
        f'<b class="percent">{html.escape(percent(best.probability, language))}</b></p>'
        f"<h2>{html.escape(name)}</h2>{local}{where}"
    )


def percent(probability: float, language: str) -> str:
    """A probability as plain text for people: never 100 %, and never 0 %."""
    if probability >= 0.995:
        return say("over_99", language)
    if probability < 0.005:
        return f"<{i18n.percent(0.01, language)}"
    return i18n.percent(probability, language)


def bars(guesses: Sequence[Prediction], title: str, language: str) -> str:
    """Guesses as a list of bars under a title; "" without any."""
    rows = "".join(
        f'<li><span class="name">{html.escape(guess.name_in(language))}</span>'
        f'<span class="percent">{html.escape(percent(guess.probability, language))}</span>'
        f'<span class="bar"><i style="width:{guess.probability:.1%}"></i></span></li>'
        for guess in guesses
    )
    head = f"<h3>{title}</h3>" if title else ""
    return f'{head}<ol class="bars">{rows}</ol>' if rows else ""


def tag_chips(best: Prediction, sidecar: tuple[str, str] | None, language: str) -> str:
    """The name and tags of a guess as chips, with a button that copies them and a link to an XMP
    file that holds them."""
    tags = dict.fromkeys((best.label, *best.tags))
    chips = "".join(f"<li>{html.escape(tag)}</li>" for tag in tags)
    buttons = copy_button(", ".join(tags), say("copy_tags", language), language)
    if sidecar:
        name, text = sidecar
        address = f"data:application/rdf+xml;base64,{b64encode(text.encode()).decode()}"
        buttons += (
            f' <a class="copy" download="{html.escape(name)}" href="{address}">'
            f"{say('sidecar', language)}</a>"
        )
    title = f'<div class="line"><h3>{say("tags", language)}</h3><span>{buttons}</span></div>'
    return f'{title}<ul class="tags">{chips}</ul>'


def status_line(text: str, role: str = "status") -> str:
    """A sentence on what was done, or with the role "alert" on what could not be."""
    return f'<p class="status" role="{role}">{html.escape(text)}</p>'


def share_line(link: str, language: str) -> str:
    """A button that copies a link to the result, and what it holds; "" without a link."""
    if not link:
        return ""
    button = copy_button(link, say("share_result", language), language, "link")
    return f'<p class="share">{button} <small>{say("share_result_note", language)}</small></p>'


def copy_button(text: str, title: str, language: str, kind: str = "text") -> str:
    """A button that copies a text; of `kind` "link", a query string as a link to this page."""
    return (
        f'<button type="button" class="copy" data-{kind}="{html.escape(text)}" '
        f'data-done="{say("copied", language)}">{title}</button>'
    )


def camera_line(camera: tuple[float, float] | None, best: Prediction | None, language: str) -> str:
    """The camera's recorded position and its distance from the guess; "" if there is none."""
    if camera is None:
        return ""
    at = degrees(*camera, language)
    text = say("camera_only", language, degrees=at)
    if best and best.latitude is not None and best.longitude is not None:
        away = far(distance_km(camera, (best.latitude, best.longitude)))
        text = say("camera", language, degrees=at, distance=away)
    return f'<p class="camera">{html.escape(text)}</p>'


def far(km: float) -> str:
    """A distance for people, no finer than a camera measures it."""
    if km < 1:
        return f"{100 * km:.0f}0 m"
    return f"{km:.1f} km" if km < 10 else f"{km:.0f} km"


def degrees(latitude: float, longitude: float, language: str) -> str:
    """Coordinates as people read them: "13.1° S, 72.5° W", in French "13.1° S, 72.5° O"."""
    north, south, east, west = say("hemispheres", language, "numbers")
    return (
        f"{abs(latitude):.4f}° {north if latitude >= 0 else south}, "
        f"{abs(longitude):.4f}° {east if longitude >= 0 else west}"
    )


def map_links(best: Prediction, language: str) -> str:
    """Coordinates, with links to maps; "" if the place is not known."""
    if best.latitude is None or best.longitude is None:
        return ""
    latitude, longitude = best.latitude, best.longitude
    links = {
        "OpenStreetMap": "https://www.openstreetmap.org/"
        f"?mlat={latitude}&mlon={longitude}#map=15/{latitude}/{longitude}",
        "Google Maps": f"https://www.google.com/maps/search/?api=1&query={latitude}%2C{longitude}",
    }
    anchors = " ".join(
        f'<a href="{html.escape(url)}" target="_blank" rel="noopener noreferrer">{name}</a>'
        for name, url in links.items()
    )
    return f'<p class="places"><span>{degrees(latitude, longitude, language)}</span> {anchors}</p>'


def sorry(error: LandmarkError, language: str, title: str = "cannot") -> str:
    """A card that says why a photo or link cannot be used; `title` is the key of its words."""
    return (
        f'<section class="result empty" role="alert"><h2>{say(title, language)}</h2>'
        f"<p>{html.escape(i18n.explain(error, language))}</p></section>"
    )


def welcome(language: str, known_count: int) -> str:
    """The placeholder for the result."""
    return (
        f'<section class="result empty"><h2>{say("welcome_head", language)}</h2>'
        f"<p>{say('welcome_text', language, count=known_count)}</p></section>"
    )


def verdict(title: str, seconds: float, answer: Answer, language: str) -> str:
    """One network's answer for a photo and the time it took, as a column."""
    best, *others = listed(answer)
    name = say("none_short", language) if answer.is_known is False else best.name_in(language)
    kind = "stranger" if answer.is_known is False else "known"
    return (
        f'<section class="verdict {kind}"><div class="line"><h3>{html.escape(title)}</h3>'
        f'<span class="seconds">{seconds:.2f} s</span></div><h2>{html.escape(name)}</h2>'
        + bars([best, *others], "", language)
        + "</section>"
    )
