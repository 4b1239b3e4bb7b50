"""The only way in for a photo: any input becomes an upright RGB image or a clear error.

Uploads are hostile until proven otherwise: the kind is sniffed from the bytes, only raster formats
with a maintained decoder are tried (no PostScript, no SVG), what is built to cost minutes is
refused by its bytes (`traps`), and the size is read from the header before a pixel is decoded.
`decoding.open_safely` does the same in a process of its own, with limits on time and memory.
"""

from __future__ import annotations

import io
import math
import os
import re
import threading
import warnings
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from landmark_model import raw, traps
from landmark_model.config import LandmarkError

Photo = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | np.ndarray

# What photo files are called; what they are shows only when they are opened.
PHOTO_ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic"}
PHOTO_ENDINGS |= {".heif", ".avif"}
# What cameras call the readings of their sensor, which photo programs make photos of.
RAW_ENDINGS = {".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".erf", ".iiq", ".kdc", ".mrw"}
RAW_ENDINGS |= {".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf"}
RAW_ENDINGS |= {".srw", ".x3f"}
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "HEIF", "AVIF")
COMMON = (b"\xff\xd8", b"\x89PNG")  # JPEG and PNG, which Pillow knows without further modules
MAX_MEGAPIXELS = 80
MAX_FILE_BYTES = 100 * 2**20
MAX_MEMORY_GB = 1
MIN_SIDE_PX = 8
# Of the sides of a photo with more pixels: the smaller copy of a longer strip would not be small.
MAX_RATIO, STRIP_MEGAPIXELS = 50, 4
STRIP_PIXELS = 2**20  # turned into RGB at once: a copy of all pixels is made once, not three times
REASONS = {
    "missing": "{name} does not exist. Check the path.",
    "locked": "{name} cannot be read ({problem}). Check the permissions of the file.",
    "empty": "{name} is empty (0 bytes). Copy or download it again.",
    "large_file": "{name} is larger than {limit} MB. Export a smaller copy.",
    "drawing": "{name} is a drawing (SVG), not a photo. Export it as JPEG or PNG.",
    "raw": "{name} is RAW: export a JPEG.",
    "raw_reader": "{name} is RAW: export a JPEG, or install what reads the picture in it: "
    'pip install "landmark-model[raw]".',
    "document": "{name} is a PDF document, not a photo. Export the page as JPEG or PNG.",
    "no_photo": "{name} is not a photo that can be read. "
    "Use JPEG, PNG, WebP, HEIC, AVIF, TIFF, GIF or BMP.",
    "damaged": "{name} is damaged or cut off. Copy, download or export it again.",
    "many_pixels": "{name} has more than {limit} megapixels. Export a smaller copy, "
    "2,000 px wide is plenty.",
    "costly": "{name} is built so that it takes minutes to read. Export it again as JPEG.",
    "heavy": "{name} takes more than {limit} GB of memory to read. Export a smaller copy, "
    "2,000 px wide is plenty.",
    "narrow": "{name} is {width} x {height} px; the longer side may be at most {limit} times as "
    "long as the shorter. Crop it.",
    "small": "{name} is {width} x {height} px; each side needs {limit} px or more. "
    "Use a larger copy.",
}
LIMITS = {
    "large_file": MAX_FILE_BYTES // 2**20,
    "many_pixels": MAX_MEGAPIXELS,
    "heavy": MAX_MEMORY_GB,
    "narrow": MAX_RATIO,
    "small": MIN_SIDE_PX,
}
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = {TURNS[5], TURNS[6], TURNS[7], TURNS[8]}
FROM_THE_END = {TURNS[3], TURNS[4], TURNS[6], TURNS[7]}  # the first row becomes the last
MOST_CAMERA_TEXT = 100  # characters of a make, model or serial number
CLOCK = re.compile(r"(\d{4}):(\d\d):(\d\d) (\d\d:\d\d:\d\d)")
OFFSET = re.compile(r"[+-]\d\d:\d\d")


@dataclass(frozen=True)
class CameraFacts:
    """What a camera wrote into a photo; None and "" where it wrote nothing that can be used.

    `position` is latitude and longitude in degrees. `taken_at` is the time of the shot by ISO 8601,
    with the offset from UTC where the camera says it: "2024-05-01T14:02:03.25+02:00".
    """

    position: tuple[float, float] | None = None
    taken_at: str = ""
    make: str = ""
    model: str = ""
    serial: str = ""

    @property
    def name(self) -> str:
        """Make and model as people say them: "Canon EOS R5", without a make that comes twice."""
        is_twice = self.model.casefold().startswith(self.make.casefold())
        return self.model if is_twice else f"{self.make} {self.model}".strip()


