"""Deletes what is no longer needed: the photos of old links, results that nobody fetches."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path

from gradio.queueing import Queue

Job = Callable[[], Awaitable[None]]


def delete_old(folder: Path, age_s: float) -> None:
    """Deletes the folders in `folder` that are older than that, if any."""
    if not folder.is_dir():
        return
    for entry in folder.iterdir():
        if time.time() - entry.stat().st_mtime > age_s:
            shutil.rmtree(entry, ignore_errors=True)


def delete_unfinished(folder: Path, age_s: float) -> None:
    """Deletes what interrupted uploads left in `folder`, and empty folders."""
    for entry in folder.iterdir():
        with suppress(OSError):
            if time.time() - entry.stat().st_mtime <= age_s:
                continue
            if entry.is_file():
                entry.unlink()
            elif entry.name != "deep_links":
                entry.rmdir()  # fails, as it should, where something is in it


class IdleConnections:
    """Idle connections, which could crowd others out.

    `server` gives uvicorn's, once it runs.
    """

    def __init__(self, server: Callable[[], object], age_s: float) -> None:
        self.server, self.age_s = server, age_s
        self._since: dict[object, float] = {}

    async def close(self) -> None:
        """Closes those without a request for `age_s` seconds."""
        state = getattr(self.server(), "server_state", None)
        idle = [c for c in getattr(state, "connections", ()) if getattr(c, "cycle", True) is None]
        now = time.monotonic()
        self._since = {one: self._since.get(one, now) for one in idle}
        for connection, since in self._since.items():
            if now - since >= self.age_s and connection.transport is not None:
                connection.transport.close()


class Uncollected:
    """Results in gradio's queue that their client does not fetch.

    A client that listens takes a message at once, so one that lies for `age_s` seconds has none.
    """

    def __init__(self, queue: Queue, age_s: float) -> None:
        self.queue, self.age_s = queue, age_s
        self._since: dict[str, float] = {}  # session -> when messages were first seen lying

    async def drop(self) -> None:
        """Forgets the results, and the events, of sessions that nobody listens to any more."""
        waiting = self.queue.pending_messages_per_session
        lying = {session for session, messages in list(waiting.items()) if messages.qsize()}
        now = time.monotonic()
        self._since = {session: self._since.get(session, now) for session in lying}
        for session, since in list(self._since.items()):
            if now - since >= self.age_s:
                await self.queue.clean_events(session_hash=session)
                waiting.pop(session, None)
                self.queue.pending_event_ids_session.pop(session, None)


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
