"""Takes the README's picture of the app: starts it, gives it an example photo, writes a PNG.

python docs/screenshot.py docs/app.png
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


def main(path: Path) -> None:
    """Writes the picture, 1,280 px wide, to `path`."""
    server = subprocess.Popen([sys.executable, "app.py", "--port", str(PORT)], cwd=ROOT)
    try:
        wait_for(f"http://127.0.0.1:{PORT}")
        take(f"http://127.0.0.1:{PORT}", path)
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


def take(url: str, path: Path) -> None:
    """Photographs the page with a result on it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(url)
        page.locator("input[type=file]").first.set_input_files(ROOT / "examples/machu-picchu.jpg")
        page.get_by_role("heading", name="Machu Picchu").wait_for(timeout=60_000)
        page.locator("#top5 dt").nth(4).wait_for()
        page.wait_for_timeout(1_500)  # fades
        page.screenshot(path=path, full_page=True)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
