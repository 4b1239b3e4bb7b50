"""What machines read: link previews, language, health check; and the pictures of landmarks.

gradio writes "Gradio" into the head of its page, and previews of shared links take that. This is
a small ASGI middleware that puts our own title, description and picture there.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from landmark_model.web import STATIC
from landmark_model.web.html import pictures
from landmark_model.web.i18n import pick_language

PREVIEW = STATIC / "preview.png"
PREVIEW_PATH = "/preview.png"
HEALTH_PATH = "/health"
PREVIEW_SIZE = (1200, 630)
_THEIRS = re.compile(
    rb"""\s*<meta\s[^>]*?(?:property|name)="(?:og:|twitter:)[^>]*>|\s*<title>[^<]*</title>""",
    re.DOTALL,
)
_CHARSET = re.compile(rb"<meta\s+charset[^>]*>")


@dataclass(frozen=True)
class Preview:
    """A link preview: title and description in the reader's language."""

    title: str
    description: str


Describe = Callable[[Mapping[str, str], str], Preview]  # of a query string, in a language


class HeadMiddleware:
    """Replaces the head of "/" by the preview that `describe` gives for a query string."""

    def __init__(self, app: ASGIApp, describe: Describe) -> None:
        self.app, self.describe = app, describe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes everything on unchanged except the HTML of the page."""
        if scope["type"] != "http" or _path(scope) != "/" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        await self.app(scope, receive, _Rewriter(send, self._head(scope), _language(scope)))

    def _head(self, scope: Scope) -> bytes:
        query = dict(parse_qsl(scope.get("query_string", b"").decode("latin-1")))
        preview = self.describe(query, _language(scope))
        return head_tags(preview, page_address(scope)).encode()


class _Rewriter:
    """A `send` that collects an HTML body, and passes it on whole with the new head."""

    def __init__(self, send: Send, head: bytes, language: str) -> None:
        self.send, self.head, self.language = send, head, language
        self.start: Message | None = None
        self.body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            kind = Headers(raw=message["headers"]).get("content-type", "")
            if kind.startswith("text/html"):
                self.start = message
                return
        elif message["type"] == "http.response.body" and self.start is not None:
            self.body += message.get("body", b"")
            if not message.get("more_body"):
                await self._finish()
            return
        await self.send(message)

    async def _finish(self) -> None:
        body = rewrite(self.body, self.head, self.language)
        headers = MutableHeaders(raw=list(self.start["headers"]))
        headers["content-length"] = str(len(body))
        await self.send(self.start | {"headers": headers.raw})
        await self.send({"type": "http.response.body", "body": body})


def rewrite(page: bytes, head: bytes, language: str) -> bytes:
    """An HTML page with `head` in place of its own preview tags, and `language` as its own."""
    before, end, after = page.partition(b"</head>")
    before = _THEIRS.sub(b"", before)
    before = re.sub(rb'(<html\s+lang=)"[^"]*"', rb'\1"%s"' % language.encode(), before, count=1)
    # After the charset, which must be among the first bytes.
    before = _CHARSET.sub(lambda match: match[0] + head, before, count=1)
    return before + end + after


def head_tags(preview: Preview, address: str) -> str:
    """The tags of a link preview; `address` is the page's own, with its "/" at the end."""
    title, text = html.escape(preview.title), html.escape(preview.description)
    picture, (width, height) = html.escape(address + PREVIEW_PATH[1:]), PREVIEW_SIZE
    named = {
        "og:type": "website",
        "og:title": title,
        "og:description": text,
        "og:url": html.escape(address),
        "og:image": picture,
        "og:image:width": width,
        "og:image:height": height,
        "og:image:alt": title,
    }
    tags = [f'<meta property="{name}" content="{value}">' for name, value in named.items()]
    tags += [
        f'<meta name="{name}" content="{value}">'
        for name, value in {
            "description": text,
            "twitter:card": "summary_large_image",
            "twitter:title": title,
            "twitter:description": text,
            "twitter:image": picture,
        }.items()
    ]
    return "".join([f"<title>{title}</title>", *tags])


def page_address(scope: Scope) -> str:
    """The address of the page as its visitor wrote it, also behind a proxy: "https://host/".

    Headers of a proxy are here only where they count; see `guard`.
    """
    headers, root = Headers(scope=scope), scope.get("root_path", "").rstrip("/")
    if root.startswith(("http://", "https://")):
        return f"{root}/"
    scheme = headers.get("x-forwarded-proto", scope["scheme"]).split(",")[0].strip()
    host = headers.get("x-forwarded-host", headers.get("host", "")).split(",")[0].strip()
    return f"{scheme}://{host}{root}/"


def routes(health: Mapping[str, object]) -> list[Route]:
    """The routes besides the page: its pictures, and `health` for load balancers."""

    async def show_health(request: Request) -> Response:
        return JSONResponse(dict(health))

    async def show_preview(request: Request) -> Response:
        return FileResponse(PREVIEW, media_type="image/png")

    async def show_picture(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in {credit["file"] for credit in pictures.photo_credits().values()}:
            return Response(status_code=404)
        return FileResponse(pictures.FOLDER / name, headers={"cache-control": "max-age=86400"})

    return [
        Route(HEALTH_PATH, show_health),
        Route(PREVIEW_PATH, show_preview),
        Route(f"{pictures.PATH}{{name}}", show_picture),
    ]


def _path(scope: Scope) -> str:
    root = scope.get("root_path", "").rstrip("/")
    return scope["path"].removeprefix(root) or "/"


def _language(scope: Scope) -> str:
    return pick_language(Headers(scope=scope).get("accept-language"))
