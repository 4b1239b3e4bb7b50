"""Held-out photos by their features: what a landmark that is taught must not be mistaken for.

A network has fitted its training photos, so these are others: photos of its landmarks, and of
anything else, that it did not learn from.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save as serialise

from landmark_model.errors import LandmarkError
from landmark_model.memory import unit_length
from landmark_model.tensors import read_claims, read_tensors

BACKGROUND_NAME = "background.safetensors"
MOST_PHOTOS = 1500  # that are kept: of 1,280 features, 1.9 MB
MOST_READ = 10_000  # of a file that others made
STEPS = 127  # of int8, for the largest feature of a photo
NO_TABLE = "its features are not a table of whole numbers, with one scale for each photo"


@dataclass(frozen=True, eq=False)
class Background:
    """Photos that a network did not learn from: features, float32 (M, D) of length one."""

    features: np.ndarray

    @classmethod
    def choose(cls, known: np.ndarray, unknown: np.ndarray | None, seed: int = 0) -> Background:
        """A background of features (N, D) of known photos and (M, D) of others, if there are any.

        Of many, as many of either kind as fit, drawn by `seed`.
        """
        random, half = np.random.default_rng(seed), MOST_PHOTOS // 2
        count = 0 if unknown is None else len(unknown)
        room = MOST_PHOTOS - min(half, count)
        groups = [(known, room)] + ([(unknown, max(half, MOST_PHOTOS - len(known)))] * bool(count))
        drawn = [group[np.sort(random.permutation(len(group))[:most])] for group, most in groups]
        return cls(unit_length(np.concatenate(drawn)))

    def to_bytes(self) -> bytes:
        """The content of background.safetensors: int8 (M, D), and a scale (M,) of each photo."""
        scales = np.maximum(np.abs(self.features).max(1), 1e-12) / STEPS
        stored = np.round(self.features / scales[:, None]).astype(np.int8)
        return serialise({"features": stored, "scales": scales.astype(np.float32)})


def read_background(folder: Path, feature_count: int | None) -> Background:
    """The background in `folder`, of a network with that many features.

    Raises LandmarkError if it is missing, damaged, or of another network.
    """
    path = folder / BACKGROUND_NAME
    if not path.is_file():
        raise LandmarkError(
            f"{folder.name} has no {BACKGROUND_NAME}, which teaching needs: features of photos "
            "that the network did not learn from. Make it from the photos it was trained with: "
            "python -m landmark_model.training.remeasure --data FOLDER --unknown FOLDER "
            f"{folder.name}"
        )
    claims = read_claims(path)
    _require(claims.keys() == {"features", "scales"}, path, f"it holds {sorted(claims)[:5]}")
    features, scales = claims["features"], claims["scales"]
    is_table = features.kind == "I8" and len(features.shape) == 2 and 0 not in features.shape
    fits = is_table and scales.is_float and scales.shape == features.shape[:1]
    _require(fits, path, NO_TABLE)
    _require(features.shape[0] <= MOST_READ, path, f"it has more than {MOST_READ:,} photos")
    fits = feature_count == features.shape[1]
    _require(fits, path, f"it does not have {feature_count} features for each photo")
    stored = read_tensors(path)
    found = stored["features"].astype(np.float32) * stored["scales"][:, None]
    lengths = np.einsum("md,md->m", found, found)
    _require(((lengths > 0.9) & (lengths < 1.1)).all(), path, "its photos are not of length 1")
    return Background(unit_length(found))


def _require(kept: object, path: Path, problem: str) -> None:
    """Raises LandmarkError, saying the problem, unless `kept`."""
    if not kept:
        raise LandmarkError(
            f"{path.name} and the network in {path.parent.name} do not belong together: {problem}. "
            "Use both from one training run."
        )
