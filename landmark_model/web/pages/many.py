"""The tab for many photos at once: progress, gallery, table, map, and files to download."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from landmark_model import Tagged, tag_photos, to_csv, to_json, write_sidecars_zip
from landmark_model.web.html import cards
from landmark_model.web.html.tables import SCRIPT, Cell, table
from landmark_model.web.html.worldmap import Dot, world_map
from landmark_model.web.i18n import explain, say
from landmark_model.web.models import Models
from landmark_model.web.overlay import shrink
from landmark_model.web.uploads import MAX_PHOTOS, open_upload
from landmark_model.web.widgets import language_of, network_choice

PHOTO_KINDS = ["image", ".heic", ".heif", ".avif", ".tif", ".tiff"]
COLUMNS = ("photo", "landmark", "place", "country", "sure", "note")
FILES = ("landmarks.csv", "landmarks.json", "landmarks-xmp.zip")
Update = tuple[object, ...]


@dataclass(frozen=True)
class ManyTab:
    """The tab's callbacks."""

    models: Models

    def tag(
        self, uploads: list[dict] | None, network: str, request: gr.Request
    ) -> Iterator[Update]:
        """Status, whether there are results, gallery, table, map and the three files.

        `uploads` are files as gradio hands them over when it does not look into them. Yields the
        progress first, the results last.
        """
        language = language_of(request)
        refusal = refuse(uploads, language)
        if refusal:
            yield (refusal, gr.update(visible=False), *skips(6))
            return
        photos = [(upload["orig_name"] or "", Path(upload["path"])) for upload in uploads]
        yield (progress(0, len(photos), language), gr.update(visible=False), *skips(6))
        with tempfile.TemporaryDirectory(prefix="landmarks-") as folder:
            rows, gallery = [], []
            tagger = self.models.pick(network)
            for row in tag_photos(tagger, photos, top_k=5, language=language):
                path = photos[len(rows)][1]
                rows.append(row)
                gallery += picture_of(row, path, len(rows), Path(folder), language)
                yield (progress(len(rows), len(photos), language), *skips(7))
            yield self._results(rows, gallery, Path(folder), language)

    def _results(
        self, rows: Sequence[Tagged], gallery: list[tuple[str, str]], folder: Path, language: str
    ) -> Update:
        headers = [say(f"col_{name}", language) for name in COLUMNS]
        cells = [table_row(row, language) for row in rows]
        return (
            summary(rows, language),
            gr.update(visible=True),
            gallery,
            table(headers, cells, say("table", language), language),
            map_of(rows, language),
            *map(str, write_files(rows, folder)),
        )


def skips(count: int) -> list[object]:
    """That many outputs left unchanged."""
    return [gr.skip() for _ in range(count)]


def refuse(uploads: list[dict] | None, language: str) -> str:
    """Why these photos cannot be tagged at once; "" if they can."""
    if not uploads:
        return line(say("many_none", language))
    if len(uploads) > MAX_PHOTOS:
        return line(say("many_too_many", language, count=len(uploads), limit=MAX_PHOTOS))
    return ""


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
    broken = sum(row.answer is None for row in rows)
    words = say("many_done", language, known=len(named(rows)), total=len(rows))
    return line(words + (f" {say('many_broken', language, count=broken)}" if broken else ""))


def named(rows: Sequence[Tagged]) -> list[Tagged]:
    """The photos that show a known landmark."""
    return [row for row in rows if row.best]


def table_row(row: Tagged, language: str) -> list[Cell]:
    """A photo, tagged in `language`, as a table row; unknown fields are empty."""
    if row.answer is None:
        return [row.file, "", "", "", None, explain(row.error, language)]
    if row.best is None:
        return [row.file, "", "", "", None, say("none_short", language)]
    best = row.best
    sure = math.floor(1000 * best.probability) / 10  # never 100
    return [row.file, best.label, best.landmark.area, best.country or "", sure, ""]


def picture_of(
    row: Tagged, photo: Path, number: int, folder: Path, language: str
) -> list[tuple[str, str]]:
    """A thumbnail of a photo, written to `folder`, with its caption; none if it is broken."""
    if row.answer is None:
        return []
    path = folder / str(number) / "photo.webp"
    path.parent.mkdir()
    shrink(open_upload(photo).image).save(path)
    if row.best is None:
        return [(str(path), say("none_short", language))]
    sure = cards.percent(row.best.probability, language)
    return [(str(path), f"{row.best.label}, {sure}")]


def map_of(rows: Sequence[Tagged], language: str) -> str:
    """The map of all landmarks that were found, larger where more photos show them; as HTML."""
    found = Counter(row.best.class_name for row in named(rows))
    guesses = {row.best.class_name: row.best for row in named(rows)}
    dots = [
        Dot(
            guesses[name].latitude,
            guesses[name].longitude,
            count / max(found.values()),
            f"{guesses[name].label} ({count})",
        )
        for name, count in found.items()
    ]
    return world_map(dots, say("map_many", language), zoom=False)


def write_files(rows: Sequence[Tagged], folder: Path) -> list[Path]:
    """Writes the three files for download into `folder`."""
    paths = [folder / name for name in FILES]
    paths[0].write_text(to_csv(rows), encoding="utf-8-sig", newline="")
    paths[1].write_text(to_json(rows), encoding="utf-8")
    write_sidecars_zip(rows, paths[2])
    return paths


def many_tab(tab: ManyTab, words: gr.I18n) -> None:
    """Lays out and wires the tab."""
    gr.HTML(words("many_intro"), elem_classes="intro")
    with gr.Row(equal_height=False):
        with gr.Column(scale=6, min_width=300):
            uploads = gr.File(
                label=words("many_drop"),
                file_count="multiple",
                file_types=PHOTO_KINDS,
                height=220,
                elem_id="many-photos",
            )
        with gr.Column(scale=4, min_width=300):
            network = network_choice(tab.models, words, "many-network")
            start = gr.Button(words("many_start"), variant="primary", elem_id="many-start")
            status = gr.HTML("", elem_id="many-status")
    with gr.Column(visible=False, elem_id="many-results") as results:
        shown = _results(words)
    start.click(
        tab.tag,
        [uploads, network],
        [status, results, *shown],
        preprocess=False,
        api_visibility="private",
        concurrency_id="many",  # its own: two hundred photos must not keep single ones waiting
        concurrency_limit=1,
        show_progress="hidden",
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
