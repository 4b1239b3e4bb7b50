"""A trained network is measured anew without training it."""

import json
import shutil
from pathlib import Path

import pytest

from landmark_model import LandmarkError
from landmark_model.background import BACKGROUND_NAME
from landmark_model.config import CONFIG_NAME, WEIGHTS_NAME, read_config
from landmark_model.hub.repo import FEATURES_NAME, METRICS_NAME, verify
from landmark_model.training.remeasure import main


@pytest.fixture
def run(small_run, tmp_path) -> Path:
    """A copy of a trained run."""
    return Path(shutil.copytree(small_run.folder, tmp_path / "run"))


def test_measuring_again_says_the_same_and_mends_what_is_wrong(small_run, run):
    before = json.loads((run / METRICS_NAME).read_text())
    damaged = json.loads((run / CONFIG_NAME).read_text())
    damaged["landmark_model"] |= {"temperature": 9.0, "known_threshold": 5.0}
    (run / CONFIG_NAME).write_text(json.dumps(damaged))
    for name in ("reliability.png", BACKGROUND_NAME):
        (run / name).unlink()
    main(["--data", str(small_run.data), str(run)])
    assert read_config(run) == read_config(small_run.folder)
    after = json.loads((run / METRICS_NAME).read_text())
    assert after["test"] == before["test"] and after["training"] == before["training"]
    assert (run / WEIGHTS_NAME).read_bytes() == (small_run.folder / WEIGHTS_NAME).read_bytes()
    verify(run, [CONFIG_NAME, FEATURES_NAME, "reliability.png", BACKGROUND_NAME], "run")


def test_photos_of_other_landmarks_are_refused(small_run, run):
    other = run.parent / "photos"
    shutil.copytree(small_run.data, other)
    for split in other.iterdir():
        next(split.iterdir()).rename(split / "Elsewhere")
    with pytest.raises(LandmarkError, match=r"not of the \d+ landmarks that .*run knows"):
        main(["--data", str(other), str(run)])
