"""The program: photos in, everything needed out, whatever happens on the way."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image, ImageFilter
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import train
from landmark_model import load, neighbours, networks, pictures
from landmark_model.config import KNOWN_METHODS, LandmarkError, ModelConfig, read_config
from landmark_model.photos import open_photo
from landmark_model.smoke import make_photo
from landmark_model.training import CHECKPOINT_NAME, Recipe

ROOT = Path(__file__).parents[1]
SMALL = ["--network", "landmark_cnn", "--image-size", "32", "--train-size", "32",
         "--batch-size", "8", "--workers", "0"]  # fmt: skip
WRITTEN = {
    "config.json", "model.safetensors", "model.torchscript.pt", "metrics.json", "README.md",
    "training_curve.png", "confusion_matrix.png", "class_histogram.png", "contact_sheet.png",
    "data_report.json", "reliability.png", "features.safetensors", "model.onnx",
    "SHA256SUMS", CHECKPOINT_NAME,
}  # fmt: skip


def strict_json(path: Path) -> dict:
    """JSON as other programs read it: without NaN and Infinity, which Python alone allows."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{path.name} holds {word}")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def remeasure(folder: Path, photos: Path) -> dict:
    """Top-1, top-5, loss and confusion on a folder of classes, by a loop over `predict`."""
    tagger = load(folder)
    names = tagger.config.class_names
    confusion = [[0] * len(names) for _ in names]
    top1 = top5 = loss = 0.0
    paths = sorted(photos.glob("*/*.png"))
    for path in paths:
        guesses = tagger.predict(path, top_k=len(names))
        ranked = [guess.class_name for guess in guesses]
        confusion[names.index(path.parent.name)][names.index(ranked[0])] += 1
        top1 += ranked[0] == path.parent.name
        top5 += path.parent.name in ranked[:5]
        loss -= math.log(guesses[ranked.index(path.parent.name)].probability)
    count = len(paths)
    return {"photo_count": count, "confusion": confusion, "top1": top1 / count,
            "top5": top5 / count, "loss": pytest.approx(loss / count, rel=1e-3)}  # fmt: skip


# --- a whole run ---


def test_run_writes_every_file_and_nothing_else(smoke_run):
    assert {path.name for path in smoke_run.folder.iterdir()} == WRITTEN


def test_run_writes_pictures_that_open(smoke_run):
    for path in smoke_run.folder.glob("*.png"):
        picture = open_photo(path)
        assert len(picture.getcolors(2**24)) > 2, path.name


def test_run_writes_json_that_anyone_reads(smoke_run):
    report = strict_json(smoke_run.folder / "data_report.json")
    assert sum(count["train"] for count in report["counts"].values()) == 24
    assert report["skipped"] == report["leaks"] == []
    config = strict_json(smoke_run.folder / "config.json")
    assert config["label_names"] == ["Eiffel Tower", "Golden Gate Bridge", "Stonehenge"]
    strict_json(smoke_run.folder / "metrics.json")


def test_files_may_be_read_by_everyone_or_by_nobody_else(smoke_run):
    modes = {path.name: path.stat().st_mode for path in smoke_run.folder.iterdir()}
    assert len(set(modes.values())) == 1, modes


@pytest.mark.parametrize("split", ["test", "validation"])
def test_figures_are_those_of_the_written_files(smoke_run, split):
    scores = strict_json(smoke_run.folder / "metrics.json")[split]
    expected = remeasure(smoke_run.folder, smoke_run.data / split)
    assert {key: scores[key] for key in expected} == {
        **expected, "top1": pytest.approx(expected["top1"])
    }  # fmt: skip
    for index, one in enumerate(scores["classes"]):
        row, column = scores["confusion"][index], [r[index] for r in scores["confusion"]]
        assert one["support"] == sum(row) == 3
        assert one["recall"] == pytest.approx(row[index] / 3)
        assert one["precision"] == pytest.approx(row[index] / max(1, sum(column)))


