"""What machines read: link previews, language, health check; and the pictures of landmarks.

gradio writes "Gradio" into the head of its page, and previews of shared links take that. This is
a small middleware that puts our own title, description and picture there.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from starlette.datastructures import URL
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from landmark_model.web import STATIC
from landmark_model.web.guard import route_of
from landmark_model.web.html import pictures
from landmark_model.web.i18n import pick_language

PREVIEW = STATIC / "preview.png"
PREVIEW_SIZE = (1200, 630)
_THEIRS = re.compile(
    r"""\s*<meta\s[^>]*?(?:property|name)="(?:og:|twitter:)[^>]*>|\s*<title>[^<]*</title>""",
    re.DOTALL,
)


class Preview(NamedTuple):
    """A link preview: title and description in the reader's language."""

    title: str
    description: str


class HeadMiddleware(BaseHTTPMiddleware):
    """Replaces the head of "/" by the preview that `describe` gives for its query and language."""

    def __init__(self, app: ASGIApp, describe: Callable[[Mapping[str, str], str], Preview]) -> None:
        super().__init__(app)
        self.describe = describe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes everything on unchanged except the page."""
        is_page = scope["type"] == "http" and scope["method"] == "GET" and route_of(scope) == "/"
        await (super().__call__ if is_page else self.app)(scope, receive, send)

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        """The page with the new head."""
        answer = await call_next(request)
        body = b"".join([piece async for piece in answer.body_iterator])
        language = pick_language(request.headers.get("accept-language"))
        preview = self.describe(request.query_params, language)
        page = rewrite(body.decode(), head_tags(preview, page_address(request)), language)
        del answer.headers["content-length"]
        return HTMLResponse(page, answer.status_code, dict(answer.headers))


def rewrite(page: str, head: str, language: str) -> str:
    """An HTML page with `head` in place of its own preview tags, and `language` as its own."""
    before, end, after = page.partition("</head>")
    before = _THEIRS.sub("", before)
    before = re.sub(r'(<html\s+lang=)"[^"]*"', rf'\1"{language}"', before, count=1)
    # After the charset, which must be among the first bytes.
    before = re.sub(r"<meta\s+charset[^>]*>", lambda tag: tag[0] + head, before, count=1)
    return before + end + after


def head_tags(preview: Preview, address: str) -> str:
    """The tags of a link preview; `address` is the page's own, with its "/" at the end."""
    width, height = PREVIEW_SIZE
    properties = {
        "og:type": "website",
        "og:title": preview.title,
        "og:description": preview.description,
        "og:url": address,
        "og:image": f"{address}preview.png",
        "og:image:width": width,
        "og:image:height": height,
        "og:image:alt": preview.title,
    }
    # The rest of twitter's tags default to those above.
    names = {"description": preview.description, "twitter:card": "summary_large_image"}
    return f"<title>{html.escape(preview.title)}</title>" + "".join(
        f'<meta {kind}="{name}" content="{html.escape(str(value))}">'
        for kind, tags in (("property", properties), ("name", names))
        for name, value in tags.items()
    )


def page_address(request: Request) -> str:
    """The address of the page as its visitor wrote it, also behind a proxy: "https://host/".

    Headers of a proxy are here only where they count; see `guard`.
    """
    headers, root = request.headers, request.scope.get("root_path", "").rstrip("/")
    if URL(root).scheme:
        return f"{root}/"
    scheme = headers.get("x-forwarded-proto", request.scope["scheme"]).split(",")[0].strip()
    host = headers.get("x-forwarded-host", headers.get("host", "")).split(",")[0].strip()
    return f"{scheme}://{host}{root}/"


def routes(health: Mapping[str, object]) -> list[Route]:
    """The routes besides the page: its pictures, and `health` for load balancers."""

    async def show_health(request: Request) -> Response:
        return JSONResponse(dict(health))

    async def show_preview(request: Request) -> Response:
        return FileResponse(PREVIEW)

    async def show_picture(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in {credit["file"] for credit in pictures.photo_credits().values()}:
            return Response(status_code=404)
        return FileResponse(pictures.FOLDER / name, headers={"cache-control": "max-age=86400"})

    return [
        Route("/health", show_health),
        Route("/preview.png", show_preview),
        Route(f"{pictures.PATH}{{name}}", show_picture),
    ]
