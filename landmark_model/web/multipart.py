"""gradio's uploads with limits: only files, at most 200, none left behind, few remembered."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

from gradio import route_utils, routes
from gradio.route_utils import GradioMultiPartParser, GradioUploadFile, MultiPartException
from gradio.utils import LRUCache

from landmark_model.web.uploads import MAX_PHOTOS, plain_name

PROGRESS_COUNT = 1000
NO_FORM = 'An upload must be a form of files in the field "files".'
arriving: set[str] = set()  # the names of the files of forms that have not ended


class BoundedParser(GradioMultiPartParser):
    """Takes up to 200 files; fields, which gradio would keep in memory, are refused."""

    def on_headers_finished(self) -> None:
        """gradio's, for a file; raises MultiPartException for anything else."""
        self.max_files = MAX_PHOTOS
        super().on_headers_finished()
        part = self._current_part
        if not isinstance(part.file, GradioUploadFile) or part.field_name != "files":
            raise MultiPartException(NO_FORM)
        name = plain_name(part.file.filename or "")
        part.file.filename = name if name.strip(". ") else "photo"
        arriving.add(Path(part.file.file.name).name)

    async def parse(self):
        """gradio's; deletes what was written of an upload that fails or is cut off."""
        try:
            return await self._whole_form()
        finally:
            self._end()

    async def _whole_form(self):
        try:
            form = await super().parse()
        except MultiPartException as error:
            self._delete()
            known = error.message.startswith(("File size", "Too many files"))
            raise error if known else MultiPartException(NO_FORM) from None
        except BaseException:
            self._delete()
            raise
        whole = [file for _, file in form.multi_items() if isinstance(file, GradioUploadFile)]
        if not whole or self._file_parts_to_finish:
            self._delete()
            raise MultiPartException(NO_FORM)
        return form

    def _end(self) -> None:
        for file in self._files_to_close_on_error:
            with suppress(OSError):
                os.utime(file.name)  # gradio moves it now, and it may be from long ago
            arriving.discard(Path(file.name).name)

    def _delete(self) -> None:
        for file in self._files_to_close_on_error:
            with suppress(OSError):
                file.close()
                Path(file.name).unlink()


class _Signals(LRUCache):
    """What waits for the progress of uploads, by their numbers."""

    def __missing__(self, number: str) -> asyncio.Event:
        self[number] = event = asyncio.Event()
        return event


def bound_uploads() -> None:
    """Has gradio read uploads by `BoundedParser`, and remember the progress of the last ones only;
    it would keep that of all."""
    route_utils.GradioMultiPartParser = BoundedParser
    progress = routes.file_upload_statuses
    progress._statuses, progress._signals = LRUCache(PROGRESS_COUNT), _Signals(PROGRESS_COUNT)
