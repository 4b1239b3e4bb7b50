"""What `tag` loses when it is killed: nothing, or the table says so.

    python -m benchmarks.reliability_tag --kills 20

Forty photos are tagged without a break. Then they are tagged again, and that run is killed (kill
-9) at a random moment after its first answers, once for each of `--kills`. The same command is then
run to its end, and what it wrote is compared with the unbroken run, byte by byte.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from landmark_model.files import write_text
from landmark_model.library.run import PARTIAL_NAME
from landmark_model.training.smoke import make_photo

ROOT = Path(__file__).parents[1]
PHOTO_COUNT = 40
NETWORK = "landmark_cnn"
RESULT_NAME = "tag.json"


@dataclass(frozen=True)
class Reliability:
    """What became of the killed runs. Rows that were on disk may be lost, or in a table twice, or
    be answered again; files that are lost count as rows."""

    photos: int
    network: str
    seed: int
    kills: int
    rows_done_when_killed: list[int]
    runs_equal_to_unbroken: int
    rows_lost: int
    rows_doubled: int
    rows_answered_again: int

    @property
    def is_sound(self) -> bool:
        """Whether all killed runs ended as the unbroken one."""
        lost = self.rows_lost + self.rows_doubled + self.rows_answered_again
        return self.runs_equal_to_unbroken == self.kills and not lost


def main(arguments: list[str] | None = None) -> int:
    """Photos -> an unbroken run -> killed runs that go on -> a file; 1 where they differ."""
    options = make_parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="reliability-") as scratch:
        folder = Path(scratch)
        make_library(folder / "photos", options.photos)
        result = measure(folder, options.photos, options.kills, options.seed)
    text = json.dumps(asdict(result), indent=2) + "\n"
    write_text(options.out / RESULT_NAME, text)
    print(f"{text}Written to {options.out / RESULT_NAME}")
    return 0 if result.is_sound else 1


def make_library(folder: Path, count: int) -> None:
    """Fills `folder` with the example photos, and `count` in all by made-up ones, in albums."""
    examples = sorted((ROOT / "examples").glob("*.jpg"))[:count]
    for number in range(count):
        path = folder / f"album {number % 3}" / f"{number:03}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number < len(examples):
            shutil.copy(examples[number], path)
        else:
            make_photo(number, number, (640, 480)).save(path)


def measure(folder: Path, photo_count: int, kills: int, seed: int) -> Reliability:
    """Kills runs on `folder`/photos at moments that follow from `seed`, and goes on with them."""
    generator = random.Random(seed)
    unbroken, out = folder / "unbroken", folder / "out"
    seconds = timed_run(folder / "photos", unbroken, photo_count)
    expected, sums = contents(unbroken), Counter()
    done_when_killed: list[int] = []
    while len(done_when_killed) < kills:
        shutil.rmtree(out, ignore_errors=True)
        # Uniform over the time in which rows are written.
        done = killed_run(folder / "photos", out, generator.uniform(0, seconds))
        if not done:  # it came to its end before
            continue
        said = tag(folder / "photos", out).communicate()[0]
        taken_over = int(said.split(" of ")[0]) if "were done before" in said else 0
        found = contents(out)
        files = Counter(row["file"] for row in json.loads(found.get("tags.json", b"[]")))
        sums["equal"] += found == expected
        sums["lost"] += len(expected.keys() - found.keys()) + photo_count - len(files)
        sums["doubled"] += sum(files.values()) - len(files)
        sums["again"] += done - taken_over
        done_when_killed.append(done)
        print(f"{len(done_when_killed)} of {kills}: killed after {done} rows", flush=True)
    return Reliability(
        photo_count, NETWORK, seed, kills, done_when_killed,
        sums["equal"], sums["lost"], sums["doubled"], sums["again"],
    )  # fmt: skip


def tag(photos: Path, out: Path) -> subprocess.Popen[str]:
    """Starts `tag` in a process of its own."""
    words = ["-m", "landmark_model", "tag", photos, "--out", out, "--network", NETWORK]
    return subprocess.Popen(
        [sys.executable, *map(str, words)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def wait_for_rows(process: subprocess.Popen[str], out: Path) -> None:
    """Waits until the first answers are on disk, or the process has ended."""
    while process.poll() is None and not rows_in(out / PARTIAL_NAME):
        time.sleep(0.005)


def timed_run(photos: Path, out: Path, photo_count: int) -> float:
    """A run to its end; the seconds from its first answers to its last."""
    process = tag(photos, out)
    wait_for_rows(process, out)
    start = time.monotonic()
    while process.poll() is None and rows_in(out / PARTIAL_NAME) < photo_count:
        time.sleep(0.005)
    seconds = time.monotonic() - start
    said = process.communicate()[0]
    if process.returncode:
        raise SystemExit(f"The unbroken run failed: {said}")
    return seconds


def killed_run(photos: Path, out: Path, seconds: float) -> int:
    """A run that is killed so long after its first answers; the rows on disk then, 0 at its end."""
    process = tag(photos, out)
    wait_for_rows(process, out)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return rows_in(out / PARTIAL_NAME)


def rows_in(path: Path) -> int:
    """The rows of whole lines in a partial file; 0 if there is none."""
    try:
        lines: Iterable[bytes] = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return 0
    return sum(len(json.loads(line).get("rows", ())) for line in lines if line.endswith(b"\n"))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`, hidden ones, too, and what is in it."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def make_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--kills", type=int, default=20, metavar="N")
    parser.add_argument("--photos", type=int, default=PHOTO_COUNT, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks" / "reliability", metavar="FOLDER"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
