"""Teaches landmarks that a network was not trained on, with 1 to 10 photos of each: teach.md.

    python -m benchmarks.teach --known world100 --unknown unknown --init lite2.safetensors

--known holds train/, validation/ and test/<class>/<photo>. 30 of its classes are held out, always
the same ones; a network is trained without them, first as a linear probe, and then taught them,
with photos of train/. --unknown is as for training. Choose by --split validation, where four fifths
of the held-out photos are the background and the others are measured; --split test, where all of
them are, is for the final figures, which docs/teach.md shows, too. Network and features of photos
are kept in --runs: after a kill the same command goes on, and one for another split trains nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.pages import HERE, SPLIT_NAMES, command_line, make_parser, run, table
from landmark_model.background import Background
from landmark_model.classifier import LandmarkClassifier
from landmark_model.config import LandmarkError, read_config
from landmark_model.files import write_between, write_text
from landmark_model.folders import find_photos
from landmark_model.hub.repo import METRICS_NAME, read_reference
from landmark_model.memory import unit_length
from landmark_model.photos import open_reduced
from landmark_model.places import Place
from landmark_model.preprocess import fewest_pixels
from landmark_model.runtime import Runtime, open_runtime
from landmark_model.teaching import Lessons, Look
from landmark_model.training.checkpoint import has_checkpoint
from landmark_model.training.metrics import measure_unknown
from landmark_model.training.options import FIRST_NETWORK, TrainOptions
from landmark_model.training.pipeline import train
from landmark_model.training.recipes import PROBE, RECIPES

# As what ships is trained, in a fifth of the time.
STEPS = {"probe": replace(PROBE, probe_copies=1),
         "network": replace(RECIPES[FIRST_NETWORK], epochs=3)}  # fmt: skip
COUNTS = (1, 3, 5, 10)  # photos of a landmark
HELD_OUT, TAUGHT, DRAWS = 30, 20, 5
HEADS = ("photos of each", "recall", "precision", "top-1 lost", "AUROC lost", "probe: recall",
         "probe: precision")  # fmt: skip
ABOUT = """# Taught landmarks

Written by `{command}`; do not edit. {held_out} landmarks were held out: {title}
was trained without them, as what ships but for {epochs} epochs, not {usual}, on {classes} others.
{taught} of them are taught with a few photos each; the means of {draws} draws of landmarks and
photos, and the lowest and highest recall. Measured on the photos of the split {split}: {known} of
trained landmarks, {unknown} of anything else, and those of the taught landmarks, about {fresh} a
draw. Recall: the share of these that are named right and taken for known. Precision: of all photos
that are named as a taught landmark and taken for known, the share that is right. Lost: what
teaching costs the trained landmarks, in points of top-1, and "none of these", in AUROC. The probe
is the linear probe on the same features: logistic regression of the taught landmarks, with the
background as one more class.

"""
GUIDE = HERE.parent / "docs" / "teach.md"
CURVE_START, CURVE_END = "<!-- curve: written by benchmarks/teach.py -->", "<!-- /curve -->"
ODD_HEADS = ("photos of each", "landmarks with a photo of their own named", "strangers named")
ABOUT_ODD = """## A photo unlike the others

