"""The guard in front of gradio: its routes, the size of requests, and which headers to trust.

An ASGI middleware. A route that the page does not use is not there, also one that a later gradio
adds. Answers to refused requests are sentences that hold nothing of the request.
"""

from __future__ import annotations

import asyncio
import errno
import json
import re
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from landmark_model.web.logs import log_error
from landmark_model.web.uploads import MAX_PHOTOS, Uploads

MAX_BODY_BYTES = 2**20
MAX_BRACKETS = 2000  # lists and objects in a request: Python is slow to make many
SILENCE_S = 30  # how long a request may say nothing while it is sent
SPARE_BYTES = 200 * 2**20  # of the disk, which uploads leave free
API = "/gradio_api"
# Whole paths, and beginnings of paths, that the page and its API need.
READ = {"/", "/config", "/config/", "/health", "/preview.png", "/theme.css", "/favicon.ico",
        "/robots.txt", "/manifest.json", "/pwa_icon",
        *(f"{API}/{name}" for name in ("info", "info/", "openapi.json", "startup-events", "app_id",
          "queue/data", "queue/status", "upload_progress", "deep_link", "theme.css", "user",
          "login_check"))}  # fmt: skip
READ_BELOW = ("/static/", "/pictures/", "/assets/", "/svelte/", "/pwa_icon/", f"{API}/heartbeat/",
              f"{API}/call/", f"{API}/file=")  # fmt: skip
WRITE = {f"{API}/{name}" for name in ("queue/join", "run/predict", "upload", "cancel", "reset")}
WRITE_BELOW = (f"{API}/call/",)
MCP = f"{API}/mcp"
SESSION = re.compile(r"[\w-]{1,64}", re.ASCII)
HOST = re.compile(r"(?:[a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::\d{1,5})?", re.IGNORECASE)
RANGE = re.compile(rb"bytes=\d{1,12}-")  # of a file from there to its end
LOCAL_HOST = re.compile(r"(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?", re.IGNORECASE)
SCRIPTS = "'self' 'unsafe-inline' 'unsafe-eval' blob:"  # gradio makes functions out of texts
POLICY = (
    f"default-src 'self'; script-src {SCRIPTS}; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors {frames}"
)
SPACE_FRAMES = "'self' https://huggingface.co https://*.hf.space"
SENTENCES = {
    "no_route": (404, f"There is nothing at this address. {API}/info lists the endpoints."),
    "no_file": (404, "There is no such file. Uploads are deleted after about an hour."),
    "no_session": (404, "There are no results for this session. They are kept for a minute."),
    "large": (413, "The request is too large: the limit is 1 MB, except for uploads."),
    "many": (413, f"The upload is too large: the limit is {MAX_PHOTOS} photos at once."),
    "no_json": (400, 'The request is not JSON like {"data": [...]}.'),
    "bad_call": (
        400,
        f"The request has a missing or extra value. {API}/info lists them.",
    ),
    "no_form": (400, 'An upload must be a form of files in the field "files".'),
    "slow": (408, "The request took too long to arrive. Send it again."),
    "bad_session": (400, "session_hash must be 1 to 64 letters, digits, - or _."),
    "bad_host": (
        400,
        "This app is not served under that name. If it stands behind a proxy, start "
        "it with --root-path.",
    ),
    "full": (507, "There is no room for uploads at the moment. Try again later."),
    "stopping": (503, "The app is stopping. Try again in a minute."),
    "broken": (500, "Something went wrong here. Try again in a moment."),
}


@dataclass
class Rules:
    """The rules of the guard.

    `endpoints` are the names in /gradio_api/call/<name>; `waiting` tells whether a session, or an
    event, has results or awaits some. Headers of a proxy count where `trusts_proxy`; else, where
    `is_local`, only names of this machine do. `stopping` is set while the last answers are given.
    """

    uploads: Uploads
    endpoints: Collection[str]
    waiting: Callable[[str], bool]
    max_upload_bytes: int
    trusts_proxy: bool = False
    is_local: bool = True
    in_space: bool = False
    has_mcp: bool = False
    stopping: bool = field(default=False)


