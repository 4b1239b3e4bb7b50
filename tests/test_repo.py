"""The on-disk format: what is saved comes back to the bit, ours or timm's way; the rest is refused.

Hubs are never asked: HF_HUB_OFFLINE is set, and repos that "are cached" are laid out by hand.
"""

import json
import math
import os
import pickle
import shutil
import socket
import subprocess
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import yaml
from safetensors.torch import load_file, save_file

from landmark_model import LandmarkError, list_networks, load
from landmark_model.cli import main as command_line
from landmark_model.config import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    ModelConfig,
    read_config,
)
from landmark_model.hub.client import fetch
from landmark_model.hub.publish import assemble
from landmark_model.hub.repo import (
    CHECKSUMS_NAME,
    FEATURES_NAME,
    KNOWN_HEAD_NAME,
    METRICS_NAME,
    PUBLISHED,
    best_first,
    choose,
    locate,
    networks_in,
    read_memory,
    save,
    to_json,
)
from landmark_model.memory import Memory
from landmark_model.networks import NETWORKS, build, restore, round_to_half, to_arrays

LABELS = ("Eiffel Tower", "Hạ Long Bay", "Statue of Liberty")
CLASSES = ("00.Eiffel_Tower", "01.Ha_Long", "l2_Liberty")
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
def logits(network: torch.nn.Module) -> torch.Tensor:
    """What a network says to the same two images."""
    return network.eval()(IMAGES)


@pytest.fixture(scope="module", params=NETWORKS)
def saved(request, tmp_path_factory):
    """A network with unusual weights and statistics, its config, and the folder it is saved in."""
    torch.manual_seed(1)
    config = ModelConfig(request.param, CLASSES, LABELS, 64, temperature=1.25)
    network = build(config)
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(0.03 * torch.rand_like(tensor))
    round_to_half(network)
    folder = tmp_path_factory.mktemp(request.param)
    save(to_arrays(network), config, folder)
    return network, config, folder


@pytest.fixture
def copied(saved, tmp_path):
    """A copy of the saved folder, to be damaged."""
    return Path(shutil.copytree(saved[2], tmp_path / "copy"))


# --- round trips ---


def test_saved_network_comes_back_to_the_bit(saved, tmp_path):
    network, config, folder = saved
    assert read_config(folder) == config
    learning = deepcopy(network).train().to(memory_format=torch.channels_last)
    save(to_arrays(learning), config, tmp_path)
    assert learning.training, "saving changes nothing"
    assert (tmp_path / WEIGHTS_NAME).read_bytes() == (folder / WEIGHTS_NAME).read_bytes()
    restored = restore(config, folder)
    assert not restored.training
    assert {p.dtype for p in restored.parameters()} == {torch.float32}
    assert torch.equal(logits(restored), logits(network))
    expected, found = network.state_dict(), restored.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_weights_take_two_bytes_each_and_may_be_read_like_the_config(saved):
    network, _, folder = saved
    modes = {(folder / name).stat().st_mode for name in (WEIGHTS_NAME, CONFIG_NAME)}
    assert len(modes) == 1
    count = sum(parameter.numel() for parameter in network.parameters())
    assert (folder / WEIGHTS_NAME).stat().st_size < 2.1 * count
    kinds = {tensor.dtype for tensor in load_file(folder / WEIGHTS_NAME).values()}
    assert kinds == {torch.float16, torch.float32, torch.int64}


def test_json_is_of_dataclasses_and_words_and_of_names_that_are_no_utf8():
    text = to_json({"config": ModelConfig("x", ("a",), ("Hạ",)), "path": Path("a/caf\udce9")})
    assert "Hạ" in text and text.encode("utf-8")
    assert json.loads(text)["config"]["labels"] == ["Hạ"]
    assert json.loads(text)["path"] == "a/caf\udce9"


