"""The memory says how near a photo is to those that the network learned from."""

import math

import numpy as np
import pytest

from landmark_model import memory
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


@pytest.mark.parametrize("measure", [Memory.distance, Memory.nearness])
def test_many_photos_are_as_near_as_each_alone(measure, monkeypatch):
    monkeypatch.setattr(memory, "MOST_PAIRS", 12 * 7)
    photos = RANDOM.normal(size=(30, 5))
    alone = [measure(MEMORY, photo[None])[0] for photo in photos]
    np.testing.assert_allclose(measure(MEMORY, photos), alone, atol=1e-6)


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
    stored = Memory.remember(100 * FEATURES, LABELS, 4)
    assert np.array_equal(stored.features, stored.features.astype(np.float16))
    np.testing.assert_allclose(stored.features, FEATURES, atol=1e-3)


def test_memory_has_room_for_features_of_half_a_gigabyte():
    assert Memory.has_room(78_125, 1280) and not Memory.has_room(78_126, 1280)
