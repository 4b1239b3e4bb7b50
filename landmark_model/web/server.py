"""Loads the networks, serves the page, and stops well."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import shutil
import signal
import sys
import threading
from contextlib import redirect_stdout, suppress
from functools import partial
from io import BytesIO, StringIO

# Read by gradio when it is imported: no visitor statistics, no version check, nothing leaves.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
# And no table of the last 10,000 requests, made anew by pandas at each of them.
os.environ |= {"GRADIO_ANALYTICS_MAX_EVENTS": "1", "GRADIO_ANALYTICS_CACHE_FREQUENCY": "1000000000"}

import gradio as gr
import gradio.routes
from fastapi.exceptions import RequestValidationError
from PIL import Image
from starlette.middleware import Middleware
from starlette.responses import Response

import landmark_model
from landmark_model import LandmarkError, Library, open_library, open_safely
from landmark_model.web.blocks import GuardedBlocks
from landmark_model.web.cleanup import (
    Lasting,
    close_idle,
    delete_old,
    delete_unfinished,
    drop_uncollected,
    keep_clean,
)
from landmark_model.web.fair_queue import FairQueue
from landmark_model.web.guard import GuardMiddleware, OriginMiddleware, Rules, say
from landmark_model.web.layout import KEPT_S, build, describe, translations
from landmark_model.web.library_routes import library_routes
from landmark_model.web.logs import quiet
from landmark_model.web.models import Models, open_models
from landmark_model.web.multipart import bound_uploads
from landmark_model.web.preview import HeadMiddleware, routes
from landmark_model.web.settings import Settings, read_settings
from landmark_model.web.theme import look_of_page
from landmark_model.web.uploads import Uploads, make_private_folder

LOCAL = re.compile(r"localhost|127\..*|\[?::1\]?")
EVENTS_AT_ONCE = 8  # photos being decoded, or waiting for the network, at the same time
UNCOLLECTED_S = 60
UNFINISHED_S = 60  # what of an upload is left when it is cut off
IDLE_S = 20  # how long a connection may ask nothing
LAST_ANSWERS_S = 10  # what a stop waits for
AWAKE_EVERY_S = 0.5


def launch(settings: Settings, models: Models, library: Library | None = None) -> GuardedBlocks:
    """Starts serving the page and returns it. Raises LandmarkError if it cannot listen."""
    folder = make_private_folder()
    os.environ["GRADIO_TEMP_DIR"] = str(folder)  # read by gradio at each use
    bound_uploads()
    gradio.routes.CustomCORSMiddleware = OriginMiddleware
    words = translations(models.known_count, models.titles())
    page = build(models, words, Uploads(folder), settings.link_secret, library is not None)
    page.queue(api_open=False)  # events that are queued cannot be asked for past the queue
    page._queue = FairQueue(page, EVENTS_AT_ONCE)
    page.rules = rules_for(settings, page)
    if not page.rules.trusts_proxy:  # else uvicorn believes who is on this machine
        os.environ["FORWARDED_ALLOW_IPS"] = ""
    try:
        # What gradio prints of a public link that fails is about virus scanners; see `greeting`.
        with redirect_stdout(StringIO()):
            page.launch(
                **serving_options(settings),
                **look_of_page(words, settings.max_upload),
                app_kwargs=app_options(settings, models, page, library),
            )
    except OSError as error:
        raise LandmarkError(
            f"Nothing can listen on {settings.host}, port {settings.port}: it may be in use. "
            "Use another --port or --host."
        ) from error
    # With it set, gradio would serve a page whose script comes from a third party.
    page.share = False
    return page


def rules_for(settings: Settings, page: GuardedBlocks) -> Rules:
    """The rules for the guard in front of gradio."""
    in_space = "SPACE_ID" in os.environ
    public = (fn for fn in page.fns.values() if fn.api_visibility == "public")
    return Rules(
        uploads=page.uploads,
        endpoints=frozenset(fn.api_name for fn in public),
        waiting=page.knows,
        max_upload_bytes=settings.max_upload,
        # A Space and gradio's public links have a proxy of their own before them.
        trusts_proxy=bool(settings.root_path) or settings.share or in_space,
        is_local=bool(LOCAL.fullmatch(settings.host)),
        in_space=in_space,
        has_mcp=settings.mcp,
        has_library=settings.library is not None,
    )


def serving_options(settings: Settings) -> dict[str, object]:
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


def app_options(
    settings: Settings, models: Models, page: GuardedBlocks, library: Library | None
) -> dict[str, object]:
    """Everything around gradio's page: guard, link previews, health check and cleaning."""
    health = {
        "status": "ok",
        "version": landmark_model.__version__,
        "networks": [models.stamp(network) for network in models.taggers],
        "landmarks": models.known_count,
    }

    async def delete_files() -> None:
        await asyncio.to_thread(delete_old, page.links.folder, KEPT_S)
        await asyncio.to_thread(delete_unfinished, page.uploads.folder, UNFINISHED_S)

    async def refuse(request: object, error: Exception) -> Response:
        return say("bad_call")  # FastAPI's own answer holds the request

    return {
        "middleware": [
            Middleware(GuardMiddleware, page.rules),
            Middleware(HeadMiddleware, partial(describe, models, settings.link_secret)),
        ],
        "routes": [
            *routes(health),
            page.links.route(lambda: page.config["components"]),
            *(library_routes(library) if library else ()),
        ],
        "exception_handlers": {RequestValidationError: refuse},
        "lifespan": keep_clean(
            (quiet, 60),  # first when uvicorn has its handlers, and nobody has asked anything
            (delete_files, UNFINISHED_S),
            (partial(drop_uncollected, page._queue, Lasting(UNCOLLECTED_S)), 5),
            (partial(close_idle, page, Lasting(IDLE_S)), 5),
            (page.note_loop, 3600),
        ),
    }


