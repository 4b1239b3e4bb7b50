"""Trips: photos of one camera, in the order of time, help each other to their places.

Where the photographer was is decoded for a whole chain (Viterbi; Rabiner 1989): what a photo shows
speaks for a place, and travel between places takes time. So a guess that nobody could have reached
falls, a doubtful one among its like rises, and a photo without a landmark gets the place of those
around it, with a radius that grows with the gap.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import pairwise

import numpy as np

from landmark_model import Answer, Prediction, distance_km, find_place, nearest_place
from landmark_model.library.words import words_in

Position = tuple[float, float]

MAX_GAP = timedelta(hours=6)
HOUR = timedelta(hours=1)
CELL_DEGREES = 0.2  # positions of cameras nearer to each other are one place of the chain
NEAR_KM = 30.0  # the same city; a landmark so far from the camera may be what the photo shows
NEW_TRIP = timedelta(days=3)  # without photos: what was before says nothing any more
BURST = timedelta(seconds=20)  # photos of one scene: together they say as much as one
# What a photo says of the place. Of photos at a landmark, SHOWN_SHARE show it; LANDMARK_SHARE is
# that of all photos that show one. TRUST is how far a best guess is believed before it is known
# whether the photo shows any; of a photo that the network refuses, one in four does. DOUBT is
# left whatever the network says. A guess below LEAST_SHARE makes no place.
SHOWN_SHARE, LANDMARK_SHARE, TRUST, REFUSED, DOUBT = 0.5, 0.7, 0.95, 0.75, 0.02
LEAST_SHARE = 0.01
LEAST_RISEN = 0.2  # the probability of a guess that others may confirm
# Log probabilities of going elsewhere: in the same city, farther, to where no photo shows a
# landmark, and too far for the time that the clocks say, which may be wrong.
STROLL, MOVE, LEAVE, IMPOSSIBLE = -0.5, -4.0, -4.0, -30.0
TRAIN_KMH, FLIGHT_KMH, AIRPORT_HOURS, CLOCK_HOURS = 250.0, 900.0, 3.0, 0.25
DEGREES_PER_HOUR = 15.0  # of time zones
ELSEWHERE = ""
GPS = "GPS"
EARTH_RADIUS_KM = distance_km((0, 0), (0, 180)) / math.pi
KM_PER_DEGREE, STEPS_DEGREES = 111.0, (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
# The place of the trip: how far around a known place one may be at the same moment, how fast one
# moves among places that agree, and away from one that is CLOSE in time; and the radius up to
# which it is one city.
AROUND_KM, STAY_KMH, TRAVEL_KMH, CITY_KM = 2.0, 30.0, 90.0, 15.0
CLOSE = timedelta(hours=1)
# Two photos of a city make it sure if one of them is sure itself, and the other half so.
LEAST_SURE, LEAST_SHARED = 0.9, 0.5


@dataclass(frozen=True)
class Shot:
    """A photo of a chain: when it was taken, what it may show, and where its camera says it was.

    The network that answered knows `landmark_count` landmarks. The times of a chain all have an
    offset from UTC, or none has.
    """

    taken_at: datetime
    answer: Answer | None
    position: Position | None
    landmark_count: int


@dataclass(frozen=True)
class End:
    """A photo that a place of the trip follows from: its clock ("14:02"), and what it shows.

    `landmark` is None where only the camera's position is known.
    """

    clock: str
    landmark: Prediction | None

    def __str__(self) -> str:
        return f"{self.landmark.label if self.landmark else GPS} {self.clock}"


@dataclass(frozen=True)
class Stop:
    """Where a photo was taken, and `how` we know: "seen", "camera", "trip", or "" if not.

    `landmark` is what it shows; it or another photo shows that with a probability of `confirmed`. A
    place of the trip lies within `radius_km` of `position`, which is that of `near`, or, where no
    landmark is near, no more exact than the radius; it follows from its `ends`. It `is_city` if it
    is in the city of `near`. What it says is in `language`.
    """

    how: str = ""
    landmark: Prediction | None = None
    confirmed: float = 0.0
    position: Position | None = None
    radius_km: float | None = None
    near: Prediction | None = None
    ends: tuple[End, ...] = ()
    is_city: bool = False
    language: str | None = None

    @property
    def why(self) -> str:
        """Why we say so: "seen", "camera", "between Louvre 14:02 and Eiffel Tower 15:40"."""
        if not self.ends:
            return self.how
        text = words_in(self.language)["between" if len(self.ends) == 2 else "near"]
        return text.format(one=self.ends[0], other=self.ends[-1])

    def in_language(self, language: str | None) -> Stop:
        """The same stop with what a place of the trip says in a language ("de")."""
        near = self.near and self.near.in_language(language)
        ends = (replace(end, landmark=end.landmark and end.landmark.in_language(language))
                for end in self.ends)  # fmt: skip
        there = replace(self, near=near, ends=tuple(ends), language=language)
        return there if self.how == "trip" else self


NOWHERE = Stop()


def follow(shots: Sequence[Shot], max_gap: timedelta = MAX_GAP) -> list[Stop]:
    """The stop of each photo of a chain, which must be in the order of time.

    A photo without a landmark gets the place of others that are at most `max_gap` away.
    """
    return [stop for trip in _trips(shots) for stop in _follow_trip(trip, max_gap)]


def _trips(shots: Sequence[Shot]) -> Iterator[Sequence[Shot]]:
    start = 0
    for end in range(1, len(shots) + 1):
        if end == len(shots) or shots[end].taken_at - shots[end - 1].taken_at > NEW_TRIP:
            yield shots[start:end]
            start = end


def _follow_trip(trip: Sequence[Shot], max_gap: timedelta) -> list[Stop]:
    seen = _seen(trip, max_gap)
    sure = _sure(trip, seen, max_gap)
    before, after = _last(sure), _last(sure[::-1])[::-1]
    last = len(trip) - 1
    stops = []
    for number, stop in enumerate(seen):
        if not stop.how:
            ends = before[number], None if after[number] is None else last - after[number]
            stop = _between(trip, seen, number, [end for end in ends if end is not None], max_gap)
        stops.append(stop)
    return stops


# --- what photos show ---


def _seen(trip: Sequence[Shot], max_gap: timedelta) -> list[Stop]:
    """The stops that the photos show, or that the camera has written into them."""
    places = _places(trip)
    route = _decode(trip, places) if places else [ELSEWHERE] * len(trip)
    plain: dict[str, list[tuple[datetime, float]]] = defaultdict(list)
    for shot in trip:
        if best := _plain(shot):
            plain[best.class_name].append((shot.taken_at, best.probability))
    stops = []
    for shot, place in zip(trip, route, strict=True):
        confirmed = _confirmed(shot, place, plain.get(place, ()), max_gap)
        stops.append(_stop(shot, place, confirmed))
    return stops


def _places(trip: Sequence[Shot]) -> dict[str, tuple[Position, float]]:
    """Where photos of a trip may have been taken: position and extent in km, by class or cell."""
    found: dict[str, tuple[Position, float]] = {}
    for shot in trip:
        if shot.position:
            found.setdefault(_cell(shot.position), (shot.position, 0.0))
        for guess in _guesses(shot):
            found[guess.class_name] = _position(guess), guess.landmark.extent_km or 0.0
    return found


def _cell(position: Position) -> str:
    return "{:.0f} {:.0f}".format(*(degrees / CELL_DEGREES for degrees in position))


def _position(guess: Prediction) -> Position:
    return guess.latitude, guess.longitude


def _guesses(shot: Shot) -> list[Prediction]:
    """The guesses for a photo whose places are known."""
    return [
        guess
        for guess in shot.answer or ()
        if guess.latitude is not None and guess.probability >= LEAST_SHARE
    ]


def _decode(trip: Sequence[Shot], places: dict[str, tuple[Position, float]]) -> list[str]:
    """The most probable route: a place for each photo, or ELSEWHERE."""
    names = [*places, ELSEWHERE]
    hours, moves = _travel([*places.values()], trip[0].taken_at.tzinfo is None)
    columns = {name: column for column, name in enumerate(names)}
    emissions = np.stack([_evidence(shot, columns) for shot in trip])
    emissions *= _weights(trip)[:, None]
    scores, origins, everywhere = emissions[0], [], np.arange(len(names))
    for number in range(1, len(trip)):
        gap = trip[number].taken_at - trip[number - 1].taken_at
        is_in_time = gap / HOUR + CLOCK_HOURS >= hours
        reached = scores[:, None] + np.where(is_in_time, moves, IMPOSSIBLE)  # (from, to)
        origins.append(reached.argmax(0))
        scores = reached[origins[-1], everywhere] + emissions[number]
    route = [int(scores.argmax())]
    for origin in reversed(origins):
        route.append(int(origin[route[-1]]))
    return [names[place] for place in reversed(route)]


def _travel(
    places: Sequence[tuple[Position, float]], is_local: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The hours between places and ELSEWHERE, which is last, and the log probability of going.

    A clock that `is_local` may have been set to another time zone on the way. Shapes are
    (P + 1, P + 1).
    """
    count = len(places)
    positions = np.array([position for position, _ in places])  # (P, 2)
    extents = np.array([extent for _, extent in places])
    distances = np.maximum(0.0, distances_km(positions) - extents[:, None] - extents)
    needed = np.minimum(distances / TRAIN_KMH, AIRPORT_HOURS + distances / FLIGHT_KMH)
    if is_local:
        turns = np.abs(positions[:, None, 1] - positions[:, 1])
        needed -= np.minimum(turns, 360 - turns) / DEGREES_PER_HOUR
    hours, moves = np.zeros((count + 1, count + 1)), np.full((count + 1, count + 1), LEAVE)
    hours[:-1, :-1], moves[:-1, :-1] = needed, np.where(distances <= NEAR_KM, STROLL, MOVE)
    np.fill_diagonal(moves, 0.0)
    return hours, moves


