"""An index survives what happens to it and to the photos; nothing is answered twice or lost."""

import csv
import errno
import io
import json
import os
import resource
import shutil
import sqlite3
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import fsspec
import pyarrow.parquet
import pytest
from fsspec import AbstractFileSystem
from PIL import Image

from landmark_model import Answer, LandmarkError, Prediction, find_place
from landmark_model.folders import find_named
from landmark_model.library import addresses, exports, parquet, run, sidecar_files, tagging
from landmark_model.library.addresses import find_at
from landmark_model.library.index import INDEX_NAME, Index, View, open_index
from landmark_model.library.run import LibraryRun, common_folder, make_plan, named_paths
from landmark_model.library.sidecar_files import SidecarFiles


class Killed(BaseException):
    """Ends a run in the middle, as no `except` for errors expects it."""


class Namer:
    """Stands in for a classifier: names each photo by its shade, and notes which it was asked."""

    fewest_pixels, batch_size = 1_000_000, 2

    def __init__(self, class_name: str = "") -> None:
        self.asked: list[int] = []
        self.class_name = class_name

    def predict_batch(self, photos, top_k, batch_size):
        shades = [photo.getpixel((0, 0))[0] for photo in photos]
        self.asked += shades
        return [Answer([self.guess(shade)], shade, True) for shade in shades]

    def guess(self, shade: int) -> Prediction:
        place = find_place(self.class_name or f"tower_{shade}")
        return Prediction(place.name, self.class_name or f"tower_{shade}", 0.5 + shade / 1e3, place)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(run, "usable_cores", lambda: 1)
    monkeypatch.setattr(run, "AHEAD", 1)  # in an order that tests know


@pytest.fixture
def photos(tmp_path) -> Path:
    """A folder of ten photos, of the shades 0 to 9, in two subfolders."""
    for shade in range(10):
        paint(tmp_path / "photos" / ("a" if shade < 5 else "b") / f"{shade}.png", shade)
    return tmp_path / "photos"


def paint(path: Path, shade: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 9), (shade,) * 3).save(path)
    return path


def answer(index: Index, folder: Path, namer=None, stamp: str = "one", again: bool = False) -> list:
    """Answers what is new in a folder; gives the shades that were asked."""
    namer, found = namer or Namer(), find_named([folder], folder)
    index.set_base([folder])
    paths = [*found.paths, *found.raw]
    plan = make_plan(index, paths, [folder], stamp if again else None)
    for _ in LibraryRun(index, namer, stamp, again).answer(plan.waiting):
        pass
    return namer.asked


def tag(folder: Path, out: Path, **more) -> list[int]:
    with open_index(out, is_new=True, writes=True) as index:
        return answer(index, folder, **more)


def rows(out: Path, view: View | None = None) -> dict:
    """The rows by their names."""
    with open_index(out, is_new=False, writes=False) as index:
        return {shown.row.file: shown.row for shown in index.rows(view or View())}


def whole(out: Path) -> list[str]:
    """All that is in an index, as text."""
    connection = sqlite3.connect(out / INDEX_NAME)
    found = list(connection.iterdump())
    connection.close()
    return sorted(line.replace(str(out), "OUT") for line in found)


def break_off(module, name: str, call: int, action, error=None) -> None:
    """Does something that ends in the nth call of a function; by default as if it were killed."""
    real, calls = getattr(module, name), []

    def killing(*arguments, **more):
        calls.append(arguments)
        if len(calls) == call:
            raise error or Killed
        return real(*arguments, **more)

    with pytest.MonkeyPatch.context() as patch, pytest.raises((Killed, LandmarkError)) as caught:
        patch.setattr(module, name, killing)
        action()
    return caught.value


# --- going on ---


@pytest.mark.parametrize(("call", "asked_again"), [(1, 10), (3, 6), (5, 2)])
def test_run_that_ends_in_the_middle_goes_on_with_the_same_batches(
    photos, tmp_path, call, asked_again
):
    assert tag(photos, tmp_path / "unbroken") == list(range(10))
    out = tmp_path / "out"
    break_off(run.Keeper, "keep", call, lambda: tag(photos, out))
    assert len(rows(out)) == 10 - asked_again
    assert tag(photos, out) == list(range(10))[-asked_again:]
    assert whole(out) == whole(tmp_path / "unbroken")
    assert tag(photos, out) == []


