"""The only preprocessing: evaluation, prediction and the app see a photo through it.

Two steps, so that training can keep the outcome of the slow first one: cut of a photo what the
network sees, then turn it into normalised numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from landmark_model.config import ModelConfig

MAX_ASPECT = 8
MAX_VIEW_ASPECT = 2
MAX_WHOLE_ASPECT = 4
WHOLE_ZOOM = 2
STRIDE_PX = 32
BICUBIC = Image.Resampling.BICUBIC
# How many times the side of the network's image a photo has at least after a reduced decode. 1.5
# would be faster, but change more than 1 of 200 first guesses (see benchmarks/decode.py); and
# `whole_photo` needs more than 2.
DETAIL = 2.5


def fewest_pixels(config: ModelConfig, detail: float = DETAIL) -> int:
    """How many pixels of a photo are enough, of its middle up to 2:1: a decoder may stop there."""
    return round((detail * config.image_size / config.crop_pct) ** 2)


def shrink(photo: Image.Image, side_px: int) -> Image.Image:
    """`photo` with its shorter side at most `side_px` px; never enlarged.

    A strip longer than 8:1 is first cut to its middle: resized whole, it could fill the memory.
    """
    width, height = photo.size
    limit = MAX_ASPECT * min(width, height)
    if max(width, height) > limit:
        left, top = max(0, (width - limit) // 2), max(0, (height - limit) // 2)
        photo = photo.crop((left, top, left + min(width, limit), top + min(height, limit)))
    return photo if min(photo.size) <= side_px else _resize_shorter(photo, side_px)


def _resize_shorter(photo: Image.Image, side_px: int) -> Image.Image:
    """`photo` with its shorter side `side_px` px long, and the other rounded down, as timm does."""
    scaled = [side_px * side // min(photo.size) for side in photo.size]
    return photo.resize((scaled[0], scaled[1]), BICUBIC)


def _middle(photo: Image.Image, width: int, height: int) -> Image.Image:
    """The centre crop of `photo`, no larger than it is."""
    left, top = round((photo.width - width) / 2), round((photo.height - height) / 2)
    return photo.crop((left, top, left + width, top + height))


def eval_whole(photo: Image.Image, config: ModelConfig) -> Image.Image:
    """All of `photo` at its own aspect ratio, rounded to 32 px; beyond 2:1 only the middle.

    It has about as many pixels as a square of `config.image_size` px, so it costs as much.
    """
    height, width = view_crop(photo.height, photo.width)
    rows, columns = view_size(height, width, config.image_size)
    return _middle(photo, width, height).resize((columns, rows), BICUBIC)


# Also part of the TorchScript files, which take globals as defaults only.
def view_crop(height: int, width: int, limit: int = MAX_VIEW_ASPECT) -> tuple[int, int]:
    """Height and width in px of the part that is seen of a photo of these: all, up to 2:1."""
    return min(height, limit * width), min(width, limit * height)


def view_size(
    height: int, width: int, image_size: int, step_px: int = STRIDE_PX
) -> tuple[int, int]:
    """Height and width in px after scaling to the area of `image_size` x `image_size` px.

    Both are multiples of 32 px, by which the networks shrink, so that few sizes occur.
    """
    aspect = (height / width) ** 0.5
    rows = int(image_size * aspect / step_px + 0.5)
    columns = int(image_size / aspect / step_px + 0.5)
    return max(1, rows) * step_px, max(1, columns) * step_px


def eval_crop(photo: Image.Image, config: ModelConfig) -> Image.Image:
    """The centre square of `photo`, `config.image_size` px wide, cut as timm does."""
    side_px = int(config.image_size / config.crop_pct)
    photo = shrink(photo, side_px)
    if min(photo.size) != side_px:
        photo = _resize_shorter(photo, side_px)
    return _middle(photo, config.image_size, config.image_size)


CUTS = {"centre": eval_crop, "whole": eval_whole}


def cut_view(photo: Image.Image, config: ModelConfig) -> Image.Image:
    """What the network sees of `photo`: by `config.view` its centre square, or all of it."""
    return CUTS[config.view](photo, config)


def whole_photo(photo: Image.Image, config: ModelConfig) -> Image.Image:
    """All of `photo`, its shorter side about twice `config.image_size` px, its aspect ratio kept.

    Twice, since a landmark to be found may fill half of the photo or less. Sides are rounded to
    multiples of 32 px, by which the networks shrink, so that no cell of their maps hangs over the
    edge. A strip longer than 4:1 is shown smaller, not cut.
    """
    side_px = WHOLE_ZOOM * config.image_size
    scale = side_px * min(1 / min(photo.size), MAX_WHOLE_ASPECT / max(photo.size))
    width, height = (max(1, round(side * scale / STRIDE_PX)) * STRIDE_PX for side in photo.size)
    return photo.resize((width, height), BICUBIC)


def normalise(image: Image.Image, config: ModelConfig) -> np.ndarray:
    """RGB image -> float32 (3, H, W), normalised as the network expects."""
    std = np.array(config.std, np.float32)
    pixels = np.asarray(image) * (1 / (255 * std)) - np.array(config.mean, np.float32) / std
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))  # (H, W, 3) -> (3, H, W)


def eval_transform(config: ModelConfig) -> Callable[[Image.Image], np.ndarray]:
    """RGB photo of any size -> what the network sees, float32 (3, H, W); no randomness."""
    return lambda photo: normalise(cut_view(photo, config), config)


def by_shape(images: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images (3, H, W), those of one shape together: (n, 3, H, W), and the number (n,) of each."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for number, image in enumerate(images):
        groups.setdefault(image.shape, []).append(number)
    return [
        (np.stack([images[number] for number in numbers]), np.array(numbers))
        for numbers in groups.values()
    ]
