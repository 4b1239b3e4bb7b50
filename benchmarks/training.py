"""Measures what each ingredient of the recipe is worth, on validation photos: training.md.

    python -m benchmarks.training --data world50 --data10 landmarks10 --init imagenet.safetensors

Every row is a training of its own, short and small so that all fit an hour on two cores: it says
which way an ingredient points, not what the long training reaches. Finished rows are kept in
training.json; a second run does the missing ones only. The test photos are not opened.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

import train
from landmark_model import data, networks, training
from landmark_model.calibration import calibrated_loss
from landmark_model.card import Report, read_reports, wilson
from landmark_model.config import VIEWS, WEIGHTS_NAME, ModelConfig
from landmark_model.evaluation import WEIGHTS, compute_logits
from landmark_model.files import write_text
from landmark_model.hub import SHIPPED
from landmark_model.metrics import measure
from landmark_model.training import compute_outputs, make_accelerator
from landmark_model.transforms import Augmentation


@dataclass(frozen=True)
class Row:
    """One training: what is changed against the base of its table, and how."""

    name: str
    change: tuple[str, ...] = ()


MUON = ("--muon", str(training.RECIPES["resnet18"].muon))
TEACHER = ("--teacher", "TEACHER")
FEATURES = ("--feature-distillation", "2")
TRANSFER = (
    Row("the recipe"),
    Row("without growing crops", ("--first-size", "0")),
    Row("without low resolution", ("--low-resolution", "0")),
    Row("a tenth of the photos grey", ("--grey", "0.1")),
    Row("a fifth of the photos smaller, with noise around", ("--zoom-out", "0.2")),
    Row("without TrivialAugment", ("--policy", "none")),
    Row("RandAugment for TrivialAugment", ("--policy", "rand")),
    Row("crops of 0.7 to 1 of the photo, not 0.35 to 1", ("--min-area", "0.7")),
    Row("without mixup and cutmix", ("--mixup", "0", "--cutmix", "0")),
    Row("without random erasing", ("--erasing", "0")),
    Row("without layer-wise decay of the rate", ("--layer-decay", "1")),
    Row("pretrained layers frozen for 2 epochs, then not", ("--frozen-epochs", "2")),
    Row("without averaged weights (EMA)", ("--ema-decay", "0")),
    Row("without class-balanced sampling", ("--balance", "0")),
    Row("convolution kernels by Muon", MUON),
    Row("with the teacher", TEACHER),
    Row("with the teacher's features, too", (*TEACHER, *FEATURES)),
    Row("by Muon, with the teacher", (*MUON, *TEACHER)),
    Row("by Muon, with the teacher's features, too", (*MUON, *TEACHER, *FEATURES)),
)
SCRATCH = (
    Row("LandmarkCNN"),
    Row(
        "plain photos, as in few epochs, and EMA 0.9",
        (
            "--mixup",
            "0",
            "--cutmix",
            "0",
            "--policy",
            "none",
            "--erasing",
            "0",
            "--low-resolution",
            "0",
            "--ema-decay",
            "0.9",
        ),
    ),
    Row("shallower: 1 block a stage, not 2", ("--model-args", '{"depths": [1, 1, 1, 1]}')),
    Row("deeper: 3 blocks in stages 3 and 4", ("--model-args", '{"depths": [2, 2, 3, 3]}')),
    Row("narrower: 24 to 240 channels", ("--model-args", '{"widths": [24, 48, 120, 240]}')),
    Row("kernel 5, not 3", ("--model-args", '{"kernel": 5}')),
    Row("maximum pooled at the end, not average", ("--model-args", '{"max_pool": true}')),
    Row("without channel attention", ("--model-args", '{"gated": false}')),
    Row("a fifth of the photos smaller, with noise around", ("--zoom-out", "0.2")),
    Row("convolution kernels by Muon", ("--muon", str(training.RECIPES["landmark_cnn"].muon))),
    Row("autoencoder pretraining", ("--pretrain-autoencoder", "PHOTOS", "--pretrain-epochs", "8")),
    Row("with the teacher", ("--teacher", "TEACHER10")),
)
START = (
    Row("from ImageNet"),
    Row("from the quick mode's network", ("--init", "QUICK")),
    Row("the same, blended with the quick mode's network", ("--init", "QUICK", "--blend")),
)
BACKBONES = ("resnet18", "resnet34", "resnet50", "mobilenetv3_large_100", "efficientnet_b0",
             "tf_efficientnet_lite0", "tf_efficientnet_lite2", "convnext_tiny")  # fmt: skip


def fit_row(arguments: list[str]) -> dict:
    """Trains as train.py would with `arguments`; what validation says, with and without flip."""
    options = train.parse(arguments)
    accelerator = make_accelerator(options.precision, options.seed)
    splits, _ = data.load_splits(options.data, options.seed)
    config = train.make_config(options, splits)
    sets = train.make_sets(splits, config, options)
    network = networks.build(config)
    start = train.initialise(network, options)
    began = time.monotonic()
    train.pretrain(network, config, options, accelerator)
    train.fit(network, start, sets, None, config, options, accelerator)
    train.find_blend(network, sets, options, accelerator)
    seconds = time.monotonic() - began
    found = {
        "seconds": round(seconds),
        "parameters": train.parameter_count(network),
        "photos": {name: len(table) for name, table in splits.items()},
    }
    network.eval()
    for name, flip in (("plain", False), ("flip", True)):
        answers = validation_logits(network, replace(config, flip=flip), splits, accelerator)
        scores = measure(*answers, config.class_names)
        found[name] = {"top1": scores.top1, "loss": scores.loss}
    return found


def validation_logits(
    network, config: ModelConfig, splits: data.Splits, accelerator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (N, C) of the network's last layer and labels (N,) of the validation photos."""
    photos = train.seen_photos(splits.validation, config)
    loader = accelerator.prepare(data.make_batches(photos, 32, False, 0))
    features_of = partial(networks.compute_features, network)
    features, labels = compute_outputs(features_of, loader, accelerator)
    return compute_logits(network, features), labels


