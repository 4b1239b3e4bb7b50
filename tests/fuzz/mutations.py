"""Ways to damage a file: by chance, and as someone would who knows the format."""

from __future__ import annotations

import itertools
import random
import re
import struct
import zlib
from collections.abc import Callable

MAX_BYTES = 2 * 2**20
NUMBERS = (0, 1, 7, 8, 255, 256, 9_999, 30_000, 32_767, 65_535, 65_536, 2**24, 2**31 - 1, 2**32 - 1)
PNG_HEAD = b"\x89PNG\r\n\x1a\n"
COMMENTS = (
    b"\xff\xfe\0\x06abcd",
    b"\xff\xe1\0\x10Exif\0\0MM\0*\0\0\0\x08",
    b"\xff" * 50,
    b"\0\0\0\1tEXta\x12\x34\x56\x78",
    b"\0\0\0\0IDAT\x35\xaf\x06\x1e",
    b"\x21\xfe\x04abcd\0",
    b"#a\n",
    b"\0\0\0\x08free",
    b"EXIF\4\0\0\0MM\0*",
)


def mutate(content: bytes, other: bytes, chance: random.Random) -> bytes:
    """A damaged copy of `content`, perhaps with parts of `other`; at most 2 MB."""
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        content = chance.choice(WAYS)(content or b"\0", other, chance)[:MAX_BYTES]
    # A checksum that is wrong would be all that is ever looked at.
    return _with_checksums(content) if chance.random() < 0.8 else content


def _flip(content: bytes, other: bytes, chance: random.Random) -> bytes:
    copy, reach = bytearray(content), chance.choice((64, 400, len(content)))
    for _ in range(chance.choice((1, 2, 5, 20))):
        copy[chance.randrange(min(reach, len(copy)))] = chance.randrange(256)
    return bytes(copy)


def _cut_off(content: bytes, other: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def _cut_out(content: bytes, other: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(content))
    return content[:start] + content[start + chance.randrange(1, 60) :]


def _splice(content: bytes, other: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))] + other[chance.randrange(len(other)) :]


def _overwrite_number(content: bytes, other: bytes, chance: random.Random) -> bytes:
    width, order = chance.choice((2, 4)), chance.choice(("big", "little"))
    value = chance.choice(NUMBERS) % 256**width
    at = chance.randrange(min(chance.choice((40, 400, len(content))), len(content)))
    return content[:at] + value.to_bytes(width, order) + content[at + width :]


def _repeat_piece(content: bytes, other: bytes, chance: random.Random) -> bytes:
    start, end = chance.choice(_pieces(content))
    count = chance.choice((2, 20, 300, 5_000))
    return (
        content[:end] + content[start:end] * min(count, MAX_BYTES // (end - start)) + content[end:]
    )


def _drop_piece(content: bytes, other: bytes, chance: random.Random) -> bytes:
    start, end = chance.choice(_pieces(content))
    return content[:start] + content[end:]


def _move_piece(content: bytes, other: bytes, chance: random.Random) -> bytes:
    start, end = chance.choice(_pieces(other))
    at = chance.choice(_pieces(content))[0]
    return content[:at] + other[start:end] + content[at:]


def _comment(content: bytes, other: bytes, chance: random.Random) -> bytes:
    at = chance.choice(_pieces(content))[chance.randrange(2)]
    return content[:at] + chance.choice(COMMENTS) * chance.choice((1, 30, 3_000)) + content[at:]


WAYS: tuple[Callable[[bytes, bytes, random.Random], bytes], ...] = (
    _flip, _cut_off, _cut_out, _splice, _overwrite_number, _overwrite_number, _repeat_piece,
    _drop_piece, _move_piece, _comment,
)  # fmt: skip


def _pieces(content: bytes) -> list[tuple[int, int]]:
    """Where the parts of a file start and end: its segments, chunks or boxes, or 64 bytes each."""
    if content.startswith(b"\xff\xd8"):
        starts = [found.start() for found in re.finditer(rb"\xff[\xc0-\xfe]", content)]
    elif content.startswith(PNG_HEAD):
        starts = [start for start, _ in _chunks(content)]
    elif content[4:8] == b"ftyp":
        names = rb"ftyp|meta|mdat|hdlr|pitm|iloc|iinf|infe|iprp|ipco|ipma|hvcC|av1C|ispe|iref|idat"
        starts = [max(0, found.start() - 4) for found in re.finditer(names, content)]
    else:
        starts = list(range(0, len(content), 64))
    edges = sorted({0, len(content), *starts[:2_000]})
    return list(itertools.pairwise(edges)) or [(0, 1)]


def _chunks(content: bytes) -> list[tuple[int, int]]:
    """Start and length of the data of the chunks of a PNG, as far as they make sense."""
    found, at = [], 8
    while at + 12 <= len(content) and len(found) < 20_000:
        (length,) = struct.unpack_from(">L", content, at)
        if at + 12 + length > len(content):
            break
        found.append((at, length))
        at += 12 + length
    return found


def _with_checksums(content: bytes) -> bytes:
    if not content.startswith(PNG_HEAD):
        return content
    copy = bytearray(content)
    for at, length in _chunks(content):
        check = zlib.crc32(content[at + 4 : at + 8 + length])
        struct.pack_into(">L", copy, at + 8 + length, check)
    return bytes(copy)
