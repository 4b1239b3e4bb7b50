"""A run over a photo library: what is new or changed is answered, batch by batch, into the index.

A batch is in the index whole or not at all, and a run that goes on forms the same batches that it
would have formed unbroken, so it gets the same answers to the last digit.
"""

from __future__ import annotations

import glob
import hashlib
import io
import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from PIL import Image

from landmark_model import LandmarkError, is_raw
from landmark_model.cores import usable_cores
from landmark_model.library.addresses import Facts, FoundAddresses, fetch, is_address
from landmark_model.library.index import Index, Row, to_row
from landmark_model.library.tagging import (
    Opened,
    Source,
    Tagged,
    answer_batch,
    in_batches,
    open_one,
    writable,
)

if TYPE_CHECKING:
    from landmark_model import LandmarkClassifier

Thing = TypeVar("Thing")
Done = TypeVar("Done")
GUESS_COUNT = 5
AHEAD = 8  # photos that are read and decoded while the network looks at those before
MOST_COPIES = 256  # in a transaction
THUMBNAIL_PX = 240  # of the longer side
# What the photo beside a RAW file is called, after their common stem.
PAIRED = (".jpg", ".JPG", ".jpeg", ".JPEG", ".heic", ".HEIC", ".heif", ".HEIF")


def named_paths(words: Iterable[str], standard_input: BinaryIO) -> list[Path | str]:
    """The files and folders that `words` name: paths, patterns ("*.jpg"), lists ("@list.txt"), and
    "-", which is a list on `standard_input`. Addresses ("s3://bucket/2024") are texts.

    A list has a path on each line; one with NUL characters has them between the paths, as `find
    -print0` writes it. Raises LandmarkError for what is not there, except in lists.
    """
    found: list[str] = []
    for word in words:
        if word == "-":
            found += _listed(standard_input.read())
        elif word.startswith("@") and not os.path.lexists(word):
            found += _listed(_read_list(Path(word[1:])))
        elif os.path.lexists(word) or is_address(word):
            found.append(word)
        else:
            found += _matching(word)
    return [*map(_real, found)]


def _real(name: str) -> Path | str:
    """A path that is the same whichever link leads to the folder, or to the folder of the file; an
    address as it is."""
    if os.path.isdir(name):
        return Path(os.path.realpath(name))
    if is_address(name) and not os.path.lexists(name):
        return name
    return Path(os.path.realpath(os.path.dirname(name)), os.path.basename(name))


def common_folder(named: Sequence[Path]) -> Path:
    """The folder that all those folders, and those of the files, are in; the root, if none is."""
    folders = [path if path.is_dir() else path.parent for path in named]
    try:
        return Path(os.path.commonpath(folders))
    except ValueError:  # on several drives, or none
        return Path(folders[0].anchor if folders else ".")


