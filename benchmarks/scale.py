"""What the recipes cost for thousands of landmarks, from counted operations: scale.md.

    python -m benchmarks.scale

No photo is needed: operations are counted; one step of each network, varying a photo and the search
for near-copies are timed here, in CPU seconds of one core, so that other programs do not count.
"""

from __future__ import annotations

import random
import time

import torch
from PIL import Image
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from tqdm.auto import tqdm

from benchmarks.pages import make_parser, run, table
from landmark_model import networks
from landmark_model.config import ModelConfig
from landmark_model.files import write_text
from landmark_model.memory import Memory
from landmark_model.training.augment import train_transform
from landmark_model.training.data import near_pairs
from landmark_model.training.optimizer import make_optimizer
from landmark_model.training.recipes import PROBE, RECIPES

LANDMARKS, PHOTOS_EACH, SHARE = (1_000, 10_000), 60, 0.15
FEATURES = 1_280  # of a photo, by the first network
FIRST = "tf_efficientnet_lite2"  # it starts from a linear probe and teaches the others
LEARN = 3  # passes: backward is twice forward (the counter takes grouped convolutions for whole)
PEAK, GPU = 312e12, "A100 (312 TFLOP/s in bf16)"
# Depthwise convolutions, of which EfficientNet is made, wait for memory.
UTILISATION = {FIRST: 0.02, "resnet18": 0.15, "landmark_cnn": 0.15}
TIME_HEADS = ("landmarks", "network", "PFLOP", "hours on two cores", "one GPU", "eight GPUs",
              "photos a second for one GPU")  # fmt: skip
SIZE_HEADS = ("landmarks", "training photos", "weights, float16", "features, float16", "kNN memory",
              "fits `Memory.has_room`", "near-copy search, minutes")  # fmt: skip
ABOUT = """# What more landmarks cost

Written by `python -m benchmarks.scale`: {each} training photos for each landmark, and {share:.0%}
as many for validation and for test. Counted are the steps of every epoch, the validation after
each, the linear probe that EfficientNet-Lite2 starts from, and the teacher of the other two. Hours
on two cores are half of one timed step's on one. The GPU is **assumed, not measured**: {gpu},
used to {used}; eight as fast as eight.

{times}

Photos must be varied as fast as the last column says; a core here varies {varied:.0f} a second.

{sizes}

The search for near-copies compares every photo with every other.

**What breaks first**: the kNN memory, the features of all training photos. `Memory.has_room` ends
at {most:,} landmarks of {each} photos; beyond that, training says so before its first step.
"""


def has_room(landmarks: int) -> bool:
    """Whether the kNN memory of the first network may be loaded."""
    return Memory.has_room(landmarks * PHOTOS_EACH, FEATURES)


def main(arguments: list[str] | None = None) -> None:
    """Counts, times, and writes the page."""
    options = make_parser("scale", __doc__).parse_args(arguments)
    torch.set_num_threads(1)
    speeds = {name: operations_per_second(name) for name in tqdm(RECIPES, desc="Timing a step")}
    pair_seconds = time_near_copies()
    page = ABOUT.format(
        each=PHOTOS_EACH,
        share=SHARE,
        gpu=GPU,
        used=", ".join(f"{share:.0%} by {name}" for name, share in UTILISATION.items()),
        times=table(
            TIME_HEADS, [time_row(n, name, speeds[name]) for n in LANDMARKS for name in RECIPES]
        ),
        varied=varied_per_second(),
        sizes=table(SIZE_HEADS, [size_row(n, pair_seconds) for n in LANDMARKS]),
        most=max(filter(has_room, range(1, LANDMARKS[-1]))),
    )
    write_text(options.out / "scale.md", page)
    print(page)


def make_network(name: str, landmarks: int) -> nn.Module:
    """The network with random weights."""
    names = tuple(map(str, range(landmarks)))
    return networks.build(ModelConfig(name, names, names)).train()


