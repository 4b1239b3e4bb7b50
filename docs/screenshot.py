"""Takes the README's picture of the app, and that of link previews, with an example photo on it.

python docs/screenshot.py docs/app.png landmark_model/web/static/preview.png
"""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent
PORT = 7899
PREVIEW_SIZE = {"width": 1200, "height": 630}


def main(path: Path, preview: Path) -> None:
    """Writes the picture, 1,280 px wide, to `path`, and one of 1,200 x 630 px to `preview`."""
    server = subprocess.Popen([sys.executable, "app.py", "--port", str(PORT)], cwd=ROOT)
    try:
        wait_for(f"http://127.0.0.1:{PORT}")
        take(f"http://127.0.0.1:{PORT}", path, preview)
    finally:
        server.terminate()
        server.wait()


def wait_for(url: str) -> None:
    """Returns when the app answers; raises TimeoutError after two minutes."""
    for _ in range(240):
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.5)
    raise TimeoutError(f"{url} does not answer")


def take(url: str, path: Path, preview: Path) -> None:
    """Photographs the page with a result on it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(url)
        page.locator("#result .result").wait_for(timeout=60_000)
        page.locator("#photo input[type=file]").set_input_files(ROOT / "examples/machu-picchu.jpg")
        page.get_by_role("heading", name="Machu Picchu").wait_for(timeout=60_000)
        page.locator("#result .places").wait_for()
        page.wait_for_timeout(1_500)  # fades
        page.screenshot(path=path, full_page=True)
        page.set_viewport_size(PREVIEW_SIZE)
        page.screenshot(path=preview)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