How often teaching says that a photo looks unlike the others: where all show the landmark, and of a
stranger, a photo of another landmark or of anything else, in the place of one of them.
"""


# --- the network ---


def hold_out(known: Path) -> list[str]:
    """The landmarks that no network is trained on: of those with photos enough, the same each time.

    Raises LandmarkError if there are too few.
    """
    counts = [
        Counter(path.parent.name for path in find_photos(known / split).paths)
        for split in SPLIT_NAMES
    ]
    enough = [name for name, count in sorted(counts[0].items())
              if count >= max(COUNTS) and all(name in other for other in counts)]  # fmt: skip
    if len(enough) < HELD_OUT:
        raise LandmarkError(
            f"{known} has {len(enough)} landmarks with {max(COUNTS)} photos to be taught with and "
            f"others to be found; {HELD_OUT} are needed."
        )
    return sorted(np.random.default_rng(0).choice(enough, HELD_OUT, replace=False).tolist())


def link_others(known: Path, held_out: Sequence[str], folder: Path) -> Path:
    """`folder` with links to all classes of `known` that are not held out."""
    shutil.rmtree(folder, ignore_errors=True)  # of links only
    for split in SPLIT_NAMES:
        (folder / split).mkdir(parents=True)
        for place in (known / split).iterdir():
            if place.is_dir() and place.name not in held_out:
                (folder / split / place.name).symlink_to(place.resolve())
    return folder


def train_without(held_out: Sequence[str], options: argparse.Namespace) -> Path:
    """The folder of a network that was trained without some classes; trained if it is not there."""
    told = f"{held_out} {options.known.name} {options.unknown.name} {options.init.name} {STEPS}"
    runs = options.runs / hashlib.sha256(told.encode()).hexdigest()[:12]
    photos, init = link_others(options.known, held_out, runs / "photos"), options.init
    for name, recipe in STEPS.items():
        out = runs / name
        if not (out / METRICS_NAME).is_file():  # which is written last
            settings = TrainOptions(
                photos, out, FIRST_NETWORK, str(init), unknown=options.unknown,
                probe=recipe.probe_copies > 0, workers=options.workers, precision="no",
                resume=has_checkpoint(out),
            )  # fmt: skip
            train(settings, recipe)
        init = out
    return init


# --- photos ---


@dataclass(frozen=True, eq=False)
class Seen:
    """Photos as a network sees them: logits (N, C), features (N, D), and names of classes (N,)."""

    logits: np.ndarray
    features: np.ndarray
    names: np.ndarray

    def take(self, which: np.ndarray) -> Seen:
        """Some of them, by number or as a mask."""
        return Seen(self.logits[which], self.features[which], self.names[which])


def look_at(runtime: Runtime, folder: Path, cache: Path, left_out: Sequence[str] = ()) -> Seen:
    """The photos under `folder` but those of some classes, from `cache` if they are there."""
    stored = cache / f"{folder.parent.name}-{folder.name}.npz"
    if stored.is_file():
        return Seen(**np.load(stored))
    paths = [path for path in find_photos(folder).paths if path.parent.name not in left_out]
    enough, parts = fewest_pixels(runtime.config), []
    for start in range(0, len(paths), runtime.batch_size):
        some = paths[start : start + runtime.batch_size]
        parts.append(runtime.describe([open_reduced(path, enough).image for path in some]))
    logits, features = map(np.concatenate, zip(*parts, strict=True))
    seen = Seen(logits, features, np.array([path.parent.name for path in paths]))
    cache.mkdir(parents=True, exist_ok=True)
    np.savez(stored, **vars(seen))
    return seen


@dataclass(frozen=True, eq=False)
class Photos:
    """What is given, what the background is of, and what is measured: trained, others, taught."""

    given: Seen
    background: Background
    trained: Seen
    others: Seen
    fresh: Seen  # of landmarks that are not trained, to be found once they are taught


def split_photos(options: argparse.Namespace, runtime: Runtime, cache: Path) -> Photos:
    """The photos of a run by what they are for; see the program's description."""
    classes = runtime.config.class_names

    def seen(root: Path, split: str) -> Seen:
        return look_at(runtime, root / split, cache)

    given = look_at(runtime, options.known / "train", cache, classes)
    held, held_others = seen(options.known, "validation"), seen(options.unknown, "validation")
    is_trained = np.isin(held.names, classes)
    known, fresh = held.take(is_trained), held.take(~is_trained)
    if options.split == "validation":
        kept = [np.arange(len(one.names)) % 5 > 0 for one in (known, held_others)]
        back = Background.choose(known.features[kept[0]], held_others.features[kept[1]])
        return Photos(given, back, known.take(~kept[0]), held_others.take(~kept[1]), fresh)
    back = Background.choose(known.features, held_others.features)
    test, test_others = seen(options.known, "test"), seen(options.unknown, "test")
    is_trained = np.isin(test.names, classes)
    return Photos(given, back, test.take(is_trained), test_others, test.take(~is_trained))


# --- teaching, and what it costs ---


