"""Ours beside the course recipe that this project grew from: same photos, epochs and time.

    python -m benchmarks.versus_original --data photos/world50 --init resnet18.safetensors

Both are trained from scratch and by transfer, once for each seed; the time theirs takes is what
ours may use. Every finished training is kept in versus_original.json, and every epoch of an
unfinished one in --runs, so a killed run goes on where it was; versus_original.md is the table.
Theirs is written anew from its description (github.com/shrigulhane100/landmark-tagging); ours is
train.py as it is, without a teacher.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import shlex
import shutil
import statistics
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from PIL import Image
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchvision.transforms import v2
from tqdm.auto import tqdm

import train
from landmark_model import LandmarkError, data, hub, metrics, networks, training
from landmark_model.config import ModelConfig
from landmark_model.files import staged
from landmark_model.transforms import BICUBIC, eval_crop, shrink, to_tensor

JSON_NAME, TABLE_NAME = "versus_original.json", "versus_original.md"
HALVES = {"scratch": "From scratch", "transfer": "Transfer from ImageNet"}
NETWORKS = {"scratch": "landmark_cnn", "transfer": "resnet18"}
TARGETS = {"scratch": 15.0, "transfer": 6.0}  # points of test top-1
RECIPES = ("original", "ours")
SHARED_SETTINGS = ("data", "epochs", "precision", "init")  # without which there is no comparison
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
class Result:
    """A finished training. Scores are 0..1; `seconds` are of training and validation alone.

    `settings` are what the scores depend on besides the seed; `head_on` is the frozen stage that
    the original's new layer reads, "" where nothing is frozen; `photos` are counts by split.
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
    command: str


def main(arguments: list[str] | None = None) -> None:
    """Trains what is not in the JSON yet, and writes the table after every training."""
    options = parse(arguments)
    # Seed by seed, so that a run cut short has whole rows.
    jobs = [Job(half, recipe, seed) for seed in options.seeds
            for half in chosen_halves(options) for recipe in chosen_recipes(options)]  # fmt: skip
    for number, job in enumerate(jobs, start=1):
        title = f"[{number}/{len(jobs)}] {HALVES[job.half]}, {job.recipe}, seed {job.seed}"
        if any(result.job == job for result in valid_results(options)):
            print(f"{title}: done before", flush=True)
            continue
        print(f"\n{title}", flush=True)
        run = train_original if job.recipe == "original" else train_ours
        folder = unfinished_folder(job, options)
        result = run(job, options, folder)
        # Read anew: another run may have finished something meanwhile.
        write([*valid_results(options), result], options.out)
        shutil.rmtree(folder, ignore_errors=True)
    results = valid_results(options)
    write(results, options.out)
    print(f"\n{make_table(results)}\nWritten to {options.out / TABLE_NAME}")


def chosen_halves(options: argparse.Namespace) -> list[str]:
    """What --only leaves."""
    return [options.only] if options.only else list(HALVES)


def chosen_recipes(options: argparse.Namespace) -> list[str]:
    """What --recipe leaves."""
    return [options.recipe] if options.recipe else list(RECIPES)


def valid_results(options: argparse.Namespace) -> list[Result]:
    """The finished trainings, without those of the chosen halves that `options` would not make."""
    return [
        result
        for result in read_results(options.out / JSON_NAME)
        if result.job.half not in chosen_halves(options) or is_valid(result, options)
    ]


def is_valid(result: Result, options: argparse.Namespace) -> bool:
    """Whether `result` had these settings; of the recipe that --recipe leaves out, the shared ones:
    its own options need not be told anew."""
    now = settings(result.job, options)
    if result.job.recipe in chosen_recipes(options):
        return result.settings == now
    return all(result.settings.get(name) == now.get(name) for name in SHARED_SETTINGS)


def settings(job: Job, options: argparse.Namespace) -> dict:
    """What the scores of `job` depend on besides its seed, as JSON knows it."""
    ours = job.recipe == "ours"
    names = ("image_size", "train_size", "first_size") if ours else ("original_size",)
    found = {name: getattr(options, name) for name in ("precision", *names)}
    found |= {"data": options.data.resolve().name, "epochs": epoch_count(job, options)}
    if job.half == "transfer":
        found["init"] = options.init.name if options.init else None
    if not ours:
        return found | {"batch_size": BATCH_SIZE}
    recipe = training.choose_recipe(NETWORKS[job.half], found["epochs"], job.half == "scratch")
    batch_size = options.batch_size or recipe.batch_size
    return found | {"batch_size": batch_size, "recipe": asdict(recipe), "flip": True}


