"""The networks: timm's ResNet18 and EfficientNet-Lite2, our own LandmarkCNN; logits (N, classes).

LandmarkCNN is registered with timm, so that one config format and one builder serve all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import timm
import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models._manipulate import group_parameters
from timm.optim import muon as timm_muon
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from landmark_model.config import WEIGHTS_NAME, LandmarkError, ModelConfig
from landmark_model.tensors import Claim, find_fault, read_claims, read_tensors

NETWORKS = ("resnet18", "landmark_cnn", "tf_efficientnet_lite2")
MOST_PARAMETERS = 200_000_000  # 0.8 GB in float32
# Of one image, in a LandmarkCNN of any shape: as it ships, 0.2 million and 0.4 billion.
MOST_IN_A_MAP = 32_000_000
MOST_PRODUCTS = 100_000_000_000


class ResidualBlock(nn.Module):
    """Two convolutions and a channel gate around a shortcut (He et al. 2016; Hu et al. 2018).

    The shortcut of a halving block averages before its 1x1 convolution, so that no pixel is
    skipped (ResNet-D: He et al. 2019). The gate is a kind of attention, over channels.
    """

    def __init__(
        self, in_width: int, width: int, stride: int, kernel: int = 3, gated: bool = True
    ) -> None:
        super().__init__()
        half = kernel // 2
        self.conv1 = nn.Conv2d(in_width, width, kernel, stride, padding=half, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel, padding=half, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.gate = nn.Sequential()
        if gated:
            self.gate.append(nn.AdaptiveAvgPool2d(1))
            self.gate.append(nn.Conv2d(width, width // 8, 1))
            self.gate.append(nn.ReLU())
            self.gate.append(nn.Conv2d(width // 8, width, 1))
            self.gate.append(nn.Sigmoid())
        self.gated = gated
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
        return torch.relu(self.shortcut(x) + (y * self.gate(y) if self.gated else y))


class LandmarkCNN(nn.Module):
    """A small residual network to be trained from scratch: images (N, 3, H, W) -> logits (N, C).

    What each choice is worth: research/training.md. `max_pool` takes the maximum of
    the last maps instead of their average, without which class-activation maps are not exact.
    """

    def __init__(
        self,
        num_classes: int = 50,
        in_chans: int = 3,
        widths: tuple[int, ...] = (32, 64, 160, 320),
        depths: tuple[int, ...] = (2, 2, 2, 2),
        drop_rate: float = 0.2,
        kernel: int = 3,
        gated: bool = True,
        max_pool: bool = False,
    ) -> None:
        super().__init__()
        self.max_pool = max_pool
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
                blocks.append(ResidualBlock(width, next_width, stride, kernel, gated))
                width = next_width
            self.stages.append(blocks)
        self.drop = nn.Dropout(drop_rate)
        self.fc = nn.Linear(width, num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        """Images (N, 3, H, W) -> feature maps (N, 320, H/16, W/16)."""
        return self.stages(self.stem(x))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Feature maps -> logits (N, C), or with `pre_logits` their averages (N, 320)."""
        pooled = x.amax((2, 3)) if self.max_pool else x.mean((2, 3))  # (N, 320, h, w) -> (N, 320)
        pooled = self.drop(pooled)
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
    """LandmarkCNN by timm's front door: `timm.create_model("landmark_cnn")`."""
    return build_model_with_cfg(LandmarkCNN, "landmark_cnn", pretrained, **kwargs)


def normalisation(architecture: str) -> dict[str, tuple[float, ...]]:
    """The `mean` and `std` of RGB 0..1 that the pretrained weights of `architecture` expect."""
    pretrained = timm.get_pretrained_cfg(architecture)
    return {"mean": tuple(pretrained.mean), "std": tuple(pretrained.std)}


def build(config: ModelConfig) -> nn.Module:
    """The network that `config` names, with random weights.

    Raises LandmarkError where timm does not know the architecture, or it would be too large.
    """
    _sketch(config)
    return _create(config)


