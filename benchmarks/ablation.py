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
import statistics
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from benchmarks.pages import command_line, make_parser, run, table
from landmark_model.files import staged
from landmark_model.hub.card import wilson
from landmark_model.training.checkpoint import has_checkpoint
from landmark_model.training.options import TrainOptions
from landmark_model.training.pipeline import Photos, find_precision, learn, measure, prepare
from landmark_model.training.recipes import RECIPES, Recipe
from landmark_model.training.session import open_session

JSON_NAME, TABLE_NAME = "ablation.json", "ablation.md"
HEADS = ("", "top-1", "points", "loss", "change", "none of these: AUROC", "change", "minutes")
ABOUT = """# What each ingredient is worth

Written by `{command}`. {network}: the recipe, and what it loses or gains where one ingredient is
left out; validation photos only, mean of {seeds}. One photo of {photos} is {point:.1f} points, and
the 95 % range of the first row {low:.0%} to {high:.0%}: less than that is noise. These trainings
have {now.epochs} epochs at {now.image_size} px; what ships has {ships.epochs} at
{ships.image_size} px, where what varies photos may count otherwise. Minutes are by the clock,
beside other work.
"""


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
    options = options if row.teacher else replace(options, teacher=None)
    resume = has_checkpoint(options.out)
    precision = find_precision(options, recipe, resume)
    session = open_session(options.out, precision, options.seed, resume, options.workers)
    made = prepare(options, recipe, session)
    photos = without(made.photos, {"test"} if row.unknown else {"test", "train"})
    made = replace(made, photos=photos)
    learned = learn(made, recipe, session)
    measured = measure(made, recipe, session)
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


def make_page(found: dict[str, list[dict]], recipe: Recipe, network: str, command: str) -> str:
    """The Markdown text of what was `found` by row, a measurement for each seed of `recipe`."""

    def mean(rows: list[dict], figure: str) -> float:
        return statistics.mean(row[figure] for row in rows)

    base = next(iter(found.values()))
    seeds, photos = len(base), base[0]["photos"]
    low, high = wilson(mean(base, "top1"), photos)
    lines = []
    for name, rows in found.items():
        lead = {figure: mean(rows, figure) - mean(base, figure) for figure in ("top1", "loss")}
        cells = [name, f"{mean(rows, 'top1'):.1%}", f"{100 * lead['top1']:+.1f}",
                 f"{mean(rows, 'loss'):.3f}", f"{lead['loss']:+.3f}", "", ""]  # fmt: skip
        if "auroc" in base[0]:
            auroc = mean(rows, "auroc")
            cells[-2:] = [f"{auroc:.3f}", f"{auroc - mean(base, 'auroc'):+.3f}"]
        lines.append([*cells, f"{mean(rows, 'seconds') / 60:.0f}"])
    about = ABOUT.format(
        command=command, network=network, seeds=f"{seeds} seed{'s' * (seeds > 1)}", photos=photos,
        point=100 / photos, low=low, high=high, now=recipe, ships=RECIPES[network],
    )  # fmt: skip
    return f"{about}\n{table(HEADS, lines)}\n"


def main(arguments: list[str] | None = None) -> None:
    """Does the missing rows and writes the table."""
    options = parse(arguments)
    path = options.out / JSON_NAME
    done = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    recipe = replace(RECIPES[options.network], epochs=options.epochs)
    if options.image_size:
        recipe = recipe.at_size(options.image_size)
    exposed = options.unknown and (options.unknown / "train").is_dir()
    found: dict[str, list[dict]] = {}
    for row in rows_for(recipe, bool(options.teacher), bool(exposed)):
        for seed in options.seeds:
            settings = TrainOptions(
                options.data, options.runs, options.network, options.init, options.teacher,
                options.unknown, seed=seed, workers=options.workers,
            )  # fmt: skip
            key = key_of(row, settings, recipe)
            folder = options.runs / hashlib.sha256(key.encode()).hexdigest()[:12]
            if key not in done:
                print(f"\n== {key}", flush=True)
                done[key] = measure_row(row, replace(settings, out=folder), recipe)
            found.setdefault(row.name, []).append(done[key])
            page = make_page(found, recipe, options.network, command_line("ablation", arguments))
            with staged(options.out) as scratch:
                text = json.dumps(done, indent=1) + "\n"
                (scratch / JSON_NAME).write_text(text, encoding="utf-8")
                (scratch / TABLE_NAME).write_text(page, encoding="utf-8")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = make_parser("ablation", __doc__)
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="FOLDER", help="as for train.py")
    add("--network", choices=[*RECIPES], default="resnet18", help="default: %(default)s")
    add("--init", metavar="RUN", help="first weights, as for train.py")
    add("--teacher", type=Path, metavar="FOLDER", help="as for train.py")
    add("--unknown", type=Path, metavar="FOLDER", help="as for train.py")
    add("--epochs", type=int, default=8, metavar="N", help="default: %(default)s")
    add("--image-size", type=int, metavar="PX", help="default: the recipe's")
    add("--seeds", type=int, nargs="+", default=[0], metavar="N", help="default: 0")
    add("--workers", type=int, default=2, metavar="N", help="default: %(default)s")
    add("--runs", type=Path, default=Path("runs/ablation"), metavar="FOLDER",
        help="where trainings keep their checkpoints; default: %(default)s")  # fmt: skip
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run(main)
