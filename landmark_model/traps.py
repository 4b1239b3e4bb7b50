"""Detects photos built to cost minutes or gigabytes, from their bytes, before decoding.

Decoders do as a file says: read thousands of comments one by one, go over all pixels for each of
thousands of scans, make room for pixels that are not there. Here each format's own table of
contents is walked, no pixel is decoded, and what no honest photo has is named. The limits are far
above what cameras and programs write.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

MAX_MEMORY_BYTES = 900_000_000  # what decoders may ask for; a GB in all, with the file itself
MAX_STEPS = 100_000  # chunks, blocks or bytes that are looked at one by one
MAX_SCANS = 100  # of a progressive JPEG; programs write about 10
MAX_SCAN_MEGAPIXELS = 800  # scans x megapixels, where there are more scans than usual
USUAL_SCANS = 20
MAX_SEGMENTS = 2_000  # of 64 KB each: depth maps and long metadata take hundreds
MAX_FILLER_BYTES = 2**16
MAX_TABLE_BYTES = 2**18  # of all quantisation, Huffman and other tables in a JPEG
MAX_PHOTOSHOP_BYTES = 2**22
MAX_EXIF_BYTES = 2**20
MAX_TEXT_CHUNKS = 200
MAX_OTHER_CHUNKS = 1_000
MAX_COMMENT_COPIES = 500_000_000  # bytes that are copied when each block is added to those before
MAX_ENTRIES = 4_096  # of a TIFF directory; EXIF is one, too
MAX_NUMBERS = 50_000  # of a TIFF directory: offsets of strips and the like
MAX_FRACTIONS = 5_000
MAX_DIRECTORIES = 8
MAX_ITEMS = 5_000  # of HEIF and AVIF; a photo of 48 megapixels is in some 200 tiles
MAX_PLAIN_BYTES = 2_000_000  # of a PPM in words
MAX_PYTHON_VALUES = 500_000  # decoded by Pillow in Python, at about a million a second
PYTHON_DECODERS = ("bmp_rle", "ppm", "ppm_plain")

DEFLATE_RATIO = 1_032  # the most that a byte of a PNG can become
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
PNG_DATA = (b"IDAT", b"DDAT", b"fdAT")
PNG_TEXT = (b"zTXt", b"iTXt", b"tEXt", b"iCCP")
PNG_SHORT = (b"PLTE", b"tRNS", b"cHRM", b"gAMA", b"sRGB", b"pHYs", b"acTL")
TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
              16: 8}  # fmt: skip
TIFF_POINTERS = (34665, 34853, 40965)  # directories of EXIF, GPS and interoperability
# Bytes that decoders hold at their highest for each pixel, as measured; A: with transparency.
PEAK_BYTES = {"WEBP": 16, "WEBPA": 16, "AVIF": 10, "AVIFA": 11, "HEIF": 11, "HEIFA": 14}

# What follows entropy-coded data: not a stuffed zero, nor a restart.
MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7]", re.DOTALL)


def find_trap(content: bytes) -> str:
    """Why a decoder must not be given the bytes of a file: "costly", "heavy" or "damaged".

    With "costly" even its header may take long. "" where nothing speaks against it, also where it
    is no photo.
    """
    if content.startswith(b"\xff\xd8\xff"):
        return _Jpeg(content).trap()
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(content)
    if content.startswith(b"GIF8"):
        return _gif(content)
    if content.startswith(TIFF_HEADS):
        return _tiff(content)
    if content[4:8] == b"ftyp":
        return _iso(content)
    return _ppm(content) if re.match(rb"P[0-6fy]", content) else ""


def find_size_trap(kind: str, size: tuple[int, int], decoders: list[str], bands: int) -> str:
    """Like `find_trap`, from a file's header: its format, size and Pillow's decoders."""
    values = size[0] * size[1] * bands
    if values > MAX_PYTHON_VALUES and any(name in PYTHON_DECODERS for name in decoders):
        return "costly"
    peak = size[0] * size[1] * PEAK_BYTES.get(kind + "A" * (bands == 4), 0)
    return "heavy" if peak > MAX_MEMORY_BYTES else ""


def webp_size(content: bytes) -> tuple[int, int] | None:
    """Width and height in the header of a WebP; None if it is none."""
    if content[:4] != b"RIFF" or content[8:12] != b"WEBP" or len(content) < 30:
        return None
    kind = content[12:16]
    if kind == b"VP8X":
        return tuple(1 + int.from_bytes(content[at : at + 3], "little") for at in (24, 27))
    if kind == b"VP8L":
        bits = int.from_bytes(content[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", content, 26)
    return width & 0x3FFF, height & 0x3FFF


def is_costly_metadata(block: bytes) -> bool:
    """Whether reading this EXIF would cost far more than its size suggests."""
    block = block.removeprefix(b"Exif\0\0")
    return len(block) > MAX_EXIF_BYTES or _directories(block, b"")[0]


class _Jpeg:
    """One walk over the segments and scans of a JPEG, up to the end of its first picture."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.frame: tuple[int, bytes] | None = None
        self.exif: list[bytes] = []
        self.scans = self.segments = self.filler = self.data = self.tables = self.photoshop = 0

    def trap(self) -> str:
        at = 2
        while found := MARKER.search(self.content, at):
            code, start = found[0][1], found.start()
            if self.scans:
                self.data += start - at
            else:
                self.filler += start - at
            at = self._next(code, start + 2)
            if self._is_costly():
                return "costly"
            if at is None:
                break
        else:
            self.data += len(self.content) - at if self.scans else 0
        if self.exif and is_costly_metadata(b"".join(self.exif)):
            return "costly"
        return self._claim() if self.frame else ""

    def _next(self, code: int, at: int) -> int | None:
        """Where to continue after a marker; None if the picture ends."""
        if code == 0xFF:
            self.filler += 1
            return at - 1
        if (code == 0xD9 and self.scans) or 0x02 <= code < 0xC0:
            return None
        self.segments += 1
        if code in (0x01, 0xD8, 0xD9) or 0xF0 <= code < 0xFE or at + 2 > len(self.content):
            return at
        length = max(2, int.from_bytes(self.content[at : at + 2], "big"))
        self._note(code, self.content[at + 2 : at + length])
        return at + length

    def _note(self, code: int, segment: bytes) -> None:
        if code == 0xDA:
            self.scans += 1
        elif code == 0xE1 and segment.startswith(b"Exif\0\0"):
            self.exif.append(segment[6:] if self.exif else segment)
        elif code == 0xED:
            self.photoshop += len(segment)
        if 0xC0 <= code < 0xE0:
            self.tables += len(segment)
            if code not in (0xC4, 0xC8, 0xCC) and code < 0xD0 and len(segment) >= 6:
                self.frame = code, segment

    def _is_costly(self) -> bool:
        return (
            self.scans > MAX_SCANS
            or self.segments > MAX_SEGMENTS
            or self.filler > MAX_FILLER_BYTES
            or self.tables > MAX_TABLE_BYTES
            or self.photoshop > MAX_PHOTOSHOP_BYTES
            or len(self.exif) > MAX_EXIF_BYTES // 2**16
        )

    def _claim(self) -> str:
        """Whether there is data for the claimed pixels, and memory."""
        code, segment = self.frame
        height, width, count = struct.unpack_from(">xHHB", segment)
        factors = [(byte >> 4, byte & 15) for byte in segment[7 : 6 + 3 * count : 3]]
        blocks = sum(across * down for across, down in factors)
        unit = max((across * down for across, down in factors), default=1) or 1
        pixels = width * height
        # Huffman codes have a bit or more for each 8 x 8 px, of which half is demanded.
        if code <= 0xC2 and self.data < pixels / 1024:
            return "damaged"
        if self.scans > USUAL_SCANS and self.scans * pixels > MAX_SCAN_MEGAPIXELS * 1e6:
            return "costly"
        # Where there are several scans, libjpeg keeps two bytes of every coefficient.
        kept = pixels * blocks / unit * 2 if self.scans > 1 or code == 0xC2 else 0
        return "heavy" if 4 * pixels + kept > MAX_MEMORY_BYTES else ""


