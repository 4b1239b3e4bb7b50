"""Damaged photos of every format: an RGB photo or a clear error, and never much time or memory."""

import json

from benchmarks import reliability
from landmark_model import decoding
from tests.fuzz.__main__ import fuzz
from tests.fuzz.seeds import make_seeds


def test_every_seed_is_a_photo():
    for kind, contents in make_seeds().items():
        for number, content in enumerate(contents):
            assert decoding.open_measured(content).error is None, (kind, number)


def test_two_thousand_damaged_photos_keep_every_rule():
    report = fuzz(2_000, seed=7, is_quiet=True)
    assert report["broken_rules"] == []
    assert len(report["outcomes"]) == 10
    assert all(words["photo"] > 5 for words in report["outcomes"].values())
    assert all(len(words) > 1 for words in report["outcomes"].values())
    decoding.close()


def test_same_seed_damages_the_same_photos():
    assert fuzz(60, seed=3, is_quiet=True)["outcomes"] == fuzz(60, 3, is_quiet=True)["outcomes"]


def test_figures_and_page_are_written_of_photos_that_are_given(tmp_path, monkeypatch):
    monkeypatch.setattr(reliability, "SIDE_PX", 90)
    given = tmp_path / "given.jpg"
    given.write_bytes(make_seeds()["JPEG"][0])
    out = tmp_path / "out"
    reliability.main(["photos", "--costly", str(given), "--count", "20", "--out", str(out)])
    text = (out / "reliability" / "photos.json").read_text()
    report = json.loads(text)
    assert [row["photo"] for row in report["given"]] == ["given.jpg"]
    assert {row["outcome"] for row in report["given"] + report["largest"]} == {"photo"}
    assert report["damaged_on_purpose"]["count"] == 20 and str(tmp_path) not in text
    assert "| given.jpg |" in (out / "reliability.md").read_text()
