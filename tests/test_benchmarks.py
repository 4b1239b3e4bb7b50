"""The programs that measure: their tables hold what was measured, and finished rows are kept."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from benchmarks import (
    ablation,
    decode,
    growth,
    library,
    localisation,
    results,
    slices,
    speed,
    teach,
    trips,
    unknown,
)
from landmark_model import Answer, Prediction, distance_km, find_place, load
from landmark_model.background import Background
from landmark_model.config import LandmarkError, read_config
from landmark_model.files import write_between
from landmark_model.preprocess import DETAIL
from landmark_model.teaching import Look
from landmark_model.training.recipes import FEW_EPOCHS, RECIPES

EXAMPLES = Path(__file__).parents[1] / "examples"


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
    with pytest.raises(LandmarkError, match=r"has no config\.json"):
        results.main([str(tmp_path), "--out", str(tmp_path / "x.md")])


@pytest.fixture
def table_of_photos(photos, unknown_photos, tmp_path):
    """A CSV of the photos of both folders; those of the first class are the course's."""
    lines = ["set,split,class,file,course"]
    first = min(path.name for path in (photos / "train").iterdir())
    for path in sorted(photos.glob("*/*/*.*")):
        split, name = path.parts[-3:-1]
        lines.append(f"world100,{split},{name},{path},{int(name == first)}")
    for number, path in enumerate(sorted(unknown_photos.glob("*/*.png"))):
        lines.append(f"unknown,{path.parts[-2]},kind_{number % 2},{path},0")
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "table.csv"


def test_slices_of_the_photos_add_up_to_all(small_run, table_of_photos, tmp_path):
    command = ["--table", str(table_of_photos), "--model", str(small_run.folder)]
    slices.main([*command, "--out", str(tmp_path)])
    rows = [row.split(" | ") for row in (tmp_path / "slices.md").read_text().splitlines()]
    counts = {row[0]: int(row[1]) for row in rows if len(row) > 4 and row[1].isdigit()}
    metrics = json.loads((small_run.folder / "metrics.json").read_text())["test"]
    assert counts["| small: below 256 px"] + counts["| the course's own, often cropped"] == 9
    assert counts["| the 1 landmarks of the course"] + counts["| the others"] == 9
    assert counts["| kind 0"] == counts["| kind 1"] == 2
    assert f"| {metrics['top1']:.1%} (" in (tmp_path / "slices.md").read_text()


def test_table_with_a_missing_file_is_refused(tmp_path):
    (tmp_path / "t.csv").write_text("set,split,class,file,course\nworld100,test,a,gone.jpg,0\n")
    with pytest.raises(LandmarkError, match=r"1 files of t\.csv are missing: .*gone\.jpg"):
        slices.main(["--table", str(tmp_path / "t.csv"), "--out", str(tmp_path)])


def test_scores_are_compared_at_the_threshold_of_validation():
    known = {"validation": {"m": np.arange(100.0)}, "test": {"m": np.arange(100.0) - 10}}
    others = {split: {"m": np.arange(100.0) - 200} for split in known}
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
    kept = {"the recipe", "no teacher", "no outlier exposure"}
    monkeypatch.setattr(ablation, "ROWS", [row for row in ablation.ROWS if row.name in kept])
    (unknown_photos / "validation").rename(unknown_photos / "train")
    (unknown_photos / "test").rename(unknown_photos / "validation")
    arguments = ["--data", str(photos), "--network", "landmark_cnn", "--teacher",
                 str(small_run.folder), "--unknown", str(unknown_photos), "--epochs", "1",
                 "--workers", "0", "--out", str(tmp_path), "--runs",
                 str(tmp_path / "runs")]  # fmt: skip
    ablation.main(arguments)
    done = json.loads((tmp_path / "ablation.json").read_text())
    assert len(done) == 3 and all(0 <= row["auroc"] <= 1 for row in done.values())
    assert {row["photos"] for row in done.values()} == {9}  # validation
    assert len({row["loss"] for row in done.values()}) == 3
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
    assert len(of_lite2) == len(ablation.ROWS) - 1 == 8  # it learns by AdamW


