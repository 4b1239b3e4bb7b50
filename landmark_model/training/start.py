"""What a network starts from: a file, ImageNet, or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import timm
from torch import nn

from landmark_model.config import LandmarkError
from landmark_model.networks import read_weights


@dataclass(frozen=True)
class Start:
    """The source of the initial weights: names of the tensors that were loaded and left random.

    `base_model` is the hub repo they are from, "" where there is none or it is not known.
    """

    source: str
    filled: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
    base_model: str = ""

    def __str__(self) -> str:
        if not self.filled:
            return f"{self.source}: every layer starts from random weights"
        if not self.fresh:
            return f"every layer from {self.source}"
        filled, fresh = _layer_names(self.filled), _layer_names(self.fresh)
        return f"{self.source} fills {filled}; starting from random weights: {fresh}"


def _layer_names(tensors: tuple[str, ...]) -> str:
    return ", ".join(dict.fromkeys(name.split(".")[0] for name in tensors))


def start_from_file(network: nn.Module, path: Path) -> Start:
    """Fills `network` with the tensors in the safetensors file at `path`, and says which.

    Layers that it lacks keep their random start, as does a last layer made for other classes.
    Raises LandmarkError if the file holds anything else that does not fit, naming it.
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

    Raises LandmarkError if the hub cannot be reached and the weights are not cached.
    """
    try:
        source = timm.create_model(architecture, pretrained=True)
    except Exception as error:  # the hub client raises a dozen kinds; each means: no weights
        raise LandmarkError(
            f"timm's weights for {architecture} could not be fetched ({type(error).__name__}). "
            "Go online; or give --init FILE.safetensors, for resnet18 also the built-in "
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
