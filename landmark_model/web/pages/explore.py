"""The tab with all landmarks that a network knows: on a map, in pictures, and as a table."""

from __future__ import annotations

from urllib.parse import urlsplit

import gradio as gr

from landmark_model import Prediction
from landmark_model.web.html.figures import damage_note, landmark_rows
from landmark_model.web.html.pictures import wall
from landmark_model.web.html.tables import SCRIPT, Cell, table
from landmark_model.web.html.worldmap import Dot, world_map
from landmark_model.web.i18n import say
from landmark_model.web.models import Models
from landmark_model.web.widgets import language_of, network_choice

COLUMNS = ("landmark", "place", "country", "photos", "recall", "precision")
DOT_WEIGHT = 0.05


def explore_tab(page: gr.Blocks, models: Models, words: gr.I18n) -> None:
    """Lays out the map, the pictures and the table of the landmarks."""

    def fill(network: str, request: gr.Request) -> tuple[str, str, str]:
        language, landmarks = language_of(request), models.landmarks(network)
        root = urlsplit(request.request.scope.get("root_path", "")).path.rstrip("/")
        headers = [say(f"col_{name}", language) for name in COLUMNS]
        rows = table_rows(models, network, language)
        sheet = table(headers, rows, say("landmarks", language), language)
        note = damage_note(models.metrics(network), language)
        return map_of_all(landmarks, language), wall(landmarks, root, language), note + sheet

    gr.HTML(words("explore_intro"), elem_classes="intro")
    network = network_choice(models, words, "explore-network")
    world = gr.HTML("", elem_id="explore-map")
    pictures = gr.HTML("", elem_id="explore-pictures")
    sheet = gr.HTML("", js_on_load=SCRIPT, elem_id="explore-table")
    fresh = {"api_visibility": "private", "show_progress": "hidden"}
    gr.on([page.load, network.change], fill, network, [world, pictures, sheet], **fresh)


def table_rows(models: Models, network: str, language: str) -> list[list[Cell]]:
    """Each landmark a network knows, with its scores in per cent; None if not measured."""
    rows = landmark_rows(models.landmarks(network), models.metrics(network), language)
    return [
        [
            row.name,
            row.place,
            f"{row.country} {row.flag}".strip(),
            row.photos,
            None if row.recall is None else round(100 * row.recall),
            None if row.precision is None else round(100 * row.precision),
        ]
        for row in rows
    ]


def map_of_all(landmarks: list[Prediction], language: str) -> str:
    """The map of all landmarks, as HTML."""
    dots = [
        Dot(place.latitude, place.longitude, DOT_WEIGHT, place.name_in(language))
        for place in landmarks
    ]
    return world_map(dots, say("map_all", language), zoom=False)
