"""A library of photos becomes rows, a table, JSON and sidecars; one bad photo spoils nothing."""

import csv
import io
import json
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from landmark_model import (
    Answer,
    CameraFacts,
    LandmarkError,
    Place,
    Prediction,
    find_place,
    load,
)
from landmark_model.library import sidecars, tagging
from landmark_model.library.sidecars import (
    NAMESPACES,
    sidecar_names,
    to_xmp,
    write_sidecars_zip,
)
from landmark_model.library.tagging import COLUMNS, Tagged, tag_photos, to_csv, to_json

EXAMPLES = Path(__file__).parents[1] / "examples"
CHRIST = Prediction(
    "Christ the Redeemer",
    "Christ_the_Redeemer",
    0.91234567,
    Place(
        "Christ the Redeemer", "Cristo Redentor", "Rio de Janeiro", "Brazil", "BR",
        -22.9519, -43.2105, tags=("statue", "Rio de Janeiro"),
    ),
)  # fmt: skip
MILL = Prediction("My Old Mill", "my_old_mill", 0.05)


def row(file: str = "photo.jpg", known: bool | None = True, best: Prediction = CHRIST, **more):
    return Tagged(file, Answer([best, MILL], 1.0, known), **more)


UNKNOWN = Tagged("cat.jpg", Answer([CHRIST, MILL], -2.0, False), "It looks like none of them.")
BROKEN = Tagged("notes.jpg", None, "notes.jpg is empty (0 bytes). Copy or download it again.")


@pytest.fixture(scope="module")
def tagger():
    return load(network="landmark_cnn", device="cpu")


def test_what_a_person_says_is_in_every_file_without_a_probability(tmp_path):
    rows = [row("a.jpg").named(MILL), UNKNOWN.named(CHRIST), row("c.jpg").rejected()]
    assert [one.status for one in rows] == ["corrected", "corrected", "rejected"]
    lines = list(csv.DictReader(io.StringIO(to_csv(rows))))
    assert [(line["landmark"], line["probability"]) for line in lines] == [
        ("My Old Mill", ""),
        ("Christ the Redeemer", ""),
        ("", ""),
    ]
    assert lines[0]["other_guesses"] == "Christ the Redeemer 91.2%"
    assert lines[2]["reason"] and lines[2]["other_guesses"].startswith("Christ the Redeemer")
    first, _, last = json.loads(to_json(rows))
    assert [guess["probability"] for guess in first["guesses"]] == [None, CHRIST.probability]
    assert last["guesses"][0]["probability"] == CHRIST.probability
    assert "<rdf:li>My Old Mill</rdf:li>" in to_xmp(rows[0])
    assert write_sidecars_zip(rows, tmp_path / "all.zip") == 2


def test_a_guess_below_the_least_is_doubtful_unless_a_person_says_so():
    doubtful = row().at_least(0.95)
    assert doubtful.status == "doubtful" and "91%, below 95%" in doubtful.reason
    assert doubtful.at_least(0.9) == row()
    for decided in (row().named(MILL), row().rejected(), UNKNOWN, BROKEN):
        assert decided.at_least(0.99) == decided


class Counter:
    """Stands in for a classifier: answers with the colour of each photo, notes the batches."""

    fewest_pixels = 1_000_000

    def __init__(self) -> None:
        self.batches: list[int] = []

    def predict_batch(self, photos, top_k, batch_size):
        assert len(photos) <= batch_size
        self.batches.append(len(photos))
        return [Answer([Prediction(str(p.getpixel((0, 0))[0]), "x", 0.5)], 0, True) for p in photos]


def grey(path: Path, value: int, side_px: int = 9) -> Path:
    Image.new("RGB", (side_px, side_px), (value,) * 3).save(path)
    return path


# --- rows ---


