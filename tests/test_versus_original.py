"""The benchmarks against others: their recipe is what it is said to be, and the sums are right."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from benchmarks import course
from benchmarks import versus_original as versus
from landmark_model import networks
from landmark_model.config import LandmarkError, ModelConfig
from landmark_model.training.augment import to_tensor
from landmark_model.training.start import Start

NAMES = ("a", "b", "c")
CONFIG = ModelConfig("resnet18", NAMES, NAMES, 32, crop_pct=0.875)
TINY = ["--epochs", "1", "--image-size", "32", "--workers", "0"]


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory) -> Path:
    """A weights file of a ResNet18 that ends at layer3."""
    torch.manual_seed(0)
    tensors = networks.build(CONFIG).state_dict()
    kept = {name: t for name, t in tensors.items() if not name.startswith(("layer4", "fc"))}
    path = tmp_path_factory.mktemp("weights") / "to_layer3.safetensors"
    save_file(kept, path)
    return path


def result(top1: float, seconds: float, head_on: str = "") -> dict:
    """A finished training."""
    return {
        "parameters": 1_500_000, "batch_size": 64, "seconds": seconds, "curve": [0.1, top1],
        "test_top1": top1, "test_top5": 0.9, "validation_top1": top1, "head_on": head_on,
        "photos": {"train": 1522, "validation": 234, "test": 371}, "hardware": "CPU, 2 cores",
    }  # fmt: skip


# --- their networks ---


def test_the_original_network_is_as_described():
    network = versus.build_original(50, 224)
    kinds = [type(layer) for layer in network]
    assert kinds[:20] == [nn.Conv2d, nn.ReLU, nn.BatchNorm2d, nn.MaxPool2d] * 5
    convolutions = [layer for layer in network if type(layer) is nn.Conv2d]
    assert [layer.out_channels for layer in convolutions] == [16, 32, 64, 128, 256]
    assert {layer.kernel_size for layer in convolutions} == {(3, 3)}
    assert {layer.kernel_size for layer in network if type(layer) is nn.MaxPool2d} == {2}
    hidden, last = (layer for layer in network if type(layer) is nn.Linear)
    assert (hidden.in_features, hidden.out_features) == (256 * 7 * 7, 1024)
    assert (last.in_features, last.out_features) == (1024, 50)
    assert [layer.num_features for layer in network if type(layer) is nn.BatchNorm1d] == [1024]
    assert [layer.p for layer in network if type(layer) is nn.Dropout] == [0.4]
    assert network.eval()(torch.zeros(2, 3, 224, 224)).shape == (2, 50)


def test_the_original_keeps_the_epoch_of_the_lowest_loss(engine, monkeypatch):
    network, losses, seen = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), [3.0, 1.0, 2.0], []

    def score(trained, batches, accelerator):
        seen.append(network[1].weight.detach().clone())
        return type("Scores", (), {"loss": losses[len(seen) - 1], "top1": 0.1 * len(seen)})

    monkeypatch.setattr(versus, "score", score)
    monkeypatch.setattr(versus, "train_epoch", lambda *_: nn.init.normal_(network[1].weight))
    curve, best = versus.fit_original(network, {"train": [], "validation": []}, engine(), 3)
    assert curve == pytest.approx([0.1, 0.2, 0.3]) and best == 1
    assert torch.equal(network[1].weight, seen[1])
    assert not torch.equal(seen[1], seen[2])


def test_only_the_head_of_the_frozen_network_learns(engine, imagenet):
    network = versus.build_frozen(CONFIG, imagenet)
    assert network.last_stage == "layer3" and network.head.in_features == 256
    learned = {name for name, p in network.named_parameters() if p.requires_grad}
    assert learned == {"head.weight", "head.bias"}
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    images, labels = torch.randn(6, 3, 32, 32), torch.arange(6) % 3
    features = network.frozen(images)
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], 0.1)
    versus.train_epoch(network, optimizer, [(images, labels)], engine(), "")
    after = network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == learned
    assert torch.equal(network.frozen(images), features)


def test_the_head_sits_on_the_last_whole_stage_of_the_file(tmp_path):
    save_file(networks.build(CONFIG).state_dict(), tmp_path / "whole.safetensors")
    network = versus.build_frozen(CONFIG, tmp_path / "whole.safetensors")
    assert network.last_stage == "layer4" and network.head.in_features == 512
    start = Start("few.safetensors", ("conv1.weight", "bn1.weight"), ("layer1.0.x",))
    with pytest.raises(LandmarkError, match="has no whole first stage"):
        versus.FrozenResNet(networks.build(CONFIG), start, 3)


def test_the_original_sees_crops_of_a_slightly_larger_photo(photos):
    splits, _ = versus.data.load_splits(photos, 0)
    config = ModelConfig("resnet18", NAMES, NAMES, 224, crop_pct=0.875)
    sets = versus.make_sets(splits, config)
    assert {min(sets["train"].photo(index).size) for index in range(24)} == {256}
    assert {photo.shape for split in sets for photo, _ in [sets[split][0]]} == {(3, 224, 224)}
    policy = sets["train"].vary.transforms[2]
    assert (policy.num_ops, policy.magnitude) == (6, 9)
    fixed = sets["test"].photo(0)
    assert fixed.size == (224, 224)
    assert torch.equal(sets["test"][0][0], to_tensor(config)(fixed))


# --- the table ---


def test_the_table_is_of_the_seeds_there_are_and_owns_up_to_what_falls_short():
    found = {
        ("scratch", "original", 0): result(0.30, 100), ("scratch", "ours", 0): result(0.50, 90),
        ("scratch", "original", 1): result(0.34, 100), ("scratch", "ours", 1): result(0.50, 80),
        ("scratch", "original", 2): result(0.32, 100), ("scratch", "ours", 2): result(0.53, 100),
        ("scratch", "original", 3): result(0.32, 100),  # ours is not done: not in the lead
        ("transfer", "original", 0): result(0.70, 100, "layer3"),
        ("transfer", "ours", 0): result(0.65, 120),
    }  # fmt: skip
    text = versus.make_section("scratch", found)
    # By hand: leads 20, 16, 21: mean 19, deviations 1, -3, 2, spread sqrt(14 / 2) = 2.65.
    tops = "0: 30.0%, 1: 34.0%, 2: 32.0%, 3: 32.0% | 32.0 ± 1.6%"
    assert f"| original | 1.5 M | 64 | 1.7 | {tops} |" in text
    assert "**Lead: 19.0 ± 2.6 points** of test top-1 (seeds 0, 1, 2)." in text
    assert "1,522 train, 234 validation, 371 test photos; CPU, 2 cores" in text
    text = versus.make_section("transfer", found)
    assert "**Lead: -5.0 points** of test top-1 (seeds 0)." in text
    assert "The original's linear layer reads layer3, the last" in text


# --- whole runs ---


def test_a_run_writes_its_files_and_does_nothing_twice(
    photos, imagenet, tmp_path, engine, monkeypatch
):
    engine()
    monkeypatch.setattr(versus, "OURS", {
        half: (network, replace(recipe, muon=0.0, batch_size=8))
        for half, (network, recipe) in versus.OURS.items()
    })  # fmt: skip
    arguments = ["--data", str(photos), "--init", str(imagenet), "--out", str(tmp_path),
                 "--seeds", "5", "--original-size", "32", *TINY]  # fmt: skip
    versus.main(arguments)
    files = [tmp_path / f"versus_original.{ending}" for ending in ("json", "md", "png")]
    written = [path.read_bytes() for path in files]
    done = json.loads(written[0])
    assert [key.split(":")[0] for key in done] == [
        f"{half}, {recipe}, seed 5" for half in versus.HALVES for recipe in ("original", "ours")
    ]
    assert [one.get("head_on", "") for one in done.values()] == ["", "", "layer3", ""]
    for one in done.values():
        assert one["photos"] == {"train": 24, "validation": 9, "test": 9}
        assert len(one["curve"]) == 1
        assert one["test_top1"] * 9 == pytest.approx(round(one["test_top1"] * 9), abs=1e-5)
    assert b"--data shapes --init to_layer3.safetensors" in written[1]
    assert str(photos.parent).encode() not in written[0] + written[1]
    monkeypatch.setattr(versus, "train_ours", None)
    monkeypatch.setattr(versus, "train_original", None)
    versus.main(arguments)
    assert [path.read_bytes() for path in files[:2]] == written[:2]
    with pytest.raises(TypeError):  # trained again
        versus.main([*arguments, "--epochs", "2"])


def test_a_missing_weights_file_is_told_before_anything_is_trained(capsys):
    with pytest.raises(SystemExit):
        versus.parse(["--data", "world50", "--init", "no.safetensors"])
    assert "no.safetensors does not exist" in capsys.readouterr().err


def test_one_command_trains_both_networks_on_the_course_photos(
    lay_out, tmp_path, engine, capsys, without_muon
):
    engine()
    places = ("09.Golden_Gate_Bridge", "16.Eiffel_Tower")
    counts = {f"train/{name}": 5 for name in places} | {f"test/{name}": 2 for name in places}
    root = lay_out(counts).rename(tmp_path / "landmark_images")
    out = tmp_path / "tables"
    course.main(["--data", str(root), "--init", "none", "--runs", str(tmp_path / "runs"), "--out",
                 str(out), "--batch-size", "4", *TINY])  # fmt: skip
    text = (out / course.TABLE_NAME).read_text()
    assert text in capsys.readouterr().out
    top1 = {
        name: json.loads((tmp_path / "runs" / name / "metrics.json").read_text())["test"]["top1"]
        for name in course.OURS
    }
    assert f"**{top1['landmark_cnn']:.1%}** | **{top1['resnet18']:.1%}**" in text
    assert text.count("(self-reported)") == len(course.RIVALS) == 9
    assert "8 train, 2 validation, 4 test" in text
    assert "Not the course's data" in text
    assert "--data landmark_images" in text and str(tmp_path) not in text
