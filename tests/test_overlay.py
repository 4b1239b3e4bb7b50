"""Heat and box on a photo, and thumbnails."""

import numpy as np
import pytest
from PIL import Image

from landmark_model import Explanation
from landmark_model.web.overlay import overlay, shrink

PHOTO = Image.new("RGB", (2000, 1000), (90, 120, 90))
HEAT = np.zeros((1000, 2000), np.float32)
HEAT[400:600, 800:1200] = 1
FOUND = Explanation(HEAT, HEAT > 0.5, (800, 400, 1200, 600), "x", "x")


def test_heat_changes_the_landmark_and_leaves_the_rest():
    picture = np.asarray(overlay(PHOTO, FOUND, heat=True, box=False)).astype(int)
    assert picture.shape == (512, 1024, 3)
    assert picture[256, 512, 0] > 180  # hot
    assert np.abs(picture[50, 50] - (90, 120, 90)).max() <= 1


def test_the_box_is_drawn_around_the_landmark_only():
    picture = np.asarray(overlay(PHOTO, FOUND, heat=False, box=True)).astype(int)
    rows, columns = np.nonzero(np.abs(picture - (90, 120, 90)).max(2) > 30)
    edges = [columns.min(), rows.min(), columns.max(), rows.max()]
    assert edges == pytest.approx([410, 205, 613, 306], abs=8)
    assert np.abs(picture[256, 512] - (90, 120, 90)).max() == 0


def test_a_box_at_the_edge_or_one_pixel_wide_can_be_drawn():
    tiny = Image.new("RGB", (8, 8))
    heat = np.ones((8, 8), np.float32)
    for box in ((0, 0, 8, 8), (7, 7, 8, 8)):
        assert overlay(tiny, Explanation(heat, heat > 0, box, "x", "x"), True, True).size == (8, 8)


def test_the_photo_itself_stays_as_it_was():
    before = PHOTO.tobytes()
    overlay(PHOTO, FOUND, True, True)
    assert shrink(PHOTO, 100).size == (100, 50)
    assert PHOTO.tobytes() == before and PHOTO.size == (2000, 1000)
