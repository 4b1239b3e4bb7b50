"""The steps of a training run: photos -> report -> network -> fit -> measure -> files -> hub."""

from __future__ import annotations

import json
import platform
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import nn

from landmark_model import __version__, networks
from landmark_model.config import (
    EXPORT_NAMES,
    LandmarkError,
    ModelConfig,
    read_config,
)
from landmark_model.files import staged
from landmark_model.hub.card import write_card
from landmark_model.hub.client import require_login
from landmark_model.hub.publish import publish
from landmark_model.hub.repo import (
    CARD_NAME,
    FEATURES_NAME,
    KNOWN_HEAD_NAME,
    METRICS_NAME,
    save,
    to_json,
    write_checksums,
)
from landmark_model.memory import MOST_NUMBERS, Memory
from landmark_model.places import find_place
from landmark_model.preprocess import shrink
from landmark_model.training import data, plots, probe
from landmark_model.training.augment import train_transform
from landmark_model.training.checkpoint import CHECKPOINT_NAME, has_checkpoint, read_about
from landmark_model.training.distillation import Teacher
from landmark_model.training.evaluate import Evaluation, evaluate, interpolate
from landmark_model.training.export import EXPORTS
from landmark_model.training.fit import Batches, Progress, fit, require_same_run
from landmark_model.training.optimizer import make_optimizer, parameter_groups
from landmark_model.training.options import TrainOptions, parse, portable
from landmark_model.training.precision import choose_precision
from landmark_model.training.recipes import Recipe
from landmark_model.training.report import DataReport, make_report
from landmark_model.training.session import Session, open_session
from landmark_model.training.start import Start, start_from_file, start_pretrained


def main(arguments: list[str] | None = None) -> None:
    """Trains with the options of the command line."""
    train(parse(arguments))


def train(options: TrainOptions, recipe: Recipe | None = None) -> Evaluation:
    """Trains, measures and writes a network to `options.out`; returns the measurements.

    It is trained by its own recipe of `RECIPES`; to change a number, give `dataclasses.replace` of
    that. Raises LandmarkError if photos, weights or settings cannot be used.
    """
    recipe = options.apply_to(recipe)
    if options.push_to:
        require_login(options.push_to)  # now, not after hours
    data.require_folder(options.data)
    resume = can_resume(options, recipe)
    precision = find_precision(options, recipe, resume)
    session = open_session(options.out, precision, options.seed, resume, options.workers)
    made = prepare(options, recipe, session)
    if session.accelerator.is_main_process:
        write_report(made.report, made.photos, made.config, session)
        count = parameter_count(made.network) / 1e6
        print(f"\n{options.network}: {count:.1f} M parameters; {made.start}")
    learned = learn(made, recipe, session)
    networks.round_to_half(made.network)  # before measuring: the figures are of what is written
    measured = measure(made, recipe, session)
    if session.accelerator.is_main_process:
        facts = describe_fit(made.start, recipe, learned, session)
        facts |= describe_history(options.command(recipe), options.sources, learned.seconds)
        facts |= {"parameters": parameter_count(made.network)}
        facts |= {"data": describe_data(made.report, options.data, options.about_data)}
        write_outputs(made.network.cpu(), measured, facts, learned.progress, options.out)
        print(summary(measured, options.out))
        push(options.out, options.push_to, options.private)
    session.accelerator.end_training()
    return measured


def can_resume(options: TrainOptions, recipe: Recipe) -> bool:
    """Whether the run is to go on from a checkpoint, and there is one.

    Raises LandmarkError if that is of another run, before hours are spent on photos.
    """
    if not options.resume:
        return False
    if not has_checkpoint(options.out):
        print(f"{options.out} has no {CHECKPOINT_NAME} yet: starting from the beginning.")
        return False
    require_same_run(read_about(options.out), recipe, options.seed)
    return True


def find_precision(options: TrainOptions, recipe: Recipe, resume: bool) -> str:
    """The numbers to train in, "no" (float32), "bf16" or "fp16": a run goes on in the same."""
    if options.precision != "auto":
        return options.precision
    before = read_about(options.out).get("precision") if resume else None
    return before or choose_precision(options.network, recipe.train_size)


