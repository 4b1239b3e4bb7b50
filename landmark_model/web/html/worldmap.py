"""A map of the world or of a place's surroundings with dots on it, as SVG that needs no network."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from html import escape
from itertools import pairwise

from landmark_model.web.html import atlas
from landmark_model.web.html.atlas import Box, Point
from landmark_model.web.i18n import number

Projection = Callable[[Point], Point]  # from degrees to (x, y) in px

WIDTH = 480
ZOOM_HEIGHT = 300
INSET_WIDTH = 132
WORLD_DOTS = 0.7  # their size on a map of the world, where many are near each other
TURNS = (-360, 0, 360)  # the same place again on the other side of the antimeridian
# How much of the earth a zoomed map shows across, in degrees of a great circle: the first of these
# that has both land and sea in it, because what one recognises is the coast.
GROUND_DEGREES = (26, 39, 58, 87, 120)
LAND_SHARES = (0.06, 0.92)
MOST_LATITUDE = 75  # of a zoomed map's middle
EARTH = (-180, -90, 180, 90)
EQUAL_EARTH = (1.340264, -0.081106, 0.000893, 0.003796)
EQUAL_EARTH_X, EQUAL_EARTH_Y = 2.70663, 1.31737  # where its east edge and north pole lie
LABEL_LENGTH = 40
TOUCH_PX = 16
MARGIN = 8  # between the corner of a zoomed map and what stands in it
MOST_CITIES = 6
CITY_PX, NAME_PX = 14, 17  # of letters on a phone; elsewhere they are smaller
KM_PER_DEGREE = 111.2  # of a great circle
SCALES_KM = (1000, 500, 200, 100)
LONGEST_SCALE = 110


@dataclass(frozen=True)
class Dot:
    """Something on the map: degrees (WGS84), its weight 0..1 that sets the size, and its name.

    The best dot stands out and is named on the map; the others say their names when pointed at or
    tapped.
    """

    latitude: float | None
    longitude: float | None
    weight: float
    title: str
    best: bool = False

    @property
    def radius(self) -> float:
        """In px; the area of a dot grows with its weight."""
        return 4 + 7 * math.sqrt(self.weight)

    @property
    def point(self) -> Point:
        """Longitude and latitude, as projections take them."""
        return self.longitude, self.latitude

    @property
    def kind(self) -> str:
        """Its class in the style sheet."""
        return "dot best" if self.best else "dot"


@dataclass(frozen=True)
class Window:
    """A rectangle of the earth, true to scale in its middle, where it is `degrees` wide."""

    longitude: float
    latitude: float
    degrees: float

    @property
    def scale(self) -> Point:
        """Px per degree of longitude and of latitude."""
        down = WIDTH / self.degrees
        return down * math.cos(math.radians(self.latitude)), down

    def project(self, point: Point) -> Point:
        """Where a (longitude, latitude) lies, in px from the upper left corner."""
        across, down = self.scale
        x = WIDTH / 2 + (point[0] - self.longitude) * across
        return x, ZOOM_HEIGHT / 2 - (point[1] - self.latitude) * down

    def edges(self) -> tuple[float, float, float, float]:
        """West, south, east and north in degrees; west and east may lie beyond 180."""
        across, down = self.scale
        width, height = WIDTH / 2 / across, ZOOM_HEIGHT / 2 / down
        south, north = max(-90, self.latitude - height), min(90, self.latitude + height)
        return self.longitude - width, south, self.longitude + width, north


def world_map(dots: Iterable[Dot], label: str, zoom: bool = True, language: str = "en") -> str:
    """The map as HTML with inline SVG, to be styled by worldmap.css; `label` says what it shows.

    With `zoom` it shows the surroundings of the best dot, else of the heaviest, with borders,
    cities and a scale, and the world in a corner; without, or where no dot has coordinates, the
    world. Dots without are left out. On a zoomed map, dots that would hide each other are set side
    by side. Names of cities are in `language`.
    """
    placed = [dot for dot in dots if dot.latitude is not None and dot.longitude is not None]
    # The best keeps its place and large ones do not cover small ones.
    placed.sort(key=lambda dot: (not dot.best, -dot.weight))
    if zoom and placed:
        height, drawing = ZOOM_HEIGHT, _surroundings(placed, _window_around(placed[0]), language)
    else:
        to_px, height = _equal_earth(WIDTH), _world_height(WIDTH)
        drawing = _globe(WIDTH) + _markers([(dot, to_px(dot.point)) for dot in placed], WORLD_DOTS)
    return (
        f'<div class="worldmap"><svg viewBox="0 0 {WIDTH} {height}" role="group" '
        f'aria-label="{escape(label)}" xmlns="http://www.w3.org/2000/svg">{drawing}</svg></div>'
    )


def picking_map(position: Point | None, label: str, language: str = "en") -> str:
    """A map on which pick.js takes a click for a position: of the world, or of the surroundings of
    a (latitude, longitude) in degrees.

    `data-window` is the longitude and latitude in its middle, and px per degree of either.
    """
    window, dots = "", []
    if position is not None:
        dots = [Dot(*position, 0.2, "", best=True)]
        found = _window_around(dots[0])
        window = " ".join(f"{n:.6g}" for n in (found.longitude, found.latitude, *found.scale))
    drawing = world_map(dots, label, zoom=True, language=language)
    return f'<div class="pick" data-window="{window}">{drawing}</div>'


def _surroundings(dots: Sequence[Dot], window: Window, language: str) -> str:
    west, south, east, north = window.edges()
    lines = [[(degrees, south), (degrees, north)] for degrees in _tens(west, east)]
    lines += [[(west, degrees), (east, degrees)] for degrees in _tens(south, north)]
    around = [
        (dot, (x, y))
        for dot in dots
        for x, y in (window.project((dot.longitude + turn, dot.latitude)) for turn in TURNS)
        if -dot.radius < x < WIDTH + dot.radius and -dot.radius < y < ZOOM_HEIGHT + dot.radius
    ]
    places = _spread(around)
    return (
        f'<rect class="sea" width="{WIDTH}" height="{ZOOM_HEIGHT}"/>'
        f'<path class="grid" d="{_lines(lines, window.project)}"/>'
        f'<path class="land" d="{_rings(_land_in(window), 0.5)}"/>'
        f'<path class="border" d="{"".join(map(_line, _borders_in(window)))}"/>'
        + _scale(window, language)
        + _cities(window, places, language)
        + _markers(places)
        + _inset(dots, window)
    )


def _borders_in(window: Window) -> Iterator[list[Point]]:
    """The pieces of borders that may be seen in the window, in px."""
    for line, box in atlas.borders():
        for turn in _turns_into(window.edges(), box):
            piece: list[Point] = []
            points = [window.project((longitude + turn, y)) for longitude, y in line]
            for start, end in pairwise(points):
                if _is_beside(start, end):
                    continue
                if piece[-1:] != [start]:
                    yield piece
                    piece = [start]
                piece.append(end)
            yield piece


def _is_beside(start: Point, end: Point) -> bool:
    """Whether a straight line lies beside a zoomed map, on any one side of it."""
    return any(
        max(start[axis], end[axis]) < 0 or min(start[axis], end[axis]) > length
        for axis, length in enumerate((WIDTH, ZOOM_HEIGHT))
    )


def _scale(window: Window, language: str) -> str:
    """A bar in the lower right corner, and how many km it is long in the middle of the map."""
    px_per_km = window.scale[1] / KM_PER_DEGREE
    km = next(km for km in SCALES_KM if km * px_per_km <= LONGEST_SCALE)
    right, bottom = WIDTH - MARGIN, ZOOM_HEIGHT - MARGIN
    left = right - km * px_per_km
    bar = _line([(left, bottom - 5), (left, bottom), (right, bottom), (right, bottom - 5)])
    return (
        f'<g class="scale"><path d="{bar}"/><text text-anchor="middle" '
        f'x="{(left + right) / 2:.1f}" y="{bottom - 5}">{number(km, language)} km</text></g>'
    )


def _cities(window: Window, places: Sequence[tuple[Dot, Point]], language: str) -> str:
    """The most important cities whose names cover neither each other nor anything else."""
    taken, names = _taken(places), []
    for city in atlas.cities():
        name = city.name_in(language)
        # Letters of Chinese are twice as wide.
        length = CITY_PX * sum(0.6 if ord(letter) < 0x2E80 else 1.05 for letter in name)
        for turn in TURNS:
            x, y = window.project((city.longitude + turn, city.latitude))
            sides = {"start": (x - 3, x + 6 + length), "end": (x - 6 - length, x + 3)}
            for anchor, (left, right) in sides.items():
                box = (left, y - CITY_PX / 2, right, y + CITY_PX / 2)
                if _is_free(box, taken):
                    taken.append(box)
                    names.append(_city(name, (x, y), anchor))
                    break
        if len(names) == MOST_CITIES:
            break
    return "".join(names)


def _taken(places: Sequence[tuple[Dot, Point]]) -> list[Box]:
    """The boxes in px (left, top, right, bottom) of what cities must not cover."""
    inset, bottom = _world_height(INSET_WIDTH), ZOOM_HEIGHT - MARGIN
    boxes = [
        (0, bottom - inset - 4, INSET_WIDTH + 2 * MARGIN, ZOOM_HEIGHT),
        (WIDTH - LONGEST_SCALE - 2 * MARGIN, bottom - 24, WIDTH, ZOOM_HEIGHT),
    ]
    for dot, (x, y) in places:
        boxes.append((x - dot.radius, y - dot.radius, x + dot.radius, y + dot.radius))
        if dot.best:
            baseline = _baseline(dot, (x, y), [at for other, at in places if other is not dot])
            width = 0.6 * NAME_PX * min(len(dot.title), LABEL_LENGTH)
            left = x - width * {"start": 0, "middle": 0.5, "end": 1}[_anchor(x)]
            boxes.append((left, baseline - NAME_PX, left + width, baseline + 4))
    return boxes


def _is_free(box: Box, taken: Iterable[Box]) -> bool:
    """Whether a box lies on the zoomed map and on none of the others."""
    left, top, right, bottom = box
    is_inside = left > 0 and top > 0 and right < WIDTH and bottom < ZOOM_HEIGHT
    return is_inside and not any(
        left < east and west < right and top < south and north < bottom
        for west, north, east, south in taken
    )


def _city(name: str, place: Point, anchor: str) -> str:
    (x, y), gap = place, 6 if anchor == "start" else -6
    return (
        f'<g class="city"><circle cx="{x:.1f}" cy="{y:.1f}" r="1.8"/>'
        f'<text text-anchor="{anchor}" x="{x + gap:.1f}" y="{y + 4:.1f}">{escape(name)}</text></g>'
    )


def _inset(dots: Sequence[Dot], window: Window) -> str:
    """The world in the lower left corner, with what the window shows of it framed."""
    height, to_px = _world_height(INSET_WIDTH), _equal_earth(INSET_WIDTH)
    west, south, east, north = window.edges()
    frames = []
    for turn in TURNS:
        left, right = max(west + turn, -180), min(east + turn, 180)
        if left < right:
            corners = [(left, south), (right, south), (right, north), (left, north)]
            frames.append([*corners, corners[0]])
    places = [(dot, to_px(dot.point)) for dot in reversed(dots)]  # the best on top
    points = "".join(
        f'<circle class="{dot.kind}" cx="{x:.1f}" cy="{y:.1f}" r="{2.6 if dot.best else 2}"/>'
        for dot, (x, y) in places
    )
    return (
        f'<g class="inset" transform="translate({MARGIN} {ZOOM_HEIGHT - height - MARGIN})">'
        f'<rect class="panel" x="-4" y="-4" width="{INSET_WIDTH + 8}" height="{height + 8}" '
        f'rx="6"/>{_globe(INSET_WIDTH)}'
        f'<path class="frame" d="{_lines(frames, to_px)}"/>{points}</g>'
    )


@cache
def _globe(width: int) -> str:
    """Sea, grid and land of the whole earth, `width` px wide."""
    to_px, latitudes = _equal_earth(width), range(-90, 91, 5)
    rim = [(180, degrees) for degrees in latitudes]
    rim += [(-x, -y) for x, y in rim]
    lines = [[(degrees, latitude) for latitude in latitudes] for degrees in range(-150, 151, 30)]
    lines += [[(-180, degrees), (180, degrees)] for degrees in range(-60, 61, 30)]
    land = [list(map(to_px, _cut(ring, *EARTH))) for ring in _rings_in(*EARTH)]
    return (
        f'<path class="sea" d="{_lines([rim], to_px)}Z"/>'
        f'<path class="grid" d="{_lines(lines, to_px)}"/>'
        f'<path class="land" d="{_rings(land, 0.9)}"/>'
    )


def _spread(places: list[tuple[Dot, Point]]) -> list[tuple[Dot, Point]]:
    """The places with dots that would hide each other, as two of one city, set side by side."""
    apart: list[tuple[Dot, Point]] = []
    for dot, (x, y) in places:
        around = [
            (x + reach * math.cos(angle), y - reach * math.sin(angle))
            for reach in (dot.radius + 9, dot.radius + 18)
            for angle in (math.radians(degrees) for degrees in range(0, 360, 30))
        ]
        free = (
            place
            for place in [(x, y), *around]
            if all(math.dist(place, at) > 0.9 * (dot.radius + big.radius) for big, at in apart)
        )
        apart.append((dot, next(free, (x, y))))
    return apart


def _markers(places: Sequence[tuple[Dot, Point]], size: float = 1) -> str:
    """The dots at their places (x, y) in px, each with a halo and its name; the best's is on top.

    A finger needs more than a dot: it may be as far off as TOUCH_PX, if no other dot is nearer.
    """
    spots, names = [], []
    for dot, (x, y) in places:
        others = [place for other, place in places if other is not dot]
        radius = dot.radius * size
        reach = min([TOUCH_PX, *(math.dist((x, y), other) / 2 for other in others)])
        name = _name(dot, (x, y), others)
        spots.append(
            f'<g class="spot" role="img" aria-label="{escape(dot.title)}" tabindex="-1">'
            f'<circle class="touch" cx="{x:.1f}" cy="{y:.1f}" r="{max(reach, radius):.1f}"/>'
            f'<circle class="{dot.kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>'
            f"{'' if dot.best else name}</g>"
        )
        names.append(name if dot.best else "")
    return "".join([*spots, *names])


def _name(dot: Dot, place: Point, others: Sequence[Point]) -> str:
    """The title above or below its dot, wherever it covers fewer of the others."""
    title = dot.title
    if len(title) > LABEL_LENGTH:
        title = f"{title[: LABEL_LENGTH - 1]}…"
    return (
        f'<text class="name" text-anchor="{_anchor(place[0])}" x="{place[0]:.1f}" '
        f'y="{_baseline(dot, place, others):.1f}">{escape(title)}</text>'
    )


def _baseline(dot: Dot, place: Point, others: Sequence[Point]) -> float:
    (x, y) = place
    near = [other_y - y for other_x, other_y in others if abs(other_x - x) < WIDTH / 5]
    above = sum(-40 < rise < 0 for rise in near) <= sum(0 <= rise < 40 for rise in near)
    return y - dot.radius - 7 if above else y + dot.radius + 18


def _anchor(x: float) -> str:
    return "start" if x < WIDTH / 3 else "end" if x > WIDTH * 2 / 3 else "middle"


def _window_around(best: Dot) -> Window:
    """The narrowest window around a dot in which there is a coast to recognise."""
    latitude = max(-MOST_LATITUDE, min(MOST_LATITUDE, best.latitude))
    for degrees in GROUND_DEGREES:
        window = Window(best.longitude, latitude, degrees)
        share = abs(sum(map(_area, _land_in(window)))) / (WIDTH * ZOOM_HEIGHT)
        if LAND_SHARES[0] <= share <= LAND_SHARES[1]:
            break
    return window


@lru_cache(maxsize=32)  # choosing the window and drawing it ask for the same
def _land_in(window: Window) -> list[list[Point]]:
    """The rings of land in the window, in px, cut off a little outside of it."""
    frame = (-9, -9, WIDTH + 9, ZOOM_HEIGHT + 9)
    return [_cut(list(map(window.project, r)), *frame) for r in _rings_in(*window.edges())]


def _rings_in(west: float, south: float, east: float, north: float) -> Iterator[list[Point]]:
    """The rings of land that may reach into a part of the earth, moved to its longitudes."""
    for ring, box in atlas.land():
        for turn in _turns_into((west, south, east, north), box):
            yield [(longitude + turn, latitude) for longitude, latitude in ring]


def _turns_into(part: Box, box: Box) -> Iterator[int]:
    """Those of TURNS that bring a box into a part of the earth."""
    west, south, east, north = part
    left, bottom, right, top = box
    if bottom <= north and top >= south:
        yield from (turn for turn in TURNS if left + turn <= east and right + turn >= west)


def _cut(ring: list[Point], left: float, top: float, right: float, bottom: float) -> list[Point]:
    """What of a ring lies in a rectangle (Sutherland and Hodgman 1974); may be empty."""
    for axis, limit, sign in ((0, left, 1), (0, right, -1), (1, top, 1), (1, bottom, -1)):
        kept = []
        for start, end in zip(ring[-1:] + ring[:-1], ring, strict=True):
            inside = [(point[axis] - limit) * sign >= 0 for point in (start, end)]
            if inside[0] != inside[1]:
                share = (limit - start[axis]) / (end[axis] - start[axis])
                kept.append(tuple(a + share * (b - a) for a, b in zip(start, end, strict=True)))
            if inside[1]:
                kept.append(end)
        ring = kept
    return ring


def _area(ring: list[Point]) -> float:
    """The signed area of a ring."""
    ends = zip(ring[-1:] + ring[:-1], ring, strict=True)
    return sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in ends) / 2


def _rings(rings: Iterable[list[Point]], step_px: float) -> str:
    """SVG path data of closed rings; points nearer than `step_px` to the one before are left out.

    Rings that are hardly larger than that vanish.
    """
    kept_rings = []
    for ring in rings:
        kept: list[Point] = []
        for x, y in ring:
            if not kept or abs(x - kept[-1][0]) + abs(y - kept[-1][1]) >= step_px:
                kept.append((x, y))
        if len(kept) > 2:
            kept_rings.append(_line(kept) + "Z")
    return "".join(kept_rings)


def _lines(lines: Iterable[list[Point]], to_px: Projection) -> str:
    """SVG path data of open lines in degrees."""
    return "".join(_line(map(to_px, line)) for line in lines)


def _line(points: Iterable[Point]) -> str:
    numbers = [f"{x:.1f} {y:.1f}".replace(".0", "") for x, y in points]
    return "M" + " ".join(numbers) if numbers else ""


def _tens(low: float, high: float) -> range:
    """The multiples of ten between two numbers."""
    return range(math.ceil(low / 10) * 10, math.floor(high / 10) * 10 + 1, 10)


def _world_height(width: int) -> int:
    return round(width * EQUAL_EARTH_Y / EQUAL_EARTH_X)


def _equal_earth(width: float) -> Projection:
    """The projection of that name (Šavrič, Patterson and Jenny 2018), the earth `width` px wide."""
    scale = width / 2 / EQUAL_EARTH_X
    a1, a2, a3, a4 = EQUAL_EARTH

    def project(point: Point) -> Point:
        longitude, latitude = map(math.radians, point)
        t = math.asin(math.sqrt(3) / 2 * math.sin(latitude))
        slope = 9 * a4 * t**8 + 7 * a3 * t**6 + 3 * a2 * t**2 + a1
        x = 2 * math.sqrt(3) * longitude * math.cos(t) / (3 * slope)
        y = a4 * t**9 + a3 * t**7 + a2 * t**3 + a1 * t
        return (EQUAL_EARTH_X + x) * scale, (EQUAL_EARTH_Y - y) * scale

    return project
