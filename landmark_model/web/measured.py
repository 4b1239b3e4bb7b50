"""The valid parts of a metrics.json, which anybody may have written."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

MOST_TEXT = 5000
SPACES = " \n\t\u00a0\u3000\u200c\u200d"
Check = Callable[[object], bool]


class Measured(NamedTuple):
    """The parts of a metrics.json that can be shown.

    `fault` is the key of the sentence to say if some, or all, could not be read.
    """

    test: dict
    unknown: dict
    data: dict
    fault: str = ""


NOTHING = Measured({}, {}, {})
UNREADABLE = Measured({}, {}, {}, "unreadable")


def read_measured(metrics: dict) -> Measured:
    """What can be shown of `metrics`, as `read_metrics` gives them."""
    faults: list[str] = []
    test = _kept(_part(metrics, "test", faults), TEST, faults)
    unknown = _part(_part(metrics, "unknown", faults), "test", faults)
    data = _part(_part(metrics, "training", faults), "data", faults)
    if len(test.get("confusion", ())) not in (0, len(test.get("classes", ()))):
        faults.append("confusion")
        del test["confusion"]
    kept = _kept(unknown, UNKNOWN, faults), _kept(data, DATA, faults)
    return Measured(test, *kept, "partly" if faults else "")


def _part(whole: dict, key: str, faults: list[str]) -> dict:
    """The object at `key`; {} if there is none, which is a fault if there is something else."""
    part = whole.get(key, {})
    if isinstance(part, dict):
        return part
    faults.append(key)
    return {}


def _kept(part: dict, checks: dict[str, Check], faults: list[str]) -> dict:
    """The fields of `part` that are wanted and pass their checks."""
    found = {key: part[key] for key in checks if key in part}
    kept = {key: value for key, value in found.items() if checks[key](value)}
    faults += found.keys() - kept.keys()
    return kept


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return _is_number(value) and isinstance(value, int) and 0 <= value <= 10**12


def _is_share(value: object) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _is_text(value: object) -> bool:
    is_short = isinstance(value, str) and len(value) <= MOST_TEXT
    return is_short and all(letter.isprintable() or letter in SPACES for letter in value)


def _all_of(**checks: Check) -> Check:
    """A check for an object that has each of these keys, its value passing its own check."""
    return lambda value: (
        isinstance(value, dict)
        and all(key in value and passes(value[key]) for key, passes in checks.items())
    )


def _each(passes: Check) -> Check:
    return lambda values: isinstance(values, list) and all(map(passes, values))


def _is_square(rows: object) -> bool:
    return _each(_each(_is_count))(rows) and all(len(row) == len(rows) for row in rows)


TEST: dict[str, Check] = {
    "top1": _is_share,
    "top5": _is_share,
    "photo_count": _is_count,
    "calibration_error": _is_share,
    "classes": _each(
        _all_of(class_name=_is_text, precision=_is_share, recall=_is_share, support=_is_count)
    ),
    "confusion": _is_square,
    "reliability": _each(_all_of(count=_is_count, confidence=_is_share, accuracy=_is_share)),
}
UNKNOWN: dict[str, Check] = {
    "unknown_count": _is_count,
    "known_count": _is_count,
    "refused": _is_share,
    "kept": _is_share,
}
DATA: dict[str, Check] = {
    "about": _is_text,
    "classes": _is_count,
    "photos": _all_of(train=_is_count, test=_is_count),
    "fewest": _is_count,
    "most": _is_count,
    "leaks": _is_count,
}
