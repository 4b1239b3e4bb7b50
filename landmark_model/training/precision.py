"""In which numbers a network trains: float32, or bfloat16 where that is faster."""

from __future__ import annotations

import time
from functools import cache

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from landmark_model import networks
from landmark_model.config import ModelConfig

PHOTOS, STEPS = 16, 3  # in a trial
WORTH = 0.9  # bfloat16 takes less than this share of float32's time, or it is not worth rounding


def has_bf16_units() -> bool:
    """Whether this machine multiplies matrices of bfloat16 itself: a GPU, AMX or AVX-512-BF16."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


@cache
def choose_precision(network: str, side_px: int) -> str:
    """ "bf16" or "no", whichever trains `network` faster on this machine at `side_px`.

    On a CPU that is tried, as it depends on the processor and on the layers: ResNet18 gains by
    it, and depthwise convolutions lose. The first process decides for all.
    """
    has_units = has_bf16_units()
    if torch.cuda.is_available() or not has_units:
        return "bf16" if has_units else "no"
    PartialState()  # which broadcasting needs
    seconds = {name: time_step(network, side_px, name == "bf16") for name in ("no", "bf16")}
    chosen = ["bf16" if seconds["bf16"] < WORTH * seconds["no"] else "no"]
    broadcast_object_list(chosen)
    print(
        f"{'bfloat16' if chosen == ['bf16'] else 'float32'}: {PHOTOS} photos take "
        f"{seconds['no']:.2f} s in float32 and {seconds['bf16']:.2f} s in bfloat16",
        flush=True,
    )
    return chosen[0]


def time_step(network: str, side_px: int, in_bf16: bool) -> float:
    """Seconds of the fastest of a few passes of `network`, forward and backward, on a CPU."""
    config = ModelConfig(network, ("a", "b"), ("a", "b"), side_px)
    trained = networks.build(config).train().to(memory_format=torch.channels_last)
    images = torch.rand(PHOTOS, 3, side_px, side_px).to(memory_format=torch.channels_last)
    fastest = float("inf")
    for _ in range(1 + STEPS):
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=in_bf16):
            logits = trained(images)
        logits.float().sum().backward()
        fastest = min(fastest, time.perf_counter() - began)
    return fastest
