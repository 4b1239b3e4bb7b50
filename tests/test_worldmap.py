"""The map: dots lie where they should, on land that is drawn from the file that ships."""

import math
import re
import xml.etree.ElementTree as ElementTree
from itertools import combinations, pairwise

import pytest

from landmark_model.places import all_places
from landmark_model.web import STATIC
from landmark_model.web.html import atlas, worldmap
from landmark_model.web.html.worldmap import Dot, world_map

SVG = "{http://www.w3.org/2000/svg}"
PARIS = Dot(48.8584, 2.2945, 0.9, "Eiffel Tower", best=True)
LONDON = Dot(51.5007, -0.1246, 0.05, "Big Ben")
SYDNEY = Dot(-33.8568, 151.2153, 0.03, "Sydney Opera House")
MIDDLE = (worldmap.WIDTH / 2, worldmap.ZOOM_HEIGHT / 2)
PLACES = {key: place for key, place in all_places().items() if place.latitude is not None}
EARTH_PX = worldmap._equal_earth(worldmap.WIDTH)


def draw(dots, label="Where it is", **options) -> ElementTree.Element:
    return ElementTree.fromstring(world_map(dots, label, **options))


def spots(drawing: ElementTree.Element) -> dict[str, list[ElementTree.Element]]:
    """What a finger may hit and the dot, of each spot of the large map, by name."""
    groups = [group for group in drawing.iter(f"{SVG}g") if group.get("class") == "spot"]
    return {group.get("aria-label"): group.findall(f"{SVG}circle") for group in groups}


def circles(drawing: ElementTree.Element) -> dict[str, ElementTree.Element]:
    """The dots of the large map by name; those of the inset have none."""
    return {name: dot for name, (_, dot) in spots(drawing).items()}


def place(circle: ElementTree.Element) -> tuple[float, float]:
    return float(circle.get("cx")), float(circle.get("cy"))


def city_names(drawing: ElementTree.Element) -> dict[str, tuple[float, float]]:
    """Where the cities of a map are, by name."""
    groups = [group for group in drawing.iter(f"{SVG}g") if group.get("class") == "city"]
    return {group[1].text: place(group[0]) for group in groups}


