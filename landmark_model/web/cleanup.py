"""Deletes what is no longer needed: the photos of old links, results that nobody fetches."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path

from gradio.queueing import Queue

from landmark_model.web.multipart import arriving

Job = Callable[[], Awaitable[None]]


def delete_old(folder: Path, age_s: float) -> None:
    """Deletes the folders in `folder` that are older than that, if any."""
    for entry in folder.glob("*"):
        if time.time() - entry.stat().st_mtime > age_s:
            shutil.rmtree(entry, ignore_errors=True)


def delete_unfinished(folder: Path, age_s: float) -> None:
    """Deletes what interrupted uploads left in `folder`, and empty folders."""
    for entry in folder.iterdir():
        with suppress(OSError):
            # Asked first: the files of a form that ends now are as new once it is not there.
            if entry.name not in arriving and time.time() - entry.stat().st_mtime > age_s:
                # rmdir fails, as it should, where something is in it.
                entry.unlink() if entry.is_file() else entry.rmdir()


class Lasting:
    """Tells what has been there for `age_s` seconds, of things that it is shown now and then."""

    def __init__(self, age_s: float) -> None:
        self.age_s = age_s
        self._since: dict[Hashable, float] = {}

    def of(self, seen: Iterable[Hashable]) -> list:
        """Those of `seen` that were seen each time for that long."""
        now = time.monotonic()
        self._since = {thing: self._since.get(thing, now) for thing in seen}
        return [thing for thing, since in self._since.items() if now - since >= self.age_s]


async def close_idle(page: object, lasting: Lasting) -> None:
    """Closes connections that have asked nothing for a while, which could crowd others out."""
    server = getattr(page, "server", None)  # uvicorn's, once it runs
    connections = getattr(getattr(server, "server_state", None), "connections", ())
    for connection in lasting.of(c for c in connections if getattr(c, "cycle", True) is None):
        if connection.transport is not None:
            connection.transport.close()


async def drop_uncollected(queue: Queue, lasting: Lasting) -> None:
    """Forgets results, and events, of sessions that nobody listens to any more.

    A client that listens takes a message soon, so one that lies there for a while has none. Nor
    has a session without any that awaits nothing.
    """
    waiting, awaited = queue.pending_messages_per_session, queue.pending_event_ids_session
    lying = [
        (session, id(messages._queue[0]) if messages.qsize() else None)
        for session, messages in waiting.items()
        if messages.qsize() or not awaited.get(session)
    ]
    for session, _ in lasting.of(lying):
        await queue.clean_events(session_hash=session)
        waiting.pop(session, None)
        queue.pending_event_ids_session.pop(session, None)


def keep_clean(*jobs: tuple[Job, float]) -> Callable[[object], AbstractAsyncContextManager[None]]:
    """A lifespan for the server: does each job every so many seconds, as long as it runs."""

    async def go_on(job: Job, every_s: float) -> None:
        while True:
            await job()
            await asyncio.sleep(every_s)

    @asynccontextmanager
    async def lifespan(app: object) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(go_on(*job)) for job in jobs]
        yield
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    return lifespan
