"""Measures a trained network: temperature scaling, the OOD threshold, and every score."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import nn
from tqdm.auto import tqdm

from landmark_model.background import Background
from landmark_model.calibration import (
    cross_entropy,
    fit_known_threshold,
    known_score,
)
from landmark_model.config import KNOWN_METHODS, ModelConfig
from landmark_model.memory import Memory
from landmark_model.training.fit import Accelerator, compute_outputs
from landmark_model.training.frozen import freeze
from landmark_model.training.metrics import Metrics, UnknownScores, measure, measure_unknown

METHOD = "knn"  # the score for "none of these" where there are no photos to choose it by
# Of the trained weights, in a mean with those that training started from.
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Evaluation:
    """The config with the fitted values, the scores by split, the kNN memory, and the held-out
    photos that landmarks are taught against."""

    config: ModelConfig
    scores: dict[str, Metrics]
    unknown: dict[str, UnknownScores]
    memory: Memory
    background: Background


def evaluate(
    network: nn.Module,
    config: ModelConfig,
    known: dict[str, Iterable],
    unknown: dict[str, Iterable],
    accelerator: Accelerator,
) -> Evaluation:
    """Fits temperature and threshold on validation photos, then measures every split.

    `known` are unshuffled batches of "validation", of "memory", the training photos, and of what
    else is to be measured; `unknown` those of photos that show no class, by split.
    """
    frozen = freeze(network, config, accelerator.device)
    features_of = partial(_gather_features, frozen, accelerator)
    found = {split: features_of(batches) for split, batches in known.items()}
    found_unknown = {split: features_of(batches)[0] for split, batches in unknown.items()}
    memory = Memory.remember(*found.pop("memory"), len(config.class_names))
    features, labels = found["validation"]
    temperature = round(fit_temperature(compute_logits(network, features), labels), 4)

    def score(method: str, features: np.ndarray) -> np.ndarray:
        return known_score(
            method, compute_logits(network, features) / temperature, features, memory
        )

    method = choose_method(score, features, found_unknown.get("validation"))
    known_scores = {split: score(method, features) for split, (features, _) in found.items()}
    threshold = fit_known_threshold(known_scores["validation"])
    config = replace(
        config, temperature=temperature, known_method=method, known_threshold=threshold
    )
    scores, unknown_scores = {}, {}
    for split, (features, labels) in found.items():
        logits = compute_logits(network, features) / temperature
        scores[split] = measure(logits, labels, config.class_names)
        if split in found_unknown:
            both = known_scores[split], score(method, found_unknown[split])
            unknown_scores[split] = measure_unknown(method, *both, threshold)
    background = Background.choose(found["validation"][0], found_unknown.get("validation"))
    return Evaluation(config, scores, unknown_scores, memory, background)


def choose_method(
    score: Callable[[str, np.ndarray], np.ndarray], known: np.ndarray, unknown: np.ndarray | None
) -> str:
    """The score that best tells features (N, D) of known photos from those of others (M, D): the
    one with the highest AUROC. Networks that learned to be unsure of others do so by softmax."""
    if unknown is None:
        return METHOD
    return max(
        KNOWN_METHODS,
        key=lambda method: (
            measure_unknown(method, score(method, known), score(method, unknown), 0).auroc
        ),
    )


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The number to divide logits (N, C) by so that their softmax fits labels (N,) best.

    Above 1 makes a network less confident, below 1 more; the ranking stays (Guo et al. 2017).
    Fitted by cross-entropy between 0.1 and 10, so that a handful of photos cannot make it absurd.
    """
    found = minimize_scalar(
        lambda log_temperature: cross_entropy(logits / math.exp(log_temperature), labels),
        bounds=(math.log(0.1), math.log(10)),
        method="bounded",
    )
    return math.exp(found.x)


def calibrated_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """The mean cross-entropy of logits (N, C) and labels (N,) at the temperature that fits best."""
    return cross_entropy(logits / fit_temperature(logits, labels), labels)


@torch.inference_mode()
def interpolate(
    network: nn.Module,
    config: ModelConfig,
    first: dict[str, torch.Tensor],
    validation: Iterable,
    accelerator: Accelerator,
) -> dict[float, float]:
    """Weight interpolation: moves `network` back towards the `first` weights, as far as it helps.

    Of a few weighted means of both, the one of the lowest calibrated cross-entropy on unshuffled
    batches of `validation` photos is kept: photos from elsewhere gain most (WiSE-FT: Wortsman et
    al. 2022). Returns that loss for every share of the trained weights.
    """
    trained = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    def move(share: float) -> None:
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.lerp(first[name].to(tensor), trained[name], share))

    def loss(share: float) -> float:
        move(share)
        frozen = freeze(network, config, accelerator.device)
        features, labels = _gather_features(frozen, accelerator, validation)
        return calibrated_loss(compute_logits(network, features), labels)

    losses = {share: loss(share) for share in SHARES}
    move(min(losses, key=losses.get))
    return losses


def _gather_features(
    features_of: Callable[[torch.Tensor], torch.Tensor],
    accelerator: Accelerator,
    batches: Iterable,
) -> tuple[np.ndarray, np.ndarray]:
    quiet = not accelerator.is_main_process
    shown = tqdm(batches, desc="Measuring", unit="batch", disable=quiet)
    found = compute_outputs(features_of, shown, accelerator)
    return found[0].numpy(), found[1].numpy()


@torch.inference_mode()
def compute_logits(network: nn.Module, features: np.ndarray) -> np.ndarray:
    """Logits (N, C) of features (N, D)."""
    last = network.get_classifier()
    return last(torch.from_numpy(features).to(last.weight.device)).float().cpu().numpy()
