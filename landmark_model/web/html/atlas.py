"""What the maps are drawn of: coasts, borders and cities of Natural Earth, public domain.

Coasts and borders are 1:50 million, as npm's world-atlas 2.0.2 packs them. land.json was made of it
with npm's mapshaper, each arc one whole ring:

    mapshaper land-50m.json -o all.geojson format=geojson
    mapshaper -i all.geojson no-topology name=land -explode -simplify weighted keep-shapes 25% \
        -filter-islands min-area=40km2 -o land.json format=topojson quantization=36000

borders.json has the arcs of countries-50m.json that two countries share, without the points that
are less than 0.1 degrees off (Douglas and Peucker 1973). cities.json has the places of 1:110
million, the most important first, then some where those are far apart.
"""

from __future__ import annotations

import json
import math
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from landmark_model.web import STATIC

Point = tuple[float, float]  # (longitude, latitude) in degrees
Box = tuple[float, float, float, float]  # west, south, east and north in degrees

LAND, BORDERS, CITIES = (STATIC / f"{name}.json" for name in ("land", "borders", "cities"))


class City(NamedTuple):
    """A city: where it is in degrees (WGS84), and its name by language, English for any other."""

    latitude: float
    longitude: float
    names: dict[str, str]

    def name_in(self, language: str) -> str:
        """Its name in a language."""
        return self.names.get(language, self.names["en"])


@cache
def land() -> list[tuple[list[Point], Box]]:
    """The rings of the coast, each with its box.

    Seas inside land run the other way. A ring over the antimeridian goes on beyond 180.
    """
    return [(ring, _box(ring)) for ring in map(_unrolled, _arcs(LAND))]


@cache
def borders() -> list[tuple[list[Point], Box]]:
    """The lines between countries, each with its box."""
    return [(line, _box(line)) for line in _arcs(BORDERS)]


@cache
def cities() -> list[City]:
    """The cities, the most important first."""
    rows = json.loads(CITIES.read_text(encoding="utf-8"))
    return [City(*row.pop("at"), names=row) for row in rows]


def _arcs(path: Path) -> list[list[Point]]:
    """The arcs of a TopoJSON file: whole numbers, each the step from the one before."""
    topology = json.loads(path.read_text(encoding="utf-8"))
    (step_x, step_y), (west, south) = (topology["transform"][key] for key in ("scale", "translate"))
    arcs = []
    for arc in topology["arcs"]:
        xs, ys = (accumulate(axis) for axis in zip(*arc, strict=True))
        points = zip(xs, ys, strict=True)
        arcs.append([(west + x * step_x, south + y * step_y) for x, y in points])
    return arcs


def _box(line: list[Point]) -> Box:
    xs, ys = zip(*line, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _unrolled(ring: list[Point]) -> list[Point]:
    """A ring that does not jump from 180 to -180; one around a pole is closed at the pole."""
    points = ring[:1]
    for longitude, latitude in ring[1:]:
        turns = round((longitude - points[-1][0]) / 360)
        points.append((longitude - 360 * turns, latitude))
    (first, latitude), (last, _) = points[0], points[-1]
    if abs(last - first) > 180:
        pole = math.copysign(90, latitude)
        points += [(last, pole), (first, pole)]
    return points
