"""The tab that says how good each network is."""

from __future__ import annotations

import gradio as gr

from landmark_model.web.html.figures import quality
from landmark_model.web.models import Models
from landmark_model.web.widgets import language_of, network_choice


def quality_tab(page: gr.Blocks, models: Models, words: gr.I18n) -> None:
    """Lays out how good each network is."""

    def fill(network: str, request: gr.Request) -> str:
        return quality(models.metrics(network), models.landmarks(network), language_of(request))

    network = network_choice(models, words, "quality-network")
    shown = gr.HTML("", elem_id="quality")
    fresh = {"api_visibility": "private", "show_progress": "hidden"}
    gr.on([page.load, network.change], fill, network, shown, **fresh)