def probe(given: np.ndarray, owners: np.ndarray, background: np.ndarray) -> object:
    """Logistic regression on features: classes of `owners`, and -1 for the background."""
    from sklearn.linear_model import LogisticRegression

    features = np.concatenate([given, background])
    labels = np.concatenate([owners, np.full(len(background), -1)])
    return LogisticRegression(C=100, max_iter=100, class_weight="balanced").fit(features, labels)


def answers(
    tagger: LandmarkClassifier, lessons: Lessons, seen: Seen
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best guess for each photo (N,), the taught landmark that it is taken for or "" (N,), and
    its known-landmark score (N,), once `lessons` were taught."""
    tagger._lessons = lessons
    found = tagger._judge(seen.logits, seen.features, 1)
    best = [answer[0].class_name for answer in found]
    claims = [name if answer.is_known and name in lessons.names else ""
              for name, answer in zip(best, found, strict=True)]  # fmt: skip
    return np.array(best), np.array(claims), np.array([answer.score for answer in found])


def draws(photos: Photos, count: int) -> Iterator[tuple[list[str], np.ndarray]]:
    """Landmarks to be taught, and the numbers of `count` photos of each (T, count)."""
    names, counts = np.unique(photos.given.names, return_counts=True)
    enough = names[(counts >= max(COUNTS)) & np.isin(names, photos.fresh.names)]
    if len(enough) < TAUGHT:
        raise LandmarkError(f"There are {len(enough)} landmarks to be taught, not {TAUGHT}.")
    for draw in range(DRAWS):
        random = np.random.default_rng(draw)
        chosen = sorted(random.choice(enough, TAUGHT, replace=False).tolist())
        numbers = [random.permutation(np.flatnonzero(photos.given.names == n)) for n in chosen]
        yield chosen, np.stack([some[:count] for some in numbers])


def score(hits: Sequence[np.ndarray], wrong: int) -> tuple[float, float]:
    """Recall and precision, where `hits` says of each photo to be found whether it was."""
    right = int(np.sum(hits))
    return right / len(hits), right / max(1, right + wrong)


def measure(photos: Photos, tagger: LandmarkClassifier, count: int, look: Look) -> list[tuple]:
    """The figures of HEADS after the first, for each draw."""
    none = Lessons.none(look)
    before, _, scores = answers(tagger, none, photos.trained)
    top1 = (before == photos.trained.names).mean()
    auroc = measure_unknown("", scores, answers(tagger, none, photos.others)[2], 0).auroc
    rows = []
    for names, numbers in draws(photos, count):
        lessons = none
        for name, some in zip(names, numbers, strict=True):
            lessons = lessons.add(Place(name), photos.given.features[some])
        wanted = photos.fresh.take(np.isin(photos.fresh.names, names))
        found = answers(tagger, lessons, wanted)[1]
        known = answers(tagger, lessons, photos.trained)
        others = answers(tagger, lessons, photos.others)
        wrong = int(np.sum(known[1] != "") + np.sum(others[1] != ""))
        wrong += int(np.sum((found != "") & (found != wanted.names)))
        lost = 100 * (top1 - (known[0] == photos.trained.names).mean())
        away = auroc - measure_unknown("", known[2], others[2], 0).auroc
        probed = measure_probe(photos, names, numbers, wanted)
        rows.append((*score(found == wanted.names, wrong), lost, away, *probed))
    return rows


def measure_probe(
    photos: Photos, names: list[str], numbers: np.ndarray, wanted: Seen
) -> tuple[float, float]:
    """Recall and precision of the linear probe on the same photos."""
    owners = np.repeat(np.arange(len(names)), numbers.shape[1])
    given = unit_length(photos.given.features[numbers.ravel()])
    model = probe(given, owners, photos.background.features)
    truth = np.array([names.index(name) for name in wanted.names])
    found, *rest = (
        model.predict(unit_length(seen.features))
        for seen in (wanted, photos.trained, photos.others)
    )
    wrong = sum(int((guesses >= 0).sum()) for guesses in rest)
    return score(found == truth, wrong + int(((found >= 0) & (found != truth)).sum()))


def measure_odd(photos: Photos, count: int, look: Look) -> tuple[float, float]:
    """How often one photo of a landmark is said to look unlike the others (`Lessons.unlike`), and
    how often a stranger that takes the place of the first is said to."""
    strangers = np.concatenate([photos.trained.features, photos.others.features])
    random, own, caught = np.random.default_rng(0), [], []
    for names, numbers in draws(photos, count):
        for name, some in zip(names, numbers, strict=True):
            features = photos.given.features[some]
            stranger = strangers[random.integers(len(strangers), size=1)]
            mixed = np.concatenate([stranger, features[1:]])
            one, other = (Lessons.none(look).add(Place(name), f) for f in (features, mixed))
            own.append(one.unlike(name) is not None)
            caught.append(other.unlike(name) == 0)
    return float(np.mean(own)), float(np.mean(caught))


def cells(count: int, rows: list[tuple]) -> list[str]:
    """The means of the draws as a row of the table, with the lowest and highest recall."""
    recalls = [row[0] for row in rows]
    recall, precision, lost, away, probe_recall, probe_precision = np.mean(rows, axis=0)
    return [
        str(count), f"{recall:.0%} ({min(recalls):.0%} to {max(recalls):.0%})", f"{precision:.0%}",
        f"{lost:.1f}", f"{away:.3f}", f"{probe_recall:.0%}", f"{probe_precision:.0%}",
    ]  # fmt: skip


# --- the page ---


def make_curve(photos: Photos, tagger: LandmarkClassifier, look: Look) -> str:
    """What is found and lost by number of photos, as a Markdown table."""
    return table(HEADS, [cells(count, measure(photos, tagger, count, look)) for count in COUNTS])


def make_odd(photos: Photos, look: Look) -> str:
    """Which photos look unlike the others by number of photos, as a Markdown table."""
    odd = {count: measure_odd(photos, count, look) for count in COUNTS if count > 1}
    rows = [[count, *(f"{share:.0%}" for share in shares)] for count, shares in odd.items()]
    return table(ODD_HEADS, rows)


def describe(photos: Photos, tagger: LandmarkClassifier, split: str, command: str) -> str:
    """What was measured, and how."""
    config = tagger.config
    return ABOUT.format(
        command=command, taught=TAUGHT, draws=DRAWS, title=config.title, split=split,
        classes=len(config.class_names), known=len(photos.trained.names),
        unknown=len(photos.others.names), held_out=HELD_OUT, epochs=STEPS["network"].epochs,
        usual=RECIPES[FIRST_NETWORK].epochs,
        fresh=round(len(photos.fresh.names) * TAUGHT / len(np.unique(photos.fresh.names))),
    )  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Trains if there is no network yet, teaches, measures, and writes the table."""
    options = parse(arguments)
    folder = train_without(hold_out(options.known), options)
    config = read_config(folder)
    runtime = open_runtime(config, folder)
    tagger = LandmarkClassifier(runtime, read_reference(config, folder))
    photos = split_photos(options, runtime, folder.parent / "seen")
    look = Look.at(photos.background)
    curve = make_curve(photos, tagger, look)
    about = describe(photos, tagger, options.split, command_line("teach", arguments))
    page = f"{about}{curve}\n\n{ABOUT_ODD}\n{make_odd(photos, look)}\n"
    write_text(options.out / "teach.md", page)
    if options.split == "test" and options.out == HERE:
        write_between(GUIDE, CURVE_START, CURVE_END, curve)
    print(page)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = make_parser("teach", __doc__)
    add = parser.add_argument
    add("--known", type=Path, required=True, metavar="FOLDER")
    add("--unknown", type=Path, required=True, metavar="FOLDER")
    add("--init", type=Path, required=True, metavar="FILE",
        help=f"ImageNet weights of {FIRST_NETWORK}")  # fmt: skip
    add("--split", choices=("validation", "test"), default="validation")
    add("--workers", type=int, default=2, metavar="N", help="as for train.py; default: 2")
    add("--runs", type=Path, default=Path("runs/teach"), metavar="FOLDER",
        help="where network and features are kept; default: %(default)s")  # fmt: skip
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run(main)