def test_run_tells_what_was_done(smoke_run):
    facts = strict_json(smoke_run.folder / "metrics.json")["training"]
    assert [epoch["number"] for epoch in facts["epochs"]] == [1, 2]
    assert facts["best_epoch"] in (1, 2)
    weights = load_file(smoke_run.folder / "model.safetensors")
    statistics = sum(t.numel() for name, t in weights.items() if "running_" in name)
    counters = sum(1 for name in weights if name.endswith("num_batches_tracked"))
    assert facts["parameters"] == sum(t.numel() for t in weights.values()) - statistics - counters
    assert facts["data"]["photos"] == {"train": 24, "validation": 9, "test": 9}
    assert facts["torchscript_difference"] <= 1e-4
    assert facts["commands"][-1].startswith(
        f"python train.py --smoke --network {smoke_run.network}"
    )


# --- teachers, photos of nothing ---


@pytest.fixture
def strangers(tmp_path):
    """A folder of photos that show none of the classes, one of them broken."""
    for split, number in (("validation", 6), ("test", 4)):
        (tmp_path / "other" / split).mkdir(parents=True)
        for index in range(number):
            noise = Image.effect_noise((90, 70), 80 + index).convert("RGB")
            path = tmp_path / "other" / split / f"{index}.png"
            noise.filter(ImageFilter.GaussianBlur(index)).save(path)
    (tmp_path / "other" / "validation" / "broken.jpg").write_bytes(b"no photo")
    return tmp_path / "other"


def test_strangers_to_learn_from_are_those_in_train_and_two_thirds_of_validation(strangers):
    (strangers / "train").mkdir()
    Image.new("RGB", (60, 60)).save(strangers / "train" / "black.png")
    words = ["--data", "photos", "--out", "run", "--unknown", str(strangers)]
    config = ModelConfig("resnet18", ("a", "b"), ("A", "B"), 64)
    exposed = train.find_unknown(train.parse([*words, "--expose"]), config)
    assert {split: len(photos) for split, photos in exposed.items()} == {
        "train": 5, "validation": 2, "test": 4
    }  # fmt: skip
    assert "black.png" in {path.name for path in exposed["train"].paths}
    measured_only = train.find_unknown(train.parse(words), config)
    assert {split: len(photos) for split, photos in measured_only.items()} == {
        "validation": 6, "test": 4
    }  # fmt: skip


def test_run_with_teachers_and_strangers_measures_doubt(
    strangers, photos, small_run, tmp_path, capsys
):
    out = tmp_path / "run"
    train.main([*SMALL, "--data", str(photos), "--epochs", "1", "--out", str(out), "--flip",
                "--teacher", str(small_run.folder), str(small_run.folder),
                "--feature-distillation", "2", "--unknown", str(strangers), "--expose",
                "--known-method", "knn"])  # fmt: skip
    assert "Skipped: validation/broken.jpg" in capsys.readouterr().out
    metrics = strict_json(out / "metrics.json")
    taught_by = strict_json(small_run.folder / "metrics.json")["training"]["commands"]
    assert metrics["training"]["commands"][:-1] == taught_by  # once, though it taught twice
    found = metrics["unknown"]
    assert {split: scores["unknown_count"] for split, scores in found.items()} == {
        "validation": 2, "test": 4  # four of six were for training
    }  # fmt: skip
    assert found["validation"]["kept"] >= 0.95
    answer = load(out, device="cpu").predict(make_photo(0, 1))
    assert answer.is_known == (answer.score >= load(out).config.known_threshold)


