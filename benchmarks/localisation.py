"""Measures whether `explain` finds a landmark in a corner, and draws what it finds.

python -m benchmarks.localisation --photos FOLDER/*/*.jpg [--model FOLDER_OR_REPO]

Each photo, in a folder named after its landmark, is pasted into a corner of a canvas of twice its
sides: coloured noise for one half of the cases, a sky for the other. Writes the table
benchmarks/localisation.md and, from example photos in the public domain, docs/explain.png.
"""

from __future__ import annotations

import csv
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from benchmarks.pages import make_parser, run, table
from landmark_model import (
    Explanation,
    LandmarkClassifier,
    LandmarkError,
    list_networks,
    load,
    open_photo,
)
from landmark_model.files import write_text

ROOT = Path(__file__).resolve().parents[1]
TABLE_NAME, PICTURE = "localisation.md", ROOT / "docs" / "explain.png"
MAX_SIDE_PX = 1024
TILE_PX = (380, 285)
FREE = ("Public domain", "CC0 1.0")
BACKGROUNDS = ("noise", "sky")
HEADS = ("network", "cases", "box centre inside", "on noise", "on sky", "inside, landmark named",
         "landmark right", "box area inside", "IoU", "ms per photo")  # fmt: skip
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Case:
    """A photo on a canvas: which landmark, on what background, and where (px) it was pasted."""

    canvas: Image.Image
    class_name: str
    background: str
    pasted: Box


@dataclass(frozen=True)
class Score:
    """How a box fits the pasted photo; shares are 0..1, `milliseconds` is of one `explain`."""

    background: str
    inside: bool
    inside_if_named: bool
    right_class: bool
    area_share: float
    iou: float
    milliseconds: float


def main(arguments: list[str] | None = None) -> None:
    """Measures every network, then writes table and picture."""
    parser = make_parser("localisation", __doc__)
    parser.add_argument("--photos", nargs="+", type=Path, required=True, metavar="PHOTO",
                        help="photos in folders named after landmarks, or that tree")  # fmt: skip
    parser.add_argument("--model", help="folder or hub repo; without, the networks that ship")
    parser.add_argument("--cases", type=int, default=200, help="photos to paste (200)")
    parser.add_argument("--seed", type=int, default=0, help="of photos, corners and noise (0)")
    options = parser.parse_args(arguments)
    files = find_photos(options.photos, options.cases, options.seed)
    scores = {
        network: measure(load(options.model, network=network), network, files, options.seed)
        for network in list_networks(options.model)
    }
    page = make_page(scores, options.seed)
    write_text(options.out / TABLE_NAME, page)
    draw(load(options.model, network=next(iter(scores)))).save(PICTURE, optimize=True)
    print(page)


