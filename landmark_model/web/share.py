"""A link to a result that carries no photo: guesses, probabilities and model in the query string.

    ?result=Taj_Mahal:0.9731,Petra:0.0112&known=1&model=resnet18@0.2.0-1a2b3c4d&check=...

The check is a keyed BLAKE2b hash. Without a secret it catches links that were cut or mistyped; with
LANDMARK_LINK_SECRET set, nobody without the secret can make up a result that this app would show.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Collection, Mapping
from hashlib import blake2b
from typing import NamedTuple
from urllib.parse import quote, unquote, urlencode

from landmark_model import LandmarkError

MOST_GUESSES = 10
MOST_TAUGHT = 100  # characters of a name that was taught
MOST_CHARACTERS = 2000
PARTS = ("result", "known", "model", "taught", "check")
REASONS = {
    "link_changed": "The link was changed or cut off on the way. Ask for it again, or drop the "
    "photo here.",
    "link_stranger": 'The link names "{name}", which is not among the {count} landmarks here. '
    "It may come from another model; drop the photo here instead.",
    "link_nonsense": "The link does not hold a possible answer of this app. Ask for it again, or "
    "drop the photo here.",
}
KNOWN = {"1": True, "0": False, "": None}
_MODEL = re.compile(r"[\w.@/+-]{1,120}", re.ASCII)
_NUMBER = re.compile(r"[01]\.\d{4}", re.ASCII)  # no digits of other scripts


class SharedResult(NamedTuple):
    """The content of a link: (class name, probability) best first, is it known, which model, and
    those of the names that were taught in the visit that made it, which no network here knows."""

    guesses: tuple[tuple[str, float], ...]
    is_known: bool | None
    model: str
    taught: tuple[str, ...] = ()


def make_link(shared: SharedResult, secret: str = "") -> str:
    """The query string, "?result=...", of a link to a result."""
    known = {value: sign for sign, value in KNOWN.items()}[shared.is_known]
    result = ",".join(f"{quote(name, safe='')}:{share:.4f}" for name, share in shared.guesses)
    fields = {"result": result, "known": known, "model": shared.model}
    if shared.taught:
        fields["taught"] = ",".join(quote(name, safe="") for name in shared.taught)
    return "?" + urlencode(fields | {"check": _check(fields, secret)}, safe=":,@")


def is_link(query: Mapping[str, str]) -> bool:
    """Whether a query string is meant to be such a link."""
    return "result" in query


def read_link(
    query: Mapping[str, str], class_names: Collection[str], secret: str = ""
) -> SharedResult:
    """The result in the query string of a link.

    Raises LandmarkError if it was changed, cut off, or says what no answer of the app could:
    landmarks other than `class_names` and those it says were taught, the same one twice,
    probabilities out of order or above 1.
    """
    fields = {part: str(query.get(part, "")) for part in PARTS}
    check = fields.pop("check")
    if not fields["taught"]:
        del fields["taught"]
    whole = sum(map(len, fields.values())) <= MOST_CHARACTERS
    if not whole or not hmac.compare_digest(check.encode(), _check(fields, secret).encode()):
        raise _refusal("link_changed")
    guesses = tuple(_read_guess(text) for text in fields["result"].split(","))
    names, shares = zip(*guesses, strict=True)
    taught = tuple(map(unquote, filter(None, fields.get("taught", "").split(","))))
    strangers = [name for name in names if name not in class_names and name not in taught]
    if strangers:
        raise _refusal("link_stranger", name=strangers[0][:60], count=len(class_names))
    if not (
        len(set(names)) == len(names) <= MOST_GUESSES
        and [1.0, *shares] == sorted([1.0, *shares], reverse=True)
        and sum(shares) <= 1 + 5e-4  # each of ten was rounded by half of the last digit at most
        and all(name in names and _is_shown(name) for name in taught)
        and fields["known"] in KNOWN
        and _MODEL.fullmatch(fields["model"])
    ):
        raise _refusal("link_nonsense")
    return SharedResult(guesses, KNOWN[fields["known"]], fields["model"], taught)


def _is_shown(name: str) -> bool:
    """Whether a name that was taught can be one: a short line of text."""
    return len(name) <= MOST_TAUGHT and name.isprintable() and bool(name.strip())


def _check(fields: Mapping[str, str], secret: str) -> str:
    payload = urlencode(sorted(fields.items()))
    key = blake2b(secret.encode(), digest_size=32).digest()
    return blake2b(payload.encode(), key=key, digest_size=9).hexdigest()


def _read_guess(text: str) -> tuple[str, float]:
    name, _, number = text.rpartition(":")
    if not name or not _NUMBER.fullmatch(number):
        raise _refusal("link_nonsense")
    return unquote(name), float(number)


def _refusal(reason: str, **details: object) -> LandmarkError:
    return LandmarkError.because(reason, REASONS[reason], **details)