def test_blended_run_tells_what_each_share_of_the_trained_weights_costs(
    photos, small_run, tmp_path, capsys
):
    train.main([*SMALL, "--data", str(photos), "--epochs", "1", "--out", str(tmp_path), "--blend",
                "--init", str(small_run.folder / "model.safetensors")])  # fmt: skip
    losses = strict_json(tmp_path / "metrics.json")["training"]["blend"]
    assert set(losses) == {"0.0", "0.25", "0.5", "0.75", "1.0"}
    shown = ", ".join(f"{float(share):.0%}: {loss:.3f}" for share, loss in losses.items())
    assert f"Validation loss by share of the trained weights: {shown}" in capsys.readouterr().out
    measured = strict_json(tmp_path / "metrics.json")["last_layer"]["validation"]["loss"]
    assert measured == pytest.approx(min(losses.values()), abs=2e-3)  # rounded to float16 since


@pytest.mark.parametrize(
    ("words", "methods"),
    [
        (["--unknown", "{strangers}"], KNOWN_METHODS),
        (["--unknown", "{strangers}", "--known-method", "energy"], ("energy",)),
        ([], ("knn",)),
    ],
)
def test_score_is_chosen_where_strangers_can_tell_the_best(words, methods, strangers):
    words = [word.format(strangers=strangers) for word in words]
    options = train.parse(["--data", "photos", "--out", "run", *words])
    assert train.known_methods(options) == methods


def test_run_keeps_the_score_that_tells_strangers_best(strangers, photos, small_run, tmp_path):
    command = [*SMALL, "--data", str(photos), "--epochs", "1", "--unknown", str(strangers),
               "--no-neighbours", "--out", str(tmp_path)]  # fmt: skip

    def measured() -> dict:
        found = strict_json(tmp_path / "metrics.json")["unknown"]["validation"]
        needed = read_config(tmp_path).needs_neighbours
        assert (tmp_path / "features.safetensors").exists() == needed
        return found

    train.main(command)
    kept, found = measured(), {}
    for method in KNOWN_METHODS:
        (tmp_path / "features.safetensors").touch()  # of another score: must not stay
        train.main([*command, "--resume", "--known-method", method])
        found[method] = measured()
    best = max(KNOWN_METHODS, key=lambda method: found[method]["auroc"])
    assert kept == found[best]


def test_teacher_of_other_classes_is_refused(small_run, lay_out, tmp_path):
    root = lay_out({f"{split}/{c}": 2 for split in ("train", "validation", "test") for c in "ab"})
    with pytest.raises(LandmarkError, match="The teacher knows other classes"):
        train.main([*SMALL, "--data", str(root), "--epochs", "1", "--out", str(tmp_path / "run"),
                    "--teacher", str(small_run.folder)])  # fmt: skip


def test_folder_of_strangers_without_splits_is_refused(photos, tmp_path):
    (tmp_path / "other").mkdir()
    with pytest.raises(LandmarkError, match="neither a validation nor a test folder"):
        train.main([*SMALL, "--data", str(photos), "--epochs", "1", "--out", str(tmp_path / "run"),
                    "--unknown", str(tmp_path / "other")])  # fmt: skip


# --- killed ---


@pytest.fixture(scope="module")
def unbroken(photos, tmp_path_factory):
    """The outcome of four small epochs in one go, and the options that lead there."""
    options = [*SMALL, "--data", str(photos), "--epochs", "4"]
    out = tmp_path_factory.mktemp("unbroken")
    train.main([*options, "--out", str(out)])
    (out / CHECKPOINT_NAME).unlink()  # 70 MB
    return out, options


def finished_epochs(checkpoint: Path) -> int:
    """How many epochs a checkpoint holds."""
    with safe_open(checkpoint, framework="pt") as file:
        return len(json.loads(file.metadata()["about"])["progress"]["epochs"])


