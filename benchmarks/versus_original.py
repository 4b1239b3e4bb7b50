"""Ours beside the course recipe that this project grew from: same photos, same epochs.

    python -m benchmarks.versus_original --data world100 --init resnet18.safetensors

Both are trained from scratch and by transfer, once for each seed. Every finished training is kept
in versus_original.json, so a killed run goes on with the next one; versus_original.md is the table,
versus_original.png the curves. Theirs is written anew from its description
(github.com/shrigulhane100/landmark-tagging); ours is train.py as it is, without a teacher.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from itertools import takewhile
from pathlib import Path

import torch
from accelerate import Accelerator
from matplotlib.figure import Figure
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchvision.transforms import v2
from tqdm.auto import tqdm

from benchmarks.pages import command_line, make_parser, run, table
from landmark_model import LandmarkError, networks
from landmark_model.config import ModelConfig
from landmark_model.files import staged
from landmark_model.hub.repo import METRICS_NAME
from landmark_model.preprocess import eval_crop, shrink
from landmark_model.training import data, metrics
from landmark_model.training.augment import BICUBIC, to_tensor
from landmark_model.training.fit import compute_outputs
from landmark_model.training.options import TrainOptions
from landmark_model.training.pipeline import parameter_count, train
from landmark_model.training.recipes import FEW_EPOCHS, RECIPES
from landmark_model.training.session import make_accelerator
from landmark_model.training.start import Start, start_from_file, start_pretrained

NAME = "versus_original"
HALVES = {"scratch": "From scratch", "transfer": "Transfer from ImageNet"}
OURS = {"scratch": ("landmark_cnn", FEW_EPOCHS), "transfer": ("resnet18", RECIPES["resnet18"])}
WIDTHS = (16, 32, 64, 128, 256)
BATCH_SIZE, LEARNING_RATE = 64, 1e-3
PLATEAU = {"factor": 0.1, "patience": 5, "threshold": 0.01, "min_lr": 1e-6}
STEM = ("conv1", "bn1", "act1", "maxpool")
STAGES = ("layer1", "layer2", "layer3", "layer4")
HEADS = ("recipe", "parameters", "batch", "minutes (mean)", "test top-1 by seed", "test top-1",
         "test top-5", "validation top-1")  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Trains what is not in the JSON yet, and writes table and curves after every training."""
    options = parse(arguments)
    path = options.out / f"{NAME}.json"
    done = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    found = {}
    for seed in options.seeds:  # so that a run cut short has whole rows
        for half in HALVES:
            for recipe, learn in (("original", train_original), ("ours", train_ours)):
                key = key_of(half, recipe, seed, options)
                if key not in done:
                    print(f"\n== {key}", flush=True)
                    done[key] = learn(half, seed, options)
                found[half, recipe, seed] = done[key]
                write(done, found, options.out, command_line(NAME, arguments))


def key_of(half: str, recipe: str, seed: int, options: argparse.Namespace) -> str:
    """A name for the outcome of one training: the same for the same settings."""
    init = options.init.name if options.init and half == "transfer" else "default"
    is_theirs = recipe == "original"
    size = options.original_size if is_theirs else options.image_size
    ours = "" if is_theirs else hashlib.sha256(str(OURS[half]).encode()).hexdigest()[:6]
    return (
        f"{half}, {recipe}, seed {seed}: {options.data.resolve().name}, {options.epochs} epochs, "
        f"{size} px, init {init} {ours}"
    )


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
        nn.Linear(flat, 1024),
        nn.ReLU(),
        nn.BatchNorm1d(1024),
        nn.Dropout(0.4),
        nn.Linear(1024, class_count),
    )


class FrozenResNet(nn.Module):
    """The original's transfer network: a ResNet that never changes, and a new linear layer.

    Of timm's `network` it takes the stages that `start` filled: weights files may lack layer4.
    Raises LandmarkError if there is none.
    """

    def __init__(self, network: nn.Module, start: Start, class_count: int) -> None:
        super().__init__()
        fresh = {name.split(".")[0] for name in start.fresh}
        stages = [*takewhile(lambda stage: stage not in fresh, STAGES)]
        if not stages or fresh & {"conv1", "bn1"} or not start.filled:
            raise LandmarkError(
                f"{start.source} has no whole first stage to be frozen. Give --init a ResNet18."
            )
        self.last_stage = stages[-1]
        self.frozen = nn.Sequential(*map(network.get_submodule, (*STEM, *stages)))
        self.frozen.eval().requires_grad_(False)
        widths = {stage["module"]: stage["num_chs"] for stage in network.feature_info}
        self.head = nn.Linear(widths[self.last_stage], class_count)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            pooled = self.frozen(images).mean((2, 3))  # (N, 3, S, S) -> (N, D)
        return self.head(pooled)

    def train(self, mode: bool = True) -> FrozenResNet:
        """The frozen part stays in evaluation mode: batch-norm statistics are frozen, too."""
        super().train(mode)
        self.frozen.eval()
        return self


