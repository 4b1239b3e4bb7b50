"""From folders to splits: nothing is dropped in silence, nothing is on both sides."""

import random
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from landmark_model.config import LandmarkError, ModelConfig
from landmark_model.preprocess import by_shape, eval_crop, eval_transform
from landmark_model.training.augment import to_tensor
from landmark_model.training.data import (
    NEAR_BITS,
    SPLITS,
    PhotoSet,
    Splits,
    difference_hash,
    load_splits,
    load_unknown,
    make_batches,
    near_pairs,
    seen_photos,
)
from landmark_model.training.report import find_leaks, make_report
from landmark_model.training.smoke import make_photo

TWO = {"bridge": 5, "tower": 5}
SPLIT = {f"{split}/{name}": 2 for split in SPLITS for name in TWO}
EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.jpg"))
CONFIG = ModelConfig("landmark_cnn", ("a", "b"), ("A", "B"), image_size=32)


def paths(splits: Splits) -> dict[str, set[str]]:
    """The photos of each split."""
    return {name: set(table["path"]) for name, table in splits.items()}


def contents(splits: Splits) -> dict[str, set[str]]:
    """The hashes of the files of each split."""
    return {name: set(table["sha256"]) for name, table in splits.items()}


def sizes(splits: Splits) -> dict[str, int]:
    """The number of photos in each split."""
    return {name: len(table) for name, table in splits.items()}


def resave(photo: Path, copy: Path, scale: float = 0.8, quality: int = 85) -> None:
    """Writes a smaller, recompressed copy of a photo, as the web does."""
    with Image.open(photo) as image:
        size = tuple(round(scale * side) for side in image.size)
        image.resize(size).save(copy, quality=quality)


# --- layouts ---


def test_split_folders_are_taken_as_they_are(lay_out):
    root = lay_out({"train/a": 3, "train/b": 4, "validation/a": 2, "validation/b": 1,
                    "test/a": 1, "test/b": 2})  # fmt: skip
    splits, skipped = load_splits(root, seed=0)
    assert splits.class_names == ("a", "b")
    assert skipped == []
    for split, table in splits.items():
        inside = {str(path) for path in (root / split).rglob("*.png")}
        assert paths(splits)[split] == inside
        for path, label in zip(table["path"], table["label"], strict=True):
            assert splits.class_names[label] == Path(path).parent.name


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [("Train", "val", "TEST"), ("training", "valid", "testing"), ("train", "dev", "test")],
)
def test_split_folders_go_by_other_names(lay_out, train, validation, test):
    root = lay_out({f"{folder}/{name}": 2 for folder in (train, validation, test) for name in TWO})
    splits, _ = load_splits(root, seed=0)
    assert sizes(splits) == {"train": 4, "validation": 4, "test": 4}


def test_unsplit_folder_is_split_by_class_without_loss(lay_out):
    root = lay_out({"a": 10, "b": 20})
    splits, _ = load_splits(root, seed=0, share=0.2)
    assert Counter(splits.validation["class_name"]) == {"a": 2, "b": 4}
    assert Counter(splits.test["class_name"]) == {"a": 2, "b": 3}
    parts = paths(splits).values()
    assert sum(map(len, parts)) == 30
    assert set().union(*parts) == {str(path) for path in root.rglob("*.png")}


def test_seed_settles_the_split(lay_out):
    root = lay_out({"a": 12, "b": 12})
    first, again, other = (paths(load_splits(root, seed)[0]) for seed in (3, 3, 4))
    assert first == again
    assert first["test"] != other["test"]
    assert first["validation"] != other["validation"]


def test_split_does_not_depend_on_names_or_order_of_files(lay_out, tmp_path):
    root = lay_out({"a": 12, "b": 12})
    renamed = tmp_path / "renamed"
    numbers = random.Random(0).sample(range(1000), 24)
    for path, number in zip(sorted(root.rglob("*.png")), numbers, strict=True):
        target = renamed / path.parent.name / f"{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    first, second = load_splits(root, seed=0)[0], load_splits(renamed, seed=0)[0]
    assert contents(first) == contents(second)