def find_photos(paths: list[Path], count: int, seed: int) -> list[Path]:
    """`count` of the photos among `paths` and in the class folders of those that are folders.

    Each is there once before any is there again. Raises LandmarkError if there are none.
    """
    if count < 2:
        raise LandmarkError(f"--cases is {count}: give 2 or more, one for each background.")
    files = [file for path in paths for file in (path.glob("*/*") if path.is_dir() else [path])]
    if not files:
        raise LandmarkError(f"No photos in {paths[0]}. Give files, or a folder with class folders.")
    files, rng = sorted(files), np.random.default_rng(seed)
    order = [i for _ in range(-(-count // len(files))) for i in rng.permutation(len(files))]
    return [files[index] for index in order[:count]]


def measure(tagger: LandmarkClassifier, network: str, files: list[Path], seed: int) -> list[Score]:
    """The score of each photo, in the same corner for every network with the same seed.

    Raises LandmarkError if a photo's folder is named after no landmark that `tagger` knows.
    """
    rng = np.random.default_rng(seed)
    tagger.explain(open_photo(files[0]))  # the first call is slower
    chosen = enumerate(tqdm(files, desc=network, unit="photo"))
    return [score(tagger, paste(file, BACKGROUNDS[number % 2], rng)) for number, file in chosen]


def paste(file: Path, background: str, rng: np.random.Generator) -> Case:
    """The photo, at most 1,024 px wide, in a corner of a canvas of twice its sides."""
    photo = open_photo(file)
    photo.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX))
    width, height = photo.size
    canvas = (noise if background == "noise" else sky)(2 * width, 2 * height, rng)
    corner = int(rng.integers(4))
    left, top = width * (corner % 2), height * (corner // 2)
    canvas.paste(photo, (left, top))
    return Case(canvas, file.parent.name, background, (left, top, left + width, top + height))


def noise(width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """Squares of random colours, 1 to 8 px wide."""
    grain_px = int(rng.integers(1, 9))
    shape = (-(-height // grain_px), -(-width // grain_px), 3)
    squares = rng.integers(0, 256, shape, dtype=np.uint8)
    return Image.fromarray(squares.repeat(grain_px, 0).repeat(grain_px, 1)[:height, :width])


def sky(width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """Deep blue above, pale at the horizon, each a little different every time."""
    above, below = rng.integers((50, 110, 180), (90, 150, 220)), rng.integers(190, 240, 3)
    share = np.linspace(0, 1, height)[:, None]
    column = (above * (1 - share) + below * share).astype(np.uint8)  # (height, 3)
    return Image.fromarray(np.repeat(column[:, None], width, axis=1))


def score(tagger: LandmarkClassifier, case: Case) -> Score:
    """How well the box of `explain` fits the photo that was pasted."""
    start = time.perf_counter()
    found = tagger.explain(case.canvas)
    milliseconds = 1000 * (time.perf_counter() - start)
    named = found
    if found.class_name != case.class_name:
        named = tagger.explain(case.canvas, case.class_name)
    left, top, right, bottom = found.box
    common = area((max(left, case.pasted[0]), max(top, case.pasted[1]),
                   min(right, case.pasted[2]), min(bottom, case.pasted[3])))  # fmt: skip
    return Score(
        background=case.background,
        inside=holds(case.pasted, found.box),
        inside_if_named=holds(case.pasted, named.box),
        right_class=found.class_name == case.class_name,
        area_share=common / area(found.box),
        iou=common / (area(found.box) + area(case.pasted) - common),
        milliseconds=milliseconds,
    )


def area(box: Box) -> int:
    """Square px of a box; 0 if it is empty."""
    return max(0, box[2] - box[0]) * max(0, box[3] - box[1])


def holds(outer: Box, inner: Box) -> bool:
    """Whether the centre of `inner` lies in `outer`."""
    x, y = (inner[0] + inner[2]) / 2, (inner[1] + inner[3]) / 2
    return outer[0] <= x < outer[2] and outer[1] <= y < outer[3]


def make_page(scores: dict[str, list[Score]], seed: int) -> str:
    """The Markdown page: one row for each network."""
    rows = [make_row(network, values) for network, values in scores.items()]
    return (
        "# Where it looks: a landmark in a corner\n\n"
        "Written by `benchmarks/localisation.py`. Each photo is pasted into a random corner of a\n"
        f"canvas of twice its sides, half of them coloured noise, half sky (seed {seed}).\n"
        "By chance, the centre of a box would be inside in 25 % of cases; a box of all the canvas\n"
        'would have 25 % of its area inside. "Landmark named" is `explain(photo, class_name)`.\n'
        "Area and IoU (with the whole pasted photo, of which the landmark is a part) are means.\n"
        f"Timed on {platform.machine()}, {os.cpu_count()} cores, "
        f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')}; the median.\n\n"
        f"{table(HEADS, rows)}\n"
    )


def make_row(network: str, scores: list[Score]) -> list[object]:
    """The row of one network."""

    def share(figure: str, background: str = "") -> str:
        values = [getattr(s, figure) for s in scores if background in ("", s.background)]
        return f"{np.mean(values):.1%}"

    return [
        network,
        len(scores),
        share("inside"),
        *(share("inside", background) for background in BACKGROUNDS),
        share("inside_if_named"),
        share("right_class"),
        share("area_share"),
        f"{np.mean([s.iou for s in scores]):.2f}",
        f"{np.median([s.milliseconds for s in scores]):.0f}",
    ]


def draw(tagger: LandmarkClassifier) -> Image.Image:
    """Heat and box on the example photos in the public domain, and on one in a corner of a sky."""
    with open(ROOT / "examples" / "CREDITS.csv", encoding="utf-8", newline="") as file:
        credits = [line for line in csv.DictReader(file) if line["landmark_class"]]
    free = [ROOT / "examples" / line["file"] for line in credits if line["licence"] in FREE][:5]
    photos = [open_photo(file) for file in free]
    photos.append(paste(free[0], "sky", np.random.default_rng(1)).canvas)
    columns, rows = 3, -(-len(photos) // 3)
    sheet = Image.new("RGB", (columns * TILE_PX[0], rows * TILE_PX[1]), "white")
    for place, photo in enumerate(photos):
        tile = overlay(photo, tagger.explain(photo))
        corner = (place % columns * TILE_PX[0], place // columns * TILE_PX[1])
        sheet.paste(tile, (corner[0] + (TILE_PX[0] - tile.width) // 2, corner[1] + 4))
    return sheet.quantize(128, dither=Image.Dither.FLOYDSTEINBERG)


def overlay(photo: Image.Image, found: Explanation) -> Image.Image:
    """`photo` in grey with its heat in colour, the box, and the landmark's name."""
    heat = found.heatmap[..., None]  # (H, W, 1)
    colour = np.concatenate([255 + 0 * heat, 230 * (1 - heat), 0 * heat], axis=2)
    opacity = 0.75 * heat**1.5
    grey = np.asarray(photo.convert("L").convert("RGB"))
    mixed = Image.fromarray((grey * (1 - opacity) + colour * opacity).astype(np.uint8))
    scale = min((TILE_PX[0] - 8) / photo.width, (TILE_PX[1] - 8) / photo.height)
    mixed = mixed.resize((round(photo.width * scale), round(photo.height * scale)))
    pen = ImageDraw.Draw(mixed)
    pen.rectangle([side * scale for side in found.box], outline="#22d3ee", width=3)
    pen.text((8, 6), found.label, "white", ImageFont.load_default(18), stroke_width=2,
             stroke_fill="black")  # fmt: skip
    return mixed


if __name__ == "__main__":
    run(main)
