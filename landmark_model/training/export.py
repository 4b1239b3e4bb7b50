"""Writes networks as TorchScript and ONNX: files that work without our code."""

# No "from __future__ import annotations" here: TorchScript reads the annotations as they stand.
import json
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from landmark_model.config import LandmarkError, ModelConfig
from landmark_model.files import staged
from landmark_model.preprocess import STRIDE_PX, view_crop, view_size

LABELS_NAME = "labels.json"
RESULTS = ["probabilities", "logits", "features"]
TOLERANCE = 1e-4


class Prepared(nn.Module):
    """What the network sees of RGB photos, (N, 3, H, W) in 0..255 -> probabilities and logits
    (N, C), features (N, D). Normalisation and temperature are part of it."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, config: ModelConfig) -> None:
        super().__init__()
        self.network = network
        self.classifier = network.get_classifier()
        self.temperature = config.temperature
        self.register_buffer("mean", torch.tensor(config.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        normalised = (images.float() / 255 - self.mean) / self.std
        maps = self.network.forward_features(normalised)
        features = self.network.forward_head(maps, pre_logits=True)  # (N, D)
        logits = self.classifier(features)  # (N, D) -> (N, C)
        return (logits / self.temperature).softmax(dim=1), logits, features


class Portable(nn.Module):
    """RGB photos (N, 3, H, W), uint8 0..255, any size -> probabilities (N, C).

    It cuts what the network sees; `prepared` does the rest. `labels` are in the order of C.
    """

    labels: list[str]
    class_names: list[str]

    def __init__(self, network: nn.Module, config: ModelConfig) -> None:
        super().__init__()
        self.prepared = Prepared(network, config)
        self.labels = list(config.labels)
        self.class_names = list(config.class_names)
        self.sees_whole = config.view == "whole"
        self.image_size = config.image_size
        self.resize_px = int(config.image_size / config.crop_pct)

    def forward(self, photos: Tensor) -> Tensor:
        images = photos.float()
        seen = self.whole(images) if self.sees_whole else self.centre(images)
        return self.prepared(seen)[0]

    def centre(self, images: Tensor) -> Tensor:
        """The same as `eval_crop`: (N, 3, H, W) -> (N, 3, S, S)."""
        height, width = images.shape[2], images.shape[3]
        scale = self.resize_px / min(height, width)
        rows = max(self.resize_px, int(height * scale))
        columns = max(self.resize_px, int(width * scale))
        return _middle(_resize(images, (rows, columns)), (self.image_size, self.image_size))

    def whole(self, images: Tensor) -> Tensor:
        """The same as `eval_whole`: (N, 3, H, W) -> (N, 3, h, w)."""
        kept = view_crop(images.shape[2], images.shape[3])
        size = view_size(kept[0], kept[1], self.image_size)
        return _resize(_middle(images, kept), size)


def _middle(images: Tensor, size: tuple[int, int]) -> Tensor:
    """The centre crop (N, 3, *size) of images, as torchvision cuts it."""
    top = int(round((images.shape[2] - size[0]) / 2))  # noqa: RUF046 (a float in TorchScript)
    left = int(round((images.shape[3] - size[1]) / 2))  # noqa: RUF046
    return images[:, :, top : top + size[0], left : left + size[1]]


def _resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (N, 3, *size), whole numbers in 0..255, resized as Pillow does."""
    if images.shape[2] == size[0] and images.shape[3] == size[1]:
        return images
    images = nn.functional.interpolate(images, [size[0], size[1]], mode="bicubic", antialias=True)
    return images.clamp(0, 255).round()


def export_torchscript(network: nn.Module, config: ModelConfig, path: Path) -> float:
    """Writes `network` (float32, CPU) to `path`; returns the largest difference to eager.

    The file is read back and compared on batches of 1 and 3 photos first. Raises LandmarkError
    if a probability differs by more than 1e-4; `path` is then not written.
    """
    portable = Portable(network.eval().cpu(), config).eval()
    labels = json.dumps(config.labels, ensure_ascii=False)

    def write(file: Path) -> Callable[[Tensor], Tensor]:
        script = torch.jit.script(portable)
        torch.jit.save(script, str(file), _extra_files={LABELS_NAME: labels})
        return torch.jit.load(str(file))

    return _write_checked(write, portable, path, (190, 250))


def export_onnx(network: nn.Module, config: ModelConfig, path: Path) -> float:
    """Writes `network` (float32, CPU) to `path` for any ONNX runtime; checked as TorchScript is.

    By the config's `view` the input is `centre` (N, 3, S, S) or `whole` (N, 3, H, W): uint8 RGB as
    `eval_crop` and `eval_whole` give it; outputs are `probabilities`, `logits`, `features`. The
    metadata has the labels (JSON), the side S in px (`image_size`) and `crop_pct`.
    """
    prepared = Prepared(network.eval().cpu(), config).eval()
    side, view = config.image_size, config.view

    def cut(photos: Tensor) -> Tensor:
        return photos if view == "whole" else photos[..., :side, :side]

    def write(file: Path) -> Callable[[Tensor], Tensor]:
        import onnxruntime

        _trace(prepared, view, torch.zeros(1, 3, side, side, dtype=torch.uint8), file)
        _label_onnx(file, config)
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        return lambda photos: torch.from_numpy(
            session.run(RESULTS[:1], {view: cut(photos).numpy()})[0]
        )

    size = (side + STRIDE_PX, side + 2 * STRIDE_PX)
    return _write_checked(write, lambda photos: prepared(cut(photos))[0], path, size)


# What writes each of the files in EXPORT_NAMES.
EXPORTS = {"torchscript": export_torchscript, "onnx": export_onnx}


def _trace(prepared: Prepared, view: str, images: Tensor, file: Path) -> None:
    """Traces the network on `images` and writes ONNX, for any number and size of them."""
    sizes = {view: {0: "batch", 2: "height", 3: "width"}}
    # torch's newer exporter (dynamo) writes the same graph, but takes five times as long.
    torch.onnx.export(
        prepared,
        (images,),
        str(file),
        input_names=[view],
        output_names=RESULTS,
        dynamic_axes=sizes | {name: {0: "batch"} for name in RESULTS},
        opset_version=18,
        dynamo=False,
    )


def _label_onnx(file: Path, config: ModelConfig) -> None:
    """Adds the metadata that users of the file alone need."""
    import onnx

    model = onnx.load(str(file))
    labels = json.dumps(config.labels, ensure_ascii=False)
    numbers = {"image_size": str(config.image_size), "crop_pct": str(config.crop_pct)}
    onnx.helper.set_model_props(model, {"labels": labels, **numbers})
    onnx.save(model, str(file))


def _write_checked(
    write: Callable[[Path], Callable[[Tensor], Tensor]],
    eager: Callable[[Tensor], Tensor],
    path: Path,
    size: tuple[int, int],
) -> float:
    """Has `write` make the file; returns its largest difference on photos of `size`."""
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
