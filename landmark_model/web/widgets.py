"""Widgets that several tabs share: the photo field, the choice of network, the language."""

from __future__ import annotations

import gradio as gr

from landmark_model.web.i18n import pick_language
from landmark_model.web.models import Models

PHOTO_HEIGHT_PX = 420


def language_of(request: gr.Request) -> str:
    """The language that a visitor's browser prefers."""
    return pick_language(request.headers.get("accept-language"))


def photo_input(
    words: gr.I18n, elem_id: str, height_px: int = PHOTO_HEIGHT_PX, label: str = "photo"
) -> gr.Image:
    """The field to drop, paste or take a photo, with the rear camera of a phone."""
    camera = gr.WebcamOptions(mirror=False, constraints={"video": {"facingMode": "environment"}})
    return gr.Image(
        type="filepath",
        label=words(label),
        height=height_px,
        sources=["upload", "webcam", "clipboard"],
        placeholder=words("photo_drop"),
        webcam_options=camera,
        buttons=["fullscreen"],
        alt_text=words("photo_alt"),
        elem_id=elem_id,
    )


def network_choice(
    models: Models, words: gr.I18n, elem_id: str, described: bool = False
) -> gr.Radio:
    """The choice of network, by name or by a sentence about it; hidden where there is only one."""
    return gr.Radio(
        [(words(f"about_{name}") if described else title, name) for title, name in models.titles()],
        value=models.default,
        label=words("network"),
        visible=len(models.taggers) > 1,
        elem_id=elem_id,
    )


def advanced_choice(models: Models, words: gr.I18n, elem_id: str) -> gr.Radio:
    """The choice of network by what is said of each, folded away: few visitors need it."""
    with gr.Accordion(words("advanced"), open=False, visible=len(models.taggers) > 1):
        return network_choice(models, words, elem_id, described=True)
