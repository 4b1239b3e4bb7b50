"""The named endpoints, for programs and for MCP clients; the docstrings are their documentation."""

# No `from __future__ import annotations`: gradio reads return types as they stand, and describes
# answers whose type is a text as "Any".
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gradio as gr

from landmark_model import LandmarkError, tag_photos
from webapp.answers import BatchRow, Guess, PhotoAnswer, Where, answer_json, guess_json, where_json
from webapp.models import Models
from webapp.page_many import MOST_PHOTOS
from webapp.words import LANGUAGES

MOST_GUESSES = 50


@contextmanager
def told() -> Iterator[None]:
    """Lets callers read what was wrong with what they sent."""
    try:
        yield
    except LandmarkError as error:
        raise gr.Error(str(error), print_exception=False) from error


def path_of(photo: dict | None) -> Path:
    """The file of a photo as gradio hands it over; raises LandmarkError where there is none."""
    if not isinstance(photo, dict) or not photo.get("path"):
        raise LandmarkError("There is no photo. Upload one, and give its path.")
    return Path(photo["path"])


def name_of(photo: dict) -> str:
    """What a photo was called where it came from."""
    return photo.get("orig_name") or path_of(photo).name


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
            language: of names, places and tags: en, es, fr, de or zh
        """
        with told():
            self._check(language, top_k)
            network = network or self.models.default
            answer = self.models.pick(network).predict(path_of(photo), top_k=top_k)
            return answer_json(answer.in_language(language), self.models.stamp(network))

    def predict_batch(
        self, photos: list[gr.FileData], network: str = "", top_k: int = 5, language: str = "en"
    ) -> list[BatchRow]:
        """Says which landmarks several photos show; a broken one has a reason in place of guesses.

        Args:
            photos: up to 200 photos
            network: which network answers; "" for the best
            top_k: how many guesses for each, 1 to 50
            language: of names, places and tags: en, es, fr, de or zh
        """
        with told():
            self._check(language, top_k)
            if not 1 <= len(photos) <= MOST_PHOTOS:
                raise LandmarkError(f"{len(photos)} photos; give 1 to {MOST_PHOTOS} at once.")
            network = network or self.models.default
            stamp = self.models.stamp(network)
            named = [(name_of(photo), path_of(photo)) for photo in photos]
            tagged = tag_photos(self.models.pick(network), named, top_k, language=language)
            return [
                BatchRow(
                    file=row.file,
                    answer=row.answer and answer_json(row.answer, stamp),
                    reason=row.reason,
                )
                for row in tagged
            ]

    def explain(
        self, photo: gr.FileData, class_name: str = "", network: str = "", language: str = "en"
    ) -> Where:
        """Says where in a photo a landmark is: a box in px, and a coarse heatmap.

        Args:
            photo: the photo: JPEG, PNG, WebP, HEIC, AVIF, TIFF, GIF or BMP
            class_name: the landmark to look for, as /landmarks names it; "" for the likeliest
            network: which network answers; "" for the best
            language: of the name: en, es, fr, de or zh
        """
        with told():
            self._check(language)
            tagger = self.models.pick(network)
            found = tagger.explain(path_of(photo), class_name or None)
            return where_json(found, tagger.describe(found.class_name).name_in(language))

    def landmarks(self, network: str = "", language: str = "en") -> list[Guess]:
        """Lists the landmarks that a network knows, with where they are; probability is 1 for each.

        Args:
            network: which network; "" for the best
            language: of names, places and tags: en, es, fr, de or zh
        """
        with told():
            self._check(language)
            landmarks = self.models.landmarks(network)
            return [guess_json(landmark.in_language(language)) for landmark in landmarks]

    def _check(self, language: str, top_k: int = 1) -> None:
        if language not in LANGUAGES:
            raise LandmarkError(f"language is {language!r}. Use one of {', '.join(LANGUAGES)}.")
        if not isinstance(top_k, int) or not 1 <= top_k <= MOST_GUESSES:
            raise LandmarkError(f"top_k is {top_k!r}. Use a whole number, 1 to {MOST_GUESSES}.")


def api(models: Models) -> None:
    """Adds the endpoints to the page."""
    endpoints = Endpoints(models)
    for name in ("predict", "explain", "landmarks"):
        gr.api(getattr(endpoints, name), api_name=name, concurrency_id="model")
    gr.api(
        endpoints.predict_batch,
        api_name="predict_batch",
        concurrency_id="many",
        concurrency_limit=1,
    )
