"""Landmarks that a network is taught from a few photos, without training.

A photo is compared by its features with the photos that were given, as speakers and faces are
verified from a few samples: features are whitened by the background, so that what all photos have
in common counts little (Hariharan et al. 2012, "Discriminative decorrelation for clustering and
classification"), and how near a photo must be is set for each landmark by what of the background
comes nearest to it (Auckenthaler et al. 2000, "Score normalization for text-independent speaker
verification systems").
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from landmark_model.background import Background
from landmark_model.errors import LandmarkError
from landmark_model.memory import products, unit_length
from landmark_model.places import Place

RANK = 128  # directions in which the background is whitened
ROUNDS = 3
SMOOTH = 0.1  # of the variance, spread evenly over all directions
NEAREST = 5  # photos of the background that say how common a photo is
HARDEST = 3  # photos of the background that come nearest to a landmark
MARGIN = 0.18  # above half of what these reach: 90 % precision on validation photos
FEWEST_TO_COMPARE, ODD = 3, 0.2  # chosen on validation photos: benchmarks/teach.py
STEEPNESS = 20.0  # of the probability, per cosine
MOST_PHOTOS, MOST_LANDMARKS = 100, 1000  # of a landmark; of a file
TRAIN = "To learn from more, train a network: see docs/training.md."


@dataclass(frozen=True, eq=False)
class Look:
    """How features are compared: whitened by a background, of which the photos are kept.

    Moved to `centre` (D,), features lose the share `shrink` (R,) along each row of `basis` (R, D).
    """

    centre: np.ndarray
    basis: np.ndarray
    shrink: np.ndarray
    others: np.ndarray  # (M, D), whitened

    @classmethod
    def at(cls, background: Background) -> Look:
        """The look of a background, whose strongest directions become as strong as the others."""
        centre = background.features.mean(0)
        moved = background.features - centre
        basis, values = _strongest(moved)
        floor = SMOOTH * np.einsum("md,md->", moved, moved) / moved.size
        shrink = 1 - np.sqrt(floor / ((1 - SMOOTH) * values + floor))
        look = cls(centre, basis, shrink.astype(np.float32), moved[:0])
        return replace(look, others=look.see(background.features))

    def see(self, features: np.ndarray) -> np.ndarray:
        """Features (N, D) whitened, of length one."""
        return unit_length(self.turn(unit_length(features) - self.centre))

    def turn(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors (N, D) with their parts along `basis` shrunk."""
        return vectors - (vectors @ self.basis.T * self.shrink) @ self.basis

    def commonness(self, seen: np.ndarray) -> np.ndarray:
        """The mean cosine (N,) of whitened features (N, D) with the nearest of the background."""
        return _mean_of_highest(products(seen, self.others), NEAREST)

    @cached_property
    def commonness_of_others(self) -> np.ndarray:
        """How common each photo (M,) of the background is beside the rest of it."""
        cosines = self.others @ self.others.T
        np.fill_diagonal(cosines, -1)
        return _mean_of_highest(cosines, NEAREST)


