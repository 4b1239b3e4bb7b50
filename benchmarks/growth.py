"""How the time of an answer grows with landmarks, pixels and photos at once -> growth.md, .png.

    taskset -c 1 python -m benchmarks.growth

Seconds are those of one core's CPU time, so that other programs do not count. Photos are an example
enlarged; landmarks are random last layers and random memories, which cost as much as trained ones.
"""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.pages import make_parser, run, table
from landmark_model import LandmarkClassifier, LandmarkError, list_networks, load, open_photo
from landmark_model.calibration import softmax
from landmark_model.cores import usable_cores
from landmark_model.files import staged
from landmark_model.memory import MOST_NUMBERS, Memory, unit_length
from landmark_model.photos import open_reduced
from landmark_model.preprocess import eval_transform

PHOTO = Path(__file__).parents[1] / "examples" / "colosseum.jpg"
LANDMARKS, EACH, WIDTH = (100, 300, 1_000, 2_000), 60, 1_280
MEGAPIXELS = (0.3, 1, 3, 12, 24, 48, 80)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
LINEAR = 1.1  # an exponent up to here: timings scatter
Series = dict[str, dict[float, float]]  # seconds of each step, by size
ABOUT = """# How the time of an answer grows

Written by `python -m benchmarks.growth` on one core: medians of its CPU time in milliseconds, of
{network} unless said otherwise. An exponent is a slope in log-log: 1 is linear, 0 is constant; the
last one is that between the two largest sizes. {verdict}

![Time by size](growth.png)

## Landmarks

{each} photos of each, {width:,} features of a photo. `load` refuses a memory of more than {room:,}
such photos; the largest here was made for this measurement. The search takes {shares} of the time
from a 12-megapixel JPEG to its answer.

{landmarks}

## Megapixels of a photo

"Network" is cutting what was opened, and the forward passes.

{pixels}

## Images in a forward pass

Milliseconds for each of them; the exponent is that of all together.

{batches}
"""


def main(arguments: list[str] | None = None) -> None:
    """Measures, and writes the page and its picture."""
    options = make_parser("growth", __doc__).parse_args(arguments)
    if usable_cores() > 1:
        raise LandmarkError("Run this on one core: taskset -c 1 python -m benchmarks.growth")
    parts = {
        "landmarks": by_landmarks(),
        "megapixels": by_pixels(load(device="cpu")),
        "images": by_batch(),
    }
    page = make_page(*parts.values())
    with staged(options.out) as folder:
        (folder / "growth.md").write_text(page, encoding="utf-8")
        draw(parts, folder / "growth.png")
    print(page)


def cpu_seconds(action: Callable[[], object]) -> float:
    """The median CPU seconds of a call, after one that does not count."""
    found: list[float] = []
    while len(found) < 6 and sum(found) < 2:
        began = time.process_time()
        action()
        found.append(time.process_time() - began)
    return statistics.median(found[1:] or found)


def by_landmarks() -> Series:
    """The last layer, ranking, and the memory's search, alone and in a batch of eight."""
    rng, found = np.random.default_rng(0), {}
    photos = rng.standard_normal((8, WIDTH), np.float32)
    for count in LANDMARKS:
        weight = rng.standard_normal((count, WIDTH), np.float32)
        features = unit_length(rng.standard_normal((count * EACH, WIDTH), np.float32))
        memory = Memory(features)
        steps = {
            "last layer and ranking": lambda w=weight: np.argsort(-softmax(photos[:1] @ w.T)),
            "search of the memory": partial(memory.distance, photos[:1]),
            "search, a photo of eight": partial(memory.distance, photos),
        }
        for name, step in steps.items():
            seconds = cpu_seconds(step) / (8 if "eight" in name else 1)
            found.setdefault(name, {})[count] = seconds
    return found


def by_pixels(tagger: LandmarkClassifier) -> Series:
    """Opening a photo, and cutting and the network after that."""
    found, example = {}, open_photo(PHOTO)
    for size in MEGAPIXELS:
        scale = (size * 1e6 / (example.width * example.height)) ** 0.5
        width, height = (int(scale * side) for side in example.size)
        large = example.resize((width, height), Image.Resampling.BICUBIC)
        for kind, settings in {"JPEG": {"quality": 90}, "PNG": {"compress_level": 1}}.items():
            buffer = io.BytesIO()
            large.save(buffer, kind, **settings)
            opened = partial(open_reduced, buffer.getvalue(), tagger.fewest_pixels)
            image = opened().image
            found.setdefault(f"{kind}: open", {})[size] = cpu_seconds(opened)
            network = cpu_seconds(partial(tagger._runtime.describe, [image]))
            found.setdefault(f"{kind}: network", {})[size] = network
    return found


def by_batch() -> Series:
    """The forward pass of each network."""
    found: Series = {}
    for name in list_networks():
        tagger = load(network=name, device="cpu")
        images = np.stack([eval_transform(tagger.config)(open_photo(PHOTO))] * BATCHES[-1])
        for count in BATCHES:
            forward = partial(tagger._runtime.trunk.features, images[:count])
            found.setdefault(name, {})[count] = cpu_seconds(forward)
    return found


def slope(times: dict[float, float], last: int = 0) -> float:
    """The exponent of growth, of all sizes or of the `last` ones."""
    sizes, seconds = (np.log([*values][-last:]) for values in (times, times.values()))
    return float(np.polyfit(sizes, seconds, 1)[0])


def make_page(landmarks: Series, pixels: Series, batches: Series) -> str:
    """The document."""
    slopes = {name: slope(times) for name, times in (landmarks | pixels | batches).items()}
    steep = [f"{name} ({power:.2f})" for name, power in slopes.items() if power > LINEAR]
    verdict = (
        f"Nothing grows faster than linear; the largest exponent is {max(slopes.values()):.2f}."
    )
    if steep:
        verdict = f"**Faster than linear: {', '.join(steep)}.**"
    rest = pixels["JPEG: open"][12] + pixels["JPEG: network"][12]
    search = landmarks["search of the memory"]
    shares = [f"{time / (time + rest):.0%} at {count:,}" for count, time in search.items()]
    return ABOUT.format(
        network=next(iter(list_networks())), verdict=verdict, each=EACH, width=WIDTH,
        room=MOST_NUMBERS // WIDTH, shares=", ".join(shares), landmarks=rows(landmarks),
        pixels=rows(pixels), batches=rows(batches, per_size=True))  # fmt: skip


def rows(series: Series, per_size: bool = False) -> str:
    """A table with a row for each step, in milliseconds, or in those divided by the size."""
    heads = ["", *(f"{size:,}" for size in next(iter(series.values()))), "exponent", "last one"]
    cells = []
    for name, times in series.items():
        shown = [f"{1e3 * t / (size if per_size else 1):,.1f}" for size, t in times.items()]
        cells.append([name, *shown, f"{slope(times):.2f}", f"{slope(times, 2):.2f}"])
    return table(heads, cells)


def draw(parts: dict[str, Series], path: Path) -> None:
    """A panel for each of `parts`, both axes logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure((12, 4), layout="constrained")
    for axes, (title, series) in zip(figure.subplots(1, len(parts)), parts.items(), strict=True):
        for name, times in series.items():
            axes.loglog([*times], [1e3 * seconds for seconds in times.values()], "o-", label=name)
        axes.set(xlabel=title, ylabel="milliseconds")
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    run(main)
