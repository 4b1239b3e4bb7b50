"""The heat is exactly what adds up to the logit, lies on the landmark, and fits the photo."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from landmark_model import Explanation, LandmarkError, load, open_photo
from landmark_model.config import ModelConfig
from landmark_model.explain import (
    class_activation,
    largest_box,
    locate_heat,
    otsu_threshold,
    stretch,
    surest_class,
)
from landmark_model.networks import NETWORKS, build
from landmark_model.preprocess import MAX_WHOLE_ASPECT, normalise, whole_photo

EXAMPLES = Path(__file__).parents[1] / "examples"
CONFIG = ModelConfig("landmark_cnn", ("a", "b", "c"), ("A", "B", "C"), image_size=64)


@pytest.fixture(scope="module")
def tagger():
    """The network that ships."""
    return load(device="cpu")


@pytest.fixture(scope="module")
def found(tagger) -> Explanation:
    return tagger.explain(EXAMPLES / "eiffel-tower.jpg")


def heat_with(*blocks: tuple[slice, slice, float], size: tuple[int, int] = (12, 16)):
    heat = np.zeros(size, np.float32)
    for rows, columns, value in blocks:
        heat[rows, columns] = value
    return heat


def test_an_explanation_has_the_size_of_the_upright_photo(found):
    width, height = open_photo(EXAMPLES / "eiffel-tower.jpg").size
    assert found.heatmap.shape == found.mask.shape == (height, width)
    assert (found.heatmap.dtype, found.mask.dtype) == (np.float32, np.bool_)
    assert found.heatmap.min() == 0 and found.heatmap.max() == 1
    assert (found.label, found.class_name) == ("Eiffel Tower", "Eiffel_Tower")


def test_mask_is_the_hot_part_and_the_box_holds_the_largest_piece_of_it(found):
    height, width = found.mask.shape
    left, top, right, bottom = found.box
    assert 0 <= left < right <= width and 0 <= top < bottom <= height
    assert 0 < found.mask.sum() < found.mask.size
    assert found.heatmap[found.mask].min() > found.heatmap[~found.mask].max()
    inside = found.mask[top:bottom, left:right]
    assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()
    assert found.box == largest_box(found.mask)


def test_it_explains_what_predict_answers_when_that_is_sure(tagger):
    photos = sorted(EXAMPLES.glob("*.jpg"))[:3]
    best = [tagger.predict(photo, top_k=1)[0] for photo in photos]
    sure = [n for n, guess in enumerate(best) if guess.probability >= 0.7]
    assert sure
    for n in sure:
        assert tagger.explain(photos[n]).class_name == best[n].class_name


@pytest.mark.parametrize("architecture", NETWORKS)
def test_the_mean_of_the_map_and_the_bias_are_the_logit(architecture):
    torch.manual_seed(0)
    config = ModelConfig(architecture, ("a", "b", "c"), ("A", "B", "C"), image_size=64)
    network = build(config).eval()
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        head, maps = network.get_classifier(), network.forward_features(images)[0]
        for index, logit in enumerate(network(images)[0]):
            heat = class_activation(maps.numpy(), head.weight[index].numpy())
            assert heat.shape == maps.shape[1:]
            assert heat.mean() + head.bias[index].item() == pytest.approx(logit.item(), abs=1e-4)
        together = class_activation(maps.numpy(), head.weight.numpy())
    np.testing.assert_allclose(together[2], heat, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("corner", range(4))
@pytest.mark.parametrize("name", ["eiffel-tower", "taj-mahal"])
def test_the_heat_follows_the_landmark_into_each_corner(tagger, name, corner):
    photo = open_photo(EXAMPLES / f"{name}.jpg")
    photo.thumbnail((300, 300))
    canvas = Image.new("RGB", (2 * photo.width, 2 * photo.height), (130, 170, 220))
    left, top = photo.width * (corner % 2), photo.height * (corner // 2)
    canvas.paste(photo, (left, top))
    found = tagger.explain(canvas, name.title().replace("-", "_"))
    x, y = (found.box[0] + found.box[2]) / 2, (found.box[1] + found.box[3]) / 2
    assert left <= x < left + photo.width and top <= y < top + photo.height
    on_photo = found.mask[top : top + photo.height, left : left + photo.width].sum()
    assert on_photo > 0.8 * found.mask.sum()


def test_a_photo_turned_by_its_metadata_has_the_same_heat(tagger):
    upright = open_photo(EXAMPLES / "statue-of-liberty.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    file = io.BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(file, "PNG", exif=exif)
    turned, straight = tagger.explain(file.getvalue()), tagger.explain(upright)
    np.testing.assert_array_equal(turned.heatmap, straight.heatmap)
    assert turned.box == straight.box


@pytest.mark.parametrize("size", [(8, 2000), (2000, 8), (8, 8), (33, 57), (1500, 1100)])
def test_strips_and_odd_sizes_are_explained(tagger, size):
    found = tagger.explain(Image.effect_noise(size, 90))
    assert found.heatmap.shape == found.mask.shape == size[::-1]
    assert np.isfinite(found.heatmap).all()
    assert found.heatmap.min() >= 0 and found.heatmap.max() <= 1
    left, top, right, bottom = found.box
    assert 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]
    assert found.mask[top:bottom, left:right].any()


def test_any_landmark_can_be_asked_for_but_an_unknown_one_is_refused(tagger):
    photo = EXAMPLES / "taj-mahal.jpg"
    assert tagger.explain(photo, "Big_Ben").label == "Big Ben"
    assert tagger.explain(photo, "Big Ben").class_name == "Big_Ben"
    with pytest.raises(LandmarkError, match=r"'Big Benn'.*mean 'Big Ben'\?.*class_names"):
        tagger.explain(photo, "Big Benn")
    with pytest.raises(LandmarkError, match=r"missing\.jpg does not exist"):
        tagger.explain("missing.jpg")


@pytest.mark.parametrize("size", [(64, 64), (500, 333), (333, 500), (8, 2000), (2000, 8)])
def test_the_whole_photo_is_seen_at_twice_the_size_in_steps_of_32(size):
    image = whole_photo(Image.new("RGB", size), CONFIG)
    assert image.width % 32 == image.height % 32 == 0
    assert max(image.size) <= MAX_WHOLE_ASPECT * 2 * CONFIG.image_size
    if max(size) <= MAX_WHOLE_ASPECT * min(size):
        assert min(image.size) == 2 * CONFIG.image_size
        assert image.width / image.height == pytest.approx(size[0] / size[1], rel=0.15)
    assert normalise(image, CONFIG).shape == (3, image.height, image.width)


def test_box_is_of_the_largest_part_that_hangs_together():
    heat = heat_with((slice(1, 5), slice(2, 6), 1.0), (slice(8, 10), slice(12, 14), 1.0))
    heatmap, mask, box = locate_heat(heat, (16, 12))
    assert box == (2, 1, 6, 5)
    assert mask.sum() == 16 + 4
    np.testing.assert_array_equal(heatmap, heat)


def test_largest_part_is_that_of_scipy():
    random = np.random.default_rng(0)
    for _ in range(300):
        mask = random.random(random.integers(1, 14, 2)) < random.random()
        parts, count = ndimage.label(mask)
        sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
        boxes = [
            (columns.start, rows.start, columns.stop, rows.stop)
            for (rows, columns), size in zip(ndimage.find_objects(parts), sizes, strict=True)
            if size == max(sizes)
        ]
        assert not mask.any() or largest_box(mask) in boxes


def test_box_of_a_large_photo_is_in_its_own_pixels():
    heat = heat_with((slice(4, 8), slice(4, 12), 1.0))
    heatmap, mask, box = locate_heat(heat, (3200, 2400))
    assert heatmap.shape == mask.shape == (2400, 3200)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    exact = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    np.testing.assert_allclose(box, exact, atol=8)  # a cell of the coarser grid is 3 px
    np.testing.assert_allclose(box, (800, 800, 2400, 1600), atol=100)


def test_heat_that_is_the_same_everywhere_marks_all_of_the_photo():
    heatmap, mask, box = locate_heat(np.full((3, 4), -2.0), (40, 30))
    assert (heatmap == 1).all() and mask.all() and box == (0, 0, 40, 30)


def test_otsu_parts_two_groups_and_agrees_with_a_plain_search():
    rng = np.random.default_rng(0)
    heat = np.concatenate([rng.normal(0.2, 0.05, 700), rng.normal(0.8, 0.05, 300)]).clip(0, 1)
    heat = stretch(heat[None])

    def spread(limit: float) -> float:
        low, high = heat[heat < limit], heat[heat >= limit]
        return low.size * high.size * (high.mean() - low.mean()) ** 2

    best = max(spread(limit) for limit in np.linspace(0.05, 0.95, 200))
    assert spread(otsu_threshold(heat)) == pytest.approx(best, rel=0.01)


def test_the_surest_class_is_that_of_a_part_not_of_the_mean():
    activations = np.stack(
        [np.full((8, 8), 3.0), heat_with((slice(4, 8), slice(4, 8), 9.0), size=(8, 8))]
    )
    bias = np.zeros(2)
    assert activations.mean((1, 2)).argmax() == 0
    assert surest_class(activations, bias, side_cells=4, temperature=1.0) == 1
    assert surest_class(activations, bias, side_cells=99, temperature=1.0) == 0
