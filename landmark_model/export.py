"""A trained network as one TorchScript file that needs no timm, no config and no code of ours."""

# No "from __future__ import annotations" here: TorchScript reads the annotations as they stand.
import json
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from landmark_model.config import LandmarkError, ModelConfig
from landmark_model.files import staged

TORCHSCRIPT_NAME = "model.torchscript.pt"
LABELS_NAME = "labels.json"
TOLERANCE = 1e-4


class Portable(nn.Module):
    """RGB photos (N, 3, H, W), uint8 0..255, any size -> probabilities (N, C); logits inside.

    Resizing, centre crop and normalisation are part of it; `labels` are in the order of C.
    """

    labels: list[str]
    class_names: list[str]
    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, config: ModelConfig) -> None:
        super().__init__()
        self.network = network
        self.labels = list(config.labels)
        self.class_names = list(config.class_names)
        self.image_size = config.image_size
        self.flip = config.flip
        self.temperature = config.temperature
        self.resize_px = int(config.image_size / config.crop_pct)
        self.register_buffer("mean", torch.tensor(config.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(1, 3, 1, 1), persistent=False)

    def forward(self, photos: Tensor) -> Tensor:
        images = photos.float()
        height, width = images.shape[2], images.shape[3]
        scale = self.resize_px / min(height, width)
        size = [max(self.resize_px, int(height * scale)), max(self.resize_px, int(width * scale))]
        if size[0] != height or size[1] != width:
            images = nn.functional.interpolate(images, size, mode="bicubic", antialias=True)
            images = images.clamp(0, 255).round()
        top = int(round((size[0] - self.image_size) / 2))  # noqa: RUF046 (a float in TorchScript)
        left = int(round((size[1] - self.image_size) / 2))  # noqa: RUF046
        images = images[:, :, top : top + self.image_size, left : left + self.image_size]
        images = (images / 255 - self.mean) / self.std
        logits = self.network(images)  # (N, 3, S, S) -> (N, C)
        if self.flip:
            logits = (logits + self.network(images.flip(3))) / 2
        return (logits / self.temperature).softmax(dim=1)


def export_torchscript(network: nn.Module, config: ModelConfig, path: Path) -> float:
    """Writes `network` (float32, CPU) to `path`; gives back the largest difference to eager.

    The file is read back and compared on batches of 1 and 3 photos first. Raises LandmarkError
    where a probability differs by more than 1e-4; `path` is then not written.
    """
    if path.is_dir():
        raise LandmarkError(f"{path} is a folder. Give the file to write.")
    portable = Portable(network.eval().cpu(), config).eval()
    labels = json.dumps(config.labels, ensure_ascii=False)
    with staged(path.parent) as folder, warnings.catch_warnings():
        # PyTorch steers people to torch.export; TorchScript is what runs without Python.
        warnings.filterwarnings("ignore", message=".*torch.jit.* is deprecated")
        file = str(folder / path.name)
        torch.jit.save(torch.jit.script(portable), file, _extra_files={LABELS_NAME: labels})
        restored = torch.jit.load(file)
        difference = max(_difference(portable, restored, count) for count in (1, 3))
        if not difference <= TOLERANCE:
            raise LandmarkError(
                f"The TorchScript file differs from the network by {difference:.1e} in "
                f"probability, more than {TOLERANCE:.0e}; it was not written."
            )
    return difference


@torch.inference_mode()
def _difference(eager: nn.Module, restored: nn.Module, count: int) -> float:
    random = torch.Generator().manual_seed(count)
    photos = torch.randint(0, 256, (count, 3, 190, 250), dtype=torch.uint8, generator=random)
    return (eager(photos) - restored(photos)).abs().max().item()
