"""The quick mode: the rest of the network stays, features are computed once, answers are whole."""

import json
import shutil
import time

import pytest
import torch
from safetensors.torch import load_file

import train
from landmark_model import LandmarkError, load
from landmark_model.quick import VIEWS_NAME, Head, Views
from landmark_model.smoke import make_photo


@pytest.fixture(scope="module")
def quick_run(trained, photos, tmp_path_factory):
    """A run from the weights of a smoke run, done twice: both folders, and the time between."""
    first = trained("landmark_cnn").folder
    out = tmp_path_factory.mktemp("quick")
    arguments = ["--smoke", "--quick", "--network", "landmark_cnn", "--data", str(photos),
                 "--init", str(first / "model.safetensors"), "--out", str(out)]  # fmt: skip
    train.main(arguments)
    between = time.time_ns()
    train.main(arguments)
    return first, out, between


def test_only_the_last_layer_changes(quick_run):
    before, after = (load_file(folder / "model.safetensors") for folder in quick_run[:2])
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"fc.weight", "fc.bias"}


def test_features_are_computed_once(quick_run):
    for split, shape in (("train", (2, 24, 320)), ("validation", (1, 9, 320))):
        path = quick_run[1] / VIEWS_NAME.format(split=split)
        assert load_file(path)["features"].shape == shape
        assert path.stat().st_mtime_ns < quick_run[2]  # the second run has found it


def fit_again(first, photos, out, *more: str) -> None:
    train.main(["--smoke", "--quick", "--network", "landmark_cnn", "--data", str(photos),
                "--init", str(first / "model.safetensors"), "--out", str(out), *more])  # fmt: skip


def test_features_of_otherwise_varied_photos_are_not_taken_for_these(quick_run, photos, tmp_path):
    first, out, _ = quick_run
    shutil.copytree(out, tmp_path, dirs_exist_ok=True)
    fit_again(first, photos, tmp_path, "--grey", "1")
    kept, new = (
        load_file(folder / VIEWS_NAME.format(split="train"))["features"]
        for folder in (out, tmp_path)
    )
    assert not torch.equal(kept, new)


def test_strangers_it_was_shown_are_called_by_every_name_alike(quick_run, photos, tmp_path):
    for split in ("train", "validation"):  # so like a class that who was not told takes them for it
        (tmp_path / "others" / split).mkdir(parents=True)
        for number in range(3):
            make_photo(0, 900 + number).save(tmp_path / "others" / split / f"{number}.png")
    surest = []
    for name, more in (("shown", ("--unknown", str(tmp_path / "others"), "--expose")), ("not", ())):
        fit_again(quick_run[0], photos, tmp_path / name, "--lr", "0.1", *more)
        features = load_file(tmp_path / "shown" / VIEWS_NAME.format(split="outsider"))["features"]
        assert features.shape == (2, 5, 320)  # of three in validation/, two are for training
        last = load_file(tmp_path / name / "model.safetensors")
        logits = features.float() @ last["fc.weight"].float().T + last["fc.bias"].float()
        surest.append(logits.softmax(-1).amax(-1).mean().item())
    assert surest[0] < 0.45 and surest[0] < surest[1] - 0.1, surest


def test_outcome_is_a_whole_network(quick_run):
    assert len(load(quick_run[1], device="cpu").predict(make_photo(0, 1))) == 3
    assert json.loads((quick_run[1] / "metrics.json").read_text())["test"]["photo_count"] == 9


def test_network_without_weights_is_refused(photos, tmp_path):
    with pytest.raises(LandmarkError, match="keeps all but the last layer"):
        train.main(["--smoke", "--quick", "--network", "landmark_cnn", "--data", str(photos),
                    "--init", "none", "--out", str(tmp_path)])  # fmt: skip


def test_every_view_is_drawn():
    views = Views(torch.arange(4).half().view(4, 1, 1).expand(4, 2, 3), [0, 1])
    torch.manual_seed(0)
    drawn = {views[1][0][0, 0, 0].item() for _ in range(60)}
    assert drawn == {0, 1, 2, 3} and views[1][1] == 1 and views[0][0].shape == (3, 1, 1)


def test_head_is_the_networks_own_last_layer():
    network = train.networks.LandmarkCNN(3, widths=(8, 16), depths=(1, 1))
    head = Head(network).eval()
    assert head.last is network.fc
    assert torch.equal(head(torch.ones(2, 16, 1, 1)), network.fc(torch.ones(2, 16)))