class GuardMiddleware:
    """Passes on what `rules` allow, and adds security headers."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self.app, self.rules = app, rules
        frames = SPACE_FRAMES if rules.in_space else "'self'"
        self.headers = {
            "x-content-type-options": "nosniff",
            "referrer-policy": "same-origin",
            "content-security-policy": POLICY.format(frames=frames),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuses, or passes on with a bounded body and no headers that anybody could forge."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        _forget_forged(scope, self.rules.trusts_proxy)
        answer = _Answer(send, self.headers)
        try:
            refusal = self._refuse(scope)
            if refusal is None:
                receive, refusal = await self._bounded(scope, receive)
            if refusal is not None:
                await say(refusal)(scope, receive, answer)
                return
            await self.app(scope, receive, answer)
        except _Refused as error:
            await answer.instead(error.sentence, scope, receive)
        except TimeoutError:
            await answer.instead("slow", scope, receive)
        except Exception as error:
            log_error(error)
            await answer.instead(_excuse(error, route_of(scope)), scope, receive)

    def _refuse(self, scope: Scope) -> str | None:
        """The key in SENTENCES if a request is refused by its headers alone; else None."""
        headers, path = Headers(scope=scope), route_of(scope)
        allowed = LOCAL_HOST if self.rules.is_local and not self.rules.trusts_proxy else HOST
        hosts = [
            headers.get("host", ""),
            headers.get("x-forwarded-host", "localhost").split(",")[0],
        ]
        if not all(allowed.fullmatch(host.strip()) for host in hosts):
            return "bad_host"
        if not self._is_route(scope["method"], path):
            return "no_route"
        if self.rules.stopping and scope["method"] == "POST":
            return "stopping"
        if path.startswith(f"{API}/file=") and not self._is_upload(path):
            return "no_file"
        if path.startswith(f"{API}/heartbeat/") and not SESSION.fullmatch(path.split("/")[-1]):
            return "bad_session"
        query = parse_qs(scope["query_string"].decode("latin-1"))
        if path == f"{API}/queue/data":
            return None if self.rules.waiting(query.get("session_hash", [""])[0]) else "no_session"
        if path.startswith(f"{API}/call/") and scope["method"] != "POST":
            return None if self.rules.waiting(path.split("/")[-1]) else "no_session"
        if "page" in query:  # the app has one
            return "no_route"
        if path == f"{API}/upload" and _free_bytes(self.rules.uploads) < SPARE_BYTES:
            return "full"
        return None

    def _is_route(self, method: str, path: str) -> bool:
        if self.rules.has_mcp and path.startswith(MCP):
            return True
        whole, below = (WRITE, WRITE_BELOW) if method == "POST" else (READ, READ_BELOW)
        if method not in ("GET", "HEAD", "POST", "OPTIONS"):
            return False
        if path.startswith(f"{API}/call/"):
            name = path.removeprefix(f"{API}/call/").removeprefix("v2/").split("/")[0]
            return name in self.rules.endpoints
        return path in whole or path.startswith(below)

    def _is_upload(self, path: str) -> bool:
        return self.rules.uploads.find(path.removeprefix(f"{API}/file=")) is not None

    async def _bounded(self, scope: Scope, receive: Receive) -> tuple[Receive, str | None]:
        """`receive` for a body of the size that is allowed; why it is refused, if it is."""
        path, most = route_of(scope), MAX_BODY_BYTES
        if path == f"{API}/upload":
            most = MAX_PHOTOS * self.rules.max_upload_bytes
            return counted(receive, most, self.rules.uploads), None
        if path.startswith(MCP):  # photos come as base64 text there
            most += self.rules.max_upload_bytes * 4 // 3
        body = await read_all(receive, most)
        if path.startswith(MCP):
            return replayed(body, receive), "large" if has_many_brackets(body) else None
        refusal = check_json(body) if scope["method"] == "POST" else None
        return replayed(body, receive), refusal


class _Refused(Exception):
    """A body that is refused; `sentence` is the key of the message."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class _Answer:
    """A `send` that adds headers, and knows whether an answer has begun."""

    def __init__(self, send: Send, headers: dict[str, str]) -> None:
        self.send, self.headers, self.has_begun = send, headers, False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_begun = True
            headers = MutableHeaders(raw=list(message["headers"]))
            for name, value in self.headers.items():
                headers.setdefault(name, value)
            message = message | {"headers": headers.raw}
        await self.send(message)

    async def instead(self, sentence: str, scope: Scope, receive: Receive) -> None:
        """Sends a sentence, unless an answer has already begun."""
        if not self.has_begun:
            await say(sentence)(scope, receive, self)