def build_frozen(config: ModelConfig, init: Path | None) -> FrozenResNet:
    """The original's transfer network with the weights in `init` (None: timm's)."""
    network = networks.build(config)
    start = (
        start_from_file(network, init) if init else start_pretrained(network, config.architecture)
    )
    return FrozenResNet(network, start, len(config.class_names))


def make_sets(splits: data.Splits, config: ModelConfig) -> dict[str, data.PhotoSet]:
    """The photos of each split as the original saw them: 224 px out of 256 px, RandAugment."""
    side_px, finish = int(config.image_size / config.crop_pct), to_tensor(config)
    enlarge = v2.Resize(side_px, interpolation=BICUBIC)
    vary = v2.Compose(
        [
            v2.RandomCrop(config.image_size),
            v2.RandomHorizontalFlip(),
            v2.RandAugment(6, 9, interpolation=v2.InterpolationMode.BILINEAR),
            finish,
        ]
    )
    square = f"square {config.image_size} {config.crop_pct}"
    sets = {
        split: data.PhotoSet(table, lambda photo: eval_crop(photo, config), finish, square)
        for split, table in splits.items()
        if split != "train"
    }
    prepare, key = (lambda photo: enlarge(shrink(photo, side_px))), f"resize {side_px}"
    return sets | {"train": data.PhotoSet(splits.train, prepare, vary, key)}


def train_original(half: str, seed: int, options: argparse.Namespace) -> dict:
    """Trains one of the original's networks, and measures it once on the test photos."""
    accelerator = make_accelerator("no", seed)
    splits, _ = data.load_splits(options.data, seed)
    names, side_px = splits.class_names, options.original_size
    numbers = networks.normalisation("resnet18")
    config = ModelConfig("resnet18", names, names, side_px, crop_pct=0.875, **numbers)
    network = (
        build_original(len(names), side_px)
        if half == "scratch"
        else build_frozen(config, options.init)
    )
    batches = {
        split: accelerator.prepare(
            data.make_batches(photos, BATCH_SIZE, split == "train", options.workers)
        )
        for split, photos in make_sets(splits, config).items()
    }
    began = time.monotonic()
    curve, best = fit_original(network, batches, accelerator, options.epochs)
    seconds = time.monotonic() - began
    test = score(network, batches["test"], accelerator)
    return {
        "parameters": parameter_count(network),
        "batch_size": BATCH_SIZE,
        "seconds": round(seconds, 3),
        "curve": curve,
        "test_top1": test.top1,
        "test_top5": test.top5,
        "validation_top1": curve[best],
        "head_on": getattr(network, "last_stage", ""),
        "photos": {split: len(table) for split, table in splits.items()},
        "hardware": hardware(),
    }


def fit_original(
    network: nn.Module, batches: dict[str, Iterable], accelerator: Accelerator, epochs: int
) -> tuple[list[float], int]:
    """Trains in place as the original does: Adam, a lower rate where the validation loss stalls.

    The network ends with the weights of the epoch of the lowest validation loss. Returns validation
    top-1 (0..1) by epoch, and that epoch's index. Raises LandmarkError if a loss is no number.
    """
    network.to(accelerator.device, memory_format=torch.channels_last)
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(learned, LEARNING_RATE)
    plateau = ReduceLROnPlateau(optimizer, **PLATEAU)
    trained, optimizer = accelerator.prepare(network, optimizer)
    curve, losses, best = [], [], {}
    for epoch in range(1, epochs + 1):
        train_epoch(trained, optimizer, batches["train"], accelerator, f"Epoch {epoch}/{epochs}")
        now = score(trained, batches["validation"], accelerator)
        curve.append(now.top1)
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
    return curve, losses.index(min(losses))


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
    outputs = compute_outputs(network.eval(), batches, accelerator)
    logits, labels = (tensor.numpy() for tensor in outputs)
    return metrics.measure(logits, labels, tuple(map(str, range(logits.shape[1]))))


# --- ours ---


def train_ours(half: str, seed: int, options: argparse.Namespace) -> dict:
    """Runs train.py's pipeline, and reads what it measured."""
    network, recipe = OURS[half]
    recipe = replace(recipe.at_size(options.image_size), epochs=options.epochs)
    init = str(options.init) if options.init and half == "transfer" else None
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainOptions(
            options.data, Path(folder), network, init, seed=seed, workers=options.workers
        )
        scores = train(settings, recipe).scores
        facts = json.loads((Path(folder) / METRICS_NAME).read_text(encoding="utf-8"))["training"]
    return {
        "parameters": facts["parameters"],
        "batch_size": recipe.batch_size,
        "seconds": round(sum(epoch["seconds"] for epoch in facts["epochs"]), 3),
        "curve": [epoch["validation_top1"] for epoch in facts["epochs"]],
        "test_top1": scores["test"].top1,
        "test_top5": scores["test"].top5,
        "validation_top1": scores["validation"].top1,
        "recipe": asdict(recipe),
        "photos": facts["data"]["photos"],
        "hardware": hardware(),
    }


# --- the page ---

