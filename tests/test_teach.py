"""The tab that teaches: a visit knows what it was taught, and nobody else does."""

import html
import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qsl

import pytest
from PIL import Image

from landmark_model import LANGUAGES, LandmarkError, load
from landmark_model.cli import main as command_line
from landmark_model.library.index import View, open_index
from landmark_model.web.html.worldmap import picking_map
from landmark_model.web.i18n import say
from landmark_model.web.models import Models, open_models
from landmark_model.web.pages import teach
from landmark_model.web.pages.photo import PhotoTab
from landmark_model.web.pages.teach import TeachTab, Told
from landmark_model.web.photo_links import PhotoLinks
from landmark_model.web.share import SharedResult, make_link, read_link

ODD = '<img src=x onerror="alert(1)">'
ELTZ = {"place": "Wierschem", "country": "DE", "latitude": 50.205, "longitude": 7.337}


@pytest.fixture(scope="module")
def models(teachable) -> Models:
    return open_models(str(teachable()))


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[Path]:
    """Six photos of stripes, which show none of what the network was trained on."""
    folder = tmp_path_factory.mktemp("stripes")
    for number in range(6):
        photo = Image.effect_noise((120, 90), 20 + number).convert("RGB")
        for row in range(0, 90, 6):
            photo.paste((255, 255, 255), (0, row, 120, row + 1))
        photo.save(folder / f"{number}.png")
    return sorted(folder.iterdir())


@pytest.fixture
def uploads(photos) -> list[dict]:
    return [{"path": str(path), "orig_name": path.name} for path in photos]


@pytest.fixture
def tab(models) -> TeachTab:
    return TeachTab(models, "")


def visitor(**query: str) -> SimpleNamespace:
    return SimpleNamespace(headers={"accept-language": "en"}, query_params=query)


def test_a_visit_knows_what_it_was_taught_and_the_server_does_not(tab, models, uploads):
    learner = tab.teach("Burg Eltz", uploads[:4], ELTZ, True, None)
    more = tab.teach("Burg Pyrmont", uploads[4:5], {}, True, learner)
    assert learner.taught == ("Burg Eltz",) and more.taught == ("Burg Eltz", "Burg Pyrmont")
    assert models.pick("").taught == ()
    card = tab.answer(uploads[5], learner, visitor())
    assert "<h2>Burg Eltz</h2>" in card and "Wierschem, Germany" in card
    assert "Burg Eltz" not in tab.answer(uploads[5], None, visitor())


def test_what_a_visit_taught_is_a_file_that_it_loads_again(tab, uploads, tmp_path):
    learner = tab.teach("Burg Eltz", uploads[:4], {}, True, None)
    ((state, said, known, file),) = teach.outcome(lambda: learner, "Done.", None, "en")
    assert state is learner and "Done." in said and "Burg Eltz" in known and file["visible"]
    learner.save_taught(tmp_path / "mine.landmarks")
    upload = {"path": str(tmp_path / "mine.landmarks"), "orig_name": "mine.landmarks"}
    assert tab.load(upload).taught == ("Burg Eltz",)
    for odd in (None, [upload], "x", uploads[0]):
        with pytest.raises(Told, match="teach_no_file"):
            tab.load(odd)


def test_a_large_file_or_one_of_many_landmarks_is_refused(tab, uploads, monkeypatch, tmp_path):
    (tmp_path / "large.landmarks").write_bytes(b"x" * (teach.MOST_BYTES + 1))
    with pytest.raises(Told, match="teach_no_file"):
        tab.load({"path": str(tmp_path / "large.landmarks")})
    monkeypatch.setattr(teach, "MOST_LANDMARKS", 1)
    learner = tab.teach("A", uploads[:3], {}, True, None)
    with pytest.raises(Told, match="teach_full"):
        tab.teach("B", uploads[:3], {}, True, learner)
    assert tab.teach("A", uploads[3:4], {}, True, learner).taught == ("A",)
    learner.save_taught(tmp_path / "mine.landmarks")
    monkeypatch.setattr(teach, "MOST_PHOTOS", 2)
    for change in (
        lambda: tab.teach("A", uploads[3:4], {}, True, learner),
        lambda: tab.load({"path": str(tmp_path / "mine.landmarks")}),
    ):
        with pytest.raises(Told, match="teach_many"):
            change()


