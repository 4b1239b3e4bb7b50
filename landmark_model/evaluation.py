"""Measures a trained network: temperature, the threshold of "none of these", and every score."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from landmark_model.calibration import fit_known_threshold, fit_temperature, known_score
from landmark_model.config import ModelConfig
from landmark_model.metrics import Metrics, UnknownScores, measure, measure_unknown
from landmark_model.networks import compute_features
from landmark_model.training import Accelerator, compute_outputs

# Of the trained weights, in a mean with those that training started from.
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Evaluation:
    """The config with what was fitted, the scores by split, and the `bank` of "knn" (else None)."""

    config: ModelConfig
    scores: dict[str, Metrics]
    unknown: dict[str, UnknownScores]
    bank: Tensor | None


def evaluate(
    network: nn.Module,
    config: ModelConfig,
    known: dict[str, Iterable],
    unknown: dict[str, Iterable],
    accelerator: Accelerator,
    methods: Sequence[str],
) -> Evaluation:
    """Fits temperature and threshold on validation photos, then measures validation and test.

    `known` are unshuffled batches of "validation" and "test", and of "known", the training photos,
    where "knn" is among the `methods`; `unknown` those of photos that show no class, by split, if
    any. Of several methods the one of the highest AUROC on validation photos is kept.
    """
    network.eval()
    features_of = partial(_gather_features, network, config, accelerator)
    found = {split: features_of(batches) for split, batches in known.items()}
    outsiders = {split: features_of(batches)[0] for split, batches in unknown.items()}
    bank = make_bank(found.pop("known")[0]) if "known" in found else None
    others = outsiders.get("validation")
    config = _fit(network, config, methods, found["validation"], others, bank)
    scores, unknown_scores = {}, {}
    for split, (features, labels) in found.items():
        logits = compute_logits(network, features) / config.temperature
        scores[split] = measure(logits, labels, config.class_names)
        if split in outsiders:
            unknown_scores[split] = measure_unknown(
                config.known_method,
                _score(network, config, features, bank),
                _score(network, config, outsiders[split], bank),
                config.known_threshold,
            )
    kept = bank if config.known_method == "knn" else None
    return Evaluation(config, scores, unknown_scores, kept)


@torch.inference_mode()
def blend(
    network: nn.Module,
    first: dict[str, Tensor],
    config: ModelConfig,
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
        features, labels = _gather_features(network, config, accelerator, validation)
        logits = compute_logits(network, features)
        return cross_entropy(logits / fit_temperature(logits, labels), labels).item()

    network.eval()
    losses = {share: loss(share) for share in SHARES}
    move(min(losses, key=losses.get))
    return losses


def _gather_features(network, config, accelerator, batches) -> tuple[Tensor, Tensor]:
    return compute_outputs(
        lambda images: compute_features(network, images, config.flip), batches, accelerator
    )


def make_bank(features: Tensor) -> Tensor:
    """Features (M, D) as they are stored for "knn": of length one, with float16 precision."""
    return nn.functional.normalize(features).half().float()


@torch.inference_mode()
def compute_logits(network: nn.Module, features: Tensor) -> Tensor:
    """Logits (N, C) of features (N, D), on the CPU."""
    last = network.get_classifier()
    return last(features.to(last.weight.device)).float().cpu()


def _fit(network, config, methods, known, unknown, bank) -> ModelConfig:
    """Temperature, best method and its threshold, by features of validation photos.

    `known` come with their labels; `unknown` are None where there is but one method.
    """
    features, labels = known
    temperature = round(fit_temperature(compute_logits(network, features), labels), 4)
    trials = [replace(config, temperature=temperature, known_method=method) for method in methods]

    def auroc(trial: ModelConfig) -> float:
        known_scores, others = (_score(network, trial, x, bank) for x in (features, unknown))
        return measure_unknown(trial.known_method, known_scores, others, threshold=0.0).auroc

    best = max(trials, key=auroc) if len(trials) > 1 else trials[0]
    threshold = fit_known_threshold(_score(network, best, features, bank))
    return replace(best, known_threshold=threshold)


def _score(network, config, features, bank) -> Tensor:
    logits = compute_logits(network, features).double() / config.temperature
    return known_score(config.known_method, logits, features, bank)
