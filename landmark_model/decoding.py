"""Decodes strangers' photos in separate processes, so slow, heavy or crashing ones end there.

`traps` refuses what it knows; here everything else has a limit. A worker that takes more CPU time
than an honest photo of that size is killed by the system, in the midst of whatever loop it is, and
another one takes its place. It may use 1 GB more memory than at its start. One pool of workers
serves all threads of a process; they start when first needed and end with it.

Over its pipes a worker reads, for each photo, a line of JSON and the bytes of the file; it answers
a line of JSON and rows of RGB values.
"""

from __future__ import annotations

import atexit
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections import OrderedDict
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from landmark_model import photos, raw
from landmark_model.config import LandmarkError
from landmark_model.cores import usable_cores
from landmark_model.photos import CameraFacts, Photo

BASE_SECONDS = 1.0  # of CPU, for whatever has few pixels
SPARE_SECONDS = 2.0  # at most, over what an honest photo of that size takes
# How much longer a pixel takes than one of a usual JPEG, where a photo is sharp and its quality
# high. As measured on noise, with what is done to it afterwards.
EFFORT = {"HEIF": 10, "AVIF": 6, "WEBP": 8, "JPEG": 6, "TIFF": 6}
USUAL_EFFORT = 5
SAMPLE_PX = 1_200
MEMORY_BYTES = photos.MAX_MEMORY_GB * 10**9
PATIENCE_SECONDS = 120  # by the clock, where the CPU is busy with others
PATIENCE_WITHOUT_TIMER = 20  # on systems that cannot limit the CPU time
NICENESS = 5
REMEMBERED_COUNT = 300
PIPE_BYTES = 2**20
SPARE_WORKERS = 2
# Threads and arenas take address space; blocks that are given back at once keep workers small.
SETTINGS = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(4 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(4 * 2**20),
}
START = "import sys; sys.path.insert(0, sys.argv[1]); from landmark_model import decoding as d; "
START += "d.work(sys.argv[2] == 'measure')"


@dataclass(frozen=True)
class OpenedPhoto:
    """An upright RGB image, and what the camera wrote into the photo.

    `size` is the width and height of the photo in px; `image` may be a smaller copy.
    """

    image: Image.Image
    camera: CameraFacts
    size: tuple[int, int]

    @property
    def position(self) -> tuple[float, float] | None:
        """Latitude and longitude in degrees, by the camera."""
        return self.camera.position


@dataclass(frozen=True)
class Outcome:
    """The outcome for a photo and its cost: CPU seconds, and peak bytes.

    Where its worker was stopped or crashed, the seconds are those that it was allowed.
    """

    photo: OpenedPhoto | None
    error: LandmarkError | None
    cpu_seconds: float = 0.0
    memory_bytes: int = 0
    has_ended_worker: bool = False


def open_safely(
    photo: Photo, fewest_pixels: int | None = None, takes_raw: bool = False
) -> OpenedPhoto:
    """The result of `open_photo`, and what the camera wrote, decoded in a process with limits.

    `photo` is anything that they take; what is decoded already stays in this process. With
    `fewest_pixels` it comes as a smaller copy that has as many or more (`photos.open_reduced`). For
    what a network needs see `LandmarkClassifier.fewest_pixels`. With `takes_raw`, a RAW file is
    the camera's picture in it, which takes the extra `raw`. Raises LandmarkError as they do,
    and where the decoder takes too long, too much memory, or crashes.
    """
    outcome = open_measured(photo, fewest_pixels, takes_raw)
    if outcome.error:
        raise outcome.error
    return outcome.photo


def open_measured(
    photo: Photo, fewest_pixels: int | None = None, takes_raw: bool = False
) -> Outcome:
    """Like `open_safely`, with the cost in the worker; errors of a photo are not raised.

    Raises LandmarkError if `photo` is missing, empty, too large a file, or no photo at all.
    """
    if isinstance(photo, np.ndarray | Image.Image):
        image, size = photos.open_reduced(photo, fewest_pixels)
        is_array = isinstance(photo, np.ndarray)
        camera = CameraFacts() if is_array else photos.camera_facts(photo)
        return Outcome(OpenedPhoto(image, camera, size), None)
    name = photos.name_of(photo)
    takes_raw = takes_raw and photos.is_raw(name)
    return _pool().open(photos.read_content(photo, name), name, fewest_pixels, takes_raw)


def close() -> None:
    """Ends all workers; the next photo starts new ones."""
    _pool().close()


@cache
def _pool_of(process_id: int) -> _Pool:
    pool = _Pool(max(2, usable_cores()) + SPARE_WORKERS)
    atexit.register(pool.close)
    return pool


def _pool() -> _Pool:
    return _pool_of(os.getpid())  # a fork must not talk into the pipes of its parent


