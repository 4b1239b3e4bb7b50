"""Links with a photo: its result in the first tab, and nothing else of the visit.

gradio's own route writes down every field of the page, photos of the other tabs too, whether or not
they belong together. This one takes its place: a card goes with the photo that it was made of.
"""

from __future__ import annotations

import copy
import shutil
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import orjson
from gradio.route_utils import create_url_safe_hash
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from landmark_model.web.guard import API

MAX_VISITS, MAX_LINKS = 1000, 300


class PhotoLinks:
    """The last answer of each visit, and links to them below `folder`/deep_links."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "deep_links"
        self._visits: OrderedDict[str, dict[str, object]] = OrderedDict()

    def remember(self, session: str | None, shown: dict[str, object]) -> None:
        """Remembers what a link of that visit will show, by the `elem_id` of its component.

        "photo" is the file as gradio describes it. A function is called for what it returns once
        somebody asks for a link. The oldest of 1,000 visits is dropped.
        """
        if session:
            self._visits[session] = shown
            self._visits.move_to_end(session)
            while len(self._visits) > MAX_VISITS:
                self._visits.popitem(last=False)

    def make(self, session: str, components: list[dict]) -> str:
        """The name of a link to the last answer of a visit; "" without one.

        `components` are those of the page as it is first shown. Of 300 links, the oldest goes.
        """
        values = self._visits.get(session)
        if values is None or not Path(values["photo"]["path"]).is_file():
            return ""
        shown = copy.deepcopy(components)
        for component in shown:
            name = component.get("props", {}).get("elem_id")
            if name in values:
                value = values[name]
                component["props"]["value"] = value() if callable(value) else value
        content = orjson.dumps(shown, default=str)  # as gradio does: it turns NaN into null
        name = create_url_safe_hash(content)
        (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / name / "state.json").write_bytes(content)
        links = sorted(self.folder.iterdir(), key=lambda link: link.stat().st_mtime)
        for link in links[:-MAX_LINKS]:
            shutil.rmtree(link, ignore_errors=True)
        return name

    def route(self, components: Callable[[], list[dict]]) -> Route:
        """The route that the page's button calls for the name of a link."""

        async def answer(request: Request) -> Response:
            session = request.query_params.get("session_hash", "")
            return JSONResponse(self.make(session, components()))

        return Route(f"{API}/deep_link", answer)
