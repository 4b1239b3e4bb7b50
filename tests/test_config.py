"""A config survives its JSON, and JSON that is no config is refused in words."""

import json
import os
import re
import tracemalloc
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest

from landmark_model.config import CONFIG_NAME, LandmarkError, ModelConfig, read_config

CONFIG = ModelConfig(
    architecture="landmark_cnn",
    class_names=("00.Eiffel_Tower", "01.Hạ_Long_Bay"),
    labels=("Eiffel Tower", "Hạ Long Bay"),
)
NAN, INFINITY = float("nan"), float("inf")


def changed(**values: object) -> str:
    """The JSON of CONFIG with some of its values replaced, wherever they are in it."""
    raw = json.loads(CONFIG.to_json())
    for key, value in values.items():
        holders = (raw, raw["pretrained_cfg"], raw["landmark_model"])
        next(part for part in holders if key in part)[key] = value
    return json.dumps(raw)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"image_size": 224, "crop_pct": 0.875, "view": "whole", "temperature": 1.3749},
        {"mean": (0.0, 0.25, 1 / 3), "std": (1.0, 0.1, 1e-3), "title": "Ours & <theirs>"},
        {"class_names": ("'", 'a"b\\'), "labels": ("é", "\u65e5\u672c \U0001f5fc")},
        {"class_names": ("one",), "labels": ("One",)},
        {"known_method": "knn", "known_threshold": -0.71},
        {"model_args": {"drop_rate": 0.5, "depths": [1, 1, 2, 2]}},
    ],
)
def test_config_survives_its_json(values):
    config = replace(CONFIG, **values)
    assert ModelConfig.from_json(config.to_json()) == config


def test_config_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        CONFIG.image_size = 3


def test_json_is_what_timm_reads_and_readable_by_people():
    raw = json.loads(CONFIG.to_json())
    assert raw["architecture"] == "landmark_cnn"
    assert raw["num_classes"] == raw["pretrained_cfg"]["num_classes"] == 2
    assert raw["label_names"] == list(CONFIG.labels)
    assert raw["pretrained_cfg"]["input_size"] == [3, 160, 160]
    assert "Hạ Long Bay" in CONFIG.to_json()


@pytest.mark.parametrize(
    ("architecture", "title"),
    [
        ("tf_efficientnet_lite2", "EfficientNet-Lite2"),
        ("resnet18.a1_in1k", "ResNet18"),
        ("vgg16", "vgg16"),
    ],
)
def test_title_is_that_of_the_file_or_else_of_the_architecture(architecture, title):
    assert ModelConfig(architecture, ("a",), ("A",)).title == title
    raw = json.loads(replace(CONFIG, title="Ours").to_json())
    assert ModelConfig.from_json(json.dumps(raw)).title == "Ours"
    raw["architecture"] = architecture
    del raw["landmark_model"]["title"]  # as folders written before have it
    assert ModelConfig.from_json(json.dumps(raw)).title == title


def test_config_of_another_timm_repo_works():
    raw = json.loads(CONFIG.to_json())
    del raw["landmark_model"]
    raw["pretrained_cfg"] |= {"tag": "a1_in1k", "mean": [0, 0, 0]}
    config = ModelConfig.from_json(json.dumps(raw))
    assert config.class_names == config.labels == CONFIG.labels
    assert config.mean == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("field", ["class_names", "labels"])
def test_name_that_occurs_twice_is_refused_and_named(field):
    with pytest.raises(LandmarkError, match="Petra"):
        replace(CONFIG, **{field: ("Petra", "Petra")})


