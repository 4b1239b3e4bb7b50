"""Pictures made from a photo: what speaks for the guess, to lie on it; thumbnails."""

from __future__ import annotations

import math
from base64 import b64encode
from html import escape
from io import BytesIO

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from landmark_model import Explanation

SIDE_PX = 1024
THUMBNAIL_PX = 192
HEAT_PX = 96  # a network's map has some ten cells a side; browsers enlarge it smoothly
HEAT_STRENGTH = 0.7
COLD_TO_HOT = ("#1b0c41", "#fcffa4", "#e8602d")  # least, most, middle
SHADE, SHADE_STRENGTH, SOFT_PX = "#0b1118", 0.62, 3  # around what convinced it


def overlay(found: Explanation, heat: bool, patch: bool, photo: str, label: str) -> str:
    """Heat of `found`, and shade around its mask, as an SVG that page.js lays on the photo.

    `photo` is a part of the photo's address that no other has; `label` says what the SVG shows.
    """
    height, width = found.heatmap.shape
    sheets = [_heat(found.heatmap)] * heat + [_shade(found.mask)] * patch
    parts = "".join(
        f'<image href="{sheet}" width="{width}" height="{height}" preserveAspectRatio="none"/>'
        for sheet in sheets
    )
    return (
        f'<svg class="overlay" data-photo="{escape(photo)}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label="{escape(label)}">{parts}</svg>'
    )


def shrink(photo: Image.Image, side_px: int = THUMBNAIL_PX) -> Image.Image:
    """A copy whose longer side has at most `side_px`."""
    copy = photo.copy()
    copy.thumbnail((side_px, side_px))
    return copy


def thumbnail(photo: Image.Image) -> str:
    """A small copy of a photo, as the URL of a WebP."""
    file = BytesIO()
    shrink(photo).save(file, "WEBP", quality=70)
    return f"data:image/webp;base64,{b64encode(file.getvalue()).decode()}"


def _heat(heatmap: np.ndarray) -> str:
    """The colours of `heatmap` (H, W), clearer where there is less heat, as the URL of a PNG."""
    grey = shrink(Image.fromarray((heatmap * 255).astype(np.uint8)), HEAT_PX)
    picture = ImageOps.colorize(grey, *COLD_TO_HOT)
    # By the root: most of a landmark has less than half the heat of its hottest cell.
    picture.putalpha(grey.point(lambda value: HEAT_STRENGTH * math.sqrt(255 * value)))
    return _png(picture)


def _shade(mask: np.ndarray) -> str:
    """A dark sheet with a soft gap where `mask` (H, W) is True, as the URL of a PNG.

    The network's map is coarse: a hard edge would promise an outline.
    """
    gap = shrink(Image.fromarray(mask.astype(np.uint8) * 255), HEAT_PX)
    gap = gap.filter(ImageFilter.GaussianBlur(SOFT_PX))
    picture = Image.new("RGB", gap.size, SHADE)
    picture.putalpha(gap.point(lambda value: SHADE_STRENGTH * (255 - value)))
    return _png(picture)


def _png(picture: Image.Image) -> str:
    file = BytesIO()
    picture.save(file, "PNG")
    return f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"
