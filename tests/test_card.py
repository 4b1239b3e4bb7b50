"""Every figure of the card is that of metrics.json, and the card in the repo is up to date."""

import html
import json
import math
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

from landmark_model import LandmarkError
from landmark_model.calibration import ReliabilityBin, chance_calibration_error
from landmark_model.config import WEIGHTS_NAME, read_config
from landmark_model.hub.card import (
    RESULTS_END,
    RESULTS_START,
    read_reports,
    results_table,
    wilson,
    write_card,
    write_results,
)
from landmark_model.hub.repo import SHIPPED

ROOT = Path(__file__).parents[1]
CARD = ROOT / "model_card.md"
NEEDED = ("config.json", "model.safetensors", "metrics.json")


@pytest.fixture(scope="module")
def pair(trained, tmp_path_factory):
    """A folder as it ships: one network at the root, the other below."""
    folder = tmp_path_factory.mktemp("pair") / "weights"
    for network, place in (("resnet18", folder), ("landmark_cnn", folder / "landmark_cnn")):
        place.mkdir(parents=True)
        pictures = ("training_curve.png", "confusion_matrix.png", "reliability.png")
        for name in (*NEEDED, *pictures):
            shutil.copy(trained(network).folder / name, place)
    return folder


@pytest.fixture(scope="module")
def card(pair) -> str:
    """The card of both."""
    write_card(pair, pair.parent / "card.md")
    return (pair.parent / "card.md").read_text(encoding="utf-8")