def test_timm_reads_the_folder(saved):
    network, config, folder = saved
    found = timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert torch.equal(logits(found), logits(network))
    assert found.num_classes == 3
    assert found.pretrained_cfg["label_names"] == list(LABELS)
    settings = timm.data.resolve_data_config({}, model=found)
    assert tuple(settings["input_size"]) == (3, 64, 64)
    assert tuple(settings["mean"]) == config.mean
    assert tuple(settings["std"]) == config.std
    assert settings["crop_pct"] == config.crop_pct
    assert settings["interpolation"] == "bicubic"


# --- several networks in a folder ---


@pytest.fixture
def family(tmp_path):
    """A folder with resnet18 at the root and landmark_cnn below; only configs."""
    for name, place in (("resnet18", "."), ("landmark_cnn", "landmark_cnn")):
        folder = tmp_path / "family" / place
        folder.mkdir(exist_ok=True, parents=True)
        text = ModelConfig(name, CLASSES, LABELS).to_json()
        (folder / CONFIG_NAME).write_text(text, encoding="utf-8")
    return tmp_path / "family"


def test_networks_are_found_by_name_and_listed_with_the_root_first(family):
    assert list(networks_in(family)) == list_networks(family) == ["resnet18", "landmark_cnn"]
    assert locate(str(family)) == choose(family, None) == choose(family, "resnet18") == family
    assert choose(family, "landmark_cnn") == family / "landmark_cnn"
    for name in ("vgg16", "", "ResNet18", "landmark_cnn/"):
        with pytest.raises(LandmarkError, match="resnet18, landmark_cnn"):
            choose(family, name)
    (family / "empty").mkdir()
    with pytest.raises(LandmarkError, match=CONFIG_NAME):
        choose(family / "empty", None)


@pytest.mark.parametrize("text", ["{}", "not json", '{"architectures": ["BertModel"]}', None])
def test_other_configs_below_do_no_harm(family, text):
    for name in (".staging-x", "aaa"):
        (family / name).mkdir()
        older = (family / CONFIG_NAME).read_text(encoding="utf-8")
        (family / name / CONFIG_NAME).write_text(text or older, encoding="utf-8")
    assert networks_in(family) == {"resnet18": family, "landmark_cnn": family / "landmark_cnn"}


def test_network_that_did_best_on_validation_is_taken(family):
    below = family / "landmark_cnn"
    (family / METRICS_NAME).write_text('{"validation": {"top1": 0.7}}')
    (below / METRICS_NAME).write_text('{"validation": {"top1": 0.9}}')
    assert list(best_first(family)) == ["landmark_cnn", "resnet18"]
    assert choose(family, None) == below
    for odd in ("NaN", "1e999", "-1e999", '"0.99"', "2", "true", "[1]", "null", "no JSON"):
        (below / METRICS_NAME).write_text(f'{{"validation": {{"top1": {odd}}}}}')
        assert choose(family, None) == family
    (below / METRICS_NAME).write_text('{"validation": {"top1": 0.5, "classes": [{}, {}, {}]}}')
    assert choose(family, None) == below  # it knows more


@pytest.mark.parametrize("network", ["resnet18", "landmark_cnn", "tf_efficientnet_lite2"])
def test_networks_that_ship_are_whole(network):
    tagger = load(network=network, device="cpu")
    assert tagger.config.architecture == network
    assert len(tagger.labels) == 100


# --- what does not belong together, or is no such file ---


@pytest.mark.parametrize("damage", ["one more class", "other network", "missing", "extra"])
def test_config_and_weights_that_do_not_fit_are_refused(copied, damage):
    config, tensors = read_config(copied), load_file(copied / WEIGHTS_NAME)
    if damage == "one more class":
        config = replace(config, class_names=(*CLASSES, "x"), labels=(*LABELS, "X"))
    elif damage == "other network":
        other = next(name for name in NETWORKS if name != config.architecture)
        config = replace(config, architecture=other)
    elif damage == "missing":
        tensors.popitem()
    else:
        tensors["extra"] = torch.zeros(1)
    (copied / CONFIG_NAME).write_text(config.to_json(), encoding="utf-8")
    save_file(tensors, copied / WEIGHTS_NAME)
    with pytest.raises(LandmarkError, match="do not belong together"):
        load(copied, device="cpu")