def _strongest(moved: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The directions (R, D) in which features (M, D), their mean at 0, vary most, and how much.

    By subspace iteration (Halko, Martinsson and Tropp 2011), in a third of an eigh's time.
    """
    rank = min(RANK, moved.shape[1], max(1, len(moved) - 1))
    spare = min(2 * rank, *moved.shape)
    basis = np.random.default_rng(0).normal(size=(moved.shape[1], spare)).astype(np.float32)
    for _ in range(ROUNDS):
        basis, _ = np.linalg.qr(moved.T @ (moved @ basis))
    _, spread, turns = np.linalg.svd(moved @ basis, full_matrices=False)
    return (turns[:rank] @ basis.T), (spread[:rank] ** 2 / len(moved))


def _mean_of_highest(values: np.ndarray, count: int) -> np.ndarray:
    """The mean (N,) of the `count` highest in each row of values (N, M)."""
    count = min(count, values.shape[1])
    return np.partition(values, -count, axis=1)[:, -count:].mean(1)


def _to_others(seen: np.ndarray) -> np.ndarray:
    """The cosine (N,) of each of some photos (N, D) with the mean of the others."""
    return np.einsum("nd,nd->n", seen, unit_length(seen.sum(0) - seen))


@dataclass(frozen=True, eq=False)
class Lessons:
    """The landmarks that were taught: their places, and features of the photos given for each.

    `features` are float32 (P, D) of length one, with the precision of float16, in which they are
    stored; `owners` (P,) say which of `places` a photo shows. Each place has a photo or more.
    """

    look: Look
    places: tuple[Place, ...]
    features: np.ndarray
    owners: np.ndarray

    @classmethod
    def none(cls, look: Look) -> Lessons:
        """No landmark yet."""
        width = len(look.centre)
        return cls(look, (), np.zeros((0, width), np.float32), np.zeros(0, np.int32))

    def __bool__(self) -> bool:
        return bool(self.places)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the landmarks, in order."""
        return tuple(place.name for place in self.places)

    def count(self, name: str) -> int:
        """How many photos a landmark was taught with; 0 if it was not."""
        return int((self.owners == self.names.index(name)).sum()) if name in self.names else 0

    def add(self, place: Place, features: np.ndarray) -> Lessons:
        """These and a landmark; where there is one of that name, features (n, D) are added to it.

        Its place is then replaced. Raises LandmarkError if there are too many landmarks or photos.
        """
        places = [*self.places]
        if place.name in self.names:
            places[self.names.index(place.name)] = place
        else:
            places.append(place)
        number = [one.name for one in places].index(place.name)
        count = self.count(place.name) + len(features)
        if count > MOST_PHOTOS:
            raise LandmarkError.because(
                "teach_many",
                "{count:,} photos of {name} are too many to teach: {limit} is the most. " + TRAIN,
                count=count,
                limit=MOST_PHOTOS,
                name=place.name,
            )
        if len(places) > MOST_LANDMARKS:
            raise LandmarkError(
                f"{MOST_LANDMARKS:,} landmarks are taught already, which is the most. Forget some, "
                "or train a network: see docs/training.md."
            )
        stored = unit_length(features).astype(np.float16).astype(np.float32)
        owners = np.concatenate([self.owners, np.full(len(stored), number, np.int32)])
        return Lessons(self.look, tuple(places), np.concatenate([self.features, stored]), owners)

    def remove(self, name: str) -> Lessons:
        """These without a landmark. Raises LandmarkError if there is none of that name."""
        if name not in self.names:
            known = ", ".join(self.names[:5]) or "none"
            raise LandmarkError(f"{name!r} was not taught. What was taught: {known}.")
        number = self.names.index(name)
        kept = self.owners != number
        owners = self.owners[kept] - (self.owners[kept] > number)
        places = tuple(place for place in self.places if place.name != name)
        return Lessons(self.look, places, self.features[kept], owners)

    @cached_property
    def _seen(self) -> np.ndarray:
        """The photos whitened (P, D)."""
        return self.look.see(self.features)

    @cached_property
    def centres(self) -> np.ndarray:
        """The mean of each landmark's whitened photos (T, D), of length one."""
        sums = np.zeros((len(self.places), self.features.shape[1]), np.float32)
        np.add.at(sums, self.owners, self._seen)
        return unit_length(sums)

    @cached_property
    def weights(self) -> np.ndarray:
        """What each feature adds to how near a photo is to each landmark (T, D)."""
        return self.look.turn(self.centres)  # which is symmetric

    @cached_property
    def _limits(self) -> np.ndarray:
        """How near a photo must be to each landmark (T,) to show it."""
        others = self.look.others
        nearness = self._nearness(others, self.look.commonness_of_others)
        return MARGIN + _mean_of_highest(nearness.T, HARDEST) / 2

    def unlike(self, name: str) -> int | None:
        """The number of the photo of a landmark, 0 the first, that looks unlike the others.

        It is nearer to the background than to any of these, or much less near to them than they
        are among themselves. None if there is no such photo, or fewer than three in all.
        """
        seen = self._seen[self.owners == self.names.index(name)]
        if len(seen) < FEWEST_TO_COMPARE:
            return None
        cosines = seen @ seen.T
        np.fill_diagonal(cosines, -1)
        apart = self.look.commonness(seen) - cosines.max(1)
        among = [_to_others(np.delete(seen, number, 0)).mean() for number in range(len(seen))]
        oddness = apart + (np.array(among) - _to_others(seen)) / 2
        odd = int(oddness.argmax())
        return odd if oddness[odd] > ODD else None

    def _nearness(self, seen: np.ndarray, commonness: np.ndarray) -> np.ndarray:
        """How near whitened features (N, D) are to each landmark (N, T): halfway between its mean
        photo and its nearest, less half of how common the photo is."""
        cosines = products(seen, self._seen)  # (N, P)
        order = np.argsort(self.owners, kind="stable")
        begins = np.searchsorted(self.owners[order], np.arange(len(self.places)))
        nearest = np.maximum.reduceat(cosines[:, order], begins, axis=1)
        return (products(seen, self.centres) + nearest) / 2 - commonness[:, None] / 2

    def logits(self, features: np.ndarray) -> np.ndarray:
        """The log-odds (N, T) that photos with features (N, D) show each landmark."""
        seen = self.look.see(features)
        near = self._nearness(seen, self.look.commonness(seen))
        return STEEPNESS * (near - self._limits)
