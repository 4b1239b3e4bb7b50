"""The page's words: complete in every language, and each visitor gets theirs."""

import json
import re
from pathlib import Path

import pytest

from landmark_model import LandmarkError, photos
from webapp import page, share
from webapp.words import LANGUAGES, all_words, explain, pick_language, say

ROOT = Path(__file__).parent.parent
TABLE = json.loads((ROOT / "webapp" / "words.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("key", TABLE)
def test_every_text_is_there_in_each_language_with_the_same_gaps(key):
    assert set(TABLE[key]) == set(LANGUAGES)
    gaps = {language: set(re.findall(r"{(\w+)}", text)) for language, text in TABLE[key].items()}
    assert all(found == gaps["en"] for found in gaps.values())
    assert all(text.strip() == text != "" for text in TABLE[key].values())


def test_every_text_is_used():
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "webapp").glob("*.py"))
    # Named by the tables' columns and by what is wrong with a photo or link.
    made_up = {key for key in TABLE if key.startswith(("col_", "why_"))}
    used = set(re.findall(r"""["'](\w+)["']""", code)) | made_up
    assert not set(TABLE) - used


def test_what_is_wrong_with_a_photo_or_link_is_said_in_the_visitors_language(tmp_path):
    said = {key.removeprefix("why_"): TABLE[key]["en"] for key in TABLE if key.startswith("why_")}
    assert said == photos.REASONS | share.REASONS
    (tmp_path / "a.jpg").touch()
    with pytest.raises(LandmarkError) as told:
        photos.open_photo(tmp_path / "a.jpg")
    assert explain(told.value, "en") == str(told.value)
    assert explain(told.value, "de").startswith("a.jpg ist leer")
    assert explain(LandmarkError("Plain words."), "de") == "Plain words."


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("fr-CH, fr;q=0.9, en;q=0.8", "fr"),
        ("zh-Hans-CN", "zh"),
        ("it, es;q=0.5, de;q=0.7", "de"),
        ("it", "en"),
        ("de;q=0, en", "en"),
        ("de;q=many", "en"),
        ("", "en"),
        (None, "en"),
    ],
)
def test_a_visitor_gets_the_language_they_read_best(accepted, language):
    assert pick_language(accepted) == language


def test_a_language_that_is_not_spoken_gets_english():
    assert say("photo", "it") == "Photo"


def test_the_browser_gets_all_words_with_the_number_of_landmarks():
    translations = page.translations(17).translations_dict
    assert set(translations) == set(LANGUAGES)
    for words in translations.values():
        assert "17" in words["explore_intro"] and "17" in words["welcome"]
        assert "200" in words["many_intro"] and "<h1>" in words["hero"]
    assert all_words(count=3)["de"]["camera"] == TABLE["camera"]["de"]
