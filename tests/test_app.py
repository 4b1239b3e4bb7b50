"""The app's functions, without a browser."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import app
from landmark_model import Prediction

ROOT = Path(__file__).parent.parent
BEST = Prediction(
    "Petra", "Petra", 0.82, "Ma'an", "Jordan", "JO", 30.3222, 35.4517, None, ("ruins",)
)


@pytest.fixture
def credits() -> list[dict[str, str]]:
    with (ROOT / "examples" / "CREDITS.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("network", ["ResNet18", "CNN from scratch", "EfficientNet-Lite2"])
def test_a_photo_gives_a_card_and_five_labels(network):
    card, labels = app.identify(str(ROOT / "examples" / "taj-mahal.jpg"), network)
    assert len(labels) == 5
    assert max(labels, key=labels.get) in card
    assert 0 < sum(labels.values()) <= 1 + 1e-9


def test_a_photo_of_something_else_is_called_so_with_its_nearest_guesses():
    network = next(iter(app.taggers()))
    card, labels = app.identify(str(ROOT / "examples" / "none-of-these.jpg"), network)
    assert "This does not look like one of the landmarks I know" in card
    assert max(labels, key=labels.get) in card and len(labels) == 5


def test_no_photo_gives_the_welcome_card():
    card, labels = app.identify(None, "ResNet18")
    assert labels is None
    assert "Drop a holiday photo" in card


@pytest.mark.parametrize("content", [b"", b"just text", b"<svg></svg>", b"\xff\xd8\xff\xe0cut"])
def test_a_bad_photo_gives_one_plain_sentence_without_server_paths(tmp_path, content):
    path = tmp_path / "holiday.jpg"
    path.write_bytes(content)
    card, labels = app.identify(str(path), "ResNet18")
    assert labels is None
    assert "holiday.jpg" in card
    assert str(tmp_path) not in card
    assert "Traceback" not in card


def test_the_card_shows_place_certainty_and_maps():
    card = app.card(BEST)
    for part in (
        "Petra",
        "82%",
        "Very likely",
        "🇯🇴",
        "Jordan",
        "30.3222° N",
        "35.4517° E",
        "ruins",
    ):
        assert part in card
    assert "openstreetmap.org" in card


def test_south_and_west_are_named_not_negative():
    card = app.map_links(Prediction("Machu Picchu", "x", 1.0, latitude=-13.1, longitude=-72.5))
    assert "13.1000° S, 72.5000° W" in card


def test_a_landmark_without_place_gets_a_card_without_map():
    card = app.card(Prediction("My Old Mill", "my_old_mill", 0.5))
    assert "My Old Mill" in card
    assert "map" not in card


def test_names_cannot_inject_html():
    card = app.card(Prediction("<img src=x onerror=alert(1)>", "x", 0.5, place="<b>"))
    assert "<img" not in card
    assert "<b>" not in card
    assert "<script" not in app.sorry("<script>")


@pytest.mark.parametrize(
    ("probability", "words"),
    [(0.95, "Almost certainly"), (0.7, "Very likely"), (0.5, "Probably"), (0.2, "Not sure")],
)
def test_certainty_is_put_in_words(probability, words):
    assert words in app.how_sure(Prediction("x", "x", probability))


def test_a_heic_photo_gets_a_preview_that_browsers_can_show(tmp_path):
    path = tmp_path / "phone.tiff"
    Image.new("RGB", (40, 30), "red").save(path)
    assert app.preview({"path": str(path)}).size == (40, 30)
    assert not isinstance(app.preview({"path": str(tmp_path / "x.jpg")}), Image.Image)
    assert not isinstance(app.preview(None), Image.Image)


def test_every_example_is_credited_and_small(credits):
    files = {path.name for path in (ROOT / "examples").glob("*.jpg")}
    assert {row["file"] for row in credits} == files
    assert 6 <= len(files) <= 10
    for row in credits:
        assert all(row[key] for key in ("author", "licence", "licence_url", "source", "changes"))
        with Image.open(ROOT / "examples" / row["file"]) as photo:
            assert max(photo.size) <= 1024
        assert row["author"] in app.credit_list(credits)


def test_the_page_builds_and_names_its_landmarks():
    page = app.build()
    assert any(function.api_name == "predict" for function in page.fns.values())
    assert "Eiffel Tower" in app.landmarks()


def test_a_local_folder_can_stand_in_for_the_shipped_weights(monkeypatch, tmp_path):
    shipped = ROOT / "landmark_model" / "weights"
    for name in ("config.json", "model.safetensors", "features.safetensors"):
        (tmp_path / name).symlink_to(shipped / name)
    monkeypatch.setenv("LANDMARK_REPO", str(tmp_path))
    app.taggers.cache_clear()
    try:
        assert list(app.taggers()) == ["ResNet18"]
    finally:
        app.taggers.cache_clear()


def test_a_folder_without_weights_is_explained_at_the_start(tmp_path):
    environment = os.environ | {"LANDMARK_REPO": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "app.py"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 1
    assert "config.json" in run.stderr
    assert "Traceback" not in run.stderr


def test_nothing_is_ever_called_a_hundred_percent_sure():
    assert "over 99%" in app.card(Prediction("x", "x", 0.9999))
    assert "99%" in app.card(Prediction("x", "x", 0.99))
