"""What a crowd of visitors experiences of the app -> load.md.

    python -m benchmarks.load --users 50 --seconds 180

It times `load().predict` in a process of its own, and starts app.py on a free port. Each user is a
page: uploads a photo, asks as the page does, waits for the answer, asks again at once. One of them
tags photos in "Many photos" all the while, 200 at a time. Users and app share the cores.
"""

from __future__ import annotations

import argparse
import http.client
import json
import platform
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.pages import HERE, command_line, make_parser, run, table
from benchmarks.reliability import App
from landmark_model import LandmarkError
from landmark_model.cores import usable_cores
from landmark_model.files import write_text

ROOT = HERE.parent
MEMORY_AFTER = (200, 1000)  # answers
BARE = """
import sys, time
from landmark_model import load
tagger, photos, count = load(), sys.argv[2:], 0
for photo in photos:
    tagger.predict(photo)
start = time.monotonic()
while time.monotonic() - start < float(sys.argv[1]):
    tagger.predict(photos[count % len(photos)])
    count += 1
print(count / (time.monotonic() - start))
"""
HEAD = b'--x\r\nContent-Disposition: form-data; name="files"; filename="photo.jpg"\r\n\r\n'


@dataclass
class Figures:
    """What all users saw: seconds for answers, and first places in the queue; MB of the app, by
    how many answers there were."""

    answers: Counter[int] = field(default_factory=Counter)  # by user
    errors: Counter[str] = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    many_photos: int = 0
    memory_mb: dict[int, float] = field(default_factory=dict)


class Visitor:
    """A page that is open: speaks to the app as a browser does, which keeps its connections."""

    def __init__(self, address: str) -> None:
        self.host, self.session = urlsplit(address).netloc, uuid.uuid4().hex[:12]
        self._idle: list[http.client.HTTPConnection] = []

    def _send(
        self, path: str, body: bytes | None = None, kind: str = "application/json"
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """The answer, and its connection, for `_idle` once that is read."""
        while True:
            is_new = not self._idle
            line = (http.client.HTTPConnection(self.host, timeout=300) if is_new
                    else self._idle.pop())  # fmt: skip
            try:
                method = "GET" if body is None else "POST"
                line.request(method, path, body, {"Content-Type": kind} if body else {})
                return line, line.getresponse()
            except (OSError, http.client.HTTPException):
                line.close()
                if is_new:  # else the app had closed it
                    raise

    def ask(self, path: str, body: bytes | None = None, kind: str = "application/json") -> bytes:
        """The body of an answer; raises LandmarkError for one that refuses."""
        line, answer = self._send(path, body, kind)
        text = answer.read()
        self._idle.append(line)
        if answer.status != 200:
            raise LandmarkError(f"{answer.status}: {text[:200].decode(errors='replace')}")
        return text

    def upload(self, photo: bytes) -> dict[str, object]:
        """The file, as events take it; a page also asks how far the upload is."""
        body, number = HEAD + photo + b"\r\n--x--\r\n", f"upload_id={uuid.uuid4().hex[:11]}"
        kind = "multipart/form-data; boundary=x"
        (path,) = json.loads(self.ask(f"/gradio_api/upload?{number}", body, kind))
        self.ask(f"/gradio_api/upload_progress?{number}")
        return {"path": path, "orig_name": "photo.jpg", "meta": {"_type": "gradio.FileData"}}

    def join(self, event: int, data: list[object]) -> str:
        """Queues an event of the page; gives its number."""
        asked = {"data": data, "fn_index": event, "session_hash": self.session}
        return json.loads(self.ask("/gradio_api/queue/join", json.dumps(asked).encode()))[
            "event_id"
        ]

    def messages(self) -> Iterator[dict]:
        """What the app says until the last event of this page is done."""
        line, answer = self._send(f"/gradio_api/queue/data?session_hash={self.session}")
        for text in answer:
            if text.startswith(b"data: "):
                message = json.loads(text[6:])
                if message["msg"] != "close_stream":
                    yield message
        self._idle.append(line)


class Crowd:
    """The users of one run, each in a thread of its own."""

    def __init__(self, app: App, photos: list[bytes], end: float) -> None:
        self.app, self.photos, self.end = app, photos, end
        self.figures, self.lock = Figures(), threading.Lock()
        config = json.loads(Visitor(app.address).ask("/config"))
        self.components = {component["id"]: component for component in config["components"]}
        self.events = {event["api_name"]: event for event in config["dependencies"]}

    def join(self, page: Visitor, name: str, photo: object) -> str:
        """Queues the event of that name with a photo, all else as the page begins."""
        fields = [self.components[number] for number in self.events[name]["inputs"]]
        data = [
            photo if field["type"] in ("image", "file") else field["props"].get("value")
            for field in fields
        ]
        return page.join(self.events[name]["id"], data)

    def single(self, number: int) -> None:
        """One user of "One photo"."""
        page, turn = Visitor(self.app.address), number
        while time.monotonic() < self.end:
            start = time.monotonic()
            try:
                file = page.upload(self.photos[turn % len(self.photos)])
                answer = self.join(page, "answer_and_look", file)
                page.ask(f"/gradio_api/file={file['path']}")
                self.note(number, start, answer, page.messages())
            except (LandmarkError, OSError, http.client.HTTPException) as error:
                with self.lock:
                    self.figures.errors[str(error) or type(error).__name__] += 1
            turn += 1

    def note(self, user: int, start: float, event: str, messages: Iterator[dict]) -> None:
        """Keeps what became of a user's photo."""
        places, done = [], None
        for message in messages:
            if message.get("event_id") == event and message["msg"] == "estimation":
                places.append(message["rank"] + 1)
            if message.get("event_id") == event and message["msg"] == "process_completed":
                done = message
        problem = problem_of(done)
        with self.lock:
            if problem:
                self.figures.errors[problem] += 1
                return
            self.figures.answers[user] += 1
            self.figures.waits.append(time.monotonic() - start)
            self.figures.places += places[:1]
            count = len(self.figures.waits)
            if count in MEMORY_AFTER:
                self.figures.memory_mb[count] = self.app.memory_mb()

    def many(self, count: int) -> None:
        """One user of "Many photos", with `count` photos at a time."""
        page = Visitor(self.app.address)
        while time.monotonic() < self.end:
            try:
                files = [page.upload(self.photos[n % len(self.photos)]) for n in range(count)]
                event = self.join(page, "tag", files)
                done = [m for m in page.messages() if m.get("event_id") == event][-1]
                problem = problem_of(done)
            except (LandmarkError, OSError, http.client.HTTPException) as error:
                problem = str(error) or type(error).__name__
            with self.lock:
                self.figures.many_photos += 0 if problem else count
                self.figures.errors.update([problem] if problem else [])


def problem_of(done: dict | None) -> str:
    """What is wrong with the last message of an event; "" if nothing."""
    if done is None:
        return "no answer"
    if not done["success"]:
        return str(done["output"].get("error"))
    return "no card" if 'role="alert"' in str(done["output"]["data"]) else ""


def main(arguments: list[str] | None = None) -> None:
    """Measures, and writes the page."""
    parser = make_parser("load", __doc__)
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--many", type=int, default=200, help="photos of the user of Many photos")
    parser.add_argument("--bare", type=float, default=20, help="seconds of `predict`, twice")
    parser.add_argument("--photos", type=Path, default=ROOT / "examples", metavar="FOLDER")
    options = parser.parse_args(arguments)
    paths = sorted(options.photos.resolve().glob("*.jpg"))
    if options.users < 1 or not paths:
        raise LandmarkError("Give --users 1 or more, and --photos a folder with .jpg files.")
    bare = [bare_rate(paths, options.bare)]
    found = measure(options, [path.read_bytes() for path in paths])
    bare.append(bare_rate(paths, options.bare))
    found |= {"bare": statistics.mean(bare), "command": command_line("load", arguments)}
    write_text(options.out / "load.md", make_page(found))


def bare_rate(paths: list[Path], seconds: float) -> float:
    """Photos a second of `predict`, one after the other, in a process that does nothing else."""
    command = [sys.executable, "-c", BARE, str(seconds), *map(str, paths)]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=True)
    return float(done.stdout)


