"""The only door for a photo: whatever it comes as, out comes an upright RGB image or a clear error.

Uploads are hostile until proven otherwise: the kind is sniffed from the bytes, only raster formats
with a maintained decoder are tried (no PostScript, no SVG), and the size is read from the header
before a single pixel is decoded.
"""

from __future__ import annotations

import io
import os
import warnings
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from landmark_model.config import LandmarkError

Photo = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | np.ndarray

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "HEIF", "AVIF")
MAX_MEGAPIXELS = 80
MAX_FILE_MB = 100
MIN_SIDE_PX = 8


def open_photo(photo: Photo) -> Image.Image:
    """An upright RGB copy of `photo`: of an animation the first frame, transparency on white.

    `photo` is a path, the bytes of a file, a binary file object, a PIL image, or a uint8 array
    (H, W, 3) of RGB values. Raises LandmarkError where it is missing, empty, damaged, no photo,
    over 80 megapixels or under 8 px on a side.
    """
    name = _name(photo)
    if isinstance(photo, np.ndarray):
        image = _from_array(photo)
    elif isinstance(photo, Image.Image):
        image = photo
    else:
        image = _decode(_read(photo, name), name)
    _check_size(image, name)
    try:
        return _to_rgb(ImageOps.exif_transpose(image))
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError) as error:
        raise _damaged(name) from error


def _name(photo: Photo) -> str:
    """What to call the photo in a message: never a folder of the machine it lies on."""
    if isinstance(photo, str | os.PathLike):
        return Path(photo).name or "The photo"
    name = getattr(photo, "name", None) or getattr(photo, "filename", None)
    return Path(name).name if isinstance(name, str) and name else "The photo"


def _read(photo: str | os.PathLike[str] | bytes | BinaryIO, name: str) -> bytes:
    limit = MAX_FILE_MB * 2**20
    if isinstance(photo, bytes | bytearray | memoryview):
        content = bytes(photo)
    elif isinstance(photo, str | os.PathLike):
        path = Path(photo)
        if path.is_dir():
            raise LandmarkError(f"{name} is a folder. Give one photo in it.")
        if not path.is_file():
            raise LandmarkError(f"{name} does not exist. Check the path.")
        try:
            with path.open("rb") as file:
                content = file.read(limit + 1)
        except OSError as error:
            raise LandmarkError(f"{name} cannot be read: {error.strerror}.") from error
    elif hasattr(photo, "read"):
        content = photo.read(limit + 1)
        if not isinstance(content, bytes):
            raise LandmarkError(f"{name} was opened as text. Open it with mode 'rb'.")
    else:
        raise LandmarkError(
            f"A {type(photo).__name__} is not a photo. Give a path, bytes, a file object, "
            "a PIL image or a uint8 array (H, W, 3)."
        )
    if not content:
        raise LandmarkError(f"{name} is empty (0 bytes). Copy or download it again.")
    if len(content) > limit:
        raise LandmarkError(f"{name} is larger than {MAX_FILE_MB} MB. Export a smaller copy.")
    return content


def _decode(content: bytes, name: str) -> Image.Image:
    _register_decoders()
    try:
        with warnings.catch_warnings():
            # Pillow warns from 89 megapixels on; our own limit below is stricter and says more.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(content), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise _too_large(name) from error
    except UnidentifiedImageError as error:
        raise LandmarkError(f"{name} is {_guess(content)}") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise _damaged(name) from error


@cache
def _register_decoders() -> None:
    import pillow_heif

    Image.init()
    pillow_heif.register_heif_opener()


def _guess(content: bytes) -> str:
    head = content[:1024].lstrip().lower()
    if b"<svg" in head or head.startswith(b"<?xml"):
        return "a drawing (SVG), not a photo. Export it as JPEG or PNG."
    if head.startswith(b"%pdf"):
        return "a PDF document, not a photo. Export the page as JPEG or PNG."
    return "not a photo that can be read. Use JPEG, PNG, WebP, HEIC, AVIF, TIFF, GIF or BMP."


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
        raise _too_large(name)
    if min(width, height) < MIN_SIDE_PX:
        raise LandmarkError(
            f"{name} is {width} x {height} px; each side needs {MIN_SIDE_PX} px or more. "
            "Use a larger copy."
        )


def _damaged(name: str) -> LandmarkError:
    return LandmarkError(f"{name} is damaged or cut off. Copy, download or export it again.")


def _too_large(name: str) -> LandmarkError:
    return LandmarkError(
        f"{name} has more than {MAX_MEGAPIXELS} megapixels. Export a smaller copy, "
        "2,000 px wide is plenty."
    )


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":  # 16-bit grey; Pillow would clip at 255
        values = np.asarray(image).astype(np.float32)
        scale = 255 / 65535 if values.max() > 255 else 1.0
        image = Image.fromarray((values * scale).clip(0, 255).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")  # a copy where it is RGB already