@pytest.mark.parametrize(
    ("name", "count", "why"),
    [("A", 21, "at most|the most"), ("A", 0, "no photos yet"), ("", 1, "Give the landmark a name"),
     ({"x": 1}, 1, "Give the landmark a name"), ("Big Ben", 1, ""), ("Eiffel tower", 1, "already"),
     ("a\u202eb", 1, "text that can be shown")],
)  # fmt: skip
def test_what_cannot_be_taught_is_said_in_a_sentence(tab, uploads, name, count, why):
    def change() -> object:
        return tab.teach(name, (uploads * 4)[:count], {}, False, None)

    ((state, said, _, _),) = teach.outcome(change, "Done.", None, "en")
    assert re.search(why or "Done.", said) and (state is None) is bool(why)


@pytest.mark.parametrize(
    ("where", "key"),
    [({"latitude": 91, "longitude": 7.3}, "position"), ({"latitude": 50.2}, "position"),
     ({"latitude": "x", "longitude": 0}, "position"), ({"place": "a\u202eb"}, "text"),
     ({"country": "x" * 101}, "text")],
)  # fmt: skip
def test_a_wrong_place_is_told_in_the_visitors_language(tab, uploads, where, key):
    for language in LANGUAGES:
        change = partial(tab.teach, "A", uploads[:1], where, False, None)
        ((_, said, _, _),) = teach.outcome(change, "Done.", None, language)
        assert html.escape(say(f"teach_{key}", language)) in said


def test_a_file_of_another_network_is_told_so(tab, teachable, uploads, tmp_path):
    other = load(teachable(1)).teach("A", [uploads[0]["path"]], anyway=True)
    other.save_taught(tmp_path / "mine.landmarks")
    with pytest.raises(Told, match="teach_other"):
        tab.load({"path": str(tmp_path / "mine.landmarks")})


def test_a_visit_forgets_what_it_was_taught_and_nothing_else(tab, uploads):
    learner = tab.teach("Burg Eltz", uploads[:4], {}, True, None)
    assert tab.forget("burg eltz", learner).taught == () and learner.taught == ("Burg Eltz",)
    for name in ("Eiffel Tower", "", None):
        with pytest.raises(Told, match="teach_unknown"):
            tab.forget(name, learner)


def test_a_name_with_html_in_it_is_text_everywhere(tab, uploads):
    learner = tab.teach(ODD, uploads[:4], {"place": ODD, "country": ODD}, True, None)
    ((_, said, known, _),) = teach.outcome(lambda: learner, ODD, None, "en")
    card = tab.answer(uploads[5], learner, visitor())
    assert html.escape(ODD) in card
    assert all(ODD not in text for text in (said, known, card))


def test_where_it_is_comes_from_the_gazetteer_or_from_the_map(tab):
    def suggest(*fields: object) -> list:
        *found, _ = tab.suggest(*fields, visitor())
        return [None if value is teach.SAME else value for value in found]

    assert suggest("Neuschwanstein", "", "", None, None)[:2] == ["Schwangau", "Germany"]
    assert suggest("Neuschwanstein", "", "", 0, 0)[2:] == [47.5576, 10.7498], "empty fields"
    assert suggest("Burg X", "", "", 48.86, 2.3) == ["Paris", None, None, None]
    assert suggest("Burg X", "Rome", "", 48.86, 2.3) == [None] * 4
    assert suggest("Burg X", "", "", 0.0, -150.0) == [None] * 4
    assert suggest({"path": "x"}, [], 7, "48", True) == [None] * 4


