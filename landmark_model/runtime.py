"""Runs a network: photos in; logits, features and maps out. Uses torch on any device."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from PIL.Image import Image
from torch import Tensor, nn

from landmark_model.config import LandmarkError, ModelConfig
from landmark_model.explain import class_activation
from landmark_model.networks import compute_features, mean_of_views, restore
from landmark_model.preprocess import by_shape, eval_transform, to_tensor, whole_photo

CPU_BATCH, GPU_BATCH = 4, 32  # photos in a forward pass


class TorchRuntime:
    """A network in evaluation mode on a device, with the preprocessing of its config."""

    def __init__(self, network: nn.Module, config: ModelConfig, device: str) -> None:
        self.config, self.device = config, device
        self._network = network.to(device, memory_format=torch.channels_last).eval()
        self._transform = eval_transform(config)

    @property
    def batch_size(self) -> int:
        """The batch size that suits the device: small on a CPU, where maps larger than the
        allocator keeps cost more than larger batches save."""
        return CPU_BATCH if self.device == "cpu" else GPU_BATCH

    @property
    def feature_count(self) -> int | None:
        """The number of features of a photo; None if the last layer does not say."""
        return getattr(self._network.get_classifier(), "in_features", None)

    @property
    def bias(self) -> Tensor:
        """The bias of the last layer (C,)."""
        return self._network.get_classifier().bias.detach().cpu()

    @torch.inference_mode()
    def describe(self, photos: Sequence[Image]) -> tuple[Tensor, Tensor]:
        """Logits (N, C) and features (N, D) of N upright RGB photos, on the CPU."""
        views = by_shape([self._transform(photo) for photo in photos])
        features = mean_of_views(partial(compute_features, self._network), views, self.device)
        return self._network.get_classifier()(features).cpu(), features.cpu()

    @torch.inference_mode()
    def activations(self, photo: Image) -> tuple[Tensor, float]:
        """What each location of a photo adds to each logit (C, h, w), and its side in px.

        It looks at all of the photo, enlarged. Raises LandmarkError if the network is not made
        so that its logits are sums over places.
        """
        pixels = to_tensor(self.config)(whole_photo(photo, self.config))
        images = pixels[None].to(self.device)
        head = self._network.get_classifier()
        maps = self._maps(images) if isinstance(head, nn.Linear) else images[0, 0]
        if maps.ndim != 3 or len(maps) != head.in_features:
            raise LandmarkError(
                f"explain does not support {self.config.architecture}: it needs a network "
                "of convolutions and one linear last layer, such as resnet18."
            )
        found = class_activation(maps, head.weight).cpu()
        return found, images.shape[-1] / found.shape[-1]

    def _maps(self, images: Tensor) -> Tensor:
        """The last maps (D, h, w), not yet averaged, of one photo (1, 3, H, W)."""
        try:
            maps = self._network.forward_features(images)
            if self.config.flip:
                maps = (maps + self._network.forward_features(images.flip(3)).flip(3)) / 2
        except AssertionError as error:
            raise LandmarkError(
                f"{self.config.architecture} takes images of {self.config.image_size} px only, so "
                "it cannot be explained."
            ) from error
        return maps[0]


def open_runtime(config: ModelConfig, folder: Path, device: str | None = None) -> TorchRuntime:
    """The runtime for the network of `config` with the weights in `folder`.

    `device` is torch's name of one; without, a GPU if there is one. Raises LandmarkError if it
    is not available, or weights and config do not fit.
    """
    network, device = restore(config, folder), device or best_device()
    try:
        return TorchRuntime(network, config, device)
    except LandmarkError:
        raise
    except (RuntimeError, AssertionError) as error:  # unknown to torch, or not here
        raise LandmarkError(f"Device {device!r} is not available. Try device='cpu'.") from error


def best_device() -> str:
    """The fastest device that torch finds."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
