"""Loads broken and hostile model folders, and counts what became of each.

    python -m benchmarks.reliability_models   # writes reliability/models.json

Each folder is a small network with one thing wrong. It should be refused with a LandmarkError, a
sentence for people; where what is wrong does no harm, it should answer with probabilities. Peaks
are of memory beyond what the program had when it began to load the folder.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import shutil
import tempfile
import tracemalloc
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from landmark_model import LandmarkError, load
from landmark_model.config import CONFIG_NAME, WEIGHTS_NAME, ModelConfig
from landmark_model.files import write_text
from landmark_model.hub.repo import FEATURES_NAME, METRICS_NAME, save, to_json, write_checksums
from landmark_model.memory import Memory
from landmark_model.networks import build
from landmark_model.training.smoke import make_photo

OUT = Path(__file__).with_name("reliability") / "models.json"
CLASSES = ("Eiffel_Tower", "Petra", "Stonehenge")
CONFIG = ModelConfig(
    "landmark_cnn",
    CLASSES,
    CLASSES,
    64,
    model_args={"widths": [8, 16, 24], "depths": [1, 1, 1]},
    neighbour_weight=5.0,
    known_method="knn",
    known_threshold=-1.0,
)
Spoil = Callable[[Path], None]


@dataclass(frozen=True)
class Case:
    """A folder with one thing wrong: what, and how it is done."""

    name: str
    spoil: Spoil
    harmless: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of a case: "refused", "answered" or "crashed", in what words, at what cost."""

    name: str
    outcome: str
    expected: str
    said: str
    python_mb: float
    process_mb: float


# --- what may be wrong ---


def config(**values: object) -> Spoil:
    """Replaces values in config.json, wherever they are in it."""

    def spoil(folder: Path) -> None:
        raw = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
        for key, value in values.items():
            parts = (raw["pretrained_cfg"], raw["landmark_model"], raw)
            next((part for part in parts if key in part), raw)[key] = value
        (folder / CONFIG_NAME).write_text(json.dumps(raw), encoding="utf-8")

    return spoil


def text(name: str, content: str | bytes) -> Spoil:
    """Writes `content` to a file of the folder."""
    raw = content if isinstance(content, bytes) else content.encode()
    return lambda folder: [
        (folder / name).unlink(missing_ok=True),
        (folder / name).write_bytes(raw),
    ]


def in_text(old: str, new: str) -> Spoil:
    """Replaces a piece of config.json."""

    def spoil(folder: Path) -> None:
        found = (folder / CONFIG_NAME).read_text(encoding="utf-8")
        if old not in found:
            raise AssertionError(f"{CONFIG_NAME} has no {old}")
        (folder / CONFIG_NAME).write_text(found.replace(old, new), encoding="utf-8")

    return spoil


def tensors(change: Callable[[dict[str, Tensor]], object], name: str = WEIGHTS_NAME) -> Spoil:
    """Changes the tensors of a file."""

    def spoil(folder: Path) -> None:
        found = load_file(folder / name)
        change(found)
        save_file(found, folder / name)

    return spoil


def number(name: str, value: float, kind: torch.dtype | None = None) -> Spoil:
    """Puts one number into a tensor of the weights, stored as `kind`."""

    def change(found: dict[str, Tensor]) -> None:
        tensor = found[name].to(kind or found[name].dtype)
        tensor.view(-1)[0] = value
        found[name] = tensor

    return tensors(change)


def fill(found: dict[str, Tensor]) -> None:
    """Sets all weights to a number that is fine by itself."""
    for name, tensor in found.items():
        if "running" not in name and tensor.is_floating_point():
            found[name] = torch.full(tensor.shape, 1e9)


