"""Logging: where something failed and how; nothing that a visitor sent."""

from __future__ import annotations

import logging
import time
import traceback

log = logging.getLogger("landmark.app")
EVERY_S = 10.0


class Sparse(logging.Filter):
    """Passes one record in ten seconds of each logger, without details unless it is our own."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is printed; its details are removed."""
        now = time.monotonic()
        since = now - self._last.get(record.name, -EVERY_S)
        if record.levelno < logging.WARNING or since < EVERY_S:
            return False
        self._last[record.name] = now
        if record.name != log.name:
            kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
            record.msg = f"{record.name}: {record.levelname.lower()} {kind}".rstrip()
            record.args = ()
            record.exc_info = record.exc_text = record.stack_info = None
        return True


SPARSE = Sparse()


async def quiet() -> None:
    """Limits how much is logged, by loggers that are made later too; done now and then."""
    # `logging.error` and the like would give the root logger a handler of their own.
    logging.root.addHandler(logging.lastResort)
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    # Filters of a logger are not asked for records of its children; those of a handler are.
    for handler in {h for logger in loggers for h in getattr(logger, "handlers", ())}:
        handler.addFilter(SPARSE)


def log_error(error: BaseException) -> None:
    """Logs one line on where our code or gradio's failed; nothing that a visitor sent."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
    log.error("%s in %s", type(error).__name__, where)
