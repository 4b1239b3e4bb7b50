"""Times photos, processes and networks beside what a user would write without us -> speed.md.

python -m benchmarks.speed --out benchmarks

Contestants take turns in every round, so that a busy machine is busy for all of them; what counts
is the ratio of medians. Needs the packages of training, for the other side of the comparison.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from landmark_model import LandmarkClassifier, load
from landmark_model.config import WEIGHTS_NAME, read_config
from landmark_model.cores import usable_cores
from landmark_model.files import staged
from landmark_model.hub.repo import SHIPPED, networks_in
from landmark_model.networks import NETWORKS
from landmark_model.photos import open_reduced
from landmark_model.preprocess import eval_transform

PHOTO = Path(__file__).parents[1] / "examples" / "colosseum.jpg"
BATCH = 64  # photos in a batch
COLD = {  # programs of their own, by what they do
    "python alone": "pass",
    "import landmark_model": "import landmark_model",
    "import numpy, PIL, onnxruntime": "import numpy, PIL.Image, onnxruntime",
    "first answer": "from landmark_model import load; load().predict({photo!r})",
    "first answer by torch": (
        "from landmark_model import load; load(backend='torch', device='cpu').predict({photo!r})"
    ),
    "import gradio": "import gradio",
    "the app's modules and networks": (
        "import landmark_model.web.server as s; from landmark_model.web.models import open_models;"
        " s.warm_up(open_models())"
    ),
}
Contest = dict[str, Callable[[], object]]


@dataclass(frozen=True)
class Row:
    """One comparison: the seconds of ours and of the other, medians of the same rounds."""

    what: str
    ours: float
    theirs: float

    @property
    def ratio(self) -> float:
        """How many times as fast ours is."""
        return self.theirs / self.ours


def medians(contest: Contest, rounds: int) -> dict[str, float]:
    """The median seconds of each contestant, which take turns after a round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in contest}
    for turn in range(rounds + 1):
        order = [*contest] if turn % 2 else [*reversed(contest)]
        for name in order:
            began = time.perf_counter()
            contest[name]()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(found) for name, found in seconds.items()}


def jpeg_of(width: int, height: int) -> bytes:
    """A photo of that size, as a phone writes it."""
    buffer = io.BytesIO()
    photo = Image.open(PHOTO).convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    photo.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def three_lines(network: str) -> tuple[Callable[[bytes], object], Callable[[], object]]:
    """What a user would write with PIL and timm: bytes of a photo -> top 5; and the bare forward
    pass of it."""
    import timm
    import torch
    from safetensors.torch import load_file

    folder = networks_in(SHIPPED)[network]
    config = read_config(folder)
    model = timm.create_model(network, num_classes=len(config.class_names)).eval()
    model.load_state_dict(load_file(folder / WEIGHTS_NAME))
    side = config.image_size
    look = timm.data.create_transform(
        (3, side, side), interpolation="bicubic", mean=config.mean, std=config.std, crop_pct=1.0
    )
    image = torch.rand(1, 3, side, side)

    @torch.inference_mode()
    def answer(photo: bytes) -> object:
        opened = Image.open(io.BytesIO(photo)).convert("RGB")
        return model(look(opened)[None]).softmax(1).topk(5)

    @torch.inference_mode()
    def forward() -> object:
        return model(image)

    return answer, forward


def compare_photos(rounds: int) -> list[Row]:
    """One photo at a time, and the forward pass alone, for each network."""
    photos = {"12 megapixels": jpeg_of(4000, 3000), "1 megapixel": jpeg_of(1154, 866)}
    rows = []
    for network in NETWORKS:
        tagger, (theirs, their_forward) = load(network=network), three_lines(network)
        contests = {
            f"JPEG of {size} -> top 5": (partial(tagger.predict, photo), partial(theirs, photo))
            for size, photo in photos.items()
        }
        ours = partial(tagger._runtime.trunk.features, seen_by(tagger, 1))
        contests["forward pass, one image"] = (ours, their_forward)
        for what, pair in contests.items():
            found = medians(dict(zip(("ours", "theirs"), pair, strict=True)), rounds)
            rows.append(Row(f"{network}: {what}", **found))
    return rows


