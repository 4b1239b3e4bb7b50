"""Compares scores that tell photos of known landmarks from all others: unknown.md.

    python -m benchmarks.unknown --known world50 --unknown not_landmarks

--known holds train/, validation/ and test/<class>/<photo>; --unknown validation/ and test/ photos
of anything else, in any folders. Choose by the validation columns; test is for the final figure.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from landmark_model import LandmarkError, networks
from landmark_model.calibration import fit_known_threshold, known_score
from landmark_model.config import KNOWN_METHODS, ModelConfig, read_config
from landmark_model.files import write_text
from landmark_model.hub.repo import METRICS_NAME, SHIPPED, networks_in, read_memory
from landmark_model.memory import Memory
from landmark_model.preprocess import eval_transform
from landmark_model.training.data import UnknownPhotos, make_batches
from landmark_model.training.evaluate import compute_logits
from landmark_model.training.metrics import UnknownScores, measure_unknown
from landmark_model.training.session import keep_freed_memory

NEIGHBOURS = (1, 5, 10, 20)
SPLITS = ("validation", "test")
Scores = dict[str, Tensor]


@torch.inference_mode()
def compute_features(network: nn.Module, photos: UnknownPhotos, name: str) -> Tensor:
    """Pooled features (N, D) of photos."""
    workers = min(2, os.cpu_count() or 1)
    features_of = partial(networks.compute_features, network)
    batches = tqdm(make_batches(photos, 32, False, workers), desc=name)
    return torch.cat([networks.mean_of_views(features_of, seen, "cpu") for seen, _ in batches])


def all_scores(
    network: nn.Module, config: ModelConfig, features: Tensor, neighbours: Memory
) -> Scores:
    """The scores (N,) of photos with `features` (N, D), by the name of the method."""
    logits = compute_logits(network, features).double() / config.temperature
    logits = neighbours(logits, features)
    scores = {
        method: known_score(method, logits, features) for method in KNOWN_METHODS if method != "knn"
    }
    for k in NEIGHBOURS:
        scores[f"knn, k = {k}"] = known_score("knn", logits, features, neighbours.features, k)
    return scores


def compare(known: dict[str, Scores], unknown: dict[str, Scores]) -> list[list[UnknownScores]]:
    """For each method its figures on validation and test; the threshold is validation's."""
    rows = []
    for method in known["validation"]:
        threshold = fit_known_threshold(known["validation"][method])
        rows.append(
            [
                measure_unknown(method, known[split][method], unknown[split][method], threshold)
                for split in SPLITS
            ]
        )
    return rows


def require_unseen(folder: Path) -> None:
    """Raises LandmarkError if the network in `folder` learned from the --unknown photos.

    Version 0.1 took two thirds of those in validation/ for outlier exposure.
    """
    path = folder / METRICS_NAME
    facts = json.loads(path.read_text(encoding="utf-8"))["training"] if path.is_file() else {}
    if any("--expose" in command for command in facts.get("commands", ())):
        raise LandmarkError(
            f"The network in {folder.name} is of version 0.1, which learned from validation photos "
            "of --unknown: they say nothing of it. Train it again, or see unknown.md of 0.1."
        )


def compare_network(folder: Path, options: argparse.Namespace) -> list[list[UnknownScores]]:
    """The rows of the network in `folder`."""
    require_unseen(folder)
    config = read_config(folder)
    network = networks.restore(config, folder)
    look = eval_transform(config)

    def features_of(root: Path) -> Tensor:
        name = f"{config.architecture}: {root.parent.name}/{root.name}"
        return compute_features(network, UnknownPhotos(root, look), name)

    memory = read_memory(config, folder)
    if memory is None:  # answers take none, but knn does, whatever the labels
        features = features_of(options.known / "train")
        memory = Memory.remember(features, torch.zeros(len(features)), len(config.class_names))
    known, unknown = (
        {split: all_scores(network, config, features_of(root / split), memory) for split in SPLITS}
        for root in (options.known, options.unknown)
    )
    return compare(known, unknown)


def table(title: str, rows: list[list[UnknownScores]]) -> str:
    """The rows as Markdown, the best by validation AUROC in bold."""
    best = max(rows, key=lambda row: row[0].auroc)
    lines = [f"\n## {title}\n", HEAD]
    for row in rows:
        mark = "**" if row is best else ""
        cells = [f"{mark}{row[0].method}{mark}"]
        cells += [cell for part in row for cell in (f"{part.auroc:.3f}", f"{part.fpr95:.1%}")]
        cells += [f"{row[1].kept:.1%}", f"{row[1].refused:.1%}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


HEAD = (
    "| score | validation AUROC | FPR95 | test AUROC | FPR95 | known kept | others refused |\n"
    "|---|---|---|---|---|---|---|"
)
ABOUT = """# None of these

Written by `python -m benchmarks.unknown {command}`. AUROC: the chance that a photo of a known
landmark scores higher than one of something else. FPR95: the share of other photos taken for known
landmarks where 95 % of the known are kept. The last two columns are test photos at the threshold
fitted on validation, as it ships. Best by validation AUROC in bold.
"""


def main(arguments: list[str] | None = None) -> None:
    """Compares the scores of every network and writes the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.unknown",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--known", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--unknown", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--model", type=Path, default=SHIPPED, help="default: what ships")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args(arguments)
    keep_freed_memory()
    command = f"--known {options.known.name} --unknown {options.unknown.name}"
    parts = [ABOUT.format(command=command)]
    try:
        for architecture, folder in networks_in(options.model).items():
            parts.append(table(architecture, compare_network(folder, options)))
    except LandmarkError as error:
        sys.exit(f"unknown.py: {error}")
    write_text(options.out / "unknown.md", "\n".join(parts) + "\n")
    print("\n".join(parts))


if __name__ == "__main__":
    main()
