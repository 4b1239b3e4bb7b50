"""Sidecar files (XMP), which photo programs read: what they say, and how they are called."""

from __future__ import annotations

import re
import unicodedata
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

from landmark_model import LandmarkError, Prediction
from landmark_model.files import staged
from landmark_model.library.tagging import Tagged, writable

NAMESPACES = {
    "x": "adobe:ns:meta/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "Iptc4xmpCore": "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/",
    "exif": "http://ns.adobe.com/exif/1.0/",
}
# The fields: an rdf:Alt is one text for every language, an rdf:Bag several, "" a text as it is.
FIELDS: dict[str, tuple[str, Callable[[Prediction], str | list[str] | None]]] = {
    "dc:title": ("rdf:Alt", lambda best: [best.label]),
    "dc:description": ("rdf:Alt", lambda best: [", ".join(filter(None, (best.label, best.where)))]),
    "dc:subject": ("rdf:Bag", lambda best: [*dict.fromkeys((best.label, *best.tags))]),
    "photoshop:City": ("", lambda best: best.place),
    "photoshop:State": ("", lambda best: best.region),
    "photoshop:Country": ("", lambda best: best.country),
    "Iptc4xmpCore:CountryCode": ("", lambda best: best.country_code),
    "Iptc4xmpCore:Location": ("", lambda best: best.label),
    "exif:GPSVersionID": ("", lambda best: best.latitude is not None and "2.3.0.0"),
    "exif:GPSLatitude": ("", lambda best: _degrees(best.latitude, "NS")),
    "exif:GPSLongitude": ("", lambda best: _degrees(best.longitude, "EW")),
}
# Windows opens a device instead of a file that is called so, whatever its ending.
DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\.|$)", re.IGNORECASE)


def to_xmp(row: Tagged) -> str:
    """The sidecar (XMP) of a photo: title, description, keywords, city, state and coordinates.

    The coordinates are the landmark's, and left out where the camera wrote its own into the photo.
    Raises LandmarkError if the photo shows no known landmark or cannot be read.
    """
    if row.best is None:
        raise LandmarkError(f"{row.file} has nothing to tag: {row.reason}")
    for prefix, address in NAMESPACES.items():
        ElementTree.register_namespace(prefix, address)
    root = ElementTree.Element(_tag("x:xmpmeta"))
    about = {_tag("rdf:about"): ""}
    facts = _under(_under(root, "rdf:RDF"), "rdf:Description", about)
    for name, (kind, of) in FIELDS.items():
        value = of(row.best)
        if not value or (name.startswith("exif:GPS") and row.position is not None):
            continue
        field = _under(facts, name)
        if not kind:
            field.text = writable(value)
            continue
        items, language = _under(field, kind), {"xml:lang": "x-default"}
        for text in value:
            item = _under(items, "rdf:li", language if kind == "rdf:Alt" else {})
            item.text = writable(text)
    ElementTree.indent(root)
    body = ElementTree.tostring(root, encoding="unicode")
    start = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    return f'{start}\n{body}\n<?xpacket end="w"?>\n'


def _tag(name: str) -> str:
    """A name like "dc:title" in ElementTree's notation."""
    prefix, local = name.split(":")
    return f"{{{NAMESPACES[prefix]}}}{local}"


def _under(parent: ElementTree.Element, name: str, about: dict | None = None):
    """A new element in `parent`."""
    return ElementTree.SubElement(parent, _tag(name), about or {})


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


def sidecar_names(files: Iterable[str]) -> list[str]:
    """A path for the sidecar of each file, relative, safe on every system.

    No two are the same, and none is the name of a folder that another lies in.
    """
    taken: set[str] = set()
    folders: set[str] = set()
    numbers: dict[str, int] = {}
    names = []
    for file in files:
        wanted = name = f"{_safe_path(file)}.xmp"
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
    kept = [writable(part) for part in parts if part.strip(". ")]
    # Windows drops dots and spaces at the end of a folder's name.
    folders = [part.rstrip(". ") for part in kept[:-1]]
    named = [f"_{part}" if DEVICE.match(part) else part for part in (*folders, *kept[-1:])]
    return "/".join(named) or "photo"
