"""The picture that a camera puts into a RAW file, for its own screen: no sensor is developed here.

The extra `raw` brings rawpy, which finds it (LibRaw).
"""

from __future__ import annotations

import io
from importlib.util import find_spec

from PIL import ExifTags, Image

from landmark_model.traps import MAX_EXIF_BYTES

TIFF_HEADS = (b"II*\0", b"MM\0*")  # of DNG, NEF, ARW, CR2, PEF: their EXIF is that of a TIFF
ORIENTATIONS = {3: 3, 5: 8, 6: 6}  # of EXIF, by LibRaw's `flip`


def is_installed() -> bool:
    """Whether RAW files can be read; loads what reads them, which takes longer than a file may."""
    if find_spec("rawpy") is None:
        return False
    import rawpy

    return bool(rawpy)


def preview(content: bytes) -> tuple[bytes, int]:
    """The picture in a RAW file, as a JPEG or PNG file, and how it is turned by EXIF, 1 to 8.

    Raises rawpy.LibRawError or ValueError if there is none.
    """
    import rawpy

    with rawpy.imread(io.BytesIO(content)) as raw:
        found, turn = raw.extract_thumb(), ORIENTATIONS.get(raw.sizes.flip, 1)
    if found.format == rawpy.ThumbFormat.JPEG:
        return bytes(found.data), turn
    file = io.BytesIO()
    Image.fromarray(found.data).save(file, "PNG")
    return file.getvalue(), turn


def take_over_exif(image: Image.Image, content: bytes, turn: int) -> None:
    """Gives the picture that was in a RAW file what the camera wrote into the file."""
    if content.startswith(TIFF_HEADS):  # it stands before the pixels
        image.info["exif"] = b"Exif\0\0" + content[: MAX_EXIF_BYTES - 6]
        image.getexif().load(image.info["exif"])  # of the picture, it was read at once
    if ExifTags.Base.Orientation not in image.getexif():
        image.getexif()[ExifTags.Base.Orientation] = turn
