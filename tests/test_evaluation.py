"""What is fitted on validation is fitted there, and what is measured is of what ships."""

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from landmark_model.config import KNOWN_METHODS, ModelConfig
from landmark_model.data import make_batches
from landmark_model.evaluation import SHARES, blend, compute_logits, evaluate
from landmark_model.networks import build, compute_features

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


@pytest.mark.parametrize("method", ["max_softmax", "max_logit", "energy", "knn"])
def test_threshold_keeps_95_percent_of_validation(network, engine, method):
    config = ModelConfig(**vars(CONFIG) | {"known_method": method})
    known = {"validation": batches(40, 1), "test": batches(9, 2), "known": batches(30, 3)}
    if method != "knn":
        del known["known"]  # neighbours are not asked, then
    found = evaluate(network, config, known, {"validation": batches(20, 4)}, engine(), [method])
    assert found.unknown["validation"].kept >= 0.95
    assert set(found.unknown) == {"validation"} and set(found.scores) == {"validation", "test"}
    assert found.config.known_threshold is not None and found.config.temperature != 1
    assert (found.neighbours is None) == (method != "knn")
    assert found.scores["test"].photo_count == 9


def test_best_method_is_that_of_the_highest_auroc_on_validation(network, engine):
    known = {"validation": batches(40, 1), "test": batches(9, 2), "known": batches(30, 3)}
    others = {"validation": batches(20, 4), "test": batches(20, 5)}
    alone = {
        method: evaluate(network, CONFIG, known, others, engine(), [method], weights=[0.0])
        for method in KNOWN_METHODS
    }
    best = max(alone, key=lambda method: alone[method].unknown["validation"].auroc)
    assert len({found.unknown["validation"].auroc for found in alone.values()}) > 1
    found = evaluate(network, CONFIG, known, others, engine(), KNOWN_METHODS, weights=[0.0])
    assert found.config == alone[best].config and found.config.known_method == best
    assert found.unknown == alone[best].unknown
    assert (found.neighbours is None) == (best != "knn")


def measured_beside(network, engine, training: DataLoader):
    """The evaluation of 40 validation photos beside these training photos."""
    known = {"validation": batches(40, 1), "test": batches(9, 2), "known": training}
    return evaluate(network, CONFIG, known, {}, engine(), ["energy"])


def test_neighbours_are_heard_where_validation_gains(network, engine):
    """Training photos that are the validation photos know the labels best."""
    found = measured_beside(network, engine, batches(40, 1))
    assert found.config.neighbour_weight > 0 and found.neighbours is not None
    assert found.scores["validation"].loss < found.last_layer["validation"].loss
    assert found.scores["validation"].top1 > found.last_layer["validation"].top1
    assert found.config.neighbour_temperature == found.neighbours.temperature


def test_neighbours_that_mislead_are_not_heard(network, engine):
    wrong = in_batches(make_images(40, 1), (torch.arange(40) + 1) % 3)
    found = measured_beside(network, engine, wrong)
    assert found.config.neighbour_weight == 0 and found.neighbours is None
    assert found.scores == found.last_layer


@pytest.mark.parametrize("right", SHARES)
def test_blend_keeps_the_mean_of_weights_that_validation_likes_best(network, engine, right):
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
    losses = blend(trained, first.state_dict(), validation, engine())
    assert tuple(losses) == SHARES and min(losses, key=losses.get) == right
    assert torch.allclose(trained.get_classifier().bias, wanted, atol=1e-5)


def test_logits_of_features_are_the_networks(network):
    images = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        features = compute_features(network.eval(), images)
        assert torch.allclose(compute_logits(network, features), network(images), atol=1e-6)
