"""Runs a network: photos in; logits, features and maps out. On a CPU by ONNX Runtime.

What is not on the way from a photo to an answer (torch, timm) is not imported: see `torch_trunk`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from functools import cache, cached_property
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL.Image import Image

from landmark_model.config import WEIGHTS_NAME, LandmarkError, ModelConfig
from landmark_model.cores import usable_cores
from landmark_model.explain import class_activation
from landmark_model.preprocess import STRIDE_PX, by_shape, eval_transform, normalise, whole_photo
from landmark_model.tensors import read_network, require_fit

BACKENDS = ("onnx", "torch")
# Photos in a forward pass. More of them leave the caches of a CPU, and cost more each.
CPU_BATCH, GPU_BATCH = 4, 32
# Written by training/graphs.py: networks up to their last layer, without weights.
GRAPHS = Path(__file__).parent / "graphs"
TABLE_NAME = "tensors.json"
# The settings of a config that say how a photo is seen.
SEEN = ("image_size", "view", "crop_pct", "mean", "std")


class Trunk(Protocol):
    """A network in two parts, on a device: images -> features, and the last layer.

    `weight` (C, D) and `bias` (C,) are those of the last layer; None if it is not linear.
    """

    device: str
    weight: np.ndarray | None
    bias: np.ndarray | None

    def features(self, images: np.ndarray) -> np.ndarray:
        """Features (N, D) of normalised images (N, 3, H, W)."""

    def maps(self, images: np.ndarray) -> np.ndarray:
        """The last maps (N, D, h, w) of images, whose means are the features."""

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Logits (N, C) of features (N, D)."""


class Runtime:
    """A network with the preprocessing of its config."""

    def __init__(self, trunk: Trunk, config: ModelConfig) -> None:
        self.trunk, self.config, self.device = trunk, config, trunk.device
        self._transform = eval_transform(config)

    @property
    def batch_size(self) -> int:
        """The batch size that suits the device."""
        return CPU_BATCH if self.device == "cpu" else GPU_BATCH

    @property
    def feature_count(self) -> int | None:
        """The number of features of a photo; None if the last layer does not say."""
        return None if self.trunk.weight is None else self.trunk.weight.shape[1]

    def describe(self, photos: Sequence[Image]) -> tuple[np.ndarray, np.ndarray]:
        """Logits (N, C) and features (N, D), float32, of N upright RGB photos."""
        groups = by_shape([self._transform(photo) for photo in photos])
        found = np.concatenate([self.trunk.features(images) for images, _ in groups])
        order = np.concatenate([numbers for _, numbers in groups])
        features = np.empty(found.shape, np.float32)
        features[order] = found
        return self.trunk.logits(features), features

    def activations(self, photo: Image, more: np.ndarray | None = None) -> tuple[np.ndarray, float]:
        """What each location of a photo adds to each logit (C, h, w), and its side in px.

        It looks at all of the photo, enlarged. `more` are weights (T, D) of further logits, which
        follow: (C + T, h, w). Raises LandmarkError if the network is not made so that its logits
        are sums over places.
        """
        image = whole_photo(photo, self.config)
        maps = self.trunk.maps(normalise(image, self.config)[None])
        if self.trunk.weight is None or maps.shape[1:2] != self.trunk.weight.shape[1:]:
            raise LandmarkError(
                f"explain does not support {self.config.architecture}: it needs a network "
                "of convolutions and one linear last layer, such as resnet18."
            )
        weight = self.trunk.weight if more is None else np.concatenate([self.trunk.weight, more])
        return class_activation(maps[0], weight), image.width / maps.shape[-1]

    @cached_property
    def stamp(self) -> str:
        """Identifies the network by what its features of a photo depend on.

        The last layer learned with all others, so that two trainings never share it. Raises
        LandmarkError if it is not linear.
        """
        if self.trunk.weight is None:
            raise LandmarkError(
                f"{self.config.architecture} cannot be taught: it needs a network with one linear "
                "last layer, such as resnet18."
            )
        config = self.config
        seen = [getattr(config, name) for name in SEEN]
        digest = blake2b(np.ascontiguousarray(self.trunk.weight, "<f4").tobytes(), digest_size=8)
        digest.update(json.dumps(seen).encode())
        return f"{config.architecture} {digest.hexdigest()}"


