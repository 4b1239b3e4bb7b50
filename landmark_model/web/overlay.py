"""Pictures made from a photo: heat and box to lie on it, thumbnails, copies to show."""

from __future__ import annotations

import math
from base64 import b64encode
from html import escape
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps

from landmark_model import Explanation

SIDE_PX = 1024
THUMBNAIL_PX = 192
HEAT_PX = 96  # a network's map has some ten cells a side; browsers enlarge it smoothly
HEAT_STRENGTH = 0.7
COLD_TO_HOT = ("#1b0c41", "#fcffa4", "#e8602d")  # least, most, middle


def overlay(found: Explanation, heat: bool, box: bool, photo: str, label: str) -> str:
    """Heat and box of `found` as an SVG, to be laid on the photo that it explains by page.js.

    `photo` is a part of the photo's address that no other has; `label` says what the SVG shows.
    """
    height, width = found.heatmap.shape
    parts = ""
    if heat:
        parts = (
            f'<image href="{_heat(found.heatmap)}" width="{width}" height="{height}" '
            'preserveAspectRatio="none"/>'
        )
    if box:
        left, top, right, bottom = found.box
        place = f'x="{left}" y="{top}" width="{right - left}" height="{bottom - top}"'
        # Light on dark: seen on any photo.
        parts += "".join(f'<rect class="{kind}" {place}/>' for kind in ("edge", "box"))
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
    file = BytesIO()
    picture.save(file, "PNG")
    return f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"
