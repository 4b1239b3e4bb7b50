"""Makes the background of networks that are trained already, so that they can be taught landmarks.

    python -m landmark_model.training.held_out --data world100 --unknown unknown runs/mine

--data and --unknown are the folders that the network was trained with: their validation photos, and
no others, are looked at, and background.safetensors is written into each run folder.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from landmark_model import networks
from landmark_model.background import BACKGROUND_NAME, Background
from landmark_model.config import LandmarkError, ModelConfig, read_config
from landmark_model.files import staged
from landmark_model.hub.repo import CHECKSUMS_NAME, write_checksums
from landmark_model.training.data import SeenPhotos, Table, load_splits, load_unknown, make_batches
from landmark_model.training.frozen import freeze

BATCH_SIZE = 32


@torch.inference_mode()
def compute_features(config: ModelConfig, folder: Path, table: Table) -> np.ndarray:
    """Features (N, D) of the photos in `table`, by the network in `folder`."""
    frozen = freeze(networks.restore(config, folder), config, torch.device("cpu"))
    mean = partial(networks.mean_of_views, frozen, device="cpu")
    batches = make_batches(SeenPhotos(table, config), BATCH_SIZE, False, 0)
    return torch.cat([mean(seen) for seen, _ in tqdm(batches, desc=config.title)]).numpy()


def make_background(folder: Path, known: Table, unknown: Table | None) -> Background:
    """The background of the network in `folder`, from tables of validation photos."""
    config = read_config(folder)
    others = None if unknown is None else compute_features(config, folder, unknown)
    return Background.choose(compute_features(config, folder, known), others)


def main(arguments: list[str] | None = None) -> None:
    """Writes the background of every folder that is named."""
    parser = argparse.ArgumentParser(
        prog="python -m landmark_model.training.held_out",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--data", required=True, type=Path, metavar="FOLDER")
    parser.add_argument("--unknown", type=Path, metavar="FOLDER")
    parser.add_argument("--seed", type=int, default=0, help="that of the training; default: 0")
    options = parser.parse_args(arguments)
    splits, _ = load_splits(options.data, options.seed)
    unknown = load_unknown(options.unknown, splits)[0] if options.unknown else {}
    for folder in options.folders:
        background = make_background(folder, splits.validation, unknown.get("validation"))
        with staged(folder) as scratch:
            (scratch / BACKGROUND_NAME).write_bytes(background.to_bytes())
        if (folder / CHECKSUMS_NAME).is_file():
            write_checksums(folder)
        print(f"{folder}: {len(background.features)} photos in {BACKGROUND_NAME}")


if __name__ == "__main__":
    try:
        main()
    except LandmarkError as error:
        sys.exit(f"held_out: {error}")
