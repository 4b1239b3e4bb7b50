"""What is in the photos: counts, sizes, statistics, and copies across splits."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from landmark_model.files import printable
from landmark_model.folders import Skipped
from landmark_model.training.data import SPLITS, Splits, near_pairs

FEW = 4  # training photos of a class; with fewer, the report warns


@dataclass(frozen=True)
class Leak:
    """Two photos of different splits that are copies (`identical`) or near-copies."""

    first: str
    second: str
    identical: bool


@dataclass(frozen=True)
class DataReport:
    """What is in the photos: counts by class and split, sizes in px, leaks, channel statistics."""

    counts: dict[str, dict[str, int]]
    shorter_side_px: dict[str, int]
    skipped: list[Skipped]
    leaks: list[Leak]
    mean: list[float]
    std: list[float]
    skipped_unknown: list[Skipped] = field(default_factory=list)

    def totals(self) -> dict[str, int]:
        """Number of photos in each split."""
        return {split: sum(count[split] for count in self.counts.values()) for split in SPLITS}

    def __str__(self) -> str:
        totals, sides = self.totals(), self.shorter_side_px
        training = [count["train"] for count in self.counts.values()]
        identical = sum(leak.identical for leak in self.leaks)
        few = [f"{name} ({n['train']})" for name, n in self.counts.items() if n["train"] < FEW]
        lines = [
            f"{len(self.counts)} classes: "
            + ", ".join(f"{count} {split}" for split, count in totals.items())
            + f" photos; {min(training)} to {max(training)} for training in a class",
            f"shorter side: {sides['min']} to {sides['max']} px, median {sides['median']} px",
            "channel mean " + " ".join(f"{value:.3f}" for value in self.mean)
            + ", std " + " ".join(f"{value:.3f}" for value in self.std),
            f"leaks between splits: {identical} identical, "
            f"{len(self.leaks) - identical} near-identical",
        ]  # fmt: skip
        if few:
            lines.insert(1, printable(
                f"fewer than {FEW} training photos, too few to learn a landmark from: "
                f"{', '.join(few)}. Add photos, or remove the folders"
            ))  # fmt: skip
        lines += [printable(f"  {leak.first}  =  {leak.second}") for leak in self.leaks[:10]]
        lines.append(f"skipped files: {len(self.skipped)}")
        lines += [f"  {item.path}: {item.reason}" for item in self.skipped[:20]]
        if self.skipped_unknown:
            lines.append(f"left out of --unknown: {len(self.skipped_unknown)}")
            lines += [f"  {item.path}: {item.reason}" for item in self.skipped_unknown]
        return "\n".join(lines)


def make_report(
    splits: Splits, skipped: list[Skipped], root: Path, skipped_unknown: Sequence[Skipped] = ()
) -> DataReport:
    """The report on `splits`; paths in it are relative to `root`."""
    tables = [table for _, table in splits.items()]
    sides = [
        min(size) for table in tables for size in zip(table["width"], table["height"], strict=True)
    ]
    by_class = {split: Counter(table["class_name"]) for split, table in splits.items()}
    mean = np.mean(splits.train["mean"], axis=0)
    variance = np.mean(splits.train["mean_square"], axis=0) - mean**2
    return DataReport(
        counts={
            name: {split: by_class[split][name] for split in SPLITS} for name in splits.class_names
        },
        shorter_side_px={"min": min(sides), "median": int(np.median(sides)), "max": max(sides)},
        skipped=skipped,
        leaks=find_leaks(splits, root),
        mean=mean.round(4).tolist(),
        std=np.sqrt(variance.clip(min=0)).round(4).tolist(),
        skipped_unknown=[*skipped_unknown],
    )


def find_leaks(splits: Splits, root: Path) -> list[Leak]:
    """Pairs of photos in different splits that are byte-identical or near-identical."""
    base = Path(os.path.abspath(root))
    rows = [
        (str(Path(path).relative_to(base)), split, digest, bits)
        for split, table in splits.items()
        for path, digest, bits in zip(
            table["path"], table["sha256"], table["difference_hash"], strict=True
        )
    ]
    pairs = near_pairs([bits for *_, bits in rows])
    leaks = [
        Leak(rows[i][0], rows[j][0], rows[i][2] == rows[j][2])
        for i, j in pairs
        if rows[i][1] != rows[j][1]
    ]
    return sorted(leaks, key=lambda leak: not leak.identical)
