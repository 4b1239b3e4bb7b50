"""Makes probabilities mean what they say: of answers at 80 %, four in five should be right."""

from __future__ import annotations

import math

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The number to divide logits (N, C) by so that their softmax fits labels (N,) best.

    Above 1 it makes a network humbler, below 1 bolder; the ranking stays (Guo et al. 2017).
    Fitted by cross-entropy between 0.1 and 10, so that a handful of photos cannot make it absurd.
    """

    def loss(log_temperature: float) -> float:
        scaled = logits.double() / math.exp(log_temperature)
        return torch.nn.functional.cross_entropy(scaled, labels).item()

    found = minimize_scalar(loss, bounds=(math.log(0.1), math.log(10)), method="bounded")
    return math.exp(found.x)


def expected_calibration_error(logits: Tensor, labels: Tensor, bin_count: int = 15) -> float:
    """The mean gap between confidence and accuracy over equal bins of confidence, 0..1.

    Each bin counts by its share of the N photos (Naeini et al. 2015; Guo et al. 2017).
    """
    confidence, guess = logits.double().softmax(1).max(1)
    right = (guess == labels).double()
    bins = (confidence * bin_count).ceil().clamp(1, bin_count).long() - 1
    gaps = torch.zeros(bin_count, dtype=torch.double)
    gaps.index_add_(0, bins, confidence - right)
    return gaps.abs().sum().item() / len(labels)
