"""The model card: a template filled from config and metrics, so no figure is typed by hand."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template
from urllib.parse import quote

import yaml

from landmark_model.calibration import ReliabilityBin, chance_calibration_error
from landmark_model.config import WEIGHTS_NAME, ModelConfig, read_config
from landmark_model.errors import LandmarkError
from landmark_model.files import write_between, write_text
from landmark_model.hub.repo import METRICS_NAME, merit, networks_in, read_json

TEMPLATE = Path(__file__).with_name("card_template.md")
RESULTS_START = "<!-- results: written by `make card` -->"
RESULTS_END = "<!-- /results -->"
MOST_PHOTOS = 10_000_000
PICTURES = ("training_curve.png", "reliability.png", "confusion_matrix.png")


@dataclass(frozen=True)
class Report:
    """One trained network in a folder, with its metrics.json."""

    folder: Path
    config: ModelConfig
    metrics: dict

    @property
    def title(self) -> str:
        """The name of the network for people, and how it was trained."""
        facts = self.metrics["training"]
        words = facts.get("commands", [""])[-1].split()
        if not {"--probe", "--quick"}.isdisjoint(words):
            return f"{self.config.title} (linear probe)"
        # LandmarkCNN has nothing else to start from than an earlier run of its own.
        is_ours = self.config.architecture == "landmark_cnn"
        own = is_ours or str(facts["start"]).startswith("from scratch")
        return f"{self.config.title} ({'from scratch' if own else 'transfer learning'})"


def read_reports(folder: Path) -> list[Report]:
    """The networks in `folder`, the one at the root first.

    Raises LandmarkError if there is none, or one has no metrics.json.
    """
    reports = []
    for path in networks_in(folder).values():
        metrics = path / METRICS_NAME
        if not metrics.is_file():
            raise LandmarkError(f"{path} has no {METRICS_NAME}. Train the network again.")
        report = Report(path, read_config(path), read_json(metrics))
        with _whole_metrics(path):
            for part in ("validation", "test", "training"):
                report.metrics[part]
        reports.append(report)
    return reports


@contextmanager
def _whole_metrics(folder: Path) -> Iterator[None]:
    """Turns the errors that malformed figures cause into a LandmarkError."""
    try:
        yield
    except LandmarkError:
        raise
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        raise LandmarkError(
            f"{METRICS_NAME} in {folder} is incomplete or damaged. Train the network again."
        ) from error


def write_card(folder: Path, path: Path, repo: str | None = None) -> None:
    """Writes the card of the networks in `folder` to `path`; pictures are linked from there.

    `repo` is the hub repo ("org/name") that it will be the front page of.
    """
    base = Path(os.path.relpath(folder, path.parent))
    with _whole_metrics(folder):
        fields = _fields(read_reports(folder), base, repo)
    write_text(path, Template(TEMPLATE.read_text(encoding="utf-8")).substitute(fields))


def write_results(folder: Path, path: Path) -> None:
    """Writes the results table between the two result markers of the document at `path`."""
    with _whole_metrics(folder):
        table = results_table(read_reports(folder))
    write_between(path, RESULTS_START, RESULTS_END, table)


def _fields(reports: list[Report], base: Path, repo: str | None) -> dict[str, object]:
    """The values for the placeholders of the template."""
    first, *others = reports
    best = _best_first(reports)[0]
    names = [plain(report.title) for report in reports]
    return dict(
        metadata=_metadata(reports),
        class_count=len(first.config.class_names),
        network_count="One network" if len(names) == 1 else f"{len(names)} networks",
        network_list=", ".join(names),
        photo_count=f"{first.metrics['test']['photo_count']:d}",
        results=results_table(reports),
        details=details_table(reports),
        figures="\n".join(
            f"![{name}: {file[:-4].replace('_', ' ')}]({_link(base, first, report, file)})"
            for name, report in zip(names, reports, strict=True)
            for file in PICTURES
        ),
        data=_data(first),
        training="\n\n".join(map(_training, reports)),
        best=plain(best.config.title),
        classes="\n".join(_class_rows(best)),
        subfolders="".join(
            f"| {plain(report.folder.name)}/ | the same for {name} |\n"
            for name, report in zip(names[1:], others, strict=True)
        ),
        source=f'"{repo}"' if repo else "",
        timm_name=f"hf-hub:{repo}" if repo else "local-dir:FOLDER",
    )


def _metadata(reports: list[Report]) -> str:
    """The card's YAML header, which the hub shows and searches."""
    first = reports[0]
    base_model = _one_line(first.metrics["training"]["base_model"])
    head = {
        "license": "apache-2.0",
        "library_name": "timm" if first.config.architecture != "landmark_cnn" else "landmark-model",
        "pipeline_tag": "image-classification",
        **({"base_model": base_model} if base_model else {}),
        "tags": ["landmark-recognition", "image-classification", "timm"],
        "datasets": ["imagefolder"],
        "metrics": ["accuracy"],
        "model-index": [{"name": "landmark-tagger", "results": [*map(_evaluation, reports)]}],
    }
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---"


