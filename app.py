"""Serves the landmark tagger: a photo in, the landmark and its place out.

    python app.py                                     the networks that ship
    python app.py --repo runs/mine                    a folder that train.py wrote
    python app.py --repo org/name --revision v1       a repo on the Hugging Face hub

Each setting is a flag or, where it is given in brackets, an environment variable.
LANDMARK_LINK_SECRET, if set, signs links to results, so that nobody else can make them up.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

# Read by gradio when it is imported: no visitor statistics, no version check, nothing leaves.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr
from fastapi.exceptions import RequestValidationError
from PIL import Image
from starlette.middleware import Middleware
from starlette.responses import Response

import landmark_model
from landmark_model import LandmarkError
from webapp.cleaning import Uncollected, delete_old, keep_clean
from webapp.guard import GuardMiddleware, Rules, say
from webapp.guarded import GuardedBlocks
from webapp.head import HeadMiddleware, routes
from webapp.models import Models, open_models
from webapp.page import CLEAN_EVERY_S, KEPT_S, build, previews, translations
from webapp.uploads import Uploads, make_private_folder

HERE = Path(__file__).parent
YES = {"1", "true", "yes", "on"}
LOCAL = re.compile(r"localhost|127\..*|\[?::1\]?")
EVENTS_AT_ONCE = 8  # photos being decoded, or waiting for the network, at the same time
UNCOLLECTED_S = 60
LAST_ANSWERS_S = 10  # what a stop waits for
BYTES = {"b": 1, "kb": 2**10, "mb": 2**20, "gb": 2**30}


@dataclass(frozen=True)
class Settings:
    """Where to listen, which networks to serve, and how much to take on."""

    host: str
    port: int
    repo: str | None
    revision: str | None
    network: str | None
    concurrency: int
    max_upload: str
    root_path: str
    share: bool
    mcp: bool
    link_secret: str = ""

    @property
    def max_upload_bytes(self) -> int:
        """The largest photo to take, in bytes."""
        number, unit = re.fullmatch(r"(\d+)\s*(\w+)", self.max_upload).groups()
        return int(number) * BYTES[unit]


def make_parser() -> argparse.ArgumentParser:
    """The command line; what is not given there comes from the environment."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def option(flag: str, variable: str, default: object, text: str, **more: object) -> None:
        value = os.environ.get(variable) or default
        parser.add_argument(flag, default=value, help=f"{text} [{variable}]", **more)

    def switch(flag: str, variable: str, text: str) -> None:
        value = os.environ.get(variable, "").lower() in YES
        parser.add_argument(
            flag, action=argparse.BooleanOptionalAction, default=value, help=f"{text} [{variable}]"
        )

    host = "address to listen on; 0.0.0.0 for all; default: 127.0.0.1"
    option("--host", "GRADIO_SERVER_NAME", "127.0.0.1", host)
    option("--port", "GRADIO_SERVER_PORT", 7860, "default: 7860", type=_port)
    repo = "folder or hub repo to take the networks from; default: those that ship"
    option("--repo", "LANDMARK_REPO", None, repo, metavar="FOLDER|ORG/NAME")
    option("--revision", "LANDMARK_REVISION", None, "its tag, branch or commit")
    option("--network", "LANDMARK_NETWORK", None, "the one chosen at first; default: the best")
    many = "photos answered at the same time; default: 1"
    option("--concurrency", "LANDMARK_CONCURRENCY", 1, many, type=_count, metavar="N")
    size = "largest photo to take; default: 30mb"
    option("--max-upload", "LANDMARK_MAX_UPLOAD", "30mb", size, type=_size, metavar="SIZE")
    root = "behind a proxy: the page's address there, https://example.org/landmarks or /landmarks"
    option("--root-path", "GRADIO_ROOT_PATH", "", root, type=_root, metavar="ADDRESS")
    switch("--share", "GRADIO_SHARE", "open a public link for a while; needs the internet")
    switch("--mcp", "GRADIO_MCP_SERVER", 'serve the API to MCP clients, too; pip install ".[mcp]"')
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port. Use 1 to 65535.")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no count. Use 1 or more.")
    return int(text)


