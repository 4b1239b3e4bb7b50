"""Measures `landmark tag` on many photos: memory, rate, what a library costs -> library.md.

python -m benchmarks.library --photos photos/world100/validation

Memory is that of 100,000 tiny files, all different, from the search for them to the exports; their
decoder and network are stubs that answer at once. The rate is that of real photos and the network
that ships, beside each half alone: photos decoded by as many processes as there are cores, and the
network on photos that are decoded already; for photos as they are, and for some of them enlarged to
12 megapixels, which cameras take.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event, Thread
from unittest import mock

from PIL import Image

from benchmarks.pages import command_line, make_parser, run, table
from benchmarks.speed import medians
from landmark_model import Answer, LandmarkError, OpenedPhoto, Prediction, find_place, load
from landmark_model.cores import usable_cores
from landmark_model.decoding import open_safely
from landmark_model.files import write_text
from landmark_model.folders import find_named, find_photos
from landmark_model.library import tagging
from landmark_model.library.exports import REPORT_NAME, TABLES, write_table, written
from landmark_model.library.html_report import write_report
from landmark_model.library.index import View, open_index
from landmark_model.library.run import GUESS_COUNT, LibraryRun, make_plan
from landmark_model.library.sidecar_files import SidecarFiles
from landmark_model.photos import CameraFacts

FILES_IN_FOLDER = 1000
FEW = 16  # files of the round that loads what is loaded once
LARGE_PIXELS = 12e6
LIBRARIES = (10**6, 10**8, 10**10)
LANDMARKS = ("Eiffel_Tower", "Taj_Mahal", "Petra", "Colosseum", "Big_Ben")
ABOUT = """# A library of many photos

Written by `{command}` on {cores} cores.

## Memory

{count:,} tiny files, all different, from the search for them to every export. **Decoder and network
are stubs here**, which answer at once. "Peak" is the most memory of a step (RssAnon, looked at 20
times a second) above what the process had before the first, when it had done all of that with {few}
files.

{memory}

## Rate

Photos a second, by the network that ships; medians of {rounds} rounds in which the three take
turns. "Both" is the most that these cores can do if they are never idle: every photo is decoded and
looked at, and either takes all cores where it is alone. `landmark tag` also makes a small copy of
each photo and its hash, and keeps both in the index with the answer.

{rates}

## What a library costs

At the measured {per_core:.2f} photos of 12 megapixels a second for each core. The photos are split
among machines, each with an index of its own. A core-hour is **assumed** to cost ${price:g}.