def count(name: str, landmarks: int, side_px: int) -> int:
    """Floating-point operations of a forward pass for one image."""
    network = make_network(name, landmarks).to("meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.empty(1, 3, side_px, side_px, device="meta"))
    return counter.get_total_flops()


def operations(name: str, landmarks: int) -> float:
    """Floating-point operations of the whole recipe."""
    recipe, photos = RECIPES[name], landmarks * PHOTOS_EACH
    learned = recipe.epochs * photos * (1 + recipe.unknown_share)
    total = learned * LEARN * count(name, landmarks, recipe.train_size)
    # Validation after each epoch; at the end training, validation and test photos.
    seen = photos * (recipe.epochs * SHARE + 1 + 2 * SHARE)
    total += seen * count(name, landmarks, recipe.image_size)
    if name == FIRST:
        return total + PROBE.probe_copies * photos * count(name, landmarks, PROBE.train_size)
    return total + recipe.epochs * photos * count(FIRST, landmarks, recipe.train_size)


def operations_per_second(name: str) -> float:
    """The operations of a training step by the CPU seconds that it takes one core."""
    recipe, network = RECIPES[name], make_network(name, 100).to(memory_format=torch.channels_last)
    groups = [{"params": [*network.parameters()], "lr": recipe.lr, "weight_decay": 0.05}]
    optimizer, size = make_optimizer(groups, recipe.muon), recipe.train_size
    images = round(recipe.batch_size * (1 + recipe.unknown_share))
    for number in (2, images):  # the first step is slower
        began, batch = time.process_time(), torch.randn(number, 3, size, size)
        logits = network(batch.to(memory_format=torch.channels_last))
        nn.functional.cross_entropy(logits, torch.zeros(number).long()).backward()
        optimizer.step()
    seconds = time.process_time() - began
    return images * LEARN * count(name, 100, size) / seconds


def varied_per_second() -> float:
    """Photos of 512 x 384 px that one core varies in a second, as for EfficientNet-Lite2."""
    vary = train_transform(ModelConfig(FIRST, ("a",), ("a",)), RECIPES[FIRST])
    photo, began = Image.effect_noise((512, 384), 60).convert("RGB"), time.process_time()
    for _ in range(40):
        vary(photo)
    return 40 / (time.process_time() - began)


def time_near_copies() -> float:
    """Seconds to compare two photos, from a search among 4,000."""
    hashes, began = [random.randbytes(32) for _ in range(4_000)], time.process_time()
    near_pairs(hashes)
    return (time.process_time() - began) / (4_000 * 3_999 / 2)


def time_row(landmarks: int, name: str, speed: float) -> list[str]:
    """Operations and hours of one network's training."""
    total, gpu = operations(name, landmarks), PEAK * UTILISATION[name]
    hours = [total / (2 * speed) / 3600, total / gpu / 3600, total / gpu / 3600 / 8]
    wanted = gpu / LEARN / count(name, landmarks, RECIPES[name].train_size)
    times = [f"{value:,.2f}" for value in (total / 1e15, *hours)]
    return [f"{landmarks:,}", name, *times, f"{wanted:,.0f}"]


def size_row(landmarks: int, pair_seconds: float) -> list[str]:
    """Files and memory of the first network, and the time of the search."""
    photos = landmarks * PHOTOS_EACH
    weights = sum(tensor.numel() for tensor in make_network(FIRST, landmarks).parameters())
    files = (2 * weights, 2 * photos * FEATURES, 4 * photos * FEATURES)
    sizes = [f"{size / 1e6:,.0f} MB" for size in files]
    fits = "yes" if has_room(landmarks) else "**no**"
    minutes = pair_seconds * (photos * (1 + 2 * SHARE)) ** 2 / 2 / 60
    return [f"{landmarks:,}", f"{photos:,}", *sizes, fits, f"{minutes:,.1f}"]


if __name__ == "__main__":
    run(main)
