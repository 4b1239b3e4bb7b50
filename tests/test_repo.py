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
from dataclasses import replace
from pathlib import Path

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
from landmark_model.hub.client import card_metadata, fetch
from landmark_model.hub.publish import assemble
from landmark_model.hub.repo import (
    CHECKSUMS_NAME,
    FEATURES_NAME,
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
from landmark_model.networks import NETWORKS, build, restore, round_to_half

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
    save(network, config, folder)
    return network, config, folder


@pytest.fixture
def copied(saved, tmp_path):
    """A copy of the saved folder, to be damaged."""
    return Path(shutil.copytree(saved[2], tmp_path / "copy"))


# --- round trips ---


def test_saved_network_comes_back_to_the_bit(saved):
    network, config, folder = saved
    assert read_config(folder) == config
    restored = restore(config, folder)
    assert not restored.training
    assert {p.dtype for p in restored.parameters()} == {torch.float32}
    assert torch.equal(logits(restored), logits(network))
    expected, found = network.state_dict(), restored.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_weights_take_two_bytes_each(saved):
    network, _, folder = saved
    count = sum(parameter.numel() for parameter in network.parameters())
    assert (folder / WEIGHTS_NAME).stat().st_size < 2.1 * count
    kinds = {tensor.dtype for tensor in load_file(folder / WEIGHTS_NAME).values()}
    assert kinds == {torch.float16, torch.float32, torch.int64}


def test_whole_precision_is_kept_on_demand(tmp_path):
    torch.manual_seed(2)
    config = ModelConfig("landmark_cnn", CLASSES, LABELS, 64)
    network = build(config)
    save(network, config, tmp_path, half=False)
    assert torch.equal(logits(restore(config, tmp_path)), logits(network))


def test_saving_does_not_change_the_network(tmp_path):
    config = ModelConfig("landmark_cnn", CLASSES, LABELS, 64)
    network = build(config).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    save(network, config, tmp_path)
    assert network.training
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())


def test_network_in_the_layout_of_training_is_saved_alike(tmp_path):
    config = ModelConfig("landmark_cnn", CLASSES, LABELS, 64)
    network = build(config)
    save(network, config, tmp_path)
    plain = (tmp_path / WEIGHTS_NAME).read_bytes()
    save(network.to(memory_format=torch.channels_last), config, tmp_path)
    assert (tmp_path / WEIGHTS_NAME).read_bytes() == plain


def test_weights_may_be_read_by_whoever_may_read_the_config(saved):
    modes = {(saved[2] / name).stat().st_mode for name in (WEIGHTS_NAME, CONFIG_NAME)}
    assert len(modes) == 1


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


def test_json_is_of_dataclasses_and_words():
    text = to_json({"config": ModelConfig("x", ("a",), ("Hạ",)), "path": Path("a/b")})
    assert json.loads(text)["config"]["labels"] == ["Hạ"]
    assert json.loads(text)["path"] == "a/b"
    assert "Hạ" in text


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


@pytest.mark.parametrize(
    ("network", "place"),
    [(None, "."), ("resnet18", "."), ("landmark_cnn", "landmark_cnn")],
)
def test_network_is_found_by_name(family, network, place):
    assert choose(family, network) == family / place


def test_networks_are_listed_with_the_root_first(family):
    assert list(networks_in(family)) == list_networks(family) == ["resnet18", "landmark_cnn"]


@pytest.mark.parametrize("name", ["vgg16", "", "ResNet18", "landmark_cnn/"])
def test_wrong_network_is_refused_naming_those_there(family, name):
    with pytest.raises(LandmarkError, match="resnet18, landmark_cnn"):
        choose(family, name)


def test_network_at_the_root_wins_over_an_older_one_below(family):
    shutil.copytree(family / "landmark_cnn", family / "older")
    text = (family / CONFIG_NAME).read_text(encoding="utf-8")
    (family / "older" / CONFIG_NAME).write_text(text, encoding="utf-8")
    assert choose(family, "resnet18") == family


@pytest.mark.parametrize("name", [".staging-x", "logs", "wandb"])
@pytest.mark.parametrize("text", ["{}", "not json", '{"architectures": ["BertModel"]}'])
def test_config_of_something_else_below_does_no_harm(family, name, text):
    (family / name).mkdir()
    (family / name / CONFIG_NAME).write_text(text)
    assert choose(family, None) == family
    assert choose(family, "landmark_cnn") == family / "landmark_cnn"


