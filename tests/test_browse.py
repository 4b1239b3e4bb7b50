"""A library is looked through over HTTP: by place, tag and date, page by page, and nothing else."""

import io
import json
import os
import re
import sqlite3
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlencode

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from landmark_model import LandmarkError, LibraryQuery, cli, open_library
from landmark_model.library.chains import decode_trips, note_network, read_choices
from landmark_model.library.index import INDEX_NAME, Row, View, open_index
from landmark_model.web import library_routes
from landmark_model.web.guard import GuardMiddleware, OriginMiddleware, Rules
from landmark_model.web.settings import read_settings
from landmark_model.web.uploads import Uploads

EXAMPLES = Path(__file__).parents[1] / "examples"
TAJ, LIBERTY = ("Taj_Mahal", "Taj Mahal"), ("Statue_of_Liberty", "Statue of Liberty")
EMPTY = json.dumps(["empty", {"name": "broken.jpg"}])


def row(path: Path, landmark: tuple[str, str] | None, taken_at: str = "", **more: object) -> Row:
    guesses = json.dumps([[*landmark, 0.9]]) if landmark else None
    status = "tagged" if landmark else "unreadable"
    facts = {"taken_at": taken_at, "status": status, "guesses": guesses, "probability": 0.9}
    return Row(str(path), 1, 1, path.name, **facts | more)


@pytest.fixture
def folder(tmp_path):
    """An index of 130 photos: two that are there, two that are away, one gone, and 125 more."""
    out = tmp_path / "tags"
    rows = [
        row(EXAMPLES / "taj-mahal.jpg", TAJ, "2024-05-01T10:00:00"),
        row(EXAMPLES / "statue-of-liberty.jpg", LIBERTY, "2023-02-03T10:00:00"),
        row(tmp_path / "secret folder" / "<b>away.jpg", TAJ, "2024-06-01T10:00:00"),
        row(tmp_path / "broken.jpg", None, error="broken.jpg is empty (0 bytes).", cause=EMPTY),
        row(tmp_path / "gone.jpg", TAJ, is_gone=True),
        *(row(tmp_path / f"{n}.jpg", LIBERTY, f"{1950 + n}-01-01T10:00:00") for n in range(125)),
    ]
    with open_index(out, True, True) as index:
        index.put(rows, {"<b>away.jpg": b"a small copy"}, [])
    return out


@pytest.fixture
def ask(folder, tmp_path):
    """Gives the answer to a request, as the guard and the routes make it."""
    rules = Rules(Uploads(tmp_path), (), lambda session: False, 2**20, has_library=True)
    app = Starlette(
        routes=library_routes.library_routes(open_library(folder)),
        middleware=[Middleware(OriginMiddleware), Middleware(GuardMiddleware, rules)],
    )

    def get(path: str = "/library", language: str = "en", origin: str = "", **query: object):
        address = f"{path}?{urlencode(query)}" if query else path
        headers = {"accept-language": language} | ({"origin": origin} if origin else {})
        return client.get(address, headers=headers)

    with TestClient(app, base_url="http://localhost") as client:
        yield get


@pytest.fixture
def opened(monkeypatch):
    """The photos that were opened, in order, and how many were at once, in each case."""
    opened, under_way, lock = [], [], threading.Lock()

    def open_slowly(path: Path, fewest_pixels: int) -> SimpleNamespace:
        with lock:
            under_way.append(path)
            opened.append((path.name, len(under_way)))
        time.sleep(0.02)  # so that others come in between
        with lock:
            under_way.remove(path)
        return SimpleNamespace(image=Image.new("RGB", (640, 480), path.read_text()))

    monkeypatch.setattr(library_routes, "open_safely", open_slowly)
    return opened


def row_of(folder: Path, name: str) -> int:
    """The number of a photo's row in the index."""
    with closing(sqlite3.connect(folder / INDEX_NAME)) as index:
        query = "SELECT rowid FROM photos WHERE path LIKE ?"
        return index.execute(query, (f"%/{name}",)).fetchone()[0]


def shown(page: str) -> list[str]:
    """The landmarks of the photos on a page."""
    return re.findall(r"<b>(.*?), ", page)


