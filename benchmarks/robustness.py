"""How much top-1 the networks lose on photos as people have them: dark, blurred, small, hidden.

    python -m benchmarks.robustness --photos photos/world100/test

The folder holds <class>/<photo>, the classes named as the networks know them. Each photo is first
saved as a JPEG lying on its side whose EXIF tag says how to turn it. Its pixels, turned back
without reading the tag, are the clean photo that all others are made of: so the row "turned by
EXIF" must equal the clean one exactly, or the program stops.
"""

from __future__ import annotations

import io
import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageEnhance, ImageFilter, ImageOps, ImageStat
from tqdm.auto import tqdm

from benchmarks.pages import command_line, make_parser, run, short_name, table
from landmark_model import LandmarkError, list_networks, load, open_photo
from landmark_model.files import write_text

TABLE_NAME = "robustness.md"
QUALITY, BLUR_SIDE_PX, SMALL_PX, HIDDEN = 95, 224, 64, 0.25
Corrupted = Image.Image | bytes


def main(arguments: list[str] | None = None) -> None:
    """Photos -> each of them corrupted in each way -> what the networks say -> a table."""
    parser = make_parser("robustness", __doc__)
    parser.add_argument("--photos", type=Path, required=True, metavar="FOLDER", help="by class")
    parser.add_argument("--model", metavar="FOLDER_OR_REPO", help="default: those that ship")
    parser.add_argument("--limit", type=int, metavar="N", help="so many photos, evenly spaced")
    options = parser.parse_args(arguments)
    names = list_networks(options.model)
    taggers = {name: load(options.model, network=name) for name in names}
    known = set.intersection(*(set(tagger.config.class_names) for tagger in taggers.values()))
    photos = find_photos(options.photos, known, options.limit)
    result = measure(photos, taggers)
    command = command_line("robustness", arguments)
    page = make_page(result, command, short_name(options.photos))
    write_text(options.out / TABLE_NAME, page)
    print(f"\n{page}\nWritten to {options.out / TABLE_NAME}")


# --- what happens to photos ---


