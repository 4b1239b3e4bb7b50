"""The figures shown are those of metrics.json, in words; what was not measured is left out."""

import json
import random
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from landmark_model import LANGUAGES, LandmarkError, Prediction, find_place, read_metrics, wilson
from landmark_model.web import STATIC, models
from landmark_model.web.html import figures
from landmark_model.web.html.figures import damage_note, find_mixups, landmark_rows
from landmark_model.web.i18n import number, percent
from landmark_model.web.measured import NOTHING, UNREADABLE, read_measured


def landmark(class_name: str, **changes: object) -> Prediction:
    place = replace(find_place(class_name), **changes)
    return Prediction(place.name, class_name, 1.0, place)


NAMES = ("Sydney_Harbour_Bridge", "Golden_Gate_Bridge", "Brooklyn_Bridge", "Stonehenge")
LANDMARKS = [landmark(name) for name in NAMES]
CONFUSION = [[5, 3, 1, 0], [0, 9, 0, 0], [0, 0, 0, 2], [0, 0, 0, 0]]
METRICS = {
    "test": {
        "photo_count": 20,
        "top1": 0.7,
        "top5": 1.0,
        "calibration_error": 0.123,
        "classes": [
            {"class_name": n, "precision": p, "recall": r, "f1": 0.5, "support": s}
            for n, p, r, s in (
                (NAMES[0], 1, 5 / 9, 9),
                (NAMES[1], 0.75, 1, 9),
                (NAMES[2], 0, 0, 2),
                (NAMES[3], 0, 0, 0),
            )
        ],
        "confusion": CONFUSION,
        "reliability": [
            {"count": 0, "confidence": 0.0, "accuracy": 0.0},
            {"count": 4, "confidence": 0.25, "accuracy": 0.5},
            {"count": 16, "confidence": 0.95, "accuracy": 0.75},
        ],
    },
    "unknown": {
        "test": {"unknown_count": 1399, "refused": 0.66, "known_count": 20, "kept": 0.95}
    },
    "training": {
        "data": {
            "about": "Photos of <my> holidays.",
            "classes": 4,
            "photos": {"train": 1522, "validation": 5, "test": 20},
            "fewest": 3,
            "most": 101,
            "leaks": 0,
        }
    },
}  # fmt: skip


def words_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page)).replace(" ,", ",").replace(" :", ":")


def sections(page: str) -> list[str]:
    return [node.get("class") for node in ElementTree.fromstring(page).iter("section")]


def changed(*path: object, value: object = None) -> dict:
    """METRICS with another value at a path, or without what is there."""
    metrics = place = json.loads(json.dumps(METRICS))
    *parents, last = path
    for key in parents:
        place = place[key]
    del place[last]
    if value is not None:
        place[last] = value
    return metrics


def quality(metrics: dict, landmarks: list[Prediction] = LANDMARKS, language: str = "en") -> str:
    return figures.quality(read_measured(metrics), landmarks, language)


EVERYTHING = sections(quality(METRICS))


def test_page_tells_what_the_metrics_hold():
    text = words_of(quality(METRICS))
    low, high = wilson(0.7, 20)
    assert "70.0% of its first guesses on 20 test photos are right" in text
    assert f"expect {low:.0%} to {high:.0%}" in text
    assert "6 of 20 first guesses were wrong" in text
    assert "Sydney Harbour Bridge mistaken for Golden Gate Bridge: 3 of 9" in text
    assert "12.3 percentage points" in text
    assert "It rejected 66% of 1,399 photos of other things" in text
    assert "1,522 photos of 4 landmarks, 3 to 101 of each" in text
    assert "2 of the 4 landmarks have fewer than 5 test photos" in text
    assert "No copy or near-copy" in text
    assert "first five" not in text, "of four landmarks, that says nothing"


def test_copies_in_training_are_owned_up_to():
    text = words_of(quality(changed("training", "data", "leaks", value=7)))
    assert "7 photos or near-copies" in text and "No copy" not in text


def test_mixups_are_counted_by_what_the_photo_shows_and_lookalikes_are_of_one_kind():
    found = find_mixups(LANDMARKS, read_measured(METRICS))
    assert [(m.truth.class_name, m.guess.class_name, m.wrong, m.count, m.kind) for m in found] == [
        ("Sydney_Harbour_Bridge", "Golden_Gate_Bridge", 3, 9, "bridge"),
        ("Brooklyn_Bridge", "Stonehenge", 2, 2, ""),
        ("Sydney_Harbour_Bridge", "Brooklyn_Bridge", 1, 9, "bridge"),
    ]
    opera = landmark("Sydney_Opera_House", tags=("Sydney", "Australia"))
    assert figures.Mixup(LANDMARKS[0], opera, 1, 1).kind == "", "merely neighbours"


def test_rare_mixups_between_lookalikes_are_shown_too(monkeypatch):
    monkeypatch.setattr(figures, "MIXUP_COUNT", 2)
    text = words_of(quality(METRICS))
    assert "Between look-alikes: Sydney Harbour Bridge mistaken for Brooklyn Bridge: 1 of 9" in text


