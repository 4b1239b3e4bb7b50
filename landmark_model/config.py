"""The settings that a trained network needs, and the file they are saved in.

The JSON is timm's hub format, so that timm and transformers read the same file; what they do not
know of (folder names of the classes) sits beside it under the key ``landmark_model``.
"""

from __future__ import annotations

import json
import math
import os
import reprlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from unicodedata import category

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
TORCHSCRIPT_NAME = "model.torchscript.pt"
ONNX_NAME = "model.onnx"
# No others: among timm's arguments are some that read files, even pickled ones.
MODEL_ARGS = ("widths", "depths", "drop_rate")
VIEWS = ("centre", "whole", "both")
KNOWN_METHODS = ("max_softmax", "max_logit", "energy", "knn")
MOST_CLASSES = 100_000
MOST_NAME_CHARACTERS = 200
MOST_STAGES, MOST_BLOCKS, MOST_CHANNELS, WIDEST_KERNEL = 8, 64, 4096, 15
MOST_CONFIG_BYTES = 16_000_000  # room for the names of as many classes
MOST_LISTS = 1_000_000  # in a JSON file: an empty one takes 64 bytes of memory, but 2 of a file
JOINERS = "\u200c\u200d"  # in Persian, in many scripts of India, in emoji
BLANKS = "\u115f\u1160\u2800\u3164\uffa0"  # letters and a symbol that show nothing


class LandmarkError(ValueError):
    """A user's mistake: the message names the thing, the rule and the way out.

    Where `reason` is not "", it is a word for what is wrong, and `details` are the names and
    numbers in the message: for those who say it in another language.
    """

    reason: str = ""
    details: Mapping[str, object] = MappingProxyType({})

    @classmethod
    def because(cls, reason: str, text: str, **details: object) -> LandmarkError:
        """An error with the message `text`, filled in with `details`."""
        error = cls(text.format(**details))
        error.reason, error.details = reason, details
        return error


def require_counts(top_k: int, batch_size: int) -> None:
    """Raises LandmarkError if either is below 1."""
    if top_k < 1 or batch_size < 1:
        raise LandmarkError(
            f"top_k is {top_k} and batch_size {batch_size}: each must be 1 or more."
        )


