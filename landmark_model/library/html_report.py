"""The index as one HTML file that needs no network: map, timeline and gallery, with filters."""

from __future__ import annotations

import base64
import html
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from landmark_model import Prediction
from landmark_model.library.index import Index, Shown, View
from landmark_model.library.tagging import Tagged, writable
from landmark_model.library.words import words_in

FOLDER = Path(__file__).parent
# Draws a map of landmarks, each with how many photos show it; the text says what the map is of.
DrawMap = Callable[[Sequence[tuple[Prediction, int]], str], str]


def write_report(index: Index, view: View, file: TextIO, draw_map: DrawMap) -> None:
    """Writes the report, photo by photo, in the language of the view.

    It says nothing of where a camera was, only where the landmarks are.
    """
    words = words_in(view.language)
    counts: Counter[str] = Counter()
    guesses: dict[str, Prediction] = {}
    for *_, row in index.rows(view):
        if row.best:
            counts[row.best.class_name] += 1
            guesses[row.best.class_name] = row.best
    found = [(guess, counts[name]) for name, guess in guesses.items()]
    page = (FOLDER / "report.html").read_text(encoding="utf-8")
    for name, text in words.items():
        page = page.replace(f"{{{{{name}}}}}", html.escape(text))
    page = page.replace("{{language}}", view.language or "en").replace("{{words}}", _json(words))
    before, after = page.split("{{photos}}")
    nothing = f"<p>{html.escape(words['nothing'])}</p>"
    drawing = draw_map(found, words["map"]) if found else nothing
    before = before.replace("{{drawing}}", drawing)
    file.write(f"{before}[")
    for number, shown in enumerate(index.rows(view)):
        image = index.thumbnail(shown.sha256)
        file.write(f"{',' if number else ''}\n{_json(_photo(shown, image))}")
    file.write(f"]{after}")


def _photo(shown: Shown, image: bytes | None) -> dict[str, object]:
    """A photo as the page's script reads it."""
    row, best = shown.row, shown.row.best
    return {
        "file": writable(row.file),
        "status": row.status,
        "landmark": best.label if best else "",
        "sure": best.probability if best else 0,
        "where": best.where if best else row.city.where if row.city else "",
        "tags": best.tags if best else [],
        "trip": _trip(row),
        "why": _why(row),
        "taken": row.camera.taken_at,
        "camera": writable(row.camera.name),
        "reason": writable(row.reason),
        "image": base64.b64encode(image).decode() if image else "",
    }


def _trip(row: Tagged) -> list[object]:
    """The landmark that the place of the trip is near, and its radius in km; empty if unknown."""
    if not row.trip or not row.trip.near:
        return []
    return [row.trip.near.label, math.ceil(row.trip.radius_km)]


def _why(row: Tagged) -> list[str]:
    """Why we say where it was: the word for it, and the photos that it lies between."""
    if row.trip:
        return ["near" if len(row.trip.ends) == 1 else "between", *map(str, row.trip.ends)]
    return [row.why] if row.why else []


def _json(thing: object) -> str:
    """JSON that cannot end the element that it stands in."""
    return json.dumps(thing, ensure_ascii=False).replace("<", "\\u003c")
