"""Trains a landmark classifier on an image folder and writes everything needed to use it.

    python train.py --data FOLDER --network resnet18 --out runs/mine

FOLDER holds train/<class>/<photo>, and optionally validation/ and test/ alike; or just
<class>/<photo>, then it is split. On several processes or GPUs: accelerate launch train.py ...
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch.utils.data import Dataset as TorchDataset

from landmark_model import (
    LandmarkError,
    autoencoder,
    data,
    hub,
    networks,
    pictures,
    quick,
    training,
)
from landmark_model.card import write_card
from landmark_model.config import (
    KNOWN_METHODS,
    ONNX_NAME,
    TORCHSCRIPT_NAME,
    VIEWS,
    WEIGHTS_NAME,
    ModelConfig,
    read_config,
)
from landmark_model.evaluation import WEIGHTS, Evaluation, blend, evaluate
from landmark_model.export import export_onnx, export_torchscript
from landmark_model.files import printable, staged
from landmark_model.hubclient import require_login
from landmark_model.metrics import Metrics
from landmark_model.neighbours import Neighbours
from landmark_model.places import find_place
from landmark_model.publish import publish
from landmark_model.smoke import make_photos
from landmark_model.transforms import (
    GENTLE,
    PLAIN,
    Augmentation,
    eval_transform,
    eval_views,
    mix_transform,
    shrink,
    train_transform,
)


def main(arguments: list[str] | None = None) -> None:
    """The pipeline: photos -> report -> network -> fit -> measure -> files -> hub."""
    options = parse(arguments)
    if options.push_to:
        require_login(options.push_to)  # now, not after hours
    accelerator = training.make_accelerator(options.precision, options.seed)
    with accelerator.main_process_first():
        splits, skipped = data.load_splits(options.data, options.seed, options.share,
                                           options.allow_missing)  # fmt: skip
        config = make_config(options, splits)
        sets = make_sets(splits, config, options)
    network = networks.build(config)
    require_room(network, config, sets)
    start = initialise(network, options)
    report = data.make_report(splits, skipped, options.data)
    if accelerator.is_main_process:
        write_report(report, sets["train"], config, options)
        print(f"\n{options.network}: {parameter_count(network) / 1e6:.1f} M parameters; {start}")
    unknown = find_unknown(options, config)
    pretraining = pretrain(network, config, options, accelerator)
    strangers = unknown.pop("train", None)
    progress = fit(network, start, sets, strangers, config, options, accelerator)
    shares = find_blend(network, sets, options, accelerator)
    networks.round_to_half(network)  # before measuring: the figures are of what is written
    measured = measure(network, sets, unknown, config, options, accelerator)
    if accelerator.is_main_process:
        facts = describe_run(options, start, progress, accelerator)
        facts |= describe_pretraining(pretraining, facts) | {
            "blend": shares,
            "parameters": parameter_count(network),
            "data": describe_data(report, options),
        }
        write_outputs(network.cpu(), measured, facts, progress, options.out)
        print(summary(measured, options.out))
        push(options)
    accelerator.end_training()


def make_config(options: argparse.Namespace, splits: data.Splits) -> ModelConfig:
    """The config of the network to be trained."""
    labels = tuple(find_place(name).name for name in splits.class_names)
    if len(set(labels)) < len(labels):  # two folders of one landmark: tell them apart
        labels = splits.class_names
    return ModelConfig(
        options.network,
        splits.class_names,
        labels,
        options.image_size,
        options.view,
        **networks.normalisation(options.network),
        model_args=options.model_args,
        flip=options.flip,
    )


def make_sets(
    splits: data.Splits, config: ModelConfig, options: argparse.Namespace
) -> dict[str, data.PhotoSet | data.SeenPhotos]:
    """The photos of each split, decoded and shrunk: varied for training, fixed for the others.

    "known" are the training photos as the others are seen, for answers that compare with them.
    """
    side_px = round(1.5 * max(options.train_size, config.image_size))
    vary = train_transform(config, augmentation(options))
    sets = {
        "train": data.PhotoSet(
            splits.train, lambda photo: shrink(photo, side_px), vary, f"shrink {side_px}"
        )
    }
    fixed = {"validation": splits.validation, "test": splits.test}
    if options.neighbours or "knn" in known_methods(options):
        fixed["known"] = splits.train
    return sets | {name: seen_photos(table, config) for name, table in fixed.items()}


def seen_photos(table, config: ModelConfig) -> data.SeenPhotos:
    """The photos in `table` as the network sees them when it answers."""
    views = eval_views(config)
    return data.SeenPhotos(
        [data.PhotoSet(table, view.cut, view.finish, view.name) for view in views]
    )


def require_room(network: torch.nn.Module, config: ModelConfig, sets: dict) -> None:
    """Raises LandmarkError where answers would compare with more photos than `load` takes."""
    count, classes = len(sets.get("known", ())), len(config.class_names)
    if not Neighbours.has_room(count, classes, network.num_features):
        raise LandmarkError(
            f"{count:,} training photos of {classes:,} classes are too many for answers to compare "
            "with. Train without: --no-neighbours --known-method energy"
        )


def known_methods(options: argparse.Namespace) -> tuple[str, ...]:
    """The scores for "none of these" to choose from."""
    if options.known_method:
        return (options.known_method,)
    can_choose = options.unknown and (options.unknown / "validation").is_dir()
    return KNOWN_METHODS if can_choose else ("knn",)


def augmentation(options: argparse.Namespace) -> Augmentation:
    """How the options want training photos varied."""
    return Augmentation(options.train_size, **{name: getattr(options, name) for name in VARIED})


def setting(options: argparse.Namespace) -> dict[str, object]:
    """How training photos are varied: what --resume may not change, either.

    It may change how photos are seen when the network answers, even of a finished run.
    """
    return {name: getattr(options, name) for name in ("train_size", *VARIED)}


def initialise(network: torch.nn.Module, options: argparse.Namespace) -> networks.Start:
    """Fills the network with its first weights."""
    if options.init and options.init != "none":
        start = networks.start_from_file(network, Path(options.init))
        # All runs call their weights alike: the folder tells which one's they are.
        start = replace(start, source=portable(options.init))
        if options.blend and start.fresh:
            raise LandmarkError(
                f"--blend needs first weights of every layer, yet {start}. Leave out --blend."
            )
        return start
    if options.network == "landmark_cnn" or options.init == "none":
        return networks.Start("from scratch")
    print(f"Fetching timm's ImageNet weights for {options.network} from the hub", flush=True)
    return networks.start_pretrained(network, options.network)


def pretrain(network, config, options, accelerator) -> autoencoder.Pretraining | None:
    """Fills the encoder by mending unlabelled photos, where the options ask for it.

    `fit` then takes it for fresh, at the full learning rate: what mending teaches is far from what
    telling landmarks apart needs.
    """
    if options.pretrain_autoencoder is None:
        return None
    if options.resume:  # the checkpoint has the weights
        return autoencoder.restore(options.out)[1]
    plain = replace(PLAIN, size=options.train_size, min_area=options.min_area)
    photos = autoencoder.UnlabelledPhotos(
        options.pretrain_autoencoder,
        round(1.25 * options.train_size),
        train_transform(config, plain),
        accelerator.is_main_process,
    )
    batches = autoencoder.make_batches(photos, options.batch_size, options.workers)
    if accelerator.is_main_process:
        for item in photos.skipped:
            print(f"Skipped: {item.path}: {item.reason}")
    return autoencoder.learn_to_see(
        network, photos, batches, options.pretrain_epochs, accelerator, options.out, options.seed
    )


def find_teacher(
    folders: list[Path] | None, config: ModelConfig
) -> networks.Teacher | networks.Teachers | None:
    """The trained networks in `folders`, ready to teach one with `config`."""
    if not folders:
        return None
    found = []
    for folder in folders:
        theirs = read_config(folder)
        found.append(networks.Teacher(networks.restore(theirs, folder), theirs, config))
    return found[0] if len(found) == 1 else networks.Teachers(found)


def find_unknown(options: argparse.Namespace, config: ModelConfig) -> dict[str, data.Outsiders]:
    """The photos under --unknown that show no class, by split; {} where there is no folder.

    "train" are those to learn from, with --expose alone: its own, and two thirds of validation's.
    """
    folder = options.unknown
    if folder is None:
        return {}
    wanted = ("train", "validation", "test") if options.expose else ("validation", "test")
    splits = [split for split in wanted if (folder / split).is_dir()]
    if not splits:
        raise LandmarkError(
            f"{folder} has neither a validation nor a test folder. Put photos that show none of "
            "the classes in --unknown FOLDER/validation and FOLDER/test."
        )
    look, vary = eval_transform(config), train_transform(config, augmentation(options))
    found = {
        split: data.Outsiders(folder / split, vary if split == "train" else look)
        for split in splits
    }
    for split, photos in found.items():
        for item in photos.skipped:
            print(f"Skipped: {split}/{item.path}: {item.reason}")
    if options.expose and "validation" in found:
        taken = found["validation"].cut_off(vary)
        if "train" in found:
            taken.paths += found["train"].paths
        found["train"] = taken
    return found


def batches(photos: TorchDataset, options: argparse.Namespace, shuffle: bool = False):
    """The batches of one split."""
    return data.make_batches(photos, options.batch_size, shuffle, options.workers, options.balance)


def frozen_views(network, photos, split, options, accelerator) -> quick.Views:
    """The frozen network's features of photos: of several views of each, in validation of one."""
    count, varied = (1, "") if split == "validation" else (options.views, augmentation(options))
    path = options.out / quick.VIEWS_NAME.format(split=split)
    features = quick.compute_views(
        network, batches(photos, options), count, accelerator, path, f"{photos.key} {varied}"
    )
    return quick.Views(features, photos.labels)


