"""The look of the page: style sheets, colours and fonts."""

from __future__ import annotations

import json

import gradio as gr

from landmark_model import LANGUAGES, PHOTO_ENDINGS, RAW_ENDINGS, LandmarkError
from landmark_model.web import STATIC
from landmark_model.web.i18n import say

# Of gradio's theme, in light; "name_dark" in dark.
LOOK = {
    "block_label_text_weight": "500",
    "block_radius": "14px",
    "block_title_padding": "0",
    "block_title_text_weight": "500",
    "button_primary_background_fill": "*primary_600",
    "button_primary_background_fill_hover": "*primary_700",
    "checkbox_label_background_fill_selected": "*primary_600",
    "checkbox_border_color": "*neutral_500",
    "checkbox_border_color_dark": "*neutral_400",
    "checkbox_label_border_color": "*neutral_300",
    "checkbox_label_border_color_dark": "*neutral_600",
    "checkbox_label_border_width": "1px",
    "checkbox_label_shadow": "none",
    "input_border_color": "*neutral_400",
    "input_border_color_dark": "*neutral_500",
    "input_placeholder_color": "*neutral_500",
    "input_placeholder_color_dark": "*neutral_400",
}
SAME_IN_DARK = {
    "block_border_width": "1px",
    "block_label_background_fill": "*background_fill_primary",
    "block_title_background_fill": "none",
    "input_border_width": "1px",
    "input_shadow": "none",
}
QUIET = ("block_label_text_color", "block_title_text_color", "body_text_color_subdued")


def look_of_page(words: gr.I18n, most_bytes: int) -> dict[str, object]:
    """The look and the texts of the page, which takes files of up to `most_bytes`."""
    sheets = sorted(STATIC.glob("*.css"))  # app.css first
    return {
        "i18n": words,
        "css": "\n".join(sheet.read_text(encoding="utf-8") for sheet in sheets),
        "js": page_script(most_bytes),
        "theme": theme(),
        "footer_links": ["api"],
        "run_history": False,
    }


def page_script(most_bytes: int) -> str:
    """page.js, with the kinds and the size of the files that the page takes filled in."""
    limit = f"{most_bytes / 2**20:g}"
    door = {
        "photos": sorted(PHOTO_ENDINGS),
        "raw": sorted(RAW_ENDINGS),
        "most_bytes": most_bytes,
        "words": {
            language: {
                why: LandmarkError.because(why, "", name="{name}", limit=limit).in_language(
                    language
                )
                for why in ("raw", "no_photo", "large_file")
            }
            | {"place": say("queue_place", language, place="{place}", size="{size}")}
            for language in LANGUAGES
        },
    }
    script = (STATIC / "page.js").read_text(encoding="utf-8")
    return script.replace("DOOR", json.dumps(door), 1)


def theme() -> gr.themes.Base:
    """Calm colours, one accent, and fonts that the visitor's machine already has."""
    fonts = [gr.themes.Font("system-ui"), gr.themes.Font("sans-serif")]
    hues = {"primary_hue": "blue", "secondary_hue": "slate", "neutral_hue": "slate"}
    quiet = dict.fromkeys(QUIET, "*neutral_600")
    quiet |= {f"{name}_dark": "*neutral_300" for name in QUIET}
    dark = {f"{name}_dark": value for name, value in SAME_IN_DARK.items()}
    soft = gr.themes.Soft(**hues, font=fonts, font_mono=fonts)
    return soft.set(**LOOK | SAME_IN_DARK | dark | quiet)
