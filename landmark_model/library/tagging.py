"""Photos in, rows out, and the rows as a table or JSON."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO

from PIL import Image

from landmark_model import (
    Answer,
    CameraFacts,
    LandmarkError,
    Place,
    Prediction,
    open_safely,
)
from landmark_model.library.trips import Stop
from landmark_model.library.words import words_in

if TYPE_CHECKING:
    from landmark_model import LandmarkClassifier

NOTHING_WRITTEN = CameraFacts()  # by the camera
MAX_BATCH_PIXELS = 60_000_000  # of open photos; as RGB they fill 180 MB
# The columns of the table that say what a photo shows; empty where that is not known.
FACTS: dict[str, Callable[[Prediction], object]] = {
    "landmark": lambda best: best.label,
    "probability": lambda best: round(best.probability, 4),
    "place": lambda best: best.place,
    "region": lambda best: best.region,
    "country": lambda best: best.country,
    "country_code": lambda best: best.country_code,
    "latitude": lambda best: best.latitude,
    "longitude": lambda best: best.longitude,
    "tags": lambda best: best.tags,
}
# Those of the place of the trip; the city only where it is sure.
TRIP: dict[str, Callable[[Stop], object]] = {
    "trip_near": lambda stop: stop.near and stop.near.label,
    "trip_radius_km": lambda stop: math.ceil(stop.radius_km),
    "trip_city": lambda stop: stop.near.place if stop.is_city else None,
    "trip_country": lambda stop: stop.near.country if stop.is_city else None,
}
COLUMNS = ("file", "status", *FACTS, "other_guesses", "reason", "taken_at", "camera", "why", *TRIP)
# What JSON says of each guess; `names` besides.
GUESS = ("label", "class_name", "probability", "place", "region", "country", "country_code",
         "latitude", "longitude", "local_name", "tags")  # fmt: skip
# A cell that starts so is a formula to a spreadsheet, which may run programs. Spreadsheets leave
# out spaces before it, and show none of the characters without width.
FORMULA = re.compile("[\t\r\n]|[\\s\u00ad\u200b-\u200f\u202a-\u202e\u2060\ufeff]*[=+@＝＋－＠-]")
# What XML 1.0 cannot hold, what terminals obey, and halves of characters, which come from names
# that are not UTF-8.
UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class Tagged:
    """One photo of a library: the guesses for it, or the reason why there are none.

    `camera` is what the camera says; its position is in none of the files that are written. Where
    the photo cannot be read, `error` is what `reason` is the text of. `stop` is what the photos
    around it say, if it is part of a trip. `by_hand` is whether a person has decided what it shows,
    or that it is left out.
    """

    file: str
    answer: Answer | None
    reason: str = ""
    camera: CameraFacts = NOTHING_WRITTEN
    error: LandmarkError | None = None
    stop: Stop | None = None
    by_hand: bool = False

    @property
    def status(self) -> str:
        """ "tagged", "unknown" (shows none of the landmarks), "doubtful" or "unreadable"; where a
        person decided, "corrected" or "rejected"."""
        if self.answer is None:
            return "unreadable"
        if self.by_hand:
            return "rejected" if self.reason else "corrected"
        if self.answer.is_known is False:
            return "unknown"
        return "doubtful" if self.reason else "tagged"

    @property
    def best(self) -> Prediction | None:
        """The landmark that it shows; None if it is unknown, doubtful, rejected or unreadable."""
        return self.answer[0] if self.status in ("tagged", "corrected") else None

    def at_least(self, min_probability: float, language: str | None = None) -> Tagged:
        """The same, doubtful where the best guess is less sure than `min_probability`, 0 to 1; the
        reason is in `language`."""
        if self.status not in ("tagged", "doubtful") or (self.stop and not self.stop.landmark):
            return self
        best = self.answer[0]
        if (self.stop.confirmed if self.stop else best.probability) >= min_probability:
            return replace(self, reason="")
        shares = {"share": percent(best.probability), "least": f"{min_probability:.0%}"}
        reason = words_in(language)["not_sure"].format(landmark=best.label, **shares)
        return replace(self, reason=reason)

    def named(self, guess: Prediction) -> Tagged:
        """The same with what a person says it shows, before what the network guessed."""
        others = [other for other in self.answer if other.class_name != guess.class_name]
        answer = Answer([guess, *others], self.answer.score, self.answer.is_known)
        return replace(self, answer=answer, reason="", by_hand=True)

    def rejected(self, language: str | None = None) -> Tagged:
        """The same without a landmark, because a person says so; the reason is in `language`."""
        return replace(self, reason=words_in(language)["left_out"], by_hand=True)

    @property
    def trip(self) -> Stop | None:
        """The place of the trip, if it is all that is known of where it was taken."""
        return self.stop if self.stop and self.stop.how == "trip" else None

    @property
    def city(self) -> Place | None:
        """The city of the trip, where it is sure."""
        return self.trip.near.landmark if self.trip and self.trip.is_city else None

    @property
    def why(self) -> str:
        """Why we say where it was: "seen", "camera", or the photos that it lies between."""
        if self.trip:
            return self.trip.why
        if self.camera.position:
            return "camera"
        return "seen" if self.best else ""


# Where a photo's bytes are, or why they could not be read.
Source = Path | BinaryIO | LandmarkError
# A photo that is open, with its row without guesses; or the row of one that cannot be read.
Opened = tuple[Tagged, Image.Image | None]


def tag_photos(
    tagger: LandmarkClassifier,
    photos: Iterable[tuple[str, Path]],
    top_k: int = 5,
    batch_size: int = 4,
    min_probability: float = 0.0,
    language: str | None = None,
) -> Iterator[Tagged]:
    """Yields a row for each of `photos` (name to show, path), in order, as soon as it is ready.

    A photo that cannot be read is a row with the reason; the others go on. So is one whose best
    guess is below `min_probability`: doubtful. Photos share a forward pass by up to `batch_size`,
    fewer where they are large. Names, places, tags and reasons are in `language` ("de"), English
    where that is not known. Raises LandmarkError if `top_k` or `batch_size` is below 1, or
    `min_probability` not 0 to 1.
    """
    require_limits(top_k, batch_size, min_probability)
    opened = (open_one(file, path, tagger.fewest_pixels) for file, path in photos)
    return (
        judged(row, language, min_probability)
        for batch in in_batches(opened, batch_size)
        for row in answer_batch(tagger, batch, top_k)
    )


def open_one(file: str, photo: Source, fewest_pixels: int, takes_raw: bool = False) -> Opened:
    """Opens a photo, whose name to show is `file`; the only place here that does."""
    try:
        if isinstance(photo, LandmarkError):
            raise photo
        opened = open_safely(photo, fewest_pixels, takes_raw)
    except LandmarkError as error:
        return Tagged(file, None, str(error), error=error), None
    return Tagged(file, None, camera=opened.camera), opened.image


def in_batches(opened: Iterable[Opened], batch_size: int) -> Iterator[list[Opened]]:
    """The photos of each forward pass: up to `batch_size`, fewer where they are large. No more than
    those are taken from `opened`."""
    waiting: list[Opened] = []
    pixels = 0
    for row, image in opened:
        waiting.append((row, image))
        pixels += image.width * image.height if image else 0
        if len(waiting) >= batch_size or pixels >= MAX_BATCH_PIXELS:
            yield waiting
            waiting, pixels = [], 0
    if waiting:
        yield waiting


def answer_batch(tagger: LandmarkClassifier, batch: Sequence[Opened], top_k: int) -> list[Tagged]:
    """The rows of the photos of one forward pass, with `top_k` guesses."""
    images = [image for _, image in batch if image is not None]
    answers = iter(tagger.predict_batch(images, top_k, batch_size=max(1, len(images))))
    return [replace(row, answer=next(answers)) if image else row for row, image in batch]


def judged(row: Tagged, language: str | None, min_probability: float) -> Tagged:
    """`row` in that language: its guesses, and the reason why it cannot be read, is unknown or,
    less sure than `min_probability`, doubtful."""
    row = replace(row, stop=row.stop and row.stop.in_language(language))
    if row.answer is None:
        return replace(row, reason=row.error.in_language(language)) if row.error else row
    answer, words = row.answer.in_language(language), words_in(language)
    row = replace(row, answer=answer)
    if answer.is_known is False:
        return replace(row, reason=words["not_known"])
    if row.stop and not row.stop.landmark:
        misfit = words["misfit_camera" if row.stop.how == "camera" else "misfit_trip"]
        told = {"landmark": answer[0].label, "share": percent(answer[0].probability)}
        return replace(row, reason=misfit.format(**told))
    return row.at_least(min_probability, language)


def placed(row: Tagged, stop: Stop | None) -> Tagged:
    """`row` with what the photos around it say: what they confirm is its best guess."""
    if stop is None or stop.landmark is None or row.answer is None:
        return replace(row, stop=stop)
    name, is_known = stop.landmark.class_name, row.answer.is_known
    guesses = sorted(row.answer, key=lambda guess: guess.class_name != name)
    answer = Answer(guesses, row.answer.score, True if is_known is False else is_known)
    return replace(row, answer=answer, stop=stop)


def percent(probability: float) -> str:
    """A probability in whole percent; never "100%", which nothing is."""
    return ">99%" if probability > 0.99 else f"{probability:.0%}"


def require_limits(top_k: int, batch_size: int = 1, min_probability: float = 0.0) -> None:
    """Raises LandmarkError if one of them is not valid for `tag_photos`."""
    for name, count in (("top_k", top_k), ("batch_size", batch_size)):
        if count < 1:
            raise LandmarkError(f"{name} is {count}: it must be 1 or more.")
    if not 0 <= min_probability <= 1:
        raise LandmarkError(
            f"min_probability is {min_probability}: it must be from 0 to 1, such as 0.8 for 80 %."
        )


def to_csv(rows: Iterable[Tagged]) -> str:
    """A table with one line for each photo; its columns are COLUMNS, several tags "; " apart.

    A text that a spreadsheet would take for a formula gets an apostrophe before it. Write it with
    encoding "utf-8-sig", or Excel takes it for another one.
    """
    text = io.StringIO()
    write_csv(rows, text)
    return text.getvalue()


def write_csv(rows: Iterable[Tagged], file: TextIO) -> None:
    """Writes what `to_csv` gives to `file`, row by row."""
    table = csv.writer(file)
    table.writerow(COLUMNS)
    table.writerows([_cell(value) for value in line_of(row)] for row in rows)


def line_of(row: Tagged) -> list[object]:
    """The values of a row, in the order of COLUMNS; those that are several are tuples. What a
    person says has no probability."""
    best, guesses = row.best, [*(row.answer or ())]
    rest = guesses[best is not None :]
    others = tuple(f"{guess.label} {guess.probability:.1%}" for guess in rest)
    facts = {name: of(best) if best else "" for name, of in FACTS.items()}
    if row.by_hand:
        facts["probability"] = ""
    shot = row.camera.taken_at, row.camera.name
    trip = tuple(of(row.trip) if row.trip else None for of in TRIP.values())
    return [row.file, row.status, *facts.values(), others, row.reason, *shot, row.why, *trip]


def _cell(value: object) -> object:
    value = "; ".join(value) if isinstance(value, tuple) else value
    if not isinstance(value, str):
        return value
    text = writable(value)
    return f"'{text}" if FORMULA.match(text) else text


def to_json(rows: Iterable[Tagged]) -> str:
    """A list with an object for each photo: file, status, reason, and its guesses, best first."""
    return json.dumps(list(map(_record, rows)), indent=2, ensure_ascii=False) + "\n"


def write_json_lines(rows: Iterable[Tagged], file: TextIO) -> None:
    """Writes the objects of `to_json` to `file`, each on a line of its own."""
    file.writelines(json.dumps(_record(row), ensure_ascii=False) + "\n" for row in rows)


def _record(row: Tagged) -> dict[str, object]:
    """A row as JSON has it."""
    guesses = [
        {name: getattr(guess, name) for name in GUESS} | {"names": guess.landmark.names}
        for guess in row.answer or ()
    ]
    if row.status == "corrected":
        guesses[0]["probability"] = None
    return {
        "file": writable(row.file),
        "status": row.status,
        "reason": writable(row.reason),
        "taken_at": row.camera.taken_at or None,
        "camera": writable(row.camera.name) or None,
        "why": row.why or None,
        "trip": row.trip and {name[len("trip_") :]: of(row.trip) for name, of in TRIP.items()},
        "guesses": guesses,
    }


def writable(text: str) -> str:
    """A text with placeholders for characters that no text file can hold."""
    return UNWRITABLE.sub("\ufffd", text)
