"""The tab for one photo: photo in; landmark, place and share links out."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import gradio as gr

from landmark_model import Answer, CameraFacts, LandmarkError, Tagged, to_xmp
from landmark_model.web import STATIC
from landmark_model.web.html import cards
from landmark_model.web.i18n import say
from landmark_model.web.models import Models
from landmark_model.web.overlay import SIDE_PX, overlay, shrink
from landmark_model.web.photo_links import PhotoLinks
from landmark_model.web.share import SharedResult, is_link, make_link, read_link
from landmark_model.web.uploads import open_upload
from landmark_model.web.widgets import advanced_choice, language_of, photo_input

COPY_PIXELS = 3_000_000
UNSEEN = {".heic", ".heif", ".tif", ".tiff"}
COPY_SCRIPT = (STATIC / "copy.js").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Copy:
    """A copy of an upload. It lacks what the camera wrote into the photo, so that comes with it.

    `name` is what the upload was called, `camera` a (latitude, longitude) in degrees.
    """

    path: Path
    name: str
    camera: tuple[float, float] | None


@dataclass(frozen=True)
class PhotoTab:
    """The tab's callbacks; `secret` signs links to results, "" for none.

    `links` remembers what a link with the photo will show. An `upload` is a file as gradio hands it
    over when it does not decode it; a `copy` is what `copy_of` made of it, if it did.
    """

    models: Models
    secret: str
    links: PhotoLinks

    def answer_and_look(
        self,
        upload: dict | None,
        network: str,
        copy: Copy | None,
        looks: list[str],
        request: gr.Request,
    ) -> tuple[str, str, object]:
        """The result card, what `looks` asks for, and a new value if a copy is to be made.

        All in one, since each request of a page has its price.
        """
        card = self.answer(upload, network, copy, request)
        look = self.look(upload, network, looks, request)
        return card, look, time.time() if is_unseen(upload) else gr.skip()

    def answer_again(
        self,
        upload: dict | None,
        network: str,
        copy: Copy | None,
        looks: list[str],
        request: gr.Request,
    ) -> tuple[object, object, object]:
        """`answer_and_look` by another network; without a photo, a shared result stays."""
        if not upload:
            return gr.skip(), gr.skip(), gr.skip()
        return self.answer_and_look(upload, network, copy, looks, request)

    def answer(
        self, upload: dict | None, network: str, copy: Copy | None, request: gr.Request
    ) -> str:
        """The result card."""
        language = language_of(request)
        if not upload:
            return cards.welcome(language, self.models.known_count)
        path = Path(upload["path"])
        try:
            tagger = self.models.pick(network)
            opened = open_upload(path, tagger.fewest_pixels)
            answer = tagger.predict(opened.image, top_k=5)
        except LandmarkError as error:
            return cards.sorry(error, language)
        is_copy = copy is not None and copy.path == path
        name = copy.name if is_copy else name_of(upload)
        camera = copy.camera if is_copy else opened.position
        shown = cards.Shown(
            answer,
            answer.is_known,
            link=self.link(answer, network),
            camera=camera,
            sidecar=sidecar_of(
                Tagged(name, answer.in_language(language), camera=CameraFacts(camera))
            ),
        )
        self.remember(upload, network, shown, request)
        return cards.card(shown, language, self.models.known_count)

    def remember(self, upload: dict, network: str, shown: cards.Shown, request: gr.Request) -> None:
        """Keeps what a link with the photo will show: the result, as one that somebody shared."""
        language = language_of(request)
        shared = replace(shown, note=say("shared_photo", language))
        card = partial(cards.card, shared, language, self.models.known_count)
        values = {"photo": upload, "network": network, "result": card}
        self.links.remember(request.session_hash, values)

    def link(self, answer: Answer, network: str) -> str:
        """The query string of a link to an answer."""
        guesses = tuple((guess.class_name, guess.probability) for guess in answer)
        shared = SharedResult(guesses, answer.is_known, self.models.stamp(network))
        return make_link(shared, self.secret)

    def open_link(self, request: gr.Request) -> str | dict:
        """The result card of the link that opened the page, or a welcome.

        gradio's own links bring the card along.
        """
        query, language = dict(request.query_params), language_of(request)
        if "deep_link" in query:
            return gr.skip()
        if not is_link(query):
            return cards.welcome(language, self.models.known_count)
        try:
            shared = read_link(query, self.models.class_names, self.secret)
        except LandmarkError as error:
            return cards.sorry(error, language, "link_refused")
        guesses = [self.models.describe(name, share) for name, share in shared.guesses]
        note = say("shared", language)
        if shared.taught:
            note += " " + say("shared_taught", language, names=", ".join(shared.taught))
        shown = cards.Shown(guesses, shared.is_known, note=note, stamp=shared.model)
        return cards.card(shown, language, self.models.known_count)

    def look(self, upload: dict | None, network: str, looks: list[str], request: gr.Request) -> str:
        """What `looks` asks for, to be laid on the photo; "" for none."""
        if not upload or not looks:
            return ""
        tagger, path = self.models.pick(network), Path(upload["path"])
        try:
            photo = open_upload(path, SIDE_PX**2).image
        except LandmarkError:  # `answer` says so
            return ""
        best = tagger.predict(photo, top_k=1)[0]
        found = tagger.explain(shrink(photo, SIDE_PX), best.class_name)
        label = say("look_alt", language_of(request))
        return overlay(found, "heat" in looks, "patch" in looks, path.parent.name, label)


def name_of(upload: dict) -> str:
    """What a visitor calls an upload."""
    return upload.get("orig_name") or Path(upload["path"]).name


def sidecar_of(row: Tagged) -> tuple[str, str] | None:
    """Name and text of the XMP file of a photo; None where it shows no known landmark."""
    return (f"{row.file}.xmp", to_xmp(row)) if row.best else None


def is_unseen(upload: dict | None) -> bool:
    """Whether an upload is of a format that browsers cannot show (HEIC, TIFF)."""
    return Path((upload or {}).get("path") or "").suffix.lower() in UNSEEN


def copy_of(upload: dict | None) -> tuple[object, object]:
    """The file of a copy that browsers can show, and the copy; no news of one that they show."""
    if not is_unseen(upload):
        return gr.skip(), gr.skip()
    path, folder = Path(upload["path"]), gr.utils.get_upload_folder()
    try:
        opened = open_upload(path, COPY_PIXELS)
    except LandmarkError:  # `answer` says so
        return gr.skip(), gr.skip()
    file = gr.processing_utils.save_pil_to_cache(opened.image, folder, path.stem)
    return file, Copy(Path(file), name_of(upload), opened.position)


def photo_tab(page: gr.Blocks, tab: PhotoTab, words: gr.I18n, examples: list[str]) -> gr.Image:
    """Lays out and wires the tab; returns the photo field."""
    with gr.Row(equal_height=False, elem_id="one-photo"):
        with gr.Column(elem_classes="photo-side"):
            photo = photo_input(words, "photo")
            figure = gr.HTML("", elem_id="overlay")
            looks = gr.CheckboxGroup(
                [(words("look_heat"), "heat"), (words("look_patch"), "patch")],
                label=words("look"),
                elem_id="looks",
            )
        with gr.Column(elem_classes="result-side"):
            result = gr.HTML(words("welcome"), elem_id="result", js_on_load=COPY_SCRIPT)
            with gr.Column(elem_id="share-photo"):
                gr.DeepLinkButton(words("share_photo"), "✓", size="sm", icon=None)
                gr.HTML(words("share_photo_note"), elem_classes="fine")
        with gr.Column(elem_classes="choice-side"):
            title = words("examples")
            gr.Examples(examples, photo, label=title, examples_per_page=20, elem_id="examples")
            network = advanced_choice(tab.models, words, "network")
    # preprocess=False: gradio would decode the photo before our code runs, and its errors show
    # the server's folders to visitors.
    raw = {"preprocess": False, "api_visibility": "private"}
    asked = {**raw, "concurrency_id": "model", "show_progress": "minimal"}
    unseen, copy = gr.State(None), gr.State(None)
    page.load(tab.open_link, None, result, api_visibility="private", show_progress="hidden")
    given, shown = [photo, network, copy, looks], [result, figure, unseen]
    photo.change(tab.answer_and_look, given, shown, show_progress_on=result, **asked)
    network.change(tab.answer_again, given, shown, show_progress_on=result, **asked)
    looks.change(tab.look, [photo, network, looks], figure, **asked)
    # gradio's link with the photo loses what an update was sent to; so the photo is sent a value,
    # and only where there is a copy, and the style sheet shows and hides what depends on it.
    unseen.change(copy_of, photo, [photo, copy], **raw)
    return photo
