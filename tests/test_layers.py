"""The house stands as drawn: arrows go down only, one owner per library, short functions."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "landmark_model"
PATHS = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.parent == PACKAGE or path.stem != "__init__"
}
PROGRAMS = [ROOT / "app.py", ROOT / "train.py"]
SOURCES = [*PATHS.values(), *PROGRAMS]

# From the ground up: a module imports what is on its own floor or below, never above.
FLOORS = (
    "errors files config cores traps places",
    "tensors memory calibration explain prediction raw photos background teaching taught",
    "decoding folders preprocess networks torch_trunk hub.client",
    "runtime",
    "hub.repo",
    "classifier",
    "hub.card hub.space library.*",
    "training.* hub.publish",
    "web.*",
    "cli __main__",
)
# The modules that import a library, as names or as floors; all others go through them.
OWNERS = {
    "accelerate": "training.session training.precision training.fit",
    "datasets": "training.data",
    "fsspec": "library.addresses",
    "gradio": "web.*",
    "huggingface_hub": "hub.client",
    "matplotlib": "training.plots",
    "onnx": "training.export training.graphs",
    "onnxruntime": "runtime training.export",
    "pillow_heif": "photos",
    "pyarrow": "library.parquet",
    "rawpy": "raw",
    "ray": "library.cluster",
    "scipy": "training.data training.evaluate",
    "sklearn": "training.metrics training.known",
    "sqlite3": "library.index library.browse",
    "timm": "networks training.*",
    "torch": "networks runtime torch_trunk training.*",
    "torchvision": "training.augment",
}
# Of the app, what is plain functions: it could serve another web framework.
PLAIN_WEB = re.compile(r"web\.(html\..*|answers|i18n|measured|models|overlay|settings|share)")
LINES_PER_FUNCTION, PARAMETERS = 40, 6

each_module = pytest.mark.parametrize("module", [name for name in PATHS if name != "__init__"])
each_source = pytest.mark.parametrize(
    "path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)).removeprefix("landmark_model/")
)


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
    found = set()
    for name in imported_names(path):
        first, _, rest = name.partition(".")
        if first == "landmark_model":
            longest = [module for module in PATHS if f"{rest}.".startswith(f"{module}.")]
            is_package = any(module.startswith(f"{rest.split('.')[0]}.") for module in PATHS)
            found.add(max(longest, key=len, default=rest if is_package else f":{rest}"))
    return found


def is_of(module: str, places: str) -> bool:
    """Whether a module is one of those places: "config", or "web.*" for all of a folder."""
    return any(
        module == place or (place.endswith("*") and module.startswith(place[:-1]))
        for place in places.split()
    )


def floor_of(module: str) -> int:
    (floor,) = (number for number, places in enumerate(FLOORS) if is_of(module, places))
    return floor


def test_the_reader_of_imports_sees_every_way_to_write_one(tmp_path):
    path = tmp_path / "sample.py"
    path.write_text(
        "import torch.nn as nn\nimport landmark_model\nfrom landmark_model import photos, load\n"
        "from .config import ModelConfig\nfrom landmark_model.hub import repo\n"
        "def late():\n    from landmark_model.hub.client import push\n"
    )
    assert ours_in(path) == {":", ":load", "config", "hub.client", "hub.repo", "photos"}
    assert "torch.nn" in imported_names(path)


@each_module
def test_arrows_go_down_only(module):
    above = {
        name
        for name in ours_in(PATHS[module])
        if name in PATHS and name != "__init__" and floor_of(name) > floor_of(module)
    }
    assert not above


def test_every_place_on_a_floor_and_every_owner_is_there():
    places = " ".join([*FLOORS, *OWNERS.values()]).split()
    assert not [place for place in places if not any(is_of(module, place) for module in PATHS)]


@pytest.mark.parametrize("module", [name for name in PATHS if is_of(name, "web.* library.*")])
def test_app_and_library_come_in_by_the_front_door(module):
    floor = module.split(".")[0]
    # A run writes its own files, by all cores, with means that are nobody else's business.
    own = {"web": "web.*", "library": "library.* files cores"}[floor]
    assert all(is_of(name, own) for name in ours_in(PATHS[module]) if name in PATHS)


@pytest.mark.parametrize("library", OWNERS)
def test_library_has_one_owner(library):
    users = {
        module
        for module, path in PATHS.items()
        if library in {name.split(".")[0] for name in imported_names(path)}
    }
    assert users and all(is_of(user, OWNERS[library]) for user in users)


@pytest.mark.parametrize("module", [*filter(PLAIN_WEB.fullmatch, PATHS)])
def test_what_the_page_says_is_made_without_gradio(module):
    assert "gradio" not in {name.split(".")[0] for name in imported_names(PATHS[module])}


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    nodes = ast.walk(tree_of(path))
    return [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


@each_source
def test_functions_are_short_and_take_few_parameters(path):
    def is_long(node: ast.FunctionDef) -> bool:
        arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        count = len([one for one in arguments if one.arg not in ("self", "cls")])
        return node.end_lineno - node.lineno >= LINES_PER_FUNCTION or count > PARAMETERS

    assert not [node.name for node in functions(path) if is_long(node)]


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


def test_names_of_files_say_what_is_in_them_and_which():
    names = [path.stem for path in SOURCES if path.stem != "__init__"]
    assert len(names) == len(set(names))
    assert not [name for name in names if "util" in name or "helper" in name]
