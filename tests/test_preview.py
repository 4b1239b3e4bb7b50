"""What machines read of the page: link previews, its language, its picture, its health."""

import re

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from landmark_model.web.preview import PREVIEW, PREVIEW_SIZE, HeadMiddleware, Preview, routes

PAGE = """<!doctype html><html
\tlang="en" style=""><head><meta charset="utf-8" />
<meta property="og:title" content="Gradio" />
<meta
\tproperty="og:image"
\tcontent="https://elsewhere.example/picture.jpg" />
<meta name="twitter:title" content="Gradio"/><title>Gradio</title>
<meta name="viewport" content="width=device-width"></head>
<body><meta property="og:title" content="in a photo's name"></body></html>"""


@pytest.fixture
def client():
    async def page(request):
        return HTMLResponse(PAGE)

    async def text(request):
        return PlainTextResponse(PAGE)

    def describe(query, language):
        return Preview(f"<{language}> {query.get('result', 'page')}", 'says "where"')

    app = Starlette(
        routes=[
            Route("/", page),
            Route("/other", text),
            *routes({"status": "ok", "landmarks": 100}),
        ],
        middleware=[Middleware(HeadMiddleware, describe)],
    )
    return TestClient(app, base_url="http://tagger.example")


def content(text: str, name: str) -> list[str]:
    head = text.partition("</head>")[0]
    return re.findall(rf'<meta (?:property|name)="{name}" content="([^"]*)"', head)


def test_a_preview_has_our_title_text_and_picture_once_and_nothing_of_gradio(client):
    text = client.get("/", headers={"accept-language": "fr"}).text
    assert content(text, "og:title") == ["&lt;fr&gt; page"]
    assert content(text, "og:description") == content(text, "description")
    assert content(text, "og:image") == ["http://tagger.example/preview.png"]
    assert "<title>&lt;fr&gt; page</title>" in text and "Gradio" not in text
    assert "elsewhere" not in text and 'name="viewport"' in text
    assert re.search(r'<html\s+lang="fr"', text)
    assert text.index("charset") < 100 and "in a photo's name" in text


def test_the_preview_of_a_result_is_of_the_result(client):
    assert content(client.get("/?result=Petra").text, "og:title") == ["&lt;en&gt; Petra"]


def test_behind_a_proxy_the_picture_is_where_the_visitor_came_from(client):
    proxy = {"x-forwarded-proto": "https", "x-forwarded-host": "public.example"}
    text = client.get("/", headers=proxy).text
    assert content(text, "og:image") == ["https://public.example/preview.png"]


def test_only_the_page_itself_is_touched(client):
    assert client.get("/other").text == PAGE


def test_health_and_picture_are_served(client):
    assert client.get("/health").json() == {"status": "ok", "landmarks": 100}
    picture = client.get("/preview.png")
    assert picture.headers["content-type"] == "image/png" and len(picture.content) < 1_000_000
    with Image.open(PREVIEW) as shown:
        assert shown.size == PREVIEW_SIZE