@dataclass(frozen=True)
class Prepared:
    """All that a run needs before its first step."""

    report: DataReport
    config: ModelConfig
    photos: Photos
    network: nn.Module
    start: Start
    teacher: Teacher | None


def prepare(options: TrainOptions, recipe: Recipe, session: Session) -> Prepared:
    """Photos and network of a run, read and ready. Raises LandmarkError if they cannot be used."""
    with session.accelerator.main_process_first():
        splits, skipped = data.load_splits(
            options.data, options.seed, options.share, options.allow_missing
        )
        unknown, left_out = {}, []
        if options.unknown:
            unknown, left_out = data.load_unknown(options.unknown, splits)
        config = make_config(options.network, splits.class_names, recipe)
        photos = find_photos(splits, unknown, config, recipe)
    network = networks.build(config)
    require_room(len(photos.seen["memory"]), network.num_features)
    start = initialise(network, config.architecture, options.first_weights, options.from_scratch)
    teacher = find_teacher(options.teacher, config) if options.teacher else None
    report = make_report(splits, skipped, options.data, left_out)
    return Prepared(report, config, photos, network, start, teacher)


# --- photos ---


@dataclass(frozen=True)
class Photos:
    """The photos of a run. `train` are varied; all others look as answers will see them.

    `seen` are "validation", "test", and "memory", the training photos again; `unknown` those that
    show no class by split, of which "train" are varied, too.
    """

    train: data.PhotoSet
    seen: dict[str, data.PhotoSet]
    unknown: dict[str, data.PhotoSet]


def make_config(network: str, class_names: tuple[str, ...], recipe: Recipe) -> ModelConfig:
    """The config of the network to be trained."""
    labels = tuple(find_place(name).name for name in class_names)
    if len(set(labels)) < len(labels):  # two folders of one landmark: tell them apart
        labels = class_names
    return ModelConfig(
        network,
        class_names,
        labels,
        recipe.image_size,
        recipe.view,
        **networks.normalisation(network),
    )


def find_photos(
    splits: data.Splits, unknown: data.Tables, config: ModelConfig, recipe: Recipe
) -> Photos:
    """The photos of each split, decoded and shrunk, and those of the tables `unknown`."""
    side_px = round(1.5 * max(recipe.train_size, recipe.image_size))
    vary = train_transform(config, recipe)

    def varied(table: data.Table) -> data.PhotoSet:
        return data.PhotoSet(table, lambda photo: shrink(photo, side_px), vary, f"shrink {side_px}")

    tables = {"validation": splits.validation, "test": splits.test, "memory": splits.train}
    seen = {name: data.seen_photos(table, config) for name, table in tables.items()}
    others = {
        split: varied(table) if split == "train" else data.seen_photos(table, config)
        for split, table in unknown.items()
    }
    return Photos(varied(splits.train), seen, others)


def require_room(photo_count: int, feature_count: int) -> None:
    """Raises LandmarkError if the kNN memory would be too large for `load`."""
    if not Memory.has_room(photo_count, feature_count):
        raise LandmarkError(
            f"{photo_count:,} training photos are too many for the kNN memory that detects unknown "
            f"photos: it has room for {MOST_NUMBERS // feature_count:,} of this network. Train on "
            "fewer photos of each class."
        )


def write_report(report: DataReport, photos: Photos, config: ModelConfig, session: Session) -> None:
    """Prints the data report and writes it, with its pictures, to the run folder."""
    print(f"\nData report\n{report}")
    generator = torch.Generator().manual_seed(session.seed)
    shown = torch.randperm(len(photos.train), generator=generator)[:40].tolist()
    images, labels = zip(*(photos.train[index] for index in shown), strict=True)
    with staged(session.folder) as folder:
        (folder / "data_report.json").write_text(to_json(report), encoding="utf-8")
        plots.class_histogram(report, folder / "class_histogram.png")
        plots.contact_sheet(torch.stack(images), list(labels), config, folder / "contact_sheet.png")


# --- learning ---


