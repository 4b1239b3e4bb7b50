"""The programs that measure: their tables hold what was measured, and finished rows are kept."""

import json
from dataclasses import replace

import pytest
import torch
from PIL import Image

from benchmarks import ablation, results, unknown
from landmark_model.config import LandmarkError
from landmark_model.training.recipes import FEW_EPOCHS, RECIPES


@pytest.fixture
def unknown_photos(tmp_path):
    """Photos of noise in validation/ and test/."""
    root = tmp_path / "others"
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


def test_every_score_of_a_network_is_in_the_table(small_run, photos, unknown_photos, tmp_path):
    unknown.main(["--known", str(photos), "--unknown", str(unknown_photos), "--out", str(tmp_path),
                  "--model", str(small_run.folder)])  # fmt: skip
    text = (tmp_path / "unknown.md").read_text()
    for method in ("max_softmax", "max_logit", "energy", "knn, k = 1", "knn, k = 20"):
        assert f"{method}" in text
    assert text.count("**") == 2  # the best one
    assert str(tmp_path) not in text


def test_each_ingredient_of_a_recipe_is_left_out_once(
    photos, small_run, unknown_photos, tmp_path, monkeypatch
):
    quick = replace(FEW_EPOCHS, image_size=32, train_size=32, batch_size=8, muon=0.0)
    monkeypatch.setitem(RECIPES, "landmark_cnn", quick)
    kept = {
        "the recipe",
        "no teacher",
        "no outlier exposure",
        "the centre of a photo, not the whole",
    }
    monkeypatch.setattr(ablation, "ROWS", [row for row in ablation.ROWS if row.name in kept])
    (unknown_photos / "validation").rename(unknown_photos / "train")
    (unknown_photos / "test").rename(unknown_photos / "validation")
    arguments = ["--data", str(photos), "--network", "landmark_cnn", "--teacher",
                 str(small_run.folder), "--unknown", str(unknown_photos), "--epochs", "1",
                 "--workers", "0", "--out", str(tmp_path), "--runs",
                 str(tmp_path / "runs")]  # fmt: skip
    ablation.main(arguments)
    done = json.loads((tmp_path / "ablation.json").read_text())
    assert len(done) == 4 and all(0 <= row["auroc"] <= 1 for row in done.values())
    assert {row["photos"] for row in done.values()} == {9}  # validation
    assert len({row["loss"] for row in done.values()}) == 4
    text = (tmp_path / "ablation.md").read_text()
    base, untaught = (next(row for key, row in done.items() if f", {name}," in key)
                      for name in ("the recipe", "no teacher"))  # fmt: skip
    points = 100 * (untaught["top1"] - base["top1"])
    assert f"| no teacher | {untaught['top1']:.1%} | {points:+.1f} | " in text
    assert str(tmp_path) not in text
    monkeypatch.setattr(ablation, "measure_row", None)
    ablation.main(arguments)
    assert (tmp_path / "ablation.md").read_text() == text


def test_rows_that_would_change_nothing_are_left_out():
    names = [row.name for row in ablation.rows_for(RECIPES["resnet18"], False, False)]
    assert names[0] == "the recipe" and "AdamW, not Muon" in names
    assert not {"no teacher", "no outlier exposure", "no weight interpolation"} & {*names}
    of_lite2 = ablation.rows_for(RECIPES["tf_efficientnet_lite2"], True, True)
    assert len(of_lite2) == len(ablation.ROWS) == 10


def test_network_that_learned_from_the_photos_it_is_asked_about_is_refused(small_run, tmp_path):
    metrics = json.loads((small_run.folder / "metrics.json").read_text())
    metrics["training"]["commands"] = ["python train.py --unknown others --expose"]
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(LandmarkError, match=r"of version 0\.1"):
        unknown.require_unseen(tmp_path)
