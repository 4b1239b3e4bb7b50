"""Photos are found once each, wherever links lead, and what is left out is named."""

import os

import pytest

from landmark_model import folders
from landmark_model.folders import find_photos


@pytest.fixture
def fill(tmp_path):
    """Makes files, named by paths, in a folder; gives the folder."""

    def fill(*names: str):
        for name in names:
            path = tmp_path / "library" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.fsencode(name))
        return tmp_path / "library"

    return fill


def names(folder, found) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in found.paths]


def reasons(items) -> dict[str, str]:
    return {item.path: item.reason for item in items}


def test_photos_of_all_folders_come_in_order(fill):
    folder = fill("b/2.jpg", "b/a/1.HEIC", "a.png", "notes.txt", "b.jpg/x.webp", ".photos/1.jpg")
    found = find_photos(folder)
    assert names(folder, found) == ["a.png", "b/2.jpg", "b/a/1.HEIC", "b.jpg/x.webp"]
    assert list(reasons(found.skipped)) == [".photos"] and found.failed == []
    assert find_photos(folder / ".photos").paths == [folder / ".photos" / "1.jpg"]
    found = find_photos(folder / "missing")
    assert found.paths == [] and len(found.failed) == 1


def test_hidden_photos_are_skipped_and_named_as_can_be_printed(fill):
    folder = fill("1.jpg", "._1.jpg", ".DS_Store", "\x1b[2J\udce9/.1.jpg")
    found = find_photos(folder)
    assert names(folder, found) == ["1.jpg"]
    printed = {"._1.jpg": "a hidden file", "\\x1b[2J\\udce9/.1.jpg": "a hidden file"}
    assert reasons(found.skipped) == printed


def test_links_in_a_circle_end_and_each_photo_is_found_where_it_lies(fill):
    folder = fill("z/1.jpg", "z/deep/2.jpg")
    for link in ("a", "b", "z/up", "z/deep/up"):
        (folder / link).symlink_to(folder, target_is_directory=True)
    (folder / "around").symlink_to(folder.parent, target_is_directory=True)
    (folder / "c").symlink_to(folder / "z")
    (folder / "a.jpg").symlink_to(folder / "z" / "1.jpg")
    os.link(folder / "z" / "1.jpg", folder / "z" / "copy.jpg")
    (folder / "itself.jpg").symlink_to("itself.jpg")
    found = find_photos(folder)
    assert names(folder, found) == ["z/1.jpg", "z/deep/2.jpg"]
    skipped = reasons(found.skipped)
    assert set(skipped) == {"a", "b", "z/up", "z/deep/up", "around", "c", "a.jpg", "z/copy.jpg"}
    assert skipped["c"] == "the same as z" and skipped["a.jpg"] == "the same as z/1.jpg"
    assert list(reasons(found.failed)) == ["itself.jpg"]


def test_links_that_lead_elsewhere_are_followed(fill, tmp_path):
    folder = fill("1.jpg")
    (tmp_path / "disk" / "trip").mkdir(parents=True)
    (tmp_path / "disk" / "trip" / "2.jpg").touch()
    (tmp_path / "disk" / "3.jpg").touch()
    (folder / "trip").symlink_to(tmp_path / "disk" / "trip")
    (folder / "0.jpg").symlink_to(tmp_path / "disk" / "3.jpg")
    assert names(folder, find_photos(folder)) == ["0.jpg", "1.jpg", "trip/2.jpg"]


@pytest.mark.parametrize(
    "name",
    [".thumbnails", ".ipynb_checkpoints", ".Trash-1000", "@eaDir", "__MACOSX", "$RECYCLE.BIN",
     "#recycle", "@Recycle", "lost+found", "System Volume Information"],
)  # fmt: skip
def test_folders_of_the_system_are_skipped_and_named(fill, name):
    folder = fill("a/1.jpg", f"a/{name}/2.jpg", f"a/{name}/deep/3.jpg")
    found = find_photos(folder / "a", folder)
    assert found.paths == [folder / "a" / "1.jpg"]
    assert list(reasons(found.skipped)) == [f"a/{name}"]


def test_what_cannot_be_read_is_named_and_the_rest_is_found(fill, monkeypatch):
    folder = fill("1.jpg", "shut/2.jpg", "z/3.jpg")
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(folder / "pipe.jpg")
    scandir = os.scandir

    def refuse(path):
        if path.name == "shut":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(folders.os, "scandir", refuse)
    found = find_photos(folder)
    assert names(folder, found) == ["1.jpg", "z/3.jpg"]
    assert reasons(found.failed) == {
        "gone.jpg": "a link to a file that is not there",
        "shut": "cannot be read (Permission denied)",
    }
    assert reasons(found.skipped) == {"pipe.jpg": "a device or pipe, not a file"}