class Trap:
    """Unpickling it makes a file, as it could do worse."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("how", ["pickle", "torch", "cut off", "one byte", "empty", "gone"])
def test_weights_that_are_no_safetensors_are_refused_unread(copied, how, tmp_path):
    path, trap = copied / WEIGHTS_NAME, tmp_path / "sprung"
    whole = path.read_bytes()
    if how == "pickle":
        path.write_bytes(pickle.dumps(Trap(trap)))
    elif how == "torch":
        torch.save({"fc.weight": Trap(trap)}, path)
    elif how == "gone":
        path.unlink()
    else:
        path.write_bytes(whole[: {"cut off": len(whole) // 2, "one byte": 1, "empty": 0}[how]])
    with pytest.raises(LandmarkError, match=WEIGHTS_NAME):
        load(copied, device="cpu")
    assert not trap.exists()


# --- hub repos ---


@pytest.fixture
def cached(saved, monkeypatch):
    """A repo in the hub's cache, at its branch main, as an earlier download left it."""
    _, _, folder = saved
    name = f"models--someone--{folder.name}"
    repo = Path(os.environ["HF_HUB_CACHE"]) / name
    commit = "a" * 40
    shutil.copytree(folder, repo / "snapshots" / commit, dirs_exist_ok=True)
    (repo / "refs").mkdir(exist_ok=True)
    (repo / "refs" / "main").write_text(commit)
    yield f"someone/{folder.name}"
    shutil.rmtree(repo)


def test_repo_that_was_fetched_before_works_offline(saved, cached):
    for revision in (None, "main", "a" * 40):
        assert load(cached, revision=revision, device="cpu").config == saved[1]
    with pytest.raises(LandmarkError, match="v9"):
        load(cached, revision="v9", device="cpu")
    for source in (None, saved[2]):
        with pytest.raises(LandmarkError, match="no revision 'v9'; only hub repos do"):
            load(source, revision="v9", device="cpu")


@pytest.mark.parametrize("revision", [None, "v1"])
def test_repo_that_is_neither_here_nor_there_is_refused_offline_without_asking(
    revision, monkeypatch
):
    asked: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda _, address: asked.append(address))
    with pytest.raises(LandmarkError) as caught:
        fetch("someone/no-such-landmarks", ["*"], revision)
    assert asked == []
    message = str(caught.value)
    for part in ("someone/no-such-landmarks", "folder", "hub", revision or ""):
        assert part in message


@pytest.mark.parametrize(
    "name",
    ["a b", "../x", "a/b/c", "", ".", "runs/mine/", "https://huggingface.co/a/b", "a" * 200, "é",
     "a\0b", "-", "a--b", "C:\\runs"],
)  # fmt: skip
def test_nonsense_names_are_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LandmarkError):
        load(name, device="cpu")


def test_run_holds_all_that_a_repo_needs(smoke_run):
    assert list_networks(smoke_run.folder) == [smoke_run.network]
    head = (smoke_run.folder / "README.md").read_text(encoding="utf-8").split("---")[1]
    figures = json.loads((smoke_run.folder / METRICS_NAME).read_text(encoding="utf-8"))
    shown = yaml.safe_load(head)["model-index"][0]["results"][0]["metrics"][0]
    assert shown["value"] == round(figures["test"]["top1"], 4)


# --- several networks, features of training photos ---


