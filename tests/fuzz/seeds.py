"""Small honest photos in every format that is accepted, to be damaged."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pillow_heif
from PIL import Image

from landmark_model.training.smoke import make_photo

SIZE = (40, 28)
PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
TIFF_MODES = ("1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "F", "LAB")
# Of interlaced PNG: the first column and row of each pass, and the steps to the next ones.
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
          (0, 1, 1, 2))  # fmt: skip
TIFF_KINDS = ("raw", "packbits", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "jpeg", "lzma")


def make_seeds() -> dict[str, list[bytes]]:
    """Files by format, each a few hundred bytes to a few thousand."""
    pillow_heif.register_heif_opener()
    image = make_photo(1, seed=5, size=SIZE)
    exif = _exif().tobytes()
    jpegs: list[dict] = [{}, {"progressive": True}, {"exif": exif}, {"optimize": True},
                         {"progressive": True, "exif": exif, "subsampling": 0},
                         {"restart_marker_blocks": 2, "comment": b"a"}]  # fmt: skip
    plain = (
        b"P3 9 9 255\n" + b"1 2 3\n" * 81,
        b"P1 9 9\n" + b"01 " * 41,
        b"P2 #a\n9 9 99\n" + b"5 " * 81,
    )
    return {
        "JPEG": [_encode(image, "JPEG", **options) for options in jpegs]
        + [_encode(image.convert(mode), "JPEG", quality=60) for mode in ("L", "CMYK")],
        "MPO": [_encode(image, "MPO", save_all=True, append_images=[image])],
        "PNG": [_encode(_as(image, mode), "PNG") for mode in PNG_MODES]
        + [_interlaced(_as(image, mode)) for mode in ("L", "RGB", "RGBA")]
        + [_encode(image, "PNG", exif=exif), _animated(image, "PNG")],
        "GIF": [_encode(image.quantize(16), "GIF", comment=b"a", transparency=1),
                _encode(image.convert("L"), "GIF", interlace=1), _animated(image, "GIF")],
        "BMP": [_encode(_as(image, mode), "BMP") for mode in ("1", "L", "P", "RGB", "RGBA")]
        + [_run_lengths()],
        "TIFF": [_encode(_as(image, mode), "TIFF") for mode in TIFF_MODES]
        + [_encode(image, "TIFF", compression=kind) for kind in TIFF_KINDS]
        + [_encode(image, "TIFF", exif=exif)]
        + [_encode(image, "TIFF", big_tiff=True), _animated(image, "TIFF")],
        "PPM": [_encode(_as(image, mode), "PPM") for mode in ("1", "L", "RGB", "F")]
        + [*plain, b"P6 9 9 99\n" + bytes(243)],
        "WEBP": [_encode(image, "WEBP", exif=exif), _encode(image, "WEBP", lossless=True),
                 _encode(_as(image, "RGBA"), "WEBP"), _animated(image, "WEBP")],
        "HEIF": [_encode(image, "HEIF", exif=exif), _encode(_as(image, "RGBA"), "HEIF")],
        "AVIF": [_encode(image, "AVIF", exif=exif, speed=9), _animated(image, "AVIF"),
                 _encode(_as(image, "RGBA"), "AVIF", speed=9)],
    }  # fmt: skip


def _as(image: Image.Image, mode: str) -> Image.Image:
    if mode == "I;16":
        return image.convert("I").convert("I;16")
    return image.convert("F" if mode == "F" else mode)


def _encode(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _animated(image: Image.Image, kind: str) -> bytes:
    mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return _encode(image, kind, save_all=True, append_images=[mirrored])


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 30.0), 3: "E", 4: (2.0, 17.0, 6.0)})
    return exif


def _interlaced(image: Image.Image) -> bytes:
    """A PNG in seven passes, which Pillow cannot write."""
    pixels = np.asarray(image)
    passes = [pixels[y::down, x::across] for x, y, across, down in PASSES]
    rows = [b"\0" + row.tobytes() for part in passes for row in part]
    colour = {"L": 0, "RGB": 2, "RGBA": 6}[image.mode]
    header = struct.pack(">LLBBBBB", *image.size, 8, colour, 0, 0, 1)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b""))
    packed = [
        struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def _run_lengths() -> bytes:
    """A BMP of 8 x 8 px, its runs encoded."""
    header = b"(\0\0\0\x08\0\0\0\x08\0\0\0\1\0\x08\0\1\0\0\0" + bytes(12) + b"\0\1\0\0\0\0\0\0"
    palette = bytes(value for shade in range(256) for value in (shade, 0, shade, 0))
    start = (14 + len(header) + len(palette)).to_bytes(4, "little")
    return b"BM" + bytes(8) + start + header + palette + b"\x08\x05\0\0" * 8 + b"\0\1"