def test_copies_and_near_copies_stay_on_one_side(lay_out):
    root = lay_out({"a": 6, "b": 6})
    for path in list(root.rglob("*.png")):
        shutil.copy(path, path.with_name(f"copy of {path.name}"))
        resave(path, path.with_name(f"small {path.stem}.jpg"))
    for seed in range(4):
        splits, _ = load_splits(root, seed, share=0.3)
        assert sum(sizes(splits).values()) == 36
        assert sizes(splits)["train"] < 36
        assert find_leaks(splits, root) == []
        assert len(set(splits.test["class_name"])) == 2


@pytest.mark.parametrize(
    "counts",
    [
        {"test_tower": 4, "train_museum": 4, "validation hall": 4},
        {"train/test_tower": 4, "train/train_museum": 4},
        {"train/val": 4, "train/test": 4, "train/train": 4},
        {"val": 4, "tower": 4},
        {"test": 4, "tower": 4},
    ],
    ids=lambda counts: " ".join(counts),
)
def test_class_named_like_a_split_is_a_class(lay_out, counts):
    splits, skipped = load_splits(lay_out(counts), seed=0)
    assert set(splits.class_names) == {name.removeprefix("train/") for name in counts}
    assert sum(sizes(splits).values()) + len(skipped) == 4 * len(counts)
    assert skipped == []


@pytest.mark.parametrize(
    "name",
    ["St. Peter's [Rome]", "Hạ Long 東京", "a*b?", "50% off #1", "{x}", " x", "$HOME", "c::d"],
)
def test_any_name_of_folder_class_and_file_works(lay_out, tmp_path, name):
    root = lay_out({name: 4, "tower": 4}).rename(tmp_path / name)
    (root / "tower" / "0.png").rename(root / "tower" / f"{name}.PNG")
    splits, skipped = load_splits(root, seed=0)
    assert set(splits.class_names) == {name, "tower"} and skipped == []
    assert str(root / "tower" / f"{name}.PNG") in set().union(*paths(splits).values())
    assert sum(sizes(splits).values()) == 8
    assert make_report(splits, [], root).leaks == []


def test_name_that_is_no_text_is_told(lay_out):
    root = lay_out(TWO)
    (root / "tower" / "0.png").rename(root / "tower" / "caf\udce9.png")
    splits, skipped = load_splits(root, seed=0)
    assert sum(sizes(splits).values()) == 9
    assert ["not UTF-8; rename it" in item.reason for item in skipped] == [True]


def test_other_files_do_no_harm(lay_out):
    root = lay_out(TWO)
    for name in ("metadata.csv", "metadata.jsonl", "labels.txt", ".DS_Store"):
        (root / "tower" / name).write_text("file_name,label\n0.png,7\n")
    for place in ("photos.zip", "tower/photos.zip"):
        with zipfile.ZipFile(root / place, "w") as archive:
            archive.write(root / "tower" / "0.png", "tower/0.png")
    splits, _ = load_splits(root, seed=0)
    assert splits.class_names == ("bridge", "tower")
    assert sum(sizes(splits).values()) == 10


@pytest.mark.parametrize("counts", [TWO, SPLIT], ids=["unsplit", "split"])
def test_hidden_and_system_folders_are_no_classes_and_are_named(lay_out, counts):
    inside = next(iter(counts)).rpartition("/")[0]
    odd = [".ipynb_checkpoints", "__MACOSX", f"{inside}/@eaDir", f"{inside}/tower/.thumbnails"]
    odd = [name.lstrip("/") for name in odd]
    root = lay_out(counts | dict.fromkeys(odd, 3))
    splits, skipped = load_splits(root, seed=0)
    assert splits.class_names == ("bridge", "tower")
    assert sum(sizes(splits).values()) == sum(counts.values())
    assert sorted(item.path for item in skipped) == sorted(odd)
    report = str(make_report(splits, skipped, root))
    assert f"{odd[1]}: a system folder" in report and f"{odd[3]}: a hidden folder" in report


