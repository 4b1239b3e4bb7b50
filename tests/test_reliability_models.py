"""The program that tries hostile model folders: it tells apart what it counts."""

import json

import pytest

from benchmarks import reliability_models as tried
from landmark_model import LandmarkError


@pytest.fixture
def whole(tmp_path):
    tried.make_folder(tmp_path)
    return tmp_path


def test_refusals_answers_and_crashes_are_told_apart(whole, monkeypatch):
    fine, *_, bad = (
        case for case in tried.cases() if case.name in ("nothing wrong", "NaN in a bias")
    )
    assert tried.try_case(fine, whole).outcome == "answered"

    def crash(*_: object, **__: object) -> None:
        raise RuntimeError("out of order")

    refused = tried.try_case(bad, whole)
    assert refused.outcome == refused.expected == "refused" and "fc.bias" in refused.said
    monkeypatch.setattr(tried, "load", crash)
    crashed = tried.try_case(fine, whole)
    assert (crashed.outcome, crashed.said) == ("crashed", "RuntimeError('out of order')")


def test_memory_that_a_folder_takes_is_seen(whole, monkeypatch):
    def greedy(*_: object, **__: object) -> None:
        raise LandmarkError(f"{len(bytearray(50_000_000))} bytes")

    monkeypatch.setattr(tried, "load", greedy)
    assert tried.try_case(tried.cases()[0], whole).python_mb >= 50


def test_table_is_of_the_cases_there_are_and_none_went_wrong():
    table = json.loads(tried.OUT.read_text(encoding="utf-8"))
    assert [row["name"] for row in table["cases"]] == [case.name for case in tried.cases()]
    assert table["folders"] == table["refused"] + table["answered"] and not table["crashed"]
    assert table["not_as_expected"] == [] and table["peak_process_mb"] < 500
