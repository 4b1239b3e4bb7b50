"""What several tests of the app share: how to ask one that runs, and the photo of a camera."""

import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pillow_heif
from PIL import ExifTags, Image

TAJ = Path(__file__).parents[1] / "examples" / "taj-mahal.jpg"
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


def photo_with_gps(path: Path) -> Path:
    """A copy of the Taj Mahal that its camera places at 27 degrees north, 78 degrees east."""
    pillow_heif.register_heif_opener()
    with Image.open(TAJ) as photo:
        exif = photo.getexif()
        place = {1: "N", 2: (27.0, 0.0, 0.0), 3: "E", 4: (78.0, 0.0, 0.0)}
        exif.get_ifd(ExifTags.IFD.GPSInfo).update(place)
        photo.save(path, exif=exif)
    return path
