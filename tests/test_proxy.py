"""The app under a path of another site, behind a small proxy that takes that path away."""

import json
import threading
import urllib.request
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from gradio_client import Client, handle_file

TAJ = Path(__file__).parents[1] / "examples" / "taj-mahal.jpg"
PATH = "/landmarks"


class Proxy(BaseHTTPRequestHandler):
    """Passes what lies below PATH on to `target`, as nginx does with proxy_pass."""

    target = ""

    def do_GET(self) -> None:
        if not self.path.startswith(PATH):
            self.send_error(404)
            return
        line = HTTPConnection(self.target, timeout=60)
        headers = dict(self.headers) | {
            "Host": self.headers["Host"],
            "X-Forwarded-Host": self.headers["Host"],
            "X-Forwarded-Proto": "http",
        }
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        line.request(self.command, self.path.removeprefix(PATH) or "/", body, headers)
        answer = line.getresponse()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.end_headers()
        while piece := answer.read1(2**16):  # event streams come piece by piece
            self.wfile.write(piece)
        line.close()

    do_POST = do_HEAD = do_GET

    def log_message(self, *details: object) -> None:
        """Prints nothing."""


@pytest.fixture(scope="module")
def proxy(serve):
    source = "landmark_model/weights/landmark_cnn"
    Proxy.target = urlsplit(serve("--root-path", PATH, "--repo", source)).netloc
    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}{PATH}"
    server.shutdown()
    server.server_close()


def test_the_app_answers_under_a_path_behind_a_proxy(proxy):
    with urllib.request.urlopen(f"{proxy}/config") as answer:
        assert json.load(answer)["root"] == proxy
    with urllib.request.urlopen(proxy + "/") as answer:
        page = answer.read().decode()
    assert f'property="og:image" content="{proxy}/preview.png"' in page
    with urllib.request.urlopen(f"{proxy}/pictures/Eiffel_Tower.jpg") as answer:
        assert answer.headers["content-type"] == "image/jpeg"
    client = Client(proxy, verbose=False)
    answer = client.predict(handle_file(TAJ), api_name="/predict")
    assert answer["guesses"][0]["name"] == "Taj Mahal"


def test_pages_of_other_sites_may_ask_the_api_but_without_a_visitors_login(proxy):
    line = HTTPConnection(Proxy.target, timeout=60)
    origin = {"Host": "photos.example", "Origin": "https://other.example"}
    preflight = {"Access-Control-Request-Method": "POST"}
    for method, more in (("GET", {}), ("OPTIONS", preflight)):
        line.request(method, "/gradio_api/info", headers=origin | more)
        answer = line.getresponse()
        answer.read()
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == "https://other.example"
        assert "access-control-allow-credentials" not in answer.headers