class _WithoutChance(TorchFunctionMode):
    """Draws no random numbers for new weights: on "meta" they take half the time, and are lost."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if getattr(function, "__name__", "") in ("normal_", "uniform_"):
            return args[0] if args else kwargs["tensor"]
        return function(*args, **(kwargs or {}))


def _sketch(config: ModelConfig) -> nn.Module:
    """The network on torch's "meta" device, where it has shapes but takes no memory.

    Raises LandmarkError where timm does not know it, or it would be too large.
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
    """Raises LandmarkError where one image would fill the memory or take minutes."""
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


def mean_of_views(
    forward: Callable[[Tensor], Tensor], views: Iterable[tuple[Tensor, Tensor]], device: str
) -> Tensor:
    """What `forward` makes (N, D) of N photos, each the mean of its images.

    `views` are those images as `transforms.by_shape` gives them: (n, 3, H, W), and of which photo
    (n,) each is. As the last layer is linear, it makes the mean logits of mean features.
    """
    outputs, photos = [], []
    for images, photo in views:
        outputs.append(forward(images.to(device, memory_format=torch.channels_last)).float())
        photos.append(photo.to(device))
    values, photo = torch.cat(outputs), torch.cat(photos)
    counts = photo.bincount()[:, None]
    return values.new_zeros(len(counts), values.shape[1]).index_add(0, photo, values) / counts


def compute_features(network: nn.Module, images: Tensor) -> Tensor:
    """Pooled features (N, D) of images (N, 3, H, W), of which the last layer makes the logits."""
    return network.forward_head(network.forward_features(images), pre_logits=True)


class Teacher(nn.Module):
    """A trained network that tells a student its logits (Hinton et al. 2015).

    It sees the very images that the student sees (Beyer et al. 2022), `shown_as` the student's
    config says: normalised by its mean and std, which it turns into the teacher's own.
    """

    def __init__(self, network: nn.Module, config: ModelConfig, shown_as: ModelConfig) -> None:
        super().__init__()
        if config.class_names != shown_as.class_names:
            odd = sorted(set(config.class_names) ^ set(shown_as.class_names))
            raise LandmarkError(
                f"The teacher knows other classes than the photos show: {', '.join(odd[:5])}"
                f"{f' and {len(odd) - 5} more' if len(odd) > 5 else ''} are on one side only. "
                "Train the teacher on the same folder first."
            )
        self.network = network.eval().requires_grad_(False)
        theirs, ours = (
            [torch.tensor(values).view(1, 3, 1, 1) for values in (c.mean, c.std)]
            for c in (shown_as, config)
        )
        self.register_buffer("scale", theirs[1] / ours[1])
        self.register_buffer("shift", (theirs[0] - ours[0]) / ours[1])

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, C) of images (N, 3, H, W)."""
        return self.network(images * self.scale + self.shift)

    def train(self, mode: bool = True) -> Teacher:
        """Stays in evaluation mode."""
        return super().train(False)


@dataclass(frozen=True)
class Start:
    """Where the first weights came from: names of the tensors that were filled and left fresh.

    `base_model` is the hub repo they are from, "" where there is none or it is not known.
    """

    source: str
    filled: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
    base_model: str = ""

    def __str__(self) -> str:
        if not self.filled:
            return f"{self.source}: every layer starts fresh"
        if not self.fresh:
            return f"every layer from {self.source}"
        filled, fresh = _layer_names(self.filled), _layer_names(self.fresh)
        return f"{self.source} fills {filled}; starting fresh: {fresh}"


def _layer_names(tensors: tuple[str, ...]) -> str:
    return ", ".join(dict.fromkeys(name.split(".")[0] for name in tensors))


def start_from_file(network: nn.Module, path: Path) -> Start:
    """Fills `network` with the tensors in the safetensors file at `path`, and says which.

    A file may leave layers out; they keep their random start, as does a last layer made for other
    classes. Raises LandmarkError where the file holds anything that does not fit, naming it.
    """
    tensors = read_weights(path)
    own = network.state_dict()
    head = _head_names(network)
    unknown = [name for name in tensors if name not in own]
    # The last layer may have been made for other classes: then only its first dimension differs.
    misfits = [
        f"{name} {tuple(tensor.shape)}, not {tuple(own[name].shape)}"
        for name, tensor in tensors.items()
        if name in own and tensor.shape[name in head :] != own[name].shape[name in head :]
    ]
    if unknown or misfits:
        problems = [f"{name} is not in the network" for name in unknown] + misfits
        raise LandmarkError(
            f"{path.name} is made for another network: {'; '.join(problems[:3])}"
            f"{f' and {len(problems) - 3} more' if len(problems) > 3 else ''}. "
            "Give --init a file for this --network."
        )
    other_classes = any(tensors[n].shape != own[n].shape for n in head & tensors.keys())
    fits = {n: t for n, t in tensors.items() if not (other_classes and n in head)}
    if not fits:
        raise LandmarkError(f"{path.name} holds no weights of this network. Check --init.")
    network.load_state_dict(fits, strict=False)  # what is left out is checked and told above
    fresh = tuple(name for name in own if name not in fits and "num_batches" not in name)
    return Start(path.name, tuple(fits), fresh)


def start_pretrained(network: nn.Module, architecture: str) -> Start:
    """Fills all but the last layer of `network` with timm's ImageNet weights from the hub.

    Raises LandmarkError where the hub cannot be reached and the weights are not cached.
    """
    try:
        source = timm.create_model(architecture, pretrained=True)
    except Exception as error:  # the hub client raises a dozen kinds; each means: no weights
        raise LandmarkError(
            f"timm's weights for {architecture} could not be fetched ({type(error).__name__}). "
            "Go online; or give --init FILE.safetensors, for resnet18 also the one that ships, "
            "landmark_model/weights/model.safetensors; or --init none to start from scratch."
        ) from error
    head = _head_names(network)
    weights = {name: t for name, t in source.state_dict().items() if name not in head}
    network.load_state_dict(weights, strict=False)
    base_model = source.pretrained_cfg.get("hf_hub_id") or ""
    return Start(base_model or architecture, tuple(weights), tuple(sorted(head)), base_model)


def _head_names(network: nn.Module) -> set[str]:
    last = network.get_classifier()
    prefix = next(name for name, module in network.named_modules() if module is last)
    return {f"{prefix}.{name}" for name in last.state_dict()}


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises LandmarkError where it is missing, no such file, or holds numbers that no network has.
    """
    read_claims(path)
    return _sound_tensors(path)


