"""A network is taught landmarks from a few photos, keeps them in a file, and stays what it was."""

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from landmark_model import LandmarkError, classifier, load
from landmark_model.background import BACKGROUND_NAME, MOST_PHOTOS, Background, read_background
from landmark_model.memory import unit_length
from landmark_model.places import find_place
from landmark_model.taught import make_place
from landmark_model.teaching import Lessons, Look
from landmark_model.training.smoke import make_photo

ELTZ = {"place": "Wierschem", "country": "DE", "latitude": 50.205, "longitude": 7.337}
RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def folder(teachable):
    return teachable()


@pytest.fixture
def tagger(folder):
    """A network of three classes that learned nothing, but can be taught."""
    return load(folder)


@pytest.fixture(scope="module")
def stripes():
    """Photos of something that the network was not trained on."""
    photos = []
    for seed in range(8):
        noise = np.random.default_rng(seed).integers(0, 40, (90, 120, 3))
        noise[::6] = 255
        photos.append(noise.astype(np.uint8))
    return photos


def taught(tagger, stripes, name="Burg Eltz", **where):
    return tagger.teach(name, stripes[:4], anyway=True, **ELTZ | where)


# --- how it is used ---


def test_a_landmark_is_known_at_once_with_its_place(tagger, stripes):
    before = tagger.predict(stripes[5])
    assert "Burg Eltz" not in [guess.label for guess in before]
    assert taught(tagger, stripes, tags=("castle",)) is tagger
    best, *_ = answer = tagger.predict(stripes[5])
    assert (best.label, best.class_name, answer.is_known) == ("Burg Eltz", "Burg Eltz", True)
    assert (best.where, best.country_code, best.tags) == ("Wierschem, Germany", "DE", ("castle",))
    assert sum(guess.probability for guess in tagger.predict(stripes[5], 99)) == pytest.approx(1)
    assert tagger.describe("Burg Eltz").latitude == 50.205
    assert tagger.labels[-1] == "Burg Eltz" and tagger.taught == ("Burg Eltz",)


def test_photos_of_other_things_are_answered_nearly_as_before(tagger, stripes):
    photos = [make_photo(label, 90 + label) for label in range(3)]
    before = tagger.predict_batch(photos)
    after = taught(tagger, stripes).predict_batch(photos)
    for old, new in zip(before, after, strict=True):
        assert new[0].class_name == old[0].class_name and new.is_known == old.is_known
        assert new.score == old.score and new[0].probability <= old[0].probability


def test_what_is_forgotten_leaves_the_answers_as_they_were(tagger, stripes):
    before = tagger.predict(stripes[5])
    taught(tagger, stripes).forget("burg  eltz")
    assert tagger.predict(stripes[5]) == before and tagger.taught == ()
    with pytest.raises(LandmarkError, match="'Burg Eltz' was not taught"):
        tagger.forget("Burg Eltz")


def test_a_copy_learns_apart_from_the_original(tagger, stripes):
    other = taught(copy.copy(tagger), stripes)
    assert other.taught == ("Burg Eltz",) and tagger.taught == ()


def test_more_photos_of_a_landmark_are_added_to_it(tagger, stripes):
    taught(tagger, stripes)
    tagger.teach("burg eltz", stripes[4:6], anyway=True)
    assert tagger.taught == ("Burg Eltz",) and tagger._lessons.count("Burg Eltz") == 6


def test_a_landmark_of_the_gazetteer_needs_no_place(tagger, stripes):
    tagger.teach("neuschwanstein", stripes[:4], anyway=True)
    best = tagger.predict(stripes[5])[0]
    assert best.landmark == find_place("Neuschwanstein_Castle")
    assert best.name_in("de") == "Schloss Neuschwanstein"
    assert tagger.forget("Schloss Neuschwanstein").taught == ()


def test_explain_finds_what_was_taught(tagger, stripes):
    taught(tagger, stripes)
    found = tagger.explain(stripes[5])
    assert found.class_name == found.label == "Burg Eltz"
    assert tagger.explain(stripes[5], "Burg Eltz").box == found.box
    assert tagger.explain(stripes[5], tagger.config.labels[0]).label == tagger.config.labels[0]


# --- mistakes ---


