"""The networks on offer: loaded once at the start, named as visitors read them."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from hashlib import blake2b

import landmark_model
from landmark_model import (
    Answer,
    Explanation,
    LandmarkClassifier,
    LandmarkError,
    Prediction,
    list_networks,
    load,
    read_metrics,
)

TITLES = {
    "resnet18": "ResNet18",
    "landmark_cnn": "LandmarkCNN",
    "tf_efficientnet_lite2": "EfficientNet-Lite2",
    "tf_efficientnet_lite0": "EfficientNet-Lite0",
}


class InTurn:
    """A classifier whose network answers at most as many requests at once as `turns` allows.

    Photos are decoded outside of that, so that one which takes long keeps nobody waiting.
    """

    def __init__(self, tagger: LandmarkClassifier, turns: threading.Semaphore) -> None:
        self._tagger, self._turns = tagger, turns

    def __getattr__(self, name: str) -> object:
        return getattr(self._tagger, name)

    def predict(self, *photo: object, **settings: object) -> Answer:
        """`LandmarkClassifier.predict`, when it is its turn."""
        with self._turns:
            return self._tagger.predict(*photo, **settings)

    def predict_batch(self, *photos: object, **settings: object) -> list[Answer]:
        """`LandmarkClassifier.predict_batch`, when it is its turn."""
        with self._turns:
            return self._tagger.predict_batch(*photos, **settings)

    def explain(self, *photo: object, **settings: object) -> Explanation:
        """`LandmarkClassifier.explain`, when it is its turn."""
        with self._turns:
            return self._tagger.explain(*photo, **settings)


@dataclass(frozen=True)
class Models:
    """The classifiers by network ("resnet18"), the default first.

    `measured` is what was measured of each, None where its metrics.json cannot be read; `version`
    is the revision they are of, "" if unknown.
    """

    taggers: dict[str, LandmarkClassifier | InTurn]
    measured: dict[str, dict | None] = field(default_factory=dict)
    version: str = ""

    @property
    def default(self) -> str:
        """The default network."""
        return next(iter(self.taggers))

    @property
    def known(self) -> list[str]:
        """The names of the landmarks that the default network knows, in order."""
        return sorted(self.taggers[self.default].labels)

    def landmarks(self, network: str) -> list[Prediction]:
        """All landmarks that a network knows, each as a guess of probability 1."""
        tagger = self.pick(network)
        return [tagger.describe(name) for name in tagger.config.class_names]

    def metrics(self, network: str) -> dict | None:
        """A network's measurements in metrics.json; {} if there are none, None if it is damaged."""
        return self.measured.get(network, {})

    @property
    def class_names(self) -> frozenset[str]:
        """The class names of all networks."""
        return frozenset(
            name for tagger in self.taggers.values() for name in tagger.config.class_names
        )

    def titles(self) -> list[tuple[str, str]]:
        """(what visitors read, network) of each."""
        return [(TITLES.get(network, network), network) for network in self.taggers]

    def pick(self, network: str | None) -> LandmarkClassifier | InTurn:
        """The classifier of a network; the default one for None and "".

        Raises LandmarkError if there is no such network.
        """
        name = network or self.default
        if not isinstance(name, str) or name not in self.taggers:
            raise LandmarkError(f"There is no such network. Use one of {', '.join(self.taggers)}.")
        return self.taggers[name]

    def describe(self, class_name: str, probability: float = 1.0) -> Prediction:
        """A landmark that one of the networks knows, as a guess of that probability."""
        for tagger in self.taggers.values():
            if class_name in tagger.config.class_names:
                return tagger.describe(class_name, probability)
        raise LandmarkError(f"No network here knows {class_name!r}.")

    def stamp(self, network: str) -> str:
        """The model that answered: network, revision, and a fingerprint of its config.

        The config holds names, preprocessing, temperature and threshold, so that two trainings
        all but never share it.
        """
        text = self.pick(network).config.to_json()
        fingerprint = blake2b(text.encode(), digest_size=4).hexdigest()
        revision = "-".join(filter(None, (self.version, fingerprint)))
        return f"{network}@{revision}"


def open_models(
    source: str | None = None,
    revision: str | None = None,
    network: str | None = None,
    concurrency: int = 1,
) -> Models:
    """Loads every network of a folder or hub repo; without `source`, the ones that ship.

    `network` is the one to come first; `concurrency` requests are answered at once. Raises
    LandmarkError if something is not available.
    """
    names = list_networks(source, revision=revision)
    if network is not None and network not in names:
        raise LandmarkError(f"There is no network {network!r}. Use one of {', '.join(names)}.")
    names.sort(key=lambda name: name != network)
    turns = threading.Semaphore(concurrency)
    taggers = {name: InTurn(load(source, revision=revision, network=name), turns) for name in names}
    # Read now: a hub is not to be asked again for each visitor.
    measured = {name: _measured(source, revision, name) for name in names}
    shipped = landmark_model.__version__ if source is None else ""
    return Models(taggers, measured, revision or shipped)


def _measured(source: str | None, revision: str | None, network: str) -> dict | None:
    """The measurements of a loaded network; None if its metrics.json is damaged.

    It answers as well without, so the page opens all the same and says so.
    """
    try:
        return read_metrics(source, revision, network)
    except LandmarkError:
        return None
