"""The tab with all landmarks that a network knows, as a table and on a map."""

from __future__ import annotations

import gradio as gr

from landmark_model import Prediction
from landmark_model.web.html.figures import damage_note, landmark_rows
from landmark_model.web.html.tables import SCRIPT, table
from landmark_model.web.html.worldmap import Dot, world_map
from landmark_model.web.i18n import say
from landmark_model.web.models import Models
from landmark_model.web.widgets import language_of, network_choice

COLUMNS = ("landmark", "place", "country", "photos", "recall", "precision")
DOT_WEIGHT = 0.05


def explore_tab(page: gr.Blocks, models: Models, words: gr.I18n) -> None:
    """Lays out the table and the map of the landmarks."""

    def fill(network: str, request: gr.Request) -> tuple[str, str]:
        language, measured = language_of(request), models.metrics(network)
        landmarks = models.landmarks(network)
        rows = landmark_rows(landmarks, measured, language)
        sheet = table(COLUMNS, rows, say("landmarks", language), language)
        return damage_note(measured, language) + sheet, map_of_all(landmarks, language)

    gr.HTML(words("explore_intro"), elem_classes="intro")
    network = network_choice(models, words, "explore-network")
    world = gr.HTML("", elem_id="explore-map")
    sheet = gr.HTML("", js_on_load=SCRIPT, elem_id="explore-table")
    fresh = {"api_visibility": "private", "show_progress": "hidden"}
    gr.on([page.load, network.change], fill, network, [sheet, world], **fresh)


def map_of_all(landmarks: list[Prediction], language: str) -> str:
    """The map of all landmarks, as HTML."""
    dots = [
        Dot(place.latitude, place.longitude, DOT_WEIGHT, place.name_in(language))
        for place in landmarks
    ]
    return world_map(dots, say("map_all", language), zoom=False)
