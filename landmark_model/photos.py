"""The only door for a photo: whatever it comes as, out comes an upright RGB image or a clear error.

Uploads are hostile until proven otherwise: the kind is sniffed from the bytes, only raster formats
with a maintained decoder are tried (no PostScript, no SVG), and the size is read from the header
before a single pixel is decoded.
"""

from __future__ import annotations

import io
import math
import os
import warnings
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from landmark_model.config import LandmarkError

Photo = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | np.ndarray

# What photo files are called; what they are shows only when they are opened.
PHOTO_ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic"}
PHOTO_ENDINGS |= {".heif", ".avif"}
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "HEIF", "AVIF")
MAX_MEGAPIXELS = 80
MAX_FILE_BYTES = 100 * 2**20
MIN_SIDE_PX = 8
REASONS = {
    "empty": "{name} is empty (0 bytes). Copy or download it again.",
    "large_file": "{name} is larger than {limit} MB. Export a smaller copy.",
    "drawing": "{name} is a drawing (SVG), not a photo. Export it as JPEG or PNG.",
    "document": "{name} is a PDF document, not a photo. Export the page as JPEG or PNG.",
    "no_photo": "{name} is not a photo that can be read. "
    "Use JPEG, PNG, WebP, HEIC, AVIF, TIFF, GIF or BMP.",
    "damaged": "{name} is damaged or cut off. Copy, download or export it again.",
    "many_pixels": "{name} has more than {limit} megapixels. Export a smaller copy, "
    "2,000 px wide is plenty.",
    "small": "{name} is {width} x {height} px; each side needs {limit} px or more. "
    "Use a larger copy.",
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


def open_photo(photo: Photo) -> Image.Image:
    """An upright RGB copy of `photo`: of an animation the first frame, transparency on white.

    It carries no metadata: nothing that would turn it once more, nor where it was taken.
    `photo` is a path, the bytes of a file, a binary file object (read from its start), a PIL image,
    or a uint8 array (H, W, 3) of RGB values. Raises LandmarkError where it is missing, empty,
    damaged, no photo, over 80 megapixels or under 8 px on a side.
    """
    name = _name(photo)
    with warnings.catch_warnings():
        # Pillow's remarks on odd metadata are of no use to anybody; damage raises, below.
        warnings.simplefilter("ignore")
        if isinstance(photo, np.ndarray):
            image = _from_array(photo)
        elif isinstance(photo, Image.Image):
            image = photo
        else:
            image = _decode(_read(photo, name), name)
        _check_size(image, name)
        try:
            upright = _to_rgb(_upright(image))
        except Exception as error:  # on damaged files the decoders raise whatever comes
            raise _refusal("damaged", name) from error
    upright.info.clear()
    return upright


def camera_position(photo: Photo) -> tuple[float, float] | None:
    """Latitude and longitude in degrees that the camera wrote into `photo`'s EXIF.

    None where it wrote none, or what cannot be a place. `photo` is anything that `open_photo`
    takes; no pixel is decoded. Raises LandmarkError where it is missing, empty or no photo.
    """
    if isinstance(photo, np.ndarray):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        name = _name(photo)
        image = photo if isinstance(photo, Image.Image) else _decode(_read(photo, name), name)
        try:
            gps = image.getexif().get_ifd(ExifTags.IFD.GPSInfo)
            latitude = _degrees(gps, ExifTags.GPS.GPSLatitude, {"N": 1, "S": -1}, 90)
            longitude = _degrees(gps, ExifTags.GPS.GPSLongitude, {"E": 1, "W": -1}, 180)
        except Exception:  # whatever a camera or an attacker wrote there, it is no position
            return None
    # Cameras without a fix write zeros.
    return None if latitude == longitude == 0 else (latitude, longitude)


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


def _name(photo: Photo) -> str:
    """What to call the photo in a message: never a folder of the machine it lies on."""
    name = photo
    if not isinstance(photo, str | os.PathLike):
        name = getattr(photo, "name", None) or getattr(photo, "filename", None)
    if not isinstance(name, str | os.PathLike):
        return "The photo"
    short = Path(name).name
    return f"{short[:60]}…" if len(short) > 80 else short or "The photo"


def _read(photo: str | os.PathLike[str] | bytes | BinaryIO, name: str) -> bytes:
    if isinstance(photo, bytes | bytearray | memoryview):
        content = bytes(photo)
    elif isinstance(photo, str | os.PathLike):
        content = _read_path(photo, name)
    elif hasattr(photo, "read"):
        content = _read_file(photo, name)
    else:
        raise LandmarkError(
            f"A {type(photo).__name__} is not a photo. Give a path, bytes, a file object, "
            "a PIL image or a uint8 array (H, W, 3)."
        )
    if not content:
        raise _refusal("empty", name)
    if len(content) > MAX_FILE_BYTES:
        raise _refusal("large_file", name, limit=MAX_FILE_BYTES // 2**20)
    return content


def _read_path(path: str | os.PathLike[str], name: str) -> bytes:
    if os.path.isdir(path):
        raise LandmarkError(f"{name} is a folder. Give one photo in it.")
    if not os.path.isfile(path):
        raise LandmarkError(f"{name} does not exist. Check the path.")
    try:
        with open(path, "rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise LandmarkError(
            f"{name} cannot be read ({error.strerror}). Check who may read the file."
        ) from error


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


def _decode(content: bytes, name: str) -> Image.Image:
    _register_decoders()
    try:
        return Image.open(io.BytesIO(content), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise _refusal("many_pixels", name, limit=MAX_MEGAPIXELS) from error
    except UnidentifiedImageError as error:
        raise _refusal(_guess(content), name) from error
    except Exception as error:  # on damaged files the decoders raise whatever comes
        raise _refusal("damaged", name) from error


@cache
def _register_decoders() -> None:
    import pillow_heif

    Image.init()
    pillow_heif.register_heif_opener()


def _guess(content: bytes) -> str:
    """The key in REASONS for a file that is no photo."""
    head = content[:1024].lstrip().lower()
    if b"<svg" in head or head.startswith(b"<?xml"):
        return "drawing"
    return "document" if head.startswith(b"%pdf") else "no_photo"


def _from_array(array: np.ndarray) -> Image.Image:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise LandmarkError(
            f"An array of shape {array.shape} and type {array.dtype} is not a photo. "
            "Give RGB values 0..255 as uint8 of shape (H, W, 3)."
        )
    return Image.fromarray(np.ascontiguousarray(array))


def _check_size(image: Image.Image, name: str) -> None:
    width, height = image.size
    if width * height > MAX_MEGAPIXELS * 1_000_000:
        raise _refusal("many_pixels", name, limit=MAX_MEGAPIXELS)
    if min(width, height) < MIN_SIDE_PX:
        raise _refusal("small", name, width=width, height=height, limit=MIN_SIDE_PX)


def _refusal(reason: str, name: str, **details: object) -> LandmarkError:
    return LandmarkError.because(reason, REASONS[reason], name=name, **details)


def _upright(image: Image.Image) -> Image.Image:
    """`image` turned as its EXIF orientation says.

    Pillow's exif_transpose also writes the EXIF anew, and fails on photos with any odd entry in it.
    """
    image.load()  # may turn it already: Pillow does so with TIFF
    try:
        turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # unreadable metadata does not make the pixels worse
        return image
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":  # Pillow would clip these at 255
        values = np.nan_to_num(np.asarray(image).astype(np.float32))
        deep = image.mode.startswith("I;16") or values.max() > 255
        grey = (values / 257 if deep else values).clip(0, 255).round()
        image = Image.fromarray(grey.astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")  # a copy where it is RGB already