class _NoRemarks:
    """Silences warnings for as long as any thread is in it: `warnings.catch_warnings` alone, left
    in another order than it was entered, would silence them for good.

    Pillow's remarks on odd metadata are of no use to anybody; damage raises.
    """

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = warnings.catch_warnings()
                self._before.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._before.__exit__(*error)


NO_REMARKS = _NoRemarks()


class Decoded(NamedTuple):
    """An upright RGB image, maybe a smaller copy of a photo of `size` = (width, height) px."""

    image: Image.Image
    size: tuple[int, int]


def open_photo(photo: Photo) -> Image.Image:
    """An upright RGB copy of `photo`: of an animation the first frame, transparency on white.

    It carries no metadata: nothing that would turn it once more, nor where it was taken.
    `photo` is a path, the bytes of a file, a binary file object (read from its start), a PIL image,
    or a uint8 array: RGB (H, W, 3), RGBA (H, W, 4) or grey (H, W). Raises LandmarkError if it is
    missing, empty, damaged, no photo, over 80 megapixels or under 8 px on a side, or built to take
    minutes or more than 1 GB of memory.
    """
    return open_reduced(photo).image


def open_reduced(photo: Photo, fewest_pixels: int | None = None) -> Decoded:
    """`open_photo` of a photo or, much faster, of a copy with half, a third, ... of its sides.

    The copy has `fewest_pixels` or more, counted in its middle where it is longer than 2:1. Raises
    LandmarkError as `open_photo` does.
    """
    name = name_of(photo)
    with NO_REMARKS:
        if not isinstance(photo, np.ndarray | Image.Image):
            image = identify(read_content(photo, name), name)
            return decode(image, name, fewest_pixels, draft(image, fewest_pixels))
        image = _from_array(photo) if isinstance(photo, np.ndarray) else photo
        _check_size(image, name)
        return decode(image, name, fewest_pixels)


def identify(content: bytes, name: str, takes_raw: bool = False) -> Image.Image:
    """The photo in the bytes of a file, called `name` in messages; no pixel is decoded yet.

    With `takes_raw`, of a RAW file it is the camera's picture in it. Raises LandmarkError as
    `open_photo` does.
    """
    if is_raw(name) and not content.startswith(COMMON):
        # Pillow would show the tiniest picture in it as if it were the photo.
        return _identify_raw(content, name, takes_raw)
    if not content.startswith(COMMON):
        register_decoders()
    size = traps.webp_size(content)
    if size and size[0] * size[1] > MAX_MEGAPIXELS * 1_000_000:
        # Pillow makes room for the pixels before it says how many there are.
        raise refusal("many_pixels", name)
    trap = traps.find_trap(content)
    if trap == "costly":
        raise refusal(trap, name)
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise refusal("many_pixels", name) from error
    except UnidentifiedImageError as error:
        raise refusal(_guess(content), name) from error
    except Exception as error:  # on damaged files the decoders raise whatever comes
        raise refusal("damaged", name) from error
    _check_size(image, name)
    if image.format == "TIFF" and not _is_covered(image):
        raise refusal("damaged", name)
    decoders = [tile[0] for tile in image.tile]
    trap = trap or traps.find_size_trap(image.format, image.size, decoders, len(image.getbands()))
    if trap:
        raise refusal(trap, name)
    return image


def is_raw(name: str) -> bool:
    """Whether a file is named like the readings of a camera's sensor."""
    return Path(name).suffix.lower() in RAW_ENDINGS


def _identify_raw(content: bytes, name: str, takes_raw: bool) -> Image.Image:
    """The picture in a RAW file. Raises LandmarkError if there is none, or it is not wanted."""
    if not takes_raw:
        raise refusal("raw", name)
    if not raw.is_installed():
        raise refusal("raw_reader", name)
    try:
        picture, turn = raw.preview(content)
        image = identify(picture, f"{name}.jpg")
        raw.take_over_exif(image, content, turn)
    except MemoryError:
        raise
    except Exception as error:  # on damaged files the decoders raise whatever comes
        raise refusal("raw", name) from error
    return image