def distances_km(positions: np.ndarray) -> np.ndarray:
    """`distance_km` of each of the positions (P, 2) to each other, (P, P)."""
    latitudes, longitudes = np.radians(positions).T
    haversine = np.sin((latitudes[:, None] - latitudes) / 2) ** 2
    across = np.sin((longitudes[:, None] - longitudes) / 2) ** 2
    haversine += np.cos(latitudes)[:, None] * np.cos(latitudes) * across
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.minimum(1.0, haversine)))


def _weights(trip: Sequence[Shot]) -> np.ndarray:
    """How much each photo counts: those of a burst as one together; (N,)."""
    bursts = [0]
    for before, shot in pairwise(trip):
        bursts.append(bursts[-1] + (shot.taken_at - before.taken_at > BURST))
    return 1 / np.bincount(bursts)[bursts]


def _evidence(shot: Shot, columns: dict[str, int]) -> np.ndarray:
    """The log likelihood of what a photo shows, if it was taken at each of the places (P,)."""
    if shot.position:
        found = np.full(len(columns), 2 * IMPOSSIBLE)
        found[columns[_cell(shot.position)]] = 0.0
        return found
    if not shot.answer:
        return np.zeros(len(columns))
    none_shown = _none_shown(shot.answer) / (1 - LANDMARK_SHARE)
    found = np.full(len(columns), (1 - SHOWN_SHARE) * none_shown + DOUBT)
    found[columns[ELSEWHERE]] = none_shown + DOUBT
    for guess in _guesses(shot):
        found[columns[guess.class_name]] += SHOWN_SHARE * _shown(shot, guess)
    return np.log(found)


