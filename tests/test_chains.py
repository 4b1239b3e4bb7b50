"""The photos of an index are chains by camera and clock, and exports show what came of them."""

import io
import json
import re
from datetime import timedelta

import pytest

from landmark_model import Answer, CameraFacts, LandmarkError, Prediction, Tagged, find_place
from landmark_model.library import chains, exports
from landmark_model.library.chains import decode_trips, note_network, read_choices, read_duration
from landmark_model.library.html_report import write_report
from landmark_model.library.index import View, open_index, to_row
from landmark_model.library.run import Row
from landmark_model.library.sidecar_files import SidecarFiles

CANON, PHONE = ("Canon", "Canon EOS R5", "s-1"), ("Apple", "iPhone 12", "")
SECRET = (48.871234, 2.311234)


def photo(name, clock, *guesses, camera=CANON, known=True, position=None, sha256=None) -> Row:
    """A row: at a clock such as "10:30" of a day in Paris, or a whole time."""
    taken_at = clock if len(clock) != 5 else f"2024-05-01T{clock}:00+02:00"
    found = [Prediction(find_place(n).name, n, share, find_place(n)) for n, share in guesses]
    facts = CameraFacts(position, taken_at, *camera)
    answer = Answer(found or [Prediction("Petra", "Petra", 0.1, find_place("Petra"))], 1.0,
                    known and bool(found))  # fmt: skip
    return to_row(Row(f"/p/{name}", 1, 1, sha256 or name), Tagged(name, answer, camera=facts), "n")


PARIS = [
    photo("a.jpg", "10:00", ("Louvre", 0.9)),
    photo("b.jpg", "10:30", ("Eiffel_Tower", 0.95)),
    photo("c.jpg", "10:33"),
    photo("d.jpg", "10:40", ("Tokyo_Tower", 0.8), ("Louvre", 0.01)),
    photo("e.jpg", "10:50", ("Tokyo_Tower", 0.45), ("Eiffel_Tower", 0.41)),
    photo("f.jpg", "11:00", ("Eiffel_Tower", 0.9)),
]
LATER = [photo(f"{n}.jpg", f"11:{n}", camera=PHONE) for n in range(10, 12)]


@pytest.fixture
def index(tmp_path):
    with open_index(tmp_path, is_new=True, writes=True) as index:
        index.set_base(["/p"])
        note_network(index, "n", 100)
        yield index


def put(index, *rows) -> None:
    index.put(rows, {}, [])


def decode(index, *rows, together=None, offsets=None, max_gap=None) -> list[str]:
    """Puts rows, decodes the trips, and gives the summary."""
    put(index, *rows)
    return decode_trips(index, read_choices(together, offsets, max_gap))


def shown(index, **view) -> dict[str, Tagged]:
    return {row.file: row for *_, row in index.rows(View(**view))}


def whys(index) -> dict[str, str]:
    return {name: row.why for name, row in shown(index).items()}


def test_a_guess_that_a_surer_photo_confirms_is_counted_whatever_else_was_guessed(index):
    sure, unsure = ("Eiffel_Tower", 0.95), [("Eiffel_Tower", 0.41), ("Louvre", 0.2)]
    (said,) = decode(index, photo("a.jpg", "10:00", sure), photo("b.jpg", "10:10", *unsure))
    assert "do not fit: 0, confirmed by other photos: 1;" in said
    assert index.count(0.8) == {"tagged": 2}


def test_photos_of_a_trip_help_each_other(index):
    summary = decode(index, *PARIS)
    assert summary == ["Trips: 1. Guesses that do not fit: 1, confirmed by other photos: 2; "
                       "photos placed by others: 2."]  # fmt: skip
    rows = shown(index)
    assert [row.status for row in rows.values()] == [
        "tagged", "tagged", "unknown", "doubtful", "tagged", "tagged",
    ]  # fmt: skip
    assert rows["e.jpg"].best.label == "Eiffel Tower" and rows["e.jpg"].best.probability == 0.41
    reason = "Tokyo Tower at 80% does not fit the photos before and after."
    assert rows["d.jpg"].reason == reason and rows["d.jpg"].answer[0].label == "Tokyo Tower"
    assert rows["c.jpg"].why == "between Eiffel Tower 10:30 and Eiffel Tower 11:00"
    assert rows["c.jpg"].city.place == "Paris" and rows["a.jpg"].why == "seen"
    german = shown(index, language="de")["c.jpg"]
    assert german.why == "zwischen Eiffelturm 10:30 und Eiffelturm 11:00"


@pytest.mark.parametrize(
    ("sure", "tagged"), [(0.0, 4), (0.5, 4), (0.92, 3), (0.96, 0)], ids=lambda one: str(one)
)
def test_counts_are_those_of_the_rows_at_every_threshold(index, sure, tagged):
    decode(index, *PARIS)
    rows = shown(index, min_probability=sure).values()
    statuses = [row.status for row in rows]
    assert index.count(sure) == {one: statuses.count(one) for one in {*statuses}}
    assert statuses.count("tagged") == tagged, "a guess is as sure as the photo that confirms it"


