"""Compares scores that tell photos of known landmarks from all others: unknown.md.

    python -m benchmarks.unknown --known world100 --unknown unknown

--known holds train/, validation/ and test/<class>/<photo>; --unknown validation/ and test/ photos
of anything else, in any folders. Choose by the validation columns; test is for the final figure.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from benchmarks.pages import command_line, make_parser, run, table
from landmark_model import networks
from landmark_model.calibration import fit_known_threshold, known_score
from landmark_model.config import read_config
from landmark_model.cores import usable_cores
from landmark_model.files import write_text
from landmark_model.hub.repo import SHIPPED, networks_in
from landmark_model.memory import Memory
from landmark_model.training.data import PhotoSet, make_batches, read_photos, seen_photos
from landmark_model.training.evaluate import compute_logits
from landmark_model.training.frozen import freeze
from landmark_model.training.known import FEWEST, Logits, linear_score
from landmark_model.training.metrics import UnknownScores, measure_unknown
from landmark_model.training.session import keep_freed_memory

PLAIN = ("max_softmax", "max_logit", "energy")
NEIGHBOURS = (1, 5, 10, 20)
SPLITS = ("validation", "test")
HEADS = ("score", "validation AUROC", "FPR95", "test AUROC", "FPR95", "known kept",
         "others refused")  # fmt: skip
ABOUT = """# None of these

Written by `{command}`. AUROC: the chance that a photo of a known landmark scores higher than one of
something else. FPR95: the share of other photos taken for known landmarks where 95 % of the known
are kept. The last two columns are test photos at the threshold fitted on validation, as it ships.
Best by validation AUROC in bold.
"""
Scores = dict[str, np.ndarray]


@torch.inference_mode()
def compute_features(
    features_of: Callable[[torch.Tensor], torch.Tensor], photos: PhotoSet, name: str
) -> np.ndarray:
    """Pooled features (N, D) of photos."""
    batches = tqdm(make_batches(photos, 32, False, min(2, usable_cores())), desc=name)
    parts = [networks.run_by_shape(features_of, seen, "cpu") for seen, _ in batches]
    return torch.cat(parts).numpy()


def all_scores(
    logits_of: Logits, features: dict[str, np.ndarray], memory: Memory
) -> dict[str, Scores]:
    """The scores (N,) of photos with `features` (N, D) by split, by the name of the method."""
    scores = {}
    for split, some in features.items():
        logits = logits_of(some)
        scores[split] = {name: known_score(name, logits, some) for name in PLAIN}
        for k in NEIGHBOURS:
            scores[split][f"knn, k = {k}"] = known_score("knn", logits, some, memory, k)
    return scores


def add_linear(
    logits_of: Logits,
    features: tuple[dict[str, np.ndarray], ...],
    scores: tuple[dict[str, Scores], ...],
) -> None:
    """Adds the head that is fitted to validation photos, if there are enough of either; its scores
    of these are cross-validated."""
    validation = [group["validation"] for group in features]
    if min(map(len, validation)) < FEWEST:
        return
    fitted = linear_score(logits_of, *validation)
    for group, found, own in zip(features, scores, (fitted.known, fitted.unknown), strict=True):
        found["validation"]["linear"] = own
        found["test"]["linear"] = fitted.of(logits_of(group["test"]), group["test"])


def compare(known: dict[str, Scores], unknown: dict[str, Scores]) -> list[list[UnknownScores]]:
    """For each method its figures on validation and test; the threshold is validation's."""
    rows = []
    for method in known["validation"]:
        threshold = fit_known_threshold(known["validation"][method])
        pairs = [(known[split][method], unknown[split][method]) for split in SPLITS]
        rows.append([measure_unknown(method, *pair, threshold) for pair in pairs])
    return rows


def compare_network(folder: Path, options: argparse.Namespace) -> list[list[UnknownScores]]:
    """The rows of the network in `folder`."""
    config = read_config(folder)
    network = networks.restore(config, folder)
    frozen = freeze(network, config, torch.device("cpu"))

    def features_of(root: Path) -> np.ndarray:
        name = f"{config.architecture}: {root.parent.name}/{root.name}"
        table, _ = read_photos(root, root, by_class=False)
        return compute_features(frozen, seen_photos(table, config), name)

    def logits_of(features: np.ndarray) -> np.ndarray:
        return compute_logits(network, features) / config.temperature

    memory = Memory.remember(features_of(options.known / "train"))
    features = tuple(
        {split: features_of(root / split) for split in SPLITS}
        for root in (options.known, options.unknown)
    )
    scores = tuple(all_scores(logits_of, group, memory) for group in features)
    add_linear(logits_of, features, scores)
    return compare(*scores)


def make_section(title: str, rows: list[list[UnknownScores]]) -> str:
    """The rows as Markdown, the best by validation AUROC in bold."""
    best = max(rows, key=lambda row: row[0].auroc)
    lines = []
    for row in rows:
        mark = "**" if row is best else ""
        figures = [cell for part in row for cell in (f"{part.auroc:.3f}", f"{part.fpr95:.1%}")]
        shares = [f"{row[1].kept:.1%}", f"{row[1].refused:.1%}"]
        lines.append([f"{mark}{row[0].method}{mark}", *figures, *shares])
    return f"\n## {title}\n\n{table(HEADS, lines)}"


def main(arguments: list[str] | None = None) -> None:
    """Compares the scores of every network and writes the tables."""
    parser = make_parser("unknown", __doc__)
    parser.add_argument("--known", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--unknown", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--model", type=Path, default=SHIPPED, help="default: what ships")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    parts = [ABOUT.format(command=command_line("unknown", arguments))]
    for architecture, folder in networks_in(options.model).items():
        parts.append(make_section(architecture, compare_network(folder, options)))
    write_text(options.out / "unknown.md", "\n".join(parts) + "\n")
    print("\n".join(parts))


if __name__ == "__main__":
    run(main)
