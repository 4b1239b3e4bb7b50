"""Measures what the worst photos cost: thousands that are damaged, and the ones that are given.

python -m benchmarks.reliability_photos --photos slow/*.gif slow/*.jpg

Writes reliability/photos.json: of 20,000 damaged photos what became of them, the highest CPU time
and memory of one, and the same for each of --photos and for the largest photos that are accepted.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
from pathlib import Path

from PIL import Image

from landmark_model.decoding import Outcome, open_measured
from landmark_model.files import write_text
from tests.fuzz.__main__ import fuzz

OUT = Path(__file__).parent / "reliability" / "photos.json"
SIDE_PX = 8_900  # 79 megapixels
# Mode, format and options of photos of 79 megapixels, all of them turned by EXIF.
LARGEST = (
    ("RGB", "JPEG", {"quality": 90}),
    ("RGB", "JPEG", {"quality": 90, "progressive": True, "subsampling": 0}),
    ("RGBA", "PNG", {"compress_level": 1}),
    ("I;16", "PNG", {"compress_level": 1}),
    ("P", "PNG", {"compress_level": 1}),
    ("F", "TIFF", {"compression": "tiff_deflate"}),
    ("RGBA", "TIFF", {"compression": "tiff_deflate"}),
)


def row(name: str, content: bytes, outcome: Outcome) -> dict[str, object]:
    """What a photo came to and cost."""
    return {
        "photo": name,
        "kilobytes": round(len(content) / 1000, 1),
        "outcome": outcome.error.reason if outcome.error else "photo",
        "cpu_seconds": round(outcome.cpu_seconds, 2),
        "memory_megabytes": round(outcome.memory_bytes / 1e6),
    }


def make_largest(mode: str, kind: str, options: dict[str, object]) -> bytes:
    """A photo of noise in tiles, turned by EXIF."""
    # Finer noise would make files of more than 100 MB.
    tile = Image.effect_noise((125, 125), 40).resize((1_000, 1_000))
    image = Image.new("L", (SIDE_PX, SIDE_PX))
    for left in range(0, SIDE_PX, tile.width):
        for top in range(0, SIDE_PX, tile.height):
            image.paste(tile, (left, top))
    image = image.convert("I").convert("I;16") if mode == "I;16" else image.convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    image.save(file, kind, exif=exif, **options)
    return file.getvalue()


def measure(count: int, seed: int, paths: list[Path]) -> dict[str, object]:
    """All that is written down."""
    report: dict[str, object] = {
        "command": f"python -m benchmarks.reliability_photos --count {count} --seed {seed}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, Pillow {Image.__version__}",
        "given": [row(path.name, path.read_bytes(), open_measured(path)) for path in paths],
        "largest": [],
    }
    for mode, kind, options in LARGEST:
        content = make_largest(mode, kind, options)
        name = " ".join([kind, mode, *map(str, options.values())])
        report["largest"].append(row(name, content, open_measured(content)))
    return report | {"damaged_on_purpose": fuzz(count, seed)}


def main(arguments: list[str] | None = None) -> None:
    """Measures and writes the file."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reliability_photos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--photos", nargs="*", type=Path, default=[], metavar="FILE")
    parser.add_argument("--count", type=int, default=20_000, help="photos to damage")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE")
    options = parser.parse_args(arguments)
    report = measure(options.count, options.seed, options.photos)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_text(options.out, json.dumps(report, indent=1) + "\n")
    print(options.out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
