"""What README, docs and card say: commands that run, figures that are those of metrics.json."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from benchmarks import teach
from landmark_model import LANGUAGES, photos
from landmark_model.hub import card, repo
from landmark_model.training.pipeline import main
from landmark_model.training.smoke import make_photos
from landmark_model.web.settings import make_parser

ROOT = Path(__file__).parent.parent
README, PYTHON, TRAINING, LIBRARY, SETTINGS, DEPENDENCIES = (
    (ROOT / path).read_text(encoding="utf-8")
    for path in ("README.md", *(f"docs/{name}.md" for name in ("python", "training", "library",
                                                                "settings", "dependencies")))
)  # fmt: skip
EXAMPLES = "landmark_model/examples"  # "examples" is a link to it, which GitHub does not follow
QUICK = ["--epochs", "1", "--image-size", "64", "--batch-size", "8", "--workers", "0"]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("code", blocks(README, "python") + blocks(PYTHON, "python"))
def test_python_in_the_docs_runs(code, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    exec(code, {})
    printed = capsys.readouterr().out
    for promised in re.findall(r"print\(.*\)  # (.*)", code):
        assert promised in printed


def test_the_docs_name_every_language():
    for page, start in ((LIBRARY, "| `--language"), (PYTHON, "`answer.in_language(")):
        (line,) = (line for line in page.splitlines() if line.startswith(start))
        assert {*LANGUAGES} - {"en"} <= set(re.findall(r"\b[a-z]{2}\b", line))
    for page in (README, SETTINGS):
        (names,) = re.findall(r"in\s+(English(?:, \w+)* (?:and|or) \w+)", page)
        assert len(re.findall("[A-Z]", names)) == len(LANGUAGES)


def commands() -> list[str]:
    """The commands in README and docs, each once."""
    text = "".join(line for page in (README, LIBRARY, TRAINING) for line in blocks(page, "sh"))
    return list(dict.fromkeys(text.strip().splitlines()))


@pytest.mark.parametrize("command", [c for c in commands() if " train " not in c])
def test_commands_in_the_docs_run(command, tmp_path):
    program, *arguments = shlex.split(command)
    assert program == "landmark"  # which may not be installed
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "landmark_model", *arguments]
    subprocess.run(words, cwd=tmp_path, env=environment, check=True, capture_output=True)


def test_training_commands_in_the_docs_run_one_after_another(tmp_path, monkeypatch, without_muon):
    monkeypatch.chdir(tmp_path)
    make_photos(tmp_path / "my_landmarks")
    shipped = repo.best_first(repo.SHIPPED)
    written: set[str] = set()
    for command in [c for c in commands() if c.startswith("landmark train ")]:
        words = shlex.split(command)[2:]
        # The hub's ImageNet weights are out of reach.
        if "--probe" in words:
            words += ["--init", str(shipped["tf_efficientnet_lite2"])]
        if "resnet18" in words:
            words += ["--init", str(shipped["resnet18"])]
        main([*words, *QUICK])
        written |= {path.name for path in Path(words[words.index("--out") + 1]).iterdir()}
    networks = {"mine", "probe", "lite2", "resnet18", "landmark_cnn"}
    assert {path.name for path in Path("runs").iterdir()} == networks
    promised = set(re.findall(r"`([\w.]+)`", TRAINING))
    assert written <= promised, "a file that docs/training.md does not explain"


def test_every_setting_of_the_app_is_explained():
    explained = SETTINGS[: SETTINGS.index("## Behind a proxy")]
    for action in make_parser()._actions[1:]:
        variable = re.findall(r"\[(\w+)\]", action.help)[-1]
        assert f"`{action.option_strings[0]}`" in explained and f"`{variable}`" in explained


def test_results_in_the_readme_are_those_of_the_metrics():
    reports = card.read_reports(repo.SHIPPED)
    table = card.results_table(reports)
    assert f"{card.RESULTS_START}\n{table}\n{card.RESULTS_END}" in README
    counts = {len(report.config.class_names) for report in reports}
    assert {int(count) for count in re.findall(r"(\d+) landmarks", README)} == counts


def test_the_curve_of_teaching_is_that_of_its_benchmark():
    guide, page = ((ROOT / folder / "teach.md").read_text() for folder in ("docs", "benchmarks"))
    curve = guide.split(teach.CURVE_START)[1].split(teach.CURVE_END)[0]
    assert curve.count("\n") > len(teach.COUNTS) and curve in page


def test_the_map_names_every_module():
    modules = {path.name for path in (ROOT / "landmark_model").glob("[a-z]*.py")}
    named = set(re.findall(r"`(\w+\.py)`", README))
    assert modules <= named


def test_every_dependency_has_its_reason_and_stands_in_one_list():
    lists = sorted((ROOT / "requirements").glob("*.txt"))
    lines = [line for path in lists for line in path.read_text(encoding="utf-8").splitlines()]
    names = [re.split(r"[\[~=<>]", line)[0] for line in lines if not line.startswith("#")]
    names = [name for name in names if name != "landmark-model"]
    table = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    assert len(names) > 20 and len(names) == len(set(names))
    assert not [name for name in names if not re.search(rf"^\|.*\b{name}\b", table, re.MULTILINE)]


@pytest.mark.parametrize(
    "document",
    [
        path.relative_to(ROOT).as_posix()
        for folder in map(ROOT.joinpath, (".", "docs", "benchmarks", "research", EXAMPLES))
        for path in sorted(folder.glob("*.md"))
    ],
)
def test_links_and_pictures_lead_somewhere(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!<?https?:)([^)#]+)\)", text):
        path = os.path.normpath(Path(document).parent / target)
        assert (ROOT / path).exists(), target
        assert (ROOT / path).resolve() == ROOT.resolve() / path, f"{target} is behind a link"
    if document == "README.md":
        assert not [
            page for page in (ROOT / "docs").glob("*.md") if f"(docs/{page.name})" not in text
        ]


def test_a_space_installs_prediction_and_the_app_with_the_gradio_it_runs():
    lists = [(ROOT / "requirements" / f"{extra}.txt").read_text() for extra in ("predict", "app")]
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert [line for line in lines if line[0] != "#"] == "".join(lists).split()
    head = yaml.safe_load(README.split("---")[1])
    assert f"gradio=={head['sdk_version']}" in lines and (ROOT / head["app_file"]).is_file()


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
        "landmark_model/web/static/landmarks/",
        *(f"benchmarks/{name}.png" for name in ("growth", "speed", "versus_original")),
    )
    assert all(photo.startswith(allowed) for photo in found)
