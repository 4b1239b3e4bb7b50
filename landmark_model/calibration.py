"""Temperature scaling, and the scores and threshold of "none of these"."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.stats import binom
from torch import Tensor, nn


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The number to divide logits (N, C) by so that their softmax fits labels (N,) best.

    Above 1 makes a network less confident, below 1 more; the ranking stays (Guo et al. 2017).
    Fitted by cross-entropy between 0.1 and 10, so that a handful of photos cannot make it absurd.
    """

    def loss(log_temperature: float) -> float:
        scaled = logits.double() / math.exp(log_temperature)
        return torch.nn.functional.cross_entropy(scaled, labels).item()

    found = minimize_scalar(loss, bounds=(math.log(0.1), math.log(10)), method="bounded")
    return math.exp(found.x)


def calibrated_loss(logits: Tensor, labels: Tensor) -> float:
    """The mean cross-entropy of logits (N, C) and labels (N,) at the temperature that fits best."""
    scaled = logits.double() / fit_temperature(logits, labels)
    return nn.functional.cross_entropy(scaled, labels).item()


@dataclass(frozen=True)
class ReliabilityBin:
    """The answers whose confidence is in one bin: how many, how sure and how often right (0..1)."""

    count: int
    confidence: float
    accuracy: float


def reliability(logits: Tensor, labels: Tensor, bin_count: int = 15) -> tuple[ReliabilityBin, ...]:
    """The answers by confidence: bins (0, 1/n], (1/n, 2/n], ... of the top-1 probability."""
    confidence, guess = logits.double().softmax(1).max(1)
    right = (guess == labels).double()
    bins = (confidence * bin_count).ceil().clamp(1, bin_count).long() - 1
    count, sure, hits = (
        torch.zeros(bin_count, dtype=torch.double).index_add_(0, bins, values)
        for values in (torch.ones_like(right), confidence, right)
    )
    return tuple(
        ReliabilityBin(int(n), (s / max(n, 1)).item(), (h / max(n, 1)).item())
        for n, s, h in zip(count, sure, hits, strict=True)
    )


def expected_calibration_error(logits: Tensor, labels: Tensor, bin_count: int = 15) -> float:
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
        hits = np.arange(found.count + 1)
        chance = binom.pmf(hits, found.count, min(found.confidence, 1.0))
        gaps += float(chance @ abs(hits - found.count * found.confidence))
    return gaps / sum(found.count for found in bins)


def known_score(
    method: str, logits: Tensor, features: Tensor, bank: Tensor | None = None, k: int = 1
) -> Tensor:
    """The known-landmark score of N photos (N,); higher looks more like a known class.

    `logits` are (N, C), divided by the temperature; `features` (N, D). Methods: "max_softmax"
    (Hendrycks and Gimpel 2017), "max_logit" (Hendrycks et al. 2022), "energy" (the negative of Liu
    et al. 2020), and "knn" (Sun et al. 2022): the negative distance of the normalised feature to
    the k-th nearest of `bank` (M, D), the normalised features of training photos.
    """
    if method == "max_softmax":
        return logits.softmax(1).amax(1)
    if method == "max_logit":
        return logits.amax(1)
    if method == "energy":
        return logits.logsumexp(1)
    distances = torch.cdist(nn.functional.normalize(features.float()), bank.float())  # (N, M)
    return -distances.kthvalue(min(k, len(bank)), dim=1).values


def fit_known_threshold(scores: Tensor, kept: float = 0.95) -> float:
    """The threshold that a share `kept` of the known photos' `scores` (N,) reach."""
    return scores.double().quantile(1 - kept, interpolation="lower").item()
