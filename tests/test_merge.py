"""A sidecar of a photo program gets what it lacks and loses nothing; other programs read it."""

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from landmark_model import (
    Answer,
    LandmarkError,
    Place,
    Prediction,
    Tagged,
    find_place,
    open_safely,
    to_xmp,
)
from landmark_model.library.merge import added_to, merge, take_back

TAJ = Path(__file__).parents[1] / "examples" / "taj-mahal.jpg"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
NAMESPACES = " ".join(
    f'xmlns:{prefix}="{address}"'
    for prefix, address in {
        "D": "http://purl.org/dc/elements/1.1/",
        "ps": "http://ns.adobe.com/photoshop/1.0/",
        "exif": "http://ns.adobe.com/exif/1.0/",
        "lr": "http://ns.adobe.com/lightroom/1.0/",
        "digiKam": "http://www.digikam.org/ns/1.0/",
        "my": "urn:mine",
    }.items()
)


def sidecar(key: str = "Mount_Rushmore", language: str = "en") -> str:
    """Our own sidecar of a landmark."""
    place = find_place(key)
    answer = Answer([Prediction(place.name, key, 0.9, place)], 1.0, True)
    return to_xmp(Tagged("photo.jpg", answer.in_language(language)))


def theirs(*fields: str, attributes: str = "") -> str:
    """A sidecar of another program: prefixes of its own, several blocks, a comment."""
    blocks = "".join(
        f'\r\n  <r:Description {NAMESPACES} r:about="uuid:1" {attributes if not n else ""}>\r\n'
        f"   {field}\r\n  </r:Description>"
        for n, field in enumerate(fields)
    )
    return (
        f'<?xpacket begin="" id="x"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/"><!-- mine -->\n'
        f'<r:RDF xmlns:r="{RDF}">\n  <r:Description {NAMESPACES} r:about="uuid:1" my:rate="&lt;5"/>'
        f'{blocks}\n</r:RDF></x:xmpmeta>\n<?xpacket end="w"?>{" " * 40}\n'
    )


def merged(existing: str, fresh: str) -> str:
    """The sidecar after merging, of which nothing was lost and which stays so."""
    content = merge(existing.encode(), fresh)
    assert merge(content, fresh) == content
    return content.decode()


def keywords(text: str, field: str) -> list[str]:
    """The keywords of a list in a sidecar."""
    inside = text.split(f":{field}>")[1]
    return [item.split(">")[1].split("<")[0] for item in inside.split(":li")[1::2]]


def test_keywords_are_united_and_everything_else_is_kept_byte_for_byte():
    before = theirs(
        '<my:thing my:a="1"><my:deep/></my:thing>',
        "<D:subject><r:Seq>\n    <r:li>sun &amp; fun</r:li>\n    <r:li>MEMORIAL</r:li>\n"
        "   </r:Seq></D:subject>",
        '<D:title><r:Alt><r:li xml:lang="de">Vier Köpfe</r:li></r:Alt></D:title>',
    )
    after = merged(before, sidecar())
    assert keywords(after, "subject")[:4] == [
        "sun &amp; fun", "MEMORIAL", "Mount Rushmore National Memorial", "sculpture",
    ]  # fmt: skip
    rest = iter(after)
    assert all(letter in rest for letter in before), "only additions"
    assert "xmlns:dc=" not in after, "one prefix is enough"
    assert after.count(":title>") == 2 and "Keystone, South Dakota, United States" in after
    assert after.index('r:about="uuid:1">\n    <lr:') < after.index("</r:RDF")