def test_the_map_says_where_its_middle_is():
    assert 'data-window=""' in picking_map(None, "Map")
    longitude, latitude, across, down = map(
        float, re.search('data-window="([^"]+)"', picking_map((50.2, 7.3), "Map"))[1].split()
    )
    assert (longitude, latitude) == (7.3, 50.2) and 0 < across < down


def test_a_link_to_what_was_taught_says_so_and_cannot_be_changed(tab, models, uploads, tmp_path):
    learner = tab.teach("Burg Eltz", uploads[:4], {}, True, None)
    link = re.search('data-link="([^"]+)"', tab.answer(uploads[5], learner, visitor()))[1]
    query = dict(parse_qsl(html.unescape(link)[1:]))
    card = PhotoTab(models, "", PhotoLinks(tmp_path)).open_link(visitor(**query))
    assert "<h2>Burg Eltz</h2>" in card and "taught in their visit" in card
    with pytest.raises(LandmarkError, match="changed or cut off"):
        read_link(query | {"taught": "Burg%20Elz"}, models.class_names)
    with pytest.raises(LandmarkError, match="changed or cut off"):
        read_link({k: v for k, v in query.items() if k != "taught"}, models.class_names)


@pytest.mark.parametrize("name", ["a\nb", "x" * 101, "a\u202eb", " "])
def test_a_link_shows_no_name_that_could_not_be_taught(name):
    shared = SharedResult(((name, 0.9),), True, "m@1", (name,))
    with pytest.raises(LandmarkError, match="link"):
        read_link(dict(parse_qsl(make_link(shared)[1:], keep_blank_values=True)), [])


# --- the command line ---


def test_shell_teaches_answers_tags_and_forgets(photos, teachable, tmp_path, capsys):
    folder, kept, out = str(teachable()), tmp_path / "mine.landmarks", tmp_path / "tags"
    there = ["--taught", str(kept), "--source", folder]
    given = list(map(str, photos[:4]))
    where = ["--place", "Wierschem", "--country", "DE", "--latitude", "50.2", "--longitude", "7.3"]
    assert command_line(["teach", "Burg Eltz", *given, "--anyway", *where, *there]) == 0
    assert load(folder, taught=kept).taught == ("Burg Eltz",)
    assert command_line(["predict", str(photos[5]), *there]) == 0
    assert "Burg Eltz  (Wierschem, Germany)" in capsys.readouterr().out
    assert command_line(["tag", str(photos[5].parent), "--out", str(out), "--csv", *there]) == 0
    assert "5.png,tagged,Burg Eltz" in (out / "tags.csv").read_text("utf-8-sig")
    with open_index(out, False, False) as index:
        shown = [row for *_, row in index.rows(View(), "tagged")]
    assert {row.best.where for row in shown} == {"Wierschem, Germany"}
    capsys.readouterr()
    assert command_line(["teach", "Burg Eltz", "--forget", *there]) == 0 and not kept.exists()
    assert "mine.landmarks held nothing else, and is deleted." in capsys.readouterr().out


def test_shell_says_what_cannot_be_taught(photos, teachable, tmp_path, capsys):
    there = ["--taught", str(tmp_path / "mine.landmarks"), "--source", str(teachable())]
    assert command_line(["teach", "Eiffel Tower", str(photos[0]), *there]) == 1
    assert "is known already" in capsys.readouterr().err
    assert command_line(["teach", "Burg Eltz", *there]) == 1
    assert "no photos" in capsys.readouterr().err
    assert command_line(["teach", "Burg Eltz", "s3://mine/eltz.jpg", *there]) == 1
    assert "s3://mine/eltz.jpg is an address" in capsys.readouterr().err
    (tmp_path / "list.txt").write_text("gone.jpg\n")
    (tmp_path / "eltz.cr2").touch()
    given = [f"@{tmp_path / 'list.txt'}", str(tmp_path / "eltz.cr2")]
    assert command_line(["teach", "Burg Eltz", *given, *there]) == 1
    said = capsys.readouterr().err
    assert "gone.jpg: it does not exist" in said and "eltz.cr2: it is RAW" in said
    assert not (tmp_path / "mine.landmarks").exists()
