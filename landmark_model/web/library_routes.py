"""The routes of `--library`: a page to look through an index, and small copies of its photos.

A request names a photo by the number of its row alone, so that no other file can be opened.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from gradio.utils import LRUCache
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
ROW = re.compile(r"[0-9]{1,18}")
PHOTOS_AT_ONCE = 2  # that are made small, which leaves decoders to the visitors of the page
PHOTOS_KEPT = 500  # small copies, some 20 kB each
Version = tuple[Path, int, int]  # of a photo: its file, size in bytes, and when it was changed


def library_routes(library: Library) -> list[Route]:
    """The page, and the photos."""
    copies = SmallCopies(library)

    def show_page(request: Request) -> Response:
        language = pick_language(request.headers.get("accept-language"))
        query, start = read_query(request.query_params, language)
        try:
            view = library.find(query, start, PHOTOS_OF_A_PAGE)
        except LandmarkError:
            return HTMLResponse(refusal_page(language), 503)
        return HTMLResponse(library_page(view, query, start))

    async def show_photo(request: Request) -> Response:
        row = request.path_params["row"]
        content = await copies.of_row(int(row)) if ROW.fullmatch(row) else None
        if content is None:
            return Response(status_code=404)
        kept = {"cache-control": "private, max-age=3600"}
        return Response(content, media_type="image/webp", headers=kept)

    return [Route(LIBRARY, show_page), Route(f"{LIBRARY}/photo/{{row}}", show_photo)]


def read_query(words: Mapping[str, str], language: str) -> tuple[LibraryQuery, int]:
    """What is looked for, and the photo to begin with; a status that is none is left out."""
    typed = ("text", "place", "tag", "date")
    given = {name: words.get(name, "")[:MOST_TEXT].strip() for name in typed}
    status, start = (words.get(name, "").strip() for name in ("status", "start"))
    query = LibraryQuery(language, **given, status=status if status in STATUSES else "")
    return query, int(start) if re.fullmatch("[0-9]{1,9}", start) else 0


class SmallCopies:
    """Small copies of the photos of `library`, made a few at a time; the latest are kept."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._turns = asyncio.Semaphore(PHOTOS_AT_ONCE)
        self._kept: LRUCache[Version, bytes] = LRUCache(PHOTOS_KEPT)

    async def of_row(self, row: int) -> bytes | None:
        """The photo of a row as a small WebP; the copy in the index, if any, where it is away."""
        version, spare = await asyncio.to_thread(find_photo, self._library, row)
        if version is None:
            return spare
        if version not in self._kept:
            async with self._turns:
                # Whoever had the turn before may have asked for the same photo.
                if version not in self._kept and not await self._make(version):
                    return spare
        self._kept.move_to_end(version)
        return self._kept[version]

    async def _make(self, version: Version) -> bool:
        """Makes the copy of a photo, and says whether it could be opened."""
        content = await asyncio.to_thread(small_copy, version[0])
        if content is None:
            return False
        self._kept[version] = content
        return True


def find_photo(library: Library, row: int) -> tuple[Version | None, bytes | None]:
    """The photo of a row as it is now, None where it is away; and its copy in the index, if any."""
    spare = None
    try:
        found = library.file(row)
        if found is None:
            return None, None
        path, spare = found
        facts = path.stat()
    except (LandmarkError, OSError):
        return None, spare
    return (path, facts.st_size, facts.st_mtime_ns), spare


def small_copy(path: Path) -> bytes | None:
    """A photo as a small WebP; None if it cannot be opened."""
    try:
        photo = open_safely(path, PHOTO_PX**2).image
    except LandmarkError:
        return None
    file = BytesIO()
    shrink(photo, PHOTO_PX).save(file, "WEBP")
    return file.getvalue()
