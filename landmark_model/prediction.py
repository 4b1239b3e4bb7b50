"""The answer for a photo: guesses with their places, and whether it shows a landmark at all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from landmark_model.places import Place, main_language

NOWHERE = Place("")


@dataclass(frozen=True)
class Prediction:
    """One guess: the landmark, how probable it is (0..1), and where it is.

    `label` is its name as people read it, `class_name` as the network calls it. `landmark` is its
    entry in the gazetteer, whose fields can be read here, too; they are None, and tags empty, where
    the gazetteer does not know it.
    """

    label: str
    class_name: str
    probability: float
    landmark: Place = NOWHERE

    @property
    def place(self) -> str | None:
        """The city that it is in, or the nearest town; None where none is near."""
        return self.landmark.place

    @property
    def region(self) -> str | None:
        """The state or region that it is in: "South Dakota", "Bavaria"."""
        return self.landmark.region

    @property
    def country(self) -> str | None:
        """The country that it is in."""
        return self.landmark.country

    @property
    def country_code(self) -> str | None:
        """The country's ISO 3166 alpha-2 code."""
        return self.landmark.country_code

    @property
    def latitude(self) -> float | None:
        """Degrees (WGS84), north positive."""
        return self.landmark.latitude

    @property
    def longitude(self) -> float | None:
        """Degrees (WGS84), east positive."""
        return self.landmark.longitude

    @property
    def local_name(self) -> str | None:
        """The name in the language of the place."""
        return self.landmark.local_name

    @property
    def tags(self) -> tuple[str, ...]:
        """Words that describe it."""
        return self.landmark.tags

    @property
    def where(self) -> str:
        """Place and country as one would write them: "Paris, France"; "" if unknown."""
        return self.landmark.where

    @property
    def flag(self) -> str:
        """The country's flag as emoji; "" if unknown."""
        return self.landmark.flag

    def name_in(self, language: str | None) -> str:
        """The name in a language ("de", "zh-CN"); where there is none, the label."""
        return self.landmark.names.get(main_language(language), self.label)

    def where_in(self, language: str | None) -> str:
        """`where` in a language; "" if unknown."""
        return self.landmark.in_language(language).where

    def in_language(self, language: str | None) -> Prediction:
        """The same guess with its label, place, region, country and tags in a language."""
        landmark = self.landmark.in_language(language)
        return replace(self, label=self.name_in(language), landmark=landmark)


class Answer(list[Prediction]):
    """The guesses for one photo, best first, and whether it shows a known landmark at all.

    `score` is the known-landmark score, higher looks more like one of them; `is_known` whether it
    reaches the threshold that 95 of 100 photos of known landmarks reach. It is None where the
    network came without a threshold.
    """

    def __init__(self, guesses: Iterable[Prediction], score: float, is_known: bool | None) -> None:
        super().__init__(guesses)
        self.score, self.is_known = score, is_known

    def in_language(self, language: str | None) -> Answer:
        """The same answer with labels, places, countries and tags in a language ("de")."""
        guesses = (guess.in_language(language) for guess in self)
        return Answer(guesses, self.score, self.is_known)
