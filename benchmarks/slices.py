"""Top-1 apart for sharp, small and cropped photos, and "none of these" apart by kind: slices.md.

    python -m benchmarks.slices --table data/world100.csv

The CSV has a row for each photo: set (world100, unknown), split, class, file (relative to the
table) and course (1: one of the original course's own photos, often crops). All figures are of
test photos. Last comes a logistic regression that sees only a photo's size and compression: how
much of the right answer these give away.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from benchmarks.pages import command_line, make_parser, run, table
from landmark_model import LandmarkClassifier, LandmarkError, list_networks, load
from landmark_model.files import read_text, write_text
from landmark_model.hub.card import wilson
from landmark_model.training.metrics import measure_unknown

PAGE_NAME = "slices.md"
KNOWN, UNKNOWN = "world100", "unknown"
SHARP_PX = 256  # of the shorter side
MOST_TABLE_BYTES = 20_000_000


@dataclass(frozen=True)
class Row:
    """A photo of the table; `is_course`: the course's own."""

    kind: str
    split: str
    class_name: str
    path: Path
    is_course: bool


@dataclass(frozen=True)
class Answered:
    """A test photo with what a network answered; `kind` is KNOWN or UNKNOWN."""

    row: Row
    shorter_px: int
    top5: tuple[str, ...]
    probability: float
    score: float


def read_table(path: Path) -> list[Row]:
    """The photos of the CSV at `path`. Raises LandmarkError if columns or files are missing."""
    try:
        rows = [
            Row(line["set"], line["split"], line["class"], path.parent / line["file"],
                line["course"] == "1")
            for line in csv.DictReader(io.StringIO(read_text(path, MOST_TABLE_BYTES)))
        ]  # fmt: skip
    except KeyError as error:
        raise LandmarkError(f"{path.name} has no column {error}. See --help.") from error
    missing = [row.path for row in rows if not row.path.is_file()]
    if missing:
        raise LandmarkError(f"{len(missing):,} files of {path.name} are missing: {missing[0]}, ...")
    return rows


def slices(course_classes: set[str]) -> dict[str, Callable[[Answered], bool]]:
    """The parts of the known photos, by what they are called."""

    def in_course(found: Answered) -> bool:
        return found.row.class_name in course_classes

    return {
        "all": lambda _: True,
        f"sharp: {SHARP_PX} px or more": lambda f: not f.row.is_course and f.shorter_px >= SHARP_PX,
        f"small: below {SHARP_PX} px": lambda f: not f.row.is_course and f.shorter_px < SHARP_PX,
        "the course's own, often cropped": lambda f: f.row.is_course,
        f"the {len(course_classes)} landmarks of the course": in_course,
        "the others": lambda f: not in_course(f),
    }


def answer(tagger: LandmarkClassifier, rows: list[Row]) -> list[Answered]:
    """What a network says of photos."""
    answers = tagger.predict_batch([row.path for row in rows])
    found = []
    for row, guesses in zip(rows, answers, strict=True):
        with Image.open(row.path) as photo:
            shorter_px = min(photo.size)
        names = tuple(guess.class_name for guess in guesses)
        found.append(Answered(row, shorter_px, names, guesses[0].probability, guesses.score))
    return found


def known_lines(found: list[Answered], course_classes: set[str]) -> list[list[str]]:
    """For each slice: photos, top-1 with its 95 % range, top-5, and how sure it was on average."""
    lines = []
    for name, belongs in slices(course_classes).items():
        part = [one for one in found if belongs(one)]
        if not part:
            continue
        top1, top5, sure = np.mean(
            [(one.top5[0] == one.row.class_name, one.row.class_name in one.top5, one.probability)
             for one in part], axis=0
        )  # fmt: skip
        low, high = wilson(top1, len(part))
        cells = [f"{top1:.1%} ({low:.0%} to {high:.0%})", f"{top5:.1%}", f"{sure:.1%}"]
        lines.append([name, str(len(part)), *cells])
    return lines


def unknown_lines(known: list[Answered], others: list[Answered], threshold: float) -> list:
    """The figures of "none of these" on all other photos, and on each kind of them."""
    kinds = sorted({one.row.class_name for one in others})
    lines = []
    for kind in ("all", *kinds):
        part = [one.score for one in others if kind in ("all", one.row.class_name)]
        scores = np.array([one.score for one in known]), np.array(part)
        found = measure_unknown("", *scores, threshold)
        figures = (f"{found.fpr95:.1%}", f"{found.kept:.1%}", f"{found.refused:.1%}")
        lines.append([kind.replace("_", " "), str(len(part)), f"{found.auroc:.3f}", *figures])
    return lines


def give_away(path: Path) -> list[float]:
    """What a photo's file tells without its picture: sides in px, bytes, compression."""
    with Image.open(path) as photo:
        width, height = photo.size
        steps = [sum(steps) for steps in getattr(photo, "quantization", {}).values()]
    size = path.stat().st_size
    logs = np.log([width, height, size, size / (width * height), 1 + sum(steps)])
    return [*logs.tolist(), float(bool(steps)), float(len(steps))]


def told_by_file(rows: list[Row]) -> float:
    """The test top-1 of a logistic regression on `give_away` and its products, 0..1."""
    train, test = (
        [row for row in rows if row.kind == KNOWN and row.split == split]
        for split in ("train", "test")
    )
    model = make_pipeline(
        StandardScaler(), PolynomialFeatures(2), LogisticRegression(max_iter=2000)
    )
    model.fit([give_away(row.path) for row in train], [row.class_name for row in train])
    return float(
        model.score([give_away(row.path) for row in test], [row.class_name for row in test])
    )


def make_page(command: str, rows: list[Row], taggers: dict[str, LandmarkClassifier]) -> str:
    """The Markdown text."""
    test = [row for row in rows if row.split == "test"]
    course = {row.class_name for row in rows if row.is_course}
    parts = [
        f"# Which photos are hard\n\nWritten by `{command}`: test photos, what ships. In brackets "
        '95 % ranges; "sure" is the mean probability of the first guess, which equals top-1 where '
        "a network is neither too sure nor too doubtful."
    ]
    for tagger in taggers.values():
        classes = set(tagger.config.class_names)
        known = answer(tagger, [r for r in test if r.kind == KNOWN and r.class_name in classes])
        others = answer(tagger, [r for r in test if r.kind == UNKNOWN])
        heads = ("photos", "", "top-1", "top-5", "sure")
        parts += [f"\n## {tagger.config.title}\n", table(heads, known_lines(known, course))]
        heads = ("none of these", "", "AUROC", "FPR95", "known kept", "others refused")
        threshold = tagger.config.known_threshold
        parts += ["", table(heads, unknown_lines(known, others, threshold))]
    share = told_by_file(rows)
    parts.append(
        f"\n## Without the picture\n\nA logistic regression on the size, the bytes and the "
        f"compression of a photo's file alone, trained on the training photos, finds {share:.1%} "
        f"of the landmarks of the test photos."
    )
    return "\n".join(parts) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """Answers the test photos with every network and writes the page."""
    parser = make_parser("slices", __doc__)
    parser.add_argument("--table", type=Path, required=True, metavar="CSV")
    parser.add_argument("--model", metavar="FOLDER_OR_REPO", help="default: those that ship")
    options: argparse.Namespace = parser.parse_args(arguments)
    rows = read_table(options.table)
    taggers = {name: load(options.model, network=name) for name in list_networks(options.model)}
    page = make_page(command_line("slices", arguments), rows, taggers)
    write_text(options.out / PAGE_NAME, page)
    print(page)


if __name__ == "__main__":
    run(main)