def test_cameras_help_each_other_only_if_somebody_says_that_they_travel_together(index):
    decode(index, *PARIS, *LATER)
    assert whys(index)["10.jpg"] == ""
    decode(index, together=["canon, iPhone 12"])
    assert whys(index)["10.jpg"] == "near Eiffel Tower 11:00"
    decode(index, photo("12.jpg", "11:12", camera=PHONE))
    assert whys(index)["12.jpg"] == "near Eiffel Tower 11:00", "it is kept"
    decode(index, together=["none"])
    assert whys(index)["10.jpg"] == ""


def test_picture_that_no_camera_took_is_part_of_no_trip(index):
    decode(index, *PARIS, photo("screenshot.png", "10:32", camera=("", "", "")))
    assert whys(index)["screenshot.png"] == "" and whys(index)["c.jpg"]


def test_gap_is_as_long_as_asked_for(index):
    decode(index, *PARIS, photo("z.jpg", "11:50"), max_gap="40m")
    assert whys(index)["z.jpg"] == "" and whys(index)["c.jpg"]
    decode(index, max_gap="1h")
    assert whys(index)["z.jpg"] == "near Eiffel Tower 11:00"


# --- clocks ---


def test_clock_without_an_offset_is_in_the_zone_of_the_photo_before(index):
    clock = "2024-05-01T10:35:00"
    decode(index, *PARIS, photo("local.jpg", clock), photo("same second.jpg", clock))
    why = "between Eiffel Tower 10:30 and Eiffel Tower 11:00"
    assert whys(index)["local.jpg"] == whys(index)["same second.jpg"] == why


@pytest.mark.parametrize(
    "clock",
    ["", "0000-00-00T00:00:00", "1970-01-01T00:00:07", "1970-01-01T10:00:00+02:00", "not a time",
     "2199-01-01T00:00:00"],
)  # fmt: skip
def test_clock_that_cannot_be_believed_is_part_of_no_trip_and_named(index, clock):
    summary = decode(index, *PARIS, photo("x.jpg", clock or "", ("Louvre", 0.9), camera=PHONE))
    assert any("1 photos of Apple iPhone 12" in line for line in summary)
    assert shown(index)["x.jpg"].stop is None and shown(index)["x.jpg"].best.label == "Louvre"


def test_offset_puts_a_clock_right(index):
    late = photo("p.jpg", "2024-05-01T04:33:00", camera=PHONE)
    decode(index, *PARIS, late, together=["Canon,iPhone"], offsets=["iphone=+6h"])
    assert whys(index)["p.jpg"] == "between Eiffel Tower 10:30 and Eiffel Tower 11:00"


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("6h", 360), ("+1h30m", 90), ("-01:30", -90), ("90m", 90), ("-2d", -2880), ("0h", 0),
     ("", None), ("h", None), ("1", None), ("1 day", None), ("--1h", None)],
)  # fmt: skip
def test_times_are_read_in_some_ways(text, minutes):
    assert read_duration(text) == (None if minutes is None else timedelta(minutes=minutes))


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"offsets": ["Nikon=+1h"]}, "No camera is called Nikon. These .* Canon EOS R5 s-1"),
        ({"together": ["Canon, Nikon"]}, "No camera is called Nikon"),
        ({"offsets": ["Canon"]}, "--camera-offset Canon cannot be read. Write"),
        ({"offsets": ["Canon=soon"]}, "cannot be read"),
        ({"offsets": ["=1h"]}, "cannot be read"),
        ({"together": [" , "]}, "names no camera. Write"),
        ({"max_gap": "-6h"}, "--max-gap -6h is no time from 0 to 72 hours. Write it as"),
        ({"max_gap": "often"}, "--max-gap often is no time"),
    ],
)
def test_what_cannot_be_read_or_names_no_camera_is_refused(index, given, reason):
    before = decode(index, *PARIS)
    with pytest.raises(LandmarkError, match=reason):
        decode(index, **given)
    assert decode_trips(index, {}) == before, "and not kept"


def test_offset_is_suggested_where_cameras_saw_the_same_at_other_times(index):
    names = ("Louvre", "Eiffel_Tower", "Arc_de_Triomphe", "Notre_Dame_de_Paris")
    rows = [
        photo(f"{camera[1]} {hour}.jpg", f"{hour + late:02}:0{late}", (name, 0.9), camera=camera)
        for camera, late in ((CANON, 0), (PHONE, 2))
        for hour, name in enumerate(names, 9)
    ]
    *_, line = decode(index, *rows)
    assert line == (
        "Canon EOS R5 s-1 saw what Apple iPhone 12 saw 2h before it. If its clock is wrong: "
        '--camera-offset "Canon EOS R5 s-1=2h"'
    )
    assert not decode(index, offsets=re.findall('"(.*)"', line))[1:]


# --- the same again ---