def _none_shown(answer: Answer) -> float:
    """The probability that a photo shows no landmark."""
    none = 1 - TRUST * answer[0].probability
    return max(none, REFUSED) if answer.is_known is False else none


def _shown(shot: Shot, guess: Prediction) -> float:
    """How much more likely a photo is among those that show what is guessed, than among all."""
    share = (1 - _none_shown(shot.answer)) * guess.probability
    return share * shot.landmark_count / LANDMARK_SHARE


def _plain(shot: Shot) -> Prediction | None:
    """What a photo shows by itself."""
    return shot.answer[0] if shot.answer and shot.answer.is_known is not False else None


def _confirmed(
    shot: Shot, place: str, plain: Sequence[tuple[datetime, float]], gap: timedelta
) -> float:
    """How sure others are that they show the landmark of a place, not too long before or after."""
    first = bisect_left(plain, shot.taken_at - gap, key=lambda one: one[0])
    last = bisect_right(plain, shot.taken_at + gap, key=lambda one: one[0])
    best = _plain(shot)
    own = (shot.taken_at, best.probability) if best and best.class_name == place else None
    others = [*plain[first:last]]
    if own:
        others.remove(own)
    return max((probability for _, probability in others), default=0.0)


def _stop(shot: Shot, place: str, confirmed: float) -> Stop:
    """What a photo shows, given where it was taken, and how sure others are."""
    plain = _plain(shot)
    is_placed = plain is None or plain.latitude is not None
    if shot.position:
        found = (g for g in _guesses(shot) if plain and _fits(shot.position, g, g is plain))
        near = next(found, None)
        landmark = near if is_placed else plain
        sure = landmark.probability if landmark else 0.0
        return Stop("camera", landmark, sure, shot.position, 0.0, near)
    if not is_placed:  # a landmark that the gazetteer lacks, which nobody can say is far away
        return Stop("seen", plain, plain.probability)
    for guess in _guesses(shot):
        is_risen = confirmed and guess.probability >= LEAST_RISEN
        if guess.class_name == place and (guess is plain or is_risen):
            sure, extent = max(guess.probability, confirmed), guess.landmark.extent_km or 0.0
            return Stop("seen", guess, sure, _position(guess), extent, guess)
    # Where nobody knows a place, nothing speaks against a guess, but it is no place for others.
    return Stop("seen", plain, plain.probability) if plain and place == ELSEWHERE else NOWHERE


def _fits(position: Position, guess: Prediction, is_plain: bool) -> bool:
    """Whether a photo of a camera at `position` may show what is guessed."""
    extent = guess.landmark.extent_km or 0.0
    is_near = distance_km(position, _position(guess)) <= NEAR_KM + extent
    return is_near and (is_plain or guess.probability >= LEAST_RISEN)