def test_folder_without_network_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(LandmarkError, match=CONFIG_NAME):
        choose(tmp_path, None)
    with pytest.raises(LandmarkError, match=CONFIG_NAME):
        choose(tmp_path, "resnet18")


@pytest.mark.parametrize("kind", [str, Path])
def test_folder_is_its_own_location(tmp_path, kind):
    assert locate(kind(tmp_path), None) == tmp_path


@pytest.mark.parametrize("network", ["resnet18", "landmark_cnn", "tf_efficientnet_lite2"])
def test_networks_that_ship_are_whole(network):
    tagger = load(network=network, device="cpu")
    assert tagger.config.architecture == network
    assert len(tagger.labels) == 50


# --- what does not belong together, or is no such file ---


def damage_wider(folder: Path) -> None:
    """The config gains a class."""
    config = ModelConfig(read_config(folder).architecture, (*CLASSES, "x"), (*LABELS, "X"))
    (folder / CONFIG_NAME).write_text(config.to_json(), encoding="utf-8")


def damage_other_network(folder: Path) -> None:
    """The config names the other network."""
    other = next(name for name in NETWORKS if name != read_config(folder).architecture)
    config = ModelConfig(other, CLASSES, LABELS)
    (folder / CONFIG_NAME).write_text(config.to_json(), encoding="utf-8")


def damage_missing(folder: Path) -> None:
    """A tensor is left out."""
    tensors = load_file(folder / WEIGHTS_NAME)
    tensors.popitem()
    save_file(tensors, folder / WEIGHTS_NAME)


def damage_extra(folder: Path) -> None:
    """A tensor too many."""
    tensors = load_file(folder / WEIGHTS_NAME)
    save_file(tensors | {"extra": torch.zeros(1)}, folder / WEIGHTS_NAME)


@pytest.mark.parametrize(
    "damage", [damage_wider, damage_other_network, damage_missing, damage_extra]
)
def test_config_and_weights_that_do_not_fit_are_refused(copied, damage):
    damage(copied)
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


@pytest.mark.parametrize("revision", [None, "main", "a" * 40])
def test_repo_that_was_fetched_before_works_offline(saved, cached, revision):
    tagger = load(cached, revision=revision, device="cpu")
    assert tagger.config == saved[1]


def test_revision_of_what_is_no_repo_is_refused(saved):
    for source in (None, saved[2]):
        with pytest.raises(LandmarkError, match="no revision 'v9'; only hub repos do"):
            load(source, revision="v9", device="cpu")


def test_other_revision_of_a_fetched_repo_is_refused_offline(cached):
    with pytest.raises(LandmarkError, match="v9"):
        load(cached, revision="v9", device="cpu")


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


# --- the head of the card ---


def test_head_of_the_card_is_yaml_with_the_figures():
    metrics = {
        "test": {"top1": 0.87654, "top5": 0.98},
        "training": {"base_model": "timm/resnet18.a1_in1k", "data": {"name": "my: [photos] #1"}},
    }
    scratch = {"test": {"top1": 0.5, "top5": 1.0}, "training": metrics["training"]}
    head = card_metadata([("ResNet18", metrics), ("Ours: small", scratch)])
    assert head.startswith("---\n") and head.endswith("\n---")
    facts = yaml.safe_load(head.strip("-"))
    assert facts["license"] == "apache-2.0"
    assert facts["library_name"] == "timm"
    assert facts["pipeline_tag"] == "image-classification"
    assert facts["datasets"] == ["imagefolder"]
    assert facts["base_model"] == "timm/resnet18.a1_in1k"
    results = [result for entry in facts["model-index"] for result in entry["results"]]
    shown = {
        (result["dataset"]["name"], metric["type"]): metric["value"]
        for result in results
        for metric in result["metrics"]
    }
    first, second = "my: [photos] #1 (ResNet18)", "my: [photos] #1 (Ours: small)"
    assert shown == {
        (first, "accuracy"): 0.8765,
        (first, "top_5_accuracy"): 0.98,
        (second, "accuracy"): 0.5,
        (second, "top_5_accuracy"): 1.0,
    }


def test_network_from_scratch_has_no_base_model():
    metrics = {
        "test": {"top1": 0.5, "top5": 1.0},
        "training": {"base_model": "", "data": {"name": "x"}},
    }
    assert "base_model" not in yaml.safe_load(card_metadata([("x", metrics)]).strip("-"))