def initialise(
    network: nn.Module, architecture: str, weights: Path | None, from_scratch: bool
) -> Start:
    """Loads the initial weights: from a file, or timm's from ImageNet."""
    if from_scratch:
        return Start("from scratch")
    if weights is None:
        print(f"Fetching timm's ImageNet weights for {architecture} from the hub", flush=True)
        return start_pretrained(network, architecture)
    start = start_from_file(network, weights)
    # All runs call their weights alike: the folder tells which one's they are.
    earlier = earlier_run(weights)
    return replace(
        start, source=portable(weights), base_model=earlier.get("base_model", start.base_model)
    )


def find_teacher(folder: Path, config: ModelConfig) -> Teacher:
    """The trained network in `folder`, ready to teach a student with `config`."""
    theirs = read_config(folder)
    return Teacher(networks.restore(theirs, folder), theirs, config)


@dataclass(frozen=True)
class Learned:
    """The outcome of training: its curve, its time, and what weight interpolation tried.

    `shares` is the validation loss by share of the trained weights; {} without interpolation.
    """

    progress: Progress
    seconds: float
    shares: dict[float, float]


def learn(made: Prepared, recipe: Recipe, session: Session) -> Learned:
    """Trains the network by the recipe, in place: all of it, or for a probe its last layer."""
    began, network, start = time.monotonic(), made.network, made.start
    first = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    learner = probe.Head(network) if recipe.probe_copies else network
    batches = learning_batches(made, recipe, session)
    seconds = time.monotonic() - began  # of frozen features; none else
    groups = parameter_groups(learner, start, recipe.lr, recipe.layer_decay, recipe.weight_decay)
    optimizer = make_optimizer(groups, recipe.muon)
    progress = fit(learner, optimizer, batches, recipe, session, made.teacher)
    seconds += sum(epoch.seconds for epoch in progress.epochs)
    shares: dict[float, float] = {}
    if recipe.interpolation and start.filled and not start.fresh:
        loader = seen_batches(made.photos.seen, recipe.batch_size, session)["validation"]
        shares = interpolate(network, made.config, first, loader, session.accelerator)
        if session.accelerator.is_main_process:
            tried = ", ".join(f"{share:.0%}: {loss:.3f}" for share, loss in shares.items())
            print(f"Validation loss by share of the trained weights: {tried}")
    return Learned(progress, seconds, shares)


def learning_batches(made: Prepared, recipe: Recipe, session: Session) -> Batches:
    """The training batches: photos, or for a linear probe their features."""
    photos, workers = made.photos, session.workers
    sets = {"train": photos.train, "validation": photos.seen["validation"]}
    if "train" in photos.unknown:
        sets["unknown"] = photos.unknown["train"]
    if recipe.probe_copies:
        probe.require_whole(made.start)
        workers = 0  # handing features over would take longer than reading them
        sets = {
            split: probe.frozen_views(made.network, made.config, of_split, split, recipe, session)
            for split, of_split in sets.items()
        }
    size = recipe.batch_size
    unknown_count = max(1, round(recipe.unknown_share * size))
    return Batches(
        data.make_batches(sets["train"], size, True, workers, recipe.balance),
        data.make_batches(sets["validation"], size, False, workers),
        data.make_batches(sets["unknown"], unknown_count, True, workers)
        if "unknown" in sets
        else None,
    )


def seen_batches(photos: dict, batch_size: int, session: Session) -> dict:
    """Unshuffled batches of photos by split, ready to be measured."""
    return {
        split: session.accelerator.prepare(
            data.make_batches(of_split, batch_size, False, session.workers)
        )
        for split, of_split in photos.items()
    }


def measure(made: Prepared, recipe: Recipe, session: Session) -> Evaluation:
    """The network's scores, with temperature and threshold that fit validation."""
    photos = made.photos
    to_measure = {split: some for split, some in photos.unknown.items() if split != "train"}
    known, unknown = (
        seen_batches(group, recipe.batch_size, session) for group in (photos.seen, to_measure)
    )
    return evaluate(made.network, made.config, known, unknown, session.accelerator)


# --- what the card tells ---


