"""Measures what each ingredient of a recipe is worth, by leaving it out: ablation.md.

    python -m benchmarks.ablation --data world100 --unknown unknown --teacher runs/lite2

Every row is a training of its own that differs from the recipe in one thing, once for each seed,
measured on validation photos; the test photos are not looked at. Finished trainings are kept in
ablation.json; a second run does the missing ones only, and goes on within one that was killed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import statistics
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from landmark_model import LandmarkError, networks
from landmark_model.files import staged
from landmark_model.hub.card import wilson
from landmark_model.training import data
from landmark_model.training.checkpoint import has_checkpoint
from landmark_model.training.options import TrainOptions, portable
from landmark_model.training.pipeline import (
    Photos,
    find_photos,
    find_teacher,
    initialise,
    learn,
    make_config,
    measure,
)
from landmark_model.training.recipes import RECIPES, Recipe
from landmark_model.training.session import open_session

JSON_NAME, TABLE_NAME = "ablation.json", "ablation.md"


@dataclass(frozen=True)
class Row:
    """One training: what of the recipe is replaced; with a teacher, unknown photos, or without."""

    name: str
    change: dict[str, object] = field(default_factory=dict)
    teacher: bool = True
    unknown: bool = True


ROWS = (
    Row("the recipe"),
    Row("no teacher", teacher=False),
    Row("no outlier exposure", unknown=False),
    Row("no weight interpolation", {"interpolation": False}),
    Row("AdamW, not Muon", {"muon": 0.0}),
    Row("no mixup", {"mixup": 0.0}),
    Row("no low-resolution variation", {"low_resolution": 0.0}),
    Row("no TrivialAugment", {"trivial_augment": False}),
    Row("no class-balanced sampling", {"balance": 0.0}),
    Row("the centre of a photo, not the whole", {"view": "centre"}),
)


def rows_for(recipe: Recipe, teacher: bool, unknown: bool) -> list[Row]:
    """The base, and the rows that change something of it."""
    return [
        row
        for row in ROWS
        if row is ROWS[0]
        or (row.change and replace(recipe, **row.change) != recipe)
        or (teacher and not row.teacher)
        or (unknown and not row.unknown)
    ]


def measure_row(row: Row, options: TrainOptions, recipe: Recipe) -> dict[str, float]:
    """Trains as `row` says; what validation says of it. AUROC is of "none of these"."""
    recipe = replace(recipe, **row.change)
    resume = has_checkpoint(options.out)
    session = open_session(options.out, "auto", options.seed, resume, options.workers)
    splits, _ = data.load_splits(options.data, options.seed)
    config = make_config(options.network, splits.class_names, recipe)
    photos = find_photos(splits, options.unknown, config, recipe)
    photos = without(photos, {"test"} if row.unknown else {"test", "train"})
    network = networks.build(config)
    start = initialise(network, config.architecture, options.first_weights, options.from_scratch)
    taught = options.teacher and row.teacher
    teacher = find_teacher(options.teacher, config) if taught else None
    learned = learn(network, start, photos, recipe, session, teacher)
    measured = measure(network, photos, config, recipe, session)
    scores, unknown = measured.scores["validation"], measured.unknown.get("validation")
    figures = {"photos": scores.photo_count, "top1": scores.top1, "loss": scores.loss}
    figures |= {"auroc": unknown.auroc} if unknown else {}
    return figures | {"seconds": round(learned.seconds)}


def without(photos: Photos, splits: set[str]) -> Photos:
    """`photos` but those, to be measured or of no class, of some splits."""
    seen, unknown = (
        {split: some for split, some in group.items() if split not in splits}
        for group in (photos.seen, photos.unknown)
    )
    return replace(photos, seen=seen, unknown=unknown)


def key_of(row: Row, options: TrainOptions, recipe: Recipe) -> str:
    """A name for the outcome of one training: the same for the same settings."""
    told = asdict(replace(recipe, **row.change)) | {
        "data": options.data.name,
        "teacher": str(options.teacher if row.teacher else None),
        "unknown": str(options.unknown and options.unknown.name) + str(row.unknown),
        "init": str(options.init),
    }
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:8]
    return f"{options.network}, {row.name}, seed {options.seed}, {digest}"


def make_table(found: dict[str, list[dict]], network: str, command: str) -> str:
    """The Markdown text of what was `found` by row, a measurement for each seed."""
    base = found[ROWS[0].name]
    seeds, photos = len(base), base[0]["photos"]
    low, high = wilson(mean(base, "top1"), photos)
    lines = [
        f"# What each ingredient is worth\n\nWritten by `{command}`. {network}: the recipe, and "
        "what it loses or gains where one ingredient is left out; validation photos only, mean of "
        f"{seeds} seed{'s' * (seeds > 1)}. One photo of {photos} is {100 / photos:.1f} points, and "
        f"the 95 % range of the first row {low:.0%} to {high:.0%}: less than that is noise.\n",
        "| | top-1 | points | loss | change | none of these: AUROC | change | minutes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, rows in found.items():
        cells = [f"{mean(rows, 'top1'):.1%}", f"{100 * lead(rows, base, 'top1'):+.1f}",
                 f"{mean(rows, 'loss'):.3f}", f"{lead(rows, base, 'loss'):+.3f}"]  # fmt: skip
        known = "auroc" in base[0]
        cells += [f"{mean(rows, 'auroc'):.3f}", f"{lead(rows, base, 'auroc'):+.3f}"] * known
        cells += ["", ""] * (not known)
        lines.append(f"| {name} | {' | '.join(cells)} | {mean(rows, 'seconds') / 60:.0f} |")
    return "\n".join(lines) + "\n"


def mean(rows: list[dict], figure: str) -> float:
    """The mean of a figure over the seeds."""
    return statistics.mean(row[figure] for row in rows)


def lead(rows: list[dict], base: list[dict], figure: str) -> float:
    """How much more it is than in the base."""
    return mean(rows, figure) - mean(base, figure)


def main(arguments: list[str] | None = None) -> None:
    """Does the missing rows and writes the table."""
    options = make_parser().parse_args(arguments)
    words = sys.argv[1:] if arguments is None else arguments
    command = shlex.join(["python", "-m", "benchmarks.ablation", *map(portable, words)])
    path = options.out / JSON_NAME
    done = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    recipe = replace(RECIPES[options.network], epochs=options.epochs)
    if options.image_size:
        recipe = recipe.at_size(options.image_size)
    exposed = options.unknown and (options.unknown / "train").is_dir()
    found: dict[str, list[dict]] = {}
    for row in rows_for(recipe, bool(options.teacher), bool(exposed)):
        for seed in options.seeds:
            run = TrainOptions(
                options.data, options.runs, options.network, options.init, options.teacher,
                options.unknown, seed=seed, workers=options.workers,
            )  # fmt: skip
            key = key_of(row, run, recipe)
            run = replace(run, out=options.runs / hashlib.sha256(key.encode()).hexdigest()[:12])
            if key not in done:
                print(f"\n== {key}", flush=True)
                done[key] = measure_row(row, run, recipe)
            found.setdefault(row.name, []).append(done[key])
            with staged(options.out) as folder:
                (folder / JSON_NAME).write_text(json.dumps(done, indent=1) + "\n", encoding="utf-8")
                table = make_table(found, options.network, command)
                (folder / TABLE_NAME).write_text(table, encoding="utf-8")


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ablation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, settings in OPTIONS.items():
        parser.add_argument(name, **settings)
    return parser


OPTIONS = {
    "--data": {"type": Path, "required": True, "metavar": "FOLDER", "help": "as for train.py"},
    "--network": {"choices": [*RECIPES], "default": "resnet18", "help": "default: %(default)s"},
    "--init": {"metavar": "RUN", "help": "first weights, as for train.py"},
    "--teacher": {"type": Path, "metavar": "FOLDER", "help": "as for train.py"},
    "--unknown": {"type": Path, "metavar": "FOLDER", "help": "as for train.py"},
    "--epochs": {"type": int, "default": 8, "metavar": "N", "help": "default: %(default)s"},
    "--image-size": {"type": int, "metavar": "PX", "help": "default: the recipe's"},
    "--seeds": {"type": int, "nargs": "+", "default": [0], "metavar": "N", "help": "default: 0"},
    "--workers": {"type": int, "default": 2, "metavar": "N", "help": "default: %(default)s"},
    "--out": {
        "type": Path,
        "default": Path("benchmarks"),
        "metavar": "FOLDER",
        "help": "where JSON and table go; default: %(default)s",
    },
    "--runs": {
        "type": Path,
        "default": Path("runs/ablation"),
        "metavar": "FOLDER",
        "help": "where trainings keep their checkpoints; default: %(default)s",
    },
}


if __name__ == "__main__":
    try:
        main()
    except LandmarkError as error:
        sys.exit(f"ablation: {error}")
