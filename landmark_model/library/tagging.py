"""A photo library in, rows out, and the rows as a table or JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from PIL import Image

from landmark_model import Answer, LandmarkError, Prediction, open_safely

if TYPE_CHECKING:
    from landmark_model import LandmarkClassifier

MAX_BATCH_PIXELS = 60_000_000  # of open photos; as RGB they fill 180 MB
NOT_KNOWN = "This does not look like one of the landmarks I know."
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
    "tags": lambda best: "; ".join(best.tags),
}
COLUMNS = ("file", "status", *FACTS, "other_guesses", "reason")
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

    `position` is what the camera says (degrees), `error` what `reason` is the text of where the
    photo cannot be read; both are in none of the files that are written. Where its sidecar cannot
    be written, `reason` says why, and it keeps its guesses.
    """

    file: str
    answer: Answer | None
    reason: str = ""
    position: tuple[float, float] | None = None
    error: LandmarkError | None = None
    is_unwritten: bool = False

    @property
    def status(self) -> str:
        """ "tagged", "unknown" (shows none of the landmarks), "doubtful", "unreadable" or, if
        it is tagged but its sidecar cannot be written, "unwritten"."""
        if self.answer is None:
            return "unreadable"
        if self.is_unwritten:
            return "unwritten"
        if self.answer.is_known is False:
            return "unknown"
        return "doubtful" if self.reason else "tagged"

    @property
    def best(self) -> Prediction | None:
        """The landmark that it shows; None if it shows none, is doubtful or cannot be read."""
        return self.answer[0] if self.status in ("tagged", "unwritten") else None


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
    fewer where they are large. Names, places and tags are in `language` ("de"), English where that
    is not known. Raises LandmarkError if `top_k` or `batch_size` is below 1, or
    `min_probability` not 0 to 1.
    """
    batches = tag_batches(tagger, photos, top_k, batch_size, min_probability, language)
    return chain.from_iterable(batches)


def tag_batches(
    tagger: LandmarkClassifier,
    photos: Iterable[tuple[str, Path]],
    top_k: int = 5,
    batch_size: int = 4,
    min_probability: float = 0.0,
    language: str | None = None,
) -> Iterator[list[Tagged]]:
    """The rows of `tag_photos`, those together that shared a forward pass."""
    require_limits(top_k, batch_size, min_probability)
    return (
        [_judged(row, language, min_probability) for row in rows]
        for rows in _rows(tagger, photos, top_k, batch_size)
    )


def require_limits(top_k: int, batch_size: int = 1, min_probability: float = 0.0) -> None:
    """Raises LandmarkError if one of them is not valid for `tag_photos`."""
    for name, count in (("top_k", top_k), ("batch_size", batch_size)):
        if count < 1:
            raise LandmarkError(f"{name} is {count}: it must be 1 or more.")
    if not 0 <= min_probability <= 1:
        raise LandmarkError(
            f"min_probability is {min_probability}: it must be from 0 to 1, such as 0.8 for 80 %."
        )


def _judged(row: Tagged, language: str | None, min_probability: float) -> Tagged:
    """`row` with its guesses in that language, and doubtful if it is less sure than that."""
    row = replace(row, answer=row.answer and row.answer.in_language(language))
    if row.best is None or row.best.probability >= min_probability:
        return row
    sure = f"{row.best.label} at {row.best.probability:.0%}"
    return replace(row, reason=f"Not sure enough: {sure}, below {min_probability:.0%}.")


def _rows(
    tagger: LandmarkClassifier, photos: Iterable[tuple[str, Path]], top_k: int, batch_size: int
) -> Iterator[list[Tagged]]:
    waiting: list[tuple[Tagged, Image.Image | None]] = []
    for file, path in photos:
        waiting.append(_open(file, path, tagger.fewest_pixels))
        opened = [image for _, image in waiting if image is not None]
        pixels = sum(image.width * image.height for image in opened)
        if len(waiting) >= batch_size or pixels >= MAX_BATCH_PIXELS:
            yield list(_answered(tagger, waiting, top_k))
            waiting = []
    if waiting:
        yield list(_answered(tagger, waiting, top_k))


def _open(file: str, path: Path, fewest_pixels: int) -> tuple[Tagged, Image.Image | None]:
    """A row without guesses, and the photo; the only place here that reads a stranger's file."""
    try:
        opened = open_safely(path, fewest_pixels)
        return Tagged(file, None, position=opened.position), opened.image
    except LandmarkError as error:
        return Tagged(file, None, str(error), error=error), None


def _answered(
    tagger: LandmarkClassifier, waiting: list[tuple[Tagged, Image.Image | None]], top_k: int
) -> Iterator[Tagged]:
    images = [image for _, image in waiting if image is not None]
    answers = iter(tagger.predict_batch(images, top_k, batch_size=max(1, len(images))))
    for row, image in waiting:
        if image is None:
            yield row
        else:
            answer = next(answers)
            reason = NOT_KNOWN if answer.is_known is False else ""
            yield Tagged(row.file, answer, reason, row.position)


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
    table.writerows([_cell(value) for value in _line(row)] for row in rows)


def _line(row: Tagged) -> list[object]:
    """The values of a row, in the order of COLUMNS."""
    best, guesses = row.best, [*(row.answer or ())]
    others = [f"{guess.label} {guess.probability:.1%}" for guess in guesses[best is not None :]]
    facts = [of(best) if best else "" for of in FACTS.values()]
    return [row.file, row.status, *facts, "; ".join(others), row.reason]


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = writable(value)
    return f"'{text}" if FORMULA.match(text) else text


def to_json(rows: Iterable[Tagged]) -> str:
    """A list with an object for each photo: file, status, reason, and its guesses, best first."""
    text = io.StringIO()
    write_json(rows, text)
    return text.getvalue()


def write_json(rows: Iterable[Tagged], file: TextIO) -> None:
    """Writes what `to_json` gives to `file`, row by row."""
    start = "["
    for row in rows:
        found = {
            "file": writable(row.file),
            "status": row.status,
            "reason": writable(row.reason),
            "guesses": [
                {name: getattr(guess, name) for name in GUESS} | {"names": guess.landmark.names}
                for guess in row.answer or ()
            ],
        }
        text = json.dumps(found, indent=2, ensure_ascii=False)
        file.write(f"{start}\n{text}".replace("\n", "\n  "))
        start = ","
    file.write("[]\n" if start == "[" else "\n]\n")


def writable(text: str) -> str:
    """A text with placeholders for characters that no text file can hold."""
    return UNWRITABLE.sub("\ufffd", text)