def test_links_in_a_circle_end(lay_out):
    root = lay_out(TWO)
    for link in ("again", "tower/again"):
        (root / link).symlink_to(root)
    splits, skipped = load_splits(root, seed=0)
    assert sum(sizes(splits).values()) == 10
    assert [item.path for item in skipped] == ["again", "tower/again"]


def test_links_to_photos_classes_and_the_whole_folder_are_followed(lay_out, tmp_path):
    root = lay_out({**TWO, "ring": 4})
    make_photo(1, 99).save(tmp_path / "elsewhere.png")
    (root / "tower" / "link.png").symlink_to(tmp_path / "elsewhere.png")
    (root / "ring").rename(tmp_path / "elsewhere")
    (root / "ring").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "link").symlink_to(root)
    splits, skipped = load_splits(tmp_path / "link", seed=0)
    assert splits.class_names == ("bridge", "ring", "tower") and skipped == []
    assert sum(make_report(splits, skipped, tmp_path / "link").totals().values()) == 15


# --- what cannot be used ---


def test_unreadable_photos_are_named_with_the_reason(lay_out):
    root = lay_out(TWO)
    (root / "tower" / "letter.jpg").write_text("Dear all")
    (root / "tower" / "empty.png").write_bytes(b"")
    whole = (root / "tower" / "0.png").read_bytes()
    (root / "bridge" / "cut.png").write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (1, 1)).save(root / "bridge" / "dot.png")
    Image.new("RGB", (1, 900)).save(root / "bridge" / "line.png")
    shutil.copy(root / "tower" / "1.png", root / "stray.png")
    splits, skipped = load_splits(root, seed=0)
    reasons = {item.path: item.reason for item in skipped}
    assert len(reasons) == len(skipped) == 6
    for path, word in {
        "tower/letter.jpg": "not a photo",
        "tower/empty.png": "empty",
        "bridge/cut.png": "cut off",
        "bridge/dot.png": "1 x 1 px",
        "bridge/line.png": "1 x 900 px",
        "stray.png": "outside the class folders",
    }.items():
        assert word in reasons[path]
    assert sum(sizes(splits).values()) == 10
    text = str(make_report(splits, skipped, root))
    assert "skipped files: 6" in text
    for path, reason in reasons.items():
        assert f"{path}: {reason}" in text


@pytest.mark.parametrize("ending", [".HEIC", ".avif"])
def test_photo_of_a_format_of_phones_is_used(lay_out, ending):
    root = lay_out(TWO)
    (root / "tower" / f"phone{ending}").write_bytes((root / "tower" / "0.png").read_bytes())
    splits, skipped = load_splits(root, seed=0)
    assert str(root / "tower" / f"phone{ending}") in set().union(*paths(splits).values())
    assert skipped == []


@pytest.mark.parametrize("place", ["stray.png", "train/stray.png", "extra/tower/0.png"])
def test_photo_outside_split_and_class_folders_is_named(lay_out, place):
    root = lay_out(SPLIT)
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    make_photo(0, 99).save(root / place)
    splits, skipped = load_splits(root, seed=0)
    assert sum(sizes(splits).values()) == 12
    assert place.split("/")[0] in {item.path.split("/")[0] for item in skipped}


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({}, "is not a folder"),
        ({".": 0}, "no photos"),
        ({"tower": 0, "bridge": 0}, "no photos"),
        ({"tower": 4}, "one class"),
        ({"train/tower": 4, "test/tower": 4}, "one class"),
        ({"test/tower": 4, "test/bridge": 4}, "train"),
        ({"train": 4}, "outside the class folders"),
        ({"train/tower": 4, "train/bridge": 4, "validation": 0}, "validation"),
        ({"train/tower": 3, "train/bridge": 3, "test/tower": 3}, "bridge"),
        ({"train/tower": 3, "train/bridge": 3, "validation/tower": 3}, "--allow-missing"),
        ({"train/tower": 4, "train/bridge": 4, "test/tower": 1, "test/bridge": 1, "test/ring": 1},
         "ring"),
        ({"tower": 9, "bridge": 9, "ring": 1}, "ring"),
        ({"tower": 9, "bridge": 9, "ring": 2}, "3 or more"),
        (SPLIT | {"val/tower": 3, "val/bridge": 3}, "has both val and validation|both validation"),
    ],
    ids=str,
)  # fmt: skip
def test_folder_that_cannot_be_learned_from_is_refused_in_words(lay_out, counts, words):
    root = lay_out(counts)
    with pytest.raises(LandmarkError, match=words):
        load_splits(root, seed=0)


