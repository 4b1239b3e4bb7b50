"""`python -m landmark_model`: what it prints, and with which exit status it ends."""

import json
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import ExifTags, Image

from landmark_model import load
from landmark_model.cli import main
from landmark_model.library import tagging
from landmark_model.training.smoke import make_photo

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
EIFFEL, TAJ = (str(EXAMPLES / name) for name in ("eiffel-tower.jpg", "taj-mahal.jpg"))
STRANGER = str(EXAMPLES / "none-of-these.jpg")


@pytest.fixture
def run(capsys):
    """Runs a command in this process; gives exit status, output and errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as end:
            status = end.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def shipped(small_run, tmp_path) -> Path:
    """A copy of a trained network and its metrics, to be written in."""
    for name in ("config.json", "model.safetensors", "metrics.json", "features.safetensors"):
        shutil.copy(small_run.folder / name, tmp_path)
    return tmp_path


# --- predict ---


def test_program_names_the_landmark_and_what_is_missing(python):
    done = python("-m", "landmark_model", "predict", "no such.jpg", EIFFEL)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and "no such.jpg" in done.stderr
    name, best, *_ = done.stdout.splitlines()
    assert name == EIFFEL
    assert re.fullmatch(r"\s*\d+\.\d% +Eiffel Tower +\(Paris, France\)", best)


def test_guesses_are_those_of_load(run, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_text("no photo")
    status, out, err = run("predict", broken, EIFFEL, tmp_path, TAJ, "--top-k", 3)
    assert status == 1
    for line, name in zip(err.splitlines(), ("broken.jpg", tmp_path.name), strict=True):
        assert name in line
    tagger = load(device="cpu")
    expected = []
    for photo in (EIFFEL, TAJ):
        guesses = tagger.predict(photo, top_k=3)
        lines = [f"{min(g.probability, 0.999):.1%} {g.label} ({g.where})" for g in guesses]
        expected += [photo, *lines]
    assert [" ".join(line.split()) for line in out.splitlines()] == expected


def test_guesses_are_named_in_a_language(run):
    for language, line in (("de", "Taj Mahal  (Agra, Indien)"), ("zh", "泰姬陵  (印度阿格拉)")):
        assert line in run("predict", TAJ, "--top-k", 1, "--language", language)[1]
    status, _, err = run("predict", TAJ, "--language", "xx")
    assert status == 2 and "'xx'" in err


def test_photo_of_something_else_is_called_so_and_without_one_an_example_is_named(run):
    status, out, _ = run("predict", STRANGER, "--top-k", 1)
    assert status == 0
    assert (
        out.splitlines()[0] == f"{STRANGER}: none of the landmarks I know. If it were one of them:"
    )
    status, out, _ = run("predict", "--network", "landmark_cnn")
    assert status == 0 and "landmark predict photo.jpg" in out and "Taj Mahal" in out


@pytest.mark.parametrize("name", ["a\0b.jpg", "x" * 300 + ".jpg", "x/" * 3000, ""])
def test_name_that_no_file_can_have_is_reported_in_a_sentence(run, name):
    status, out, err = run("predict", name)
    assert (status, out) == (1, "") and len(err.splitlines()) == 1
    assert "does not exist" in err and "\0" not in err


def test_names_reach_the_terminal_without_what_it_obeys(run, tmp_path):
    odd = tmp_path / "\x1b[2J\u202e\udce9"
    odd.mkdir()
    shutil.copy(EIFFEL, odd / "\x07paris.jpg")
    (odd / "\nempty.jpg").touch()
    (odd / ".\x1bhidden.jpg").touch()
    printed = [run("predict", odd / "\x07paris.jpg", odd / "missing\x1b.jpg", "--top-k", 1)]
    printed.append(run("tag", odd, "--out", odd / "\x1bout"))
    printed.append(run("tag", tmp_path / "no \x1b folder", "--out", tmp_path / "out"))
    for status, out, err in printed:
        assert status == 1
        assert not re.search("[\x00-\x09\x0b\x0c\x0e-\x1f\u202e\ud800-\udfff]", out + err)
    assert "\\x1b[2J\\u202e\\udce9/\\x07paris.jpg" in printed[0][1]
    assert "\\nempty.jpg" in printed[1][2] and ".\\x1bhidden.jpg" in printed[1][2]


# --- tag ---


@pytest.fixture
def library(tmp_path) -> Path:
    """Two landmarks, one of them in a subfolder, something else, a broken photo, and a text."""
    folder = tmp_path / "library"
    (folder / "india").mkdir(parents=True)
    shutil.copy(EIFFEL, folder / "paris.jpg")
    shutil.copy(TAJ, folder / "india" / "agra.jpg")
    shutil.copy(EXAMPLES / "none-of-these.jpg", folder)
    (folder / "broken.jpg").write_bytes(b"")
    (folder / "notes.txt").write_text("no photo")
    return folder


def files_in(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_library_is_tagged_beside_and_not_in_it(run, library, tmp_path):
    before, out = files_in(library), tmp_path / "new" / "tags"
    status, text, err = run("tag", library, "--out", out)
    assert status == 1, "one photo is broken"
    assert "broken.jpg: broken.jpg is empty" in err
    assert "tagged: 2, no known landmark: 1, doubtful: 0, broken: 1" in text
    assert files_in(out) == ["india/agra.jpg.xmp", "library.sqlite", "paris.jpg.xmp",
                             "report.html", "tags.csv", "tags.jsonl"]  # fmt: skip
    assert "Eiffel Tower" in (out / "paris.jpg.xmp").read_text(encoding="utf-8")
    assert (out / "tags.csv").read_bytes().startswith(b"\xef\xbb\xbffile,status")
    assert len(read_lines(out / "tags.jsonl")) == 4
    assert files_in(library) == before


def test_doubtful_photos_are_left_untagged_and_words_are_in_a_language(run, library, tmp_path):
    new = tmp_path / "tags"
    words = ["tag", library, "--out", new, "--language", "es", "--min-probability"]
    status, text, _ = run(*words, 1)
    assert status == 1 and "tagged: 0, no known landmark: 1, doubtful: 2" in text
    assert files_in(new) == ["library.sqlite", "report.html", "tags.csv", "tags.jsonl"]
    run(*words, 0.1)
    sidecar = (new / "paris.jpg.xmp").read_text(encoding="utf-8")
    assert "Torre Eiffel" in sidecar and "Francia" in sidecar and "France" not in sidecar


def test_sidecars_that_are_there_are_merged_and_replaced_only_when_asked(run, library):
    (library / "broken.jpg").unlink()
    assert run("tag", library, "--out", library)[0] == 0
    sidecar = library / "paris.jpg.xmp"
    sidecar.write_text("changed by hand")
    assert run("tag", library, "--out", library)[0] == 0, "there is nothing new to say"
    status, text, err = run("tag", library, "--out", library, "--language", "de")
    assert status == 1 and "paris.jpg.xmp stays as it is: it is not XML" in err
    assert "sidecar not written: 1" in text and sidecar.read_text() == "changed by hand"
    assert run("tag", library, "--out", library, "--overwrite")[0] == 0
    assert "Eiffel Tower" in sidecar.read_text(encoding="utf-8")


def test_killed_run_goes_on_where_it_was(tmp_path):
    folder, moments = tmp_path / "library", random.Random(0)
    for number in range(40):
        path = folder / f"album {number % 3}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        make_photo(number, number, (160, 120)).save(path)
    for copy in ("1.jpg", "2.jpg"):
        shutil.copy(EIFFEL, folder / "album 1" / copy)

    def start(out: str) -> subprocess.Popen:
        words = ["tag", folder, "--network", "landmark_cnn", "--out", tmp_path / out]
        command = [sys.executable, "-m", "landmark_model", *map(str, words)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(command, cwd=ROOT, **quiet)

    begun = time.monotonic()
    assert start("unbroken").wait() == 0
    seconds = time.monotonic() - begun
    for _ in range(5):
        process = start("out")
        time.sleep(seconds * moments.uniform(0.3, 1))  # before that, it imports
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert start("out").wait() == 0
    assert files_in(tmp_path / "out") == files_in(tmp_path / "unbroken")
    for name in set(files_in(tmp_path / "out")) - {"library.sqlite"}:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes()
    assert dump(tmp_path / "out") == dump(tmp_path / "unbroken")


def dump(folder: Path) -> list[str]:
    """All that is in an index."""
    connection = sqlite3.connect(folder / "library.sqlite")
    found = sorted(connection.iterdump())
    connection.close()
    return found


def test_exports_need_neither_photos_nor_a_network(run, library, tmp_path, monkeypatch):
    out = tmp_path / "tags"
    (library / "broken.jpg").unlink()
    assert run("tag", library, "--out", out, "--csv")[0] == 0
    assert files_in(out) == ["library.sqlite", "tags.csv"]
    shutil.rmtree(library)
    monkeypatch.setattr("landmark_model.hub.repo.find", None)
    assert run("tag", "--out", out, "--language", "fr")[0] == 0
    assert "Tour Eiffel" in (out / "tags.csv").read_text(encoding="utf-8")
    assert "Tour Eiffel" in (out / "report.html").read_text(encoding="utf-8")
    assert run("tag", "--out", out, "--xmp", tmp_path / "xmp")[0] == 0
    assert files_in(tmp_path / "xmp") == ["india/agra.jpg.xmp", "paris.jpg.xmp"]
    assert run("tag", "--out", tmp_path / "nothing")[0] == 1


def test_broken_photos_of_the_index_are_named_by_exports_alone_in_their_language(
    run, library, tmp_path
):
    out = tmp_path / "tags"
    run("tag", library, "--out", out, "--csv")
    status, text, err = run("tag", "--out", out, "--csv", "--language", "fr")
    assert status == 1 and "broken: 1" in text
    assert (
        err == "broken.jpg: broken.jpg est vide (0 octet). Copiez-le ou téléchargez-le à nouveau.\n"
    )
    table = (out / "tags.csv").read_text(encoding="utf-8")
    assert "broken.jpg est vide" in table and "Cela ne ressemble à aucun" in table


def test_listed_photos_that_are_missing_are_rows_and_stop_a_strict_run(run, library, tmp_path):
    lines = [library / "paris.jpg", library / "gone.jpg"]
    (tmp_path / "list.txt").write_text("\n".join(map(str, lines)))
    words = ["tag", f"@{tmp_path / 'list.txt'}", "--out", tmp_path / "tags", "--csv", "--json"]
    status, _, err = run(*words, "--strict")
    assert status == 1 and f"{lines[1]}: It is not there. Stopped, as --strict asks" in err
    assert run(*words)[0] == 1
    gone, paris = read_lines(tmp_path / "tags" / "tags.jsonl")
    assert gone["reason"] == "gone.jpg does not exist. Check the path."
    lines[0].rename(tmp_path / "paris.jpg")
    run(*words)
    assert [line["file"] for line in read_lines(tmp_path / "tags" / "tags.jsonl")] == ["gone.jpg"]
    (tmp_path / "paris.jpg").rename(lines[0])
    run(*words)
    assert read_lines(tmp_path / "tags" / "tags.jsonl") == [gone, paris], "it kept its answer"


def test_photos_that_are_gone_leave_the_exports_also_where_none_is_left(run, library, tmp_path):
    words = ["tag", library, "--out", tmp_path / "tags", "--json"]
    run(*words)
    for path in [*library.rglob("*.jpg")]:
        path.unlink()
    status, text, err = run(*words)
    assert (status, err) == (0, "") and "tagged: 0, no known landmark: 0" in text
    assert "No longer there: 4. They are in no export, but stay in the index." in text
    assert read_lines(tmp_path / "tags" / "tags.jsonl") == []
    (tmp_path / "typo").mkdir()
    status, text, err = run("tag", tmp_path / "typo", *words[2:])
    assert (status, text) == (1, "") and "There are no photos in" in err


def test_file_of_landmarks_is_refused_where_no_photo_is_new(run, library, tmp_path):
    words = ["tag", library, "--out", tmp_path / "tags", "--csv"]
    run(*words)
    before = dump(tmp_path / "tags")
    (tmp_path / "notes.landmarks").write_text("no landmarks")
    for name, reason in (("nowhere", "does not exist"), ("notes.landmarks", "is not whole")):
        status, text, err = run(*words, "--taught", tmp_path / name)
        assert (status, text) == (1, "") and reason in err and len(err.splitlines()) == 1
    assert dump(tmp_path / "tags") == before


def test_probability_may_be_written_as_percentage(run, library, tmp_path):
    run("tag", library, "--out", tmp_path / "tags", "--csv", "--min-probability", "100%")
    assert "below 100%" in (tmp_path / "tags" / "tags.csv").read_text(encoding="utf-8")
    status, _, err = run("tag", library, "--out", tmp_path / "tags", "--min-probability", "much")
    assert status == 2 and "'much' is no number. Write 0.8, or 80%." in err


def take(source: str, path: Path, clock: str, model: str = "R5") -> None:
    """A photo as a camera takes it, at a clock of one day."""
    exif = Image.Exif()
    exif[ExifTags.Base.Model] = model
    shot = exif.get_ifd(ExifTags.IFD.Exif)
    shot[ExifTags.Base.DateTimeOriginal] = f"2024:05:01 {clock}:00"
    path.parent.mkdir(exist_ok=True)
    with Image.open(source) as image:
        image.save(path, exif=exif)


def test_photo_without_a_landmark_is_placed_by_those_around_it(run, tmp_path, monkeypatch):
    folder, out = tmp_path / "trip", tmp_path / "tags"
    for clock in ("10:00", "10:20"):
        take(EIFFEL, folder / f"{clock[3:]}.jpg", clock)
    take(STRANGER, folder / "lunch.jpg", "10:05")
    take(STRANGER, folder / "home.jpg", "10:06", model="A7")
    status, text, _ = run("tag", folder, "--out", out)
    assert status == 0 and "Trips: 2. " in text and "photos placed by others: 1." in text
    monkeypatch.setattr("landmark_model.hub.repo.find", None)
    shutil.rmtree(folder)

    def whys(*words: str) -> dict[str, str]:
        assert run("tag", "--out", out, "--json", *words)[0] == 0
        return {row["file"]: row["why"] for row in read_lines(out / "tags.jsonl")}

    between = "between Eiffel Tower 10:00 and Eiffel Tower 10:20"
    alone = {"00.jpg": "seen", "20.jpg": "seen", "lunch.jpg": between, "home.jpg": None}
    assert whys() == alone
    assert whys("--together", "r5, a7") == alone | {"home.jpg": between}
    assert whys("--max-gap", "1m") == alone | {"lunch.jpg": None}
    assert whys("--max-gap", "6h", "--together", "none") == alone
    status, text, err = run("tag", "--out", out, "--camera-offset", "Leica=1h")
    assert (status, text) == (1, "") and "No camera is called Leica. These took" in err


def test_strict_run_stops_at_a_photo_that_cannot_be_read(run, library, tmp_path):
    for _ in range(2):
        status, _, err = run("tag", library, "--out", tmp_path / "tags", "--csv", "--strict")
        assert status == 1 and "Stopped, as --strict asks" in err
        assert f"{library / 'broken.jpg'}: broken.jpg is empty" in err
        assert files_in(tmp_path / "tags") == ["library.sqlite"]
    assert run("tag", library, "--out", tmp_path / "tags", "--csv")[0] == 1
    assert "broken.jpg" in (tmp_path / "tags" / "tags.csv").read_text(encoding="utf-8")


def test_what_is_left_out_of_a_library_is_named_and_counted(run, library, tmp_path, monkeypatch):
    (library / "@eaDir").mkdir()
    shutil.copy(EIFFEL, library / "@eaDir" / "thumbnail.jpg")
    (library / "all").symlink_to(library)
    (library / "gone.jpg").symlink_to("nowhere")
    (library / "broken.jpg").unlink()
    status, text, err = run("tag", library, library, "--out", tmp_path / "tags")
    assert status == 1 and "skipped: 2" in text
    for line in ("Skipped: @eaDir: a system folder",
                 "Skipped: all: a link back to the whole folder",
                 "Failed: gone.jpg: a link to a file that is not there"):  # fmt: skip
        assert line in err
    assert len(read_lines(tmp_path / "tags" / "tags.jsonl")) == 3

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(tagging, "open_safely", interrupt)
    status, _, err = run("tag", library, "--out", tmp_path / "other")
    assert status == 130 and "run the same command again" in err


# --- export ---


def test_export_writes_the_file(run, shipped, tmp_path_factory, monkeypatch):
    path = shipped / "network.pt"
    status, out, _ = run("export", "--source", shipped, "--out", path)
    assert status == 0 and "network.pt" in out
    network = torch.jit.load(str(path))
    assert network.labels == ["Eiffel Tower", "Golden Gate Bridge", "Stonehenge"]
    assert network(torch.zeros(2, 3, 50, 80, dtype=torch.uint8)).shape == (2, 3)
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))
    assert run("export", "--source", shipped)[0] == 0
    assert [path.name for path in Path.cwd().iterdir()] == ["model.torchscript.pt"]


# --- card ---


def test_card_is_written_to_the_folder_or_elsewhere_with_links_into_it(run, shipped):
    status, out, _ = run("card", "--source", shipped)
    assert status == 0 and "README.md" in out
    text = (shipped / "README.md").read_text(encoding="utf-8")
    assert "LandmarkCNN" in text and "(training_curve.png)" in text
    (shipped / "docs").mkdir()
    assert run("card", "--source", shipped, "--out", shipped / "docs" / "card.md")[0] == 0
    assert "(../training_curve.png)" in (shipped / "docs" / "card.md").read_text(encoding="utf-8")


# --- what cannot work ---


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", EIFFEL, "--source", "no such folder"],
        ["predict", EIFFEL, "--source", "someone/no-such-repo"],
        ["predict", EIFFEL, "--source", str(EXAMPLES)],
        ["predict", EIFFEL, "--source", EIFFEL],
        ["predict", EIFFEL, "--network", "vgg16"],
        ["predict", EIFFEL, "--top-k", "0"],
        ["tag", "no such folder", "--out", "tags"],
        ["tag", ".", "--out", "tags"],
        ["tag", str(EXAMPLES), "--out", EIFFEL],
        ["tag", str(EXAMPLES), "--out", f"{EIFFEL}/tags"],
        ["tag", str(EXAMPLES), "--out", "tags", "--min-probability", "80"],
        ["tag", str(EXAMPLES), "--out", "tags", "--xmp", EIFFEL],
        ["tag", "--out", "no such folder"],
        ["tag", str(EXAMPLES), "--out", "tags", "--camera-offset", "Canon=soon"],
        ["tag", str(EXAMPLES), "--out", "tags", "--together", ", ,"],
        ["tag", str(EXAMPLES), "--out", "tags", "--max-gap", "often"],
        ["tag", "@no such list.txt", "--out", "tags"],
        ["export", "--source", "no such folder"],
        ["export", "--source", str(EXAMPLES)],
        ["export", "--network", "vgg16"],
        ["export", "--out", "no such folder/network.pt"],
        ["export", "--out", "."],
        ["card", "--source", "no such folder"],
        ["card", "--source", str(EXAMPLES)],
        ["card", "--out", "card.md", "--results-in", "no such file.md"],
    ],
    ids=lambda arguments: " ".join(Path(word).name for word in arguments),
)
def test_mistake_costs_one_line_and_exit_status_1(run, arguments, tmp_path, monkeypatch, shipped):
    monkeypatch.chdir(tmp_path)
    if arguments[0] != "predict" and "--source" not in arguments:
        arguments = [*arguments, "--source", str(shipped)]
    before = sorted(tmp_path.rglob("*"))
    status, out, err = run(*arguments)
    assert status == 1
    assert len(err.splitlines()) == 1
    assert err.startswith("landmark: ")
    assert out == "" or arguments[0] == "card"
    assert [path for path in before if not path.exists()] == []


@pytest.mark.parametrize("arguments", [[], ["tag", "x"], ["predict", "x", "--k", "2"]])
def test_wrong_use_is_explained(run, arguments):
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert "usage: landmark" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["tag", ".", "--out", ""],
        ["tag", "", "--out", "x"],
        ["predict", "x", "--source", ""],
        ["export", "--out", ""],
        ["card", "--out", ""],
        ["card", "--results-in", ""],
        ["push", "", "org/name"],
        ["push", "x", ""],
        ["space", "build", ""],
        ["tag", ".", "--out", "a\0b"],
    ],
    ids=lambda arguments: " ".join(word or "''" for word in arguments).replace("\0", "NUL"),
)
def test_empty_name_is_refused_before_it_means_the_folder_one_is_in(
    run, arguments, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(*arguments)
    assert (status, out) == (2, "") and re.search("it is empty|NUL character", err)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [[], ["predict"], ["tag"], ["export"], ["card"]])
def test_help_says_what_each_word_does(run, command):
    status, out, err = run(*command, "--help")
    assert (status, err) == (0, "")
    assert "usage: landmark" in out