def test_lists_of_paths_that_are_new_hold_the_keywords_that_were_there():
    # Programs that find such a list read no other.
    flat = "<D:subject><r:Bag><r:li>dog</r:li><r:li>Rex</r:li></r:Bag></D:subject>"
    after = merged(theirs(flat), sidecar())
    place = "Places|United States|South Dakota|Mount Rushmore National Memorial"
    assert keywords(after, "hierarchicalSubject")[:3] == [place, "dog", "Rex"]
    paths = "<lr:hierarchicalSubject><r:Bag><r:li>Pets|dog/cat|Rex</r:li></r:Bag>"
    after = merged(theirs(flat, f"{paths}</lr:hierarchicalSubject>"), sidecar())
    assert keywords(after, "hierarchicalSubject")[:2] == ["Pets|dog/cat|Rex", place]
    assert keywords(after, "TagsList")[:3] == [
        "Pets/dog\\cat/Rex", place.replace("|", "/"), "dog",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("field", "attributes", "added", "kept_out"),
    [
        ("", 'ps:Country="united states"', ["Keystone", "GPSLatitude"], [":Country>"]),
        ("<ps:City>Rapid City</ps:City>", "", ["GPSLatitude"], [":State>", ":Location>"]),
        ("", 'exif:GPSLatitude="1,2.5S"', ["Keystone"], ["GPSLongitude", "GPSVersionID"]),
        ("<D:title/>", 'ps:City=" "', ["<D:title>", ":City>Keystone"], ["<D:title/", 'City=" "']),
        ("", "D:subject='a \"b\"'", ['<r:li>a "b"</r:li>'], ["D:subject="]),
        ("<D:subject>one</D:subject>", "", ["<r:li>one</r:li>"], ["subject>one"]),
        ("<D:subject><r:Bag/></D:subject>", "", ["<r:li>sculpture</r:li>"], ["<r:Bag/"]),
    ],
    ids=["same country", "other city", "other position", "blank", "attribute", "text", "empty"],
)  # fmt: skip
def test_facts_are_added_where_there_are_none_or_the_same(field, attributes, added, kept_out):
    after = merged(theirs(field, attributes=attributes), sidecar())
    assert [text for text in added if text not in after] == []
    assert [text for text in kept_out if text in after] == []
    assert "my:rate=" in after and "<!-- mine -->" in after


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16"])
def test_encodings_of_xmp_stay_as_they_are(codec):
    before = theirs("<D:source>é 天</D:source>")
    after = merge(before.encode(codec), sidecar())
    assert after[:2] == before.encode(codec)[:2]
    assert after.decode(codec) == merged(before, sidecar())


def test_rdf_without_prefix_and_without_wrapper_is_merged():
    bare = f'<RDF xmlns="{RDF}"/>'
    after = merged(bare, sidecar())
    assert after.startswith(bare[:-2] + ">") and after.endswith("</RDF>")
    assert keywords(after, "hierarchicalSubject") == keywords(sidecar(), "hierarchicalSubject")


BOMB = "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in ("ab", "bc", "cd", "de", "ef"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("changed by hand", "not XML"),
        (theirs("<D:title>"), "not XML"),
        ("<html/>", "no XMP"),
        (f'<!DOCTYPE a [<!ENTITY a "a">{BOMB}]><a>&f;</a>', "document type"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', "document type"),
        ("<a>" * 5_000, "levels"),
        (f"<a>{'<b/>' * 200_000}</a>", "elements"),
        ('<?xml version="1.0" encoding="latin-1"?><a/>', "UTF-8"),
        ("\udcff", "UTF-8"),
    ],
    ids=lambda text: text[:16],
)  # fmt: skip
def test_what_is_no_sidecar_or_hostile_is_refused(content, reason):
    with pytest.raises(LandmarkError, match=reason):
        merge(content.encode(errors="surrogateescape"), sidecar())


# --- taken back ---


