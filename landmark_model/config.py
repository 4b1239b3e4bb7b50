"""The settings that a trained network needs, and the file they are saved in.

The JSON is timm's hub format, so that timm and transformers read the same file; what they do not
know of (folder names of the classes) sits beside it under the key ``landmark_model``.
"""

from __future__ import annotations

import json
import reprlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from unicodedata import category

from landmark_model.errors import LandmarkError
from landmark_model.files import parse_json, read_text

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
TORCHSCRIPT_NAME = "model.torchscript.pt"
ONNX_NAME = "model.onnx"
EXPORT_NAMES = {"torchscript": TORCHSCRIPT_NAME, "onnx": ONNX_NAME}
# The networks that can be trained, and what people call them.
TITLES = {
    "resnet18": "ResNet18",
    "landmark_cnn": "LandmarkCNN",
    "tf_efficientnet_lite2": "EfficientNet-Lite2",
}
# No others: among timm's arguments are some that read files, even pickled ones.
MODEL_ARGS = ("widths", "depths", "drop_rate")
VIEWS = ("centre", "whole")
KNOWN_METHODS = ("max_softmax", "max_logit", "energy", "knn", "linear")
# The settings that only we know of, as they are called in config.json, too.
OURS = (
    "title", "class_names", "view", "temperature", "known_method", "known_threshold",
)  # fmt: skip
# Settings of networks that version 0.1 trained, whose answers were of two images and a vote.
GONE = ("flip", "neighbour_weight")
CHOICES = {"view": VIEWS, "known_method": KNOWN_METHODS}
RANGES = {
    "crop_pct": (0.5, 1),
    "temperature": (0.01, 100),
}
RANGES_OF_THREE = {"mean": (0, 1), "std": (0.001, 10)}
MOST_CLASSES = 100_000
MOST_NAME_CHARACTERS = 200
MOST_STAGES, MOST_BLOCKS, MOST_CHANNELS = 8, 64, 4096
MOST_CONFIG_BYTES = 16_000_000  # room for the names of as many classes
JOINERS = "\u200c\u200d"  # in Persian, in many scripts of India, in emoji
BLANKS = "\u115f\u1160\u2800\u3164\uffa0"  # letters and a symbol that show nothing


def require_counts(top_k: int, batch_size: int) -> None:
    """Raises LandmarkError unless both are whole numbers, 1 or more."""
    for name, count in (("top_k", top_k), ("batch_size", batch_size)):
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise LandmarkError(f"{name} is {count!r}: it must be a whole number, 1 or more.")