def test_mistake_costs_one_line_and_exit_status_1(python):
    done = python("-m", "benchmarks.robustness", "--photos", "no such folder", "--limit", "0")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "robustness.py: --limit is 0; it must be 1 or more."


def test_box_is_measured_by_what_it_shares_with_the_pasted_photo(small_run, photos, tmp_path):
    files = localisation.find_photos([photos / "test"], 12, seed=0)
    assert len(files) == 12 and len(set(files)) == 9  # each once before any comes again
    (case,) = [localisation.paste(files[0], "sky", np.random.default_rng(0))]
    left, top, right, bottom = case.pasted
    assert case.canvas.size == (240, 180) and (right - left, bottom - top) == (120, 90)

    class Sees(SimpleNamespace):
        def explain(self, canvas: object, name: str = "") -> SimpleNamespace:
            return SimpleNamespace(box=self.box, class_name=name or "another")

    found = localisation.score(Sees(box=(left, top, left + 60, bottom)), case)
    assert (found.inside, found.right_class, found.area_share, found.iou) == (True, False, 1, 0.5)
    missed = localisation.score(Sees(box=(120 - left, 90 - top, 130 - left, 100 - top)), case)
    assert (missed.inside, missed.inside_if_named, missed.iou) == (False, False, 0)
    page = localisation.make_page({"one": [found, replace(missed, background="noise")]}, seed=0)
    assert "| one | 2 | 50.0% | 0.0% | 100.0% | 50.0% | 0.0% | 50.0% | 0.25 |" in page


def test_photos_decoded_at_reduced_detail_are_answered_as_from_all_pixels(monkeypatch):
    monkeypatch.setattr(decode, "PIXELS", 3_000_000)
    examples = Path(__file__).parents[1] / "examples"
    files = [examples / f"{name}.jpg" for name in ("colosseum", "petra", "eiffel-tower")]
    pairs = [pair for some in decode.compare(files, [DETAIL]).values() for pair in some]
    assert len(pairs) == 3 * len(decode.list_networks())
    for copy, full in pairs:
        assert copy[0].class_name == full[0].class_name
        assert decode.difference(copy, full) < 5


def test_step_that_grows_faster_than_linear_is_named():
    square, flat = ({size: seconds(size) for size in (1, 4, 12)}
                    for seconds in (lambda size: size**2, lambda size: 3.0))  # fmt: skip
    assert growth.slope(square) == pytest.approx(2) and abs(growth.slope(flat)) < 1e-9
    pixels = {"JPEG: open": flat, "JPEG: network": flat}
    page = growth.make_page({"search of the memory": square}, pixels, {"resnet18": flat})
    assert "**Faster than linear: search of the memory (2.00).**" in page
    assert "14% at 1, 73% at 4, 96% at 12" in page
    page = growth.make_page({"search of the memory": flat}, pixels, {"resnet18": flat})
    assert "Nothing grows faster than linear" in page


def test_curves_of_training_begin_after_the_probe_and_take_the_time_of_all_epochs(tmp_path):
    ours = {curve.what: curve for curve in speed.curves_of_ours()}
    lite2, resnet18 = ours["tf_efficientnet_lite2"], ours["resnet18"]
    first, whole = lite2.seconds[0], lite2.seconds[-1]
    assert 0 < lite2.before < first < whole and resnet18.before == 0
    one = {"curve": [0.1, 0.3], "seconds": 120, "hardware": "CPU"}
    path = tmp_path / "versus_original.json"
    kept, others = "scratch, original, seed 0: world100, 2", "scratch, ours, seed 0: world100, 2"
    path.write_text(json.dumps({kept: one, others: one, kept.replace("100", "10"): one}))
    (course,) = speed.curves_of_original(path)
    assert (course.seconds, course.top1) == ([60, 120], [0.1, 0.3])
    row = "| course recipe from scratch | 2 | 2 |  | 30.0% | 2 | CPU |"
    assert row in speed.curve_section([course])
    assert speed.curves_of_original(tmp_path / "none.json") == []


