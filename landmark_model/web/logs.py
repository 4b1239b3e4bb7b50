"""Logging: where something failed and how; nothing that a visitor sent."""

from __future__ import annotations

import logging
import time
import traceback

log = logging.getLogger("landmark.app")
EVERY_S = 10.0
# They print what was sent, or a line for each of thousands of odd requests.
TALKATIVE = ("asyncio", "mcp", "python_multipart", "uvicorn.error", "landmark.app")


class Sparse(logging.Filter):
    """Passes one record in ten seconds for each logger and kind, without details."""

    def __init__(self) -> None:
        super().__init__()
        self._last = -EVERY_S

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is printed; its details are removed."""
        now = time.monotonic()
        if record.levelno < logging.WARNING or now - self._last < EVERY_S:
            return False
        self._last = now
        if record.name != log.name:
            kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
            record.msg, record.args = f"{record.name}: {record.levelname.lower()} {kind}", ()
            record.exc_info = record.exc_text = None
        return True


def quiet() -> None:
    """Limits how much the server's libraries log."""
    for name in TALKATIVE:
        logger = logging.getLogger(name)
        logger.filters = [Sparse()]
    # Filters of a logger are not asked for records of its children.
    for name in list(logging.root.manager.loggerDict):
        if name.startswith(("mcp.", "python_multipart.")):
            logging.getLogger(name).filters = [Sparse()]


def log_error(error: BaseException) -> None:
    """Logs one line on where our code or gradio's failed; nothing that a visitor sent."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
    log.error("%s in %s", type(error).__name__, where)
