"""The tab for many photos: rows that come one after the other and can be corrected, and files."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from landmark_model import (
    LandmarkError,
    Tagged,
    tag_photos,
    to_csv,
    to_json,
    write_sidecars_zip,
)
from landmark_model.web.batch import MAX_NAME, Batch
from landmark_model.web.fair_queue import MANY_AT_ONCE
from landmark_model.web.html import cards, photo_rows, tables
from landmark_model.web.html.worldmap import Dot, world_map
from landmark_model.web.i18n import say
from landmark_model.web.models import Models
from landmark_model.web.overlay import THUMBNAIL_PX, thumbnail
from landmark_model.web.uploads import MAX_PHOTOS, open_upload
from landmark_model.web.widgets import advanced_choice, language_of

MOST_SURE = 99  # per cent, of the slider
LAST = 8  # rows; four come at once
KEPT_S = 3600  # a visitor's answers, as long as their uploads
SAME, SHOWN, HIDDEN = gr.skip(), gr.update(visible=True), gr.update(visible=False)
RAW = {"preprocess": False, "api_visibility": "private", "show_progress": "hidden"}
# One after the other, so that a download has the changes before it.
QUICK = RAW | {"concurrency_id": "many-quick", "concurrency_limit": 1}
# Its own: two hundred photos must not keep single ones waiting.
LONG = RAW | {"concurrency_id": "many", "concurrency_limit": MANY_AT_ONCE}
# What the page and the table's script say to each other; a text that grows is told once.
HEAR = """let seen = "";
watch("value", () => {
  const all = props.value ?? "";
  const fresh = all.startsWith(seen) ? all.slice(seen.length) : all;
  seen = all;
  document.dispatchEvent(new CustomEvent("photo-rows", { detail: fresh }));
});"""
TELL = """document.addEventListener("photo-change", ({ detail }) => {
  props.value = detail;
  trigger("submit");
});"""
SAVE = """(file) => {
  Object.assign(document.createElement("a"), { href: file.url, download: file.orig_name }).click();
}"""


@dataclass(frozen=True)
class ManyTab:
    """The tab's callbacks; what they know of a visit is its `batch`, None before there are photos.

    `uploads` are files as gradio hands them over when it does not look into them.
    """

    models: Models

    def begin(
        self,
        uploads: object,
        network: str,
        least: object,
        batch: Batch | None,
        request: gr.Request,
    ) -> tuple:
        """Takes the photos that are there: batch, status, table, its changes, and which buttons.

        A run in progress ends; `tag` is to be asked next.
        """
        language, batch = language_of(request), batch or Batch()
        batch.least, batch.language = share_of(least), language
        files = uploads if isinstance(uploads, list) else []
        if len(files) > MAX_PHOTOS:
            batch.run = None
            told = say("many_too_many", language, count=len(files), limit=MAX_PHOTOS)
            return batch, cards.status_line(told), SAME, SAME, HIDDEN, HIDDEN
        files = [file for file in files if file and "path" in file]
        photos = [(file["orig_name"] or "", Path(file["path"])) for file in files]
        table = photo_rows.empty_table(self.models.landmarks(network), MAX_NAME, language)
        gone = photo_rows.gone(batch.begin(photos, network or self.models.default))
        status = progress(batch, language) if photos else ""
        return batch, status, table, batch.mark() + gone, SHOWN if photos else HIDDEN, HIDDEN

    def tag(self, batch: Batch | None, request: gr.Request) -> Iterator[tuple]:
        """Status, rows, changes of rows, map, and which buttons, as the photos are answered."""
        yield (SAME,) * 6
        run = batch.run if batch else None
        if run is None:
            return
        language, photos = language_of(request), batch.waiting()
        rows, looks = batch.mark(), {}
        tagger = self.models.pick(batch.network)
        given = (photo for _, photo in photos)
        tagged = tag_photos(tagger, given, top_k=5, batch_size=1, language=language)
        for (number, (_, path)), answered in zip(photos, tagged, strict=True):
            looks[number] = look_of(path)
            row = batch.add(run, number, answered)
            if row is None:
                yield (SAME,) * 6  # gradio sends once more what came last
                return
            rows += photo_rows.photo_row(number, row, looks[number], language)
            yield progress(batch, language), rows, *[SAME] * 4
        if batch.finish(run):
            # The rows are not kept. The last of them may not have reached the page's script yet.
            last = {number: looks[number] for number in [*looks][-LAST:]}
            yield summary(batch, language), "", *after(batch, language, last), HIDDEN, HIDDEN

    def stop(self, batch: Batch | None, request: gr.Request) -> tuple:
        """Ends a run after the photo that it is at: status, rows, changes, map, which buttons."""
        if batch is None:
            return (SAME,) * 6
        batch.run, language = None, language_of(request)
        told = say("many_stopped", language, done=batch.done, total=batch.total)
        more = SHOWN if batch.waiting() else HIDDEN
        return cards.status_line(told), "", *after(batch, language), HIDDEN, more

    def change(self, change: object, batch: Batch | None, request: gr.Request) -> tuple:
        """Does what a visitor says of a photo: batch, status, changes of rows, and map.

        Raises LandmarkError if that cannot be; see `Batch.change`.
        """
        language = language_of(request)
        if batch is None:
            raise LandmarkError(say("many_gone", language))
        number = batch.change(change, self.models, language)
        row = photo_rows.photo_row(number, batch.row(number), "", language)
        status = SAME if batch.run else summary(batch, language)
        return batch, status, batch.mark() + row, map_of(batch.rows().values(), language)

    def ask(self, least: object, batch: Batch | None, request: gr.Request) -> tuple:
        """Asks a guess to be that sure: status, changes of rows, and map.

        Raises LandmarkError if it cannot be; see `share_of`.
        """
        share, language = share_of(least), language_of(request)
        if batch is None:
            return (SAME,) * 3
        batch.least = share
        status = SAME if batch.run else summary(batch, language)
        return status, *after(batch, language)


def many_tab(models: Models, words: gr.I18n) -> None:
    """Lays out and wires the tab."""
    tab, batch = ManyTab(models), gr.State(None, time_to_live=KEPT_S)
    gr.HTML(words("many_intro"), elem_classes="intro")
    with gr.Row(equal_height=False):
        with gr.Column(scale=6, min_width=300):
            uploads = gr.File(
                label=words("many_drop"), file_count="multiple", height=220, elem_id="many-photos"
            )
        with gr.Column(scale=4, min_width=300):
            network = advanced_choice(models, words, "many-network")
            status = gr.HTML("", elem_id="many-status")
            cancel = gr.Button(words("many_cancel"), visible=False, elem_id="many-cancel")
            go_on = gr.Button(words("many_go_on"), visible=False, elem_id="many-go-on")
    with gr.Column(elem_id="many-results"):  # the style sheet shows it once there are rows
        least = _options(batch, words)
        table = gr.HTML("", js_on_load=tables.SCRIPT + photo_rows.SCRIPT, elem_id="many-table")
        world = gr.HTML("", elem_id="many-map")
    rows, changes = (gr.HTML("", html_template="", js_on_load=HEAR) for _ in range(2))
    change = gr.HTML(None, html_template="", js_on_load=TELL)
    buttons = [cancel, go_on]
    starts = [uploads.change, network.change, go_on.click]
    known, shown = [uploads, network, least, batch], [batch, status, table, changes, *buttons]
    begun = gr.on(starts, tab.begin, known, shown, trigger_mode="always_last", **QUICK)
    # The run before ends by itself.
    shown = [status, rows, changes, world, *buttons]
    # The place in the queue is told where the progress is.
    told = {"show_progress": "minimal", "show_progress_on": status}
    begun.success(tab.tag, batch, shown, trigger_mode="multiple", **LONG | told)
    cancel.click(tab.stop, batch, shown, **QUICK)
    shown = [batch, status, changes, world]
    change.submit(tab.change, [change, batch], shown, trigger_mode="multiple", **QUICK)
    least.change(tab.ask, [least, batch], shown[1:], trigger_mode="always_last", **QUICK)


def _options(batch: gr.State, words: gr.I18n) -> gr.Slider:
    """How sure a guess must be, and the buttons that make and save files."""
    with gr.Row(equal_height=False, elem_id="many-options"):
        least = gr.Slider(
            0, MOST_SURE, step=1, label=words("many_least"), buttons=[], elem_id="many-least"
        )
        with gr.Row(elem_id="downloads"):
            file = gr.File(visible="hidden")
            for key, name in (
                ("download_csv", "landmarks.csv"),
                ("download_json", "landmarks.json"),
                ("download_xmp", "landmarks-xmp.zip"),
            ):
                button = gr.Button(words(key), elem_id=key)
                made = button.click(_writer(name), batch, file, **QUICK)
                made.success(None, file, None, js=SAVE, preprocess=False)
    return least


def share_of(least: object) -> float:
    """How sure a guess must be, 0 to 1, of what the slider says in per cent; None says nothing.

    Raises LandmarkError if it is no number from 0 to 99.
    """
    if least is None:
        return 0.0
    if type(least) not in (int, float) or not 0 <= least <= MOST_SURE:
        raise LandmarkError(f"How sure a guess must be is a number from 0 to {MOST_SURE}.")
    return least / 100


def progress(batch: Batch, language: str) -> str:
    """A progress bar as HTML."""
    done, total = batch.done, batch.total
    text = say("many_progress", language, done=done, total=total)
    bar = f'<progress max="{total}" value="{done}" aria-label="{text}"></progress>'
    return f'<div class="status" role="status">{bar}<span>{text}</span></div>'


def summary(batch: Batch, language: str) -> str:
    """How many photos have a name and how many could not be read, as HTML; "" without any."""
    rows = batch.rows().values()
    known = sum(row.best is not None for row in rows)
    broken = sum(row.answer is None for row in rows)
    words = say("many_done", language, known=known, total=batch.total)
    words += f" {say('many_broken', language, count=broken)}" if broken else ""
    return cards.status_line(words) if rows else ""


def after(batch: Batch, language: str, looks: dict[int, str] | None = None) -> tuple[str, str]:
    """All rows as they are now, those of `looks` with thumbnails, and their map, as HTML."""
    rows, looks = batch.rows(), looks or {}
    changed = (
        photo_rows.photo_row(number, row, looks.get(number, ""), language)
        for number, row in rows.items()
    )
    return batch.mark() + "".join(changed), map_of(rows.values(), language)


def look_of(path: Path) -> str:
    """A photo's thumbnail as a URL; "" where it cannot be read."""
    with suppress(LandmarkError):
        return thumbnail(open_upload(path, THUMBNAIL_PX**2).image)
    return ""


def map_of(rows: Iterable[Tagged], language: str) -> str:
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


def _writer(name: str) -> Callable[[Batch | None, gr.Request], str]:
    """What makes a file of a name in FILES of the rows as the visitor wants them, and gives its
    path; it raises LandmarkError if there are none."""

    def write(batch: Batch | None, request: gr.Request) -> str:
        rows = list(batch.rows().values()) if batch else []
        if not rows:
            raise LandmarkError(say("many_gone", language_of(request)))
        folder = gr.utils.get_upload_folder()
        return gr.processing_utils.save_bytes_to_cache(FILES[name](rows), name, folder)

    return write


def _sidecars(rows: list[Tagged]) -> bytes:
    with tempfile.TemporaryDirectory(prefix="landmarks-") as folder:
        path = Path(folder) / "sidecars.zip"
        write_sidecars_zip(rows, path)
        return path.read_bytes()


# By the name of a file, what it holds; without the mark, Excel takes the table for another one.
FILES: dict[str, Callable[[list[Tagged]], bytes]] = {
    "landmarks.csv": lambda rows: to_csv(rows).encode("utf-8-sig"),
    "landmarks.json": lambda rows: to_json(rows).encode(),
    "landmarks-xmp.zip": _sidecars,
}
