"""The command line and the recipes: what is asked for, refused, and written down."""

import json
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest

from landmark_model.config import LandmarkError
from landmark_model.networks import NETWORKS
from landmark_model.training.options import TrainOptions, make_parser, parse
from landmark_model.training.recipes import FEW_EPOCHS, PROBE, RECIPES, Recipe, recipe_for

NEEDED = ["--data", "photos", "--out", "run"]


# --- recipes ---


def test_every_network_has_a_recipe():
    assert set(RECIPES) == set(NETWORKS)
    with pytest.raises(LandmarkError, match="no recipe for 'vgg16'"):
        recipe_for("vgg16")
    for recipe in (*RECIPES.values(), PROBE, FEW_EPOCHS):
        assert Recipe(**json.loads(json.dumps(asdict(recipe)))) == recipe, "it survives JSON"


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("batch_size", [0, 1]), ("epochs", [0]), ("lr", [0, -1, 1, float("nan")]),
        ("image_size", [31]), ("train_size", [0]), ("view", ["sideways"]), ("warmup", [-1, 2]),
        ("ema_decay", [-0.1, 1]), ("label_smoothing", [2]), ("mixup", [-1, float("nan")]),
        ("weight_decay", [-1]), ("muon", [-1]), ("layer_decay", [0, 1.1]), ("min_area", [0]),
        ("low_resolution", [2]), ("grey", [-0.1]), ("erasing", [-1]), ("balance", [2]),
        ("distillation", [1.1]), ("distillation_temperature", [0]), ("unknown_share", [0, 2]),
        ("probe_copies", [-1]),
    ],
)  # fmt: skip
def test_number_that_makes_no_sense_is_refused_by_its_name(name, values):
    for value in values:
        with pytest.raises(LandmarkError, match=rf"The recipe cannot work: .*{name}"):
            replace(RECIPES["resnet18"], **{name: value})


@pytest.mark.parametrize(("image_size", "train_size"), [(256, 192), (192, 128), (64, 64), (32, 32)])
def test_training_crops_follow_the_size_of_the_photos(image_size, train_size):
    recipe = RECIPES["tf_efficientnet_lite2"].at_size(image_size)
    assert (recipe.image_size, recipe.train_size) == (image_size, train_size)


# --- options ---


def test_help_lists_every_option_with_a_text_and_no_others(capsys):
    with pytest.raises(SystemExit) as caught:
        parse(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    named = {field.name.replace("_", "-") for field in fields(TrainOptions)} | {"smoke", "help"}
    actions = make_parser()._actions
    assert {option[2:] for action in actions for option in action.option_strings} == (
        named | {"quick", ""}
    )
    assert len(named) <= 22
    assert all(action.help and f"--{name}" in text for action in actions for name in named)


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("--batch-size", ["many"]), ("--epochs", ["1.5"]), ("--seed", ["-1", "99999"]),
        ("--network", ["vgg16"]), ("--precision", ["int8"]), ("--workers", ["-1"]),
        ("--share", ["0", "-0.1", "1", "nan"]), ("--magic", ["1"]),
    ],
)  # fmt: skip
def test_value_that_makes_no_sense_is_refused_by_the_name_of_its_option(option, values, capsys):
    for value in values:
        with pytest.raises((SystemExit, LandmarkError)) as caught:
            parse([*NEEDED, option, value])
        assert option in (str(caught.value) + capsys.readouterr().err)
    with pytest.raises(SystemExit):
        parse(["--out", "x"])
    assert "--data and --out are needed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--init", "run"], "--init must be outside --out"),
        (["--probe", "--teacher", "other"], "--probe takes no --teacher"),
        (["--out", "taken"], "taken is a file; give --out a folder"),
    ],
)
def test_options_that_do_not_go_together_are_refused(words, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(LandmarkError, match=told):
        parse([*NEEDED, *words, "--network", "resnet18"])


@pytest.mark.parametrize(
    ("words", "weights", "from_scratch"),
    [
        ([], None, False),
        (["--network", "landmark_cnn"], None, True),
        (["--init", "none"], None, True),
        (["--network", "landmark_cnn", "--init", "a.safetensors"], Path("a.safetensors"), False),
    ],
)
def test_first_weights_are_those_asked_for(words, weights, from_scratch):
    options = parse([*NEEDED, *words])
    assert (options.first_weights, options.from_scratch) == (weights, from_scratch)


def test_network_and_first_weights_are_those_of_the_run_it_starts_from(small_run):
    assert parse(NEEDED).network == "tf_efficientnet_lite2"
    options = parse([*NEEDED, "--init", str(small_run.folder)])
    assert options.network == "landmark_cnn"
    assert options.first_weights == small_run.folder / "model.safetensors"
    assert options.sources == [options.first_weights]


def test_recipe_is_the_networks_own_with_what_the_options_change():
    assert TrainOptions("photos", "run", network="resnet18").apply_to(None) == RECIPES["resnet18"]
    assert parse([*NEEDED, "--probe"]).apply_to(None) == PROBE
    options = parse([*NEEDED, "--epochs", "3", "--lr", "0.1", "--image-size", "128"])
    expected = RECIPES["tf_efficientnet_lite2"].at_size(128)
    assert options.apply_to(None) == replace(expected, epochs=3, lr=0.1)
    edited = replace(RECIPES["resnet18"], mixup=0.0)
    assert options.apply_to(edited).mixup == 0.0 and options.apply_to(edited).epochs == 3


def test_command_says_the_same_without_the_folders_of_the_machine():
    words = ["--data", "world", "--out", "runs/lite2", "--network", "resnet18", "--teacher",
             "/home/me/runs/teacher", "--unknown", "../others", "--epochs", "3",
             "--private"]  # fmt: skip
    options = parse([*words, "--resume"])
    assert options.command(options.apply_to(None)) == (
        "python train.py --data world --out runs/lite2 --network resnet18 --teacher teacher "
        "--unknown others --epochs 3 --private"
    )
    edited = replace(options.apply_to(None), mixup=0.0, muon=1.0)
    assert options.command(edited).endswith("  # recipe=replace(recipe, muon=1.0, mixup=0.0)")
