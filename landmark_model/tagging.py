"""A photo library in, tags out: rows for people, and sidecar files that photo programs read."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from PIL import Image

from landmark_model.config import LandmarkError, require_counts
from landmark_model.files import staged
from landmark_model.photos import camera_position, open_photo

if TYPE_CHECKING:
    from landmark_model.classifier import LandmarkClassifier
    from landmark_model.prediction import Answer, Prediction

MAX_BATCH_PIXELS = 60_000_000  # of open photos; as RGB they fill 180 MB
NOT_KNOWN = "This does not look like one of the landmarks I know."
COLUMNS = (
    "file",
    "status",
    "landmark",
    "probability",
    "place",
    "country",
    "country_code",
    "latitude",
    "longitude",
    "tags",
    "other_guesses",
    "reason",
)
# A cell that starts so is a formula to a spreadsheet, which may run programs.
FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")
# What XML 1.0 cannot hold, and halves of characters, which come from names that are not UTF-8.
UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
NAMESPACES = {
    "x": "adobe:ns:meta/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "Iptc4xmpCore": "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/",
    "exif": "http://ns.adobe.com/exif/1.0/",
}


@dataclass(frozen=True)
class Tagged:
    """One photo of a library: the guesses for it, or the reason why there are none.

    `position` is what the camera says (degrees), `error` what `reason` is the text of where the
    photo cannot be read; both are in none of the files that are written.
    """

    file: str
    answer: Answer | None
    reason: str = ""
    position: tuple[float, float] | None = None
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
        """The landmark that it shows; None where it shows none, is doubtful or cannot be read."""
        return self.answer[0] if self.status == "tagged" else None


def tag_photos(
    tagger: LandmarkClassifier,
    photos: Iterable[tuple[str, Path]],
    top_k: int = 5,
    batch_size: int = 4,
    min_probability: float = 0.0,
    language: str | None = None,
) -> Iterator[Tagged]:
    """A row for each of `photos` (name to show, path), in their order, as soon as it is there.

    A photo that cannot be read is a row with the reason; the others go on. So is one whose best
    guess is below `min_probability`: doubtful. Photos share a forward pass by up to `batch_size`,
    fewer where they are large. Names, places and tags are in `language` ("de"), English where that
    is not known. Raises LandmarkError where `top_k` or `batch_size` is below 1, or
    `min_probability` not 0 to 1.
    """
    require_counts(top_k, batch_size)
    if not 0 <= min_probability <= 1:
        raise LandmarkError(f"min_probability is {min_probability}: it must be 0 to 1.")
    rows = _rows(tagger, photos, top_k, batch_size)
    return (_doubt(_translated(row, language), min_probability) for row in rows)


def _translated(row: Tagged, language: str | None) -> Tagged:
    """`row` with its guesses in that language."""
    return replace(row, answer=row.answer and row.answer.in_language(language))


def _doubt(row: Tagged, min_probability: float) -> Tagged:
    """`row`, doubtful where it is less sure than that."""
    if row.best is None or row.best.probability >= min_probability:
        return row
    sure = f"{row.best.label} at {row.best.probability:.0%}"
    return replace(row, reason=f"Not sure enough: {sure}, {min_probability:.0%} are asked for.")


def _rows(
    tagger: LandmarkClassifier, photos: Iterable[tuple[str, Path]], top_k: int, batch_size: int
) -> Iterator[Tagged]:
    waiting: list[tuple[Tagged, Image.Image | None]] = []
    for file, path in photos:
        waiting.append(_open(file, path))
        opened = [image for _, image in waiting if image is not None]
        pixels = sum(image.width * image.height for image in opened)
        if len(waiting) >= batch_size or pixels >= MAX_BATCH_PIXELS:
            yield from _answered(tagger, waiting, top_k)
            waiting = []
    yield from _answered(tagger, waiting, top_k)


def _open(file: str, path: Path) -> tuple[Tagged, Image.Image | None]:
    try:
        image = open_photo(path)
        return Tagged(file, None, position=camera_position(path)), image
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
    table = csv.writer(text)
    table.writerow(COLUMNS)
    table.writerows([[_cell(value) for value in _line(row)] for row in rows])
    return text.getvalue()


def _line(row: Tagged) -> tuple[object, ...]:
    """The values of a row, in the order of COLUMNS."""
    guesses = list(row.answer or ())
    best = row.best
    others = [f"{guess.label} {guess.probability:.1%}" for guess in guesses[best is not None :]]
    facts: tuple[object, ...] = ("",) * 8
    if best:
        place = (best.place, best.country, best.country_code, best.latitude, best.longitude)
        facts = (best.label, round(best.probability, 4), *place, "; ".join(best.tags))
    return (row.file, row.status, *facts, "; ".join(others), row.reason)


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = _printable(value)
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def to_json(rows: Iterable[Tagged]) -> str:
    """A list with an object for each photo: file, status, reason, and its guesses, best first."""
    found = [
        {
            "file": _printable(row.file),
            "status": row.status,
            "reason": _printable(row.reason),
            "guesses": [_facts(guess) for guess in row.answer or ()],
        }
        for row in rows
    ]
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def _facts(guess: Prediction) -> dict[str, object]:
    """A guess as JSON has it."""
    return {
        "label": guess.label,
        "class_name": guess.class_name,
        "probability": guess.probability,
        "place": guess.place,
        "country": guess.country,
        "country_code": guess.country_code,
        "latitude": guess.latitude,
        "longitude": guess.longitude,
        "local_name": guess.local_name,
        "tags": list(guess.tags),
        "names": guess.landmark.names,
    }


def to_xmp(row: Tagged) -> str:
    """The sidecar (XMP) of a photo: title, description, keywords, place and coordinates.

    The coordinates are the landmark's, and left out where the camera wrote its own into the photo.
    Raises LandmarkError where the photo shows no known landmark or cannot be read.
    """
    best = row.best
    if best is None:
        raise LandmarkError(f"{row.file} has nothing to tag: {row.reason}")
    for prefix, address in NAMESPACES.items():
        ElementTree.register_namespace(prefix, address)
    root = ElementTree.Element(_tag("x:xmpmeta"))
    facts = ElementTree.SubElement(
        ElementTree.SubElement(root, _tag("rdf:RDF")),
        _tag("rdf:Description"),
        {_tag("rdf:about"): ""},
    )
    _add_list(facts, "dc:title", "rdf:Alt", [best.label])
    _add_list(
        facts, "dc:description", "rdf:Alt", [", ".join(filter(None, (best.label, best.where)))]
    )
    _add_list(facts, "dc:subject", "rdf:Bag", list(dict.fromkeys((best.label, *best.tags))))
    texts = {
        "photoshop:City": best.place,
        "photoshop:Country": best.country,
        "Iptc4xmpCore:CountryCode": best.country_code,
        "Iptc4xmpCore:Location": best.label,
    }
    if None not in (best.latitude, best.longitude) and row.position is None:
        texts["exif:GPSVersionID"] = "2.3.0.0"
        texts["exif:GPSLatitude"] = _xmp_degrees(best.latitude, "NS")
        texts["exif:GPSLongitude"] = _xmp_degrees(best.longitude, "EW")
    for name, text in texts.items():
        if text:
            ElementTree.SubElement(facts, _tag(name)).text = _printable(text)
    ElementTree.indent(root)
    body = ElementTree.tostring(root, encoding="unicode")
    start = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    return f'{start}\n{body}\n<?xpacket end="w"?>\n'


def _tag(name: str) -> str:
    """A name like "dc:title" as ElementTree writes it."""
    prefix, local = name.split(":")
    return f"{{{NAMESPACES[prefix]}}}{local}"


def _add_list(facts: ElementTree.Element, name: str, kind: str, texts: list[str]) -> None:
    """Texts in a bag, or as the alternative for every language."""
    items = ElementTree.SubElement(ElementTree.SubElement(facts, _tag(name)), _tag(kind))
    language = {"xml:lang": "x-default"} if kind == "rdf:Alt" else {}
    for text in texts:
        ElementTree.SubElement(items, _tag("rdf:li"), language).text = _printable(text)


def _xmp_degrees(degrees: float, hemispheres: str) -> str:
    """A coordinate as XMP has it: "48,51.504000N"."""
    whole, minutes = divmod(round(abs(degrees) * 60, 6), 60)
    return f"{whole:.0f},{minutes:.6f}{hemispheres[degrees < 0]}"


def write_sidecars_zip(rows: Iterable[Tagged], path: Path) -> int:
    """Writes a ZIP with the sidecar of every tagged photo, photo.jpg.xmp, and gives their count.

    Folders in the names of photos are kept. Of photos with one name, the second lies in a folder
    "2" and so on. Nothing in the ZIP leads out of the folder that it is unpacked in.
    """
    tagged = [row for row in rows if row.best]
    names = sidecar_names([row.file for row in tagged])
    with (
        staged(path.parent) as scratch,
        zipfile.ZipFile(scratch / path.name, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for row, name in zip(tagged, names, strict=True):
            archive.writestr(name, to_xmp(row))
    return len(tagged)


def write_tags(rows: Iterable[Tagged], folder: Path, overwrite: bool = False) -> int:
    """Writes tags.csv, tags.json and all sidecars to `folder`, or nothing; gives their count.

    Raises LandmarkError as `require_room` does.
    """
    rows = list(rows)
    tagged = [row for row in rows if row.best]
    files = [row.file for row in tagged]
    require_room(files, folder, overwrite)
    with staged(folder) as scratch:
        (scratch / "tags.csv").write_text(to_csv(rows), encoding="utf-8-sig", newline="")
        (scratch / "tags.json").write_text(to_json(rows), encoding="utf-8")
        for row, name in zip(tagged, sidecar_names(files), strict=True):
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            (scratch / name).write_text(to_xmp(row), encoding="utf-8")
    return len(tagged)


def require_room(files: Iterable[str], folder: Path, overwrite: bool = False) -> None:
    """Makes `folder` if it is not there.

    Raises LandmarkError where that cannot be, or the sidecar of one of `files` is in it already
    and may not be overwritten: a photo program may have changed it.
    """
    taken = next((name for name in sidecar_names(files) if (folder / name).exists()), None)
    if taken and not overwrite:
        raise LandmarkError(
            f"{taken} is in {folder} already. Choose another folder, or overwrite it (--overwrite)."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LandmarkError(
            f"{folder} cannot be made ({error.strerror}). Choose another folder."
        ) from error


def sidecar_names(files: Iterable[str]) -> list[str]:
    """A path for the sidecar of each file, relative, safe on every system, no two the same."""
    taken: set[str] = set()
    names = []
    for file in files:
        name = wanted = f"{_safe_path(file)}.xmp"
        number = 1
        while name.casefold() in taken:
            number += 1
            name = f"{number}/{wanted}"
        taken.add(name.casefold())
        names.append(name)
    return names


def _safe_path(file: str) -> str:
    """A path that stays inside the folder it is put in, whatever `file` says."""
    parts = [re.sub(r'[:*?"<>|\t\r\n]', "_", part).strip(" ") for part in re.split(r"[/\\]", file)]
    kept = [_printable(part) for part in parts if part.strip(".")]
    return "/".join(kept) or "photo"


def _printable(text: str) -> str:
    """A text with a sign in the place of what no file of text can hold."""
    return UNPRINTABLE.sub("\ufffd", text)
