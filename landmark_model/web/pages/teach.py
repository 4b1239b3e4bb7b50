"""The tab that teaches a landmark: name, photos and place in; known at once, in this visit only.

What was taught is kept in the visit's own state, never in the networks that others ask; the visitor
takes it along as a file.
"""

from __future__ import annotations

import html
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import gradio as gr

from landmark_model import LandmarkError, distance_km, find_place
from landmark_model.web import STATIC
from landmark_model.web.html import atlas, cards
from landmark_model.web.html.worldmap import picking_map
from landmark_model.web.i18n import explain, say
from landmark_model.web.models import InTurn, Models, names_of
from landmark_model.web.share import SharedResult, make_link
from landmark_model.web.uploads import open_upload
from landmark_model.web.widgets import language_of, photo_input

MOST_LANDMARKS, MOST_PHOTOS = 10, 20  # of a visit; of a landmark
MOST_BYTES = 4_000_000  # of a file that is loaded again
KEPT_S = 3600
NEAR_KM = 60
FILE_NAME = "mine.landmarks"
PICK_SCRIPT = (STATIC / "pick.js").read_text(encoding="utf-8")
# What is said in the visitor's language of what cannot be taught.
REASONS = ("teach_none", "teach_many", "teach_known", "teach_like", "teach_unlike", "teach_text",
           "teach_position")  # fmt: skip
SAME = gr.skip()


@dataclass(frozen=True)
class TeachTab:
    """The tab's callbacks; `secret` signs links to results, "" for none.

    A `learner` is the visit's copy of the default network, None before it was taught.
    """

    models: Models
    secret: str

    def suggest(
        self, name: object, place: object, country: object, latitude: object, longitude: object,
        request: gr.Request,
    ) -> tuple:  # fmt: skip
        """Place, country, latitude and longitude, filled in where they are empty, and the map."""
        known = find_place(text_of(name)) if text_of(name) else find_place("")
        position = position_of(latitude, longitude)
        given = [text_of(place), text_of(country)]
        found: list[object] = [SAME] * 4
        if position is None and known.latitude is not None and not latitude:
            position = known.latitude, known.longitude
            found[2:] = position
        city = known.place if position == (known.latitude, known.longitude) else near(position)
        for index, value in enumerate((city, known.country)):
            if value and not given[index]:
                found[index] = value
        return *found, picking_map(position, say("teach_map", language_of(request)))

    def teach(
        self, name: object, uploads: object, where: dict[str, object], anyway: object,
        learner: InTurn | None,
    ) -> InTurn:  # fmt: skip
        """The learner that knows the landmark, too."""
        name, shared = text_of(name), self.models.pick("")
        learner = learner or shared
        uploads = [one for one in uploads or () if isinstance(one, dict) and "path" in one]
        if len(uploads) > MOST_PHOTOS:
            raise Told("teach_many", count=len(uploads), limit=MOST_PHOTOS)
        if len({*learner.taught} - {*shared.taught, name}) >= MOST_LANDMARKS:
            raise Told("teach_full", limit=MOST_LANDMARKS)
        if not name:
            raise Told("teach_no_name")
        photos = [open_upload(one["path"], learner.fewest_pixels).image for one in uploads]
        try:
            return require_small(
                learner.changed(
                    lambda tagger: tagger.teach(name, photos, anyway=anyway is True, **where)
                )
            )
        except LandmarkError as error:
            if error.reason not in REASONS:
                raise
            details = dict(error.details)
            if "number" in details:
                details["file"] = uploads[details["number"] - 1]["orig_name"]
            raise Told(error.reason, **details) from error

    def forget(self, name: object, learner: InTurn | None) -> InTurn:
        """The learner without the landmark."""
        tagger = learner or self.models.pick("")
        try:
            return tagger.changed(lambda one: one.forget(text_of(name)))
        except LandmarkError as error:
            raise Told("teach_unknown") from error

    def load(self, upload: object) -> InTurn:
        """The learner that knows what a file says, and nothing else."""
        path = Path(upload["path"]) if isinstance(upload, dict) else None
        if path is None or path.stat().st_size > MOST_BYTES:
            raise Told("teach_no_file")
        try:
            learner = self.models.pick("").changed(lambda tagger: tagger.load_taught(path))
        except LandmarkError as error:
            is_other = error.reason == "teach_other"
            raise Told("teach_other" if is_other else "teach_no_file") from error
        if len(learner.taught) > MOST_LANDMARKS:
            raise Told("teach_full", limit=MOST_LANDMARKS)
        return require_small(learner)

    def answer(self, upload: dict | None, learner: InTurn | None, request: gr.Request) -> str:
        """The result card of a photo, by the network and what it was taught in this visit."""
        language = language_of(request)
        if not upload:
            return ""
        tagger = learner or self.models.pick("")
        try:
            opened = open_upload(upload["path"], tagger.fewest_pixels)
            answer = tagger.predict(opened.image, top_k=5)
        except LandmarkError as error:
            return cards.sorry(error, language)
        guesses = tuple((guess.class_name, guess.probability) for guess in answer)
        names = self.models.class_names
        strange = tuple(name for name, _ in guesses if name not in names)
        shared = SharedResult(guesses, answer.is_known, self.models.stamp(""), strange)
        link = make_link(shared, self.secret)
        shown = cards.Shown(answer, answer.is_known, link=link, camera=opened.position)
        return cards.card(shown, language, len(names_of(tagger)))


