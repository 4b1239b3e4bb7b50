"""The optimizers: layer-wise learning rates, AdamW and Muon."""

from __future__ import annotations

from functools import partial

import torch
from timm.models._manipulate import group_parameters
from timm.optim import muon as timm_muon
from torch import nn

from landmark_model.training.precision import has_bf16_units
from landmark_model.training.start import Start

# Layers that would learn at a smaller share of the peak rate stay as they are: they are next to the
# photo, where maps are largest and a step takes longest.
FROZEN_BELOW = 0.05


def parameter_groups(
    network: nn.Module, start: Start, lr: float, layer_decay: float, weight_decay: float
) -> list[dict]:
    """Optimizer groups in which pretrained layers learn slower, the deeper the slower.

    A pretrained layer k layers below the first fresh one gets `lr * layer_decay**k`; fresh layers
    get `lr`. Layers below 5 % of `lr` are frozen. Vectors (biases, norms) are not decayed.
    """
    layer_of: dict[str, int] = group_parameters(network, network.group_matcher(True), reverse=True)
    fresh = [layer_of[name] for name in layer_of if name not in start.filled]
    first_fresh = min(fresh, default=max(layer_of.values()))
    groups: dict[tuple[float, float], dict] = {}
    for name, parameter in network.named_parameters():
        scale = layer_decay ** max(0, first_fresh - layer_of[name])
        if scale < FROZEN_BELOW:
            parameter.requires_grad_(False)
            continue
        decay = weight_decay if parameter.ndim > 1 else 0.0
        empty = {"params": [], "lr": lr * scale, "weight_decay": decay}
        groups.setdefault((scale, decay), empty)["params"].append(parameter)
    return list(groups.values())


def make_optimizer(groups: list[dict], muon: float = 0.0) -> torch.optim.Optimizer:
    """AdamW for `groups`; with `muon` above 0, Muon for convolution kernels, NAdamW for the rest.

    Muon moves a kernel along all directions of its (out, in * h * w) matrix alike, so that rare
    features are learned as fast as frequent ones (Jordan et al. 2024), at `muon` times the rate of
    its group. Three rounds of Polar Express (Amsel et al. 2025) taught as much as the usual five.
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
    make = timm_muon.Muon if has_bf16_units() else Float32Muon
    return make(
        split, nesterov=True, betas=(0.9, 0.999), ns_steps=3, ns_coefficients="polar_express"
    )


class Float32Muon(timm_muon.Muon):
    """timm's Muon, which only multiplies in bfloat16, in float32.

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
