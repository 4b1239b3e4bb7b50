"""What is fitted on validation is fitted there, and what is measured is of what ships."""

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from landmark_model.config import ModelConfig
from landmark_model.evaluation import compute_logits, evaluate
from landmark_model.networks import build, compute_features

CONFIG = ModelConfig("landmark_cnn", ("a", "b", "c"), ("A", "B", "C"), 32)


@pytest.fixture(scope="module")
def network():
    """A LandmarkCNN with random weights."""
    torch.manual_seed(0)
    return build(CONFIG)


def batches(count: int, seed: int) -> DataLoader:
    """Random images with labels, in batches of 4."""
    random = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 3, 32, 32, generator=random)
    return DataLoader(TensorDataset(images, torch.arange(count) % 3), 4)


@pytest.mark.parametrize("method", ["max_softmax", "max_logit", "energy", "knn"])
@pytest.mark.parametrize("flip", [False, True])
def test_threshold_keeps_95_percent_of_validation(network, engine, method, flip):
    config = ModelConfig(**vars(CONFIG) | {"known_method": method, "flip": flip})
    known = {"validation": batches(40, 1), "test": batches(9, 2), "known": batches(30, 3)}
    if method != "knn":
        del known["known"]
    found = evaluate(network, config, known, {"validation": batches(20, 4)}, engine())
    assert found.unknown["validation"].kept >= 0.95
    assert set(found.unknown) == {"validation"} and set(found.scores) == {"validation", "test"}
    assert found.config.known_threshold is not None and found.config.temperature != 1
    assert (found.bank is None) == (method != "knn")
    assert found.scores["test"].photo_count == 9


def test_logits_of_features_are_the_networks(network):
    images = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        features = compute_features(network.eval(), images)
        assert torch.allclose(compute_logits(network, features), network(images), atol=1e-6)
