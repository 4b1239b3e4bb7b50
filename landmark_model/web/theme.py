"""The look of the page: style sheets, colours and fonts."""

from __future__ import annotations

import gradio as gr

from landmark_model.web import STATIC


def look_of_page(words: gr.I18n) -> dict[str, object]:
    """The look and the texts of the page."""
    return {
        "i18n": words,
        "css": style(),
        "js": (STATIC / "page.js").read_text(encoding="utf-8"),
        "theme": theme(),
        "footer_links": ["api"],
        "run_history": False,
    }


def style() -> str:
    """All style sheets, joined."""
    sheets = sorted(STATIC.glob("*.css"))  # app.css first
    return "\n".join(sheet.read_text(encoding="utf-8") for sheet in sheets)


def theme() -> gr.themes.Base:
    """Calm colours, one accent, and fonts that the visitor's machine already has."""
    fonts = [gr.themes.Font("system-ui"), gr.themes.Font("sans-serif")]
    hues = {"primary_hue": "blue", "secondary_hue": "slate", "neutral_hue": "slate"}
    plain = {"block_label_background_fill": "*background_fill_primary",
             "block_title_background_fill": "none",
             "block_title_padding": "0"}  # fmt: skip
    quiet = {"block_label_text_color": "*neutral_600", "block_title_text_color": "*neutral_600",
             "body_text_color_subdued": "*neutral_600"}  # fmt: skip
    dark = {f"{name}_dark": "*neutral_300" for name in quiet}
    return gr.themes.Soft(**hues, font=fonts, font_mono=fonts).set(
        **plain,
        **quiet,
        **dark,
        block_label_background_fill_dark="*background_fill_primary",
        block_title_background_fill_dark="none",
        block_border_width="1px",
        block_border_width_dark="1px",
        block_radius="14px",
        block_shadow="none",
        block_label_text_weight="500",
        block_title_text_weight="500",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        checkbox_label_border_width="1px",
        checkbox_label_border_color="*neutral_300",
        checkbox_label_border_color_dark="*neutral_600",
        checkbox_label_shadow="none",
        checkbox_border_color="*neutral_500",
        checkbox_border_color_dark="*neutral_400",
        checkbox_border_width="1px",
        checkbox_label_background_fill_selected="*primary_600",
        checkbox_label_background_fill_selected_dark="*primary_600",
    )