def test_each_photo_gets_the_answer_it_would_get_alone(tagger, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 cut off")
    names = ["taj-mahal.jpg", "colosseum.jpg", "none-of-these.jpg"]
    photos = [(name, EXAMPLES / name) for name in names]
    photos.insert(1, ("broken.jpg", broken))
    rows = list(tag_photos(tagger, iter(photos), top_k=3, batch_size=2))
    assert [row.file for row in rows] == [name for name, _ in photos]
    assert rows[1].answer is None and rows[1].status == "unreadable"
    assert "broken.jpg" in rows[1].reason and str(tmp_path) not in rows[1].reason
    for name, got in zip(names, [rows[0], *rows[2:]], strict=True):
        expected = tagger.predict(EXAMPLES / name, top_k=3)
        assert [guess.label for guess in got.answer] == [guess.label for guess in expected]
        assert got.answer[0].probability == pytest.approx(expected[0].probability, abs=1e-4)
        assert got.answer.is_known == expected.is_known


def test_rows_come_as_soon_as_their_batch_is_done_and_large_photos_in_smaller_ones(
    tmp_path, monkeypatch
):
    counter = Counter()
    photos = [(str(n), grey(tmp_path / f"{n}.png", n, side_px=23)) for n in range(5)]
    next(tag_photos(counter, iter(photos), batch_size=2))
    assert counter.batches == [2]
    monkeypatch.setattr(tagging, "MAX_BATCH_PIXELS", 1000)
    assert len(list(tag_photos(counter, photos))) == 5
    assert counter.batches == [2, 2, 2, 1]
    assert list(tag_photos(counter, [])) == []


@pytest.mark.parametrize("batch_size", [1, 3, 100])
@pytest.mark.parametrize("bad", [{0}, {1, 2}, {0, 1, 2, 3, 4}])
def test_bad_photos_are_rows_and_the_others_stay_in_order(tmp_path, batch_size, bad):
    paths = [grey(tmp_path / f"{n}.png", n) for n in range(5)]
    for n in bad:
        paths[n].write_bytes(b"")
    counter = Counter()
    photos = [(f"name {n}", path) for n, path in enumerate(paths)]
    rows = list(tag_photos(counter, photos, batch_size=batch_size))
    assert [row.file for row in rows] == [name for name, _ in photos]
    assert [n for n, row in enumerate(rows) if row.answer is None] == sorted(bad)
    assert all(row.reason for row in rows if row.answer is None)
    assert all(row.answer[0].label == str(n) for n, row in enumerate(rows) if n not in bad)
    assert sum(counter.batches) == 5 - len(bad)


def test_a_library_is_tagged_in_a_language(tagger, tmp_path):
    (tmp_path / "broken.jpg").touch()
    photos = [("taj.jpg", EXAMPLES / "taj-mahal.jpg"), ("broken.jpg", tmp_path / "broken.jpg")]
    taj, broken = tag_photos(tagger, photos, language="de")
    assert broken.answer is None and broken.status == "unreadable"
    assert broken.reason.startswith("broken.jpg ist leer")
    for text in (to_csv([taj]), to_json([taj]), to_xmp(taj)):
        assert "Mausoleum" in text and "Indien" in text and "India" not in text
    assert taj.best.class_name == "Taj_Mahal"


@pytest.mark.parametrize(("asked", "status"), [(0.5, "tagged"), (0.51, "doubtful")])
def test_photo_is_doubtful_below_the_probability_that_is_asked_for(tmp_path, asked, status):
    photos = [("a.png", grey(tmp_path / "a.png", 7))]
    (found,) = tag_photos(Counter(), photos, min_probability=asked)
    assert found.status == status and (found.best is None) == (status == "doubtful")
    line = to_csv([found]).splitlines()[1]
    assert ("7 50.0%" in line and "Not sure enough: 7 at 50%, below 51%." in line) == (
        status == "doubtful"
    )


@pytest.mark.parametrize(
    "wrong", [{"top_k": 0}, {"batch_size": 0}, {"batch_size": -3}, {"min_probability": 80}]
)
def test_fewer_than_one_is_refused_at_once(wrong):
    with pytest.raises(LandmarkError, match=next(iter(wrong))):
        tag_photos(Counter(), [], **wrong)


def test_status_tells_tagged_from_unknown_and_unreadable():
    assert [r.status for r in (row(), UNKNOWN, BROKEN)] == ["tagged", "unknown", "unreadable"]
    assert row(known=None).status == "tagged", "nobody measured a threshold"
    assert row().best is CHRIST and UNKNOWN.best is None and BROKEN.best is None


# --- table and JSON ---


def read_csv(rows) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(to_csv(rows))))


