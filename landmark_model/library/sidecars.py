"""Sidecar files (XMP), which photo programs read: what they say, and how they are called."""

from __future__ import annotations

import os
import re
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

from landmark_model import LandmarkError, Place, Prediction, is_raw
from landmark_model.files import staged
from landmark_model.library.tagging import Tagged, writable

NAMESPACES = {
    "x": "adobe:ns:meta/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "Iptc4xmpCore": "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
    "digiKam": "http://www.digikam.org/ns/1.0/",
}
# What stands between the parts of a keyword that is a path: "Places|Brazil|Rio de Janeiro".
SEPARATORS = {"lr:hierarchicalSubject": "|", "digiKam:TagsList": "/"}
# The fields. An rdf:Alt is one text for every language, an rdf:Bag and an rdf:Seq are several.
# Others are one text each; those of a group ("place") say one thing together: they are merged into
# a sidecar only where all that it says of it is the same.
FIELDS: dict[str, tuple[str, Callable[[Prediction], str | list[str] | bool | None]]] = {
    "dc:title": ("rdf:Alt", lambda best: [best.label]),
    "dc:description": ("rdf:Alt", lambda best: [", ".join(filter(None, (best.label, best.where)))]),
    "dc:subject": ("rdf:Bag", lambda best: [*dict.fromkeys((best.label, *best.tags))]),
    "lr:hierarchicalSubject": ("rdf:Bag", lambda best: _paths(best, "|")),
    "digiKam:TagsList": ("rdf:Seq", lambda best: _paths(best, "/")),
    "photoshop:City": ("place", lambda best: best.place),
    "photoshop:State": ("place", lambda best: best.region),
    "photoshop:Country": ("place", lambda best: best.country),
    "Iptc4xmpCore:CountryCode": ("place", lambda best: best.country_code),
    "Iptc4xmpCore:Location": ("place", lambda best: best.label),
    "exif:GPSVersionID": ("position", lambda best: best.latitude is not None and "2.3.0.0"),
    "exif:GPSLatitude": ("position", lambda best: _degrees(best.latitude, "NS")),
    "exif:GPSLongitude": ("position", lambda best: _degrees(best.longitude, "EW")),
}
# What is said of a photo whose trip was in a city: no title, and no coordinates, which would be
# more exact than what is known.
OF_CITY = ("dc:subject", "lr:hierarchicalSubject", "digiKam:TagsList", "photoshop:City",
           "photoshop:State", "photoshop:Country", "Iptc4xmpCore:CountryCode")  # fmt: skip
# Windows opens a device instead of a file that is called so, whatever its ending.
DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\.|$)", re.IGNORECASE)


def to_xmp(row: Tagged) -> str:
    """The sidecar (XMP) of a photo: title, description, keywords, city, state and coordinates.

    The coordinates are the landmark's, and left out where the camera wrote its own into the photo.
    Of a photo that shows no landmark, but was taken in a city of its trip, it says city, state and
    country. Raises LandmarkError if there is neither, or the photo cannot be read.
    """
    subject = row.best or (row.city and _as_subject(row.city))
    if subject is None:
        raise LandmarkError(f"{row.file} has nothing to tag: {row.reason}")
    facts: dict[str, str | Sequence[str]] = {}
    for name, (kind, of) in FIELDS.items():
        value = of(subject) if row.best or name in OF_CITY else None
        if value and not (kind == "position" and row.camera.position is not None):
            facts[name] = value
    root = ElementTree.Element(clark("x:xmpmeta"))
    ElementTree.SubElement(root, clark("rdf:RDF")).append(describe(facts))
    ElementTree.indent(root)
    body = ElementTree.tostring(root, encoding="unicode")
    start = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    return f'{start}\n{body}\n<?xpacket end="w"?>\n'


def _as_subject(near: Place) -> Prediction:
    """The city of a landmark, as if it were one itself."""
    tags = tuple(filter(None, (near.place, near.country)))
    city = replace(near, name=near.place, latitude=None, longitude=None, tags=tags, names={})
    return Prediction(city.name, "", 0.0, city)