class _Dead(Exception):
    """A worker died while decoding; the argument is the key in REASONS."""


class _Pool:
    """Workers for all threads; each photo has one to itself."""

    def __init__(self, size: int) -> None:
        self._turns = threading.BoundedSemaphore(size)
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._speed: float | None = None  # CPU seconds for a megapixel of a usual JPEG
        self._stopped: OrderedDict[tuple[int, bytes], None] = OrderedDict()

    def open(
        self, content: bytes, name: str, fewest_pixels: int | None, takes_raw: bool
    ) -> Outcome:
        if self._was_stopped(content):
            return Outcome(None, photos.refusal("costly", name))
        with self._turns:
            worker = self._take()
            try:
                request = {"name": name, "speed": self._speed, "fewest_pixels": fewest_pixels,
                           "takes_raw": takes_raw}  # fmt: skip
                outcome = worker.open(content, request)
            except _Dead as death:
                worker.end()
                reason = str(death)
                if reason == "costly":
                    self._remember(content)
                error = photos.refusal(reason, name)
                return Outcome(None, error, worker.limit_seconds, has_ended_worker=True)
            except BaseException:  # Ctrl-C: an answer is still in the pipe
                worker.end()
                raise
            self._give_back(worker)
        return outcome

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.end()

    def _take(self) -> _Worker:
        with self._lock:
            while self._idle:
                worker = self._idle.pop()
                if worker.is_alive():
                    return worker
                worker.end()
            if self._speed is None:  # the others wait: there is something to be measured
                worker = _Worker(measures=True)
                self._speed = worker.speed
                return worker
        return _Worker()

    def _give_back(self, worker: _Worker) -> None:
        if worker.is_worn:
            worker.end()
            return
        with self._lock:
            self._idle.append(worker)

    def _was_stopped(self, content: bytes) -> bool:
        with self._lock:
            sizes = {size for size, _ in self._stopped}
        return len(content) in sizes and _key(content) in self._stopped

    def _remember(self, content: bytes) -> None:
        with self._lock:
            self._stopped[_key(content)] = None
            while len(self._stopped) > REMEMBERED_COUNT:
                self._stopped.popitem(last=False)


def _key(content: bytes) -> tuple[int, bytes]:
    return len(content), hashlib.sha256(content).digest()


class _Worker:
    """The parent's end of a process that decodes one photo after the other.

    Raises RuntimeError if the process does not start.
    """

    def __init__(self, measures: bool = False) -> None:
        root = Path(__file__).parents[1]
        command = [sys.executable, "-P", "-c", START, str(root), "measure" if measures else ""]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | SETTINGS
        )
        for pipe in (self._process.stdin, self._process.stdout):
            _widen(pipe)
        self._was_stopped = False
        self.is_worn = False
        self.limit_seconds = 0.0
        try:
            self.speed: float | None = self._answer()["speed"]
        except _Dead:
            self.end()
            raise RuntimeError("The process that decodes photos did not start.") from None

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                pipe.close()
            except OSError:  # what was still to be written to it
                continue

    def open(self, content: bytes, request: dict[str, object]) -> Outcome:
        """Raises _Dead if the process ends instead of an answer."""
        patience = PATIENCE_SECONDS if _has_timer() else PATIENCE_WITHOUT_TIMER
        watchdog = threading.Timer(patience, self._stop)
        watchdog.daemon = True
        watchdog.start()
        try:
            self._ask(request | {"bytes": len(content)}, content)
            while "reason" not in (answer := self._answer()):
                self.limit_seconds = answer["limit_seconds"]
            return self._outcome(answer)
        finally:
            watchdog.cancel()

    def _stop(self) -> None:
        self._was_stopped = True
        self._process.kill()

    def _ask(self, request: dict[str, object], content: bytes) -> None:
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.write(content)
            self._process.stdin.flush()
        except OSError as error:
            raise _Dead(self._reason()) from error

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise _Dead(self._reason())
        return json.loads(line)

    def _outcome(self, answer: dict) -> Outcome:
        self.is_worn = answer["is_worn"]
        cost = answer["cpu_seconds"], answer["memory_bytes"]
        if answer["reason"]:
            error = LandmarkError.because(
                answer["reason"], photos.REASONS[answer["reason"]], **answer["details"]
            )
            return Outcome(None, error, *cost)
        image = Image.new("RGB", answer["size"])
        for top, bottom in photos.strips(*image.size):
            rows = self._process.stdout.read((bottom - top) * image.width * 3)
            if len(rows) < (bottom - top) * image.width * 3:
                raise _Dead(self._reason())
            strip = Image.frombuffer("RGB", (image.width, bottom - top), rows, "raw", "RGB", 0, 1)
            image.paste(strip, (0, top))
        wrote = answer["camera"]
        camera = CameraFacts(**wrote | {"position": wrote["position"] and (*wrote["position"],)})
        photo = OpenedPhoto(image, camera, tuple(answer["full_size"]))
        return Outcome(photo, None, *cost)

    def _reason(self) -> str:
        """Why the process ended: it was stopped for its time, for its memory, or crashed."""
        code = self._process.wait()
        if self._was_stopped or (_has_timer() and code == -signal.SIGPROF):
            return "costly"
        return "heavy" if code == -getattr(signal, "SIGKILL", 0) else "damaged"


