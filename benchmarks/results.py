"""Writes the figures of several run folders side by side, with the commands that made them.

python -m benchmarks.results runs/a runs/b --out benchmarks/landmarks10.md
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.pages import run
from landmark_model.files import write_text
from landmark_model.hub import card


def render(reports: list[card.Report]) -> str:
    """The document: table of results, data, and each run's commands."""
    data = reports[0].metrics["training"]["data"]
    totals = data["photos"]
    parts = [
        f"# {data['name']}\n\nWritten by `python -m benchmarks.results` from each run's "
        f"metrics.json. {totals['train']:,} training, {totals['validation']:,} validation and "
        f"{totals['test']:,} test photos.\n",
        card.results_table(reports),
        f"\n{card.details_table(reports)}",
    ]
    for report in reports:
        facts = report.metrics["training"]
        parts.append(f"\n{report.title}: {facts['hardware']}\n\n```")
        parts += [*facts["commands"], "```"]
    return "\n".join(parts) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """Reads the run folders and writes the document."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.results", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    options = parser.parse_args(arguments)
    text = render([report for folder in options.runs for report in card.read_reports(folder)])
    write_text(options.out, text)
    print(text)


if __name__ == "__main__":
    run(main)