def claim(name: str, shape: list[int], key: str = "fc.weight") -> Spoil:
    """A sparse file that says it holds one tensor of that shape, in float16."""

    def spoil(folder: Path) -> None:
        size = 2 * math.prod(shape)
        head = json.dumps({key: {"dtype": "F16", "shape": shape, "data_offsets": [0, size]}})
        with (folder / name).open("wb") as file:
            file.write(len(head).to_bytes(8, "little") + head.encode())
            file.truncate(8 + len(head) + size)

    return spoil


def sparse(name: str, size: int) -> Spoil:
    """A file of zeros that takes no room on the disk."""

    def spoil(folder: Path) -> None:
        with (folder / name).open("wb") as file:
            file.truncate(size)

    return spoil


def special(name: str, make: Callable[[Path], object]) -> Spoil:
    """Puts something that is no file in the place of one."""
    return lambda folder: [(folder / name).unlink(), make(folder / name)]


def cases() -> list[Case]:
    """All that is tried."""
    return [
        Case("nothing wrong", lambda folder: None, harmless=True),
        *weight_cases(),
        *setting_cases(),
        *json_cases(),
        *name_cases(),
        *feature_cases(),
        *other_cases(),
    ]


def weight_cases() -> list[Case]:
    """Weights that are not finite, not whole or of another network."""
    kinds = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    return [
        *(
            Case(f"{value} in weights, {str(kind)[6:]}", number("fc.weight", value, kind))
            for value in (math.nan, math.inf)
            for kind in kinds
        ),
        Case("1e300 in weights, float64", number("fc.weight", 1e300, torch.float64)),
        Case("3e38 in weights, float32", number("fc.weight", 3e38, torch.float32)),
        Case("a billion in all weights, which overflows", tensors(fill)),
        Case("NaN in a bias", number("fc.bias", math.nan)),
        Case("NaN in batch norm", number("stem.1.running_mean", math.nan)),
        Case("variance below 0", number("stem.1.running_var", -1)),
        Case("tensor missing", tensors(lambda found: found.pop("fc.bias"))),
        Case("tensor too many", tensors(lambda found: found.update(x=torch.zeros(1)))),
        Case(
            "int8 weights", tensors(lambda found: found.update({"fc.bias": torch.ones(3).char()}))
        ),
        Case("weights cut off", sparse(WEIGHTS_NAME, 999)),
        Case("weights empty", text(WEIGHTS_NAME, "")),
        Case(
            "weights a pickle", text(WEIGHTS_NAME, b"\x80\x04\x95\x15\0\0\0\0\0\0\0\x8c\x05posix")
        ),
        Case("weights a folder", special(WEIGHTS_NAME, Path.mkdir)),
        Case("weights a pipe", special(WEIGHTS_NAME, os.mkfifo)),
        Case("head of a terabyte", text(WEIGHTS_NAME, (2**40).to_bytes(8, "little") + b"{")),
        Case("file of 20 GB", claim(WEIGHTS_NAME, [100_000, 100_000])),
        Case("file of 300 MB for 72 weights", claim(WEIGHTS_NAME, [3, 50_000_000])),
    ]


def setting_cases() -> list[Case]:
    """Settings out of range, networks too large or of unknown kind."""
    wide, deep = {"widths": [4096] * 8, "depths": [64] * 8}, {"depths": [10_000]}
    changes: list[dict[str, object]] = [
        {"input_size": [3, 100_000, 100_000]}, {"input_size": [3, 4, 4]},
        {"input_size": [3, True, True]}, {"input_size": [3, 64, 65]}, {"crop_pct": 0.0001},
        {"crop_pct": True}, {"mean": [1e30, 0, 0]}, {"std": [1e-30, 1, 1]}, {"std": ["1", 1, 1]},
        {"temperature": 1e-12}, {"temperature": 1e12}, {"neighbour_weight": 1e12},
        {"neighbour_temperature": 0}, {"known_threshold": 1e300}, {"known_method": "magic"},
        {"view": "inside"}, {"flip": 1}, {"model_args": wide}, {"model_args": deep},
        {"model_args": {"widths": [0, 0], "depths": [1, 1]}},
        {"model_args": []}, {"architecture": "hf-hub:timm/resnet18.a1_in1k"},
        {"architecture": "local-dir:."}, {"architecture": "../landmark_cnn"},
        {"architecture": "no_such_network"}, {"architecture": "resnet18"},
        {"architecture": "vit_giant_patch14_224", "model_args": {}},
        {"architecture": None},
    ]  # fmt: skip
    return [
        *(Case(f"{json.dumps(change)[:60]}", config(**change)) for change in changes),
        Case("maps of a gigabyte", config(
            input_size=[3, 1024, 1024],
            model_args={"widths": [1024, 8], "depths": [1, 1], "kernel": 1})),
    ]  # fmt: skip