def test_no_mistakes_are_said_so():
    classes = METRICS["test"]["classes"][:2]
    metrics = {"test": {"confusion": [[5, 0], [0, 4]], "classes": classes}}
    assert "None of the 9 test photos" in words_of(quality(metrics))


def test_diagram_has_a_styled_dot_for_each_group_of_answers():
    page = ElementTree.fromstring(quality(METRICS))
    (drawing,) = [node for node in page.iter() if node.get("class") == "diagram"]
    assert drawing.get("role") == "img" and drawing.get("aria-label")
    large, small = [node for node in drawing.iter() if node.get("class") == "dot"]
    assert float(large.get("r")) > float(small.get("r"))
    assert float(large.get("cx")) > float(small.get("cx"))
    assert float(large.get("cy")) < float(small.get("cy"))
    assert large[0].text == "95% sure, 75% right (16 photos)"
    style = (STATIC / "explore.css").read_text(encoding="utf-8")
    parts = {part.get("class") for part in drawing.iter() if part.get("class")}
    assert parts >= {"frame", "ideal"} and not [name for name in parts if f".{name}" not in style]


@pytest.mark.parametrize(
    ("path", "gone"),
    [
        (("test", "top1"), "accuracy"),
        (("test", "photo_count"), "accuracy"),
        (("test", "confusion"), "mixups"),
        (("test", "reliability"), "reliability"),
        (("test", "calibration_error"), "reliability"),
        (("unknown",), "unknown"),
        (("unknown", "test"), "unknown"),
    ],
)
def test_what_was_not_measured_is_left_out(path, gone):
    assert sections(quality(changed(*path))) == [name for name in EVERYTHING if name != gone]


@pytest.mark.parametrize("metrics", [{}, {"test": {}}, {"training": {}}, {"unknown": {}}])
def test_nothing_measured_is_said_so(metrics):
    page = quality(metrics)
    assert sections(page) == [] and "not been measured" in page
    assert {row[4] for row in landmark_rows(LANDMARKS, read_measured(metrics))} == {None}


