"""The page: its tabs, and the previews of its links."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import gradio as gr

from landmark_model import LandmarkError
from landmark_model.web.blocks import GuardedBlocks
from landmark_model.web.endpoints import api
from landmark_model.web.html import cards
from landmark_model.web.html.pictures import photo_credits
from landmark_model.web.i18n import LANGUAGES, all_words, say
from landmark_model.web.models import Models
from landmark_model.web.pages.compare import compare_tab
from landmark_model.web.pages.explore import explore_tab
from landmark_model.web.pages.many import many_tab
from landmark_model.web.pages.photo import PhotoTab, photo_tab
from landmark_model.web.pages.quality import quality_tab
from landmark_model.web.pages.teach import TeachTab, teach_tab
from landmark_model.web.photo_links import PhotoLinks
from landmark_model.web.preview import Preview
from landmark_model.web.share import is_link, read_link
from landmark_model.web.uploads import MAX_PHOTOS, Uploads

EXAMPLES = Path(__file__).parents[1] / "examples"
CLEAN_EVERY_S, KEPT_S = 300, 3600
# What gradio says on fields for files, in words that hold for photos, too.
OF_GRADIO = {
    "upload_text.drop_file": "files_drop",
    "upload_text.click_to_upload": "files_click",
    "common.upload": "files_add",
}


def translations(known_count: int, titles: list[tuple[str, str]]) -> gr.I18n:
    """The static texts of the page in every language, for the browser to choose from.

    `titles` are (what visitors read, network) of each network; one of somebody's own has no more.
    """
    table = all_words(count=known_count)
    for language in LANGUAGES:
        title, tagline = say("title", language), say("tagline", language)
        table[language] |= {
            "hero": f'<header class="hero"><h1>{title}</h1><p>{tagline}</p></header>',
            "welcome": cards.welcome(language, known_count),
            "many_intro": say("many_intro", language, count=MAX_PHOTOS),
            "to_library": f'<a href="library">{say("open", language, section="library")}</a>',
        }
        table[language] |= {of: say(ours, language) for of, ours in OF_GRADIO.items()}
        for title, network in titles:
            key = f"about_{network}"
            table[language][key] = table[language].get(key, "{title}").replace("{title}", title)
    return gr.I18n(**table)


def build(
    models: Models,
    words: gr.I18n,
    uploads: Uploads,
    secret: str = "",
    has_library: bool = False,
) -> GuardedBlocks:
    """The page; `secret` signs links to results, "" for none. A link leads to the library."""
    credits = read_credits()
    page = GuardedBlocks(
        title="Landmark tagger", analytics_enabled=False, delete_cache=(CLEAN_EVERY_S, KEPT_S)
    )
    page.uploads, page.links = uploads, PhotoLinks(uploads.folder)
    with page:
        gr.HTML(words("hero"), padding=False)
        if has_library:
            gr.HTML(words("to_library"), elem_id="to-library", padding=False)
        with gr.Tabs(elem_id="tabs", overflow_behavior="wrap"):
            with gr.Tab(words("tab_photo"), id="photo"):
                files = [str(EXAMPLES / row["file"]) for row in credits]
                photo = photo_tab(page, PhotoTab(models, secret, page.links), words, files)
            several = len(models.taggers) > 1
            with gr.Tab(words("tab_compare"), id="compare", visible=several) as tab:
                compare_tab(tab, models, words, photo)
            with gr.Tab(words("tab_many"), id="many"):
                many_tab(models, words)
            with gr.Tab(words("tab_teach"), id="teach"):
                teach_tab(TeachTab(models, secret), words)
            with gr.Tab(words("tab_explore"), id="explore"):
                explore_tab(page, models, words)
            with gr.Tab(words("tab_quality"), id="quality"):
                quality_tab(page, models, words)
        gr.HTML(words("privacy"), elem_classes="fine")
        with gr.Accordion(words("credits"), open=False):
            gr.Markdown(credit_list([*credits, *photo_credits().values()]))
        api(models)
    return page


def describe(models: Models, secret: str, query: Mapping[str, str], language: str) -> Preview:
    """The preview of a link: the result it shows, or what the page does."""
    title, text = say("title", language), say("tagline", language)
    try:
        shared = read_link(query, models.class_names, secret) if is_link(query) else None
    except LandmarkError:
        shared = None
    if shared is None:
        return Preview(title, text)
    if shared.is_known is False:
        return Preview(f"{say('unknown_head', language)} · {title}", text)
    best = models.describe(*shared.guesses[0])
    if best.class_name in shared.taught and not secret:
        return Preview(title, text)  # anybody's words, which would be the head of a preview
    sure = cards.percent(best.probability, language)
    where = f"{best.flag} {best.where_in(language)}".strip()
    return Preview(f"{best.name_in(language)} ({sure}) · {title}", where or text)


def read_credits() -> list[dict[str, str]]:
    """Author, licence and source of each example photo."""
    with (EXAMPLES / "CREDITS.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def credit_list(photos: list[dict[str, str]]) -> str:
    """The credits of photos, as Markdown."""
    return "\n".join(
        f"- [{row['title']}](<{row['source']}>) by {row['author']}, "
        f"[{row['licence']}](<{row['licence_url']}>); {row['changes']}"
        for row in photos
    )
