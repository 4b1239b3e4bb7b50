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
from dataclasses import dataclass
from urllib.parse import parse_qs

from gradio.route_utils import CustomCORSMiddleware
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from landmark_model.web.logs import log_error
from landmark_model.web.uploads import MAX_PHOTOS, Uploads

MAX_BODY_BYTES = 2**20
MAX_BRACKETS = 2000  # lists and objects in a request, more than in any of the page or the API
SILENCE_S = 30  # how long a request may say nothing while it is sent
SPARE_BYTES = 200 * 2**20  # of the disk, which uploads leave free
API, LIBRARY = "/gradio_api", "/library"
CALL, FILE, MCP, UPLOAD = f"{API}/call/", f"{API}/file=", f"{API}/mcp", f"{API}/upload"
PROGRESS = f"{API}/upload_progress"  # gradio remembers the numbers that it is asked for
# Whole paths, and beginnings of paths, that the page and its API need.
READ = {"/", "/config", "/config/", "/health", "/preview.png", "/theme.css", "/favicon.ico",
        "/robots.txt", "/manifest.json", "/pwa_icon",
        *(f"{API}/{name}" for name in ("info", "info/", "openapi.json", "startup-events", "app_id",
          "queue/data", "queue/status", "upload_progress", "deep_link", "theme.css", "user",
          "login_check"))}  # fmt: skip
READ_BELOW = ("/static/", "/pictures/", "/assets/", "/svelte/", "/pwa_icon/", f"{API}/heartbeat/",
              FILE)  # fmt: skip