def test_a_library_costs_what_the_measured_rate_says(photos, tmp_path):
    words = ["--photos", str(photos / "test"), "--limit", "2", "--files", "20", "--rounds", "1"]
    library.main([*words, "--price", "0.1", "--out", str(tmp_path)])
    text = (tmp_path / "library.md").read_text()
    assert "20 tiny files" in text and "stubs here" in text
    steps = re.findall(r"^\| ([\w. ]+) \| \d+ \| -?\d+ \|$", text, re.MULTILINE)
    assert steps == ["find the photos", "compare with the index", "answer", "tags.csv",
                     "tags.jsonl", "tags.parquet", "report.html", "sidecars",
                     "sidecars in another language"]  # fmt: skip
    (hours,) = re.findall(r"^\| 10,000,000,000 \| ([\d,]+) ", text, re.MULTILINE)
    assert library.cost_table(1e10 / 3600, 0.5).endswith("| 10,000,000,000 | 1 | 0.1 | 0.0 | $0 |")
    assert int(hours.replace(",", "")) > 0
    assert library.Rates(9, 0.1, 1.0, 30.0, 60.0).both == pytest.approx(20.0)


def asked(truth: str, guess: str, share: float) -> trips.Photo:
    """A photo, and what it was taken for."""
    return trips.Photo(truth, Answer([Prediction(guess, guess, share, find_place(guess))], 1, True))


def test_made_up_trips_are_possible_and_their_figures_those_of_their_photos():
    names = ("Louvre", "Eiffel_Tower", "Colosseum", "Tokyo_Tower", "Taj_Mahal")
    photos = {name: [asked(name, name, 0.95) for _ in range(6)] for name in names}
    photos[""] = [asked("", "Petra", 0.4) for _ in range(90)]
    made = [trips.make_trip(number, photos) for number in range(30)]
    for trip in made:
        assert len({id(one.photo) for one in trip.taken}) == len(trip.taken)
        for before, after in zip(trip.taken, trip.taken[1:], strict=False):
            hours = (after.clock - before.clock) / trips.HOUR + 2 * trip.is_clock_wrong
            if before.camera == after.camera:
                assert distance_km(before.position, after.position) <= 900 * hours + 1
    page = trips.make_page("command", made, 100)
    (answers, places) = (line.split(" | ") for line in page.splitlines() if "| all |" in line)
    shown = sum(bool(one.photo.class_name) for trip in made for one in trip.taken)
    count = sum(len(trip.taken) for trip in made)
    assert answers[1:5] == ["30", f"{count:,}", f"{shown:,}", "100.0%"]
    assert answers[6] == f"{shown / count:.1%}" and answers[8] == f"{count - shown:,}"
    assert float(answers[7].strip("%")) > 90 and places[1] <= f"{count - shown:,}"


def test_photos_of_trips_are_answered_by_the_network_that_ships(unknown_photos, tmp_path):
    (tmp_path / "known" / "Taj_Mahal").mkdir(parents=True)
    shutil.copy(EXAMPLES / "taj-mahal.jpg", tmp_path / "known" / "Taj_Mahal")
    folders = tmp_path / "known", unknown_photos / "test", tmp_path / "cache"
    photos, count = trips.answer_photos(*folders, None)
    assert {name: len(found) for name, found in photos.items()} == {"Taj_Mahal": 1, "": 4}
    assert photos["Taj_Mahal"][0].answer[0].class_name == "Taj_Mahal" and count == 100


@pytest.fixture
def few_landmarks(lay_out):
    """Photos of five landmarks, of which one has too few to be taught."""
    counts = {"train": 3, "validation": 2, "test": 2}
    return lay_out({f"{split}/{name}": count - (name == "rare" and split == "train")
                    for split, count in counts.items()
                    for name in ("arch", "dome", "gate", "rare", "tower")})  # fmt: skip


