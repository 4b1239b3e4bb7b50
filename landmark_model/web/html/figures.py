"""What the networks know and how well: table rows, and the figures of metrics.json in words.

Nothing here is measured or known beforehand; what metrics.json does not hold is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape

from landmark_model import Prediction, wilson
from landmark_model.web.i18n import number, percent, say
from landmark_model.web.measured import UNKNOWN, Measured, read_measured

MIXUP_COUNT = 6
LOOKALIKE_COUNT = 10
FEW_PHOTOS = 5
GUESS_COUNT = 5
SIDE = 200  # of the reliability diagram, in px
MARGIN = 52
TOP = 14
_say = partial(say, section="quality")


@dataclass(frozen=True)
class LandmarkRow:
    """A known landmark and how well it was recognised on `photos` test photos of it.

    Recall is the share of its photos that got its name, precision the share of photos with its
    name that show it, F1 their harmonic mean, all 0..1. They are None where nobody measured, and
    precision where no photo got its name.
    """

    name: str
    place: str
    country: str
    flag: str
    photos: int | None
    recall: float | None
    precision: float | None
    f1: float | None


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
    landmarks: Iterable[Prediction], metrics: dict | None, language: str = "en"
) -> list[LandmarkRow]:
    """A row for each landmark, by name; `metrics` as `quality` takes them."""
    test = read_measured(metrics).metrics.get("test", {})
    guesses = map(sum, zip(*test.get("confusion", ()), strict=True))  # by the name given
    classes = test.get("classes", ())
    guessed = {score["class_name"] for score, count in zip(classes, guesses, strict=False) if count}
    scores = {score["class_name"]: score for score in classes}
    rows = []
    for landmark in landmarks:
        here = landmark.in_language(language)
        score = scores.get(landmark.class_name, {})
        measured = bool(score.get("support"))
        rows.append(
            LandmarkRow(
                name=here.label,
                place=here.landmark.area,
                country=here.country or "",
                flag=landmark.flag,
                photos=score.get("support"),
                recall=score["recall"] if measured else None,
                precision=score["precision"] if landmark.class_name in guessed else None,
                f1=score["f1"] if measured else None,
            )
        )
    return sorted(rows, key=lambda row: row.name.casefold())


def find_mixups(landmarks: Iterable[Prediction], metrics: dict) -> list[Mixup]:
    """Every pair that was confused in the test, the most frequent first.

    `metrics` must be those that `read_measured` lets through.
    """
    test = metrics.get("test", {})
    by_name = {landmark.class_name: landmark for landmark in landmarks}
    names = [score["class_name"] for score in test.get("classes", ())]
    found = [
        Mixup(by_name[names[i]], by_name[names[j]], wrong, sum(row))
        for i, row in enumerate(test.get("confusion", ()))
        for j, wrong in enumerate(row)
        if i != j and wrong and names[i] in by_name and names[j] in by_name
    ]
    return sorted(found, key=lambda pair: (-pair.wrong, -pair.wrong / pair.count))


def quality(metrics: dict | None, landmarks: Iterable[Prediction], language: str = "en") -> str:
    """How good a network is, as HTML to be styled by explore.css.

    `metrics` are those that `read_metrics` gives, None for a file that it refuses; `landmarks` what
    the network knows. What is not as it should be is left out, and a sentence says so.
    """
    measured = read_measured(metrics)
    note, metrics = _note(metrics, measured, language), measured.metrics
    parts = [
        part
        for part in (
            _accuracy(metrics, language),
            _mixups(metrics, list(landmarks), language),
            _reliability(metrics, language),
            _unknown(metrics, language),
            _limits(metrics, language),
        )
        if part
    ]
    nothing = "" if note else f"<p>{_say('nothing', language)}</p>"
    return f'<div class="quality">{"".join(parts) or nothing}{note}</div>'


def damage_note(metrics: dict | None, language: str) -> str:
    """A sentence, as HTML, where `metrics`, as `quality` takes them, are not whole; else ""."""
    return _note(metrics, read_measured(metrics), language)


def _note(metrics: dict | None, measured: Measured, language: str) -> str:
    if measured.is_whole:
        return ""
    key = "unreadable" if metrics is None else "partly"
    return f'<p class="note">{_say(key, language)}</p>'


def _accuracy(metrics: dict, language: str) -> str:
    test = metrics.get("test", {})
    if "top1" not in test or not test.get("photo_count"):
        return ""
    low, high = wilson(test["top1"], test["photo_count"])
    lines = [
        _say(
            "accuracy",
            language,
            share=f"<strong>{percent(test['top1'], language, 1)}</strong>",
            count=number(test["photo_count"], language),
            low=percent(low, language),
            high=percent(high, language),
        )
    ]
    # Of five or fewer landmarks, the first five guesses are all there are.
    if "top5" in test and len(test.get("classes", ())) > GUESS_COUNT:
        lines.append(_say("top5", language, share=percent(test["top5"], language, 1)))
    figure = f'<p class="figure" aria-hidden="true">{percent(test["top1"], language)}</p>'
    return _section("accuracy", language, figure + _paragraphs(lines))


def _mixups(metrics: dict, landmarks: list[Prediction], language: str) -> str:
    confusion = metrics.get("test", {}).get("confusion")
    if not confusion or not any(map(any, confusion)):
        return ""
    count = sum(map(sum, confusion))
    wrong = count - sum(row[index] for index, row in enumerate(confusion))
    if not wrong:
        line = _say("no_mixups", language, count=number(count, language))
        return _section("mixups", language, _paragraphs([line]))
    pairs = find_mixups(landmarks, metrics)
    frequent, alike = pairs[:MIXUP_COUNT], _lookalikes(pairs[MIXUP_COUNT:])
    intro = _say("mixups", language, wrong=number(wrong, language), count=number(count, language))
    body = _paragraphs([intro]) + _pair_list(frequent, language)
    if alike:
        body += _paragraphs([_say("lookalikes", language)])
        body += _pair_list(alike, language)
    return _section("mixups", language, body)


def _lookalikes(pairs: Iterable[Mixup]) -> list[Mixup]:
    """Of each kind, bridges or towers, the first pair."""
    kinds: dict[str, Mixup] = {}
    for pair in pairs:
        kinds.setdefault(pair.kind, pair)
    kinds.pop("", None)
    return list(kinds.values())[:LOOKALIKE_COUNT]


def _pair_list(pairs: Sequence[Mixup], language: str) -> str:
    items = "".join(
        "<li>"
        + _say(
            "mixup",
            language,
            truth=f"<b>{escape(pair.truth.name_in(language))}</b>",
            guess=f"<b>{escape(pair.guess.name_in(language))}</b>",
            wrong=number(pair.wrong, language),
            count=number(pair.count, language),
        )
        + "</li>"
        for pair in pairs
    )
    return f"<ul>{items}</ul>"


def _reliability(metrics: dict, language: str) -> str:
    test = metrics.get("test", {})
    bins = [group for group in test.get("reliability", ()) if group["count"]]
    if not bins or "calibration_error" not in test:
        return ""
    error = number(100 * test["calibration_error"], language, 1)
    text = _paragraphs([_say("reliability", language, error=error)])
    return _section("reliability", language, _diagram(bins, language) + text)


def _diagram(bins: Sequence[dict], language: str) -> str:
    """Confidence to the right, accuracy upwards, a dot for each group of answers."""
    most = max(group["count"] for group in bins)
    dots = []
    for group in sorted(bins, key=lambda group: -group["count"]):
        words = _say(
            "bin",
            language,
            says=percent(group["confidence"], language),
            right=percent(group["accuracy"], language),
            count=number(group["count"], language),
        )
        x, y = _at(group["confidence"], group["accuracy"])
        radius = 3 + 8 * math.sqrt(group["count"] / most)
        dots.append(
            f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}">'
            f"<title>{words}</title></circle>"
        )
    title = _say("reliability_title", language)
    width, height = SIDE + MARGIN + 20, SIDE + TOP + 38
    return (
        f'<svg class="diagram" viewBox="0 0 {width} {height}" role="img" '
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
    middle = left + SIDE / 2
    says, right_words = _say("axis_says", language), _say("axis_right", language)
    parts.append(f'<text x="{middle}" y="{bottom + 31}" text-anchor="middle">{says}</text>')
    parts.append(
        f'<text transform="translate(10 {top + SIDE / 2}) rotate(-90)" text-anchor="middle">'
        f"{right_words}</text>"
    )
    return "".join(parts)


def _at(confidence: float, accuracy: float) -> tuple[float, float]:
    """The position of a point in the diagram, in px."""
    return MARGIN + confidence * SIDE, TOP + (1 - accuracy) * SIDE


def _unknown(metrics: dict, language: str) -> str:
    scores = metrics.get("unknown", {}).get("test")
    if not scores or set(scores) != set(UNKNOWN):
        return ""
    line = _say(
        "unknown",
        language,
        other=number(scores["unknown_count"], language),
        refused=percent(scores["refused"], language),
        known=number(scores["known_count"], language),
        kept=percent(scores["kept"], language),
    )
    return _section("unknown", language, _paragraphs([line]))


def _limits(metrics: dict, language: str) -> str:
    lines = []
    data = metrics.get("training", {}).get("data", {})
    if {"photos", "classes", "fewest", "most"} <= set(data):
        counts = {part: number(data["photos"][part], language) for part in ("train", "test")}
        spans = {key: number(data[key], language) for key in ("classes", "fewest", "most")}
        lines.append(_say("data", language, **counts, **spans))
    supports = [score["support"] for score in metrics.get("test", {}).get("classes", ())]
    few = sum(support < FEW_PHOTOS for support in supports)
    if few:
        values = {"few": few, "classes": len(supports), "limit": FEW_PHOTOS}
        texts = {key: number(value, language) for key, value in values.items()}
        lines.append(_say("few", language, **texts))
    if "leaks" in data:
        key = "leaks" if data["leaks"] else "no_leaks"
        lines.append(_say(key, language, count=number(data["leaks"], language)))
    body = _paragraphs(lines)
    if data.get("about"):
        body += f'<p lang="en">{escape(data["about"])}</p>'
    return _section("limits", language, body) if body else ""


def _section(key: str, language: str, body: str) -> str:
    title = _say(f"{key}_title", language)
    return f'<section class="{key}"><h3>{title}</h3>{body}</section>'


def _paragraphs(lines: Iterable[str]) -> str:
    return "".join(f"<p>{line}</p>" for line in lines)
