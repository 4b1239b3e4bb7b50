"""`python -m landmark_model`: what it prints, and with which exit status it ends."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from landmark_model import load
from landmark_model.__main__ import main

EXAMPLES = Path(__file__).parents[1] / "examples"
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


def test_guesses_are_those_of_load(run):
    status, out, err = run("predict", EIFFEL, TAJ, "--top-k", 3)
    assert (status, err) == (0, "")
    tagger = load(device="cpu")
    expected = []
    for photo in (EIFFEL, TAJ):
        guesses = tagger.predict(photo, top_k=3)
        lines = [f"{min(g.probability, 0.999):.1%} {g.label} ({g.where})" for g in guesses]
        expected += [photo, *lines]
    assert [" ".join(line.split()) for line in out.splitlines()] == expected


def test_guesses_are_named_in_a_language(run):
    status, out, _ = run("predict", EIFFEL, "--top-k", 1, "--language", "de")
    assert status == 0 and re.search(r"Eiffelturm +\(Paris, Frankreich\)", out)
    _, out, _ = run("predict", TAJ, "--top-k", 1, "--language", "zh")
    assert "泰姬陵  (印度阿格拉)" in out
    status, _, err = run("predict", EIFFEL, "--language", "xx")
    assert status == 2 and "'xx'" in err


def test_photo_of_something_else_is_called_so(run):
    status, out, _ = run("predict", STRANGER, "--top-k", 1)
    assert status == 0
    assert out.splitlines()[0] == f"{STRANGER}: none of the landmarks I know; the nearest"


def test_broken_photos_are_reported_and_the_rest_go_on(run, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_text("no photo")
    status, out, err = run("predict", broken, EIFFEL, tmp_path / "missing.jpg", tmp_path, TAJ)
    assert status == 1
    assert "Eiffel Tower" in out and "Taj Mahal" in out
    assert "broken" not in out
    assert len(err.splitlines()) == 3
    for line, name in zip(err.splitlines(), ("broken.jpg", "missing.jpg", tmp_path.name),
                          strict=True):  # fmt: skip
        assert name in line


def test_run_folder_is_a_source(run, small_run):
    status, out, _ = run("predict", EIFFEL, "--source", small_run.folder)
    assert status == 0
    assert len(out.splitlines()) == 4
    assert "Stonehenge" in out


@pytest.mark.parametrize("top_k", [0, -1])
def test_fewer_than_one_guess_is_refused(run, top_k):
    status, out, err = run("predict", EIFFEL, "--top-k", top_k)
    assert status == 1
    assert "top_k" in err and out == ""


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


def test_library_is_tagged_beside_and_not_in_it(run, library, tmp_path):
    before, out = files_in(library), tmp_path / "new" / "tags"
    status, text, err = run("tag", library, "--out", out)
    assert status == 1, "one photo is broken"
    assert "broken.jpg: broken.jpg is empty" in err
    assert "tags of 2 photos; no known landmark: 1, doubtful: 0, broken: 1" in text
    assert files_in(out) == ["india/agra.jpg.xmp", "paris.jpg.xmp", "tags.csv", "tags.json"]
    assert "Eiffel Tower" in (out / "paris.jpg.xmp").read_text(encoding="utf-8")
    assert (out / "tags.csv").read_bytes().startswith(b"\xef\xbb\xbffile,status")
    assert len(json.loads((out / "tags.json").read_text(encoding="utf-8"))) == 4
    assert files_in(library) == before


def test_library_is_tagged_in_a_language(run, library, tmp_path):
    run("tag", library, "--out", tmp_path / "tags", "--language", "es")
    sidecar = (tmp_path / "tags" / "paris.jpg.xmp").read_text(encoding="utf-8")
    assert "Torre Eiffel" in sidecar and "Francia" in sidecar and "France" not in sidecar


def test_doubtful_photos_are_left_untagged_where_that_is_asked_for(run, library, tmp_path):
    new = tmp_path / "tags"
    status, text, _ = run("tag", library, "--out", new, "--min-probability", 1, "--overwrite")
    assert status == 1 and "tags of 0 photos; no known landmark: 1, doubtful: 2" in text
    assert files_in(new) == ["tags.csv", "tags.json"]


def test_sidecars_that_are_there_are_replaced_only_when_asked(run, library):
    (library / "broken.jpg").unlink()
    assert run("tag", library, "--out", library)[0] == 0
    sidecar = library / "paris.jpg.xmp"
    sidecar.write_text("changed by hand")
    status, _, err = run("tag", library, "--out", library)
    assert status == 1 and f".xmp is in {library} already" in err
    assert sidecar.read_text() == "changed by hand"
    assert run("tag", library, "--out", library, "--overwrite")[0] == 0
    assert "Eiffel Tower" in sidecar.read_text(encoding="utf-8")


# --- export ---


def test_export_writes_the_file(run, shipped):
    path = shipped / "network.pt"
    status, out, _ = run("export", "--source", shipped, "--out", path)
    assert status == 0
    assert "network.pt" in out
    network = torch.jit.load(str(path))
    assert network.labels == ["Eiffel Tower", "Golden Gate Bridge", "Stonehenge"]
    assert network(torch.zeros(2, 3, 50, 80, dtype=torch.uint8)).shape == (2, 3)


def test_export_writes_to_the_folder_one_is_in(run, shipped, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))
    assert run("export", "--source", shipped)[0] == 0
    assert [path.name for path in Path.cwd().iterdir()] == ["model.torchscript.pt"]


# --- card ---


def test_card_is_written_to_the_folder(run, shipped):
    status, out, _ = run("card", "--source", shipped)
    assert status == 0
    assert "README.md" in out
    text = (shipped / "README.md").read_text(encoding="utf-8")
    assert "LandmarkCNN" in text and "(training_curve.png)" in text


def test_card_of_a_subfolder_links_into_it(run, shipped, tmp_path_factory):
    parent = tmp_path_factory.mktemp("parent")
    shutil.copytree(shipped, parent / "weights")
    status, _, _ = run("card", "--source", parent / "weights", "--out", parent / "card.md")
    assert status == 0
    assert "(weights/training_curve.png)" in (parent / "card.md").read_text(encoding="utf-8")


# --- what cannot work ---


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", EIFFEL, "--source", "no such folder"],
        ["predict", EIFFEL, "--source", "someone/no-such-repo"],
        ["predict", EIFFEL, "--source", str(EXAMPLES)],
        ["predict", EIFFEL, "--source", EIFFEL],
        ["predict", EIFFEL, "--network", "vgg16"],
        ["tag", "no such folder", "--out", "tags"],
        ["tag", ".", "--out", "tags"],
        ["tag", str(EXAMPLES), "--out", EIFFEL],
        ["tag", str(EXAMPLES), "--out", f"{EIFFEL}/tags"],
        ["tag", str(EXAMPLES), "--out", "tags", "--top-k", "0"],
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
    assert err.startswith("landmark_model: ")
    assert out == "" or arguments[0] == "card"
    assert [path for path in before if not path.exists()] == []


@pytest.mark.parametrize("arguments", [[], ["predict"], ["tag", "x"], ["predict", "x", "--k", "2"]])
def test_wrong_use_is_explained(run, arguments):
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert "usage: python -m landmark_model" in err


@pytest.mark.parametrize("command", [[], ["predict"], ["tag"], ["export"], ["card"]])
def test_help_says_what_each_word_does(run, command):
    status, out, err = run(*command, "--help")
    assert (status, err) == (0, "")
    assert "usage: python -m landmark_model" in out