def greeting(settings: Settings, page: gr.Blocks) -> str:
    """The page's address, and its public link or why there is none, if one was asked for."""
    lines = [f"The landmark tagger is at {page.local_url}"]
    if settings.library:
        lines.append(f"The photo library is at {page.local_url}library")
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
    """Opens a photo and lets each network answer: the first time of a process takes longest."""
    file = BytesIO()
    Image.new("RGB", (256, 256)).save(file, "PNG")
    photo = open_safely(file).image  # starts a process that decodes
    for tagger in models.taggers.values():
        tagger.predict(photo)


def serve_until(stopped: threading.Event, page: GuardedBlocks) -> None:
    """Serves until `stopped` is set or Ctrl-C, then finishes the answers in progress."""
    try:
        wait_for(stopped)
    except KeyboardInterrupt:
        print("Stopping.", flush=True)
    page.rules.stopping = True
    asyncio.run_coroutine_threadsafe(page.finish(LAST_ANSWERS_S), page.loop).result()
    page.close(verbose=False)


def wait_for(stopped: threading.Event) -> None:
    """Waits until a signal's handler sets `stopped`."""
    # A signal may reach any thread, but its handler runs in this one, and only while it is awake.
    while not stopped.wait(AWAKE_EVERY_S):
        pass


def allow_connections() -> None:
    """Raises the limit on open files as far as the system allows: each connection is one."""
    with suppress(ImportError, ValueError, OSError):  # not on Windows
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main(arguments: list[str] | None = None) -> None:
    """Loads the networks, then serves the page until stopped.

    Raises LandmarkError where there is no network to load, or nothing can listen at the address.
    """
    settings = read_settings(arguments)
    allow_connections()
    library = open_library(settings.library) if settings.library else None
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    models = open_models(
        settings.repo, settings.revision, settings.network, settings.concurrency, settings.taught
    )
    warm_up(models)
    page = launch(settings, models, library)
    print(greeting(settings, page), flush=True)
    gc.freeze()  # millions of objects of libraries, which every later collection would look at
    serve_until(stopped, page)
    shutil.rmtree(page.uploads.folder, ignore_errors=True)
    sys.stdout.flush()
    os._exit(0)  # a network that still computes in a thread would abort an orderly exit
