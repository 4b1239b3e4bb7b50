"""The one error for users' mistakes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType


class LandmarkError(ValueError):
    """A user's mistake: the message names the thing, the rule and the way out.

    Where `reason` is not "", it is a word for what is wrong, and `details` are the names and
    numbers in the message: for those who say it in another language.
    """

    reason: str = ""
    details: Mapping[str, object] = MappingProxyType({})

    @classmethod
    def because(cls, reason: str, text: str, **details: object) -> LandmarkError:
        """An error with the message `text`, filled in with `details`."""
        error = cls(text.format(**details))
        error.reason, error.details = reason, details
        return error