@pytest.mark.parametrize("labels", [(), ("a",), ("a", "b", "c")])
def test_each_class_needs_one_label(labels):
    with pytest.raises(LandmarkError, match=rf"{len(labels)} labels for 2 classes"):
        replace(CONFIG, labels=labels)


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "5", '"text"', "[]", "{}", '{"architecture": "resnet18"}', "[" * 100_000],
    ids=lambda text: text[:8] or "nothing",
)
def test_text_that_is_no_config_is_refused(text):
    with pytest.raises(LandmarkError, match=CONFIG_NAME):
        ModelConfig.from_json(text)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("architecture", [None, 5, ["resnet18"], "hf-hub:timm/resnet18", "local-dir:runs/mine",
                          "../resnet18", "<b>resnet18</b>", "resnet18."]),
        ("title", [None, 5, [], " ", "two\nlines", "\u202eback", "x" * 201, "\udc80"]),
        ("label_names", [None, "AB", [1, 2], [["a"], ["b"]], []]),
        ("class_names", [None, "ab", [1, 2], []]),
        ("pretrained_cfg", [None, []]),
        ("landmark_model", [[]]),
        ("input_size", [160, "160", [], *([3, side, side] for side in (
            0, -5, INFINITY, NAN, 7, 1025, 10**400, 160.5, True)), [3, 160, 224], [1, 160, 160]]),
        ("crop_pct", [None, "wide", 0, -1, NAN, 0.4, 1.01, True, "0.9", 10**400]),
        ("mean", [None, [0.5, 0.5], [0.5, 0.5, NAN], [123.675, 116.28, 103.53], [-0.1, 0.5, 0.5],
                  [True, 0.5, 0.5], ["0.5", 0.5, 0.5]]),
        ("std", [[0, 0, 0], [0.2, 0.2, NAN], "123", [0.0001, 0.2, 0.2], [11, 0.2, 0.2]]),
        ("view", [["centre"], "sideways", "both"]),
        ("known_method", [0, "magic"]),
        ("known_threshold", ["low", True, 2e6, NAN]),
        ("temperature", [0, -1.0, NAN, "warm", INFINITY, True, 0.001, 101]),
    ],
)  # fmt: skip
def test_value_of_the_wrong_kind_is_refused(key, values):
    for value in values:
        with pytest.raises(LandmarkError) as refusal:
            ModelConfig.from_json(changed(**{key: value}))
        assert str(refusal.value).isprintable()


@pytest.mark.parametrize(("name", "value"), [("flip", True), ("neighbour_weight", 20.0)])
def test_network_that_this_version_would_run_otherwise_is_refused(name, value):
    raw = json.loads(CONFIG.to_json())
    raw["landmark_model"] |= {"flip": False, "neighbour_weight": 0, name: value}
    with pytest.raises(LandmarkError, match=f"{name} of version 0.1.*Train the network again"):
        ModelConfig.from_json(json.dumps(raw))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_config_is_read_from_a_folder_or_through_a_link(tmp_path, encoding):
    (tmp_path / "elsewhere.json").write_text(CONFIG.to_json(), encoding=encoding)
    (tmp_path / CONFIG_NAME).symlink_to(tmp_path / "elsewhere.json")
    assert read_config(tmp_path) == CONFIG


@pytest.mark.parametrize("folder", ["", "missing"])
def test_folder_without_config_is_refused_with_a_way_out(tmp_path, folder):
    with pytest.raises(LandmarkError, match="landmark train --data"):
        read_config(tmp_path / folder)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1"])
def test_config_in_another_encoding_is_refused(tmp_path: Path, encoding):
    text = CONFIG.to_json().replace("ạ", "á")
    (tmp_path / CONFIG_NAME).write_bytes(text.encode(encoding))
    with pytest.raises(LandmarkError, match=CONFIG_NAME):
        read_config(tmp_path)


def test_arguments_that_could_read_files_never_reach_the_builder():
    raw = json.loads(CONFIG.to_json()) | {
        "model_args": {"checkpoint_path": "x.pt", "drop_rate": 0.5}
    }
    assert ModelConfig.from_json(json.dumps(raw)).model_args == {"drop_rate": 0.5}
    with pytest.raises(LandmarkError, match="model_args may be"):
        replace(CONFIG, model_args={"checkpoint_path": "x.pt"})


@pytest.mark.parametrize(
    ("rule", "refused"),
    [
        ("an object", [[]]),
        ("widths must be a list of 1 to 8", [{"widths": value} for value in (
            8, [], [8] * 9, [7, 8], [8, 4097], [True, 8])]),
        ("depths must be a list of 1 to 8", [{"depths": value} for value in (
            [1] * 9, [0, 1], [65], [[1]])]),
        ("drop_rate", [{"drop_rate": 1.0}, {"drop_rate": NAN}]),
    ],
)  # fmt: skip
def test_network_of_an_absurd_shape_is_refused(rule, refused):
    for arguments in refused:
        with pytest.raises(LandmarkError, match=rule):
            replace(CONFIG, model_args=arguments)


