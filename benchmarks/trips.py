"""What photos of one trip tell of each other, on made-up trips of real photos: trips.md.

    python -m benchmarks.trips --known world100/test --unknown unknown/test

The photos are held-out ones of landmarks and of none of them; each is answered once, into an index
in --cache. A trip visits landmarks of a region, or of several on different continents, in the time
that travel takes; of its photos about 30 % show no landmark. Of 300 trips, a third each have the
camera's position (GPS) in none, a tenth and half of the photos; in a tenth, the clock jumps by an
hour on the way; in a fifth, somebody takes photos at home with a second camera meanwhile.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from benchmarks.pages import command_line, make_parser, run, table
from landmark_model import Answer, LandmarkError, Place, distance_km, find_place, load
from landmark_model.config import read_config
from landmark_model.files import write_text
from landmark_model.folders import find_named
from landmark_model.hub.repo import ANSWERING, find
from landmark_model.library.index import open_index, to_answer
from landmark_model.library.run import LibraryRun, make_plan, stamp_of
from landmark_model.library.trips import Shot, Stop, follow

PAGE_NAME = "trips.md"
TRIP_COUNT, GPS_SHARES = 300, (0.0, 0.1, 0.5)
WRONG_CLOCKS, AT_HOME, FAR = 0.1, 0.2, 0.3  # shares of trips
AROUND, ON_THE_WAY, EXCURSION, EVENING = (
    0.1,
    0.2,
    0.15,
    0.3,
)  # how often a photo of no landmark is taken
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


@dataclass(frozen=True)
class Trip:
    """The photos of a made-up trip, by camera and clock; of them, `gps_share` have GPS."""

    taken: list[Taken]
    gps_share: float
    is_clock_wrong: bool


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
    for _ in range(chance.choice([1, 2, 3, 4, 5, 6])):
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
    if chance.random() < EVENING:
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


def make_trip(number: int, photos: dict[str, list[Photo]]) -> Trip:
    """A made-up trip in which no photo comes twice."""
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
    taken = sorted(taken, key=lambda one: (one.camera, one.clock))
    return Trip(taken, share, jumps_at is not None)


# --- answers ---


def answer_photos(
    known: Path, unknown: Path, cache: Path, source: str | None
) -> tuple[dict[str, list[Photo]], int]:
    """The photos by the landmark that they show, "" for none; and how many the network knows.

    Raises LandmarkError if there are no photos of its landmarks, or no others.
    """
    folder = find(source, None)
    config = read_config(folder)
    stamp = stamp_of(config.architecture, [folder / name for name in ANSWERING])
    folders = [known.resolve(), unknown.resolve()]
    found = find_named(folders, cache)
    with open_index(cache, is_new=True, writes=True) as index:
        plan = make_plan(index, found.paths, folders, stamp)
        if plan.waiting:
            for _ in LibraryRun(index, load(folder), stamp, is_again=True).answer(plan.waiting):
                pass
        rows = [index.get(str(path)) for path in found.paths]
    photos: dict[str, list[Photo]] = defaultdict(list)
    for row in rows:
        is_known = folders[0] in Path(row.path).parents
        name = Path(row.path).parent.name if is_known else ""
        if row.guesses and (name in config.class_names or not is_known):
            photos[name].append(Photo(name, to_answer(row)))
    if not photos[""] or len(photos) < 2:
        raise LandmarkError(f"{known} or {unknown} has no photos that this network can be asked.")
    return photos, len(config.class_names)


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


def decode(trip: Trip, landmark_count: int) -> list[Stop]:
    """The stops of a trip, camera by camera."""
    stops: list[Stop] = []
    for camera in sorted({one.camera for one in trip.taken}):
        stops += follow([
            Shot(one.clock, one.photo.answer, one.position if one.has_gps else None, landmark_count)
            for one in trip.taken if one.camera == camera
        ])  # fmt: skip
    return stops


def nearest_located(trip: Trip, one: Taken) -> Position | None:
    """The place that photo managers give: that of the nearest photo in time that has one.

    It has GPS, or shows a landmark by its own answer.
    """
    found = min(
        (
            (abs(other.clock - one.clock), other.position if other.has_gps else at(said))
            for other in trip.taken
            for said in [alone(other.photo)]
            if other is not one and (other.has_gps or said)
        ),
        default=None,
        key=lambda pair: pair[0],
    )
    return found[1] if found and found[0] <= RULE_GAP else None


@dataclass
class Figures:
    """What is measured of some trips: answers alone and within trips, places of ours and theirs."""

    trips: int = 0
    photos: int = 0
    alone: Score = field(default_factory=Score)
    within: Score = field(default_factory=Score)
    ours: Placing = field(default_factory=Placing)
    rule: Placing = field(default_factory=Placing)

    def add(self, trip: Trip, stops: Sequence[Stop]) -> None:
        """Counts the photos of a trip."""
        self.trips += 1
        for one, stop in zip(trip.taken, stops, strict=True):
            self.photos += 1
            self.alone.add(one.photo, alone(one.photo))
            self.within.add(one.photo, stop.landmark.class_name if stop.landmark else "")
            if not one.photo.class_name and not one.has_gps:
                place = stop.position if stop.how == "trip" else None
                self.ours.add(one.position, place, stop.radius_km)
                self.rule.add(one.position, nearest_located(trip, one), SAME_CITY_KM)


def answer_line(name: str, found: Figures) -> list[str]:
    """A line of the table of answers."""
    alone, within = found.alone, found.within
    counts = (found.trips, found.photos, alone.landmark_count)
    figures = (
        *(f"{score.right / score.landmark_count:.1%}" for score in (alone, within)),
        *(f"{score.right / (score.right + score.wrong):.1%}" for score in (alone, within)),
        f"{alone.wrong:,}", f"{within.wrong:,}", f"{within.wrong / alone.wrong - 1:+.0%}",
    )  # fmt: skip
    return [name, *(f"{count:,}" for count in counts), *figures]


def place_line(name: str, found: Figures) -> list[str]:
    """A line of the table of places."""
    ours, rule = found.ours, found.rule
    errors, radii = np.array(ours.errors_km), np.array(ours.radii_km)
    middle, wide = np.quantile(radii, [0.5, 0.9])
    return [
        name, f"{ours.count:,}", f"{len(rule.errors_km) / rule.count:.0%}",
        f"{np.mean(np.array(rule.errors_km) <= SAME_CITY_KM):.1%}",
        f"{len(errors) / ours.count:.0%}", f"**{np.mean(errors <= radii):.1%}**",
        f"{np.mean(errors <= SAME_CITY_KM):.1%}", f"{middle:.0f} km", f"{wide:.0f} km",
    ]  # fmt: skip


PARTS: dict[str, Callable[[Trip], bool]] = {
    **{
        f"GPS in {share:.0%} of photos": lambda trip, share=share: trip.gps_share == share
        for share in GPS_SHARES
    },
    "clock jumps by an hour": lambda trip: trip.is_clock_wrong,
    "second camera at home": lambda trip: any(one.camera for one in trip.taken),
    "all": lambda trip: True,
}


def make_page(command: str, trips: Sequence[Trip], landmark_count: int) -> str:
    """The Markdown text."""
    parts = {name: Figures() for name in PARTS}
    for trip in trips:
        stops = decode(trip, landmark_count)
        for name, belongs in PARTS.items():
            if belongs(trip):
                parts[name].add(trip, stops)
    parts = {name: found for name, found in parts.items() if found.ours.errors_km}
    whole = parts["all"]
    none = 1 - whole.alone.landmark_count / whole.photos
    answers = ("trips", "", "photos", "of landmarks", "top-1 alone", "within trips",
               "precision alone", "within trips", "wrong alone", "within trips", "")  # fmt: skip
    places = ("trips", "photos", "rule: placed", f"within {SAME_CITY_KM:.0f} km", "ours: placed",
              "within the radius said", f"within {SAME_CITY_KM:.0f} km", "radius: median",
              "90 % below")  # fmt: skip
    return "\n\n".join([
        "# Photos of a trip",
        f"Written by `{command}`: {whole.trips} made-up trips of held-out photos, "
        f"{none:.0%} of which show no landmark; `--help` says how they are made. A photo comes "
        "once in a trip, but in several trips.",
        "## Landmarks",
        "Top-1: the share of photos of landmarks that are given the right one. Precision: the "
        "share of answers that are right; photos of no landmark that are given one count as wrong.",
        table(answers, [answer_line(*one) for one in parts.items()]),
        "## Places of photos without a landmark",
        "Those without GPS. The rule is that of photo managers: the place of the nearest photo "
        f"within {RULE_GAP / HOUR:.0f} hours that has GPS or, by its own answer, shows a landmark.",
        table(places, [place_line(*one) for one in parts.items()]),
    ]) + "\n"  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Answers the photos, makes up the trips, and writes the page."""
    parser = make_parser("trips", __doc__)
    parser.add_argument("--known", type=Path, required=True, metavar="FOLDER",
                        help="held-out photos of landmarks, a folder for each")  # fmt: skip
    parser.add_argument("--unknown", type=Path, required=True, metavar="FOLDER",
                        help="held-out photos of none of them")  # fmt: skip
    parser.add_argument("--cache", type=Path, default=Path("runs/trips"), metavar="FOLDER",
                        help="where answers are kept; default: runs/trips")  # fmt: skip
    parser.add_argument("--model", metavar="FOLDER_OR_REPO", help="default: that of load()")
    options = parser.parse_args(arguments)
    photos, landmark_count = answer_photos(
        options.known, options.unknown, options.cache, options.model
    )
    trips = [make_trip(number, photos) for number in range(TRIP_COUNT)]
    page = make_page(command_line("trips", arguments), trips, landmark_count)
    write_text(options.out / PAGE_NAME, page)
    print(page)


if __name__ == "__main__":
    run(main)
