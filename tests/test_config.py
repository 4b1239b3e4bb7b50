"""A config survives its JSON, and JSON that is no config is refused in words."""

import json
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
    "config",
    [
        CONFIG,
        replace(CONFIG, image_size=224, crop_pct=0.875),
        replace(CONFIG, mean=(0.0, 0.25, 1 / 3), std=(1.0, 0.1, 1e-3)),
        replace(CONFIG, class_names=("", 'a"b\\'), labels=("é", "\u65e5\u672c \U0001f5fc")),
        replace(CONFIG, class_names=CONFIG.class_names[:1], labels=CONFIG.labels[:1]),
        replace(CONFIG, temperature=1.3749),
        replace(CONFIG, view="both"),
        replace(CONFIG, flip=True, known_method="knn", known_threshold=-0.71),
        replace(CONFIG, neighbour_weight=20.0, neighbour_temperature=1.8),
        replace(CONFIG, model_args={"kernel": 5, "depths": [1, 1, 2, 2]}),
    ],
)
def test_config_survives_its_json(config):
    assert ModelConfig.from_json(config.to_json()) == config


def test_config_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        CONFIG.image_size = 3


def test_json_is_what_timm_reads():
    raw = json.loads(CONFIG.to_json())
    assert raw["architecture"] == "landmark_cnn"
    assert raw["num_classes"] == raw["pretrained_cfg"]["num_classes"] == 2
    assert raw["label_names"] == list(CONFIG.labels)
    assert raw["pretrained_cfg"]["input_size"] == [3, 160, 160]


def test_json_is_readable_by_people():
    assert "Hạ Long Bay" in CONFIG.to_json()


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


@pytest.mark.parametrize("temperature", [0.0, -1.0, NAN])
def test_temperature_is_above_zero(temperature):
    with pytest.raises(LandmarkError, match="temperature"):
        replace(CONFIG, temperature=temperature)


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "5", '"text"', "[]", "{}", '{"architecture": "resnet18"}', "[" * 100_000],
    ids=lambda text: text[:8] or "nothing",
)
def test_text_that_is_no_config_is_refused(text):
    with pytest.raises(LandmarkError, match=CONFIG_NAME):
        ModelConfig.from_json(text)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("architecture", None),
        ("architecture", 5),
        ("architecture", ["resnet18"]),
        ("label_names", None),
        ("label_names", "AB"),
        ("label_names", [1, 2]),
        ("label_names", [["a"], ["b"]]),
        ("class_names", None),
        ("class_names", "ab"),
        ("class_names", [1, 2]),
        ("pretrained_cfg", None),
        ("pretrained_cfg", []),
        ("landmark_model", []),
        ("input_size", 160),
        ("input_size", "160"),
        ("input_size", []),
        ("input_size", [3, 0, 0]),
        ("input_size", [3, -5, -5]),
        ("input_size", [3, INFINITY, INFINITY]),
        ("input_size", [3, NAN, NAN]),
        ("crop_pct", None),
        ("crop_pct", "wide"),
        ("crop_pct", 0),
        ("crop_pct", -1),
        ("crop_pct", NAN),
        ("mean", None),
        ("mean", [0.5, 0.5]),
        ("mean", [0.5, 0.5, NAN]),
        ("std", [0, 0, 0]),
        ("std", [0.2, 0.2, NAN]),
        ("std", "123"),
        ("temperature", 0),
        ("temperature", "warm"),
        ("temperature", INFINITY),
        ("neighbour_temperature", 0),
        ("neighbour_weight", -1),
        ("neighbour_weight", INFINITY),
    ],
)
def test_value_of_the_wrong_kind_is_refused(key, value):
    with pytest.raises(LandmarkError):
        ModelConfig.from_json(changed(**{key: value}))


def test_classifier_of_no_classes_is_refused():
    with pytest.raises(LandmarkError):
        ModelConfig.from_json(changed(label_names=[], class_names=[]))


def test_config_is_read_from_a_folder(tmp_path):
    (tmp_path / CONFIG_NAME).write_text(CONFIG.to_json(), encoding="utf-8")
    assert read_config(tmp_path) == CONFIG


@pytest.mark.parametrize("folder", ["", "missing"])
def test_folder_without_config_is_refused_with_a_way_out(tmp_path, folder):
    with pytest.raises(LandmarkError, match=r"train\.py"):
        read_config(tmp_path / folder)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1"])
def test_config_in_another_encoding_is_refused(tmp_path: Path, encoding):
    text = CONFIG.to_json().replace("ạ", "á")
    (tmp_path / CONFIG_NAME).write_bytes(text.encode(encoding))
    with pytest.raises(LandmarkError, match=CONFIG_NAME):
        read_config(tmp_path)


def test_arguments_that_could_read_files_never_reach_the_builder():
    raw = json.loads(CONFIG.to_json()) | {"model_args": {"checkpoint_path": "x.pt", "kernel": 5}}
    assert ModelConfig.from_json(json.dumps(raw)).model_args == {"kernel": 5}
    with pytest.raises(LandmarkError, match="model_args may be"):
        replace(CONFIG, model_args={"checkpoint_path": "x.pt"})


@pytest.mark.parametrize(
    "values", [{"flip": "yes"}, {"known_method": "magic"}, {"known_threshold": NAN}]
)
def test_settings_of_an_answer_that_make_no_sense_are_refused(values):
    with pytest.raises(LandmarkError, match=next(iter(values))):
        replace(CONFIG, **values)