def _png(content: bytes) -> str:
    at, data_chunks, others, texts, data, claim = 8, 0, 0, 0, 0, 0.0
    while at + 8 <= len(content):
        length, kind = struct.unpack_from(">L4s", content, at)
        if kind == b"IEND" or (kind == b"fcTL" and data):
            break  # Pillow, too, reads no further
        if kind in PNG_DATA:
            data_chunks, data = data_chunks + 1, data + length
        else:
            others, texts = others + 1, texts + (kind in PNG_TEXT)
        if kind == b"IHDR" and not data and length >= 13 and at + 21 <= len(content):
            width, height, bits, colour = struct.unpack_from(">LLBB", content, at + 8)
            claim = width * height * bits * PNG_CHANNELS.get(colour, 0) / 8
        is_long = kind in PNG_SHORT and length > 2**16
        if is_long or (
            data_chunks > MAX_STEPS or others > MAX_OTHER_CHUNKS or texts > MAX_TEXT_CHUNKS
        ):
            return "costly"
        at += 12 + length
    return "damaged" if claim > DEFLATE_RATIO * (min(data, len(content)) + 64) else ""


def _gif(content: bytes) -> str:
    """What comes before the first picture is walked: extensions, and whatever else is there."""
    at = 13 + (3 << (content[10] & 7) + 1 if content[10:11] and content[10] & 128 else 0)
    steps = comment_blocks = comment_bytes = 0
    while at + 1 < len(content) and content[at] not in b",;":
        is_comment = content[at : at + 2] == b"!\xfe"
        is_extension = content[at] == ord("!")
        at += 2 if is_extension else 1
        while is_extension and at < len(content) and (length := content[at]):
            steps += 1
            at += 1 + length
            comment_blocks += is_comment
            comment_bytes += is_comment * length
        at += is_extension
        steps += 1
        if steps > MAX_STEPS or comment_blocks * comment_bytes > 2 * MAX_COMMENT_COPIES:
            return "costly"
    return ""


