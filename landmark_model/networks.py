"""The networks: timm's ResNet18 and EfficientNet-Lite2, our own LandmarkCNN; logits (N, classes).

LandmarkCNN is registered with timm, so that one config format and one builder serve all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import timm
import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from landmark_model.config import TITLES, WEIGHTS_NAME, LandmarkError, ModelConfig
from landmark_model.preprocess import by_shape
from landmark_model.tensors import read_claims, read_network, require_fit

NETWORKS = tuple(TITLES)
MOST_PARAMETERS = 200_000_000  # 0.8 GB in float32
# Of one image, in a LandmarkCNN of any shape: as it ships, 0.2 million and 0.4 billion.
MOST_IN_A_MAP = 32_000_000
MOST_PRODUCTS = 100_000_000_000


class ResidualBlock(nn.Module):
    """Two convolutions and a channel gate around a shortcut (He et al. 2016; Hu et al. 2018).

    The shortcut of a halving block averages before its 1x1 convolution, so that no pixel is
    skipped (ResNet-D: He et al. 2019). The gate is a kind of attention, over channels.
    """

    def __init__(self, in_width: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_width, width, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(width, width // 8, 1),
            nn.ReLU(),
            nn.Conv2d(width // 8, width, 1),
            nn.Sigmoid(),
        )
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut.append(nn.AvgPool2d(stride, ceil_mode=True))
        if in_width != width:
            self.shortcut.append(nn.Conv2d(in_width, width, 1, bias=False))
            self.shortcut.append(nn.BatchNorm2d(width))
        nn.init.zeros_(self.norm2.weight)  # each block starts as its shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return torch.relu(self.shortcut(x) + y * self.gate(y))


class LandmarkCNN(nn.Module):
    """A small residual network to be trained from scratch: images (N, 3, H, W) -> logits (N, C).

    What each choice is worth: research/training.md. It averages its last maps, so that
    class-activation maps are exact.
    """

    def __init__(
        self,
        num_classes: int = 50,
        in_chans: int = 3,
        widths: tuple[int, ...] = (32, 64, 160, 320),
        depths: tuple[int, ...] = (2, 2, 2, 2),
        drop_rate: float = 0.2,
    ) -> None:
        super().__init__()
        self.num_classes, self.num_features = num_classes, widths[-1]
        self.stem = nn.Sequential(
            nn.Conv2d(in_chans, widths[0], 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        )
        self.stages = nn.Sequential()
        width = widths[0]
        for stage, (next_width, depth) in enumerate(zip(widths, depths, strict=True)):
            blocks = nn.Sequential()
            for block in range(depth):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(ResidualBlock(width, next_width, stride))
                width = next_width
            self.stages.append(blocks)
        self.drop = nn.Dropout(drop_rate)
        self.fc = nn.Linear(width, num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        """Images (N, 3, H, W) -> feature maps (N, 320, H/16, W/16)."""
        return self.stages(self.stem(x))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Feature maps -> logits (N, C), or with `pre_logits` their averages (N, 320)."""
        pooled = self.drop(x.mean((2, 3)))  # (N, 320, h, w) -> (N, 320)
        return pooled if pre_logits else self.fc(pooled)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        """The last layer, by the name timm calls it."""
        return self.fc

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Patterns that sort parameters into layers, as timm's optimizers ask for."""
        return {"stem": r"^stem", "blocks": r"^stages\.(\d+)"}


default_cfgs = generate_default_cfgs(
    {"landmark_cnn": {"num_classes": 50, "first_conv": "stem.0", "classifier": "fc"}}
)


@register_model
def landmark_cnn(pretrained: bool = False, **kwargs) -> LandmarkCNN:
    """LandmarkCNN for timm: `timm.create_model("landmark_cnn")`."""
    return build_model_with_cfg(LandmarkCNN, "landmark_cnn", pretrained, **kwargs)


def normalisation(architecture: str) -> dict[str, tuple[float, ...]]:
    """The `mean` and `std` of RGB 0..1 that the pretrained weights of `architecture` expect."""
    pretrained = timm.get_pretrained_cfg(architecture)
    return {"mean": tuple(pretrained.mean), "std": tuple(pretrained.std)}


def build(config: ModelConfig) -> nn.Module:
    """The network that `config` names, with random weights.

    Raises LandmarkError if timm does not know the architecture, or it would be too large.
    """
    _sketch(config)
    return _create(config)