def run_table(rows: tuple[Row, ...], base: list[str], options, key: str, done: dict) -> None:
    """Trains the rows of one table that are not in `done`, and stores each as it ends."""
    values = {
        "TEACHER": options.teacher,
        "TEACHER10": options.teacher10,
        "PHOTOS": options.data10 and options.data10 / "train",
        "QUICK": options.quick and options.quick / WEIGHTS_NAME,
    }
    for row in rows:
        label = f"{key}: {row.name}"
        change = [str(values.get(word, word)) for word in row.change]
        if label in done or "None" in change:
            continue
        print(f"\n== {label}", flush=True)
        out = options.out / "runs" / key
        done[label] = fit_row([*base, *change, "--out", str(out)])
        write_text(options.out / "training.json", json.dumps(done, indent=1) + "\n")


def time_backbones(done: dict) -> None:
    """Milliseconds a photo of 224 px takes, one at a time, by architecture; weights are random."""
    names = [name for name in BACKBONES if f"speed: {name}" not in done]
    for name in names:
        classes = tuple(map(str, range(50)))
        network = networks.build(ModelConfig(name, classes, classes)).eval()
        photo = torch.zeros(1, 3, 224, 224)
        with torch.inference_mode():
            network(photo)
            seconds = []
            for _ in range(9):
                began = time.monotonic()
                network(photo)
                seconds.append(time.monotonic() - began)
        done[f"speed: {name}"] = {
            "parameters": train.parameter_count(network),
            "ms": round(1000 * sorted(seconds)[4], 1),
        }


def render(done: dict, command: str) -> str:
    """The text of training.md."""
    parts = [HEAD.format(command=command)]
    for key, rows, text in (("transfer", TRANSFER, ABOUT_TRANSFER),
                            ("start", START, ABOUT_START),
                            ("scratch", SCRATCH, ABOUT_SCRATCH)):  # fmt: skip
        base = done.get(f"{key}: {rows[0].name}")
        if base is None:
            continue
        count, top1 = base["photos"]["validation"], base["plain"]["top1"]
        low, high = wilson(top1, count)
        parts += [
            text.format(epochs=EPOCHS[key], train=base["photos"]["train"], validation=count),
            f"One photo is {100 / count:.1f} points; the 95 % range of the first row is {low:.0%} "
            f"to {high:.0%}.\n",
            COLUMNS,
        ]
        parts += [
            table_row(row.name, done[f"{key}: {row.name}"], base)
            for row in rows
            if f"{key}: {row.name}" in done
        ]
        flipped = base["plain"] | {"seconds": base["seconds"], "plain": base["flip"]}
        parts.append(table_row("the first row, with test-time flip", flipped, base) + "\n")
    weights = ", ".join(f"{weight:g}" for weight in WEIGHTS)
    parts.append(ABOUT_NEIGHBOURS.format(weights=weights))
    reports = read_reports(SHIPPED)
    parts += map(neighbours_row, reports)
    seen = [report for report in reports if view_label(report, VIEWS[0]) in done]
    parts += [ABOUT_VIEWS, *(view_row(report, done) for report in seen)] if seen else []
    parts.append(ABOUT_BACKBONES)
    parts += [
        f"| {name} | {done[f'speed: {name}']['parameters'] / 1e6:.1f} M "
        f"| {done[f'speed: {name}']['ms']:.0f} ms |"
        for name in BACKBONES
        if f"speed: {name}" in done
    ]
    return "\n".join(parts) + "\n"