def test_run_holds_all_that_a_repo_needs(smoke_run):
    assert list_networks(smoke_run.folder) == [smoke_run.network]
    head = (smoke_run.folder / "README.md").read_text(encoding="utf-8").split("---")[1]
    figures = json.loads((smoke_run.folder / METRICS_NAME).read_text(encoding="utf-8"))
    shown = yaml.safe_load(head)["model-index"][0]["results"][0]["metrics"][0]
    assert shown["value"] == round(figures["test"]["top1"], 4)


# --- several networks, features of training photos ---


def test_network_that_did_best_on_validation_is_taken(tmp_path):
    for name, folder, top1 in (("resnet18", tmp_path, 0.7), ("landmark_cnn", tmp_path / "b", 0.9)):
        folder.mkdir(exist_ok=True)
        config = ModelConfig(name, CLASSES, LABELS, 64)
        (folder / CONFIG_NAME).write_text(config.to_json(), encoding="utf-8")
        (folder / METRICS_NAME).write_text(json.dumps({"validation": {"top1": top1}}))
    assert list(best_first(tmp_path)) == ["landmark_cnn", "resnet18"]
    assert list(networks_in(tmp_path)) == ["resnet18", "landmark_cnn"]  # the root's first
    assert choose(tmp_path, None) == tmp_path / "b"
    (tmp_path / "b" / METRICS_NAME).write_text("no JSON")
    assert choose(tmp_path, None) == tmp_path


def test_features_of_training_photos_come_back(tmp_path):
    torch.manual_seed(0)
    config = ModelConfig("landmark_cnn", CLASSES, LABELS, 32, known_method="knn",
                         known_threshold=-2.1)  # fmt: skip
    network = build(config)
    memory = Memory.remember(torch.randn(30, 320), torch.arange(30) % 3, 3)
    save(network, config, tmp_path, neighbours=memory)
    found = read_memory(config, tmp_path)
    assert torch.equal(found.features, memory.features)
    assert torch.equal(found.shares, memory.shares)
    answer = load(tmp_path, device="cpu").predict(Path("examples/taj-mahal.jpg").read_bytes())
    assert answer.is_known == (answer.score >= -2.1)
    (tmp_path / FEATURES_NAME).unlink()
    with pytest.raises(LandmarkError, match=f"lacks a complete {FEATURES_NAME}"):
        load(tmp_path)


def test_features_without_labels_still_serve_to_tell_none_of_these(tmp_path):
    """As files had none before neighbours helped to name photos."""
    config = ModelConfig("landmark_cnn", CLASSES, LABELS, 32, known_method="knn",
                         known_threshold=-2.1)  # fmt: skip
    features = torch.nn.functional.normalize(torch.randn(30, 320)).half()
    save_file({"features": features}, tmp_path / FEATURES_NAME)
    assert torch.equal(read_memory(config, tmp_path).features, features.float())
    with pytest.raises(LandmarkError, match="one whole-number label"):
        read_memory(replace(config, neighbour_weight=5.0), tmp_path)


@pytest.mark.parametrize(
    ("features", "labels", "problem"),
    [
        (torch.ones(3, 320), [0, 1, 3], "labels are not of 3 classes"),
        (torch.ones(3, 320), [0, -1, 2], "labels are not of 3 classes"),
        (torch.ones(3, 320), [0, 1], "one whole-number label"),
        (torch.ones(3, 320), [0.0, 1.0, 2.0], "one whole-number label"),
        (torch.ones(3, 320), [[0], [1], [2]], "one whole-number label"),
        (torch.ones(3, 512), [0, 1, 2], "not have 320 features"),
        (torch.ones(3), [0, 1, 2], "not a table"),
        (torch.ones(0, 320), [], "not a table"),
        (torch.full((3, 320), math.nan), [0, 1, 2], "not a table of finite numbers"),
        (torch.full((3, 320), math.inf).half(), [0, 1, 2], "not a table of finite numbers"),
        (torch.ones(3, 320).int(), [0, 1, 2], "not a table"),
        (torch.ones(3, 320), [False, True, True], "one whole-number label"),
        (torch.ones(3, 320), [0, 1, 2], "longer than 1"),
    ],
)
def test_features_of_something_else_are_refused_when_loading(features, labels, problem, tmp_path):
    config = ModelConfig("landmark_cnn", CLASSES, LABELS, 32, neighbour_weight=5.0)
    save(build(config), config, tmp_path)
    stored = {"features": features, "labels": torch.tensor(labels)}
    save_file(stored, tmp_path / FEATURES_NAME)
    with pytest.raises(LandmarkError, match=f"do not belong together: it.*{problem}"):
        load(tmp_path, device="cpu")


