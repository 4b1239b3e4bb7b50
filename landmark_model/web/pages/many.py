"""The tab for many photos at once: progress, gallery, table, map, and files to download."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import gradio as gr

from landmark_model import Tagged, tag_photos, to_csv, to_json, write_sidecars_zip
from landmark_model.web.fair_queue import MANY_AT_ONCE
from landmark_model.web.html import cards
from landmark_model.web.html.tables import SCRIPT, Cell, table
from landmark_model.web.html.worldmap import Dot, world_map
from landmark_model.web.i18n import explain, say
from landmark_model.web.models import Models
from landmark_model.web.overlay import THUMBNAIL_PX, shrink
from landmark_model.web.uploads import MAX_PHOTOS, open_upload
from landmark_model.web.widgets import advanced_choice, language_of

COLUMNS = ("photo", "landmark", "place", "country", "sure", "note")
SAME = gr.skip()


def many_tab(models: Models, words: gr.I18n) -> None:
    """Lays out and wires the tab."""

    def tag(uploads: list[dict] | None, network: str, request: gr.Request) -> Iterator[tuple]:
        yield from tag_uploads(models, uploads, network, language_of(request))

    gr.HTML(words("many_intro"), elem_classes="intro")
    with gr.Row(equal_height=False):
        with gr.Column(scale=6, min_width=300):
            uploads = gr.File(
                label=words("many_drop"),
                file_count="multiple",
                height=220,
                elem_id="many-photos",
            )
        with gr.Column(scale=4, min_width=300):
            network = advanced_choice(models, words, "many-network")
            start = gr.Button(words("many_start"), variant="primary", elem_id="many-start")
            status = gr.HTML("", elem_id="many-status")
    with gr.Column(visible=False, elem_id="many-results") as results:
        shown = _results(words)
    start.click(
        tag,
        [uploads, network],
        [status, results, *shown],
        preprocess=False,
        api_visibility="private",
        concurrency_id="many",  # its own: two hundred photos must not keep single ones waiting
        concurrency_limit=MANY_AT_ONCE,
        show_progress="minimal",
        show_progress_on=status,
    )


def _results(words: gr.I18n) -> list[gr.components.Component]:
    """Gallery, table, map and download buttons."""
    with gr.Row(elem_id="downloads"):
        files = [
            gr.DownloadButton(words(key), elem_id=key)
            for key in ("download_csv", "download_json", "download_xmp")
        ]
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            gallery = gr.Gallery(
                label=words("gallery"),
                columns=3,
                height=430,
                buttons=["download", "fullscreen"],  # not gradio's "share", which uploads
                elem_id="gallery",
            )
        with gr.Column(scale=5, min_width=320):
            world = gr.HTML("", elem_id="many-map")
    sheet = gr.HTML("", js_on_load=SCRIPT, elem_id="many-table")
    return [gallery, sheet, world, *files]


def tag_uploads(
    models: Models, uploads: list[dict] | None, network: str, language: str
) -> Iterator[tuple]:
    """Status, whether there are results, gallery, table, map and the three files.

    `uploads` are files as gradio hands them over when it does not look into them. Yields the
    progress first, the results last.
    """
    hidden = gr.update(visible=False)
    if not uploads or len(uploads) > MAX_PHOTOS:
        key, count = ("many_too_many", len(uploads)) if uploads else ("many_none", 0)
        yield line(say(key, language, count=count, limit=MAX_PHOTOS)), hidden, *[SAME] * 6
        return
    photos = [(upload["orig_name"] or "", Path(upload["path"])) for upload in uploads]
    yield progress(0, len(photos), language), hidden, *[SAME] * 6
    with tempfile.TemporaryDirectory(prefix="landmarks-") as temporary:
        folder, rows, gallery = Path(temporary), [], []
        tagged = tag_photos(models.pick(network), photos, 5, batch_size=1, language=language)
        for (_, photo), row in zip(photos, tagged, strict=True):
            rows.append(row)
            if row.answer is not None:
                thumbnail = folder / str(len(rows)) / "photo.webp"
                thumbnail.parent.mkdir()
                shrink(open_upload(photo, THUMBNAIL_PX**2).image).save(thumbnail)
                gallery.append((str(thumbnail), caption(row, language)))
            yield progress(len(rows), len(photos), language), *[SAME] * 7
        cells = [table_row(row, language) for row in rows]
        sheet = table(COLUMNS, cells, say("table", language), language)
        shown = gr.update(visible=True), gallery, sheet, map_of(rows, language)
        yield summary(rows, language), *shown, *write_files(rows, folder)


def line(text: str) -> str:
    """A line of status as HTML."""
    return f'<p class="status" role="status">{text}</p>'


def progress(done: int, total: int, language: str) -> str:
    """A progress bar as HTML."""
    text = say("many_progress", language, done=done, total=total)
    bar = f'<progress max="{total}" value="{done}" aria-label="{text}"></progress>'
    return f'<div class="status" role="status">{bar}<span>{text}</span></div>'


def summary(rows: Sequence[Tagged], language: str) -> str:
    """How many photos were named and how many could not be read, as HTML."""
    known = sum(row.best is not None for row in rows)
    broken = sum(row.answer is None for row in rows)
    words = say("many_done", language, known=known, total=len(rows))
    return line(words + (f" {say('many_broken', language, count=broken)}" if broken else ""))


def caption(row: Tagged, language: str) -> str:
    """What stands below a photo that could be read."""
    if row.best is None:
        return say("none_short", language)
    return f"{row.best.label}, {cards.percent(row.best.probability, language)}"


def table_row(row: Tagged, language: str) -> list[Cell]:
    """A photo, tagged in `language`, as a table row; unknown fields are empty."""
    best = row.best
    if best is None:
        note = say("none_short", language) if row.answer else explain(row.error, language)
        return [row.file, "", "", "", None, note]
    sure = math.floor(1000 * best.probability) / 10  # never 100
    return [row.file, best.label, best.landmark.area, best.country or "", sure, ""]


def map_of(rows: Sequence[Tagged], language: str) -> str:
    """The map of all landmarks that were found, larger where more photos show them; as HTML."""
    guesses = [row.best for row in rows if row.best]
    counts = Counter(guess.class_name for guess in guesses)
    found = {guess.class_name: guess for guess in guesses}
    dots = [
        Dot(
            guess.latitude,
            guess.longitude,
            counts[name] / max(counts.values()),
            f"{guess.label} ({counts[name]})",
        )
        for name, guess in found.items()
    ]
    return world_map(dots, say("map_many", language), zoom=False)


def write_files(rows: Sequence[Tagged], folder: Path) -> list[str]:
    """The paths of the three files for download, written into `folder`."""
    names = ("landmarks.csv", "landmarks.json", "landmarks-xmp.zip")
    csv, json, sidecars = paths = [folder / name for name in names]
    csv.write_text(to_csv(rows), encoding="utf-8-sig", newline="")
    json.write_text(to_json(rows), encoding="utf-8")
    write_sidecars_zip(rows, sidecars)
    return list(map(str, paths))
