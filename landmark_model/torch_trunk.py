"""Runs a network by torch: on a GPU, or for what has no graph for ONNX Runtime."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from torch import Tensor, nn

from landmark_model.config import LandmarkError, ModelConfig
from landmark_model.networks import compute_features, restore


class TorchTrunk:
    """A `runtime.Trunk` of a network of ours or timm's, in evaluation mode on a device."""

    def __init__(self, network: nn.Module, config: ModelConfig, device: str) -> None:
        self.device = device
        # Threads share a GPU: its memory has room for one forward pass.
        self._turn = nullcontext() if device == "cpu" else Lock()
        self._architecture, self._image_size = config.architecture, config.image_size
        self._network = network.to(device, memory_format=torch.channels_last).eval()
        self._head = self._network.get_classifier()
        self.weight = self.bias = None
        if isinstance(self._head, nn.Linear):
            self.weight, bias = _to_numpy(self._head.weight), self._head.bias
            self.bias = np.zeros(len(self.weight)) if bias is None else _to_numpy(bias)

    @torch.inference_mode()
    def features(self, images: np.ndarray) -> np.ndarray:
        with self._turn:
            return _to_numpy(compute_features(self._network, self._to_device(images)))

    @torch.inference_mode()
    def maps(self, images: np.ndarray) -> np.ndarray:
        try:
            with self._turn:
                return _to_numpy(self._network.forward_features(self._to_device(images)))
        except AssertionError as error:
            raise LandmarkError(
                f"{self._architecture} takes images of {self._image_size} px only, so it cannot "
                "be explained."
            ) from error

    @torch.inference_mode()
    def logits(self, features: np.ndarray) -> np.ndarray:
        return _to_numpy(self._head(torch.from_numpy(features).to(self.device)))

    def _to_device(self, images: np.ndarray) -> Tensor:
        images = torch.from_numpy(images)
        return images.to(self.device, memory_format=torch.channels_last)


def open_torch(config: ModelConfig, folder: Path, device: str | None = None) -> TorchTrunk:
    """The network of `config` with the weights in `folder`, on `device` or the fastest one.

    Raises LandmarkError if the device is not available, or weights and config do not fit.
    """
    network, device = restore(config, folder), device or best_device()
    try:
        return TorchTrunk(network, config, device)
    except (RuntimeError, AssertionError) as error:  # unknown to torch, or not here
        raise LandmarkError(f"Device {device!r} is not available. Try device='cpu'.") from error


def _to_numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()


def best_device() -> str:
    """The fastest device that torch finds."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