@pytest.mark.parametrize(
    ("name", "photos", "where", "why"),
    [
        ("Burg Eltz", [], {}, "There are no photos"),
        ("Burg Eltz", "photo.jpg", {}, "a list of photos"),
        ("Burg Eltz", range(10_000), {}, r"10,000 photos are too many .* train a network"),
        ("Burg Eltz", ["gone.jpg"], {}, "gone.jpg"),
        ("Tour Eiffel", [0], {}, "Eiffel Tower is known already"),
        ("", [0], {}, "name '' is no text"),
        ("a\u202eb", [0], {}, "reverses text"),
        ("x" * 101, [0], {}, "longer than 100"),
        ("Burg Eltz", [0], {"latitude": 91.0, "longitude": 0.0}, "latitude is 91"),
        ("Burg Eltz", [0], {"latitude": float("nan"), "longitude": 0.0}, "latitude is nan"),
        ("Burg Eltz", [0], {"latitude": 50.0}, "give both"),
        ("Burg Eltz", [0], {"tags": "castle"}, "a list of words"),
        ("Burg Eltz", [0], {"city": "Wierschem"}, "knows no city"),
    ],
)
def test_what_cannot_be_taught_is_refused_and_changes_nothing(
    tagger, stripes, name, photos, where, why
):
    photos = [stripes[0]] if photos == [0] else photos
    with pytest.raises(LandmarkError, match=why):
        tagger.teach(name, photos, **where)
    assert tagger.taught == ()


def test_photos_of_a_landmark_that_is_known_are_refused_unless_told_otherwise(
    tagger, stripes, monkeypatch
):
    monkeypatch.setattr(classifier, "SURE", 0.0)  # it learned nothing, so it is never surer
    label = tagger.predict(stripes[0])[0].label
    with pytest.raises(
        LandmarkError, match=rf"look like {label}, which is known already \(\d of 4\)"
    ):
        tagger.teach("Burg Eltz", stripes[:4])
    assert tagger.teach("Burg Eltz", stripes[:4], anyway=True).taught == ("Burg Eltz",)


def test_a_photo_unlike_the_others_is_named_unless_told_otherwise(tagger, stripes, tmp_path):
    path = tmp_path / "shed.png"
    make_photo(1, 5).save(path)
    photos = [*stripes[:2], path, *stripes[2:4]]
    with pytest.raises(LandmarkError, match=r"Photo 3 of 5 \(shed.png\) looks unlike the others"):
        tagger.teach("Burg Eltz", photos)
    tagger.teach("Burg Eltz", stripes[:4])
    with pytest.raises(LandmarkError, match=r"Photo 1 of 1 \(shed.png\) looks unlike the others"):
        tagger.teach("Burg Eltz", [path])
    assert tagger.teach("Burg Eltz", [path], anyway=True)._lessons.count("Burg Eltz") == 5


# --- the file ---


def test_what_was_taught_comes_back_from_its_file(tagger, folder, stripes, tmp_path):
    path = tmp_path / "mine.landmarks"
    taught(tagger, stripes, tags=("castle", "<b>forest"))
    tagger.teach("neuschwanstein", [255 - photo for photo in stripes[:3]], anyway=True)
    tagger.save_taught(path)
    found = load(folder, taught=path)
    assert found.taught == tagger.taught
    for photo in (stripes[5], make_photo(0, 7)):
        assert found.predict(photo, 9) == tagger.predict(photo, 9)
    assert found.describe("Burg Eltz") == tagger.describe("Burg Eltz")
    assert load_file(path)["features"].dtype == np.float16
    with pytest.raises(LandmarkError, match="nothing to save"):
        load(folder).save_taught(path)


def test_a_file_of_another_network_is_refused(tagger, teachable, stripes, tmp_path):
    taught(tagger, stripes).save_taught(tmp_path / "mine.landmarks")
    other = teachable(1)
    with pytest.raises(LandmarkError, match=r"was taught to another network \(landmark_cnn"):
        load(other, taught=tmp_path / "mine.landmarks")


def edited(path: Path, tensors: dict, about: dict) -> Path:
    """The file with some tensors and metadata changed; None takes one away."""
    with safe_open(path, "np") as file:
        metadata = file.metadata() | about
    stored = {k: v for k, v in (load_file(path) | tensors).items() if v is not None}
    save_file(stored, path, {k: v for k, v in metadata.items() if v is not None})
    return path


def said(**changes: object) -> dict[str, str]:
    """The metadata of a file with one landmark, described as usual but for `changes`."""
    place = {"name": "A", "local_name": None, "place": None, "region": None, "country": None,
             "country_code": None, "latitude": None, "longitude": None, "extent_km": None,
             "tags": [], "names": {}, "says_region": False}  # fmt: skip
    return {"landmarks": json.dumps([place | changes])}


