"""The one error for users' mistakes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from landmark_model.places import reason_in


class LandmarkError(ValueError):
    """A user's mistake: the message names the thing, the rule and the way out.

    Where `reason` is not "", it is a word for what is wrong, and `details` are the names and
    numbers in the message.
    """

    reason: str = ""
    details: Mapping[str, object] = MappingProxyType({})

    @classmethod
    def because(cls, reason: str, text: str, **details: object) -> LandmarkError:
        """An error with the message `text`, filled in with `details`."""
        error = cls(text.format(**details))
        error.reason, error.details = reason, details
        return error

    def in_language(self, language: str | None) -> str:
        """The message in a language ("de"); as it is, where it has none in that."""
        text = reason_in(language, self.reason)
        return text.format(**self.details) if text else str(self)