def fit_head(network, start, sets, strangers, config, options, accelerator) -> training.Progress:
    """Fits the last layer only, on features of the frozen rest: the quick mode."""
    names = {name.split(".")[0] for name in start.fresh}
    if not start.filled or len(names) > 1:
        raise LandmarkError(
            f"--quick keeps all but the last layer, yet {start}. Give --init weights of a whole "
            f"{options.network}, or leave out --quick."
        )
    began = time.monotonic()
    shown = {"train": sets["train"], "validation": sets["validation"].views[0]}
    shown |= {"outsider": strangers} if strangers else {}
    views = {
        split: frozen_views(network, photos, split, options, accelerator)
        for split, photos in shown.items()
    }
    recipe = training.Recipe(**{name: getattr(options, name) for name in RECIPE})
    head = quick.Head(network)
    seconds = time.monotonic() - began
    groups = networks.parameter_groups(head, start, recipe.lr, 1.0, recipe.weight_decay)
    progress = training.fit(
        head,
        networks.make_optimizer(groups),
        batches(views["train"], options, shuffle=True),
        batches(views["validation"], options),
        mix_transform(len(config.class_names), recipe.mixup, 0.0),
        recipe,
        accelerator,
        options.out,
        options.resume,
        outliers=outlier_batches(views.get("outsider"), options),
        setting=setting(options),
    )
    return replace(progress, seconds_before=seconds)


