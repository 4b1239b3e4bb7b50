"""Synthetic photos for trying the setup without data: coloured shapes that a network can learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

CLASSES = ("00.Eiffel_Tower", "01.Golden_Gate_Bridge", "02.Stonehenge")
COUNTS = {"train": 8, "validation": 3, "test": 3}


def make_photo(label: int, seed: int, size: tuple[int, int] = (120, 90)) -> Image.Image:
    """A noisy sky, a ground, and a tower, bridge or ring by `label`; `size` in px."""
    random = np.random.default_rng(seed)
    width, height = size
    sky = random.integers(120, 220, 3)
    pixels = np.clip(sky + random.normal(0, 12, (height, width, 3)), 0, 255).astype(np.uint8)
    photo = Image.fromarray(pixels)
    draw = ImageDraw.Draw(photo)
    for _ in range(10):  # clouds, so that no two photos are near-copies
        left, top = random.integers(0, width), random.integers(0, height // 2)
        shade = tuple(random.integers(90, 255, 3).tolist())
        draw.ellipse((left - 12, top - 6, left + 12, top + 6), fill=shade)
    x, y = random.integers(0, width // 4), height * 3 // 4
    draw.rectangle((0, y, width, height), fill=tuple(random.integers(40, 110, 3).tolist()))
    ink = tuple(random.integers(0, 60, 3).tolist())
    if label % 3 == 0:
        draw.polygon([(x + 30, 5), (x + 10, y), (x + 50, y)], fill=ink)
    elif label % 3 == 1:
        draw.line([(0, y - 15), (width, y - 15)], fill=(200, 60, 40), width=7)
        draw.line([(x + 30, 15), (x + 30, y)], fill=(200, 60, 40), width=7)
    else:
        draw.ellipse((x + 5, y - 40, x + 65, y + 5), outline=ink, width=10)
    return photo.filter(ImageFilter.GaussianBlur(0.6))


def make_photos(root: Path) -> Path:
    """Fills `root` with train, validation and test folders of made-up photos; returns `root`."""
    seed = 0
    for split, count in COUNTS.items():
        for label, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                seed += 1
                make_photo(label, seed).save(folder / f"{number}.png")
    return root
