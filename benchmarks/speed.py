"""Times photos, processes and networks beside what a user would write without us -> speed.md.

python -m benchmarks.speed --data world100 --out benchmarks

Contestants take turns in every round, so that a busy machine is busy for all of them; what counts
is the ratio of medians. Needs the packages of training, for the other side of the comparison; what
int8 would change is only measured with --data. How accuracy grew with the minutes of training is
read from the metrics of the networks that ship, and from versus_original.json, where that is.
"""

from __future__ import annotations

import io
import json
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
from itertools import accumulate
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.pages import HERE, command_line, make_parser, run, table
from landmark_model import LandmarkClassifier, LandmarkError, load, read_metrics
from landmark_model.config import WEIGHTS_NAME, read_config
from landmark_model.cores import usable_cores
from landmark_model.files import staged
from landmark_model.hub.repo import SHIPPED, networks_in
from landmark_model.networks import NETWORKS
from landmark_model.photos import open_reduced
from landmark_model.preprocess import eval_transform

PHOTO = HERE.parent / "examples" / "colosseum.jpg"
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
    """`predict_batch` beside the lower of two ceilings, decoding alone in two processes and the
    forward passes alone; and beside what both take one after the other, each on all cores."""
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
    ceilings = {
        "the ceiling": max(found["decode"], found["forward"]),
        "decode, then forward": found["decode"] + found["forward"],
    }
    return [
        Row(f"{BATCH} photos of 3 megapixels, beside {name}", found["ours"], seconds)
        for name, seconds in ceilings.items()
    ]


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


@dataclass(frozen=True)
class Curve:
    """Validation top-1 (0..1) after so many seconds of a training, which began with `before`: of
    the probe that it went on from."""

    what: str
    seconds: list[float]
    top1: list[float]
    before: float
    hardware: str


def curves_of_ours() -> list[Curve]:
    """How the networks that ship learned."""
    curves = []
    for network in NETWORKS:
        facts = read_metrics(network=network)["training"]
        # A teacher's time is its own; a start's belongs to whoever goes on from it.
        has_teacher = "--teacher" in facts["commands"][-1]
        before = 0 if has_teacher else sum(facts["command_seconds"][:-1])
        seconds = [*accumulate((epoch["seconds"] for epoch in facts["epochs"]), initial=before)][1:]
        top1 = [epoch["validation_top1"] for epoch in facts["epochs"]]
        curves.append(Curve(network, seconds, top1, before, facts["hardware"]))
    return curves


def curves_of_original(path: Path) -> list[Curve]:
    """How the course recipe learned on world100, once from scratch and once by transfer."""
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    curves: dict[str, Curve] = {}
    for key, one in found.items():
        half, recipe, rest = key.split(", ", 2)
        if recipe == "original" and ": world100, " in rest:
            count = len(one["curve"])
            seconds = [one["seconds"] * (number + 1) / count for number in range(count)]
            what = {"scratch": "from scratch", "transfer": "by transfer"}[half]
            curve = Curve(f"course recipe {what}", seconds, one["curve"], 0, one["hardware"])
            curves.setdefault(half, curve)
    return [*curves.values()]


def curve_section(curves: list[Curve]) -> str:
    """The section about training."""
    heads = ("training", "epochs", "minutes", "of them its probe", "best validation top-1",
             "after minutes", "on")  # fmt: skip
    rows = []
    for curve in curves:
        best = max(curve.top1)
        rows.append((
            curve.what, len(curve.top1), f"{curve.seconds[-1] / 60:.0f}",
            f"{curve.before / 60:.0f}" if curve.before else "", f"{best:.1%}",
            f"{curve.seconds[curve.top1.index(best)] / 60:.0f}", curve.hardware,
        ))  # fmt: skip
    return f"""
## Training

Validation top-1 against minutes, on world100: the networks that ship, from their `metrics.json`,
and the original course recipe, from `versus_original.json` where it ran. Minutes are of the clock
on the wall, and other work ran beside the trainings: they say at most how long one takes. Those of
the network that a training learned from as its teacher are not counted; those of the probe that
it went on from are, but the probe kept no top-1 of its own.

{table(heads, rows)}
"""