def outlier_batches(strangers, options: argparse.Namespace):
    """Batches of photos of no class, or of their features, as large as --outlier-share says."""
    if strangers is None:
        return None
    count = max(1, round(options.outlier_share * options.batch_size))
    return data.make_batches(strangers, count, True, options.workers)


def fit(network, start, sets, strangers, config, options, accelerator) -> training.Progress:
    """Fits the network by the recipe that the options name."""
    if options.quick:
        return fit_head(network, start, sets, strangers, config, options, accelerator)
    recipe = training.Recipe(**{name: getattr(options, name) for name in RECIPE})
    networks.freeze(network, recipe.frozen_layers)

    def grow(epoch: int) -> None:
        now = augmentation(options).at(epoch, recipe.epochs)
        sets["train"].vary = train_transform(config, now)
        if strangers:
            strangers.transform = sets["train"].vary

    groups = networks.parameter_groups(
        network, start, recipe.lr, recipe.layer_decay, recipe.weight_decay
    )
    teacher = find_teacher(options.teacher, config)
    if recipe.feature_distillation:
        network = networks.Pupil(network, teacher.feature_count)
        groups += [{"params": [*network.guess.parameters()], "lr": recipe.lr, "weight_decay": 0.0}]
    return training.fit(
        network,
        networks.make_optimizer(groups, recipe.muon),
        batches(sets["train"], options, shuffle=True),
        batches(sets["validation"].views[0], options),
        mix_transform(len(config.class_names), recipe.mixup, recipe.cutmix),
        recipe,
        accelerator,
        options.out,
        options.resume,
        grow,
        teacher,
        outlier_batches(strangers, options),
        setting(options),
    )


