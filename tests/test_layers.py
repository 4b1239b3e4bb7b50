"""The house stands as drawn: who may import whom, one owner per library, short functions."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "landmark_model"
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py"))
PROGRAMS = [path for path in (ROOT / "app.py", ROOT / "train.py") if path.exists()]
WEB = sorted((PACKAGE / "web").rglob("*.py"))
SOURCES = sorted(PACKAGE.glob("*.py")) + WEB + PROGRAMS

# What each module may import of ours. A name after a colon is one of the front door's.
ALLOWED = {
    "__init__": {
        "card",
        "classifier",
        "config",
        "decoding",
        "explain",
        "hub",
        "photos",
        "places",
        "tagging",
    },
    "__main__": {
        ":LANGUAGES",
        ":load",
        "card",
        ":__version__",
        "config",
        "export",
        "files",
        "folders",
        "hub",
        "library",
        "networks",
        "publish",
        "space",
        "tagging",
    },
    "calibration": set(),
    "card": {"calibration", "config", "files", "hub", "hubclient", "metrics", "places"},
    "classifier": {
        "calibration",
        "config",
        "explain",
        "hub",
        "neighbours",
        "networks",
        "photos",
        "places",
        "transforms",
    },
    "config": set(),
    "data": {"config", "files", "folders", "photos", "transforms"},
    "decoding": {"config", "photos"},
    "evaluation": {"calibration", "config", "metrics", "neighbours", "networks", "training"},
    "explain": set(),
    "export": {"config", "files", "neighbours", "tensors", "transforms"},
    "files": set(),
    "folders": {"files", "photos"},
    "hub": {"config", "hubclient", "neighbours", "tensors"},
    "hubclient": {"config"},
    "library": {"classifier", "config", "files", "tagging"},
    "metrics": {"calibration"},
    "neighbours": set(),
    "networks": {"config", "files", "tensors"},
    "options": {"config", "recipes", "smoke"},
    "photos": {"config", "traps"},
    "pictures": {"config", "data", "metrics", "training"},
    "pipeline": {
        "card",
        "config",
        "data",
        "evaluation",
        "export",
        "files",
        "hub",
        "hubclient",
        "networks",
        "neighbours",
        "options",
        "pictures",
        "places",
        "publish",
        "quick",
        "recipes",
        "training",
        "transforms",
        ":__version__",
    },
    "places": set(),
    "publish": {"card", "config", "export", "hub", "hubclient", "networks"},
    "quick": {"config", "data", "files", "networks", "recipes", "training"},
    "recipes": {"config"},
    "smoke": set(),
    "space": {"config", "files", "hubclient"},
    "tagging": {"classifier", "config", "decoding", "files"},
    "tensors": {"config"},
    "training": {"config", "files", "metrics", "networks", "recipes", "transforms"},
    "traps": set(),
    "transforms": {"config", "files", "recipes"},
}
OWNERS = {
    "accelerate": "training",
    "datasets": "data",
    "huggingface_hub": "hubclient",
    "matplotlib": "pictures",
    "onnx": "export",
    "onnxruntime": "export",
    "pillow_heif": "photos",
    "sklearn": "metrics",
    "timm": "networks",
}
LINES_PER_FUNCTION = 40

# What shows the page, or stands between it and its visitors; all else is plain functions.
PAGES = {
    "app",
    "cleaning",
    "guarded",
    "uploads",
    *(path.stem for path in WEB if re.fullmatch(r"page(_\w+)?", path.stem)),
}

each_source = pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported_names(path: Path) -> set[str]:
    """Every dotted name that a file imports: "torch.nn", "landmark_model.hub.repo.save"."""
    names: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = "landmark_model." * bool(node.level) + (node.module or "")
            names |= {f"{package.rstrip('.')}.{alias.name}" for alias in node.names}
    return names


def ours_in(path: Path) -> set[str]:
    """The modules of ours that a file imports; what comes by the front door as ":name"."""
    parts = [name.split(".") for name in imported_names(path)]
    inner = [[*part, ""][1] for part in parts if part[0] == "landmark_model"]
    return {name if name in MODULES else f":{name}" for name in inner}


def test_the_reader_of_imports_sees_every_way_to_write_one(tmp_path):
    path = tmp_path / "sample.py"
    path.write_text(
        "import torch.nn as nn\nimport landmark_model\nfrom landmark_model import hub, load\n"
        "from .config import ModelConfig\nfrom . import data\n"
        "def late():\n    from landmark_model.photos import open_photo\n"
    )
    assert ours_in(path) == {":", ":load", "config", "data", "hub", "photos"}
    assert "torch.nn" in imported_names(path)


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_only_what_its_layer_may(module):
    assert module in ALLOWED, f"{module}.py is new: say in ALLOWED what it may import"
    assert ours_in(PACKAGE / f"{module}.py") - {":LandmarkError"} <= ALLOWED[module]


def test_every_rule_is_for_a_module_that_exists():
    assert set(ALLOWED) == set(MODULES)


@pytest.mark.parametrize("path", [ROOT / "app.py", *WEB], ids=lambda path: path.stem)
def test_app_comes_in_by_the_front_door(path):
    assert all(name.startswith(":") for name in ours_in(path))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_only_the_page_knows_gradio_and_only_the_app_knows_the_page(path):
    libraries = {name.split(".")[0] for name in imported_names(path)}
    assert "gradio" not in libraries or (path in PROGRAMS + WEB and path.stem in PAGES)
    assert "webapp" not in libraries or path in [ROOT / "app.py", *WEB]


def test_training_does_not_need_the_classifier():
    forbidden = {"classifier", ":load", ":LandmarkClassifier", ":Prediction", ":"}
    assert not ours_in(ROOT / "train.py") & forbidden


@pytest.mark.parametrize("library", OWNERS)
def test_library_has_one_owner(library):
    users = {
        path.stem
        for path in SOURCES
        if library in {name.split(".")[0] for name in imported_names(path)}
    }
    owner = OWNERS[library]
    assert users == ({owner} if owner in {path.stem for path in SOURCES} else set())


@each_source
def test_functions_are_short(path):
    lengths = {
        node.name: node.end_lineno - node.lineno + 1
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    too_long = {name: count for name, count in lengths.items() if count > LINES_PER_FUNCTION}
    assert not too_long


@each_source
def test_nothing_is_unpickled(path):
    modules = {name.split(".")[0] for name in imported_names(path)}
    assert not modules & {"cloudpickle", "dill", "joblib", "pickle", "shelve"}
    calls = {ast.unparse(node.func) for node in ast.walk(tree_of(path)) if type(node) is ast.Call}
    assert not calls & {"torch.load", "torch.serialization.load"}
    assert "torch.load" not in imported_names(path)


def swallows(handler: ast.ExceptHandler) -> bool:
    """Whether it drops every kind of error without a word."""
    kinds = "" if handler.type is None else ast.unparse(handler.type)
    silent = all(isinstance(line, ast.Pass | ast.Continue) for line in handler.body)
    return silent and (not kinds or "Exception" in kinds.strip("()").split(", "))


@each_source
def test_no_error_is_swallowed(path):
    handlers = [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.ExceptHandler)]
    assert not [handler.lineno for handler in handlers if swallows(handler)]
    calls = {ast.unparse(node) for node in ast.walk(tree_of(path)) if type(node) is ast.Call}
    assert not [call for call in calls if call.endswith("suppress(Exception)")]


def test_nothing_is_called_utils():
    assert not [path for path in SOURCES if "util" in path.stem or "helper" in path.stem]