@dataclass(frozen=True)
class ModelConfig:
    """Everything besides the weights that `load` needs.

    `class_names` are the folder names of the training photos, `labels` what people read, in the
    order of the logits. By `view` these are of the "centre" square of a photo, `image_size` px
    wide, for which its shorter side is first resized to `image_size / crop_pct` px; of the "whole"
    photo at as many pixels; or the mean of "both". With `flip`, the second of both, or one more,
    is a mirror image. `mean` and `std` are of RGB values scaled to 0..1. `model_args` change the
    shape of a LandmarkCNN. Logits are divided by `temperature` before the softmax; where
    `neighbour_weight` is above 0, training photos nearby are then heard at that weight, and all is
    divided by `neighbour_temperature` (see `memory.Memory`). A photo whose score by
    `known_method` is below `known_threshold` shows none of the classes; None: nobody measured.
    """

    architecture: str
    class_names: tuple[str, ...]
    labels: tuple[str, ...]
    image_size: int = 160
    view: str = "centre"
    crop_pct: float = 1.0
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    flip: bool = False
    model_args: dict = field(default_factory=dict)
    temperature: float = 1.0
    neighbour_weight: float = 0.0
    neighbour_temperature: float = 1.0
    known_method: str = "energy"
    known_threshold: float | None = None

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.class_names):
            raise LandmarkError(
                f"{len(self.labels)} labels for {len(self.class_names)} classes: "
                "each class needs exactly one."
            )
        for names in (self.class_names, self.labels):
            _require_names(names)
        for rule, kept in (self._rules() | _model_args_rules(self.model_args)).items():
            if not kept:
                raise LandmarkError(f"{CONFIG_NAME}: {rule}. Use the file that training wrote.")

    def _rules(self) -> dict[str, bool]:
        """The rules for the settings, in words, and whether each holds."""
        return {
            "architecture must be the name of a network, such as resnet18 or landmark_cnn": (
                _is_architecture(self.architecture)
            ),
            "image_size must be a whole number of px from 8 to 1,024": isinstance(
                self.image_size, int
            )
            and _is_within(self.image_size, 8, 1024),
            f"view must be one of {', '.join(VIEWS)}": self.view in VIEWS,
            "crop_pct must be from 0.5 to 1": _is_within(self.crop_pct, 0.5, 1),
            "mean must be three numbers from 0 to 1": _are_within(self.mean, 0, 1),
            "std must be three numbers from 0.001 to 10": _are_within(self.std, 0.001, 10),
            "flip must be true or false": isinstance(self.flip, bool),
            "temperature and neighbour_temperature must be from 0.01 to 100": (
                _is_within(self.temperature, 0.01, 100)
                and _is_within(self.neighbour_temperature, 0.01, 100)
            ),
            "neighbour_weight must be from 0 to 1,000": _is_within(self.neighbour_weight, 0, 1000),
            f"known_method must be one of {', '.join(KNOWN_METHODS)}": (
                self.known_method in KNOWN_METHODS
            ),
            "known_threshold must be null or a number from -1,000,000 to 1,000,000": (
                self.known_threshold is None or _is_within(self.known_threshold, -1e6, 1e6)
            ),
        }

    @property
    def needs_neighbours(self) -> bool:
        """Whether answers need the kNN memory besides the weights."""
        return self.neighbour_weight > 0 or self.known_method == "knn"

    def to_json(self) -> str:
        """The text of config.json."""
        size = [3, self.image_size, self.image_size]
        return json.dumps(
            {
                "architecture": self.architecture,
                "num_classes": len(self.class_names),
                **({"model_args": self.model_args} if self.model_args else {}),
                # transformers shows label_names to people, so these are the readable ones.
                "label_names": self.labels,
                "pretrained_cfg": {
                    "custom_load": False,
                    "input_size": size,
                    "fixed_input_size": False,
                    "interpolation": "bicubic",
                    "crop_pct": self.crop_pct,
                    "crop_mode": "center",
                    "mean": self.mean,
                    "std": self.std,
                    "num_classes": len(self.class_names),
                },
                "landmark_model": {
                    "class_names": self.class_names,
                    "view": self.view,
                    "flip": self.flip,
                    "temperature": self.temperature,
                    "neighbour_weight": self.neighbour_weight,
                    "neighbour_temperature": self.neighbour_temperature,
                    "known_method": self.known_method,
                    "known_threshold": self.known_threshold,
                },
            },
            indent=2,
            ensure_ascii=False,
        )

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        """The config in the text of a config.json, ours or another timm repo's.

        Raises LandmarkError if a needed key is missing or of the wrong kind.
        """
        try:
            raw = parse_json(text, CONFIG_NAME)
            pretrained = _object(_object(raw)["pretrained_cfg"])
            labels = raw["label_names"]
            ours = _object(raw.get("landmark_model", {}))
            return cls(
                architecture=raw["architecture"],
                class_names=_list(ours.get("class_names", labels)),
                labels=_list(labels),
                image_size=_side_px(_list(pretrained["input_size"])),
                view=ours.get("view", "centre"),
                crop_pct=_number(pretrained["crop_pct"]),
                mean=tuple(map(_number, _list(pretrained["mean"]))),
                std=tuple(map(_number, _list(pretrained["std"]))),
                flip=ours.get("flip", False),
                model_args={
                    name: value
                    for name, value in _object(raw.get("model_args", {})).items()
                    if name in MODEL_ARGS
                },
                temperature=_number(ours.get("temperature", 1.0)),
                neighbour_weight=_number(ours.get("neighbour_weight", 0.0)),
                neighbour_temperature=_number(ours.get("neighbour_temperature", 1.0)),
                known_method=ours.get("known_method", "energy"),
                known_threshold=_number_or_none(ours.get("known_threshold")),
            )
        except LandmarkError:
            raise
        except (ValueError, TypeError, LookupError, ArithmeticError) as error:
            raise LandmarkError(
                f"{CONFIG_NAME} is not the config of an image classifier ({_short(error)}). "
                "Use a run folder, or a timm repo with label_names."
            ) from error


def _object(value: object) -> dict:
    if not isinstance(value, dict):
        raise TypeError(f"{reprlib.repr(value)} is not an object")
    return value


def _list(values: object) -> tuple:
    if not isinstance(values, list):
        raise TypeError(f"{reprlib.repr(values)} is not a list")
    return tuple(values)