def test_table_has_a_line_for_every_photo():
    tagged, unknown, broken = read_csv([row(), UNKNOWN, BROKEN])
    assert tuple(tagged) == COLUMNS
    assert tagged["landmark"] == "Christ the Redeemer" and tagged["probability"] == "0.9123"
    assert (tagged["latitude"], tagged["longitude"]) == ("-22.9519", "-43.2105")
    assert tagged["tags"] == "statue; Rio de Janeiro"
    assert tagged["other_guesses"] == "My Old Mill 5.0%"
    assert unknown["landmark"] == "" and unknown["status"] == "unknown"
    assert unknown["other_guesses"].startswith("Christ the Redeemer 91.2%")
    assert broken["status"] == "unreadable" and broken["reason"] == BROKEN.reason
    camera = CameraFacts(None, "2024-05-01T14:02:03+02:00", "Canon", "Canon EOS R5")
    (line,) = read_csv([row(camera=camera)])
    assert (line["taken_at"], line["camera"]) == ("2024-05-01T14:02:03+02:00", "Canon EOS R5")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "＝", " =", "   @", "\u00a0+",
                                   "\u3000-", "\u200b=", "\ufeff="])  # fmt: skip
def test_no_text_is_a_formula_to_a_spreadsheet(start):
    hostile = f'{start}HYPERLINK("http://x")'
    (line,) = read_csv([row(hostile, best=Prediction(hostile, "x", 0.5, Place("", place=hostile)))])
    assert line["file"] == line["landmark"] == line["place"] == f"'{hostile}"


def test_other_texts_stay_as_they_are_in_the_table():
    names = [" photo.jpg", "a = b.jpg", "1-2.jpg", "me@home.jpg", 'a "b", c;\nd\u00e9 \u5929.jpg']
    assert [line["file"] for line in read_csv(map(row, names))] == names


def test_names_that_are_no_text_can_still_be_written(tmp_path):
    rows = [row("caf\udce9\x00.jpg")]
    for text in (to_csv(rows), to_json(rows), to_xmp(rows[0])):
        (tmp_path / "file").write_text(text, encoding="utf-8")
    assert read_csv(rows)[0]["file"] == "caf\ufffd\ufffd.jpg"


def test_json_holds_every_guess_of_every_photo():
    rows = [row("line\u2028\x85 \n.jpg"), UNKNOWN, BROKEN]
    tagged, unknown, broken = json.loads(to_json(rows))
    assert tagged["status"] == "tagged" and unknown["status"] == "unknown"
    assert tagged["guesses"][0]["probability"] == CHRIST.probability
    assert tagged["guesses"][0]["tags"] == ["statue", "Rio de Janeiro"]
    assert len(unknown["guesses"]) == 2
    assert broken["guesses"] == [] and broken["reason"] == BROKEN.reason
    for some in (rows, rows[:1], []):
        text = to_json(some)
        assert text == json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n"


def test_position_of_the_camera_is_in_no_file_and_no_other_beside_it():
    rows = [row(camera=CameraFacts((12.3456, 65.4321)))]
    for text in (to_csv(rows), to_json(rows), to_xmp(rows[0])):
        assert "12.3" not in text and "65.4" not in text and "12,20" not in text
    found = facts(to_xmp(rows[0]))
    assert not [name for name in found if "GPS" in name]
    assert found["photoshop:City"] == ["Rio de Janeiro"]


# --- sidecars ---


