"""The program: photos in, everything needed out, whatever happens on the way."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from safetensors import safe_open
from safetensors.torch import load_file

from landmark_model import load, networks
from landmark_model.background import BACKGROUND_NAME, read_background
from landmark_model.config import LandmarkError, ModelConfig, read_config
from landmark_model.photos import open_photo
from landmark_model.training import data, plots
from landmark_model.training.checkpoint import CHECKPOINT_NAME
from landmark_model.training.metrics import measure
from landmark_model.training.options import TrainOptions
from landmark_model.training.pipeline import (
    find_photos,
    initialise,
    main,
    make_config,
    require_room,
    train,
)
from landmark_model.training.recipes import FEW_EPOCHS, RECIPES
from landmark_model.training.smoke import make_photo

ROOT = Path(__file__).parents[1]
SMALL = ["--network", "landmark_cnn", "--image-size", "32", "--batch-size", "8", "--workers", "0",
         "--precision", "no"]  # fmt: skip
LITTLE = replace(FEW_EPOCHS, image_size=32, train_size=32, batch_size=8, muon=0.0)
WRITTEN = {
    "config.json", "model.safetensors", "model.torchscript.pt", "metrics.json", "README.md",
    "training_curve.png", "confusion_matrix.png", "class_histogram.png", "contact_sheet.png",
    "data_report.json", "reliability.png", "features.safetensors", "model.onnx",
    "SHA256SUMS", CHECKPOINT_NAME, BACKGROUND_NAME,
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


def test_background_is_of_validation_photos(small_run):
    assert len(read_background(small_run.folder, 320).features) == 9


def test_run_writes_every_file_for_everyone_to_read_and_nothing_else(smoke_run):
    modes = {path.name: path.stat().st_mode for path in smoke_run.folder.iterdir()}
    assert modes.keys() == WRITTEN and len(set(modes.values())) == 1
    for path in smoke_run.folder.glob("*.png"):
        assert len(open_photo(path).getcolors(2**24)) > 2, path.name
    report = strict_json(smoke_run.folder / "data_report.json")
    assert sum(count["train"] for count in report["counts"].values()) == 24
    assert report["skipped"] == report["leaks"] == []
    config = strict_json(smoke_run.folder / "config.json")
    assert config["label_names"] == ["Eiffel Tower", "Golden Gate Bridge", "Stonehenge"]


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
    (command,) = facts["commands"]
    assert command.startswith(f"python train.py --data shapes --out {smoke_run.network} ")
    assert command.endswith(" --workers 0  # recipe=replace(recipe, muon=0.0)")
    assert facts["recipe"]["muon"] == 0 and facts["recipe"]["seed"] == 0
    assert facts["command_seconds"] == [facts["fit_seconds"]]


# --- teachers, photos of nothing ---


@pytest.fixture
def unknown_photos(tmp_path):
    """A folder of photos that show none of the classes, one of them broken."""
    for split, number in (("validation", 6), ("test", 4)):
        (tmp_path / "other" / split).mkdir(parents=True)
        for index in range(number):
            noise = Image.effect_noise((90, 70), 80 + index).convert("RGB")
            path = tmp_path / "other" / split / f"{index}.png"
            noise.filter(ImageFilter.GaussianBlur(index)).save(path)
    (tmp_path / "other" / "validation" / "broken.jpg").write_bytes(b"no photo")
    return tmp_path / "other"


def test_photos_of_no_class_in_train_are_learned_from_and_the_others_measured(
    unknown_photos, photos
):
    splits, _ = data.load_splits(photos, 0)
    config = make_config("landmark_cnn", splits.class_names, LITTLE)
    (unknown_photos / "train").mkdir()
    Image.new("RGB", (60, 60)).save(unknown_photos / "train" / "black.png")
    tables, _ = data.load_unknown(unknown_photos, splits)
    found = find_photos(splits, tables, config, LITTLE).unknown
    counts = {split: len(some) for split, some in found.items()}
    assert counts == {"train": 1, "validation": 6, "test": 4}
    seen, label = found["test"][0]
    varied, _ = found["train"][0]
    assert seen.ndim == 3 and label == -1 and varied.shape == (3, 32, 32)


def test_more_photos_than_load_takes_are_refused_before_they_are_learned():
    require_room(312_500, 320)
    with pytest.raises(LandmarkError, match=r"312,501 training photos.*room for 312,500.*fewer"):
        require_room(312_501, 320)


def test_run_with_a_teacher_and_photos_of_no_class_measures_doubt(
    unknown_photos, photos, small_run, tmp_path, capsys
):
    shutil.copytree(unknown_photos / "test", unknown_photos / "train")
    options = TrainOptions(
        photos, tmp_path / "run", "landmark_cnn", teacher=small_run.folder, unknown=unknown_photos,
        epochs=1, workers=0,
    )  # fmt: skip
    found = train(options, LITTLE).unknown
    assert "  validation/broken.jpg: broken.jpg is not a photo" in capsys.readouterr().out
    facts = strict_json(tmp_path / "run" / "metrics.json")["training"]
    taught_by = strict_json(small_run.folder / "metrics.json")["training"]
    assert facts["commands"][:-1] == taught_by["commands"]
    assert facts["fit_seconds"] == sum(facts["command_seconds"]) >= taught_by["fit_seconds"]
    counts = {split: scores.unknown_count for split, scores in found.items()}
    assert counts == {"validation": 6, "test": 4}
    assert found["validation"].kept >= 0.95
    answer = load(tmp_path / "run", device="cpu").predict(make_photo(0, 1))
    assert answer.is_known == (answer.score >= load(tmp_path / "run").config.known_threshold)


def test_interpolated_run_tells_what_each_share_of_the_trained_weights_costs(
    photos, small_run, lay_out, tmp_path, capsys
):
    options = TrainOptions(photos, tmp_path, init=str(small_run.folder), epochs=1, workers=0)
    recipe = replace(LITTLE, interpolation=True)
    measured = train(options, recipe)
    losses = strict_json(tmp_path / "metrics.json")["training"]["blend"]
    assert set(losses) == {"0.0", "0.25", "0.5", "0.75", "1.0"}
    shown = ", ".join(f"{float(share):.0%}: {loss:.3f}" for share, loss in losses.items())
    assert f"Validation loss by share of the trained weights: {shown}" in capsys.readouterr().out
    loss = measured.scores["validation"].loss
    assert loss == pytest.approx(min(losses.values()), abs=2e-3)  # rounded to float16 since
    # A last layer for other classes starts fresh: there is nothing to go back to.
    root = lay_out({f"{split}/{c}": 2 for split in data.SPLITS for c in "ab"})
    train(replace(options, data=root, out=tmp_path / "run"), recipe)
    assert strict_json(tmp_path / "run" / "metrics.json")["training"]["blend"] == {}


# --- killed ---


@pytest.fixture(scope="module")
def unbroken(photos, tmp_path_factory):
    """The outcome of three small epochs in one go, and the options that lead there."""
    options = [*SMALL, "--data", str(photos), "--epochs", "3"]
    out = tmp_path_factory.mktemp("unbroken")
    main([*options, "--out", str(out)])
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
    while not (out / CHECKPOINT_NAME).exists():
        assert process.poll() is None
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
    assert 1 <= finished_epochs(tmp_path / CHECKPOINT_NAME) < 3
    load(tmp_path)
    main([*options, "--out", str(tmp_path), "--resume"])
    (tmp_path / CHECKPOINT_NAME).unlink()
    expected, found = (load_file(run / "model.safetensors") for run in (whole, tmp_path))
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    figures = [strict_json(run / "metrics.json") for run in (whole, tmp_path)]
    assert figures[0]["test"] == figures[1]["test"]
    assert figures[0]["validation"] == figures[1]["validation"]


def test_resuming_may_change_how_answers_look_at_photos_yet_not_what_was_learned_from(
    photos, lay_out, tmp_path
):
    options = TrainOptions(photos, tmp_path / "run", "landmark_cnn", epochs=1, workers=0)
    train(options, LITTLE)
    learned = load_file(options.out / "model.safetensors")
    again = replace(options, resume=True)
    train(again, replace(LITTLE, view="centre"))
    assert read_config(options.out).view == "centre"
    kept = load_file(options.out / "model.safetensors")
    assert all(torch.equal(kept[name], tensor) for name, tensor in learned.items())
    with pytest.raises(
        LandmarkError, match=r"was trained with erasing 0\.0\. Give the same options"
    ):
        train(replace(again, data=tmp_path), replace(LITTLE, erasing=0.7))  # before it reads photos
    other = lay_out({f"{split}/{name}": 2 for split in ("train", "validation", "test")
                     for name in "abcd"})  # fmt: skip
    with pytest.raises(LandmarkError, match="is of another network or other classes"):
        train(replace(again, data=other), LITTLE)


def test_resume_with_nothing_to_resume_starts_from_the_beginning_and_says_so(
    photos, tmp_path, capsys
):
    options = TrainOptions(photos, tmp_path / "run", "landmark_cnn", epochs=1, workers=0)
    train(replace(options, resume=True), LITTLE)
    assert (
        "run has no checkpoint.safetensors yet: starting from the begin" in capsys.readouterr().out
    )
    assert finished_epochs(tmp_path / "run" / CHECKPOINT_NAME) == 1


# --- two processes ---


@pytest.fixture(scope="module")
def two_processes(python, photos, small_run, tmp_path_factory):
    """A run on two processes, taught by another; folders are spelled as a shell completes them."""
    out = tmp_path_factory.mktemp("two processes")
    # On CPUs `accelerate launch` starts one process whatever it is asked for; torch's own does not.
    done = python(
        "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2, "train.py", *SMALL,
        f"--data={photos}/", "--out", f"{out}/", "--epochs", 3, "--batch-size", 4,
        "--teacher", small_run.folder,
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


def test_two_processes_speak_with_one_voice_and_learn_what_one_learns(
    two_processes, photos, small_run, tmp_path
):
    out, done = two_processes
    assert done.stdout.count("Data report") == 1
    assert done.stdout.count("Written to") == 1
    assert "3 classes: 24 train, 9 validation, 9 test photos" in done.stdout
    main([*SMALL, "--data", str(photos), "--out", str(tmp_path), "--epochs", "3", "--teacher",
          str(small_run.folder)])  # fmt: skip
    two, one = (strict_json(folder / "metrics.json") for folder in (out, tmp_path))
    for figure in ("train_loss", "validation_loss"):
        curves = [[e[figure] for e in run["training"]["epochs"]] for run in (one, two)]
        assert curves[0] == pytest.approx(curves[1], abs=0.15), figure
    assert two["test"]["loss"] == pytest.approx(one["test"]["loss"], abs=0.3)


@pytest.mark.parametrize("name", ["metrics.json", "README.md", "data_report.json"])
def test_written_files_do_not_tell_where_things_lie(two_processes, photos, name):
    out, _ = two_processes
    text = (out / name).read_text(encoding="utf-8")
    for folder in (photos.parent, out.parent, Path.home(), ROOT):
        assert f"{folder}/" not in text


# --- what cannot be used ---


def refusal(arguments: list[str]) -> str:
    """What is said to options that cannot work."""
    with pytest.raises(LandmarkError) as caught:
        main(arguments)
    return str(caught.value)


@pytest.mark.parametrize("init", ["resnet18", "text", "missing", "folder"])
def test_first_weights_that_do_not_fit_are_refused(init, trained, photos, tmp_path):
    path = tmp_path / f"{init}.safetensors"
    if init == "resnet18":
        path = trained("resnet18").folder / "model.safetensors"
    elif init == "text":
        path.write_text("weights")
    elif init == "folder":
        path.mkdir()
    words = {"resnet18": "is not in the network", "text": "not a whole safetensors file"}
    options = [*SMALL, "--data", str(photos), "--out", str(tmp_path / "run"), "--init", str(path)]
    said = refusal(options)
    assert path.name in said
    assert words.get(init, "") in said


def test_a_start_is_called_by_its_run_without_the_folders_of_the_machine(small_run, monkeypatch):
    monkeypatch.chdir(small_run.folder.parent)
    run, network = small_run.folder.name, networks.build(read_config(small_run.folder))

    def told(path: str | Path) -> str:
        return str(initialise(network, "landmark_cnn", Path(path), from_scratch=False))

    assert told(f"{run}/model.safetensors") == f"every layer from {run}/model.safetensors"
    assert told(small_run.folder / "model.safetensors") == "every layer from model.safetensors"
    assert told(f"../{small_run.folder.parent.name}/{run}/model.safetensors").count("/") == 0


def test_mistake_costs_one_line_and_exit_status_1(python):
    done = python("train.py", "--data", "no such folder", "--out", "x")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "landmark: no such folder is not a folder. Give --data a folder of photos."
    ]
    assert done.stdout == ""


# --- names ---


@pytest.mark.parametrize(
    ("folders", "labels"),
    [
        (("00.Eiffel_Tower", "my_home"), ("Eiffel Tower", "My Home")),
        (("00.Eiffel_Tower", "Eiffel Tower"), ("00.Eiffel_Tower", "Eiffel Tower")),
    ],
)
def test_labels_are_what_people_read_and_differ(folders, labels):
    config = make_config("resnet18", folders, RECIPES["resnet18"])
    assert config.class_names == folders
    assert config.labels == labels


@pytest.mark.parametrize("label", ["Cash $_$ Inc", "$\\frac$", "50% & <b>"])
def test_pictures_take_any_label(label, tmp_path):
    config = ModelConfig("landmark_cnn", ("a", "b"), (label, "B"))
    images = torch.zeros(2, 3, 8, 8)
    plots.contact_sheet(images, [0, 1], config, tmp_path / "sheet.png")
    scores = measure(np.eye(2), np.array([0, 1]), config.class_names)
    plots.confusion_matrix(scores, config.labels, tmp_path / "confusion.png")
    counts = {label: {"train": 3, "validation": 1, "test": 1}}
    plots.class_histogram(SimpleNamespace(counts=counts), tmp_path / "histogram.png")
    for path in tmp_path.iterdir():
        with Image.open(path) as picture:
            assert min(picture.size) > 50


def test_smoke_run_leaves_no_photos_behind(monkeypatch, tmp_path, without_muon):
    """The made-up photos of a run lie where temporary files do, and go when it ends."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    main(["--smoke", "--network", "landmark_cnn", "--out", str(tmp_path / "run")])
    shutil.rmtree(tmp_path / "run")
    assert os.listdir(tmp_path) == []
