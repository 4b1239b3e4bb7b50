"""What was tried against the project and what held, as one page.

    python -m benchmarks.reliability

Puts the figures that reliability_photos, _models, _tag and _load wrote into reliability.md.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from landmark_model.files import write_text

FOLDER = Path(__file__).parent / "reliability"
OUT = Path(__file__).parent / "reliability.md"
INTRO = """# Reliability

Written by `python -m benchmarks.reliability` from the figures in `benchmarks/reliability/`; each
section names the program that measured it. The limits themselves, and the test that holds each:
[SECURITY.md](../SECURITY.md).
"""
Row = Iterable[object]


def table(heads: Row, rows: Iterable[Row]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(list(heads)), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def photos(found: dict) -> str:
    """What damaged, costly and very large photos came to, and took."""
    fuzzed = found["damaged_on_purpose"]
    outcomes: Counter[str] = Counter()
    for counts in fuzzed["outcomes"].values():
        outcomes.update(counts)
    rows = [
        (r["photo"], f"{r['kilobytes']:,.0f} KB", r["outcome"], f"{r['cpu_seconds']} s",
         f"{r['memory_megabytes']} MB")
        for r in [*found["given"], *found["largest"]]
    ]  # fmt: skip
    highest = fuzzed["highest"]
    became = ", ".join(f"{name} {count:,}" for name, count in outcomes.most_common())
    return f"""## Photos

`{found["command"]}`, {found["machine"]}.

{fuzzed["count"]:,} photos of {len(fuzzed["outcomes"])} formats, damaged on purpose:
{became}. The most that one took: {highest["cpu_seconds"]} s of CPU and
{highest["memory_bytes"] / 1e6:.0f} MB; decoders that had to be ended: {fuzzed["workers_ended"]}.

Photos built to be slow, and the largest that are accepted (79 megapixels, turned by EXIF):

{table(("photo", "file", "outcome", "CPU", "memory"), rows)}
"""


def models(found: dict) -> str:
    """What hostile model folders came to."""
    return f"""## Model folders

`python -m benchmarks.reliability_models`: {found["folders"]} folders, broken or hostile in as many
ways, {found["refused"]} refused in a sentence, {found["answered"]} answered as they should,
{found["crashed"]} crashed. The most memory that one took: {found["peak_process_mb"]:.0f} MB.
"""


def tag(found: dict) -> str:
    """What `tag` lost when it was killed."""
    done = found["rows_done_when_killed"]
    return f"""## Killed amid a library

`python -m benchmarks.reliability_tag --kills {found["kills"]}`: {found["kills"]} runs of `tag` over
{found["photos"]} photos, each killed with SIGKILL at a random moment ({min(done)} to {max(done)}
photos done) and run again. Equal to an unbroken run: {found["runs_equal_to_unbroken"]}; rows lost:
{found["rows_lost"]}, doubled: {found["rows_doubled"]}.
"""


def load(found: dict) -> str:
    """What became of a crowd's requests."""
    seconds, memory = found["seconds"], found["memory_mb"]
    costly = table(("of the costly photos", "count"), found["costly_photos"].items())
    others = found["other_outcomes"] or "none"
    return f"""## Load

`python -m benchmarks.reliability_load`: {found["clients"]} clients for {found["minutes"]:g} minutes
on {found["cores"]} cores, each with one photo after the other, while somebody sent a costly photo
every second. Answers: {found["answers"]:,}; other outcomes: {others}. Seconds for an answer: median
{seconds["median"]}, 95 % {seconds["p95"]}, most {seconds["max"]}. Memory of the app and its
decoders: {memory["first"]:,} MB at first, {memory["max"]:,} MB at most. Exit status after SIGTERM:
{found["exit_status"]}.

{costly}
"""


def main() -> None:
    """Writes the page."""
    parts = [
        section(json.loads((FOLDER / f"{section.__name__}.json").read_text(encoding="utf-8")))
        for section in (photos, models, tag, load)
    ]
    write_text(OUT, "\n".join([INTRO, *parts]))


if __name__ == "__main__":
    main()
