"""The chains of an index: which photos are one trip, by whose clock, and where they were taken.

Memory stays flat: a camera's photos are read in the order of time, and decoded trip by trip.
"""

from __future__ import annotations

import heapq
import json
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from itertools import combinations
from typing import NamedTuple

from landmark_model import LandmarkError
from landmark_model.library.index import TRIPS, Camera, Index, Row, to_answer
from landmark_model.library.trips import HOUR, MAX_GAP, NEW_TRIP, Shot, Stop, follow

CHOICES = "choices of trips"  # the setting in which they are kept
NETWORKS = "landmarks by network"  # the setting that has their count by stamp
MOST_SHOTS = 2000  # of a trip; a longer one is parted where its longest pause is
NONE = "none"
DURATION = re.compile(
    r"([+-]?)(?=\d)(?:(\d{1,5})d)?(?:(\d{1,4})h)?(?:(\d{1,4})m)?|([+-]?)(\d\d?):(\d\d)",
    re.IGNORECASE,
)
CLOCK = re.compile(r"([^+Z]*T[^+Z-]*)(?:([+-])(\d\d):(\d\d))?")
FARTHEST_ZONE, EPOCH = timedelta(hours=14), date(1970, 1, 1)
# Two cameras that saw the same landmarks: how many it takes until their clocks may be compared,
# how far off the visits may be, and from when on a difference is worth a word.
LEAST_VISITS, VISIT, APART = 3, timedelta(hours=2), timedelta(hours=26)
SPREAD, LEAST_DIFFERENCE = timedelta(minutes=10), timedelta(minutes=20)
HALF_HOUR = timedelta(minutes=30)  # what time zones differ by


@dataclass(frozen=True)
class Choices:
    """What users say of their cameras: which travel together, how far off their clocks are, and up
    to which gap photos help each other."""

    together: tuple[tuple[str, ...], ...] = ()
    offsets: tuple[tuple[str, timedelta], ...] = ()
    max_gap: timedelta = MAX_GAP


class Seen(NamedTuple):
    """A row with the time that its camera's clock said, put right; `zone` if it is known."""

    local: datetime
    zone: timedelta | None
    row: Row


