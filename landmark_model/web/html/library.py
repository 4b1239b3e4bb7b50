"""The page of a photo library: search, map, timeline and photos; plain links, no script."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from dataclasses import asdict
from functools import cache
from urllib.parse import urlencode

from landmark_model import LibraryPhoto, LibraryQuery, LibraryView
from landmark_model.web import STATIC
from landmark_model.web.html.cards import percent
from landmark_model.web.html.worldmap import Dot, world_map
from landmark_model.web.i18n import number, say

PHOTOS_OF_A_PAGE = 60
STATUSES = ("tagged", "unknown", "doubtful", "unreadable")
TEMPLATE = STATIC / "library.html"


def library_page(view: LibraryView, query: LibraryQuery, start: int) -> str:
    """The page of what a query found, from the photo at `start` on, in the query's language."""
    language = query.language
    shown, total = (number(count, language) for count in (view.count, view.total))
    parts = {
        "form": _form(view, query),
        "map_title": _say("map", language),
        "map": _map(view, language),
        "timeline_title": _say("timeline", language),
        "timeline": _timeline(view, query),
        "count": _say("count", language, shown=shown, total=total),
        "photos": "".join(_card(photo, language) for photo in view.photos),
        "pages": _pages(view, query, start),
    }
    return _filled(TEMPLATE.read_text(encoding="utf-8"), parts, language)


def refusal_page(language: str) -> str:
    """What is shown in place of that page where the index cannot be read."""
    head = TEMPLATE.read_text(encoding="utf-8").partition("<form")[0]
    return _filled(f"{head}<p>{_say('gone', language)}</p>\n</body>\n</html>\n", {}, language)


def _filled(page: str, parts: dict[str, str], language: str) -> str:
    """A page with its gaps filled, those of the head besides `parts`."""
    parts = {
        "language": language,
        "title": _say("title", language),
        "back": html.escape(say("title", language)),
        "style": _map_style(),
    } | parts
    before, *gaps = page.split("{{")
    for gap in gaps:  # in one pass: what is filled in cannot be a gap
        name, _, after = gap.partition("}}")
        before += parts[name] + after
    return before


@cache
def _map_style() -> str:
    """worldmap.css, dark where the browser is: no script sets the class that says so elsewhere."""
    sheet = (STATIC / "worldmap.css").read_text(encoding="utf-8")
    dark = "\n".join(re.findall(r"^\.dark ([^}]+})", sheet, re.MULTILINE))
    return f"{sheet}\n@media (prefers-color-scheme: dark) {{ {dark} }}"


def _say(key: str, language: str, **values: object) -> str:
    return html.escape(say(key, language, section="library", **values))


def _link(query: LibraryQuery, start: int = 0, **changed: str) -> str:
    """The relative address of the page for a query, with some of it changed."""
    words = asdict(query) | changed
    words.pop("language")
    if start:
        words["start"] = str(start)
    given = {name: value for name, value in words.items() if value}
    return html.escape(f"library?{urlencode(given)}")


def _form(view: LibraryView, query: LibraryQuery) -> str:
    language = query.language
    statuses = [(status, _say(status, language)) for status in STATUSES]
    fields = (
        _input("text", "search", query.text, _say("text", language))
        + _select("place", query.place, _say("places", language), _same(view.places))
        + _select("tag", query.tag, _say("tags", language), _same(view.tags))
        + _input("date", "text", query.date, _say("date", language))
        + _select("status", query.status, _say("statuses", language), statuses)
    )
    reset = f'<a href="library">{_say("reset", language)}</a>'
    return f"{fields}<button>{_say('search', language)}</button>{reset}"


def _same(texts: Iterable[str]) -> list[tuple[str, str]]:
    return [(text, html.escape(text)) for text in texts]


def _input(name: str, kind: str, value: str, said: str) -> str:
    return (
        f'<input name="{name}" type="{kind}" value="{html.escape(value)}" placeholder="{said}" '
        f'aria-label="{said}" maxlength="200">'
    )


def _select(name: str, chosen: str, everything: str, options: list[tuple[str, str]]) -> str:
    lines = "".join(
        f'<option value="{html.escape(value)}"{" selected" * (value == chosen)}>{said}</option>'
        for value, said in options
    )
    first = f'<option value="">{everything}</option>'
    return f'<select name="{name}" aria-label="{everything}">{first}{lines}</select>'


def _map(view: LibraryView, language: str) -> str:
    most = max((count for _, count in view.landmarks), default=1)
    dots = [
        Dot(best.latitude, best.longitude, count / most, f"{best.label} ({count})")
        for best, count in view.landmarks
    ]
    return world_map(dots, say("map", language, section="library"), zoom=False)


def _timeline(view: LibraryView, query: LibraryQuery) -> str:
    """A bar for each moment, which finds its photos; once more, all of them again."""
    most = max((count for _, count in view.moments), default=0)
    bars = ""
    for moment, count in view.moments:
        is_chosen = moment == query.date
        target = _link(query, date="" if is_chosen else moment)
        bars += (
            f'<a href="{target}" aria-label="{html.escape(moment)}: {count}" '
            f'title="{html.escape(moment)}: {count}"{" aria-current=true" * is_chosen}>'
            f'<i style="height:{60 * count / most:.1f}%"></i><span>{html.escape(moment)}</span></a>'
        )
    if bars:
        return f'<div class="timeline">{bars}</div>'
    return f"<p>{_say('no_time' if view.count else 'no_match', query.language)}</p>"


def _card(photo: LibraryPhoto, language: str) -> str:
    if photo.best:
        title = f"{photo.best.label}, {percent(photo.best.probability, language)}"
    else:
        title = say(photo.status, language, section="library")
    taken = photo.taken_at[:16].replace("T", " ")
    texts = photo.where, photo.trip, taken, photo.name, photo.reason
    lines = "".join(f"<small>{html.escape(text)}</small>" for text in texts if text)
    source, name = f"library/photo/{photo.row}", html.escape(photo.name)
    picture = f'<img src="{source}" loading="lazy" alt="{name}">'
    if photo.status == "unreadable":
        picture = '<i class="none"></i>'
    return f"<li>{picture}<div><b>{html.escape(title)}</b>{lines}</div></li>"


def _pages(view: LibraryView, query: LibraryQuery, start: int) -> str:
    links = ""
    for key, there, is_there in (
        ("previous", max(0, start - PHOTOS_OF_A_PAGE), start > 0),
        ("next", start + PHOTOS_OF_A_PAGE, start + PHOTOS_OF_A_PAGE < view.count),
    ):
        if is_there:
            target = _link(query, there)
            links += f'<a rel="{key[:4]}" href="{target}">{_say(key, query.language)}</a>'
    return links
