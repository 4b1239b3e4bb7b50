"""The one preprocessing: whole photos, or timm's centre, bounded for any; random in training."""

import random
import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from landmark_model.config import ModelConfig
from landmark_model.preprocess import (
    eval_crop,
    eval_transform,
    eval_whole,
    normalise,
    shrink,
    view_size,
)
from landmark_model.training.augment import RandomLowResolution, mix_transform, train_transform
from landmark_model.training.recipes import Recipe
from landmark_model.training.smoke import make_photo

CONFIG = ModelConfig("landmark_cnn", ("a", "b"), ("A", "B"), image_size=48)
WHOLE = replace(CONFIG, image_size=160, view="whole")
PHOTO = make_photo(2, seed=5, size=(120, 90))
RECIPE = Recipe(image_size=64, train_size=64)
ODD_SIZES = [(8, 999), (999, 8), (9, 9), (1000, 37), (48, 48), (49, 48), (47, 376), (8, 64)]


def seeded(seed: int) -> None:
    """Starts both generators that the transforms draw from."""
    random.seed(seed)
    torch.manual_seed(seed)


# --- evaluation ---


@pytest.mark.parametrize("crop_pct", [1.0, 0.875])
@pytest.mark.parametrize("size", ODD_SIZES)
def test_any_photo_becomes_a_square_of_floats(size, crop_pct):
    image = eval_transform(replace(CONFIG, crop_pct=crop_pct))(PHOTO.resize(size))
    assert image.shape == (3, 48, 48)
    assert image.dtype == np.float32
    assert np.isfinite(image).all()


def test_evaluation_has_no_randomness():
    transform = eval_transform(CONFIG)
    first = transform(PHOTO)
    seeded(7)
    assert np.array_equal(transform(PHOTO), first)
    assert np.array_equal(eval_transform(CONFIG)(PHOTO.copy()), first)


def test_evaluation_leaves_the_photo_alone():
    before = np.array(PHOTO)
    eval_transform(CONFIG)(PHOTO)
    assert np.array_equal(np.asarray(PHOTO), before)


@pytest.mark.parametrize("crop_pct", [1.0, 0.875, 0.95])
@pytest.mark.parametrize("image_size", [48, 65])
@pytest.mark.parametrize("size", [(120, 90), (90, 121), (131, 131), (50, 40), (300, 77), (48, 48)])
def test_evaluation_equals_timm(size, image_size, crop_pct):
    config = replace(CONFIG, image_size=image_size, crop_pct=crop_pct)
    photo = make_photo(1, seed=size[0], size=size)
    oracle = timm.data.create_transform(
        (3, image_size, image_size),
        interpolation="bicubic",
        mean=config.mean,
        std=config.std,
        crop_pct=crop_pct,
        crop_mode="center",
    )
    image = eval_transform(config)(photo)
    assert abs(image - oracle(photo).numpy()).max() < 2e-6


def test_values_are_normalised_by_the_config():
    config = replace(CONFIG, mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 0.25))
    image = eval_transform(config)(Image.new("RGB", (60, 60), (51, 255, 0)))
    np.testing.assert_allclose(image.max((1, 2)), [0.2, 1.0, -4.0], atol=1e-6)
    np.testing.assert_allclose(image.min((1, 2)), [0.2, 1.0, -4.0], atol=1e-6)


def test_crop_is_the_middle():
    photo = Image.new("RGB", (144, 48), "red")
    photo.paste((0, 255, 0), (48, 0, 96, 48))
    assert np.array_equal(eval_crop(photo, CONFIG), np.full((48, 48, 3), (0, 255, 0)))


# --- the whole photo ---


@pytest.mark.parametrize("size", ODD_SIZES)
def test_any_whole_photo_is_as_large_as_its_square(size):
    _, height, width = eval_transform(WHOLE)(PHOTO.resize(size)).shape
    assert height % 32 == width % 32 == 0
    assert 0.7 < height * width / 160**2 < 1.4


