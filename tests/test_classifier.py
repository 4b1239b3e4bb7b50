"""`load` gives something ready to use, and one photo has one answer, however it comes."""

import csv
import io
import os
import random
import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from landmark_model import (
    Answer,
    LandmarkClassifier,
    LandmarkError,
    Prediction,
    load,
    open_photo,
    torch_trunk,
)
from landmark_model.config import ModelConfig
from landmark_model.networks import build
from landmark_model.places import Place, find_place
from landmark_model.runtime import CPU_BATCH, Runtime
from landmark_model.torch_trunk import TorchTrunk
from landmark_model.training.smoke import make_photo

FOLDER = Path(__file__).parents[1] / "examples"
EXAMPLES = sorted(FOLDER.glob("*.jpg"))
ALL = 10**6  # guesses: more than there are classes
EIFFEL = FOLDER / "eiffel-tower.jpg"
with (FOLDER / "CREDITS.csv").open(encoding="utf-8", newline="") as file:
    CREDITS = {row["file"]: row["landmark_class"] for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def tagger():
    """The classifier that people get."""
    return load(device="cpu")


@pytest.fixture
def unknown():
    """A classifier of places that no gazetteer knows, untrained."""
    torch.manual_seed(0)
    config = ModelConfig("landmark_cnn", ("my_house", "04.our_shed"), ("My House", "Shed"), 32)
    return LandmarkClassifier(Runtime(TorchTrunk(build(config), config, "cpu"), config))


@pytest.fixture(scope="module")
def small_photos():
    """The examples, shrunk, so that they are quickly saved and read in many formats."""
    photos = {path: open_photo(path) for path in EXAMPLES}
    for photo in photos.values():
        photo.thumbnail((320, 320))
    return photos


def probabilities(guesses: list[Prediction]) -> dict[str, float]:
    """How probable each class is."""
    return {guess.class_name: guess.probability for guess in guesses}


def gap(one: list[Prediction], two: list[Prediction]) -> float:
    """The largest difference in the probability of any class."""
    first, second = probabilities(one), probabilities(two)
    assert first.keys() == second.keys()
    return max(abs(first[name] - second[name]) for name in first)


# --- what comes out ---


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_probabilities_are_a_ranked_distribution(tagger, path):
    guesses = tagger.predict(path, top_k=ALL)
    values = [guess.probability for guess in guesses]
    assert sum(values) == pytest.approx(1, abs=1e-9)
    assert values == sorted(values, reverse=True)
    assert all(0 <= value <= 1 for value in values)
    assert sorted(guess.label for guess in guesses) == sorted(tagger.labels)


# LandmarkCNN, trained from scratch on few photos, is wrong on about one in four.
@pytest.mark.parametrize(
    ("network", "least"), [("tf_efficientnet_lite2", 11), ("resnet18", 11), ("landmark_cnn", 8)]
)
def test_examples_are_recognised(network, least):
    named = {FOLDER / file: name for file, name in CREDITS.items() if name}
    assert len(named) == 11
    answers = load(network=network, device="cpu").predict_batch(list(named), top_k=1)
    found = [guess.class_name for (guess,) in answers]
    right = sum(one == other for one, other in zip(found, named.values(), strict=True))
    assert right >= least, dict(zip(named, found, strict=True))


def test_photo_of_something_else_is_none_of_these(tagger):
    answer = tagger.predict(FOLDER / "none-of-these.jpg")
    assert answer.is_known is False and len(answer) == 5
    known = tagger.predict_batch([path for path in EXAMPLES if CREDITS[path.name]])
    assert all(answer.is_known for answer in known)
    assert min(answer.score for answer in known) > tagger.config.known_threshold > answer.score


def test_every_example_has_its_credits():
    assert {path.name for path in EXAMPLES} == set(CREDITS)


def test_top_k_is_the_number_of_guesses_as_far_as_there_are_classes(tagger):
    class_count = len(tagger.labels)
    everything = tagger.predict(EIFFEL, ALL)
    assert len(everything) == class_count
    for top_k in (1, 2, class_count - 1, class_count, class_count + 1):
        assert tagger.predict(EIFFEL, top_k) == everything[:top_k]


@pytest.mark.parametrize("top_k", [0, -1, "5", 2.0, True, None])
def test_number_of_guesses_that_is_none_is_refused(tagger, top_k):
    for ask in (tagger.predict, lambda photo, k: tagger.predict_batch([], k)):
        with pytest.raises(LandmarkError, match=re.escape(f"top_k is {top_k!r}: it must be")):
            ask(EIFFEL, top_k)


def test_prediction_tells_what_the_gazetteer_knows(tagger):
    best = tagger.predict(EIFFEL, top_k=1)[0]
    place = find_place("Eiffel_Tower")
    assert best.label == "Eiffel Tower"
    for field in ("place", "country", "country_code", "latitude", "longitude", "local_name",
                  "tags", "where"):  # fmt: skip
        assert getattr(best, field) == getattr(place, field) is not None
    assert best.flag == "🇫🇷"
    assert best.where == "Paris, France"


def test_every_landmark_that_ships_is_in_the_gazetteer(tagger):
    for guess in tagger.predict(EIFFEL, top_k=ALL):
        assert guess.where and guess.tags and guess.flag, guess
        assert -90 <= guess.latitude <= 90 and -180 <= guess.longitude <= 180


def test_landmark_that_no_gazetteer_knows_has_a_label_only(unknown):
    guesses = unknown.predict(make_photo(0, 1))
    assert {(g.class_name, g.label) for g in guesses} == {
        ("my_house", "My House"), ("04.our_shed", "Shed")
    }  # fmt: skip
    for guess in guesses:
        assert guess.place is guess.country is guess.latitude is guess.local_name is None
        assert guess.tags == ()
        assert guess.where == guess.flag == ""


def test_temperature_makes_answers_humbler_and_keeps_their_order():
    torch.manual_seed(0)
    network = build(ModelConfig("landmark_cnn", ("a", "b", "c"), ("A", "B", "C"), 32))
    answers = []
    for temperature in (0.1, 1.0, 10.0):
        config = ModelConfig("landmark_cnn", ("a", "b", "c"), ("A", "B", "C"), 32,
                             temperature=temperature)  # fmt: skip
        runtime = Runtime(TorchTrunk(network, config, "cpu"), config)
        answers.append(LandmarkClassifier(runtime).predict(make_photo(0, 1)))
    best = [guesses[0].probability for guesses in answers]
    assert best == sorted(best, reverse=True)
    assert len({tuple(guess.label for guess in guesses) for guesses in answers}) == 1
    assert best[-1] < best[0]


# --- what goes in ---


def as_palette(photo: Image.Image) -> Image.Image:
    """256 colours."""
    return photo.quantize(256, dither=Image.Dither.NONE)


def as_transparent(photo: Image.Image) -> Image.Image:
    """With an alpha channel that hides nothing."""
    return photo.convert("RGBA")


def as_cmyk(photo: Image.Image) -> Image.Image:
    """As for print."""
    return photo.convert("CMYK")


def encoded(photo: Image.Image, kind: str, **options: object) -> io.BytesIO:
    """The photo as a file of that kind."""
    buffer = io.BytesIO()
    photo.save(buffer, kind, **options)
    buffer.seek(0)
    return buffer


WRAPPINGS = {
    "array": (np.asarray, 0),
    "rgba array": (lambda photo: np.asarray(as_transparent(photo)), 0),
    "png": (lambda photo: encoded(photo, "PNG"), 0),
    "bytes": (lambda photo: encoded(photo, "PNG").getvalue(), 0),
    "rgba": (as_transparent, 0),
    "rgba file": (lambda photo: encoded(as_transparent(photo), "PNG"), 0),
    "cmyk": (as_cmyk, 0),
    "webp": (lambda photo: encoded(photo, "WEBP", lossless=True), 0),
    "tiff": (lambda photo: encoded(photo, "TIFF"), 0),
    "palette": (as_palette, 0.35),
    "jpeg": (lambda photo: encoded(photo, "JPEG", quality=90), 0.25),
}


@pytest.mark.parametrize(("wrap", "tolerance"), WRAPPINGS.values(), ids=WRAPPINGS)
@pytest.mark.parametrize(
    "path", [path for path in EXAMPLES if CREDITS[path.name]], ids=lambda path: path.stem
)
def test_one_photo_has_one_answer_in_any_wrapping(tagger, small_photos, path, wrap, tolerance):
    plain = tagger.predict(small_photos[path], top_k=ALL)
    wrapped = tagger.predict(wrap(small_photos[path]), top_k=ALL)
    assert wrapped[0].label == plain[0].label
    assert gap(plain, wrapped) <= tolerance


def test_grey_photo_has_one_answer_at_8_and_16_bits(tagger, small_photos):
    for photo in small_photos.values():
        grey = photo.convert("L")
        deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
        assert deep.mode.startswith("I;16")
        plain = tagger.predict(grey, top_k=ALL)
        for same in (grey.convert("RGB"), deep, encoded(deep, "PNG"), grey.convert("LA")):
            assert gap(plain, tagger.predict(same, top_k=ALL)) < 0.01


@pytest.mark.parametrize("photo", [EIFFEL, str(EIFFEL), EIFFEL.read_bytes()], ids=type)
def test_path_and_bytes_are_the_same_photo(tagger, photo):
    opened = tagger.predict(Image.open(EIFFEL), top_k=ALL)
    assert gap(tagger.predict(photo, top_k=ALL), opened) < 0.02  # a file is decoded at less detail


def test_photo_held_upside_down_is_set_upright(tagger):
    turned = open_photo(EIFFEL).rotate(180)
    exif = Image.Exif()
    exif[0x0112] = 3
    assert gap(
        tagger.predict(encoded(turned, "PNG", exif=exif), top_k=ALL),
        tagger.predict(EIFFEL, top_k=ALL),
    ) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("size", [(8, 8), (8, 3000), (3000, 8), (33, 77)], ids=str)
def test_photo_of_any_size_has_an_answer(tagger, size):
    guesses = tagger.predict(make_photo(2, 1).resize(size), top_k=ALL)
    assert sum(guess.probability for guess in guesses) == pytest.approx(1)


def test_predicting_leaves_the_photo_as_it_was(tagger):
    photo = Image.open(EIFFEL).convert("RGBA")
    before = photo.tobytes()
    tagger.predict(photo)
    assert (photo.mode, photo.tobytes()) == ("RGBA", before)


# --- many at once ---


def test_batch_equals_one_by_one(tagger):
    together = tagger.predict_batch(EXAMPLES, top_k=ALL)
    assert len(together) == len(EXAMPLES)
    for path, guesses in zip(EXAMPLES, together, strict=True):
        assert gap(guesses, tagger.predict(path, top_k=ALL)) < 1e-5


@pytest.mark.parametrize("batch_size", [1, 2, 4, 100])
def test_answer_does_not_depend_on_batch_mates(tagger, batch_size):
    plain = dict(zip(EXAMPLES, tagger.predict_batch(EXAMPLES, top_k=ALL), strict=True))
    mixed = random.Random(batch_size).sample(EXAMPLES, len(EXAMPLES))
    answers = tagger.predict_batch(mixed, top_k=ALL, batch_size=batch_size)
    for path, guesses in zip(mixed, answers, strict=True):
        assert gap(guesses, plain[path]) < 1e-5


def test_passes_on_a_cpu_are_small_unless_told_otherwise(tagger, monkeypatch):
    sizes, describe = [], Runtime.describe

    def count(runtime, photos):
        sizes.append(len(photos))
        return describe(runtime, photos)

    monkeypatch.setattr(Runtime, "describe", count)
    tagger.predict_batch(EXAMPLES[:1] * (CPU_BATCH + 1))
    tagger.predict_batch(EXAMPLES[:1] * 9, batch_size=7)
    assert [sorted(sizes[:2]), sorted(sizes[2:])] == [[1, CPU_BATCH], [2, 7]]


def test_a_gpu_looks_at_one_batch_at_a_time(monkeypatch):
    config = ModelConfig("landmark_cnn", ("a", "b"), ("A", "B"), 32)
    device = "cpu:0"  # torch's long name of the CPU stands in for another device
    tagger = LandmarkClassifier(Runtime(TorchTrunk(build(config), config, device), config))
    at_once, counts, compute = [], [], torch_trunk.compute_features

    def count(network, images):
        at_once.append(images)
        counts.append(len(at_once))
        found = compute(network, images)
        at_once.pop()
        return found

    monkeypatch.setattr(torch_trunk, "compute_features", count)
    with ThreadPoolExecutor(8) as pool:
        answers = [*pool.map(tagger.predict, [Image.new("RGB", (40, 40))] * 64)]
    assert len(answers) == len(counts) == 64 and set(counts) == {1}


def test_a_file_object_that_is_there_twice_is_answered_twice(tagger):
    photo = io.BytesIO(EIFFEL.read_bytes())
    answers = tagger.predict_batch([photo] * 12, batch_size=1, top_k=1)
    assert [answer[0].label for answer in answers] == ["Eiffel Tower"] * 12


def test_no_photos_have_no_answers(tagger):
    assert tagger.predict_batch([]) == []


@pytest.mark.parametrize("kind", [tuple, iter, lambda photos: (p for p in photos)],
                         ids=["tuple", "iterator", "generator"])  # fmt: skip
def test_photos_come_as_any_collection(tagger, kind):
    photos = EXAMPLES[:3]
    assert tagger.predict_batch(kind(photos), top_k=2) == tagger.predict_batch(photos, top_k=2)


@pytest.mark.parametrize(
    "photo",
    [
        lambda: str(EIFFEL),
        lambda: EIFFEL,
        EIFFEL.read_bytes,
        lambda: bytearray(EIFFEL.read_bytes()),
        lambda: open_photo(EIFFEL),
        lambda: np.asarray(open_photo(EIFFEL)),
        lambda: io.BytesIO(EIFFEL.read_bytes()),
        lambda: None,
    ],
    ids=["str", "path", "bytes", "bytearray", "image", "array", "file", "none"],
)
def test_one_photo_in_place_of_a_list_is_refused(tagger, photo):
    with pytest.raises(LandmarkError):
        tagger.predict_batch(photo())


@pytest.mark.parametrize("batch_size", [0, -3])
def test_batches_of_nothing_are_refused(tagger, batch_size):
    with pytest.raises(LandmarkError, match=f"batch_size is {batch_size}"):
        tagger.predict_batch(EXAMPLES, batch_size=batch_size)


def test_broken_photo_in_a_batch_is_named_or_stands_in_its_place(tagger, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_text("no photo")
    with pytest.raises(LandmarkError, match=r"broken\.jpg"):
        tagger.predict_batch([EIFFEL, broken])
    photos = [broken, EIFFEL, broken, broken, EIFFEL]
    answers = tagger.predict_batch(photos, batch_size=2, errors="skip")
    wrong = [isinstance(answer, LandmarkError) for answer in answers]
    assert wrong == [True, False, True, True, False]
    assert answers[1][0].label == answers[4][0].label == "Eiffel Tower"
    assert tagger.predict_batch([broken], errors="skip")[0].reason == "no_photo"
    with pytest.raises(LandmarkError, match=r"errors is 'ignore'\. Use"):
        tagger.predict_batch([EIFFEL], errors="ignore")


@pytest.mark.parametrize("scheme", ["https", "HTTP", "ftp", "file"])
def test_address_is_not_fetched(tagger, scheme):
    with pytest.raises(LandmarkError, match=r"not fetched .* Download the photo"):
        tagger.predict(f"{scheme}://example.com/eiffel.jpg")


@pytest.mark.parametrize("photo", [None, 7, "no such.jpg", b"", [EIFFEL], torch.zeros(3, 8, 8)])
def test_what_is_no_photo_is_refused(tagger, photo):
    with pytest.raises(LandmarkError):
        tagger.predict(photo)


# --- loading ---


def test_two_classifiers_do_not_share_weights(tagger):
    other = load(device="cpu")
    before = tagger.predict(EIFFEL)
    other._runtime.trunk.weight[:] = 0
    assert tagger.predict(EIFFEL) == before != other.predict(EIFFEL)


def test_loaded_network_is_at_rest(tagger):
    by_torch = load(device="cpu", backend="torch")
    assert not any(module.training for module in by_torch._runtime.trunk._network.modules())
    assert by_torch.predict(EIFFEL) == by_torch.predict(EIFFEL)
    assert tagger.predict(EIFFEL) == tagger.predict(EIFFEL)
    assert torch.is_grad_enabled()


def test_classifier_says_what_it_is(tagger):
    assert repr(tagger) == "LandmarkClassifier(tf_efficientnet_lite2, 100 landmarks, cpu)"
    assert tagger.labels == tagger.config.labels
    assert len(set(tagger.labels)) == 100


@pytest.mark.parametrize("kind", [str, Path])
def test_run_folder_can_be_loaded(smoke_run, kind):
    tagger = load(kind(smoke_run.folder), device="cpu")
    assert tagger.config.architecture == smoke_run.network
    assert tagger.labels == ("Eiffel Tower", "Golden Gate Bridge", "Stonehenge")
    photo = next((smoke_run.data / "test").rglob("*.png"))
    assert len(tagger.predict(photo)) == 3


def test_folder_may_be_moved(small_run, tmp_path):
    copy = tmp_path / "else where"
    copy.mkdir()
    for name in ("config.json", "model.safetensors", "features.safetensors"):
        shutil.copy(small_run.folder / name, copy)
    photo = make_photo(0, 1)
    there, here = (load(f, device="cpu").predict(photo) for f in (small_run.folder, copy))
    assert there == here


@pytest.mark.parametrize("device", ["nonsense", "cuda:99", "mps:7", "cpu:x", "", "gpu"])
def test_device_that_is_not_here_is_refused(small_run, device):
    if not device:
        assert load(small_run.folder, device=device).device in ("cpu", "cuda", "mps")
        return
    with pytest.raises(LandmarkError, match=device):
        load(small_run.folder, device=device).predict(EIFFEL)


def test_file_in_place_of_a_folder_is_refused(small_run):
    with pytest.raises(LandmarkError, match=r"model\.safetensors"):
        load(small_run.folder / "model.safetensors", device="cpu")


def test_threads_agree(tagger):
    expected = {path: tagger.predict(path, top_k=ALL) for path in EXAMPLES[:2]}
    start = threading.Barrier(8)

    def predict(number: int) -> tuple[Path, list[Prediction]]:
        start.wait()
        path = EXAMPLES[number % 2]
        return path, tagger.predict(path, top_k=ALL)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(predict, range(16)))
    assert len(answers) == 16
    for path, guesses in answers:
        assert gap(guesses, expected[path]) < 1e-6


def test_network_can_be_used_after_a_change_of_folder(tagger, tmp_path, monkeypatch):
    expected = tagger.predict(EIFFEL)
    monkeypatch.chdir(tmp_path)
    assert os.listdir() == []
    assert load(device="cpu").predict(EIFFEL) == expected


# --- in other languages ---


def test_a_guess_tells_its_name_and_place_in_other_languages():
    names = {"de": "Kolosseum", "zh": "罗马斗兽场"}
    colosseum = Place("Colosseum", None, "Rome", "Italy", "IT", names=names)
    guess = Prediction("Colosseum", "x", 0.9, colosseum)
    assert (guess.name_in("de-AT"), guess.where_in("de-AT")) == ("Kolosseum", "Rom, Italien")
    assert (guess.name_in("zh-CN"), guess.where_in("zh-CN")) == ("罗马斗兽场", "意大利罗马")
    assert (guess.name_in("fr"), guess.where_in("fr")) == ("Colosseum", "Rome, Italie")
    assert (guess.name_in("en"), guess.where_in("en")) == ("Colosseum", guess.where)
    assert guess.in_language("zh").where == guess.where_in("zh") == "意大利罗马"
    assert guess.in_language("ja") == guess.in_language(None) == guess
    assert hash(guess)


def test_an_answer_in_a_language_has_all_words_in_it():
    tags = ("mountain top", "peak", "Peru")
    names = {"de": "Altes Haus"}
    place = Place("Old House", None, "Rome", "Italy", "IT", tags=tags, names=names)
    house = Prediction("Old House", "x", 0.9, place)
    answer = Answer([house], 1.5, False).in_language("de")
    assert (answer.score, answer.is_known) == (1.5, False)
    (guess,) = answer
    assert (guess.label, guess.class_name, guess.where) == ("Altes Haus", "x", "Rom, Italien")
    assert guess.tags == ("Berggipfel", "Gipfel", "Peru")
    assert guess.in_language("de") == guess and house.in_language("en") == house


def test_tags_that_are_one_word_in_a_language_are_said_once():
    shores = Prediction("x", "x", 0.9, Place("x", tags=("sea", "mountain", "sea")))
    assert shores.in_language("fr").tags == ("mer", "montagne")


def test_a_guess_that_the_gazetteer_lacks_keeps_its_label():
    guess = Prediction("My Old Mill", "my_old_mill", 0.9)
    assert (guess.name_in("de"), guess.where_in("zh"), guess.country) == ("My Old Mill", "", None)


def test_a_landmark_is_described_as_predict_would(tagger):
    best = tagger.predict(EIFFEL)[0]
    assert tagger.describe(best.class_name, best.probability) == best
    with pytest.raises(LandmarkError, match="Atlantis"):
        tagger.describe("Atlantis")