def test_stops_are_the_same_in_whatever_order_photos_came(index, tmp_path):
    decode(index, *PARIS, *LATER)
    with open_index(tmp_path / "other", is_new=True, writes=True) as other:
        note_network(other, "n", 100)
        other.set_base(["/p"])
        for row in [*PARIS, *LATER][::-1]:
            decode(other, row)
        assert shown(other) == shown(index)


def test_trips_are_decoded_again_only_if_something_has_changed(index, monkeypatch):
    decode(index, *PARIS)
    calls, real = [], chains.follow
    monkeypatch.setattr(chains, "follow", lambda *given: calls.append(1) or real(*given))
    decode_trips(index, {})
    assert not calls
    decode(index, photo("f.jpg", "11:00"))
    assert calls and shown(index)["e.jpg"].best.label == "Eiffel Tower"
    index.mark_gone(["/p/b.jpg"])
    decode_trips(index, {})
    assert whys(index)["c.jpg"] != "between Eiffel Tower 10:30 and Eiffel Tower 11:00"


def test_copies_of_one_photo_do_not_confirm_each_other(index):
    twins = [photo(f"{n}.jpg", "10:00", ("Louvre", 0.9), sha256="one") for n in (1, 2)]
    decode(index, *twins, photo("z.jpg", "10:10"))
    assert whys(index)["z.jpg"] == "" and whys(index)["2.jpg"] == "seen"


def test_long_trip_is_parted_so_that_memory_stays_flat(index, monkeypatch):
    lengths, real = [], chains.follow

    def noted(shots, max_gap):
        lengths.append(len(shots))
        return real(shots, max_gap)

    monkeypatch.setattr(chains, "follow", noted)
    monkeypatch.setattr(chains, "MOST_SHOTS", 20)
    clocks = [f"{8 + n // 12:02}:{5 * (n % 12):02}" for n in range(90) if n % 15]
    decode(index, *(photo(f"{n}.jpg", c, ("Louvre", 0.9)) for n, c in enumerate(clocks)))
    assert max(lengths) <= 20 and sum(lengths) == len(clocks)
    assert lengths[0] == 14, "at its longest pause"


def test_index_of_before_gets_its_trips(index, tmp_path):
    put(index, *PARIS)
    index._connection.execute("DROP TABLE stops")
    with open_index(tmp_path, is_new=False, writes=False) as again:
        assert shown(again)["d.jpg"].best.label == "Tokyo Tower"
        decode_trips(again, {})
        assert shown(again)["d.jpg"].best is None


# --- exports ---


def test_exports_say_where_a_trip_was_but_not_where_a_camera_was(index, tmp_path):
    rows = [photo("gps.jpg", "10:45", position=SECRET), photo("g.jpg", "10:46", camera=CANON)]
    decode(index, *PARIS, *rows)
    for kind in exports.TABLES:
        exports.write_table(kind, index, View(), tmp_path)
    SidecarFiles(index, tmp_path, tmp_path, "file", False).write(View())
    page = io.StringIO()
    write_report(index, View("de"), page, lambda found, label: "")
    line = (tmp_path / "tags.csv").read_text(encoding="utf-8-sig").splitlines()[3]
    why = "between Eiffel Tower 10:30 and GPS 10:45"
    assert line.endswith(f",{why},Eiffel Tower,5,Paris,France")
    lines = (tmp_path / "tags.jsonl").read_text(encoding="utf-8").splitlines()
    found = {one["file"]: one for one in map(json.loads, lines)}
    assert found["c.jpg"]["trip"]["near"] == "Eiffel Tower" and found["c.jpg"]["why"] == why
    assert found["a.jpg"]["trip"] is None and found["gps.jpg"]["why"] == "camera"
    photos = json.loads(re.search(r'id="photos">(.*?)</script>', page.getvalue(), re.DOTALL)[1])
    (shown,) = (one for one in photos if one["file"] == "c.jpg")
    assert shown["why"] == ["between", "Eiffelturm 10:30", "GPS 10:45"]
    assert shown["trip"][0] == "Eiffelturm"
    texts = [path.read_text(encoding="utf-8") for path in tmp_path.glob("*.[cjx]*")]
    assert not any("48.8712" in text or "2.3112" in text for text in (*texts, page.getvalue()))


def test_sidecar_has_the_city_of_the_trip_and_no_position(index, tmp_path):
    decode(index, *PARIS)
    SidecarFiles(index, tmp_path, tmp_path, "file", False).write(View("de"))
    text = (tmp_path / "c.jpg.xmp").read_text(encoding="utf-8")
    for word in ("<photoshop:City>Paris<", "<photoshop:Country>Frankreich<", ">Paris</rdf:li>",
                 ">Orte|Frankreich|"):  # fmt: skip
        assert word in text
    assert not re.search("exif:GPS|dc:title|Location|Eiffel", text)
    assert "Tokyo" not in (tmp_path / "d.jpg.xmp").read_text(encoding="utf-8")
