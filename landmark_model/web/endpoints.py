"""The named endpoints, for programs and for MCP clients; the docstrings are their documentation."""

# No `from __future__ import annotations`: gradio reads return types as they stand, and describes
# answers whose type is a text as "Any".
import time
from itertools import takewhile
from pathlib import Path

import gradio as gr

from landmark_model import LandmarkError, OpenedPhoto, Tagged, tag_photos
from landmark_model.web.answers import (
    BatchRow,
    Guess,
    PhotoAnswer,
    Where,
    answer_json,
    guess_json,
    where_json,
)
from landmark_model.web.fair_queue import MANY_AT_ONCE
from landmark_model.web.i18n import LANGUAGES
from landmark_model.web.models import Models
from landmark_model.web.overlay import SIDE_PX
from landmark_model.web.uploads import MAX_PHOTOS, open_upload

MOST_GUESSES = 50
MOST_SECONDS = 120  # for a batch
LATE = "There was no time left for this photo. Send fewer photos at once."


def opened(photo: object, fewest_pixels: int) -> OpenedPhoto:
    """A photo as gradio hands its file over; raises LandmarkError if it cannot be read."""
    if not isinstance(photo, dict) or not photo.get("path"):
        raise LandmarkError("There is no photo. Upload one, and give its path.")
    return open_upload(photo["path"], fewest_pixels)


def named(photos: object) -> list[tuple[str, Path]]:
    """Name and file of each photo of a batch; raises LandmarkError if it is no list of them."""
    if not isinstance(photos, list) or not 1 <= len(photos) <= MAX_PHOTOS:
        raise LandmarkError(f"photos must be a list of 1 to {MAX_PHOTOS} uploads.")
    if not all(isinstance(photo, dict) and photo.get("path") for photo in photos):
        raise LandmarkError("One of the photos is missing. Upload each one, and give its path.")
    return [(photo.get("orig_name") or "photo", Path(photo["path"])) for photo in photos]


def batch_row(name: str, row: Tagged | None, stamp: str) -> BatchRow:
    """A photo of a batch as JSON; without a row, time ran out before it."""
    answer = answer_json(row.answer, stamp) if row and row.answer else None
    return BatchRow(file=name, answer=answer, reason=row.reason if row else LATE)


class Endpoints:
    """The functions behind the endpoints."""

    def __init__(self, models: Models) -> None:
        self.models = models

    def predict(
        self, photo: gr.FileData, network: str = "", top_k: int = 5, language: str = "en"
    ) -> PhotoAnswer:
        """Says which landmark a photo shows, where that is, and how sure that is.

        Args:
            photo: the photo: JPEG, PNG, WebP, HEIC, AVIF, TIFF, GIF or BMP
            network: which network answers; "" for the best
            top_k: how many guesses, 1 to 50
            language: language of names, places and tags: en, es, fr, de or zh
        """
        self._check(network, language, top_k)
        tagger = self.models.pick(network)
        answer = tagger.predict(opened(photo, tagger.fewest_pixels).image, top_k=top_k)
        return answer_json(answer.in_language(language), self.models.stamp(network))

    def predict_batch(
        self, photos: list[gr.FileData], network: str = "", top_k: int = 5, language: str = "en"
    ) -> list[BatchRow]:
        """Says which landmarks several photos show; a broken one has a reason instead of guesses.

        Args:
            photos: up to 200 photos
            network: which network answers; "" for the best
            top_k: how many guesses for each, 1 to 50
            language: language of names, places and tags: en, es, fr, de or zh
        """
        self._check(network, language, top_k)
        wanted, stamp = named(photos), self.models.stamp(network)
        once = {path: name for name, path in wanted}  # a photo that is named twice is read once
        tagger, end = self.models.pick(network), time.monotonic() + MOST_SECONDS
        tagged = tag_photos(tagger, [(n, p) for p, n in once.items()], top_k, 1, language=language)
        rows = dict(zip(once, takewhile(lambda _: time.monotonic() < end, tagged), strict=False))
        return [batch_row(name, rows.get(path), stamp) for name, path in wanted]

    def explain(
        self, photo: gr.FileData, class_name: str = "", network: str = "", language: str = "en"
    ) -> Where:
        """Says what in a photo convinces it of a landmark: a box in px, and a coarse heatmap.

        Args:
            photo: the photo: JPEG, PNG, WebP, HEIC, AVIF, TIFF, GIF or BMP
            class_name: the landmark to look for, as /landmarks names it; "" for the likeliest
            network: which network answers; "" for the best
            language: language of the name: en, es, fr, de or zh
        """
        self._check(network, language)
        tagger = self.models.pick(network)
        if class_name and class_name not in tagger.config.class_names:
            raise LandmarkError("class_name is not a known landmark. /landmarks lists them.")
        seen = opened(photo, SIDE_PX**2)
        found = tagger.explain(seen.image, class_name or None)
        return where_json(found, tagger.describe(found.class_name).name_in(language), seen.size)

    def landmarks(self, network: str = "", language: str = "en") -> list[Guess]:
        """Lists the landmarks that a network knows, with where they are; probability is 1 for each.

        Args:
            network: which network; "" for the best
            language: language of names, places and tags: en, es, fr, de or zh
        """
        self._check(network, language)
        landmarks = self.models.landmarks(network)
        return [guess_json(landmark.in_language(language)) for landmark in landmarks]

    def _check(self, network: object, language: object, top_k: object = 1) -> None:
        """Raises LandmarkError for invalid settings, without repeating what was sent."""
        self.models.pick(network)
        if not isinstance(language, str) or language not in LANGUAGES:
            raise LandmarkError(f"language must be one of {', '.join(LANGUAGES)}.")
        if type(top_k) is not int or not 1 <= top_k <= MOST_GUESSES:
            raise LandmarkError(f"top_k must be a whole number, 1 to {MOST_GUESSES}.")


def api(models: Models) -> None:
    """Adds the endpoints to the page."""
    endpoints = Endpoints(models)
    for name in ("predict", "explain", "landmarks"):
        gr.api(getattr(endpoints, name), api_name=name, concurrency_id="model")
    many = {"concurrency_id": "many", "concurrency_limit": MANY_AT_ONCE}
    gr.api(endpoints.predict_batch, api_name="predict_batch", **many)