def unfinished_folder(job: Job, options: argparse.Namespace) -> Path:
    """Where `job` keeps its checkpoint; other settings never meet it."""
    told = json.dumps(settings(job, options), sort_keys=True).encode()
    name = f"{job.half}_{job.recipe}_{job.seed}_{hashlib.sha256(told).hexdigest()[:8]}"
    return options.runs / name


def epoch_count(job: Job, options: argparse.Namespace) -> int:
    """How many epochs both recipes get."""
    return options.epochs_scratch if job.half == "scratch" else options.epochs_transfer


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


def last_pretrained_stage(start: networks.Start) -> str:
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
        networks.start_from_file(network, init)
        if init
        else networks.start_pretrained(network, config.architecture)
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


def train_original(job: Job, options: argparse.Namespace, folder: Path) -> Result:
    """Trains one of the original's networks, and measures it once on the test photos."""
    accelerator = training.make_accelerator(options.precision, job.seed)
    splits, _ = data.load_splits(options.data, job.seed)
    names, side_px = splits.class_names, options.original_size
    numbers = networks.normalisation("resnet18")
    config = ModelConfig("resnet18", names, names, side_px, crop_pct=0.875, **numbers)
    if job.half == "scratch":
        network, stage = build_original(len(names), side_px), ""
    else:
        network, stage = build_frozen(config, options.init)
    batches = {
        split: data.make_batches(photos, BATCH_SIZE, split == "train", options.workers)
        for split, photos in make_sets(splits, config).items()
    }
    fit = OriginalFit(network, batches["train"], batches["validation"], accelerator, job.seed)
    fit.run(epoch_count(job, options), folder)
    validation, test = (
        score(network, accelerator.prepare(batches[split]), accelerator)
        for split in ("validation", "test")
    )
    return Result(
        job=job,
        settings=settings(job, options),
        parameters=train.parameter_count(network),
        epochs=fit.progress.epochs,
        best_epoch=fit.progress.best_epoch,
        seconds=round(fit.progress.seconds, 1),
        test_top1=test.top1,
        test_top5=test.top5,
        validation_top1=validation.top1,
        head_on=stage,
        photos={split: len(table) for split, table in splits.items()},
        hardware=describe_hardware(options.precision),
        command=options.command,
    )


@dataclass
class Progress:
    """How far one of the original's trainings has come; `lowest` is of the validation losses."""

    epochs: int = 0
    best_epoch: int = 0
    lowest: float = math.inf
    seconds: float = 0.0


class OriginalFit:
    """A training as the original does it: Adam, a lower rate where the validation loss stalls."""

    def __init__(
        self,
        network: nn.Module,
        batches: Iterable,
        validation: Iterable,
        accelerator: Accelerator,
        seed: int,
    ) -> None:
        self.network = network.to(accelerator.device, memory_format=torch.channels_last)
        learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
        optimizer = torch.optim.Adam(learned, LEARNING_RATE)
        self.plateau = ReduceLROnPlateau(optimizer, **PLATEAU)
        self.trained, self.optimizer, self.batches, self.validation = accelerator.prepare(
            network, optimizer, batches, validation
        )
        self.accelerator, self.seed = accelerator, seed
        self.best: dict[str, torch.Tensor] = {}
        self.progress = Progress()

    def run(self, epochs: int, folder: Path) -> None:
        """Trains until `epochs` are done, on from the checkpoint in `folder` if there is one.

        The network ends with the weights of the epoch of the lowest validation loss. Raises
        LandmarkError where a loss is no number.
        """
        if training.has_checkpoint(folder):
            self.load(folder / training.CHECKPOINT_NAME)
        while self.progress.epochs < epochs:
            now = self.epoch(f"Epoch {self.progress.epochs + 1}/{epochs}")
            self.save(folder)
            tqdm.write(f"epoch {self.progress.epochs}/{epochs}  validation loss {now.loss:.3f}  "
                       f"top-1 {now.top1:.1%}")  # fmt: skip
        # As training.fit does: the final figures are of float32 arithmetic.
        self.accelerator.unwrap_model(self.trained, keep_fp32_wrapper=False)
        self.network.load_state_dict(self.best)

    def epoch(self, title: str) -> metrics.Metrics:
        """Trains on every photo once, and gives the scores on the validation photos."""
        started = time.monotonic()
        number = self.progress.epochs + 1
        # From the epoch's number alone: a resumed run draws what the unbroken one would have.
        set_seed(self.seed * 100_003 + number)
        self.batches.set_epoch(number)
        train_epoch(self.trained, self.optimizer, self.batches, self.accelerator, title)
        now = score(self.trained, self.validation, self.accelerator)
        if not math.isfinite(now.loss):
            raise LandmarkError(f"The original's loss is {now.loss}. Try other --seeds.")
        self.plateau.step(now.loss)
        if now.loss < self.progress.lowest:
            self.progress.lowest, self.progress.best_epoch = now.loss, number
            state = self.network.state_dict()
            self.best = {name: tensor.detach().clone() for name, tensor in state.items()}
        self.progress.epochs = number
        self.progress.seconds += time.monotonic() - started
        return now

    def save(self, folder: Path) -> None:
        """Writes the checkpoint."""
        about = {"progress": asdict(self.progress), "plateau": self.plateau.state_dict()}
        parts = {
            "network": self.network.state_dict(),
            "best": self.best,
            "optimizer": training.get_moments(self.optimizer),
        }
        training.write_checkpoint(folder, about, parts)

    def load(self, path: Path) -> None:
        """Goes back to the checkpoint at `path`."""
        about, parts = training.read_checkpoint(path)
        self.network.load_state_dict(parts["network"])
        training.set_moments(self.optimizer, parts["optimizer"])
        self.plateau.load_state_dict(about["plateau"])
        self.optimizer.param_groups[0]["lr"] = self.plateau.get_last_lr()[0]
        self.best, self.progress = parts["best"], Progress(**about["progress"])


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
    logits, labels = training.compute_outputs(network.eval(), batches, accelerator)
    return metrics.measure(logits, labels, tuple(map(str, range(logits.shape[1]))))


