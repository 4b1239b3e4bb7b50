"""What README and card say: commands that run, figures that are those of metrics.json."""

import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from landmark_model import photos
from landmark_model.hub import card, repo
from landmark_model.training.pipeline import main
from landmark_model.training.recipes import RECIPES
from landmark_model.training.smoke import make_photos

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
QUICK = ["--epochs", "1", "--image-size", "64", "--batch-size", "8", "--workers", "0"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("code", [c for c in blocks("python") if "gradio_client" not in c])
def test_python_in_the_readme_runs(code, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    exec(code, {})
    for promised in re.findall(r"print\(.*\)  # (.*)", code):
        assert promised in capsys.readouterr().out


def commands() -> list[str]:
    return [line for block in blocks("sh") for line in block.strip().splitlines()]


@pytest.mark.parametrize("command", [c for c in commands() if "train.py" not in c])
def test_commands_in_the_readme_run(command, monkeypatch, capsys):
    program, option, module, *words = shlex.split(command)
    assert (program, option) == ("python", "-m")
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", [module, *words])
    with pytest.raises(SystemExit) as end:
        runpy.run_module(module, run_name="__main__")
    assert end.value.code == 0 and "Taj Mahal" in capsys.readouterr().out


def test_training_commands_in_the_readme_run_one_after_another(tmp_path, monkeypatch, without_muon):
    monkeypatch.chdir(tmp_path)
    make_photos(tmp_path / "my_landmarks")
    shipped = repo.best_first(repo.SHIPPED)
    written: set[str] = set()
    for command in [c for c in commands() if c.startswith("python train.py")]:
        words = shlex.split(command)[2:]
        # The hub's ImageNet weights are out of reach.
        if "--probe" in words:
            words += ["--init", str(shipped["tf_efficientnet_lite2"])]
        if "resnet18" in words:
            words += ["--init", str(shipped["resnet18"])]
        main([*words, *QUICK])
        written |= {path.name for path in Path(words[words.index("--out") + 1]).iterdir()}
    assert {path.name for path in Path("runs").iterdir()} == {"probe", "lite2", *RECIPES} - {
        "tf_efficientnet_lite2"
    }
    promised = set(re.findall(r"`([\w.]+)`", README))
    assert written <= promised, "a file that the README does not explain"


def test_results_in_the_readme_are_those_of_the_metrics():
    table = card.results_table(card.read_reports(repo.SHIPPED))
    assert f"{card.RESULTS_START}\n{table}\n{card.RESULTS_END}" in README


def test_the_readme_counts_the_landmarks_that_the_networks_know():
    counts = {len(report.config.class_names) for report in card.read_reports(repo.SHIPPED)}
    assert {int(count) for count in re.findall(r"(\d+) landmarks", README)} == counts


def test_the_map_names_every_module():
    modules = {path.name for path in (ROOT / "landmark_model").glob("[a-z]*.py")}
    named = set(re.findall(r"`(\w+\.py)`", README))
    assert modules <= named


def test_every_dependency_has_its_reason():
    table = README[README.index("## Dependencies") :]
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    names = [re.split(r"[~=<>]", line)[0] for line in lines if not line.startswith("#")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names += [re.split(r"[~=<>]", line)[0] for line in project["optional-dependencies"]["dev"]]
    assert not [name for name in names if not re.search(rf"\b{name}\b", table)]


def test_the_space_runs_the_pinned_gradio():
    head = yaml.safe_load(README.split("---")[1])
    assert f"gradio=={head['sdk_version']}" in (ROOT / "requirements.txt").read_text()
    assert (ROOT / head["app_file"]).is_file()


@pytest.mark.parametrize(
    "document",
    [
        "README.md",
        "model_card.md",
        "CONTRIBUTING.md",
        "docs/publish.md",
        "docs/api.md",
        "SECURITY.md",
    ],
)
def test_links_and_pictures_lead_somewhere(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert ((ROOT / document).parent / target).exists(), target


def test_every_test_that_holds_a_limit_is_there():
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "SECURITY.md").read_text(encoding="utf-8")))
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("test_*.py"))
    assert len(named) > 30 and not {name for name in named if f"def {name}(" not in code}


def test_no_photo_of_the_training_data_is_in_the_repo():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout
    found = [p for p in tracked.split() if Path(p).suffix.lower() in photos.PHOTO_ENDINGS]
    allowed = (
        "landmark_model/examples/",
        "docs/",
        "landmark_model/weights/",
        "landmark_model/web/static/preview.png",
    )
    assert all(photo.startswith(allowed) for photo in found)
