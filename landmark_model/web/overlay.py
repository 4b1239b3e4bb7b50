"""Pictures made from a photo: heatmap and box on it, thumbnails, copies to show."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from landmark_model import Explanation

SIDE_PX = 1024
THUMBNAIL_PX = 320
HEAT_STRENGTH = 0.6
COLD_TO_HOT = ("#1b0c41", "#fcffa4", "#e8602d")  # least, most, middle
BOX_COLOR = (255, 255, 255)
BOX_EDGE = (20, 40, 60)


def overlay(photo: Image.Image, found: Explanation, heat: bool, box: bool) -> Image.Image:
    """`photo` (W, H), at most 1,024 px wide or high, with heat and box of `found` on it.

    `photo` is the upright RGB one that `found` explains.
    """
    picture = shrink(photo, SIDE_PX)
    if heat:
        picture = _heated(picture, found.heatmap)
    if box:
        scale = picture.width / photo.width
        _draw_box(picture, tuple(round(side * scale) for side in found.box))
    return picture


def shrink(photo: Image.Image, side_px: int = THUMBNAIL_PX) -> Image.Image:
    """A copy whose longer side has at most `side_px`."""
    copy = photo.copy()
    copy.thumbnail((side_px, side_px))
    return copy


def _heated(picture: Image.Image, heatmap: np.ndarray) -> Image.Image:
    """`picture` (W, H) under the colours of `heatmap` (h, w), clearer where there is less heat."""
    grey = Image.fromarray((heatmap * 255).astype(np.uint8)).resize(picture.size)
    strength = grey.point(lambda value: value * HEAT_STRENGTH)
    return Image.composite(ImageOps.colorize(grey, *COLD_TO_HOT), picture, strength)


def _draw_box(picture: Image.Image, box: tuple[int, ...]) -> None:
    left, top, right, bottom = box
    width_px = max(2, max(picture.size) // 250)
    draw = ImageDraw.Draw(picture)
    # Light on dark: seen on any photo.
    for color, width in ((BOX_EDGE, 3 * width_px), (BOX_COLOR, width_px)):
        draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), None, color, width)
