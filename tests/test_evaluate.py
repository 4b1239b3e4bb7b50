"""What is fitted on validation is fitted there, and what is measured is of what ships."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from landmark_model.config import ModelConfig
from landmark_model.networks import build, compute_features
from landmark_model.training.data import make_batches
from landmark_model.training.evaluate import (
    SHARES,
    compute_logits,
    evaluate,
    interpolate,
)
from landmark_model.training.frozen import freeze

CONFIG = ModelConfig("landmark_cnn", ("a", "b", "c"), ("A", "B", "C"), 32)


@pytest.fixture(scope="module")
def network():
    """A LandmarkCNN with random weights."""
    torch.manual_seed(0)
    return build(CONFIG)


def make_images(count: int, seed: int) -> Tensor:
    """Random images (count, 3, 32, 32)."""
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def in_batches(images: Tensor, labels: Tensor) -> DataLoader:
    """Images with labels, in batches of 4."""
    return make_batches(TensorDataset(images, labels), 4, False, 0)


def batches(count: int, seed: int) -> DataLoader:
    """Random images with labels, in batches of 4."""
    return in_batches(make_images(count, seed), torch.arange(count) % 3)


@pytest.fixture(scope="module")
def known() -> dict[str, DataLoader]:
    """Batches of validation, test and training photos."""
    return {"validation": batches(40, 1), "test": batches(9, 2), "memory": batches(30, 3)}


def test_threshold_keeps_95_percent_of_validation(network, engine, known):
    found = evaluate(network, CONFIG, known, {"validation": batches(20, 4)}, engine())
    assert 0.95 <= found.unknown["validation"].kept <= 0.975  # 39 of 40 at most
    assert set(found.unknown) == {"validation"} and set(found.scores) == {"validation", "test"}
    assert found.config.known_threshold is not None
    assert found.scores["test"].photo_count == 9


def test_figures_are_those_of_calibrated_answers(network, engine, known):
    found = evaluate(network, CONFIG, known, {}, engine())
    images, labels = make_images(9, 2), torch.arange(9) % 3
    with torch.inference_mode():
        logits = network(images).double() / found.config.temperature
    scores = found.scores["test"]
    assert scores.loss == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item())
    assert scores.top1 == pytest.approx((logits.argmax(1) == labels).double().mean().item())


def test_memory_tells_training_photos_from_others(network, engine, known):
    same = {**known, "validation": batches(30, 3)}
    found = evaluate(network, CONFIG, same, {"validation": batches(20, 4)}, engine())
    assert found.unknown["validation"].auroc > 0.99 and len(found.reference.features) == 30
    assert found.config.known_method == "knn"  # which alone remembers them


@pytest.mark.parametrize("right", SHARES)
def test_interpolation_keeps_the_mean_of_weights_that_validation_likes_best(network, engine, right):
    """The last layer's bias is where it should be only at the share `right` of its way."""
    first, trained = build(CONFIG), build(CONFIG)
    for each in (first, trained):
        each.load_state_dict(network.state_dict())
    images = make_images(12, 6)
    way = torch.tensor([9.0, -9.0, 0.0])
    with torch.inference_mode():
        logits = network.eval()(images)
        wanted = network.get_classifier().bias - logits.mean(0)  # tells the photos apart
        first.get_classifier().bias.copy_(wanted - right * way)
        trained.get_classifier().bias.copy_(wanted + (1 - right) * way)
    labels = (logits - logits.mean(0)).argmax(1)
    assert len(labels.unique()) == 3
    validation = in_batches(images, labels)
    losses = interpolate(trained, CONFIG, first.state_dict(), validation, engine())
    assert tuple(losses) == SHARES and min(losses, key=losses.get) == right
    assert torch.allclose(trained.get_classifier().bias, wanted, atol=1e-5)


def test_logits_of_features_are_the_networks(network):
    images = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        features = compute_features(network.eval(), images)
        found = compute_logits(network, features.numpy())
        assert np.allclose(found, network(images), atol=1e-6)


@pytest.mark.parametrize("sides", [(64, 96), (48, 40)])
def test_frozen_network_gives_the_features_that_torch_gives(sides):
    torch.manual_seed(1)
    network = build(CONFIG)
    images = torch.randn(3, 3, *sides).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        found = freeze(network, CONFIG, torch.device("cpu"))(images)
        assert torch.allclose(found, compute_features(network, images), atol=1e-5)