def kill_after_first_checkpoint(options: list[str], out: Path) -> None:
    """Starts training and kills it, as hard as can be, once there is a checkpoint."""
    process = subprocess.Popen(
        [sys.executable, "train.py", *options, "--out", str(out)],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    patience = time.monotonic() + 200
    while not (out / CHECKPOINT_NAME).exists():
        assert process.poll() is None and time.monotonic() < patience
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def test_killed_run_keeps_old_files_and_resumes_to_the_same_end(unbroken, small_run, tmp_path):
    whole, options = unbroken
    earlier = ("config.json", "model.safetensors", "features.safetensors", "metrics.json",
               "README.md")  # fmt: skip
    for name in earlier:
        shutil.copy(small_run.folder / name, tmp_path / name)
    kill_after_first_checkpoint(options, tmp_path)
    for name in earlier:
        assert (tmp_path / name).read_bytes() == (small_run.folder / name).read_bytes()
    assert 1 <= finished_epochs(tmp_path / CHECKPOINT_NAME) < 4
    load(tmp_path)
    train.main([*options, "--out", str(tmp_path), "--resume"])
    (tmp_path / CHECKPOINT_NAME).unlink()
    expected, found = (load_file(run / "model.safetensors") for run in (whole, tmp_path))
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    figures = [strict_json(run / "metrics.json") for run in (whole, tmp_path)]
    assert figures[0]["test"] == figures[1]["test"]
    assert figures[0]["validation"] == figures[1]["validation"]


def test_resuming_may_change_how_answers_look_at_photos_yet_not_what_was_learned_from(
    unbroken, lay_out, tmp_path
):
    _, options = unbroken
    out = tmp_path / "run"
    options = [*options, "--epochs", "1", "--out", str(out)]
    train.main(options)
    learned = load_file(out / "model.safetensors")
    train.main([*options, "--view", "whole", "--resume"])
    assert read_config(out).view == "whole"
    again = load_file(out / "model.safetensors")
    assert all(torch.equal(again[name], tensor) for name, tensor in learned.items())
    with pytest.raises(LandmarkError, match=r"was trained with --erasing 0\.0\. Give that"):
        train.main([*options, "--erasing", "0.7", "--resume"])
    other = lay_out({f"{split}/{name}": 2 for split in ("train", "validation", "test")
                     for name in "abcd"})  # fmt: skip
    with pytest.raises(LandmarkError):
        train.main([*options, "--data", str(other), "--resume"])
    (out / CHECKPOINT_NAME).unlink()


# --- two processes ---


@pytest.fixture(scope="module")
def two_processes(python, photos, small_run, tmp_path_factory):
    """A run on two processes, taught by another; folders are spelled as a shell completes them."""
    out = tmp_path_factory.mktemp("two processes")
    # On CPUs `accelerate launch` starts one process whatever it is asked for; torch's own does not.
    done = python(
        "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2, "train.py", *SMALL,
        f"--data={photos}/", "--out", f"{out}/", "--epochs", 1, "--batch-size", 4, "--balance", 0.5,
        "--teacher", small_run.folder, "--feature-distillation", 1,
        env={**os.environ, "ACCELERATE_USE_CPU": "true"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return out, done


def test_two_processes_measure_each_photo_once(two_processes, photos):
    out, _ = two_processes
    figures = strict_json(out / "metrics.json")
    hardware = figures["training"]["hardware"]
    assert hardware.startswith("2 x CPU") and hardware.endswith(
        ("1 threads, float32 precision", "1 threads, bf16 precision")
    )
    for split in ("test", "validation"):
        expected = remeasure(out, photos / split)
        assert expected["photo_count"] == 9
        found = {key: figures[split][key] for key in expected}
        assert found == {**expected, "top1": pytest.approx(expected["top1"])}


def test_two_processes_speak_with_one_voice(two_processes):
    _, done = two_processes
    assert done.stdout.count("Data report") == 1
    assert done.stdout.count("Written to") == 1
    assert "3 classes: 24 train, 9 validation, 9 test photos" in done.stdout


@pytest.mark.parametrize("name", ["metrics.json", "README.md", "data_report.json"])
def test_written_files_do_not_tell_where_things_lie(two_processes, photos, name):
    out, _ = two_processes
    text = (out / name).read_text(encoding="utf-8")
    for folder in (photos.parent, out.parent, Path.home(), ROOT):
        assert f"{folder}/" not in text


# --- options ---


def refusal(arguments: list[str], capsys) -> str:
    """What is said, in words and without a traceback, to options that cannot work."""
    with pytest.raises((SystemExit, LandmarkError)) as caught:
        train.main(arguments)
    if isinstance(caught.value, LandmarkError):
        return str(caught.value)
    assert caught.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_blend_needs_first_weights(capsys):
    with pytest.raises(SystemExit):
        train.parse(["--data", "photos", "--out", "run", "--blend"])
    assert "--blend needs --init FILE" in capsys.readouterr().err


def test_blend_needs_first_weights_that_the_run_does_not_replace(tmp_path, capsys):
    with pytest.raises(SystemExit):
        train.parse(["--data", "photos", "--out", str(tmp_path), "--blend",
                     "--init", str(tmp_path / "model.safetensors")])  # fmt: skip
    assert "--blend needs --init outside --out" in capsys.readouterr().err


def test_blend_needs_first_weights_of_every_layer(tmp_path, small_run):
    config = read_config(small_run.folder)
    tensors = load_file(small_run.folder / "model.safetensors")
    save_file(
        {k: v for k, v in tensors.items() if not k.startswith("fc.")}, tmp_path / "some.safetensors"
    )
    options = train.parse([*SMALL, "--data", "photos", "--out", "run", "--blend",
                           "--init", str(tmp_path / "some.safetensors")])  # fmt: skip
    with pytest.raises(LandmarkError, match=r"every layer.*starting fresh: .*Leave out --blend"):
        train.initialise(networks.build(config), options)


def test_exposure_needs_photos_of_nothing(capsys):
    with pytest.raises(SystemExit):
        train.parse(["--data", "photos", "--out", "run", "--expose"])
    assert "--expose needs --unknown FOLDER" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("--batch-size", ["0", "1", "-4", "many"]),
        ("--epochs", ["0", "-1", "1.5"]),
        ("--lr", ["0", "-1", "1", "nan"]),
        ("--image-size", ["0", "31"]),
        ("--network", ["vgg16"]),
        ("--precision", ["int8"]),
        ("--share", ["0", "-0.1", "1", "nan"]),
        ("--workers", ["-1"]),
        ("--seed", ["-1", "99999999999"]),
        ("--warmup", ["-1", "2", "nan"]),
        ("--ema-decay", ["-0.1", "1", "1.5"]),
        ("--label-smoothing", ["-0.1", "2"]),
        ("--mixup", ["-1", "nan"]),
        ("--cutmix", ["-1"]),
        ("--weight-decay", ["-1"]),
        ("--muon", ["-1", "nan"]),
        ("--layer-decay", ["-1", "0"]),
        ("--train-size", ["-32", "1"]),
        ("--first-size", ["-32", "16"]),
        ("--min-area", ["0", "1.5", "nan"]),
        ("--low-resolution", ["-0.1", "2"]),
        ("--grey", ["-0.1", "1.1"]),
        ("--zoom-out", ["-0.1", "1.1"]),
        ("--erasing", ["-1"]),
        ("--policy", ["magic"]),
        ("--views", ["0"]),
        ("--distillation", ["-0.1", "1.1"]),
        ("--distillation-temperature", ["0"]),
        ("--feature-distillation", ["-1", "nan", "1"]),  # the last for want of a teacher
        ("--outlier-share", ["0", "2"]),
        ("--frozen-layers", ["-1"]),
        ("--frozen-epochs", ["-1"]),
        ("--known-method", ["magic"]),
        ("--model-args", ["{"]),
    ],
)
def test_value_that_makes_no_sense_is_refused_by_the_name_of_its_option(option, values, capsys):
    for value in values:
        with pytest.raises(SystemExit) as caught:
            train.parse(["--data", "photos", "--out", "run", option, value])
        assert caught.value.code == 2
        assert option in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("arguments", [[], ["--out", "x"], ["--data", "x"]])
def test_data_and_out_are_needed(arguments, capsys):
    assert "--data and --out" in refusal(arguments, capsys)


def test_folder_without_photos_is_refused(tmp_path, capsys):
    assert "no photos" in refusal([*SMALL, "--data", str(tmp_path), "--out", "x"], capsys)


def test_more_photos_than_answers_can_compare_with_are_refused_before_training(
    photos, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(neighbours, "MOST_NUMBERS", 24 * 320 - 1)
    run = [*SMALL, "--data", str(photos), "--out", str(tmp_path / "run"), "--epochs", "1"]
    assert "24 training photos of 3 classes are too many" in refusal(run, capsys)
    assert not (tmp_path / "run").exists()


def test_class_whose_name_cannot_be_shown_is_refused_and_spelt_out(lay_out, tmp_path, capsys):
    root = lay_out({f"{split}/{name}": 2 for split in ("train", "validation", "test")
                    for name in ("Petra", "a\u202eb")})  # fmt: skip
    said = refusal([*SMALL, "--data", str(root), "--out", str(tmp_path / "run")], capsys)
    assert r"'a\u202eb' has the character U+202E" in said and "Rename the folder" in said


def test_file_in_place_of_the_run_folder_is_refused(photos, tmp_path, capsys):
    path = tmp_path / "taken"
    path.write_text("a file")
    said = refusal([*SMALL, "--data", str(photos), "--out", str(path), "--epochs", "1"], capsys)
    assert "taken" in said


@pytest.mark.parametrize("init", ["resnet18", "text", "missing", "folder"])
def test_first_weights_that_do_not_fit_are_refused(init, trained, photos, tmp_path, capsys):
    path = tmp_path / f"{init}.safetensors"
    if init == "resnet18":
        path = trained("resnet18").folder / "model.safetensors"
    elif init == "text":
        path.write_text("weights")
    elif init == "folder":
        path.mkdir()
    words = {"resnet18": "is not in the network", "text": "not a whole safetensors file"}
    options = [*SMALL, "--data", str(photos), "--out", str(tmp_path / "run"), "--init", str(path)]
    said = refusal(options, capsys)
    assert path.name in said
    assert words.get(init, "") in said


def test_own_weights_are_a_start(small_run, photos):
    start = small_run.folder / "model.safetensors"
    config = ModelConfig("landmark_cnn", ("a", "b"), ("A", "B"))
    network = train.networks.build(config)
    options = ["--data", str(photos), "--out", "x", "--init", str(start)]
    found = train.initialise(network, train.parse([*SMALL, *options]))
    assert set(found.fresh) == {"fc.weight", "fc.bias"}
    expected = load_file(start)["stem.0.weight"].float()
    assert torch.equal(network.state_dict()["stem.0.weight"], expected)


def test_a_start_is_called_by_its_run_without_the_folders_of_the_machine(small_run, monkeypatch):
    monkeypatch.chdir(small_run.folder.parent)
    run = small_run.folder.name
    config = read_config(small_run.folder)

    def told(path: str | Path) -> str:
        options = train.parse([*SMALL, "--data", "photos", "--out", "x", "--init", str(path)])
        return str(train.initialise(networks.build(config), options))

    assert told(f"{run}/model.safetensors") == f"every layer from {run}/model.safetensors"
    assert told(small_run.folder / "model.safetensors") == "every layer from model.safetensors"
    assert told(f"../{small_run.folder.parent.name}/{run}/model.safetensors").count("/") == 0


def test_mistake_costs_one_line_and_exit_status_1(python):
    done = python("train.py", "--data", "no such folder", "--out", "x")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "train.py: no such folder is not a folder. Give --data a folder of photos."
    ]
    assert done.stdout == ""


def test_help_names_every_setting(capsys):
    with pytest.raises(SystemExit) as caught:
        train.parse(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for name in Recipe.__dataclass_fields__:
        assert re.search(rf"--{name.replace('_', '-')}\b.*?default: \S", text, re.DOTALL), name
    for name in ("--data", "--out", "--init", "--resume", "--smoke", "--network", "--precision"):
        assert name in text


@pytest.mark.parametrize("network", ["resnet18", "landmark_cnn"])
def test_defaults_are_those_of_the_network(network):
    options = train.parse(["--data", "x", "--out", "y", "--network", network])
    recipe = train.training.RECIPES[network]
    assert {name: getattr(options, name) for name in train.RECIPE} == vars(recipe)
    assert options.train_size % 32 == 0
    assert 0.7 * options.image_size <= options.train_size < options.image_size


@pytest.mark.parametrize(
    ("words", "plain"),
    [
        ("--network landmark_cnn --epochs 10", True),
        ("--network landmark_cnn --epochs 10 --init none", True),
        ("--network landmark_cnn", False),
        ("--network landmark_cnn --epochs 60", False),
        ("--network landmark_cnn --epochs 10 --init model.safetensors", False),
        ("--network resnet18 --epochs 10", False),
    ],
)
def test_few_epochs_from_scratch_are_spent_on_plain_photos(words, plain):
    options = train.parse(["--data", "x", "--out", "y", *words.split()])
    assert (options.mixup == options.cutmix == options.erasing == 0) == plain
    assert (options.policy == "none") == plain
    assert train.parse(["--data", "x", "--out", "y", *words.split(), "--mixup", "0.3"]).mixup == 0.3


def test_options_win_over_the_networks_defaults():
    options = train.parse(["--data", "x", "--out", "y", "--mixup", "0", "--seed", "7"])
    assert (options.mixup, options.seed) == (0, 7)


# --- names ---


@pytest.mark.parametrize(
    ("folders", "labels"),
    [
        (("00.Eiffel_Tower", "my_home"), ("Eiffel Tower", "My Home")),
        (("00.Eiffel_Tower", "Eiffel Tower"), ("00.Eiffel_Tower", "Eiffel Tower")),
    ],
)
def test_labels_are_what_people_read_and_differ(folders, labels):
    options = train.parse(["--data", "x", "--out", "y"])
    config = train.make_config(options, SimpleNamespace(class_names=folders))
    assert config.class_names == folders
    assert config.labels == labels


@pytest.mark.parametrize("name", [".", "photos/", "photos/../photos"])
def test_data_has_a_name_however_it_is_spelled(name, lay_out, monkeypatch):
    root = lay_out({f"{split}/{c}": 1 for split in ("train", "validation", "test") for c in "ab"})
    monkeypatch.chdir(root if name == "." else root.parent)
    options = train.parse(["--data", name, "--out", "y"])
    splits, skipped = train.data.load_splits(options.data, seed=0)
    report = train.data.make_report(splits, skipped, options.data)
    assert train.describe_data(report, options)["name"] == "photos"


@pytest.mark.parametrize("label", ["Cash $_$ Inc", "$\\frac$", "50% & <b>", "_hidden", "\\alpha"])
def test_pictures_take_any_label(label, tmp_path):
    config = ModelConfig("landmark_cnn", ("a", "b"), (label, "B"))
    images = torch.zeros(2, 3, 8, 8)
    pictures.contact_sheet(images, [0, 1], config, tmp_path / "sheet.png")
    scores = train.training.measure(torch.eye(2), torch.tensor([0, 1]), config.class_names)
    pictures.confusion_matrix(scores, config.labels, tmp_path / "confusion.png")
    counts = {label: {"train": 3, "validation": 1, "test": 1}}
    pictures.class_histogram(SimpleNamespace(counts=counts), tmp_path / "histogram.png")
    for path in tmp_path.iterdir():
        with Image.open(path) as picture:
            assert min(picture.size) > 50


def test_smoke_run_leaves_no_photos_behind(monkeypatch, tmp_path):
    """The made-up photos of a run lie where temporary files do, and go when it ends."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    train.main(["--smoke", "--network", "landmark_cnn", "--out", str(tmp_path / "run")])
    shutil.rmtree(tmp_path / "run")
    assert os.listdir(tmp_path) == []
