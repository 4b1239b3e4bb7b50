"""How much top-1 the networks lose on photos as people have them: dark, blurred, small, hidden.

    python -m benchmarks.robustness --photos photos/world50/test

The folder holds <class>/<photo>, the classes named as the networks know them. Each photo is first
saved as a JPEG lying on its side whose EXIF tag says how to turn it. Its pixels, turned back
without reading the tag, are the clean photo that all others are made of: so the row "turned by
EXIF" must equal the clean one exactly, or the program stops.
"""

from __future__ import annotations

import argparse
import io
import math
import random
import shlex
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageEnhance, ImageFilter, ImageOps, ImageStat
from tqdm.auto import tqdm

from landmark_model import LandmarkError, list_networks, load, open_photo
from landmark_model.files import write_text

TABLE_NAME = "robustness.md"
QUALITY = 95
BLUR_SIDE_PX = 224
SPLIT_NAMES = ("train", "validation", "test")
Corrupted = Image.Image | bytes


def main(arguments: list[str] | None = None) -> None:
    """Photos -> each of them corrupted in each way -> what the networks say -> a table."""
    options = make_parser().parse_args(arguments)
    words = sys.argv[1:] if arguments is None else arguments
    names = list_networks(options.model)
    taggers = {name: load(options.model, network=name) for name in names}
    known = set.intersection(*(set(tagger.config.class_names) for tagger in taggers.values()))
    photos = find_photos(options.photos, known, options.limit)
    result = measure(photos, taggers)
    table = make_table(result, command(words), folder_name(options.photos))
    write_text(options.out / TABLE_NAME, table)
    print(f"\n{table}\nWritten to {options.out / TABLE_NAME}")


# --- what happens to photos; each takes an RGB photo and the seed of that photo ---


