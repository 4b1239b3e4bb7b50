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
SIZES = [(120, 90), (90, 120), (101, 67), (64, 64), (400, 60), (60, 400)]


@pytest.fixture(params=SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def photo(request) -> Image.Image:
    return make_photo(0, 1, request.param)


def difference(first: Image.Image, second: Image.Image) -> float:
    """The mean absolute difference of two photos, 0..255."""
    return float(np.abs(np.asarray(first, dtype=float) - np.asarray(second)).mean())


# --- corruptions ---


def test_every_version_opens_upright_in_its_shape(photo):
    for name, version in robustness.versions(photo, 0).items():
        opened = open_photo(version)
        if name == "64 px small":
            assert min(opened.size) == min(64, *photo.size)
            assert math.isclose(opened.width / opened.height, photo.width / photo.height,
                                rel_tol=0.03)  # fmt: skip
        else:
            assert opened.size == photo.size, name


def test_versions_leave_the_photo_alone_and_are_the_same_again(photo):
    before = photo.tobytes()
    first, again = robustness.versions(photo, 7), robustness.versions(photo, 7)
    assert photo.tobytes() == before
    for name, version in first.items():
        assert np.array_equal(open_photo(version), open_photo(again[name])), name


def test_turned_by_exif_opens_to_the_pixels_of_the_clean_photo(photo):
    lying = robustness.turned_jpeg(photo)
    clean = robustness.turned_back(lying)
    assert Image.open(io.BytesIO(lying)).size == photo.size[::-1]
    assert np.array_equal(open_photo(lying), open_photo(clean))
    assert difference(open_photo(lying), photo) < 8  # noise, as JPEG keeps it
    assert difference(open_photo(lying), photo.rotate(180)) > 8


def test_no_version_is_turned_twice(photo):
    for name, version in robustness.versions(photo, 0).items():
        if isinstance(version, Image.Image):
            assert np.array_equal(open_photo(version), version), name


def test_a_door_that_ignores_exif_is_found_out(monkeypatch):
    versions = robustness.versions(make_photo(0, 1), 0)
    robustness.require_equal(versions, "a.jpg")
    monkeypatch.setattr(robustness, "open_photo", lambda photo: (
        photo if isinstance(photo, Image.Image) else Image.open(io.BytesIO(photo))
    ))  # fmt: skip
    with pytest.raises(LandmarkError, match=r"a\.jpg turned by EXIF opens to other pixels"):
        robustness.require_equal(versions, "a.jpg")


def test_low_quality_takes_fewer_bytes_and_changes_more():
    photo = make_photo(0, 1)
    low, high = robustness.jpeg(photo, 20), robustness.jpeg(photo, 95)
    assert len(low) < 0.5 * len(high)
    assert difference(open_photo(low), photo) > difference(open_photo(high), photo)


def test_blur_grows_with_the_photo():
    sharp = Image.new("RGB", (448, 448))
    sharp.paste((255, 255, 255), (224, 0, 448, 448))
    edges = []
    for side in (224, 448):
        row = np.asarray(robustness.blurred(sharp.resize((side, side))).convert("L"))[side // 2]
        edges.append(int(((row > 10) & (row < 245)).sum()))
    assert edges[0] >= 4 and edges[1] == pytest.approx(2 * edges[0], abs=2)


def test_darkness_scales_the_mean(photo):
    before, after = np.asarray(photo).mean(), np.asarray(robustness.dark(photo)).mean()
    assert after == pytest.approx(0.35 * before, abs=1)


def test_grey_has_no_colour_and_keeps_the_brightness(photo):
    pixels = np.asarray(robustness.grey(photo))
    assert (pixels.min(2) == pixels.max(2)).all()
    assert np.array_equal(pixels[:, :, 0], photo.convert("L"))


@pytest.mark.parametrize("seed", range(5))
def test_a_quarter_is_hidden_in_one_rectangle(photo, seed):
    blank = Image.new("RGB", photo.size, (10, 200, 90))  # no grey: every hidden pixel differs
    hidden = (np.asarray(robustness.occluded(blank, seed)) != np.asarray(blank)).any(2)
    assert hidden.mean() == pytest.approx(0.25, abs=0.01)
    rows, columns = np.flatnonzero(hidden.any(1)), np.flatnonzero(hidden.any(0))
    assert len(rows) * len(columns) == hidden.sum()
    if max(photo.size) <= 4 * min(photo.size):
        assert len(rows) == len(columns)
    shades = np.asarray(robustness.occluded(photo, seed))[rows[0] : rows[-1], columns[0]]
    assert np.ptp(shades) == 0
    assert shades[0, 0] == pytest.approx(np.asarray(photo.convert("L")).mean(), abs=1)


def test_the_hidden_place_depends_on_the_seed():
    photo = make_photo(0, 1)
    places = {robustness.occluded(photo, seed).tobytes() for seed in range(6)}
    assert len(places) > 1


def test_mirrored_twice_is_the_photo(photo):
    mirror = robustness.CONDITIONS["mirrored"]
    assert np.array_equal(mirror(mirror(photo, 0), 0), photo)


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
    rows = {line.split(" | ")[0][2:]: line for line in text.splitlines() if line.startswith("| ")}
    assert list(rows) == ["photos", "clean", "turned by EXIF", *robustness.CONDITIONS]
    tagger = load(source)
    first = rows["photos"].strip("| ").split(" | ").index(tagger.config.architecture)
    paths = [path for path in folder.glob("*/*") if path.name != "broken.jpg"]
    right = sum(tagger.predict(path)[0].class_name == path.parent.name for path in paths)
    assert rows["clean"].strip("| ").split(" | ")[first] == f"{100 * right / 11:.1f} %"
    assert all("(0)" in cell for cell in rows["turned by EXIF"].strip("| ").split(" | ")[1:])


def test_limit_takes_photos_from_everywhere(folder):
    known = {path.name for path in folder.iterdir()}
    every = robustness.find_photos(folder, known, None)
    some = robustness.find_photos(folder, known, 3)
    assert len(every) == 9 and len(some) == 3
    assert every[0] in some and len({truth for _, truth in some}) == 3
    assert robustness.find_photos(folder, known, 100) == every


def test_what_cannot_be_measured_is_refused(tmp_path):
    with pytest.raises(LandmarkError, match="is not a folder"):
        robustness.find_photos(tmp_path / "absent", {"A"}, None)
    with pytest.raises(LandmarkError, match="--limit is 0; it must be 1 or more"):
        robustness.find_photos(tmp_path, {"A"}, 0)
    (tmp_path / "B").mkdir()
    with pytest.raises(LandmarkError, match="no photo in a folder named as one of the 1 classes"):
        robustness.find_photos(tmp_path, {"A"}, None)
    (tmp_path / "B" / "b.jpg").write_bytes(b"no photo")
    with pytest.raises(LandmarkError, match="None of the 1 photos can be read"):
        robustness.measure(robustness.find_photos(tmp_path, {"B"}, None), {})


def test_differences_have_a_sign_and_no_negative_zero():
    result = robustness.Result(
        {"clean": {"one": 2, "two": 2}, "grey": {"one": 1, "two": 2}, "dark": {"one": 4, "two": 3}},
        photo_count=4, class_count=2,
    )  # fmt: skip
    text = robustness.make_table(result, "python -m benchmarks.robustness", "test")
    assert "| clean | 50.0 % | 50.0 % |" in text
    assert "| grey | 25.0 % (-25.0) | 50.0 % (0) |" in text
    assert "| dark | 100.0 % (+50.0) | 75.0 % (+25.0) |" in text
    assert "One photo is 25.00 points" in text


def test_the_command_tells_no_folder_of_the_machine():
    words = ["--photos", "/home/ann/world50/test", "--model", "org/name", "--out", "/home/ann/x"]
    assert robustness.command(words) == (
        "python -m benchmarks.robustness --photos world50/test --model org/name --out x"
    )
