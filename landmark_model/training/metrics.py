"""Every score that is ever quoted, computed in one place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import (
    confusion_matrix,
    precision_recall_fscore_support,
    roc_auc_score,
    roc_curve,
)

from landmark_model.calibration import (
    ReliabilityBin,
    cross_entropy,
    expected_calibration_error,
    reliability,
)


@dataclass(frozen=True)
class ClassScore:
    """Precision, recall and F1 (0..1) of one class, on `support` photos of it."""

    class_name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Metrics:
    """Scores on `photo_count` photos. `confusion[i][j]` counts photos of class i taken for j.

    `loss` is the mean cross-entropy; `calibration_error` the expected one, 0..1.
    """

    photo_count: int
    top1: float
    top5: float
    loss: float
    calibration_error: float
    classes: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]
    reliability: tuple[ReliabilityBin, ...]


@dataclass(frozen=True)
class UnknownScores:
    """How well a score separates known from unknown photos.

    `auroc` is the chance that a known photo scores higher than an unknown one; `fpr95` the share
    of unknown photos accepted at the threshold that keeps 95 % of the known. `kept` and
    `refused` are the shares of known photos kept and unknown ones refused at the threshold that
    ships, which was fitted on validation photos. All are 0..1.
    """

    method: str
    known_count: int
    unknown_count: int
    auroc: float
    fpr95: float
    kept: float
    refused: float


def measure_unknown(
    method: str, known: np.ndarray, unknown: np.ndarray, threshold: float
) -> UnknownScores:
    """The figures of scores `known` (N,) and `unknown` (M,) by `method`, higher is more known."""
    is_known = np.repeat([1, 0], [len(known), len(unknown)])
    scores = np.concatenate([known, unknown])
    false_positive, true_positive, _ = roc_curve(is_known, scores, drop_intermediate=False)
    return UnknownScores(
        method=method,
        known_count=len(known),
        unknown_count=len(unknown),
        auroc=float(roc_auc_score(is_known, scores)),
        fpr95=float(false_positive[true_positive >= 0.95].min()),
        kept=float((known >= threshold).mean()),
        refused=float((unknown < threshold).mean()),
    )


def measure(logits: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...]) -> Metrics:
    """The scores of logits (N, C) for labels (N,); every photo counts once."""
    ranked = np.argsort(-logits, axis=1, kind="stable")
    hits = ranked == labels[:, None]  # (N, C), one True in each row
    indices = np.arange(len(class_names))
    guesses = ranked[:, 0]
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, guesses, labels=indices, zero_division=0.0
    )
    rows = zip(class_names, precision, recall, f1, support, strict=True)
    return Metrics(
        photo_count=len(labels),
        top1=float(hits[:, 0].mean()),
        top5=float(hits[:, :5].any(1).mean()),
        loss=cross_entropy(logits, labels),
        calibration_error=expected_calibration_error(logits, labels),
        reliability=reliability(logits, labels),
        classes=tuple(
            ClassScore(n, float(p), float(r), float(f), int(s)) for n, p, r, f, s in rows
        ),
        confusion=tuple(
            tuple(int(count) for count in row)
            for row in confusion_matrix(labels, guesses, labels=indices)
        ),
    )