ABOUT = """\
# Ours beside the original course recipe

Written by `benchmarks/versus_original.py`; do not edit. Both recipes see the same photos, cached
alike, with the same precision, for the same number of epochs, each in batches of the size that
suits it. Minutes are of training and validation, by the clock: whatever else ran at that time is in
them. Each network was measured once on the test photos, after its epoch had been chosen on the
validation photos: the original's by the lowest loss, ours by top-1, as train.py does. Spread is the
standard deviation over the seeds.

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

![Validation top-1 by epoch](versus_original.png)
"""


def write(done: dict, found: dict, out: Path, command: str) -> None:
    """Writes JSON, page and curves: all or none."""
    halves = dict.fromkeys(half for half, recipe, _ in found if recipe == "ours")
    sections = [make_section(half, found) for half in halves]
    with staged(out) as folder:
        text = json.dumps(done, indent=1) + "\n"
        (folder / f"{NAME}.json").write_text(text, encoding="utf-8")
        page = "\n".join([ABOUT.format(command=command), *sections])
        (folder / f"{NAME}.md").write_text(page, encoding="utf-8")
        draw(found, folder / f"{NAME}.png")


def make_section(half: str, found: dict[tuple[str, str, int], dict]) -> str:
    """One half: its table, and how far ours is ahead on the seeds that both have."""
    by_recipe = {
        recipe: {seed: one for (h, r, seed), one in found.items() if (h, r) == (half, recipe)}
        for recipe in ("original", "ours")
    }
    theirs, ours = by_recipe.values()
    seeds = sorted(theirs.keys() & ours.keys())
    lead = mean_and_spread([ours[seed]["test_top1"] - theirs[seed]["test_top1"] for seed in seeds])
    first = theirs[seeds[0]]
    photos = ", ".join(f"{count:,} {split}" for split, count in first["photos"].items())
    head_on = first["head_on"]
    layer = f"{head_on}, the last that --init has"
    note = f" The original's linear layer reads {layer}." if head_on else ""
    return (
        f"## {HALVES[half]}\n\n{table(HEADS, [make_row(*item) for item in by_recipe.items()])}\n\n"
        f"**Lead: {lead} points** of test top-1 (seeds {', '.join(map(str, seeds))}).{note} "
        f"{photos} photos; {first['hardware']}.\n"
    )


def make_row(recipe: str, by_seed: dict[int, dict]) -> list[str]:
    """One recipe's line of the table."""
    runs = [*by_seed.values()]
    figures = ("test_top1", "test_top5", "validation_top1")
    return [
        recipe,
        f"{runs[0]['parameters'] / 1e6:.1f} M",
        str(runs[0]["batch_size"]),
        f"{statistics.mean(one['seconds'] for one in runs) / 60:.1f}",
        ", ".join(f"{seed}: {one['test_top1']:.1%}" for seed, one in by_seed.items()),
        *(f"{mean_and_spread([one[figure] for one in runs])}%" for figure in figures),
    ]


def mean_and_spread(shares: list[float]) -> str:
    """Mean and standard deviation of `shares` in points (1 point = 0.01); one has no spread."""
    points = [100 * share for share in shares]
    spread = f" ± {statistics.stdev(points):.1f}" if len(points) > 1 else ""
    return f"{statistics.mean(points):.1f}{spread}"


def hardware() -> str:
    """What the trainings ran on."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    return f"{name}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"


def draw(found: dict[tuple[str, str, int], dict], path: Path) -> None:
    """Draws validation top-1 by epoch: one panel for each half, one line for each training."""
    figure = Figure(figsize=(9, 3.6), dpi=110, layout="constrained")
    for axes, (half, title) in zip(figure.subplots(1, 2, sharey=True), HALVES.items(), strict=True):
        for (of, recipe, seed), one in found.items():
            if of == half:
                colour = {"original": "#ea580c", "ours": "#2563eb"}[recipe]
                numbers, points = range(1, len(one["curve"]) + 1), [100 * x for x in one["curve"]]
                axes.plot(numbers, points, color=colour, label=f"{recipe}, seed {seed}")
        axes.set(title=title, xlabel="epoch", ylabel="validation top-1 (%)")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=8)
    figure.savefig(path)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options, checked."""
    parser = make_parser(NAME, __doc__)
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="FOLDER", help="as for train.py")
    add("--init", type=Path, metavar="FILE", help="weights of ResNet18; default: timm's ImageNet")
    add("--seeds", type=int, nargs="+", default=[0], metavar="N", help="default: 0")
    for name, (default, text) in NUMBERS.items():
        add(name, type=int, default=default, metavar="N", help=f"{text}; default: %(default)s")
    options = parser.parse_args(arguments)
    if options.original_size < 32:
        parser.error("--original-size must be 32 px or more: five poolings halve it to nothing")
    if options.epochs < 1:
        parser.error("--epochs must be 1 or more")
    if options.init and not options.init.is_file():  # else found out after hours from scratch
        parser.error(f"{options.init} does not exist; check --init")
    return options


NUMBERS = {
    "--epochs": (14, "epochs of every training"),
    "--workers": (2, "processes that prepare photos"),
    "--original-size": (224, "side in px at which the original classifies, out of 8/7 of it"),
    "--image-size": (160, "side in px at which ours classifies"),
}


if __name__ == "__main__":
    run(main)
