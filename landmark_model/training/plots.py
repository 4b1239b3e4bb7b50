"""Plots of data and training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from landmark_model.config import ModelConfig
from landmark_model.training.fit import Epoch
from landmark_model.training.metrics import Metrics
from landmark_model.training.report import DataReport

BLUE, ORANGE = "#2563eb", "#ea580c"


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), dpi=110, layout="constrained")


def _plain(name: str) -> str:
    return name.replace("$", r"\$")  # else a formula to matplotlib


def contact_sheet(images: Tensor, labels: list[int], config: ModelConfig, path: Path) -> None:
    """Draws training images (N, 3, s, s) as the network gets them, cropped and augmented."""
    mean = torch.tensor(config.mean).view(3, 1, 1)
    std = torch.tensor(config.std).view(3, 1, 1)
    columns = 8
    rows = -(-len(images) // columns)
    figure = _figure(1.4 * columns, 1.6 * rows)
    for place, (image, label) in enumerate(zip(images, labels, strict=True), start=1):
        axes = figure.add_subplot(rows, columns, place)
        axes.imshow((image * std + mean).clamp(0, 1).permute(1, 2, 0).numpy())
        axes.set_title(_plain(config.labels[label][:20]), fontsize=7)
        axes.axis("off")
    figure.savefig(path)


def class_histogram(report: DataReport, path: Path) -> None:
    """Draws the photos of each class, stacked by split."""
    names = sorted(report.counts, key=lambda name: sum(report.counts[name].values()))
    figure = _figure(8, 1.5 + 0.18 * len(names))
    axes = figure.add_subplot()
    left = np.zeros(len(names))
    for split, colour in (("train", BLUE), ("validation", "#93c5fd"), ("test", ORANGE)):
        counts = np.array([report.counts[name][split] for name in names])
        told = f"{split} ({counts.sum()})"
        axes.barh([*map(_plain, names)], counts, left=left, label=told, color=colour)
        left += counts
    axes.set_xlabel("photos")
    axes.tick_params(axis="y", labelsize=7)
    axes.margins(y=0.01)
    axes.legend(loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def training_curve(epochs: list[Epoch], best_epoch: int, path: Path) -> None:
    """Draws loss and validation top-1 by epoch; a dotted line marks the epoch that was kept."""
    numbers = [epoch.number for epoch in epochs]
    figure = _figure(9, 3.6)
    loss, score = figure.subplots(1, 2)
    loss.plot(numbers, [epoch.train_loss for epoch in epochs], color=ORANGE, label="training")
    loss.plot(numbers, [epoch.validation_loss for epoch in epochs], color=BLUE, label="validation")
    loss.set_ylabel("cross-entropy")
    loss.legend()
    score.plot(numbers, [100 * epoch.validation_top1 for epoch in epochs], color=BLUE)
    score.set_ylabel("validation top-1 (%)")
    for axes in (loss, score):
        axes.set_xlabel("epoch")
        axes.axvline(best_epoch, color="grey", linestyle=":")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def confusion_matrix(metrics: Metrics, labels: tuple[str, ...], path: Path) -> None:
    """Draws which landmarks are confused: the predictions for photos of each landmark (row)."""
    counts = np.array(metrics.confusion, dtype=float)
    shares = counts / counts.sum(1, keepdims=True).clip(min=1)
    side = 2.5 + 0.17 * len(labels)
    figure = _figure(side + 0.8, side)
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    size = 8 if len(labels) <= 20 else 6
    names = [_plain(label) for label in labels]
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=size)
    axes.set_yticks(range(len(names)), names, fontsize=size)
    axes.set_xlabel("taken for")
    axes.set_ylabel("photo of")
    figure.colorbar(image, shrink=0.6, label="share of the landmark's photos")
    figure.savefig(path)


def reliability_diagram(metrics: Metrics, path: Path) -> None:
    """Draws accuracy against confidence, and the number of answers."""
    bins = [part for part in metrics.reliability if part.count]
    figure = _figure(5.2, 4.6)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="perfectly calibrated")
    sizes = [20 + 900 * part.count / metrics.photo_count for part in bins]
    confidence, accuracy = zip(*((part.confidence, part.accuracy) for part in bins), strict=True)
    label = "test photos, by how sure the answer is"
    axes.scatter(confidence, accuracy, sizes, color=BLUE, alpha=0.65, label=label)
    axes.set(xlabel="how sure (probability of the answer)", ylabel="share that is right")
    axes.set(xlim=(0, 1.04), ylim=(-0.04, 1.04))
    axes.set_title(f"Expected calibration error {metrics.calibration_error:.1%}", fontsize=10)
    legend = axes.legend(loc="upper left", fontsize=8, frameon=False)
    legend.legend_handles[1].set_sizes([40])
    figure.savefig(path)
