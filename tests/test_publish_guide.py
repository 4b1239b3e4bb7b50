"""docs/publish.md, line by line, against a hub on the loopback."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hub_processes import ROOT, Client, Hub

from landmark_model.training.smoke import make_photos

GUIDE = (ROOT / "docs" / "publish.md").read_text(encoding="utf-8")
QUICK = "--epochs 1 --batch-size 8 --workers 0 --image-size 64"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A clone of sorts, where the guide's commands run: links, and photos of one's own."""
    folder = tmp_path_factory.mktemp("guide")
    for name in ("train.py", "landmark_model", "examples", "app.py", "requirements",
                 "README.md", "LICENSE"):  # fmt: skip
        (folder / name).symlink_to(ROOT / name)
    make_photos(folder / "my_landmarks")
    return folder


@pytest.fixture(scope="module")
def client(place):
    hub = Hub(place / "hub")
    client = Client(hub, place / "home", "hf_owner")
    yield client
    client.stop()
    hub.stop()


def run_command(command: str, client: Client, place: Path) -> None:
    """Runs a command of the guide, a training for seconds only; fails where it does."""
    program, *words = shlex.split(command.replace("$HF_TOKEN", "hf_owner"))
    words += QUICK.split() * (words[0] == "train")
    if program == "landmark":
        ended, printed = client.python("-m", "landmark_model", *words, folder=place)
        assert ended == 0, f"{command}\n{printed}\n{ended}"
    else:
        words.insert(0, str(Path(sys.executable).with_name(program)))
        subprocess.run(words, cwd=place, env=client.env, check=True, capture_output=True)


def test_every_command_and_every_line_of_python_works_in_turn(client, place):
    ran = 0
    for language, code in re.findall(r"```(sh|python)\n(.*?)```", GUIDE, re.DOTALL):
        commands = code.strip().splitlines() if language == "sh" else [code]
        for command in commands:
            if language == "sh":
                run_command(command, client, place)
            else:
                assert client.run(code)["error"] is None
            ran += 1
    assert ran == 12
    assert (place / "my_space" / "app.py").is_file()


def test_what_the_guide_says_of_a_repo_is_what_is_there(client, place):
    files = client.run(
        "from huggingface_hub import HfApi\nanswer = HfApi().list_repo_files('you/landmarks')"
    )["value"]
    named = set(re.findall(r"`([\w.]+)`", GUIDE[GUIDE.index("## What a repo holds") :]))
    here = {Path(name).name for name in files if not name.endswith((".png", ".gitattributes"))}
    assert here <= named
    assert sum("/" not in name and name.endswith(".png") for name in files) == 3
