"""What the programs here share: their options, the command on their page, and its tables."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from landmark_model import LandmarkError

HERE = Path(__file__).parent
SPLIT_NAMES = ("train", "validation", "test")


def make_parser(name: str, about: str | None) -> argparse.ArgumentParser:
    """The parser of a program's options, with `--out`, the folder for what it writes."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # some programs pass what they do not know on to train.py
    )
    parser.add_argument("--out", type=Path, default=HERE, metavar="FOLDER",
                        help="where the page goes; default: beside this program")  # fmt: skip
    return parser


def command_line(name: str, arguments: list[str] | None) -> str:
    """The command that was given, without the folders of this machine."""
    words = sys.argv[1:] if arguments is None else arguments
    return shlex.join(["python", "-m", f"benchmarks.{name}", *map(short_name, words)])


def short_name(word: str | Path) -> str:
    """A path without the folders that lead there, but with that of a split; other words as is."""
    path = Path(word)
    if not (path.is_absolute() or ".." in path.parts):
        return str(word)
    return "/".join(path.parts[-2:]) if path.name in SPLIT_NAMES else path.name


def table(heads: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table."""
    heads = [*heads]
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def run(main: Callable[[], object]) -> None:
    """Runs a program; a mistake of its user costs one line and exit status 1."""
    try:
        main()
    except LandmarkError as error:
        sys.exit(f"{Path(sys.argv[0]).name}: {error}")
