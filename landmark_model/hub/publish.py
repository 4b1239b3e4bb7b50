"""Run folders -> the folder of a hub repo -> the hub, in one commit.

The first network lies at the root of the repo, where timm and transformers look; the others in
subfolders of their names.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from landmark_model.config import EXPORT_NAMES, ModelConfig, read_config
from landmark_model.errors import LandmarkError
from landmark_model.hub.card import write_card
from landmark_model.hub.client import Pushed, push
from landmark_model.hub.repo import (
    CARD_NAME,
    PUBLISHED,
    networks_in,
    read_reference,
    write_checksums,
)
from landmark_model.networks import restore
from landmark_model.training.export import EXPORTS


def publish(folders: Sequence[Path], repo: str, **settings) -> Pushed:
    """Pushes the networks in `folders` to hub repo `repo` ("org/name"); `settings` as for `push`.

    Raises LandmarkError if a folder holds no whole network, or the hub refuses.
    """
    with tempfile.TemporaryDirectory(prefix="landmark-repo-") as scratch:
        assemble(folders, Path(scratch), repo)
        return push(Path(scratch), repo, **settings)


def assemble(folders: Sequence[Path], out: Path, repo: str | None = None) -> list[str]:
    """Writes the hub repo of the networks in `folders` to `out`, and returns their names.

    TorchScript and ONNX files that are missing are made. Raises LandmarkError if a network
    comes twice, or the networks know different classes.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        for name, path in networks_in(folder).items():
            if name in found:
                raise LandmarkError(
                    f"{found[name]} and {path} both hold a {name}. A repo holds one of each: leave "
                    "one out."
                )
            found[name] = path
    configs = {name: read_config(folder) for name, folder in found.items()}
    first = next(iter(configs))
    for name, folder in found.items():
        if configs[name].class_names != configs[first].class_names:
            raise LandmarkError(
                f"{folder} knows other classes than the first network. Give it its own repo."
            )
        _copy(folder, out if name == first else out / name, configs[name])
    for name in found:
        place = out if name == first else out / name
        write_card(place, place / CARD_NAME, repo if name == first else None)
        write_checksums(place)
    return list(found)


def _copy(folder: Path, place: Path, config: ModelConfig) -> None:
    """Copies one network's published files, and makes the exports that are missing."""
    place.mkdir(exist_ok=True)
    for name in PUBLISHED:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, place / name)
    read_reference(config, folder)  # raises where it should be here, and is not
    for kind, name in EXPORT_NAMES.items():
        if not (place / name).is_file():
            EXPORTS[kind](restore(config, folder), config, place / name)
