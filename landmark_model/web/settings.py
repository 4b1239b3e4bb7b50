"""Where to listen, which networks to serve, and how much to take on: flags and environment."""

from __future__ import annotations

import argparse
import os
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

YES = {"1", "true", "yes", "on"}
INSTALL_MCP = 'pip install "landmark-model[mcp]"'
BYTES = {"b": 1, "kb": 2**10, "mb": 2**20, "gb": 2**30}
DESCRIPTION = """Serves the landmark tagger: a photo in, the landmark and its place out.

    landmark serve                                    the networks that ship
    landmark serve --repo runs/mine                   a run folder
    landmark serve --repo org/name --revision v1      a repo on the Hugging Face Hub

Each setting is a flag or, where it is given in brackets, an environment variable.
LANDMARK_LINK_SECRET, if set, signs links to results, so that nobody else can forge them.
"""


@dataclass(frozen=True)
class Settings:
    """Where to listen, which networks to serve, and how much to take on."""

    host: str
    port: int
    repo: str | None
    revision: str | None
    network: str | None
    taught: Path | None
    concurrency: int
    max_upload: int  # bytes
    root_path: str
    share: bool
    mcp: bool
    library: Path | None = None
    link_secret: str = ""


def make_parser() -> argparse.ArgumentParser:
    """The command line; anything not given there comes from the environment."""
    parser = argparse.ArgumentParser(
        prog="landmark serve",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    at = "address to listen on; 0.0.0.0 for all; default: 127.0.0.1"
    port = "port to listen on; default: 7860"
    repo = "folder or hub repo to load the networks from; default: the ones that ship"
    taught = "landmarks that the network selected at first was taught: landmark teach"
    first = "the network selected at first; default: the best"
    many = "photos answered at the same time; default: 1"
    size = "largest photo to accept; default: 30mb"
    root = "behind a proxy: the public address, https://example.org/landmarks or /landmarks"
    photos = "show the photo library in this folder, an index by landmark tag, to all visitors"
    for flag, variable, default, kind, metavar, text in (
        ("--host", "GRADIO_SERVER_NAME", "127.0.0.1", str, None, at),
        ("--port", "GRADIO_SERVER_PORT", 7860, _port, None, port),
        ("--repo", "LANDMARK_REPO", None, str, "FOLDER|ORG/NAME", repo),
        ("--revision", "LANDMARK_REVISION", None, str, None, "its tag, branch or commit"),
        ("--network", "LANDMARK_NETWORK", None, str, None, first),
        ("--taught", "LANDMARK_TAUGHT", None, Path, "FILE", taught),
        ("--concurrency", "LANDMARK_CONCURRENCY", 1, _count, "N", many),
        ("--max-upload", "LANDMARK_MAX_UPLOAD", "30mb", _size, "SIZE", size),
        ("--root-path", "GRADIO_ROOT_PATH", "", _root, "ADDRESS", root),
        ("--library", "LANDMARK_LIBRARY", None, _folder, "FOLDER", photos),
    ):
        value, text = os.environ.get(variable) or default, f"{text} [{variable}]"
        parser.add_argument(flag, default=value, type=kind, metavar=metavar, help=text)
    for flag, variable, text in (
        ("--share", "GRADIO_SHARE", "open a temporary public link; needs the internet"),
        ("--mcp", "GRADIO_MCP_SERVER", f"serve the API to MCP clients, too; {INSTALL_MCP}"),
    ):
        value, text = os.environ.get(variable, "").lower() in YES, f"{text} [{variable}]"
        yes_or_no = argparse.BooleanOptionalAction
        parser.add_argument(flag, action=yes_or_no, default=value, help=text)
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port. Use 1 to 65535.")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a count. Use 1 or more.")
    return int(text)


def _size(text: str) -> int:
    size = re.fullmatch(r"([1-9]\d*)\s*(b|kb|mb|gb)", text.lower())
    if size is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size. Write it like 30mb.")
    return int(size[1]) * BYTES[size[2]]


def _folder(text: str) -> Path:
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no folder. Give that of landmark tag --out.")
    return Path(text)


def _root(text: str) -> str:
    if text and not re.fullmatch(r"(https?://[\w.:\[\]-]+)?(/[\w.~-]+)*/?", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an address. Use https://example.org/landmarks or /landmarks."
        )
    return text.rstrip("/")


def read_settings(arguments: list[str] | None = None) -> Settings:
    """The settings from command line and environment; exits if they are invalid."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.mcp and find_spec("mcp") is None:
        parser.error(f"--mcp needs mcp, which is not installed. Install it: {INSTALL_MCP}")
    if options.library and (options.share or "SPACE_ID" in os.environ):
        parser.error(
            "--library shows your photos to everyone who can open the page, so it does not go "
            "with --share, nor in a Space. Leave it out there."
        )
    secret = os.environ.get("LANDMARK_LINK_SECRET", "")
    return Settings(**vars(options), link_secret=secret)
