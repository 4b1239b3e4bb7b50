"""What speaks for a guess, to lie on its photo; and thumbnails."""

import io
import re
from base64 import b64decode
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from landmark_model import Explanation
from landmark_model.web.overlay import overlay, shrink, thumbnail

HEAT = np.zeros((1000, 2000), np.float32)
HEAT[400:600, 800:1200] = 1
FOUND = Explanation(HEAT, HEAT > 0.5, (800, 400, 1200, 600), "x", "x")


def lay(found: Explanation = FOUND, heat: bool = False, patch: bool = False) -> ElementTree.Element:
    return ElementTree.fromstring(overlay(found, heat, patch, "a1b2", '"Heat" & box'))


def test_heat_covers_the_landmark_and_leaves_the_rest_clear():
    drawing = lay(heat=True)
    assert drawing.get("viewBox") == "0 0 2000 1000" and drawing.get("data-photo") == "a1b2"
    heat = pixels_of(drawing)
    rows, columns = heat.shape[:2]
    hot, cold = heat[rows // 2, columns // 2], heat[2, 2]
    assert hot[0] > 180 and 100 < hot[3] < 200 and cold[3] == 0


def pixels_of(drawing: ElementTree.Element) -> np.ndarray:
    """The only picture of a drawing, which covers all of it: (H, W, 4)."""
    (picture,) = drawing
    size = picture.get("width"), picture.get("height"), picture.get("preserveAspectRatio")
    assert size == ("2000", "1000", "none")
    code = re.fullmatch(r"data:image/png;base64,(.*)", picture.get("href"))[1]
    assert len(code) < 20_000
    return np.asarray(Image.open(io.BytesIO(b64decode(code))))


def test_the_patch_that_convinced_it_is_clear_with_soft_edges_in_a_shade():
    opacity = pixels_of(lay(patch=True))[..., 3].astype(int)
    rows, columns = opacity.shape
    assert opacity[rows // 2, columns // 2] < 20 and opacity[2, 2] > 130
    assert abs(np.diff(opacity[rows // 2])).max() < 40, "no hard edge"
    everything = Explanation(HEAT, HEAT >= 0, (0, 0, 2000, 1000), "x", "x")
    assert pixels_of(lay(everything, patch=True))[..., 3].max() == 0


def test_what_is_asked_for_is_drawn_and_said():
    counts = [
        len(lay(heat=heat, patch=p)) for heat, p in ((True, False), (False, True), (True,) * 2)
    ]
    assert counts == [1, 1, 2] and len(lay()) == 0
    assert lay(heat=True).get("aria-label") == '"Heat" & box'


def test_a_thumbnail_is_a_copy():
    photo = Image.new("RGB", (2000, 1000), (90, 120, 90))
    assert shrink(photo, 100).size == (100, 50) and photo.size == (2000, 1000)
    assert thumbnail(photo).startswith("data:image/webp;base64,")