def test_photos_are_found_by_name_place_tag_date_and_status_in_the_visitors_language(ask):
    page = ask().text
    assert "129 of 129 photos" in page and len(re.findall("<li>", page)) == 60
    assert shown(ask(text="taj").text) == ["Taj Mahal"] * 2
    assert shown(ask(text="STATUE-of", language="de").text) == ["Freiheitsstatue"]
    assert shown(ask(place="Agra, India").text) == ["Taj Mahal"] * 2
    assert shown(ask(place="Agra, Indien", language="de", date="2024-05").text) == ["Taj Mahal"]
    tag = re.search(r'<select name="tag".*?<option value="([^"]+)">', page)[1]
    assert shown(ask(tag=tag).text)
    assert "Could not be read" in ask(status="unreadable").text.split("gallery")[-1]
    assert "0 of 129 photos" in ask(tag="no such tag").text


def test_pages_and_the_timeline_lead_on_and_keep_what_is_looked_for(ask):
    page = ask(text="liberty").text
    following = re.search(r'rel="next" href="([^"]+)"', page)[1].replace("&amp;", "&")
    assert following == "library?text=liberty&start=60"
    third = ask(text="liberty", start=120).text
    assert len(shown(third)) == 6
    assert '<a rel="prev"' in third and '<a rel="next"' not in third
    bar = re.search(r'<a href="([^"]+)" aria-label="2024-05-01: 1"', ask(text="taj").text)[1]
    assert bar == "library?text=taj&amp;date=2024-05-01"
    assert len(re.findall("worldmap", page)) and "Statue of Liberty (126)" in page


def test_where_nothing_is_found_no_more_is_said_of_it(ask):
    for typed in ("abc", "2024-13", "05/2024"):
        page = ask(date=typed).text
        assert "0 of 129 photos" in page and f'value="{typed}"' in page and "2024-05" in page
    page = ask(text="no such photo").text
    assert "No photos to show." in page and "when it was taken" not in page
    assert "None of these photos says when it was taken." in ask(text="broken").text


def test_the_map_is_dark_where_the_page_is(ask):
    dark = ask().text.split("@media (prefers-color-scheme: dark)")[2:]
    assert dark and dark[0].startswith(" { .worldmap {") and "--map-sea: #16212e" in dark[0]


def test_a_photo_is_a_small_copy_by_its_row_and_nothing_else_can_be_opened(ask, folder):
    found = {}
    for number in re.findall(r'src="library/photo/(\d+)"', ask(text="taj").text):
        answer = ask(f"/library/photo/{number}")
        found[answer.content == b"a small copy"] = answer
        assert answer.status_code == 200 and answer.headers["content-type"] == "image/webp"
    assert len(found) == 2, "one that is there, and the copy of one that is away"
    assert max(Image.open(io.BytesIO(found[False].content)).size) == 320
    gone, lost = row_of(folder, "gone.jpg"), row_of(folder, "7.jpg")
    for name in (gone, lost, 0, 10**6, 10**30, "9" * 5000, "-1", "1.jpg", "..%2f..%2fetc"):
        assert ask(f"/library/photo/{name}").status_code == 404


def test_few_photos_are_made_small_at_once_and_each_is_kept(ask, folder, tmp_path, opened):
    for number in range(8):
        (tmp_path / f"{number}.jpg").write_text("red")
    rows = [row_of(folder, f"{number}.jpg") for number in range(8)]
    assert ask(f"/library/photo/{rows[0]}").status_code == 200
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda row: ask(f"/library/photo/{row}").status_code, rows * 3))
    assert answers == [200] * 24
    assert max(at_once for _, at_once in opened) <= 2
    times = Counter(name for name, _ in opened)
    assert times["0.jpg"] == 1 and max(times.values()) <= 2, "two may begin the same one together"


