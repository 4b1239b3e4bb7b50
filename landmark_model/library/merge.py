"""A sidecar that is there gets what it lacks: keywords are united, other facts only added.

The file of a photo program is not made anew: additions go in between its bytes, and all else stays
as it was, with comments, prefixes and fields that only that program knows. What was added can be
taken back in the same way.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from landmark_model import LandmarkError
from landmark_model.library.sidecars import FIELDS, NAMESPACES, SEPARATORS, clark, describe

MOST_BYTES = 10_000_000  # darktable's and Lightroom's have up to some megabytes, with masks
MOST_PARTS = 100_000  # elements and attributes
MOST_LEVELS = 100
LISTS = ("rdf:Bag", "rdf:Seq")
CONTAINERS = [clark(name) for name in (*LISTS, "rdf:Alt")]
MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le",
         codecs.BOM_UTF16_BE: "utf-16-be"}  # fmt: skip
Facts = dict[str, list[str]]  # what a sidecar says, by the names of FIELDS
ENCODINGS = ("UTF-8", "UTF8", "UTF-16", "UTF-16LE", "UTF-16BE", "US-ASCII", "ASCII")
START_TAG = re.compile(rb"""<([^\s/>]+)(?:[^"'>]+|"[^"]*"|'[^']*')*>""")
ATTRIBUTE = re.compile(rb"""\s+([^\s=/>]+)\s*=\s*(?:"[^"]*"|'[^']*')""")


def read_sidecar(path: Path) -> bytes:
    """The content of a sidecar. Raises LandmarkError if it is too large, OSError as files do."""
    if path.stat().st_size > MOST_BYTES:
        raise LandmarkError(f"it is larger than {MOST_BYTES / 1e6:.0f} MB")
    return path.read_bytes()


def facts_in(content: bytes) -> Facts:
    """What a sidecar says in each of FIELDS. Raises LandmarkError if it is no XMP."""
    sidecar = _Sidecar(_decoded(content)[1])
    return {name: values for name in FIELDS if (values := sidecar.values(name))}


def added_to(before: bytes, after: bytes) -> Facts:
    """What a sidecar says `after` a merge that it did not say `before`."""
    old = facts_in(before)
    new = {
        name: [value for value in values if value not in old.get(name, ())]
        for name, values in facts_in(after).items()
    }
    return {name: values for name, values in new.items() if values}


def take_back(existing: bytes, added: Facts) -> bytes:
    """A sidecar without what was `added` to it, as far as nobody changed that since.

    All else stays, byte for byte. Raises LandmarkError as `merge` does.
    """
    mark, content, codec = _decoded(existing)
    sidecar = _Sidecar(content)
    sidecar.remove({
        name: values
        for name, values in added.items()
        if FIELDS[name][0] in LISTS or _said(sidecar.values(name)) == _said(values)
    })  # fmt: skip
    left = sidecar.edited()
    _Sidecar(left)  # a mistake of ours must not spoil the file of somebody
    return existing if left == content else mark + left.decode().encode(codec)


def merge(existing: bytes, fresh: str) -> bytes:
    """A sidecar with what it has, and what it lacks of `fresh`, another sidecar.

    Keywords are appended, without doubles; title and description are added where it has none, place
    and position where what it says of them is the same. All else stays, byte for byte; merged once
    more, it does not change. Raises LandmarkError if it is no XMP, or has a document type.
    """
    mark, content, codec = _decoded(existing)
    theirs, ours = _Sidecar(content), _Sidecar(fresh.encode())
    _merge_lists(theirs, ours)
    for name, (kind, _) in FIELDS.items():
        if kind == "rdf:Alt" and not theirs.values(name) and ours.values(name):
            theirs.add(name, ours.values(name))
    for group in dict.fromkeys(kind for kind, _ in FIELDS.values() if ":" not in kind):
        _merge_group(theirs, ours, [name for name, (kind, _) in FIELDS.items() if kind == group])
    merged = theirs.edited()
    if merged == content:
        return existing
    _Sidecar(merged)  # a mistake of ours must not spoil the file of somebody
    return mark + merged.decode().encode(codec)


def _decoded(existing: bytes) -> tuple[bytes, bytes, str]:
    """The mark at the start of a file, the rest as UTF-8, and the encoding that it had."""
    mark = next(filter(existing.startswith, MARKS), b"")
    codec = MARKS.get(mark, "utf-8")
    try:
        return mark, existing[len(mark) :].decode(codec).encode(), codec
    except UnicodeError as error:
        raise LandmarkError("it is neither UTF-8 nor UTF-16") from error


def _merge_lists(theirs: _Sidecar, ours: _Sidecar) -> None:
    """Adds keywords. A list that is new starts with the keywords of the other ones.

    Programs read the first list that they know and none of the others, so that with only ours in
    it, those that are there would be lost to them.
    """
    for name, (kind, _) in FIELDS.items():
        if kind not in LISTS:
            continue
        there, wanted = theirs.values(name), ours.values(name)
        separator = SEPARATORS.get(name, "")
        if separator and not there:
            wanted = [*_others(theirs, separator), *wanted]
            wanted.sort(key=lambda keyword: separator not in keyword)  # paths come first
        if missing := _missing(there, wanted, separator):
            theirs.extend(name, missing)


def _others(theirs: _Sidecar, separator: str) -> list[str]:
    """The keywords of its lists, as paths with that separator; one in a name becomes "\\"."""
    found = []
    for name, its in SEPARATORS.items():
        paths = (path.replace(separator, "\\") for path in theirs.values(name))
        found += [path.replace(its, separator) for path in paths]
    return [*found, *theirs.values("dc:subject")]


def _missing(there: Sequence[str], wanted: Iterable[str], separator: str) -> list[str]:
    """Those of the keywords `wanted` that are not `there`, each once.

    A keyword that is part of a path which is there is there, too.
    """
    known: set[str] = set()
    missing = []
    for number, keyword in enumerate((*there, *wanted)):
        if number >= len(there) and _same(keyword) not in known:
            missing.append(keyword)
        parts = keyword.split(separator) if separator else ()
        known.update(map(_same, (keyword, *parts)))
    return missing


def _merge_group(theirs: _Sidecar, ours: _Sidecar, names: Sequence[str]) -> None:
    """Adds the fields of a group, unless one that is there says something else."""
    for name in names:
        there = theirs.values(name)
        # A version of the notation contradicts nothing.
        if there and not name.endswith("VersionID") and _said(there) != _said(ours.values(name)):
            return
    for name in names:
        if ours.values(name) and not theirs.values(name):
            theirs.add(name, ours.values(name)[0])


def _said(values: Sequence[str]) -> list[str]:
    return [_same(value) for value in values]


def _same(text: str) -> str:
    """The key of texts that are the same keyword."""
    return " ".join(unicodedata.normalize("NFC", text.casefold()).split())


@dataclass
class _Element:
    """An element of a file: names in ElementTree's notation, and its place in the bytes.

    `raw` are the names of its attributes as they are written; `end` is where its end tag starts.
    """

    name: str
    start: int
    attributes: dict[str, str]
    raw: dict[str, str]
    end: int = 0
    texts: list[str] = field(default_factory=list)
    children: list[_Element] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All that it says, in attributes and elements below it, too."""
        own = [value for name, value in self.attributes.items() if not name.endswith("}lang")]
        return " ".join(["".join(self.texts), *own, *(child.text for child in self.children)])

    @property
    def container(self) -> _Element | None:
        """The list in it, if there is one."""
        return next((child for child in self.children if child.name in CONTAINERS), None)

    @property
    def values(self) -> list[str]:
        """The texts of its list, or its one text; none that are blank."""
        items = self.container.children if self.container else [self]
        return [text for item in items if (text := item.text.strip())]


class _Sidecar:
    """A sidecar, and the changes to be made to it. Raises LandmarkError if it is none."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        root, self._prefixes = _read(content)
        tops = [*root.children, *(child for top in root.children for child in top.children)]
        found = next((top for top in tops if top.name == clark("rdf:RDF")), None)
        if found is None:
            raise LandmarkError("it is XML, but no XMP")
        self._rdf = found
        self._blocks = [top for top in found.children if top.name == clark("rdf:Description")]
        self._new: dict[str, str | Sequence[str]] = {}
        self._edits: list[tuple[int, int, bytes]] = []

    def values(self, name: str) -> list[str]:
        """What it says in a field ("dc:title"), as element or attribute; none of the additions."""
        said = [block.attributes.get(clark(name), "").strip() for block in self._blocks]
        return [*filter(None, said), *(text for found in self._find(name) for text in found.values)]

    def add(self, name: str, value: str | Sequence[str]) -> None:
        """Adds a field, instead of blank ones."""
        self._new[name] = value
        for found in self._find(name):
            self._edits.append((found.start, self._after(found), b""))
        for block in self._blocks:
            self._cut_attribute(block, name)

    def extend(self, name: str, items: Sequence[str]) -> None:
        """Appends to a list; it is made if needed, also of a single text."""
        field = next((found for found in self._find(name) if found.values), None)
        if field is None or field.container is None:
            self.add(name, [*self.values(name), *items])
            return
        prefix = self._start_tag(field.container)[1].rpartition(b":")
        li = prefix[0] + prefix[1] + b"li"
        written = [b"<%b>%b</%b>" % (li, escape(text).encode(), li) for text in items]
        self._append(field.container, written)

    def remove(self, facts: Facts) -> None:
        """Removes values, with fields, lists and blocks in which nothing is left."""
        wanted = {clark(name): set(map(_same, values)) for name, values in facts.items()}
        for block in self._blocks:
            emptied = [self._is_emptied(child, wanted) for child in block.children]
            said = [name for name in block.attributes if not name.endswith("about")]
            mine = [name for name in said if _same(block.attributes[name]) in wanted.get(name, ())]
            if emptied and all(emptied) and mine == said:
                self._cut(block)
                continue
            for child, is_emptied in zip(block.children, emptied, strict=True):
                if is_emptied:
                    self._cut(child)
                elif child.container and child.name in wanted:
                    for item in child.container.children:
                        if _same(item.text) in wanted[child.name]:
                            self._cut(item)
            for name in facts:
                if clark(name) in mine:
                    self._cut_attribute(block, name)

    def _is_emptied(self, element: _Element, wanted: dict[str, set[str]]) -> bool:
        """Whether all that a field says is among the values to be removed."""
        said = set(map(_same, element.values))
        return element.name in wanted and said <= wanted[element.name]

    def _cut(self, element: _Element) -> None:
        """Removes an element and the white space before it."""
        before = self._content[: element.start].rstrip()
        self._edits.append((len(before), self._after(element), b""))

    def _cut_attribute(self, block: _Element, name: str) -> None:
        tag = self._start_tag(block)
        for attribute in ATTRIBUTE.finditer(tag[0], len(tag[1]) + 1):
            if attribute[1].decode() == block.raw.get(clark(name)):
                start, end = (tag.start() + place for place in attribute.span())
                self._edits.append((start, end, b""))

    def edited(self) -> bytes:
        """The file with all additions."""
        if self._new:
            about = (
                block.attributes.get(clark("rdf:about")) or block.attributes.get("about")
                for block in self._blocks
            )
            block = describe(self._new, next(filter(None, about), ""))
            lead = self._lead(self._rdf)
            ElementTree.indent(block, level=len(lead.rpartition(b"\n")[2]) // 2)
            self._append(self._rdf, [self._written(block)])
        parts, position = [], 0
        for start, end, text in sorted(self._edits):
            parts += [self._content[position:start], text]
            position = end
        return b"".join([*parts, self._content[position:]])

    def _written(self, block: ElementTree.Element) -> bytes:
        """A block as XML, with the prefixes of this file: darktable reads nothing of a file that
        has two for one namespace."""
        prefixes: dict[str, str] = {}
        for usual, address in NAMESPACES.items():
            prefix = self._prefixes.get(address, usual)
            while (
                prefix in prefixes.values()
            ):  # somebody has one for two namespaces, here and there
                prefix += "_"
            prefixes[address] = prefix
        used = {node.tag[1:].partition("}")[0] for node in block.iter()}
        declared = (f' xmlns:{prefixes[address]}="{address}"' for address in sorted(used))
        return _xml(block, prefixes, "".join(declared)).encode()

    def _find(self, name: str) -> list[_Element]:
        """The elements of a field."""
        tag = clark(name)
        return [child for block in self._blocks for child in block.children if child.name == tag]

    def _append(self, parent: _Element, written: Sequence[bytes]) -> None:
        """Adds elements at the end of another one, each on a line if those there are so."""
        lead, tag = self._lead(parent), self._start_tag(parent)
        text = b"".join(lead + element for element in written)
        if tag[0].endswith(b"/>"):
            self._edits.append((tag.end() - 2, tag.end(), b">%b</%b>" % (text, tag[1])))
        else:
            place = self._after(parent.children[-1]) if parent.children else tag.end()
            self._edits.append((place, place, text))

    def _lead(self, parent: _Element) -> bytes:
        """The white space before the last element in another one."""
        before = self._content[: parent.children[-1].start] if parent.children else b""
        return before[len(before.rstrip()) :]

    def _start_tag(self, element: _Element) -> re.Match[bytes]:
        """The start tag of an element, [0], and its name in it, [1]."""
        found = START_TAG.match(self._content, element.start)
        assert found, "the parser found one"
        return found

    def _after(self, element: _Element) -> int:
        """Where an element ends."""
        tag = self._start_tag(element)
        if tag[0].endswith(b"/>"):
            return tag.end()
        return self._content.index(b">", element.end) + 1


def _xml(element: ElementTree.Element, prefixes: dict[str, str], declared: str = "") -> str:
    """An element as XML, with a prefix for each namespace."""

    def named(name: str) -> str:
        address, bracket, local = name[1:].partition("}")
        return f"{prefixes[address]}:{local}" if bracket else name

    tag = named(element.tag)
    more = "".join(f" {named(name)}={quoteattr(value)}" for name, value in element.items())
    inside = "".join(_xml(child, prefixes) + escape(child.tail or "") for child in element)
    return f"<{tag}{declared}{more}>{escape(element.text or '')}{inside}</{tag}>"


def _read(content: bytes) -> tuple[_Element, dict[str, str]]:
    """What is in a file of UTF-8 XML, in a root without name, and the prefix of each namespace."""
    root = _Element("", 0, {}, {})
    opened, count = [root], 0
    prefixes: dict[str, str] = {}
    parser = expat.ParserCreate("utf-8", "}")
    parser.namespace_prefixes = parser.buffer_text = True

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal count
        count += 1 + len(attributes)
        if count > MOST_PARTS or len(opened) > MOST_LEVELS:
            raise LandmarkError(f"it has over {MOST_PARTS:,} elements, or {MOST_LEVELS} levels")
        names = {attribute: _names(attribute) for attribute in attributes}
        known = {names[attribute][0]: value for attribute, value in attributes.items()}
        element = _Element(_names(name)[0], parser.CurrentByteIndex, known, dict(names.values()))
        opened[-1].children.append(element)
        opened.append(element)

    def name_space(prefix: str | None, address: str | None) -> None:
        if prefix and address:
            prefixes.setdefault(address, prefix)

    def end(_: str) -> None:
        opened.pop().end = parser.CurrentByteIndex

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = lambda text: opened[-1].texts.append(text)
    parser.StartNamespaceDeclHandler = name_space
    parser.StartDoctypeDeclHandler, parser.XmlDeclHandler = _refuse_type, _require_encoding
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise LandmarkError(f"it is not XML ({error})") from error
    return root, prefixes


def _refuse_type(*_: object) -> None:
    # Entities in it grow to gigabytes, or name other files.
    raise LandmarkError("it has a document type (DTD), which no XMP has")


def _require_encoding(_: str, encoding: str | None, __: int) -> None:
    if encoding and encoding.upper() not in ENCODINGS:
        raise LandmarkError("it is neither UTF-8 nor UTF-16")


def _names(name: str) -> tuple[str, str]:
    """A name in ElementTree's notation, and as it is written, from that of the parser."""
    address, _, rest = name.partition("}")
    local, _, prefix = rest.partition("}")
    if not local:
        return name, name
    return f"{{{address}}}{local}", f"{prefix}:{local}" if prefix else local
