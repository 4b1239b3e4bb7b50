"""The score for "none of these" is the one that tells validation photos apart best."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from landmark_model import LandmarkError, load
from landmark_model.calibration import KnownHead, evidence
from landmark_model.config import ModelConfig
from landmark_model.hub.repo import KNOWN_HEAD_NAME, read_reference, save
from landmark_model.memory import Memory
from landmark_model.networks import build, to_arrays
from landmark_model.training import known
from landmark_model.training.known import choose_score, fit_head, linear_score

RANDOM = np.random.default_rng(0)
WEIGHT = RANDOM.normal(size=(6, 40))
MEMORY = Memory.remember(RANDOM.normal(size=(9, 40)))


def logits_of(features: np.ndarray) -> np.ndarray:
    """Logits (N, 6) of features (N, 40)."""
    return features @ WEIGHT.T


def photos(count: int, shift: float, seed: int) -> np.ndarray:
    """Features (count, 40), moved by `shift` where no class looks."""
    away = np.linalg.svd(WEIGHT)[2][-1]
    return np.random.default_rng(seed).normal(size=(count, 40)) + shift * away


@pytest.mark.parametrize("best", ["max_softmax", "max_logit", "energy", "knn"])
def test_the_score_with_the_highest_auroc_is_chosen(best, monkeypatch):
    def of(method, logits, features, reference):
        assert (reference is MEMORY) == (method == "knn")
        told = features[:, 0] > 0 if method == best else features[:, 0] < 2
        return told.astype(float)

    monkeypatch.setattr(known, "known_score", of)
    score = choose_score(logits_of, MEMORY, np.ones((3, 40)), np.full((3, 40), -1.0))
    assert (score.method, score.auroc) == (best, 1.0)


def test_without_other_photos_the_neighbours_say():
    score = choose_score(logits_of, MEMORY, photos(30, 0, 1), None)
    assert (score.method, score.reference, score.unknown) == ("knn", MEMORY, None)
    assert (score.known >= score.threshold).mean() >= 0.95


def test_a_head_finds_what_no_landmark_looks_at():
    mine, others = photos(300, 0, 1), photos(150, 4, 2)
    score = choose_score(logits_of, MEMORY, mine, others)
    assert score.method == "linear" and score.auroc > 0.95
    new = score.of(logits_of(photos(200, 0, 3)), photos(200, 0, 3))
    assert (new >= score.threshold).mean() == pytest.approx(0.95, abs=0.05)
    few = choose_score(logits_of, MEMORY, mine, others[:50])
    assert few.method != "linear", "fifty photos are too few for as many weights"


def test_photos_that_do_not_differ_are_told_apart_by_chance():
    """Scores of the photos that a head was fitted to would say 90 %."""
    score = linear_score(logits_of, photos(150, 0, 1), photos(150, 0, 2))
    assert score.auroc == pytest.approx(0.5, abs=0.1)
    fitted = score.of(logits_of(photos(150, 0, 1)), photos(150, 0, 1))
    assert np.mean(fitted) > np.mean(score.known)


def test_a_head_is_the_sum_of_features_and_evidence():
    both, is_known = np.concatenate([photos(120, 0, 1), photos(120, 3, 2)]), np.arange(240) < 120
    head = fit_head(logits_of(both), both, is_known)
    found = head.score(logits_of(both), both)
    assert (found[:120].mean() > 0) and (found[120:].mean() < 0)
    one = both[7]
    logits = logits_of(one)
    powers = np.exp(logits) / np.exp(logits).sum()
    told = [np.log(powers.max()), (powers * np.log(powers)).sum(), logits.max()]
    told += [np.linalg.norm(one)]
    assert evidence(logits[None], one[None])[0] == pytest.approx(told)
    by_hand = head.features @ one / np.linalg.norm(one) + head.evidence @ told + head.bias
    assert found[7] == pytest.approx(by_hand, abs=1e-5)


# --- on disk ---


@pytest.fixture
def folder(tmp_path) -> Path:
    """A LandmarkCNN with a head of its own."""
    config = ModelConfig(
        "landmark_cnn", ("a", "b"), ("A", "B"), 32, known_method="linear", known_threshold=0.0
    )
    save(to_arrays(build(config)), config, tmp_path, KnownHead(np.ones(320), np.zeros(4), 100.0))
    return tmp_path


def test_answers_are_by_the_head_on_disk(folder):
    noise = RANDOM.integers(0, 255, (64, 64, 3), np.uint8)
    sure = load(folder, device="cpu").predict(noise)
    assert sure.is_known and sure.score > 50
    stored = load_file(folder / KNOWN_HEAD_NAME)
    save_file(stored | {"bias": np.float32([-100])}, folder / KNOWN_HEAD_NAME)
    assert load(folder, device="cpu").predict(noise).is_known is False


@pytest.mark.parametrize(
    "values",
    [
        {"features": np.ones(319, np.float32)},
        {"evidence": np.ones(5, np.float32)},
        {"bias": np.ones(2, np.float32)},
        {"bias": np.ones(1, np.int32)},
        {"more": np.ones(1, np.float32)},
        {"features": np.full(320, np.nan, np.float32)},
        {"evidence": np.full(4, np.inf, np.float32)},
    ],
)
def test_head_of_something_else_is_refused(values, folder):
    stored = load_file(folder / KNOWN_HEAD_NAME)
    save_file(stored | values, folder / KNOWN_HEAD_NAME)
    with pytest.raises(LandmarkError, match=f"{KNOWN_HEAD_NAME} and .* do not belong together"):
        load(folder, device="cpu")


@pytest.mark.parametrize("content", [None, b"", b"not safetensors"])
def test_head_that_is_missing_or_damaged_is_named(content, folder):
    (folder / KNOWN_HEAD_NAME).unlink()
    if content is not None:
        (folder / KNOWN_HEAD_NAME).write_bytes(content)
    config = ModelConfig("landmark_cnn", ("a",), ("A",), 32, known_method="linear")
    with pytest.raises(LandmarkError, match=f"lacks a complete {KNOWN_HEAD_NAME}"):
        read_reference(config, folder, 320)
