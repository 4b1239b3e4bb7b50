"""A run over a photo library on a Ray cluster: the same rows, in the same index.

Paths go out in chunks. Workers read, decode and answer the photos of a chunk, as a run on one
machine does, and finished rows come back. A worker that dies takes nothing along: its chunk goes to
another one. Only the process that started the run writes to the index.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from landmark_model import LandmarkError
from landmark_model.library.index import AGAIN, Index, Row, open_index
from landmark_model.library.run import (
    Keeper,
    ahead,
    finished,
    in_order,
    looked_at,
    read,
)
from landmark_model.library.tagging import Source

if TYPE_CHECKING:
    from ray.actor import ActorHandle

    from landmark_model import LandmarkClassifier

OpenNetwork = Callable[[], tuple["LandmarkClassifier", str]]
OUTPUT = ("row", "is_answered", "thumbnail")
GROUP_SIZE = 8  # photos that the ledger is asked about at a time
CHUNK_SIZE = 64  # photos that are answered anew if a worker dies
ROUND_SIZE = 100_000  # photos whose paths Ray has at a time
REACHED_SECONDS = 10
MOST_CHUNK_BYTES = 2**20  # of finished rows: what Ray sets memory aside for
# Ray reports to nobody; its workers have the priority of this process.
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal",
         "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1", "RAY_worker_niceness": "0"}  # fmt: skip
# On this machine alone, Ray listens to programs of this machine only; the name is Ray's.
ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token"}


@contextmanager
def connected(worker_count: int | None = None) -> Iterator[int]:
    """A connection to the cluster of RAY_ADDRESS, which `ray job submit` sets; without, to workers
    that Ray starts on this machine, and that end with it. Gives the number of workers: one for each
    CPU that Ray has, or `worker_count`.

    Raises LandmarkError if the cluster cannot be reached, ModuleNotFoundError without ray.
    """
    address = os.environ.get("RAY_ADDRESS")
    is_alone = not address
    if address:
        _require_reachable(address)
    os.environ |= QUIET
    if is_alone:
        os.environ |= ALONE | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
    import ray  # reads what was just set
    import ray.data

    how = {"logging_level": logging.ERROR, "log_to_driver": False}
    with ExitStack() as stack:
        if is_alone:
            scratch = tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True)
            # Ray opens its own folder to everybody: it is in one that is not.
            folder = os.path.join(stack.enter_context(scratch), "ray")
            how |= {"address": "local", "include_dashboard": False, "num_cpus": worker_count,
                    "_temp_dir": folder}  # fmt: skip
        try:
            ray.init(**how)
        except Exception as error:  # of many kinds
            raise LandmarkError(f"Ray cannot be reached or started: {_problem(error)}.") from error
        stack.callback(ray.shutdown)
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.target_max_block_size = MOST_CHUNK_BYTES
        yield worker_count or max(1, int(ray.cluster_resources().get("CPU", 1)))


def _require_reachable(address: str) -> None:
    """Raises LandmarkError if RAY_ADDRESS names no cluster that answers; Ray tries for minutes."""
    if "://" in address:  # of a client elsewhere; the index is written where the run is
        raise LandmarkError(
            f"RAY_ADDRESS is {address}, but a run has to be on a machine of the cluster. Start it "
            'there, or with "ray job submit".'
        )
    host, _, port = address.rpartition(":")
    try:
        if host:  # else a word of Ray's, such as "auto"
            socket.create_connection((host.strip("[]"), int(port)), REACHED_SECONDS).close()
    except (OSError, ValueError) as error:
        raise LandmarkError(
            f"No Ray cluster answers at RAY_ADDRESS {address} ({error}). Check the address; "
            "without one, workers start on this machine."
        ) from error


def _problem(error: Exception) -> str:
    """What went wrong: the last line, which is that of its cause."""
    *_, problem = str(error).strip().splitlines() or [type(error).__name__]
    return problem.rpartition("LandmarkError: ")[-1].rstrip(".")


class Ledger:
    """Says which photos need no answer: the index in `folder` has one for them, or another worker
    is at a copy. For `wanted` see `Keeper`."""

    def __init__(self, folder: Path, wanted: str | None) -> None:
        self._stack = ExitStack()
        index = self._stack.enter_context(open_index(folder, is_new=False, writes=False))
        self._keeper = Keeper(index, wanted)
        self._owners: dict[str, str] = {}  # by hash, the photo that is being answered

    def claim(self, photos: Iterable[tuple[str, str | None]]) -> list[bool]:
        """Whether each of the photos (path, hash) is to be answered by the worker that asks; the
        one that gets its chunk once it has died is told the same."""
        return [sha256 is None or self._is_first(path, sha256) for path, sha256 in photos]

    def forget(self, hashes: Iterable[str | None]) -> None:
        """Forgets photos that are in the index now."""
        for sha256 in hashes:
            self._owners.pop(sha256, None)

    def _is_first(self, path: str, sha256: str) -> bool:
        is_known = self._keeper.is_known(path, sha256)
        return not is_known and self._owners.setdefault(sha256, path) == path


class Worker:
    """Answers chunks of photos in a process of its own. It loads the network once: `open_network`
    gives it, with its stamp, which must be that of the run.

    Without a `ledger`, every photo is answered.
    """

    def __init__(self, open_network: OpenNetwork, stamp: str, ledger: ActorHandle | None) -> None:
        self._tagger, found = open_network()
        if found != stamp:
            raise LandmarkError(f"A worker has another network: {found}, not {stamp}.")
        self._stamp, self._ledger = stamp, ledger

    def __call__(self, batch: dict[str, Sequence[str]]) -> dict[str, list]:
        """The rows of chunks, with small copies of their photos. Photos that need no answer come
        back with the facts of their files only."""
        lines = [line for text in batch["chunk"] for line in self._answer(json.loads(text))]
        rows, is_answered, thumbnails = zip(*lines, strict=True)
        texts = [json.dumps(asdict(row)) for row in rows]  # also of names that are not UTF-8
        return {"row": texts, "is_answered": [*is_answered], "thumbnail": [*thumbnails]}

    def _answer(self, paths: Sequence[str]) -> Iterator[tuple[Row, bool, bytes]]:
        """The row of each photo, whether it was answered, and its small copy."""
        waiting: dict[str, Row] = {}
        others: list[Row] = []

        def unknown() -> Iterator[tuple[str, Source]]:
            for seen, photo, is_wanted in self._claimed(paths):
                if is_wanted:
                    waiting[seen.path] = seen
                    yield seen.path, photo
                else:
                    others.append(seen)

        for batch in looked_at(self._tagger, unknown()):
            seen = [waiting.pop(tagged.file) for tagged, _ in batch]
            rows, thumbnails = finished(seen, batch, self._stamp)
            yield from ((row, True, thumbnails.get(row.sha256, b"")) for row in rows)
        yield from ((row, False, b"") for row in others)

    def _claimed(self, paths: Iterable[str]) -> Iterator[tuple[Row, Source, bool]]:
        """The photos that were read, and whether each is to be answered here."""
        found = ahead(read, paths)
        while group := [*islice(found, GROUP_SIZE)]:
            claims = [True] * len(group)
            if self._ledger:
                import ray

                photos = [(seen.path, seen.sha256) for seen, _ in group]
                claims = ray.get(self._ledger.claim.remote(photos))
            for (seen, photo), is_wanted in zip(group, claims, strict=True):
                yield seen, photo, is_wanted


class ClusterRun:
    """Answers the photos of a plan as `LibraryRun` does, by the workers of a cluster that is
    `connected`. `folder` is where the index is, and `open_network` what workers load."""

    def __init__(
        self, index: Index, folder: Path, open_network: OpenNetwork, stamp: str, is_again: bool
    ) -> None:
        self._wanted = stamp if is_again else None
        self._keeper = Keeper(index, self._wanted)
        self._folder, self._open_network, self._stamp = folder, open_network, stamp

    def answer(self, paths: Sequence[str], worker_count: int) -> Iterator[list[Row]]:
        """Puts the photos into the index, chunk by chunk, and yields each once it is there."""
        ledger = self._open_ledger()
        for part in in_order(paths):
            for start in range(0, len(part), ROUND_SIZE):
                some = part[start : start + ROUND_SIZE]
                left = yield from self._answer(some, worker_count, ledger)
                # Those that waited for a twin that got no answer.
                yield from self._answer(left, worker_count, None)

    def _open_ledger(self) -> ActorHandle:
        """A ledger on this machine, where the index is."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        how = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
        ledger = ray.remote(scheduling_strategy=here, **how)(Ledger)
        return ledger.remote(self._folder.resolve(), self._wanted)

    def _answer(
        self, paths: Sequence[str], worker_count: int, ledger: ActorHandle | None
    ) -> Generator[list[Row], None, list[str]]:
        """Gives the photos that got no answer, after the rows of the others."""
        left: list[Row] = []
        for chunk in self._rows(paths, worker_count, ledger):
            rows, thumbnails = [], {}
            for text, is_answered, image in zip(*map(chunk.get, OUTPUT), strict=True):
                row = Row(**json.loads(text))
                if is_answered:
                    rows.append(row)
                    thumbnails |= {row.sha256: bytes(image)} if image else {}
                elif not self._keeper.settle(row):
                    left.append(row)
            yield self._keeper.keep(rows, thumbnails)
            if ledger:
                ledger.forget.remote([row.sha256 for row in rows])
        left = [seen.path for seen in left if not self._keeper.settle(seen)]
        if self._keeper.has_copies:
            yield self._keeper.keep([], {})
        return left

    def _rows(
        self, paths: Sequence[str], worker_count: int, ledger: ActorHandle | None
    ) -> Iterator[dict[str, Sequence]]:
        """What the workers give, as it comes. Raises LandmarkError if they cannot go on."""
        if not paths:
            return
        import ray.data

        starts = range(0, len(paths), CHUNK_SIZE)
        chunks = [{"chunk": json.dumps(paths[start : start + CHUNK_SIZE])} for start in starts]
        workers = ray.data.ActorPoolStrategy(size=min(worker_count, len(chunks)))
        given = (self._open_network, self._stamp, ledger)
        try:
            yield from (
                ray.data.from_items(chunks, override_num_blocks=len(chunks))
                .map_batches(Worker, batch_size=1, compute=workers, fn_constructor_args=given)
                .iter_batches(batch_size=None)
            )
        except ray.exceptions.RayError as error:
            raise LandmarkError(f"Ray stopped: {_problem(error)}. {AGAIN}") from error
