"""The programs that measure: their tables hold what was measured, and finished rows are kept."""

import json
from argparse import Namespace

import pytest
import torch
from PIL import Image

import train
from benchmarks import results, training, unknown
from landmark_model.card import read_reports
from landmark_model.config import VIEWS
from landmark_model.hub import SHIPPED


@pytest.fixture
def strangers(tmp_path):
    """Photos of noise in validation/ and test/."""
    root = tmp_path / "strangers"
    for split in ("validation", "test"):
        (root / split).mkdir(parents=True)
        for number in range(4):
            noise = Image.effect_noise((60, 50), 60 + 9 * number).convert("RGB")
            noise.save(root / split / f"{number}.png")
    return root


def test_results_of_runs_stand_side_by_side(small_run, tmp_path):
    results.main([str(small_run.folder), str(small_run.folder), "--out", str(tmp_path / "x.md")])
    text = (tmp_path / "x.md").read_text()
    metrics = json.loads((small_run.folder / "metrics.json").read_text())
    assert text.count(f"**{metrics['test']['top1']:.1%}**") == 2
    assert text.count(metrics["training"]["commands"][-1]) == 2


def test_folder_without_figures_is_refused(tmp_path):
    with pytest.raises(SystemExit, match=r"has no config\.json"):
        results.main([str(tmp_path), "--out", str(tmp_path / "x.md")])


def test_scores_are_compared_at_the_threshold_of_validation():
    known = {"validation": {"m": torch.arange(100.0)}, "test": {"m": torch.arange(100.0) - 10}}
    others = {split: {"m": torch.arange(100.0) - 200} for split in known}
    ((validation, test),) = unknown.compare(known, others)
    assert validation.auroc == test.auroc == 1.0
    assert validation.kept == 0.96 and test.kept == 0.86 and test.refused == 1.0


def test_every_score_of_a_network_is_in_the_table(small_run, photos, strangers, tmp_path):
    unknown.main(["--known", str(photos), "--unknown", str(strangers), "--out", str(tmp_path),
                  "--model", str(small_run.folder)])  # fmt: skip
    text = (tmp_path / "unknown.md").read_text()
    for method in ("max_softmax", "max_logit", "energy", "knn, k = 1", "knn, k = 20"):
        assert f"{method}" in text
    assert text.count("**") == 2  # the best one
    assert str(tmp_path) not in text


def test_rows_of_the_recipe_are_trained_once(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "TRANSFER", (training.TRANSFER[0],))
    gate = next(row for row in training.SCRATCH if row.name == "without channel attention")
    monkeypatch.setattr(training, "SCRATCH", (training.SCRATCH[0], gate))
    monkeypatch.setattr(training, "BACKBONES", ("resnet18",))
    monkeypatch.setattr(training, "EPOCHS", {"transfer": 1, "start": 1, "scratch": 1})
    calls = []
    monkeypatch.setattr(training, "fit_row", lambda arguments: calls.append(arguments) or dict(ROW))
    arguments = ["--data", str(photos), "--data10", str(photos), "--init", "x.safetensors",
                 "--lite2", "y.safetensors", "--quick", "quick",
                 "--out", str(tmp_path)]  # fmt: skip
    training.main(arguments)
    training.main(arguments)
    assert len(calls) == 6
    first, *others = (train.parse(call) for call in calls[1:4])
    assert first.init == "y.safetensors" and not first.blend
    assert [run.init for run in others] == ["quick/model.safetensors"] * 2 and others[1].blend
    text = (tmp_path / "training.md").read_text()
    assert "| without channel attention | 50.0% | +0.0 | 1.000 | +0.000 | 7 |" in text
    assert "| the first row, with test-time flip | 75.0% | +25.0 | 0.500 | -0.500 | 7 |" in text
    assert str(tmp_path) not in text
    lite2 = next(line for line in text.splitlines() if line.startswith("| EfficientNet-Lite2 ("))
    shipped = SHIPPED / "tf_efficientnet_lite2" / "metrics.json"
    validation = json.loads(shipped.read_text(encoding="utf-8"))["validation"]
    assert f"{validation['top1']:.1%}" in lite2 and f"{validation['loss']:.3f}" in lite2


def test_views_of_photos_are_compared_once(small_run, photos, monkeypatch):
    (report,) = read_reports(small_run.folder)
    monkeypatch.setattr(training, "read_reports", lambda folder: [report])
    done = {}
    training.compare_views(Namespace(data=photos), done)
    found = {view: done[training.view_label(report, view)] for view in VIEWS}
    assert len(done) == len(VIEWS)
    measured = report.metrics["last_layer"]["validation"]
    assert found[report.config.view]["top1"] == pytest.approx(measured["top1"])
    assert found[report.config.view]["loss"] == pytest.approx(measured["loss"], abs=2e-3)
    assert len({values["loss"] for values in found.values()}) == len(VIEWS)
    assert f"| {found['whole']['loss']:.3f} |" in training.view_row(report, done)
    monkeypatch.setattr(training, "compute_outputs", None)
    training.compare_views(Namespace(data=photos), done)


ROW = {
    "seconds": 7,
    "parameters": 10,
    "photos": {"train": 24, "validation": 9, "test": 9},
    "plain": {"top1": 0.5, "loss": 1.0},
    "flip": {"top1": 0.75, "loss": 0.5},
}


def test_a_row_is_a_real_training(photos, tmp_path):
    found = training.fit_row(
        ["--data", str(photos), "--network", "landmark_cnn", "--epochs", "1", "--image-size", "32",
         "--train-size", "32", "--batch-size", "8", "--workers", "0", "--out", str(tmp_path)]
    )  # fmt: skip
    assert found["parameters"] > 1e6
    assert found["photos"] == {"train": 24, "validation": 9, "test": 9}
    assert 0 <= found["plain"]["top1"] <= 1 and found["flip"]["loss"] > 0
