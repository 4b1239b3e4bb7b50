"""Metrics against plain loops, on random logits."""

import math
from dataclasses import asdict

import numpy as np
import pytest

from landmark_model.training.metrics import measure, measure_unknown

SHAPES = [(1, 3), (40, 5), (60, 50)]


def names(class_count: int) -> tuple[str, ...]:
    """As many class names."""
    return tuple(f"class {number}" for number in range(class_count))


@pytest.fixture(params=SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def sample(request):
    """Random logits that lean towards their labels, the labels, and the class count."""
    count, class_count = request.param
    random = np.random.default_rng(count)
    labels = random.integers(class_count, size=count)
    logits = random.normal(size=(count, class_count))
    logits[range(count), labels] += 1.0
    return logits, labels, class_count


def best(row: list[float], count: int) -> list[int]:
    """The indices of the `count` largest numbers, largest first."""
    return sorted(range(len(row)), key=lambda index: -row[index])[:count]


def test_scores_equal_a_plain_loop(sample):
    logits, labels, class_count = sample
    scores = measure(logits, labels, names(class_count))
    counts = [[0] * class_count for _ in range(class_count)]
    hits, loss = {1: 0, 5: 0}, 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        counts[label][best(row, 1)[0]] += 1
        hits = {k: hits[k] + (label in best(row, k)) for k in hits}
        loss += math.log(sum(math.exp(value) for value in row)) - row[label]
    assert [list(row) for row in scores.confusion] == counts
    found = [scores.top1, scores.top5, scores.loss]
    assert found == pytest.approx([x / len(labels) for x in (hits[1], hits[5], loss)], rel=1e-5)
    assert scores.photo_count == len(labels) == sum(score.support for score in scores.classes)
    for index, score in enumerate(scores.classes):
        right, there = counts[index][index], sum(counts[index])
        guessed = sum(row[index] for row in counts)
        assert score.class_name == f"class {index}" and score.support == there
        assert score.precision == pytest.approx(right / guessed if guessed else 0.0)
        assert score.recall == pytest.approx(right / there if there else 0.0)
        assert score.f1 == pytest.approx(2 * right / (guessed + there) if guessed + there else 0.0)


def test_calibration_error_equals_a_plain_loop(sample):
    logits, labels, class_count = sample
    gaps: dict[int, float] = {}
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        index = best(row, 1)[0]
        confidence = math.exp(row[index]) / sum(math.exp(value) for value in row)
        bin_number = math.ceil(confidence * 15)
        gaps[bin_number] = gaps.get(bin_number, 0.0) + confidence - (index == label)
    found = measure(logits, labels, names(class_count)).calibration_error
    assert found == pytest.approx(sum(map(abs, gaps.values())) / len(labels), abs=1e-9)


def test_class_without_photos_has_no_support():
    logits = np.array([[3.0, 0.0, 1.0], [0.0, 0.0, 2.0]])
    scores = measure(logits, np.array([0, 0]), names(3))
    assert [score.support for score in scores.classes] == [2, 0, 0]
    assert asdict(scores.classes[1]) == {
        "class_name": "class 1", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0
    }  # fmt: skip
    assert scores.confusion == ((1, 0, 1), (0, 0, 0), (0, 0, 0))


def test_perfect_and_hopeless_answers_are_the_ends_of_the_scale():
    logits, labels = 50 * np.eye(8), np.arange(8)
    noise = np.random.default_rng(0).normal(size=(8, 8))
    perfect, hopeless = (measure(x, labels, names(8)) for x in (logits, noise - logits))
    assert perfect.top1 == perfect.top5 == 1.0
    assert perfect.loss == pytest.approx(0.0, abs=1e-6)
    assert perfect.calibration_error == pytest.approx(0.0, abs=1e-6)
    assert all(score.f1 == 1.0 for score in perfect.classes)
    assert hopeless.top1 == hopeless.top5 == 0.0 and hopeless.loss > 40


def test_scores_are_plain_numbers(sample):
    logits, labels, class_count = sample
    scores = measure(logits, labels, names(class_count))
    assert {type(count) for row in scores.confusion for count in row} == {int}
    assert {type(value) for value in asdict(scores.classes[0]).values()} == {str, float, int}
    assert type(scores.top1) is type(scores.top5) is type(scores.loss) is float


def test_unknown_figures_equal_plain_loops():
    random = np.random.default_rng(3)
    known, unknown = random.normal(1.5, size=80), random.normal(size=50)
    found = measure_unknown("energy", known, unknown, threshold=0.2)
    pairs = [(a > b) for a in known.tolist() for b in unknown.tolist()]
    assert found.auroc == pytest.approx(sum(pairs) / len(pairs), abs=1e-9)
    least = sorted(known.tolist())[4]  # 76 of 80, 95 %, are at or above it
    assert found.fpr95 == pytest.approx(sum(b >= least for b in unknown.tolist()) / 50)
    assert found.kept == pytest.approx(sum(a >= 0.2 for a in known.tolist()) / 80)
    assert found.refused == pytest.approx(sum(b < 0.2 for b in unknown.tolist()) / 50)
    assert (found.known_count, found.unknown_count, found.method) == (80, 50, "energy")
