"""The demo: a photo in, the landmark and its place out.

    python app.py --port 7860

LANDMARK_REPO (a hub repo or a folder) and LANDMARK_REVISION choose other weights than those that
ship.
"""

from __future__ import annotations

import argparse
import csv
import html
import os
import sys
from functools import cache
from pathlib import Path

# Read by gradio when it is imported: no visitor statistics, no version check, nothing leaves.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr

from landmark_model import (
    LandmarkClassifier,
    LandmarkError,
    Prediction,
    list_networks,
    load,
    open_photo,
)

HERE = Path(__file__).parent
EXAMPLES = HERE / "examples"
NETWORK_TITLES = {
    "resnet18": "ResNet18",
    "landmark_cnn": "CNN from scratch",
    "tf_efficientnet_lite2": "EfficientNet-Lite2",
}
MAX_UPLOAD = "30mb"
UNSEEN = {".heic", ".heif", ".tif", ".tiff"}
STYLE = (HERE / "app.css").read_text(encoding="utf-8")


@cache
def taggers() -> dict[str, LandmarkClassifier]:
    """The classifiers on offer by what visitors call them, the default first; loaded once."""
    source = os.environ.get("LANDMARK_REPO") or None
    revision = os.environ.get("LANDMARK_REVISION") or None
    return {
        NETWORK_TITLES.get(network, network): load(source, revision=revision, network=network)
        for network in list_networks(source, revision=revision)
    }


def known_landmarks() -> list[str]:
    """The names of the landmarks that the default network knows, in order."""
    return sorted(next(iter(taggers().values())).labels)


def identify(photo: str | None, network: str) -> tuple[str, dict[str, float] | None]:
    """The result card (HTML), and the probability of each of the five best landmarks.

    `photo` is a file, `network` a key of `taggers()`. A photo that cannot be read gives a card
    that says why and what to do.
    """
    if photo is None:
        return welcome(), None
    try:
        guesses = taggers()[network].predict(photo, top_k=5)
    except LandmarkError as error:
        return sorry(str(error)), None
    shown = stranger(guesses[0]) if guesses.is_known is False else card(guesses[0])
    return shown, {guess.label: guess.probability for guess in guesses}


def receive(upload: dict | None, network: str) -> tuple[str, dict[str, float] | None]:
    """`identify` for a file as gradio hands it over when it does not decode it."""
    return identify(upload and upload.get("path"), network)


def preview(upload: dict | None) -> object:
    """A copy that a browser can show, for the formats that browsers cannot (HEIC, TIFF)."""
    path = Path((upload or {}).get("path") or "")
    if path.suffix.lower() not in UNSEEN:
        return gr.skip()
    try:
        return open_photo(path)
    except LandmarkError:
        return gr.skip()


def card(best: Prediction) -> str:
    """The best guess as HTML: name, place, how sure, links and tags."""
    label = html.escape(best.label)
    local = ""
    if best.local_name and best.local_name != best.label:
        local = f'<div class="local">{html.escape(best.local_name)}</div>'
    where = html.escape(best.where)
    percent = f"{best.probability:.0%}" if best.probability < 0.995 else "over 99%"
    tags = "".join(f"<li>{html.escape(tag)}</li>" for tag in best.tags)
    return (
        f'<section class="result" aria-live="polite"><div class="sure">{how_sure(best)} '
        f'<span class="percent">{percent}</span></div><h2>{label}</h2>{local}'
        + (f'<div class="where">{best.flag} {where}</div>' if where else "")
        + map_links(best)
        + (f'<ul class="tags" aria-label="Tags">{tags}</ul>' if tags else "")
        + "</section>"
    )


def stranger(nearest: Prediction) -> str:
    """What is said of a photo that shows none of the known landmarks, as HTML."""
    return (
        '<section class="result empty" aria-live="polite">'
        "<h2>This does not look like one of the landmarks I know</h2>"
        f"<p>The nearest is {html.escape(nearest.label)}, but I do not think it is that. I know "
        f"{len(known_landmarks())} landmarks; they are listed below.</p></section>"
    )


def how_sure(best: Prediction) -> str:
    """How sure the network is, in words."""
    for limit, words in ((0.9, "Almost certainly"), (0.7, "Very likely"), (0.45, "Probably")):
        if best.probability >= limit:
            return words
    return "Not sure, my best guess"


def map_links(best: Prediction) -> str:
    """Coordinates, with links to maps; "" where the place is not known."""
    if best.latitude is None or best.longitude is None:
        return ""
    latitude, longitude = best.latitude, best.longitude
    north = "N" if latitude >= 0 else "S"
    east = "E" if longitude >= 0 else "W"
    links = {
        "OpenStreetMap": "https://www.openstreetmap.org/"
        f"?mlat={latitude}&amp;mlon={longitude}#map=15/{latitude}/{longitude}",
        "Google Maps": "https://www.google.com/maps/search/"
        f"?api=1&amp;query={latitude}%2C{longitude}",
    }
    anchors = " · ".join(
        f'<a href="{url}" target="_blank" rel="noopener noreferrer">{name}</a>'
        for name, url in links.items()
    )
    degrees = f"{abs(latitude):.4f}° {north}, {abs(longitude):.4f}° {east}"
    return f'<div class="map"><span>{degrees}</span> {anchors}</div>'


