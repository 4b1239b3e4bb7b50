"""Photos in, rows out, and the rows as a table or JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO

from PIL import Image

from landmark_model import (
    RAW_ENDINGS,
    Answer,
    CameraFacts,
    LandmarkError,
    Prediction,
    open_safely,
)
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
COLUMNS = ("file", "status", *FACTS, "other_guesses", "reason", "taken_at", "camera")
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
    the photo cannot be read, `error` is what `reason` is the text of.
    """

    file: str
    answer: Answer | None
    reason: str = ""
    camera: CameraFacts = NOTHING_WRITTEN
    error: LandmarkError | None = None

    @property
    def status(self) -> str:
        """ "tagged", "unknown" (shows none of the landmarks), "doubtful" or "unreadable"."""
        if self.answer is None:
            return "unreadable"
        if self.answer.is_known is False:
            return "unknown"
        return "doubtful" if self.reason else "tagged"

    @property
    def best(self) -> Prediction | None:
        """The landmark that it shows; None if it shows none, is doubtful or cannot be read."""
        return self.answer[0] if self.status == "tagged" else None


def is_raw(file: str) -> bool:
    """Whether a file is named like the readings of a camera's sensor."""
    return Path(file).suffix.lower() in RAW_ENDINGS


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
    batches = answer_batches(tagger, opened, top_k, batch_size)
    return (judged(row, language, min_probability) for batch in batches for row, _ in batch)


def open_one(file: str, photo: Source, fewest_pixels: int, takes_raw: bool = False) -> Opened:
    """Opens a photo, whose name to show is `file`; the only place here that does."""
    try:
        if isinstance(photo, LandmarkError):
            raise photo
        opened = open_safely(photo, fewest_pixels, takes_raw)
    except LandmarkError as error:
        return Tagged(file, None, str(error), error=error), None
    return Tagged(file, None, camera=opened.camera), opened.image


def answer_batches(
    tagger: LandmarkClassifier, opened: Iterable[Opened], top_k: int, batch_size: int
) -> Iterator[list[Opened]]:
    """The photos with the `top_k` guesses in their rows, those together that shared a forward pass.

    No more are taken from `opened` than one forward pass takes.
    """
    waiting: list[Opened] = []
    pixels = 0
    for row, image in opened:
        waiting.append((row, image))
        pixels += image.width * image.height if image else 0
        if len(waiting) >= batch_size or pixels >= MAX_BATCH_PIXELS:
            yield _answered(tagger, waiting, top_k)
            waiting, pixels = [], 0
    if waiting:
        yield _answered(tagger, waiting, top_k)


def _answered(tagger: LandmarkClassifier, waiting: Sequence[Opened], top_k: int) -> list[Opened]:
    images = [image for _, image in waiting if image is not None]
    answers = iter(tagger.predict_batch(images, top_k, batch_size=max(1, len(images))))
    return [(replace(row, answer=next(answers)) if image else row, image) for row, image in waiting]


def judged(row: Tagged, language: str | None, min_probability: float) -> Tagged:
    """`row` in that language: its guesses, and the reason why it cannot be read, is unknown or,
    less sure than `min_probability`, doubtful."""
    if row.answer is None:
        return replace(row, reason=row.error.in_language(language)) if row.error else row
    answer, best = row.answer.in_language(language), row.answer[0]
    if answer.is_known is False:
        return replace(row, answer=answer, reason=words_in(language)["not_known"])
    if best.probability >= min_probability:
        return replace(row, answer=answer)
    shares = {"share": f"{best.probability:.0%}", "least": f"{min_probability:.0%}"}
    reason = words_in(language)["not_sure"].format(landmark=answer[0].label, **shares)
    return replace(row, answer=answer, reason=reason)


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
    """The values of a row, in the order of COLUMNS; those that are several are tuples."""
    best, guesses = row.best, [*(row.answer or ())]
    rest = guesses[best is not None :]
    others = tuple(f"{guess.label} {guess.probability:.1%}" for guess in rest)
    facts = [of(best) if best else "" for of in FACTS.values()]
    shot = row.camera.taken_at, row.camera.name
    return [row.file, row.status, *facts, others, row.reason, *shot]


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
    return {
        "file": writable(row.file),
        "status": row.status,
        "reason": writable(row.reason),
        "taken_at": row.camera.taken_at or None,
        "camera": writable(row.camera.name) or None,
        "guesses": [
            {name: getattr(guess, name) for name in GUESS} | {"names": guess.landmark.names}
            for guess in row.answer or ()
        ],
    }


def writable(text: str) -> str:
    """A text with placeholders for characters that no text file can hold."""
    return UNWRITABLE.sub("\ufffd", text)
