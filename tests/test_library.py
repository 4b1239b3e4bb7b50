"""A tagging run loses nothing: killed, on a full disk or among odd names, it goes on and ends."""

import csv
import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from landmark_model import LandmarkError, OpenedPhoto, open_safely
from landmark_model.classifier import Answer, Prediction
from landmark_model.library import run as library
from landmark_model.library.run import PARTIAL_NAME, LibraryRun
from landmark_model.library.tagging import tag_batches

SETTINGS = {"network": "abc", "top_k": 5}


class Killed(BaseException):
    """Ends a run in the middle, as no `except` for errors expects it."""


class Namer:
    """Stands in for a classifier: names each photo by its colour, and notes which it was asked."""

    fewest_pixels = 1_000_000

    def __init__(self) -> None:
        self.asked: list[int] = []

    def predict_batch(self, photos, top_k, batch_size):
        shades = [photo.getpixel((0, 0))[0] for photo in photos]
        self.asked += shades
        return [Answer([Prediction(f"Tower {n}", f"t{n}", 0.5 + n / 1e3)], n, True) for n in shades]


@pytest.fixture
def photos(tmp_path):
    """Ten photos, of the shades 0 to 9, in two folders."""
    found = []
    for shade in range(10):
        path = tmp_path / "photos" / ("old" if shade < 5 else "new") / f"{shade}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9), (shade,) * 3).save(path)
        found.append((path.relative_to(tmp_path / "photos").as_posix(), path))
    return found