@pytest.mark.parametrize(
    ("tensors", "about"),
    [
        ({"features": None}, {}),
        ({"features": np.full((4, 320), np.nan, np.float16)}, {}),
        ({"features": np.ones((4, 319), np.float16)}, {}),
        ({"owners": np.array([0, 0, 0, 2], np.int32)}, {}),
        ({"owners": np.array([0, 0, 0, -1], np.int32)}, {}),
        ({"owners": np.zeros((4, 1), np.int32)}, {}),
        ({"more": np.zeros(3)}, {}),
        ({}, {"kind": None}),
        ({}, {"landmarks": "["}),
        ({}, {"landmarks": "{}"}),
        ({}, {"landmarks": "[[]]"}),
        ({}, said(name="")),
        ({}, said(latitude=True, longitude=0)),
        ({}, said(tags="castle")),
        ({}, said(names={"de": 7})),
        ({}, said(names={"xx": "a"})),
        ({}, said(place=[1])),
        ({}, said(more=1)),
    ],
)
def test_a_damaged_file_is_refused_in_a_sentence(tagger, folder, stripes, tmp_path, tensors, about):
    path = tmp_path / "mine.landmarks"
    taught(tagger, stripes).save_taught(path)
    load(folder, taught=edited(path, {}, said()))  # which is right
    with pytest.raises(LandmarkError, match=r"mine\.landmarks"):
        load(folder, taught=edited(path, tensors, about))


@pytest.mark.parametrize("content", [b"", b"x" * 100, b"\x80\x04K\x01."])
def test_what_is_no_such_file_is_refused(folder, tmp_path, content):
    (tmp_path / "mine.landmarks").write_bytes(content)
    with pytest.raises(LandmarkError, match=r"mine\.landmarks is not a file of .* not whole"):
        load(folder, taught=tmp_path / "mine.landmarks")


# --- the background ---


def test_a_background_keeps_its_features_to_a_hundredth(tmp_path):
    features = unit_length(RANDOM.normal(size=(40, 64)))
    kept = Background(features)
    (tmp_path / BACKGROUND_NAME).write_bytes(kept.to_bytes())
    np.testing.assert_allclose(read_background(tmp_path, 64).features, features, atol=0.01)


def test_of_many_photos_a_background_takes_known_and_unknown_ones(tmp_path):
    known, unknown = np.ones((5000, 4)), -np.ones((5000, 4))
    for others, share in ((unknown, 0.5), (unknown[:100], 100 / MOST_PHOTOS), (None, 0)):
        found = Background.choose(known, others).features
        assert len(found) == MOST_PHOTOS and (found < 0).all(1).mean() == pytest.approx(share)


@pytest.mark.parametrize(
    "stored",
    [
        {"features": np.ones((3, 320), np.int8)},
        {"features": np.ones((3, 320), np.float32), "scales": np.ones(3, np.float32)},
        {"features": np.ones((3, 319), np.int8), "scales": np.ones(3, np.float32)},
        {"features": np.ones((3, 320), np.int8), "scales": np.full(3, np.nan, np.float32)},
        {"features": np.ones((3, 320), np.int8), "scales": np.ones(2, np.float32)},
        {"features": np.zeros((0, 320), np.int8), "scales": np.ones(0, np.float32)},
    ],
)
def test_a_damaged_background_is_refused(folder, tmp_path, stripes, stored):
    damaged = Path(shutil.copytree(folder, tmp_path / "run"))
    save_file(stored, damaged / BACKGROUND_NAME)
    with pytest.raises(LandmarkError, match="do not belong together"):
        load(damaged).teach("Burg Eltz", stripes[:3])


def test_a_network_without_a_background_says_how_to_make_it(folder, tmp_path, stripes):
    lacking = Path(shutil.copytree(folder, tmp_path / "run"))
    (lacking / BACKGROUND_NAME).unlink()
    with pytest.raises(LandmarkError, match=r"python -m landmark_model\.training\.remeasure"):
        load(lacking).teach("Burg Eltz", stripes[:3])


# --- how near is near ---


def test_a_landmark_wins_by_what_the_background_leaves_it():
    """Photos of a landmark lie around a point of their own; those of the background do not."""
    background = unit_length(RANDOM.normal(size=(300, 64)) + 3 * np.eye(64)[0])
    around = unit_length(background[0] + 6 * np.eye(64)[5] + 0.3 * RANDOM.normal(size=(9, 64)))
    lessons = Lessons.none(Look.at(Background(background)))
    lessons = lessons.add(make_place("A", {}), around[:5])
    assert (lessons.logits(around[5:]) > 0).all() and (lessons.logits(background) < 0).all()


def test_removing_a_landmark_leaves_the_others_their_photos():
    features = unit_length(RANDOM.normal(size=(60, 16)))
    lessons = Lessons.none(Look.at(Background(features[:40])))
    for number, name in enumerate("ABC"):
        lessons = lessons.add(make_place(name, {}), features[40 + 3 * number :][: 2 + number])
    alone = lessons.remove("B")
    both = lessons.logits(features)[:, [0, 2]]
    np.testing.assert_allclose(alone.logits(features), both, rtol=1e-5, atol=1e-5)
