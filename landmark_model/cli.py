"""Names landmarks in photos, tags a library, serves the app, trains and publishes networks."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from landmark_model import LANGUAGES, LandmarkError
from landmark_model.config import EXPORT_NAMES
from landmark_model.files import printable

if TYPE_CHECKING:
    from landmark_model import LandmarkClassifier, Prediction
    from landmark_model.config import ModelConfig
    from landmark_model.folders import FoundPhotos, Skipped
    from landmark_model.library.addresses import FoundAddresses
    from landmark_model.library.index import Index, Row, View

MOST_NAMED = 20
EXPORT_KINDS = ("csv", "json", "html", "xmp")
EXTRA_KINDS = {"parquet": "pyarrow"}  # only where asked for; each with the package it needs
EXAMPLE = Path(__file__).parent / "examples" / "taj-mahal.jpg"
# Commands with a command line of their own: where it is, where their main is, what they do.
PROGRAMS = {
    "serve": ("web.settings", "web.server", "serve the app; see landmark serve --help"),
    "train": ("training.options", "training.pipeline",
              "train a network; see landmark train --help"),
}  # fmt: skip
# What commands, and packages of options, need beyond prediction: the extra to install.
EXTRAS = {"serve": "app", "train": "train", "export": "train", "pyarrow": "parquet", "ray": "ray"}


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit status, 1 if something could not be used."""
    arguments = sys.argv[1:] if arguments is None else arguments
    command = arguments[0] if arguments else ""
    try:
        if command in PROGRAMS:
            words, program, _ = PROGRAMS[command]
            # First, since help and mistakes in the words need none of the extra's packages.
            import_module(f"landmark_model.{words}").make_parser().parse_args(arguments[1:])
            return import_module(f"landmark_model.{program}").main(arguments[1:]) or 0
        options = make_parser().parse_args(arguments)
        return options.run(options) or 0
    except LandmarkError as error:
        print(f"landmark: {printable(str(error))}", file=sys.stderr)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        extra = EXTRAS.get(missing) or EXTRAS.get(command)
        if extra is None or missing in ("", "landmark_model"):
            raise
        print(
            f"landmark: {command} needs {missing}, which is not installed. "
            f'Install it: pip install "landmark-model[{extra}]"',
            file=sys.stderr,
        )
    return 1


def predict(options: argparse.Namespace) -> int:
    """Prints the best guesses for each photo; a broken one is reported and the rest continue."""
    from landmark_model import load

    tagger = load(
        options.source,
        revision=options.revision,
        network=options.network,
        taught=options.taught,
    )
    if not options.photos:
        print("No photo given, so here is an example. For your own: landmark predict photo.jpg")
    broken = 0
    for photo in options.photos or [EXAMPLE]:
        try:
            guesses = tagger.predict(photo, top_k=options.top_k)
        except LandmarkError as error:
            print(f"landmark: {printable(str(error))}", file=sys.stderr)
            broken += 1
            continue
        unknown = guesses.is_known is False
        shown = printable(str(photo))
        doubt = ": none of the landmarks I know. If it were one of them:"
        print(f"{shown}{doubt if unknown else ''}")
        for guess in guesses:
            name, where = guess.name_in(options.language), guess.where_in(options.language)
            place = f"  ({where})" if where else ""
            line = printable(f"{name}{place}")
            print(f"  {min(guess.probability, 0.999):6.1%}  {line}")  # never 100
    return 1 if broken else 0


def teach(options: argparse.Namespace) -> None:
    """Teaches a landmark from a few photos, or forgets it, and keeps it in a file."""
    from landmark_model import load
    from landmark_model.folders import Skipped, find_named
    from landmark_model.library.run import common_folder, named_paths

    path = options.taught
    there = path if path.exists() else None
    tagger = load(options.source, revision=options.revision, network=options.network, taught=there)
    if options.forget:
        tagger.forget(options.name)
        if tagger.taught:
            tagger.save_taught(path)
            left = f"In {path}: {', '.join(tagger.taught)}"
        else:
            path.unlink()
            left = f"{path} held nothing else, and is deleted."
        print(printable(f"{options.name} is forgotten. {left}"))
        return
    named = named_paths(options.photos, sys.stdin.buffer)
    if away := next((one for one in named if isinstance(one, str)), None):
        raise LandmarkError(f"{away} is an address. Copy the photo here first, and give its path.")
    photos = find_named(named, common_folder(named))
    missing = [Skipped(str(path), "it does not exist") for path in photos.missing]
    raw = [Skipped(str(path), "it is RAW: export a JPEG") for path in photos.raw]
    _print_items("Skipped", [*photos.skipped, *photos.failed, *missing, *raw])
    where = {name: getattr(options, name) for name in WHERE if getattr(options, name) is not None}
    tagger.teach(options.name, photos.paths, options.anyway, **where)
    tagger.save_taught(path)
    count = "1 photo" if len(photos.paths) == 1 else f"{len(photos.paths)} photos"
    print(printable(f"Taught from {count}. In {path}: {', '.join(tagger.taught)}"))
    print(printable(f"To use it: landmark predict photo.jpg --taught {path}"))