def facts(text: str) -> dict[str, list[str]]:
    """What a sidecar says, by property."""
    short = {address: prefix for prefix, address in NAMESPACES.items()}
    found = {}
    for node in ElementTree.fromstring(text.encode()).find(".//{*}Description"):
        address, name = node.tag[1:].split("}")
        items = [item.text for item in node.iter(f"{{{NAMESPACES['rdf']}}}li")]
        found[f"{short[address]}:{name}"] = items or [node.text]
    return found


def test_sidecar_says_what_and_where():
    found = facts(to_xmp(row()))
    assert found["dc:title"] == ["Christ the Redeemer"]
    assert found["dc:description"] == ["Christ the Redeemer, Rio de Janeiro, Brazil"]
    assert found["dc:subject"] == ["Christ the Redeemer", "statue", "Rio de Janeiro"]
    assert found["photoshop:City"] == ["Rio de Janeiro"]
    assert found["photoshop:Country"] == ["Brazil"]
    assert found["Iptc4xmpCore:CountryCode"] == ["BR"]
    assert found["exif:GPSLatitude"] == ["22,57.114000S"]
    assert found["exif:GPSLongitude"] == ["43,12.630000W"]
    exact = {0.0: "0,0.000000N", 51.9999999999: "52,0.000000N", -0.5: "0,30.000000S"}
    assert {degrees: sidecars._degrees(degrees, "NS") for degrees in exact} == exact


def test_sidecar_keeps_city_and_state_apart():
    rushmore = Prediction("Mount Rushmore", "x", 0.9, find_place("Mount_Rushmore"))
    found = facts(to_xmp(row(best=rushmore)))
    assert (found["photoshop:City"], found["photoshop:State"]) == (["Keystone"], ["South Dakota"])
    assert "Keystone, South Dakota, United States" in found["dc:description"][0]
    reef = Prediction("Great Barrier Reef", "x", 0.9, find_place("Great_Barrier_Reef"))
    found = facts(to_xmp(row(best=reef)))
    assert found["photoshop:State"] == ["Queensland"] and "photoshop:City" not in found
    (line,) = read_csv([row(best=rushmore)])
    assert (line["place"], line["region"]) == ("Keystone", "South Dakota")


def test_sidecar_of_a_landmark_without_place_has_only_its_name():
    found = facts(to_xmp(row(best=MILL)))
    lists = {"dc:subject", "lr:hierarchicalSubject", "digiKam:TagsList"}
    assert set(found) == {"dc:title", "dc:description", "Iptc4xmpCore:Location", *lists}
    assert found["digiKam:TagsList"] == ["Places/My Old Mill"]


@pytest.mark.parametrize(
    ("key", "language", "path"),
    [
        ("Delicate_Arch", None, "Places|United States|Utah|Delicate Arch"),
        ("Eiffel_Tower", "de", "Orte|Frankreich|Île-de-France|Eiffelturm"),
        ("Angkor_Wat", "fr", "Lieux|Cambodge|Siem Reap|Angkor Vat"),
        ("Marina_Bay_Sands", None, "Places|Singapore|Marina Bay Sands"),
    ],
)  # fmt: skip
def test_keywords_are_paths_to_lightroom_and_digikam_too(key, language, path):
    place = find_place(key)
    best = Prediction(place.name, key, 0.9, place).in_language(language)
    found = facts(to_xmp(row(best=best)))
    first, *others = found["lr:hierarchicalSubject"]
    assert first == path
    assert {*path.split("|")[1:], *others} >= {*found["dc:subject"]}, "a program reads one list"
    assert found["digiKam:TagsList"] == [path.replace("|", "/"), *others]
    odd = Prediction("AC/DC|Lane", "x", 0.9, Place(""))
    assert facts(to_xmp(row(best=odd)))["digiKam:TagsList"] == ["Places/AC-DC|Lane"]


def test_names_cannot_break_the_sidecar():
    hostile = '</rdf:li><x a="&\x00\ud800]]>'
    found = facts(
        to_xmp(row(best=Prediction(hostile, "x", 0.5, Place("", place=hostile, tags=(hostile,)))))
    )
    assert found["photoshop:City"] == ['</rdf:li><x a="&\ufffd\ufffd]]>']


