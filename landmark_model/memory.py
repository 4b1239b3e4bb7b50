"""The kNN memory: features of the training photos, which say how familiar a photo looks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MOST_NUMBERS = 100_000_000  # in one table of a memory: 0.4 GB
WIDTH = 0.03  # of the kernel, in cosine: photos further away than a few of it hardly count
PHOTOS_AT_ONCE = 1024


@dataclass(frozen=True, eq=False)
class Memory:
    """Training photos by their features, float32 (M, D) of length one, and their labels (M,)."""

    features: np.ndarray
    labels: np.ndarray
    class_count: int

    @staticmethod
    def has_room(photo_count: int, class_count: int, feature_count: int) -> bool:
        """Whether a memory of this many photos is small enough to load again."""
        return photo_count * max(class_count, feature_count) <= MOST_NUMBERS

    @classmethod
    def remember(cls, features: np.ndarray, labels: np.ndarray, class_count: int) -> Memory:
        """The memory of features (M, D), with the precision of float16, in which it is stored."""
        stored = unit_length(features).astype(np.float16)
        return cls(stored.astype(np.float32), labels, class_count)

    def distance(self, features: np.ndarray, k: int = 1) -> np.ndarray:
        """The distance (N,) of features (N, D), made length one, to the k-th nearest photo's."""
        lengths = np.einsum("md,md->m", self.features, self.features)
        parts = []
        for start in range(0, len(features), PHOTOS_AT_ONCE):  # each is compared with all of M
            part = unit_length(features[start : start + PHOTOS_AT_ONCE])
            squares = 1 + lengths - 2 * part @ self.features.T  # (N, M)
            nearest = np.partition(squares, min(k, len(lengths)) - 1, axis=1)
            parts.append(np.sqrt(np.maximum(nearest[:, min(k, len(lengths)) - 1], 0)))
        return np.concatenate(parts)

    def nearness(self, features: np.ndarray) -> np.ndarray:
        """How near each class is (N, C) to features (N, D): the log of the mean, over its photos,
        of exp(cosine / WIDTH) (a cache: Orhan 2018, "A simple cache model for image recognition").

        Networks trained until version 0.1 add this to their logits.
        """
        members = np.zeros((len(self.labels), self.class_count), np.float32)
        members[np.arange(len(self.labels)), self.labels] = 1
        members /= np.maximum(members.sum(0), 1)
        cosine = unit_length(features) @ self.features.T  # (N, D) -> (N, M)
        density = np.exp((cosine - 1) / WIDTH) @ members  # (N, M) -> (N, C)
        return WIDTH * np.log(np.maximum(density, 1e-30))


def unit_length(features: np.ndarray) -> np.ndarray:
    """Features (N, D) divided by their lengths, as float32."""
    features = features.astype(np.float32)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