def tag(options: argparse.Namespace) -> int:
    """Answers the photos that are new or changed, and writes exports of all in the index."""
    from landmark_model.folders import Skipped
    from landmark_model.library.chains import decode_trips, read_choices
    from landmark_model.library.index import AGAIN, View, open_index
    from landmark_model.library.run import named_paths
    from landmark_model.library.tagging import require_limits

    require_limits(1, min_probability=options.min_probability)
    choices = read_choices(options.together, options.camera_offset, options.max_gap)
    kinds = _chosen(options)
    named = named_paths(options.photos, sys.stdin.buffer)
    photos, remote = _find(named, options) if options.photos else (None, None)
    view = View(options.language, options.min_probability, options.file_time)
    writes = bool(photos or choices) or "xmp" in kinds
    try:
        with open_index(options.out, bool(photos), writes) as index:
            if photos:
                named = [path for path in named if isinstance(path, Path)]
                _answer(index, photos, remote, named, options)
            if writes:
                _print_trips(decode_trips(index, choices))
            unwritten = _export(index, view, kinds, options)
            broken = list(index.rows(view, "unreadable"))
            counts = index.count(options.min_probability)
    except KeyboardInterrupt:
        print(f"\nlandmark: interrupted. {AGAIN}", file=sys.stderr)
        return 130
    _print_items("", [*(Skipped(row.file, row.reason) for *_, row in broken), *unwritten])
    print(
        f"{printable(str(options.out))}: tagged: {counts['tagged']}, "
        f"no known landmark: {counts['unknown']}, doubtful: {counts['doubtful']}, "
        f"broken: {counts['unreadable']}, sidecar not written: {len(unwritten)}, "
        f"skipped: {len(photos.skipped) if photos else 0}"
    )
    return 1 if unwritten or broken or (photos and photos.failed) else 0


def _find(
    named: Sequence[Path | str], options: argparse.Namespace
) -> tuple[FoundPhotos, FoundAddresses]:
    """The photos in what is `named`, paths and addresses; says what is left out.

    Raises LandmarkError if there are none, unless an index may have some that are gone.
    """
    from landmark_model.folders import Skipped, find_named
    from landmark_model.library.addresses import find_at
    from landmark_model.library.index import INDEX_NAME
    from landmark_model.library.run import common_folder

    paths = [path for path in named if isinstance(path, Path)]
    photos = find_named(paths, common_folder(paths))
    remote = find_at(name for name in named if not isinstance(name, Path))
    photos.failed.extend(Skipped(*item) for item in remote.failed)
    _print_items("Skipped", photos.skipped)
    _print_items("Failed", photos.failed)
    has_some = photos.paths or photos.raw or photos.missing or remote.photos
    if not (has_some or (options.out / INDEX_NAME).is_file()):
        raise _no_photos(options)
    return photos, remote


def _no_photos(options: argparse.Namespace) -> LandmarkError:
    first = options.photos[0]
    where = {"-": "the list on standard input"}.get(first, first)
    return LandmarkError(
        f"There are no photos in {where}: no JPEG, PNG, WebP, HEIC, AVIF, TIFF, GIF, BMP, RAW."
    )