class Told(Exception):
    """What is said in place of a result; `key` are its words, `values` what they name."""

    def __init__(self, key: str, **values: object) -> None:
        super().__init__(key)
        self.key, self.values = key, values


def require_small(learner: InTurn) -> InTurn:
    """The learner, which is kept for each visit. Raises Told if it has too many photos of one
    landmark, by whatever steps they came."""
    most = max(learner.taught_counts.values(), default=0)
    if most > MOST_PHOTOS:
        raise Told("teach_many", count=most, limit=MOST_PHOTOS)
    return learner


def text_of(value: object) -> str:
    """The text of a field; "" for anything else that a request may hold."""
    return value.strip() if isinstance(value, str) else ""


def position_of(latitude: object, longitude: object) -> tuple[float, float] | None:
    """A position in degrees; None where there is none. Empty fields are 0 to some browsers, where
    there is nothing but sea."""
    is_number = [isinstance(one, int | float) for one in (latitude, longitude)]
    if all(is_number) and (latitude or longitude) and abs(latitude) <= 90 and abs(longitude) <= 180:
        return float(latitude), float(longitude)
    return None


def near(position: tuple[float, float] | None) -> str:
    """The nearest of the map's cities, "" if none is near."""
    if position is None:
        return ""
    cities = [(distance_km(position, (c.latitude, c.longitude)), c) for c in atlas.cities()]
    away, city = min(cities, key=lambda pair: pair[0])
    return city.name_in("en") if away <= NEAR_KM else ""


def known_list(learner: InTurn | None, language: str) -> str:
    """What this visit taught, as HTML."""
    if learner is None or not learner.taught:
        return ""
    rows = ""
    for name in learner.taught:
        guess = learner.describe(name)
        where = f" · {html.escape(guess.where)}" if guess.where else ""
        rows += f"<li>{html.escape(guess.name_in(language))}{where}</li>"
    return f'<h3>{say("teach_taught", language)}</h3><ul class="tags">{rows}</ul>'


def outcome(
    change: Callable[[], InTurn | None], done: str, learner: InTurn | None, language: str
) -> Iterator[tuple]:
    """The learner, what is said, what it knows, and its file, after `change`."""
    try:
        learner = change()
        said = cards.status_line(done)
    except Told as told:
        said = cards.status_line(say(told.key, language, **told.values), "alert")
    except LandmarkError as error:
        said = cards.status_line(explain(error, language), "alert")
    with tempfile.TemporaryDirectory(prefix="landmarks-") as folder:
        file = gr.update(visible=False)
        if learner is not None and learner.taught:
            path = Path(folder) / FILE_NAME
            learner.save_taught(path)
            file = gr.update(value=str(path), visible=True)
        yield learner, said, known_list(learner, language), file


