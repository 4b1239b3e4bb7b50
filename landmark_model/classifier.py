"""The front door: `load` returns a classifier that names the landmark in any photo."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np
from PIL.Image import Image

from landmark_model.background import BACKGROUND_NAME, read_background
from landmark_model.calibration import Reference, known_score, softmax
from landmark_model.config import LandmarkError, read_config, require_counts
from landmark_model.cores import usable_cores
from landmark_model.explain import Explanation, locate_heat, surest_class
from landmark_model.hub.repo import best_first, find, locate, read_reference
from landmark_model.photos import Photo, name_of, open_reduced
from landmark_model.places import Place, find_place, fold
from landmark_model.prediction import Answer, Prediction
from landmark_model.preprocess import fewest_pixels
from landmark_model.runtime import Runtime, open_runtime
from landmark_model.taught import Whereabouts, make_place, read_taught, write_taught
from landmark_model.teaching import MOST_PHOTOS, TRAIN, Lessons, Look

SURE = 0.7


class HubCache(TypedDict, total=False):
    """Where files of a hub repo are kept, and whether the hub may be asked for more."""

    cache_dir: str | os.PathLike[str] | None
    local_files_only: bool


class Yardstick:
    """What landmarks are taught by, made when first asked for; copies of a classifier share it.

    `folder` is where the network's background is.
    """

    def __init__(self, runtime: Runtime, folder: Path | None) -> None:
        self._runtime, self._folder, self._turn = runtime, folder, threading.Lock()
        self._look: Look | None = None

    @property
    def stamp(self) -> str:
        """Identifies the network."""
        return self._runtime.stamp

    def look(self) -> Look:
        """How photos are compared. Raises LandmarkError if the network cannot be taught."""
        if self._folder is None:
            raise LandmarkError(
                f"This classifier has no {BACKGROUND_NAME}, which teaching needs. Use load."
            )
        with self._turn:
            if self._look is None:
                count = self._runtime.feature_count
                self._look = Look.at(read_background(self._folder, count))
            return self._look


class LandmarkClassifier:
    """A trained network with its own labels and preprocessing; made by `load`.

    `reference` is what its score for "none of these" needs besides, if anything; `folder` where the
    network is, which `teach` reads its background from. `copy.copy` gives one that is taught apart.
    """

    def __init__(
        self, runtime: Runtime, reference: Reference = None, folder: Path | None = None
    ) -> None:
        self.config = config = runtime.config
        self._runtime, self._reference = runtime, reference
        self._places = [find_place(name) for name in config.class_names]
        self._yardstick = Yardstick(runtime, folder)
        self._lessons: Lessons | None = None

    def __repr__(self) -> str:
        return (
            f"LandmarkClassifier({self.config.architecture}, "
            f"{len(self.labels)} landmarks, {self.device})"
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
    def batch_size(self) -> int:
        """How many photos it looks at in one forward pass: as many as suit the device."""
        return self._runtime.batch_size

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the landmarks it knows, as people read them; those taught come last."""
        return self.config.labels + self.taught

    @property
    def taught(self) -> tuple[str, ...]:
        """The names of the landmarks that it was taught."""
        return self._lessons.names if self._lessons else ()

    @property
    def taught_counts(self) -> dict[str, int]:
        """How many photos it was taught each landmark with."""
        return {name: self._lessons.count(name) for name in self.taught}

    def teach(
        self,
        name: str,
        photos: Iterable[Photo],
        anyway: bool = False,
        **where: Unpack[Whereabouts],
    ) -> LandmarkClassifier:
        """Teaches it a landmark from a few photos of it, at once and without training.

        `photos` are 1 to 100 of what `predict` takes; five are a good start. Where the landmark was
        taught before, they are added to its photos. `where` (place, region, country, latitude,
        longitude, tags) is what answers say of it; what the gazetteer knows need not be given.
        Returns the classifier, which alone knows the landmark: another one, a `copy.copy` too,
        does not. What was taught is kept by `save_taught`.

        Raises LandmarkError if the network knows that landmark already, or, unless `anyway`, most
        photos look like one that it knows, or one photo looks unlike the others; if there is no
        photo or too many, or one cannot be read; or if the network has no background.
        """
        place, photos = make_place(name, where), self._require_photos(photos)
        place = self._require_new(place)
        look = self._yardstick.look()
        lessons = self._lessons or Lessons.none(look)
        features, answers = self._look_closely(photos)
        learned = lessons.add(place, features)
        if not anyway:
            self._require_unknown(place.name, answers)
            self._require_alike(learned, place.name, photos)
        self._lessons = learned
        return self

    def forget(self, name: str) -> LandmarkClassifier:
        """Forgets a landmark that it was taught, and returns the classifier.

        Raises LandmarkError if it was taught none of that name.
        """
        taught = {fold(one): one for one in self.taught}
        known = find_place(name) if isinstance(name, str) else Place("")
        name = taught.get(fold(str(name)), taught.get(fold(known.name), name))
        self._lessons = (self._lessons or Lessons.none(self._yardstick.look())).remove(name)
        return self

    def save_taught(self, path: str | os.PathLike[str]) -> None:
        """Writes the landmarks that it was taught to a file, for `load(taught=path)`.

        It holds features of the photos, not the photos. Raises LandmarkError if there are none.
        """
        if not self.taught:
            raise LandmarkError("There is nothing to save: this classifier was taught no landmark.")
        write_taught(Path(path), self._lessons, self._yardstick.stamp)

    def load_taught(self, path: str | os.PathLike[str]) -> LandmarkClassifier:
        """Takes the landmarks of a file of `save_taught` in place of those that it was taught.

        Raises LandmarkError if the file is missing, damaged, or of another network.
        """
        self._lessons = read_taught(Path(path), self._yardstick.look(), self._yardstick.stamp)
        return self

    def predict(self, photo: Photo, top_k: int = 5) -> Answer:
        """The `top_k` most probable landmarks of one photo, best first; all, if there are fewer.

        The answer is a list of them that also says whether the photo shows any known landmark.
        `photo` is a path, bytes, binary file object, PIL image or uint8 array (H, W, 3). Raises
        LandmarkError if it cannot be read, or `top_k` is no whole number from 1.
        """
        require_counts(top_k, 1)
        return self._answer([photo], top_k)[0]

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
            batch_size = self.batch_size
        require_counts(top_k, batch_size)
        batches = [photos[i : i + batch_size] for i in range(0, len(photos), batch_size)]
        answer = partial(self._answer, top_k=top_k, keep_errors=errors == "skip")
        with ThreadPoolExecutor(_thread_count(photos)) as pool:  # decoding leaves Python's lock
            return [*chain.from_iterable(pool.map(answer, batches))]

    def describe(self, class_name: str, probability: float = 1.0) -> Prediction:
        """The facts about a landmark as `predict` gives them: its place, names and tags.

        Raises LandmarkError if `class_name` is not in `config.class_names`.
        """
        names = self.config.class_names + self.taught
        if class_name not in names:
            raise self._no_such(class_name)
        return self._prediction(names.index(class_name), probability, self._lessons)

    def explain(self, photo: Photo, class_name: str | None = None) -> Explanation:
        """What in `photo` convinces it of the landmark: heatmap and mask (H, W), and a box in px.

        `photo` is anything that `predict` takes; H and W are its sides when upright, as
        `open_photo` gives it. It looks at all of the photo, also where `predict` sees no more than
        its centre square. `class_name` is the landmark to look for, also by its label ("Big Ben").
        Without, it is the first guess of `predict` if that was taught, or has a probability of 0.7
        or more, else what the network is surest of in any part of the photo as large as half its
        shorter side.

        The heat is exactly what each place adds to the landmark's logit (Zhou et al. 2016) above
        the mean of all landmarks' logits. For one that was taught it is what each place adds to how
        near the photo is to the mean of those given. Raises LandmarkError if the photo cannot be
        read, it knows no such landmark, or the network is not made so.
        """
        lessons, count = self._lessons, len(self.config.class_names)
        names = self.config.class_names + (lessons.names if lessons else ())
        labels = self.config.labels + names[count:]
        if class_name in labels and class_name not in names:
            class_name = names[labels.index(class_name)]
        if class_name is not None and class_name not in names:
            raise self._no_such(class_name)
        upright, size = open_reduced(photo, self.fewest_pixels)
        with np.errstate(over="ignore", invalid="ignore"):
            more = lessons.weights if lessons else None
            activations, cell_px = self._runtime.activations(upright, more)  # (C + T, h, w)
        if not np.isfinite(activations).all():
            raise self._no_numbers()
        if class_name is None:
            class_name = self._class_to_explain(upright, activations[:count], cell_px)
        index = names.index(class_name)
        # A softmax cannot tell what all landmarks have in common; sky, for one, excites them all.
        heat = activations[index] - (activations[:count].mean(0) if index < count else 0)
        return Explanation(*locate_heat(heat, size), labels[index], class_name)

    def _require_photos(self, photos: object) -> list[Photo]:
        """The photos to be taught as a list. Raises LandmarkError if they are none, or too many."""
        if isinstance(photos, str | bytes | os.PathLike) or not isinstance(photos, Iterable):
            raise LandmarkError("teach takes a list of photos: teach(name, [photo, ...]).")
        photos = list(photos)
        if not photos:
            text = "There are no photos to be taught from. Give one or more; five are a good start."
            raise LandmarkError.because("teach_none", text)
        if len(photos) > MOST_PHOTOS:
            text = f"{{count:,}} photos are too many to teach: {{limit}} is the most. {TRAIN}"
            raise LandmarkError.because("teach_many", text, count=len(photos), limit=MOST_PHOTOS)
        return photos

    def _require_new(self, place: Place) -> Place:
        """The landmark, by the name that it was taught before if it was.

        Raises LandmarkError if the network was trained on it.
        """
        for known, label in zip(self._places, self.config.labels, strict=True):
            if fold(place.name) in (fold(known.name), fold(label)):
                raise LandmarkError.because(
                    "teach_known",
                    "{label} is known already: the network was trained on it. To teach another "
                    "landmark, give it another name; to know {label} better, train with more "
                    "photos of it: see docs/training.md.",
                    label=label,
                )
        before = {fold(name): name for name in self.taught}
        return replace(place, name=before.get(fold(place.name), place.name))

    def _require_unknown(self, name: str, answers: Sequence[Answer]) -> None:
        """Raises LandmarkError if most photos are surely of one landmark that it knows."""
        sure = [one[0].label for one in answers if one.is_known is not False
                and one[0].probability >= SURE and one[0].label != name]  # fmt: skip
        label = max(set(sure), key=sure.count, default="")
        if 2 * sure.count(label) > len(answers):
            raise LandmarkError.because(
                "teach_like",
                "The photos look like {label}, which is known already ({count} of {total}). If "
                "they show another landmark, teach it anyway (anyway=True, --anyway).",
                count=sure.count(label),
                total=len(answers),
                label=label,
            )

    def _require_alike(self, learned: Lessons, name: str, photos: Sequence[Photo]) -> None:
        """Raises LandmarkError if one of the photos that are to be learned looks unlike the others.

        Those of `photos` are the last of the landmark's.
        """
        odd = learned.unlike(name)
        number = -1 if odd is None else odd - learned.count(name) + len(photos)
        if number >= 0:
            raise LandmarkError.because(
                "teach_unlike",
                "Photo {number} of {total} ({file}) looks unlike the others. If it does show "
                "{name}, teach it anyway (anyway=True, --anyway); if not, leave it out.",
                number=number + 1,
                total=len(photos),
                file=name_of(photos[number]),
                name=name,
            )

    def _look_closely(self, photos: Sequence[Photo]) -> tuple[np.ndarray, list[Answer]]:
        """Features (N, D) of photos, and their best guesses."""
        parts, answers = [], []
        for start in range(0, len(photos), self._runtime.batch_size):
            some = photos[start : start + self._runtime.batch_size]
            logits, features = self._runtime.describe([self._open(photo) for photo in some])
            answers += self._judge(logits, features, 1)
            parts.append(features)
        return np.concatenate(parts), answers

    def _no_such(self, class_name: str) -> LandmarkError:
        names = self.config.class_names
        said = {key.casefold(): key for key in (*names, *self.config.labels, *self.taught)}
        near = get_close_matches(str(class_name).casefold(), said, n=1)
        hint = f"Did you mean {said[near[0]]!r}? " if near else ""
        return LandmarkError(
            f"There is no landmark {class_name!r} here. {hint}Give one of config.class_names: "
            f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
        )

    def _no_numbers(self) -> LandmarkError:
        return LandmarkError(
            f"The network {self.config.architecture} gives no finite numbers for this photo: its "
            "weights are damaged. Copy the whole folder again, or train it again."
        )

    def _class_to_explain(self, upright: Image, activations: np.ndarray, cell_px: float) -> str:
        best = self.predict(upright, top_k=1)[0]
        if best.probability >= SURE or best.class_name in self.taught:
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
        self, photos: Sequence[Photo], top_k: int, keep_errors: bool = False
    ) -> list[Answer | LandmarkError]:
        """The answer for each photo by one forward pass, or its error in its place."""
        opened = [self._open(photo, keep_errors) for photo in photos]
        images = [image for image in opened if not isinstance(image, LandmarkError)]
        answers = iter(self._look(images, top_k) if images else ())
        return [one if isinstance(one, LandmarkError) else next(answers) for one in opened]

    def _look(self, images: Sequence[Image], top_k: int) -> list[Answer]:
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused
            return self._judge(*self._runtime.describe(images), top_k)

    def _judge(self, logits: np.ndarray, features: np.ndarray, top_k: int) -> list[Answer]:
        """The answers to photos with logits (N, C) and features (N, D)."""
        config, lessons = self.config, self._lessons
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = logits.astype(np.float64) / config.temperature
            scores = known_score(config.known_method, scaled, features, self._reference)
        if not (np.isfinite(scaled).all() and np.isfinite(scores).all()):
            raise self._no_numbers()
        probabilities, margins = softmax(scaled), np.zeros((len(features), 0))
        if lessons:
            margins = lessons.logits(features)
            none = np.zeros((len(features), 1))
            shares = softmax(np.concatenate([none, margins], axis=1))
            probabilities = np.concatenate([probabilities * shares[:, :1], shares[:, 1:]], axis=1)
        answers = []
        for row, score, margin in zip(probabilities, scores.tolist(), margins, strict=True):
            guesses = [
                self._prediction(index, float(row[index]), lessons)
                for index in np.argsort(-row, kind="stable")[:top_k].tolist()
            ]
            answers.append(self._decide(guesses, score, margin.max(initial=-np.inf) >= 0))
        return answers

    def _decide(self, guesses: list[Prediction], score: float, is_taught: bool) -> Answer:
        """The answer of those guesses; `is_taught` says whether a photo shows what was taught."""
        least = self.config.known_threshold
        if guesses[0].class_name in self.config.class_names:
            return Answer(guesses, score, None if least is None else score >= least)
        # What was taught counts by its own measure; the score is raised to where it says the same.
        if is_taught and least is not None:
            score = max(score, least)
        return Answer(guesses, score, bool(is_taught))

    def _prediction(
        self, index: int, probability: float, lessons: Lessons | None = None
    ) -> Prediction:
        config, place = self.config, index - len(self._places)
        if lessons and place >= 0:
            name = lessons.names[place]
            return Prediction(name, name, probability, lessons.places[place])
        about = config.labels[index], config.class_names[index]
        return Prediction(*about, probability, self._places[index])


