"""The answers of the page as HTML: the result card and its parts."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from landmark_model import Answer, Prediction, distance_km
from landmark_model.web import i18n as words
from landmark_model.web.i18n import say

LEVELS = ((0.9, "sure_90"), (0.7, "sure_70"), (0.45, "sure_45"), (0, "sure_0"))


@dataclass(frozen=True)
class Shown:
    """What a result card shows.

    `guesses` are best first. `is_known` is None where nobody measured a threshold. `link` is the
    query string of a link to the result, "" for none, `camera` the (latitude, longitude) in degrees
    that the camera wrote into the photo, `note` a line above the result, `map_svg` a map of it.
    """

    guesses: Sequence[Prediction]
    is_known: bool | None
    link: str = ""
    camera: tuple[float, float] | None = None
    note: str = ""
    map_svg: str = ""


def card(shown: Shown, language: str, known_count: int) -> str:
    """The result: the best guess in large type, or that no known landmark is recognised."""
    stranger = shown.is_known is False
    best, *others = shown.guesses
    head = _stranger(language, known_count) if stranger else _best(best, language)
    listed, title = (shown.guesses, "nearest") if stranger else (others, "others")
    note = f'<p class="note">{html.escape(shown.note)}</p>' if shown.note else ""
    parts = [
        note,
        head,
        camera_line(shown.camera, None if stranger else best, language),
        shown.map_svg,
        "" if stranger else map_links(best),
        bars(listed, say(title, language), language),
        "" if stranger else tag_chips(best.in_language(language).tags, language),
        share_line(shown.link, language),
    ]
    kind = "result stranger" if stranger else "result"
    return f'<section class="{kind}" aria-live="polite">{"".join(parts)}</section>'


def _best(best: Prediction, language: str) -> str:
    name, where = best.name_in(language), best.where_in(language)
    local = ""
    if best.local_name and best.local_name not in (name, best.label):
        local = f'<p class="local">{html.escape(best.local_name)}</p>'
    flag = f'<span class="flag" aria-hidden="true">{best.flag}</span> ' if best.flag else ""
    where = f'<p class="where">{flag}{html.escape(where)}</p>' if where else ""
    return (
        f'<p class="sure">{say(how_sure(best.probability), language)} '
        f'<b class="percent">{html.escape(percent(best.probability, language))}</b></p>'
        f"<h2>{html.escape(name)}</h2>{local}{where}"
    )


def _stranger(language: str, known_count: int) -> str:
    text = say("unknown_text", language, count=known_count)
    return f"<h2>{say('unknown_head', language)}</h2><p>{html.escape(text)}</p>"


def how_sure(probability: float) -> str:
    """The key of the words for how sure the network is."""
    return next(key for limit, key in LEVELS if probability >= limit)


def percent(probability: float, language: str) -> str:
    """A probability as plain text for people: never 100 %, and never 0 %."""
    if probability >= 0.995:
        return say("over_99", language)
    if probability < 0.005:
        return f"<{words.percent(0.01, language)}"
    return words.percent(probability, language)


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


def tag_chips(tags: Sequence[str], language: str) -> str:
    """Tags as chips, with a button that copies them all; "" without any."""
    if not tags:
        return ""
    chips = "".join(f"<li>{html.escape(tag)}</li>" for tag in tags)
    button = copy_button(", ".join(tags), say("copy_tags", language), language)
    title = f'<div class="line"><h3>{say("tags", language)}</h3>{button}</div>'
    return f'{title}<ul class="tags">{chips}</ul>'


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
    values = {"degrees": degrees(*camera)}
    key = "camera_only"
    if best and best.latitude is not None and best.longitude is not None:
        key = "camera"
        km = distance_km(camera, (best.latitude, best.longitude))
        values["distance"] = far(km)
    return f'<p class="camera">{html.escape(say(key, language, **values))}</p>'


def far(km: float) -> str:
    """A distance for people, no finer than a camera measures it."""
    if km < 1:
        return f"{100 * km:.0f}0 m"
    return f"{km:.1f} km" if km < 10 else f"{km:.0f} km"


def degrees(latitude: float, longitude: float) -> str:
    """Coordinates as people read them: "48.8584° N, 2.2945° E"."""
    north, east = "N" if latitude >= 0 else "S", "E" if longitude >= 0 else "W"
    return f"{abs(latitude):.4f}° {north}, {abs(longitude):.4f}° {east}"


def map_links(best: Prediction) -> str:
    """Coordinates, with links to maps; "" if the place is not known."""
    if best.latitude is None or best.longitude is None:
        return ""
    latitude, longitude = best.latitude, best.longitude
    links = {
        "OpenStreetMap": "https://www.openstreetmap.org/"
        f"?mlat={latitude}&mlon={longitude}#map=15/{latitude}/{longitude}",
        "Google Maps": "https://www.google.com/maps/search/?api=1&query="
        + quote(f"{latitude},{longitude}"),
    }
    anchors = " ".join(
        f'<a href="{html.escape(url)}" target="_blank" rel="noopener noreferrer">{name}</a>'
        for name, url in links.items()
    )
    return f'<p class="places"><span>{degrees(latitude, longitude)}</span> {anchors}</p>'


def message(title: str, text: str, role: str = "") -> str:
    """A card with a title and a sentence; `role` "alert" where something went wrong."""
    marked = f' role="{role}"' if role else ""
    return (
        f'<section class="result empty"{marked}><h2>{html.escape(title)}</h2>'
        f"<p>{html.escape(text)}</p></section>"
    )


def sorry(reason: str, language: str) -> str:
    """A card that says why a photo could not be used."""
    return message(say("cannot", language), reason, "alert")


def welcome(language: str, known_count: int) -> str:
    """The placeholder for the result."""
    return message(say("welcome_head", language), say("welcome_text", language, count=known_count))


def verdict(title: str, seconds: float, answer: Answer, language: str) -> str:
    """One network's answer for a photo and the time it took, as a column."""
    best = answer[0]
    name = say("none_short", language) if answer.is_known is False else best.name_in(language)
    kind = "stranger" if answer.is_known is False else "known"
    return (
        f'<section class="verdict {kind}"><div class="line"><h3>{html.escape(title)}</h3>'
        f'<span class="seconds">{seconds:.2f} s</span></div><h2>{html.escape(name)}</h2>'
        + bars(answer, "", language)
        + "</section>"
    )