def sorry(reason: str) -> str:
    """A card that says why a photo could not be used."""
    return (
        '<section class="result empty" role="alert"><h2>This photo cannot be used</h2>'
        f"<p>{html.escape(reason)}</p></section>"
    )


def welcome() -> str:
    """What stands where the result will be."""
    return (
        '<section class="result empty"><h2>Which landmark is it?</h2>'
        "<p>Drop a holiday photo on the left, take one, or choose an example. "
        f"I know {len(known_landmarks())} landmarks.</p></section>"
    )


def landmarks() -> str:
    """The names of all landmarks the network knows, as HTML."""
    names = "".join(f"<li>{html.escape(name)}</li>" for name in known_landmarks())
    return f'<ul class="landmarks">{names}</ul>'


def read_credits() -> list[dict[str, str]]:
    """Author, licence and source of each example photo."""
    with (EXAMPLES / "CREDITS.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def credit_list(photos: list[dict[str, str]]) -> str:
    """The credits of the examples, as Markdown."""
    return "\n".join(
        f"- [{row['title']}](<{row['source']}>) by {row['author']}, "
        f"[{row['licence']}](<{row['licence_url']}>); {row['changes']}"
        for row in photos
    )


def build() -> gr.Blocks:
    """The page."""
    photos = read_credits()
    page = gr.Blocks(title="Landmark tagger", analytics_enabled=False, delete_cache=(600, 3600))
    with page:
        gr.HTML(
            "<h1>Landmark tagger</h1><p>Which landmark is in your photo, and where is it?</p>",
            padding=False,
        )
        with gr.Row(equal_height=False):
            with gr.Column(scale=5):
                photo, network = photo_input(), network_choice()
            with gr.Column(scale=5):
                result = gr.HTML(welcome(), elem_id="result", padding=False)
                label = gr.Label(
                    num_top_classes=5, label="Top 5", show_heading=False, elem_id="top5"
                )
        files = [[str(EXAMPLES / row["file"])] for row in photos]
        gr.Examples(files, photo, label="Examples", examples_per_page=20)
        with gr.Accordion("Landmarks it knows", open=False):
            gr.HTML(landmarks())
        with gr.Accordion("Credits of the example photos", open=False):
            gr.Markdown(credit_list(photos))
        gr.Markdown(
            "Photos are deleted from the server within two hours and used for nothing else."
        )
        inputs, outputs = [photo, network], [result, label]
        # preprocess=False: gradio would decode the photo before our code runs, and its errors show
        # the server's folders to visitors.
        photo.upload(preview, photo, photo, preprocess=False, api_visibility="private")
        photo.change(receive, inputs, outputs, preprocess=False, api_name="predict")
        network.change(receive, inputs, outputs, preprocess=False, api_visibility="private")
    return page


def photo_input() -> gr.Image:
    """Where a photo is dropped, pasted or taken, with the rear camera of a phone."""
    camera = gr.WebcamOptions(mirror=False, constraints={"video": {"facingMode": "environment"}})
    return gr.Image(
        type="filepath",
        label="Photo",
        height=380,
        sources=["upload", "webcam", "clipboard"],
        placeholder="Drop a photo here, or click to choose one",
        webcam_options=camera,
        buttons=["fullscreen"],
        alt_text="Your photo",
    )


def network_choice() -> gr.Radio:
    """The choice of network; hidden where there is only one."""
    names = list(taggers())
    return gr.Radio(names, value=names[0], label="Network", visible=len(names) > 1)


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    host = os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1")
    port = int(os.environ.get("GRADIO_SERVER_PORT", "7860"))
    parser.add_argument("--host", default=host, help="address to listen on; default: %(default)s")
    parser.add_argument("--port", type=int, default=port, help="default: %(default)s")
    return parser


def main() -> None:
    """Loads the networks, then serves the page until stopped."""
    options = make_parser().parse_args()
    try:
        page = build()
    except LandmarkError as error:
        sys.exit(f"app.py: {error}")
    page.queue(max_size=64).launch(
        server_name=options.host,
        server_port=options.port,
        max_file_size=MAX_UPLOAD,
        enable_monitoring=False,
        footer_links=["api"],
        run_history=False,
        css=STYLE,
        theme=gr.themes.Soft(
            primary_hue="blue",
            neutral_hue="slate",
            font=[gr.themes.Font("system-ui"), gr.themes.Font("sans-serif")],
        ),
    )


if __name__ == "__main__":
    main()