@dataclass(frozen=True)
class ModelConfig:
    """Everything besides the weights that `load` needs.

    `class_names` are the folder names of the training photos, `labels` what people read, in the
    order of the logits. By `view` these are of the "centre" square of a photo, `image_size` px
    wide, for which its shorter side is first resized to `image_size / crop_pct` px; or of the
    "whole" photo at as many pixels. `mean` and `std` are of RGB values scaled to 0..1. `model_args`
    change the shape of a LandmarkCNN. Logits are divided by `temperature` before the softmax. A
    photo whose score by `known_method` is below `known_threshold` shows none of the classes; None:
    nobody measured.
    `title` is what people call the network; without, it is that of its architecture.
    """

    architecture: str
    class_names: tuple[str, ...]
    labels: tuple[str, ...]
    image_size: int = 160
    view: str = "centre"
    crop_pct: float = 1.0
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    model_args: dict = field(default_factory=dict)
    temperature: float = 1.0
    known_method: str = "energy"
    known_threshold: float | None = None
    title: str = ""

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.class_names):
            raise LandmarkError(
                f"{len(self.labels)} labels for {len(self.class_names)} classes: "
                "each class needs exactly one."
            )
        for names in (self.class_names, self.labels):
            _require_names(names)
        if self.title == "":
            family = str(self.architecture).partition(".")[0]
            object.__setattr__(self, "title", TITLES.get(family, self.architecture))
        for rule, kept in (self._rules() | _model_args_rules(self.model_args)).items():
            if not kept:
                raise LandmarkError(f"{CONFIG_NAME}: {rule}. Use the file that training wrote.")

    def _rules(self) -> dict[str, bool]:
        """The rules for the settings, in words, and whether each holds."""
        threshold = self.known_threshold
        rules = {
            "architecture must be the name of a network, such as resnet18 or landmark_cnn": (
                _is_architecture(self.architecture)
            ),
            f"title must be text that can be shown, of at most {MOST_NAME_CHARACTERS} characters": (
                isinstance(self.title, str) and not name_fault(self.title)
            ),
            "image_size must be a whole number of px from 8 to 1,024": (
                _are_whole([self.image_size], 8, 1024)
            ),
            "known_threshold must be null or a number from -1,000,000 to 1,000,000": (
                threshold is None or _is_within(threshold, -1e6, 1e6)
            ),
        }
        for name, words in CHOICES.items():
            rules[f"{name} must be one of {', '.join(words)}"] = getattr(self, name) in words
        for name, (low, high) in RANGES.items():
            kept = _is_within(getattr(self, name), low, high)
            rules[f"{name} must be a number from {low} to {high:,}"] = kept
        for name, (low, high) in RANGES_OF_THREE.items():
            kept = [_is_within(value, low, high) for value in getattr(self, name)] == [True] * 3
            rules[f"{name} must be three numbers from {low} to {high}"] = kept
        return rules

    def to_json(self) -> str:
        """The text of config.json."""
        content = {
            "architecture": self.architecture,
            "num_classes": len(self.class_names),
            **({"model_args": self.model_args} if self.model_args else {}),
            # transformers shows label_names to people, so these are the readable ones.
            "label_names": self.labels,
            "pretrained_cfg": {
                "custom_load": False,
                "input_size": [3, self.image_size, self.image_size],
                "fixed_input_size": False,
                "interpolation": "bicubic",
                "crop_pct": self.crop_pct,
                "crop_mode": "center",
                "mean": self.mean,
                "std": self.std,
                "num_classes": len(self.class_names),
            },
            "landmark_model": {name: getattr(self, name) for name in OURS},
        }
        return json.dumps(content, indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        """The config in the text of a config.json, ours or another timm repo's.

        Raises LandmarkError if a needed key is missing or of the wrong kind.
        """
        try:
            raw = _is_a(dict, parse_json(text, CONFIG_NAME))
            theirs, ours = (
                _is_a(dict, raw["pretrained_cfg"]),
                _is_a(dict, raw.get("landmark_model", {})),
            )
            _require_today(ours)
            ours = {"class_names": raw["label_names"]} | ours
            arguments = _is_a(dict, raw.get("model_args", {}))
            return cls(
                raw["architecture"],
                labels=tuple(_is_a(list, raw["label_names"])),
                image_size=_side_px(_is_a(list, theirs["input_size"])),
                crop_pct=_real(theirs["crop_pct"]),
                mean=tuple(map(_real, _is_a(list, theirs["mean"]))),
                std=tuple(map(_real, _is_a(list, theirs["std"]))),
                model_args={name: arguments[name] for name in MODEL_ARGS if name in arguments},
                class_names=tuple(_is_a(list, ours.pop("class_names"))),
                **{name: _real(ours[name]) for name in OURS if name in ours},
            )
        except LandmarkError:
            raise
        except (ValueError, TypeError, LookupError, ArithmeticError) as error:
            raise LandmarkError(
                f"{CONFIG_NAME} is not the config of an image classifier ({error!r:.300}). "
                "Use a run folder, or a timm repo with label_names."
            ) from error


def _require_today(settings: dict) -> None:
    """Raises LandmarkError for settings that would make this version answer otherwise."""
    if gone := [name for name in GONE if settings.get(name)]:
        raise LandmarkError(
            f"{CONFIG_NAME} has {' and '.join(gone)} of version 0.1, whose networks answered by "
            "two images of a photo and a vote of its neighbours. Train the network again."
        )


def _is_a(kind: type, value: object):
    """`value`, which must be of that kind, or else a TypeError says so."""
    if not isinstance(value, kind):
        raise TypeError(f"{reprlib.repr(value)} is not a {kind.__name__}")
    return value


def _real(value: object) -> object:
    """A whole number as a float, which is what networks count in; anything else as it is."""
    return float(value) if type(value) is int else value


def _side_px(size: list) -> int:
    """The image side in timm's `input_size`: [3, side, side]."""
    if len(size) != 3 or size[0] != 3 or size[1] != size[2]:
        raise ValueError(f"input_size is {reprlib.repr(size)}, not [3, side, side]")
    return size[2]


def _is_within(value: object, low: float, high: float) -> bool:
    """Whether `value` is a number from `low` to `high`; true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _is_architecture(name: object) -> bool:
    """Whether timm would look up `name` in its list rather than as a repo, folder or file."""
    words = isinstance(name, str) and name.isascii() and len(name) <= 100 and name.split(".")
    return bool(words) and all(word.replace("_", "").isalnum() for word in words)


def _model_args_rules(arguments: object) -> dict[str, bool]:
    """The rules for `model_args`, in words, and whether each holds."""
    if not isinstance(arguments, dict):
        return {"model_args must be an object": False}
    widths, depths = arguments.get("widths", [8]), arguments.get("depths", [1])
    few = f"a list of 1 to {MOST_STAGES} whole numbers"
    return {
        f"model_args may be {', '.join(MODEL_ARGS)}": set(arguments) <= set(MODEL_ARGS),
        f"widths must be {few} from 8 to {MOST_CHANNELS}": _are_whole(widths, 8, MOST_CHANNELS),
        f"depths must be {few} from 1 to {MOST_BLOCKS}": _are_whole(depths, 1, MOST_BLOCKS),
        "drop_rate must be from 0 to 0.99": _is_within(arguments.get("drop_rate", 0), 0, 0.99),
    }


def _are_whole(values: object, low: int, high: int) -> bool:
    """Whether `values` are a list, as short as one of stages may be, of numbers in the range."""
    return (
        isinstance(values, list | tuple)
        and 1 <= len(values) <= MOST_STAGES
        and all(isinstance(value, int) and _is_within(value, low, high) for value in values)
    )


def _require_names(names: tuple[str, ...]) -> None:
    """Raises LandmarkError if `names` are not valid class names, naming the first bad one."""
    if not names or not all(isinstance(name, str) for name in names):
        raise LandmarkError(f"{reprlib.repr(names)} are not class names: give one or more strings.")
    if len(names) > MOST_CLASSES:
        raise LandmarkError(f"{len(names):,} classes are too many: at most {MOST_CLASSES:,}.")
    if len(set(names)) != len(names):
        twice = sorted(name for name, count in Counter(names).items() if count > 1)
        raise LandmarkError(
            f"Class names must be unique, but {reprlib.repr(twice)} occur more than once."
        )
    for name in names:
        if fault := name_fault(name):
            raise LandmarkError(
                f"The class name {reprlib.repr(name)} {fault}. Rename the folder of its photos, or "
                f"the class in {CONFIG_NAME}."
            )


def name_fault(name: str) -> str:
    """Why `name` cannot be displayed, as the rest of a sentence; "" if it can."""
    if len(name) > MOST_NAME_CHARACTERS:
        return f"is longer than {MOST_NAME_CHARACTERS} characters"
    for letter in "" if name.isprintable() else name:
        # Spaces of other widths and characters newer than Python are fine. The rest are control
        # characters, halves of characters, and what turns text around or has no width.
        fine = letter.isprintable() or category(letter) in ("Zs", "Cn", "Co")
        if not fine and letter not in JOINERS:
            return (
                f"has the character U+{ord(letter):04X}, which is invisible, breaks the line "
                "or reverses text"
            )
    if all(category(letter)[0] in "ZM" or letter in JOINERS + BLANKS for letter in name):
        return "shows nothing"
    return ""


def read_config(folder: Path) -> ModelConfig:
    """The config in `folder`. Raises LandmarkError if there is none or it is unreadable."""
    path = folder / CONFIG_NAME
    if not path.exists():
        raise LandmarkError(
            f"{folder} has no {CONFIG_NAME}. Give a run folder, "
            "or train one: landmark train --data FOLDER --out runs/mine"
        )
    return ModelConfig.from_json(read_text(path, MOST_CONFIG_BYTES))