class _WithoutChance(TorchFunctionMode):
    """Draws no random initial weights: on "meta" they would take half the time and be lost."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if getattr(function, "__name__", "") in ("normal_", "uniform_"):
            return args[0] if args else kwargs["tensor"]
        return function(*args, **(kwargs or {}))


def _sketch(config: ModelConfig) -> nn.Module:
    """The network on torch's "meta" device, where it has shapes but takes no memory.

    Raises LandmarkError if timm does not know it, or it would be too large.
    """
    with torch.device("meta"), _WithoutChance():
        network = _create(config)
    count = sum(tensor.numel() for tensor in network.state_dict().values())
    if count > MOST_PARAMETERS:
        raise LandmarkError(
            f"{config.architecture} for {len(config.class_names):,} classes has {count:,} weights; "
            f"at most {MOST_PARAMETERS:,} are loaded. Use a smaller network."
        )
    if isinstance(network, LandmarkCNN):
        _require_modest(network, config)
    return network


def _require_modest(network: LandmarkCNN, config: ModelConfig) -> None:
    """Raises LandmarkError if one image would exhaust the memory or take minutes."""
    largest, products = 0, 0
    for stage, blocks in enumerate(network.stages):
        cells = (-(-config.image_size // 2 ** (stage + 1))) ** 2
        kernels = [parameter for parameter in blocks.parameters() if parameter.ndim == 4]
        largest = max(largest, cells * max(len(kernel) for kernel in kernels))
        products += cells * sum(kernel.numel() for kernel in kernels)
    if largest > MOST_IN_A_MAP or products > MOST_PRODUCTS:
        raise LandmarkError(
            f"{config.architecture} with model_args {config.model_args} takes {products:,} "
            f"products and maps of {largest:,} numbers for an image of {config.image_size} px; at "
            f"most {MOST_PRODUCTS:,} and {MOST_IN_A_MAP:,} are computed. Use a smaller network."
        )


def _create(config: ModelConfig) -> nn.Module:
    # Asked first: create_model would go to the hub for a name like hf-hub:org/repo.
    if timm.is_model(config.architecture):
        with suppress(RuntimeError):  # an unknown tag behind a known name
            try:
                return timm.create_model(
                    config.architecture, num_classes=len(config.class_names), **config.model_args
                )
            except (TypeError, ValueError, LookupError, AttributeError, AssertionError,
                    ArithmeticError) as error:  # fmt: skip
                raise LandmarkError(
                    f"{config.architecture} cannot be built with model_args {config.model_args}: "
                    f"{error}. They are for landmark_cnn, and read by LandmarkCNN in networks.py."
                ) from error
    raise LandmarkError(
        f"There is no network {config.architecture!r}. Choose one of {', '.join(NETWORKS)}."
    )


def tensors_by_shape(images: Sequence[Tensor | np.ndarray]) -> list[tuple[Tensor, Tensor]]:
    """`preprocess.by_shape` as tensors, of images (3, H, W) of either kind."""
    groups = by_shape([np.asarray(image) for image in images])
    return [(torch.from_numpy(alike), torch.from_numpy(numbers)) for alike, numbers in groups]


def run_by_shape(
    forward: Callable[[Tensor], Tensor], groups: Iterable[tuple[Tensor, Tensor]], device: str
) -> Tensor:
    """The outputs of `forward` (N, D) for N images, which come in groups by `tensors_by_shape`."""
    outputs, numbers = [], []
    for images, number in groups:
        outputs.append(forward(images.to(device, memory_format=torch.channels_last)).float())
        numbers.append(number.to(device))
    return torch.cat(outputs)[torch.cat(numbers).argsort()]


def compute_features(network: nn.Module, images: Tensor) -> Tensor:
    """Pooled features (N, D) of images (N, 3, H, W), of which the last layer makes the logits."""
    return network.forward_head(network.forward_features(images), pre_logits=True)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises LandmarkError if it is missing, no such file, or holds numbers that no network has.
    """
    read_claims(path)
    return _as_tensors(read_network(path))


def _as_tensors(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def restore(config: ModelConfig, folder: Path) -> nn.Module:
    """The network of `config` with the weights in `folder`, in float32 and evaluation mode.

    Raises LandmarkError if a tensor is missing, left over or of another shape, where a number
    is not finite, and where the network is too large or does not classify images. All that can
    be told from the head of the file is told before it is read.
    """
    network, path = _sketch(config), folder / WEIGHTS_NAME
    own = network.state_dict()
    whole = frozenset(name for name, tensor in own.items() if not tensor.is_floating_point())
    require_fit(path, {name: tuple(tensor.shape) for name, tensor in own.items()}, whole)
    ours = config.architecture.partition(".")[0] in NETWORKS
    # Others of timm's also hold tables that no file has, which only building them fills.
    network = network.to_empty(device="cpu") if ours else _create(config)
    network.load_state_dict(_as_tensors(read_network(path)), strict=True)
    if not ours:
        _try_out(network.eval(), config)
    return network.eval()


@torch.inference_mode()
def _try_out(network: nn.Module, config: ModelConfig) -> None:
    """Raises LandmarkError if a timm network lacks what we need of it.

    timm also has networks without features or classes, and those that take one image size only.
    """
    # All of a photo comes in many sizes.
    sizes = [(config.image_size,) * 2, *[(64, 96)] * (config.view != "centre")]
    try:
        features = [compute_features(network, torch.zeros(1, 3, *size)) for size in sizes]
        logits = [network.get_classifier()(found) for found in features]
        fits = all(found.ndim == 2 for found in features) and all(
            found.shape == (1, len(config.class_names)) for found in logits
        )
    except (RuntimeError, TypeError, ValueError, LookupError, AttributeError,
            AssertionError) as error:  # fmt: skip
        raise _no_classifier(config) from error
    if not fits:
        raise _no_classifier(config)


def _no_classifier(config: ModelConfig) -> LandmarkError:
    return LandmarkError(
        f"{config.architecture} does not work as an image classifier at {config.image_size} px: "
        f"features, then one last layer. Use another, such as {', '.join(NETWORKS)}."
    )


def to_arrays(network: nn.Module) -> dict[str, np.ndarray]:
    """The tensors of a network by name, for `hub.repo.save`."""
    return {name: tensor.cpu().numpy() for name, tensor in network.state_dict().items()}


def round_to_half(network: nn.Module) -> None:
    """Rounds the weights to what float16 can hold, in place, so that half-size files lose nothing.

    Batch-norm statistics and other vectors stay exact: they are few and their range is wide.
    """
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.copy_(parameter.half().float())
