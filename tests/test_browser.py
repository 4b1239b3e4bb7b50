"""One real round: a visitor's browser, the real server, the real weights."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

ROOT = Path(__file__).parent.parent
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), "")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

pytestmark = pytest.mark.skipif(
    not CHROMIUM and not os.environ.get("CI"), reason="no Chromium here; apt-get install chromium"
)


@pytest.fixture(scope="module")
def address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "app.py", "--port", str(port)]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if server.poll() is not None:
            pytest.fail(f"app.py stopped:\n{server.stdout.read().decode()}")
        try:
            urllib.request.urlopen(url, timeout=5).close()
            break
        except OSError:
            time.sleep(0.5)
    yield url
    server.terminate()
    server.wait(20)


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture(params=[1280, 390], ids=["desktop", "phone"])
def page(request, browser, address):
    context = browser.new_context(viewport={"width": request.param, "height": 850})
    page = context.new_page()
    page.outside = []
    page.on("request", lambda r: page.outside.append(r.url) if not _is_local(r.url) else None)
    page.goto(address)
    expect(page.get_by_role("heading", name="Landmark tagger")).to_be_visible(timeout=30_000)
    yield page
    context.close()


def _is_local(url: str) -> bool:
    return url.startswith(("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:"))


def _upload(page: Page, path: Path) -> None:
    clear = page.get_by_label(re.compile("clear|remove", re.IGNORECASE))
    if clear.count():
        clear.first.click()
    page.locator("input[type=file]").first.set_input_files(path)


def test_a_photo_is_named_with_five_labels_and_nothing_leaves_the_machine(page):
    _upload(page, ROOT / "examples" / "taj-mahal.jpg")
    expect(page.locator("#result h2")).to_have_text("Taj Mahal", timeout=30_000)
    expect(page.locator("#result")).to_contain_text("Agra, India")
    expect(page.locator("#top5 dt")).to_have_count(5)
    assert page.outside == []


def test_a_bad_file_is_explained_and_the_next_photo_works(page, tmp_path):
    broken = tmp_path / "notes.jpg"
    broken.write_text("not a photo at all")
    _upload(page, broken)
    expect(page.locator("#result")).to_contain_text("notes.jpg is not a photo", timeout=30_000)
    assert str(ROOT) not in page.content()
    assert "Traceback" not in page.content()
    _upload(page, ROOT / "examples" / "colosseum.jpg")
    expect(page.locator("#result h2")).to_have_text("Colosseum", timeout=30_000)


def test_the_page_is_not_wider_than_the_screen(page):
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= page.viewport_size["width"]


def test_an_example_and_the_other_network_can_be_chosen(page):
    page.locator(".gallery-item, .gallery button").first.click()
    expect(page.locator("#result h2")).to_have_text("Christ the Redeemer", timeout=30_000)
    page.get_by_label("CNN from scratch").check()
    expect(page.locator("#result .sure")).to_be_visible(timeout=30_000)