def compare_views(options: argparse.Namespace, done: dict) -> None:
    """What the last layer of each network that ships says of validation photos, by view.

    None where they show other landmarks than the networks know.
    """
    accelerator = make_accelerator("auto", 0)
    splits, _ = data.load_splits(options.data, 0)
    for report in read_reports(SHIPPED):
        missing = [view for view in VIEWS if view_label(report, view) not in done]
        if not missing or report.config.class_names != splits.class_names:
            continue
        network = networks.restore(report.config, report.folder).eval()
        for view in missing:
            config = replace(report.config, view=view)
            logits, labels = validation_logits(network, config, splits, accelerator)
            done[view_label(report, view)] = {
                "top1": measure(logits, labels, config.class_names).top1,
                "loss": calibrated_loss(logits, labels),
            }


def view_label(report: Report, view: str) -> str:
    """The name of a result: of these weights, by this view."""
    weights = hashlib.sha256((report.folder / WEIGHTS_NAME).read_bytes()).hexdigest()[:8]
    return f"view: {report.config.architecture} {weights} {view}"


def view_row(report: Report, done: dict) -> str:
    """Validation top-1 and loss of a network that ships, by each of `VIEWS`."""
    found = [done[view_label(report, view)] for view in VIEWS]
    cells = [f"{one['top1']:.1%}" for one in found] + [f"{one['loss']:.3f}" for one in found]
    return f"| {report.title} | {' | '.join(cells)} |"


def neighbours_row(report: Report) -> str:
    """Validation top-1 and loss of a network that ships, without neighbours and as it answers."""
    alone, heard = report.metrics["last_layer"]["validation"], report.metrics["validation"]
    points, loss = 100 * (heard["top1"] - alone["top1"]), heard["loss"] - alone["loss"]
    return (
        f"| {report.title} | {report.config.neighbour_weight:g} | {alone['top1']:.1%} "
        f"| {heard['top1']:.1%} | {points:+.1f} | {alone['loss']:.3f} | {heard['loss']:.3f} "
        f"| {loss:+.3f} |"
    )


def table_row(name: str, found: dict, base: dict) -> str:
    """A row: validation top-1 and loss, the difference to the first row, seconds."""
    plain, first = found["plain"], base["plain"]
    return (
        f"| {name} | {plain['top1']:.1%} | {100 * (plain['top1'] - first['top1']):+.1f} "
        f"| {plain['loss']:.3f} | {plain['loss'] - first['loss']:+.3f} | {found['seconds']} |"
    )


