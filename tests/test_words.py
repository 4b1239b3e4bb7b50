"""The page's words: complete in every language, and each visitor gets theirs."""

import json
import re
from pathlib import Path

import pytest

from landmark_model import LandmarkError, photos
from landmark_model.library.addresses import UNREACHABLE
from landmark_model.places import reason_in
from landmark_model.web import i18n, share
from landmark_model.web import layout as page
from landmark_model.web.i18n import LANGUAGES, all_words, explain, pick_language, say

ROOT = Path(__file__).parent.parent
WEB = ROOT / "landmark_model" / "web"
LOCALES = {
    language: json.loads((WEB / "locales" / f"{language}.json").read_text(encoding="utf-8"))
    for language in LANGUAGES
}
ENGLISH = LOCALES["en"]["page"]
KEYS = [(section, key) for section in ("page", "quality") for key in LOCALES["en"][section]]


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_every_text_is_there_in_each_language_with_the_same_gaps(section, key):
    texts = {language: words[section][key] for language, words in LOCALES.items()}
    gaps = {language: set(re.findall(r"{(\w+)}", text)) for language, text in texts.items()}
    assert all(found == gaps["en"] for found in gaps.values())
    assert all(text.strip() == text != "" for text in texts.values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_the_same_sections_and_keys_as_english(language):
    shapes = {name: {s: list(v) for s, v in words.items()} for name, words in LOCALES.items()}
    assert shapes[language] == shapes["en"]


def test_a_language_with_only_one_of_its_files_is_named(monkeypatch):
    monkeypatch.setattr(i18n, "LANGUAGES", (*LANGUAGES, "it"))
    with pytest.raises(LandmarkError, match=r"'it' has no file .*web/locales/it.json"):
        say("photo_alt", "it")


def test_every_text_is_used():
    code = "".join(path.read_text(encoding="utf-8") for path in WEB.rglob("*.py"))
    # Named by the networks, the tables' columns, and what is wrong with a photo or link.
    made_up = {key for key in ENGLISH if key.startswith(("about_", "col_", "why_"))}
    used = set(re.findall(r"""["'](\w+)["']""", code)) | made_up
    assert not set(ENGLISH) - used


def test_what_is_wrong_with_a_photo_or_link_is_said_in_the_visitors_language(tmp_path):
    said = {k.removeprefix("why_"): text for k, text in ENGLISH.items() if k.startswith("why_")}
    assert said == share.REASONS
    reasons = photos.REASONS | {"unreachable": UNREACHABLE}
    english = {reason: reason_in("en", reason) for reason in reasons}
    assert english == reasons
    for language in LANGUAGES:
        for reason, text in english.items():
            gaps = [re.findall(r"{(\w+)}", one) for one in (text, reason_in(language, reason))]
            assert sorted(gaps[0]) == sorted(gaps[1])
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
    assert say("photo_alt", "it") == say("photo_alt", "en"), "where it is not spoken"


def test_the_browser_gets_all_words_with_numbers_and_names_in_them():
    titles = [("ResNet18", "resnet18"), ("My own", "mine")]
    translations = page.translations(17, titles).translations_dict
    assert set(translations) == set(LANGUAGES)
    for words in translations.values():
        assert "17" in words["explore_intro"] and "17" in words["welcome"]
        assert "200" in words["many_intro"] and "<h1>" in words["hero"]
        assert words["about_mine"] == "My own" and words["about_resnet18"].startswith("ResNet18")
        assert len(words["about_resnet18"]) > len("ResNet18: ")
    assert all_words(count=3)["de"]["camera"] == LOCALES["de"]["page"]["camera"]


def test_every_network_that_ships_has_a_sentence_and_the_most_accurate_is_called_so(models):
    assert {f"about_{n}" for n in models.taggers} == {k for k in ENGLISH if k.startswith("about_")}
    best = max(models.taggers, key=lambda network: models.metrics(network).test["top1"])
    assert "most accurate" in ENGLISH[f"about_{best}"]