def measure(options: argparse.Namespace, photos: list[bytes]) -> dict[str, object]:
    """What the crowd saw, and what it took."""
    app = App()
    crowd = Crowd(app, photos, time.monotonic() + options.seconds)
    jobs = [(crowd.single, number) for number in range(options.users)]
    if options.many:
        jobs[-1] = (crowd.many, options.many)
    threads = [threading.Thread(target=work, args=(given,)) for work, given in jobs]
    start, own = time.monotonic(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds, own = time.monotonic() - start, time.process_time() - own
    app.process.terminate()
    return {
        "users": options.users,
        "many": options.many,
        "seconds": seconds,
        "figures": crowd.figures,
        "client_share": own / seconds / usable_cores(),
        "exit_status": app.process.wait(30),
    }


def make_page(found: dict) -> str:
    """The page."""
    seen: Figures = found["figures"]
    rate = (len(seen.waits) + seen.many_photos) / found["seconds"]
    per_user = seen.answers.values() or [0]
    waits, places = seen.waits or [0.0], seen.places or [0]
    rows = [
        ("photos answered", f"{len(seen.waits) + seen.many_photos:,}"),
        ("errors", dict(seen.errors) or 0),
        ("photos a second", f"{rate:.1f}"),
        ("of bare `predict`", f"{rate / found['bare']:.0%} of {found['bare']:.1f} a second"),
        ("seconds for an answer", f"median {statistics.median(waits):.1f}, "
         f"95 % {percentile(waits, 0.95):.1f}, most {max(waits):.1f}"),
        ("first place in the queue that a visitor reads",
         f"median {statistics.median(places):.0f}, highest {max(places)}"),
        ("answers for each single user", f"{min(per_user)} to {max(per_user)}"),
        ("photos of the user of Many photos", f"{seen.many_photos:,}"),
        *((f"memory after {count:,} answers", f"{size:,.0f} MB")
          for count, size in seen.memory_mb.items()),
        ("exit status after SIGTERM", found["exit_status"]),
    ]  # fmt: skip
    crowd = f"{found['users']} users" + (
        f", one of whom tags {found['many']} photos at a time" if found["many"] else ""
    )
    return f"""# Load

Written by `{found["command"]}`.

{crowd}, the others one photo after the other without a pause, for {found["seconds"]:.0f} seconds on
{usable_cores()} cores ({platform.machine()}), of which the users themselves took
{found["client_share"]:.0%}. Bare `predict` answers the same photos in a process of its own, before
and after. Memory is that of the app and its decoders.

{table(("what", "figure"), rows)}
"""


def percentile(values: list[float], share: float) -> float:
    """The value that this share of the values does not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


if __name__ == "__main__":
    run(main)
