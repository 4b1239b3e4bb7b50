"""The robustness benchmark: each corruption does what it is called, and the sums are right."""

import csv
import io
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import robustness
from landmark_model import LandmarkError, load, open_photo
from landmark_model.hub.repo import SHIPPED
from landmark_model.training.smoke import make_photo

EXAMPLES = Path(__file__).parents[1] / "examples"
SIZES = [(120, 90), (67, 101), (64, 64), (400, 60), (60, 400)]


@pytest.fixture(params=SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def photo(request) -> Image.Image:
    return make_photo(0, 1, request.param)


def difference(first: Image.Image, second: Image.Image) -> float:
    """The mean absolute difference of two photos, 0..255."""
    return float(np.abs(np.asarray(first, dtype=float) - np.asarray(second)).mean())


# --- corruptions ---


def test_versions_open_upright_in_their_shape_and_are_the_same_again(photo):
    before = photo.tobytes()
    first, again = (robustness.versions(photo, 7, "a.jpg") for _ in range(2))
    assert photo.tobytes() == before
    for name, version in first.items():
        opened = open_photo(version)
        assert np.array_equal(opened, open_photo(again[name])), name
        if isinstance(version, Image.Image):  # and is not turned twice
            assert np.array_equal(opened, version), name
        if name == "64 px small":
            assert min(opened.size) == min(64, *photo.size)
            shape = photo.width / photo.height
            assert math.isclose(opened.width / opened.height, shape, rel_tol=0.03)
        else:
            assert opened.size == photo.size, name


def test_turned_by_exif_opens_to_the_pixels_of_the_clean_photo(photo):
    lying = robustness.turned_jpeg(photo)
    assert Image.open(io.BytesIO(lying)).size == photo.size[::-1]
    assert np.array_equal(open_photo(lying), robustness.turned_back(lying))
    assert difference(open_photo(lying), photo) < 8  # noise, as JPEG keeps it
    assert difference(open_photo(lying), photo.rotate(180)) > 8


def test_a_door_that_ignores_exif_is_found_out(monkeypatch):
    monkeypatch.setattr(robustness, "open_photo", lambda content: Image.open(io.BytesIO(content)))
    with pytest.raises(LandmarkError, match=r"a\.jpg turned by EXIF opens to other pixels"):
        robustness.versions(make_photo(0, 1), 0, "a.jpg")


def test_corruptions_do_what_they_are_called(photo):
    found = {name: change(photo, 0) for name, change in robustness.CONDITIONS.items()}
    low, high = found["JPEG of quality 20"], robustness.jpeg(photo, 95)
    assert len(low) < 0.6 * len(high)
    assert difference(open_photo(low), photo) > difference(open_photo(high), photo)
    dark = found["dark, brightness x 0.35"]
    assert np.asarray(dark).mean() == pytest.approx(0.35 * np.asarray(photo).mean(), abs=1)
    grey = np.asarray(found["grey"])
    assert (grey.min(2) == grey.max(2)).all() and np.array_equal(grey[..., 0], photo.convert("L"))
    mirror = robustness.CONDITIONS["mirrored"]
    assert np.array_equal(mirror(found["mirrored"], 0), photo)


def test_blur_grows_with_the_photo():
    sharp = Image.new("RGB", (448, 448))
    sharp.paste((255, 255, 255), (224, 0, 448, 448))
    edges = []
    for side in (224, 448):
        row = np.asarray(robustness.blurred(sharp.resize((side, side))).convert("L"))[side // 2]
        edges.append(int(((row > 10) & (row < 245)).sum()))
    assert edges[0] >= 4 and edges[1] == pytest.approx(2 * edges[0], abs=2)


def test_a_quarter_is_hidden_in_one_rectangle_wherever_the_seed_says(photo):
    blank = Image.new("RGB", photo.size, (10, 200, 90))  # no grey: every hidden pixel differs
    places = set()
    for seed in range(5):
        hidden = (np.asarray(robustness.occluded(blank, seed)) != np.asarray(blank)).any(2)
        places.add(hidden.tobytes())
        assert hidden.mean() == pytest.approx(0.25, abs=0.01)
        rows, columns = np.flatnonzero(hidden.any(1)), np.flatnonzero(hidden.any(0))
        assert len(rows) * len(columns) == hidden.sum()
        if max(photo.size) <= 4 * min(photo.size):
            assert len(rows) == len(columns)
        shades = np.asarray(robustness.occluded(photo, seed))[rows[0] : rows[-1], columns[0]]
        assert np.ptp(shades) == 0
        assert shades[0, 0] == pytest.approx(np.asarray(photo.convert("L")).mean(), abs=1)
    assert len(places) > 1


# --- the program ---


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The example photos in class folders, with one class nobody knows and one broken photo."""
    root = tmp_path_factory.mktemp("photos") / "test"
    with open(EXAMPLES / "CREDITS.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            place = root / (row["landmark_class"] or "Lunch")
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(EXAMPLES / row["file"], place)
    (root / "Taj_Mahal" / "broken.jpg").write_bytes(b"no photo")
    return root


def test_program_measures_the_examples(folder, tmp_path, capsys):
    source = str(SHIPPED / "landmark_cnn")
    robustness.main(["--photos", str(folder), "--out", str(tmp_path), "--model", source])
    printed = capsys.readouterr()
    assert "Skipped: Lunch/: the networks know no such class" in printed.out
    assert "Skipped: Taj_Mahal/broken.jpg: broken.jpg is not a photo" in printed.out
    text = (tmp_path / "robustness.md").read_text(encoding="utf-8")
    assert str(tmp_path) not in text and str(folder) not in text
    assert f"on 11 photos of 11 landmarks in `{folder.parent.name}/test`" in text
    assert f"--photos {folder.parent.name}/test" in text
    rows = {line.split(" | ")[0][2:]: line for line in text.splitlines() if line.startswith("| ")}
    assert list(rows) == ["photos", "---", "clean", "turned by EXIF", *robustness.CONDITIONS]
    tagger = load(source)
    paths = [path for path in folder.glob("*/*") if path.name != "broken.jpg"]
    right = sum(tagger.predict(path)[0].class_name == path.parent.name for path in paths)
    assert rows["clean"] == f"| clean | {100 * right / 11:.1f} % |"
    assert rows["turned by EXIF"].endswith("(+0.0) |")


def test_limit_takes_photos_from_everywhere(folder):
    known = {path.name for path in folder.iterdir()}
    every, some, many = (robustness.find_photos(folder, known, n) for n in (None, 3, 100))
    assert len(every) == 13 and len(some) == 3 and many == every
    assert every[0] in some and len({truth for _, truth in some}) == 3


def test_what_cannot_be_measured_is_refused(tmp_path):
    with pytest.raises(LandmarkError, match="--limit is 0; it must be 1 or more"):
        robustness.find_photos(tmp_path, {"A"}, 0)
    (tmp_path / "B").mkdir()
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(LandmarkError, match="no photo in a folder named as one of the 1 cla"):
            robustness.find_photos(folder, {"A"}, None)
    (tmp_path / "B" / "b.jpg").write_bytes(b"no photo")
    with pytest.raises(LandmarkError, match="None of the 1 photos can be read"):
        robustness.measure(robustness.find_photos(tmp_path, {"B"}, None), {})


def test_points_are_lost_and_won_against_the_clean_photos():
    result = robustness.Result(
        {"clean": {"one": 2, "two": 2}, "grey": {"one": 1, "two": 2}, "dark": {"one": 4, "two": 3}},
        photo_count=4, class_count=2,
    )  # fmt: skip
    text = robustness.make_page(result, "python -m benchmarks.robustness", "test")
    assert "| clean | 50.0 % | 50.0 % |" in text
    assert "| grey | 25.0 % (-25.0) | 50.0 % (+0.0) |" in text
    assert "| dark | 100.0 % (+50.0) | 75.0 % (+25.0) |" in text
    assert "One photo is 25.00 points" in text
