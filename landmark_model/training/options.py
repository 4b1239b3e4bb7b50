"""The options of a training run, and its command line."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from landmark_model.config import WEIGHTS_NAME, LandmarkError, read_config
from landmark_model.training.recipes import RECIPES, Recipe, recipe_for
from landmark_model.training.smoke import make_photos

PRECISIONS = ("auto", "no", "bf16", "fp16")  # "no": float32

FIRST_NETWORK = "tf_efficientnet_lite2"
ABOUT = """Trains a landmark classifier on an image folder and writes everything needed to use it.

    landmark train --data FOLDER --network resnet18 --out runs/mine

FOLDER holds train/<class>/<photo>, and optionally validation/ and test/ in the same way; or just
<class>/<photo>, which is then split. How a network learns is its recipe, in
landmark_model/training/recipes.py.
On several processes or GPUs, in a clone of the project: accelerate launch train.py ..."""


@dataclass(frozen=True)
class TrainOptions:
    """The options that differ between runs; how a network learns is its `Recipe`.

    `image_size`, `epochs`, `batch_size` and `lr` replace the recipe's where they are not None, and
    `network` None is that of the run folder `init`, or else EfficientNet-Lite2. `init` is a run
    folder, a safetensors file, or "none". Raises LandmarkError if a value is invalid.
    """

    data: Path
    out: Path
    network: str | None = None
    init: str | None = None
    teacher: Path | None = None
    unknown: Path | None = None
    probe: bool = False
    image_size: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    seed: int = 0
    workers: int = 2
    precision: str = "auto"
    resume: bool = False
    share: float = 0.15
    allow_missing: bool = False
    about_data: str = ""
    push_to: str | None = None
    private: bool = False

    def __post_init__(self) -> None:
        for name in ("data", "out", "teacher", "unknown"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, Path(getattr(self, name)))
        object.__setattr__(self, "network", self.network or self._likely_network())
        for rule, kept in self._rules().items():
            if not kept:
                raise LandmarkError(rule)

    def _likely_network(self) -> str:
        is_run = self.init not in (None, "none") and Path(self.init).is_dir()
        return read_config(Path(self.init)).architecture if is_run else FIRST_NETWORK

    def _rules(self) -> dict[str, bool]:
        """The rules for the values, and whether each holds."""
        weights = self.first_weights
        return {
            f"--network must be one of {', '.join(RECIPES)}": self.network in RECIPES,
            f"--precision must be one of {', '.join(PRECISIONS)}": self.precision in PRECISIONS,
            "--seed must be 0 to 32767": 0 <= self.seed < 2**15,
            "--workers must be 0 or more": self.workers >= 0,
            "--share must be above 0 and below 0.5": 0 < self.share < 0.5,
            f"{self.out} is a file; give --out a folder": not self.out.is_file(),
            "--init must be outside --out, where the run writes": weights is None
            or weights.parent.resolve() != self.out.resolve(),
            "--probe takes no --teacher: a linear probe has no student": not self.probe
            or self.teacher is None,
        }

    @property
    def first_weights(self) -> Path | None:
        """The safetensors file that `init` names; None for "none" and for timm's ImageNet."""
        if self.init in (None, "none"):
            return None
        path = Path(self.init)
        return path / WEIGHTS_NAME if path.is_dir() else path

    @property
    def from_scratch(self) -> bool:
        """Whether the network starts from random weights."""
        return self.init == "none" or (self.init is None and self.network == "landmark_cnn")

    def apply_to(self, recipe: Recipe | None) -> Recipe:
        """`recipe`, or the network's own, with the overrides in these options."""
        recipe = recipe or recipe_for(self.network, self.probe)
        if self.image_size is not None:
            recipe = recipe.at_size(self.image_size)
        asked = {name: getattr(self, name) for name in ("epochs", "batch_size", "lr")}
        return replace(recipe, **{name: x for name, x in asked.items() if x is not None})

    @property
    def sources(self) -> list[Path]:
        """The weight files the run learns from: its initial weights and the teacher's."""
        teacher = self.teacher and self.teacher / WEIGHTS_NAME
        return [path for path in (self.first_weights, teacher) if path]

    def command(self, recipe: Recipe) -> str:
        """The equivalent command line, without the folders of this machine.

        Changes to the recipe that options cannot express are a comment at its end.
        """
        words = ["python", "train.py"]
        for field in fields(self):
            value = getattr(self, field.name)
            if value == field.default or field.name == "resume":
                continue
            words.append(f"--{field.name.replace('_', '-')}")
            words += [] if value is True else [portable(value)]
        usual, used = asdict(self.apply_to(None)), asdict(recipe)
        edits = [f"{name}={used[name]!r}" for name in used if used[name] != usual[name]]
        edited = f"  # recipe=replace(recipe, {', '.join(edits)})" if edits else ""
        return shlex.join(words) + edited