{costs}
"""


@dataclass(frozen=True)
class Rates:
    """Photos a second, of `count` photos with so many megapixels on average."""

    count: int
    megapixels: float
    tag: float
    network: float
    decoding: float

    @property
    def both(self) -> float:
        """The rate of cores that are never idle."""
        return 1 / (1 / self.network + 1 / self.decoding)


class Stub:
    """Answers for a network, at once, with five landmarks in turn."""

    fewest_pixels, batch_size = 1_000_000, 4

    def __init__(self) -> None:
        self._places = {name: find_place(name) for name in LANDMARKS}

    def predict_batch(self, photos: Sequence[Image.Image], top_k: int, batch_size: int) -> list:
        """An answer for each photo, with `top_k` guesses."""
        guesses = [
            Prediction(place.name, name, 0.9 / 2**number, place)
            for number, (name, place) in enumerate(self._places.items())
        ]
        return [Answer(guesses[:top_k], 1.0, True) for _ in photos]


def main(arguments: list[str] | None = None) -> None:
    """Measures, and writes the page."""
    parser = make_parser("library", __doc__)
    parser.add_argument("--photos", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--limit", type=int, default=300, metavar="N", help="real photos (300)")
    parser.add_argument("--large", type=int, default=64, metavar="N", help="enlarged photos (64)")
    parser.add_argument(
        "--files", type=int, default=100_000, metavar="N", help="tiny files (100000)"
    )
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="of the rates (3)")
    parser.add_argument("--price", type=float, default=0.04, metavar="X",
                        help="dollars for a core-hour (0.04)")  # fmt: skip
    options = parser.parse_args(arguments)
    photos = find_photos(options.photos).paths
    if not photos or min(options.limit, options.large, options.files, options.rounds) < 1:
        raise LandmarkError(f"No photos in {options.photos}, or a number is below 1.")
    memory = measure_memory(options.files)
    rates = [measure_rates(some_of(photos, options.limit), options.rounds)]
    with tempfile.TemporaryDirectory(prefix="library-") as folder:
        large = enlarge(some_of(photos, options.large), Path(folder))
        rates.append(measure_rates(large, options.rounds))
    per_core = rates[-1].tag / usable_cores()
    page = ABOUT.format(
        command=command_line("library", arguments), cores=usable_cores(), count=options.files,
        few=FEW, memory=table(("step", "seconds", "peak, MB"), memory), rounds=options.rounds,
        rates=rate_table(rates), per_core=per_core, price=options.price,
        costs=cost_table(per_core, options.price),
    )  # fmt: skip
    write_text(options.out / "library.md", page)
    print(page)


# --- memory ---


def measure_memory(count: int) -> list[list[str]]:
    """What each step takes for `count` tiny files: its name, seconds, and peak MB above before."""
    shown = Image.new("RGB", (32, 24), "teal")
    opened = OpenedPhoto(shown, CameraFacts(), shown.size)
    with ExitStack() as stack:
        scratch = Path(tempfile.mkdtemp(prefix="library-"))
        stack.callback(shutil.rmtree, scratch)
        stack.enter_context(mock.patch.object(tagging, "open_safely", lambda *_, **__: opened))
        walk_through(make_files(scratch / "few", FEW), scratch / "warm", [])
        folder, rows = make_files(scratch / "photos", count), []
        walk_through(folder, scratch / "out", rows)
    return rows


def make_files(folder: Path, count: int) -> Path:
    """A folder of files that are named like photos, each with other bytes."""
    for number in range(count):
        path = folder / f"{number // FILES_IN_FOLDER:05}" / f"IMG_{number:08}.JPG"
        if number % FILES_IN_FOLDER == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(number.to_bytes(8))
    return folder


def walk_through(folder: Path, out: Path, rows: list[list[str]]) -> None:
    """Does all that `landmark tag` does; adds what each step takes to `rows`."""
    before = memory_bytes()

    def step(name: str, action: Callable[[], object]) -> object:
        began, samples, done = time.perf_counter(), [memory_bytes()], Event()
        watch = Thread(target=sample, args=(samples, done))
        watch.start()
        found = action()
        done.set()
        watch.join()
        seconds = time.perf_counter() - began
        samples.append(memory_bytes())
        rows.append([name, f"{seconds:.0f}", f"{(max(samples) - before) / 1e6:.0f}"])
        return found

    with open_index(out, is_new=True, writes=True) as index:
        found = step("find the photos", partial(find_named, [folder], folder))
        index.set_base([folder])
        plan = step(
            "compare with the index", partial(make_plan, index, found.paths, [folder], None)
        )
        count = len(found.paths)
        found.paths.clear()  # as the command does
        answers = LibraryRun(index, Stub(), "stub", False).answer(plan.waiting)
        step("answer", partial(exhaust, answers))
        del plan  # it does that, too
        for kind, (name, *_) in TABLES.items():
            step(name, partial(write_table, kind, index, View(), out))
        step(REPORT_NAME, partial(report, index, out))
        sidecars = partial(SidecarFiles, index, out, out / "xmp", "file", False)
        step("sidecars", lambda: sidecars().write(View()))
        step("sidecars in another language", lambda: sidecars().write(View("de")))
    assert exhaust(out.rglob("*.xmp")) == count


def report(index: object, out: Path) -> None:
    """Writes the report, with no map: that is one for all photos."""
    with written(out / REPORT_NAME) as path, path.open("w", encoding="utf-8") as file:
        write_report(index, View(), file, lambda found, label: label)


def exhaust(things: Iterable[object]) -> int:
    """How many there are; none is kept."""
    return sum(1 for _ in things)


def memory_bytes() -> int:
    """The memory of this process that is no file's: of files, the system keeps what it likes."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["RssAnon"].split()[0]) * 1024