def is_land(drawing: ElementTree.Element, x: float, y: float) -> bool:
    """Whether a point of the large map is inside of the land's path (even-odd rule)."""
    path = next(p for p in drawing.iter(f"{SVG}path") if p.get("class") == "land").get("d")
    inside = False
    for ring in path.strip("MZ").split("ZM"):
        numbers = list(map(float, ring.split()))
        points = list(zip(numbers[::2], numbers[1::2], strict=True))
        for (x1, y1), (x2, y2) in zip(points, points[1:] + points[:1], strict=True):
            if (y1 > y) != (y2 > y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
                inside = not inside
    return inside


def test_zoomed_map_has_the_best_named_in_its_middle_and_neighbours_where_they_lie():
    drawing = draw([LONDON, PARIS, SYDNEY])
    dots = circles(drawing)
    assert set(dots) == {"Eiffel Tower", "Big Ben"}, "Sydney is only in the inset"
    (x, y), (london_x, london_y) = place(dots["Eiffel Tower"]), place(dots["Big Ben"])
    assert (x, y) == MIDDLE and london_x < x and london_y < y
    assert len(list(drawing.iter(f"{SVG}circle"))) == 2 * 2 + 3 + len(city_names(drawing))
    (svg,) = drawing
    assert [name.text for name in svg.findall(f"{SVG}text")] == ["Eiffel Tower"]
    assert "best" in dots["Eiffel Tower"].get("class")
    (hidden,) = svg.findall(f"{SVG}g[@class='spot']/{SVG}text")  # until it is pointed at or tapped
    assert hidden.text == "Big Ben"


def test_a_finger_reaches_every_dot_and_the_nearest_one():
    dots = [Dot(0, degrees, 0.01, str(degrees)) for degrees in (0, 9, 120)]
    drawing = draw(dots, zoom=False)
    reach = {name: float(touch.get("r")) for name, (touch, _) in spots(drawing).items()}
    near, middle, _ = map(place, circles(drawing).values())
    assert reach["0"] == reach["9"] == pytest.approx(math.dist(near, middle) / 2, abs=0.1)
    assert reach["120"] == worldmap.TOUCH_PX


@pytest.mark.parametrize(
    ("latitude", "longitude", "land"),
    [(48.0, 2.5, True), (46.0, -6.0, False), (51.5, -1.0, True), (53.0, 3.0, False)],
    ids=["France", "Biscay", "England", "North Sea"],
)
def test_land_is_where_land_is(latitude, longitude, land):
    window = worldmap._window_around(PARIS)
    assert is_land(draw([PARIS]), *window.project((longitude, latitude))) is land


@pytest.mark.parametrize(
    ("latitude", "longitude", "land"),
    [(0, 20, True), (0, -30, False), (-85, 0, True), (42, 51, False), (66, -173, True)],
    ids=["Congo", "Atlantic", "Antarctica", "Caspian Sea", "Chukotka"],
)
def test_land_of_the_world_is_where_land_is(latitude, longitude, land):
    assert is_land(draw([], zoom=False), *EARTH_PX((longitude, latitude))) is land


def test_equal_earth_agrees_with_its_published_values():
    """Of the earth's radius 1: the rim is 2.7066 from the middle, the pole 1.3174."""
    to_px = worldmap._equal_earth(2 * worldmap.EQUAL_EARTH_X)
    assert to_px((180, 0)) == pytest.approx((2 * 2.70663, 1.31737), abs=1e-4)
    assert to_px((0, 90)) == pytest.approx((2.70663, 0), abs=1e-4)
    for latitude in (0, 40, 75):
        (_, low), (left, _), (_, high) = (
            to_px((degrees, latitude + tilt)) for degrees, tilt in ((0, -0.5), (0, 0), (0, 0.5))
        )
        area = math.radians(1) ** 2 * math.cos(math.radians(latitude))
        assert (to_px((1, latitude))[0] - left) * (low - high) == pytest.approx(area, rel=1e-3)


@pytest.mark.parametrize("longitude", [179.9, -179.9, 180, -180])
def test_map_goes_on_beyond_the_antimeridian(longitude):
    here = Dot(-17.8, longitude, 0.9, "here", best=True)
    drawing = draw([here, Dot(-36.85, 174.76, 0.1, "Auckland")])
    dots = circles(drawing)
    assert place(dots["Auckland"])[0] < place(dots["here"])[0]
    window = worldmap._window_around(here)
    assert is_land(drawing, *window.project((176.0 - 360 * (longitude < 0), -38.6)))  # Taupo
    assert not is_land(drawing, *window.project((longitude, -25)))


def test_nothing_jumps_across_the_map():
    """A ring that jumps from 180 to -180 would draw a bar through the whole map."""
    for ring, _ in atlas.land():
        for (start, _), (end, latitude) in pairwise(ring):
            assert abs(start - end) < 180 or abs(latitude) == 90


@pytest.mark.parametrize(
    ("latitude", "longitude"),
    [(-27.1, -109.3), (20.7, -156.2), (38.7, -109.5), (64.3, -20.1), (90, 0), (-90, 10), (47, 75)],
    ids=["Easter Island", "Hawaii", "Utah", "Iceland", "north pole", "south pole", "Kazakhstan"],
)
def test_surroundings_have_a_coast_to_recognise(latitude, longitude):
    drawing = draw([Dot(latitude, longitude, 0.8, "here", best=True)])
    cells = [is_land(drawing, x, y) for x in range(10, 480, 20) for y in range(10, 300, 20)]
    assert 0.03 < sum(cells) / len(cells) < 0.99


@pytest.mark.parametrize("zoom", [True, False])
def test_map_without_dots_is_the_world(zoom):
    unplaced = Dot(None, None, 0.9, "My old mill", best=True)
    for dots in ([], [unplaced], iter([Dot(3.0, None, 0.1, "half")])):
        drawing = draw(dots, zoom=zoom)
        assert not circles(drawing) and not list(drawing.iter(f"{SVG}text"))
        assert is_land(drawing, *EARTH_PX((20, 0)))


def test_heaviest_is_in_the_middle_where_none_is_best():
    dots = circles(draw([LONDON, Dot(35.66, 139.75, 0.4, "Tokyo Tower")]))
    assert place(dots["Tokyo Tower"]) == MIDDLE


def test_dots_of_one_city_do_not_hide_each_other():
    same = [Dot(48.86, 2.3 + n / 100, 0.2, str(n)) for n in range(4)]
    for one, other in combinations(circles(draw([PARIS, *same])).values(), 2):
        radii = float(one.get("r")) + float(other.get("r"))
        assert math.dist(place(one), place(other)) > 0.85 * radii


def test_all_dots_are_on_the_map_of_the_world_the_heavier_the_larger():
    dots = circles(draw([SYDNEY, PARIS, LONDON], zoom=False))
    assert list(dots) == ["Eiffel Tower", "Big Ben", "Sydney Opera House"]
    radii = [float(circle.get("r")) for circle in dots.values()]
    assert radii == sorted(set(radii), reverse=True)
    for x, y in map(place, dots.values()):
        assert 0 < x < 480 and 0 < y < 234


def test_map_is_one_labelled_group_and_texts_cannot_inject_html():
    hostile = '<script>alert("1")</script>&'
    text = world_map([Dot(1, 2, 0.5, hostile, best=True)], hostile)
    assert "<script" not in text
    (image,) = ElementTree.fromstring(text).iter(f"{SVG}svg")
    assert image.get("role") == "group" and image.get("aria-label") == hostile
    assert set(circles(image)) == {hostile}


@pytest.mark.parametrize("key", PLACES)
def test_every_landmark_has_cities_around_it_that_cover_nothing(key):
    here = PLACES[key]
    dot = Dot(here.latitude, here.longitude, 0.9, here.name, best=True)
    window = worldmap._window_around(dot)
    for language in ("en", "zh"):
        drawing = worldmap._cities(window, [(dot, MIDDLE)], language)
        cities = city_names(ElementTree.fromstring(f'<g xmlns="{SVG[1:-1]}">{drawing}</g>'))
        assert 3 <= len(cities) <= 6
        for (x, y), (other_x, other_y) in combinations(cities.values(), 2):
            assert abs(x - other_x) > 12 or abs(y - other_y) >= 14
        for x, y in cities.values():
            assert 0 < x < worldmap.WIDTH and 0 < y < worldmap.ZOOM_HEIGHT
            assert math.dist((x, y), MIDDLE) > dot.radius
            assert x > worldmap.INSET_WIDTH or y < worldmap.ZOOM_HEIGHT - 76


def test_cities_lie_where_they_are_and_speak_the_language():
    names = city_names(draw([PARIS], language="de"))
    window = worldmap._window_around(PARIS)
    assert names["London"] == pytest.approx(window.project((-0.12, 51.5)), abs=2)
    rome = next(city for city in atlas.cities() if city.names["en"] == "Rome")
    assert [rome.name_in(language) for language in ("en", "fr", "de", "zh", "it")] == [
        "Rome",
        "Rome",
        "Rom",
        "罗马",
        "Rome",
    ]


def test_borders_are_where_countries_meet():
    """The Pyrenees have one, between France and Spain; the middle of France has none."""
    window = worldmap._window_around(PARIS)
    lines = list(worldmap._borders_in(window))
    for place, is_border in (((0.65, 42.7), True), ((2.5, 47.0), False)):
        x, y = window.project(place)
        near = [
            line
            for line in lines
            for (x1, y1), (x2, y2) in pairwise(line)
            if min(x1, x2) - 4 < x < max(x1, x2) + 4 and min(y1, y2) - 4 < y < max(y1, y2) + 4
        ]
        assert bool(near) is is_border


def test_the_49th_parallel_is_seen_though_it_ends_beside_the_map():
    window = worldmap.Window(-108, 49, degrees=10)
    edges = [x for line in worldmap._borders_in(window) for x, _ in line]
    assert min(edges) < 0 and max(edges) > worldmap.WIDTH


@pytest.mark.parametrize(("language", "text"), [("en", "1,000 km"), ("de", "1.000 km")])
def test_the_scale_is_as_long_as_it_says(language, text):
    drawing = draw([Dot(-27.1, -109.3, 0.8, "here", best=True)], language=language)  # 87 degrees
    (scale,) = (group for group in drawing.iter(f"{SVG}g") if group.get("class") == "scale")
    assert scale[1].text == text
    left, _, _, _, right, *_ = map(float, scale[0].get("d").strip("M").split())
    kilometres = math.radians(87) * 6371 / worldmap.WIDTH
    assert (right - left) * kilometres == pytest.approx(1000, rel=0.02)


def test_long_names_are_cut():
    drawing = draw([Dot(1, 2, 0.5, "Llanfair" * 20, best=True)])
    (name,) = (text for text in drawing.iter(f"{SVG}text") if text.get("class") == "name")
    assert len(name.text) <= 40 and name.text.endswith("…")


def test_map_needs_nothing_from_outside_and_is_small():
    text = world_map([PARIS, LONDON, SYDNEY], "map")
    assert re.findall(r"https?://[^\"]+", text) == ["http://www.w3.org/2000/svg"]
    assert "<image" not in text and "<style" not in text and "url(" not in text
    assert len(text) < 60_000
    sizes = [path.stat().st_size for path in (atlas.LAND, atlas.BORDERS, atlas.CITIES)]
    assert sizes[0] < 250_000 and sizes[1] < 40_000 and sizes[2] < 20_000


@pytest.mark.parametrize("sheet", ["worldmap", "explore"])
def test_every_colour_of_a_drawing_is_there_in_light_and_dark(sheet):
    style = (STATIC / f"{sheet}.css").read_text(encoding="utf-8")
    name = {"worldmap": ".worldmap", "explore": ".quality"}[sheet]
    light, dark = (
        set(re.findall(r"(--[\w-]+):", style.split(start, 1)[1].split("}", 1)[0]))
        for start in (f"{name} {{", f".dark {name} {{")
    )
    assert light == dark == set(re.findall(r"var\((--(?:map|chart)-[\w-]+)\)", style))


def test_every_part_of_the_map_has_its_style():
    style = (STATIC / "worldmap.css").read_text(encoding="utf-8")
    parts = {
        name for part in draw([PARIS, LONDON]).iter() for name in part.get("class", "").split()
    }
    assert not [name for name in parts if f".{name}" not in style]
