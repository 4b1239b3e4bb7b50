"""Opens thousands of damaged photos of every format, and says what became of them.

python -m tests.fuzz --count 20000 --seed 0 --json photos.json

Each must end as an RGB photo or as a LandmarkError, within 2 s of CPU time and 1 GB of memory. The
same count and seed make the same files; --keep writes those that break a rule into a folder.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

from tqdm import tqdm

from landmark_model import LandmarkError
from landmark_model.decoding import Outcome, open_measured
from tests.fuzz.mutations import mutate
from tests.fuzz.seeds import make_seeds

MAX_CPU_SECONDS = 2.0
MAX_MEMORY_BYTES = 10**9


def fuzz(count: int, seed: int, keep: Path | None = None, is_quiet: bool = False) -> dict:
    """Counts of outcomes by format, the highest cost of a photo, and the rules that were broken."""
    seeds, chance = make_seeds(), random.Random(seed)
    everything = [content for contents in seeds.values() for content in contents]
    found: dict[str, Counter] = defaultdict(Counter)
    highest = {"cpu_seconds": 0.0, "memory_bytes": 0}
    broken: list[str] = []
    ended_count, start = 0, time.monotonic()
    for number in tqdm(range(count), unit="photo", disable=is_quiet):
        kind = chance.choice(list(seeds))
        content = mutate(chance.choice(seeds[kind]), chance.choice(everything), chance)
        word, outcome = _open(content)
        found[kind][word] += 1
        if rule := _broken_rule(word, outcome):
            broken.append(f"{number} {kind}: {rule}")
            if keep:
                (keep / f"{number}.{kind.lower()}").write_bytes(content)
        if outcome:
            ended_count += outcome.has_ended_worker
            highest = {key: max(value, getattr(outcome, key)) for key, value in highest.items()}
    return {
        "count": count,
        "seed": seed,
        "outcomes": {kind: dict(sorted(words.items())) for kind, words in sorted(found.items())},
        "highest": {key: round(value, 3) for key, value in highest.items()},
        "workers_ended": ended_count,
        "photos_per_second": round(count / (time.monotonic() - start)),
        "broken_rules": broken,
    }


def _open(content: bytes) -> tuple[str, Outcome | None]:
    """What became of a photo in a word, and its outcome where it came to a worker."""
    try:
        outcome = open_measured(content)
    except LandmarkError as error:
        return error.reason, None
    except Exception as error:  # what the run is for: it is a row of its report
        return f"{type(error).__name__}: {error}", None
    return outcome.error.reason if outcome.error else "photo", outcome


def _broken_rule(word: str, outcome: Outcome | None) -> str:
    """Which rule a photo has broken; "" where it kept them all."""
    if not outcome:
        return "" if word == "empty" else word
    if outcome.photo and outcome.photo.image.mode != "RGB":
        return f"not RGB but {outcome.photo.image.mode}"
    if outcome.cpu_seconds > MAX_CPU_SECONDS:
        return f"{outcome.cpu_seconds:.1f} s of CPU time"
    return "too much memory" if outcome.memory_bytes > MAX_MEMORY_BYTES else ""


def main(arguments: list[str] | None = None) -> None:
    """Runs the fuzzer; ends with status 1 where a rule was broken."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--count", type=int, default=20_000, help="photos to open")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="for photos that break a rule")
    options = parser.parse_args(arguments)
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
    report = fuzz(options.count, options.seed, options.keep)
    text = json.dumps(report, indent=1) + "\n"
    if options.json:
        options.json.write_text(text, encoding="utf-8")
    sys.exit(text if report["broken_rules"] else print(text))


if __name__ == "__main__":
    main()