def _chosen(options: argparse.Namespace) -> list[str]:
    """The exports to be written; without any option for one, all that need no extra.

    Raises LandmarkError if the folder for sidecars is a file, and ModuleNotFoundError where an
    export, or the engine, lacks its package: now, not after hours of answers.
    """
    where = options.xmp if options.xmp not in (None, "beside") else os.curdir
    if os.path.lexists(where) and not os.path.isdir(where):
        raise LandmarkError(f"--xmp {where} is a file. Give a folder for sidecars, or beside.")
    chosen = [kind for kind in (*EXPORT_KINDS, *EXTRA_KINDS) if getattr(options, kind)]
    for package in (EXTRA_KINDS[kind] for kind in chosen if kind in EXTRA_KINDS):
        import_module(package)
    if options.engine != "local" and find_spec(options.engine) is None:  # takes long to import
        raise ModuleNotFoundError(name=options.engine)
    return chosen or [*EXPORT_KINDS]


def _answer(
    index: Index,
    photos: FoundPhotos,
    remote: FoundAddresses,
    named: list[Path],
    options: argparse.Namespace,
) -> None:
    """Puts the photos that are not in the index as they are now into it.

    Raises LandmarkError if there are none, and none that are gone.
    """
    from landmark_model.library.chains import note_network
    from landmark_model.library.index import View
    from landmark_model.library.run import common_folder, make_plan

    folder, config, stamp = _find_network(*_which(options))
    paths = sorted([*photos.paths, *photos.raw, *photos.missing])
    _require_readable(((path, "It is not there.") for path in photos.missing), options)
    plan = make_plan(index, paths, named, stamp if options.again else None, remote)
    total = len(paths) + len(remote.photos)
    if not (total or plan.gone):
        raise _no_photos(options)
    note_network(index, stamp, len(config.class_names))
    if named:
        index.set_base([common_folder(named)])
    for found in (paths, photos.paths, photos.raw, remote.photos):
        found.clear()  # there may be a million
    if plan.done_count:
        print(f"Already done: {plan.done_count} of {total}.")
    if plan.waiting:
        answers = _run(index, plan.waiting, folder, stamp, options)
        _watch(answers, plan.done_count, total, options)
    broken = index.rows(View(), "unreadable")
    _require_readable(((path, row.reason) for path, _, row in broken), options)
    _tell(index, plan.gone, stamp)


def _watch(
    answers: Generator[list[Row], None, None],
    done_count: int,
    total: int,
    options: argparse.Namespace,
) -> None:
    """Shows how far a run is, until its end or where --strict stops it."""
    from tqdm import tqdm

    start = {"total": total, "initial": done_count}
    with closing(answers), tqdm(desc="Tagging", unit="photo", **start) as progress:
        for rows in answers:
            progress.update(len(rows))
            _require_readable(((row.path, row.error) for row in rows if row.error), options)


def _run(
    index: Index, paths: list[str], folder: Path, stamp: str, options: argparse.Namespace
) -> Generator[list[Row], None, None]:
    """Answers photos by the engine that was asked for; gives rows once they are in the index.

    The network is in `folder`; workers of a cluster find it for themselves.
    """
    from landmark_model import load
    from landmark_model.library.run import LibraryRun

    if options.engine == "local":
        tagger = load(folder, taught=options.taught)
        yield from LibraryRun(index, tagger, stamp, options.again).answer(paths)
        return
    from landmark_model.library.cluster import ClusterRun, connected

    network = partial(open_network, *_which(options))
    with connected() as worker_count:
        run = ClusterRun(index, options.out, network, stamp, options.again)
        yield from run.answer(paths, worker_count)


def open_network(
    source: str | None, network: str | None, revision: str | None, taught: Path | None
) -> tuple[LandmarkClassifier, str]:
    """The network of those options, which workers of a cluster open for themselves; its stamp."""
    from landmark_model import load

    folder, _, stamp = _find_network(source, network, revision, taught)
    return load(folder, taught=taught), stamp


def _which(options: argparse.Namespace) -> tuple[str | None, str | None, str | None, Path | None]:
    """The options that name a network."""
    return options.source, options.network, options.revision, options.taught


def _find_network(
    source: str | None, network: str | None, revision: str | None, taught: Path | None
) -> tuple[Path, ModelConfig, str]:
    """The folder of a network, its settings and its stamp.

    Raises LandmarkError if there is none, or `taught` is no file of landmarks.
    """
    from landmark_model.config import read_config
    from landmark_model.hub.repo import ANSWERING, find
    from landmark_model.library.run import stamp_of
    from landmark_model.taught import read_head

    if taught:
        read_head(taught)
    folder = find(source, network, revision=revision)
    config = read_config(folder)
    files = [*(folder / name for name in ANSWERING), *filter(None, [taught])]
    return folder, config, stamp_of(config.architecture, files)