def _sound_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file whose claims were read. Raises LandmarkError as `read_weights` does."""
    tensors = read_tensors(path)
    if fault := find_fault(tensors):
        raise LandmarkError(
            f"{path.name} is damaged or not of a trained network: {fault}. Copy it again, or train "
            "the network again."
        )
    return tensors


def restore(config: ModelConfig, folder: Path) -> nn.Module:
    """The network of `config` with the weights in `folder`, in float32 and evaluation mode.

    Raises LandmarkError where a tensor is missing, left over or of another shape, where a number
    is not finite, and where the network is too large or does not classify images. All that can
    be told from the head of the file is told before it is read.
    """
    network, path = _sketch(config), folder / WEIGHTS_NAME
    if misfits := _misfits(network.state_dict(), read_claims(path)):
        raise LandmarkError(
            f"{WEIGHTS_NAME} and config.json in {folder.name} do not belong together: {misfits[0]}"
            f"{f', and {len(misfits) - 1} more' if len(misfits) > 1 else ''}. "
            "Use both from one training run."
        )
    ours = config.architecture.partition(".")[0] in NETWORKS
    # Others of timm's also hold tables that no file has, which only building them fills.
    network = network.to_empty(device="cpu") if ours else _create(config)
    network.load_state_dict(_sound_tensors(path), strict=True)
    if not ours:
        _try_out(network.eval(), config)
    return network.eval()


def _misfits(own: dict[str, Tensor], claims: dict[str, Claim]) -> list[str]:
    """What of a file does not fit a network whose tensors are `own`."""
    return [
        *(f"{name} is missing" for name in own if name not in claims),
        *(f"{name} is not in the network" for name in claims if name not in own),
        *(
            f"{name} is {claims[name].kind} {claims[name].shape}, not {tuple(tensor.shape)}"
            for name, tensor in own.items()
            if name in claims
            and (
                claims[name].shape != tensor.shape
                or claims[name].is_float != tensor.is_floating_point()
            )
        ),
    ]


@torch.inference_mode()
def _try_out(network: nn.Module, config: ModelConfig) -> None:
    """Raises LandmarkError where what we ask of a network of timm's is not in it.

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