def turned_jpeg(photo: Image.Image) -> bytes:
    """`photo` saved lying on its side, with the EXIF tag by which viewers turn it back."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # to be shown turned by 90 degrees, clockwise
    return jpeg(photo.transpose(Image.Transpose.ROTATE_90), QUALITY, exif)


def turned_back(content: bytes) -> Image.Image:
    """The upright pixels of what `turned_jpeg` gave, by knowing how it lies, not by its tag."""
    lying = Image.open(io.BytesIO(content)).convert("RGB")
    # By way of an array: Pillow's copies keep the EXIF tag, and would be turned once more.
    return Image.fromarray(np.rot90(np.asarray(lying), -1).copy())


def jpeg(photo: Image.Image, quality: int, exif: Image.Exif | None = None) -> bytes:
    """The bytes of `photo` as JPEG of `quality` 1..95."""
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=quality, **({"exif": exif} if exif else {}))
    return file.getvalue()


def blurred(photo: Image.Image) -> Image.Image:
    """`photo` with a Gaussian blur of radius 2 px where its shorter side is 224 px."""
    return photo.filter(ImageFilter.GaussianBlur(2 * min(photo.size) / BLUR_SIDE_PX))


def small(photo: Image.Image, side_px: int = 64) -> Image.Image:
    """`photo` with its shorter side at most `side_px` px."""
    scale = side_px / min(photo.size)
    if scale >= 1:
        return photo
    size = tuple(max(side_px, round(scale * side)) for side in photo.size)
    return photo.resize(size, Image.Resampling.BICUBIC)


def dark(photo: Image.Image) -> Image.Image:
    """`photo` at 35 % of its brightness."""
    return ImageEnhance.Brightness(photo).enhance(0.35)


def grey(photo: Image.Image) -> Image.Image:
    """`photo` without its colours."""
    return photo.convert("L").convert("RGB")


def occluded(photo: Image.Image, seed: int, share: float = 0.25) -> Image.Image:
    """`photo` with a square over `share` of its area, in the mean grey, at a place from `seed`.

    Where no such square fits in, in a strip longer than 4:1, it is as wide as the strip and longer.
    """
    area = share * photo.width * photo.height
    across = min(math.sqrt(area), *photo.size)
    width, height = (
        round(across if photo.width == min(photo.size) else area / across),
        round(across if photo.height == min(photo.size) else area / across),
    )
    draw = random.Random(seed)
    left, top = draw.randint(0, photo.width - width), draw.randint(0, photo.height - height)
    shade = round(ImageStat.Stat(photo.convert("L")).mean[0])
    photo = photo.copy()
    photo.paste((shade,) * 3, (left, top, left + width, top + height))
    return photo


CLEAN, EXIF = "clean", "turned by EXIF"
CONDITIONS: dict[str, Callable[[Image.Image, int], Corrupted]] = {
    "JPEG of quality 20": lambda photo, _: jpeg(photo, 20),
    "blurred, radius 2 px at 224 px": lambda photo, _: blurred(photo),
    "64 px small": lambda photo, _: small(photo),
    "dark, brightness x 0.35": lambda photo, _: dark(photo),
    "grey": lambda photo, _: grey(photo),
    "25 % hidden by a square": occluded,
    "mirrored": lambda photo, _: ImageOps.mirror(photo),
}


def versions(photo: Image.Image, seed: int) -> dict[str, Corrupted]:
    """`photo` clean and in each condition. `seed` says where it is hidden."""
    lying = turned_jpeg(photo)
    clean = turned_back(lying)
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
    if not folder.is_dir():
        raise LandmarkError(f"{folder} is not a folder. Give --photos a folder of classes.")
    if limit is not None and limit < 1:
        raise LandmarkError(f"--limit is {limit}; it must be 1 or more.")
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
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


def measure(photos: list[tuple[Path, str]], taggers: dict, group_size: int = 16) -> Result:
    """What each network answers to every photo in every condition.

    Photos that cannot be read are reported and left out. Raises LandmarkError if none is left.
    """
    right = {name: Counter() for name in (CLEAN, EXIF, *CONDITIONS)}
    classes: list[str] = []
    with tqdm(total=len(photos), desc="Measuring", unit="photo") as bar:
        for start in range(0, len(photos), group_size):
            group = photos[start : start + group_size]
            seen = read_group(group, start)
            classes += [truth for truth, _ in seen]
            for condition, network in ((c, n) for c in right for n in taggers if seen):
                answers = taggers[network].predict_batch([v[condition] for _, v in seen], top_k=1)
                right[condition][network] += sum(
                    answer[0].class_name == truth
                    for answer, (truth, _) in zip(answers, seen, strict=True)
                )
            bar.update(len(group))
    if not classes:
        raise LandmarkError(f"None of the {len(photos)} photos can be read. Check --photos.")
    if right[EXIF] != right[CLEAN]:
        raise LandmarkError(
            f"The same pixels get other answers: {dict(right[EXIF])} turned by EXIF, "
            f"{dict(right[CLEAN])} clean. Mend predict_batch first."
        )
    return Result({c: dict(counts) for c, counts in right.items()}, len(classes), len(set(classes)))


def read_group(
    photos: list[tuple[Path, str]], first_seed: int
) -> list[tuple[str, dict[str, Corrupted]]]:
    """The class and the versions of each of the photos that can be read."""
    seen = []
    for seed, (path, truth) in enumerate(photos, start=first_seed):
        try:
            variants = versions(open_photo(path), seed)
        except LandmarkError as error:
            tqdm.write(f"Skipped: {truth}/{path.name}: {error}")
            continue
        require_equal(variants, path.name)
        seen.append((truth, variants))
    return seen


def require_equal(variants: dict[str, Corrupted], name: str) -> None:
    """Raises LandmarkError if the photo turned by EXIF opens to other pixels than the clean."""
    turned, clean = (np.asarray(open_photo(variants[condition])) for condition in (EXIF, CLEAN))
    if not (np.array_equal(turned, clean) and np.array_equal(clean, variants[CLEAN])):
        raise LandmarkError(
            f"{name} turned by EXIF opens to other pixels than upright. Mend open_photo first."
        )


# --- the table ---


def make_table(result: Result, command: str, folder: str) -> str:
    """The text of robustness.md."""
    names = list(result.right[CLEAN])
    clean = result.right[CLEAN]
    points = 100 / result.photo_count
    rows = [f"| {CLEAN} | " + " | ".join(f"{points * clean[n]:.1f} %" for n in names) + " |"]
    for condition, right in result.right.items():
        if condition != CLEAN:
            cells = (
                f"{points * right[n]:.1f} % ({lost(right[n], clean[n], points)})" for n in names
            )
            rows.append(f"| {condition} | {' | '.join(cells)} |")
    return "\n".join(
        [
            "# Robustness",
            "",
            f"Top-1, and in brackets the points lost or won against the clean photos, on "
            f"{result.photo_count:,} photos of {result.class_count} landmarks in `{folder}`. "
            f"One photo is {points:.2f} points.",
            "",
            f"| photos | {' | '.join(names)} |",
            "|---|" + "---:|" * len(names),
            *rows,
            "",
            f"The clean photos are JPEGs of quality {QUALITY}; all others are made of their "
            "pixels. Each photo turned by EXIF opened to exactly the pixels of the clean one.",
            "",
            "Written by",
            "",
            "```sh",
            command,
            "```",
            "",
        ]
    )


def lost(right: int, clean: int, points: float) -> str:
    """The difference in points, with its sign; a whole zero where it is none."""
    return f"{points * (right - clean):+.1f}" if right != clean else "0"


def command(words: list[str]) -> str:
    """The command line of this run, without the folders of this machine."""
    return shlex.join(["python", "-m", "benchmarks.robustness", *map(folder_name, words)])


def folder_name(word: str | Path) -> str:
    """A path without the folders that lead there, but with that of a split; other words as is."""
    path = Path(word)
    if not (path.is_absolute() or ".." in path.parts):
        return str(word)
    return "/".join(path.parts[-2:]) if path.name in SPLIT_NAMES else path.name


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.robustness",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--photos", type=Path, required=True, metavar="FOLDER", help="photos by class folder"
    )
    parser.add_argument(
        "--model",
        metavar="FOLDER_OR_REPO",
        help="the networks: a folder or hub repo; default: those that ship",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(__file__).parent,
        metavar="FOLDER",
        help=f"where {TABLE_NAME} goes; default: beside this program",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="so many photos, evenly spaced")
    return parser


if __name__ == "__main__":
    try:
        main()
    except LandmarkError as error:
        sys.exit(f"robustness.py: {error}")