def _tell(index: Index, gone: Sequence[str], stamp: str) -> None:
    """Prints how many photos keep the answer of another network, and how many are gone."""
    others = index.count_others(stamp)
    if others:
        print(f"Answered by another network: {others}. --again answers them anew.")
    count = sum(index.get(path) is not None for path in gone)  # others have moved
    if count:
        print(f"No longer there: {count}. They are in no export, but stay in the index.")


def _require_readable(
    problems: Iterable[tuple[str | Path, str]], options: argparse.Namespace
) -> None:
    """With --strict, raises LandmarkError for the first photo (path, reason) that has a problem."""
    for path, reason in problems if options.strict else ():
        raise LandmarkError(
            f"{path}: {reason} Stopped, as --strict asks. Without it, the rest go on."
        )


def _export(
    index: Index, view: View, kinds: Sequence[str], options: argparse.Namespace
) -> list[Skipped]:
    """Writes the exports; gives the photos whose sidecars cannot be written."""
    from landmark_model.folders import Skipped
    from landmark_model.library.exports import REPORT_NAME, TABLES, write_table, written
    from landmark_model.library.html_report import write_report
    from landmark_model.library.sidecar_files import SidecarFiles

    out = Path(os.path.realpath(options.out))
    for kind in (kind for kind in kinds if kind in TABLES):
        write_table(kind, index, view, out)
    if "html" in kinds:
        with written(out / REPORT_NAME) as path, path.open("w", encoding="utf-8") as file:
            write_report(index, view, file, _draw_map)
    if "xmp" not in kinds:
        return []
    folder = None if options.xmp == "beside" else Path(os.path.realpath(options.xmp or out))
    files = SidecarFiles(index, out, folder, options.xmp_name, options.overwrite)
    return [Skipped(file, reason) for file, reason in files.write(view)]


def _draw_map(found: Sequence[tuple[Prediction, int]], label: str) -> str:
    """The map of the app, with a dot for each landmark: larger where more photos show it."""
    from landmark_model.web import STATIC
    from landmark_model.web.html.worldmap import Dot, world_map

    most = max((count for _, count in found), default=1)
    dots = [
        Dot(best.latitude, best.longitude, count / most, f"{best.label} ({count})")
        for best, count in found
    ]
    style = (STATIC / "worldmap.css").read_text(encoding="utf-8")
    return f"<style>{style}</style>{world_map(dots, label, zoom=False)}"


def _print_trips(lines: list[str]) -> None:
    for line in lines[:MOST_NAMED]:
        print(printable(line))


def _print_items(title: str, items: list[Skipped]) -> None:
    """Prints the first files and folders that were left out, and how many more there are."""
    title = f"{title}: " if title else ""
    for item in items[:MOST_NAMED]:
        print(printable(f"{title}{item.path}: {item.reason}"), file=sys.stderr)
    if len(items) > MOST_NAMED:
        print(f"{title}{len(items) - MOST_NAMED} more", file=sys.stderr)


def export(options: argparse.Namespace) -> None:
    """Writes a network as a file that works without our code."""
    from landmark_model.config import read_config
    from landmark_model.hub.repo import find
    from landmark_model.networks import restore
    from landmark_model.training.export import EXPORTS

    folder = find(options.source, options.network, revision=options.revision)
    config = read_config(folder)
    path = options.out or Path(EXPORT_NAMES[options.format])
    if path.is_dir() or not path.parent.is_dir():
        raise LandmarkError(f"{path} is not a file that can be written. Give --out FILE.")
    difference = EXPORTS[options.format](restore(config, folder), config, path)
    shown = printable(str(path))
    print(f"{shown}: differs from the original network by at most {difference:.0e} in probability")


def push(options: argparse.Namespace) -> None:
    """Publishes run folders as one hub repo."""
    from landmark_model.hub.publish import publish

    settings = {"tag": options.revision, "private": options.private, "create_pr": options.create_pr}
    print(publish(options.folders, options.repo, **settings))


