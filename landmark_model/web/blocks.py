"""gradio's Blocks with checked input: every event's request is checked here."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Sequence

import gradio as gr
from gradio.block_function import BlockFunction
from gradio.components.api_component import Api
from gradio.server_messages import ProcessCompletedMessage

from landmark_model import LandmarkError
from landmark_model.web.guard import Rules
from landmark_model.web.logs import log_error
from landmark_model.web.photo_links import PhotoLinks
from landmark_model.web.uploads import Uploads

BROKEN = "This request cannot be answered. Check its values, or try again in a moment."
STOPPING = "The app is stopping. Try again in a minute."
NOT_A_CHOICE = "A value in the request is not among the choices of its field."
TOO_FEW = "The request has {given} of {needed} values. /gradio_api/info lists them."
ODD_KIND = "A value in the request has the wrong type for its field."
MAX_MESSAGE = 500


class GuardedBlocks(gr.Blocks):
    """Blocks that open only uploads, and answer errors with a sentence.

    gradio takes each request, by queue, call, batch or MCP, through these two methods.
    """

    uploads: Uploads
    links: PhotoLinks
    rules: Rules
    loop: asyncio.AbstractEventLoop

    async def note_loop(self) -> None:
        """Keeps the server's event loop, for calls from other threads."""
        self.loop = asyncio.get_running_loop()

    def knows(self, session: str) -> bool:
        """Whether a session, or an event by its number, awaits results or has some."""
        queue = self._queue
        numbers = list(queue.pending_event_ids_session.values())
        known = queue.pending_messages_per_session, queue.event_ids_to_events, *numbers
        return any(session in those for those in known)

    async def finish(self, most_s: float) -> None:
        """Gives the answers in progress that many seconds, and ends the others with a sentence."""
        queue, unheard = self._queue, self._queue.pending_event_ids_session
        await _wait_while(lambda: any(queue.active_jobs) or len(queue) > 0, most_s)
        output = {"error": STOPPING, "visible": True, "title": "Error", "duration": 10}
        for session, messages in list(queue.pending_messages_per_session.items()):
            for event in list(unheard.get(session, ())):
                end = ProcessCompletedMessage(output=output, success=False, event_id=event)
                messages.put_nowait(end)
        await _wait_while(lambda: any(unheard.values()), 2)

    async def preprocess_data(self, block_fn, inputs, state, explicit_call=False):
        """gradio's, of inputs that were admitted. Raises LandmarkError if they were not."""
        admitted = admit(self.uploads, block_fn, inputs)
        return await super().preprocess_data(block_fn, admitted, state, explicit_call)

    async def process_api(self, *arguments, **settings):
        """gradio's; whatever it raises becomes a gr.Error, which says so to the visitor alone."""
        try:
            return await super().process_api(*arguments, **settings)
        except LandmarkError as error:
            raise _told(str(error)) from None
        except gr.Error as error:
            raise _told(str(error.message)) from None
        except Exception as error:
            log_error(error)
            raise _told(BROKEN) from None


async def _wait_while(is_so: Callable[[], bool], most_s: float) -> None:
    deadline = time.monotonic() + most_s
    while is_so() and time.monotonic() < deadline:
        await asyncio.sleep(0.05)


def _told(message: str) -> gr.Error:
    return gr.Error(message[:MAX_MESSAGE], print_exception=False)


def admit(uploads: Uploads, block_fn: BlockFunction, inputs: Sequence[object]) -> list[object]:
    """The checked inputs of an event for its function.

    Values left out at the end take the function's defaults. Raises LandmarkError if there are
    too few, a value is not among a component's choices, or a file is no upload.
    """
    fields = block_fn.inputs
    if not isinstance(inputs, list | tuple):
        raise LandmarkError(ODD_KIND)
    given = list(inputs[: len(fields)])
    given += _defaults(block_fn)[len(given) : len(fields)]
    if len(given) < len(fields):
        raise LandmarkError(TOO_FEW.format(given=len(inputs), needed=len(fields)))
    return [_admit_one(uploads, field, value) for field, value in zip(fields, given, strict=True)]


def _defaults(block_fn: BlockFunction) -> list[object]:
    """The defaults of an endpoint's parameters, counted back to the first required one."""
    if not all(isinstance(field, Api) for field in block_fn.inputs):
        return []
    parameters = list(inspect.signature(block_fn.fn).parameters.values())
    return [None if p.default is p.empty else p.default for p in parameters]


def _admit_one(uploads: Uploads, field: object, value: object) -> object:
    if field.stateful:
        return None  # the server's own; what a request says of it is not heard
    value = uploads.admit(value)
    choices = getattr(field, "choices", None)
    if choices is not None and not _are_choices(value, field):
        raise LandmarkError(NOT_A_CHOICE)
    if isinstance(field, gr.Image | gr.File | gr.Gallery) and not _is_files(value):
        raise LandmarkError(ODD_KIND)
    return value


def _are_choices(value: object, field: gr.CheckboxGroup | gr.Dropdown | gr.Radio) -> bool:
    choices = [choice for _, choice in field.choices]
    takes_many = isinstance(field, gr.CheckboxGroup) or getattr(field, "multiselect", False)
    values = value if takes_many and isinstance(value, list) else [value]
    values = [] if value is None else values
    return all(isinstance(one, str | int | float) and one in choices for one in values)


def _is_files(value: object) -> bool:
    values = value if isinstance(value, list) else [value]
    return all(one is None or isinstance(one, dict) for one in values)