def test_photos_are_known_by_their_bytes_wherever_they_are(photos, tmp_path):
    out = tmp_path / "out"
    tag(photos, out)
    os.utime(photos / "a" / "0.png", (1, 1))
    (photos / "a" / "1.png").rename(photos / "moved.png")
    shutil.copy(photos / "a" / "2.png", photos / "copy.png")
    (photos / "a" / "3.png").unlink()
    paint(photos / "a" / "4.png", 99)
    paint(photos / "b" / "5 again.png", 100)
    shutil.copy(photos / "b" / "5 again.png", photos / "b" / "twin.png")
    assert tag(photos, out) == [99, 100]
    found = {name: row.best.label for name, row in rows(out).items()}
    assert found == {
        "a/0.png": "Tower 0", "moved.png": "Tower 1", "a/2.png": "Tower 2", "copy.png": "Tower 2",
        "a/4.png": "Tower 99", "b/5 again.png": "Tower 100", "b/twin.png": "Tower 100",
        **{f"b/{n}.png": f"Tower {n}" for n in range(5, 10)},
    }  # fmt: skip
    paint(photos / "a" / "3.png", 3)
    assert tag(photos, out) == [] and "a/3.png" in rows(out), "it came back"


def test_copies_in_a_folder_that_is_renamed_are_moved_and_leave_none_behind(photos, tmp_path):
    out = tmp_path / "out"
    shutil.copy(photos / "a" / "0.png", photos / "a" / "copy.png")
    (photos / "a" / "1.nef").write_text("RAW")
    (photos / "a" / "1.png").rename(photos / "a" / "1.jpg")
    tag(photos, out)
    (photos / "a").rename(photos / "z")
    assert tag(photos / "z", out) == []
    assert sorted(rows(out)) == [
        *(f"b/{n}.png" for n in range(5, 10)), "z/0.png", "z/1.jpg", "z/1.nef",
        *(f"z/{n}.png" for n in range(2, 5)), "z/copy.png",
    ]  # fmt: skip


def test_folder_that_is_away_keeps_its_answers(photos, tmp_path):
    out = tmp_path / "out"
    tag(photos, out)
    away = (photos / "b").rename(tmp_path / "away")
    tag(photos, out)
    assert len(rows(out)) == 5
    away.rename(photos / "b")
    assert tag(photos, out) == [] and len(rows(out)) == 10


def test_folder_that_vanishes_in_the_middle_is_rows_with_a_reason_until_it_is_back(
    photos, tmp_path
):
    out, real = tmp_path / "out", run.look

    def vanish(path):
        if path.endswith("5.png"):
            (photos / "b").rename(tmp_path / "away")
        return real(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "look", vanish)
        assert tag(photos, out) == [0, 1, 2, 3, 4]
    found = rows(out)
    assert len(found) == 10 and found["b/7.png"].reason == "7.png does not exist. Check the path."
    (tmp_path / "away").rename(photos / "b")
    assert tag(photos, out) == [5, 6, 7, 8, 9]
    assert all(row.best for row in rows(out).values())


def test_broken_photo_is_a_row_and_tried_again_only_once_it_changed(photos, tmp_path, monkeypatch):
    out, looked = tmp_path / "out", []
    (photos / "a" / "0.png").write_text("no photo")
    shutil.copy(photos / "a" / "0.png", photos / "a" / "00.png")
    assert tag(photos, out) == list(range(1, 10))
    for name in ("0.png", "00.png"):
        row = rows(out)[f"a/{name}"]
        assert row.status == "unreadable" and row.reason.startswith(f"{name} is not a photo")
        assert rows(out, View("de"))[f"a/{name}"].reason.startswith(f"{name} ist kein lesbares")
    monkeypatch.setattr(run, "look", looked.append)
    assert tag(photos, out) == [] and looked == []


def test_another_network_answers_anew_only_where_asked(photos, tmp_path):
    out = tmp_path / "out"
    tag(photos, out)
    shutil.copy(photos / "a" / "0.png", photos / "z.png")
    assert tag(photos, out, stamp="two") == [], "a copy takes the answer that is there"
    break_off(run.Keeper, "keep", 3, lambda: tag(photos, out, stamp="two", again=True))
    with open_index(out, is_new=False, writes=False) as index:
        assert index.count_others("two") == 7
    assert tag(photos, out, stamp="two", again=True) == [4, 5, 6, 7, 8, 9]
    assert tag(photos, out, stamp="two", again=True) == []


# --- the file ---


def test_one_run_writes_to_an_index_while_others_read_it(photos, tmp_path):
    out = tmp_path / "out"
    with open_index(out, is_new=True, writes=True) as index:
        answer(index, photos)
        assert len(rows(out)) == 10
        with pytest.raises(LandmarkError, match="Another run"):
            tag(photos, out)
    with open_index(out, is_new=False, writes=False):
        assert tag(photos, out) == []


