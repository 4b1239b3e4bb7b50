"""Deletes what gradio's own clean-up forgets: what its links to a photo remember of the page."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path


def delete_old(folder: Path, age_s: float) -> None:
    """Deletes the folders in `folder` that are older than that; fine where there are none."""
    if not folder.is_dir():
        return
    for entry in folder.iterdir():
        if time.time() - entry.stat().st_mtime > age_s:
            shutil.rmtree(entry, ignore_errors=True)


def keep_clean(
    folder: Path, every_s: float, age_s: float
) -> Callable[[object], AbstractAsyncContextManager[None]]:
    """A lifespan for the server: `delete_old` now and then, as long as it runs."""

    async def go_on() -> None:
        while True:
            await asyncio.to_thread(delete_old, folder, age_s)
            await asyncio.sleep(every_s)

    @asynccontextmanager
    async def lifespan(app: object) -> AsyncIterator[None]:
        task = asyncio.create_task(go_on())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    return lifespan