@pytest.mark.parametrize("size", [(120, 90), (90, 120), (64, 64), (200, 100), (100, 200)])
def test_whole_photo_keeps_its_aspect_and_its_edges(size):
    photo = Image.new("RGB", size, "red")
    photo.paste((0, 255, 0), (size[0] // 4, size[1] // 4, size[0] * 3 // 4, size[1] * 3 // 4))
    seen = eval_whole(photo, WHOLE)
    assert abs(np.log(seen.width / seen.height * size[1] / size[0])) < 0.2  # steps of 32 px
    pixels = np.asarray(seen)
    for corner in (pixels[0, 0], pixels[0, -1], pixels[-1, 0], pixels[-1, -1]):
        assert tuple(corner) == (255, 0, 0)
    assert (pixels[..., 1] > 127).mean() == pytest.approx(0.25, abs=0.02)


def test_square_photo_of_the_right_size_is_seen_as_it_is():
    photo = make_photo(1, seed=3, size=(160, 160))
    assert np.array_equal(eval_whole(photo, WHOLE), photo)


def test_of_a_strip_the_middle_is_seen():
    photo = Image.new("RGB", (600, 100), "red")
    photo.paste((0, 255, 0), (200, 0, 400, 100))
    seen = np.asarray(eval_whole(photo, WHOLE))
    assert seen.shape[1] > 1.5 * seen.shape[0] and (seen == (0, 255, 0)).all()


def test_few_sizes_occur_and_swap_with_the_sides():
    sizes = {view_size(height, 100, 224) for height in range(50, 201)}
    assert len(sizes) < 12
    assert {(width, height) for height, width in sizes} == sizes


@pytest.mark.parametrize(("view", "cut"), [("centre", eval_crop), ("whole", eval_whole)])
def test_the_network_sees_what_its_view_says(view, cut):
    config = replace(WHOLE, view=view)
    assert np.array_equal(eval_transform(config)(PHOTO), normalise(cut(PHOTO, config), config))


# --- shrink ---


@pytest.mark.parametrize("side_px", [20, 64])
@pytest.mark.parametrize("size", [(120, 90), (90, 120), (64, 64), (30, 200), (7, 9), (20, 20)])
def test_shrink_never_enlarges_and_keeps_the_aspect(size, side_px):
    width, height = shrink(PHOTO.resize(size), side_px).size
    assert min(width, height) == min(side_px, *size)
    assert width <= size[0] and height <= size[1]
    assert abs(width / height * size[1] / size[0] - 1) < 1 / min(width, height)


def test_shrink_leaves_a_small_photo_as_it_is():
    assert np.array_equal(shrink(PHOTO, 90), PHOTO)
    assert np.array_equal(shrink(PHOTO, 91), PHOTO)


@pytest.mark.parametrize("size", [(2_000_000, 8), (8, 2_000_000), (999, 10), (10, 81)])
def test_strip_is_cut_to_its_middle(size):
    strip = Image.new("L", size)
    middle = (size[0] // 2, size[1] // 2)
    strip.putpixel(middle, 255)
    photo = shrink(strip.convert("RGB"), 160)
    assert max(photo.size) == 8 * min(photo.size)
    rows, columns = np.nonzero(np.asarray(photo)[..., 0])
    assert abs(columns[0] - photo.width / 2) <= 1 and abs(rows[0] - photo.height / 2) <= 1


@pytest.fixture
def little_memory():
    """No more than 2 GiB of addresses beyond those in use: what asks for more fails at once."""
    status = Path("/proc/self/statm")
    if not status.exists():
        pytest.skip("only Linux tells how much is in use")
    used = int(status.read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 2 * 2**30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize(
    "config", [replace(CONFIG, image_size=160), WHOLE], ids=["centre", "whole"]
)
@pytest.mark.parametrize("size", [(2_000_000, 8), (8, 2_000_000)])
def test_giant_strip_is_no_giant_image(size, config, little_memory):
    # Resized whole, its shorter side from 8 to 160 px, it would take 19 GB.
    image = eval_transform(config)(Image.new("L", size).convert("RGB"))
    assert image.size < 3 * 1.3 * 160**2


@pytest.mark.parametrize("size", [(120, 90), (90, 130), (50, 40), (700, 60), (60, 900), (1000, 37)])
def test_shrinking_first_hardly_changes_what_is_evaluated(size):
    photo = make_photo(0, seed=1, size=size)
    direct = np.asarray(eval_crop(photo, CONFIG)).astype(int)
    later = np.asarray(eval_crop(shrink(photo, 48), CONFIG)).astype(int)
    assert abs(direct - later).max() <= 1


# --- training ---


@pytest.mark.parametrize("trivial_augment", [True, False])
@pytest.mark.parametrize("size", ODD_SIZES)
def test_training_photo_has_the_crop_size(size, trivial_augment):
    seeded(0)
    transform = train_transform(CONFIG, replace(RECIPE, trivial_augment=trivial_augment))
    for _ in range(3):
        image = transform(PHOTO.resize(size))
        assert image.shape == (3, 64, 64) and image.dtype == torch.float32
        assert image.isfinite().all()


def test_training_varies_and_a_seed_repeats_it():
    transform = train_transform(CONFIG, replace(RECIPE, low_resolution=0.5, erasing=0.5))
    seeded(3)
    first = [transform(PHOTO) for _ in range(6)]
    seeded(3)
    again = [transform(PHOTO) for _ in range(6)]
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert not any(torch.equal(first[0], other) for other in first[1:])


def test_training_leaves_the_photo_alone():
    before = np.array(PHOTO)
    train_transform(CONFIG, replace(RECIPE, low_resolution=1.0, erasing=1.0))(PHOTO)
    assert np.array_equal(np.asarray(PHOTO), before)


@pytest.mark.parametrize("size", [(120, 90), (90, 121), (49, 300), (48, 48), (20, 30)])
def test_low_resolution_keeps_the_size(size):
    seeded(1)
    blur = RandomLowResolution(p=1.0)
    photo = PHOTO.resize(size)
    assert all(blur(photo).size == size for _ in range(5))


def test_low_resolution_loses_detail_with_its_probability():
    seeded(2)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8))
    detail = np.asarray(noise).std()
    always = [np.asarray(RandomLowResolution(1.0)(noise)).std() for _ in range(20)]
    assert np.mean(always) < 0.8 * detail
    sometimes = RandomLowResolution(0.25)
    share = np.mean([np.asarray(sometimes(noise)).std() < detail for _ in range(400)])
    assert 0.17 < share < 0.33
    assert np.array_equal(RandomLowResolution(0.0)(noise), noise)


class Resized:
    """A photo of 768 x 900 px that notes the shorter sides it is asked for."""

    size = (768, 900)

    def __init__(self) -> None:
        self.sides: list[int] = []

    def resize(self, size, resample):
        self.sides.append(min(size))
        return self


def test_each_halving_by_low_resolution_is_equally_likely():
    seeded(3)
    sides = []
    for _ in range(600):
        photo = Resized()
        RandomLowResolution(1.0, smallest_px=48)(photo)
        small, back = photo.sides
        sides.append(small)
        assert back == 768
    halvings = np.log2(768 / np.array(sides))  # 0 to 4, 150 of each whole one
    assert halvings.min() >= 0 and halvings.max() <= 4
    assert all(115 < count < 185 for count in np.histogram(halvings, bins=4, range=(0, 4))[0])


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_grey_takes_the_colour_of_a_share_of_photos(share):
    seeded(6)
    recipe = replace(RECIPE, train_size=32, grey=share, erasing=0.0, trivial_augment=False)
    transform = train_transform(CONFIG, recipe)
    flat = Image.new("RGB", (60, 60), (200, 40, 90))
    mean, std = (torch.tensor(values)[:, None, None] for values in (CONFIG.mean, CONFIG.std))
    photos = [transform(flat) * std + mean for _ in range(200)]
    found = np.mean([float(photo.amax(0).sub(photo.amin(0)).max()) < 1e-4 for photo in photos])
    assert abs(found - share) < 0.1


# --- mixing ---

IMAGES = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3, 4, 4])