@pytest.mark.parametrize(
    "before",
    [
        theirs(),
        theirs("<D:subject><r:Bag>\r\n    <r:li>old</r:li>\r\n   </r:Bag></D:subject>"),
        theirs("<lr:hierarchicalSubject><r:Bag><r:li>A|B</r:li></r:Bag></lr:hierarchicalSubject>"),
        theirs("<D:title>mine</D:title>", attributes='ps:City="Rome"'),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
def test_what_was_added_is_taken_back_and_nothing_else(before, encoding):
    mark = "\ufeff" if encoding == "utf-16-le" else ""
    content = (mark + before).encode(encoding)
    german = merge(content, sidecar("Taj_Mahal", "de"))
    assert "Mausoleum" in german.decode(encoding)
    assert take_back(german, added_to(content, german)) == content


def test_what_somebody_changed_since_is_theirs():
    before = theirs("<D:subject><r:Bag><r:li>old</r:li></r:Bag></D:subject>").encode()
    german = merge(before, sidecar("Taj_Mahal", "de"))
    changed = german.replace(b'x-default">Taj Mahal<', b'x-default">Our trip<')
    changed = changed.replace(b"<r:li>old<", b"<r:li>old</r:li><r:li>honeymoon<")
    english = merge(take_back(changed, added_to(before, german)), sidecar("Taj_Mahal")).decode()
    found = keywords(english, "subject")
    assert found[:3] == ["old", "honeymoon", "Taj Mahal"] and "Our trip" in english
    assert "mausoleum" in found and "Mausoleum" not in english and "Indien" not in english


def test_what_was_added_is_found_as_attributes_too():
    before = theirs(
        "<my:a/>", attributes='ps:City="Agra" ps:Country="Indien" ps:State="mine" my:x="1"'
    )
    added = {"photoshop:City": ["Agra"], "photoshop:Country": ["Indien"], "dc:title": ["none"]}
    left = take_back(before.encode(), added | {"photoshop:State": ["ours"]}).decode()
    assert left == before.replace('ps:City="Agra" ps:Country="Indien" ', "")
    with pytest.raises(LandmarkError, match="no XMP"):
        take_back(b"<a/>", added)


# --- other programs ---


def exiftool(path: Path) -> dict[str, object]:
    """What exiftool finds in a file, by tag with its group."""
    run = subprocess.run(
        ["exiftool", "-json", "-G1", "-n", "-struct", str(path)], capture_output=True, check=True
    )
    return json.loads(run.stdout)[0]


needs_exiftool = pytest.mark.skipif(
    not shutil.which("exiftool"), reason="no exiftool here; apt-get install libimage-exiftool-perl"
)
needs_darktable = pytest.mark.skipif(
    not shutil.which("darktable-cli"), reason="no darktable here; apt-get install darktable"
)


@needs_exiftool
@pytest.mark.parametrize("is_merged", [False, True])
def test_exiftool_reads_all_hemispheres_and_every_field(tmp_path, is_merged):
    for latitude, longitude in [(44.123456, -103.5), (48.85837, 2.29448), (-22.9519, -43.2105),
                                (-0.000012, 179.99999)]:  # fmt: skip
        place = Place("Ä & B", None, "City", "Land", "LA", latitude, longitude,
                      tags=("one", "two"), region="State")  # fmt: skip
        row = Tagged("a.jpg", Answer([Prediction("Ä & B", "x", 0.9, place)], 1.0, True))
        path = tmp_path / "a.jpg.xmp"
        before = theirs("<D:subject><r:Bag><r:li>old</r:li></r:Bag></D:subject>")
        path.write_bytes(merge(before.encode(), to_xmp(row)) if is_merged else to_xmp(row).encode())
        found, old = exiftool(path), ["old"] * is_merged
        assert "Warning" not in str(found), found
        assert found["XMP-exif:GPSLatitude"] == pytest.approx(latitude, abs=1e-5)
        assert found["XMP-exif:GPSLongitude"] == pytest.approx(longitude, abs=1e-5)
        assert found["XMP-dc:Title"] == "Ä & B"
        assert found["XMP-dc:Subject"] == [*old, "Ä & B", "one", "two"]
        paths = ["Places|Land|State|Ä & B", *old, "one", "two"]
        assert found["XMP-lr:HierarchicalSubject"] == paths
        assert found["XMP-digiKam:TagsList"] == [path.replace("|", "/") for path in paths]
        place = [found[f"XMP-photoshop:{name}"] for name in ("City", "State", "Country")]
        assert place == ["City", "State", "Land"]


@needs_exiftool
@pytest.mark.parametrize("name", ["Taj_Mahal", "Statue_of_Liberty", "Christ_the_Redeemer"])
def test_the_line_of_the_docs_embeds_a_sidecar_in_a_copy(tmp_path, name):
    docs = (Path(__file__).parents[1] / "docs" / "library.md").read_text(encoding="utf-8")
    (line,) = [line for line in docs.splitlines() if line.startswith("exiftool ")]
    shutil.copy(TAJ, tmp_path / "photo.jpg")
    (tmp_path / "photo.jpg.xmp").write_text(sidecar(name), encoding="utf-8")
    subprocess.run(shlex.split(line), cwd=tmp_path, check=True, capture_output=True)
    found, place = exiftool(tmp_path / "tagged.jpg"), find_place(name)
    assert found["XMP-photoshop:City"] == place.place and place.tags[0] in found["XMP-dc:Subject"]
    position = open_safely(tmp_path / "tagged.jpg").position
    assert position == pytest.approx((place.latitude, place.longitude), abs=1e-4)
    assert (tmp_path / "photo.jpg").read_bytes() == TAJ.read_bytes()


@needs_exiftool
@needs_darktable
def test_darktable_reads_the_sidecar(tmp_path):
    shutil.copy(TAJ, tmp_path / "a.jpg")
    before = theirs("<D:subject><r:Bag><r:li>old</r:li></r:Bag></D:subject>")
    before = re.sub(r"\br([:=])", r"rdf\1", before)  # it reads nothing of a file with another one
    (tmp_path / "a.jpg.xmp").write_bytes(merge(before.encode(), sidecar("Taj_Mahal")))
    words = "a.jpg a.jpg.xmp out.jpg --width 64 --height 64 --core --disable-opencl --library"
    more = ":memory: --configdir conf --conf plugins/pwstorage/pwstorage_backend=none"
    alone = {"HOME": str(tmp_path), "DBUS_SESSION_BUS_ADDRESS": "disabled:"}
    subprocess.run(
        ["darktable-cli", *words.split(), *more.split()],
        cwd=tmp_path, check=True, capture_output=True, timeout=120,
        env=os.environ | alone,
    )  # fmt: skip
    found = exiftool(tmp_path / "out.jpg")
    assert found["XMP-dc:Title"] == "Taj Mahal"
    assert {"Places", "India", "Taj Mahal", "mausoleum", "old"} <= {*found["XMP-dc:Subject"]}
