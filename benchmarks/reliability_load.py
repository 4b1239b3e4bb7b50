"""Load on a running app: many clients at once, while somebody sends a costly photo every second.

    python -m benchmarks.reliability_load --clients 20 --minutes 5 --costly FILE [FILE ...]

Starts app.py on a free port. Each client is a person: uploads a photo, asks, waits for the answer,
asks again. Writes benchmarks/reliability/load.json.
"""

from __future__ import annotations

import argparse
import json
import os
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
from tqdm import tqdm

ROOT = Path(__file__).parents[1]
OUT = Path(__file__).parent / "reliability" / "load.json"
BOUNDARY = "landmark-load"


class App:
    """A running copy of app.py."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen([sys.executable, "app.py", "--port", str(port)], cwd=ROOT,
                                        stdout=subprocess.DEVNULL)  # fmt: skip
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
        """What the app says of a photo: "answer", or its sentence."""
        head = 'Content-Disposition: form-data; name="files"; filename="photo.jpg"\r\n\r\n'
        body = f"--{BOUNDARY}\r\n{head}".encode() + photo + f"\r\n--{BOUNDARY}--\r\n".encode()
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        (path,) = json.loads(self.ask("/gradio_api/upload", body, kind))
        asked = json.dumps({"data": [{"path": path}]}).encode()
        event = json.loads(self.ask("/gradio_api/call/predict", asked))["event_id"]
        text = self.ask(f"/gradio_api/call/predict/{event}").decode()
        if "event: complete" in text:
            return "answer"
        return json.loads(text.split("data: ")[-1])["error"]

    def memory_mb(self) -> float:
        """Resident memory of the app and its workers, in MB."""
        family = [psutil.Process(self.process.pid)]
        family += family[0].children(recursive=True)
        total = 0
        for member in family:
            try:
                total += member.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        return total / 1e6


class Crowd:
    """Clients that go on until `end` (seconds of time.monotonic), and what became of them."""

    def __init__(self, app: App, end: float) -> None:
        self.app, self.end = app, end
        self.seconds: list[float] = []
        self.honest: Counter[str] = Counter()
        self.costly: Counter[str] = Counter()
        self.memory_mb: list[float] = []

    def visit(self, photos: list[bytes]) -> None:
        """One client after another's answer, with honest photos."""
        for photo in cycle(photos):
            start = time.monotonic()
            if start >= self.end:
                return
            self.honest[self._try(photo)] += 1
            self.seconds.append(time.monotonic() - start)

    def attack(self, photos: list[bytes]) -> None:
        """A costly photo every second, whatever became of the one before."""
        threads = []
        for photo in cycle(photos):
            if time.monotonic() >= self.end:
                break
            thread = threading.Thread(target=lambda p=photo: self.costly.update([self._try(p)]))
            thread.start()
            threads.append(thread)
            self.memory_mb.append(self.app.memory_mb())
            time.sleep(1)
        for thread in threads:
            thread.join()

    def _try(self, photo: bytes) -> str:
        try:
            return self.app.name(photo)
        except urllib.error.HTTPError as error:
            return f"HTTP {error.code}"
        except OSError as error:
            return type(error).__name__


def run(clients: int, minutes: float, costly: list[Path]) -> dict:
    """Figures of a crowd against a new copy of the app."""
    app = App()
    examples = [path.read_bytes() for path in sorted((ROOT / "examples").glob("*.jpg"))]
    crowd = Crowd(app, time.monotonic() + 60 * minutes)
    jobs = [threading.Thread(target=crowd.visit, args=(examples,)) for _ in range(clients)]
    if costly:
        attack = threading.Thread(target=crowd.attack, args=([p.read_bytes() for p in costly],))
        jobs.append(attack)
    for job in jobs:
        job.start()
    for _ in tqdm(range(round(60 * minutes)), "Under load", unit="s"):
        time.sleep(1)
    for job in jobs:
        job.join()
    app.process.terminate()
    quantiles = statistics.quantiles(crowd.seconds, n=20)
    return {
        "clients": clients,
        "minutes": minutes,
        "cores": os.cpu_count(),
        "answers": crowd.honest["answer"],
        "other_outcomes": {k: v for k, v in crowd.honest.items() if k != "answer"},
        "seconds": {"median": round(statistics.median(crowd.seconds), 2),
                    "p95": round(quantiles[-1], 2), "max": round(max(crowd.seconds), 2)},
        "costly_photos": dict(crowd.costly),
        "memory_mb": {"first": round(crowd.memory_mb[0]), "max": round(max(crowd.memory_mb))}
        if crowd.memory_mb else {},
        "exit_status": app.process.wait(30),
    }  # fmt: skip


def main() -> None:
    """Runs the crowd and writes its figures."""
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--costly", type=Path, nargs="*", default=[], metavar="FILE")
    options = parser.parse_args()
    figures = run(options.clients, options.minutes, options.costly)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