def test_folder_of_nothing_but_broken_photos_is_refused(lay_out):
    root = lay_out({"tower": 0, "bridge": 0})
    for name in ("tower/1.jpg", "bridge/2.jpg"):
        (root / name).write_text("nothing")
    with pytest.raises(LandmarkError, match="None of the 2 photos"):
        load_splits(root, seed=0)


def test_class_missing_from_test_may_pass_but_not_from_training(lay_out):
    root = lay_out({"train/a": 3, "train/b": 3, "validation/a": 1, "test/a": 2, "test/ring": 0})
    splits, _ = load_splits(root, seed=0, allow_missing=True)
    assert splits.class_names == ("a", "b")
    assert set(splits.test["label"]) == {0}
    make_photo(0, 99).save(root / "test" / "ring" / "0.png")
    with pytest.raises(LandmarkError, match="train split has no usable photo of ring"):
        load_splits(root, seed=0, allow_missing=True)


def test_photo_shared_by_two_classes_leaves_both_in_training(lay_out):
    for seed in range(6):
        root = lay_out({"a": 5, "b": 5}, first_seed=10 * seed)
        shutil.copy(root / "a" / "0.png", root / "b" / "the same.png")
        splits, _ = load_splits(root, seed)
        assert set(splits.train["class_name"]) == {"a", "b"}


# --- copies ---


def brute_force_pairs(hashes: list[bytes]) -> list[tuple[int, int]]:
    """Every pair with at most NEAR_BITS different bits, the slow way."""
    numbers = [int.from_bytes(bits, "big") for bits in hashes]
    count = range(len(numbers))
    return [(i, j) for i in count for j in count if i < j
            and bin(numbers[i] ^ numbers[j]).count("1") <= NEAR_BITS]  # fmt: skip