def say(sentence: str) -> JSONResponse:
    """The answer to a request that is refused; JSON as gradio's own errors are."""
    status, text = SENTENCES[sentence]
    return JSONResponse({"detail": text}, status)


def route_of(scope: Scope) -> str:
    """The path of a request within the app, without what a proxy put before it."""
    root = scope.get("root_path", "").rstrip("/")
    return scope["path"].removeprefix(root) or "/"


def _excuse(error: Exception, path: str) -> str:
    """The key of the message for an error that gradio did not catch."""
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return "full"
    if isinstance(error, OSError) and path.startswith(READ_BELOW):
        return "no_route"  # a name that no file can have
    is_odd = isinstance(error, LookupError | TypeError | ValueError)
    if is_odd and path == f"{API}/upload":
        return "no_form"
    calls = (f"{API}/call/", f"{API}/queue", f"{API}/run")
    return "bad_call" if is_odd and path.startswith(calls) else "broken"


def _free_bytes(uploads: Uploads) -> int:
    return shutil.disk_usage(uploads.folder).free


def _forget_forged(scope: Scope, trusts_proxy: bool) -> None:
    """Drops headers that only a proxy may set: client, host and scheme; and odd ranges."""
    forged = (b"x-gradio-server",)
    if not trusts_proxy:
        forged += (b"x-forwarded-", b"forwarded", b"x-real-ip")
        scope["scheme"] = "http"
    scope["headers"] = [
        (name, value)
        for name, value in scope["headers"]
        if not name.lower().startswith(forged)
        and (name.lower() != b"range" or RANGE.fullmatch(value))
    ]


async def read_all(receive: Receive, most: int) -> bytes:
    """The body of a request; raises _Refused as soon as it is over `most` bytes."""
    parts, size = [], 0
    while True:
        message = await asyncio.wait_for(receive(), SILENCE_S)
        if message["type"] != "http.request":
            break
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            raise _Refused("large")
        if not message.get("more_body"):
            break
    return b"".join(parts)


def replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives `body` once more, then what comes after it."""
    rest = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return rest.pop() if rest else await receive()

    return again


def counted(receive: Receive, most: int, uploads: Uploads) -> Receive:
    """`receive`, which raises _Refused once over `most` bytes came, or the disk is full."""
    size = unchecked = 0

    async def count() -> Message:
        nonlocal size, unchecked
        message = await asyncio.wait_for(receive(), SILENCE_S)
        size += len(message.get("body", b""))
        unchecked += len(message.get("body", b""))
        if size > most:
            raise _Refused("many")
        if unchecked > SPARE_BYTES // 4:
            unchecked = 0
            if _free_bytes(uploads) < SPARE_BYTES:
                raise _Refused("full")
        return message

    return count


def check_json(body: bytes) -> str | None:
    """Why a request's body cannot come from the page or the API; None if it can."""
    if has_many_brackets(body):
        return "large"
    try:
        request = json.loads(body or b"null", parse_constant=_no_number)
    except (ValueError, RecursionError):
        return "no_json"
    if not isinstance(request, dict) or not isinstance(request.get("data", []), list):
        return "no_json"
    session = request.get("session_hash")
    if session is not None and not (isinstance(session, str) and SESSION.fullmatch(session)):
        return "bad_session"
    return None


def has_many_brackets(body: bytes) -> bool:
    """Whether JSON holds more lists and objects than any request of the page or the API."""
    return body.count(b"[") + body.count(b"{") > MAX_BRACKETS


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
