"""The linear probe: the rest of the network stays, features are computed once."""

import json
import shutil
import time
from dataclasses import replace
from functools import partial

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from landmark_model import LandmarkError, load
from landmark_model.networks import LandmarkCNN, compute_features
from landmark_model.training.fit import Progress
from landmark_model.training.options import TrainOptions
from landmark_model.training.pipeline import train
from landmark_model.training.probe import VIEWS_NAME, Copies, Head, Views, compute_views
from landmark_model.training.recipes import PROBE
from landmark_model.training.session import Session
from landmark_model.training.smoke import make_photo

RECIPE = replace(PROBE, image_size=64, train_size=64, epochs=2, batch_size=8)


@pytest.fixture(scope="module")
def probed(small_run, photos, tmp_path_factory):
    """A run from the weights of a smoke run, done twice: options, and the time between."""
    options = TrainOptions(photos, tmp_path_factory.mktemp("probe"), init=str(small_run.folder),
                           probe=True, workers=0)  # fmt: skip
    train(options, RECIPE)
    between = time.time_ns()
    train(options, RECIPE)
    return options, between


def test_only_the_last_layer_changes(probed, small_run):
    before, after = (
        load_file(folder / "model.safetensors") for folder in (small_run.folder, probed[0].out)
    )
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"fc.weight", "fc.bias"}


def test_features_are_computed_once(probed):
    options, between = probed
    for split, shape in (("train", (2, 24, 320)), ("validation", (1, 9, 320))):
        path = options.out / VIEWS_NAME.format(split=split)
        assert load_file(path)["features"].shape == shape
        assert path.stat().st_mtime_ns < between  # the second run has found it


def test_features_of_otherwise_varied_photos_are_not_taken_for_these(probed, tmp_path):
    options, _ = probed
    shutil.copytree(options.out, tmp_path, dirs_exist_ok=True)
    train(replace(options, out=tmp_path), replace(RECIPE, grey=1.0))
    kept, new = (
        load_file(folder / VIEWS_NAME.format(split="train"))["features"]
        for folder in (options.out, tmp_path)
    )
    assert not torch.equal(kept, new)


def test_photos_of_no_class_it_was_shown_are_called_by_every_name_alike(
    probed, tmp_path, monkeypatch
):
    monkeypatch.setattr(Progress, "is_best", lambda _: True)  # to see what it ends with
    others = tmp_path / "others"
    for split in ("train", "validation"):  # so like a class that who was not told takes them for it
        (others / split).mkdir(parents=True)
        for number in range(5):
            make_photo(0, 900 + number).save(others / split / f"{number}.png")
    surest, recipe = [], replace(RECIPE, epochs=20, lr=0.1, unknown_share=1.0)
    for name, unknown in (("shown", others), ("not", None)):
        out = tmp_path / name
        train(replace(probed[0], out=out, unknown=unknown), recipe)
        features = load_file(tmp_path / "shown" / VIEWS_NAME.format(split="unknown"))["features"]
        assert features.shape == (2, 5, 320)
        last = load_file(out / "model.safetensors")
        logits = features.float() @ last["fc.weight"].float().T + last["fc.bias"].float()
        surest.append(logits.softmax(-1).amax(-1).mean().item())
    assert surest[0] < surest[1] - 0.2, surest


def test_outcome_is_a_whole_network(probed):
    out = probed[0].out
    assert len(load(out, device="cpu").predict(make_photo(0, 1))) == 3
    assert json.loads((out / "metrics.json").read_text())["test"]["photo_count"] == 9


def test_network_without_weights_is_refused(photos, tmp_path):
    options = TrainOptions(photos, tmp_path, "landmark_cnn", init="none", probe=True, workers=0)
    with pytest.raises(LandmarkError, match="trains only the last layer"):
        train(options, RECIPE)


def test_every_copy_is_a_feature_of_its_own_and_is_drawn(photos, engine):
    """Copies of a photo, of any shape, are the features that each would have alone."""

    class Bars:
        labels = (0, 1)

        def __len__(self) -> int:
            return 2

        def photo(self, index: int) -> Tensor:
            return torch.full((3, 32, 32 + 32 * index), float(index))

        def vary(self, photo: Tensor) -> Tensor:
            return photo + torch.rand(1)

    network = LandmarkCNN(3, widths=(8, 16), depths=(1, 1)).eval()
    features_of = partial(compute_features, network)
    features = compute_views(features_of, Copies(Bars(), 4), Session(engine(), photos))
    assert features.shape == (4, 2, 16) and len(features[:, 0].unique(dim=0)) == 4
    views = Views(features, [0, 1])
    drawn = {tuple(views[1][0].flatten().tolist()) for _ in range(60)}
    assert drawn == {tuple(row.tolist()) for row in features[:, 1].float()}
    assert views[1][1] == 1 and views[0][0].shape == (16, 1, 1)


def test_head_is_the_networks_own_last_layer():
    network = LandmarkCNN(3, widths=(8, 16), depths=(1, 1))
    head = Head(network).eval()
    assert head.last is network.fc
    assert torch.equal(head(torch.ones(2, 16, 1, 1)), network.fc(torch.ones(2, 16)))