def test_a_photo_that_has_changed_is_shown_anew(ask, folder, tmp_path, opened):
    path, row = tmp_path / "7.jpg", row_of(folder, "7.jpg")

    def colour() -> tuple[int, ...]:
        content = ask(f"/library/photo/{row}").content
        return Image.open(io.BytesIO(content)).convert("RGB").getpixel((0, 0))

    path.write_text("red")
    assert colour()[0] > 200 and colour()[0] > 200 and len(opened) == 1
    path.write_text("blue")
    assert colour()[2] > 200
    path.write_text("lime")  # of the same size
    os.utime(path, ns=(1, 1))
    assert colour()[1] > 200
    path.unlink()
    assert ask(f"/library/photo/{row}").status_code == 404


@pytest.fixture
def two_kept(monkeypatch):
    """A page that keeps two small copies; asked for before the page."""
    monkeypatch.setattr(library_routes, "PHOTOS_KEPT", 2)


def test_the_oldest_small_copies_are_forgotten(two_kept, ask, folder, tmp_path, opened):
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_text("red")
    for number in (0, 1, 0, 2, 0, 1):
        assert ask(f"/library/photo/{row_of(folder, f'{number}.jpg')}").status_code == 200
    assert [name for name, _ in opened] == ["0.jpg", "1.jpg", "2.jpg", "1.jpg"]


def test_a_page_names_no_folder_and_holds_names_as_text(ask, tmp_path):
    page = ask(text='"><script>', place="'<i>", date="<b>", start="x").text
    page += ask(text="taj").text
    assert str(tmp_path) not in page and "secret folder" not in page
    assert "<script" not in page and "<b>away" not in page and "<i>'" not in page
    assert "&lt;b&gt;away.jpg" in page


def test_pages_of_other_sites_can_neither_read_a_library_nor_show_its_photos(folder, ask):
    (number,) = re.findall(r'src="library/photo/(\d+)"', ask(text="statue-of").text)
    for path in ("/library", f"/library/photo/{number}"):
        answer = ask(path, origin="http://localhost:81")  # which gradio would let read it
        assert answer.status_code == 200
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_name_that_is_not_utf_8_is_found_by_what_of_it_can_be_shown(ask, folder, tmp_path):
    with open_index(folder, False, True) as index:
        photo = row(tmp_path / os.fsdecode(b"caf\xe9 zz.jpg"), TAJ)
        index.put([replace(photo, sha256="0")], {}, [])
    assert "caf\ufffd zz.jpg" in ask(text="ZZ").text
    assert shown(ask(text="agra").text) == ["Taj Mahal"] * 3


def at(clock: str, **guesses: float) -> Row:
    """A photo of a Canon, at a clock of a day in Paris."""
    found = [[name, name.replace("_", " "), share] for name, share in guesses.items()]
    camera = {"make": "Canon", "model": "R5", "status": "tagged" if found else "unknown"}
    facts = {"guesses": json.dumps(found or [["Petra", "Petra", 0.1]]), "is_known": bool(found)}
    share = max(guesses.values(), default=0.1)
    taken_at = f"2026-05-01T{clock}:00+02:00"
    return row(Path(f"/p/{clock}.jpg"), None, taken_at, **camera, **facts, probability=share)


def test_what_a_trip_says_of_a_photo_is_shown_as_in_the_table(ask, folder):
    with open_index(folder, False, True) as index:
        index.put([
            at("10:00", Louvre=0.9), at("10:30", Eiffel_Tower=0.95), at("10:33"),
            at("10:40", Tokyo_Tower=0.8), at("10:50", Tokyo_Tower=0.45, Eiffel_Tower=0.41),
            at("11:00", Eiffel_Tower=0.9),
        ], {}, [])  # fmt: skip
        note_network(index, "", 100)
        decode_trips(index, read_choices(None, None, None))
        table = {Path(path).name: photo for path, _, photo in index.rows(View("de"))}
        counts = index.count(0.0)
    view = open_library(folder).find(LibraryQuery("de", date="2026-05"))
    assert len(view.photos) == 6 and not [
        photo
        for photo in view.photos
        for told in [table[photo.name]]
        if (photo.status, photo.best, photo.reason) != (told.status, told.best, told.reason)
    ]
    for status in ("tagged", "unknown", "doubtful", "unreadable"):
        assert open_library(folder).find(LibraryQuery(status=status)).count == counts[status]
    page = ask(date="2026-05").text
    assert "Tokyo, Japan" not in page and "Tokyo Tower (" not in page
    assert "Eiffel Tower, 41%" in page and "Eiffel Tower (3)" in page
    fallen = ask(status="doubtful").text
    assert "Tokyo Tower at 80% does not fit the photos before and after." in fallen
    assert "<b>Not sure enough</b><small>Paris, France</small>" in fallen
    assert re.search(r"<small>Place of the trip: within \d km of Eiffel Tower</small>", fallen)
    in_paris = ask(place="Paris, France").text
    assert "6 of 135 photos" in in_paris and shown(ask(text="tokyo").text) == []