# --- ours ---


def our_arguments(job: Job, options: argparse.Namespace, out: Path) -> list[str]:
    """The options of train.py for `job`; all that is not named is as the network likes it."""
    words = {
        "--data": options.data,
        "--network": NETWORKS[job.half],
        "--out": out,
        "--epochs": epoch_count(job, options),
        "--seed": job.seed,
        "--image-size": options.image_size,
        "--train-size": options.train_size,
        "--first-size": options.first_size,
        "--workers": options.workers,
        "--precision": options.precision,
    }
    if options.batch_size:
        words["--batch-size"] = options.batch_size
    if job.half == "transfer" and options.init:
        words["--init"] = options.init
    resumes = ["--resume"] if training.has_checkpoint(out) else []
    return [*(str(word) for pair in words.items() for word in pair), "--flip", *resumes]


def train_ours(job: Job, options: argparse.Namespace, folder: Path) -> Result:
    """Runs train.py, and reads what it measured."""
    train.main(our_arguments(job, options, folder))
    figures = json.loads((folder / hub.METRICS_NAME).read_text(encoding="utf-8"))
    facts = figures["training"]
    return Result(
        job=job,
        settings=settings(job, options),
        parameters=facts["parameters"],
        epochs=len(facts["epochs"]),
        best_epoch=facts["best_epoch"],
        seconds=round(sum(epoch["seconds"] for epoch in facts["epochs"]), 1),
        test_top1=figures["test"]["top1"],
        test_top5=figures["test"]["top5"],
        validation_top1=figures["validation"]["top1"],
        head_on="",
        photos=facts["data"]["photos"],
        hardware=describe_hardware(options.precision),
        command=options.command,
    )


def describe_hardware(precision: str) -> str:
    """What the trainings ran on."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    return (
        f"{device}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, "
        f"{training.name_precision(precision)} precision"
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


def write(results: list[Result], out: Path) -> None:
    """Writes the JSON and the table: both, or neither; of one job trained twice the last."""
    results = list({result.job: result for result in results}.values())
    with staged(out) as folder:
        (folder / JSON_NAME).write_text(hub.to_json({"results": results}), encoding="utf-8")
        (folder / TABLE_NAME).write_text(make_table(results), encoding="utf-8")


ABOUT = """\
# Ours beside the original course recipe

Written by `benchmarks/versus_original.py`; do not edit. Both recipes see the same photos, cached
alike, with the same precision, for the same number of epochs, each in batches of the size that
suits it. The original's time is the limit for ours. "Seconds" are of training and validation. Each
network was measured once on the test photos, after its epoch had been chosen on the validation
photos: the original's by the lowest loss, ours by top-1, as train.py does. Spread is the standard
deviation over the seeds.

**Original**: from scratch five blocks of 3x3 convolution (16-32-64-128-256), ReLU, batch norm and
max-pool, a layer of 1,024 units with batch norm and dropout 0.4, a linear layer; by transfer an
ImageNet ResNet18, all frozen, and a new linear layer. 224 px crops of photos resized to 256 px,
flips, RandAugment (6 operations, magnitude 9), cross-entropy, Adam at 0.001, a tenth of the rate
after 5 epochs without a lower validation loss. Written anew from its description.