def sample(samples: list[int], done: Event) -> None:
    """Adds the memory of this process to `samples`, keeping the most, until it is `done`."""
    while not done.wait(0.05):
        samples[0] = max(samples[0], memory_bytes())


# --- rate ---


def some_of(photos: list[Path], count: int) -> list[Path]:
    """About `count` photos, evenly from all."""
    return photos[:: -(-len(photos) // count)]


def enlarge(photos: list[Path], folder: Path) -> list[Path]:
    """Copies of photos as large as LARGE_PIXELS, as JPEG files."""
    copies = [folder / f"{number}.jpg" for number in range(len(photos))]
    for photo, copy in zip(photos, copies, strict=True):
        image = open_safely(photo).image
        factor = (LARGE_PIXELS / (image.width * image.height)) ** 0.5
        size = round(image.width * factor), round(image.height * factor)
        image.resize(size).save(copy, quality=90)
    return copies


def measure_rates(photos: list[Path], rounds: int) -> Rates:
    """The rates on real photos."""
    tagger = load()
    fewest = tagger.fewest_pixels
    opened = [open_safely(path, fewest) for path in photos]
    images = [one.image for one in opened]
    pixels = sum(one.size[0] * one.size[1] for one in opened) / len(opened)
    contest = {
        "decoding": lambda: decode_all(photos, fewest),
        "network": lambda: tagger.predict_batch(images, GUESS_COUNT),
        "tag": lambda: tag_all(photos, tagger),
    }  # fmt: skip
    seconds = medians(contest, rounds)
    rates = {name: len(photos) / taken for name, taken in seconds.items()}
    return Rates(len(photos), pixels / 1e6, **rates)


def decode_all(photos: Iterable[Path], fewest_pixels: int) -> None:
    """Decodes photos by as many processes as there are cores."""
    with ThreadPoolExecutor(usable_cores()) as pool:
        exhaust(pool.map(lambda path: open_safely(path, fewest_pixels).size, photos))


def tag_all(photos: list[Path], tagger: object) -> None:
    """Answers photos into a new index, as `landmark tag` does."""
    with (
        tempfile.TemporaryDirectory(prefix="library-") as out,
        open_index(Path(out), is_new=True, writes=True) as index,
    ):
        plan = make_plan(index, photos, photos, None)
        exhaust(LibraryRun(index, tagger, "net", False).answer(plan.waiting))


def rate_table(rates: list[Rates]) -> str:
    """The rates on photos of each size, on a line."""
    headings = ("photos", "megapixels", "decoding alone", "the network alone", "both",
                "landmark tag", "of both")  # fmt: skip
    return table(headings, [
        [str(one.count), f"{one.megapixels:.1f}", f"{one.decoding:.1f}", f"{one.network:.1f}",
         f"{one.both:.1f}", f"{one.tag:.1f}", f"{one.tag / one.both:.0%}"]
        for one in rates
    ])  # fmt: skip


def cost_table(per_core: float, price: float) -> str:
    """Hours and dollars for each of LIBRARIES, by the rate of a core."""
    rows = []
    for count in LIBRARIES:
        hours = count / per_core / 3600
        spans = [f"{hours / cores:,.1f}" for cores in (16, 1000)]
        rows.append([f"{count:,}", f"{hours:,.0f}", *spans, f"${hours * price:,.0f}"])
    return table(("photos", "core-hours", "hours on 16 cores", "hours on 1,000", "cost"), rows)


if __name__ == "__main__":
    run(main)
