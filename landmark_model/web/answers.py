"""The API's answers as typed JSON."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
from PIL import Image

from landmark_model import Answer, Explanation, Prediction

GRID_CELLS = 32


class Guess(TypedDict):
    """One guess, in the requested language; place and the fields after it may be null."""

    name: str
    class_name: str
    probability: float
    place: str | None
    region: str | None
    country: str | None
    country_code: str | None
    latitude: float | None
    longitude: float | None
    local_name: str | None
    tags: list[str]


class PhotoAnswer(TypedDict):
    """The guesses for one photo, best first.

    `is_known` is false where it shows none of the landmarks, null if there is no threshold;
    `score` is the known-landmark score, higher looks more like one. `model` is what answered.
    """

    guesses: list[Guess]
    is_known: bool | None
    score: float
    model: str


class BatchRow(TypedDict):
    """One photo of several: its answer, or null and the reason why it could not be used."""

    file: str
    answer: PhotoAnswer | None
    reason: str


class Where(TypedDict):
    """What convinces it of a landmark in a photo of `width` x `height` px, turned upright.

    `box` is [left, top, right, bottom] in px. `heatmap` are rows of a grid over all of the photo,
    0 where least and 1 where most speaks for the landmark; `mask_share` is the share marked by it.
    """

    name: str
    class_name: str
    width: int
    height: int
    box: list[int]
    mask_share: float
    heatmap: list[list[float]]


def guess_json(guess: Prediction) -> Guess:
    """A guess as JSON."""
    return Guess(
        name=guess.label,
        class_name=guess.class_name,
        probability=round(guess.probability, 6),
        place=guess.place,
        region=guess.region,
        country=guess.country,
        country_code=guess.country_code,
        latitude=guess.latitude,
        longitude=guess.longitude,
        local_name=guess.local_name,
        tags=list(guess.tags),
    )


def answer_json(answer: Answer, model: str) -> PhotoAnswer:
    """An answer as JSON; `model` is the stamp of what gave it."""
    return PhotoAnswer(
        guesses=[guess_json(guess) for guess in answer],
        is_known=answer.is_known,
        score=round(answer.score, 6),
        model=model,
    )


def where_json(found: Explanation, name: str, size: tuple[int, int]) -> Where:
    """An explanation as JSON, its heatmap (H, W) on a grid of at most 32 cells a side.

    `size` is the width and height in px of the photo that the explained one may be a copy of.
    """
    height, width = found.heatmap.shape
    scales = (size[0] / width, size[1] / height) * 2
    grid = Image.fromarray(found.heatmap)
    grid.thumbnail((GRID_CELLS, GRID_CELLS), Image.Resampling.BOX, reducing_gap=None)
    return Where(
        name=name,
        class_name=found.class_name,
        width=size[0],
        height=size[1],
        box=[round(side * scale) for side, scale in zip(found.box, scales, strict=True)],
        mask_share=round(float(found.mask.mean()), 4),
        heatmap=np.asarray(grid).round(3).clip(0, 1).astype(float).tolist(),
    )
