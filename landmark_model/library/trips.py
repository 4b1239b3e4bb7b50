"""Trips: photos of one camera, in the order of time, help each other to their places.

Where the photographer was is decoded for a whole chain (Viterbi; Rabiner 1989): what a photo shows
speaks for a place, and travel between places takes time. So a guess that nobody could have reached
falls, a doubtful one among its like rises, and a photo without a landmark gets the place of those
around it, with a radius that grows with the gap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from landmark_model import Answer, Prediction, distance_km

Position = tuple[float, float]

CELL_DEGREES = 0.2  # positions of cameras nearer to each other are one place of the chain
NEAR_KM = 30.0  # the same city; a landmark so far from the camera may be what the photo shows
NEW_TRIP = timedelta(days=3)  # without photos: what was before says nothing any more
# What a photo says of the place: the share of photos at a landmark that show it, the odds of a
# landmark among all that the network knows, and the doubt that is left whatever the network says.
SHOWN_SHARE, LANDMARK_COUNT, DOUBT = 0.5, 50, 0.02
NONE_SHOWN = {True: 0.1, None: 0.2, False: 0.9}  # the probability of that, by `Answer.is_known`
LEAST_RISEN = 0.2  # the probability of a guess that others may confirm
# Log probabilities of going elsewhere: in the same city, farther, and too far for the time that
# the clocks say, which may be wrong.
STROLL, MOVE, IMPOSSIBLE = -0.5, -2.0, -30.0
TRAIN_KMH, FLIGHT_KMH, AIRPORT_HOURS, CLOCK_HOURS = 250.0, 900.0, 3.0, 0.25
# The place of the trip: how far one gets, at most, in the time to the nearest known place.
TRIP_KMH, CLOSE = 60.0, timedelta(hours=1)


@dataclass(frozen=True)
class Shot:
    """A photo of a chain: when it was taken, what it may show, and where its camera says it was.

    `is_camera` is False for pictures that no camera took, such as screenshots.
    """

    taken_at: datetime
    answer: Answer | None = None
    position: Position | None = None
    is_camera: bool = True


@dataclass(frozen=True)
class Stop:
    """Where a photo was taken, and why we say so; all None and "" if that is not known.

    `landmark` is what it shows, `near` the landmark that its place is named after. `radius_km` is
    how far from `position` it may be. `why` is "seen", "camera", or what it lies between.
    """

    landmark: Prediction | None = None
    position: Position | None = None
    radius_km: float | None = None
    near: Prediction | None = None
    why: str = ""


def follow(shots: Sequence[Shot], max_gap: timedelta = timedelta(hours=6)) -> list[Stop]:
    """The stop of each photo of a chain, which must be in the order of time.

    A photo without a landmark gets the place of others that are at most `max_gap` away.
    """
    stops: list[Stop] = []
    start = 0
    for end in range(1, len(shots) + 1):
        if end == len(shots) or shots[end].taken_at - shots[end - 1].taken_at > NEW_TRIP:
            trip = shots[start:end]
            known = _seen(trip, max_gap)
            stops += [
                stop if stop.why or not shot.is_camera else _between(trip, known, number, max_gap)
                for number, (shot, stop) in enumerate(zip(trip, known, strict=True))
            ]
            start = end
    return stops


def _seen(trip: Sequence[Shot], max_gap: timedelta) -> list[Stop]:
    """The stops that the photos show, or that the camera has written into them."""
    places = _places(trip)
    route = _decode(trip, places) if places else [""] * len(trip)
    plain = [_plain(shot) for shot in trip]
    return [_stop(shot, route[n], _backed(trip, plain, n, max_gap)) for n, shot in enumerate(trip)]


def _places(trip: Sequence[Shot]) -> dict[str, Position]:
    """The places where photos of a trip may have been taken, by class name or cell."""
    found: dict[str, Position] = {}
    for shot in trip:
        if shot.position:
            found.setdefault(_cell(shot.position), shot.position)
        for guess in _guesses(shot):
            found[guess.class_name] = (guess.latitude, guess.longitude)
    return found


def _cell(position: Position) -> str:
    return "{:.0f} {:.0f}".format(*(degrees / CELL_DEGREES for degrees in position))


def _guesses(shot: Shot) -> list[Prediction]:
    """The guesses for a photo whose places are known."""
    return [guess for guess in shot.answer or () if guess.latitude is not None]


def _decode(trip: Sequence[Shot], places: dict[str, Position]) -> list[str]:
    """The most probable route: a place for each photo."""
    names = list(places)
    at = [*places.values()]
    distances = np.array([[distance_km(one, other) for other in at] for one in at])  # (P, P)
    hours = np.minimum(distances / TRAIN_KMH, AIRPORT_HOURS + distances / FLIGHT_KMH)
    moves = np.where(distances <= NEAR_KM, STROLL, MOVE)
    np.fill_diagonal(moves, 0.0)
    emissions = np.array([[_evidence(shot, name) for name in names] for shot in trip])
    scores, origins = emissions[0], []
    for number in range(1, len(trip)):
        gap = trip[number].taken_at - trip[number - 1].taken_at
        is_in_time = gap / timedelta(hours=1) + CLOCK_HOURS >= hours
        reached = scores[:, None] + np.where(is_in_time, moves, IMPOSSIBLE)  # (from, to)
        origins.append(reached.argmax(0))
        scores = reached.max(0) + emissions[number]
    route = [int(scores.argmax())]
    for origin in reversed(origins):
        route.append(int(origin[route[-1]]))
    return [names[place] for place in reversed(route)]


def _evidence(shot: Shot, place: str) -> float:
    """The log likelihood of what a photo shows, if it was taken there."""
    if shot.position:
        return 0.0 if place == _cell(shot.position) else 2 * IMPOSSIBLE
    if shot.answer is None:
        return 0.0
    none_shown = NONE_SHOWN[shot.answer.is_known]
    share = sum(guess.probability for guess in shot.answer if guess.class_name == place)
    shown = SHOWN_SHARE * (1 - none_shown) * share * 2 * LANDMARK_COUNT
    return math.log(shown + (1 - SHOWN_SHARE) * none_shown * 2 + DOUBT)


def _plain(shot: Shot) -> str:
    """What a photo shows by itself, as a class name; "" if nothing."""
    return shot.answer[0].class_name if shot.answer and shot.answer.is_known is not False else ""


def _backed(trip: Sequence[Shot], plain: Sequence[str], number: int, gap: timedelta) -> set[str]:
    """What other photos show, not too long before or after this one."""
    taken_at = trip[number].taken_at
    return {
        name
        for other, name in enumerate(plain)
        if name and other != number and abs(trip[other].taken_at - taken_at) <= gap
    }


def _stop(shot: Shot, place: str, backed: set[str]) -> Stop:
    """What a photo shows, given where it was taken, and what others around it show."""
    plain = _plain(shot)
    if shot.position:
        near = (g for g in _guesses(shot) if _is_near(shot.position, g) and plain)
        return Stop(next(near, None), shot.position, 0.0, None, "camera")
    for guess in _guesses(shot):
        is_enough = guess.class_name in backed and guess.probability >= LEAST_RISEN
        if guess.class_name == place and (place == plain or is_enough):
            extent = guess.landmark.extent_km or 0.0
            return Stop(guess, (guess.latitude, guess.longitude), extent, guess, "seen")
    return Stop()


def _is_near(position: Position, guess: Prediction) -> bool:
    extent = guess.landmark.extent_km or 0.0
    return distance_km(position, (guess.latitude, guess.longitude)) <= NEAR_KM + extent


def _between(trip: Sequence[Shot], known: Sequence[Stop], number: int, max_gap: timedelta) -> Stop:
    """The place of a photo by those before and after it: where both agree, or one is close."""
    taken_at = trip[number].taken_at
    around = [range(number - 1, -1, -1), range(number + 1, len(trip))]
    found = [next((other for other in side if known[other].why), None) for side in around]
    ends = [n for n in found if n is not None and abs(trip[n].taken_at - taken_at) <= max_gap]
    if not ends:
        return Stop()
    nearest = min(ends, key=lambda other: abs(trip[other].taken_at - taken_at))
    gaps = {other: abs(trip[other].taken_at - taken_at) for other in ends}
    reaches = {other: _reach(known[other], gaps[other]) for other in ends}
    agree = len(ends) == 2 and distance_km(*(known[n].position for n in ends)) <= min(
        reaches.values()
    )
    if not agree and gaps[nearest] > CLOSE:
        return Stop()
    said = " and ".join(f"{_name(known[n])} {trip[n].taken_at:%H:%M}" for n in ends)
    why = f"between {said}" if len(ends) == 2 else f"near {said}"
    place = known[nearest]
    return Stop(None, place.position, reaches[nearest], place.near, why)


def _reach(stop: Stop, gap: timedelta) -> float:
    """How far from a stop one may be after a time, in km."""
    return (stop.radius_km or 0.0) + 1.0 + TRIP_KMH * (gap / timedelta(hours=1))


def _name(stop: Stop) -> str:
    """A stop in words."""
    if stop.landmark:
        return stop.landmark.label
    latitude, longitude = stop.position
    return f"{latitude:.2f}, {longitude:.2f}"
