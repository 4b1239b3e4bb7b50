"""What a running app answers, for the tests that install it."""

import subprocess
import sys
import time
import urllib.request
from pathlib import Path

CODE = """\
import sys
from gradio_client import Client, handle_file
client = Client(sys.argv[1], verbose=False)
print(client.predict(handle_file(sys.argv[2]), api_name="/predict"))
"""


def ask(url: str, photo: Path, server: subprocess.Popen) -> str:
    """What the API of the app at `url` says to a photo, once it is up."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        assert server.poll() is None, "the app stopped"
        try:
            urllib.request.urlopen(f"{url}/health", timeout=5).close()
            break
        except OSError:
            time.sleep(1)
    command = [sys.executable, "-c", CODE, url, photo]
    return subprocess.run(command, text=True, capture_output=True, check=True).stdout
