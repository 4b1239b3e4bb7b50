"""The report is one file that needs no network, and no name of a photo can break it."""

import io
import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from landmark_model import (
    LANGUAGES,
    Answer,
    CameraFacts,
    LandmarkError,
    Prediction,
    Tagged,
    find_place,
)
from landmark_model.library import html_report, words
from landmark_model.library.html_report import write_report
from landmark_model.library.index import Row, View, open_index, to_row
from landmark_model.library.run import THUMBNAIL_PX, shrink
from landmark_model.library.words import words_in

HOSTILE = "</script><img src=x onerror=alert(1)>{{photos}}.jpg"


@pytest.fixture
def index(tmp_path):
    """An index of a photo of the Taj Mahal with a hostile name, and a broken one."""
    best = Prediction("Taj Mahal", "Taj_Mahal", 0.9, find_place("Taj_Mahal"))
    camera = CameraFacts((12.3456, 65.4321), "2024-05-01T14:02:03+02:00", "Canon", "R5", "s-12")
    tagged = Tagged(HOSTILE, Answer([best], 1.0, True), camera=camera)
    seen = [Row(f"/photos/{name}", 1, 1, name[:3]) for name in (HOSTILE, "broken.jpg")]
    thumbnail = shrink(Image.new("RGB", (900, 600), "teal"))
    with open_index(tmp_path, is_new=True, writes=True) as index:
        index.set_base(["/photos"])
        rows = [to_row(seen[0], tagged, "net"), to_row(seen[1], Tagged("b", None), "net")]
        index.put(rows, {HOSTILE[:3]: thumbnail}, [])
        yield index


def written(index, language: str | None = None) -> str:
    file = io.StringIO()
    write_report(index, View(language), file, lambda found, label: f"<i>{label}: {found}</i>")
    return file.getvalue()


def photos_in(page: str) -> list[dict]:
    return json.loads(re.search(r'id="photos">(.*?)</script>', page, re.DOTALL)[1])


def test_report_shows_every_photo_and_asks_for_nothing(index):
    page = written(index, "de")
    shown, broken = photos_in(page)
    assert shown["file"] == HOSTILE and shown["where"] == "Agra, Indien"
    assert (shown["taken"], shown["camera"]) == ("2024-05-01T14:02:03+02:00", "Canon R5")
    assert broken["status"] == "unreadable" and broken["image"] == ""
    assert "Karte" in page and 'lang="de"' in page and "{{" not in page.replace("{{photos}}", "")
    assert page.count("<script") == page.count("</script>") == 3
    outside = page.replace(json.dumps(HOSTILE).replace("<", "\\u003c"), "")
    assert not re.search(r"""https?:|src=["']|url\(|@import""", outside)


def test_report_says_nothing_of_where_a_camera_was(index):
    page = written(index)
    assert not re.search(r"12\.3|65\.4|s-12", page)


def test_pictures_of_the_report_are_small():
    with Image.open(io.BytesIO(shrink(Image.new("RGB", (900, 600))))) as image:
        assert image.size == (THUMBNAIL_PX, 160) and THUMBNAIL_PX <= 320


def test_words_of_the_report_are_there_in_each_language():
    english = words_in("en")
    template = (Path(html_report.FOLDER) / "report.html").read_text(encoding="utf-8")
    for language in LANGUAGES:
        found = words_in(language)
        assert list(found) == list(english) and all(found.values())
        gaps = [re.findall(r"{(\w+)}", text) for text in found.values()]
        assert [sorted(found) for found in gaps] == [
            sorted(re.findall(r"{(\w+)}", text)) for text in english.values()
        ]
    assert words_in("xx") == words_in(None) == english
    elsewhere = {
        "tagged",
        "unknown",
        "doubtful",
        "unreadable",
        "nothing",
        "not_known",
        "misfit_camera",
        "misfit_trip",
        "not_sure",
        "left_out",
    }
    used = {
        name for name in english if f"{{{{{name}}}}}" in template or f"words.{name}" in template
    }
    assert used | elsewhere == set(english)


def test_a_language_that_lacks_a_text_or_its_file_is_named(tmp_path, monkeypatch):
    shutil.copy(words.LOCALES / "en.json", tmp_path)
    lacking = {key: text for key, text in words_in("de").items() if key != "map"}
    (tmp_path / "de.json").write_text(json.dumps(lacking))
    monkeypatch.setattr(words, "LOCALES", tmp_path)
    words_in.cache_clear()
    for language, text in (("de", "map"), ("fr", "title")):
        with pytest.raises(LandmarkError, match=rf"'{language}' has no text '{text}'"):
            words_in(language)
    words_in.cache_clear()


def test_report_without_a_landmark_says_so_in_place_of_the_map(index):
    index.mark_gone([f"/photos/{HOSTILE}"])
    assert "Keines dieser Fotos zeigt eine mir bekannte" in written(index, "de")
    assert "<i>" not in written(index, "de")
