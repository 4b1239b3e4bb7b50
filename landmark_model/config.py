"""What must be known to use a trained network, and how it is written down.

The JSON is timm's hub format, so that timm and transformers read the same file; what they do not
know of (folder names of the classes) sits beside it under the key ``landmark_model``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
TORCHSCRIPT_NAME = "model.torchscript.pt"
ONNX_NAME = "model.onnx"
# No others: among timm's arguments are some that read files, even pickled ones.
MODEL_ARGS = ("widths", "depths", "drop_rate", "kernel", "gated", "max_pool")
VIEWS = ("centre", "whole", "both")
KNOWN_METHODS = ("max_softmax", "max_logit", "energy", "knn")


class LandmarkError(ValueError):
    """A mistake of the user's: the message names the thing, the rule and the way out.

    Where `reason` is not "", it is a word for what is wrong, and `details` are the names and
    numbers in the message: for those who say it in another language.
    """

    reason: str = ""
    details: Mapping[str, object] = MappingProxyType({})

    @classmethod
    def because(cls, reason: str, text: str, **details: object) -> LandmarkError:
        """An error that says `text`, its gaps filled with `details`."""
        error = cls(text.format(**details))
        error.reason, error.details = reason, details
        return error


def require_counts(top_k: int, batch_size: int) -> None:
    """Raises LandmarkError where either is below 1."""
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
    divided by `neighbour_temperature` (see `neighbours.Neighbours`). A photo whose score by
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
            if not names or not all(isinstance(name, str) for name in names):
                raise LandmarkError(f"{names!r} are not the names of classes: one or more texts.")
            if len(set(names)) != len(names):
                twice = sorted({name for name in names if names.count(name) > 1})
                raise LandmarkError(f"Class names must differ, but {twice} occur more than once.")
        rules = {
            "architecture must be a name": isinstance(self.architecture, str),
            "image_size must be 8 px or more": self.image_size >= 8,
            f"view must be one of {', '.join(VIEWS)}": self.view in VIEWS,
            "crop_pct must be above 0 and at most 1": 0 < self.crop_pct <= 1,
            "mean must be three finite numbers": _are_finite(self.mean),
            "std must be three finite numbers above 0": _are_finite(self.std) and min(self.std) > 0,
            f"model_args may be {', '.join(MODEL_ARGS)}": set(self.model_args) <= set(MODEL_ARGS),
            "flip must be true or false": isinstance(self.flip, bool),
            "temperature and neighbour_temperature must be above 0": 0 < self.temperature < math.inf
            and 0 < self.neighbour_temperature < math.inf,
            "neighbour_weight must be 0 or more": 0 <= self.neighbour_weight < math.inf,
            f"known_method must be one of {', '.join(KNOWN_METHODS)}": self.known_method
            in KNOWN_METHODS,
            "known_threshold must be a finite number or null": self.known_threshold is None
            or math.isfinite(self.known_threshold),
        }
        for rule, kept in rules.items():
            if not kept:
                raise LandmarkError(f"{CONFIG_NAME}: {rule}. Use the file that train.py wrote.")

    @property
    def needs_neighbours(self) -> bool:
        """Whether answers take features of training photos, besides the weights."""
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

        Raises LandmarkError where a needed key is missing or of the wrong kind.
        """
        try:
            raw = json.loads(text)
            pretrained = raw["pretrained_cfg"]
            labels = raw["label_names"]
            ours = raw.get("landmark_model", {})
            return cls(
                architecture=raw["architecture"],
                class_names=_list(ours.get("class_names", labels)),
                labels=_list(labels),
                image_size=int(_list(pretrained["input_size"])[-1]),
                view=ours.get("view", "centre"),
                crop_pct=float(pretrained["crop_pct"]),
                mean=tuple(map(float, _list(pretrained["mean"]))),
                std=tuple(map(float, _list(pretrained["std"]))),
                flip=ours.get("flip", False),
                model_args={
                    name: value
                    for name, value in raw.get("model_args", {}).items()
                    if name in MODEL_ARGS
                },
                temperature=float(ours.get("temperature", 1.0)),
                neighbour_weight=float(ours.get("neighbour_weight", 0.0)),
                neighbour_temperature=float(ours.get("neighbour_temperature", 1.0)),
                known_method=ours.get("known_method", "energy"),
                known_threshold=_number(ours.get("known_threshold")),
            )
        except LandmarkError:
            raise
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError,
                RecursionError) as error:  # fmt: skip
            raise LandmarkError(
                f"{CONFIG_NAME} is not the config of an image classifier ({error!r}). "
                "Use the folder that train.py wrote, or a timm repo with label_names."
            ) from error


def _list(values: object) -> tuple:
    if not isinstance(values, list):
        raise TypeError(f"{values!r} is not a list")
    return tuple(values)


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)


def _are_finite(values: tuple[float, ...]) -> bool:
    return len(values) == 3 and all(map(math.isfinite, values))


def read_config(folder: Path) -> ModelConfig:
    """The config in `folder`. Raises LandmarkError where there is none or it is unreadable."""
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise LandmarkError(
            f"{folder} has no {CONFIG_NAME}. Give a folder that train.py wrote, "
            "or train one: python train.py --data FOLDER --out runs/mine"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise LandmarkError(f"{CONFIG_NAME} is not UTF-8 text. Copy it again.") from error
    return ModelConfig.from_json(text)