def space(options: argparse.Namespace) -> None:
    """Writes the folder of a hosted Space with the demo, or uploads it."""
    from landmark_model.hub.space import build_space, push_space

    if options.action == "push":
        print(push_space(options.where, options.model, options.private))
        return
    build_space(Path(options.where), options.model)
    more = f" --model {options.model}" if options.model else ""
    print(
        f"{printable(options.where)} is the folder of a Space. To build and upload it in one "
        f"step: landmark space push ORG/NAME{more}"
    )
    if options.model:  # `push_space` does that
        print("If you upload it by hand, set its variables LANDMARK_REPO and LANDMARK_REVISION.")


def card(options: argparse.Namespace) -> None:
    """Rewrites the model card, and a table of results, from config.json and metrics.json."""
    from landmark_model.hub.card import write_card, write_results
    from landmark_model.hub.repo import CARD_NAME, CHECKSUMS_NAME, SHIPPED, write_checksums

    folder = Path(options.source) if options.source else SHIPPED
    path = (options.out or folder / CARD_NAME).resolve()
    write_card(folder.resolve(), path)
    if path.parent == folder.resolve() and (folder / CHECKSUMS_NAME).is_file():
        write_checksums(folder)
    print(f"{printable(path.name)} written")
    if options.results_in:
        write_results(folder, options.results_in)
        print(f"results in {printable(options.results_in.name)} written")