def _read_list(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise LandmarkError(
            f"The list {path} cannot be read ({error.strerror}). Check the path."
        ) from error


def _listed(content: bytes) -> list[str]:
    if b"\0" in content:
        names = content.split(b"\0")
    else:
        names = content.removeprefix(b"\xef\xbb\xbf").splitlines()
    return [os.fsdecode(name) for name in names if name]


def _matching(word: str) -> list[str]:
    found = _matches(word) if glob.has_magic(word) else set()
    if not found:
        raise LandmarkError(f"There is no file or folder {word}. Check the path.")
    return sorted(found)


def _matches(pattern: str) -> set[str]:
    """What a pattern matches. "**" goes into no links, as those of `glob` do: two that lead back
    would never end."""
    parts = pattern.replace(os.sep, "/").split("/")
    if "**" not in parts:
        return {*glob.glob(pattern)}
    place = parts.index("**")
    before, after = "/".join([*parts[:place], ""]), parts[place + 1 :]
    tops = glob.glob(before) if before else [os.curdir]
    found = {*tops} if before and not after else set()
    for top in tops:
        for folder, names, _ in os.walk(top):
            names[:] = (name for name in names if not name.startswith("."))
            found |= _matches(os.path.join(glob.escape(folder), *(after or ["*"])))
    return found


@dataclass
class Plan:
    """What a run has to do: photos to look at, those that are gone, and how many are done."""

    waiting: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    done_count: int = 0


def make_plan(
    index: Index,
    photos: Iterable[Path],
    named: Iterable[Path],
    stamp: str | None,
    remote: FoundAddresses | None = None,
) -> Plan:
    """Compares the index with the `photos` that were found in `named`, and those at addresses.

    Photos of the index that are no longer there are marked so, and those that came back, too. With
    `stamp`, photos that another network answered are looked at again, and so are RAW files whose
    answer is not that of the photo beside. Of `photos` that are not there, those without an answer
    are waiting: they become rows with the reason.
    """
    plan, back, found, remote = Plan(), [], set(), remote or FoundAddresses()
    done: list[str] = []
    for path in (*map(str, photos), *sorted(remote.photos)):
        row = index.get(path)
        facts = _facts(path, remote) if row else None
        if row and row.guesses is not None and facts is None:
            continue  # it is gone, and keeps its answer
        found.add(path)
        if row and row.is_gone:
            back.append(path)
        if row and row.is_final and stamp in (None, row.stamp) and _is_same(row, facts):
            done.append(path)
        else:
            plan.waiting.append(path)
    plan.gone = _gone(index, found, named, remote)
    index.mark_gone(plan.gone)
    index.mark_gone(back, is_gone=False)
    waiting = {*plan.waiting}
    outdated = [one for one in filter(is_raw, done) if _is_outdated(index, one, stamp, waiting)]
    plan.waiting += outdated
    plan.done_count = len(done) - len(outdated)
    return plan


def _gone(
    index: Index, found: set[str], named: Iterable[Path], remote: FoundAddresses
) -> list[str]:
    """The photos of the index in what is `named` that are no longer there."""
    tops = {str(path) for path in named}
    folders = tuple(os.path.join(top, "") for top in tops if os.path.isdir(top))
    listed = tuple(remote.folders)  # a listing says for certain what is no longer there
    return [
        path
        for path in index.paths()
        if path not in found
        and (path in tops or path.startswith(folders) or path.startswith(listed))
        and (path.startswith(listed) or not _is_there(path))
    ]


def _is_outdated(index: Index, path: str, wanted: str | None, waiting: set[str]) -> bool:
    """Whether a RAW file has another answer than the photo beside, or that one is waiting."""
    if not waiting.isdisjoint(_beside(path)):
        return True
    photo, row = _photo_beside(index, path, wanted), index.get(path)
    return photo is not None and _shared(photo, row) != row


def _is_there(path: str) -> bool:
    """Whether there is such a file; True if that cannot be determined."""
    return _facts(path, FoundAddresses()) is not None


def _facts(path: str, remote: FoundAddresses) -> Facts | None:
    """What is known of a file; None if it is not there."""
    if is_address(path):
        return remote.photos.get(path, Facts())
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return Facts()
    return Facts(found.st_size, found.st_mtime_ns)


def _is_same(row: Row, facts: Facts | None) -> bool:
    """Whether the file is as it was by its size and time."""
    return facts is not None and None not in facts and facts == (row.size, row.mtime_ns)


class Keeper:
    """Puts answers into the index, and with them photos that need none of their own: copies, and
    RAW files beside a photo.

    With `wanted`, the stamp of a network, answers of other networks are not taken over.
    """

    def __init__(self, index: Index, wanted: str | None) -> None:
        self._index, self._wanted = index, wanted
        self._twins: dict[str, list[Row]] = {}  # by hash, copies of what is being answered
        self._copies: list[Row] = []
        self._moved: dict[str, str] = {}
        self._thumbnails: dict[str, bytes] = {}  # by hash, of RAW files that share an answer

    @property
    def has_copies(self) -> bool:
        """Whether some are not in the index yet."""
        return bool(self._copies)

    def settle(self, seen: Row) -> bool:
        """Whether a photo needs no answer of its own; then it is in the index with the next ones,
        or with that of its twin."""
        copies = seen.sha256 and self._index.find_copies(seen.sha256, self._wanted, MOST_COPIES)
        if seen.sha256 and (photo := _photo_beside(self._index, seen.path, self._wanted)):
            self._note_thumbnail(photo, seen)
            self._note(_shared(photo, seen), copies)
        elif copies:
            self._note(_copy_of(copies[0], seen), copies)
        elif seen.sha256 in self._twins:
            self._twins[seen.sha256].append(seen)
        else:
            return False
        return True

    def is_known(self, path: str, sha256: str) -> bool:
        """Whether the index has what a photo needs no answer for: a copy, or the photo beside."""
        return bool(
            self._index.find_copies(sha256, self._wanted, 1)
            or _photo_beside(self._index, path, self._wanted)
        )

    def expect(self, sha256: str | None) -> None:
        """Records that the photo with these bytes is being answered."""
        if sha256:
            self._twins[sha256] = []

    def keep(self, answered: Iterable[Row], thumbnails: Mapping[str, bytes]) -> list[Row]:
        """Puts a batch into the index, with copies that came up meanwhile."""
        rows = self._copies
        for row in answered:
            rows += [row, *(_copy_of(row, twin) for twin in self._twins.pop(row.sha256, ()))]
        self._index.put(rows, self._thumbnails | thumbnails, self._moved.items())
        self._copies, self._moved, self._thumbnails = [], {}, {}
        return rows

    def _note(self, row: Row, copies: Sequence[Row]) -> None:
        """Notes a row that needed no answer. If one of its `copies` is gone, that one has moved,
        unless the photo was there before."""
        self._copies.append(row)
        others = [copy for copy in copies if copy.path not in self._moved]
        gone = (copy.path for copy in others if copy.is_gone or not _is_there(copy.path))
        is_new = all(copy.path != row.path for copy in copies)
        if is_new and (before := next(gone, None)):
            self._moved[before] = row.path
        if len(self._copies) >= MOST_COPIES:
            self.keep([], {})

    def _note_thumbnail(self, photo: Row, seen: Row) -> None:
        """Gives a RAW file the small copy of the photo beside it."""
        if image := self._index.thumbnail(photo.sha256):
            self._thumbnails[seen.sha256] = image


class LibraryRun:
    """Answers the photos of a plan; `stamp` names the network.

    With `is_again`, answers of other networks are not taken over for copies of their photos.
    """

    def __init__(
        self, index: Index, tagger: LandmarkClassifier, stamp: str, is_again: bool
    ) -> None:
        self._keeper = Keeper(index, stamp if is_again else None)
        self._tagger, self._stamp = tagger, stamp
        self._waiting: dict[str, Row] = {}  # by path, what is being answered

    def answer(self, paths: Sequence[str]) -> Iterator[list[Row]]:
        """Puts the photos into the index, batch by batch, and yields each once it is there."""
        for part in in_order(paths):
            for batch in looked_at(self._tagger, self._unknown(part)):
                seen = [self._waiting.pop(tagged.file) for tagged, _ in batch]
                yield self._keeper.keep(*finished(seen, batch, self._stamp))
            if self._keeper.has_copies:
                yield self._keeper.keep([], {})

    def _unknown(self, paths: Iterable[str]) -> Iterator[tuple[str, Source]]:
        """The photos whose bytes the index does not know; the others are noted as copies."""
        for seen, photo in ahead(read, paths):
            if not self._keeper.settle(seen):
                self._keeper.expect(seen.sha256)
                self._waiting[seen.path] = seen
                yield seen.path, photo


def in_order(paths: Iterable[str]) -> list[list[str]]:
    """Photos, then RAW files: those beside a photo wait for its answer."""
    parts = [], []
    for path in paths:
        parts[is_raw(path)].append(path)
    return [*filter(None, parts)]


def looked_at(
    tagger: LandmarkClassifier, photos: Iterable[tuple[str, Source]]
) -> Iterator[list[tuple[Tagged, bytes | None]]]:
    """The photos with their answers and small copies, by those that shared a forward pass. They are
    opened and made small while the network looks at those before: at a batch for each core."""
    small: dict[str, bytes] = {}

    def opened(photo: tuple[str, Source]) -> Opened:
        tagged, image = open_one(*photo, tagger.fewest_pixels, takes_raw=True)
        if image:
            small[tagged.file] = shrink(image)
        return tagged, image

    batches = in_batches(ahead(opened, photos), tagger.batch_size)
    for batch in ahead(partial(answer_batch, tagger, top_k=GUESS_COUNT), batches, usable_cores()):
        yield [(tagged, small.pop(tagged.file, None)) for tagged in batch]


def finished(
    seen: Iterable[Row], batch: Iterable[tuple[Tagged, bytes | None]], stamp: str
) -> tuple[list[Row], dict[str, bytes]]:
    """The rows of a batch, and small copies of its photos by their hash."""
    rows, thumbnails = [], {}
    for about, (tagged, image) in zip(seen, batch, strict=True):
        rows.append(to_row(about, tagged, stamp))
        if image and about.sha256:
            thumbnails[about.sha256] = image
    return rows, thumbnails


def ahead(
    do: Callable[[Thing], Done], things: Iterable[Thing], count: int | None = None
) -> Iterator[Done]:
    """What `do` gives for each of `things`, in order, by `count` threads (AHEAD), which are as many
    things before."""
    count = count or AHEAD
    pool, doing = ThreadPoolExecutor(count), deque[Future[Done]]()
    try:
        for thing in things:
            doing.append(pool.submit(do, thing))
            if len(doing) > count:
                yield doing.popleft().result()
        while doing:
            yield doing.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def read(path: str) -> tuple[Row, Source]:
    """What a photo's file is, and where its bytes are: those at an address are read."""
    if not is_address(path):
        return look(path), Path(path)
    facts, sha256, photo = fetch(path)
    return Row(path, *facts, sha256), photo


def look(path: str) -> Row:
    """A photo's file: its size, time and hash; without these if it cannot be read."""
    try:
        found = os.stat(path)
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return Row(path, None, None, None)
    return Row(path, found.st_size, found.st_mtime_ns, digest)


def _beside(path: str) -> list[str]:
    """Where the photo would be that the camera wrote with a file, if that is RAW."""
    stem, _ = os.path.splitext(path)
    return [stem + ending for ending in PAIRED] if is_raw(path) else []


def _photo_beside(index: Index, path: str, wanted: str | None) -> Row | None:
    """The photo that the camera wrote with a RAW file, if it has an answer, by the network of the
    stamp that is `wanted`, if any."""
    for photo in _beside(path):
        row = index.get(photo)
        is_answered = row and row.guesses is not None and not row.is_gone
        if is_answered and wanted in (None, row.stamp):
            return row
    return None


def _shared(photo: Row, seen: Row) -> Row:
    """The row of a RAW file with the answer of the photo beside it."""
    return replace(_copy_of(photo, seen), sha256=seen.sha256)


def _copy_of(row: Row, seen: Row) -> Row:
    """The row of a byte-identical file."""
    about = {"path": seen.path, "size": seen.size, "mtime_ns": seen.mtime_ns, "is_gone": False}
    if row.cause is None:
        return replace(row, **about)
    reason, details = json.loads(row.cause)
    before, after = (os.path.basename(path) for path in (row.path, seen.path))
    details |= {"name": after} if "name" in details else {}
    error = row.error.replace(writable(before), writable(after))
    return replace(row, **about, error=error, cause=json.dumps([reason, details]))


def shrink(image: Image.Image) -> bytes:
    """A small copy of a photo, as a WebP file."""
    factor, file = min(1, THUMBNAIL_PX / max(image.size)), io.BytesIO()
    size = [max(1, round(side * factor)) for side in image.size]
    small = image.resize(size, reducing_gap=1.0)  # averages first, which is 3 times as fast
    small.save(file, "WEBP", quality=60, method=2)  # much faster than the default, little larger
    return file.getvalue()


def stamp_of(architecture: str, files: Iterable[Path]) -> str:
    """Identifies a network in an index: its architecture, and a hash of its `files`, as far as
    they are there; that of what it was taught is one of them."""
    digest = hashlib.sha256()
    for path in files:
        if path.is_file():
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        digest.update(b"\n")
    return f"{architecture} {digest.hexdigest()[:12]}"