def _number(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{reprlib.repr(value)} is not a number")
    return float(value)


def _number_or_none(value: object) -> float | None:
    return None if value is None else _number(value)


def _side_px(size: tuple) -> int:
    """The image side in timm's `input_size`: [3, side, side]."""
    if len(size) != 3 or size[0] != 3 or size[1] != size[2]:
        raise ValueError(f"input_size is {reprlib.repr(list(size))}, not [3, side, side]")
    return size[2]


def _is_within(value: object, low: float, high: float) -> bool:
    """Whether `value` is a number from `low` to `high`; true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _are_within(values: tuple[float, ...], low: float, high: float) -> bool:
    return len(values) == 3 and all(_is_within(value, low, high) for value in values)


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
        if fault := _name_fault(name):
            shown = repr(name[:60]) + ("..." if len(name) > 60 else "")
            raise LandmarkError(
                f"The class name {shown} {fault}. Rename the folder of its photos, or the class in "
                f"{CONFIG_NAME}."
            )


def _name_fault(name: str) -> str:
    """Why `name` cannot be displayed, as the rest of a sentence; "" if it can."""
    if len(name) > MOST_NAME_CHARACTERS:
        return f"is longer than {MOST_NAME_CHARACTERS} characters"
    # What is not printable by Python are control characters, halves of characters, what turns text
    # around or has no width; and spaces of other widths and characters newer than Python, which
    # are fine.
    if not name.isprintable():
        for letter in name:
            fine = letter.isprintable() or category(letter) in ("Zs", "Cn", "Co")
            if not fine and letter not in JOINERS:
                return (
                    f"has the character U+{ord(letter):04X}, which is invisible, breaks the line "
                    "or reverses text"
                )
    if not any(category(letter)[0] not in "ZM" and letter not in JOINERS + BLANKS
               for letter in name):  # fmt: skip
        return "shows nothing"
    return ""


def _short(error: Exception) -> str:
    said = repr(error)
    return said if len(said) <= 300 else f"{said[:300]}..."


def read_bounded(path: Path, most_bytes: int) -> bytes:
    """The content of the file at `path`.

    Raises LandmarkError if it is no file (but a folder or a pipe, say), cannot be read, or is
    larger than `most_bytes`; never takes more memory than that.
    """
    if not path.is_file():
        raise LandmarkError(f"{path} is not a file. Copy the whole folder again.")
    try:
        with path.open("rb") as file:
            # Not most_bytes, all of which Python would set aside at once.
            size = os.fstat(file.fileno()).st_size
            content = file.read(size) if size <= most_bytes else None
    except OSError as error:
        raise LandmarkError(
            f"{path} cannot be read ({error.strerror}). Check its permissions."
        ) from error
    if content is None:
        raise LandmarkError(
            f"{path.name} is larger than {most_bytes / 1e6:,.0f} MB, so it is not read. "
            "Use the file that training wrote."
        )
    return content


def read_text(path: Path, most_bytes: int) -> str:
    """The text of the UTF-8 file at `path`, without a byte-order mark, as Windows writes them.

    Raises LandmarkError if `read_bounded` does, or it is not UTF-8.
    """
    try:
        return read_bounded(path, most_bytes).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LandmarkError(f"{path.name} is not UTF-8 text. Copy it again.") from error


def parse_json(text: str, name: str, strict: bool = True) -> object:
    """What the JSON `text` of the file `name` says.

    With `strict`, numbers that are none or too large (NaN, 1e999) and keys that are there twice
    are refused; without, the former are read as Python reads them. Raises LandmarkError if
    `text` is not whole JSON, or is nested deeper than any of our files.
    """
    if text.count("[") + text.count("{") > MOST_LISTS:
        raise LandmarkError(
            f"{name} has more than {MOST_LISTS:,} lists. Use the file that training wrote."
        )
    strictly = {
        "parse_constant": _no_number,
        "parse_float": _finite,
        "object_pairs_hook": _each_key_once,
    }
    try:
        return json.loads(text, **(strictly if strict else {}))
    except (ValueError, RecursionError) as error:
        raise LandmarkError(
            f"{name} is not valid JSON ({_short(error)}). Copy the whole folder again."
        ) from error


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is not a number")


def _finite(text: str) -> float:
    if not math.isfinite(float(text)):
        raise ValueError(f"{text[:20]} is too large")
    return float(text)


def _each_key_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {reprlib.repr(twice)} appears twice")
    return found


def read_config(folder: Path) -> ModelConfig:
    """The config in `folder`. Raises LandmarkError if there is none or it is unreadable."""
    path = folder / CONFIG_NAME
    if not path.exists():
        raise LandmarkError(
            f"{folder} has no {CONFIG_NAME}. Give a run folder, "
            "or train one: landmark train --data FOLDER --out runs/mine"
        )
    return ModelConfig.from_json(read_text(path, MOST_CONFIG_BYTES))