@pytest.mark.parametrize("mixup", [0.2, 1.0])
def test_mixed_labels_are_shares(mixup):
    seeded(4)
    mix = mix_transform(7, mixup)
    mixed_count = 0
    for _ in range(8):
        images, labels = mix(IMAGES, LABELS)
        assert images.shape == IMAGES.shape and labels.shape == (6, 7)
        assert torch.allclose(labels.sum(1), torch.ones(6)) and (labels >= 0).all()
        assert (labels.gather(1, LABELS[:, None]) > 0).any()
        mixed_count += not torch.equal(images, IMAGES)
    assert mixed_count >= 4


def test_mixup_blends_photos_as_it_blends_labels():
    seeded(5)
    images, labels = mix_transform(5, mixup=1.0)(IMAGES, LABELS)
    share = labels[0, 0]
    assert 0 < share < 1
    partners = [torch.allclose(images[0], share * IMAGES[0] + (1 - share) * IMAGES[k], atol=1e-5)
                for k in range(1, 6)]  # fmt: skip
    assert any(partners)


@pytest.mark.parametrize("count", [1, 2, 6])
def test_without_mixing_labels_are_one_hot(count):
    images, labels = mix_transform(7, 0)(IMAGES[:count], LABELS[:count])
    assert torch.equal(images, IMAGES[:count])
    assert labels.dtype == torch.float32 and labels.shape == (count, 7)
    assert torch.equal(labels.argmax(1), LABELS[:count]) and (labels.sum(1) == 1).all()
    assert set(labels.unique().tolist()) == {0.0, 1.0}