def find_blend(network, sets, options, accelerator) -> dict[float, float]:
    """Blends the trained weights with those of --init, where the options ask for it.

    Returns the validation loss by share of the trained weights; {} where they are kept as they are.
    """
    if not options.blend:
        return {}
    first = networks.read_weights(Path(options.init))
    validation = accelerator.prepare(batches(sets["validation"], options))
    losses = blend(network, first, validation, accelerator)
    if accelerator.is_main_process:
        tried = ", ".join(f"{share:.0%}: {loss:.3f}" for share, loss in losses.items())
        print(f"Validation loss by share of the trained weights: {tried}")
    return losses


def measure(network, sets, unknown, config, options, accelerator) -> Evaluation:
    """The network's scores, with temperature, neighbours and threshold that fit validation."""
    known, outsiders = (
        {name: accelerator.prepare(batches(photos, options)) for name, photos in group.items()}
        for group in ({name: sets[name] for name in sets if name != "train"}, unknown)
    )
    weights = WEIGHTS if options.neighbours else (0.0,)
    return evaluate(network, config, known, outsiders, accelerator, known_methods(options), weights)


def write_report(report: data.DataReport, photos, config, options) -> None:
    """Prints the data report and writes it, with its pictures, to the run folder."""
    print(f"\nData report of {options.data.name}\n{report}")
    generator = torch.Generator().manual_seed(options.seed)
    shown = torch.randperm(len(photos), generator=generator)[:40].tolist()
    images, labels = zip(*(photos[index] for index in shown), strict=True)
    with staged(options.out) as folder:
        (folder / "data_report.json").write_text(hub.to_json(report), encoding="utf-8")
        pictures.class_histogram(report, folder / "class_histogram.png")
        pictures.contact_sheet(
            torch.stack(images), list(labels), config, folder / "contact_sheet.png"
        )


def parameter_count(network: torch.nn.Module) -> int:
    """How many numbers the network learns."""
    return sum(parameter.numel() for parameter in network.parameters())


def describe_data(report: data.DataReport, options) -> dict:
    """What the card tells about the photos."""
    training = [count["train"] for count in report.counts.values()]
    return {
        "name": options.data.resolve().name,
        "about": options.about_data,
        "classes": len(report.counts),
        "photos": report.totals(),
        "fewest": min(training),
        "most": max(training),
        "leaks": len(report.leaks),
        "skipped": len(report.skipped),
    }


def describe_run(options, start, progress, accelerator) -> dict:
    """What the card tells about the run: command, hardware, time, curve; no folder names."""
    words = [portable(word) for word in options.command if word != "--resume"]
    earlier = earlier_run(options.init)
    seconds = progress.seconds_before + sum(epoch.seconds for epoch in progress.epochs)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    return {
        "commands": [*earlier_commands(options), shlex.join(["python", "train.py", *words])],
        "start": str(start),
        "base_model": start.base_model or earlier.get("base_model", ""),
        "recipe": {name: getattr(options, name) for name in RECIPE},
        "augmentation": asdict(augmentation(options)),
        "hardware": f"{accelerator.num_processes} x {device}, {torch.get_num_threads()} threads, "
        f"{training.name_precision(accelerator.mixed_precision)} precision",
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "fit_seconds": round(seconds + earlier.get("fit_seconds", 0)),
        "best_epoch": progress.best_epoch,
        "epochs": [asdict(epoch) for epoch in progress.epochs],
    }


def describe_pretraining(pretraining: autoencoder.Pretraining | None, facts: dict) -> dict:
    """What of the `facts` of a run is different where an autoencoder came first."""
    if pretraining is None:
        return {}
    return {
        "start": str(pretraining),
        "fit_seconds": facts["fit_seconds"] + round(pretraining.seconds),
        "pretraining": asdict(pretraining),
    }


def portable(word: str) -> str:
    """A word of the command line without the folders of this machine."""
    option, equals, value = word.rpartition("=") if word.startswith("--") else ("", "", word)
    path = Path(value)
    return option + equals + (path.name if path.is_absolute() or ".." in path.parts else value)