def test_file_that_is_none_of_ours_is_refused_and_left_alone(photos, tmp_path):
    def refused(match: str) -> None:
        before = (tmp_path / INDEX_NAME).read_bytes()
        with pytest.raises(LandmarkError, match=match):
            tag(photos, tmp_path)
        assert (tmp_path / INDEX_NAME).read_bytes() == before

    (tmp_path / INDEX_NAME).write_text("x" * 5000)
    refused("of another program")
    (tmp_path / INDEX_NAME).unlink()
    with sqlite3.connect(tmp_path / INDEX_NAME) as other:
        other.execute("CREATE TABLE photos (x)")
    other.close()
    refused("of another program")
    (tmp_path / INDEX_NAME).unlink()
    tag(photos, tmp_path)
    with sqlite3.connect(tmp_path / INDEX_NAME) as newer:
        newer.execute("PRAGMA user_version = 99")
    newer.close()
    refused("newer version.*pip install --upgrade")
    with pytest.raises(LandmarkError, match="There is no index"):
        rows(tmp_path / "elsewhere")


def test_index_of_an_earlier_version_is_taken_over(photos, tmp_path):
    tag(photos, tmp_path)
    with sqlite3.connect(tmp_path / INDEX_NAME) as earlier:
        earlier.executescript("ALTER TABLE photos DROP COLUMN cause; PRAGMA user_version = 1")
    earlier.close()
    paint(photos / "new.png", 77)
    assert tag(photos, tmp_path) == [77] and len(rows(tmp_path)) == 11


def test_index_that_was_only_begun_or_is_damaged(photos, tmp_path):
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / INDEX_NAME).touch()
    assert tag(photos, tmp_path / "begun") == list(range(10))
    path = tmp_path / "begun" / INDEX_NAME
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with pytest.raises(LandmarkError, match="damaged"):
        tag(photos, tmp_path / "begun")


def test_index_that_is_deleted_in_the_middle_stops_the_run_in_words(photos, tmp_path):
    class Deleting(Namer):
        def predict_batch(self, *arguments, **more):
            shutil.rmtree(tmp_path / "out")
            return super().predict_batch(*arguments, **more)

    with pytest.raises(LandmarkError, match=r"library.sqlite is gone: it was deleted or moved"):
        tag(photos, tmp_path / "out", namer=(namer := Deleting()))
    assert len(namer.asked) < 10
    tag(photos, tmp_path / "out")
    with (
        pytest.raises(LandmarkError, match=r"library.sqlite is gone: it was deleted or moved"),
        open_index(tmp_path / "out", is_new=False, writes=False),
    ):
        shutil.rmtree(tmp_path / "out")


def test_full_disk_stops_in_words_and_leaves_the_index_whole(photos, tmp_path):
    out = tmp_path / "out"
    for shade in range(10, 40):
        paint(photos / "c" / f"{shade}.png", shade)
    with (
        pytest.raises(LandmarkError, match=r"is full.*run the same command again"),
        open_index(out, is_new=True, writes=True) as index,
    ):
        pages = index._connection.execute("PRAGMA page_count").fetchone()[0]
        index._connection.execute(f"PRAGMA max_page_count = {pages}")
        answer(index, photos)
    assert 0 < len(rows(out)) < 40
    tag(photos, out)
    tag(photos, tmp_path / "unbroken")
    assert whole(out) == whole(tmp_path / "unbroken")