def turned_jpeg(photo: Image.Image) -> bytes:
    """`photo` saved lying on its side, with the EXIF tag by which viewers turn it back."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # to be shown turned by 90 degrees, clockwise
    return jpeg(photo.transpose(Image.Transpose.ROTATE_90), QUALITY, exif=exif)


def turned_back(content: bytes) -> Image.Image:
    """The upright pixels of what `turned_jpeg` gave, by knowing how it lies, not by its tag."""
    lying = Image.open(io.BytesIO(content)).convert("RGB")
    # By way of an array: Pillow's copies keep the EXIF tag, and would be turned once more.
    return Image.fromarray(np.rot90(np.asarray(lying), -1).copy())


def jpeg(photo: Image.Image, quality: int, **options: object) -> bytes:
    """The bytes of `photo` as JPEG of `quality` 1..95."""
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=quality, **options)
    return file.getvalue()


def blurred(photo: Image.Image) -> Image.Image:
    """`photo` with a Gaussian blur of radius 2 px where its shorter side is 224 px."""
    return photo.filter(ImageFilter.GaussianBlur(2 * min(photo.size) / BLUR_SIDE_PX))


def small(photo: Image.Image) -> Image.Image:
    """`photo` with its shorter side at most 64 px."""
    scale = min(1, SMALL_PX / min(photo.size))
    return photo.resize([max(1, round(scale * side)) for side in photo.size])


def occluded(photo: Image.Image, seed: int) -> Image.Image:
    """`photo` with a square over a quarter of it, in the mean grey, at a place from `seed`.

    Where no such square fits in, in a strip longer than 4:1, it is as wide as the strip and longer.
    """
    area = HIDDEN * photo.width * photo.height
    across = min(math.sqrt(area), *photo.size)
    is_upright = photo.width <= photo.height
    width, height = (across, area / across) if is_upright else (area / across, across)
    draw = random.Random(seed)
    left = draw.randint(0, photo.width - round(width))
    top = draw.randint(0, photo.height - round(height))
    shade = round(ImageStat.Stat(photo.convert("L")).mean[0])
    photo = photo.copy()
    photo.paste((shade,) * 3, (left, top, left + round(width), top + round(height)))
    return photo


CLEAN, EXIF = "clean", "turned by EXIF"
CONDITIONS: dict[str, Callable[[Image.Image, int], Corrupted]] = {
    "JPEG of quality 20": lambda photo, _: jpeg(photo, 20),
    "blurred, radius 2 px at 224 px": lambda photo, _: blurred(photo),
    "64 px small": lambda photo, _: small(photo),
    "dark, brightness x 0.35": lambda photo, _: ImageEnhance.Brightness(photo).enhance(0.35),
    "grey": lambda photo, _: photo.convert("L").convert("RGB"),
    "25 % hidden by a square": occluded,
    "mirrored": lambda photo, _: ImageOps.mirror(photo),
}


def versions(photo: Image.Image, seed: int, name: str) -> dict[str, Corrupted]:
    """`photo` clean and in each condition; `seed` says where it is hidden.

    Raises LandmarkError if the one turned by EXIF opens to other pixels than the clean one.
    """
    lying = turned_jpeg(photo)
    clean = turned_back(lying)
    if not np.array_equal(open_photo(lying), clean):
        raise LandmarkError(
            f"{name} turned by EXIF opens to other pixels than upright. Mend open_photo first."
        )
    corrupted = {name: corrupt(clean, seed) for name, corrupt in CONDITIONS.items()}
    return {CLEAN: clean, EXIF: lying, **corrupted}


# --- measuring ---


@dataclass(frozen=True)
class Result:
    """Right answers by condition and network, of `photo_count` photos in `class_count` classes."""

    right: dict[str, dict[str, int]]
    photo_count: int
    class_count: int


def find_photos(folder: Path, known: set[str], limit: int | None) -> list[tuple[Path, str]]:
    """(path, class name) of the photos in the class folders of `folder` that networks know.

    With `limit`, so many of them, evenly spaced. Other folders are reported. Raises LandmarkError
    if there are none.
    """
    if limit is not None and limit < 1:
        raise LandmarkError(f"--limit is {limit}; it must be 1 or more.")
    classes = sorted(path for path in folder.glob("*") if path.is_dir())
    for path in classes:
        if path.name not in known:
            print(f"Skipped: {path.name}/: the networks know no such class")
    found = [
        (path, place.name)
        for place in classes
        if place.name in known
        for path in sorted(place.iterdir())
        if path.is_file()
    ]
    if not found:
        raise LandmarkError(
            f"{folder} has no photo in a folder named as one of the {len(known)} classes, such as "
            f"{min(known)}. Lay photos out as <class>/<photo>."
        )
    count = min(limit or len(found), len(found))
    return [found[index * len(found) // count] for index in range(count)]


def measure(photos: list[tuple[Path, str]], taggers: dict) -> Result:
    """What each network answers to every photo in every condition.

    Photos that cannot be read are reported and left out. Raises LandmarkError if none is left.
    """
    right = {name: Counter(dict.fromkeys(taggers, 0)) for name in (CLEAN, EXIF, *CONDITIONS)}
    classes: list[str] = []
    for seed, (path, truth) in enumerate(tqdm(photos, desc="Measuring", unit="photo")):
        try:
            photo = open_photo(path)
        except LandmarkError as error:
            tqdm.write(f"Skipped: {truth}/{path.name}: {error}")
            continue
        variants = versions(photo, seed, path.name)
        classes.append(truth)
        for network, tagger in taggers.items():
            answers = tagger.predict_batch([*variants.values()], top_k=1)
            for condition, answer in zip(variants, answers, strict=True):
                right[condition][network] += answer[0].class_name == truth
    if not classes:
        raise LandmarkError(f"None of the {len(photos)} photos can be read. Check --photos.")
    if right[EXIF] != right[CLEAN]:
        raise LandmarkError(
            f"The same pixels get other answers: {dict(right[EXIF])} turned by EXIF, "
            f"{dict(right[CLEAN])} clean. Mend predict_batch first."
        )
    return Result({c: dict(counts) for c, counts in right.items()}, len(classes), len(set(classes)))


def make_page(result: Result, command: str, folder: str) -> str:
    """The text of robustness.md."""
    clean, points = result.right[CLEAN], 100 / result.photo_count
    rows = [(CLEAN, *(f"{points * count:.1f} %" for count in clean.values()))]
    for condition, right in result.right.items():
        if condition != CLEAN:
            lost = {n: points * (right[n] - clean[n]) for n in clean}
            cells = (f"{points * right[n]:.1f} % ({lost[n]:+.1f})" for n in clean)
            rows.append((condition, *cells))
    return (
        "# Robustness\n\nTop-1, and in brackets the points lost or won against the clean photos, "
        f"on {result.photo_count:,} photos of {result.class_count} landmarks in `{folder}`. One "
        f"photo is {points:.2f} points.\n\n{table(('photos', *clean), rows)}\n\nThe clean photos "
        f"are JPEGs of quality {QUALITY}; all others are made of their pixels. Each photo turned "
        "by EXIF opened to exactly the pixels of the clean one.\n\nWritten by\n\n"
        f"```sh\n{command}\n```\n"
    )


if __name__ == "__main__":
    run(main)