def test_features_of_training_photos_come_back(tmp_path):
    torch.manual_seed(0)
    config = ModelConfig("landmark_cnn", CLASSES, LABELS, 32, known_method="knn",
                         known_threshold=-2.1)  # fmt: skip
    network = build(config)
    memory = Memory.remember(np.random.default_rng(0).normal(size=(30, 320)))
    save(to_arrays(network), config, tmp_path, memory)
    found = read_memory(tmp_path)
    assert np.array_equal(found.features, memory.features)
    answer = load(tmp_path, device="cpu").predict(Path("examples/taj-mahal.jpg").read_bytes())
    assert answer.is_known == (answer.score >= -2.1)
    (tmp_path / FEATURES_NAME).unlink()
    with pytest.raises(LandmarkError, match=f"lacks a complete {FEATURES_NAME}"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("features", "problem"),
    [
        (torch.ones(3, 512), "not have 320 features"),
        (torch.ones(3), "not a table"),
        (torch.ones(0, 320), "not a table"),
        (torch.full((3, 320), math.nan), "not a table of finite numbers"),
        (torch.full((3, 320), math.inf).half(), "not a table of finite numbers"),
        (torch.ones(3, 320).int(), "not a table"),
        (torch.ones(3, 320), "longer than 1"),
    ],
)
def test_features_of_something_else_are_refused_when_loading(features, problem, tmp_path):
    config = ModelConfig("landmark_cnn", CLASSES, LABELS, 32, known_method="knn")
    save(to_arrays(build(config)), config, tmp_path)
    save_file({"features": features}, tmp_path / FEATURES_NAME)
    with pytest.raises(LandmarkError, match=f"do not belong together: it.*{problem}"):
        load(tmp_path, device="cpu")
    save_file({"features": features, "more": torch.zeros(1)}, tmp_path / FEATURES_NAME)
    with pytest.raises(LandmarkError, match=r"it holds .*more"):
        load(tmp_path, device="cpu")


def test_features_of_too_many_photos_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("landmark_model.memory.MOST_NUMBERS", 1000)
    features = torch.zeros(11, 100).half()
    save_file({"features": features}, tmp_path / FEATURES_NAME)
    with pytest.raises(LandmarkError, match="its 11 photos are too many"):
        read_memory(tmp_path)
    save_file({"features": features[:10]}, tmp_path / FEATURES_NAME)
    assert len(read_memory(tmp_path).features) == 10


def test_weights_that_overflow_give_an_error_and_no_answer(tmp_path):
    config = ModelConfig("landmark_cnn", CLASSES, LABELS, 32)
    network = build(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1e9)
    (tmp_path / CONFIG_NAME).write_text(config.to_json())
    save_file(network.state_dict(), tmp_path / WEIGHTS_NAME)  # float16 has no number so large
    tagger, photo = load(tmp_path, device="cpu"), Path("examples/taj-mahal.jpg")
    for ask in (tagger.predict, tagger.explain):
        with pytest.raises(LandmarkError, match="landmark_cnn gives no finite numbers"):
            ask(photo)


@pytest.mark.parametrize("architecture", ["test_vit", "test_convnext"])
def test_network_without_maps_answers_but_is_not_explained(architecture, tmp_path):
    config = ModelConfig(architecture, CLASSES, LABELS, 160)
    save(to_arrays(build(config)), config, tmp_path)
    tagger, photo = load(tmp_path, device="cpu"), Path("examples/taj-mahal.jpg")
    assert len(tagger.predict(photo)) == 3
    if architecture == "test_vit":
        with pytest.raises(LandmarkError, match="does not support test_vit"):
            tagger.explain(photo)


def test_run_without_its_features_is_not_published(small_run, tmp_path):
    folder = Path(shutil.copytree(small_run.folder, tmp_path / "run"))
    (folder / FEATURES_NAME).unlink()
    with pytest.raises(LandmarkError, match=f"run lacks a complete {FEATURES_NAME}"):
        assemble([folder], tmp_path / "repo")


# --- checksums ---


def test_run_folder_passes_the_usual_tool(smoke_run):
    subprocess.run(["sha256sum", "--check", CHECKSUMS_NAME], cwd=smoke_run.folder, check=True)
    lines = (smoke_run.folder / CHECKSUMS_NAME).read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == [
        name
        for name in PUBLISHED
        if name != KNOWN_HEAD_NAME  # too few photos for one
    ]


def test_card_that_is_written_again_keeps_its_checksum_right(small_run, tmp_path):
    folder = Path(shutil.copytree(small_run.folder, tmp_path / "run"))
    (folder / "README.md").write_text("of an older version")
    assert command_line(["card", "--source", str(folder)]) == 0
    subprocess.run(["sha256sum", "--check", CHECKSUMS_NAME], cwd=folder, check=True)