@pytest.mark.parametrize("nothing", [UNKNOWN, BROKEN], ids=["unknown", "broken"])
def test_photo_with_nothing_to_tag_gets_no_sidecar(nothing):
    with pytest.raises(LandmarkError, match=nothing.file):
        to_xmp(nothing)


def test_zip_holds_a_sidecar_for_every_tagged_photo(tmp_path):
    path = tmp_path / "new folder" / "sidecars.zip"
    assert write_sidecars_zip(iter([row("a.jpg"), UNKNOWN, BROKEN, row("b/a.jpg")]), path) == 2
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["a.jpg.xmp", "b/a.jpg.xmp"]
        assert facts(archive.read("a.jpg.xmp").decode())["photoshop:Country"] == ["Brazil"]
    assert [entry.name for entry in path.parent.iterdir()] == ["sidecars.zip"]
    assert write_sidecars_zip([UNKNOWN], path) == 0
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == []


def test_sidecars_that_are_there_are_found_by_both_names_and_belong_to_one_photo():
    files = ["a.heic", "a.jpg", "b.jpg", "b.jpg.png", "sub/c.jpg"]
    whole = [f"{file}.xmp" for file in files]

    def names(style: str, *there: str) -> list[str]:
        return sidecar_names(files, style, there.__contains__)

    assert names("file") == whole
    assert names("file", "b.xmp", "c.xmp") == [*whole[:2], "b.xmp", *whole[3:]]
    assert names("file", "a.xmp") == ["a.xmp", *whole[1:]], "not for two photos"
    assert names("file", "a.xmp", *whole) == whole
    new = ["a.xmp", "a.jpg.xmp", "b.xmp", "b.jpg.png.xmp", "sub/c.xmp"]
    assert names("stem") == new == names("stem", *new), "b.jpg.xmp is that of b.jpg"
    assert names("stem", "sub/c.jpg.xmp")[-1] == "sub/c.jpg.xmp"


def test_photos_of_one_name_keep_their_sidecars_apart():
    names = sidecar_names(["a.jpg", "A.JPG", "a.jpg", "2/a.jpg", "a.jpg.xmp"])
    assert names == ["a.jpg.xmp", "2/A.JPG.xmp", "3/a.jpg.xmp", "2/2/a.jpg.xmp", "a.jpg.xmp.xmp"]
    assert len({name.casefold() for name in names}) == 5
    names = sidecar_names(["a.jpg", "a.jpg.xmp/b.jpg", "c.jpg.XMP/d.jpg", "C.jpg"])
    assert names == [
        "a.jpg.xmp", "2/a.jpg.xmp/b.jpg.xmp", "c.jpg.XMP/d.jpg.xmp", "2/C.jpg.xmp",
    ], "called like a folder of others"  # fmt: skip


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("CON", "_CON.xmp"),
        ("aux/nul.jpg", "_aux/_nul.jpg.xmp"),
        ("Com1 .tar.jpg", "_Com1 .tar.jpg.xmp"),
        ("lpt9 . /x.jpg", "_lpt9/x.jpg.xmp"),
        ("console/auxiliary.jpg", "console/auxiliary.jpg.xmp"),
        ("St. Peter's. /x.jpg.", "St. Peter's/x.jpg..xmp"),
        ("../../etc/passwd", "etc/passwd.xmp"),
        ("/etc/passwd", "etc/passwd.xmp"),
        ("C:\\Windows\\..\\x.jpg", "C_/Windows/x.jpg.xmp"),
        ("..", "photo.xmp"),
        ("", "photo.xmp"),
        (" .. /x.jpg", "x.jpg.xmp"),
        ("a\nb\x00.jpg", "a_b\ufffd.jpg.xmp"),
    ],
)
def test_no_name_leads_out_of_the_folder(file, name):
    assert sidecar_names([file]) == [name]
