"""Measures trained networks anew, without training them.

    python -m landmark_model.training.remeasure --data world100 --unknown unknown runs/mine

For those that an earlier version measured, and to fit "none of these" to other photos. The weights
stay; temperature, threshold, scores, exports, pictures and card are written anew. --data is what a
network was trained with.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from landmark_model import networks
from landmark_model.config import LandmarkError, read_config
from landmark_model.hub.repo import METRICS_NAME, read_json
from landmark_model.training import data
from landmark_model.training.evaluate import Evaluation, evaluate
from landmark_model.training.fit import Epoch, Progress
from landmark_model.training.pipeline import seen_batches, summary, write_outputs
from landmark_model.training.session import open_session

BATCH_SIZE = 32


def remeasure(folder: Path, splits: data.Splits, unknown: data.Tables) -> Evaluation:
    """The measurements of the network in the run `folder`, whose files are written anew.

    Raises LandmarkError if `splits` are of other landmarks, or its files are not those of a run.
    """
    config = read_config(folder)
    if config.class_names != splits.class_names:
        raise LandmarkError(
            f"The photos are not of the {len(config.class_names)} landmarks that {folder} knows. "
            "Give the --data that it was trained with."
        )
    facts = read_json(folder / METRICS_NAME)["training"]
    progress = Progress([Epoch(**epoch) for epoch in facts["epochs"]], facts["best_epoch"])
    session, network = open_session(folder), networks.restore(config, folder)
    tables = {"validation": splits.validation, "test": splits.test, "memory": splits.train}
    others = {split: table for split, table in unknown.items() if split != "train"}
    known, unknown = (
        seen_batches(
            {split: data.seen_photos(table, config) for split, table in group.items()},
            BATCH_SIZE,
            session,
        )
        for group in (tables, others)
    )
    measured = evaluate(network, config, known, unknown, session.accelerator)
    write_outputs(network.cpu(), measured, facts, progress, folder)
    return measured


def main(arguments: list[str] | None = None) -> None:
    """Measures every folder that is named."""
    parser = argparse.ArgumentParser(
        prog="python -m landmark_model.training.remeasure",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="RUN", help="a run folder")
    parser.add_argument("--data", required=True, type=Path, metavar="FOLDER")
    parser.add_argument("--unknown", type=Path, metavar="FOLDER", help="photos of anything else")
    parser.add_argument("--seed", type=int, default=0, help="that of the training; default: 0")
    options = parser.parse_args(arguments)
    splits, _ = data.load_splits(options.data, options.seed)
    unknown = data.load_unknown(options.unknown, splits)[0] if options.unknown else {}
    for folder in options.folders:
        print(summary(remeasure(folder, splits, unknown), folder))


if __name__ == "__main__":
    try:
        main()
    except LandmarkError as error:
        sys.exit(f"remeasure: {error}")