def int8_section(data: Path, rounds: int) -> str:
    """The section about int8."""
    from benchmarks import int8

    rows = []
    for network in NETWORKS:
        outcome, *trunks = int8.compare(network, data)
        image = seen_by(load(network=network), 1)
        contest = {trunk: partial(trunk.features, image) for trunk in trunks}
        own, other = medians(contest, rounds).values()
        lost = 100 * (outcome.top1 - outcome.int8_top1)
        rows.append((
            network, f"{outcome.top1:.1%}", f"{outcome.int8_top1:.1%}", f"{lost:.1f}",
            f"{own * 1e3:.1f} ms", f"{other * 1e3:.1f} ms", f"**{own / other:.1f}**",
        ))  # fmt: skip
    heads = ("", "top-1", "of int8", "points lost", "forward pass", "of int8", "times as fast")
    return f"""
## In eight bits

Networks in int8 (static, per channel, calibrated on {int8.CALIBRATED_ON} training photos; the last
layer stays as it is) beside those that ship, on {outcome.photos} validation photos. They do not
ship: answers are to be the same to 0.001 on CPU and GPU, in torch and ONNX Runtime, and what is
called unknown is measured on the networks as they are.

{table(heads, rows)}
"""


def render(command: str, rows: list[Row], cold: dict[str, float], memory: dict[str, float]) -> str:
    """The document."""
    parts = [
        f"# Speed\n\nWritten by `{command}`: medians of interleaved rounds on "
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


def draw(rows: list[Row], curves: list[Curve], path: Path) -> None:
    """A bar for each comparison: how many times as fast ours is; and the curves of training."""
    from matplotlib.figure import Figure

    height, more = 0.4 * len(rows) + 1, 3.5
    figure = Figure((8, height + more), layout="constrained")
    axes, below = figure.subplots(2, 1, height_ratios=(height, more))
    for curve in curves:
        style = "--" if curve.what.startswith("course") else "-"
        minutes, points = ([scale * x for x in values] for scale, values in
                           ((1 / 60, curve.seconds), (100, curve.top1)))  # fmt: skip
        below.plot(minutes, points, style, label=curve.what)
    below.set(xlabel="minutes of training", ylabel="validation top-1 (%)")
    below.grid(alpha=0.3)
    below.legend(fontsize=8)
    bars = axes.barh([row.what for row in rows], [row.ratio for row in rows], color="#2f6f9f")
    axes.bar_label(bars, fmt="%.1f", padding=3)
    axes.axvline(1, color="grey", linewidth=1)
    axes.invert_yaxis()
    axes.margins(x=0.08)  # for the last label
    axes.set_xlabel("times as fast as PIL + timm (or of the ceiling)")
    figure.savefig(path, dpi=110)


def main(arguments: list[str] | None = None) -> None:
    """Measures and writes speed.md and speed.png."""
    parser = make_parser("speed", __doc__)
    parser.add_argument("--data", type=Path, metavar="FOLDER",
                        help="photos in train/ and validation/, for int8")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=11, metavar="N")
    options = parser.parse_args(arguments)
    data = options.data
    if data and not all((data / split).is_dir() for split in ("train", "validation")):
        raise LandmarkError(f"{data} has no train/ and validation/. Check --data.")
    rows = compare_photos(options.rounds) + compare_batch(options.rounds)
    command = command_line("speed", arguments)
    text = render(command, rows, cold_starts(max(3, options.rounds // 3)), peak_memory())
    curves = curves_of_ours() + curves_of_original(HERE / "versus_original.json")
    text += curve_section(curves) + (int8_section(data, 3 * options.rounds) if data else "")
    with staged(options.out) as folder:
        (folder / "speed.md").write_text(text, encoding="utf-8")
        draw(rows, curves, folder / "speed.png")
    print(text)


if __name__ == "__main__":
    run(main)