COLUMNS = "| | top-1 | points | loss | change | seconds |\n|---|---|---|---|---|---|"
HEAD = """# What each ingredient is worth

Written by `{command}`. Validation photos only. Rows are kept once they are trained, not all on the
same machine, so their seconds compare only roughly. Short trainings at small sizes, one seed: a
change in top-1 of less than the range given is noise; the loss (cross-entropy, lower is better,
not yet calibrated) is steadier. All layers learn by AdamW but in the rows that
name Muon, which is what ResNet18 and LandmarkCNN learn by since.
"""
ABOUT_TRANSFER = """
## Transfer: ResNet18 on `world50`

{epochs} epochs on {train:,} photos, crops growing from 64 to 96 px, evaluated at 128 px on
{validation:,} validation photos.
"""
ABOUT_START = """
## Transfer: where EfficientNet-Lite2 begins on `world50`

{epochs} epochs on {train:,} photos, crops growing from 64 to 128 px, evaluated at 160 px on
{validation:,} validation photos. The quick mode's network is ImageNet's, frozen, with a last layer
that learned.
"""
ABOUT_SCRATCH = """
## From scratch: LandmarkCNN on `landmarks10`

{epochs} epochs at 64 px on {train:,} photos, evaluated on {validation:,} validation photos.
"""
ABOUT_NEIGHBOURS = """
## Neighbours: what training photos nearby add to the networks that ship

No training: the last layer alone, and with the training photos whose features are near a photo's,
at the weight (of {weights}) by which most validation photos are named right, and of those the
one of the lowest loss. Both losses are calibrated.

| | weight | top-1 alone | with | points | loss alone | with | change |
|---|---|---|---|---|---|---|---|"""
ABOUT_VIEWS = """
## View: a photo's centre square, all of it, or both

No training: the networks that ship, last layer alone, which see two images of each validation
photo, so that all take as long: its centre square and the mirror image of that; all of it, at its
own aspect ratio, and the mirror image of that; or the square and the mirror image of all. Losses
are calibrated.

| | top-1 centre | whole | both | loss centre | whole | both |
|---|---|---|---|---|---|---|"""
ABOUT_BACKBONES = """
## Why ResNet18 for transfer

It is the network of the original course project, so that both can be compared; every framework has
it; its last maps are averaged, so class-activation maps are exact. What it costs on a CPU beside
others that are well known: float32, one photo of 224 px, median of nine:

| network | parameters with 50 classes | a photo |
|---|---|---|"""
EPOCHS = {"transfer": 6, "start": 6, "scratch": 6}
BY_ADAMW = ("--muon", "0")


def run_tables(options: argparse.Namespace, done: dict) -> None:
    """Trains the missing rows of every table whose photos and first weights the options name."""
    photos = ["--data", str(options.data)]
    base = ["--epochs", str(EPOCHS["transfer"]), "--network", "resnet18", "--image-size", "128"]
    base += ["--train-size", "96", "--first-size", "64", *photos, *BY_ADAMW]
    run_table(TRANSFER, [*base, "--init", str(options.init)], options, "transfer", done)
    if options.lite2:
        base = ["--epochs", str(EPOCHS["start"]), "--network", "tf_efficientnet_lite2"]
        base += ["--image-size", "160", "--train-size", "128", "--first-size", "64", *photos]
        run_table(START, [*base, "--init", str(options.lite2)], options, "start", done)
    if options.data10:
        base = ["--epochs", str(EPOCHS["scratch"]), "--network", "landmark_cnn"]
        base += ["--image-size", "64", "--train-size", "64", "--data", str(options.data10)]
        # As in a long run, which this stands for.
        long = training.RECIPES["landmark_cnn"]
        base += ["--mixup", str(long.mixup), "--cutmix", str(long.cutmix)]
        base += ["--ema-decay", str(long.ema_decay), "--policy", Augmentation.policy]
        base += ["--erasing", str(Augmentation.erasing), *BY_ADAMW]
        base += ["--low-resolution", str(Augmentation.low_resolution)]
        run_table(SCRATCH, base, options, "scratch", done)


def main(arguments: list[str] | None = None) -> None:
    """Does the missing rows and writes the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="photos for transfer")
    parser.add_argument("--data10", type=Path, help="photos for training from scratch")
    parser.add_argument("--init", type=Path, required=True, help="first weights of ResNet18")
    parser.add_argument("--teacher", type=Path, help="a run folder of the classes of --data")
    parser.add_argument("--teacher10", type=Path, help="a run folder of the classes of --data10")
    parser.add_argument("--lite2", type=Path, help="first weights of EfficientNet-Lite2")
    parser.add_argument("--quick", type=Path, help="a run folder of `train.py --quick`")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args(arguments)
    path = options.out / "training.json"
    done = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    time_backbones(done)
    run_tables(options, done)
    compare_views(options, done)
    write_text(path, json.dumps(done, indent=1) + "\n")
    words = [train.portable(word) for word in arguments or sys.argv[1:]]
    text = render(done, " ".join(["python -m benchmarks.training", *words]))
    write_text(options.out / "training.md", text)


if __name__ == "__main__":
    main()
