"""What people install: whole, no more than they asked for, and it works from any folder."""

import os
import re
import shutil
import socket
import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from app_client import ask
from setuptools import Distribution
from test_layers import PATHS, imported_names

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "landmark_model"
EXTRAS = {"training": ("train", "torch"), "web": ("app",)}
EXTRAS |= {"library.parquet": ("parquet",), "raw": ("raw",), "library.addresses": ("remote",)}
EXTRAS |= {"library.cluster": ("ray",)}
EXTRAS |= dict.fromkeys(("networks", "torch_trunk", "runtime"), ("torch",))
SAMPLE = '[project]\nname = "sample"\nversion = "1"\n[tool.setuptools]\npy-modules = ["sample"]\n'
# What comes with a package that is on a list, and is its to choose.
COMES_WITH = {"httpx2": "huggingface-hub"} | dict.fromkeys(
    ("fastapi", "orjson", "starlette"), "gradio"
)


def files_of(package: Path) -> set[str]:
    """Every file of the package, as paths from the folder it is in."""
    return {
        path.relative_to(package.parent).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def listed(extra: str) -> set[str]:
    """The packages in the list of an extra."""
    lines = (ROOT / "requirements" / f"{extra}.txt").read_text(encoding="utf-8").splitlines()
    names = (re.split("[~=[]", line)[0] for line in lines if line[0] != "#")
    return {name.lower().replace("_", "-") for name in names}


def test_every_file_of_the_package_goes_into_the_wheel(monkeypatch):
    monkeypatch.chdir(ROOT)
    project = Distribution({"script_name": "setup.py"})
    project.parse_config_files()
    build = project.get_command_obj("build_py")
    build.ensure_finalized()
    data = {f"{folder}/{name}" for _, folder, _, names in build.data_files for name in names}
    assert data | set(build.get_source_files()) == files_of(PACKAGE)


@pytest.mark.parametrize("module", [name for name in PATHS if name != "__init__"])
def test_a_module_imports_what_its_extra_installs(module):
    installed = {
        name
        for place in (module, module.partition(".")[0])
        for extra in EXTRAS.get(place, ())
        for name in listed(extra)
    }
    installed |= listed("predict")
    owners = packages_distributions()
    roots = {name.partition(".")[0] for name in imported_names(PATHS[module])}
    roots -= {*sys.stdlib_module_names, "landmark_model"}
    needed = {
        COMES_WITH.get(root) or owners.get(root, [root])[0].lower().replace("_", "-")
        for root in roots
    }
    assert needed <= installed


def test_building_leaves_nothing_beside_the_source(tmp_path):
    shutil.copy(ROOT / "setup.py", tmp_path)
    (tmp_path / "pyproject.toml").write_text(SAMPLE)
    (tmp_path / "sample.py").write_text("x = 1\n")
    code = "from setuptools.build_meta import build_wheel; print(build_wheel('dist'))"
    environment = os.environ | {"TMPDIR": str(tmp_path / "scratch")}
    (tmp_path / "scratch").mkdir()
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    assert list((tmp_path / "dist").glob("*.whl")) and not (tmp_path / "build").exists()
    assert not list((tmp_path / "scratch").iterdir())


def run_without(missing: str, *command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """`landmark command` where packages (named one after another) are not installed."""
    code = (
        f"import sys; sys.modules |= dict.fromkeys({missing.split()!r}); "
        f"from landmark_model.cli import main; sys.exit(main({[*command]!r}))"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("command", "missing", "extra"),
    [
        (["serve"], "gradio", "app"),
        (["train", "--smoke"], "datasets", "train"),
        (["export", "--onnx", "--network", "landmark_cnn"], "torch", "train"),
        (["tag", str(ROOT / "examples"), "--out", "tags", "--parquet"], "pyarrow", "parquet"),
        (["tag", str(ROOT / "examples"), "--out", "tags", "--engine", "ray"], "ray", "ray"),
    ],
)
def test_without_its_extra_a_command_says_what_to_install(command, missing, extra, tmp_path):
    done = run_without(missing, *command, folder=tmp_path)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == (
        f"landmark: {command[0]} needs {missing}, which is not installed. "
        f'Install it: pip install "landmark-model[{extra}]"\n'
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["train", "serve"])
def test_help_and_mistakes_in_the_words_need_no_extra(command, tmp_path):
    away = "accelerate datasets fastapi gradio matplotlib onnx onnxruntime sklearn timm torch"
    done = run_without(away, command, "--help", folder=tmp_path)
    assert done.returncode == 0 and f"usage: landmark {command}" in done.stdout
    done = run_without(away, command, "--magic", folder=tmp_path)
    assert done.returncode == 2 and "--magic" in done.stderr


@pytest.mark.fresh
def test_wheel_predicts_serves_and_trains_in_an_environment_of_its_own(fresh, tmp_path):
    wheel, away = build_wheel(fresh, tmp_path), tmp_path / "away"
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert inside == files_of(PACKAGE)
    away.mkdir()
    env = {"PATH": os.environ["PATH"], "HOME": str(away), "HF_HUB_OFFLINE": "1"}

    def install(extras: str) -> None:
        subprocess.run([fresh, "-m", "pip", "install", "--quiet", f"{wheel}{extras}"], check=True)

    def landmark(*words: str) -> subprocess.CompletedProcess[str]:
        command = [fresh.with_name("landmark"), *words]
        return subprocess.run(command, cwd=away, env=env, text=True, capture_output=True)

    install("")
    assert "Taj Mahal" in landmark("predict").stdout
    assert 'pip install "landmark-model[app]"' in landmark("serve").stderr
    assert 'pip install "landmark-model[train]"' in landmark("train", "--smoke").stderr
    install("[app]")
    assert "'Taj Mahal'" in serve_and_ask(fresh.with_name("landmark"), away, env)
    install("[train]")
    done = landmark("train", "--smoke", "--network", "landmark_cnn", "--out", "mine")
    assert done.returncode == 0, done.stderr
    assert "Stonehenge" in landmark("predict", "--source", "mine").stdout


def build_wheel(python: Path, scratch: Path) -> Path:
    """The wheel, built from a copy: what is built before would go into it, and stay behind."""
    source = scratch / "source"
    shutil.copytree(PACKAGE, source / "landmark_model")
    shutil.copytree(ROOT / "requirements", source / "requirements")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", scratch, source]
    subprocess.run(command, check=True)
    return next(scratch.glob("*.whl"))


def serve_and_ask(program: Path, folder: Path, env: dict[str, str]) -> str:
    """What `landmark serve`, started in `folder`, answers to a photo."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    server = subprocess.Popen([program, "serve", "--port", port], cwd=folder, env=env)
    try:
        return ask(f"http://127.0.0.1:{port}", PACKAGE / "examples" / "taj-mahal.jpg", server)
    finally:
        server.terminate()
        server.wait(30)
