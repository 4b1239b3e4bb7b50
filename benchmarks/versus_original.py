"""Ours beside the course recipe that this project grew from: same photos, epochs and time.

    python -m benchmarks.versus_original --data world100 --init resnet18.safetensors

Both are trained from scratch and by transfer, once for each seed; the time theirs takes is what
ours may use. Every finished training is kept in versus_original.json, so a killed run goes on with
the next one; versus_original.md is the table. Theirs is written anew from its description
(github.com/shrigulhane100/landmark-tagging); ours is train.py as it is, without a teacher.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from PIL import Image
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchvision.transforms import v2
from tqdm.auto import tqdm

from landmark_model import LandmarkError, networks
from landmark_model.config import ModelConfig
from landmark_model.files import staged
from landmark_model.hub.repo import METRICS_NAME, to_json
from landmark_model.preprocess import BICUBIC, eval_crop, shrink, to_tensor
from landmark_model.training import data, metrics
from landmark_model.training.fit import Batches, compute_outputs
from landmark_model.training.options import PRECISIONS, TrainOptions, portable
from landmark_model.training.pipeline import parameter_count, train
from landmark_model.training.recipes import FEW_EPOCHS, RECIPES, Recipe
from landmark_model.training.session import make_accelerator, name_precision
from landmark_model.training.start import Start, start_from_file, start_pretrained

JSON_NAME, TABLE_NAME = "versus_original.json", "versus_original.md"
HALVES = {"scratch": "From scratch", "transfer": "Transfer from ImageNet"}
OURS = {"scratch": ("landmark_cnn", FEW_EPOCHS), "transfer": ("resnet18", RECIPES["resnet18"])}
TARGETS = {"scratch": 15.0, "transfer": 6.0}  # points of test top-1
RECIPE_NAMES = ("original", "ours")
WIDTHS = (16, 32, 64, 128, 256)
HIDDEN_UNITS, DROPOUT = 1024, 0.4
BATCH_SIZE, LEARNING_RATE = 64, 1e-3
PLATEAU = {"factor": 0.1, "patience": 5, "threshold": 0.01, "min_lr": 1e-6}
STEM = ("conv1", "bn1", "act1", "maxpool")
STAGES = ("layer1", "layer2", "layer3", "layer4")


@dataclass(frozen=True)
class Job:
    """One training: "scratch" or "transfer", "original" or "ours", and the seed."""

    half: str
    recipe: str
    seed: int


@dataclass(frozen=True)
class Terms:
    """What both recipes are given. The sides are of the images that they classify, in px."""

    data: Path
    init: Path | None
    epochs: int
    precision: str
    workers: int
    original_size: int
    image_size: int

    def settings(self, job: Job) -> dict:
        """What the scores of `job` depend on besides its seed, as JSON knows it."""
        shared = {
            "data": self.data.resolve().name,
            "epochs": self.epochs,
            "precision": self.precision,
            "init": self.init.name if self.init and job.half == "transfer" else None,
        }
        if job.recipe == "original":
            return shared | {"image_size": self.original_size, "batch_size": BATCH_SIZE}
        return shared | asdict(self.our_recipe(job.half))

    def our_recipe(self, half: str) -> Recipe:
        """How ours is trained."""
        return replace(OURS[half][1].at_size(self.image_size), epochs=self.epochs)


@dataclass(frozen=True)
class Result:
    """A finished training. Scores are 0..1; `seconds` are of training and validation alone.

    `head_on` is the frozen stage that the original's new layer reads, "" where nothing is frozen;
    `photos` are counts by split.
    """

    job: Job
    settings: dict
    parameters: int
    epochs: int
    best_epoch: int
    seconds: float
    test_top1: float
    test_top5: float
    validation_top1: float
    head_on: str
    photos: dict[str, int]
    hardware: str


def main(arguments: list[str] | None = None) -> None:
    """Trains what is not in the JSON yet, and writes the table after every training."""
    options = parse(arguments)
    terms = options.terms
    # Seed by seed, so that a run cut short has whole rows.
    jobs = [Job(half, recipe, seed) for seed in dict.fromkeys(options.seeds)
            for half in HALVES for recipe in RECIPE_NAMES]  # fmt: skip
    results = [
        result
        for result in read_results(options.out / JSON_NAME)
        if result.settings == terms.settings(result.job)
    ]
    for number, job in enumerate(jobs, start=1):
        title = f"[{number}/{len(jobs)}] {HALVES[job.half]}, {job.recipe}, seed {job.seed}"
        if any(result.job == job for result in results):
            print(f"{title}: done before", flush=True)
            continue
        print(f"\n{title}", flush=True)
        results.append((train_original if job.recipe == "original" else train_ours)(job, terms))
        write(results, options.out, options.command)
    write(results, options.out, options.command)
    print(f"\nWritten to {options.out / TABLE_NAME}")


# --- theirs ---


def build_original(class_count: int, side_px: int) -> nn.Sequential:
    """The original's network from scratch: images (N, 3, side_px, side_px) -> logits (N, C)."""
    layers: list[nn.Module] = []
    for in_width, width in zip((3, *WIDTHS), WIDTHS, strict=False):
        layers += [nn.Conv2d(in_width, width, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(width),
                   nn.MaxPool2d(2)]  # fmt: skip
    flat = WIDTHS[-1] * (side_px // 2 ** len(WIDTHS)) ** 2
    return nn.Sequential(
        *layers,
        nn.Flatten(),  # (N, 256, S/32, S/32) -> (N, flat)
        nn.Linear(flat, HIDDEN_UNITS),
        nn.ReLU(),
        nn.BatchNorm1d(HIDDEN_UNITS),
        nn.Dropout(DROPOUT),
        nn.Linear(HIDDEN_UNITS, class_count),
    )


class FrozenResNet(nn.Module):
    """The original's transfer network: a ResNet that never changes, and a new linear layer.

    `last_stage` names the last stage of timm's `network` that is used.
    """

    def __init__(self, network: nn.Module, last_stage: str, class_count: int) -> None:
        super().__init__()
        stages = STAGES[: STAGES.index(last_stage) + 1]
        self.frozen = nn.Sequential(*map(network.get_submodule, (*STEM, *stages)))
        self.frozen.eval().requires_grad_(False)
        width = {stage["module"]: stage["num_chs"] for stage in network.feature_info}[last_stage]
        self.head = nn.Linear(width, class_count)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            pooled = self.frozen(images).mean((2, 3))  # (N, 3, S, S) -> (N, D)
        return self.head(pooled)

    def train(self, mode: bool = True) -> FrozenResNet:
        """The frozen part stays in evaluation mode: batch-norm statistics are frozen, too."""
        super().train(mode)
        self.frozen.eval()
        return self


def last_pretrained_stage(start: Start) -> str:
    """The last stage that `start` filled with all stages before it; raises LandmarkError if none.

    Weights files may end before layer4.
    """
    fresh = {name.split(".")[0] for name in start.fresh}
    whole = {name.split(".")[0] for name in start.filled} - fresh
    found = ""
    for stage in STAGES:
        if not {"conv1", "bn1", stage} <= whole:
            break
        found = stage
    if not found:
        raise LandmarkError(
            f"{start.source} has no whole first stage to be frozen. Give --init a ResNet18 file."
        )
    return found


def build_frozen(config: ModelConfig, init: Path | None) -> tuple[FrozenResNet, str]:
    """The original's transfer network with the weights in `init` (None: timm's), and its stage."""
    network = networks.build(config)
    start = (
        start_from_file(network, init) if init else start_pretrained(network, config.architecture)
    )
    stage = last_pretrained_stage(start)
    return FrozenResNet(network, stage, len(config.class_names)), stage


def resize(photo: Image.Image, side_px: int) -> Image.Image:
    """`photo` with its shorter side `side_px` px, enlarged if need be."""
    return v2.functional.resize(shrink(photo, side_px), [side_px], interpolation=BICUBIC)


def make_sets(splits: data.Splits, config: ModelConfig) -> dict[str, data.PhotoSet]:
    """The photos of each split as the original saw them: 224 px out of 256 px, RandAugment."""
    side_px = int(config.image_size / config.crop_pct)
    finish = to_tensor(config)
    vary = v2.Compose(
        [
            v2.RandomCrop(config.image_size),
            v2.RandomHorizontalFlip(),
            v2.RandAugment(6, 9, interpolation=v2.InterpolationMode.BILINEAR),
            finish,
        ]
    )
    square = f"square {config.image_size} {config.crop_pct}"
    return {
        "train": data.PhotoSet(splits.train, lambda photo: resize(photo, side_px), vary,
                               f"resize {side_px}"),
        "validation": data.PhotoSet(splits.validation, lambda photo: eval_crop(photo, config),
                                    finish, square),
        "test": data.PhotoSet(splits.test, lambda photo: eval_crop(photo, config), finish, square),
    }  # fmt: skip


def train_original(job: Job, terms: Terms) -> Result:
    """Trains one of the original's networks, and measures it once on the test photos."""
    accelerator = make_accelerator(terms.precision, job.seed)
    splits, _ = data.load_splits(terms.data, job.seed)
    names, side_px = splits.class_names, terms.original_size
    numbers = networks.normalisation("resnet18")
    config = ModelConfig("resnet18", names, names, side_px, crop_pct=0.875, **numbers)
    if job.half == "scratch":
        network, stage = build_original(len(names), side_px), ""
    else:
        network, stage = build_frozen(config, terms.init)
    loaders = {
        split: data.make_batches(photos, BATCH_SIZE, split == "train", terms.workers)
        for split, photos in make_sets(splits, config).items()
    }
    batches = Batches(loaders["train"], loaders["validation"])
    best_epoch, seconds = fit_original(network, batches, accelerator, terms.epochs, job.seed)
    validation, test = (
        score(network, accelerator.prepare(loaders[split]), accelerator)
        for split in ("validation", "test")
    )
    return Result(
        job=job,
        settings=terms.settings(job),
        parameters=parameter_count(network),
        epochs=terms.epochs,
        best_epoch=best_epoch,
        seconds=round(seconds, 1),
        test_top1=test.top1,
        test_top5=test.top5,
        validation_top1=validation.top1,
        head_on=stage,
        photos={split: len(table) for split, table in splits.items()},
        hardware=describe_hardware(terms.precision),
    )


def fit_original(
    network: nn.Module, batches: Batches, accelerator: Accelerator, epochs: int, seed: int
) -> tuple[int, float]:
    """Trains in place as the original does: Adam, a lower rate where the validation loss stalls.

    The network ends with the weights of the epoch of the lowest validation loss. Returns that
    epoch's number, and seconds. Raises LandmarkError if a loss is no number.
    """
    network.to(accelerator.device, memory_format=torch.channels_last)
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(learned, LEARNING_RATE)
    plateau = ReduceLROnPlateau(optimizer, **PLATEAU)
    trained, optimizer, train_batches, validation = accelerator.prepare(
        network, optimizer, batches.train, batches.validation
    )
    set_seed(seed)
    began, losses, best = time.monotonic(), [], {}
    for epoch in range(1, epochs + 1):
        train_epoch(trained, optimizer, train_batches, accelerator, f"Epoch {epoch}/{epochs}")
        now = score(trained, validation, accelerator)
        losses.append(now.loss)
        if now.loss != now.loss:
            raise LandmarkError(f"The original's loss is {now.loss}. Try other --seeds.")
        plateau.step(now.loss)
        if now.loss == min(losses):
            best = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        tqdm.write(f"epoch {epoch}/{epochs}  validation loss {now.loss:.3f}  top-1 {now.top1:.1%}")
    # As fit does: the final figures are of float32 arithmetic.
    accelerator.unwrap_model(trained, keep_fp32_wrapper=False)
    network.load_state_dict(best)
    return losses.index(min(losses)) + 1, time.monotonic() - began


def train_epoch(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterable,
    accelerator: Accelerator,
    title: str,
) -> None:
    """One pass over `batches` of images (N, 3, S, S) and labels (N,)."""
    network.train()
    for images, labels in tqdm(batches, desc=title, unit="batch", leave=False):
        logits = network(images.to(memory_format=torch.channels_last))
        accelerator.backward(nn.functional.cross_entropy(logits, labels))
        optimizer.step()
        optimizer.zero_grad()


def score(network: nn.Module, batches: Iterable, accelerator: Accelerator) -> metrics.Metrics:
    """The scores of `network` on prepared `batches`."""
    logits, labels = compute_outputs(network.eval(), batches, accelerator)
    return metrics.measure(logits, labels, tuple(map(str, range(logits.shape[1]))))


# --- ours ---


def train_ours(job: Job, terms: Terms) -> Result:
    """Runs train.py's pipeline, and reads what it measured."""
    init = str(terms.init) if terms.init and job.half == "transfer" else None
    with tempfile.TemporaryDirectory() as folder:
        options = TrainOptions(
            terms.data,
            Path(folder),
            OURS[job.half][0],
            init,
            seed=job.seed,
            workers=terms.workers,
            precision=terms.precision,
        )
        scores = train(options, terms.our_recipe(job.half)).scores
        figures = json.loads((Path(folder) / METRICS_NAME).read_text(encoding="utf-8"))
    facts = figures["training"]
    return Result(
        job=job,
        settings=terms.settings(job),
        parameters=facts["parameters"],
        epochs=len(facts["epochs"]),
        best_epoch=facts["best_epoch"],
        seconds=round(sum(epoch["seconds"] for epoch in facts["epochs"]), 1),
        test_top1=scores["test"].top1,
        test_top5=scores["test"].top5,
        validation_top1=scores["validation"].top1,
        head_on="",
        photos=facts["data"]["photos"],
        hardware=describe_hardware(terms.precision),
    )


def describe_hardware(precision: str) -> str:
    """What the trainings ran on."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    return (
        f"{device}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, "
        f"{name_precision(precision)} precision"
    )


# --- files ---


def read_results(path: Path) -> list[Result]:
    """The trainings in the JSON at `path`, [] where there is none yet."""
    if not path.is_file():
        return []
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["results"]
        return [Result(**row | {"job": Job(**row["job"])}) for row in rows]
    except (ValueError, TypeError, LookupError) as error:
        raise LandmarkError(
            f"{path} was not written by this program. Move it away to start anew."
        ) from error


def write(results: list[Result], out: Path, command: str) -> None:
    """Writes the JSON and the table: both, or neither."""
    with staged(out) as folder:
        (folder / JSON_NAME).write_text(to_json({"results": results}), encoding="utf-8")
        (folder / TABLE_NAME).write_text(make_table(results, command), encoding="utf-8")


ABOUT = """\
# Ours beside the original course recipe

Written by `benchmarks/versus_original.py`; do not edit. Both recipes see the same photos, cached
alike, with the same precision, for the same number of epochs, each in batches of the size that
suits it. The original's time is the limit for ours. "Seconds" are of training and validation. Each
network was measured once on the test photos, after its epoch had been chosen on the validation
photos: the original's by the lowest loss, ours by top-1, as train.py does. Spread is the standard
deviation over the seeds.

```
{command}
```

**Original**: from scratch five blocks of 3x3 convolution (16-32-64-128-256), ReLU, batch norm and
max-pool, a layer of 1,024 units with batch norm and dropout 0.4, a linear layer; by transfer an
ImageNet ResNet18, all frozen, and a new linear layer. 224 px crops of photos resized to 256 px,
flips, RandAugment (6 operations, magnitude 9), cross-entropy, Adam at 0.001, a tenth of the rate
after 5 epochs without a lower validation loss. Written anew from its description.

**Ours**: train.py as it is, LandmarkCNN from scratch and ResNet18 by transfer, the convolution
kernels of both by Muon. No teacher. They look at the whole photo, once.
"""


def make_table(results: list[Result], command: str) -> str:
    """The Markdown text for the trainings there are, made by `command`."""
    sections = []
    for half in HALVES:
        rows = sorted((r for r in results if r.job.half == half), key=lambda r: r.job.seed)
        if rows:
            sections.append(make_section(half, rows))
    return "\n".join([ABOUT.format(command=command), *sections])


def make_section(half: str, results: list[Result]) -> str:
    """One half: table, lead, times, and how it was made."""
    lines = [
        f"## {HALVES[half]}\n",
        "| recipe | parameters | epochs | batch | seconds (mean) | test top-1 by seed | test top-1 "
        "| test top-5 | validation top-1 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for recipe in RECIPE_NAMES:
        rows = [result for result in results if result.job.recipe == recipe]
        if rows:
            lines.append(make_row(recipe, rows))
    lead = describe_lead(half, results) + describe_end(results)
    lines += ["", lead, *describe_start(results), ""]
    photos = {
        ", ".join(f"{count:,} {split}" for split, count in result.photos.items())
        for result in results
    }
    lines.append(f"Photos of {' and '.join(sorted({r.settings['data'] for r in results}))}: "
                 f"{'; '.join(sorted(photos))}. "
                 f"Hardware: {'; '.join(sorted({r.hardware for r in results}))}.")  # fmt: skip
    return "\n".join([*lines, ""])


def make_row(recipe: str, results: list[Result]) -> str:
    """One recipe's line of the table."""
    top1 = [result.test_top1 for result in results]
    cells = (
        f"**{recipe}**" if recipe == "ours" else recipe,
        f"{results[0].parameters / 1e6:.1f} M",
        " / ".join(dict.fromkeys(str(result.epochs) for result in results)),
        " / ".join(dict.fromkeys(str(result.settings["batch_size"]) for result in results)),
        f"{statistics.mean(result.seconds for result in results):.0f}",
        ", ".join(f"{result.job.seed}: {result.test_top1:.1%}" for result in results),
        f"{mean_and_spread(top1)}%",
        f"{mean_and_spread([result.test_top5 for result in results])}%",
        f"{mean_and_spread([result.validation_top1 for result in results])}%",
    )
    return f"| {' | '.join(cells)} |"


def mean_and_spread(shares: list[float]) -> str:
    """Mean and standard deviation of `shares` in points (1 point = 0.01); one has no spread."""
    points = [100 * share for share in shares]
    spread = f" ± {statistics.stdev(points):.1f}" if len(points) > 1 else ""
    return f"{statistics.mean(points):.1f}{spread}"


def describe_lead(half: str, results: list[Result]) -> str:
    """How far ours is ahead on the seeds that both have, and whether it kept to the time."""
    by_job = {(result.job.recipe, result.job.seed): result for result in results}
    seeds = sorted(
        {r.job.seed for r in results if all((x, r.job.seed) in by_job for x in RECIPE_NAMES)}
    )
    if not seeds:
        return "No seed has been trained by both recipes yet."
    pairs = [(by_job["original", seed], by_job["ours", seed]) for seed in seeds]
    leads = [ours.test_top1 - theirs.test_top1 for theirs, ours in pairs]
    reached = 100 * statistics.mean(leads) >= TARGETS[half]
    late = [ours.job.seed for theirs, ours in pairs if ours.seconds > theirs.seconds]
    share = sum(ours.seconds for _, ours in pairs) / sum(theirs.seconds for theirs, _ in pairs)
    kept = (
        f"**Ours took longer than the original with seed {', '.join(map(str, late))}**"
        if late
        else "Ours stayed within the original's time with every seed"
    )
    return (
        f"**Lead: {mean_and_spread(leads)} points** of test top-1 (seeds "
        f"{', '.join(map(str, seeds))}); the target of {TARGETS[half]:.0f} points is "
        f"{'reached' if reached else 'missed'}. {kept} ({share:.0%} of it)."
    )


def describe_end(results: list[Result]) -> str:
    """Which recipes were still getting better when their epochs were over."""
    unfinished = [
        recipe
        for recipe in dict.fromkeys(result.job.recipe for result in results)
        if all(r.best_epoch == r.epochs for r in results if r.job.recipe == recipe)
    ]
    if not unfinished:
        return ""
    names = " and ".join({"original": "the original", "ours": "ours"}[name] for name in unfinished)
    return f" With every seed {names} did best in the last epoch: more epochs would help."


def describe_start(results: list[Result]) -> list[str]:
    """Where the original's transfer network ends, if it was trained."""
    stages = dict.fromkeys(result.head_on for result in results if result.head_on)
    files = {result.settings.get("init") or "timm's weights" for result in results}
    lines = []
    for stage in stages:
        lines += [
            "",
            f"Both start from {' and '.join(sorted(files))}. The original's new linear layer reads "
            f"the averaged output of {stage}; that stage and all before it are frozen, weights and "
            "batch-norm statistics, and cost no backward pass.",
        ]
        if stage != STAGES[-1]:
            lines[-1] += (
                f" The file ends at {stage}; with a whole ResNet18 the original would read layer4, "
                "which was not measured. Ours starts the missing layers fresh."
            )
    return lines


# --- options ---


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options, checked: seeds, out, the command, and the terms of the comparison."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    words = sys.argv[1:] if arguments is None else arguments
    options.command = shlex.join(
        ["python", "-m", "benchmarks.versus_original", *map(portable, words)]
    )
    if options.original_size < 32:
        parser.error("--original-size must be 32 px or more: five poolings halve it to nothing")
    if options.epochs < 1:
        parser.error("--epochs must be 1 or more")
    if options.init and not options.init.is_file():  # else found out after hours from scratch
        parser.error(f"{options.init} does not exist; check --init")
    options.terms = Terms(
        options.data,
        options.init,
        options.epochs,
        make_accelerator(options.precision, 0).mixed_precision,
        options.workers,
        options.original_size,
        options.image_size,
    )
    return options


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.versus_original",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="FOLDER", help="as for train.py")
    add(
        "--init",
        type=Path,
        metavar="FILE",
        help="ImageNet weights of ResNet18, which may leave layers out; default: timm's",
    )
    add("--seeds", type=int, nargs="+", default=[0], metavar="N", help="default: 0")
    add(
        "--out",
        type=Path,
        default=Path("benchmarks"),
        metavar="FOLDER",
        help="where JSON and table go; default: %(default)s",
    )
    add(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="of both; auto: bf16 if the hardware is fast at it",
    )
    for name, (default, text) in NUMBERS.items():
        add(name, type=int, default=default, metavar="N", help=f"{text}; default: %(default)s")
    return parser


NUMBERS = {
    "--epochs": (14, "epochs of every training"),
    "--workers": (2, "processes that prepare photos"),
    "--original-size": (224, "side in px at which the original classifies, out of 8/7 of it"),
    "--image-size": (160, "side in px at which ours classifies"),
}


if __name__ == "__main__":
    try:
        main()
    except LandmarkError as error:
        sys.exit(f"versus_original: {error}")
