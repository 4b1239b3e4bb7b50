"""Compares answers from photos decoded at reduced detail with those from all pixels -> decode.md.

Each photo is enlarged to 12 megapixels and saved as JPEG of quality 90, every second one with
grain: an enlarged photo is smoother than one from a camera.
"""

from __future__ import annotations

import io
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops
from tqdm.auto import tqdm

from benchmarks.pages import command_line, make_parser, run, table
from landmark_model import LandmarkError, list_networks, load, open_photo
from landmark_model.files import write_text
from landmark_model.folders import find_photos
from landmark_model.photos import open_reduced
from landmark_model.prediction import Answer
from landmark_model.preprocess import DETAIL, fewest_pixels

PIXELS, GRAIN, SURE = 12_000_000, 20, 0.6
HEADS = ("network", "detail", "landmarks", "photos", "same first guess", "median difference",
         "largest", "another first guess above 60 %", "another `is_known`")  # fmt: skip
ABOUT = """# Answers from photos decoded at reduced detail

Written by `{command}`: {count} photos, each enlarged to 12 megapixels by bicubic interpolation and
saved as JPEG of quality 90, every second one with noise of standard deviation {grain} (of 255). An
answer from the copy that `predict` decodes is compared with one from all pixels. "Detail" is how
many times the side of the network's image the copy has at least (`preprocess.DETAIL` is {detail}).
A photo's difference is the largest of any landmark's probability, in points. "Known" are photos of
landmarks that the network learned; of others its first guess is wrong anyhow.

{rows}
"""


def main(arguments: list[str] | None = None) -> None:
    """Compares, and writes the page."""
    parser = make_parser("decode", __doc__)
    parser.add_argument("--photos", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--limit", type=int, default=180, metavar="N", help="photos (180)")
    parser.add_argument("--detail", type=float, nargs="+", default=[DETAIL], metavar="X")
    options = parser.parse_args(arguments)
    files = find_photos(options.photos).paths
    if not files or options.limit < 1:
        raise LandmarkError(f"No photos in {options.photos}, or --limit is below 1.")
    files = files[:: -(-len(files) // options.limit)]
    found = compare(files, options.detail)
    rows = [[*key, *summary(pairs)] for key, pairs in sorted(found.items())]
    page = ABOUT.format(command=command_line("decode", arguments), count=len(files), grain=GRAIN,
                        detail=DETAIL, rows=table(HEADS, rows))  # fmt: skip
    write_text(options.out / "decode.md", page)
    print(page)


def compare(files: list[Path], details: list[float]) -> dict[tuple, list[tuple[Answer, Answer]]]:
    """Answers from a reduced copy and from all pixels, by network, detail and kind of photo."""
    taggers = {name: load(network=name, device="cpu") for name in list_networks()}
    found = defaultdict(list)
    for number, path in enumerate(tqdm(files, unit="photo")):
        photo = enlarged(path, grainy=number % 2 == 1)
        full = open_photo(photo)
        for name, tagger in taggers.items():
            kind = "known" if path.parent.name in tagger.config.class_names else "others"
            answers = {}  # by size: several details may take the same copy
            for detail in details:
                copy = open_reduced(photo, fewest_pixels(tagger.config, detail)).image
                for image in (copy, full):  # not by `predict`, which would reduce `full`, too
                    if image.size not in answers:
                        answers[image.size] = tagger._look([image], len(tagger.labels))[0]
                found[name, detail, kind].append((answers[copy.size], answers[full.size]))
    return found


def enlarged(path: Path, grainy: bool = False) -> bytes:
    """A JPEG of 12 megapixels of a photo."""
    photo, buffer = open_photo(path), io.BytesIO()
    scale = (PIXELS / (photo.width * photo.height)) ** 0.5
    width, height = (round(scale * side) for side in photo.size)
    photo = photo.resize((width, height), Image.Resampling.BICUBIC)
    if grainy:
        noise = Image.effect_noise(photo.size, GRAIN).convert("RGB")
        photo = ImageChops.add(photo, noise, 1, -128)
    photo.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def summary(pairs: list[tuple[Answer, Answer]]) -> list[str]:
    """The cells of a row."""
    gaps = [difference(*pair) for pair in pairs]
    others = [pair for pair in pairs if pair[0][0].class_name != pair[1][0].class_name]
    sure = sum(max(answer[0].probability for answer in pair) > SURE for pair in others)
    known = sum(copy.is_known != full.is_known for copy, full in pairs)
    return [f"{len(pairs)}", f"{1 - len(others) / len(pairs):.1%}", f"{np.median(gaps):.1f}",
            f"{max(gaps):.1f}", f"{sure}", f"{known}"]  # fmt: skip


def difference(one: Answer, other: Answer) -> float:
    """The largest difference of a landmark's probability, in points."""
    probabilities = {guess.class_name: guess.probability for guess in other}
    return 100 * max(abs(guess.probability - probabilities[guess.class_name]) for guess in one)


if __name__ == "__main__":
    run(main)
