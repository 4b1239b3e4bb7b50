"""A network that does not learn just now, run as fast as this machine can."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from landmark_model.config import ModelConfig
from landmark_model.networks import compute_features, to_arrays
from landmark_model.preprocess import STRIDE_PX
from landmark_model.runtime import OnnxTrunk, has_graph_for


def freeze(
    network: nn.Module, config: ModelConfig, device: torch.device
) -> Callable[[Tensor], Tensor]:
    """Images (N, 3, H, W) -> features (N, D) of `network` in evaluation mode, as it is now.

    On a CPU by ONNX Runtime, which takes less than half of torch's time for EfficientNet-Lite2.
    """
    network.eval().to(device, memory_format=torch.channels_last)
    if device.type != "cpu" or not has_graph_for(config):
        return partial(compute_features, network)
    tensors = {name: np.ascontiguousarray(array) for name, array in to_arrays(network).items()}
    trunk = OnnxTrunk(config.architecture, tensors)

    def features_of(images: Tensor) -> Tensor:
        if images.shape[2] % STRIDE_PX or images.shape[3] % STRIDE_PX:
            return compute_features(network, images)
        return torch.from_numpy(trunk.features(np.ascontiguousarray(images.numpy())))

    return features_of
