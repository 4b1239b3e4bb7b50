"""Files are whole or as they were, whatever happens to the program that writes them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from landmark_model.files import lock, printable, scratch_folder, staged, write_text

ROOT = Path(__file__).parents[1]


@pytest.fixture
def folder(tmp_path):
    """A folder with one old file, as an earlier run left it."""
    (tmp_path / "model").write_text("old")
    return tmp_path


def contents(folder: Path) -> dict[str, str]:
    """Every file below `folder` and what is in it."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def test_files_arrive_together_at_the_end(folder):
    with staged(folder) as scratch, (folder / "model").open() as reader:
        assert scratch.stat().st_dev == folder.stat().st_dev and folder in scratch.parents
        (scratch / "model").write_text("new")
        (scratch / "config").write_text("more")
        assert (folder / "model").read_text() == "old"
        assert not (folder / "config").exists()
        write_text(folder / "model", "of another writer")
        assert reader.read() == "old", "who has the old file open reads it to the end"
    assert contents(folder) == {"model": "new", "config": "more"}
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1
    write_text(folder / "new" / "folder" / "readme", "Hạ Long\n")
    assert (folder / "new" / "folder" / "readme").read_bytes() == "Hạ Long\n".encode()


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit])
def test_nothing_arrives_when_the_body_fails(folder, kind):
    with pytest.raises(kind), staged(folder) as scratch:
        (scratch / "model").write_text("half")
        (scratch / "other").write_text("new")
        raise kind
    assert [path.name for path in folder.iterdir()] == ["model"]
    assert contents(folder) == {"model": "old"}


def test_nothing_arrives_when_one_file_cannot(folder):
    (folder / "taken").mkdir()
    with pytest.raises(OSError), staged(folder) as scratch:
        (scratch / "model").write_text("new")
        (scratch / "taken").write_text("a folder is in the way")
    assert contents(folder) == {"model": "old"}
    assert sorted(path.name for path in folder.iterdir()) == ["model", "taken"]


def test_nested_folders_move_and_join_those_there(folder):
    (folder / "sub").mkdir()
    (folder / "sub" / "kept").write_text("kept")
    with staged(folder) as scratch:
        (scratch / "sub" / "deep").mkdir(parents=True)
        (scratch / "sub" / "deep" / "file").write_text("deep")
        (scratch / "empty").mkdir()
    assert contents(folder) == {"model": "old", "sub/kept": "kept", "sub/deep/file": "deep"}
    assert (folder / "empty").is_dir()


def test_killed_program_leaves_the_old_file_whole(folder):
    program = (
        "import os, pathlib, signal, sys\n"
        "from landmark_model.files import staged\n"
        "with staged(pathlib.Path(sys.argv[1])) as scratch:\n"
        "    (scratch / 'model').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, folder], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    assert (folder / "model").read_text() == "old"
    assert len(list(folder.iterdir())) == 2, "the scratch folder of the killed program"
    write_text(folder / "model", "new")
    assert contents(folder) == {"model": "new"}
    assert [path.name for path in folder.iterdir()] == ["model"]


def test_scratch_of_running_programs_is_left_alone(folder):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    unseen = folder / f".staging-{gone.pid}-unseen"  # of a process in another container
    foreign = folder / ".staging-notes"
    for path in (unseen, foreign):
        path.mkdir()
    holder = os.open(unseen, os.O_RDONLY)
    assert lock(holder)
    with scratch_folder(folder) as one, staged(folder) as two:
        write_text(folder / "model", "new")
        assert all(path.is_dir() for path in (one, two, unseen, foreign))
    os.close(holder)
    write_text(folder / "model", "newer")
    assert sorted(path.name for path in folder.iterdir()) == [".staging-notes", "model"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Hạ Long 東京 👩‍👩‍👧.jpg", "Hạ Long 東京 👩‍👩‍👧.jpg"),
        ("\x1b[2J\r\n\x00\x9b", "\\x1b[2J\\r\\n\\x00\\x9b"),
        ("gpj.\u202eexe\u2066", "gpj.\\u202eexe\\u2066"),
        ("caf\udce9", "caf\\udce9"),
    ],
)
def test_names_are_printed_without_what_a_terminal_obeys(text, shown):
    assert printable(text) == shown == printable(shown)
    shown.encode()
