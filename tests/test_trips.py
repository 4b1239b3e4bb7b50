"""Photos of one trip help each other: what nobody could reach falls, what fits rises."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from landmark_model import Answer, Prediction, distance_km, find_place
from landmark_model.library.trips import Shot, distances_km, follow
from landmark_model.places import all_places, nearest_place

NINE = datetime(2024, 5, 1, 9)
PARIS = (48.86, 2.35)


def guess(name: str, probability: float) -> Prediction:
    place = find_place(name)
    return Prediction(place.name, name, probability, place)


def shot(
    minutes: float, *guesses: tuple[str, float], known: bool | None = True, position=None
) -> Shot:
    """A photo so many minutes after nine; what it may show, best first."""
    answer = Answer([guess(*one) for one in guesses], 1.0, known) if guesses else None
    return Shot(NINE + timedelta(minutes=minutes), answer, position, 100)


def nothing(minutes: float, position=None) -> Shot:
    """A photo that shows no landmark."""
    return shot(minutes, ("Petra", 0.2), known=False, position=position)


def shown(*shots: Shot) -> list[str]:
    """The names of what the photos show; "" for nothing."""
    return [stop.landmark.class_name if stop.landmark else "" for stop in follow(shots)]


LOUVRE, EIFFEL, LATE_EIFFEL = (
    shot(0, ("Louvre", 0.9)), shot(30, ("Eiffel_Tower", 0.95)), shot(90, ("Eiffel_Tower", 0.9)),
)  # fmt: skip


def test_guess_that_nobody_could_have_reached_falls():
    tokyo = shot(40, ("Tokyo_Tower", 0.8), ("Louvre", 0.01))
    assert shown(LOUVRE, EIFFEL, tokyo, LATE_EIFFEL) == [
        "Louvre", "Eiffel_Tower", "", "Eiffel_Tower",
    ]  # fmt: skip
    assert shown(tokyo) == ["Tokyo_Tower"], "alone, it stands"
    day_after = shot(60 * 24, ("Tokyo_Tower", 0.8))
    assert shown(LOUVRE, EIFFEL, day_after)[-1] == "Tokyo_Tower", "there was a flight"


def test_doubtful_guess_rises_among_its_like():
    doubtful = shot(60, ("Tokyo_Tower", 0.45), ("Eiffel_Tower", 0.41))
    assert shown(EIFFEL, doubtful, LATE_EIFFEL) == ["Eiffel_Tower"] * 3
    assert shown(doubtful) == ["Tokyo_Tower"]
    refused = shot(60, ("Eiffel_Tower", 0.6), known=False)
    assert shown(EIFFEL, refused)[1] == "Eiffel_Tower"
    assert shown(LOUVRE, refused)[1] == "", "nobody confirms it"


def test_wrong_guesses_at_home_are_no_place_to_be():
    guesses = ("Colosseum", "Tokyo_Tower", "Louvre", "Statue_of_Liberty", "Uluru")
    photos = [shot(40 * n, (name, 0.4)) for n, name in enumerate(guesses)]
    photos += [nothing(40 * n + 9) for n in range(len(guesses))]
    photos.sort(key=lambda one: one.taken_at)
    assert not any(stop.how == "trip" for stop in follow(photos))


def test_guesses_of_one_burst_count_once():
    burst = [shot(40 + n / 60, ("Tokyo_Tower", 0.9)) for n in range(20)]
    assert set(shown(LOUVRE, EIFFEL, *burst, LATE_EIFFEL)[2:-1]) == {""}


def test_landmark_that_no_gazetteer_knows_stands():
    assert shown(LOUVRE, EIFFEL, shot(40, ("my_old_mill", 0.8)), LATE_EIFFEL)[2] == "my_old_mill"


def test_clock_without_an_offset_may_have_been_set_to_another_time_zone():
    photos = [shot(0, ("Tokyo_Tower", 0.95)), shot(6 * 60, ("Eiffel_Tower", 0.95))]
    assert shown(*photos) == ["Tokyo_Tower", "Eiffel_Tower"]
    zoned = [replace(one, taken_at=one.taken_at.replace(tzinfo=UTC)) for one in photos]
    assert shown(*zoned).count("") == 1, "no plane is so fast"


def test_position_of_the_camera_is_certain():
    stops = follow([
        shot(0, ("Tokyo_Tower", 0.99), position=PARIS),
        shot(5, ("Eiffel_Tower", 0.5), position=PARIS),
        shot(9, ("Colosseum", 0.9)),
    ])  # fmt: skip
    assert [stop.why for stop in stops] == ["camera", "camera", "near Eiffel Tower 09:05"]
    assert [stop.landmark and stop.landmark.class_name for stop in stops] == [
        None, "Eiffel_Tower", None,
    ]  # fmt: skip
    assert stops[0].position == PARIS and stops[0].radius_km == 0


def test_photo_without_a_landmark_gets_the_place_around_it_with_a_growing_radius():
    photos = [EIFFEL, nothing(33), nothing(60), LATE_EIFFEL]
    _, early, middle, _ = follow(photos)
    for stop in (early, middle):
        assert stop.landmark is None and stop.near.class_name == "Eiffel_Tower"
        assert stop.why == "between Eiffel Tower 09:30 and Eiffel Tower 10:30"
    assert 1 < early.radius_km < 10 < middle.radius_km < 60
    for elsewhere in ("Louvre", "Notre_Dame_de_Paris"):
        place = find_place(elsewhere)
        there = (place.latitude, place.longitude)
        assert distance_km(early.position, there) <= early.radius_km


EARLY_EIFFEL = shot(20, ("Eiffel_Tower", 0.9))
IN_PARIS = [EARLY_EIFFEL, EIFFEL]
IN_LONDON = [shot(30 + minutes, ("Tower_Bridge", 0.9)) for minutes in (300, 310)]


@pytest.mark.parametrize(
    ("photos", "place"),
    [
        ([*IN_PARIS, nothing(30 + 7 * 60)], None),
        ([*IN_PARIS, nothing(80)], "Eiffel_Tower"),
        ([*IN_PARIS, nothing(150)], None),
        ([*IN_PARIS, nothing(30 + 150), *IN_LONDON], None),
        ([*IN_PARIS, nothing(50), *IN_LONDON], "Eiffel_Tower"),
        ([EIFFEL, nothing(50)], None),
        ([nothing(0), nothing(50)], None),
        ([nothing(0), *IN_PARIS], "Eiffel_Tower"),
    ],
    ids=["after the longest gap", "close to one", "not close to one", "in the middle of a journey",
         "just before a journey", "by a single photo", "nowhere known", "before the first"],
)  # fmt: skip
def test_place_of_the_trip_is_given_only_where_others_agree_or_are_close(photos, place):
    near = [stop.near and stop.near.class_name for stop in follow(photos)]
    without = [name for name, photo in zip(near, photos, strict=True) if photo.answer[0].label in
               ("Petra",)]  # fmt: skip
    assert without[-1] == place


def test_place_reaches_no_farther_in_time_than_is_asked_for():
    photos = [*IN_PARIS, nothing(50)]
    assert follow(photos, timedelta(minutes=20))[-1].how == "trip"
    assert follow(photos, timedelta(minutes=19))[-1].how == ""


def test_city_is_sure_only_where_it_is_small_and_one():
    early, late = (follow([*IN_PARIS, nothing(minutes)])[-1] for minutes in (33, 80))
    assert early.is_city and not late.is_city
    assert early.near.place == "Paris" and late.radius_km > 60


def test_place_where_no_landmark_is_near_is_no_more_exact_than_its_radius():
    nowhere = (10.123456, -140.123456)
    stop = follow([shot(0, position=nowhere), nothing(5)])[-1]
    assert stop.near is None and stop.position == (10.1, -140.1) and stop.why == "near GPS 09:00"
    assert 9.5 + distance_km(stop.position, nowhere) == pytest.approx(stop.radius_km)


def test_trips_that_are_days_apart_do_not_know_of_each_other():
    later = shot(60 * 24 * 5, ("Tokyo_Tower", 0.3), ("Eiffel_Tower", 0.29))
    assert shown(LOUVRE, EIFFEL, later) == ["Louvre", "Eiffel_Tower", "Tokyo_Tower"]
    assert follow([]) == [] and follow([shot(0)])[0].why == ""


def test_long_walk_between_two_landmarks_of_a_city_is_followed():
    photos = [
        shot(number * 20, ("Eiffel_Tower" if number % 2 else "Louvre", 0.7), ("Petra", 0.2))
        for number in range(60)
    ]
    assert shown(*photos) == ["Louvre", "Eiffel_Tower"] * 30


def test_distances_of_many_places_are_those_of_two_and_the_nearest_is_that_of_all():
    known = {name: (place.latitude, place.longitude) for name, place in all_places().items()}
    positions = [*known.values(), PARIS, (-90.0, 0.0), (10.0, 179.9), (10.0, -179.9)]
    expected = [[distance_km(one, other) for other in positions] for one in positions]
    assert np.allclose(distances_km(np.array(positions)), expected, rtol=1e-9, atol=1e-6)
    for position in positions[len(known) :]:
        away = {name: distance_km(position, there) for name, there in known.items()}
        assert nearest_place(position) == min(away.items(), key=lambda item: item[1])
