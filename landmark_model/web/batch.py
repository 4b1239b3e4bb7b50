"""A visitor's photos in the tab for many: what the network says of each, and what they say."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from landmark_model import LandmarkError, Place, Prediction, Tagged, find_place
from landmark_model.web.i18n import say
from landmark_model.web.models import Models
from landmark_model.web.uploads import is_plain

MAX_NAME = 100  # characters of a name that a visitor types
ODD_CHANGE = "This is no change of a photo: [its number, tick, guess or name, and which]."


class Batch:
    """Photos by number, in the order in which they came; the threads of a visit share it.

    A run answers those that wait. It goes on as long as `run` is the one it began with, so that
    whoever sets another, or None, ends it. `network` is whose answers are here, `least` how sure a
    guess must be to count, 0 to 1, and `language` that of reasons.
    """

    def __init__(self) -> None:
        self.network, self.least, self.language, self.run = "", 0.0, "en", None
        self._lock = threading.Lock()
        self._count = self._marks = 0
        self._photos: dict[int, tuple[str, Path]] = {}  # name to show, path
        self._rows: dict[int, Tagged] = {}
        self._said: dict[int, Prediction | None] = {}  # None: it is left out

    def begin(self, photos: Sequence[tuple[str, Path]], network: str) -> list[int]:
        """Starts a run on `photos` (name, path), each path once; gives the rows that are gone.

        What the network has answered, and what the visitor says of a photo, stays.
        """
        with self._lock:
            before = {path: number for number, (_, path) in self._photos.items()}
            kept = {}
            for name, path in {path: (name, path) for name, path in photos}.values():
                if path not in before:
                    self._count += 1
                kept[before.get(path, self._count)] = (name, path)
            had = set(self._rows)
            self._photos = dict(sorted(kept.items()))
            answered = had & kept.keys() if network == self.network else set()
            self._rows = {number: self._rows[number] for number in sorted(answered)}
            self._said = {n: said for n, said in self._said.items() if n in kept}
            self.network, self.run = network, object() if kept else None
            return sorted(had - answered)

    def mark(self) -> str:
        """A comment of HTML that no other text to the page begins with: it tells them apart."""
        self._marks += 1
        return f"<!--{self._marks}-->"

    @property
    def total(self) -> int:
        """How many photos there are."""
        return len(self._photos)

    @property
    def done(self) -> int:
        """How many of them have an answer."""
        return len(self._rows)

    def waiting(self) -> list[tuple[int, tuple[str, Path]]]:
        """Number, and (name, path), of each photo without an answer."""
        with self._lock:
            return [photo for photo in self._photos.items() if photo[0] not in self._rows]

    def add(self, run: object, number: int, row: Tagged) -> Tagged | None:
        """Takes an answer of `run`, and gives it as in `rows`; None where that run has ended."""
        with self._lock:
            if run is None or self.run is not run:
                return None
            self._rows[number] = row
            return self._as_said(number)

    def finish(self, run: object) -> bool:
        """Ends a run, and says whether it went on until now."""
        with self._lock:
            is_last = self.run is run
            self.run = None if is_last else self.run
            return is_last

    def rows(self) -> dict[int, Tagged]:
        """The photos that are answered by number, as the visitor wants them."""
        with self._lock:
            return {number: self._as_said(number) for number in sorted(self._rows)}

    def row(self, number: int) -> Tagged:
        """One of `rows`. Raises KeyError if there is none of that number."""
        with self._lock:
            return self._as_said(number)

    def _as_said(self, number: int) -> Tagged:
        row = self._rows[number]
        if row.answer is None or number not in self._said:
            return row.at_least(self.least, self.language)
        said = self._said[number]
        return row.rejected(self.language) if said is None else row.named(said)

    def change(self, change: object, models: Models, language: str) -> int:
        """Does what a visitor sends: [number, "tick", whether], [number, "guess", class name] or
        [number, "name", text]; gives the number.

        Raises LandmarkError if it is nothing of that kind, or there is no such photo or guess.
        """
        if not isinstance(change, list) or len(change) != 3:
            raise LandmarkError(ODD_CHANGE)
        number, kind, value = change
        with self._lock:
            row = self._rows.get(number) if type(number) is int else None
            if row is None or row.answer is None:
                raise LandmarkError(say("many_gone", language))
            if kind == "tick" and isinstance(value, bool):
                self._tick(number, value)
            elif kind == "guess" and value in [guess.class_name for guess in row.answer]:
                guesses = {guess.class_name: guess for guess in row.answer}
                self._said[number] = guesses[value]
            elif kind == "name" and isinstance(value, str):
                self._said[number] = called(value, models.landmarks(self.network), language)
            else:
                raise LandmarkError(ODD_CHANGE)
        return number

    def _tick(self, number: int, is_ticked: bool) -> None:
        """Leaves a photo out; or takes it in, with its best guess where it has no name else."""
        self._said.pop(number, None)
        has_name = self._as_said(number).best is not None
        if is_ticked and not has_name:
            self._said[number] = self._rows[number].answer[0]
        elif has_name and not is_ticked:
            self._said[number] = None


def called(text: str, landmarks: Iterable[Prediction], language: str) -> Prediction:
    """What a visitor calls a photo: the landmark that is called so, else their own words.

    Raises LandmarkError if the text is empty, too long, or has characters that cannot be seen.
    """
    name = text.strip()
    if not 0 < len(name) <= MAX_NAME or not is_plain(text):
        raise LandmarkError(say("many_bad_name", language, limit=MAX_NAME))
    for landmark in landmarks:
        here = landmark.in_language(language)
        names = landmark.class_name, landmark.label, here.label, landmark.local_name or ""
        if name.casefold() in map(str.casefold, names):
            return here
    place = find_place(name)
    if place.country is None:
        return Prediction(name, name, 1.0, Place(name))
    return Prediction(place.name, place.name, 1.0, place).in_language(language)
