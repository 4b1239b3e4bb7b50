"""What the networks know and how well: table rows, and the figures of metrics.json in words.

Nothing here is measured or known beforehand; what metrics.json does not hold is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from landmark_model import Prediction, wilson
from landmark_model.web.html.tables import Cell
from landmark_model.web.i18n import number, percent, say
from landmark_model.web.measured import UNKNOWN, Measured

MIXUP_COUNT = 6
LOOKALIKE_COUNT = 10
FEW_PHOTOS = 5
GUESS_COUNT = 5
SIDE = 200  # of the reliability diagram, in px
MARGIN = 52
TOP = 14


@dataclass(frozen=True)
class Mixup:
    """Photos of one landmark mistaken for another: `wrong` of `count`."""

    truth: Prediction
    guess: Prediction
    wrong: int
    count: int

    @property
    def kind(self) -> str:
        """What both are ("bridge"), by their tags; "" if they have nothing in common."""
        pair = (self.truth, self.guess)
        where = {name for one in pair for name in (one.place, one.region, one.country)}
        shared = {*self.guess.tags} - where
        return next((tag for tag in self.truth.tags if tag in shared), "")


def landmark_rows(
    landmarks: Iterable[Prediction], measured: Measured, language: str = "en"
) -> list[list[Cell]]:
    """A row for each landmark, by name: name, place, country, test photos, recall and precision.

    Both in per cent, None where nobody measured; precision, too, where no photo got its name.
    """
    classes = measured.test.get("classes", ())
    guesses = map(sum, zip(*measured.test.get("confusion", ()), strict=True))  # by the name given
    guessed = {score["class_name"] for score, count in zip(classes, guesses, strict=False) if count}
    scores = {score["class_name"]: score for score in classes}
    rows = []
    for landmark in landmarks:
        here, score = landmark.in_language(language), scores.get(landmark.class_name, {})
        country = f"{here.country or ''} {landmark.flag}".strip()
        recall = round(100 * score["recall"]) if score.get("support") else None
        precision = round(100 * score["precision"]) if landmark.class_name in guessed else None
        photos = score.get("support")
        rows.append([here.label, here.landmark.area, country, photos, recall, precision])
    return sorted(rows, key=lambda row: row[0].casefold())


def find_mixups(landmarks: Iterable[Prediction], measured: Measured) -> list[Mixup]:
    """Every pair that was confused in the test, the most frequent first."""
    by_name = {landmark.class_name: landmark for landmark in landmarks}
    names = [score["class_name"] for score in measured.test.get("classes", ())]
    found = [
        Mixup(by_name[names[i]], by_name[names[j]], wrong, sum(row))
        for i, row in enumerate(measured.test.get("confusion", ()))
        for j, wrong in enumerate(row)
        if i != j and wrong and names[i] in by_name and names[j] in by_name
    ]
    return sorted(found, key=lambda pair: (-pair.wrong, -pair.wrong / pair.count))


def quality(measured: Measured, landmarks: Iterable[Prediction], language: str = "en") -> str:
    """How good a network is, as HTML to be styled by explore.css; `landmarks` are what it knows."""
    parts = (
        _accuracy(measured.test, language)
        + _mixups(measured, list(landmarks), language)
        + _reliability(measured.test, language)
        + _unknown(measured.unknown, language)
        + _limits(measured, language)
    )
    note = damage_note(measured, language)
    nothing = "" if note else f"<p>{_say('nothing', language)}</p>"
    return f'<div class="quality">{parts or nothing}{note}</div>'


def damage_note(measured: Measured, language: str) -> str:
    """A sentence, as HTML, where a part of metrics.json could not be read; else ""."""
    return f'<p class="note">{_say(measured.fault, language)}</p>' if measured.fault else ""


def _accuracy(test: dict, language: str) -> str:
    if "top1" not in test or not test.get("photo_count"):
        return ""
    low, high = wilson(test["top1"], test["photo_count"])
    share = f"<strong>{percent(test['top1'], language, 1)}</strong>"
    counts = {"count": test["photo_count"], "low": float(low), "high": float(high)}
    line = _say("accuracy", language, share=share, **counts)
    body = (
        f'<p class="figure" aria-hidden="true">{percent(test["top1"], language)}</p><p>{line}</p>'
    )
    # Of five or fewer landmarks, the first five guesses are all there are.
    if "top5" in test and len(test.get("classes", ())) > GUESS_COUNT:
        body += f"<p>{_say('top5', language, share=percent(test['top5'], language, 1))}</p>"
    return _section("accuracy", language, body)


def _mixups(measured: Measured, landmarks: list[Prediction], language: str) -> str:
    confusion = measured.test.get("confusion", ())
    count = sum(map(sum, confusion))
    wrong = count - sum(row[index] for index, row in enumerate(confusion))
    if not wrong:
        line = f"<p>{_say('no_mixups', language, count=count)}</p>"
        return _section("mixups", language, line) if count else ""
    pairs = find_mixups(landmarks, measured)
    alike = _lookalikes(pairs[MIXUP_COUNT:])
    body = f"<p>{_say('mixups', language, wrong=wrong, count=count)}</p>"
    body += _pair_list(pairs[:MIXUP_COUNT], language)
    if alike:
        body += f"<p>{_say('lookalikes', language)}</p>" + _pair_list(alike, language)
    return _section("mixups", language, body)


def _lookalikes(pairs: Iterable[Mixup]) -> list[Mixup]:
    """Of each kind, bridges or towers, the first pair."""
    kinds: dict[str, Mixup] = {}
    for pair in pairs:
        kinds.setdefault(pair.kind, pair)
    kinds.pop("", None)
    return list(kinds.values())[:LOOKALIKE_COUNT]


def _pair_list(pairs: Sequence[Mixup], language: str) -> str:
    lines = (
        _say(
            "mixup",
            language,
            truth=f"<b>{escape(pair.truth.name_in(language))}</b>",
            guess=f"<b>{escape(pair.guess.name_in(language))}</b>",
            wrong=pair.wrong,
            count=pair.count,
        )
        for pair in pairs
    )
    return f"<ul>{''.join(f'<li>{line}</li>' for line in lines)}</ul>"


def _reliability(test: dict, language: str) -> str:
    bins = [group for group in test.get("reliability", ()) if group["count"]]
    if not bins or "calibration_error" not in test:
        return ""
    error = number(100 * test["calibration_error"], language, 1)
    text = f"<p>{_say('reliability', language, error=error)}</p>"
    return _section("reliability", language, _diagram(bins, language) + text)


def _diagram(bins: Sequence[dict], language: str) -> str:
    """Confidence to the right, accuracy upwards, a dot for each group of answers."""
    most = max(group["count"] for group in bins)
    dots = []
    for group in sorted(bins, key=lambda group: -group["count"]):
        says, right, count = float(group["confidence"]), float(group["accuracy"]), group["count"]
        (x, y), radius = _at(says, right), 3 + 8 * math.sqrt(count / most)
        dots.append(
            f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"><title>'
            f"{_say('bin', language, says=says, right=right, count=count)}</title></circle>"
        )
    title = _say("reliability_title", language)
    return (
        f'<svg class="diagram" viewBox="0 0 {SIDE + MARGIN + 20} {SIDE + TOP + 38}" role="img" '
        f'aria-label="{title}" xmlns="http://www.w3.org/2000/svg"><title>{title}</title>'
        f"{_axes(language)}{''.join(dots)}</svg>"
    )


def _axes(language: str) -> str:
    """Frame, diagonal, ticks and what they mean."""
    (left, bottom), (right, top) = _at(0, 0), _at(1, 1)
    parts = [
        f'<rect class="frame" x="{left}" y="{top}" width="{SIDE}" height="{SIDE}"/>',
        f'<path class="ideal" d="M{left} {bottom}L{right} {top}"/>',
    ]
    for share in (0, 0.5, 1):
        x, y = _at(share, share)
        text = percent(share, language)
        parts.append(f'<text x="{x}" y="{bottom + 15}" text-anchor="middle">{text}</text>')
        parts.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{text}</text>')
    for key, place in (
        ("axis_says", f"translate({left + SIDE / 2} {bottom + 31})"),
        ("axis_right", f"translate(10 {top + SIDE / 2}) rotate(-90)"),
    ):
        text = _say(key, language)
        parts.append(f'<text transform="{place}" text-anchor="middle">{text}</text>')
    return "".join(parts)


def _at(confidence: float, accuracy: float) -> tuple[float, float]:
    """The position of a point in the diagram, in px."""
    return MARGIN + confidence * SIDE, TOP + (1 - accuracy) * SIDE


def _unknown(scores: dict, language: str) -> str:
    if len(scores) < len(UNKNOWN):
        return ""
    counts = {"other": scores["unknown_count"], "known": scores["known_count"]}
    shares = {name: float(scores[name]) for name in ("refused", "kept")}
    line = _say("unknown", language, **counts, **shares)
    return _section("unknown", language, f"<p>{line}</p>")


def _limits(measured: Measured, language: str) -> str:
    lines, data = [], measured.data
    if {"photos", "classes", "fewest", "most"} <= set(data):
        parts = {part: data["photos"][part] for part in ("train", "test")}
        counts = {key: data[key] for key in ("classes", "fewest", "most")}
        lines.append(_say("data", language, **parts, **counts))
    supports = [score["support"] for score in measured.test.get("classes", ())]
    few = sum(support < FEW_PHOTOS for support in supports)
    if few:
        lines.append(_say("few", language, few=few, classes=len(supports), limit=FEW_PHOTOS))
    if "leaks" in data:
        key = "leaks" if data["leaks"] else "no_leaks"
        lines.append(_say(key, language, count=data["leaks"]))
    body = "".join(f"<p>{line}</p>" for line in lines)
    if data.get("about"):
        body += f'<p lang="en">{escape(data["about"])}</p>'
    return _section("limits", language, body) if body else ""


def _say(key: str, language: str, **values: str | int | float) -> str:
    """The words of a key with texts, counts (int) and shares (float, in per cent) in them."""
    write = {str: lambda text, _: text, int: number, float: percent}
    texts = {name: write[type(value)](value, language) for name, value in values.items()}
    return say(key, language, "quality", **texts)


def _section(key: str, language: str, body: str) -> str:
    title = _say(f"{key}_title", language)
    return f'<section class="{key}"><h3>{title}</h3>{body}</section>'
