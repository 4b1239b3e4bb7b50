"""The folder of a Space: all that a hosted demo needs, nothing else; it serves as a host would."""

import os
import re
import stat
import subprocess
from pathlib import Path

import pytest
import yaml
from app_client import ask
from hub_processes import ROOT, Client, Hub

from landmark_model import LandmarkError
from landmark_model.hub.space import build_space


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    hub = Hub(tmp_path_factory.mktemp("hub"))
    yield hub
    hub.stop()


@pytest.fixture(scope="module")
def owner(hub, tmp_path_factory):
    client = Client(hub, tmp_path_factory.mktemp("owner"), "hf_owner")
    yield client
    client.stop()


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built") / "space"
    build_space(folder, "team/landmarks@v1")
    return folder


def head(folder: Path) -> dict:
    return yaml.safe_load((folder / "README.md").read_text(encoding="utf-8").split("---")[1])


def test_head_names_versions_app_and_models(space):
    facts = head(space)
    pins = (space / "requirements.txt").read_text()
    assert f"gradio=={facts['sdk_version']}" in pins
    assert facts["sdk"] == "gradio" and (space / facts["app_file"]).is_file()
    assert facts["python_version"] == "3.11"
    assert facts["models"] == facts["preload_from_hub"] == ["team/landmarks"]
    lines = [line for line in pins.splitlines() if line[0] != "#"]
    assert lines and all(re.search(r"[=~]=\d", line) for line in lines)
    assert not any(line.startswith(("datasets", "accelerate")) for line in lines)


def test_networks_examples_and_package_go_along(space):
    for name in ("landmark_model/weights/model.safetensors", "landmark_model/examples/CREDITS.csv"):
        assert (space / name).read_bytes() == (ROOT / name).read_bytes()
    assert not list(space.rglob("__pycache__"))
    assert not {path.name for path in space.iterdir()} & {"tests", "train.py", ".git", "runs"}


def test_folder_that_holds_something_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(LandmarkError, match="is not empty"):
        build_space(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_space_is_pushed_in_one_commit_and_told_its_models(hub, owner, space):
    code = (
        "from landmark_model.hub.space import push_space\n"
        "done = push_space('team/demo', 'team/landmarks@v1')\nanswer = [done.changed, str(done)]"
    )
    changed, said = owner.run(code)["value"]
    assert changed and "team/demo" in said
    repo = hub.repo("team/demo", "space")
    built = {path.relative_to(space).as_posix() for path in space.rglob("*") if path.is_file()}
    assert hub.files("team/demo", "space") == built | {".gitattributes"}
    assert {key: value["value"] for key, value in repo["variables"].items()} == {
        "LANDMARK_REPO": "team/landmarks",
        "LANDMARK_REVISION": "v1",
    }
    assert owner.run(code)["value"][0] is False


@pytest.mark.fresh
def test_space_serves_in_an_environment_of_its_own(hub, owner, trained, fresh, tmp_path):
    """As a host does it: installs the requirements, starts app.py, cannot write to the source."""
    pushed = owner.push([trained("resnet18").folder, trained("landmark_cnn").folder], "team/served")
    assert pushed["error"] is None
    folder, home = tmp_path / "space", tmp_path / "home"
    build_space(folder, "team/served@v1")
    home.mkdir()
    install = [fresh, "-m", "pip", "install", "--quiet", "-r", folder / "requirements.txt"]
    subprocess.run(install, check=True)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    before = contents(folder)
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "SPACE_ID": "team/demo",
           "SYSTEM": "spaces", "GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SERVER_PORT": "7860",
           "LANDMARK_REPO": "team/served", "LANDMARK_REVISION": "v1", "HF_ENDPOINT": hub.url,
           "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(home / "hf"),
           "PYTHONDONTWRITEBYTECODE": "1"}  # fmt: skip
    server = subprocess.Popen([fresh, "app.py"], cwd=folder, env=env)
    try:
        answer = ask(
            "http://127.0.0.1:7860",
            folder / "landmark_model" / "examples" / "taj-mahal.jpg",
            server,
        )
    finally:
        server.terminate()
        server.wait(30)
    assert any(name in answer for name in ("Eiffel Tower", "Golden Gate Bridge", "Stonehenge"))
    assert any(line.startswith("GET /team/served/resolve/") for line in hub.log())
    assert contents(folder) == before  # whoever is root could write there all the same


def contents(folder: Path) -> dict[str, int]:
    """Every file below, and when it was written."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in files}