def test_features_of_too_many_photos_are_refused_unread(tmp_path):
    names = tuple(map(str, range(1000)))
    config = ModelConfig("landmark_cnn", names, names, 32, neighbour_weight=5.0)
    stored = {"features": torch.zeros(100_001, 1).half(), "labels": torch.zeros(100_001).int()}
    save_file(stored, tmp_path / FEATURES_NAME)
    with pytest.raises(LandmarkError, match="too many photos for 1000"):
        read_memory(config, tmp_path)


def test_other_things_among_the_features_are_refused(tmp_path):
    config = ModelConfig("landmark_cnn", CLASSES, LABELS, 32, neighbour_weight=5.0)
    stored = {"features": torch.eye(3), "labels": torch.arange(3), "more": torch.zeros(1)}
    save_file(stored, tmp_path / FEATURES_NAME)
    with pytest.raises(LandmarkError, match=r"it also holds .*more"):
        read_memory(config, tmp_path)


def test_weights_that_overflow_give_an_error_and_no_answer(tmp_path):
    config = ModelConfig("landmark_cnn", CLASSES, LABELS, 32)
    network = build(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1e9)
    save(network, config, tmp_path, half=False)
    tagger, photo = load(tmp_path, device="cpu"), Path("examples/taj-mahal.jpg")
    for ask in (tagger.predict, tagger.explain):
        with pytest.raises(LandmarkError, match="landmark_cnn gives no finite numbers"):
            ask(photo)


@pytest.mark.parametrize("architecture", ["test_vit", "test_convnext"])
def test_network_without_maps_answers_but_is_not_explained(architecture, tmp_path):
    config = ModelConfig(architecture, CLASSES, LABELS, 160)
    save(build(config), config, tmp_path)
    tagger, photo = load(tmp_path, device="cpu"), Path("examples/taj-mahal.jpg")
    assert len(tagger.predict(photo)) == 3
    if architecture == "test_vit":
        with pytest.raises(LandmarkError, match="does not support test_vit"):
            tagger.explain(photo)


@pytest.mark.parametrize("top1", ["NaN", "1e999", "-1e999", '"0.99"', "2", "true", "[1]", "null"])
def test_figure_that_is_no_share_chooses_no_network(tmp_path, top1):
    for name, folder, value in (
        ("resnet18", tmp_path, "0.7"),
        ("landmark_cnn", tmp_path / "b", top1),
    ):
        folder.mkdir(exist_ok=True)
        config = ModelConfig(name, CLASSES, LABELS, 64)
        (folder / CONFIG_NAME).write_text(config.to_json(), encoding="utf-8")
        (folder / METRICS_NAME).write_text(f'{{"validation": {{"top1": {value}}}}}')
    assert choose(tmp_path, None) == tmp_path


def test_json_holds_names_that_are_no_utf8():
    text = to_json({"folder": "caf\udce9"})
    text.encode("utf-8")
    assert json.loads(text) == {"folder": "caf\udce9"}


def test_run_without_its_features_is_not_published(small_run, tmp_path):
    folder = Path(shutil.copytree(small_run.folder, tmp_path / "run"))
    (folder / FEATURES_NAME).unlink()
    with pytest.raises(LandmarkError, match=f"run lacks a complete {FEATURES_NAME}"):
        assemble([folder], tmp_path / "repo")


# --- checksums ---


def test_run_folder_passes_the_usual_tool(smoke_run):
    subprocess.run(["sha256sum", "--check", CHECKSUMS_NAME], cwd=smoke_run.folder, check=True)
    lines = (smoke_run.folder / CHECKSUMS_NAME).read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == list(PUBLISHED)


def test_card_that_is_written_again_keeps_its_checksum_right(small_run, tmp_path):
    folder = Path(shutil.copytree(small_run.folder, tmp_path / "run"))
    (folder / "README.md").write_text("of an older version")
    assert command_line(["card", "--source", str(folder)]) == 0
    subprocess.run(["sha256sum", "--check", CHECKSUMS_NAME], cwd=folder, check=True)
