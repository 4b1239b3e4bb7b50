"""Heat and box to lie on a photo, and thumbnails."""

import io
import re
from base64 import b64decode
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from landmark_model import Explanation
from landmark_model.web.overlay import overlay, shrink

HEAT = np.zeros((1000, 2000), np.float32)
HEAT[400:600, 800:1200] = 1
FOUND = Explanation(HEAT, HEAT > 0.5, (800, 400, 1200, 600), "x", "x")


def lay(found: Explanation = FOUND, heat: bool = False, box: bool = False) -> ElementTree.Element:
    return ElementTree.fromstring(overlay(found, heat, box, "a1b2", '"Heat" & box'))


def test_heat_covers_the_landmark_and_leaves_the_rest_clear():
    drawing = lay(heat=True)
    assert drawing.get("viewBox") == "0 0 2000 1000" and drawing.get("data-photo") == "a1b2"
    (picture,) = drawing
    size = picture.get("width"), picture.get("height"), picture.get("preserveAspectRatio")
    assert size == ("2000", "1000", "none")
    code = re.fullmatch(r"data:image/png;base64,(.*)", picture.get("href"))[1]
    heat = np.asarray(Image.open(io.BytesIO(b64decode(code))))
    rows, columns = heat.shape[:2]
    hot, cold = heat[rows // 2, columns // 2], heat[2, 2]
    assert hot[0] > 180 and 100 < hot[3] < 200 and cold[3] == 0
    assert len(code) < 20_000


@pytest.mark.parametrize(
    "box", [(800, 400, 1200, 600), (0, 0, 2000, 1000), (1999, 999, 2000, 1000)]
)
def test_the_box_is_drawn_where_it_is(box):
    left, top, right, bottom = box
    for frame in lay(Explanation(HEAT, HEAT > 0.5, box, "x", "x"), box=True):
        sides = [int(frame.get(side)) for side in ("x", "y", "width", "height")]
        assert sides == [left, top, right - left, bottom - top]


def test_what_is_asked_for_is_drawn_and_said():
    drawn = [lay(heat=heat, box=box) for heat, box in ((True, False), (False, True), (True, True))]
    image, frame = ["image"], ["rect", "rect"]
    assert [[part.tag for part in one] for one in drawn] == [image, frame, image + frame]
    assert lay(heat=True).get("aria-label") == '"Heat" & box'


def test_a_thumbnail_is_a_copy():
    photo = Image.new("RGB", (2000, 1000), (90, 120, 90))
    assert shrink(photo, 100).size == (100, 50) and photo.size == (2000, 1000)