class OnnxTrunk:
    """A network that ONNX Runtime runs on the CPU: its graph from here, its weights in `tensors`,
    which are all that a weights file of `architecture` holds."""

    device = "cpu"

    def __init__(self, architecture: str, tensors: dict[str, np.ndarray]) -> None:
        table, graph = tensor_tables()[architecture], GRAPHS / f"{architecture}.onnx"
        self.weight, self.bias = (tensors[f"{table['last']}.{part}"] for part in ("weight", "bias"))
        self._session = _open_session(
            graph, {name: tensors[name] for name in table["initializers"]}
        )

    @classmethod
    def restore(cls, config: ModelConfig, folder: Path) -> OnnxTrunk:
        """The network of `config` with the weights in `folder`.

        Raises LandmarkError if a tensor is missing, left over or of another shape, or where a
        number is not finite.
        """
        table, path = tensor_tables()[config.architecture], folder / WEIGHTS_NAME
        require_fit(path, *expected_shapes(table, len(config.class_names)))
        return cls(config.architecture, read_network(path))

    def features(self, images: np.ndarray) -> np.ndarray:
        return self._session.run(["features"], {"images": images})[0]

    def maps(self, images: np.ndarray) -> np.ndarray:
        return self._session.run(["maps"], {"images": images})[0]

    def logits(self, features: np.ndarray) -> np.ndarray:
        return features @ self.weight.T + self.bias


def expected_shapes(
    table: dict, class_count: int
) -> tuple[dict[str, tuple[int, ...]], frozenset[str]]:
    """The shape of each tensor that a weights file must hold, and which are counters."""
    shapes = {name: tuple(shape) for name, shape in table["shapes"].items()}
    last, width = table["last"], table["width"]
    shapes |= {f"{last}.weight": (class_count, width), f"{last}.bias": (class_count,)}
    return shapes, frozenset(name for name in shapes if name.endswith("num_batches_tracked"))


def _open_session(graph: Path, tensors: dict[str, np.ndarray]):
    """ONNX Runtime's session of a graph whose initializers are `tensors`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    options.log_severity_level = 3
    # Else its threads burn a core after each photo, waiting for the next; others could use it.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in tensors.values()]
    options.add_external_initializers([*tensors], values)
    return onnxruntime.InferenceSession(
        graph.read_bytes(), options, providers=["CPUExecutionProvider"]
    )


@cache
def tensor_tables() -> dict[str, dict]:
    """What each network that has a graph consists of, by architecture."""
    return json.loads((GRAPHS / TABLE_NAME).read_text(encoding="utf-8"))


def open_runtime(
    config: ModelConfig, folder: Path, device: str | None = None, backend: str | None = None
) -> Runtime:
    """The runtime for the network of `config` with the weights in `folder`.

    `device` is torch's name of one; without, a GPU where torch finds one. `backend` is "onnx" or
    "torch"; without, ONNX Runtime on a CPU, torch elsewhere and for networks that have no graph
    here. Raises LandmarkError if either is not available, or weights and config do not fit.
    """
    if backend is not None and backend not in BACKENDS:
        raise LandmarkError(f"There is no backend {backend!r}. Use one of {', '.join(BACKENDS)}.")
    device = device or ("cuda" if backend is None and has_gpu() else None)
    has_graph = has_graph_for(config)
    if backend == "onnx" and (device not in (None, "cpu") or not has_graph):
        raise LandmarkError(
            f"ONNX Runtime runs {', '.join(tensor_tables())} on device 'cpu' here. "
            "Use backend='torch' for others."
        )
    if backend == "onnx" or (backend is None and device in (None, "cpu") and has_graph):
        return Runtime(OnnxTrunk.restore(config, folder), config)
    if find_spec("torch") is None or find_spec("timm") is None:
        raise LandmarkError(
            f"{config.architecture} on device {device or 'cpu'!r} needs torch and timm. Run "
            "pip install 'landmark-model[torch]'."
        )
    from landmark_model.torch_trunk import open_torch

    return Runtime(open_torch(config, folder, device), config)


def has_graph_for(config: ModelConfig) -> bool:
    """Whether ONNX Runtime can run the network of `config`, which sees multiples of 32 px."""
    return (
        config.architecture in tensor_tables()
        and not config.model_args
        and (config.view == "whole" or config.image_size % STRIDE_PX == 0)
    )


def has_gpu() -> bool:
    """Whether there is an NVIDIA GPU that torch can use. Where there is none, nothing is imported:
    torch takes seconds."""
    names = ["/dev/nvidiactl", "/dev/dxg"] if sys.platform == "linux" else []
    is_likely = any(map(os.path.exists, names)) or sys.platform == "win32"
    if not is_likely or find_spec("torch") is None or find_spec("timm") is None:
        return False
    import torch

    return torch.cuda.is_available()