def earlier_commands(options: argparse.Namespace) -> list[str]:
    """The commands that made the first weights and the teachers, as far as they are known."""
    files = [options.init, *(folder / WEIGHTS_NAME for folder in options.teacher or ())]
    found = [command for file in files for command in earlier_run(file).get("commands", ())]
    return list(dict.fromkeys(found))


def earlier_run(weights: str | Path | None) -> dict:
    """What the run that made the file `weights` says of itself; {} where it is from elsewhere."""
    metrics_path = Path(weights or "").parent / hub.METRICS_NAME
    if not weights or not metrics_path.is_file():
        return {}
    return json.loads(metrics_path.read_text(encoding="utf-8")).get("training", {})


def write_outputs(network, measured: Evaluation, facts, progress, out: Path) -> None:
    """Writes weights, config, exports, metrics, pictures, card and checksums: all, or nothing."""
    config, scores, neighbours = measured.config, measured.scores, measured.neighbours
    with staged(out) as folder:
        hub.save(network, config, folder, neighbours=neighbours)
        facts["torchscript_difference"] = export_torchscript(
            network, config, folder / TORCHSCRIPT_NAME, neighbours
        )
        facts["onnx_difference"] = export_onnx(network, config, folder / ONNX_NAME, neighbours)
        alone = {split: few_figures(scores) for split, scores in measured.last_layer.items()}
        figures = {**scores, "last_layer": alone, "unknown": measured.unknown, "training": facts}
        (folder / hub.METRICS_NAME).write_text(hub.to_json(figures), encoding="utf-8")
        pictures.training_curve(progress.epochs, progress.best_epoch, folder / "training_curve.png")
        pictures.reliability_diagram(scores["test"], folder / "reliability.png")
        pictures.confusion_matrix(scores["test"], config.labels, folder / "confusion_matrix.png")
        write_card(folder, folder / hub.CARD_NAME)
        hub.write_checksums(folder)
    if neighbours is None:  # an earlier run in this folder may have needed them
        (out / hub.FEATURES_NAME).unlink(missing_ok=True)


def few_figures(scores: Metrics) -> dict[str, float]:
    """Those of the scores that are one number."""
    names = ("top1", "top5", "loss", "calibration_error")
    return {name: getattr(scores, name) for name in names}


def push(options: argparse.Namespace) -> None:
    """Publishes the run where the options say so. A run whose push fails stays whole."""
    if options.push_to is None:
        return
    try:
        print(f"\n{publish([options.out], options.push_to, private=options.private)}")
    except LandmarkError as error:
        raise LandmarkError(
            f"{error}\nThe run is whole. To publish it later: "
            f"python -m landmark_model push {options.out} {options.push_to}"
        ) from error


def summary(measured: Evaluation, out: Path) -> str:
    """The last words of a run."""
    test, unknown = measured.scores["test"], measured.unknown.get("test")
    none_of_these = unknown and (
        f"None of these ({unknown.method}): AUROC {unknown.auroc:.3f}, FPR at 95 % TPR "
        f"{unknown.fpr95:.1%} on {unknown.unknown_count} photos\n"
    )
    return (
        f"\nTest: top-1 {test.top1:.1%}, top-5 {test.top5:.1%}, calibration error "
        f"{test.calibration_error:.1%} on {test.photo_count} photos\n{none_of_these or ''}"
        f"Written to {out}. Use it: load({str(out)!r}), or LANDMARK_REPO={out} make demo"
    )


RECIPE = tuple(training.Recipe.__dataclass_fields__)
VARIED = tuple(Augmentation.__dataclass_fields__)[1:]  # all but the size, which is --train-size
QUICK_NETWORK, QUICK_SIZE = "tf_efficientnet_lite2", 288  # px
SMOKE = {
    "epochs": 2,
    "pretrain_epochs": 2,
    "batch_size": 8,
    "image_size": 64,
    "train_size": 64,
    "workers": 0,
}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options, checked and completed."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    options.command = sys.argv[1:] if arguments is None else arguments
    if options.smoke:
        vars(options).update(SMOKE, init=options.init or "none")
        options.out = options.out or Path("runs/smoke")
        options.data = options.data or make_photos(options.out / "photos")
    options.network = options.network or (QUICK_NETWORK if options.quick else "resnet18")
    complete(options)
    if options.image_size is None:
        options.image_size = QUICK_SIZE if options.quick else 160
    if options.quick and options.train_size is None:
        options.train_size = options.image_size  # a frozen network gets used to no other scale
    if options.data is None or options.out is None:
        parser.error("--data and --out are needed (or --smoke)")
    for rule, kept in rules(options).items():
        if not kept:
            parser.error(rule)
    require_pretraining_fits(options)
    options.train_size = options.train_size or round(0.8 * options.image_size / 32) * 32
    return options


