"""The command line: name the landmark in photos, export TorchScript, rewrite a model card."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from landmark_model.config import LandmarkError


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; gives the exit status, 1 where a photo or folder was no good."""
    options = make_parser().parse_args(arguments)
    try:
        return options.run(options)
    except LandmarkError as error:
        print(f"landmark_model: {error}", file=sys.stderr)
        return 1


def predict(options: argparse.Namespace) -> int:
    """Prints the best guesses for each photo; a broken one is reported, the rest go on."""
    from landmark_model import load

    tagger = load(options.source, revision=options.revision, network=options.network)
    broken = 0
    for photo in options.photos:
        try:
            guesses = tagger.predict(photo, top_k=options.top_k)
        except LandmarkError as error:
            print(f"{photo}: {error}", file=sys.stderr)
            broken += 1
            continue
        print(photo)
        for guess in guesses:
            where = f"  ({guess.where})" if guess.where else ""
            print(f"  {guess.probability:6.1%}  {guess.label}{where}")
    return 1 if broken else 0


def export(options: argparse.Namespace) -> int:
    """Writes the TorchScript file of the network in a folder."""
    from landmark_model.config import read_config
    from landmark_model.export import TORCHSCRIPT_NAME, export_torchscript
    from landmark_model.hub import choose, locate
    from landmark_model.networks import restore

    folder = choose(locate(options.source, options.revision), options.network)
    config = read_config(folder)
    path = options.out or Path(TORCHSCRIPT_NAME)
    if path.is_dir() or not path.parent.is_dir():
        raise LandmarkError(f"{path} is no file that can be written. Give --out FILE.")
    difference = export_torchscript(restore(config, folder), config, path)
    print(f"{path}: differs from the network by at most {difference:.0e} in probability")
    return 0


def card(options: argparse.Namespace) -> int:
    """Rewrites the model card, and a table of results, from config.json and metrics.json."""
    from landmark_model.card import write_card, write_results
    from landmark_model.hub import SHIPPED

    folder = Path(options.source) if options.source else SHIPPED
    path = (options.out or folder / "README.md").resolve()
    write_card(folder.resolve(), path)
    print(f"{path.name} written")
    if options.results_in:
        write_results(folder, options.results_in)
        print(f"results in {options.results_in.name} written")
    return 0


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m landmark_model", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for function, text in (
        (predict, "name the landmark in photos"),
        (export, "write the TorchScript file of a network"),
        (card, "write the model card of a folder again"),
    ):
        command = commands.add_parser(function.__name__, help=text, description=text)
        command.set_defaults(run=function)
        if function is predict:
            command.add_argument("photos", nargs="+", metavar="PHOTO")
            command.add_argument("--top-k", type=int, default=5, metavar="K")
        else:
            command.add_argument("--out", type=Path, metavar="FILE")
        command.add_argument("--source", metavar="WHERE", help="a folder or org/name on the hub")
        if function is card:
            command.add_argument(
                "--results-in", type=Path, metavar="FILE", help="a document with result marks"
            )
        else:
            command.add_argument("--revision", help="tag, branch or commit of the hub repo")
            command.add_argument("--network", help="which, where there are several")
    return parser


if __name__ == "__main__":
    sys.exit(main())