@pytest.mark.parametrize("seed", range(2))
def test_near_pairs_are_those_of_a_slow_search(seed):
    generator = random.Random(seed)
    seeds = [generator.getrandbits(256) for _ in range(6)]
    numbers = [number for number in seeds for _ in range(4)]
    for place, flips in enumerate(
        [0, 3, NEAR_BITS // 2, NEAR_BITS, NEAR_BITS + 1, 2 * NEAR_BITS] * 4
    ):
        for bit in generator.sample(range(256), flips):
            numbers[place] ^= 1 << bit
    hashes = [number.to_bytes(32, "big") for number in numbers]
    expected = brute_force_pairs(hashes)
    assert near_pairs(hashes) == expected
    assert 0 < len(expected) < 24 * 23 // 2
    assert near_pairs([]) == near_pairs([bytes(32)]) == []


@pytest.mark.parametrize(
    ("scale", "quality"), [(1, 50), (0.8, 85), (0.5, 85), (0.5, 60)], ids=lambda value: f"{value}"
)
def test_smaller_recompressed_photos_are_recognised(scale, quality, tmp_path):
    hashes = []
    for photo in EXAMPLES:
        resave(photo, tmp_path / "copy.jpg", scale, quality)
        for path in (photo, tmp_path / "copy.jpg"):
            with Image.open(path) as image:
                hashes.append(difference_hash(image))
    expected = [(i, i + 1) for i in range(0, len(hashes), 2)]
    assert near_pairs(hashes) == expected


def test_recoloured_photos_are_recognised():
    for path in EXAMPLES:
        with Image.open(path) as photo:
            for changed in (photo.convert("L"), photo.point(lambda v: round(0.9 * v + 20))):
                assert near_pairs([difference_hash(photo), difference_hash(changed)]) == [(0, 1)]


def test_leaks_between_splits_are_told_and_graded(lay_out):
    root = lay_out(dict.fromkeys(SPLIT, 0))
    for photo, folder in zip(EXAMPLES, SPLIT, strict=False):
        shutil.copy(photo, root / folder / "0.jpg")
    assert find_leaks(load_splits(root, seed=0)[0], root) == []
    shutil.copy(root / "train" / "tower" / "0.jpg", root / "test" / "tower" / "same.jpg")
    resave(root / "train" / "bridge" / "0.jpg", root / "validation" / "bridge" / "near.jpg")
    resave(root / "train" / "tower" / "0.jpg", root / "train" / "tower" / "within.jpg", 0.9)
    splits, skipped = load_splits(root, seed=0)
    report = make_report(splits, skipped, root)
    found = {(frozenset((leak.first, leak.second)), leak.identical) for leak in report.leaks}
    same, kin = "test/tower/same.jpg", "validation/bridge/near.jpg"
    assert found == {
        (frozenset(("train/tower/0.jpg", same)), True),
        (frozenset(("train/tower/within.jpg", same)), False),
        (frozenset(("train/bridge/0.jpg", kin)), False),
    }
    assert report.leaks[0].identical
    text = str(report)
    assert "1 identical, 2 near-identical" in text
    assert same in text and kin in text


# --- the report ---


def test_report_counts_and_measures(lay_out):
    root = lay_out({"train/a": 3, "train/b": 2, "validation/a": 1, "validation/b": 2,
                    "test/a": 2, "test/b": 1})  # fmt: skip
    make_photo(0, 50, (200, 300)).save(root / "train" / "a" / "tall.png")
    make_photo(0, 51, (50, 40)).save(root / "test" / "a" / "small.png")
    splits, skipped = load_splits(root, seed=0)
    report = make_report(splits, skipped, root)
    assert report.counts == {
        "a": {"train": 4, "validation": 1, "test": 3},
        "b": {"train": 2, "validation": 2, "test": 1},
    }
    assert report.totals() == {"train": 6, "validation": 3, "test": 4}
    assert report.shorter_side_px == {"min": 40, "median": 90, "max": 200}
    photos = [np.asarray(Image.open(p), float) / 255 for p in (root / "train").rglob("*.png")]
    mean = np.mean([photo.mean((0, 1)) for photo in photos], axis=0)
    square = np.mean([(photo**2).mean((0, 1)) for photo in photos], axis=0)
    assert report.mean == pytest.approx(mean, abs=2e-3)
    assert report.std == pytest.approx(np.sqrt(square - mean**2), abs=5e-3)


def test_photos_of_one_colour_have_no_spread(lay_out):
    root = lay_out(SPLIT)
    for path in root.rglob("*.png"):
        Image.new("RGB", (50, 40), (77, 3, 253)).save(path)
    report = make_report(*load_splits(root, seed=0), root)
    assert report.mean == pytest.approx([value / 255 for value in (77, 3, 253)], abs=1e-4)
    assert report.std == pytest.approx([0, 0, 0], abs=1e-4)


def test_class_of_few_photos_is_told_yet_learned(lay_out):
    root = lay_out({"train/a": 4, "train/b": 3, "test/a": 1, "test/b": 1, "validation/a": 1,
                    "validation/b": 1})  # fmt: skip
    text = str(make_report(*load_splits(root, seed=0), root))
    assert "fewer than 4 training photos, too few to learn a landmark from: b (3). Add" in text
    make_photo(0, 99).save(root / "train" / "b" / "more.png")
    assert "fewer than" not in str(make_report(*load_splits(root, seed=0), root))


# --- photos to batches ---


def crop(photo: Image.Image) -> Image.Image:
    """The square that the network sees."""
    return eval_crop(photo, CONFIG)


def test_photo_set_gives_the_pixels_of_preparing_by_hand(lay_out):
    table = load_splits(lay_out(SPLIT), seed=0)[0].test
    photos = PhotoSet(table, crop, to_tensor(CONFIG), "square 32")
    by_hand = eval_transform(CONFIG)
    assert len(photos) == len(table) == 4
    for index, path in enumerate(table["path"]):
        image, label = photos[index]
        assert image.shape == (3, 32, 32)
        assert image.dtype == torch.float32
        assert np.allclose(image, by_hand(Image.open(path).convert("RGB")), atol=2e-6)
        assert label == table["label"][index]


def test_prepared_photos_are_kept_under_their_key_wherever_they_lie(lay_out, tmp_path):
    # Photos of its own: what other tests have prepared is found by its content.
    root, calls = lay_out(SPLIT, first_seed=500), []

    def counted(photo: Image.Image) -> Image.Image:
        calls.append(photo.size)
        return crop(photo)

    def prepare(folder: Path, key: str) -> PhotoSet:
        return PhotoSet(load_splits(folder, seed=0)[0].test, counted, to_tensor(CONFIG), key)

    first, same = prepare(root, "key"), prepare(root, "key")
    assert len(calls) == 4
    moved = prepare(root.rename(tmp_path / "elsewhere"), "key")
    assert len(calls) == 4
    for index in range(4):
        assert torch.equal(first[index][0], same[index][0])
        assert torch.equal(first[index][0], moved[index][0])
    prepare(tmp_path / "elsewhere", "other key")
    assert len(calls) == 8


def test_photo_that_changed_on_disk_is_prepared_anew(lay_out):
    root = lay_out(SPLIT)
    changed = root / "test" / "tower" / "0.png"
    found = []
    for seed in (7, 8):
        make_photo(seed, seed).save(changed)
        table = load_splits(root, seed=0)[0].test
        photos = PhotoSet(table, crop, to_tensor(CONFIG), "square 32")
        image = photos[table["path"].index(str(changed))][0]
        assert np.allclose(image, eval_transform(CONFIG)(Image.open(changed)), atol=2e-6)
        found.append(image)
    assert not torch.equal(*found)


def test_photos_are_varied_on_every_access(lay_out):
    table = load_splits(lay_out(SPLIT), seed=0)[0].train
    finish = to_tensor(CONFIG)
    photos = PhotoSet(table, crop, lambda photo: finish(photo) + torch.rand(1), "square 32")
    assert not torch.equal(photos[0][0], photos[0][0])


# --- photos that show no class


@pytest.fixture
def known(photos) -> Splits:
    """The made-up landmarks that unknown photos are held against."""
    return load_splits(photos, seed=0)[0]


@pytest.fixture
def noise(tmp_path) -> Callable[..., Path]:
    """Makes a folder of photos of noise, which are like no others, of those names."""

    def make(*names: str) -> Path:
        for number, name in enumerate(names):
            path = tmp_path / "others" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            grain = np.random.default_rng(number).integers(0, 255, (12, 16, 3), dtype=np.uint8)
            Image.fromarray(grain).resize((80, 60)).save(path)
        return tmp_path / "others"

    return make


def test_unknown_photos_are_read_from_any_folder_and_broken_ones_told(noise, known):
    root = noise("train/a/b/0.png", "test/c/0.png", "test/1.png")
    (root / "test" / "c" / "broken.jpg").write_bytes(b"no photo")
    tables, skipped = load_unknown(root, known)
    assert {split: table["label"][:] for split, table in tables.items()} == {
        "train": [-1], "test": [-1, -1]
    }  # fmt: skip
    assert [item.path for item in skipped] == ["test/c/broken.jpg"]


def test_unknown_photo_that_shows_a_landmark_is_left_out_and_named(noise, known, photos):
    root = noise("train/0.png", "validation/0.png", "validation/1.png")
    shown = {split: photos / split / "00.Eiffel_Tower" / "0.png" for split in ("train", "test")}
    shutil.copy(shown["train"], root / "train" / "same.png")
    resave(shown["test"], root / "validation" / "near.jpg", quality=90)
    tables, skipped = load_unknown(root, known)
    assert {split: len(table) for split, table in tables.items()} == {"train": 1, "validation": 2}
    assert {item.path: item.reason.split(",")[0] for item in skipped} == {
        "train/same.png": "(nearly) identical to train/00.Eiffel_Tower/0.png",
        "validation/near.jpg": "(nearly) identical to test/00.Eiffel_Tower/0.png",
    }
    report = str(make_report(known, [], photos, skipped))
    assert "left out of --unknown: 2" in report and "validation/near.jpg: (nearly)" in report


@pytest.mark.parametrize(
    ("counts", "words"),
    [({"other": 2}, "has none of the folders"), ({"train": 0}, "holds no photos")],
)
def test_unknown_folder_that_cannot_be_used_is_refused_in_words(lay_out, known, counts, words):
    with pytest.raises(LandmarkError, match=words):
        load_unknown(lay_out(counts), known)


def test_unknown_folder_of_nothing_but_landmarks_is_refused(tmp_path, known, photos):
    shutil.copytree(photos / "test", tmp_path / "test")
    with pytest.raises(LandmarkError, match="test holds only photos of known classes"):
        load_unknown(tmp_path, known)


def test_seen_photos_are_what_the_network_sees_of_each_in_order(lay_out):
    table = load_splits(lay_out(SPLIT), seed=0)[0].test
    config = replace(CONFIG, image_size=64, view="whole")
    photos = seen_photos(table, config)
    (batch, labels), *others = make_batches(photos, 50, shuffle=False, worker_count=0)
    assert not others and labels.tolist() == photos.labels == list(table["label"])
    by_hand = eval_transform(config)
    seen = by_shape([by_hand(Image.open(path).convert("RGB")) for path in table["path"]])
    for found, expected in zip(batch, seen, strict=True):
        assert all(map(np.array_equal, found, expected))


@pytest.fixture
def seven(lay_out):
    """A set of seven photos."""
    root = lay_out(SPLIT | {"train/tower": 5})
    return PhotoSet(load_splits(root, seed=0)[0].train, crop, to_tensor(CONFIG), "square 32")


@pytest.mark.parametrize(("batch_size", "expected"), [(3, [3, 3, 1]), (50, [7])], ids=str)
def test_photos_that_are_measured_come_once_and_in_order(seven, batch_size, expected):
    batches = list(make_batches(seven, batch_size, False, worker_count=0, balance=1.0))
    assert [len(labels) for _, labels in batches] == expected
    assert all(images.shape[1:] == (3, 32, 32) for ((images, _),), _ in batches)
    assert torch.cat([labels for _, labels in batches]).tolist() == seven.labels


@pytest.mark.parametrize(("batch_size", "expected"), [(3, 3), (7, 7), (50, 7)])
def test_photos_to_learn_from_come_in_whole_batches_and_equally_often(seven, batch_size, expected):
    torch.manual_seed(0)
    batches = list(make_batches(seven, batch_size, shuffle=True, worker_count=0))
    assert {len(labels) for _, labels in batches} == {expected}
    assert len(batches) >= 7 // expected
    seen = Counter(float(image.sum()) for images, _ in batches for image in images)
    assert max(seen.values()) - min(seen.values()) <= 1


def test_rare_classes_are_drawn_more_often_on_demand(lay_out):
    root = lay_out(SPLIT | {"train/tower": 12})
    photos = PhotoSet(load_splits(root, seed=0)[0].train, crop, to_tensor(CONFIG), "square 32")
    torch.manual_seed(0)
    drawn = {}
    for balance in (0.0, 0.5, 1.0):
        batches = make_batches(photos, 7, shuffle=True, worker_count=0, balance=balance)
        labels = torch.cat([labels for _ in range(60) for _, labels in batches])
        drawn[balance] = (labels == 0).float().mean().item()  # bridges: 2 of 14
    weights = {balance: 2 ** (1 - balance) for balance in drawn}
    for balance, weight in weights.items():
        expected = weight / (weight + 12 ** (1 - balance))
        assert drawn[balance] == pytest.approx(expected, abs=0.05)
    assert drawn[0.0] == pytest.approx(2 / 14)