def seen_by(tagger: LandmarkClassifier, count: int) -> np.ndarray:
    """A photo as a network sees it, `count` times: (N, 3, H, W)."""
    return np.stack([eval_transform(tagger.config)(open_reduced(PHOTO).image)] * count)


def compare_batch(rounds: int) -> list[Row]:
    """`predict_batch` beside the lower of two ceilings: decoding alone in two processes, and the
    forward passes alone."""
    photos, tagger = [jpeg_of(2000, 1500)] * BATCH, load()
    images = seen_by(tagger, tagger._runtime.batch_size)
    passes = range(BATCH // len(images))
    decode = partial(open_reduced, fewest_pixels=tagger.fewest_pixels)
    with ProcessPoolExecutor(2) as pool:
        contest = {
            "ours": lambda: tagger.predict_batch(photos),
            "decode": lambda: list(pool.map(decode, photos, chunksize=8)),
            "forward": lambda: [tagger._runtime.trunk.features(images) for _ in passes],
        }
        found = medians(contest, max(3, rounds // 3))
    ceiling = max(found["decode"], found["forward"])
    return [Row(f"{BATCH} photos of 3 megapixels, beside the ceiling", found["ours"], ceiling)]


def cold_starts(rounds: int) -> dict[str, float]:
    """The seconds of whole processes."""

    def run(code: str) -> None:
        environment = os.environ | {"GRADIO_ANALYTICS_ENABLED": "False"}
        subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=300)

    return medians(
        {name: partial(run, code.format(photo=str(PHOTO))) for name, code in COLD.items()}, rounds
    )


def peak_memory() -> dict[str, float]:
    """Peak megabytes of a process that answers one photo, by backend."""
    ends = "print(next(line.split()[1] for line in open('/proc/self/status') if 'VmHWM' in line))"
    found = {}
    for name in ("first answer", "first answer by torch"):
        code = f"{COLD[name].format(photo=str(PHOTO))}; {ends}"
        ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        found[name] = int(ran.stdout) / 1024
    return found


def render(rows: list[Row], cold: dict[str, float], memory: dict[str, float]) -> str:
    """The document."""
    parts = [
        "# Speed\n\nWritten by `python -m benchmarks.speed`: medians of interleaved rounds on "
        f"{usable_cores()} cores ({platform.machine()}), ratios within one run. The other side is "
        "PIL and timm's own transform and network in eager torch, as one would write it in three "
        "lines.\n\n![How many times as fast](speed.png)\n",
        "| | ours | other side | times as fast |\n|---|---|---|---|",
        *(f"| {row.what} | {row.ours * 1e3:,.0f} ms | {row.theirs * 1e3:,.0f} ms "
          f"| **{row.ratio:.1f}** |" for row in rows),
        "\nA new process, from its start to its end:\n\n| | seconds |\n|---|---|",
        *(f"| {name} | {seconds:.2f} |" for name, seconds in cold.items()),
        "\nPeak memory of a process that loads the network and answers one photo:\n\n"
        "| | MB |\n|---|---|",
        *(f"| {name} | {megabytes:,.0f} |" for name, megabytes in memory.items()),
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def draw(rows: list[Row], path: Path) -> None:
    """A bar for each comparison: how many times as fast ours is."""
    from matplotlib.figure import Figure

    figure = Figure((8, 0.4 * len(rows) + 1), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh([row.what for row in rows], [row.ratio for row in rows], color="#2f6f9f")
    axes.bar_label(bars, fmt="%.1f", padding=3)
    axes.axvline(1, color="grey", linewidth=1)
    axes.invert_yaxis()
    axes.set_xlabel("times as fast as PIL + timm (or of the ceiling)")
    figure.savefig(path, dpi=110)


def main(arguments: list[str] | None = None) -> None:
    """Measures and writes speed.md and speed.png."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks"), metavar="FOLDER")
    parser.add_argument("--rounds", type=int, default=11, metavar="N")
    options = parser.parse_args(arguments)
    rows = compare_photos(options.rounds) + compare_batch(options.rounds)
    text = render(rows, cold_starts(max(3, options.rounds // 3)), peak_memory())
    with staged(options.out) as folder:
        (folder / "speed.md").write_text(text, encoding="utf-8")
        draw(rows, folder / "speed.png")
    print(text)


if __name__ == "__main__":
    main()