def _widen(pipe: BinaryIO) -> None:
    """Widens the pipe, so that the two processes wait for each other less often."""
    try:
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    except (ImportError, AttributeError, OSError):  # not on Windows and macOS, or too many pipes
        return


def _has_timer() -> bool:
    return hasattr(signal, "setitimer")


# --- in the worker ---


def work(measures: bool) -> None:
    """Answers photo after photo until the parent closes the pipe or ends."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    _prepare()
    speed = _measure_speed() if measures else None
    _limit_memory()
    _send(answers, {"speed": speed})
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders' remarks on damaged files
    while line := requests.readline():
        request = json.loads(line)
        content = requests.read(request["bytes"])
        if len(content) < request["bytes"]:
            break
        try:
            _serve(answers, content, request)
        except OSError:  # nobody reads any more
            break
        del content  # idle workers keep nothing


def _prepare() -> None:
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this one
    if _has_timer():  # whatever the parent does with this signal, here it ends the process
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGPROF])
    warnings.simplefilter("ignore")
    photos.register_decoders(thread_count=1)


def _measure_speed() -> float:
    """CPU seconds that a megapixel of a typical JPEG takes on this machine."""
    noise = Image.effect_noise((SAMPLE_PX, SAMPLE_PX), 40).convert("RGB")
    file = io.BytesIO()
    noise.save(file, "JPEG")
    start = time.process_time()
    photos.open_photo(file)
    return (time.process_time() - start) / (SAMPLE_PX**2 / 1e6)


def _limit_memory() -> None:
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    except (ImportError, OSError, ValueError):  # not on Windows and macOS
        return


def _serve(answers: BinaryIO, content: bytes, request: dict) -> None:
    name, speed, takes_raw = request["name"], request["speed"], request["takes_raw"]
    if takes_raw:
        raw.is_installed()  # before the clock starts
    start, memory = time.process_time(), _peak_memory(reset=True)
    found: dict[str, object] = {"reason": "", "is_worn": False}
    try:
        _limit_time(BASE_SECONDS, answers)
        image = photos.identify(content, name, takes_raw)
        allowed = allowed_seconds(image.format, image.size, speed)
        _limit_time(max(0.01, allowed - (time.process_time() - start)), answers)
        found["camera"] = asdict(photos.camera_facts(image))
        fewest = request["fewest_pixels"]
        rgb, full_size = photos.decode(image, name, fewest, photos.draft(image, fewest))
        found |= {"size": rgb.size, "full_size": full_size}
    except LandmarkError as error:
        details = {key: value for key, value in error.details.items() if key != "name"}
        found |= {"reason": error.reason, "details": details | {"name": name}}
        found["is_worn"] = error.reason == "heavy"
    except MemoryError:
        found |= {"reason": "heavy", "details": {"name": name, "limit": photos.MAX_MEMORY_GB}}
        found["is_worn"] = True
    _limit_time(0)
    found["cpu_seconds"] = time.process_time() - start
    found["memory_bytes"] = max(0, _peak_memory() - memory)
    _send(answers, found)
    if not found["reason"]:
        for top, bottom in photos.strips(*rgb.size):
            answers.write(rgb.crop((0, top, rgb.width, bottom)).tobytes())
    answers.flush()


def allowed_seconds(kind: str | None, size: tuple[int, int], speed: float) -> float:
    """CPU seconds for a photo of that format and size, where a usual megapixel takes `speed`."""
    honest = size[0] * size[1] / 1e6 * speed * EFFORT.get(kind, USUAL_EFFORT)
    return honest + min(BASE_SECONDS + honest, SPARE_SECONDS)


def _limit_time(seconds: float, answers: BinaryIO | None = None) -> None:
    """Has the system end this process after that many more CPU seconds; 0 removes the limit.

    `answers` is told so first: afterwards it may be too late.
    """
    if answers:
        _send(answers, {"limit_seconds": seconds})
    if _has_timer():
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _peak_memory(reset: bool = False) -> int:
    """Peak bytes of this process since the last reset; 0 if the system does not count."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def _send(answers: BinaryIO, answer: dict[str, object]) -> None:
    answers.write(json.dumps(answer).encode() + b"\n")
    answers.flush()