def test_a_library_is_opened_by_a_path_or_a_text(folder, tmp_path):
    assert open_library(str(folder)).find(LibraryQuery()).total == 129
    with pytest.raises(LandmarkError, match="is not a folder"):
        open_library(str(tmp_path / "nowhere"))


def test_an_index_of_before_trips_is_shown(ask, folder):
    with closing(sqlite3.connect(folder / INDEX_NAME)) as index:
        index.executescript("DROP TABLE stops; ALTER TABLE photos DROP COLUMN cause")
    assert shown(ask(text="taj").text) == ["Taj Mahal"] * 2


def test_a_photo_that_cannot_be_read_says_why_and_has_no_picture(ask):
    page = ask(status="unreadable", language="de").text
    assert "1 von 129 Fotos" in page and "broken.jpg ist leer (0 Byte)" in page
    assert "<img" not in page and "library/photo" not in page


def test_an_app_without_a_library_has_no_such_address(tmp_path):
    rules = Rules(Uploads(tmp_path), (), lambda session: False, 2**20)
    guard = GuardMiddleware(None, rules)
    assert not guard._is_route("GET", "/library") and not guard._is_route("GET", "/library/photo/1")


def test_what_is_no_index_is_refused_with_the_way_out(folder, tmp_path, monkeypatch, capsys):
    with pytest.raises(LandmarkError, match=r"is not a folder\. Make one: landmark tag"):
        open_library(tmp_path / "nowhere")
    with pytest.raises(LandmarkError, match="has no index of photos"):
        open_library(tmp_path)
    with closing(sqlite3.connect(folder / INDEX_NAME)) as index:
        index.execute("PRAGMA user_version = 99")
    with pytest.raises(LandmarkError, match="newer version of this program"):
        open_library(folder)
    (tmp_path / INDEX_NAME).write_bytes(b"no database, but long enough to look like one" * 99)
    with pytest.raises(LandmarkError, match="cannot be read as an index"):
        open_library(tmp_path)
    (tmp_path / INDEX_NAME).unlink()
    with closing(sqlite3.connect(tmp_path / INDEX_NAME)) as other:
        other.execute("CREATE TABLE photos (path)")
    with pytest.raises(LandmarkError, match="of another program"):
        open_library(tmp_path)
    assert cli.main(["serve", "--library", str(tmp_path / "nowhere")]) == 1
    assert "is not a folder" in capsys.readouterr().err


def test_a_library_is_never_shown_to_the_world(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        read_settings(["--library", "tags", "--share"])
    monkeypatch.setenv("SPACE_ID", "you/demo")
    monkeypatch.setenv("LANDMARK_LIBRARY", "tags")
    with pytest.raises(SystemExit):
        read_settings([])
    assert capsys.readouterr().err.count("nor in a Space") == 2


def test_the_index_stays_as_it_is_and_an_index_that_vanishes_is_said(ask, folder):
    before = (folder / INDEX_NAME).read_bytes()
    assert ask().status_code == 200
    assert (folder / INDEX_NAME).read_bytes() == before
    for path in folder.iterdir():
        path.unlink()
    answer = ask(language="de")
    assert answer.status_code == 503 and "kann zurzeit nicht gelesen werden" in answer.text
    assert 'name="viewport"' in answer.text and "<style>" in answer.text and "{{" not in answer.text
    assert '<a href="./">' in answer.text and answer.text.endswith("</p>\n</body>\n</html>\n")