def parameter_count(network: nn.Module) -> int:
    """The number of trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def describe_data(report: DataReport, folder: Path, about: str) -> dict:
    """The card's facts about the photos in `folder`."""
    counts = [count["train"] for count in report.counts.values()]
    return {
        "name": folder.resolve().name,
        "about": about,
        "classes": len(report.counts),
        "photos": report.totals(),
        "fewest": min(counts),
        "most": max(counts),
        "leaks": len(report.leaks),
        "skipped": len(report.skipped),
    }


def describe_fit(start: Start, recipe: Recipe, learned: Learned, session: Session) -> dict:
    """The card's facts about training: start, recipe, hardware, curve."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    accelerator, progress = session.accelerator, learned.progress
    precision = accelerator.mixed_precision.replace("no", "float32")
    return {
        "start": str(start),
        "base_model": start.base_model,
        "recipe": asdict(recipe) | {"seed": session.seed},
        "hardware": f"{accelerator.num_processes} x {device}, {torch.get_num_threads()} threads, "
        f"{precision} precision",
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "landmark_model": __version__,
        },
        "best_epoch": progress.best_epoch,
        "blend": learned.shares,
        "epochs": [asdict(epoch) for epoch in progress.epochs],
    }


def describe_history(command: str, sources: list[Path], seconds: float) -> dict:
    """The commands that led to this run, starting with its `sources`, and their total seconds."""
    spent: dict[str, float] = {}
    for weights in sources:
        earlier = earlier_run(weights)
        spent |= zip(earlier.get("commands", ()), earlier.get("command_seconds", ()), strict=False)
    spent[command] = round(seconds)
    return {
        "commands": [*spent],
        "command_seconds": [*spent.values()],
        "fit_seconds": sum(spent.values()),
    }


def earlier_run(weights: Path) -> dict:
    """The metadata of the run that wrote `weights`; {} if no run of ours did."""
    path = weights.parent / METRICS_NAME
    if not path.is_file():
        return {}
    return json.loads(path.read_text(encoding="utf-8")).get("training", {})


# --- files ---


def write_outputs(
    network: nn.Module, measured: Evaluation, facts: dict, progress: Progress, out: Path
) -> None:
    """Writes weights, config, exports, metrics, plots, card and checksums: all or none."""
    config, scores = measured.config, measured.scores
    with staged(out) as folder:
        extra = measured.reference, measured.background
        save(networks.to_arrays(network), config, folder, *extra)
        for kind, export in EXPORTS.items():
            path = folder / EXPORT_NAMES[kind]
            facts[f"{kind}_difference"] = export(network, config, path)
        figures = {**scores, "unknown": measured.unknown, "training": facts}
        (folder / METRICS_NAME).write_text(to_json(figures), encoding="utf-8")
        plots.training_curve(progress.epochs, progress.best_epoch, folder / "training_curve.png")
        plots.reliability_diagram(scores["test"], folder / "reliability.png")
        plots.confusion_matrix(scores["test"], config.labels, folder / "confusion_matrix.png")
        for name in (FEATURES_NAME, KNOWN_HEAD_NAME):
            if not (folder / name).exists():
                (out / name).unlink(missing_ok=True)  # of a run before this one
        write_card(folder, folder / CARD_NAME)
        write_checksums(folder)


def push(out: Path, repo: str | None, private: bool) -> None:
    """Publishes the run in `out` to `repo`, if given. If the push fails, the run stays intact."""
    if repo is None:
        return
    try:
        print(f"\n{publish([out], repo, private=private)}")
    except LandmarkError as error:
        raise LandmarkError(
            f"{error}\nThe run is complete. To publish it later: landmark push {out} {repo}"
        ) from error


def summary(measured: Evaluation, out: Path) -> str:
    """The final message of a run."""
    test, unknown = measured.scores["test"], measured.unknown.get("test")
    none_of_these = unknown and (
        f"None of these ({unknown.method}): AUROC {unknown.auroc:.3f}, FPR at 95 % TPR "
        f"{unknown.fpr95:.1%} on {unknown.unknown_count} photos\n"
    )
    return (
        f"\nTest: top-1 {test.top1:.1%}, top-5 {test.top5:.1%}, calibration error "
        f"{test.calibration_error:.1%} on {test.photo_count} photos\n{none_of_these or ''}"
        f"Written to {out}. Use it: load({str(out)!r}), or landmark serve --repo {out}"
    )
