"""The routes of `--library`: a page to look through an index, and small copies of its photos.

A request names a photo by the number of its row alone, so that no other file can be opened.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from io import BytesIO

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from landmark_model import LandmarkError, Library, LibraryQuery, open_safely
from landmark_model.web.guard import LIBRARY
from landmark_model.web.html.library import (
    PHOTOS_OF_A_PAGE,
    STATUSES,
    library_page,
    refusal_page,
)
from landmark_model.web.i18n import pick_language
from landmark_model.web.overlay import shrink

MOST_TEXT = 200
PHOTO_PX = 320
MOST_ROW = 2**63  # of SQLite


def library_routes(library: Library) -> list[Route]:
    """The page, and the photos."""

    def show_page(request: Request) -> Response:
        language = pick_language(request.headers.get("accept-language"))
        query, start = read_query(request.query_params, language)
        try:
            view = library.find(query, start, PHOTOS_OF_A_PAGE)
        except LandmarkError:
            return HTMLResponse(refusal_page(language), 503)
        return HTMLResponse(library_page(view, query, start))

    def show_photo(request: Request) -> Response:
        content = small_copy(library, request.path_params["row"])
        if content is None:
            return Response(status_code=404)
        kept = {"cache-control": "private, max-age=3600"}
        return Response(content, media_type="image/webp", headers=kept)

    return [Route(LIBRARY, show_page), Route(f"{LIBRARY}/photo/{{row:int}}", show_photo)]


def read_query(words: Mapping[str, str], language: str) -> tuple[LibraryQuery, int]:
    """What is looked for, and the photo to begin with; a status that is none is left out."""
    typed = ("text", "place", "tag", "date")
    given = {name: words.get(name, "")[:MOST_TEXT].strip() for name in typed}
    status, start = (words.get(name, "").strip() for name in ("status", "start"))
    query = LibraryQuery(language, **given, status=status if status in STATUSES else "")
    return query, int(start) if re.fullmatch("[0-9]{1,9}", start) else 0


def small_copy(library: Library, row: int) -> bytes | None:
    """The photo of a row as a small WebP; the copy in the index, if any, where it is away."""
    kept = None
    try:
        found = library.file(row) if row < MOST_ROW else None
        if found is None:
            return None
        path, kept = found
        photo = open_safely(path, PHOTO_PX**2).image
    except LandmarkError:
        return kept
    file = BytesIO()
    shrink(photo, PHOTO_PX).save(file, "WEBP")
    return file.getvalue()
