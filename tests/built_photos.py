"""Photos built to cost minutes or gigabytes, made in a moment."""

import io
import struct
import zlib

import pillow_heif
from PIL import Image

from landmark_model.training.smoke import make_photo

pillow_heif.register_heif_opener()
SIZE = (64, 48)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    """The bytes of a file of that kind."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photo(kind: str, **options: object) -> bytes:
    """A small honest photo."""
    return encode(make_photo(1, seed=3, size=SIZE), kind, **options)


def put_in(content: bytes, at: int, more: bytes) -> bytes:
    """A copy with `more` in it."""
    return content[:at] + more + content[at:]


def segment(code: int, data: bytes = b"") -> bytes:
    """A segment of a JPEG."""
    return bytes([255, code]) + struct.pack(">H", len(data) + 2) + data


def many_scans(count: int, size: tuple[int, int] = SIZE) -> bytes:
    """A progressive JPEG whose last scan comes `count` times."""
    content = encode(Image.new("RGB", size, "teal"), "JPEG", progressive=True)
    start = content.rindex(b"\xff\xda")
    return content[:start] + content[start:-2] * count + content[-2:]


def liar_jpeg(width: int, height: int) -> bytes:
    """A tiny JPEG that claims another size."""
    content = photo("JPEG")
    at = content.index(b"\xff\xc0") + 5
    return content[:at] + struct.pack(">HH", height, width) + content[at + 4 :]


def in_jpeg(more: bytes) -> bytes:
    """A JPEG with `more` after its first segment."""
    return put_in(photo("JPEG"), 20, more)


def exif(entries: bytes, count: int) -> bytes:
    """EXIF of one directory, whatever is in it."""
    return b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", count) + entries + bytes(4)


def tangled_exif(count: int = 4_000) -> bytes:
    """EXIF whose entries all point at the same bytes."""
    entries = b"".join(struct.pack(">HHLL", tag, 7, 11 * count, 8) for tag in range(1, count))
    return exif(entries, count - 1)


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))


def in_png(more: bytes) -> bytes:
    """A PNG with `more` before its pixels."""
    return put_in(photo("PNG"), 33, more)


def liar_png(width: int, height: int) -> bytes:
    """A tiny PNG that claims another size."""
    content = photo("PNG")
    header = struct.pack(">LL", width, height) + content[24:29]
    return content[:8] + chunk(b"IHDR", header) + content[33:]


def in_gif(more: bytes) -> bytes:
    """A GIF with `more` before its picture."""
    content = encode(make_photo(1, seed=3, size=SIZE).quantize(16), "GIF")
    return put_in(content, 13 + 3 * 2 ** ((content[10] & 7) + 1), more)


def comment(count: int, length: int = 255) -> bytes:
    """A comment of a GIF in `count` blocks."""
    return b"\x21\xfe" + (bytes([length]) + b"a" * length) * count + b"\0"


def rle_bmp(width: int, height: int) -> bytes:
    """A BMP that is decoded in Python, pixel by pixel."""
    runs = b"\x01\x05" * width * min(height, 8)
    header = struct.pack("<LLLHHLLLLLL", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 0)
    palette = bytes(byte for value in range(256) for byte in (value, 0, value, 0))
    offset = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<LLL", offset + len(runs), 0, offset) + header + palette + runs


def tiff(*entries: tuple[int, int, int, int], pages: bytes = b"") -> bytes:
    """A TIFF with a directory of (tag, type, count, value) and nothing else."""
    packed = b"".join(struct.pack("<HHLL", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + packed + bytes(4) + pages


def tiff_header(width: int, height: int, compression: int = 1) -> list[tuple[int, int, int, int]]:
    """The entries that every TIFF of 8-bit grey has."""
    return [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, compression),
            (262, 3, 1, 1), (273, 4, 1, 8), (277, 3, 1, 1), (279, 4, 1, 64)]  # fmt: skip


TRAPS: dict[str, tuple[bytes, str]] = {
    "scans.jpg": (many_scans(3_000), "costly"),
    "scans_of_a_large_photo.jpg": (many_scans(45, (6_000, 4_000)), "costly"),
    "claim.jpg": (liar_jpeg(8_900, 8_900), "damaged"),
    "filler.jpg": (in_jpeg(b"\xff" * 2**18), "costly"),
    "junk.jpg": (in_jpeg(bytes(2**18)), "costly"),
    "segments.jpg": (in_jpeg(segment(0xFE) * 9_000), "costly"),
    "tables.jpg": (in_jpeg(segment(0xDB, bytes(65) * 900) * 6), "costly"),
    "resources.jpg": (in_jpeg(segment(0xED, bytes(60_000)) * 90), "costly"),
    "exif.jpg": (in_jpeg(segment(0xE1, tangled_exif())), "costly"),
    "chunks.png": (in_png(chunk(b"prVt") * 20_000), "costly"),
    "texts.png": (in_png(chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(900_000))) * 300), "costly"),
    "data_chunks.png": (in_png(chunk(b"IDAT") * 200_000), "costly"),
    "colours.png": (in_png(chunk(b"cHRM", bytes(2**20))), "costly"),
    "claim.png": (liar_png(8_000, 8_000), "damaged"),
    "comment.gif": (in_gif(comment(10_000)), "costly"),
    "tiny_blocks.gif": (in_gif(comment(40_000, 1)), "costly"),
    "comments.gif": (in_gif(comment(1) * 60_000), "costly"),
    "zeros.gif": (in_gif(bytes(200_000)), "costly"),
    "runs.bmp": (rle_bmp(3_000, 3_000), "costly"),
    "words.ppm": (b"P3 900 900 255\n" + b"1 2 3 " * 810_000, "costly"),
    "remarks.ppm": (b"P2 100 100 255\n" + b"#a\n" * 50_000, "costly"),
    "remark.ppm": (b"P6 #" + b"a" * 400_000 + b"\n9 9 255\n" + bytes(243), "costly"),
    "uneven.ppm": (b"P6 2000 1000 254\n" + bytes(6_000_000), "costly"),
    "entries.tif": (tiff(*tiff_header(99, 99), *[(1, 3, 1, 1)] * 9_000), "costly"),
    "tangled.tif": (tiff(*tiff_header(9, 9), *[(700, 7, 40_000, 8)] * 4_000), "costly"),
    "fractions.tif": (tiff(*tiff_header(9, 9), (282, 5, 9_000, 8), pages=bytes(80_000)), "costly"),
    "tile.tif": (tiff(*tiff_header(99, 99, 5), (322, 4, 1, 60_000), (323, 4, 1, 60_000)), "heavy"),
    "items.heic": (photo("HEIF") + b"infe" * 9_000, "costly"),
    "exif.avif": (photo("AVIF") + tangled_exif(), "costly"),
}  # fmt: skip