def _iso(content: bytes) -> str:
    """HEIF and AVIF: nested boxes, counted by those that name the items."""
    if content.count(b"infe") > MAX_ITEMS or content.count(b"trak") > MAX_ITEMS:
        return "costly"
    for head in TIFF_HEADS[:2]:
        start = -1
        for _ in range(MAX_DIRECTORIES):  # the first ones: the same letters may be anywhere
            start = content.find(head, start + 1)
            if start < 0:
                break
            if is_costly_metadata(content[start : start + MAX_EXIF_BYTES]):
                return "costly"
    return ""


def _ppm(content: bytes) -> str:
    comments = content.count(b"#", 0, 10_000)
    head = re.sub(rb"#[^\r\n]*", b"", content[:10_000])
    is_bitmap, is_plain = content[1:2] in b"14", content[1:2] in b"123"
    if len(content) > 10_000 and (len(head.split(None, 4)) < 4 - is_bitmap or comments > 1_000):
        return "costly"  # comments are read byte by byte
    if is_plain and (len(content) > MAX_PLAIN_BYTES or content.count(b"#") > 100):
        return "costly"
    return ""


def _tiff(content: bytes) -> str:
    is_costly, tags = _directories(content, content[:4])
    if is_costly:
        return "costly"
    width, height = tags.get(256, 0), tags.get(257, 0)
    bytes_each = tags.get(277, 1) * tags.get(258, 1) / 8
    rows = min(tags.get(278, height), height)
    # libtiff keeps a whole strip or tile unpacked.
    piece = tags[322] * tags.get(323, 0) if 322 in tags else width * rows
    is_packed = tags.get(259, 1) != 1
    peak = 4 * width * height + piece * bytes_each * is_packed
    is_photo = 0 < width * height <= 10**9  # of other sizes something else is said
    return "heavy" if is_photo and peak > MAX_MEMORY_BYTES else ""


def _directories(block: bytes, head: bytes) -> tuple[bool, dict[int, int]]:
    """Whether the directories of a TIFF or of EXIF cost too much, and the first one's numbers.

    Any of them may point at the same bytes as often as it likes.
    """
    order = "<" if block[:2] == b"II" else ">"
    is_big = head[2:4] in (b"+\0", b"\0+")
    first = struct.unpack_from(order + ("8xQ" if is_big else "4xL"), block.ljust(16, b"\0"))[0]
    waiting, tags = [first], {}
    total = numbers = fractions = 0
    for place in waiting:
        for count, (tag, kind, amount, value) in enumerate(_entries(block, place, order, is_big)):
            total += TIFF_SIZES[kind] * amount
            numbers += 0 if kind in (1, 2, 7) else amount
            fractions += amount if kind in (5, 10) else 0
            if tag in TIFF_POINTERS:
                waiting.append(value)
            if place == first:
                tags.setdefault(tag, value)
            is_full = total > 2 * len(block) + 2**16 or count >= MAX_ENTRIES
            if is_full or numbers > MAX_NUMBERS or fractions > MAX_FRACTIONS:
                return True, tags
        if len(waiting) > MAX_DIRECTORIES:
            return True, tags
    return False, tags


def _entries(
    block: bytes, place: int, order: str, is_big: bool
) -> Iterator[tuple[int, int, int, int]]:
    """(tag, type, count, first number or offset) of the entries of a directory that are sound."""
    entry = struct.Struct(order + ("HHQQ" if is_big else "HHLL"))
    start = struct.Struct(order + ("Q" if is_big else "H"))
    if place + start.size > len(block):
        return
    (count,) = start.unpack_from(block, place)
    for number in range(count):
        at = place + start.size + number * entry.size
        if at + entry.size > len(block):
            return
        tag, kind, amount, value = entry.unpack_from(block, at)
        if kind not in TIFF_SIZES:
            continue
        room = 8 if is_big else 4
        size = TIFF_SIZES[kind] * amount
        if size > room and value + size > len(block):
            return  # where Pillow stops, too
        held = block[at + entry.size - room :][:room] if size <= room else block[value:][:room]
        if kind in (3, 4, 13, 16):
            value = int.from_bytes(held[: TIFF_SIZES[kind]], "little" if order == "<" else "big")
        yield tag, kind, amount, value
