"""What damaged and costly photos take, and what a crowd of visitors experiences beside them.

    python -m benchmarks.reliability photos --costly slow/*
    python -m benchmarks.reliability load --costly slow/* --clients 20 --minutes 5

`photos` opens 20,000 damaged photos, those of --costly, and the largest that are accepted. `load`
starts app.py on a free port; each client is a person: uploads a photo, asks, waits for the answer,
asks again, while somebody sends a costly photo every second. Either writes its figures to
reliability/, and from what is there the page reliability.md.
"""

from __future__ import annotations

import io
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from itertools import cycle
from pathlib import Path

import psutil
from PIL import Image

from benchmarks.pages import HERE, make_parser, run, table
from landmark_model.decoding import Outcome, open_measured
from landmark_model.files import write_text
from tests.fuzz.__main__ import fuzz

ROOT = HERE.parent
SIDE_PX = 8_900  # 79 megapixels
# Mode, format and options of photos of 79 megapixels, all of them turned by EXIF.
LARGEST = (
    ("RGB", "JPEG", {"quality": 90}),
    ("RGB", "JPEG", {"quality": 90, "progressive": True, "subsampling": 0}),
    ("RGBA", "PNG", {"compress_level": 1}),
    ("I;16", "PNG", {"compress_level": 1}),
    ("P", "PNG", {"compress_level": 1}),
    ("F", "TIFF", {"compression": "tiff_deflate"}),
    ("RGBA", "TIFF", {"compression": "tiff_deflate"}),
)
INTRO = """# Reliability

Written by `python -m benchmarks.reliability` from the figures in `benchmarks/reliability/`. The
limits themselves, and the test that holds each, also of hostile model folders and of killed runs of
`tag`: [SECURITY.md](../SECURITY.md).
"""


def main(arguments: list[str] | None = None) -> None:
    """Measures, keeps the figures, and writes the page."""
    parser = make_parser("reliability", __doc__)
    parser.add_argument("what", choices=["photos", "load"])
    parser.add_argument("--costly", nargs="*", type=Path, default=[], metavar="FILE")
    parser.add_argument("--count", type=int, default=20_000, help="photos to damage")
    parser.add_argument("--seed", type=int, default=0, help="of the damage")
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=5)
    options = parser.parse_args(arguments)
    if options.what == "photos":
        found = measure_photos(options.count, options.seed, options.costly)
    else:
        found = measure_load(options.clients, options.minutes, options.costly)
    folder = options.out / "reliability"
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / f"{options.what}.json", json.dumps(found, indent=1) + "\n")
    sections = [INTRO]
    for name, section in (("photos", photos_section), ("load", load_section)):
        if (folder / f"{name}.json").is_file():
            sections.append(section(json.loads((folder / f"{name}.json").read_text("utf-8"))))
    write_text(options.out / "reliability.md", "\n".join(sections))


# --- photos ---


def measure_photos(count: int, seed: int, paths: list[Path]) -> dict[str, object]:
    """What damaged, given and very large photos came to, and took."""
    largest = []
    for mode, kind, options in LARGEST:
        content = make_largest(mode, kind, options)
        name = " ".join([kind, mode, *map(str, options.values())])
        largest.append(row(name, content, open_measured(content)))
    return {
        "command": f"python -m benchmarks.reliability photos --count {count} --seed {seed}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, Pillow {Image.__version__}",
        "given": [row(path.name, path.read_bytes(), open_measured(path)) for path in paths],
        "largest": largest,
        "damaged_on_purpose": fuzz(count, seed),
    }


def row(name: str, content: bytes, outcome: Outcome) -> dict[str, object]:
    """What a photo came to and cost."""
    return {
        "photo": name,
        "kilobytes": round(len(content) / 1000, 1),
        "outcome": outcome.error.reason if outcome.error else "photo",
        "cpu_seconds": round(outcome.cpu_seconds, 2),
        "memory_megabytes": round(outcome.memory_bytes / 1e6),
    }


def make_largest(mode: str, kind: str, options: dict[str, object]) -> bytes:
    """A photo of noise in tiles, turned by EXIF."""
    # Finer noise would make files of more than 100 MB.
    tile = Image.effect_noise((125, 125), 40).resize((1_000, 1_000))
    image = Image.new("L", (SIDE_PX, SIDE_PX))
    for left in range(0, SIDE_PX, tile.width):
        for top in range(0, SIDE_PX, tile.height):
            image.paste(tile, (left, top))
    image = image.convert("I").convert("I;16") if mode == "I;16" else image.convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    image.save(file, kind, exif=exif, **options)
    return file.getvalue()


