"""The table of many photos: a row for each, whose name can be unticked or changed; see many.js."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable

from landmark_model import Prediction, Tagged
from landmark_model.web import STATIC
from landmark_model.web.html import cards
from landmark_model.web.html.tables import heading, sheet
from landmark_model.web.i18n import explain, say

SCRIPT = (STATIC / "many.js").read_text(encoding="utf-8")
COLUMNS = ("photo", "landmark", "place", "country", "sure")


def empty_table(landmarks: Iterable[Prediction], most_letters: int, language: str) -> str:
    """The table without rows, and the form for another name of up to so many letters."""
    names = sorted(landmark.name_in(language) for landmark in landmarks)
    options = "".join(f'<option value="{html.escape(name)}">' for name in names)
    other = say("many_other", language)
    form = (
        '<template><form class="other"><span></span>'
        f'<input type="text" list="known-landmarks" maxlength="{most_letters}" required '
        f'autocomplete="off" aria-label="{other}" placeholder="{other}">'
        f"<button>{say('many_use', language)}</button></form></template>"
    )
    heads = "<td></td>" + "".join(heading(say(f"col_{name}", language)) for name in COLUMNS)
    data = f'<datalist id="known-landmarks">{options}</datalist>{form}'
    return sheet(heads, "", say("table", language), language) + data


def photo_row(number: int, row: Tagged, thumbnail: str, language: str) -> str:
    """A photo, tagged in `language`, as a row that changes name and ticks by its number.

    `thumbnail` is the address of its picture; "" for none, or where the page has it already.
    """
    picture = f'<img src="{thumbnail}" alt="">' if thumbnail else ""
    file = html.escape(row.file)
    photo = f"{picture}<span>{file}</span>"
    titles = [say(f"col_{name}", language) for name in COLUMNS]
    if row.answer is None:
        reason = html.escape(explain(row.error, language))
        cells = ["", photo, f"<span>{reason}</span>", "", "", ""]
    else:
        best = row.best
        tick = say("many_tick", language, name=row.file)
        box = f'<input type="checkbox" aria-label="{html.escape(tick)}"{" checked" * bool(best)}>'
        place = (best.landmark.area, best.country or "") if best else ("", "")
        cells = [box, photo, _name(row, language), *map(html.escape, place), _sure(row, language)]
    kinds = ("tick", "photo", "name", "place", "country", "number")
    body = "".join(
        f'<td class="{kind}" data-title="{html.escape(title)}">{cell}</td>'
        for kind, title, cell in zip(kinds, ["", *titles], cells, strict=True)
    )
    data = f'data-row="{number}" data-guesses="{html.escape(_guesses(row, language))}"'
    return f'<tr class="{row.status}" {data}>{body}</tr>'


def gone(numbers: Iterable[int]) -> str:
    """Rows that say which photos are not there any more."""
    return "".join(f'<tr data-row="{number}" data-gone></tr>' for number in numbers)


def _name(row: Tagged, language: str) -> str:
    """The landmark's name, greyed where it does not count, and the button to change it."""
    label, change = row.answer[0].label, say("many_change", language)
    none = ""
    if row.status == "unknown":
        none = f"<span>{say('none_short', language)}</span> "
        label = say("many_nearest", language, name=label)
    kind = "b" if row.best else "s" if row.by_hand else "i"
    named = f"{none}<{kind}>{html.escape(label)}</{kind}>"
    button = (
        f'<button type="button" class="change" aria-expanded="false" '
        f'aria-label="{change}: {html.escape(row.file)}">{change}</button>'
    )
    return f'<div class="said">{named}</div>{button}'


def _sure(row: Tagged, language: str) -> str:
    """How sure the network is in per cent, never 100; or that the visitor said so."""
    if row.status == "corrected":
        return say("many_by_hand", language)
    return f"{math.floor(1000 * row.answer[0].probability) / 10}"


def _guesses(row: Tagged, language: str) -> str:
    """What else it may be as JSON: [class name, what a button says] of each."""
    others = [guess for guess in row.answer or () if guess != row.best]
    said = [
        (guess.class_name, f"{guess.label}, {cards.percent(guess.probability, language)}")
        for guess in others
    ]
    return json.dumps(said, ensure_ascii=False)
