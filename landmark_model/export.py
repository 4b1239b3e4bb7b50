"""Writes networks as TorchScript and ONNX: files that answer without any code of ours."""

# No "from __future__ import annotations" here: TorchScript reads the annotations as they stand.
import json
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from landmark_model.config import TORCHSCRIPT_NAME, LandmarkError, ModelConfig
from landmark_model.files import staged
from landmark_model.neighbours import Neighbours

LABELS_NAME = "labels.json"
TOLERANCE = 1e-4


class Square(nn.Module):
    """Square RGB images (N, 3, S, S) in 0..255 -> probabilities and logits (N, C), features (N, D).

    Normalisation, test-time flip, temperature and neighbours are part of it; the logits are those
    of the last layer alone.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, network: nn.Module, config: ModelConfig, neighbours: Neighbours | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.neighbours = neighbours if config.neighbour_weight else None
        self.classifier = network.get_classifier()
        self.flip = config.flip
        self.temperature = config.temperature
        self.register_buffer("mean", torch.tensor(config.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.answer((images.float() / 255 - self.mean) / self.std)

    @torch.jit.export
    def answer(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same of images that are normalised already, as `eval_transform` gives them."""
        features = self.features(images)
        if self.flip:
            features = (features + self.features(images.flip(3))) / 2
        logits = self.classifier(features)  # (N, D) -> (N, C)
        scaled = logits / self.temperature
        if self.neighbours is not None:
            scaled = self.neighbours(scaled, features)
        return scaled.softmax(dim=1), logits, features

    def features(self, images: Tensor) -> Tensor:
        """What the last layer sees: (N, 3, S, S) -> (N, D)."""
        return self.network.forward_head(self.network.forward_features(images), pre_logits=True)


class Portable(nn.Module):
    """RGB photos (N, 3, H, W), uint8 0..255, any size -> probabilities (N, C).

    Resizing and centre crop are part of it; `square` does the rest. `labels` are in the order of C.
    """

    labels: list[str]
    class_names: list[str]

    def __init__(
        self, network: nn.Module, config: ModelConfig, neighbours: Neighbours | None = None
    ) -> None:
        super().__init__()
        self.square = Square(network, config, neighbours)
        self.labels = list(config.labels)
        self.class_names = list(config.class_names)
        self.image_size = config.image_size
        self.resize_px = int(config.image_size / config.crop_pct)

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
        return self.square(images)[0]


def export_torchscript(
    network: nn.Module, config: ModelConfig, path: Path, neighbours: Neighbours | None = None
) -> float:
    """Writes `network` (float32, CPU) to `path`; gives back the largest difference to eager.

    The file is read back and compared on batches of 1 and 3 photos first. Raises LandmarkError
    where a probability differs by more than 1e-4; `path` is then not written.
    """
    portable = Portable(network.eval().cpu(), config, neighbours).eval()
    labels = json.dumps(config.labels, ensure_ascii=False)

    def write(file: Path) -> Callable[[Tensor], Tensor]:
        script = torch.jit.script(portable)
        torch.jit.save(script, str(file), _extra_files={LABELS_NAME: labels})
        return torch.jit.load(str(file))

    return _write_checked(write, portable, path, (190, 250))


def read_torchscript(folder: Path, device: str) -> torch.jit.ScriptModule:
    """The network in the TorchScript file in `folder`. A TorchScript file is a program: check it.

    Raises LandmarkError where there is none, or it is not one that `export_torchscript` wrote.
    """
    path = folder / TORCHSCRIPT_NAME
    if not path.is_file():
        raise LandmarkError(
            f"{folder.name} has no {TORCHSCRIPT_NAME}. Write it: python -m landmark_model export"
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.* is deprecated")
        try:
            script = torch.jit.load(str(path), map_location=device)
        except RuntimeError as error:
            raise LandmarkError(
                f"{path.name} is damaged, or device {device!r} is not to be had here."
            ) from error
    if not hasattr(script, "square"):
        raise LandmarkError(
            f"{path.name} is of an older version. Write it again: python -m landmark_model export"
        )
    return script


def export_onnx(
    network: nn.Module, config: ModelConfig, path: Path, neighbours: Neighbours | None = None
) -> float:
    """Writes `network` (float32, CPU) to `path` for any ONNX runtime; checked as TorchScript is.

    Input `images` (N, 3, S, S), uint8 RGB, cut as `eval_crop` cuts them; outputs `probabilities`,
    `logits`, `features`. The metadata has the labels (JSON) and the side S in px.
    """
    square = Square(network.eval().cpu(), config, neighbours).eval()
    side = config.image_size

    def write(file: Path) -> Callable[[Tensor], Tensor]:
        import onnx
        import onnxruntime

        names = ["probabilities", "logits", "features"]
        # torch's newer exporter (dynamo) writes the same graph, but takes five times as long.
        torch.onnx.export(
            square,
            (torch.zeros(1, 3, side, side, dtype=torch.uint8),),
            str(file),
            input_names=["images"],
            output_names=names,
            dynamic_axes={name: {0: "batch"} for name in ("images", *names)},
            opset_version=18,
            dynamo=False,
        )
        model = onnx.load(str(file))
        labels = json.dumps(config.labels, ensure_ascii=False)
        onnx.helper.set_model_props(model, {"labels": labels, "image_size": str(side)})
        onnx.save(model, str(file))
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        return lambda images: torch.from_numpy(
            session.run(names[:1], {"images": images.numpy()})[0]
        )

    return _write_checked(write, lambda images: square(images)[0], path, (side, side))


def _write_checked(
    write: Callable[[Path], Callable[[Tensor], Tensor]],
    eager: Callable[[Tensor], Tensor],
    path: Path,
    size: tuple[int, int],
) -> float:
    """Has `write` make the file; the largest difference of what it answers on photos of `size`."""
    if path.is_dir():
        raise LandmarkError(f"{path} is a folder. Give the file to write.")
    with staged(path.parent) as folder, warnings.catch_warnings(), torch.inference_mode():
        # PyTorch steers people to torch.export; these two are what runs without Python.
        warnings.filterwarnings("ignore", message=".*torch.jit.* is deprecated")
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        restored = write(folder / path.name)
        difference = max(_difference(eager, restored, count, size) for count in (1, 3))
        if not difference <= TOLERANCE:
            raise LandmarkError(
                f"{path.name} differs from the network by {difference:.1e} in "
                f"probability, more than {TOLERANCE:.0e}; it was not written."
            )
    return difference


def _difference(
    eager: Callable[[Tensor], Tensor],
    restored: Callable[[Tensor], Tensor],
    count: int,
    size: tuple[int, int],
) -> float:
    random = torch.Generator().manual_seed(count)
    photos = torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8, generator=random)
    return (eager(photos) - restored(photos)).abs().max().item()