def round_to_half(network: nn.Module) -> None:
    """Rounds the weights to what float16 can hold, in place, so that half-size files lose nothing.

    Batch-norm statistics and other vectors stay exact: they are few and their range is wide.
    """
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.copy_(parameter.half().float())


def parameter_groups(
    network: nn.Module, start: Start, lr: float, layer_decay: float, weight_decay: float
) -> list[dict]:
    """Optimizer groups in which pretrained layers learn slower, the deeper the slower.

    A pretrained layer k layers below the first fresh one gets `lr * layer_decay**k`; fresh layers
    get `lr`. Vectors (biases, norms) are not decayed.
    """
    layer_of: dict[str, int] = group_parameters(network, network.group_matcher(True), reverse=True)
    fresh = [layer_of[name] for name in layer_of if name not in start.filled]
    first_fresh = min(fresh, default=max(layer_of.values()))
    groups: dict[tuple[float, float], dict] = {}
    for name, parameter in network.named_parameters():
        scale = layer_decay ** max(0, first_fresh - layer_of[name])
        decay = weight_decay if parameter.ndim > 1 else 0.0
        empty = {"params": [], "lr": lr * scale, "weight_decay": decay}
        groups.setdefault((scale, decay), empty)["params"].append(parameter)
    return list(groups.values())


def make_optimizer(groups: list[dict], muon: float = 0.0) -> torch.optim.Optimizer:
    """AdamW for `groups`; with `muon` above 0, Muon for convolution kernels, NAdamW for the rest.

    Muon moves a kernel (out, in, h, w) along all directions of its (out, in * h * w) matrix alike,
    so that rare features are learned as fast as frequent ones (Jordan et al. 2024,
    kellerjordan.github.io/posts/muon), at `muon` times the rate of its group. Its steps have the
    size of AdamW's (Liu et al. 2025, arxiv.org/abs/2502.16982). Three rounds of Polar Express
    (Amsel et al. 2025, arxiv.org/abs/2505.16932) make the directions only roughly alike, which
    taught LandmarkCNN as much as the usual five rounds, in less time. It multiplies matrices in
    bfloat16 where that is fast, else in float32.
    """
    if not muon:
        return torch.optim.AdamW(groups)
    split = []
    for group in groups:
        kernels = [parameter for parameter in group["params"] if parameter.ndim == 4]
        others = [parameter for parameter in group["params"] if parameter.ndim != 4]
        if kernels:
            split.append(group | {"params": kernels, "lr": muon * group["lr"]})
        if others:
            split.append(group | {"params": others, "use_fallback": True})
    make = timm_muon.Muon if has_fast_bf16() else Float32Muon
    return make(
        split, nesterov=True, betas=(0.9, 0.999), ns_steps=3, ns_coefficients="polar_express"
    )


class Float32Muon(timm_muon.Muon):
    """timm's Muon, which multiplies in bfloat16 and takes no other wish, in float32.

    A CPU that emulates bfloat16 takes twenty times as long over a kernel of 512 x 512 x 3 x 3, and
    most of a training step over all of them.
    """

    def step(self, closure=None):
        fixed = timm_muon.zeropower_via_newtonschulz
        timm_muon.zeropower_via_newtonschulz = partial(fixed, dtype=torch.float32)
        try:
            return super().step(closure)
        finally:
            timm_muon.zeropower_via_newtonschulz = fixed


def has_fast_bf16() -> bool:
    """Whether this machine multiplies in bfloat16, and does not emulate it with float32."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
