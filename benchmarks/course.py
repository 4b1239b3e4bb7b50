"""Trains both networks on the course's photos and sets them beside what others reported.

    python -m benchmarks.course --data landmark_images --init resnet18.safetensors

landmark_images holds train/<class>/ and test/<class>/; validation photos are cut off train. All
other options go to train.py, for both networks: --epochs 30 --batch-size 32 ...
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.pages import command_line, make_parser, run, table
from landmark_model.files import write_text
from landmark_model.hub.repo import METRICS_NAME
from landmark_model.training.options import parse
from landmark_model.training.pipeline import train

TABLE_NAME = "course.md"
OURS = {"landmark_cnn": "From scratch", "resnet18": "Transfer"}
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
    parser = make_parser("course", __doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER",
                        help="the course's landmark_images")  # fmt: skip
    parser.add_argument("--init", metavar="FILE", help="first weights of resnet18, as for train.py")
    parser.add_argument("--runs", type=Path, default=Path("runs/course"), metavar="FOLDER",
                        help="where the run folders go; default: %(default)s")  # fmt: skip
    options, passed_on = parser.parse_known_args(arguments)
    figures = {}
    for network in OURS:
        train(parse([*our_arguments(network, options), *passed_on]))
        path = options.runs / network / METRICS_NAME
        figures[network] = json.loads(path.read_text(encoding="utf-8"))
    text = make_page(figures, command_line("course", arguments))
    write_text(options.out / TABLE_NAME, text)
    print(f"\n{text}\nWritten to {options.out / TABLE_NAME}")


def our_arguments(network: str, options: argparse.Namespace) -> list[str]:
    """The options of train.py for one network."""
    folder = options.runs / network
    words = ["--data", str(options.data), "--network", network, "--out", str(folder)]
    if options.init and network == "resnet18":
        words += ["--init", options.init]
    return words


def make_page(figures: dict[str, dict], command: str) -> str:
    """The Markdown text: what others reported, and the metrics.json of our two networks."""
    rows = [
        (f"{who} (self-reported)", scratch and f"{scratch}%", transfer and f"{transfer}%", network)
        for who, scratch, transfer, network in RIVALS
    ]
    top1 = [f"**{figures[network]['test']['top1']:.1%}**" for network in OURS]
    rows.append(("**ours, measured here**", *top1, "LandmarkCNN; ResNet18"))
    lines = [
        "# On the course's photos\n",
        "Written by `benchmarks/course.py`; do not edit. The last row was measured here, once, on "
        "the test photos. **All others are self-reported by their authors**, in percent of test "
        "photos, and not checked by us.\n",
        table(("who", "from scratch", "transfer", "network"), rows),
        "",
        describe_photos(figures["landmark_cnn"]["training"]["data"]),
    ]
    for network, title in OURS.items():
        found, facts = figures[network], figures[network]["training"]
        lines.append(
            f"{title}: top-5 {found['test']['top5']:.1%}, validation top-1 "
            f"{found['validation']['top1']:.1%}, {len(facts['epochs'])} epochs, "
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
    if {"classes": about["classes"], "test": about["photos"]["test"]} == COURSE:
        return text
    return (
        f"{text} **Not the course's data** ({COURSE['classes']} classes, {COURSE['test']:,} test "
        "photos): the rows cannot be compared."
    )


if __name__ == "__main__":
    run(main)
