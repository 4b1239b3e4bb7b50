"""Strangers' photos: the same as `open_photo` gives, and no photo costs minutes or gigabytes."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from built_photos import SIZE, TRAPS, encode, in_gif, in_jpeg, many_scans, photo, segment
from PIL import ExifTags, Image

from landmark_model import LandmarkError, decoding, open_photo, open_safely, photos, traps
from landmark_model.decoding import allowed_seconds, open_measured
from landmark_model.training.smoke import make_photo

ROOT = Path(__file__).parents[1]
# A worker whose decoder hangs, asks for too much, or crashes, by the format of the photo.
ODD_WORKER = """
import os, sys; sys.path.insert(0, sys.argv[1])
from landmark_model import decoding, photos
decode = photos.decode
def odd(image, name, *more):
    if image.format == "GIF":
        sum(iter(int, 1))
    if image.format == "PPM":
        bytearray(2 * 10**9)
    return os.abort() if image.format == "BMP" else decode(image, name, *more)
photos.decode = odd
decoding.work(sys.argv[2] == "measure")
"""


@pytest.fixture(scope="module", autouse=True)
def _workers():
    yield
    decoding.close()


@pytest.fixture
def odd_workers(monkeypatch):
    """Workers that fail as ODD_WORKER says, which no other test has seen."""
    monkeypatch.setattr(decoding, "START", ODD_WORKER)
    decoding.close()
    decoding._pool_of.cache_clear()
    yield
    decoding.close()
    decoding._pool_of.cache_clear()


def reason(content: object) -> str:
    """Why a photo is refused."""
    with pytest.raises(LandmarkError) as caught:
        open_safely(content)
    return caught.value.reason


# --- what is built to cost ---


@pytest.mark.parametrize("name", TRAPS)
@pytest.mark.parametrize("way", [open_photo, open_safely])
def test_photo_built_to_cost_is_refused_before_it_is_decoded(tmp_path, name, way):
    content, expected = TRAPS[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(LandmarkError, match=name) as caught:
        way(tmp_path / name)
    assert caught.value.reason == expected


@pytest.mark.parametrize(
    "content",
    [
        many_scans(12),
        in_jpeg(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"x" * 60_000) * 200),
        in_jpeg(b"\xff" * 99),
        photo("JPEG") + b"\xff\xda\0\2" * 5_000,
        photo("JPEG") + os.urandom(2**20),
        encode(make_photo(1, 3, (900, 700)), "PNG", compress_level=0),
        encode(Image.new("L", (3_000, 3_000)), "PNG"),
        encode(Image.new("RGB", (3_000, 3_000)), "JPEG", quality=1),
        in_gif(b"\x21\xff\x0bICCRGBG1012" + (b"\xff" + bytes(255)) * 3_000 + b"\0"),
        encode(make_photo(1, 3, (64, 3_000)), "TIFF", strip_size=64),
    ],
    ids=["scans", "depth-map", "filler", "second-picture", "video", "raw-png", "flat-png",
         "flat-jpeg", "profile", "strips"],
)  # fmt: skip
def test_honest_photo_with_much_beside_its_pixels_is_opened(content):
    assert traps.find_trap(content) == ""
    assert min(open_photo(content).size) >= 48


def test_turned_strips_make_the_same_photo_as_the_whole(monkeypatch):
    image = make_photo(1, 3, (50, 37))
    for orientation, turn in photos.TURNS.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        content = encode(image, "PNG", exif=exif)
        monkeypatch.setattr(photos, "STRIP_PIXELS", 250)
        assert np.array_equal(open_photo(content), image.transpose(turn))


@pytest.mark.parametrize("mode", ["I", "F"])
def test_depth_of_a_grey_photo_is_told_by_all_its_strips(monkeypatch, mode):
    values = np.full((40, 20), 200, np.float32)
    values[35] = 65_535
    image = Image.fromarray(values if mode == "F" else values.astype(np.int32))
    monkeypatch.setattr(photos, "STRIP_PIXELS", 100)
    assert np.asarray(open_photo(image))[0].max() == 1


def test_decoders_open_nothing_else():
    opened, is_watched = [], [False]

    def watch(event: str, arguments: tuple) -> None:
        if is_watched[0] and event in ("open", "socket.connect", "subprocess.Popen", "os.system"):
            opened.append((event, arguments[0]))

    kinds = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "HEIF", "AVIF", "MPO")
    files = [photo(kind) for kind in kinds]
    files.append(photo("TIFF", compression="tiff_lzw"))
    for content in files:  # once before: modules are imported late
        open_photo(content)
    sys.addaudithook(watch)
    is_watched[0] = True
    for content in files:
        open_photo(content)
    is_watched[0] = False
    assert not opened


# --- the same as in this process ---


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIF", "AVIF"])
def test_safely_opened_photo_is_the_same(kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8825).update({1: "S", 2: (48.0, 51.0, 30.0), 3: "E", 4: (2.0, 17.0, 6.0)})
    exif.get_ifd(0x8769).update({0x9003: "2024:05:01 14:02:03", 0xA431: "12"})
    content = photo(kind, exif=exif.tobytes()) if kind not in ("GIF", "BMP") else photo(kind)
    opened = open_safely(content)
    assert opened.image.mode == "RGB" and opened.image.info == {}
    assert np.array_equal(opened.image, open_photo(content))
    assert opened.camera == photos.camera_facts(photos.identify(content, "photo"))
    assert (opened.position is None) == (opened.camera.serial == "") == (kind in ("GIF", "BMP"))


def test_photo_of_many_strips_arrives_whole():
    image = make_photo(1, 3, (1_900, 1_500))
    assert np.array_equal(open_safely(encode(image, "BMP")).image, image)


@pytest.mark.parametrize(
    "bad", [b"", b"words", b"<svg/>", b"%PDF-1.7", photo("PNG")[:900], photo("JPEG")[:700],
            encode(Image.new("RGB", (7, 99)), "PNG"), encode(Image.new("1", (9_999, 9_000)), "PNG")]
)  # fmt: skip
def test_error_is_the_same(tmp_path, bad):
    (tmp_path / "a.jpg").write_bytes(bad)
    with pytest.raises(LandmarkError) as here:
        open_photo(tmp_path / "a.jpg")
    with pytest.raises(LandmarkError) as there:
        open_safely(tmp_path / "a.jpg")
    assert str(here.value) == str(there.value) and here.value.reason == there.value.reason
    assert here.value.details == there.value.details


def test_missing_file_and_wrong_thing_are_refused(tmp_path):
    for thing in (tmp_path / "no.jpg", tmp_path, 5, None):
        with pytest.raises(LandmarkError):
            open_safely(thing)


def test_what_is_decoded_already_needs_no_worker(monkeypatch):
    monkeypatch.setattr(decoding, "_pool", None)
    image = make_photo(1, 3, SIZE)
    for given in (image, np.asarray(image)):
        assert np.array_equal(open_safely(given).image, image)


# --- limits of a worker ---


def test_decoder_that_never_ends_is_stopped_and_replaced_and_its_photo_remembered(odd_workers):
    endless = photo("GIF")
    outcome = open_measured(endless)
    assert outcome.error.reason == "costly" and outcome.cpu_seconds <= 2 * decoding.BASE_SECONDS
    assert open_safely(photo("PNG")).image.size == SIZE
    decoding.close()
    assert reason(endless) == "costly"
    assert not decoding._pool()._idle  # no worker was needed to say so


def test_system_without_a_timer_stops_what_never_ends_by_the_clock(odd_workers, monkeypatch):
    monkeypatch.setattr(decoding, "START", "import signal; del signal.setitimer\n" + ODD_WORKER)
    monkeypatch.delattr(signal, "setitimer")
    monkeypatch.setattr(decoding, "PATIENCE_WITHOUT_TIMER", 1)
    assert reason(photo("GIF")) == "costly"


def test_slow_photo_does_not_hold_up_another_one(odd_workers):
    pool = decoding._pool()
    for worker in [pool._take(), pool._take()]:
        pool._give_back(worker)
    slow = threading.Thread(target=open_measured, args=(photo("GIF"),))
    slow.start()
    assert open_safely(photo("PNG")).image.size == SIZE
    assert slow.is_alive()
    slow.join()


def test_crash_is_a_damaged_photo_and_too_much_memory_a_heavy_one(odd_workers):
    assert reason(photo("BMP")) == "damaged"
    assert reason(photo("PPM")) == "heavy"
    assert open_safely(photo("PNG")).image.size == SIZE


@pytest.mark.parametrize(
    ("fewest", "size"),
    [(None, (90, 60)), (1_351, (90, 60)), (1_350, (45, 30)), (600, (30, 20))],
)
def test_large_photo_comes_as_a_smaller_copy_that_knows_its_size(fewest, size):
    photo, file = Image.linear_gradient("L").resize((90, 60)).convert("RGB"), io.BytesIO()
    photo.save(file, "PNG")
    for given in (photo, file):
        opened = open_safely(given, fewest)
        assert (opened.image.size, opened.size) == (size, (90, 60))


def test_worker_that_is_killed_while_idle_is_replaced():
    open_safely(photo("PNG"))
    for worker in decoding._pool()._idle:
        worker._process.kill()
        worker._process.wait()
    assert open_safely(photo("PNG")).image.size == SIZE


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="nobody counts memory here")
@pytest.mark.parametrize(("mode", "kind"), [("RGBA", "PNG"), ("F", "TIFF")])
def test_large_turned_photo_takes_less_than_a_gigabyte(mode, kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"compression": "tiff_deflate"} if kind == "TIFF" else {"compress_level": 1}
    flat = Image.new(mode, (9_000, 8_800))
    outcome = open_measured(encode(flat, kind, exif=exif, **options))
    assert outcome.photo.image.size == (8_800, 9_000)
    assert 2e8 < outcome.memory_bytes < 1e9


def test_tiff_whose_strips_end_before_its_picture_does_is_damaged():
    file = io.BytesIO()
    Image.new("F", (1600, 28)).save(file, "TIFF")
    content = bytearray(file.getvalue())
    height = content.index(b"\x01\x01") + 8  # of the entry of tag 257, the image's length
    assert open_safely(bytes(content)).size == (1600, 28)
    content[height : height + 4] = (45_000).to_bytes(4, "little")
    content[height - 6 : height - 4] = b"\x04\x00"  # a number of four bytes
    with pytest.raises(LandmarkError, match="damaged"):
        open_safely(bytes(content))


def test_claim_of_many_pixels_takes_no_memory_for_them():
    outcome = open_measured(TRAPS["claim.jpg"][0])
    assert outcome.error.reason == "damaged" and outcome.memory_bytes < 1e8


def test_more_pixels_may_take_longer_but_never_much_longer_than_an_honest_photo():
    small, large = (allowed_seconds("HEIF", size, 0.01) for size in ((99, 99), (9_000, 8_800)))
    assert decoding.BASE_SECONDS <= small < 1.1 < large
    honest = 79.2 * 0.01 * decoding.EFFORT["HEIF"]
    assert honest < large <= honest + 2


# --- the life of a worker ---


def test_worker_starts_in_any_folder_and_does_not_import_torch_or_the_program(tmp_path):
    (tmp_path / "numpy.py").write_text("raise SystemExit('the folder is not ours')")
    program = tmp_path / "program.py"
    program.write_text(
        f"import os, sys; sys.path[:] = [{str(ROOT)!r}, *sys.path[1:]]\n"
        "from landmark_model import decoding\n"
        f"print(decoding.open_safely({str(ROOT / 'examples' / 'taj-mahal.jpg')!r}).image.size)\n"
        "worker = decoding._pool()._idle[0]._process.pid\n"
        "maps = f'/proc/{worker}/maps'\n"
        "print('torch' in open(maps).read() if os.path.exists(maps) else False)\n"
    )
    found = subprocess.run(
        [sys.executable, program], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert found.stdout.split("\n")[:2] == ["(1024, 673)", "False"], found.stderr


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
def test_workers_end_with_their_parent():
    code = (
        "import os, signal; from landmark_model import decoding\n"
        "decoding.open_safely('examples/taj-mahal.jpg')\n"
        "print(decoding._pool()._idle[0]._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    worker = int(found.stdout)
    deadline = time.monotonic() + 30
    while is_running(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(worker)


def is_running(process: int) -> bool:
    """Whether a process is there, and is more than a record of how it ended."""
    status = Path(f"/proc/{process}/stat")
    if Path("/proc/self/stat").exists():
        return status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    try:
        os.kill(process, 0)
    except OSError:
        return False
    return True


def test_file_object_is_read_from_its_start():
    file = io.BytesIO(photo("PNG"))
    file.read(9)
    assert open_safely(file).image.size == SIZE


RAWPY = """
import enum

class ThumbFormat(enum.Enum):
    JPEG = 1

class imread:
    def __init__(self, file):
        self.data, self.format, self.sizes = file.read()[4:], ThumbFormat.JPEG, self
        self.flip = 6

    def extract_thumb(self):
        if not self.data:
            raise ValueError("no thumbnail")
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass
"""


def test_raw_file_is_the_cameras_picture_in_it_where_wanted(tmp_path, monkeypatch):
    (tmp_path / "rawpy.py").write_text(RAWPY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Nikon"
    Image.new("RGB", (40, 20), "teal").save(buffer, "JPEG", exif=exif)
    (tmp_path / "a.NEF").write_bytes(b"RAW!" + buffer.getvalue())
    (tmp_path / "b.NEF").write_bytes(b"RAW!")
    decoding.close()
    try:
        opened = open_safely(tmp_path / "a.NEF", takes_raw=True)
        assert opened.image.size == (20, 40), "it is turned as the camera was"
        assert opened.camera.make == "Nikon"
        for name, wanted in (("a.NEF", False), ("b.NEF", True)):
            with pytest.raises(LandmarkError, match=f"{name} is RAW: export a JPEG."):
                open_safely(tmp_path / name, takes_raw=wanted)
    finally:
        decoding.close()
