"""Chooses and fits the score for "none of these", on validation photos."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from landmark_model.calibration import (
    KnownHead,
    Reference,
    evidence,
    fit_known_threshold,
    known_score,
)
from landmark_model.config import KNOWN_METHODS
from landmark_model.memory import Memory, unit_length
from landmark_model.training.metrics import measure_unknown

USUAL = "knn"  # where there are no photos to choose by
FEWEST = 100  # photos of either kind, to fit a head with a thousand weights
FOLDS = 5
# Features of length one are many and small: so long, they weigh as much as the evidence does.
LENGTH, STRENGTH = 5.0, 0.2
Logits = Callable[[np.ndarray], np.ndarray]  # features (N, D) -> calibrated logits (N, C)


@dataclass(frozen=True, eq=False)
class KnownScore:
    """A score for "none of these": the method, what it needs, and the scores that it gives to the
    known (N,) and unknown (M,) validation photos as if they were new to it."""

    method: str
    reference: Reference
    known: np.ndarray
    unknown: np.ndarray | None

    @property
    def threshold(self) -> float:
        """What 95 % of the known validation photos reach."""
        return fit_known_threshold(self.known)

    @property
    def auroc(self) -> float:
        """The chance that a known photo scores higher than an unknown one."""
        return measure_unknown(self.method, self.known, self.unknown, 0.0).auroc

    def of(self, logits: np.ndarray, features: np.ndarray) -> np.ndarray:
        """The scores (N,) of other photos."""
        return known_score(self.method, logits, features, self.reference)


def choose_score(
    logits_of: Logits, memory: Memory, features: np.ndarray, unknown: np.ndarray | None
) -> KnownScore:
    """The score that best tells `features` (N, D) of known photos from those of others (M, D): the
    one with the highest AUROC. Without others, that of the kNN memory."""
    if unknown is None:
        return plain_score(USUAL, logits_of, memory, features, None)
    methods = [method for method in KNOWN_METHODS if method != "linear"]
    scores = [plain_score(method, logits_of, memory, features, unknown) for method in methods]
    if min(len(features), len(unknown)) >= FEWEST:
        scores.append(linear_score(logits_of, features, unknown))
    return max(scores, key=lambda score: score.auroc)


def plain_score(
    method: str,
    logits_of: Logits,
    memory: Memory,
    features: np.ndarray,
    unknown: np.ndarray | None,
) -> KnownScore:
    """A score that nothing is fitted for."""
    reference = memory if method == "knn" else None
    found = [
        None if some is None else known_score(method, logits_of(some), some, reference)
        for some in (features, unknown)
    ]
    return KnownScore(method, reference, *found)


def linear_score(logits_of: Logits, features: np.ndarray, unknown: np.ndarray) -> KnownScore:
    """A `KnownHead` fitted to all photos. The scores that it comes with are cross-validated: of
    heads that were fitted to the other photos."""
    both = np.concatenate([features, unknown])
    logits, is_known = logits_of(both), np.arange(len(both)) < len(features)
    scores = np.empty(len(both))
    for fitted, left in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(both, is_known):
        head = fit_head(logits[fitted], both[fitted], is_known[fitted])
        scores[left] = head.score(logits[left], both[left])
    head = fit_head(logits, both, is_known)
    return KnownScore("linear", head, scores[is_known], scores[~is_known])


def fit_head(logits: np.ndarray, features: np.ndarray, is_known: np.ndarray) -> KnownHead:
    """The head that tells photos apart by logits (N, C) and features (N, D): logistic regression,
    in which the known and the unknown count alike."""
    scale = StandardScaler().fit(evidence(logits, features))
    inputs = [LENGTH * unit_length(features), scale.transform(evidence(logits, features))]
    regression = LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=1000)
    regression.fit(np.hstack(inputs), is_known)
    weights, told = np.split(regression.coef_[0], [features.shape[1]])
    told = told / scale.scale_
    bias = regression.intercept_[0] - told @ scale.mean_
    return KnownHead(LENGTH * weights, told, float(bias))