@pytest.mark.parametrize("network", ["resnet18", "landmark_cnn", "tf_efficientnet_lite2"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_networks_that_ship_are_shown_in_every_language(network, language):
    metrics = read_metrics(network=network)
    known = [landmark(score["class_name"]) for score in metrics["test"]["classes"]]
    page = quality(metrics, known, language)
    assert sections(page) == EVERYTHING and 'class="note"' not in page
    assert percent(metrics["test"]["top1"], language, 1) in page


def test_rows_are_by_name_with_scores_where_there_are_photos():
    rows = landmark_rows(LANDMARKS, read_measured(METRICS))
    assert [row[0] for row in rows] == sorted(landmark.label for landmark in LANDMARKS)
    by_name = {name: scores for name, _, _, *scores in rows}
    assert rows[-1][:3] == ["Sydney Harbour Bridge", "Sydney", "Australia 🇦🇺"]
    assert by_name["Sydney Harbour Bridge"] == [9, 56, 100]
    assert by_name["Stonehenge"] == [0, None, 0]
    assert by_name["Brooklyn Bridge"] == [2, 0, 0]
    never_named = changed("test", "confusion", 0, value=[6, 3, 0, 0])
    rows = {row[0]: row for row in landmark_rows(LANDMARKS, read_measured(never_named))}
    assert rows["Brooklyn Bridge"][3:] == [2, 0, None]


def test_rows_speak_the_language_and_know_landmarks_of_ones_own():
    mill = Prediction("My Old Mill", "my_old_mill", 1.0)
    rows = landmark_rows([mill, landmark("Colosseum")], NOTHING, "de")
    assert [row[:3] for row in rows] == [
        ["Kolosseum", "Rom", "Italien 🇮🇹"],
        ["My Old Mill", "", ""],
    ]


@pytest.mark.parametrize(
    ("language", "text", "share"),
    [
        ("en", "1,522.5", "84.6%"),
        ("de", "1.522,5", "84,6\u202f%"),
        ("zh", "1,522.5", "84.6%"),
        ("xx", "1,522.5", "84.6%"),
    ],
)
def test_numbers_are_written_as_in_the_language(language, text, share):
    assert number(1522.49, language, 1) == text
    assert percent(0.846, language, 1) == share


def test_names_cannot_inject_html():
    hostile = [Prediction("<script>", mark.class_name, 1.0) for mark in LANDMARKS]
    page = quality(METRICS, hostile)
    assert "<script" not in page and "<my>" not in page


# --- metrics.json of anybody ---


@pytest.fixture
def folder(tmp_path, small_run):
    """A network without measurements."""
    for name in ("config.json", "model.safetensors", "features.safetensors"):
        (tmp_path / name).symlink_to(small_run.folder / name)
    return tmp_path


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "\udcff", "[" * 20_000])
def test_damaged_metrics_are_refused(folder, text):
    assert read_metrics(folder) == {}
    (folder / "metrics.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(LandmarkError, match="metrics"):
        read_metrics(folder)


def test_metrics_that_are_no_file_or_too_large_are_refused(folder):
    with (folder / "metrics.json").open("wb") as file:
        file.truncate(1_000_000_000)
    with pytest.raises(LandmarkError, match=r"metrics\.json is larger than 64 MB"):
        read_metrics(folder)
    (folder / "metrics.json").unlink()
    (folder / "metrics.json").mkdir()
    with pytest.raises(LandmarkError, match=r"metrics\.json is not a file"):
        read_metrics(folder)


@pytest.mark.parametrize("text", ["{", "[]", '{"test": {"top1": NaN, "photo_count": 9}}'])
def test_app_starts_with_broken_metrics_and_says_so(folder, text):
    (folder / "metrics.json").write_text(text)
    opened = models.open_models(str(folder))
    measured, known = opened.metrics("landmark_cnn"), opened.landmarks("landmark_cnn")
    for language in LANGUAGES:
        page = figures.quality(measured, known, language)
        assert damage_note(measured, language) in page and damage_note(measured, language)
        assert sections(page) == []
    assert "not been measured" not in figures.quality(measured, known)
    assert {row[3] for row in landmark_rows(known, measured)} == {None}


MARK = "<b onload=x>'\""
JUNK = (
    None, True, -1, 0, 1.5, -0.5, 10**400, 1e308, float("nan"), float("inf"), "", "0.5", MARK,
    "\udc80", "a\u202eb", "\x00", "x" * 6000, [], [[]], {}, [None], ["a", 1], {"a": MARK}, [1, [2]],
    {"class_name": MARK}, [{"class_name": MARK, "support": "9"}],
)  # fmt: skip


def spoil(thing: object, dice: random.Random) -> object:
    """A copy of `thing` in which something, anywhere, is gone, junk or there once more."""
    if not isinstance(thing, dict | list) or not thing or dice.random() < 0.15:
        return dice.choice(JUNK)
    copy = thing.copy()
    key = dice.choice(list(copy)) if isinstance(copy, dict) else dice.randrange(len(copy))
    deed = dice.random()
    if deed < 0.1:
        del copy[key]
    elif deed < 0.15 and isinstance(copy, list):
        copy.append(copy[key])
    elif deed < 0.2 and isinstance(copy, dict):
        copy[MARK] = copy.pop(key)
    else:
        copy[key] = spoil(copy[key], dice)
    return copy


def test_spoilt_metrics_never_break_the_page():
    whole = read_metrics()
    known = [landmark(score["class_name"]) for score in whole["test"]["classes"]]
    focus = {part: whole[part] for part in ("test", "unknown", "training")}
    noted = 0
    for seed in range(300):
        dice = random.Random(seed)
        metrics = focus
        for _ in range(dice.randint(1, 3)):
            metrics = spoil(metrics, dice)
        language = LANGUAGES[seed % len(LANGUAGES)]
        measured = read_measured(metrics) if isinstance(metrics, dict) else UNREADABLE
        page, note = figures.quality(measured, known, language), damage_note(measured, language)
        page.encode("utf-8")
        tags = {node.tag.rpartition("}")[2] for node in ElementTree.fromstring(page).iter()}
        assert tags <= {"div", "section", "h3", "p", "strong", "ul", "li", "b", "svg", "title",
                        "circle", "rect", "path", "text"}, seed  # fmt: skip
        assert MARK not in page and not re.search("[\u202e\x00]", page), seed
        assert not re.search(r"\bnan\b|\binf\b|\d{14}", words_of(page)), seed
        assert page.count(note) == 1 if note else "left out" not in page
        rows = landmark_rows(known, measured, language)
        assert len(rows) == len(known), seed
        assert all(0 <= (row[4] or 0) <= 100 and (row[3] or 0) >= 0 for row in rows), seed
        noted += bool(note)
    assert noted > 100


@pytest.mark.parametrize(
    ("part", "key", "value", "gone"),
    [
        ("test", "top1", "0.7", "accuracy"),
        ("test", "photo_count", -3, "accuracy"),
        ("test", "confusion", [[1, 2], [3]], "mixups"),
        ("test", "confusion", [[1, 2], [3, 4]], "mixups"),
        ("test", "reliability", [{"count": 3}], "reliability"),
        ("test", "calibration_error", 1.2, "reliability"),
        ("unknown", "test", {"unknown_count": "many"}, "unknown"),
        ("unknown", "test", [], "unknown"),
    ],
)
def test_figures_of_the_wrong_kind_leave_out_their_section_alone(part, key, value, gone):
    for language in LANGUAGES:
        page = quality(changed(part, key, value=value), LANDMARKS, language)
        assert sections(page) == [name for name in EVERYTHING if name != gone]
        assert page.count('<p class="note">') == 1