def json_cases() -> list[Case]:
    """What JSON lets through, and what is no JSON or no file."""
    crop = '"crop_pct": 1.0'
    return [
        *(Case(f"crop_pct {value[:9]}", in_text(crop, f'"crop_pct": {value}'))
          for value in ("NaN", "-Infinity", "1e999", "9" * 5000, "9" * 400)),
        Case("key twice", in_text(crop, f"{crop}, {crop}")),
        Case("nested 10,000 deep", in_text(crop, f'{crop}, "x": {"[" * 10_000}{"]" * 10_000}')),
        Case("million empty lists", in_text(crop, f'{crop}, "x": [{"[]," * 2_000_000}0]')),
        Case("config of 500 MB", sparse(CONFIG_NAME, 500_000_000)),
        Case("config empty", text(CONFIG_NAME, "")),
        Case("config not UTF-8", text(CONFIG_NAME, b'{"a": "\xff"}')),
        Case("config a list", text(CONFIG_NAME, "[]")),
        Case("config a folder", special(CONFIG_NAME, Path.mkdir)),
        Case("config a pipe", special(CONFIG_NAME, os.mkfifo)),
        Case("config endless", special(CONFIG_NAME, lambda path: path.symlink_to("/dev/zero"))),
        Case("byte-order mark", in_text('{\n  "arch', '\ufeff{\n  "arch'), harmless=True),
        Case("link to itself", special(CONFIG_NAME, lambda path: path.symlink_to(path))),
    ]  # fmt: skip


def name_cases() -> list[Case]:
    """Names of classes that cannot be shown, and some that only look so."""
    hostile = ("a\udc80", "a\nb", "a\x1b[2J", "a\u202eb", "a\u2066b", "\u200b", "\u3164", "", " ",
               "x" * 201, 5, None, ["a"])  # fmt: skip
    return [
        *(Case(f"label {ascii(name)[:20]}", config(label_names=[*CLASSES[:2], name]))
          for name in hostile),
        Case("class name turned around", config(class_names=[*CLASSES[:2], "a\u202eb"])),
        Case("label twice", config(label_names=[*CLASSES[:2], CLASSES[0]])),
        Case("label too few", config(label_names=CLASSES[:2])),
        Case("200,000 classes", config(label_names=list(map(str, range(200_000))),
                                       class_names=list(map(str, range(200_000))))),
        Case("label <script>", config(label_names=[*CLASSES[:2], "<script>"]), harmless=True),
        Case("label in Persian", config(label_names=[*CLASSES[:2], "نقش\u200cرستم"]), True),
    ]  # fmt: skip


def feature_cases() -> list[Case]:
    """Features of training photos that are not what answers can be compared with."""

    def change(name: str, **values: Tensor) -> Case:
        return Case(f"features: {name}", tensors(lambda found: found.update(values), FEATURES_NAME))

    return [
        change("NaN", features=torch.full((9, 24), math.nan)),
        change("infinite, float16", features=torch.full((9, 24), math.inf).half()),
        change("a thousand long", features=torch.full((9, 24), 1000.0)),
        change("whole numbers", features=torch.ones(9, 24).long()),
        change("of another network", features=torch.zeros(9, 25)),
        change("labels fractions", labels=torch.zeros(9)),
        change("labels out of range", labels=torch.full((9,), 3)),
        change("labels below 0", labels=torch.full((9,), -1)),
        change("labels too few", labels=torch.zeros(8).int()),
        change("more besides", more=torch.zeros(1)),
        Case("features: 20 GB", claim(FEATURES_NAME, [400_000_000, 24], "features")),
        Case("features: missing", lambda folder: (folder / FEATURES_NAME).unlink()),
    ]  # fmt: skip


