"""The memory says how near a photo is to those that the network learned from."""

import numpy as np
import pytest

from landmark_model import memory
from landmark_model.memory import Memory, unit_length

RANDOM = np.random.default_rng(0)
FEATURES = unit_length(RANDOM.normal(size=(12, 5)))
MEMORY = Memory(FEATURES)


@pytest.mark.parametrize("k", [1, 3, 12, 50])
def test_distance_is_that_of_a_plain_loop(k):
    photos = RANDOM.normal(size=(6, 5))
    for photo, found in zip(photos, MEMORY.distance(photos, k), strict=True):
        photo = photo / np.linalg.norm(photo)
        distances = sorted(np.linalg.norm(photo - other) for other in FEATURES)
        assert found == pytest.approx(distances[min(k, 12) - 1], abs=1e-5)


def test_many_photos_are_as_near_as_each_alone(monkeypatch):
    monkeypatch.setattr(memory, "MOST_PAIRS", 12 * 7)
    photos = RANDOM.normal(size=(30, 5))
    alone = [MEMORY.distance(photo[None])[0] for photo in photos]
    np.testing.assert_allclose(MEMORY.distance(photos), alone, atol=1e-6)


def test_memory_is_what_is_stored():
    stored = Memory.remember(100 * FEATURES)
    assert np.array_equal(stored.features, stored.features.astype(np.float16))
    np.testing.assert_allclose(stored.features, FEATURES, atol=1e-3)


def test_memory_has_room_for_features_of_half_a_gigabyte():
    assert Memory.has_room(78_125, 1280) and not Memory.has_room(78_126, 1280)
