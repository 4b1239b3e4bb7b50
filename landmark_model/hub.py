"""The on-disk format of a trained network, which is also that of a hub repo: save, load, fetch.

One network lies at the root of a folder; others of the same repo in subfolders of their names.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, is_dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import Tensor, nn

from landmark_model.config import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    LandmarkError,
    ModelConfig,
    read_config,
)

METRICS_NAME = "metrics.json"
BANK_NAME = "features.safetensors"
SHIPPED = Path(__file__).parent / "weights"


def save(
    network: nn.Module,
    config: ModelConfig,
    folder: Path,
    half: bool = True,
    bank: Tensor | None = None,
) -> None:
    """Writes config.json and model.safetensors to `folder`; features.safetensors for a `bank`.

    With `half`, tensors of two or more dimensions are stored as float16 (see
    `networks.round_to_half`), which halves the file. `bank` are the normalised features (M, D) of
    training photos, which `known_method` "knn" compares with.
    """
    tensors = {
        name: (tensor.half() if half and tensor.ndim > 1 else tensor).cpu().contiguous()
        for name, tensor in network.state_dict().items()
    }
    # Not save_file, which makes files that only their owner can read.
    (folder / WEIGHTS_NAME).write_bytes(serialise(tensors, metadata={"format": "pt"}))
    (folder / CONFIG_NAME).write_text(config.to_json() + "\n", encoding="utf-8")
    if bank is not None:
        (folder / BANK_NAME).write_bytes(serialise({"features": bank.half().contiguous()}))


def read_bank(config: ModelConfig, folder: Path) -> Tensor | None:
    """The features (M, D) of training photos in `folder`; None where `config` needs none.

    Raises LandmarkError where they are needed but missing, or no such.
    """
    if config.known_method != "knn":
        return None
    try:
        return load_file(folder / BANK_NAME)["features"].float()
    except (OSError, KeyError, SafetensorError) as error:
        raise LandmarkError(
            f"{folder.name} has no whole {BANK_NAME}, which its {CONFIG_NAME} asks for. "
            "Copy the whole folder again."
        ) from error


def to_json(thing: object) -> str:
    """JSON text of dataclasses, dicts and lists, readable by people."""

    def plain(value: object) -> object:
        return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)

    return json.dumps(thing, indent=2, ensure_ascii=False, default=plain) + "\n"


def locate(source: str | os.PathLike[str] | None, revision: str | None) -> Path:
    """The local folder of `source`: the networks that ship (None), a folder, or a hub repo.

    Raises LandmarkError where `source` is neither a folder nor a hub repo that can be reached.
    """
    if source is None:
        return SHIPPED
    return Path(source) if Path(source).is_dir() else fetch(str(source), revision)


def networks_in(folder: Path) -> dict[str, Path]:
    """The folder of each network in `folder` by architecture, the one at the root first.

    Raises LandmarkError where there is none.
    """
    if not folder.is_dir():
        raise LandmarkError(f"{folder} is not a folder. Check the path.")
    found: dict[str, Path] = {}
    if (folder / CONFIG_NAME).is_file():
        found[read_config(folder).architecture] = folder
    for path in sorted(path for path in folder.iterdir() if path.is_dir()):
        # A dot marks what a killed run left behind; other programs leave a config.json, too.
        if (path / CONFIG_NAME).is_file() and path.name[0] != ".":
            with suppress(LandmarkError):
                found.setdefault(read_config(path).architecture, path)
    if not found:
        read_config(folder)  # says what is missing, and what to do
    return found


def best_first(folder: Path) -> dict[str, Path]:
    """`networks_in(folder)`, the one that did best on its validation photos first."""
    return dict(sorted(networks_in(folder).items(), key=lambda item: -_validation_top1(item[1])))


def _validation_top1(folder: Path) -> float:
    """What metrics.json in `folder` says of the network there; 0 where it says nothing."""
    try:
        text = (folder / METRICS_NAME).read_text(encoding="utf-8")
        return float(json.loads(text)["validation"]["top1"])
    except (OSError, ValueError, TypeError, LookupError):
        return 0.0


def choose(folder: Path, network: str | None) -> Path:
    """The folder of one network in `folder`; None takes the one that measured best.

    Raises LandmarkError where there is no such network, naming those there are.
    """
    found = best_first(folder)
    if network is None:
        return next(iter(found.values()))
    if network not in found:
        raise LandmarkError(
            f"{folder.name} has no network {network!r}. It holds {', '.join(found)}."
        )
    return found[network]


def fetch(repo: str, revision: str | None = None) -> Path:
    """The local copy of hub repo `repo` ("org/name") at `revision` (a tag, branch or commit).

    Only configs, metrics and safetensors are downloaded. Raises LandmarkError where it cannot be.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    where = f"{repo} at {revision}" if revision else repo
    try:
        wanted = ["*.json", "*.safetensors"]
        return Path(snapshot_download(repo, revision=revision, allow_patterns=wanted))
    except HFValidationError as error:
        raise LandmarkError(
            f"{repo} is neither a folder nor the name of a hub repo (org/name). Check the spelling."
        ) from error
    except RepositoryNotFoundError as error:
        raise LandmarkError(
            f"There is no folder and no public hub repo {repo}. Check the spelling, or log in "
            "with `hf auth login` if it is private."
        ) from error
    except RevisionNotFoundError as error:
        raise LandmarkError(f"{repo} has no revision {revision}. Look at its tags.") from error
    except (LocalEntryNotFoundError, OSError) as error:
        raise LandmarkError(
            f"{where} is no folder here, and the hub could not be reached. "
            "Check the path, or try again online."
        ) from error


def card_metadata(networks: list[tuple[str, dict]]) -> str:
    """The YAML head of a model card, with the test scores of each (title, metrics)."""
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="image-classification",
            dataset_type="imagefolder",
            dataset_name=f"{metrics['training']['data']['name']} ({title})",
            dataset_config=title,  # the hub's client merges results that differ in less than this
            dataset_split="test",
            metric_type=kind,
            metric_name=name,
            metric_value=round(metrics["test"][key], 4),
        )
        for title, metrics in networks
        for kind, name, key in (
            ("accuracy", "top-1", "top1"),
            ("top_5_accuracy", "top-5", "top5"),
        )
    ]
    data = ModelCardData(
        license="apache-2.0",
        library_name="timm",
        pipeline_tag="image-classification",
        base_model=next((m["training"]["base_model"] for _, m in networks), "") or None,
        tags=["landmark-recognition", "image-classification", "timm"],
        metrics=["accuracy"],
        model_name="landmark-tagger",
        eval_results=results,
    )
    return f"---\n{data.to_yaml()}\n---"