def tables(text: str) -> list[list[dict[str, str]]]:
    """Every Markdown table of a text, each row by its headings."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n?)+", text, re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.split("\n")]
        head, rule, *body = [row for row in rows if row != [""]]
        assert set("".join(rule)) <= set("-:")
        assert {len(row) for row in body} == {len(head)}
        found.append([dict(zip(head, row, strict=True)) for row in body])
    return found


def metrics_of(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


# --- the interval ---


def slow_wilson(share: float, count: int) -> tuple[float, float]:
    """The shares at which `share` lies 1.96 standard errors away, found by halving."""

    def solve(inside: float, outside: float) -> float:
        for _ in range(80):
            middle = (inside + outside) / 2
            error = math.sqrt(middle * (1 - middle) / count)
            near = abs(share - middle) <= 1.96 * error
            inside, outside = (middle, outside) if near else (inside, middle)
        return inside

    return solve(share, 0.0), solve(share, 1.0)


def test_interval_is_that_of_a_table_and_of_a_slow_search():
    assert wilson(0.8, 100) == pytest.approx((0.7112, 0.8666), abs=2e-4)
    assert wilson(0.0, 50) == pytest.approx((0.0, 0.0713), abs=2e-4)
    for count in (1, 7, 100, 5000):
        for share in (0.1, 0.5, 0.87):
            low, high = wilson(share, count)
            assert (low, high) == pytest.approx(slow_wilson(share, count), abs=1e-6)
            assert 0 <= low < share < high <= 1


# --- figures ---


@pytest.mark.parametrize("index", [0, 1])
def test_results_are_those_of_the_metrics(pair, card, index):
    place = (pair, pair / "landmark_cnn")[index]
    metrics, config = metrics_of(place), read_config(place)
    test, facts = metrics["test"], metrics["training"]
    results, details = (list(table[index].values()) for table in tables(card)[:2])
    low, high = wilson(test["top1"], test["photo_count"])
    chance = chance_calibration_error([ReliabilityBin(**found) for found in test["reliability"]])
    title = f"{('ResNet18', 'LandmarkCNN')[index]} (from scratch)"
    assert results == [
        title,
        f"**{test['top1']:.1%}** ({low:.0%} to {high:.0%})",
        f"{test['top5']:.1%}",
        f"{test['calibration_error']:.1%}",
        "not measured",
    ]
    assert details == [
        title,
        f"{metrics['validation']['top1']:.1%}",
        "not measured",
        f"{chance:.1%}",
        f"{facts['parameters'] / 1e6:.1f} M",
        f"{(place / WEIGHTS_NAME).stat().st_size / 1e6:.1f} MB",
        f"{config.view}, {config.image_size} px",
        f"{facts['fit_seconds'] / 60:.0f} min",
    ]


def test_scores_by_landmark_are_those_of_the_metrics(pair, card):
    config, scores = read_config(pair), metrics_of(pair)["test"]["classes"]
    labels = dict(zip(config.class_names, config.labels, strict=True))
    (table,) = [rows for rows in tables(card) if "landmark" in rows[0]]
    best_first = sorted(scores, key=lambda score: (-score["f1"], score["class_name"]))
    assert [list(row.values()) for row in table] == [
        [labels[score["class_name"]], f"{score['precision']:.0%}", f"{score['recall']:.0%}",
         str(score["support"])]
        for score in best_first
    ]  # fmt: skip


def test_card_tells_data_and_course_of_both_runs(pair, card):
    data = metrics_of(pair)["training"]["data"]
    counts = data["photos"]
    assert f"{data['name']}: {counts['train']} training, {counts['validation']} validation" in card
    assert f"{data['fewest']} to {data['most']} for training in a class" in card
    for place in (pair, pair / "landmark_cnn"):
        facts = metrics_of(place)["training"]
        for said in (*facts["commands"], facts["hardware"], facts["versions"]["torch"],
                     f"number {facts['best_epoch']} was best", f"Seed {facts['recipe']['seed']}",
                     f"{len(facts['epochs'])} epochs"):  # fmt: skip
            assert said in card


def card_of(pair: Path, tmp_path: Path, change) -> str:
    """The card of a copy of `pair` where the first config and metrics went through `change`."""
    copy = Path(shutil.copytree(pair, tmp_path / "weights"))
    files = [copy / "config.json", copy / "metrics.json"]
    config, metrics = (json.loads(path.read_text(encoding="utf-8")) for path in files)
    change(config, metrics)
    for path, values in zip(files, (config, metrics), strict=True):
        path.write_text(json.dumps(values), encoding="utf-8")
    write_card(copy, tmp_path / "card.md")
    return (tmp_path / "card.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("best", "told"), [(0.25, ["75"]), (1.0, [])])
def test_card_tells_the_share_of_the_initial_weights(pair, best, told, tmp_path):
    losses = {str(share): abs(share - best) for share in (0.0, 0.25, 0.5, 0.75, 1.0)}
    text = card_of(pair, tmp_path, lambda _, metrics: metrics["training"].update(blend=losses))
    assert re.findall(r"interpolated with (\d+)% of the initial weights", text) == told


def test_card_has_a_head_with_the_figures_and_no_gaps(pair, card):
    head = yaml.safe_load(card.split("---")[1])
    assert head["library_name"] == "timm" and head["license"] == "apache-2.0"
    assert "base_model" not in head, "it started from scratch"
    found = {
        (result["dataset"]["name"], metric["type"]): metric["value"]
        for result in head["model-index"][0]["results"]
        for metric in result["metrics"]
    }
    expected = {}
    for report in read_reports(pair):
        photos, test = report.metrics["training"]["data"]["name"], report.metrics["test"]
        where = f"{photos} ({report.title})"
        expected[where, "accuracy"] = round(test["top1"], 4)
        expected[where, "top_5_accuracy"] = round(test["top5"], 4)
    assert found == expected and len(found) == 4
    assert "$" not in card
    assert "None" not in card.replace("None of these", "") and "nan" not in card


def test_pictures_of_a_card_are_there(pair, card, smoke_run):
    links = re.findall(r"!\[[^]]+\]\(([^)]+)\)", card)
    assert len(links) == 6 and all((pair.parent / link).is_file() for link in links)
    text = (smoke_run.folder / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
    assert sorted(links) == ["confusion_matrix.png", "reliability.png", "training_curve.png"]


MARKUP = "<img src=x onerror=y> [a](http://b) *c* _d_ `e` | f"


@pytest.mark.parametrize(
    "label", ["Cash $x", "${results}", "Hạ Long", "\\| x", "a](b)", MARKUP, "&lt;"]
)
def test_label_of_any_kind_is_one_cell_that_reads_as_it_is(pair, label, tmp_path, card):
    def change(config: dict, metrics: dict) -> None:
        config["label_names"][0] = config["landmark_model"]["title"] = label

    found = tables(card_of(pair, tmp_path, change))
    assert [len(rows) for rows in found] == [len(rows) for rows in tables(card)]
    (table,) = [rows for rows in found if "landmark" in rows[0]]
    cells = [row["landmark"] for row in table]
    assert label in map(html.unescape, cells)
    cells += [row["network"] for rows in found[:2] for row in rows]
    assert f"{label} (from scratch)" in map(html.unescape, cells)
    assert not re.search(r"[<>*`\[\]\\]|(?<!\w)_", "".join(cells))


@pytest.mark.parametrize(
    "text",
    [MARKUP, "one\n\n# two\n| a | b |\n|---|---|\n---\n", "```\n<script>", "a\u202eb\udcffc\x00"],
)
def test_words_about_the_data_bring_no_markup_into_the_card(pair, text, tmp_path, card):
    def change(config: dict, metrics: dict) -> None:
        facts = metrics["training"]
        facts["data"] |= {"about": text, "name": text}
        facts |= {"start": text, "hardware": text, "base_model": text}
        facts["commands"].append(f"python train.py --about-data {text}")

    found = card_of(pair, tmp_path, change)
    head, body = found.removeprefix("---\n").split("\n---\n", 1)
    facts = yaml.safe_load(head)
    assert facts["library_name"] == "timm" and "\n" not in facts["base_model"]
    assert len(tables(found)) == len(tables(card))
    assert found.count("\n#") == card.count("\n#")
    assert not re.search("[\u202e\x00]", body)
    blocks = r"(?ms)^(`{3,})[^\n]*\n.*?^\1$|(`+).+?(?<!`)\2(?!`)"  # what is code is shown as it is
    assert "<" not in re.sub(r"<!--.*?-->", "", re.sub(blocks, "", body))


@pytest.mark.parametrize("name", ["a|b", "a`b", "e(f) [g] <h>", "50%"])
def test_folder_of_any_name_keeps_table_and_links_whole(pair, name, tmp_path):
    copy = Path(shutil.copytree(pair, tmp_path / "weights"))
    (copy / "landmark_cnn").rename(copy / name)
    write_card(copy, tmp_path / "card.md")
    text = (tmp_path / "card.md").read_text(encoding="utf-8")
    (row,) = [line for line in text.splitlines() if "the same for LandmarkCNN" in line]
    assert row.count("|") == 3 and f"{name}/" in html.unescape(row)
    links = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
    assert len(links) == 6 and all((tmp_path / unquote(link)).is_file() for link in links)
    assert not re.search(r"[<> ()\[\]]", "".join(links).replace("weights", ""))


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("test", "top1", "high"),
        ("test", "photo_count", "<b>9</b>"),
        ("test", "classes", [{"class_name": "<i>"}]),
        ("test", "classes", ["Petra"]),
        ("test", "reliability", [{"count": 10**12, "confidence": 0.5, "accuracy": 0.5}]),
        ("training", "data", "photos"),
        ("training", "epochs", 3),
        ("training", "best_epoch", "<b>"),
        ("training", "fit_seconds", None),
        ("training", "commands", 5),
    ],
)
def test_figures_of_the_wrong_kind_make_no_card(pair, part, key, value, tmp_path):
    def change(config: dict, metrics: dict) -> None:
        metrics[part][key] = value

    with pytest.raises(LandmarkError, match=r"metrics\.json in .*weights is incomplete"):
        card_of(pair, tmp_path, change)
    assert not (tmp_path / "card.md").exists()


# --- results in another document ---


def test_results_go_between_the_marks_and_nothing_else_changes(pair, tmp_path):
    path = tmp_path / "README.md"
    path.write_text(f"Häd\n{RESULTS_START}\nold\n{RESULTS_END}\ntail\n", encoding="utf-8")
    for _ in range(2):
        write_results(pair, path)
        table = results_table(read_reports(pair))
        expected = f"Häd\n{RESULTS_START}\n{table}\n{RESULTS_END}\ntail\n"
        assert path.read_text(encoding="utf-8") == expected


@pytest.mark.parametrize("text", ["", "no marks", RESULTS_START, f"{RESULTS_END}{RESULTS_START}"])
def test_document_without_marks_is_refused_and_kept(pair, tmp_path, text):
    path = tmp_path / "README.md"
    path.write_text(text)
    with pytest.raises(LandmarkError, match=r"README\.md"):
        write_results(pair, path)
    assert path.read_text() == text


# --- what cannot be described ---


@pytest.mark.parametrize("metrics", [None, "", "{", "[]", "{}", '{"test": {}}'])
def test_network_without_whole_metrics_is_refused(pair, tmp_path, metrics):
    for name in NEEDED[:2]:
        shutil.copy(pair / name, tmp_path)
    if metrics is not None:
        (tmp_path / "metrics.json").write_text(metrics)
    with pytest.raises(LandmarkError, match=r"metrics\.json"):
        write_card(tmp_path, tmp_path / "README.md")
    assert not (tmp_path / "README.md").exists()


# --- the card that ships ---


@pytest.mark.skipif(not CARD.exists(), reason="model_card.md is not written yet")
def test_card_in_the_repo_is_that_of_the_weights_in_the_repo(tmp_path):
    weights = tmp_path / SHIPPED.relative_to(ROOT)
    shutil.copytree(SHIPPED, weights)
    write_card(weights, tmp_path / CARD.name)
    assert (tmp_path / CARD.name).read_text(encoding="utf-8") == CARD.read_text(encoding="utf-8")


def test_title_tells_how_a_network_was_trained(pair):
    (report, cnn) = read_reports(pair)
    assert [report.title, cnn.title] == ["ResNet18 (from scratch)", "LandmarkCNN (from scratch)"]
    for each in (report, cnn):
        each.metrics["training"]["start"] = "every layer from runs/earlier"
    assert report.title == "ResNet18 (transfer learning)"
    assert cnn.title == "LandmarkCNN (from scratch)", "that earlier run was its own"
    report.metrics["training"]["commands"].append("python train.py --probe --out runs/probe")
    assert report.title == "ResNet18 (linear probe)"