def tag(photos, out, namer=None, settings=SETTINGS, overwrite=False):
    """A whole run; gives who was asked, what was said, the counts and the failed rows."""
    namer = namer or Namer()
    with LibraryRun(photos, out, overwrite) as run:
        waiting, said = run.plan(settings)
        run.start(settings)
        for rows in tag_batches(namer, waiting, batch_size=2):
            run.keep(rows)
        counts, failed = run.finish()
    return namer.asked, said, counts, failed


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below `folder` and what is in it."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def break_off(photos, out, module, name: str, call: int, error=None, **more) -> BaseException:
    """A run that ends in the middle of its nth call of a function of `os` or of `library`."""
    whole, calls = getattr(module, name), []

    def killing(*arguments):
        calls.append(arguments)
        if len(calls) < call:
            return whole(*arguments)
        if name == "_write_all":  # half of the line is on disk
            os.write(arguments[0], arguments[1][: len(arguments[1]) // 2])
        raise error or Killed

    with pytest.MonkeyPatch.context() as patch, pytest.raises((Killed, LandmarkError)) as caught:
        patch.setattr(module, name, killing)
        tag(photos, out, **more)
    return caught.value


# --- going on ---


@pytest.mark.parametrize(("call", "asked_again"), [(1, 10), (2, 10), (4, 6), (6, 2)])
def test_run_killed_while_it_writes_rows_goes_on(photos, tmp_path, call, asked_again):
    tag(photos, tmp_path / "unbroken")
    out = tmp_path / "out"
    break_off(photos, out, library, "_write_all", call)
    asked, said, counts, _ = tag(photos, out)
    assert asked == list(range(10))[-asked_again:]
    done = 10 - asked_again
    assert said == (f"{done} of 10 photos were already done." if done else "")
    assert counts == {"tagged": 10}
    assert contents(out) == contents(tmp_path / "unbroken")


@pytest.mark.parametrize("call", range(1, 13))
def test_run_killed_while_it_moves_a_file_goes_on(photos, tmp_path, call):
    tag(photos, tmp_path / "unbroken")
    out = tmp_path / "out"
    break_off(photos, out, library.os, "replace", call)
    before = {name for name in contents(out) if name.endswith(".xmp")}
    assert len(before) == min(call - 1, 10)
    asked, *_ = tag(photos, out)
    assert asked == list(range((call + 1) // 2 * 2, 10))
    assert contents(out) == contents(tmp_path / "unbroken")


def test_only_photos_that_changed_or_are_new_are_answered_again(photos, tmp_path):
    out = tmp_path / "out"
    break_off(photos[1:], out, library, "_write_all", 5)  # has 1 to 6
    Image.new("RGB", (9, 9), (99,) * 3).save(photos[2][1])
    photos[3][1].unlink()
    left = [photo for photo in photos if photo is not photos[3]]
    asked, said, *_ = tag(left, out)
    assert asked == [0, 99, 7, 8, 9] and said == "4 of 9 photos were already done."
    with (out / "tags.csv").open(encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert [row["landmark"] for row in rows] == [f"Tower {n}" for n in (0, 1, 99, 4, 5, 6, 7, 8, 9)]
    assert b"Tower 99" in (out / "old" / "2.png.xmp").read_bytes()


def test_other_options_start_anew_and_leave_nothing_of_the_old_answers(photos, tmp_path):
    out, other = tmp_path / "out", SETTINGS | {"network": "xyz"}

    class Nobody(Namer):
        def predict_batch(self, photos, top_k, batch_size):
            answers = super().predict_batch(photos, top_k, batch_size)
            return [Answer(answer, 0, False) for answer in answers]

    with LibraryRun(photos, out, False) as run:
        run.plan(SETTINGS)
    assert contents(out) == {}, "nothing was begun"
    break_off(photos, out, library, "_write_all", 5)
    before = contents(out)
    assert len(before) == 7
    with LibraryRun(photos, out, False) as run:
        run.plan(other)  # and then its network cannot be loaded
    assert contents(out) == before
    asked, said, counts, _ = tag(photos, out, Nobody(), other)
    assert asked == list(range(10)) and "starting anew" in said
    assert counts == {"unknown": 10} and sorted(contents(out)) == ["tags.csv", "tags.json"]


def test_sidecar_that_somebody_changed_meanwhile_is_theirs(photos, tmp_path):
    out = tmp_path / "out"
    sidecar = out / "old" / "0.png.xmp"
    for overwrite in (False, True):
        break_off(photos, out, library, "_write_all", 5, overwrite=overwrite)
        sidecar.write_text("changed by hand")
        asked, *_ = tag(photos, out, overwrite=overwrite)
        assert asked == [6, 7, 8, 9]
        assert (sidecar.read_text() == "changed by hand") != overwrite


def test_photos_that_cannot_be_read_are_tried_again_only_where_that_may_help(photos, tmp_path):
    out = tmp_path / "out"
    photos[0][1].write_text("no photo")
    away = photos[1][1].rename(tmp_path / "away")
    break_off(photos, out, library, "_write_all", 4)
    away.rename(photos[1][1])
    _, said, counts, (broken,) = tag(photos, out)
    assert said == "3 of 10 photos were already done."
    assert counts == {"tagged": 9, "unreadable": 1} and broken.file == "old/0.png"


@pytest.mark.parametrize("line", [b"\x00\x00", b"5", b"[]", b'{"rows": [{"file": "x"}]}', b"\xff"])
def test_damaged_lines_of_the_partial_file_do_no_harm(photos, tmp_path, line):
    tag(photos, tmp_path / "unbroken")
    out = tmp_path / "out"
    break_off(photos, out, library, "_write_all", 4)
    lines = (out / PARTIAL_NAME).read_bytes().splitlines(keepends=True)
    (out / PARTIAL_NAME).write_bytes(b"".join([*lines[:2], line + b"\n", *lines[2:]]))
    assert tag(photos, out)[0] == [4, 5, 6, 7, 8, 9]
    assert contents(out) == contents(tmp_path / "unbroken")


def test_only_one_run_writes_to_a_folder(photos, tmp_path):
    with LibraryRun(photos, tmp_path, False), pytest.raises(LandmarkError, match="Another run"):
        tag(photos, tmp_path)


def test_partial_file_says_nothing_of_where_a_camera_was(photos, tmp_path, monkeypatch):
    def placed(path: Path, fewest_pixels: int) -> OpenedPhoto:
        return replace(open_safely(path, fewest_pixels), position=(12.3456, 65.4321))

    monkeypatch.setattr("landmark_model.library.tagging.open_safely", placed)
    out = tmp_path / "out"
    break_off(photos, out, library, "_write_all", 4)
    text = (out / PARTIAL_NAME).read_text()
    assert "Tower 0" in text and "12.3" not in text and "65.4" not in text


# --- sidecars that are there ---

THEIRS = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description my:own="1"
 xmlns:my="urn:mine"/></rdf:RDF></x:xmpmeta>"""


@pytest.fixture
def shared(photos, tmp_path) -> Path:
    """The photos' folder, in which three have sidecars of other programs."""
    folder = tmp_path / "photos"
    for name in ("old/1.png.xmp", "old/3.xmp", "new/7.png.xmp"):
        (folder / name).write_text(THEIRS)
    return folder


def test_sidecars_of_other_programs_are_merged_and_backed_up_once(photos, shared):
    (shared / "old" / "0.png.xmp").write_text("<!DOCTYPE a><a/>")
    _, _, counts, (row,) = tag(photos, shared)
    assert counts == {"tagged": 9, "unwritten": 1} and row.file == "old/0.png"
    assert "0.png.xmp stays as it is: it has a document type" in row.reason
    found = contents(shared)
    assert found["old/0.png.xmp"] == b"<!DOCTYPE a><a/>" and "old/3.png.xmp" not in found
    for name in ("old/1.png.xmp", "old/3.xmp", "new/7.png.xmp"):
        assert b'my:own="1"' in found[name] and b"Places|Tower" in found[name]
        assert found[f"{name}.bak"] == THEIRS.encode()
    assert len([name for name in found if name.endswith(".bak")]) == 3
    tag(photos, shared)
    assert contents(shared) == found
    tag(photos, shared, overwrite=True)
    assert b"my:own" not in (shared / "old" / "3.xmp").read_bytes()
    assert (shared / "old" / "3.xmp.bak").read_text() == THEIRS


@pytest.mark.parametrize("call", range(2, 13))
def test_run_killed_while_it_merges_goes_on_and_can_start_anew(photos, shared, tmp_path, call):
    other = tmp_path / "other"
    shutil.copytree(shared, other)
    tag([(file, other / file) for file, _ in photos], other)
    expected = contents(other)
    break_off(photos, shared, library.os, "replace", call)
    with LibraryRun(photos, shared, False) as run:
        run.plan(SETTINGS | {"network": "xyz"})
        run.start(SETTINGS | {"network": "xyz"})
    for name in ("old/1.png.xmp", "old/3.xmp", "new/7.png.xmp"):
        assert (shared / name).read_text() == THEIRS, "nothing of the old answers stays"
    break_off(photos, shared, library.os, "replace", call)
    tag(photos, shared)
    assert contents(shared) == expected


# --- what cannot be written ---


@pytest.mark.parametrize(
    "odd", ["x" * 251 + ".png", "folder.png", "file.png/1.png"], ids=lambda name: name[-10:]
)
def test_photo_whose_sidecar_cannot_be_written_is_a_row_and_the_rest_go_on(photos, tmp_path, odd):
    out = tmp_path / "out"
    (out / "folder.png.xmp" / "inside").mkdir(parents=True)
    (out / "file.png").write_text("no folder")
    photos.insert(1, (odd, photos[0][1]))
    _, _, counts, (row,) = tag(photos, out)
    assert counts == {"tagged": 10, "unwritten": 1}
    assert row.file == odd and row.best.label == "Tower 0" and "sidecar" in row.reason
    listed = json.loads((out / "tags.json").read_text())[1]
    assert listed["status"] == "unwritten" and listed["guesses"][0]["label"] == "Tower 0"
    assert len([name for name in contents(out) if name.endswith(".xmp")]) == 10


def test_unwritten_sidecar_is_written_once_nothing_is_in_the_way(photos, tmp_path):
    out = tmp_path / "out"
    (out / "old" / "0.png.xmp").mkdir(parents=True)
    break_off(photos, out, library, "_write_all", 5)
    (out / "old" / "0.png.xmp").rmdir()
    asked, _, counts, failed = tag(photos, out)
    assert asked == [4, 5, 6, 7, 8, 9], "the call that said why was one of the five"
    assert counts == {"tagged": 10} and failed == []
    tag(photos, tmp_path / "unbroken")
    assert contents(out) == contents(tmp_path / "unbroken")


@pytest.mark.parametrize(
    ("module", "name", "call"), [(library, "_write_all", 4), (library.os, "replace", 7)]
)
def test_full_disk_stops_the_run_in_words_and_it_goes_on_later(
    photos, tmp_path, module, name, call
):
    out = tmp_path / "out"
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    error = break_off(photos, out, module, name, call, full)
    assert "is full" in str(error) and "run the same command again" in str(error)
    asked, *_ = tag(photos, out)
    assert 0 < len(asked) < 10
    tag(photos, tmp_path / "unbroken")
    assert contents(out) == contents(tmp_path / "unbroken")


@pytest.mark.parametrize("name", ["tags.csv", "tags.json", PARTIAL_NAME])
def test_folder_where_a_file_is_to_be_is_refused_at_the_start(photos, tmp_path, name):
    (tmp_path / "out" / name).mkdir(parents=True)
    with pytest.raises(LandmarkError, match=r"out"):
        tag(photos, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir() if path.is_file()] in (
        [], [PARTIAL_NAME],
    )  # fmt: skip