def _evaluation(report: Report) -> dict[str, object]:
    """The scores of a network as the hub lists them."""
    photos, test = _one_line(report.metrics["training"]["data"]["name"]), report.metrics["test"]
    kinds = {"top1": ("accuracy", "top-1"), "top5": ("top_5_accuracy", "top-5")}
    return {
        "task": {"type": "image-classification"},
        "dataset": {
            "type": "imagefolder",
            "name": f"{photos} ({report.title})",
            "config": report.title,  # the hub merges results that differ in less than this
            "split": "test",
        },
        "metrics": [
            {"type": kind, "name": name, "value": round(test[score], 4)}
            for score, (kind, name) in kinds.items()
        ],
    }


def _link(base: Path, first: Report, report: Report, file: str) -> str:
    path = (base / report.folder.relative_to(first.folder) / file).as_posix()
    return quote(os.fsencode(path))


# --- text as Markdown ---


def plain(text: object) -> str:
    """`text` as literal, single-line Markdown, safe in a table: no markup, no HTML."""
    marks = r"[\\`*\[\]<>&|~$]|(?<!\w)_|_(?!\w)"
    return re.sub(marks, lambda mark: f"&#{ord(mark[0])};", _one_line(text))


def _one_line(text: object) -> str:
    """`text` without line breaks, invisible characters or direction overrides."""
    shown = re.sub(r"\s", " ", str(text).strip())
    joiners = "\u200c\u200d"  # which some scripts cannot be written without
    return "".join(x if x.isprintable() or x in joiners else "\ufffd" for x in shown)


def _block(lines: list[str]) -> str:
    """`lines` as a code block, whatever they contain."""
    shown = "\n".join(map(_one_line, lines))
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", shown)), default=0))
    return f"{fence}\n{shown}\n{fence}"


def _table(headings: str, rows: Iterable[str]) -> str:
    return "\n".join([headings, "|" + "---|" * (headings.count("|") - 1), *rows])


# --- tables ---


def wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a proportion `share` seen on `count` trials (Wilson 1927)."""
    z = 1.96
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(
        share * (1 - share) / count + z * z / (4 * count**2)
    )  # fmt: skip
    return centre - half, centre + half


def results_table(reports: list[Report]) -> str:
    """The main figures of each network, as a Markdown table."""
    return _table(
        "| network | test top-1 (95 % range) | test top-5 | calibration error "
        "| none of these: AUROC |",
        map(_result_row, _best_first(reports)),
    )


def _best_first(reports: list[Report]) -> list[Report]:
    """In the order in which `load` prefers them."""
    return sorted(reports, key=lambda report: merit(report.metrics), reverse=True)


def _result_row(report: Report) -> str:
    test = report.metrics["test"]
    low, high = wilson(test["top1"], test["photo_count"])
    return (
        f"| {plain(report.title)} | **{test['top1']:.1%}** ({low:.0%} to {high:.0%}) "
        f"| {test['top5']:.1%} | {test['calibration_error']:.1%} | {_unknown(report, 'auroc')} |"
    )


def details_table(reports: list[Report]) -> str:
    """What the table of results leaves out: size, input, time and the other figures."""
    return _table(
        "| network | validation top-1 | none of these: FPR95 | calibration error by chance "
        "| parameters | file | input | training |",
        map(_detail_row, _best_first(reports)),
    )


def _detail_row(report: Report) -> str:
    facts = report.metrics["training"]
    size_mb = (report.folder / WEIGHTS_NAME).stat().st_size / 1e6
    return (
        f"| {plain(report.title)} | {report.metrics['validation']['top1']:.1%} "
        f"| {_unknown(report, 'fpr95')} | {_error_by_chance(report.metrics['test']):.1%} "
        f"| {facts['parameters'] / 1e6:.1f} M | {size_mb:.1f} MB "
        f"| {report.config.view}, {report.config.image_size} px "
        f"| {facts['fit_seconds'] / 60:.0f} min |"
    )


def _unknown(report: Report, figure: str) -> str:
    """A figure of "none of these" on test photos, if somebody measured it."""
    scores = report.metrics.get("unknown", {}).get("test")
    if not scores:
        return "not measured"
    return f"{scores[figure]:.3f}" if figure == "auroc" else f"{scores[figure]:.1%}"


def _error_by_chance(test: dict) -> float:
    """The calibration error that a perfectly calibrated network would show on average."""
    bins = [ReliabilityBin(**found) for found in test["reliability"]]
    if any(not 0 <= found.count <= MOST_PHOTOS for found in bins):
        raise ValueError("a bin with this many photos would exhaust the memory")
    return chance_calibration_error(bins)


def _class_rows(report: Report) -> list[str]:
    labels = dict(zip(report.config.class_names, map(plain, report.config.labels), strict=True))
    scores = sorted(report.metrics["test"]["classes"], key=lambda s: (-s["f1"], s["class_name"]))
    return [
        f"| {labels[s['class_name']]} | {s['precision']:.0%} | {s['recall']:.0%} "
        f"| {s['support']:d} |"
        for s in scores
    ]


# --- sentences ---


def _data(report: Report) -> str:
    data = report.metrics["training"]["data"]
    totals = data["photos"]
    return (
        f"{plain(data['name'])}: {totals['train']:,} training, {totals['validation']:,} validation "
        f"and {totals['test']:,} test photos of {data['classes']:d} landmarks, {data['fewest']:d} "
        f"to {data['most']:d} for training in a class. Copies or near-copies across splits: "
        f"{data['leaks']:d}. Unusable files: {data['skipped']:d}. {plain(data['about'])}"
    )


def _training(report: Report) -> str:
    facts = report.metrics["training"]
    return (
        f"**{plain(report.title)}.** Start: {plain(facts['start'])}. {len(facts['epochs'])} "
        f"epochs, of which number {facts['best_epoch']:d} was best on validation and is "
        f"kept{_blend(facts)}; {facts['fit_seconds'] / 60:.0f} minutes for all the "
        f"commands below on {plain(facts['hardware'])}, torch {plain(facts['versions']['torch'])}. "
        f"Seed {facts['recipe']['seed']:d}. "
        "Weights are rounded to float16 before they are measured and stored; the TorchScript "
        f"file differs by at most {facts['torchscript_difference']:.0e} in probability.\n\n"
    ) + _block(facts["commands"])


def _blend(facts: dict) -> str:
    losses = {float(share): loss for share, loss in facts.get("blend", {}).items()}
    share = min(losses, key=losses.get, default=1.0)
    return "" if share == 1 else f", interpolated with {1 - share:.0%} of the initial weights"