def photos_section(found: dict) -> str:
    """What damaged, costly and very large photos came to, and took."""
    fuzzed = found["damaged_on_purpose"]
    outcomes = sum(map(Counter, fuzzed["outcomes"].values()), Counter())
    rows = [
        (r["photo"], f"{r['kilobytes']:,.0f} KB", r["outcome"], f"{r['cpu_seconds']} s",
         f"{r['memory_megabytes']} MB")
        for r in [*found["given"], *found["largest"]]
    ]  # fmt: skip
    highest = fuzzed["highest"]
    became = ", ".join(f"{name} {count:,}" for name, count in outcomes.most_common())
    return f"""## Photos

`{found["command"]}`, {found["machine"]}.

{fuzzed["count"]:,} photos of {len(fuzzed["outcomes"])} formats, damaged on purpose:
{became}. The most that one took: {highest["cpu_seconds"]} s of CPU and
{highest["memory_bytes"] / 1e6:.0f} MB; decoders that had to be ended: {fuzzed["workers_ended"]}.

Photos built to be slow, and the largest that are accepted (79 megapixels, turned by EXIF):

{table(("photo", "file", "outcome", "CPU", "memory"), rows)}
"""


# --- load ---


class App:
    """A running copy of app.py."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        command = [sys.executable, "app.py", "--port", str(port)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        while self.process.poll() is None:
            try:
                self.ask("/health")
                return
            except OSError:
                time.sleep(0.5)
        raise SystemExit("app.py did not start.")

    def ask(self, path: str, body: bytes | None = None, kind: str = "application/json") -> bytes:
        """The body of an answer; raises OSError where it is an error."""
        request = urllib.request.Request(self.address + path, body, {"Content-Type": kind})
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.read()

    def name(self, photo: bytes) -> str:
        """What becomes of a photo: "answer", the app's sentence, or the name of an error."""
        head = 'Content-Disposition: form-data; name="files"; filename="photo.jpg"\r\n\r\n'
        body = b"--landmark\r\n" + head.encode() + photo + b"\r\n--landmark--\r\n"
        try:
            uploaded = self.ask(
                "/gradio_api/upload", body, "multipart/form-data; boundary=landmark"
            )
            asked = json.dumps({"data": [{"path": json.loads(uploaded)[0]}]}).encode()
            event = json.loads(self.ask("/gradio_api/call/predict", asked))["event_id"]
            text = self.ask(f"/gradio_api/call/predict/{event}").decode()
        except urllib.error.HTTPError as error:
            return f"HTTP {error.code}"
        except OSError as error:
            return type(error).__name__
        is_answer = "event: complete" in text
        return "answer" if is_answer else json.loads(text.split("data: ")[-1])["error"]

    def memory_mb(self) -> float:
        """Resident memory of the app and its workers, in MB."""
        app, total = psutil.Process(self.process.pid), 0
        for member in (app, *app.children(recursive=True)):
            try:
                total += member.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        return total / 1e6


def measure_load(clients: int, minutes: float, costly: list[Path]) -> dict[str, object]:
    """Figures of a crowd against a new copy of the app, attacked with the `costly` photos."""
    app, end = App(), time.monotonic() + 60 * minutes
    examples = [path.read_bytes() for path in sorted((ROOT / "examples").glob("*.jpg"))]
    honest, attacks = Counter(), Counter()
    seconds, memory_mb = [], []

    def visit() -> None:
        for photo in cycle(examples):
            start = time.monotonic()
            if start >= end:
                return
            honest[app.name(photo)] += 1
            seconds.append(time.monotonic() - start)

    threads = [threading.Thread(target=visit) for _ in range(clients)]
    for thread in threads:
        thread.start()
    attack = cycle([path.read_bytes() for path in costly] or [b""])
    while time.monotonic() < end:  # whatever became of the one before
        memory_mb.append(app.memory_mb())
        if costly:
            photo = next(attack)
            threads.append(threading.Thread(target=lambda p=photo: attacks.update([app.name(p)])))
            threads[-1].start()
        time.sleep(1)
    for thread in threads:
        thread.join()
    app.process.terminate()
    spread = {"median": statistics.median(seconds), "max": max(seconds),
              "p95": statistics.quantiles(seconds, n=20)[-1]}  # fmt: skip
    return {
        "clients": clients,
        "minutes": minutes,
        "cores": os.cpu_count(),
        "answers": honest.pop("answer", 0),
        "other_outcomes": dict(honest),
        "seconds": {name: round(value, 2) for name, value in spread.items()},
        "costly_photos": dict(attacks),
        "memory_mb": {"first": round(memory_mb[0]), "max": round(max(memory_mb))},
        "exit_status": app.process.wait(30),
    }


def load_section(found: dict) -> str:
    """What became of a crowd's requests."""
    seconds, memory = found["seconds"], found["memory_mb"]
    return f"""## Load

`python -m benchmarks.reliability load`: {found["clients"]} clients for {found["minutes"]:g} minutes
on {found["cores"]} cores, each with one photo after the other, while somebody sent a costly photo
every second. Answers: {found["answers"]:,}; other outcomes: {found["other_outcomes"] or "none"}.
Seconds for an answer: median {seconds["median"]}, 95 % {seconds["p95"]}, most {seconds["max"]}.
Memory of the app and its decoders: {memory["first"]:,} MB at first, {memory["max"]:,} MB at most.
Exit status after SIGTERM: {found["exit_status"]}.

{table(("of the costly photos", "count"), found["costly_photos"].items())}
"""


if __name__ == "__main__":
    run(main)
