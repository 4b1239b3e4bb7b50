"""Measures a trained network: temperature, neighbours, "none of these", and every score."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from landmark_model.calibration import (
    calibrated_loss,
    fit_known_threshold,
    fit_temperature,
    known_score,
)
from landmark_model.config import ModelConfig
from landmark_model.metrics import Metrics, UnknownScores, measure, measure_unknown
from landmark_model.neighbours import Neighbours
from landmark_model.networks import compute_features
from landmark_model.training import Accelerator, compute_outputs

# Of the trained weights, in a mean with those that training started from.
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
# Of what the neighbours say, beside logits that are divided by their temperature.
WEIGHTS = (0.0, 5.0, 10.0, 20.0, 40.0)
PHOTOS_AT_ONCE = 1024


@dataclass(frozen=True)
class Evaluation:
    """The config with what was fitted, the scores by split, and what answers remember, if needed.

    `last_layer` are the scores that answers have without neighbours.
    """

    config: ModelConfig
    scores: dict[str, Metrics]
    last_layer: dict[str, Metrics]
    unknown: dict[str, UnknownScores]
    neighbours: Neighbours | None


class Answers(NamedTuple):
    """The logits (N, C) that answers are made of; features (N, D) and labels (N,) of the photos."""

    logits: Tensor
    features: Tensor
    labels: Tensor


def evaluate(
    network: nn.Module,
    config: ModelConfig,
    known: dict[str, Iterable],
    unknown: dict[str, Iterable],
    accelerator: Accelerator,
    methods: Sequence[str],
    weights: Sequence[float] = WEIGHTS,
) -> Evaluation:
    """Fits all that answers need on validation photos, then measures validation and test.

    `known` are unshuffled batches of "validation" and "test", and of "known", the training photos,
    where "knn" is among the `methods` or neighbours may be heard; `unknown` those of photos that
    show no class, by split, if any. Of several methods the one of the highest AUROC on validation
    photos is kept, of several `weights` of the neighbours the one by which most of these photos
    are named right, and of those the one of the lowest cross-entropy.
    """
    network.eval()
    features_of = partial(_gather_features, network, accelerator)
    found = {split: features_of(batches) for split, batches in known.items()}
    outsiders = {split: features_of(batches) for split, batches in unknown.items()}
    memory = None
    if "known" in found:
        memory = Neighbours.remember(*found.pop("known"), len(config.class_names))
    config = _fit_answers(network, config, found["validation"], memory, weights)
    answer = partial(_answer, network, config, memory)
    answers = {split: answer(*photos) for split, photos in found.items()}
    others = {split: answer(*photos) for split, photos in outsiders.items()}
    config = _fit_known(config, methods, answers["validation"], others.get("validation"), memory)
    return _measure(network, config, answers, others, memory)


@torch.inference_mode()
def blend(
    network: nn.Module,
    first: dict[str, Tensor],
    validation: Iterable,
    accelerator: Accelerator,
) -> dict[float, float]:
    """Takes `network` back towards the `first` weights, as far as validation photos ask for it.

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
        features, labels = _gather_features(network, accelerator, validation)
        return calibrated_loss(compute_logits(network, features), labels)

    network.eval()
    losses = {share: loss(share) for share in SHARES}
    move(min(losses, key=losses.get))
    return losses


def _gather_features(network, accelerator, batches) -> tuple[Tensor, Tensor]:
    return compute_outputs(partial(compute_features, network), batches, accelerator)


@torch.inference_mode()
def compute_logits(network: nn.Module, features: Tensor) -> Tensor:
    """Logits (N, C) of features (N, D), on the CPU."""
    last = network.get_classifier()
    return last(features.to(last.weight.device)).float().cpu()


@torch.inference_mode()
def compute_answers(
    network: nn.Module, config: ModelConfig, features: Tensor, neighbours: Neighbours | None
) -> Tensor:
    """The logits (N, C) that answers are made of: calibrated, and with what neighbours say."""
    scaled = compute_logits(network, features).double() / config.temperature
    if neighbours is None:
        return scaled
    # In parts: it compares each photo with every training photo.
    parts = zip(scaled.split(PHOTOS_AT_ONCE), features.split(PHOTOS_AT_ONCE), strict=True)
    return torch.cat([neighbours(*part) for part in parts])


def _fit_answers(network, config, known, memory, weights) -> ModelConfig:
    """Temperature, and weight and temperature of the neighbours, by features of validation photos.

    `known` are those with their labels. Sets the `memory`, if there is one, to what is found.
    """
    features, labels = known
    temperature = round(fit_temperature(compute_logits(network, features), labels), 4)
    config = replace(config, temperature=temperature)
    if memory is None:
        return config
    scaled = compute_answers(network, config, features, None)
    nearness = torch.cat([memory.nearness(part) for part in features.split(PHOTOS_AT_ONCE)])
    heard = {weight: scaled + weight * nearness for weight in weights}

    def rank(weight: float) -> tuple[float, float]:  # as of epochs: by top-1, then by loss
        logits = heard[weight]
        return (logits.argmax(1) == labels).sum().item(), -calibrated_loss(logits, labels)

    memory.weight = max(weights, key=rank)
    if memory.weight:
        memory.temperature = round(fit_temperature(heard[memory.weight], labels), 4)
    return replace(config, neighbour_weight=memory.weight, neighbour_temperature=memory.temperature)


def _answer(network, config, memory, features, labels) -> Answers:
    return Answers(compute_answers(network, config, features, memory), features, labels)


def _fit_known(config, methods, known, unknown, memory) -> ModelConfig:
    """The best method to tell "none of these" and its threshold, by Answers to validation photos.

    `unknown` are None where there is but one method.
    """
    trials = [replace(config, known_method=method) for method in methods]

    def auroc(trial: ModelConfig) -> float:
        known_scores, others = (_score(trial, answers, memory) for answers in (known, unknown))
        return measure_unknown(trial.known_method, known_scores, others, threshold=0.0).auroc

    best = max(trials, key=auroc) if len(trials) > 1 else trials[0]
    return replace(best, known_threshold=fit_known_threshold(_score(best, known, memory)))


def _measure(network, config, known, unknown, memory) -> Evaluation:
    """Every score, of Answers to `known` and to `unknown` photos by split."""
    scores, last_layer, unknown_scores = {}, {}, {}
    for split, answers in known.items():
        alone = compute_answers(network, config, answers.features, None)
        for group, logits in ((scores, answers.logits), (last_layer, alone)):
            group[split] = measure(logits, answers.labels, config.class_names)
        if split in unknown:
            unknown_scores[split] = measure_unknown(
                config.known_method,
                _score(config, answers, memory),
                _score(config, unknown[split], memory),
                config.known_threshold,
            )
    kept = memory if config.needs_neighbours else None
    return Evaluation(config, scores, last_layer, unknown_scores, kept)


def _score(config: ModelConfig, answers: Answers, memory: Neighbours | None) -> Tensor:
    bank = None if memory is None else memory.features
    return known_score(config.known_method, answers.logits, answers.features, bank)