def test_what_is_taught_was_held_out_of_the_training(
    few_landmarks, unknown_photos, small_run, tmp_path, monkeypatch
):
    quick = replace(FEW_EPOCHS, image_size=32, train_size=32, batch_size=8, muon=0.0, epochs=1)
    steps = {"probe": replace(quick, probe_copies=1), "network": quick}
    numbers = {"COUNTS": (1, 3), "HELD_OUT": 2, "TAUGHT": 1, "DRAWS": 2}
    for name, value in ({"STEPS": steps, "FIRST_NETWORK": "landmark_cnn"} | numbers).items():
        monkeypatch.setattr(teach, name, value)
    arguments = ["--known", str(few_landmarks), "--unknown", str(unknown_photos), "--init",
                 str(small_run.folder / "model.safetensors"), "--workers", "0",
                 "--runs", str(tmp_path / "runs"), "--out", str(tmp_path)]  # fmt: skip
    teach.main(arguments)
    (folder,) = (tmp_path / "runs").glob("*/network")
    held_out, known = teach.hold_out(few_landmarks), read_config(folder).class_names
    assert len(held_out) == 2 and "rare" in known
    assert sorted([*held_out, *known]) == ["arch", "dome", "gate", "rare", "tower"]
    text = (tmp_path / "teach.md").read_text()
    assert "held out" in text and "| 3 | " in text and str(tmp_path) not in text
    assert "about 2 a\ndraw" in text and "2 of\ntrained landmarks, 1 of anything else" in text
    monkeypatch.setattr(teach, "train", None)
    teach.main([*arguments, "--split", "test"])
    assert "6 of\ntrained landmarks, 4 of anything else" in (tmp_path / "teach.md").read_text()


def made_up(random: np.random.Generator, names: str, middles: dict[str, np.ndarray]) -> teach.Seen:
    """Photos by one letter each: near the middle of that, if it has one; else of anything."""
    noise = random.normal(size=(len(names), 320))
    features = [middles.get(name, 0) + one for name, one in zip(names, noise, strict=True)]
    return teach.Seen(np.eye(3)[np.zeros(len(names), int)], np.array(features), np.array([*names]))


def test_figures_of_teaching_are_those_of_the_photos(teachable, monkeypatch, tmp_path):
    for name, value in {"COUNTS": (3, 5), "TAUGHT": 2, "DRAWS": 3}.items():
        monkeypatch.setattr(teach, name, value)
    random, tagger = np.random.default_rng(0), load(teachable())
    middles = dict(zip("ab", 60 * np.eye(320), strict=False))
    fresh = made_up(random, "aaaabbba", middles)
    fresh.names[-1] = "b"  # which looks like a
    others = made_up(random, "........a", middles)
    background = Background.choose(random.normal(size=(50, 320)), random.normal(size=(50, 320)))
    trained = made_up(random, ".........b", middles)  # the first class, says the network
    trained = replace(trained, names=np.full(10, tagger.config.class_names[0]))
    given = made_up(random, "aaaaabbbbb", middles)
    photos = teach.Photos(given, background, trained, others, fresh)
    rows = teach.measure(photos, tagger, 3, Look.at(background))
    assert len(rows) == 3
    for recall, precision, lost, away, *_ in rows:
        assert (recall, precision, away) == (7 / 8, 7 / 10, 0) and lost == pytest.approx(10)
    lower = (rows[0][0] - 0.5, *rows[0][1:])
    assert teach.cells(3, [rows[0], lower])[:3] == ["3", "62% (38% to 88%)", "70%"]
    guide = tmp_path / "guide.md"
    guide.write_text(f"A\n{teach.CURVE_START}\nold\n{teach.CURVE_END}\nB")
    write_between(guide, teach.CURVE_START, teach.CURVE_END, "| new |")
    assert guide.read_text() == f"A\n{teach.CURVE_START}\n| new |\n{teach.CURVE_END}\nB"