def complete(options: argparse.Namespace) -> None:
    """Sets what was not asked for as the network and the length of the run like it."""
    from_scratch = options.init in (None, "none")
    recipe = training.choose_recipe(options.network, options.epochs, from_scratch)
    varied = PLAIN if recipe is training.SHORT else Augmentation()
    if options.quick:
        recipe, varied = training.QUICK, GENTLE
    for names, values in ((RECIPE, recipe), (VARIED, varied)):
        for name in names:
            if getattr(options, name) is None:
                setattr(options, name, getattr(values, name))


def require_pretraining_fits(options: argparse.Namespace) -> None:
    """Raises LandmarkError where the options ask for an autoencoder and what excludes it."""
    folder = options.pretrain_autoencoder
    if folder is None:
        return
    if options.network != "landmark_cnn":
        raise LandmarkError(
            f"--pretrain-autoencoder is for landmark_cnn; {options.network} starts from ImageNet. "
            "Add --network landmark_cnn, or leave it out."
        )
    if options.quick or options.init not in (None, "none"):
        other = "--quick" if options.quick else "--init"
        raise LandmarkError(
            f"--pretrain-autoencoder teaches the layers that {other} wants given. Leave one out."
        )
    if not (folder.is_dir() or options.resume):
        raise LandmarkError(
            f"{folder} is not a folder. Give --pretrain-autoencoder a folder of photos."
        )


def rules(options: argparse.Namespace) -> dict[str, bool]:
    """What the values must be like, and whether they are."""
    shares = ("warmup", "label_smoothing", "balance", "distillation", "low_resolution", "grey",
              "zoom_out", "erasing")  # fmt: skip
    return {
        "--batch-size must be 2 or more: batch norm needs company": options.batch_size >= 2,
        "--epochs must be 1 or more": options.epochs >= 1,
        "--pretrain-epochs must be 1 or more": options.pretrain_epochs >= 1,
        "--lr must be above 0 and below 1": 0 < options.lr < 1,
        "--image-size must be 32 px or more": options.image_size >= 32,
        "--train-size must be 32 px or more": (options.train_size or 32) >= 32,
        "--views must be 1 or more": options.views >= 1,
        "--workers must be 0 or more": options.workers >= 0,
        "--seed must be 0 to 32767": 0 <= options.seed < 2**15,
        "--share must be above 0 and below 0.5": 0 < options.share < 0.5,
        "--ema-decay must be 0 or more and below 1": 0 <= options.ema_decay < 1,
        "--layer-decay must be above 0 and at most 1": 0 < options.layer_decay <= 1,
        "--weight-decay and --muon must be 0 or more": options.weight_decay >= 0
        and options.muon >= 0,
        "--mixup and --cutmix must be 0 or more": options.mixup >= 0 and options.cutmix >= 0,
        f"{', '.join('--' + name.replace('_', '-') for name in shares)} must be 0 to 1": all(
            0 <= getattr(options, name) <= 1 for name in shares
        ),
        "--min-area and --outlier-share must be above 0 and at most 1": all(
            0 < share <= 1 for share in (options.min_area, options.outlier_share)
        ),
        "--distillation-temperature must be above 0": options.distillation_temperature > 0,
        "--feature-distillation must be 0 or more": options.feature_distillation >= 0,
        "--feature-distillation needs --teacher FOLDER": not options.feature_distillation
        or bool(options.teacher),
        "--first-size must be 0, or 32 px or more": options.first_size == 0
        or options.first_size >= 32,
        "--frozen-layers and --frozen-epochs must be 0 or more": options.frozen_layers >= 0
        and options.frozen_epochs >= 0,
        "--blend needs --init FILE": not options.blend or options.init not in (None, "none"),
        "--blend needs --init outside --out, where the run writes": not options.blend
        or Path(options.init or "").resolve().parent != options.out.resolve(),
        "--expose needs --unknown FOLDER": options.unknown is not None or not options.expose,
        f"{options.out} is a file; give --out a folder": not options.out.is_file(),
    }


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="train.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    group = parser.add_argument_group("what")
    for name, settings in WHAT.items():
        group.add_argument(name, **settings)
    group = parser.add_argument_group("data")
    for name, settings in DATA.items():
        group.add_argument(name, **settings)
    group = parser.add_argument_group("how training photos are varied")
    for name, settings in VARYING.items():
        group.add_argument(name, **settings)
    group = parser.add_argument_group("fitting (defaults depend on the network)")
    for name, text in FITTING.items():
        values = {network: getattr(recipe, name) for network, recipe in training.RECIPES.items()}
        shown = ", ".join(f"{value:g} for {network}" for network, value in values.items())
        if len(set(values.values())) == 1:
            shown = f"{values['resnet18']:g}"
        if getattr(training.SHORT, name) != values["landmark_cnn"]:
            shown += f"; {FEW} {getattr(training.SHORT, name):g}"
        kind = type(values["resnet18"])
        group.add_argument(
            f"--{name.replace('_', '-')}", type=kind, metavar="N", help=f"{text}; default: {shown}"
        )
    group.add_argument(
        "--precision",
        choices=("auto", "no", "bf16", "fp16"),
        default="auto",
        help="of the arithmetic; auto: bf16 where the chip is fast at it",
    )
    return parser