def other_cases() -> list[Case]:
    """Measurements."""
    return [
        *(Case(f"metrics.json {content[:9]}", text(METRICS_NAME, content), harmless=True)
          for content in ("{", "[]", '{"validation": {"top1": NaN}}', "[" * 100_000)),
        Case("metrics.json of 5 GB", sparse(METRICS_NAME, 5_000_000_000), harmless=True),
    ]  # fmt: skip


# --- what becomes of it ---


def make_folder(folder: Path) -> None:
    """A small network with all that may belong to one, untrained but whole."""
    torch.manual_seed(0)
    network = build(CONFIG).eval()
    memory = Memory.remember(torch.randn(9, 24), torch.arange(9) % 3, 3)
    memory.weight = CONFIG.neighbour_weight
    save(network, CONFIG, folder, neighbours=memory)
    (folder / METRICS_NAME).write_text('{"validation": {"top1": 0.5}}')
    write_checksums(folder)


def peak_process_mb() -> float:
    """The most memory that this process ever had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def try_case(case: Case, folder: Path) -> Outcome:
    """Loads the folder, asks it about a photo, and tells what became of it."""
    case.spoil(folder)
    before, said, outcome = peak_process_mb(), "", "crashed"
    tracemalloc.start()
    try:
        guesses = load(folder, device="cpu").predict(make_photo(0, 1))
        total = sum(guess.probability for guess in guesses)
        if math.isclose(total, 1, abs_tol=1e-3):
            outcome = "answered"
    except LandmarkError as error:
        outcome, said = "refused", str(error).replace(str(folder), "FOLDER")
    except Exception as error:  # a row of the table, not the end of it
        said = ascii(error)[:300]
    python_mb = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    expected = "answered" if case.harmless else "refused"
    grown = peak_process_mb() - before
    return Outcome(case.name, outcome, expected, said, round(python_mb, 1), round(grown, 1))


def run() -> list[Outcome]:
    """What becomes of every case, in a process that has loaded and asked a network before."""
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / "whole"
        whole.mkdir()
        make_folder(whole)
        load(whole, device="cpu").predict(make_photo(0, 1))  # so that no case pays for imports
        outcomes = []
        for index, case in enumerate(cases()):
            folder = Path(shutil.copytree(whole, Path(scratch) / f"run{index}"))
            outcomes.append(try_case(case, folder))
            shutil.rmtree(folder)
    return outcomes


def summary(outcomes: list[Outcome]) -> dict[str, object]:
    """The counts, the peaks, and every case."""
    kinds = [found.outcome for found in outcomes]
    return {
        "folders": len(outcomes),
        "refused": kinds.count("refused"),
        "answered": kinds.count("answered"),
        "crashed": kinds.count("crashed"),
        "not_as_expected": [f.name for f in outcomes if f.outcome != f.expected],
        "longest_message": max(len(found.said) for found in outcomes),
        "peak_python_mb": max(found.python_mb for found in outcomes),
        "peak_process_mb": max(found.process_mb for found in outcomes),
        "cases": [asdict(found) for found in outcomes],
    }


def main(arguments: list[str] | None = None) -> None:
    """Tries every folder and writes what became of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(arguments)
    found = summary(run())
    write_text(options.out, to_json(found))
    print({key: value for key, value in found.items() if key != "cases"})


if __name__ == "__main__":
    main()