def describe(facts: dict[str, str | Sequence[str]], about: str = "") -> ElementTree.Element:
    """An rdf:Description with fields of FIELDS by name; `about` is what it is of."""
    for prefix, address in NAMESPACES.items():
        ElementTree.register_namespace(prefix, address)
    description = ElementTree.Element(clark("rdf:Description"), {clark("rdf:about"): about})
    for name, value in facts.items():
        field = ElementTree.SubElement(description, clark(name))
        if isinstance(value, str):
            field.text = writable(value)
            continue
        kind, _ = FIELDS[name]
        items = ElementTree.SubElement(field, clark(kind))
        for text in value:
            language = {"xml:lang": "x-default"} if kind == "rdf:Alt" else {}
            ElementTree.SubElement(items, clark("rdf:li"), language).text = writable(text)
    return description


def clark(name: str) -> str:
    """A name like "dc:title" in ElementTree's notation."""
    prefix, local = name.split(":")
    return f"{{{NAMESPACES[prefix]}}}{local}"


def _paths(best: Prediction, separator: str) -> list[str]:
    """The keywords as paths: where the landmark is, down to its name, and its other tags.

    Its city stands in the path where the state or region around it is not known. All tags are
    there: programs that find paths do not read the flat keywords.
    """
    place = best.landmark
    parts = filter(None, (place.keyword_root, place.country, place.region or place.place))
    path = [part.replace(separator, "-") for part in dict.fromkeys((*parts, best.label))]
    tags = dict.fromkeys(tag.replace(separator, "-") for tag in best.tags)
    return [separator.join(path), *(tag for tag in tags if tag not in path)]


def _degrees(degrees: float | None, hemispheres: str) -> str:
    """A coordinate as XMP has it: "48,51.504000N"; "" if unknown."""
    if degrees is None:
        return ""
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


def sidecar_names(
    files: Iterable[str], style: str = "file", is_there: Callable[[str], bool] = lambda name: False
) -> list[str]:
    """A path for the sidecar of each file, relative, safe on every system.

    It is that of a sidecar which `is_there`: photo.jpg.xmp, or photo.xmp, which belongs to the
    RAW file called so, else to the first photo. A new one is called by `style`: "file" or "stem",
    where the stem is free. No two are the same, and none is the name of a folder that another lies
    in.
    """
    safe = [file if (path := _safe_path(file)) == file else path for file in files]
    order = sorted(range(len(safe)), key=lambda number: not is_raw(safe[number]))
    reserved = {key: key for path in safe if (key := _same(f"{path}.xmp"))}
    taken: set[str] = set()
    folders: set[str] = set()
    numbers: dict[str, int] = {}
    names = [""] * len(safe)
    for position, path in ((position, safe[position]) for position in order):
        whole, stem = f"{path}.xmp", f"{PurePosixPath(path).with_suffix('')}.xmp"
        wanted = [whole] if _same(stem) in reserved else [whole, stem]
        wanted = [name for name in wanted if _is_free(_same(name), taken, folders)]
        wanted = wanted[::-1] if style == "stem" else wanted
        new = [name for name in wanted if name == whole or style == "stem"]
        name = next(iter((*filter(is_there, wanted), *new)), None)
        while name is None or not _is_free(_same(name), taken, folders):
            numbers[whole] = numbers.get(whole, 1) + 1
            name = f"{numbers[whole]}/{whole}"
        key = _same(name)
        taken.add(reserved.get(key, key))  # no second text: there may be a million
        folders.update(map(str, PurePosixPath(key).parents))
        names[position] = name
    return names


def names_beside(photos: Iterable[str], style: str) -> dict[str, str]:
    """Where the sidecar of each photo lies beside it, by the paths of the photos.

    It is one that is there: photo.jpg.xmp, or photo.xmp, which belongs to the RAW file called so,
    else to the first photo. A new one is called by `style`, as in `sidecar_names`.
    """
    photos = sorted(photos, key=lambda photo: not is_raw(photo))
    taken = {f"{photo}.xmp" for photo in photos}  # another's by its whole name
    found = {}
    for photo in photos:
        whole, stem = f"{photo}.xmp", f"{os.path.splitext(photo)[0]}.xmp"
        names = [whole] if stem in taken else [whole, stem]
        names = names[::-1] if style == "stem" else names
        new = names[0] if style == "stem" else whole
        found[photo] = next(filter(os.path.isfile, names), new)
        taken.add(found[photo])
    return found


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
    kept = [writable(part) for part in parts if part.strip(". ")]
    # Windows drops dots and spaces at the end of a folder's name.
    folders = [part.rstrip(". ") for part in kept[:-1]]
    named = [f"_{part}" if DEVICE.match(part) else part for part in (*folders, *kept[-1:])]
    return "/".join(named) or "photo"
