"""What photos of one trip tell of each other, on made-up trips of real photos: trips.md.

    python -m benchmarks.trips --known world100/test --unknown unknown/test

The photos are held-out ones of landmarks and of none of them; each is answered once, into an index
in --cache. A trip visits landmarks of a region, or of several on different continents, in the time
that travel takes; of its photos 30 % show no landmark. Of 300 trips, a third each have the
camera's position (GPS) in none, a tenth and half of the photos; in a tenth, the clock jumps by an
hour on the way; in a fifth, somebody takes photos at home with a second camera meanwhile.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from benchmarks.pages import command_line, make_parser, run, table
from landmark_model import Answer, LandmarkClassifier, Place, distance_km, find_place, load
from landmark_model.files import write_text
from landmark_model.folders import find_named
from landmark_model.hub.card import wilson
from landmark_model.library.index import View, open_index
from landmark_model.library.run import LibraryRun, make_plan
from landmark_model.library.trips import Shot, Stop, follow

PAGE_NAME = "trips.md"
TRIP_COUNT, GPS_SHARES = 300, (0.0, 0.1, 0.5)
WRONG_CLOCKS, AT_HOME, FAR = 0.1, 0.2, 0.3  # shares of trips
AROUND, ON_THE_WAY, EXCURSION = 0.15, 0.25, 0.2  # how often a photo of no landmark is taken
REGION_KM, SAME_CITY_KM, MOST_EXTENT_KM = 800.0, 30.0, 40.0
RULE_GAP = timedelta(hours=24)  # of photo managers
HOUR = timedelta(hours=1)
Position = tuple[float, float]


@dataclass(frozen=True)
class Photo:
    """A held-out photo: the landmark that it shows, "" for none, and its answer."""

    class_name: str
    answer: Answer


@dataclass(frozen=True)
class Taken:
    """A photo of a trip: by which camera, when by its clock, where, and whether it has GPS."""

    photo: Photo
    camera: int
    clock: datetime
    position: Position
    has_gps: bool


@dataclass
class Route:
    """A trip while it is made up: `now` and `at` of the photographer; of the photos, `share` have
    GPS; the clock is `ahead`."""

    chance: random.Random
    photos: dict[str, list[Photo]]
    share: float
    now: datetime
    at: Position
    camera: int = 0
    ahead: timedelta = timedelta()
    taken: list[Taken] = field(default_factory=list)

    def shoot(self, class_name: str) -> None:
        """Takes a photo of a landmark, or of none, here and now, if there is one left."""
        left = self.photos[class_name]
        if left:
            photo = left.pop(self.chance.randrange(len(left)))
            gps = self.chance.random() < self.share
            self.taken.append(Taken(photo, self.camera, self.now + self.ahead, self.at, gps))

    def wait(self, least: float, most: float) -> None:
        """Lets some minutes pass."""
        self.now += timedelta(minutes=self.chance.uniform(least, most))

    def stroll(self, centre: Position, most_km: float) -> None:
        """Spends 1 to 25 minutes on the way to somewhere around `centre`."""
        aim, before = beside(self.chance, centre, self.chance.uniform(0, most_km)), self.now
        self.wait(1, 25)
        reach = self.chance.uniform(3, 50) * ((self.now - before) / HOUR)
        self.at = on_the_way(self.at, aim, min(1.0, reach / (distance_km(self.at, aim) + 1e-9)))


def visit(route: Route, place: Place, class_name: str) -> None:
    """Some photos at a landmark, and some around it that show none."""
    chance, centre = route.chance, (place.latitude, place.longitude)
    extent = min(place.extent_km or 1.0, MOST_EXTENT_KM)
    for _ in range(chance.choice([1, 2, 2, 3, 4, 5])):
        route.shoot(class_name)
        route.stroll(centre, extent)
        while chance.random() < AROUND:
            route.shoot("")
            route.stroll(centre, extent + 1)


def travel(route: Route, end: Position) -> None:
    """Goes to the next landmark: in a city, by train or car, or by plane."""
    chance, start, began = route.chance, route.at, route.now
    km = distance_km(start, end)
    if km <= SAME_CITY_KM:
        hours = 0.1 + km / chance.uniform(4, 30)
    elif km <= REGION_KM:
        hours = 0.5 + km / chance.uniform(60, 200)
    else:
        hours = chance.uniform(3.5, 6) + km / chance.uniform(700, 880)
    if chance.random() < ON_THE_WAY:
        share = chance.uniform(0.1, 0.9)
        route.now, route.at = began + share * hours * HOUR, on_the_way(start, end, share)
        route.shoot("")
    route.now, route.at = began + hours * HOUR, end


def pause(route: Route) -> None:
    """A meal, an excursion or a night, maybe with a photo."""
    chance, here = route.chance, route.at
    if 7 <= route.now.hour < 18 and chance.random() > 0.15:
        route.wait(10, 100)
        if chance.random() < EXCURSION:
            travel(route, beside(chance, here, min(chance.expovariate(1 / 10), 80.0)))
            route.shoot("")
            travel(route, here)
        return
    if chance.random() < 0.5:
        travel(route, beside(chance, here, chance.expovariate(1 / 4)))
        route.shoot("")
    morning = (route.now + timedelta(days=route.now.hour >= 7)).replace(hour=8, minute=30)
    route.now = max(route.now + 5 * HOUR, morning)
    route.wait(0, 90)


def stay_home(route: Route, end: datetime) -> None:
    """Photos in and around a town far away, until a time."""
    home = route.at
    for _ in range(route.chance.randint(2, 6)):
        travel(route, beside(route.chance, home, route.chance.expovariate(1 / 3)))
        for _ in range(route.chance.randint(1, 3)):
            route.shoot("")
            route.stroll(route.at, 0.5)
        route.now += route.chance.expovariate(5 / ((end - route.now) / HOUR)) * HOUR
        if route.now >= end:
            break


def beside(chance: random.Random, centre: Position, distance: float) -> Position:
    """A position so many km from another, in some direction."""
    angle = chance.uniform(0, 2 * np.pi)
    latitude = centre[0] + distance / 111.2 * np.sin(angle)
    turn = distance / 111.2 * np.cos(angle) / max(0.1, np.cos(np.radians(centre[0])))
    return float(latitude), float((centre[1] + turn + 180) % 360 - 180)


def on_the_way(start: Position, end: Position, share: float) -> Position:
    """The position after a share of the great circle between two."""
    ends = []
    for latitude, longitude in np.radians([start, end]):
        level = np.cos(latitude)
        ends.append([level * np.cos(longitude), level * np.sin(longitude), np.sin(latitude)])
    angle = np.arccos(np.clip(np.dot(*ends), -1, 1))
    if angle < 1e-9:
        return start
    x, y, z = (np.sin((1 - share) * angle) * np.array(ends[0])
               + np.sin(share * angle) * np.array(ends[1])) / np.sin(angle)  # fmt: skip
    return float(np.degrees(np.arcsin(z))), float(np.degrees(np.arctan2(y, x)))


def landmarks_of(chance: random.Random, names: Sequence[str]) -> list[str]:
    """The landmarks of a trip: two to eight of a region, or of two or three regions."""
    stops: list[str] = []
    for _ in range(chance.choice([2, 3]) if chance.random() < FAR else 1):
        first = chance.choice(names)
        near = sorted(names, key=lambda name: distance(first, name))[:15]
        region = [name for name in near if distance(first, name) <= REGION_KM]
        chosen = {*chance.sample(region, min(len(region), chance.randint(2, 8)))}
        stops += [name for name in region if name in chosen and name not in stops]
    return stops


def distance(one: str, other: str) -> float:
    """The km between two landmarks."""
    return distance_km(at(one), at(other))


def at(name: str) -> Position:
    """Where a landmark is."""
    place = find_place(name)
    return place.latitude, place.longitude


def make_trip(number: int, photos: dict[str, list[Photo]]) -> list[Taken]:
    """The photos of a made-up trip, by camera and clock; none comes twice."""
    chance = random.Random(number)
    left = {name: [*some] for name, some in photos.items()}
    start = datetime(2024, 5, 1, 9) + timedelta(minutes=chance.randrange(600))
    share = GPS_SHARES[number % len(GPS_SHARES)]
    stops = landmarks_of(chance, sorted(name for name in photos if name))
    route = Route(chance, left, share, start, at(stops[0]))
    jumps_at = chance.randrange(len(stops)) if chance.random() < WRONG_CLOCKS else None
    for order, name in enumerate(stops):
        travel(route, at(name))
        if order == jumps_at:
            route.ahead = chance.choice([-1, 1]) * HOUR
        visit(route, find_place(name), name)
        pause(route)
    taken = route.taken
    if chance.random() < AT_HOME:
        town = chance.uniform(-35, 60), chance.uniform(-180, 180)
        second = Route(chance, left, share, start, town, camera=1)
        stay_home(second, route.now)
        taken += second.taken
    return sorted(taken, key=lambda one: (one.camera, one.clock))


# --- answers ---


def answer_photos(
    folders: Sequence[Path], cache: Path, tagger: LandmarkClassifier, stamp: str
) -> dict[str, list[Photo]]:
    """The photos of `folders` by the landmark that they show; those that `tagger` lacks, by ""."""
    folders = [folder.resolve() for folder in folders]
    found = find_named(folders, cache)
    with open_index(cache, is_new=True, writes=True) as index:
        plan = make_plan(index, found.paths, folders, stamp)
        for _ in LibraryRun(index, tagger, stamp, is_again=True).answer(plan.waiting):
            pass
        rows = [(path, row) for path, _, row in index.rows(View())]
    classes, photos = {*tagger.config.class_names}, defaultdict(list)
    for path, row in rows:
        name = Path(path).parent.name
        if row.answer:
            name = name if name in classes else ""
            photos[name].append(Photo(name, row.answer))
    return photos


# --- figures ---


@dataclass
class Score:
    """How many answers of landmark photos are right, and how many answers are wrong."""

    landmark_count: int = 0
    right: int = 0
    wrong: int = 0

    def add(self, photo: Photo, said: str) -> None:
        """Counts an answer; "" is none."""
        self.landmark_count += bool(photo.class_name)
        self.right += bool(said) and said == photo.class_name
        self.wrong += bool(said) and said != photo.class_name


@dataclass
class Placing:
    """Places of photos that show no landmark: how many of `count` got one, and how far off."""

    count: int = 0
    errors_km: list[float] = field(default_factory=list)
    radii_km: list[float] = field(default_factory=list)

    def add(self, truth: Position, place: Position | None, radius_km: float) -> None:
        """Counts the place of a photo, if it got one."""
        self.count += 1
        if place:
            self.errors_km.append(distance_km(truth, place))
            self.radii_km.append(radius_km)


def alone(photo: Photo) -> str:
    """What a photo shows by its own answer; "" if nothing."""
    return photo.answer[0].class_name if photo.answer.is_known is not False else ""


def decode(trip: Sequence[Taken], landmark_count: int) -> list[Stop]:
    """The stops of a trip, camera by camera."""
    stops: list[Stop] = []
    for camera in sorted({one.camera for one in trip}):
        stops += follow([
            Shot(one.clock, one.photo.answer, one.position if one.has_gps else None, landmark_count)
            for one in trip if one.camera == camera
        ])  # fmt: skip
    return stops


def nearest_located(trip: Sequence[Taken], one: Taken) -> Position | None:
    """The place that photo managers give: that of the nearest photo that has one.

    It has GPS, or shows a landmark by its own answer.
    """
    found = min(
        (
            (abs(other.clock - one.clock), other.position if other.has_gps else at(said))
            for other in trip
            for said in [alone(other.photo)]
            if other is not one and (other.has_gps or said)
        ),
        default=None,
        key=lambda pair: pair[0],
    )
    return found[1] if found and found[0] <= RULE_GAP else None