# --- names of classes ---


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Eiffel\udc80", r"'Eiffel\udc80' has the character U+DC80"),
        ("Eiffel\nTower", r"'Eiffel\nTower' has the character U+000A"),
        ("Eiffel\x1b[31m", "U+001B"),
        ("Eiffel\x85", "U+0085"),
        ("Eiffel\u2028Tower", "U+2028"),
        ("\u200b", "U+200B"),
        ("Petra\ufeff", "U+FEFF"),
        ("Petra\u2060", "U+2060"),
        *((f"a{chr(code)}b", rf"'a\u{code:04x}b' has the character U+{code:04X}")
          for code in (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))),
        ("", "'' shows nothing"),
        (" \u00a0\u3000", "shows nothing"),
        ("\u200d\u200c", "shows nothing"),
        ("\u3164", "shows nothing"),
        ("\u0301", "shows nothing"),
        ("x" * 201, "is longer than 200 characters"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("field", ["class_names", "labels"])
def test_name_that_cannot_be_shown_is_refused_and_spelt_out(field, name, shown):
    with pytest.raises(LandmarkError, match=re.escape(shown)) as refusal:
        replace(CONFIG, **{field: ("Petra", name)})
    assert str(refusal.value).isprintable() and len(str(refusal.value)) < 400


@pytest.mark.parametrize(
    "name",
    ["Hạ Long Bay", "Ha\u0323 Long", "نقش\u200cرستم", "👨\u200d👩\u200d👧", "故宫", "A\u00a0B",
     "<b>|x|</b>", "x" * 200, "5", "…", "\U0010ffff", "\ue000"],
)  # fmt: skip
def test_name_in_any_script_is_taken(name):
    config = replace(CONFIG, class_names=("Petra", name), labels=("Petra", name))
    assert ModelConfig.from_json(config.to_json()) == config


def test_many_classes_are_taken_and_too_many_refused_in_a_short_message():
    names = tuple(map(str, range(100_000)))
    assert len(replace(CONFIG, class_names=names, labels=names).labels) == 100_000
    with pytest.raises(LandmarkError, match="100,001 classes are too many"):
        replace(CONFIG, class_names=(*names, "x"), labels=(*names, "x"))
    for odd in (("a",) * 90_000, (5,) * 90_000):
        with pytest.raises(LandmarkError) as refusal:
            replace(CONFIG, class_names=odd, labels=odd)
        assert len(str(refusal.value)) < 400


# --- what JSON lets through ---


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('"crop_pct": 1.0', '"crop_pct": NaN', "NaN is not a number that"),
        ('"crop_pct": 1.0', '"crop_pct": -Infinity', "-Infinity is not a number that"),
        ('"crop_pct": 1.0', '"crop_pct": 1e999', "1e999 is not a number that"),
        ('"crop_pct": 1.0', f'"crop_pct": {"9" * 5000}', "integer string"),
        ('"crop_pct": 1.0', '"crop_pct": 1.0, "crop_pct": 0.9', "'crop_pct' appears twice"),
        ('"crop_pct": 1.0', f'"x": {"[" * 10_000}{"]" * 10_000}, "crop_pct": 1.0', "recursion"),
        ('"crop_pct": 1.0', f'"x": [{"[]," * 1_000_001}0]', "more than 1,000,000 lists"),
    ],
    ids=["NaN", "-Infinity", "1e999", "huge", "twice", "nested", "lists"],
)
def test_json_that_only_python_takes_is_refused(old, new, why):
    text = CONFIG.to_json()
    assert old in text
    with pytest.raises(LandmarkError, match=why) as refusal:
        ModelConfig.from_json(text.replace(old, new))
    assert len(str(refusal.value)) < 500


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_config_that_is_no_file_is_refused_unread(tmp_path, kind):
    path = tmp_path / CONFIG_NAME
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(LandmarkError, match=f"{CONFIG_NAME} is not a file"):
        read_config(tmp_path)


def test_config_of_half_a_gigabyte_takes_no_memory(tmp_path):
    with (tmp_path / CONFIG_NAME).open("wb") as file:
        file.truncate(500_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(LandmarkError, match=f"{CONFIG_NAME} is larger than 16 MB"):
            read_config(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 40e6
    finally:
        tracemalloc.stop()
