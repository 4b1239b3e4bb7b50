"""Trains both networks on the course's photos and sets them beside what others reported.

    python -m benchmarks.course --data landmark_images --init resnet18.safetensors

landmark_images holds train/<class>/ and test/<class>/; validation photos are cut off train. All
other options go to train.py, for both networks: --epochs 30 --batch-size 32 ...
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path

from landmark_model import LandmarkError
from landmark_model.files import write_text
from landmark_model.hub.repo import METRICS_NAME
from landmark_model.training.checkpoint import has_checkpoint
from landmark_model.training.options import parse, portable
from landmark_model.training.pipeline import train

TABLE_NAME = "course.md"
OURS = ("landmark_cnn", "resnet18")
COURSE = {"classes": 50, "test": 1250}
# (who, from scratch, transfer, network): test top-1 in percent, as the authors' public notebooks
# and READMEs state it; none was measured by us.
RIVALS = (
    ("shrigulhane100/landmark-tagging, which this one grew from", "56", "72", "ResNet18"),
    ("typical", "50-60", "70-76", "ResNet18"),
    ("GLGL0x00", "75.0", "", "residual CNN"),
    ("NaifMersal", "71.4", "84.8", "RegNetY-800MF"),
    ("JoranBergfeld", "66.6", "86.7", "ConvNeXt-Tiny, frozen"),
    ("yvesyue", "", "84.9", "EfficientViT-B2"),
    ("fpcorso", "", "84.0", "ResNet50"),
    ("Kolapo-code", "", "89.4", "ViT-B/16"),
    ("sssingh", "38", "63", "VGG19"),
)


def main(arguments: list[str] | None = None) -> None:
    """Trains both networks, then prints and writes the table."""
    options, passed_on = make_parser().parse_known_args(arguments)
    words = sys.argv[1:] if arguments is None else arguments
    command = shlex.join(["python", "-m", "benchmarks.course", *map(portable, words)])
    figures = {}
    for network in OURS:
        folder = options.runs / network
        train(parse(our_arguments(network, options, folder, passed_on)))
        figures[network] = json.loads((folder / METRICS_NAME).read_text(encoding="utf-8"))
    table = make_table(figures, command)
    write_text(options.out / TABLE_NAME, table)
    print(f"\n{table}\nWritten to {options.out / TABLE_NAME}")


def our_arguments(
    network: str, options: argparse.Namespace, folder: Path, passed_on: list[str]
) -> list[str]:
    """The options of train.py for one network."""
    words = ["--data", str(options.data), "--network", network, "--out", str(folder)]
    if options.init and network == "resnet18":
        words += ["--init", options.init]
    if options.resume and has_checkpoint(folder):
        words.append("--resume")
    return [*words, *passed_on]


def make_table(figures: dict[str, dict], command: str) -> str:
    """The Markdown text: what others reported, and the metrics.json of our two networks."""
    scratch, transfer = figures["landmark_cnn"], figures["resnet18"]
    lines = [
        "# On the course's photos\n",
        "Written by `benchmarks/course.py`; do not edit. The last row was measured here, once, on "
        "the test photos. **All others are self-reported by their authors**, in percent of test "
        "photos, and not checked by us.\n",
        "| who | from scratch | transfer | network |",
        "|---|---|---|---|",
    ]
    for who, from_scratch, by_transfer, network in RIVALS:
        cells = (f"{value}%" if value else "" for value in (from_scratch, by_transfer))
        lines.append(f"| {who} (self-reported) | {' | '.join(cells)} | {network} |")
    lines.append(
        f"| **ours, measured here** | **{scratch['test']['top1']:.1%}** | "
        f"**{transfer['test']['top1']:.1%}** | LandmarkCNN; ResNet18 |"
    )
    lines += ["", describe_photos(scratch["training"]["data"])]
    for title, one in (("From scratch", scratch), ("Transfer", transfer)):
        facts = one["training"]
        lines.append(
            f"{title}: top-5 {one['test']['top5']:.1%}, validation top-1 "
            f"{one['validation']['top1']:.1%}, {len(facts['epochs'])} epochs, "
            f"{facts['fit_seconds'] / 60:.0f} min on {facts['hardware']}."
        )
    return "\n".join([*lines, f"\n```\n{command}\n```\n"])


def describe_photos(about: dict) -> str:
    """The photos our row is of, and a warning where they are not the course's."""
    photos = ", ".join(f"{count:,} {split}" for split, count in about["photos"].items())
    text = (
        f"Photos of {about['name']}: {about['classes']} classes, {photos}; "
        f"{about['leaks']} copies or near-copies across splits, {about['skipped']} files skipped."
    )
    found = {"classes": about["classes"], "test": about["photos"]["test"]}
    if found != COURSE:
        text += (
            f" **Not the course's data** ({COURSE['classes']} classes, {COURSE['test']:,} test "
            "photos): the rows cannot be compared."
        )
    return text


def make_parser() -> argparse.ArgumentParser:
    """The command line; options that are not named here are train.py's."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.course",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # train.py's options must pass untouched
    )
    for name, settings in OPTIONS.items():
        parser.add_argument(name, **settings)
    return parser


OPTIONS = {
    "--data": {
        "type": Path,
        "required": True,
        "metavar": "FOLDER",
        "help": "the course's landmark_images",
    },
    "--init": {"metavar": "FILE", "help": "first weights of resnet18, as for train.py"},
    "--runs": {
        "type": Path,
        "default": Path("runs/course"),
        "metavar": "FOLDER",
        "help": "where the run folders go; default: %(default)s",
    },
    "--out": {
        "type": Path,
        "default": Path("benchmarks"),
        "metavar": "FOLDER",
        "help": "where the table goes; default: %(default)s",
    },
    "--resume": {"action": "store_true", "help": "go on from the checkpoints in --runs"},
}


if __name__ == "__main__":
    try:
        main()
    except LandmarkError as error:
        sys.exit(f"course: {error}")
