"""One photo in many wrappings gives the same pixels; what is no photo gives a clear error."""

import io
import os
import random
import struct
import tempfile
import warnings
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from landmark_model.config import LandmarkError
from landmark_model.photos import (
    NO_REMARKS,
    CameraFacts,
    camera_facts,
    camera_position,
    open_photo,
    open_reduced,
)
from landmark_model.training.smoke import make_photo

pillow_heif.register_heif_opener()
SIZE = (64, 48)
PHOTO = make_photo(1, seed=3, size=SIZE)
PIXELS = np.asarray(PHOTO)
# How a camera held that way stores an upright photo, by EXIF orientation.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
ORIENTATION, GPS = 0x0112, 0x8825


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    """The bytes of a file of that kind."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(photo: object) -> np.ndarray:
    """What the door makes of a photo, as signed numbers, so that they can be subtracted."""
    image = open_photo(photo)
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def difference(photo: object, expected: Image.Image = PHOTO) -> int:
    """The largest difference of any channel, 0..255, to the pixels expected."""
    found, wanted = pixels(photo), np.asarray(expected).astype(int)
    assert found.shape == wanted.shape
    return int(abs(found - wanted).max())


def refusal(photo: object) -> str:
    """The message that a photo is refused with."""
    with pytest.raises(LandmarkError) as caught:
        open_photo(photo)
    return str(caught.value)


@pytest.fixture
def path(tmp_path):
    """The photo as a PNG file."""
    PHOTO.save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


# --- the same photo, wrapped differently ---


@pytest.mark.parametrize(
    "wrap",
    [
        lambda path: path,
        str,
        Path.read_bytes,
        lambda path: bytearray(path.read_bytes()),
        lambda path: memoryview(path.read_bytes()),
        lambda path: io.BytesIO(path.read_bytes()),
        Image.open,
        lambda path: PHOTO,
        lambda path: PIXELS,
        lambda path: PIXELS[::-1].copy()[::-1],
    ],
    ids=[
        "path",
        "str",
        "bytes",
        "bytearray",
        "memoryview",
        "BytesIO",
        "lazy",
        "PIL",
        "array",
        "strided",
    ],
)
def test_wrapping_does_not_matter(path, wrap):
    assert difference(wrap(path)) == 0


def test_open_file_is_read_and_left_open(path):
    with path.open("rb") as file:
        assert difference(file) == 0
        assert not file.closed


def test_file_object_can_be_given_twice(path):
    buffer = io.BytesIO(path.read_bytes())
    assert difference(buffer) == difference(buffer) == 0


def test_file_without_a_name_works(path):
    with tempfile.TemporaryFile() as file:
        file.write(path.read_bytes())
        file.seek(0)
        assert difference(file) == 0


def test_ending_of_the_name_does_not_matter(path):
    assert difference(path.rename(path.with_suffix(".jpg"))) == 0


def test_image_given_is_not_modified():
    image = PHOTO.copy()
    image.info["comment"] = "mine"
    image.getexif()[ORIENTATION] = 6
    opened = open_photo(image)
    assert opened.size == SIZE[::-1]
    assert image.size == SIZE and image.info["comment"] == "mine"
    assert image.getexif()[ORIENTATION] == 6
    opened.paste((0, 0, 0), (0, 0, *opened.size))
    assert np.array_equal(np.asarray(image), PIXELS)


@pytest.mark.parametrize("give", [Image.Image.copy, np.array], ids=["PIL", "array"])
def test_outcome_is_a_copy(give):
    given = give(PHOTO)
    open_photo(given).paste((1, 2, 3), (0, 0, *SIZE))
    assert np.array_equal(np.asarray(given), PIXELS)


def test_lazy_image_given_stays_usable(path):
    with Image.open(path) as image:
        open_photo(image)
        assert np.array_equal(np.asarray(image), PIXELS)


# --- modes ---


GREY = PHOTO.convert("L")
DEEP_GREY = Image.fromarray(np.asarray(GREY).astype(np.uint16) * 257)


@pytest.mark.parametrize(
    ("image", "expected", "tolerance"),
    [
        (PHOTO.convert("RGBA"), PHOTO, 0),
        (PHOTO.convert("RGBX"), PHOTO, 0),
        (PHOTO.convert("RGBA").convert("RGBa"), PHOTO, 0),
        (PHOTO.convert("CMYK"), PHOTO, 2),
        (PHOTO.convert("YCbCr"), PHOTO, 4),
        (PHOTO.convert("HSV"), PHOTO, 12),
        (PHOTO.quantize(32), PHOTO.quantize(32).convert("RGB"), 0),
        (PHOTO.convert("1"), PHOTO.convert("1").convert("RGB"), 0),
        (GREY, GREY.convert("RGB"), 0),
        (GREY.convert("LA"), GREY.convert("RGB"), 0),
        (PHOTO.quantize(32).convert("PA"), PHOTO.quantize(32).convert("RGB"), 0),
        (GREY.convert("I"), GREY.convert("RGB"), 0),
        (GREY.convert("F"), GREY.convert("RGB"), 0),
        (DEEP_GREY, GREY.convert("RGB"), 1),
        (DEEP_GREY.convert("I"), GREY.convert("RGB"), 1),
    ],
    ids=lambda value: getattr(value, "mode", None),
)
def test_mode_does_not_matter(image, expected, tolerance):
    assert difference(image, expected) <= tolerance


@pytest.mark.parametrize(
    ("content", "expected", "tolerance"),
    [
        (encode(PHOTO, "BMP"), PHOTO, 0),
        (encode(PHOTO, "TIFF"), PHOTO, 0),
        (encode(PHOTO, "TIFF", compression="tiff_lzw"), PHOTO, 0),
        (encode(PHOTO, "PPM"), PHOTO, 0),
        (encode(PHOTO, "WEBP", lossless=True), PHOTO, 0),
        (encode(PHOTO, "JPEG", quality=100, subsampling=0), PHOTO, 4),
        (encode(PHOTO.convert("CMYK"), "JPEG", quality=100, subsampling=0), PHOTO, 8),
        (encode(PHOTO, "HEIF", quality=100, chroma=444), PHOTO, 16),
        (encode(PHOTO, "AVIF", quality=100, subsampling="4:4:4"), PHOTO, 16),
        (encode(PHOTO.quantize(32), "GIF"), PHOTO.quantize(32).convert("RGB"), 0),
        (encode(DEEP_GREY, "PNG"), GREY.convert("RGB"), 1),
        (encode(DEEP_GREY, "TIFF"), GREY.convert("RGB"), 1),
        (encode(DEEP_GREY, "PPM"), GREY.convert("RGB"), 1),
        (encode(PHOTO.convert("1"), "PNG"), PHOTO.convert("1").convert("RGB"), 0),
    ],
    ids=(
        [
            "bmp",
            "tiff",
            "lzw",
            "ppm",
            "webp",
            "jpeg",
            "cmyk",
            "heic",
            "avif",
            "gif",
            "png16",
            "tiff16",
            "pgm16",
            "png1",
        ]
    ),
)
def test_format_does_not_matter(content, expected, tolerance):
    assert difference(content, expected) <= tolerance


def test_dark_16_bit_photo_stays_dark():
    dark = Image.fromarray(np.full((20, 20), 200, np.uint16))  # of 65,535
    assert pixels(encode(dark, "PNG")).max() <= 1


def test_undefined_numbers_are_no_python_warning():
    values = np.full((20, 20), 100, np.float32)
    values[3:5] = np.nan
    found = pixels(encode(Image.fromarray(values), "TIFF"))
    assert (found[10:] == 100).all()


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_transparency_is_white(kind):
    image = PHOTO.convert("RGBA")
    image.paste((255, 0, 0, 0), (0, 0, 20, 48))
    found = pixels(encode(image, kind, lossless=True))
    assert (found[:, :20] == 255).all()
    assert np.array_equal(found[:, 20:], PIXELS[:, 20:])


def test_half_transparency_is_halfway_to_white():
    image = Image.new("RGBA", (20, 20), (0, 100, 200, 128))
    assert abs(pixels(image)[0, 0] - (127, 177, 227)).max() <= 1


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_transparent_colour_is_white(mode):
    image = Image.new(mode, (20, 20))
    if mode == "P":
        image.putpalette([0, 0, 0, 200, 0, 0])
    image.paste(1 if mode != "RGB" else (1, 1, 1), (0, 0, 10, 20))
    transparency = 1 if mode != "RGB" else (1, 1, 1)
    found = pixels(encode(image, "PNG", transparency=transparency))
    assert (found[:, :10] == 255).all() and (found[:, 10:] == 0).all()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_animation_gives_its_first_frame(kind):
    frames = [Image.new("RGB", SIZE, colour) for colour in ("red", "lime", "blue")]
    content = encode(frames[0], kind, save_all=True, append_images=frames[1:])
    assert difference(content, frames[0]) <= 2


# --- orientation ---


def turned(orientation: int, kind: str) -> bytes:
    """The photo as a camera held that way stores it."""
    method = STORED[orientation]
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = PHOTO.transpose(method) if method is not None else PHOTO
    return encode(stored, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", STORED)
def test_exif_rotated_copy_gives_the_same_pixels(orientation, kind):
    assert difference(turned(orientation, kind)) == 0


@pytest.mark.parametrize("orientation", STORED)
def test_exif_rotated_pil_image_gives_the_same_pixels(orientation):
    with Image.open(io.BytesIO(turned(orientation, "PNG"))) as image:
        assert difference(image) == 0


@pytest.mark.parametrize("kind", ["AVIF", "JPEG"])  # in HEIC, EXIF has no say
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_exif_rotated_lossy_copy_is_upright(orientation, kind):
    assert abs(pixels(turned(orientation, kind)) - PIXELS).mean() < 12


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "HEIF", "AVIF"])
def test_what_comes_out_is_not_turned_again_and_tells_nothing_of_the_camera(kind):
    exif = gps_exif()
    exif[ORIENTATION], exif[0x010F] = 6, "Maker"
    stored = PHOTO.transpose(STORED[6])
    photo = open_photo(encode(stored, kind, exif=exif.tobytes()))
    assert difference(photo, photo.copy()) == 0
    assert open_photo(photo).size == photo.size
    assert dict(photo.getexif()) == {} and photo.info == {}


LARGE = make_photo(1, seed=3, size=(1600, 1200))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize(("fewest", "size"), [(20_000, (177, 133)), (400_000, (800, 600))])
def test_reduced_photo_is_the_whole_one_smaller(kind, orientation, fewest, size):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = LARGE.transpose(STORED[orientation]) if STORED[orientation] else LARGE
    image, full_size = open_reduced(encode(stored, kind, exif=exif), fewest)
    assert full_size == (1600, 1200)
    assert fewest <= image.width * image.height < 4 * fewest
    assert abs(image.width / image.height - 4 / 3) < 0.02 and image.width >= size[0]
    apart = np.asarray(image).astype(int) - np.asarray(LARGE.resize(image.size)).astype(int)
    assert abs(apart).mean() < 4


def test_of_a_strip_the_pixels_in_the_middle_count():
    image, _ = open_reduced(encode(LARGE.resize((4000, 200)), "PNG"), 40_000)
    assert image.size == (4000, 200)
    image, _ = open_reduced(encode(LARGE.resize((4000, 200)), "PNG"), 20_000)
    assert image.size == (2000, 100)


def test_photo_that_is_small_already_is_not_reduced():
    for photo in (encode(PHOTO, "PNG"), PHOTO, PIXELS):
        image, size = open_reduced(photo, PHOTO.width * PHOTO.height)
        assert image.size == size == PHOTO.size and np.array_equal(image, PIXELS)


def test_image_that_was_given_is_reduced_in_a_copy():
    given = Image.open(io.BytesIO(encode(LARGE, "JPEG")))
    assert open_reduced(given, 20_000).image.width < 1600
    assert given.size == LARGE.size


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_impossible_orientation_is_ignored(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    assert difference(encode(PHOTO, "PNG", exif=exif)) == 0


def exif_of(*entries: tuple[int, int, int, bytes], count: int | None = None) -> bytes:
    """An EXIF block of (tag, type, count, value), as no careful program would write it."""
    packed = b"".join(struct.pack(">HHL", *entry[:3]) + entry[3] for entry in sorted(entries))
    size = struct.pack(">H", len(entries) if count is None else count)
    return b"Exif\0\0MM\0*\0\0\0\x08" + size + packed + b"\0\0\0\0"


TURNED = (ORIENTATION, 3, 1, b"\0\6\0\0")


@pytest.mark.parametrize(
    "exif",
    [
        exif_of(TURNED),
        exif_of(TURNED, (0x010F, 11, 1, struct.pack(">f", 1.5))),
        exif_of(TURNED, (0x011A, 2, 4, b"abc\0")),
        exif_of(TURNED, (0x0100, 2, 4, b"abc\0")),
        exif_of(TURNED, (0x8769, 4, 1, b"\xff\xff\xff\xff")),
        exif_of(TURNED, (0x927C, 7, 900, b"\0\0\xff\0")),
        exif_of(TURNED, count=40),
    ],
    ids=[
        "sound",
        "maker-number",
        "resolution-text",
        "width-text",
        "far-folder",
        "far-note",
        "cut-off",
    ],
)
def test_odd_exif_neither_stops_nor_misleads(exif):
    content = encode(PHOTO.transpose(STORED[6]), "JPEG", exif=exif, quality=100, subsampling=0)
    assert difference(content) <= 4


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_that_is_none_is_ignored(kind):
    exif = b"Exif\0\0" + b"not a TIFF header" * 3
    assert abs(pixels(encode(PHOTO, kind, exif=exif)) - PIXELS).mean() < 12


# --- what is refused ---


def header(width: int, height: int) -> bytes:
    """A photo that says how large it is, and ends there."""
    return f"P5 {width} {height} 255\n".encode() + bytes(64)


def png_header(width: int, height: int) -> bytes:
    """A PNG file that says how large it is, and ends there."""
    chunk = b"IHDR" + struct.pack(">LL", width, height) + b"\1\0\0\0\0"
    size, check = struct.pack(">L", 13), struct.pack(">L", zlib.crc32(chunk))
    return b"\x89PNG\r\n\x1a\n" + size + chunk + check + b"\0\0\0\0IDAT"


def half(content: bytes) -> bytes:
    """The first half of a file."""
    return content[: len(content) // 2]


BAD_FILES = {
    "empty.jpg": (b"", "empty"),
    "text.jpg": (b"just some words, nothing else\n" * 9, "not a photo"),
    "page.jpg": (b"<!DOCTYPE html><html><body>404</body></html>", "not a photo"),
    "archive.jpg": (b"PK\3\4" + bytes(400), "not a photo"),
    "random.jpg": (bytes(range(7, 256)) * 4, "not a photo"),
    "script.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n", "not a photo"),
    "drawing.svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
    "drawing2.svg": (b'<?xml version="1.0"?>\n<!-- x -->\n<svg/>', "SVG"),
    "page.pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" + bytes(100), "PDF"),
    "cut.jpg": (half(encode(PHOTO, "JPEG")), "damaged"),
    "cut.png": (half(encode(PHOTO, "PNG")), "damaged"),
    "cut.webp": (half(encode(PHOTO, "WEBP")), ""),
    "cut.gif": (half(encode(PHOTO, "GIF")), "damaged"),
    "cut.bmp": (half(encode(PHOTO, "BMP")), "damaged"),
    "cut.tif": (half(encode(PHOTO, "TIFF")), ""),
    "cut.heic": (half(encode(PHOTO, "HEIF")), ""),
    "cut.avif": (half(encode(PHOTO, "AVIF")), ""),
    "start.jpg": (encode(PHOTO, "JPEG")[:20], ""),
    "start.heic": (encode(PHOTO, "HEIF")[:32], ""),
    "huge.png": (encode(Image.new("1", (10_000, 9_000)), "PNG"), "80 megapixels"),
    "bomb.png": (encode(Image.new("1", (20_000, 9_000)), "PNG"), "80 megapixels"),
    "huge.pgm": (header(9_000, 9_000), "80 megapixels"),
    "bomb.pgm": (header(60_000, 60_000), "80 megapixels"),
    "worst.png": (png_header(2**31 - 1, 2**31 - 1), "80 megapixels"),
    "line.png": (encode(Image.new("RGB", (100, 1)), "PNG"), "100 x 1 px"),
    "pixel.gif": (encode(Image.new("P", (1, 1)), "GIF"), "1 x 1 px"),
    "small.png": (encode(Image.new("RGB", (7, 300)), "PNG"), "8 px"),
    "narrow.png": (encode(Image.new("L", (280, 15_000)), "PNG"), "280 x 15000 px"),
}


@pytest.mark.parametrize("name", ["DSC_1.NEF", "a.dng"])
def test_raw_files_are_refused_though_pillow_would_show_the_preview_in_them(path, tmp_path, name):
    raw = tmp_path / name
    raw.write_bytes(encode(PHOTO, "TIFF"))
    assert refusal(raw) == f"{name} is RAW: export a JPEG."
    path.rename(raw)  # a JPEG is one, whatever it is called
    assert open_photo(raw).size == SIZE


@pytest.mark.parametrize("wrap", [Path, str, Path.open], ids=["path", "str", "file"])
@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_file_is_named_with_a_way_out(tmp_path, name, wrap):
    content, reason = BAD_FILES[name]
    (tmp_path / name).write_bytes(content)
    given = (tmp_path / name).open("rb") if wrap is Path.open else wrap(tmp_path / name)
    assert_helpful(refusal(given), name, reason)
    if wrap is Path.open:
        assert not given.closed
        given.close()


def assert_helpful(message: str, name: str, reason: str) -> None:
    """The message names the file and the reason, has a second sentence, and tells no folder."""
    assert message.startswith(name)
    assert reason in message
    assert message.endswith(".") and message[len(name) : -1].count(". ") >= 1
    assert "/" not in message and tempfile.gettempdir() not in message
    assert "0x" not in message and "object at" not in message


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_bytes_are_refused_alike(name):
    content, reason = BAD_FILES[name]
    assert_helpful(refusal(content), "The photo", reason)


@pytest.mark.parametrize("wrap", [Path, str], ids=["path", "str"])
def test_missing_file_is_named(tmp_path, wrap):
    assert_helpful(refusal(wrap(tmp_path / "no.jpg")), "no.jpg", "does not exist")


@pytest.mark.parametrize("wrap", [Path, str], ids=["path", "str"])
def test_folder_is_named(tmp_path, wrap):
    assert_helpful(refusal(wrap(tmp_path)), tmp_path.name, "folder")


@pytest.mark.parametrize(
    "text",
    ["x" * 5_000, "x/" * 3_000, "a\0b.jpg", "data:image/png;base64," + "A" * 5_000],
    ids=["long-name", "long-path", "null", "data-url"],
)
def test_text_that_can_be_no_path_is_refused(text):
    assert len(refusal(text)) < 1_000


def test_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    assert refusal(tmp_path / "pipe.jpg").startswith("pipe.jpg")


@pytest.mark.parametrize("content", [b"plain text", encode(PHOTO, "JPEG")], ids=["text", "jpeg"])
def test_file_opened_as_text_is_refused(tmp_path, content):
    (tmp_path / "photo.jpg").write_bytes(content)
    with (tmp_path / "photo.jpg").open(encoding="utf-8") as file:
        assert_helpful(refusal(file), "photo.jpg", "rb")


def test_closed_file_is_refused(path):
    with path.open("rb") as file:
        pass
    assert "photo.png" in refusal(file)


def test_file_open_for_writing_is_refused(tmp_path):
    with (tmp_path / "new.jpg").open("wb") as file:
        assert "new.jpg" in refusal(file)


def test_closed_image_is_refused():
    image = PHOTO.copy()
    image.close()
    refusal(image)


@pytest.mark.parametrize("thing", [None, 5, 2.5, True, [], ["photo.jpg"], {}, object, b"".join])
def test_thing_of_another_type_is_refused(thing):
    assert "is not a photo" in refusal(thing)


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ((48, 64, 3), np.float32),
        ((48, 64, 3), np.int64),
        ((48, 64, 3), np.uint16),
        ((48, 64, 3), bool),
        ((48, 64, 3), object),
        ((48, 64, 2), np.uint8),
        ((64,), np.uint8),
        ((3, 48, 64), np.uint8),
        ((1, 48, 64, 3), np.uint8),
        ((0, 64, 3), np.uint8),
        ((), np.uint8),
    ],
)
def test_array_of_another_kind_is_refused(shape, kind):
    message = refusal(np.zeros(shape, kind))
    assert str(shape) in message and np.dtype(kind).name in message and "uint8" in message


def test_array_of_grey_values_or_with_transparency_is_a_photo():
    grey = np.asarray(PHOTO.convert("L"))
    assert np.array_equal(open_photo(grey), PHOTO.convert("L").convert("RGB"))
    assert np.array_equal(open_photo(np.asarray(PHOTO.convert("RGBA"))), PIXELS)


@pytest.mark.parametrize("shape", [(7, 300, 3), (300, 1, 3), (9_000, 9_000, 3)])
def test_array_of_impossible_size_is_refused(shape):
    assert "px" in refusal(np.broadcast_to(np.uint8(9), shape)).replace("megapixels", "px")


def test_smallest_photo_is_taken():
    assert open_photo(Image.new("RGB", (8, 8))).size == (8, 8)


def test_file_that_is_too_large_is_refused(tmp_path):
    with (tmp_path / "large.jpg").open("wb") as file:
        file.truncate(101 * 2**20)  # takes no room on disk
    assert_helpful(refusal(tmp_path / "large.jpg"), "large.jpg", "100 MB")


# --- whatever else may come ---

DAMAGE_COUNT = 60
SAMPLES: dict[str, Callable[[Image.Image], bytes]] = {
    "jpeg": lambda image: encode(image, "JPEG", exif=turned_exif()),
    "png": lambda image: encode(image, "PNG", exif=turned_exif()),
    "webp": lambda image: encode(image, "WEBP", exif=turned_exif()),
    "gif": lambda image: encode(image, "GIF"),
    "tiff": lambda image: encode(image, "TIFF", compression="tiff_lzw"),
    "heic": lambda image: encode(image, "HEIF", exif=turned_exif()),
    "avif": lambda image: encode(image, "AVIF"),
    "bmp": lambda image: encode(image, "BMP"),
}


def turned_exif() -> Image.Exif:
    """EXIF as of a camera: upside down, with a maker and a time."""
    exif = Image.Exif()
    exif[ORIENTATION], exif[0x010F], exif[0x011A] = 3, "Maker", 72.0
    return exif


def damaged(content: bytes, chance: random.Random) -> bytes:
    """A copy cut off, with some bytes changed, or with some lost."""
    copy, way = bytearray(content), chance.random()
    if way < 0.2:
        return content[: chance.randrange(len(content))]
    if way < 0.3:
        start = chance.randrange(len(content))
        return content[:start] + content[start + chance.randrange(1, 40) :]
    reach = chance.choice((60, 300, len(copy)))
    for _ in range(chance.choice((1, 2, 5, 20))):
        copy[chance.randrange(min(reach, len(copy)))] = chance.choice(
            (0, 255, chance.randrange(256))
        )
    return bytes(copy)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of decoders, about odd metadata
@pytest.mark.parametrize("kind", SAMPLES)
def test_no_damage_raises_anything_else(kind):
    content = SAMPLES[kind](PHOTO.resize((24, 16)))
    chance = random.Random(kind)
    surprises = {}
    for number in range(DAMAGE_COUNT):
        try:
            image = open_photo(damaged(content, chance))
            assert image.mode == "RGB"
        except LandmarkError as error:
            assert_helpful(str(error), "The photo", "")
        except Exception as error:
            surprises[number] = repr(error)
    assert not surprises


# --- where the camera was ---


def gps_exif(
    latitude=(48.0, 51.0, 30.24),
    longitude=(2.0, 17.0, 40.2),
    north: object = "N",
    east: object = "E",
) -> Image.Exif:
    """EXIF that says where; entries that are None are left out."""
    exif = Image.Exif()
    entries = {1: north, 2: latitude, 3: east, 4: longitude}
    exif.get_ifd(GPS).update({tag: value for tag, value in entries.items() if value is not None})
    return exif


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "HEIF", "AVIF"])
def test_position_is_read_from_every_kind_of_file(kind, tmp_path):
    content = encode(PHOTO, kind, exif=gps_exif().tobytes())
    path = tmp_path / "photo"
    path.write_bytes(content)
    with Image.open(path) as image:
        for photo in (content, path, str(path), io.BytesIO(content), image):
            assert camera_position(photo) == pytest.approx((48.8584, 2.2945), abs=1e-9)


@pytest.mark.parametrize(
    ("north", "east", "signs"),
    [("N", "W", (1, -1)), ("S", "E", (-1, 1)), ("S\0", "w", (-1, -1)), ("n", "e", (1, 1))],
)
def test_hemisphere_gives_the_sign(north, east, signs):
    content = encode(PHOTO, "JPEG", exif=gps_exif(north=north, east=east).tobytes())
    expected = (48.8584 * signs[0], 2.2945 * signs[1])
    assert camera_position(content) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    "entries",
    [
        {"north": None},
        {"north": ""},
        {"north": "NS"},
        {"latitude": None},
        {"latitude": (91.0, 0.0, 0.0)},
        {"latitude": (48.0,)},
        {"longitude": (180.0, 0.0, 0.1)},
        {"longitude": (2.0, 17.0, IFDRational(0, 0))},
        {"longitude": (2.0, 17.0, IFDRational(1, 0))},
        {"latitude": (0.0, 0.0, 0.0), "longitude": (0.0, 0.0, 0.0)},
    ],
    ids=str,
)
def test_position_that_is_missing_or_nonsense_is_none(entries):
    content = encode(PHOTO, "JPEG", exif=gps_exif(**entries).tobytes())
    assert camera_position(content) is None


def test_no_metadata_is_no_position():
    assert camera_position(PHOTO) is None
    assert camera_position(np.zeros((20, 20, 3), np.uint8)) is None
    for exif in (b"Exif\0\0junk" * 9, exif_of((0x8825, 4, 1, b"\xff\xff\xff\xff"))):
        assert camera_position(encode(PHOTO, "JPEG", exif=exif)) is None


def test_position_of_what_is_no_photo_is_refused(tmp_path):
    for photo in (b"", b"text", tmp_path / "missing.jpg", tmp_path, 3):
        with pytest.raises(LandmarkError):
            camera_position(photo)


# --- when and with what it was taken ---


def facts_of(**entries: object) -> CameraFacts:
    """What is read from a photo with these entries of EXIF, by their names in Pillow."""
    exif = Image.Exif()
    for name, value in entries.items():
        tag = ExifTags.Base[name]
        where = exif if name in ("Make", "Model") else exif.get_ifd(ExifTags.IFD.Exif)
        where[tag] = value
    with Image.open(io.BytesIO(encode(PHOTO, "JPEG", exif=exif.tobytes()))) as image:
        return camera_facts(image)


def test_time_and_camera_are_read():
    facts = facts_of(
        DateTimeOriginal="2024:05:01 14:02:03",
        SubsecTimeOriginal="25",
        OffsetTimeOriginal="+02:00",
        Make="Canon ",
        Model="Canon  EOS R5",
        BodySerialNumber="12\0\0",
    )  # fmt: skip
    assert facts == CameraFacts(None, "2024-05-01T14:02:03.25+02:00", "Canon", "Canon EOS R5", "12")
    assert facts.name == "Canon EOS R5" and CameraFacts(make="Sony", model="A7").name == "Sony A7"
    assert facts_of(DateTimeOriginal="2024:05:01 14:02:03", OffsetTimeOriginal="summer") == (
        CameraFacts(taken_at="2024-05-01T14:02:03")
    )


@pytest.mark.parametrize(
    "clock",
    ["0000:00:00 00:00:00", "1970:01:01 00:03:00", "    :  :     :  :  ", "2024:13:01 00:00:00",
     "2999:01:01 00:00:00", "yesterday", "2024-05-01 14:02:03", ""],
)  # fmt: skip
def test_clock_that_was_never_set_or_is_ahead_is_not_believed(clock):
    assert facts_of(DateTimeOriginal=clock, Model="A7") == CameraFacts(model="A7")


def test_threads_that_open_photos_leave_the_warnings_as_they_were():
    before, first, second = list(warnings.filters), ExitStack(), ExitStack()
    first.enter_context(NO_REMARKS)
    second.enter_context(NO_REMARKS)
    first.close()  # before the second, as no stack of one thread would
    silenced = warnings.filters[0][0] == "ignore"
    second.close()
    assert silenced and warnings.filters == before