WRITE = {f"{API}/{name}" for name in ("queue/join", "run/predict", "upload", "cancel", "reset")}
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
    "bad_call": (400, f"The request has a missing or extra value. {API}/info lists them."),
    "no_form": (400, 'An upload must be a form of files in the field "files".'),
    "slow": (408, "The request took too long to arrive. Send it again."),
    "bad_session": (400, "session_hash and upload_id must be 1 to 64 letters, digits, - or _."),
    "bad_query": (400, "The address gives a value twice."),
    "bad_host": (400, "This app has another name. Behind a proxy, start it with --root-path."),
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
    has_library: bool = False
    stopping: bool = False


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
        # Photos of a library are for its own page, and for no other site's <img>.
        own = {"cross-origin-resource-policy": "same-origin"} if is_library(scope) else {}
        answer = _Answer(send, self.headers | own)
        try:
            refusal = self._refuse(scope)
            if refusal:
                raise _Refused(refusal)
            await self.app(scope, await self._bounded(scope, receive), answer)
        except _Refused as error:
            await answer.instead(error.sentence, scope, receive)
        except TimeoutError:
            await answer.instead("slow", scope, receive)
        except Exception as error:
            log_error(error)
            await answer.instead(_excuse(error, route_of(scope)), scope, receive)

    def _refuse(self, scope: Scope) -> str | None:
        """The key in SENTENCES if a request is refused by its headers alone; else None."""
        rules, path, method = self.rules, route_of(scope), scope["method"]
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if not self._is_ours(Headers(scope=scope)):
            return "bad_host"
        if any(len(values) > 1 for values in query.values()):
            return "bad_query"  # who reads the first and who the last would differ
        if not self._is_route(method, path) or "page" in query:  # the app has one page
            return "no_route"
        if rules.stopping and method == "POST":
            return "stopping"
        if path.startswith(FILE) and rules.uploads.find(path.removeprefix(FILE)) is None:
            return "no_file"
        last = path.split("/")[-1]
        is_upload = path in (UPLOAD, PROGRESS)
        number = query.get("upload_id", ["none"])[0] if is_upload else last
        if (is_upload or path.startswith(f"{API}/heartbeat/")) and not SESSION.fullmatch(number):
            return "bad_session"
        if path == f"{API}/queue/data":
            return None if rules.waiting(query.get("session_hash", [""])[0]) else "no_session"
        if path.startswith(CALL) and method != "POST":
            return None if rules.waiting(last) else "no_session"
        if path == UPLOAD and _free_bytes(rules.uploads) < SPARE_BYTES:
            return "full"
        return None

    def _is_ours(self, headers: Headers) -> bool:
        """Whether the app may be asked under the name that a request gives it."""
        allowed = LOCAL_HOST if self.rules.is_local and not self.rules.trusts_proxy else HOST
        forwarded = headers.get("x-forwarded-host", "localhost").split(",")[0]
        return all(allowed.fullmatch(host.strip()) for host in (headers.get("host", ""), forwarded))

    def _is_route(self, method: str, path: str) -> bool:
        if self.rules.has_mcp and path.startswith(MCP):
            return True
        if method not in ("GET", "HEAD", "POST", "OPTIONS"):
            return False
        if path.startswith(CALL):
            name = path.removeprefix(CALL).removeprefix("v2/").split("/")[0]
            return name in self.rules.endpoints
        if method == "POST":
            return path in WRITE
        if path == LIBRARY or path.startswith(f"{LIBRARY}/photo/"):
            return self.rules.has_library
        return path in READ or path.startswith(READ_BELOW)

    async def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """`receive` for a body of the size that is allowed; raises _Refused for any other."""
        path, uploads, most = route_of(scope), self.rules.uploads, self.rules.max_upload_bytes
        if path == UPLOAD:
            return limited(receive, MAX_PHOTOS * most, "many", uploads)
        is_mcp = path.startswith(MCP)  # photos come as base64 text there
        body = await read_all(limited(receive, MAX_BODY_BYTES + is_mcp * most * 4 // 3, "large"))
        if body.count(b"[") + body.count(b"{") > MAX_BRACKETS:
            raise _Refused("large")
        if scope["method"] == "POST" and not is_mcp:
            check_json(body)
        return replayed(body, receive)


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


def is_library(scope: Scope) -> bool:
    """Whether a request is for the page of a photo library, or a photo of it."""
    return route_of(scope).startswith(LIBRARY)


class OriginMiddleware(CustomCORSMiddleware):
    """gradio's answer to pages of other sites: they may ask the API in a visitor's browser, but
    with none of the visitor's logins, and read no photo library."""

    def __init__(self, app: ASGIApp, **settings: object) -> None:
        super().__init__(app, **settings)
        self.simple_headers = {}
        del self.preflight_headers["Access-Control-Allow-Credentials"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """gradio's, or, for a library, none of its headers."""
        is_own = scope["type"] == "http" and is_library(scope)
        await (self.app if is_own else super().__call__)(scope, receive, send)


def _excuse(error: Exception, path: str) -> str:
    """The key of the message for an error that gradio did not catch."""
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return "full"
    if isinstance(error, OSError) and path.startswith(READ_BELOW):
        return "no_route"  # a name that no file can have
    is_odd = isinstance(error, LookupError | TypeError | ValueError)
    if is_odd and path == UPLOAD:
        return "no_form"
    calls = (CALL, f"{API}/queue", f"{API}/run")
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


def limited(receive: Receive, most: int, refusal: str, disk: Uploads | None = None) -> Receive:
    """`receive`, which raises _Refused once over `most` bytes came or the disk is full.

    Raises TimeoutError where nothing comes.
    """
    size = 0

    async def count() -> Message:
        nonlocal size
        message = await asyncio.wait_for(receive(), SILENCE_S)
        size += len(message.get("body", b""))
        if size > most:
            raise _Refused(refusal)
        if disk and _free_bytes(disk) < SPARE_BYTES:
            raise _Refused("full")
        return message

    return count


async def read_all(receive: Receive) -> bytes:
    """The body of a request."""
    parts: list[bytes] = []
    more = True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


def replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives `body` once more, then what comes after it."""
    rest = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return rest.pop() if rest else await receive()

    return again


def check_json(body: bytes) -> None:
    """Raises _Refused for a body that cannot come from the page or the API."""
    try:
        request = json.loads(body or b"null", parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise _Refused("no_json") from None
    if not isinstance(request, dict) or not isinstance(request.get("data", []), list):
        raise _Refused("no_json")
    session = request.get("session_hash")
    if session is not None and not (isinstance(session, str) and SESSION.fullmatch(session)):
        raise _Refused("bad_session")


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
