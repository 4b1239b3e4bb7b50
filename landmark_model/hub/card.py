"""The model card: a template filled from config and metrics, so no figure is typed by hand."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template
from urllib.parse import quote

from landmark_model.calibration import ReliabilityBin, chance_calibration_error
from landmark_model.config import WEIGHTS_NAME, LandmarkError, ModelConfig, read_config
from landmark_model.files import write_text
from landmark_model.hub import client as hubclient
from landmark_model.hub.repo import METRICS_NAME, networks_in, read_json

TEMPLATE = Path(__file__).with_name("card_template.md")
RESULTS_START = "<!-- results: written by `make card` -->"
RESULTS_END = "<!-- /results -->"
RESULTS_HEAD = (
    "| network | test top-1 (95 % range) | test top-5 | calibration error | none of these: AUROC |"
    "\n|" + "---|" * 5
)
DETAILS_HEAD = (
    "| network | validation top-1 | none of these: FPR95 | calibration error by chance "
    "| parameters | file | input | training |\n|" + "---|" * 8
)
NEIGHBOURS_HEAD = (
    "The kNN memory of training photos adds to the last layer's scores (by the weight in\n"
    "`config.json`). The last layer alone, and with the memory:\n\n"
    "| network | alone: top-1 | top-5 | loss | calibration error | with memory: top-1 | top-5 "
    "| loss | calibration error | photos |\n|" + "---|" * 10
)
MOST_PHOTOS = 10_000_000
CAUTION = (
    "They did influence the recipes, though: version 0.1 kept or dropped some ideas by their\n"
    "score on these very photos. Expect lower scores on new photos.\n"
)
TITLES = {
    "resnet18": "ResNet18 (transfer learning)",
    "landmark_cnn": "LandmarkCNN (from scratch)",
    "tf_efficientnet_lite2": "EfficientNet-Lite2 (transfer learning, the teacher)",
}


@dataclass(frozen=True)
class Report:
    """One trained network in a folder, with its metrics.json."""

    folder: Path
    config: ModelConfig
    metrics: dict

    @property
    def title(self) -> str:
        """The name of the network for people, and how it was trained."""
        title = TITLES.get(self.config.architecture, self.config.architecture)
        words = self.metrics["training"].get("commands", [""])[-1].split()
        is_probe = not {"--probe", "--quick"}.isdisjoint(words)
        return f"{title.partition(' (')[0]} (linear probe)" if is_probe else title

    @property
    def is_old(self) -> bool:
        """Whether version 0.1 trained it; its commands no longer run."""
        return "landmark_model" not in self.metrics["training"]["versions"]


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
    reports = read_reports(folder)
    write_text(path, render(reports, Path(os.path.relpath(folder, path.parent)), repo))


def write_results(folder: Path, path: Path) -> None:
    """Writes the results table between the two result markers of the document at `path`."""
    if not path.is_file():
        raise LandmarkError(f"{path} does not exist. Give a document with result markers.")
    text = path.read_text(encoding="utf-8")
    head, start, rest = text.partition(RESULTS_START)
    end = rest.find(RESULTS_END)
    if not start or end < 0:
        raise LandmarkError(
            f"{path.name} lacks the markers {RESULTS_START} and {RESULTS_END}. Add them."
        )
    table = results_table(read_reports(folder))
    write_text(path, f"{head}{start}\n{table}\n{rest[end:]}")


def results_table(reports: list[Report]) -> str:
    """The main figures of each network, as a Markdown table."""
    with _whole_metrics(reports[0].folder):
        return "\n".join([RESULTS_HEAD, *map(_result_row, reports)])


def details_table(reports: list[Report]) -> str:
    """What the table of results leaves out: size, input, time and the other figures."""
    with _whole_metrics(reports[0].folder):
        return "\n".join([DETAILS_HEAD, *map(_detail_row, reports)])


def render(reports: list[Report], base: Path, repo: str | None = None) -> str:
    """The text of the card; `base` leads from the card to the folder of the first network."""
    with _whole_metrics(reports[0].folder):
        fields = _fields(reports, base, repo)
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(fields)


def _fields(reports: list[Report], base: Path, repo: str | None) -> dict[str, object]:
    """The values for the placeholders of the template."""
    first, *others = reports
    names = [report.title for report in reports]
    library = "landmark-model" if first.config.architecture == "landmark_cnn" else "timm"
    return dict(
        metadata=hubclient.card_metadata(list(map(_headline, reports)), library),
        class_count=len(first.config.class_names),
        network_count="One network" if len(names) == 1 else f"{len(names)} networks",
        network_list=", ".join(names),
        photo_count=f"{first.metrics['test']['photo_count']:d}",
        caution=CAUTION if any(report.is_old for report in reports) else "",
        results=results_table(reports),
        details=details_table(reports),
        neighbours=_neighbours(reports),
        figures="\n".join(
            f"![{report.title}: {what}]({_link(base, first, report, file)})"
            for report in reports
            for what, file in (
                ("training curve", "training_curve.png"),
                ("reliability", "reliability.png"),
                ("confusion matrix", "confusion_matrix.png"),
            )
        ),
        data=_data(first),
        training="\n\n".join(map(_training, reports)),
        classes="\n".join(_class_rows(first)),
        subfolders="".join(
            f"| {_cell_code(f'{report.folder.name}/')} | the same for {report.title} |\n"
            for report in others
        ),
        source=f'"{repo}"' if repo else "",
        timm_name=f"hf-hub:{repo}" if repo else "local-dir:FOLDER",
    )


def _headline(report: Report) -> tuple[str, dict]:
    """Title and metrics for the card's YAML header, where names must be on one line."""
    facts = report.metrics["training"]
    origin = {"base_model": _one_line(facts["base_model"])}
    origin["data"] = {"name": _one_line(facts["data"]["name"])}
    return report.title, {"test": report.metrics["test"], "training": origin}