WHAT = {
    "--data": {"type": Path, "metavar": "FOLDER", "help": "photos, a folder for each landmark"},
    "--network": {
        "choices": networks.NETWORKS,
        "help": f"default: resnet18; with --quick {QUICK_NETWORK}",
    },
    "--out": {"type": Path, "metavar": "FOLDER", "help": "the run folder, e.g. runs/mine"},
    "--model-args": {
        "type": json.loads,
        "default": {},
        "metavar": "JSON",
        "help": """arguments of the network's builder, e.g. '{"depths": [1, 2, 2, 1]}'""",
    },
    "--quick": {
        "action": "store_true",
        "help": "minutes: features of the frozen network, once, then a new last layer only",
    },
    "--views": {
        "type": int,
        "default": 2,
        "metavar": "N",
        "help": "with --quick: varied views of each training photo; default: %(default)s",
    },
    "--init": {
        "metavar": "FILE",
        "help": "first weights: a safetensors file, which may leave layers out; 'none' starts "
        "from scratch; default: timm's ImageNet weights for resnet18",
    },
    "--blend": {
        "action": "store_true",
        "help": "keep the mean of --init and trained weights that validation photos like best; "
        "--init then has every layer",
    },
    "--teacher": {
        "type": Path,
        "nargs": "+",
        "metavar": "FOLDER",
        "help": "a run folder of the same classes, whose answers are learned with the labels; "
        "several teach together",
    },
    "--pretrain-autoencoder": {
        "type": Path,
        "metavar": "FOLDER",
        "help": "photos in any folders, without labels, that landmark_cnn first learns to mend; "
        "keep test photos out",
    },
    "--pretrain-epochs": {
        "type": int,
        "default": 30,
        "metavar": "N",
        "help": "passes over these photos; default: %(default)s",
    },
    "--push-to": {
        "metavar": "ORG/NAME",
        "help": "publish the run in this hub repo when it is done; log in with `hf auth login`",
    },
    "--private": {"action": "store_true", "help": "with --push-to: a new repo is for you alone"},
    "--resume": {"action": "store_true", "help": "go on from the checkpoint in --out"},
    "--smoke": {"action": "store_true", "help": "a run of seconds on made-up photos"},
}
DATA = {
    "--about-data": {
        "default": "",
        "metavar": "TEXT",
        "help": "a sentence for the model card: where the photos are from, and their licence",
    },
    "--unknown": {
        "type": Path,
        "metavar": "FOLDER",
        "help": "validation/ and test/ photos that show no class, to measure 'none of these' on; "
        "train/ ones are for --expose",
    },
    "--expose": {
        "action": "store_true",
        "help": "teach doubt: train on the --unknown train photos, and two thirds of the "
        "validation ones, too",
    },
    "--share": {
        "type": float,
        "default": 0.15,
        "metavar": "S",
        "help": "share of each class cut off for a missing split; default: %(default)s",
    },
    "--allow-missing": {
        "action": "store_true",
        "help": "go on where validation or test lack a class",
    },
    "--image-size": {
        "type": int,
        "metavar": "PX",
        "help": "a photo is classified at as many pixels as a square of this side has; default: "
        f"160, with --quick {QUICK_SIZE}",
    },
    "--view": {
        "choices": VIEWS,
        "default": VIEWS[0],
        "help": "what of a photo is classified: its centre square, all of it at its own aspect "
        "ratio (sides in steps of 32 px, 2:1 at most), or both, which takes twice as long unless "
        "with --flip; epochs are judged by the first of both",
    },
    "--flip": {
        "action": "store_true",
        "help": "answers are the mean of the photo's and its mirror image's, or with --view both "
        "of its centre's and the mirror image of all: better, half as fast as one",
    },
    "--neighbours": {
        "action": argparse.BooleanOptionalAction,
        "default": True,
        "help": "name photos by the training photos near them, too, as far as validation gains; "
        "keeps their features, as knn does; default: on",
    },
    "--known-method": {
        "choices": KNOWN_METHODS,
        "help": "the score by which 'none of these' is told; default: the best on --unknown "
        "validation photos, and knn where there are none",
    },
    "--workers": {
        "type": int,
        "default": 2,
        "metavar": "N",
        "help": "processes that prepare photos; default: %(default)s",
    },
}
FEW = f"landmark_cnn from scratch in less than {training.FEW_EPOCHS} epochs:"
CALM = f"with --quick, and {FEW}"
VARYING = {
    "--train-size": {
        "type": int,
        "metavar": "PX",
        "help": "side of the training crops; default: 0.8 of --image-size (Touvron et al. 2019)",
    },
    "--first-size": {
        "type": int,
        "default": 0,
        "metavar": "PX",
        "help": "side of the first epoch's crops, which grow to --train-size; 0: the same",
    },
    "--min-area": {
        "type": float,
        "metavar": "S",
        "help": "smallest share of a photo that a training crop shows; default: "
        f"{Augmentation.min_area}; with --quick {GENTLE.min_area}",
    },
    "--low-resolution": {
        "type": float,
        "metavar": "P",
        "help": f"share of photos shrunk and enlarged again; default: {Augmentation.low_resolution}"
        f"; {CALM} 0",
    },
    "--grey": {
        "type": float,
        "metavar": "P",
        "help": f"share of photos without colour; default: {Augmentation.grey:g}",
    },
    "--zoom-out": {
        "type": float,
        "metavar": "P",
        "help": "share of photos made smaller, with noise around; default: "
        f"{Augmentation.zoom_out:g}",
    },
    "--erasing": {
        "type": float,
        "metavar": "P",
        "help": f"share of photos with a patch erased; default: {Augmentation.erasing}; {CALM} 0",
    },
    "--policy": {
        "choices": ("trivial", "rand", "none"),
        "help": "TrivialAugment, RandAugment or neither; default: "
        f"{Augmentation.policy}; {CALM} none",
    },
}
FITTING = {
    "epochs": "passes over the training photos",
    "batch_size": "photos in a step, on each process",
    "lr": "peak learning rate (warm-up, then cosine)",
    "weight_decay": "share of the rate by which weights shrink in each step",
    "layer_decay": "factor on the rate of each pretrained layer further down",
    "muon": "convolution kernels learn by Muon, at so many times --lr; 0: by AdamW, as the rest",
    "warmup": "share of the steps spent warming up",
    "label_smoothing": "probability spread over all classes",
    "mixup": "alpha of mixup, 0 is off",
    "cutmix": "alpha of cutmix, 0 is off",
    "ema_decay": "decay of the weights' running average, which is what is kept",
    "balance": "0 shows each photo equally often, 1 each class",
    "frozen_layers": "pretrained layers, from the photo on, that are never trained",
    "frozen_epochs": "epochs at the start in which only fresh layers learn",
    "distillation": "weight of the teacher's answers, the labels have the rest",
    "distillation_temperature": "by which logits are divided before they are compared",
    "feature_distillation": "weight of the teacher's features, the first one's of several",
    "outlier_share": "with --expose: photos of no class shown besides, as a share of the batch",
    "seed": "of splits, first weights, order and augmentation",
}


if __name__ == "__main__":
    try:
        main()
    except LandmarkError as error:
        sys.exit(f"train.py: {printable(str(error))}")
