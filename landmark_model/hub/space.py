"""The folder of a hosted Gradio Space: the demo, the package, the networks, what to install."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import yaml

from landmark_model.config import LandmarkError
from landmark_model.files import staged
from landmark_model.hub.client import Pushed, push, set_variable

ROOT = Path(__file__).parents[2]
CONTENT = ("app.py", "landmark_model", "requirements.txt", "LICENSE")
TEXT = """\
# {title}

{short_description} The demo of the landmark tagger; photos are deleted after an hour.
{model}
Written by `landmark space build`; change the project, then build it again.
"""


def build_space(out: Path, model: str | None = None) -> None:
    """Writes the Space to the new or empty folder `out`.

    `model` is the hub repo ("org/name" or "org/name@tag") whose networks it shows, which the Space
    is told by its variable LANDMARK_REPO; the networks that ship go along and serve without.
    Raises LandmarkError if `out` holds something, or the demo is not here.
    """
    if not all((ROOT / name).exists() for name in (*CONTENT, "README.md")):
        raise LandmarkError(
            "The installed package lacks what a Space is made of. Run this in a clone of the "
            "project: python -m landmark_model space"
        )
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise LandmarkError(f"{out} is not empty. Give a new folder.")
    with staged(out) as folder:
        for name in CONTENT:
            path = ROOT / name
            if path.is_dir():
                skip = shutil.ignore_patterns("__pycache__", "*.pyc")
                shutil.copytree(path, folder / name, ignore=skip)
            elif path.is_file():
                shutil.copyfile(path, folder / name)
        (folder / "README.md").write_text(_front_page(model), encoding="utf-8")


def push_space(repo: str, model: str | None = None, private: bool = False) -> Pushed:
    """Builds the Space and uploads it to `repo` ("org/name") in one commit.

    Raises LandmarkError if the hub refuses or cannot be reached.
    """
    with tempfile.TemporaryDirectory(prefix="landmark-space-") as scratch:
        build_space(Path(scratch) / "space", model)
        done = push(Path(scratch) / "space", repo, kind="space", private=private)
    if model:
        name, _, revision = model.partition("@")
        set_variable(repo, "LANDMARK_REPO", name)
        if revision:
            set_variable(repo, "LANDMARK_REVISION", revision)
    return done


def _front_page(model: str | None) -> str:
    """README.md: the Space's settings as its header, a note for visitors below."""
    head = yaml.safe_load((ROOT / "README.md").read_text("utf-8").split("---")[1])
    name = (model or "").partition("@")[0]
    if name:
        head |= {"models": [name], "preload_from_hub": [name]}
    text = TEXT.format(
        **head, model=f"\nIt shows the networks of [{name}](/{name}).\n" if name else ""
    )
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n\n{text}"