# --- places of the trip ---


def _sure(trip: Sequence[Shot], seen: Sequence[Stop], max_gap: timedelta) -> list[bool]:
    """Which stops others may be placed by: those that the camera says, and those where the one
    before or after is in the same city, unless more guesses around them are on no route."""
    fits = [shot.taken_at for shot, stop in zip(trip, seen, strict=True) if stop.position]
    others = [shot.taken_at for shot, stop in zip(trip, seen, strict=True)
              if _plain(shot) and not stop.position]  # fmt: skip

    def is_outvoted(number: int) -> bool:
        start, end = (trip[number].taken_at + sign * max_gap for sign in (-1, 1))
        votes = (bisect_right(times, end) - bisect_left(times, start) for times in (fits, others))
        return int.__lt__(*votes)

    known = [n for n, stop in enumerate(seen) if stop.position and _share(stop) >= LEAST_SHARED]
    sure = [stop.how == "camera" for stop in seen]
    for one, other in pairwise(known):
        is_soon = trip[other].taken_at - trip[one].taken_at <= max_gap
        extent = seen[one].radius_km + seen[other].radius_km
        distance = distance_km(seen[one].position, seen[other].position)
        surest = max(_share(seen[one]), _share(seen[other]))
        if is_soon and distance <= NEAR_KM + extent and surest >= LEAST_SURE:
            sure[one] = sure[one] or not is_outvoted(one)
            sure[other] = sure[other] or not is_outvoted(other)
    return sure


def _share(stop: Stop) -> float:
    """How sure the photo itself, or its camera, is of a stop."""
    return 1.0 if stop.how == "camera" else stop.landmark.probability


def _last(sure: Sequence[bool]) -> list[int | None]:
    """The last before each that is sure."""
    found, last = [], None
    for number, is_sure in enumerate(sure):
        found.append(last)
        last = number if is_sure else last
    return found


def _between(
    trip: Sequence[Shot], known: Sequence[Stop], number: int, around: list[int], max_gap: timedelta
) -> Stop:
    """The place of a photo by those `around` it: where both agree, or one is close."""
    gaps = {other: abs(trip[other].taken_at - trip[number].taken_at) for other in around}
    ends = [other for other in around if gaps[other] <= max_gap]
    if not ends:
        return NOWHERE
    nearest = min(ends, key=gaps.__getitem__)
    said = [(trip[other], known[other]) for other in ends]
    within = {other: _reach(known[other], gaps[other], STAY_KMH) for other in ends}
    distance = distance_km(*(known[other].position for other in (ends[0], ends[-1])))
    if len(ends) == 2 and distance <= min(within.values()):
        return _trip_place(known[nearest].position, within[nearest], said)
    if gaps[nearest] <= CLOSE:
        radius_km = _reach(known[nearest], gaps[nearest], TRAVEL_KMH)
        return _trip_place(known[nearest].position, radius_km, said)
    return NOWHERE


def _reach(stop: Stop, gap: timedelta, kmh: float) -> float:
    """How far from the middle of a stop one may be after a time, in km."""
    return stop.radius_km + AROUND_KM + kmh * (gap / HOUR)


def _trip_place(position: Position, radius_km: float, said: Sequence[tuple[Shot, Stop]]) -> Stop:
    """A place of the trip, named after a landmark near it."""
    nears = [stop.near or _nearest(stop.position) for _, stop in said]
    near = next((one for one in nears if one and _position(one) == position), None)
    if near is None and (near := _nearest(position)):
        radius_km += distance_km(position, _position(near))
        position = _position(near)
    elif near is None:
        position, radius_km = _blurred(position, radius_km)
    cities = {one and one.place and (one.place, one.country_code) for one in nears}
    is_city = len(cities) == 1 and None not in cities and radius_km <= CITY_KM
    ends = tuple(End(f"{shot.taken_at:%H:%M}", stop.landmark) for shot, stop in said)
    return Stop("trip", None, 0.0, position, radius_km, near, ends, is_city)


def _blurred(position: Position, radius_km: float) -> tuple[Position, float]:
    """A position that is no more exact than a radius, and the radius around that, in km."""
    step = next(step for step in STEPS_DEGREES if step * KM_PER_DEGREE >= radius_km)
    latitude, longitude = (round(round(degrees / step) * step, 1) for degrees in position)
    return (latitude, longitude), radius_km + distance_km(position, (latitude, longitude))


@lru_cache(maxsize=1024)  # photos one after another lie between the same two
def _nearest(position: Position) -> Prediction | None:
    """The landmark near a position, to name it."""
    name, distance = nearest_place(position)
    place = find_place(name)
    return Prediction(place.name, name, 0.0, place) if distance <= NEAR_KM else None
