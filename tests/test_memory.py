"""Training photos that are near a photo help to name it, each class by how near its own are."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from landmark_model.memory import WIDTH, Memory

FEATURES = normalize(torch.randn(12, 5, generator=torch.Generator().manual_seed(0)))
LABELS = torch.arange(12) % 3
LOGITS = torch.zeros(12, 4)


def test_photo_it_remembers_is_called_by_its_own_name():
    memory = Memory(FEATURES, LABELS, 4, weight=10.0)
    assert torch.equal(memory(LOGITS, 7.5 * FEATURES).argmax(1), LABELS)


def test_nearness_is_the_log_of_the_mean_kernel():
    memory = Memory(FEATURES, LABELS, 4, weight=3.0, temperature=2.0)
    photo = torch.tensor([[0.3, -1.0, 0.2, 0.8, 0.1]])
    found = memory(torch.tensor([[1.0, -1.0, 0.5, 0.0]]), photo)[0].tolist()
    for label, logit in enumerate((1.0, -1.0, 0.5)):
        kernel = [
            math.exp((torch.dot(feature, normalize(photo)[0]).item() - 1) / WIDTH)
            for feature in FEATURES[label == LABELS]
        ]
        nearness = WIDTH * math.log(sum(kernel) / len(kernel))
        assert found[label] == pytest.approx((logit + 3 * nearness) / 2, abs=1e-4)


def test_class_of_many_photos_is_no_nearer_for_their_number():
    twice = torch.cat([FEATURES, FEATURES[LABELS == 0]])
    labels = torch.cat([LABELS, LABELS[LABELS == 0]])
    once, more = Memory(FEATURES, LABELS, 4, 9.0), Memory(twice, labels, 4, 9.0)
    photos = torch.randn(6, 5)
    assert torch.allclose(once(LOGITS[:6], photos), more(LOGITS[:6], photos), atol=1e-4)


def test_class_without_photos_is_far_yet_finite():
    found = Memory(FEATURES, LABELS, 4, weight=1.0)(LOGITS, FEATURES)
    assert found.isfinite().all() and torch.equal(found.argmin(1), torch.full((12,), 3))


def test_without_weight_logits_stay():
    logits = torch.randn(12, 4)
    assert torch.equal(Memory(FEATURES, LABELS, 4)(logits, FEATURES), logits)


def test_memory_is_what_is_stored():
    memory = Memory.remember(100 * FEATURES, LABELS, 4)
    assert torch.equal(memory.features, memory.features.half().float())
    assert torch.allclose(memory.features, FEATURES, atol=1e-3)


def test_shares_of_a_class_sum_to_one_or_nothing():
    memory = Memory(FEATURES, LABELS, 4)
    assert memory.shares.sum(0).tolist() == pytest.approx([1, 1, 1, 0])
    assert (memory.shares.argmax(1) == LABELS).all()


def test_memory_has_room_for_what_fits_in_half_a_gigabyte():
    assert Memory.has_room(1522, 50, 512) and Memory.has_room(100_000, 1000, 512)
    assert not Memory.has_room(100_001, 1000, 512)
    assert not Memory.has_room(1_000_000, 2, 1280)
