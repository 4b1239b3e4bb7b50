"""`import landmark_model` is quick, and offers exactly what `__all__` says."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import landmark_model

ROOT = Path(__file__).parents[1]
SLOW = ("torch", "torchvision", "timm", "datasets", "gradio", "numpy", "PIL", "matplotlib")


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter: in this one, other tests have imported everything already."""
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)


def test_importing_imports_nothing_slow_and_photos_no_torch():
    found = run_python(
        f"import landmark_model, sys; print([name for name in {SLOW} if name in sys.modules]); "
        "from landmark_model import LandmarkError, camera_position, find_place, to_csv; "
        "print('torch' in sys.modules)"
    )
    assert found.stdout.split() == ["[]", "False"], found.stderr


def test_exported_names_are_sorted_and_complete():
    source = ast.parse((ROOT / "landmark_model" / "__init__.py").read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(source) if isinstance(node, ast.ImportFrom)]
    # Those inside `__getattr__` import modules; names for people come from a module of ours.
    names = {
        alias.asname or alias.name
        for node in imports
        if (node.module or "").startswith("landmark_model.")
        for alias in node.names
    }
    in_order = sorted(names, key=lambda name: (not name.isupper(), name))  # constants first
    assert landmark_model.__all__ == in_order
    assert issubclass(landmark_model.LandmarkError, ValueError)
    assert re.fullmatch(r"\d+\.\d+\.\d+", landmark_model.__version__)


@pytest.mark.parametrize("name", landmark_model.__all__)
def test_every_exported_name_is_there_and_documented(name):
    assert getattr(landmark_model, name).__doc__


@pytest.mark.parametrize("name", ["no_such_name", "_load", "torch", "Load"])
def test_unknown_attribute_is_an_attribute_error(name):
    with pytest.raises(AttributeError, match=name):
        getattr(landmark_model, name)
    assert not hasattr(landmark_model, name)