def _thread_count(photos: Sequence[Photo]) -> int:
    """How many threads may open and answer `photos`."""
    # An image or a file object that is there twice cannot be read by two threads at once.
    objects = [photo for photo in photos if not isinstance(photo, str | bytes | os.PathLike)]
    return usable_cores() if len({*map(id, objects)}) == len(objects) else 1


def load(
    source: str | os.PathLike[str] | None = None,
    *,
    revision: str | None = None,
    network: str | None = None,
    device: str | None = None,
    backend: str | None = None,
    taught: str | os.PathLike[str] | None = None,
    **cache: Unpack[HubCache],
) -> LandmarkClassifier:
    """A classifier that is ready to use: the one that ships, or one from a folder or hub repo.

    `source` is a run folder or a hub repo ("org/name", at `revision`: a tag,
    branch or commit). `network` chooses among several in it ("resnet18", "landmark_cnn"); without,
    the one that knows most landmarks; among equals, the best. `device` is torch's name ("cpu",
    "cuda"); without, a GPU if torch is installed and finds one. `backend` is "onnx", which is ONNX
    Runtime and the default on a CPU, or "torch". `taught` is a file of landmarks that this network
    was taught (`LandmarkClassifier.save_taught`).

    Of a hub repo only what this network needs is downloaded, to the folder `cache_dir` (else the
    hub's usual one), and checked against its SHA256SUMS. What was downloaded before also works
    without a network, with a warning; with `local_files_only=True` nothing is asked of the hub.

    Weights are read from safetensors only. Raises LandmarkError if there is no such folder,
    repo, network or device, a file is damaged, or weights and config do not fit.
    """
    folder = find(source, network, revision=revision, **cache)
    config = read_config(folder)
    runtime = open_runtime(config, folder, device, backend)
    reference = read_reference(config, folder, runtime.feature_count)
    tagger = LandmarkClassifier(runtime, reference, folder)
    return tagger if taught is None else tagger.load_taught(taught)


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
