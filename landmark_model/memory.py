"""The kNN memory: features of the training photos, which say how familiar a photo looks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

MOST_NUMBERS = 100_000_000  # in the table of features: 0.4 GB
MOST_PAIRS = 8_000_000  # of photos, compared at once
FEW_PRODUCTS = 100_000_000


@dataclass(frozen=True, eq=False)
class Memory:
    """Training photos by their features, float32 (M, D) of length one."""

    features: np.ndarray

    @staticmethod
    def has_room(photo_count: int, feature_count: int) -> bool:
        """Whether a memory of this many photos is small enough to load again."""
        return photo_count * feature_count <= MOST_NUMBERS

    @classmethod
    def remember(cls, features: np.ndarray) -> Memory:
        """The memory of features (M, D), with the precision of float16, in which it is stored."""
        stored = unit_length(features).astype(np.float16)
        return cls(stored.astype(np.float32))

    @cached_property
    def _squares(self) -> np.ndarray:
        """The squared length (M,) of each photo: float16 does not keep it at exactly one."""
        return np.einsum("md,md->m", self.features, self.features)

    def _cosines(self, features: np.ndarray) -> Iterator[np.ndarray]:
        """The cosines (n, M) of features (N, D) with all photos, for a few of N at a time."""
        step = max(1, MOST_PAIRS // len(self.features))
        for start in range(0, len(features), step):
            yield products(unit_length(features[start : start + step]), self.features)

    def distance(self, features: np.ndarray, k: int = 1) -> np.ndarray:
        """The distance (N,) of features (N, D), made length one, to the k-th nearest photo's."""
        parts, rank = [], min(k, len(self.features)) - 1
        for cosines in self._cosines(features):
            squares = self._squares - 2 * cosines  # (n, M), less the photo's own length: one
            nearest = np.partition(squares, rank, axis=1)[:, rank] if rank else squares.min(1)
            parts.append(np.sqrt(np.maximum(1 + nearest, 0)))
        return np.concatenate(parts)


def products(features: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The scalar products (N, M) of features (N, D) and (M, D)."""
    # For a few photos without BLAS: its threads wait busily for more, for tens of milliseconds in
    # which the network then has fewer cores.
    few = len(features) * others.size < FEW_PRODUCTS
    return np.einsum("nd,md->nm", features, others) if few else features @ others.T


def unit_length(features: np.ndarray) -> np.ndarray:
    """Features (N, D) divided by their lengths, as float32."""
    features = features.astype(np.float32)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