def _size(text: str) -> str:
    if not re.fullmatch(r"[1-9]\d*\s*(b|kb|mb|gb)", text.lower()):
        raise argparse.ArgumentTypeError(f"{text!r} is no size. Write it like 30mb.")
    return text.lower()


def _root(text: str) -> str:
    if text and not re.fullmatch(r"(https?://[\w.:\[\]-]+)?(/[\w.~-]+)*/?", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no address. Write it like https://example.org/landmarks or /landmarks."
        )
    return text.rstrip("/")


def read_settings(arguments: list[str] | None = None) -> Settings:
    """The settings of a command line and the environment; exits where they make no sense."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.mcp and find_spec("mcp") is None:
        parser.error('--mcp needs one more package: pip install ".[mcp]"')
    secret = os.environ.get("LANDMARK_LINK_SECRET", "")
    return Settings(**vars(options), link_secret=secret)


def launch(settings: Settings, models: Models) -> GuardedBlocks:
    """Starts to serve the page; gives it, running. Raises LandmarkError where it cannot listen."""
    folder = make_private_folder()
    os.environ["GRADIO_TEMP_DIR"] = str(folder)  # read by gradio at each use
    words = translations(len(models.known))
    page = build(models, words, Uploads(folder), settings.link_secret)
    page.queue(max_size=64, default_concurrency_limit=EVENTS_AT_ONCE)
    page.rules = rules_for(settings, page)
    try:
        # What gradio prints of a public link that fails is about virus scanners; see `greeting`.
        with redirect_stdout(StringIO()):
            page.launch(
                **where(settings), **looks(words), app_kwargs=around(settings, models, page)
            )
    except OSError as error:
        raise LandmarkError(
            f"Nothing can listen on {settings.host}, port {settings.port}: it may be taken. "
            "Use another --port or --host."
        ) from error
    # With it set, gradio would serve a page whose script comes from a third party.
    page.share = False
    return page


def rules_for(settings: Settings, page: GuardedBlocks) -> Rules:
    """What the guard before gradio goes by."""
    in_space = "SPACE_ID" in os.environ
    public = (fn for fn in page.fns.values() if fn.api_visibility == "public")
    return Rules(
        uploads=page.uploads,
        endpoints=frozenset(fn.api_name for fn in public),
        waiting=lambda session: session in page._queue.pending_messages_per_session,
        max_upload_bytes=settings.max_upload_bytes,
        # A Space and gradio's public links have a proxy of their own before them.
        trusts_proxy=bool(settings.root_path) or settings.share or in_space,
        is_local=bool(LOCAL.fullmatch(settings.host)),
        in_space=in_space,
        has_mcp=settings.mcp,
    )


def where(settings: Settings) -> dict[str, object]:
    """How gradio is to serve the page."""
    return {
        "server_name": settings.host,
        "server_port": settings.port,
        "root_path": settings.root_path,
        "max_file_size": settings.max_upload,
        "state_session_capacity": 1000,
        "share": settings.share,
        "mcp_server": settings.mcp,
        "prevent_thread_lock": True,
        "enable_monitoring": False,
        "ssr_mode": False,  # a server of its own would answer for "/", past our middleware
        "quiet": True,
    }


def looks(words: gr.I18n) -> dict[str, object]:
    """What the page looks like, and what it says."""
    return {
        "i18n": words,
        "css": style(),
        "js": (HERE / "webapp" / "page.js").read_text(encoding="utf-8"),
        "theme": theme(),
        "footer_links": ["api"],
        "run_history": False,
    }


def around(settings: Settings, models: Models, page: GuardedBlocks) -> dict[str, object]:
    """What is served besides gradio's page: guard, link previews, health check; and what cleans."""
    health = {
        "status": "ok",
        "version": landmark_model.__version__,
        "networks": [models.stamp(network) for network in models.taggers],
        "landmarks": len(models.known),
    }
    describe = previews(models, settings.link_secret)
    uncollected = Uncollected(page._queue, UNCOLLECTED_S)

    async def delete_links() -> None:
        await asyncio.to_thread(delete_old, page.uploads.folder / "deep_links", KEPT_S)

    async def refuse(request: object, error: Exception) -> Response:
        return say("bad_call")  # FastAPI's own answer holds the request

    return {
        "middleware": [
            Middleware(GuardMiddleware, page.rules),
            Middleware(HeadMiddleware, describe),
        ],
        "routes": routes(health),
        "exception_handlers": {RequestValidationError: refuse},
        "lifespan": keep_clean((delete_links, CLEAN_EVERY_S), (uncollected.drop, 5)),
    }