def test_export_on_a_full_disk_is_old_or_new_and_never_half(photos, tmp_path):
    out = tmp_path / "out"
    tag(photos, out)
    (out / "tags.csv").write_text("old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open_index(out, is_new=False, writes=False) as index:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
            with pytest.raises(
                LandmarkError, match=r"tags.csv cannot be written.*The index is whole"
            ):
                exports.write_table("csv", index, View(), out)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert (out / "tags.csv").read_text() == "old"
        exports.write_table("csv", index, View(), out)
    assert len((out / "tags.csv").read_text().splitlines()) == 11
    assert not list(out.glob(".staging-*"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_that_may_not_be_written_is_named(photos, tmp_path):
    (tmp_path / "out").mkdir(mode=0o500)
    for out in (tmp_path / "out", tmp_path / "out" / "new"):
        with pytest.raises(LandmarkError, match=r"out.* cannot be written"):
            tag(photos, out)


def test_odd_names_are_rows_and_can_be_exported(photos, tmp_path):
    out, long = tmp_path / "out", "x" * 251 + ".png"
    odd = {"line\nbreak.png", "caf\udce9.png", "tab\t'\".png", long}
    for number, name in enumerate(sorted(odd)):
        paint(photos / name, 50 + number)
    (photos / "{no}caf\udce9.png").write_text("no photo")
    (photos / "loop").symlink_to(photos)
    assert len(tag(photos, out)) == 14
    assert odd < set(rows(out)) and "{no}caf" in rows(out)["{no}caf\udce9.png"].reason
    assert tag(photos, out) == []
    with open_index(out, is_new=False, writes=True) as index:
        for kind in exports.TABLES:
            exports.write_table(kind, index, View(), out)
        (unwritten,) = SidecarFiles(index, out, None, "file", False).write(View())
    assert unwritten.file == long and "cannot be written (File name too long)" in unwritten.reason
    assert (photos / "line\nbreak.png.xmp").is_file() and (photos / "caf\udce9.png.xmp").is_file()
    lines = (out / "tags.jsonl").read_text(encoding="utf-8").split("\n")
    assert len(lines) == 16 and lines.pop() == ""
    assert "line\nbreak.png" in {json.loads(line)["file"] for line in lines}


def test_names_are_relative_to_the_folder_that_all_are_in(photos, tmp_path):
    out = tmp_path / "out"
    tag(photos / "a", out)
    assert "0.png" in rows(out)
    tag(photos / "b", out)
    assert {"a/0.png", "b/9.png"} < set(rows(out))


def test_views_differ_in_language_threshold_and_time(photos, tmp_path):
    out = tmp_path / "out"
    os.utime(photos / "a" / "0.png", (0, 1_000_000_000))
    tag(photos, out, namer=Namer("Taj_Mahal"))
    found = rows(out, View("de", min_probability=0.5045, file_time=True))
    assert found["a/4.png"].status == "doubtful" and found["a/4.png"].best is None
    assert found["b/9.png"].best.country == "Indien"
    assert found["a/0.png"].camera.taken_at.startswith("2001-09-")
    assert rows(out)["a/0.png"].camera.taken_at == ""
    with open_index(out, is_new=False, writes=False) as index:
        assert index.count(0.5045) == {"tagged": 5, "doubtful": 5}


def test_parquet_has_the_rows_of_the_csv_with_types_in_groups(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "GROUP_SIZE", 4)
    out = tmp_path / "out"
    tag(photos, out, namer=Namer("Taj_Mahal"))
    paint(photos / "c" / "10.png", 10).write_text("no photo")
    tag(photos, out)
    with open_index(out, is_new=False, writes=False) as index:
        for kind in ("parquet", "csv"):
            exports.write_table(kind, index, View("de"), out)
    found = pyarrow.parquet.ParquetFile(out / "tags.parquet")
    assert found.num_row_groups == 3 and found.schema_arrow.names == [*tagging.COLUMNS]
    lines = found.read().to_pylist()
    assert lines[0]["tags"][:2] == ["Mausoleum", "Kuppel"] and lines[0]["latitude"] == 27.1751
    assert lines[-1]["landmark"] is None and lines[-1]["reason"].startswith("10.png ist kein")
    table = csv.DictReader((out / "tags.csv").read_text(encoding="utf-8-sig").splitlines())
    for typed, line in zip(lines, table, strict=True):
        texts = {name: "; ".join(value) if isinstance(value, list) else value
                 for name, value in typed.items()}  # fmt: skip
        assert line == {name: "" if text is None else str(text) for name, text in texts.items()}


# --- which photos ---


def test_photos_are_named_in_many_ways(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(photos)
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfa/0.png\r\nb\n\n")
    (photos / "@odd.png").touch()

    def named(*words: str, given: bytes = b"") -> list[str]:
        return [str(path.relative_to(photos)) for path in named_paths(words, io.BytesIO(given))]

    assert named("a", "b/5.png") == ["a", "b/5.png"]
    assert named("*/[12].png", "@odd.png") == ["a/1.png", "a/2.png", "@odd.png"]
    assert named(f"@{tmp_path / 'list.txt'}") == ["a/0.png", "b"]
    assert named("-", given=b"a/0.png\nmissing.png") == ["a/0.png", "missing.png"]
    assert named("-", given=b"a/0.png\0line\nbreak\xe9.png\0") == [
        "a/0.png", "line\nbreak\udce9.png",
    ]  # fmt: skip
    (tmp_path / "link").symlink_to(photos)
    assert named_paths([str(tmp_path / "link")], io.BytesIO()) == [photos]
    found = find_named([photos / "a", photos / "a" / "0.png", photos / "gone.png"], photos)
    assert len(found.paths) == 5 and found.missing == [photos / "gone.png"]
    assert common_folder([photos / "a", photos / "b" / "5.png"]) == photos


def test_pattern_for_folders_at_any_depth_ends_where_links_lead_back(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paint(photos / "a" / "[x]" / "deep.png", 10)
    paint(photos / "a" / ".hidden" / "0.png", 11)
    (photos / "a" / ".0.png").touch()
    (photos / "b" / "back").symlink_to(photos)
    (photos / "b" / "file.png").symlink_to(photos / "b" / "9.png")

    def named(word: str) -> list[str]:
        return [str(path.relative_to(photos)) for path in named_paths([word], io.BytesIO())]

    in_a = [f"a/{n}.png" for n in range(5)]
    in_b = [*(f"b/{n}.png" for n in range(5, 10)), "b/file.png"]
    assert named("photos/**/*.png") == named("**/*.png") == [*in_a, "a/[x]/deep.png", *in_b]
    assert named(f"{photos}/**/b/[89].png") == ["b/8.png", "b/9.png"]
    assert named("*/**/**/deep.png") == ["a/[x]/deep.png"]
    assert named("photos/a/**") == ["a", *in_a, "a/[x]", "a/[x]/deep.png"]
    assert named("photos/**/") == [".", "a", "a/[x]", "b"]
    assert named("photos/b/*/a/0.png") == ["a/0.png"], "a link that is named is followed"


@pytest.mark.parametrize(
    ("word", "reason"),
    [("missing", "no file or folder"), ("*.tif", "no file or folder"),
     ("@missing.txt", "list missing.txt cannot be read")],
)  # fmt: skip
def test_what_is_not_there_is_refused_by_name(word, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LandmarkError, match=reason):
        named_paths([word], None)


# --- addresses ---


@pytest.fixture
def bucket() -> Iterator[AbstractFileSystem]:
    """A bucket in memory: memory://bucket."""
    fs = fsspec.filesystem("memory")
    yield fs
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


def test_photos_at_addresses_are_rows_and_fetched_again_only_where_they_changed(
    bucket, photos, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    for name in ("b/5.png", "b/6.png"):
        bucket.pipe(f"/bucket/2024/{name}", (photos / name).read_bytes())
    bucket.pipe("/bucket/2024/broken.jpg", b"no photo")
    bucket.pipe("/bucket/2024/is this #1?.jpg", b"no photo")
    bucket.pipe("/bucket/2024/notes.txt", b"no photo")
    bucket.pipe("/bucket/2024/.trash/x.jpg", b"no photo")

    def tag_at(*words: str) -> list[int]:
        namer, remote = Namer(), find_at(named_paths(words, None))
        with open_index(out, is_new=True, writes=True) as index:
            plan = make_plan(index, [], [], None, remote)
            list(LibraryRun(index, namer, "one", False).answer(plan.waiting))
        return namer.asked

    assert tag_at("memory://bucket/2024", "memory://bucket/gone.jpg") == [5, 6]
    found = rows(out)
    assert sorted(found) == [
        "memory:///bucket/2024/b/5.png", "memory:///bucket/2024/b/6.png",
        "memory:///bucket/2024/broken.jpg", "memory:///bucket/2024/is this #1?.jpg",
        "memory:///bucket/gone.jpg",
    ]  # fmt: skip
    assert found["memory:///bucket/2024/broken.jpg"].reason.startswith("broken.jpg is not a photo")
    gone = found["memory:///bucket/gone.jpg"].reason
    assert gone == "gone.jpg cannot be fetched (not there). Check the address, and the network."
    with monkeypatch.context() as patch:
        patch.setattr(run, "fetch", None)
        assert tag_at("memory://bucket/2024") == []
    bucket.pipe("/bucket/2024/b/7.png", (photos / "b" / "7.png").read_bytes())
    bucket.pipe("/bucket/2024/b/5.png", (photos / "b" / "8.png").read_bytes())
    bucket.rm("/bucket/2024/b/6.png")
    assert tag_at("memory://bucket/2024/**/*.png") == [8, 7]
    assert "memory:///bucket/2024/b/6.png" in rows(out), "a pattern may miss what is there"
    assert tag_at("memory://bucket/2024/") == []
    assert "memory:///bucket/2024/b/6.png" not in rows(out)


def test_sidecars_of_photos_at_addresses_go_to_a_folder(bucket, photos, tmp_path):
    bucket.pipe("/bucket/5.png", (photos / "b" / "5.png").read_bytes())
    out = tmp_path / "out"
    with open_index(out, is_new=True, writes=True) as index:
        plan = make_plan(index, [], [], None, find_at(["memory://bucket"]))
        list(LibraryRun(index, Namer("Taj_Mahal"), "one", False).answer(plan.waiting))
    (unwritten,) = write(out)
    assert "at an address, where no sidecars are written" in unwritten.reason
    assert write(out, tmp_path / "xmp") == []
    assert [*sidecars(tmp_path / "xmp")] == ["memory_/bucket/5.png.xmp"]


def test_address_that_is_large_slow_or_odd_is_refused_in_words(bucket, monkeypatch):
    bucket.pipe("/bucket/large.jpg", b"x" * 3000)
    monkeypatch.setattr(addresses, "MOST_BYTES", 1000)
    facts, _, photo = addresses.fetch("memory://bucket/large.jpg")
    assert facts.size == 3000 and len(photo.read()) == 1000
    nowhere = find_at(["memory://nowhere"])
    assert nowhere.failed == [("memory://nowhere", "nothing is there")] and not nowhere.folders
    for address, reason in (
        ("nosuch://bucket/x.jpg", "unknown kind"),
        ("https://me:secret@example.com/x.jpg", "example.com holds a password"),
    ):
        with pytest.raises(LandmarkError, match=reason) as told:
            find_at([address])
        assert "secret" not in str(told.value)


class NoEntry(Exception):
    """What a web server's answer is to aiohttp."""

    status = 403


@pytest.mark.parametrize(
    ("cause", "reason"),
    [(None, "not there"), (ConnectionError(111, "refused"), "refused"), (NoEntry(), "status 403")],
)
def test_server_that_gives_no_file_is_told_from_a_file_that_is_not_there(
    bucket, monkeypatch, cause, reason
):
    def info(*_: object, **__: object) -> None:
        raise FileNotFoundError from cause  # so fsspec does

    monkeypatch.setattr(type(bucket), "info", info)
    *_, photo = addresses.fetch("memory://bucket/x.jpg")
    assert f"x.jpg cannot be fetched ({reason})" in str(photo)


# --- RAW files ---


def test_raw_file_beside_a_photo_shares_its_answer_and_one_alone_says_what_reads_it(
    photos, tmp_path
):
    out = tmp_path / "out"
    for name in ("a/0.nef", "b/9.CR2", "alone.dng"):
        (photos / name).write_text(f"RAW {name}")
    (photos / "b" / "9.png").rename(photos / "b" / "9.JPG")
    (photos / "a" / "0.png").rename(photos / "a" / "0.jpeg")
    assert tag(photos, out) == list(range(10))
    found = rows(out)
    assert found["a/0.nef"].best == found["a/0.jpeg"].best
    assert found["b/9.CR2"].best == found["b/9.JPG"].best and found["b/9.JPG"].best
    assert found["alone.dng"].best is None
    if find_spec("rawpy") is None:
        assert 'pip install "landmark-model[raw]"' in found["alone.dng"].reason
        assert found["alone.dng"].reason != rows(out, View("de"))["alone.dng"].reason
    with open_index(out, is_new=False, writes=False) as index:
        assert all(index.thumbnail(shown.sha256) for shown in index.rows(View(), "tagged"))
    (photos / "a" / "0.nef").rename(photos / "moved.nef")
    assert tag(photos, out) == [] and rows(out)["moved.nef"].best, "it was answered before"


@pytest.mark.parametrize("again", [False, True])
def test_raw_file_shares_the_answer_of_the_photo_beside_it_whenever_that_came(
    tmp_path, monkeypatch, again
):
    folder, real = tmp_path / "photos", tagging.open_safely

    def open_raw(photo, *more):  # one has no picture, another one has
        if photo.name == "none.nef":
            raise LandmarkError.because("raw", "{name} is RAW: export a JPEG.", name=photo.name)
        return real(io.BytesIO(photo.read_bytes()) if photo.suffix == ".nef" else photo, *more)

    def agree(asked: list[int]) -> dict[str, str]:
        """What the files show, which an index of before knows as well as a new one."""
        assert tag(folder, tmp_path / "old", again=again) == asked
        assert tag(folder, tmp_path / "old", again=again) == []
        tag(folder, fresh := tmp_path / f"fresh {asked}")
        assert {*whole(fresh)} <= {*whole(tmp_path / "old")}, "small copies of before are kept"
        return {name: row.best and row.best.label for name, row in rows(tmp_path / "old").items()}

    monkeypatch.setattr(tagging, "open_safely", open_raw)
    folder.mkdir()
    (folder / "none.nef").write_text("RAW")
    paint(folder / "own.png", 1).rename(folder / "own.nef")
    assert agree([1]) == {"none.nef": None, "own.nef": "Tower 1"}
    for name, shade in (("none", 2), ("own", 3)):
        paint(folder / f"{name}.png", shade).rename(folder / f"{name}.JPG")
    shared = {"none.nef": "Tower 2", "none.JPG": "Tower 2", "own.nef": "Tower 3"}
    assert agree([2, 3]) == shared | {"own.JPG": "Tower 3"}
    paint(folder / "new.png", 4).rename(folder / "none.JPG")
    shared |= {"none.nef": "Tower 4", "none.JPG": "Tower 4"}
    assert agree([4]) == shared | {"own.JPG": "Tower 3"}


def test_both_of_a_pair_get_a_sidecar_and_the_one_by_the_stem_is_that_of_the_raw_file(
    photos, tmp_path
):
    out = tmp_path / "out"
    for name, beside in (("a/0", "a/0.jpg"), ("a/1", "a/1.jpg")):
        (photos / f"{name}.png").rename(photos / beside)
        (photos / f"{name}.nef").write_text(f"RAW {name}")
    (photos / "a" / "1.xmp").write_text(THEIRS)
    tag(photos, out, namer=Namer("Taj_Mahal"))
    write(out)
    assert {"a/0.jpg.xmp", "a/0.nef.xmp", "a/1.jpg.xmp", "a/1.xmp"} < sidecars(photos).keys()
    write(out, tmp_path / "xmp", style="stem")
    found = sidecars(tmp_path / "xmp")
    assert {"a/0.jpg.xmp", "a/0.xmp", "a/1.jpg.xmp", "a/1.xmp"} < found.keys()
    assert "Taj Mahal" in found["a/0.xmp"] and "a/0.nef.xmp" not in found


# --- sidecars ---

THEIRS = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description my:own="1"
 xmlns:my="urn:mine"><dc:subject xmlns:dc="http://purl.org/dc/elements/1.1/"><rdf:Bag>
 <rdf:li>my word</rdf:li></rdf:Bag></dc:subject></rdf:Description></rdf:RDF></x:xmpmeta>"""


@pytest.fixture
def tagged(photos, tmp_path) -> Path:
    """The folder of an index in which all ten photos show the Taj Mahal."""
    tag(photos, tmp_path / "out", namer=Namer("Taj_Mahal"))
    return tmp_path / "out"


def write(out: Path, folder=None, style="file", overwrites=False, **view) -> list:
    with open_index(out, is_new=False, writes=True) as index:
        return SidecarFiles(index, out, folder, style, overwrites).write(View(**view))


def sidecars(folder: Path) -> dict[str, str]:
    """The sidecars in a folder, and copies of them."""
    paths = [path for path in folder.rglob("*") if path.suffix in (".xmp", ".bak")]
    return {path.relative_to(folder).as_posix(): path.read_text() for path in paths}


@pytest.mark.parametrize("is_beside", [True, False])
def test_another_language_replaces_our_words_and_keeps_those_of_the_user(
    tagged, photos, tmp_path, is_beside
):
    folder = photos if is_beside else tmp_path / "xmp"
    (folder / "a").mkdir(parents=True, exist_ok=True)
    (folder / "a" / "0.png.xmp").write_text(THEIRS)
    where = None if is_beside else folder
    assert write(tagged, where, language="de") == []
    german = sidecars(folder)
    assert all("Indien" in text for name, text in german.items() if name.endswith(".xmp"))
    assert write(tagged, where, language="de") == [] and sidecars(folder) == german
    edited = folder / "a" / "1.png.xmp"
    edited.write_text(edited.read_text().replace("<rdf:li>", "<rdf:li>my pick</rdf:li><rdf:li>", 1))
    assert write(tagged, where) == []
    english = sidecars(folder)
    for name, text in english.items():
        assert ("India" in text and "Indien" not in text) or name.endswith(".bak")
    assert "my word" in english["a/0.png.xmp"] and 'my:own="1"' in english["a/0.png.xmp"]
    assert english["a/0.png.xmp.bak"] == THEIRS and "my pick" in english["a/1.png.xmp"]
    assert set(english) - set(german) == {"a/1.png.xmp.bak"}


def test_sidecars_of_photos_that_are_no_longer_tagged_are_taken_back(tagged, photos):
    (photos / "a" / "0.png.xmp").write_text(THEIRS)
    write(tagged)
    write(tagged, min_probability=0.5045)
    found = sidecars(photos)
    assert found["a/0.png.xmp"] == THEIRS
    assert {name for name in found if name.endswith(".xmp")} == {
        "a/0.png.xmp", *(f"b/{n}.png.xmp" for n in range(5, 10)),
    }  # fmt: skip


def test_sidecar_goes_with_a_photo_that_moves_and_stays_with_one_that_is_away(tagged, photos):
    write(tagged)
    (photos / "a" / "0.png").rename(photos / "b" / "new.png")
    (photos / "a" / "1.png").unlink()
    tag(photos, tagged)
    write(tagged)
    found = sidecars(photos)
    assert "b/new.png.xmp" in found and "a/0.png.xmp" not in found and "a/1.png.xmp" in found


def test_nothing_is_written_or_forgotten_beside_photos_that_are_away(tagged, photos, tmp_path):
    assert write(tagged, language="de") == []
    before = sidecars(photos)
    photos.rename(tmp_path / "away")
    unwritten = write(tagged, language="fr")
    assert len(unwritten) == len(before) and not photos.exists()
    assert write(tagged, min_probability=1.0) == []  # and none is tagged
    photos.mkdir()  # where the disk is mounted
    write(tagged, min_probability=1.0)
    photos.rmdir()
    (tmp_path / "away").rename(photos)
    assert sidecars(photos) == before
    assert write(tagged, language="fr") == []
    after = sidecars(photos)
    assert after.keys() == before.keys() and not any(name.endswith(".bak") for name in after)


def test_sidecar_that_the_user_deleted_or_emptied_is_written_again(tagged, photos):
    write(tagged)
    before = sidecars(photos)
    (photos / "a" / "0.png.xmp").unlink()
    (photos / "a" / "1.png.xmp").write_text("")
    write(tagged)
    assert sidecars(photos) == before


def test_both_names_are_found_and_new_ones_called_as_asked(tagged, photos):
    (photos / "a" / "0.xmp").write_text(THEIRS)
    paint(photos / "a" / "0.webp", 7)
    tag(photos, tagged)
    write(tagged)
    found = sidecars(photos)
    assert "a/0.png.xmp" not in found and "a/0.webp.xmp" in found, "the first by name gets it"
    assert "Taj Mahal" in found["a/0.xmp"]
    write(tagged, style="stem")
    assert "b/9.png.xmp" in sidecars(photos), "one that is there is kept"


def test_sidecar_that_cannot_be_merged_stays_unless_it_is_to_be_replaced(tagged, photos):
    odd = photos / "a" / "0.png.xmp"
    odd.write_text("<!DOCTYPE a><a/>")
    (photos / "a" / "1.png.xmp").mkdir()
    (photos / "a" / "2.png.xmp").symlink_to("nowhere")
    unwritten = write(tagged)
    assert [one.file for one in unwritten] == ["a/0.png", "a/2.png", "a/1.png"]
    assert "has a document type" in unwritten[0].reason and odd.read_text() == "<!DOCTYPE a><a/>"
    (photos / "a" / "1.png.xmp").rmdir()
    assert write(tagged, overwrites=True) == []
    assert "Taj Mahal" in odd.read_text()
    assert (photos / "a" / "0.png.xmp.bak").read_text() == "<!DOCTYPE a><a/>"


def test_what_the_user_wrote_is_in_a_backup_whenever_a_sidecar_is_replaced(tagged, photos):
    def edit(word: str) -> str:
        text = sidecar.read_text().replace("<rdf:li>", f"<rdf:li>{word}</rdf:li><rdf:li>", 1)
        sidecar.write_text(text)
        return text

    def backups() -> dict[str, str]:
        return {n: text for n, text in sidecars(photos).items() if n.endswith(".bak")}

    sidecar = photos / "a" / "0.png.xmp"
    for language in ("en", "en", "de"):
        write(tagged, overwrites=True, language=language)
    assert backups() == {}, "they are ours alone"
    expected = {}
    for name, word in (("0.png.xmp.bak", "one"), ("0.png.xmp.2.bak", "two")):
        expected[f"a/{name}"] = edit(word)
        for language in ("en", "de"):
            write(tagged, overwrites=True, language=language)
            assert backups() == expected and word not in sidecar.read_text()
    sidecar.write_text(expected["a/0.png.xmp.2.bak"])
    write(tagged, overwrites=True)
    assert backups() == expected, "a backup has this"


def test_sidecar_that_was_merged_and_is_replaced_has_one_backup(tagged, photos):
    sidecar = photos / "a" / "0.png.xmp"
    sidecar.write_text(THEIRS)
    write(tagged)
    write(tagged, overwrites=True)
    assert "my word" not in sidecar.read_text()
    assert [name for name in sidecars(photos) if name.endswith(".bak")] == ["a/0.png.xmp.bak"]
    sidecar.with_name("0.png.xmp.bak").unlink()
    sidecar.write_text("no sidecar any more")
    write(tagged, overwrites=True)
    assert sidecar.with_name("0.png.xmp.bak").read_text() == "no sidecar any more"


@pytest.mark.parametrize("call", [1, 2, 5, 10])
@pytest.mark.parametrize("language", ["en", "de"])
def test_export_that_is_killed_among_sidecars_goes_on(tagged, photos, tmp_path, call, language):
    (photos / "b" / "9.png.xmp").write_text(THEIRS)
    if language == "de":
        write(tagged)
    before, copied = sidecars(photos), tmp_path / "copied"
    shutil.copytree(tagged, copied)
    write(tagged, language=language)
    expected = sidecars(photos)
    for name in expected:
        (photos / name).unlink()
    for name, text in before.items():
        (photos / name).write_text(text)
    break_off(sidecar_files.os, "replace", call, lambda: write(copied, language=language))
    write(copied, language=language)
    assert sidecars(photos) == expected


def test_full_disk_among_sidecars_stops_in_words_and_goes_on_later(tagged, photos):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    error = break_off(sidecar_files.os, "replace", 4, lambda: write(tagged), full)
    assert "is full. Make room." in str(error) and len(sidecars(photos)) == 3
    assert write(tagged) == [] and len(sidecars(photos)) == 10
    assert not list(photos.rglob(sidecar_files.SCRATCH_NAME))
