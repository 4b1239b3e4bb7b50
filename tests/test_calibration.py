"""Temperature and calibration error, against known answers."""

import math

import numpy as np
import pytest

from landmark_model.calibration import (
    ReliabilityBin,
    chance_calibration_error,
    expected_calibration_error,
    fit_known_threshold,
    known_score,
    reliability,
    softmax,
)
from landmark_model.memory import Memory, unit_length
from landmark_model.training.evaluate import fit_temperature


def draw(count: int, classes: int, spread: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn with the probabilities that the logits stand for."""
    random = np.random.default_rng(seed)
    logits = (spread * random.normal(size=(count, classes))).astype(np.float32)
    labels = [random.choice(classes, p=row) for row in softmax(logits)]
    return logits, np.array(labels)


def slow_error(logits: np.ndarray, labels: np.ndarray, bin_count: int) -> float:
    """The expected calibration error by the definition: bins (0, 1/n], (1/n, 2/n], ..."""
    answers = [(max(p), p.index(max(p)) == y) for p, y in
               zip(softmax(logits).tolist(), labels.tolist(), strict=True)]  # fmt: skip
    total = 0.0
    for low in range(bin_count):
        inside = [(c, r) for c, r in answers if low / bin_count < c <= (low + 1) / bin_count]
        if inside:
            total += abs(sum(c for c, _ in inside) - sum(r for _, r in inside))
    return total / len(answers)


@pytest.mark.parametrize("temperature", [0.2, 0.5, 1.0, 1.7, 5.0])
def test_known_temperature_is_found(temperature):
    logits, labels = draw(4000, 6, 2.0, seed=1)
    assert fit_temperature(logits * temperature, labels) == pytest.approx(temperature, rel=0.08)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_temperature_is_where_the_loss_is_least(kind):
    logits, labels = draw(300, 5, 3.0, seed=2)
    logits = (1.8 * logits).astype(kind)
    best = fit_temperature(logits, labels)

    def loss(temperature: float) -> float:
        chosen = softmax(logits / temperature)[range(len(labels)), labels]
        return float(-np.log(chosen).mean())

    grid = [math.exp(step / 50) for step in range(-140, 140)]
    assert loss(best) <= min(map(loss, grid)) + 1e-6


@pytest.mark.parametrize(("factor", "above"), [(4.0, True), (0.25, False)])
def test_overconfident_networks_are_cooled_and_shy_ones_warmed(factor, above):
    logits, labels = draw(1000, 5, 2.0, seed=3)
    assert (fit_temperature(factor * logits, labels) > 1) is above


def test_right_temperature_lowers_the_calibration_error():
    logits, labels = draw(3000, 5, 2.0, seed=4)
    bold = 3 * logits
    before = expected_calibration_error(bold, labels)
    after = expected_calibration_error(bold / fit_temperature(bold, labels), labels)
    assert after < 0.05 < before


def test_ranking_stays():
    logits, labels = draw(200, 8, 2.0, seed=5)
    scaled = logits / fit_temperature(3 * logits, labels)
    assert np.array_equal(logits.argsort(1), scaled.argsort(1))


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        ([[3.0, 1.0]], [0]),
        ([[3.0, 1.0]], [1]),
        ([[5.0, 0.0], [0.0, 5.0]], [0, 1]),
        ([[5.0, 0.0], [0.0, 5.0]], [1, 0]),
        ([[0.0, 0.0], [0.0, 0.0]], [0, 1]),
        ([[1e4, 0.0], [0.0, 1e4], [1e4, 0.0]], [0, 1, 1]),
        ([[1e-8, 0.0]], [0]),
    ],
    ids=["one right", "one wrong", "all right", "all wrong", "no idea", "huge", "tiny"],
)
def test_few_photos_give_a_temperature_that_can_be_used(logits, labels):
    found = fit_temperature(np.array(logits), np.array(labels))
    assert math.isfinite(found)
    assert 0.05 <= found <= 20


@pytest.mark.parametrize("bin_count", [1, 5, 15])
@pytest.mark.parametrize("spread", [0.1, 2.0, 30.0])
@pytest.mark.parametrize("seed", [6, 7])
def test_calibration_error_is_that_of_a_slow_loop(bin_count, spread, seed):
    logits, _ = draw(200, 4, spread, seed)
    _, labels = draw(200, 4, spread, seed + 10)
    found = expected_calibration_error(logits, labels, bin_count)
    assert found == pytest.approx(slow_error(logits, labels, bin_count), abs=1e-9)
    assert 0 <= found <= 1


@pytest.mark.parametrize(
    ("logits", "labels", "error"),
    [
        ([[100.0, 0.0], [0.0, 100.0]], [0, 1], 0.0),
        ([[100.0, 0.0], [0.0, 100.0]], [1, 0], 1.0),
        ([[0.0, 0.0], [0.0, 0.0]], [0, 1], 0.0),
        ([[math.log(3), 0.0]] * 4, [0, 0, 0, 1], 0.0),
        ([[math.log(3), 0.0]] * 4, [0, 0, 0, 0], 0.25),
    ],
)
def test_calibration_error_of_plain_cases(logits, labels, error):
    found = expected_calibration_error(np.array(logits), np.array(labels))
    assert found == pytest.approx(error, abs=1e-6)


@pytest.mark.parametrize("confidences", [[0.6] * 40, [0.95] * 300, [0.55] * 20 + [0.9] * 100])
def test_error_by_chance_is_the_mean_one_of_answers_right_as_often_as_they_say(confidences):
    sure = np.array(confidences)
    logits = np.log(np.stack([sure, 1 - sure], 1))
    random = np.random.default_rng(0)
    draws = [(random.random(len(sure)) >= sure).astype(int) for _ in range(400)]
    errors = [expected_calibration_error(logits, labels) for labels in draws]
    found = chance_calibration_error(reliability(logits, draws[0]))
    assert found == pytest.approx(sum(errors) / len(errors), rel=0.1)


def test_error_by_chance_vanishes_with_many_photos():
    few, many = (chance_calibration_error([ReliabilityBin(n, 0.8, 0.1)]) for n in (10, 100_000))
    assert few > 0.05 and many < 0.005


# --- none of these ---


def test_scores_equal_their_definitions():
    random = np.random.default_rng(5)
    logits, features = random.normal(size=(6, 4)), random.normal(size=(6, 8))
    bank = unit_length(random.normal(size=(9, 8)))
    memory = Memory(bank)
    for row in range(6):
        powers = [math.exp(value) for value in logits[row]]
        length = np.linalg.norm(features[row])
        distances = sorted(np.linalg.norm(features[row] / length - other) for other in bank)
        expected = {
            "max_softmax": max(powers) / sum(powers),
            "max_logit": max(logits[row]),
            "energy": math.log(sum(powers)),
            "knn": -distances[2],
        }
        for method, value in expected.items():
            found = known_score(method, logits, features, memory, k=3)
            assert found.shape == (6,)
            assert found[row] == pytest.approx(value, abs=1e-5), method


@pytest.mark.parametrize("count", [1, 19, 20, 234])
def test_threshold_keeps_what_it_promises(count):
    scores = np.random.default_rng(count).normal(size=count)
    threshold = fit_known_threshold(scores)
    assert (scores >= threshold).mean() >= 0.95
    assert (scores > threshold).mean() <= 0.95
