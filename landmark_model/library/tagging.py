"""A photo library in, tags out: rows for people, and sidecar files that photo programs read."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TextIO
from xml.etree import ElementTree

from PIL import Image

from landmark_model.config import LandmarkError, require_counts
from landmark_model.decoding import open_safely
from landmark_model.files import staged

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
    "region",
    "country",
    "country_code",
    "latitude",
    "longitude",
    "tags",
    "other_guesses",
    "reason",
)
# A cell that starts so is a formula to a spreadsheet, which may run programs. Spreadsheets leave
# out spaces before it, and show none of the characters without width.
FORMULA = re.compile("[\t\r\n]|[\\s\u00ad\u200b-\u200f\u202a-\u202e\u2060\ufeff]*[=+@＝＋－＠-]")
# What XML 1.0 cannot hold, what terminals obey, and halves of characters, which come from names
# that are not UTF-8.
UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
# Windows opens a device instead of a file that is called so, whatever its ending.
DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\.|$)", re.IGNORECASE)
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
        [_doubt(_translated(row, language), min_probability) for row in rows]
        for rows in _rows(tagger, photos, top_k, batch_size)
    )


def require_limits(top_k: int, batch_size: int = 1, min_probability: float = 0.0) -> None:
    """Raises LandmarkError if one of them is not valid for `tag_photos`."""
    require_counts(top_k, batch_size)
    if not 0 <= min_probability <= 1:
        raise LandmarkError(f"min_probability is {min_probability}: it must be 0 to 1.")


def _translated(row: Tagged, language: str | None) -> Tagged:
    """`row` with its guesses in that language."""
    return replace(row, answer=row.answer and row.answer.in_language(language))


def _doubt(row: Tagged, min_probability: float) -> Tagged:
    """`row`, doubtful if it is less sure than that."""
    if row.best is None or row.best.probability >= min_probability:
        return row
    sure = f"{row.best.label} at {row.best.probability:.0%}"
    return replace(row, reason=f"Not sure enough: {sure}, below {min_probability:.0%}.")


def _rows(
    tagger: LandmarkClassifier, photos: Iterable[tuple[str, Path]], top_k: int, batch_size: int
) -> Iterator[list[Tagged]]:
    waiting: list[tuple[Tagged, Image.Image | None]] = []
    for file, path in photos:
        waiting.append(_open(file, path))
        opened = [image for _, image in waiting if image is not None]
        pixels = sum(image.width * image.height for image in opened)
        if len(waiting) >= batch_size or pixels >= MAX_BATCH_PIXELS:
            yield list(_answered(tagger, waiting, top_k))
            waiting = []
    if waiting:
        yield list(_answered(tagger, waiting, top_k))


def _open(file: str, path: Path) -> tuple[Tagged, Image.Image | None]:
    """A row without guesses, and the photo; the only place here that reads a stranger's file."""
    try:
        opened = open_safely(path)
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


def _line(row: Tagged) -> tuple[object, ...]:
    """The values of a row, in the order of COLUMNS."""
    guesses = list(row.answer or ())
    best = row.best
    others = [f"{guess.label} {guess.probability:.1%}" for guess in guesses[best is not None :]]
    facts: tuple[object, ...] = ("",) * 9
    if best:
        place = (best.place, best.region, best.country, best.country_code)
        position = (best.latitude, best.longitude)
        sure = round(best.probability, 4)
        facts = (best.label, sure, *place, *position, "; ".join(best.tags))
    return (row.file, row.status, *facts, "; ".join(others), row.reason)


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = _writable(value)
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
            "file": _writable(row.file),
            "status": row.status,
            "reason": _writable(row.reason),
            "guesses": [_facts(guess) for guess in row.answer or ()],
        }
        text = json.dumps(found, indent=2, ensure_ascii=False)
        file.write(f"{start}\n{text}".replace("\n", "\n  "))
        start = ","
    file.write("[]\n" if start == "[" else "\n]\n")


def _facts(guess: Prediction) -> dict[str, object]:
    """A guess as a JSON object."""
    return {
        "label": guess.label,
        "class_name": guess.class_name,
        "probability": guess.probability,
        "place": guess.place,
        "region": guess.region,
        "country": guess.country,
        "country_code": guess.country_code,
        "latitude": guess.latitude,
        "longitude": guess.longitude,
        "local_name": guess.local_name,
        "tags": list(guess.tags),
        "names": guess.landmark.names,
    }


def to_xmp(row: Tagged) -> str:
    """The sidecar (XMP) of a photo: title, description, keywords, city, state and coordinates.

    The coordinates are the landmark's, and left out where the camera wrote its own into the photo.
    Raises LandmarkError if the photo shows no known landmark or cannot be read.
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
        "photoshop:State": best.region,
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
            ElementTree.SubElement(facts, _tag(name)).text = _writable(text)
    ElementTree.indent(root)
    body = ElementTree.tostring(root, encoding="unicode")
    start = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    return f'{start}\n{body}\n<?xpacket end="w"?>\n'


def _tag(name: str) -> str:
    """A name like "dc:title" in ElementTree's notation."""
    prefix, local = name.split(":")
    return f"{{{NAMESPACES[prefix]}}}{local}"


def _add_list(facts: ElementTree.Element, name: str, kind: str, texts: list[str]) -> None:
    """Texts in a bag, or as the alternative for every language."""
    items = ElementTree.SubElement(ElementTree.SubElement(facts, _tag(name)), _tag(kind))
    language = {"xml:lang": "x-default"} if kind == "rdf:Alt" else {}
    for text in texts:
        ElementTree.SubElement(items, _tag("rdf:li"), language).text = _writable(text)


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


def sidecar_names(files: Iterable[str]) -> list[str]:
    """A path for the sidecar of each file, relative, safe on every system.

    No two are the same, and none is the name of a folder that another lies in.
    """
    taken: set[str] = set()
    folders: set[str] = set()
    numbers: dict[str, int] = {}
    names = []
    for file in files:
        wanted = f"{_safe_path(file)}.xmp"
        name = wanted
        while not _is_free(_same(name), taken, folders):
            numbers[wanted] = numbers.get(wanted, 1) + 1
            name = f"{numbers[wanted]}/{wanted}"
        taken.add(_same(name))
        folders.update(map(str, PurePosixPath(_same(name)).parents))
        names.append(name)
    return names


def _same(name: str) -> str:
    """The key of names that count as the same on some disks."""
    return unicodedata.normalize("NFC", name.casefold())


def _is_free(name: str, taken: set[str], folders: set[str]) -> bool:
    """Whether a file can be called so beside those in `taken`, which lie in `folders`."""
    around = map(str, PurePosixPath(name).parents)
    return name not in taken and name not in folders and taken.isdisjoint(around)


def _safe_path(file: str) -> str:
    """A path that stays inside its folder, whatever `file` contains."""
    parts = [re.sub(r'[:*?"<>|\t\r\n]', "_", part).strip(" ") for part in re.split(r"[/\\]", file)]
    kept = [_writable(part) for part in parts if part.strip(". ")]
    # Windows drops dots and spaces at the end of a folder's name.
    folders = [part.rstrip(". ") for part in kept[:-1]]
    named = [f"_{part}" if DEVICE.match(part) else part for part in (*folders, *kept[-1:])]
    return "/".join(named) or "photo"


def _writable(text: str) -> str:
    """A text with placeholders for characters that no text file can hold."""
    return UNWRITABLE.sub("\ufffd", text)