def style() -> str:
    """The style sheets, as one."""
    sheets = [HERE / "app.css", *sorted((HERE / "webapp").glob("*.css"))]
    return "\n".join(sheet.read_text(encoding="utf-8") for sheet in sheets)


def theme() -> gr.themes.Base:
    """Calm colours, one accent, and fonts that are on the visitor's machine already."""
    fonts = [gr.themes.Font("system-ui"), gr.themes.Font("sans-serif")]
    hues = {"primary_hue": "blue", "secondary_hue": "slate", "neutral_hue": "slate"}
    plain = {"block_label_background_fill": "*background_fill_primary",
             "block_title_background_fill": "none",
             "block_title_padding": "0"}  # fmt: skip
    quiet = {"block_label_text_color": "*neutral_600", "block_title_text_color": "*neutral_600",
             "body_text_color_subdued": "*neutral_600"}  # fmt: skip
    dark = {f"{name}_dark": "*neutral_300" for name in quiet}
    return gr.themes.Soft(**hues, font=fonts, font_mono=fonts).set(
        **plain,
        **quiet,
        **dark,
        block_label_background_fill_dark="*background_fill_primary",
        block_title_background_fill_dark="none",
        block_border_width="1px",
        block_border_width_dark="1px",
        block_radius="14px",
        block_shadow="none",
        block_label_text_weight="500",
        block_title_text_weight="500",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        checkbox_label_border_width="1px",
        checkbox_label_border_color="*neutral_300",
        checkbox_label_border_color_dark="*neutral_600",
        checkbox_label_shadow="none",
        checkbox_border_color="*neutral_500",
        checkbox_border_color_dark="*neutral_400",
        checkbox_border_width="1px",
        checkbox_label_background_fill_selected="*primary_600",
        checkbox_label_background_fill_selected_dark="*primary_600",
    )


def greeting(settings: Settings, page: gr.Blocks) -> str:
    """Where the page is now, and what became of the public link, if one was asked for."""
    lines = [f"The landmark tagger is at {page.local_url}"]
    if settings.mcp:
        lines.append(f"MCP clients find it at {page.local_url}gradio_api/mcp/")
    if settings.share and page.share_url:
        lines.append(f"Anyone can open {page.share_url} until you stop this program (Ctrl-C).")
    elif settings.share:
        lines.append(
            "There is no public link: it needs the internet, and gradio's server did not answer."
        )
    return "\n".join(lines)


def warm_up(models: Models) -> None:
    """Lets each network answer once: the first answer of a process takes longest."""
    for tagger in models.taggers.values():
        tagger.predict(Image.new("RGB", (256, 256)))


def serve_until(stopped: threading.Event, page: GuardedBlocks) -> None:
    """Serves until `stopped` is set or Ctrl-C comes, then gives the answers that are under way."""
    try:
        stopped.wait()
    except KeyboardInterrupt:
        print("Stopping.", flush=True)
    page.rules.stopping = True
    wait_while(lambda: page.is_busy, LAST_ANSWERS_S)
    wait_while(lambda: page.has_news, 1)
    page.close(verbose=False)


def wait_while(is_so: Callable[[], bool], most_s: float) -> None:
    """Waits as long as something is so, but no longer than that."""
    deadline = time.monotonic() + most_s
    while is_so() and time.monotonic() < deadline:
        time.sleep(0.05)


def main(arguments: list[str] | None = None) -> None:
    """Loads the networks, then serves the page until stopped."""
    settings = read_settings(arguments)
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    try:
        models = open_models(
            settings.repo, settings.revision, settings.network, settings.concurrency
        )
        warm_up(models)
        page = launch(settings, models)
    except LandmarkError as error:
        sys.exit(f"app.py: {error}")
    print(greeting(settings, page), flush=True)
    serve_until(stopped, page)


if __name__ == "__main__":
    main()
