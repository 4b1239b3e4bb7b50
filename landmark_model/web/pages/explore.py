"""The tab with all landmarks that a network knows: on a map, as cards, and as a table."""

from __future__ import annotations

from urllib.parse import urlsplit

import gradio as gr

from landmark_model import Prediction
from landmark_model.web.html.figures import damage_note, landmark_rows
from landmark_model.web.html.pictures import wall
from landmark_model.web.html.tables import SCRIPT, table
from landmark_model.web.html.worldmap import Dot, world_map
from landmark_model.web.i18n import say
from landmark_model.web.models import Models
from landmark_model.web.widgets import language_of, network_choice

COLUMNS = ("landmark", "place", "country", "photos", "recall", "precision")
DOT_WEIGHT = 0.05


def explore_tab(page: gr.Blocks, models: Models, words: gr.I18n) -> None:
    """Lays out the map, the cards and the table of the landmarks."""

    def fill(network: str, request: gr.Request) -> tuple[str, str, str]:
        language, measured = language_of(request), models.metrics(network)
        landmarks = models.landmarks(network)
        root = urlsplit(request.request.scope.get("root_path", "")).path.rstrip("/")
        rows = landmark_rows(landmarks, measured, language)
        sheet = table(COLUMNS, rows, say("landmarks", language), language)
        note = damage_note(measured, language)
        cards = wall(landmarks, measured, root, language)
        return map_of_all(landmarks, language), cards, note + sheet

    gr.HTML(words("explore_intro"), elem_classes="intro")
    network = network_choice(models, words, "explore-network")
    world = gr.HTML("", elem_id="explore-map")
    pictures = gr.HTML("", elem_id="explore-pictures")
    sheet = gr.HTML("", js_on_load=SCRIPT, elem_id="explore-table")
    fresh = {"api_visibility": "private", "show_progress": "hidden"}
    gr.on([page.load, network.change], fill, network, [world, pictures, sheet], **fresh)


def map_of_all(landmarks: list[Prediction], language: str) -> str:
    """The map of all landmarks, as HTML."""
    dots = [
        Dot(place.latitude, place.longitude, DOT_WEIGHT, place.name_in(language))
        for place in landmarks
    ]
    return world_map(dots, say("map_all", language), zoom=False)
