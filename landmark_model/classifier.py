"""The front door: `load` returns a classifier that names the landmark in any photo."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypedDict, Unpack

import numpy as np
from PIL.Image import Image

from landmark_model.calibration import Reference, known_score, softmax
from landmark_model.config import LandmarkError, read_config, require_counts
from landmark_model.explain import Explanation, locate_heat, surest_class
from landmark_model.hub.repo import best_first, find, locate, read_reference
from landmark_model.photos import Photo, open_reduced
from landmark_model.places import find_place
from landmark_model.prediction import Answer, Prediction
from landmark_model.preprocess import fewest_pixels
from landmark_model.runtime import Runtime, open_runtime

SURE = 0.7


class HubCache(TypedDict, total=False):
    """Where files of a hub repo are kept, and whether the hub may be asked for more."""

    cache_dir: str | os.PathLike[str] | None
    local_files_only: bool


class LandmarkClassifier:
    """A trained network with its own labels and preprocessing; made by `load`.

    `reference` is what its score for "none of these" needs besides, if anything.
    """

    def __init__(self, runtime: Runtime, reference: Reference = None) -> None:
        self.config = config = runtime.config
        self._runtime, self._reference = runtime, reference
        self._places = [find_place(name) for name in config.class_names]

    def __repr__(self) -> str:
        return (
            f"LandmarkClassifier({self.config.architecture}, "
            f"{len(self.config.class_names)} landmarks, {self.device})"
        )

    @property
    def device(self) -> str:
        """The device the network runs on, by torch's name."""
        return self._runtime.device

    @property
    def fewest_pixels(self) -> int:
        """How many pixels of a photo are enough: a smaller copy that has as many, in its middle up
        to 2:1, is answered and explained alike."""
        return fewest_pixels(self.config)

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the landmarks it knows, as people read them."""
        return self.config.labels

    def predict(self, photo: Photo, top_k: int = 5) -> Answer:
        """The `top_k` most probable landmarks of one photo, best first; all, if there are fewer.

        The answer is a list of them that also says whether the photo shows any known landmark.
        `photo` is a path, bytes, binary file object, PIL image or uint8 array (H, W, 3). Raises
        LandmarkError if it cannot be read, or `top_k` is no whole number from 1.
        """
        require_counts(top_k, 1)
        return self._answer([self._open(photo)], top_k)[0]

    def predict_batch(
        self,
        photos: Iterable[Photo],
        top_k: int = 5,
        batch_size: int | None = None,
        errors: str = "raise",
    ) -> list[Answer | LandmarkError]:
        """`predict` for each of `photos`, with one forward pass for every `batch_size` of them.

        Without `batch_size`, by as many as suit the device. Where a photo cannot be read, raises
        its LandmarkError, which names it; with errors="skip" that stands in its place instead.
        """
        if errors not in ("raise", "skip"):
            raise LandmarkError(f"errors is {errors!r}. Use 'raise' or 'skip'.")
        if isinstance(photos, str | bytes | os.PathLike) or not isinstance(photos, Iterable):
            raise LandmarkError("predict_batch takes a list of photos; for one, call predict.")
        photos = list(photos)
        if batch_size is None:
            batch_size = self._runtime.batch_size
        require_counts(top_k, batch_size)
        opened = partial(self._open, keep_error=errors == "skip")
        answers: list[Answer | LandmarkError] = []
        with ThreadPoolExecutor(1) as pool:  # opens photos while the network looks at those before
            looking = []
            for start in range(0, len(photos), batch_size):
                images = [*map(opened, photos[start : start + batch_size])]
                answers += [answer for done in looking for answer in done.result()]
                looking = [pool.submit(self._answer, images, top_k)]
            return answers + [answer for done in looking for answer in done.result()]

    def describe(self, class_name: str, probability: float = 1.0) -> Prediction:
        """The facts about a landmark as `predict` gives them: its place, names and tags.

        Raises LandmarkError if `class_name` is not in `config.class_names`.
        """
        if class_name not in self.config.class_names:
            raise self._no_such(class_name)
        return self._prediction(self.config.class_names.index(class_name), probability)

    def explain(self, photo: Photo, class_name: str | None = None) -> Explanation:
        """What in `photo` convinces it of the landmark: heatmap and mask (H, W), and a box in px.

        `photo` is anything that `predict` takes; H and W are its sides when upright, as
        `open_photo` gives it. It looks at all of the photo, also where `predict` sees no more than
        its centre square. `class_name` is the landmark to look for, also by its label ("Big Ben").
        Without, it is the first guess
        of `predict` if that has a probability of 0.7 or more, else what the network is surest of in
        any part of the photo as large as half its shorter side.

        The heat is exactly what each place adds to the landmark's logit (Zhou et al. 2016) above
        the mean of all landmarks' logits. Raises
        LandmarkError if the photo cannot be read, it knows no such landmark, or the network is not
        made so.
        """
        names = self.config.class_names
        if class_name in self.labels and class_name not in names:
            class_name = names[self.labels.index(class_name)]
        if class_name is not None and class_name not in names:
            raise self._no_such(class_name)
        upright, size = open_reduced(photo, self.fewest_pixels)
        with np.errstate(over="ignore", invalid="ignore"):
            activations, cell_px = self._runtime.activations(upright)  # (C, h, w)
        if not np.isfinite(activations).all():
            raise self._no_numbers()
        if class_name is None:
            class_name = self._class_to_explain(upright, activations, cell_px)
        index = names.index(class_name)
        # A softmax cannot tell what all landmarks have in common; sky, for one, excites them all.
        heat = activations[index] - activations.mean(0)
        return Explanation(*locate_heat(heat, size), self.labels[index], class_name)

    def _no_such(self, class_name: str) -> LandmarkError:
        names = self.config.class_names
        return LandmarkError(
            f"There is no landmark {class_name!r} here. Give one of config.class_names: "
            f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
        )

    def _no_numbers(self) -> LandmarkError:
        return LandmarkError(
            f"The network {self.config.architecture} gives no finite numbers for this photo: its "
            "weights are damaged. Copy the whole folder again, or train it again."
        )

    def _class_to_explain(self, upright: Image, activations: np.ndarray, cell_px: float) -> str:
        best = self.predict(upright, top_k=1)[0]
        if best.probability >= SURE:
            return best.class_name
        side_cells = max(1, round(self.config.image_size / cell_px))
        index = surest_class(
            activations, self._runtime.trunk.bias, side_cells, self.config.temperature
        )
        return self.config.class_names[index]

    def _open(self, photo: Photo, keep_error: bool = False) -> Image | LandmarkError:
        try:
            return open_reduced(photo, self.fewest_pixels).image
        except LandmarkError as error:
            if not keep_error:
                raise
            return error

    def _answer(
        self, opened: Sequence[Image | LandmarkError], top_k: int
    ) -> list[Answer | LandmarkError]:
        """The answer for each photo, and each error as it is."""
        images = [image for image in opened if not isinstance(image, LandmarkError)]
        answers = iter(self._look(images, top_k) if images else ())
        return [one if isinstance(one, LandmarkError) else next(answers) for one in opened]

    def _look(self, images: Sequence[Image], top_k: int) -> list[Answer]:
        config = self.config
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused
            logits, features = self._runtime.describe(images)
            scaled = logits.astype(np.float64) / config.temperature
            scores = known_score(config.known_method, scaled, features, self._reference)
        if not (np.isfinite(scaled).all() and np.isfinite(scores).all()):
            raise self._no_numbers()
        least = config.known_threshold
        return [
            Answer(self._best(row, top_k), score, None if least is None else score >= least)
            for row, score in zip(softmax(scaled), scores.tolist(), strict=True)
        ]

    def _best(self, probabilities: np.ndarray, top_k: int) -> list[Prediction]:
        ranked = np.argsort(-probabilities, kind="stable")[:top_k]
        return [self._prediction(index, float(probabilities[index])) for index in ranked.tolist()]

    def _prediction(self, index: int, probability: float) -> Prediction:
        return Prediction(
            self.config.labels[index],
            self.config.class_names[index],
            probability,
            self._places[index],
        )


def load(
    source: str | os.PathLike[str] | None = None,
    *,
    revision: str | None = None,
    network: str | None = None,
    device: str | None = None,
    backend: str | None = None,
    **cache: Unpack[HubCache],
) -> LandmarkClassifier:
    """A classifier that is ready to use: the one that ships, or one from a folder or hub repo.

    `source` is a run folder or a hub repo ("org/name", at `revision`: a tag,
    branch or commit). `network` chooses among several in it ("resnet18", "landmark_cnn"); without,
    the one that knows most landmarks; among equals, the best. `device` is torch's name ("cpu",
    "cuda"); without, a GPU if torch is installed and finds one. `backend` is "onnx", which is ONNX
    Runtime and the default on a CPU, or "torch".

    Of a hub repo only what this network needs is downloaded, to the folder `cache_dir` (else the
    hub's usual one), and checked against its SHA256SUMS. What was downloaded before also works
    without a network, with a warning; with `local_files_only=True` nothing is asked of the hub.

    Weights are read from safetensors only. Raises LandmarkError if there is no such folder,
    repo, network or device, a file is damaged, or weights and config do not fit.
    """
    folder = find(source, network, revision=revision, **cache)
    config = read_config(folder)
    runtime = open_runtime(config, folder, device, backend)
    return LandmarkClassifier(runtime, read_reference(config, folder, runtime.feature_count))


def list_networks(
    source: str | os.PathLike[str] | None = None,
    *,
    revision: str | None = None,
    **cache: Unpack[HubCache],
) -> list[str]:
    """The networks that `load` finds in `source`, its default first.

    `revision`, `cache_dir` and `local_files_only` are as for `load`. Raises LandmarkError if there
    is no such folder or repo, or no network in it.
    """
    return list(best_first(locate(source, revision, **cache)))