def _is_covered(image: Image.Image) -> bool:
    """Whether the strips or tiles of a file reach over all of the picture that its header claims.

    Pillow leaves the rest black, however large it is.
    """
    right, bottom = (max((tile[1][side] for tile in image.tile), default=0) for side in (2, 3))
    return right * bottom >= image.width * image.height  # the sides may be swapped already


def draft(image: Image.Image, fewest_pixels: int | None) -> tuple[int, int] | None:
    """Has a JPEG of `identify` decoded at a half, a quarter or an eighth of its sides, which takes
    a fraction of the time; returns its full size then, else None."""
    power = min(8, 1 << (reduction(image.size, fewest_pixels).bit_length() - 1))
    if image.format not in ("JPEG", "MPO") or power == 1:
        return None
    size = image.size
    image.draft(None, (size[0] // power, size[1] // power))
    return size


def decode(
    image: Image.Image,
    name: str,
    fewest_pixels: int | None = None,
    size: tuple[int, int] | None = None,
) -> Decoded:
    """What `open_reduced` gives, of what `identify` gave; `size` is what `draft` gave.

    Raises LandmarkError if it is damaged or takes more memory than there is.
    """
    try:
        image.load()  # may turn it already: Pillow does so with TIFF
        _check_size(image, name)  # of HEIF it may be another one than the header said
        turn, size = _turn_of(image), size or image.size
        if image.mode in ("RGB", "L"):  # else once it is RGB: colours of a palette have no mean
            image = _reduce(image, fewest_pixels)
        upright = _reduce(_to_rgb(image, turn), fewest_pixels)
        return Decoded(upright, size[::-1] if turn in SIDEWAYS else size)
    except LandmarkError:
        raise
    except MemoryError as error:
        raise refusal("heavy", name) from error
    except Exception as error:  # on damaged files the decoders raise whatever comes
        raise refusal("damaged", name) from error


def reduction(size: tuple[int, int], fewest_pixels: int | None) -> int:
    """How many times smaller the sides of a photo of `size` may be, by `open_reduced`."""
    if not fewest_pixels:
        return 1
    width, height = size
    kept = min(width, 2 * height) * min(height, 2 * width)
    return max(1, math.isqrt(kept // fewest_pixels))


def _reduce(image: Image.Image, fewest_pixels: int | None) -> Image.Image:
    factor = reduction(image.size, fewest_pixels)
    return image.reduce(factor) if factor > 1 else image


def camera_position(photo: Photo) -> tuple[float, float] | None:
    """Latitude and longitude in degrees that the camera wrote into `photo`'s EXIF.

    None where it wrote none, or what cannot be a place. `photo` is anything that `open_photo`
    takes; no pixel is decoded. Raises LandmarkError if it is missing, empty or no photo.
    """
    if isinstance(photo, np.ndarray):
        return None
    with NO_REMARKS:
        if isinstance(photo, Image.Image):
            return position_of(photo)
        name = name_of(photo)
        return position_of(identify(read_content(photo, name), name))


def position_of(image: Image.Image) -> tuple[float, float] | None:
    """`camera_position` of an image that is open."""
    try:
        gps = _exif(image).get_ifd(ExifTags.IFD.GPSInfo)
        latitude = _degrees(gps, ExifTags.GPS.GPSLatitude, {"N": 1, "S": -1}, 90)
        longitude = _degrees(gps, ExifTags.GPS.GPSLongitude, {"E": 1, "W": -1}, 180)
    except Exception:  # whatever a camera or an attacker wrote there, it is no position
        return None
    # Cameras without a fix write zeros.
    return None if latitude == longitude == 0 else (latitude, longitude)


def camera_facts(image: Image.Image) -> CameraFacts:
    """All that the camera wrote into an image that is open."""
    try:
        exif = _exif(image)
        shot = exif.get_ifd(ExifTags.IFD.Exif)
        tags = ExifTags.Base
        parts = tags.DateTimeOriginal, tags.SubsecTimeOriginal, tags.OffsetTimeOriginal
        taken_at = _clock(*(_text(shot.get(part)) for part in parts))
        names = exif.get(tags.Make), exif.get(tags.Model), shot.get(tags.BodySerialNumber)
    except Exception:  # as in `position_of`
        return CameraFacts(position_of(image))
    return CameraFacts(position_of(image), taken_at, *map(_text, names))


def _text(value: object) -> str:
    """A text of EXIF as one line, without the padding of cameras; "" if it is none."""
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
    return " ".join(text.split("\0")[0].split())[:MOST_CAMERA_TEXT] if type(text) is str else ""


def _clock(time: str, fraction: str, offset: str) -> str:
    """The time of EXIF by ISO 8601; "" if it is none: blank, zeros, 1970-01-01, or still to come.

    Cameras whose clock was never set, or whose battery was empty, write such times.
    """
    found = CLOCK.fullmatch(time)
    if not found:
        return ""
    year, month, day, clock = found.groups()
    try:
        taken_at = datetime.fromisoformat(f"{year}-{month}-{day}T{clock}")
    except ValueError:
        return ""
    # Somewhere it is up to 14 hours later than here.
    is_past = taken_at < datetime.now() + timedelta(days=1)
    if not is_past or (year, month, day) == ("1970", "01", "01"):
        return ""
    digits = f".{fraction[:6]}" if re.fullmatch("[0-9]+", fraction) else ""
    return f"{taken_at.isoformat()}{digits}{offset if OFFSET.fullmatch(offset) else ''}"


def _exif(image: Image.Image) -> Image.Exif:
    """The EXIF of an image. Raises ValueError if it would take minutes to read."""
    block = image.info.get("exif")
    if isinstance(block, bytes) and traps.is_costly_metadata(block):
        raise ValueError("EXIF that points at the same bytes thousands of times")
    return image.getexif()


def _degrees(gps: dict[int, object], tag: int, signs: dict[str, int], limit: int) -> float:
    """One coordinate of an EXIF GPS directory; its hemisphere stands in the tag before.

    Raises ValueError, KeyError or the like where it is missing or nonsense.
    """
    hemisphere = gps[tag - 1]
    if isinstance(hemisphere, bytes):
        hemisphere = hemisphere.decode("ascii")
    sign = signs[hemisphere.strip("\0 ").upper()]
    parts = [float(part) for part in gps[tag]]
    degrees, minutes, seconds = parts
    value = degrees + minutes / 60 + seconds / 3600
    if not all(0 <= part < math.inf for part in parts) or value > limit:
        raise ValueError(f"{parts} are no degrees, minutes and seconds")
    return sign * value


def name_of(photo: Photo) -> str:
    """The photo's name in a message: never with the folder it is in."""
    name = photo
    if not isinstance(photo, str | os.PathLike):
        name = getattr(photo, "name", None) or getattr(photo, "filename", None)
    if not isinstance(name, str | os.PathLike):
        return "The photo"
    short = Path(name).name
    return f"{short[:60]}…" if len(short) > 80 else short or "The photo"


def read_content(photo: str | os.PathLike[str] | bytes | BinaryIO, name: str) -> bytes:
    """The bytes of a file. Raises LandmarkError if it is missing, empty or over 100 MB."""
    if isinstance(photo, bytes | bytearray | memoryview):
        content = bytes(photo)
    elif isinstance(photo, str | os.PathLike):
        content = _read_path(photo, name)
    elif hasattr(photo, "read"):
        content = _read_file(photo, name)
    else:
        raise LandmarkError(
            f"The type {type(photo).__name__} is not a photo. Give a path, bytes, a file object, "
            "a PIL image or a uint8 array (H, W, 3)."
        )
    if not content:
        raise refusal("empty", name)
    if len(content) > MAX_FILE_BYTES:
        raise refusal("large_file", name)
    return content


def _read_path(path: str | os.PathLike[str], name: str) -> bytes:
    if isinstance(path, str) and "://" in path and not os.path.lexists(path):
        raise LandmarkError(
            "Photos are not fetched from the internet. Download the photo and give its path, or "
            "its bytes: urllib.request.urlopen(address).read()."
        )
    if os.path.isdir(path):
        raise LandmarkError(
            f"{name} is a folder. Give one photo in it, or tag all of it: landmark tag."
        )
    if not os.path.isfile(path):
        raise refusal("missing", name)
    try:
        with open(path, "rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise refusal("locked", name, problem=error.strerror) from error


def _read_file(file: BinaryIO, name: str) -> bytes:
    try:
        if file.seekable():
            file.seek(0)  # as Pillow does: a file that was read before is still the same photo
        content = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError, AttributeError) as error:  # closed, write-only, not UTF-8
        raise LandmarkError(f"{name} cannot be read. Open it with mode 'rb'.") from error
    if not isinstance(content, bytes):
        raise LandmarkError(f"{name} was opened as text. Open it with mode 'rb'.")
    return content


@cache
def register_decoders(thread_count: int | None = None) -> None:
    """Makes Pillow know all of FORMATS; `thread_count` limits the decoders that use several."""
    import pillow_heif
    from PIL import AvifImagePlugin

    Image.init()
    pillow_heif.register_heif_opener()
    if thread_count:
        AvifImagePlugin.DEFAULT_MAX_THREADS = thread_count
        pillow_heif.options.DECODE_THREADS = thread_count


def _guess(content: bytes) -> str:
    """The key in REASONS for a file that is no photo."""
    head = content[:1024].lstrip().lower()
    if b"<svg" in head or head.startswith(b"<?xml"):
        return "drawing"
    return "document" if head.startswith(b"%pdf") else "no_photo"


def _from_array(array: np.ndarray) -> Image.Image:
    is_photo = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if array.dtype != np.uint8 or not is_photo or array.size == 0:
        raise LandmarkError(
            f"An array of shape {array.shape} and type {array.dtype} is not a photo. "
            "Give values 0..255 as uint8: RGB (H, W, 3), RGBA (H, W, 4) or grey (H, W)."
        )
    return Image.fromarray(np.ascontiguousarray(array))


def _check_size(image: Image.Image, name: str) -> None:
    width, height = image.size
    if width * height > MAX_MEGAPIXELS * 1_000_000:
        raise refusal("many_pixels", name)
    if min(width, height) < MIN_SIDE_PX:
        raise refusal("small", name, width=width, height=height)
    is_large = width * height > STRIP_MEGAPIXELS * 1_000_000
    if is_large and max(width, height) > MAX_RATIO * min(width, height):
        raise refusal("narrow", name, width=width, height=height)


def refusal(reason: str, name: str, **details: object) -> LandmarkError:
    """The error for one of REASONS."""
    if reason in LIMITS:
        details["limit"] = LIMITS[reason]
    return LandmarkError.because(reason, REASONS[reason], name=name, **details)


def _turn_of(image: Image.Image) -> Image.Transpose | None:
    """How to turn `image` as its EXIF orientation says.

    Pillow's exif_transpose also writes the EXIF anew, and fails on photos with any odd entry in it.
    """
    try:
        return TURNS.get(_exif(image).get(ExifTags.Base.Orientation))
    except Exception:  # unreadable metadata does not make the pixels worse
        return None


def _to_rgb(image: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    """A copy of `image` in RGB, turned; strip by strip, for the sake of memory."""
    width, height = image.size
    is_deep = _is_deep(image)
    is_sideways = turn in SIDEWAYS
    upright = Image.new("RGB", (height, width) if is_sideways else (width, height))
    for top, bottom in strips(width, height):
        strip = _strip_to_rgb(image.crop((0, top, width, bottom)), is_deep)
        place = height - bottom if turn in FROM_THE_END else top
        if turn is not None:
            strip = strip.transpose(turn)
        upright.paste(strip, (place, 0) if is_sideways else (0, place))
    return upright


def strips(width: int, height: int) -> list[tuple[int, int]]:
    """The first row and the row after the last of each strip of a photo, from the top."""
    rows = max(1, STRIP_PIXELS // width)
    return [(top, min(top + rows, height)) for top in range(0, height, rows)]


def _is_deep(image: Image.Image) -> bool:
    """Whether a grey image of large integers uses 0..65,535 rather than 0..255."""
    if image.mode not in ("I", "F"):
        return image.mode.startswith("I;16")
    parts = (image.crop((0, top, image.width, end)) for top, end in strips(*image.size))
    return any(np.nan_to_num(np.asarray(part)).max() > 255 for part in parts)


def _strip_to_rgb(image: Image.Image, is_deep: bool) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":  # Pillow would clip these at 255
        values = np.nan_to_num(np.asarray(image).astype(np.float32))
        grey = (values / 257 if is_deep else values).clip(0, 255).round()
        image = Image.fromarray(grey.astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")