def teach_tab(tab: TeachTab, words: gr.I18n) -> None:
    """Lays out and wires the tab."""
    gr.HTML(words("teach_intro"), elem_classes="intro")
    learner = gr.State(None, time_to_live=KEPT_S)
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=300):
            name = gr.Textbox(label=words("teach_name"), max_length=100, elem_id="teach-name")
            photos = gr.File(
                label=words("teach_photos"), file_count="multiple", height=160,
                elem_id="teach-photos",
            )  # fmt: skip
            place, country, latitude, longitude, world = _where(words)
            anyway = gr.Checkbox(label=words("teach_anyway"), elem_id="teach-anyway")
            with gr.Row():
                start = gr.Button(words("teach_start"), variant="primary", elem_id="teach-start")
                drop = gr.Button(words("teach_forget"), elem_id="teach-forget")
        with gr.Column(scale=5, min_width=300):
            status = gr.HTML("", elem_id="teach-status")
            known = gr.HTML("", elem_id="teach-known")
            file = gr.DownloadButton(words("teach_file"), visible=False, elem_id="teach-file")
            photo = photo_input(words, "teach-photo", height_px=260, label="photo_try")
            result = gr.HTML("", elem_id="teach-result")
            with gr.Accordion(words("teach_again"), open=False):
                load = gr.File(label=words("teach_load"), height=120, elem_id="teach-load")
    fields = [name, place, country, latitude, longitude]
    raw = {"preprocess": False, "api_visibility": "private", "show_progress": "hidden"}
    moved = [name.blur, latitude.change, longitude.change]
    # "always_last": a click moves both, and leaves the name.
    gr.on(moved, tab.suggest, fields, [*fields[1:], world], trigger_mode="always_last", **raw)
    shown = [learner, status, known, file]
    _wire(tab, fields, (photos, anyway, learner), shown, (start, drop, load))
    asked = {**raw, "concurrency_id": "model"}
    gr.on([photo.change, known.change], tab.answer, [photo, learner], result, **asked)


def _where(words: gr.I18n) -> list[gr.components.Component]:
    """The fields for the place, and the map to choose it on."""
    with gr.Accordion(words("teach_where"), open=True):
        gr.HTML(words("teach_map"), elem_classes="fine")
        drawn = picking_map(None, say("teach_map", "en"))
        world = gr.HTML(drawn, js_on_load=PICK_SCRIPT, elem_id="teach-map")
        with gr.Row():
            texts = [
                gr.Textbox(label=words(key), max_length=100, elem_id=key.replace("_", "-"),
                           min_width=120)
                for key in ("teach_place", "teach_country")
            ]  # fmt: skip
        with gr.Row():
            numbers = [
                gr.Number(  # "" stays empty; None is shown as 0
                    "", label=words(key), placeholder=example, elem_id=key.replace("_", "-"),
                    min_width=120,
                )
                for key, example in (("teach_latitude", "48.8584"), ("teach_longitude", "2.2945"))
            ]  # fmt: skip
    return [*texts, *numbers, world]


def _wire(tab: TeachTab, fields: list, given: tuple, shown: list, buttons: tuple) -> None:
    """Teaching, forgetting and loading: each gives what `shown` are."""
    photos, anyway, learner = given
    start, drop, load = buttons

    def teach(values: dict, request: gr.Request) -> Iterator[tuple]:
        language, uploads = language_of(request), values[photos]
        said = (None if values[field] == "" else values[field] for field in fields)
        name, place, country, latitude, longitude = said
        where: dict[str, object] = {"place": text_of(place), "country": text_of(country)}
        if latitude or longitude:
            where |= {"latitude": latitude, "longitude": longitude}
        learner_now, is_odd = values[learner], values[anyway]
        done = say("teach_done", language, name=text_of(name))
        change = partial(tab.teach, name, uploads, where, is_odd, learner_now)
        yield from outcome(change, done, learner_now, language)

    def forget(name, learner, request: gr.Request) -> Iterator[tuple]:
        language = language_of(request)
        change = partial(tab.forget, name, learner)
        yield from outcome(change, say("teach_forgot", language), learner, language)

    def load_again(upload, learner, request: gr.Request) -> Iterator[tuple]:
        language = language_of(request)
        done = say("teach_loaded", language)
        yield from outcome(partial(tab.load, upload), done, learner, language)

    raw = {"preprocess": False, "api_visibility": "private", "concurrency_id": "teach",
           "concurrency_limit": 1, "show_progress": "minimal"}  # fmt: skip
    start.click(teach, {*fields, photos, anyway, learner}, shown, **raw)
    drop.click(forget, [fields[0], learner], shown, **raw)
    load.upload(load_again, [load, learner], shown, **raw)
