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
from landmark_model.calibration import Reference, cross_entropy
from landmark_model.config import ModelConfig
from landmark_model.memory import Memory
from landmark_model.training.fit import Accelerator, compute_outputs
from landmark_model.training.frozen import freeze
from landmark_model.training.known import choose_score
from landmark_model.training.metrics import Metrics, UnknownScores, measure, measure_unknown

# Of the trained weights, in a mean with those that training started from.
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Evaluation:
    """The config with the fitted values, the scores by split, what "none of these" needs, and the
    held-out photos that landmarks are taught against."""

    config: ModelConfig
    scores: dict[str, Metrics]
    unknown: dict[str, UnknownScores]
    reference: Reference
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
    others = {split: features_of(batches)[0] for split, batches in unknown.items()}
    memory = Memory.remember(found.pop("memory")[0])
    features, labels = found["validation"]
    temperature = round(fit_temperature(compute_logits(network, features), labels), 4)

    def logits_of(features: np.ndarray) -> np.ndarray:
        return compute_logits(network, features) / temperature

    score = choose_score(logits_of, memory, features, others.get("validation"))
    scores, unknown_scores = {}, {}
    for split, (features, labels) in found.items():
        logits = logits_of(features)
        scores[split] = measure(logits, labels, config.class_names)
        if split in others:
            pair = score.of(logits, features), score.of(logits_of(others[split]), others[split])
            pair = (score.known, score.unknown) if split == "validation" else pair
            unknown_scores[split] = measure_unknown(score.method, *pair, score.threshold)
    config = replace(
        config,
        temperature=temperature,
        known_method=score.method,
        known_threshold=score.threshold,
    )
    background = Background.choose(found["validation"][0], others.get("validation"))
    return Evaluation(config, scores, unknown_scores, score.reference, background)


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
