"""The tab that compares the networks on one photo, with the time each takes."""

from __future__ import annotations

import time

import gradio as gr

from landmark_model import LandmarkError
from landmark_model.web.html import cards
from landmark_model.web.models import Models
from landmark_model.web.pages.photo import copy_of, is_unseen
from landmark_model.web.uploads import open_upload
from landmark_model.web.widgets import language_of, photo_input


def compare_tab(tab: gr.Tab, models: Models, words: gr.I18n, photo: gr.Image) -> None:
    """Lays out the tab; without a photo of its own it uses that of the first tab, `photo`."""

    def compare(upload: dict | None, request: gr.Request) -> tuple[str, object]:
        found = verdicts(models, upload, language_of(request))
        return found, time.time() if is_unseen(upload) else gr.skip()

    gr.HTML(words("compare_intro"), elem_classes="intro")
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=280):
            own = photo_input(words, "compare-photo", height_px=260)
        with gr.Column(scale=7, min_width=320):
            result = gr.HTML("", elem_id="verdicts")
    raw = {"preprocess": False, "api_visibility": "private"}
    taken, unseen, copy = gr.State(None), gr.State(None), gr.State(None)
    asked = {**raw, "concurrency_id": "model", "show_progress": "minimal"}
    own.change(compare, own, [result, unseen], show_progress_on=result, **asked)
    unseen.change(copy_of, own, [own, copy], **raw)
    gr.on([own.upload, own.input], lambda: None, None, taken, **raw)
    tab.select(take_over, [photo, own, taken], [own, taken], **raw)


def take_over(first: dict | None, own: dict | None, taken: str | None) -> tuple[object, object]:
    """The photo of the first tab, where the tab has none that was given to it.

    `taken` is the one of the first tab that it shows, None where it shows its own.
    """
    if not first or (own and taken in (None, first["path"])):
        return gr.skip(), gr.skip()
    return first["path"], first["path"]


def verdicts(models: Models, upload: dict | None, language: str) -> str:
    """Each network's answer for a photo, as HTML; "" without a photo."""
    if not upload:
        return ""
    try:
        enough = max(tagger.fewest_pixels for tagger in models.taggers.values())
        photo = open_upload(upload["path"], enough).image
    except LandmarkError as error:
        return cards.sorry(error, language)
    columns = ""
    for title, network in models.titles():
        start = time.perf_counter()
        answer = models.pick(network).predict(photo, top_k=5)
        columns += cards.verdict(title, time.perf_counter() - start, answer, language)
    return f'<div class="verdicts" aria-live="polite">{columns}</div>'