@dataclass
class Found:
    """What came of a decoding: how many guesses fell, and rose or are surer by others, how many
    photos got a place, which have no time that can be believed, by camera, and what each camera saw
    when."""

    fell: int = 0
    rose: int = 0
    placed: int = 0
    trips: int = 0
    timeless: Counter[str] = field(default_factory=Counter)
    visits: dict[str, dict[str, list[datetime]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )


def read_choices(
    together: Sequence[str] | None, offsets: Sequence[str] | None, max_gap: str | None
) -> dict[str, object]:
    """The words of the command line, as `Choices` are kept; only those that were given.

    Raises LandmarkError if one cannot be read.
    """
    found: dict[str, object] = {}
    if together:
        found["together"] = [] if together == [NONE] else [*map(_group, together)]
    if offsets:
        found["offsets"] = [] if offsets == [NONE] else [*map(_offset, offsets)]
    if max_gap:
        gap = read_duration(max_gap)
        if gap is None or not timedelta() <= gap <= NEW_TRIP:
            raise LandmarkError(
                f"--max-gap {max_gap} is no time from 0 to 72 hours. Write it as 6h or 90m."
            )
        found["max_gap"] = gap.total_seconds()
    return found


def _group(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise LandmarkError(
            f"--together {text} names no camera. Write their names, such as "
            '--together "Canon, iPhone".'
        )
    return names


def _offset(text: str) -> list[str | float]:
    name, _, time = text.rpartition("=")
    offset = read_duration(time)
    if not name.strip() or offset is None:
        raise LandmarkError(
            f"--camera-offset {text} cannot be read. Write a camera and what to add to its clock, "
            'such as --camera-offset "CANON=+1h" or "CANON=-1h30m".'
        )
    return [name.strip(), offset.total_seconds()]  # as JSON has it


def read_duration(text: str) -> timedelta | None:
    """A time such as "6h", "+1h30m", "-2d", "90m" or "-01:30"; None if it is none."""
    found = DURATION.fullmatch(text.strip())
    if not found:
        return None
    sign, days, hours, minutes, other_sign, clock_hours, clock_minutes = found.groups()
    time = timedelta(
        int(days or 0), hours=int(hours or clock_hours or 0),
        minutes=int(minutes or clock_minutes or 0),
    )  # fmt: skip
    return -time if "-" in (sign, other_sign) else time


def note_network(index: Index, stamp: str, landmark_count: int) -> None:
    """Keeps how many landmarks the network of a `stamp` knows."""
    before = index.setting(NETWORKS) or "{}"
    after = json.dumps(json.loads(before) | {stamp: landmark_count}, sort_keys=True)
    if after != before:
        index.keep_setting(NETWORKS, after)


def decode_trips(index: Index, given: dict[str, object]) -> list[str]:
    """Decodes the trips of an index anew if a row or a choice has changed; gives the summary.

    `given` are the choices of now; those of before are kept. Raises LandmarkError if one names no
    camera.
    """
    cameras = dict(index.cameras())
    _require_cameras(given, [*cameras])
    before = json.loads(index.setting(CHOICES) or "{}")
    kept = before | given
    if kept != before:
        index.keep_setting(CHOICES, json.dumps(kept))
    lines = index.setting(TRIPS)
    if lines is None:
        choices, found = _choices(kept), Found()
        for camera, count in cameras.items():
            found.timeless[camera.name] += count
        index.put_stops(
            _decoded(index, [*cameras], choices, found), lambda: json.dumps(_summary(found))
        )
        lines = index.setting(TRIPS)
    return json.loads(lines)


def _choices(kept: dict) -> Choices:
    return Choices(
        tuple(tuple(group) for group in kept.get("together", ())),
        tuple((name, timedelta(seconds=offset)) for name, offset in kept.get("offsets", ())),
        timedelta(seconds=kept.get("max_gap", MAX_GAP.total_seconds())),
    )


def _require_cameras(given: dict[str, object], cameras: Sequence[Camera]) -> None:
    names = [name for group in given.get("together", ()) for name in group]
    names += [name for name, _ in given.get("offsets", ())]
    for name in names:
        if not any(_is_named(camera, name) for camera in cameras):
            there = ", ".join(sorted({camera.name for camera in cameras})) or "none"
            raise LandmarkError(
                f"No camera is called {name}. These took the photos of the index: {there}."
            )


def _is_named(camera: Camera, name: str) -> bool:
    return name.casefold() in camera.name.casefold()


def _groups(cameras: Sequence[Camera], choices: Choices) -> list[list[Camera]]:
    """The cameras whose photos are one chain: each its own, but for those that travel together."""
    groups: dict[object, list[Camera]] = defaultdict(list)
    for camera in cameras:
        numbers = (
            number
            for number, names in enumerate(choices.together)
            if any(_is_named(camera, name) for name in names)
        )
        groups[next(numbers, camera)].append(camera)
    return [*groups.values()]


# --- photos in the order of time ---


def _decoded(
    index: Index, cameras: Sequence[Camera], choices: Choices, found: Found
) -> Iterator[tuple[str, Stop]]:
    """The stop of each photo that is part of a chain, by its path."""
    networks = json.loads(index.setting(NETWORKS) or "{}")
    for group in _groups(cameras, choices):
        photos = (_seen_by(index, camera, choices, found) for camera in group)
        for trip in _trips(heapq.merge(*photos, key=lambda one: one.local.replace(microsecond=0))):
            found.trips += 1
            together = _in_order(trip)
            shots = [_shot(time, copies[0].row, networks) for time, copies in together]
            stops = follow(shots, choices.max_gap)
            for (_, copies), stop in zip(together, stops, strict=True):
                _count(copies, stop, found)
                yield from ((one.row.path, stop) for one in copies)


def _seen_by(index: Index, camera: Camera, choices: Choices, found: Found) -> Iterator[Seen]:
    """The photos of a camera with a time that can be believed, put right by its offset."""
    offsets = [offset for name, offset in choices.offsets if _is_named(camera, name)]
    offset = offsets[-1] if offsets else timedelta()
    # Somewhere it is up to 14 hours later than here.
    latest = datetime.now() + timedelta(days=1)
    for row in index.taken_by(camera):
        clock = read_clock(row.taken_at)
        if clock and clock[0] < latest:
            yield Seen(clock[0] + offset, clock[1], row)
        else:
            found.timeless[camera.name] += 1


def read_clock(text: str) -> tuple[datetime, timedelta | None] | None:
    """What a clock said, and its offset from UTC if that is known; None for no time at all, and
    for the day that clocks begin with."""
    found = CLOCK.fullmatch(text)
    try:
        local = datetime.fromisoformat(found[1]) if found else None
    except ValueError:
        local = None
    if local is None or local.date() == EPOCH:
        return None
    zone = timedelta(hours=int(found[3]), minutes=int(found[4])) if found[2] else None
    if zone is None or zone > FARTHEST_ZONE:
        return local, None
    return local, -zone if found[2] == "-" else zone


def _trips(photos: Iterable[Seen]) -> Iterator[list[Seen]]:
    """Photos without days between them; a trip that is too long ends at its longest pause."""
    trip: list[Seen] = []
    for one in photos:
        if trip and one.local - trip[-1].local > NEW_TRIP:
            yield trip
            trip = []
        trip.append(one)
        if len(trip) == MOST_SHOTS:
            pauses = range(MOST_SHOTS // 2, MOST_SHOTS)
            end = max(pauses, key=lambda number: trip[number].local - trip[number - 1].local)
            yield trip[:end]
            trip = trip[end:]
    if trip:
        yield trip


def _in_order(trip: Sequence[Seen]) -> list[tuple[datetime, list[Seen]]]:
    """The photos of a trip in the order in which they were taken, byte-identical copies together.

    Where some clocks say their offset from UTC and others do not, these are taken to be in the
    zone of the photo before them.
    """
    zone = next((one.zone for one in trip if one.zone is not None), None)
    copies: dict[tuple, list[Seen]] = defaultdict(list)
    for one in trip:
        zone = zone if one.zone is None else one.zone
        time = one.local if zone is None else one.local.replace(tzinfo=timezone(zone))
        copies[time, one.row.sha256 or one.row.path].append(one)
    return [(time, copies[time, key]) for time, key in sorted(copies)]


def _shot(time: datetime, row: Row, networks: dict[str, int]) -> Shot:
    answer = to_answer(row)
    position = None if row.latitude is None else (row.latitude, row.longitude)
    return Shot(time, answer, position, networks.get(row.stamp, len(answer or ())))


# --- what came of it ---


def _count(copies: Sequence[Seen], stop: Stop, found: Found) -> None:
    """Counts what a stop changed, and notes what was seen when."""
    local, _, row = copies[0]
    plain = json.loads(row.guesses)[0][0] if row.guesses and row.is_known is not False else None
    found.fell += len(copies) * (plain is not None and stop.landmark is None)
    found.placed += len(copies) * (stop.how == "trip")
    if stop.landmark:
        name = stop.landmark.class_name
        is_surer = stop.confirmed > stop.landmark.probability
        found.rose += len(copies) * (name != plain or is_surer)
        visits = found.visits[Camera(row.make, row.model, row.serial).name][name]
        if not visits or local - visits[-1] > VISIT:
            visits.append(local)


def _summary(found: Found) -> list[str]:
    """What is said of the trips, line by line."""
    lines = []
    if found.trips:
        lines.append(
            f"Trips: {found.trips}. Guesses that do not fit: {found.fell}, confirmed by other "
            f"photos: {found.rose}; photos placed by others: {found.placed}."
        )
    lines += [
        f"Part of no trip, for want of a time to believe (none, zeros, 1970-01-01 or to come): "
        f"{count} photos of {name}."
        for name, count in found.timeless.items()
        if count
    ]
    return lines + _suggestions(found.visits)


def _suggestions(visits: dict[str, dict[str, list[datetime]]]) -> list[str]:
    """Offsets for cameras that saw the same landmarks at systematically other times."""
    lines = []
    travelled = [name for name, seen in visits.items() if len(seen) >= LEAST_VISITS]
    for one, other in combinations(sorted(travelled), 2):
        offset = _difference(visits[one], visits[other])
        if offset:
            later = "after" if offset > timedelta() else "before"
            lines.append(
                f"{other} saw what {one} saw {_written(abs(offset))} {later} it. If its clock is "
                f'wrong: --camera-offset "{other}={_written(-offset)}"'
            )
    return lines


def _difference(
    one: dict[str, list[datetime]], other: dict[str, list[datetime]]
) -> timedelta | None:
    """How much later the other camera saw the same landmarks; None if that is not systematic."""
    later = []
    for name in one.keys() & other.keys():
        gaps = (second - first for first in one[name] for second in other[name])
        gap = min(gaps, key=abs)
        if abs(gap) <= APART:
            later.append(gap)
    if len(later) < LEAST_VISITS:
        return None
    middle = statistics.median_low(later)
    close = sum(abs(gap - middle) <= SPREAD for gap in later)
    if close < LEAST_VISITS or close * 4 < len(later) * 3 or abs(middle) < LEAST_DIFFERENCE:
        return None
    steps = round(middle / HALF_HOUR)
    is_zone = abs(middle - steps * HALF_HOUR) <= SPREAD
    return steps * HALF_HOUR if is_zone else timedelta(minutes=round(middle / HOUR * 60))


def _written(time: timedelta) -> str:
    """A time as `read_duration` reads it."""
    hours, minutes = divmod(round(abs(time) / HOUR * 60), 60)
    sign = "-" if time < timedelta() else ""
    return sign + (f"{hours}h" if hours else "") + (f"{minutes}m" if minutes else "")
