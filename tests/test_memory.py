"""The memory says how near a photo is to those that the network learned from."""

import math

import numpy as np
import pytest

from landmark_model.memory import WIDTH, Memory, unit_length

RANDOM = np.random.default_rng(0)
FEATURES = unit_length(RANDOM.normal(size=(12, 5)))
LABELS = np.arange(12) % 3
MEMORY = Memory(FEATURES, LABELS, 4)


@pytest.mark.parametrize("k", [1, 3, 12, 50])
def test_distance_is_that_of_a_plain_loop(k):
    photos = RANDOM.normal(size=(6, 5))
    for photo, found in zip(photos, MEMORY.distance(photos, k), strict=True):
        photo = photo / np.linalg.norm(photo)
        distances = sorted(np.linalg.norm(photo - other) for other in FEATURES)
        assert found == pytest.approx(distances[min(k, 12) - 1], abs=1e-5)


def test_many_photos_are_as_near_as_each_alone():
    photos = RANDOM.normal(size=(2100, 5))
    alone = [MEMORY.distance(photo[None])[0] for photo in photos[::100]]
    np.testing.assert_allclose(MEMORY.distance(photos)[::100], alone, atol=1e-6)


def test_photo_it_remembers_is_nearest_to_its_own_class():
    assert MEMORY.nearness(7.5 * FEATURES).argmax(1).tolist() == LABELS.tolist()


def test_nearness_is_the_log_of_the_mean_kernel():
    photo = np.array([[0.3, -1.0, 0.2, 0.8, 0.1]])
    found = MEMORY.nearness(photo)[0]
    for label in range(3):
        cosines = FEATURES[label == LABELS] @ unit_length(photo)[0]
        mean = sum(math.exp((cosine - 1) / WIDTH) for cosine in cosines) / len(cosines)
        assert found[label] == pytest.approx(WIDTH * math.log(mean), abs=1e-4)
    assert found.argmin() == 3 and np.isfinite(found).all()  # a class without photos


def test_memory_is_what_is_stored():
    memory = Memory.remember(100 * FEATURES, LABELS, 4)
    assert np.array_equal(memory.features, memory.features.astype(np.float16))
    np.testing.assert_allclose(memory.features, FEATURES, atol=1e-3)


def test_memory_has_room_for_what_fits_in_half_a_gigabyte():
    assert Memory.has_room(1522, 50, 512) and Memory.has_room(100_000, 1000, 512)
    assert not Memory.has_room(100_001, 1000, 512)
    assert not Memory.has_room(1_000_000, 2, 1280)
