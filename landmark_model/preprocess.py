"""The only preprocessing: evaluation, prediction and the app share `eval_transform`.

Two steps, so that training can keep the outcome of the slow first one: make of a photo what the
network sees, then turn it into normalised numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from landmark_model.config import ModelConfig

MAX_ASPECT = 8
MAX_VIEW_ASPECT = 2
MAX_WHOLE_ASPECT = 4
WHOLE_ZOOM = 2
STRIDE_PX = 32
BICUBIC = v2.InterpolationMode.BICUBIC


def shrink(photo: Image.Image, side_px: int) -> Image.Image:
    """`photo` with its shorter side at most `side_px` px; never enlarged.

    A strip longer than 8:1 is first cut to its middle: resized whole, it could fill the memory.
    """
    width, height = photo.size
    limit = MAX_ASPECT * min(width, height)
    if max(width, height) > limit:
        left, top = max(0, (width - limit) // 2), max(0, (height - limit) // 2)
        photo = photo.crop((left, top, left + min(width, limit), top + min(height, limit)))
    if min(photo.size) <= side_px:
        return photo
    return v2.functional.resize(photo, [side_px], interpolation=BICUBIC)


class View(NamedTuple):
    """One image of a photo that the network sees: `cut` out of it, then `finish`ed as numbers.

    `name` is that of the cut, the same for the same pixels.
    """

    name: str
    cut: Callable[[Image.Image], Image.Image]
    finish: Callable[[Image.Image], Tensor]


def eval_views(config: ModelConfig) -> list[View]:
    """The one or two images of a photo whose mean is the answer.

    By `config.view` it is the photo's centre square, all of it, or both. With `config.flip` the
    second image, or one more, is a mirror image.
    """
    plain = to_tensor(config)
    mirrored = v2.Compose([v2.functional.horizontal_flip, plain])
    names = cut_names(config.view)
    if config.flip and len(names) == 1:
        names *= 2
    finishes = (plain, mirrored if config.flip else plain)
    return [
        View(f"{name} {config.image_size} {config.crop_pct}", partial(CUTS[name], config=config),
             finish)
        for name, finish in zip(names, finishes, strict=False)
    ]  # fmt: skip


def eval_whole(photo: Image.Image, config: ModelConfig) -> Image.Image:
    """All of `photo` at its own aspect ratio, rounded to 32 px; beyond 2:1 only the middle.

    It has about as many pixels as a square of `config.image_size` px, so it costs as much.
    """
    kept = view_crop(photo.height, photo.width)
    photo = v2.functional.center_crop(photo, list(kept))
    return v2.functional.resize(photo, list(view_size(*kept, config.image_size)), BICUBIC)


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
        photo = v2.functional.resize(photo, [side_px], interpolation=BICUBIC)
    return v2.functional.center_crop(photo, [config.image_size])


CUTS = {"centre": eval_crop, "whole": eval_whole}


def cut_names(view: str) -> list[str]:
    """The names in `CUTS` that a config's `view` stands for."""
    return list(CUTS) if view == "both" else [view]


def whole_photo(photo: Image.Image, config: ModelConfig) -> Image.Image:
    """All of `photo`, its shorter side about twice `config.image_size` px, its aspect ratio kept.

    Twice, since a landmark to be found may fill half of the photo or less. Sides are rounded to
    multiples of 32 px, by which the networks shrink, so that no cell of their maps hangs over the
    edge. A strip longer than 4:1 is shown smaller, not cut.
    """
    side_px = WHOLE_ZOOM * config.image_size
    scale = side_px * min(1 / min(photo.size), MAX_WHOLE_ASPECT / max(photo.size))
    width, height = (max(1, round(side * scale / STRIDE_PX)) * STRIDE_PX for side in photo.size)
    return v2.functional.resize(photo, [height, width], interpolation=BICUBIC)


def to_tensor(config: ModelConfig) -> v2.Compose:
    """RGB image -> float32 (3, H, W), normalised as the network expects."""
    return v2.Compose(
        [
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(list(config.mean), list(config.std)),
        ]
    )


def eval_transform(config: ModelConfig) -> Callable[[Image.Image], list[Tensor]]:
    """RGB photo of any size -> its images by `eval_views`, float32 (3, H, W); no randomness."""
    views = eval_views(config)
    cuts = {view.name: view.cut for view in views}  # a mirror image is of the same cut

    def look(photo: Image.Image) -> list[Tensor]:
        seen = {name: cut(photo) for name, cut in cuts.items()}
        return [view.finish(seen[view.name]) for view in views]

    return look


def by_shape(photos: Sequence[Sequence[Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """The images (3, H, W) of photos, those of one shape together: (n, 3, H, W), and of which
    photo (n,) each is, by its number."""
    groups: dict[torch.Size, list[tuple[Tensor, int]]] = {}
    for number, images in enumerate(photos):
        for image in images:
            groups.setdefault(image.shape, []).append((image, number))
    return [
        (torch.stack([image for image, _ in group]), torch.tensor([number for _, number in group]))
        for group in groups.values()
    ]