**Ours**: train.py as it is, LandmarkCNN from scratch and ResNet18 by transfer, the convolution
kernels of both by Muon. No teacher. Answers are the mean of a photo's and its mirror image's, with
what its nearest training photos say.
"""


def make_table(results: list[Result]) -> str:
    """The Markdown text for the trainings there are."""
    sections = []
    for half in HALVES:
        rows = sorted((r for r in results if r.job.half == half), key=lambda r: r.job.seed)
        if rows:
            sections.append(make_section(half, rows))
    return "\n".join([ABOUT, *sections])


def make_section(half: str, results: list[Result]) -> str:
    """One half: table, lead, times, and how it was made."""
    lines = [
        f"## {HALVES[half]}\n",
        "| recipe | parameters | epochs | batch | seconds (mean) | test top-1 by seed | test top-1 "
        "| test top-5 | validation top-1 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for recipe in RECIPES:
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
    commands = dict.fromkeys(result.command for result in results)
    return "\n".join([*lines, "\n```", *commands, "```\n"])


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
    seeds = sorted({r.job.seed for r in results if all((x, r.job.seed) in by_job for x in RECIPES)})
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
    """The options, checked; `precision` is what "auto" stands for here."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    words = sys.argv[1:] if arguments is None else arguments
    options.command = shlex.join(
        ["python", "-m", "benchmarks.versus_original", *map(train.portable, words)]
    )
    options.precision = training.make_accelerator(options.precision, 0).mixed_precision
    options.seeds = list(dict.fromkeys(options.seeds))
    if options.original_size < 32:
        parser.error("--original-size must be 32 px or more: five poolings halve it to nothing")
    if min(options.epochs_scratch, options.epochs_transfer) < 1:
        parser.error("--epochs-scratch and --epochs-transfer must be 1 or more")
    if options.init and not options.init.is_file():  # else found out after hours from scratch
        parser.error(f"{options.init} does not exist; check --init")
    if options.batch_size is not None and options.batch_size < 2:
        parser.error("--batch-size must be 2 or more: batch norm needs company")
    return options


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.versus_original",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, its_settings in OPTIONS.items():
        parser.add_argument(name, **its_settings)
    for name, (default, text) in NUMBERS.items():
        parser.add_argument(
            name, type=int, default=default, metavar="N", help=f"{text}; default: %(default)s"
        )
    return parser


OPTIONS = {
    "--data": {"type": Path, "required": True, "metavar": "FOLDER", "help": "as for train.py"},
    "--init": {
        "type": Path,
        "metavar": "FILE",
        "help": "ImageNet weights of ResNet18, which may leave layers out; default: timm's",
    },
    "--only": {"choices": tuple(HALVES), "help": "one half; the other stays as it is on disk"},
    "--recipe": {"choices": RECIPES, "help": "one recipe; two commands may run side by side"},
    "--seeds": {
        "type": int,
        "nargs": "+",
        "default": [0, 1, 2],
        "metavar": "N",
        "help": "of splits, first weights, order and augmentation; default: 0 1 2",
    },
    "--out": {
        "type": Path,
        "default": Path("benchmarks"),
        "metavar": "FOLDER",
        "help": "where JSON and table go; default: %(default)s",
    },
    "--runs": {
        "type": Path,
        "default": Path("runs/versus_original"),
        "metavar": "FOLDER",
        "help": "where unfinished trainings are kept; default: %(default)s",
    },
    "--batch-size": {
        "type": int,
        "metavar": "N",
        "help": f"photos in a step of ours; default: as it likes; the original has {BATCH_SIZE}",
    },
    "--precision": {
        "choices": ("auto", "no", "bf16", "fp16"),
        "default": "auto",
        "help": "of both recipes' arithmetic; auto: bf16 where the chip is fast at it",
    },
}
NUMBERS = {
    "--epochs-scratch": (20, "epochs from scratch"),
    "--epochs-transfer": (10, "epochs by transfer"),
    "--workers": (2, "processes that prepare photos"),
    "--original-size": (224, "side of the original's crops in px, out of 8/7 of it"),
    "--image-size": (160, "side in px at which ours classifies"),
    "--train-size": (128, "side of our last crops in px"),
    "--first-size": (96, "side of our first crops in px"),
}


if __name__ == "__main__":
    try:
        main()
    except LandmarkError as error:
        sys.exit(f"versus_original: {error}")