def portable(value: object) -> str:
    """`value` as a word of a command line, without the folders of this machine."""
    path = Path(str(value))
    return path.name if path.is_absolute() or ".." in path.parts else str(value)


def parse(arguments: list[str] | None = None) -> TrainOptions:
    """The options on the command line. Raises LandmarkError if a value is invalid."""
    parser = make_parser()
    given = vars(parser.parse_args(arguments))
    if given.pop("smoke", False):
        given = {"out": "runs/smoke", "init": "none", "image_size": 64, "epochs": 2,
                 "batch_size": 8, "workers": 0} | given  # fmt: skip
        given["data"] = given.get("data") or make_photos(Path(given["out"]) / "photos")
    if not {"data", "out"} <= given.keys():
        parser.error("--data and --out are needed (or --smoke)")
    return TrainOptions(**given)


def make_parser() -> argparse.ArgumentParser:
    """The command line. Anything not given is left to `TrainOptions`."""
    parser = argparse.ArgumentParser(
        prog="landmark train",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    for name, (metavar, text) in WITH_VALUES.items():
        parser.add_argument(f"--{name}", metavar=metavar, help=text, type=TYPES.get(metavar, str))
    parser.add_argument("--probe", "--quick", action="store_true", help=PROBE_HELP)
    for name, text in SWITCHES.items():
        parser.add_argument(f"--{name}", action="store_true", help=text)
    return parser


TYPES = {"PX": int, "N": int, "X": float, "FOLDER": Path}
WITH_VALUES = {
    "data": ("FOLDER", "the photos, one folder for each landmark"),
    "out": ("FOLDER", "the run folder, e.g. runs/mine"),
    "network": (
        "NAME",
        f"{', '.join(RECIPES)}; default: the network of the run --init, else {FIRST_NETWORK}",
    ),
    "init": (
        "RUN",
        "initial weights: a run folder or a safetensors file, which may lack layers; 'none' starts "
        "from scratch; default: timm's ImageNet weights, or from scratch for landmark_cnn",
    ),
    "teacher": (
        "FOLDER",
        "run folder of a network of the same classes, whose answers the student also learns",
    ),
    "unknown": (
        "FOLDER",
        "unknown photos, which show none of the landmarks: train/ is for learning (outlier "
        "exposure), validation/ and test/ are for measuring 'none of these'",
    ),
    "image-size": ("PX", "photos are resized to the area of a square of this side"),
    "epochs": ("N", "passes over the training photos"),
    "batch-size": ("N", "photos in a step, in each process"),
    "lr": ("X", "peak learning rate; this and the three above default to the recipe's"),
    "seed": (
        "N",
        f"for splits, initial weights, order and augmentation; default: {TrainOptions.seed}",
    ),
    "workers": ("N", f"processes that prepare photos; default: {TrainOptions.workers}"),
    "precision": (
        "NAME",
        f"{', '.join(PRECISIONS)}; auto, the default: bf16 where it trains faster",
    ),
    "share": (
        "X",
        f"share of each class to set aside for a missing split; default: {TrainOptions.share}",
    ),
    "about-data": ("TEXT", "for the model card: where the photos are from, and their licence"),
    "push-to": ("ORG/NAME", "publish the run in this hub repo; log in with `hf auth login`"),
}
PROBE_HELP = "linear probe, in minutes: train only a last layer on features of the frozen network"
SWITCHES = {
    "resume": "go on from the checkpoint in --out; without one, from the beginning",
    "smoke": "try the setup in seconds, on made-up photos",
    "allow-missing": "continue even if validation or test lacks a class",
    "private": "with --push-to: create a new repo as private",
}
