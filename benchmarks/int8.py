"""What whole numbers of eight bits would change in answers and time: a part of speed.md.

ONNX Runtime's static quantisation (QDQ, per channel), calibrated on training photos; top-1 is of
validation photos. The last layer stays as it is.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from landmark_model.config import WEIGHTS_NAME, read_config
from landmark_model.cores import usable_cores
from landmark_model.folders import find_photos
from landmark_model.hub.repo import SHIPPED, networks_in
from landmark_model.photos import open_reduced
from landmark_model.preprocess import eval_transform, fewest_pixels
from landmark_model.runtime import GRAPHS, OnnxTrunk
from landmark_model.tensors import read_network

CALIBRATED_ON = 128  # photos


@dataclass(frozen=True)
class Outcome:
    """Validation top-1 (0..1) of a network, and of the same in int8."""

    network: str
    photos: int
    top1: float
    int8_top1: float


class Photos(CalibrationDataReader):
    """Photos as a network sees them, one at a time."""

    def __init__(self, images: Iterator[np.ndarray]) -> None:
        self._images = images

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self._images, None)
        return None if image is None else {"images": image[None]}


class Int8Trunk(OnnxTrunk):
    """A network whose layers but the last compute in int8."""

    def __init__(self, network: str, images: Iterator[np.ndarray]) -> None:
        tensors = read_network(networks_in(SHIPPED)[network] / WEIGHTS_NAME)
        super().__init__(network, tensors)
        model = onnx.load(GRAPHS / f"{network}.onnx", load_external_data=False)
        for number, empty in enumerate(model.graph.initializer):
            if empty.name in tensors:
                filled = onnx.numpy_helper.from_array(tensors[empty.name], empty.name)
                model.graph.initializer[number].CopyFrom(filled)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = usable_cores(), 3
        with tempfile.TemporaryDirectory() as folder:
            folded, path = f"{folder}/folded.onnx", f"{folder}/int8.onnx"
            # Batch norm becomes part of the convolutions: apart, it would not be in int8.
            quant_pre_process(model, folded, skip_symbolic_shape=True)
            quantize_static(
                folded, path, Photos(images), quant_format=QuantFormat.QDQ, per_channel=True,
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            )  # fmt: skip
            self._session = onnxruntime.InferenceSession(path, options)


def compare(network: str, data: Path) -> tuple[Outcome, OnnxTrunk, OnnxTrunk]:
    """Top-1 of a network in both, and both, on the splits in `data`."""
    folder = networks_in(SHIPPED)[network]
    config = read_config(folder)
    see, pixels = eval_transform(config), fewest_pixels(config)
    train, validation = (find_photos(data / split).paths for split in ("train", "validation"))
    chosen = train[:: -(-len(train) // CALIBRATED_ON)]
    trunks = [
        OnnxTrunk.restore(config, folder),
        Int8Trunk(network, (see(open_reduced(path, pixels).image) for path in chosen)),
    ]
    right = np.zeros(2, int)
    for path in validation:
        image = see(open_reduced(path, pixels).image)[None]
        for number, trunk in enumerate(trunks):
            best = trunk.logits(trunk.features(image)).argmax()
            right[number] += config.class_names[best] == path.parent.name
    return Outcome(network, len(validation), *(right / len(validation)).tolist()), *trunks
