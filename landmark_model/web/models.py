"""The networks on offer: loaded once at the start, named as visitors read them."""

from __future__ import annotations

import copy
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from hashlib import blake2b
from itertools import zip_longest
from pathlib import Path

import landmark_model
from landmark_model import (
    LandmarkClassifier,
    LandmarkError,
    Prediction,
    list_networks,
    load,
    read_metrics,
)
from landmark_model.web.measured import NOTHING, UNREADABLE, Measured, read_measured


class Turns:
    """Lets in as many threads at once as `count` says, in the order in which they came.

    A semaphore promises no order, so that a thread which asks again and again may win each time.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: deque[threading.Event] = deque()
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            called = threading.Event()
            self._waiting.append(called)
        called.wait()

    def __exit__(self, *error: object) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()  # its place is handed on
            else:
                self._free += 1


class InTurn:
    """A classifier whose network answers at most as many requests at once as `turns` allows.

    Photos are decoded outside of that, so that one which takes long keeps nobody waiting.
    """

    def __init__(self, tagger: LandmarkClassifier, turns: Turns) -> None:
        self._turns = turns
        self._tagger = tagger
        self.config, self.labels, self.describe = tagger.config, tagger.labels, tagger.describe
        self.taught, self.taught_counts = tagger.taught, tagger.taught_counts
        self.save_taught = tagger.save_taught
        self.fewest_pixels = tagger.fewest_pixels
        self.predict = self._in_turn(tagger.predict)
        self.predict_batch = self._in_turn(tagger.predict_batch)
        self.explain = self._in_turn(tagger.explain)

    def _in_turn(self, ask: Callable) -> Callable:
        @wraps(ask)
        def wait_and_ask(*photos: object, **settings: object) -> object:
            with self._turns:
                return ask(*photos, **settings)

        return wait_and_ask

    def changed(self, change: Callable[[LandmarkClassifier], object]) -> InTurn:
        """A copy whose landmarks `change` teaches or forgets; this one stays as it is."""
        learner = copy.copy(self._tagger)
        with self._turns:
            change(learner)
        return InTurn(learner, self._turns)


@dataclass(frozen=True)
class Models:
    """The classifiers by network ("resnet18"), the default first.

    `measured` is what was measured of each; `version` the revision they are of, "" if unknown.
    """

    taggers: dict[str, LandmarkClassifier | InTurn]
    measured: dict[str, Measured] = field(default_factory=dict)
    version: str = ""

    @property
    def default(self) -> str:
        """The default network."""
        return next(iter(self.taggers))

    @property
    def known_count(self) -> int:
        """How many landmarks the default network knows."""
        return len(self.pick("").labels)

    @property
    def class_names(self) -> frozenset[str]:
        """The class names of all networks."""
        return frozenset().union(*map(names_of, self.taggers.values()))

    def landmarks(self, network: str) -> list[Prediction]:
        """All landmarks that a network knows, each as a guess of probability 1."""
        tagger = self.pick(network)
        return [tagger.describe(name) for name in names_of(tagger)]

    def metrics(self, network: str) -> Measured:
        """What was measured of a network."""
        return self.measured.get(network, NOTHING)

    def titles(self) -> list[tuple[str, str]]:
        """(what visitors read, network) of each."""
        return [(tagger.config.title, network) for network, tagger in self.taggers.items()]

    def pick(self, network: str | None) -> LandmarkClassifier | InTurn:
        """The classifier of a network; the default one for None and "".

        Raises LandmarkError if there is no such network.
        """
        name = network or self.default
        if not isinstance(name, str) or name not in self.taggers:
            raise LandmarkError(f"There is no such network. Use one of {', '.join(self.taggers)}.")
        return self.taggers[name]

    def describe(self, class_name: str, probability: float) -> Prediction:
        """A landmark as a guess of that probability; one that no network knows has a name only."""
        for tagger in self.taggers.values():
            if class_name in names_of(tagger):
                return tagger.describe(class_name, probability)
        return Prediction(class_name, class_name, probability)

    def stamp(self, network: str) -> str:
        """The model that answered: network, revision, and a fingerprint of its config.

        The config holds names, preprocessing, temperature and threshold, so that two trainings
        all but never share it.
        """
        text = self.pick(network).config.to_json()
        fingerprint = blake2b(text.encode(), digest_size=4).hexdigest()
        revision = "-".join(filter(None, (self.version, fingerprint)))
        return f"{network or self.default}@{revision}"


def names_of(tagger: LandmarkClassifier | InTurn) -> tuple[str, ...]:
    """The class names of all landmarks that a network knows."""
    return tagger.config.class_names + tagger.taught


def open_models(
    source: str | None = None,
    revision: str | None = None,
    network: str | None = None,
    concurrency: int = 1,
    taught: Path | None = None,
) -> Models:
    """Loads every network of a folder or hub repo; without `source`, the ones that ship.

    `network` is the one to come first; `concurrency` requests are answered at once. `taught` is a
    file of landmarks that the first network was taught. Raises LandmarkError if something is not
    available.
    """
    names = list_networks(source, revision=revision)
    if network is not None and network not in names:
        raise LandmarkError(f"There is no network {network!r}. Use one of {', '.join(names)}.")
    names.sort(key=lambda name: name != network)
    turns = Turns(concurrency)
    taggers = {
        name: InTurn(load(source, revision=revision, network=name, taught=file), turns)
        for name, file in zip_longest(names, [taught])
    }
    # Read now: a hub is not to be asked again for each visitor.
    measured = {name: _measured(source, revision, name) for name in names}
    shipped = landmark_model.__version__ if source is None else ""
    return Models(taggers, measured, revision or shipped)


def _measured(source: str | None, revision: str | None, network: str) -> Measured:
    """What was measured of a network, which answers as well without."""
    try:
        return read_measured(read_metrics(source, revision, network))
    except LandmarkError:
        return UNREADABLE