def _given(text: str) -> str:
    """An argument, unchanged; refused if it is empty, as from an unset variable in a script."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty: give a value, or leave the option out")
    if "\0" in text:
        raise argparse.ArgumentTypeError("it contains a NUL character, which no name may")
    return text


def _path(text: str) -> Path:
    # Path("") is the current folder, which is not what an empty name means.
    return Path(_given(text))


def _probability(text: str) -> float:
    """A number from 0 to 1, which may be written as a percentage ("80%")."""
    try:
        return float(text.removesuffix("%")) / 100 if text.endswith("%") else float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no number. Write 0.8, or 80%.") from error


# Options by name: what to call their value ("" for a switch), help, and settings of argparse.
Options = dict[str, tuple[str, str] | tuple[str, str, dict[str, object]]]
SWITCH = {"action": "store_true"}
# Of values; others are text.
TYPES = {"FOLDER": _path, "FILE": _path, "K": int, "P": _probability, "DEGREES": float}
TOP_K: Options = {"--top-k": ("K", "number of guesses for each photo; default: 5", {"default": 5})}
LANGUAGE: Options = {
    "--language": ("NAME", f"language of names, places and tags: {', '.join(LANGUAGES)}; "
                   "default: en", {"choices": LANGUAGES, "default": "en"}),
}  # fmt: skip
SOURCE: Options = {
    "--source": ("WHERE", "a run folder, or org/name on the hub; default: the networks that ship"),
    "--revision": ("NAME", "tag, branch or commit of the hub repo"),
    "--network": ("NAME", "the network to use, if there are several"),
}  # fmt: skip
TAUGHT: Options = {"--taught": ("FILE", "landmarks that the network was taught: landmark teach")}
WHERE = ("place", "region", "country", "latitude", "longitude", "tags")  # of a landmark
COMMANDS: dict[Callable[[argparse.Namespace], int | None], tuple[str, Options]] = {
    predict: (
        "name the landmark in photos",
        {"photos": ("PHOTO", "default: an example", {"nargs": "*", "type": str}),
         **TOP_K, **LANGUAGE, **TAUGHT, **SOURCE},
    ),
    teach: (
        "teach a network a landmark from a few photos, without training, into a file for --taught; "
        "with the name of one that is there, more photos are added to it",
        {"name": ("NAME", 'what it is called: "Burg Eltz"'),
         "photos": ("PHOTOS", "photos, folders, or patterns; five photos are a good start",
                    {"nargs": "*"}),
         "--taught": ("FILE", "the file that keeps what was taught; made if it does not exist",
                      {"required": True}),
         "--place": ("NAME", "the city or town that it is in"),
         "--region": ("NAME", "the state or region"),
         "--country": ("NAME", "the country, or its ISO code"),
         "--latitude": ("DEGREES", "WGS84, north positive"),
         "--longitude": ("DEGREES", "WGS84, east positive"),
         "--tags": ("WORD", "words that describe it", {"nargs": "+"}),
         "--anyway": ("", "also if the photos look like a landmark that is known, or one looks "
                      "unlike the others"),
         "--forget": ("", "forget the landmark instead"),
         **SOURCE},
    ),
    tag: (
        "answer photos into an index, and write tables and XMP sidecars of it; run it again after "
        "an interruption, and it resumes where it stopped",
        {"photos": ("PHOTOS", "folders, photos, patterns, addresses (s3://, gs://, https://), "
                    "@list.txt, or - for a list on standard input; without, exports of what "
                    "is in the index", {"nargs": "*"}),
         "--out": ("FOLDER", "where the index is, and its exports", {"required": True}),
         "--csv": ("", "write tags.csv; without --csv, --json, --html and --xmp, all are written"),
         "--json": ("", "write tags.jsonl, one JSON object a line"),
         "--parquet": ("", "write tags.parquet, the table with types; needs the extra parquet"),
         "--html": ("", "write report.html: map, timeline and gallery in one file"),
         "--xmp": ("WHERE", "write sidecars: beside (the photos), or the folder for them; "
                   "default: --out"),
         "--xmp-name": ("NAME", "call new sidecars photo.jpg.xmp (file; for darktable, digiKam) or "
                        "photo.xmp (stem; for Lightroom, Bridge); default: file",
                        {"choices": ("file", "stem"), "default": "file"}),
         "--overwrite": ("", "replace existing sidecars instead of merging into them"),
         "--min-probability": ("P", "leave photos untagged if the best guess is below P, 0 to 1; "
                               "default: 0", {"default": 0.0}),
         "--file-time": ("", "where the camera wrote no time, take that of the file"),
         "--together": ("CAMERAS", "cameras that travel together, so that their photos help each "
                        'other, such as "Canon, iPhone"; kept in the index until said anew; none '
                        "forgets them", {"action": "append"}),
         "--camera-offset": ("CAMERA=TIME", "what to add to the clock of a camera, such as "
                             '"CANON=+1h" or "D90=-1h30m"; kept like --together',
                             {"action": "append"}),
         "--max-gap": ("TIME", "up to which time before and after photos give others a place, such "
                       "as 90m; kept like --together; default: 6h"),
         "--again": ("", "answer photos anew that another network has answered"),
         "--strict": ("", "stop at a photo that cannot be read"),
         "--engine": ("NAME", "what answers the photos: local (this process), or ray (the Ray "
                      "cluster of RAY_ADDRESS; without, workers on this machine); default: local",
                      {"choices": ("local", "ray"), "default": "local"}),
         **LANGUAGE, **TAUGHT, **SOURCE},
    ),
    export: (
        "write a network as TorchScript or ONNX, which work without our code",
        {"--format": ("NAME", f"{' or '.join(EXPORT_NAMES)}; default: torchscript",
                      {"choices": EXPORT_NAMES, "default": "torchscript"}),
         "--onnx": ("", "the same as --format onnx",
                    {"action": "store_const", "dest": "format", "const": "onnx"}),
         "--out": ("FILE", "the file to write"),
         **SOURCE},
    ),
    push: (
        "publish run folders as one hub repo; log in first with `hf auth login`",
        {"folders": ("FOLDER", "run folders written by training; the first goes to the root of the "
                     "repo", {"nargs": "+"}),
         "repo": ("ORG/NAME", "created if it does not exist"),
         "--revision": ("TAG", "tag for this version; default: the next vN"),
         "--private": ("", "create a new repo as private"),
         "--create-pr": ("", "propose it as a pull request")},
    ),
    space: (
        "write the folder of a hosted Gradio Space with the demo, or upload it",
        {"action": ("ACTION", "build or push", {"choices": ("build", "push")}),
         "where": ("WHERE", "a new folder for build; ORG/NAME for push"),
         "--model": ("ORG/NAME[@TAG]", "hub repo to load the networks from"),
         "--private": ("", "create a new Space as private")},
    ),
    card: (
        "rewrite the model card of a folder",
        {"--source": ("WHERE", "a folder; default: the networks that ship"),
         "--out": ("FILE", "default: its README.md"),
         "--results-in": ("FILE", "document to update between its result markers")},
    ),
}  # fmt: skip


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="landmark", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (*_, text) in PROGRAMS.items():
        commands.add_parser(name, help=text)
    for function, (text, options) in COMMANDS.items():
        command = commands.add_parser(function.__name__, help=text, description=text)
        command.set_defaults(run=function)
        for name, (value, told, *more) in options.items():
            kind = {"metavar": value, "type": TYPES.get(value, _given)} if value else SWITCH
            command.add_argument(name, help=told, **kind | dict(*more))
    return parser
