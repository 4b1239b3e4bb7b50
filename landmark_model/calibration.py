"""Probabilities, how well they are calibrated, and the scores and threshold of "none of these"."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from landmark_model.memory import Memory, unit_length


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """The logarithms of the probabilities (N, C) of logits (N, C), in float64."""
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def softmax(logits: np.ndarray) -> np.ndarray:
    """The probabilities (N, C) of logits (N, C), in float64."""
    return np.exp(log_softmax(logits))


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """The mean of -log of the probability that logits (N, C) give labels (N,)."""
    return float(-log_softmax(logits)[np.arange(len(labels)), labels].mean())


@dataclass(frozen=True)
class ReliabilityBin:
    """The answers whose confidence is in one bin: how many, how sure and how often right (0..1)."""

    count: int
    confidence: float
    accuracy: float


def reliability(
    logits: np.ndarray, labels: np.ndarray, bin_count: int = 15
) -> tuple[ReliabilityBin, ...]:
    """The answers by confidence: bins (0, 1/n], (1/n, 2/n], ... of the top-1 probability."""
    probabilities = softmax(logits)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    bins = np.clip(np.ceil(confidence * bin_count), 1, bin_count).astype(int) - 1
    count, sure, hits = (
        np.bincount(bins, weights, bin_count) for weights in (None, confidence, right)
    )
    return tuple(
        ReliabilityBin(int(n), float(s / max(n, 1)), float(h / max(n, 1)))
        for n, s, h in zip(count, sure, hits, strict=True)
    )


def expected_calibration_error(
    logits: np.ndarray, labels: np.ndarray, bin_count: int = 15
) -> float:
    """The mean gap between confidence and accuracy over equal bins of confidence, 0..1.

    Each bin counts by its share of the N photos (Naeini et al. 2015; Guo et al. 2017).
    """
    bins = reliability(logits, labels, bin_count)
    return sum(b.count * abs(b.confidence - b.accuracy) for b in bins) / len(labels)


def chance_calibration_error(bins: Sequence[ReliabilityBin]) -> float:
    """The calibration error, 0..1, that a perfectly calibrated network would show on average.

    On as few photos, as sure: the hits among n answers scatter around n times their confidence by
    the binomial law, and the error counts every gap (Vaicenavicius et al. 2019).
    """
    gaps = 0.0
    for found in bins:
        chance = _binomial(found.count, min(found.confidence, 1.0))
        hits = np.arange(found.count + 1)
        gaps += float(chance @ abs(hits - found.count * found.confidence))
    return gaps / sum(found.count for found in bins)


def _binomial(count: int, share: float) -> np.ndarray:
    """How probable 0, 1, ... `count` hits are (count + 1,), if each is as probable as `share`."""
    if share in (0.0, 1.0):
        return np.eye(count + 1)[round(count * share)]
    hits = np.arange(count + 1)
    factorials = np.concatenate([[0.0], np.log(hits[1:]).cumsum()])
    choices = factorials[count] - factorials - factorials[::-1]
    return np.exp(choices + hits * math.log(share) + hits[::-1] * math.log1p(-share))


@dataclass(frozen=True, eq=False)
class KnownHead:
    """A last layer that tells photos of known landmarks from others, beside that of the landmarks.

    It is linear in the features of a photo, made length one, and in `evidence`, with the weights
    (D,) and (4,); it was fitted to photos that the network did not learn from.
    """

    features: np.ndarray
    evidence: np.ndarray
    bias: float

    def score(self, logits: np.ndarray, features: np.ndarray) -> np.ndarray:
        """The log odds (N,) that N photos show known landmarks."""
        told = evidence(logits, features) @ self.evidence
        return unit_length(features) @ self.features + told + self.bias


def evidence(logits: np.ndarray, features: np.ndarray) -> np.ndarray:
    """What tells how sure a network is of N photos (N, 4): the log of the highest probability, the
    negative entropy, the highest logit, and the length of the features (N, D)."""
    logs = log_softmax(logits)
    columns = logs.max(1), (np.exp(logs) * logs).sum(1), logits.max(1)
    return np.stack([*columns, np.linalg.norm(features, axis=1)], axis=1)


# What some methods need besides logits and features: "knn" the one, "linear" the other.
Reference = Memory | KnownHead | None


def known_score(
    method: str,
    logits: np.ndarray,
    features: np.ndarray,
    reference: Reference = None,
    k: int = 1,
) -> np.ndarray:
    """The known-landmark score of N photos (N,); higher looks more like a known class.

    `logits` are (N, C), divided by the temperature; `features` (N, D). Methods: "max_softmax"
    (Hendrycks and Gimpel 2017), "max_logit" (Hendrycks et al. 2022), "energy" (the negative of Liu
    et al. 2020), "knn" (Sun et al. 2022): the negative distance of the normalised feature to the
    k-th nearest of the training photos in a memory; and "linear", a `KnownHead`.
    """
    if method == "knn":
        return -reference.distance(features, k)
    if method == "linear":
        return reference.score(logits, features)
    highest = logits.max(1)
    if method == "max_logit":
        return highest
    surest = log_softmax(logits).max(1)
    return np.exp(surest) if method == "max_softmax" else highest - surest


def fit_known_threshold(scores: np.ndarray, kept: float = 0.95) -> float:
    """The threshold that a share `kept` of the known photos' `scores` (N,) reach."""
    return float(np.quantile(scores.astype(np.float64), 1 - kept, method="lower"))