def _link(base: Path, first: Report, report: Report, file: str) -> str:
    path = (base / report.folder.relative_to(first.folder) / file).as_posix()
    return quote(os.fsencode(path))


def _plain(text: object) -> str:
    """`text` as literal, single-line Markdown, safe in a table: no markup, no HTML."""
    return re.sub(r"[\\`*\[\]<>&|~$]|(?<!\w)_|_(?!\w)", _entity, _one_line(text))


def _entity(match: re.Match) -> str:
    return f"&#{ord(match[0])};"


def _one_line(text: object) -> str:
    """`text` without line breaks, invisible characters or direction overrides."""
    joiners = "\u200c\u200d"  # which some scripts cannot be written without
    return "".join(
        letter
        if letter.isprintable() or letter in joiners
        else " "
        if letter.isspace()
        else "\ufffd"
        for letter in str(text).strip()
    )


def _code(text: object) -> str:
    """`text` on one line of Markdown, as code."""
    line = _one_line(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    pad = " " if len(fence) > 1 else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def _cell_code(text: object) -> str:
    """`text` as code in a table cell, where even in code a bar ends the cell."""
    return _code(text).replace("|", "\\|")


def _block(lines: list[str]) -> str:
    """`lines` as a code block, whatever they contain."""
    shown = [_one_line(line) for line in lines]
    longest = max((len(found) for line in shown for found in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([fence, *shown, fence])


def wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a proportion `share` seen on `count` trials (Wilson 1927)."""
    z = 1.96
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(
        share * (1 - share) / count + z * z / (4 * count**2)
    )  # fmt: skip
    return centre - half, centre + half


def _result_row(report: Report) -> str:
    test = report.metrics["test"]
    low, high = wilson(test["top1"], test["photo_count"])
    unknown = _unknown(report)
    auroc = f"{unknown['auroc']:.3f}" if unknown else "not measured"
    return (
        f"| {report.title} | **{test['top1']:.1%}** ({low:.0%} to {high:.0%}) "
        f"| {test['top5']:.1%} | {test['calibration_error']:.1%} | {auroc} |"
    )


def _detail_row(report: Report) -> str:
    facts, unknown = report.metrics["training"], _unknown(report)
    fpr95 = f"{unknown['fpr95']:.1%}" if unknown else "not measured"
    size_mb = (report.folder / WEIGHTS_NAME).stat().st_size / 1e6
    return (
        f"| {report.title} | {report.metrics['validation']['top1']:.1%} | {fpr95} "
        f"| {_error_by_chance(report.metrics['test']):.1%} "
        f"| {facts['parameters'] / 1e6:.1f} M | {size_mb:.1f} MB "
        f"| {report.config.view}, {report.config.image_size} px "
        f"| {facts['fit_seconds'] / 60:.0f} min |"
    )


def _error_by_chance(test: dict) -> float:
    """The calibration error that a perfectly calibrated network would show on average."""
    bins = [ReliabilityBin(**found) for found in test["reliability"]]
    if any(not 0 <= found.count <= MOST_PHOTOS for found in bins):
        raise ValueError("a bin with this many photos would exhaust the memory")
    return chance_calibration_error(bins)


def _unknown(report: Report) -> dict | None:
    """The scores of "none of these" on test photos; None if nobody measured them."""
    return report.metrics.get("unknown", {}).get("test")


def _neighbours(reports: list[Report]) -> str:
    """What the kNN memory adds to the last layer's answers; "" if it is not used."""
    rows = [
        f"| {report.title} | {_few_cells(report.metrics['last_layer'][split])} "
        f"| {_few_cells(report.metrics[split])} | {split} |"
        for report in reports
        if report.config.neighbour_weight and "last_layer" in report.metrics
        for split in ("validation", "test")
    ]
    return "\n".join([NEIGHBOURS_HEAD, *rows, "\n"]) if rows else ""


def _few_cells(scores: dict) -> str:
    return (
        f"{scores['top1']:.1%} | {scores['top5']:.1%} | {scores['loss']:.3f} "
        f"| {scores['calibration_error']:.1%}"
    )


def _data(report: Report) -> str:
    data = report.metrics["training"]["data"]
    totals = data["photos"]
    return (
        f"{_code(data['name'])}: {totals['train']:,} training, {totals['validation']:,} validation "
        f"and {totals['test']:,} test photos of {data['classes']:d} landmarks, {data['fewest']:d} "
        f"to {data['most']:d} for training in a class. Copies or near-copies across splits: "
        f"{data['leaks']:d}. Unusable files: {data['skipped']:d}. "
        f"{_plain(data['about'])}"
    )


def _training(report: Report) -> str:
    facts = report.metrics["training"]
    return (
        f"**{report.title}.** Start: {_plain(facts['start'])}. {len(facts['epochs'])} epochs, of "
        f"which number {facts['best_epoch']:d} was best on validation and is kept{_blend(facts)}; "
        f"{facts['fit_seconds'] / 60:.0f} minutes {_counted(report)} on "
        f"{_plain(facts['hardware'])}, torch {_plain(facts['versions']['torch'])}. "
        f"Seed {facts['recipe']['seed']:d}. "
        "Weights are rounded to float16 before they are measured and stored; the TorchScript "
        f"file differs by at most {facts['torchscript_difference']:.0e} in probability.\n\n"
    ) + _commands(report)


def _counted(report: Report) -> str:
    """What the training minutes cover."""
    if report.is_old:
        return "for this network and the stages it continues from, not counting its teachers,"
    return "for all the commands below"


def _commands(report: Report) -> str:
    """The commands that made the weights; for version 0.1, where they are recorded."""
    commands = report.metrics["training"]["commands"]
    if not report.is_old:
        return _block(commands)
    return (
        f"Trained by version 0.1 of `train.py`, in {len(commands)} stages including those of its "
        "teachers. The commands are recorded in `metrics.json` (`training.commands`); they no "
        "longer run, since many of their options have been removed."
    )


def _blend(facts: dict) -> str:
    losses = {float(share): loss for share, loss in facts.get("blend", {}).items()}
    share = min(losses, key=losses.get, default=1.0)
    return "" if share == 1 else f", interpolated with {1 - share:.0%} of the initial weights"


def _class_rows(report: Report) -> list[str]:
    safe = map(_plain, report.config.labels)
    labels = dict(zip(report.config.class_names, safe, strict=True))
    scores = sorted(report.metrics["test"]["classes"], key=lambda s: (-s["f1"], s["class_name"]))
    return [
        f"| {labels[s['class_name']]} | {s['precision']:.0%} | {s['recall']:.0%} "
        f"| {s['support']:d} |"
        for s in scores
    ]
