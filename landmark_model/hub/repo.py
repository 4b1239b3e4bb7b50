"""The on-disk format of a trained network, which is also that of a hub repo: save, find, verify.

One network lies at the root of a folder; others of the same repo in subfolders of their names.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, is_dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save as serialise

from landmark_model.background import BACKGROUND_NAME, Background
from landmark_model.calibration import KnownHead, Reference
from landmark_model.config import (
    CONFIG_NAME,
    EXPORT_NAMES,
    WEIGHTS_NAME,
    ModelConfig,
    read_config,
)
from landmark_model.errors import LandmarkError
from landmark_model.files import parse_json, read_bounded, read_text
from landmark_model.hub.client import fetch
from landmark_model.memory import Memory
from landmark_model.tensors import Claim, read_claims, read_tensors

METRICS_NAME = "metrics.json"
FEATURES_NAME = "features.safetensors"
KNOWN_HEAD_NAME = "known_head.safetensors"
# All that answers depend on.
ANSWERING = (CONFIG_NAME, WEIGHTS_NAME, FEATURES_NAME, KNOWN_HEAD_NAME)
CARD_NAME = "README.md"
CHECKSUMS_NAME = "SHA256SUMS"
# What a hub repo holds of each network. The rest of a run folder shows or names training photos,
# or is there to go on with training.
PUBLISHED = (
    CONFIG_NAME,
    WEIGHTS_NAME,
    FEATURES_NAME,
    KNOWN_HEAD_NAME,
    BACKGROUND_NAME,
    *EXPORT_NAMES.values(),
    METRICS_NAME,
    "reliability.png",
    "training_curve.png",
    "confusion_matrix.png",
    CARD_NAME,
)
MOST_METRICS_BYTES = 64_000_000  # those of 1,500 classes: two confusion matrices
Source = str | os.PathLike[str] | None  # a folder, a hub repo, or the networks that ship
NO_TABLE = "its features are not a table of finite numbers"
MOST_CHECKSUMS_BYTES = 1_000_000
SHIPPED = Path(__file__).parents[1] / "weights"


def save(
    tensors: dict[str, np.ndarray],
    config: ModelConfig,
    folder: Path,
    reference: Reference = None,
    background: Background | None = None,
) -> None:
    """Writes config.json and model.safetensors to `folder`, what "none of these" needs besides, and
    `background`.

    `tensors` are all of a network, by torch's names. Those of two or more dimensions are stored as
    float16 (see `networks.round_to_half`), which halves the file.
    """
    tensors = {
        name: np.array(tensor, np.float16 if tensor.ndim > 1 else None, order="C")
        for name, tensor in tensors.items()
    }
    # Not save_file, which makes files that only their owner can read.
    (folder / WEIGHTS_NAME).write_bytes(serialise(tensors, metadata={"format": "pt"}))
    (folder / CONFIG_NAME).write_text(config.to_json() + "\n", encoding="utf-8")
    if isinstance(reference, Memory):
        remembered = {"features": reference.features.astype(np.float16)}
        (folder / FEATURES_NAME).write_bytes(serialise(remembered))
    if isinstance(reference, KnownHead):
        learned = {
            "features": reference.features,
            "evidence": reference.evidence,
            "bias": np.array([reference.bias]),
        }
        learned = {name: values.astype(np.float32) for name, values in learned.items()}
        (folder / KNOWN_HEAD_NAME).write_bytes(serialise(learned))
    if background is not None:
        (folder / BACKGROUND_NAME).write_bytes(background.to_bytes())


def read_reference(
    config: ModelConfig, folder: Path, feature_count: int | None = None
) -> Reference:
    """What the score for "none of these" of `config` needs besides logits and features.

    `feature_count` is how many the network has of a photo, if it can be asked. Raises LandmarkError
    if it is missing, damaged, or of another network or other classes.
    """
    if config.known_method == "knn":
        return read_memory(folder, feature_count)
    return read_known_head(folder, feature_count) if config.known_method == "linear" else None


def read_known_head(folder: Path, feature_count: int | None = None) -> KnownHead:
    """The known head in `folder`; errors are those of `read_reference`."""
    path = folder / KNOWN_HEAD_NAME
    claims = _read_claims(path)
    wide = feature_count or (claims["features"].shape or (0,))[0] if "features" in claims else 0
    shapes = {"features": (wide,), "evidence": (4,), "bias": (1,)}
    fits = {name: claim.shape for name, claim in claims.items() if claim.is_float} == shapes
    _require(fits, path, f"it is not a table of {wide:,} features")
    stored = read_tensors(path)
    is_finite = all(np.isfinite(values).all() for values in stored.values())
    _require(is_finite, path, "its numbers are not finite")
    return KnownHead(stored["features"], stored["evidence"], float(stored["bias"][0]))


def read_memory(folder: Path, feature_count: int | None = None) -> Memory:
    """The kNN memory in `folder`; errors are those of `read_reference`."""
    path = folder / FEATURES_NAME
    claims = _read_claims(path)
    _require(claims.keys() == {"features"}, path, f"it holds {sorted(claims)[:5]}")
    claim = claims["features"]
    _require(claim.is_float and len(claim.shape) == 2 and claim.count, path, NO_TABLE)
    photo_count, width = claim.shape
    fits = feature_count in (None, width)
    _require(fits, path, f"it does not have {feature_count} features for each photo")
    fits = Memory.has_room(photo_count, width)
    _require(fits, path, f"its {photo_count:,} photos are too many to load")
    features = read_tensors(path)["features"]
    # Squares of lengths: not finite where a feature is not, and faster to look through.
    lengths = np.einsum("md,md->m", features, features)
    _require(np.isfinite(lengths).all(), path, NO_TABLE)
    _require(not (lengths > 1.02).any(), path, "its features are longer than 1")
    return Memory(features)


def _read_claims(path: Path) -> dict[str, Claim]:
    """What the head of a file that the config needs says. Raises LandmarkError without one."""
    try:
        return read_claims(path)
    except LandmarkError as error:
        raise _incomplete(path, f" ({error})" if path.is_file() else "") from error


def _incomplete(path: Path, why: str) -> LandmarkError:
    return LandmarkError(
        f"{path.parent.name} lacks a complete {path.name}, which its {CONFIG_NAME} needs{why}. "
        "Copy the whole folder again."
    )


def _require(kept: object, path: Path, problem: str) -> None:
    """Raises LandmarkError, saying the problem, unless `kept`."""
    if not kept:
        raise LandmarkError(
            f"{path.name} and {CONFIG_NAME} in {path.parent.name} do not belong together: "
            f"{problem}. Use both from one training run."
        )


def to_json(thing: object) -> str:
    """JSON text of dataclasses, dicts and lists, readable by people."""

    def plain(value: object) -> object:
        return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)

    text = json.dumps(thing, indent=2, ensure_ascii=False, default=plain) + "\n"
    # Names of files that are no UTF-8 come as halves of characters, which no file can hold as such.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def is_remote(source: Source) -> bool:
    """Whether `source` is a hub repo: neither the built-in networks (None) nor a folder."""
    return source is not None and not Path(source).is_dir()


def locate(
    source: Source,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
) -> Path:
    """The local folder of `source`: the networks that ship (None), a folder, or a hub repo.

    Of a repo only configs, metrics and checksums are there for now; `find` fetches weights. Raises
    LandmarkError if `source` is neither a folder nor a hub repo that can be reached.
    """
    if not is_remote(source):
        if revision is not None:
            raise LandmarkError(
                f"{source or 'The built-in folder'} has no revision {revision!r}; only hub repos "
                "do. Leave it out, or name the repo (org/name)."
            )
        return SHIPPED if source is None else Path(source)
    about = ["*.json", f"*{CHECKSUMS_NAME}"]
    root = fetch(str(source), about, revision, cache_dir, local_files_only)
    for sums in root.rglob(CHECKSUMS_NAME):
        verify(sums.parent, [CONFIG_NAME, METRICS_NAME], str(source))
    return root


def find(source: Source, network: str | None = None, **where: object) -> Path:
    """The local folder of one network of `source`, with its weights, checked.

    Without `network` it is the one that measured best; `where` is as for `locate`. Of a hub repo,
    what is needed of this network is downloaded. Raises LandmarkError if there is no such network,
    or a file is not what its checksum says.
    """
    root = locate(source, **where)
    folder = choose(root, network)
    if is_remote(source):
        needed = [*(name for name in ANSWERING if name != CONFIG_NAME), BACKGROUND_NAME]
        wanted = [(folder.relative_to(root) / name).as_posix() for name in needed]
        fetch(str(source), wanted, **where | {"revision": root.name})
        verify(folder, needed, str(source))
    return folder


def write_checksums(folder: Path) -> None:
    """Writes SHA256SUMS, which `sha256sum --check` reads, for the published files of `folder`."""
    lines = [
        f"{_sha256(folder / name)}  {name}\n" for name in PUBLISHED if (folder / name).is_file()
    ]
    (folder / CHECKSUMS_NAME).write_text("".join(lines), encoding="utf-8")


def verify(folder: Path, names: Iterable[str], source: str) -> None:
    """Raises LandmarkError if a file of `names` in `folder` does not match SHA256SUMS there.

    Where there is no SHA256SUMS (another's timm repo), nothing is checked.
    """
    path = folder / CHECKSUMS_NAME
    if not path.is_file():
        return
    lines = read_bounded(path, MOST_CHECKSUMS_BYTES).decode("utf-8", "replace").splitlines()
    sums = {name: found for found, _, name in (line.partition("  ") for line in lines)}
    for name in names:
        if (folder / name).is_file() and _sha256(folder / name) != sums.get(name):
            raise LandmarkError(
                f"{name} of {source} does not match {CHECKSUMS_NAME}: it is damaged, or was "
                "changed. Copy the folder again, or for a hub repo remove the local copy "
                f"(hf cache rm model/{source}) and load it again."
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def networks_in(folder: Path) -> dict[str, Path]:
    """The folder of each network in `folder` by architecture, the one at the root first.

    Raises LandmarkError if there is none.
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
    """`networks_in(folder)`, the best first: the one that was measured on most landmarks, and
    among equals the one that did best on its validation photos."""
    ranked = sorted(networks_in(folder).items(), key=lambda item: _merit(item[1]), reverse=True)
    return dict(ranked)


def _merit(folder: Path) -> tuple[int, float]:
    """`merit` by the metrics.json of `folder`; 0 for what is not there."""
    try:
        return merit(read_json(folder / METRICS_NAME))
    except LandmarkError:
        return 0, 0.0


def merit(metrics: dict) -> tuple[int, float]:
    """What networks are ranked by: how many landmarks there are scores of, and validation top-1;
    0 for what is not there."""
    try:
        validation = metrics["validation"]
        classes, top1 = validation.get("classes"), validation["top1"]
    except (TypeError, LookupError, AttributeError):
        return 0, 0.0
    fits = type(top1) in (int, float) and 0 <= top1 <= 1
    return len(classes) if isinstance(classes, list) else 0, float(top1) if fits else 0.0


def read_json(path: Path) -> dict:
    """The content of a metrics.json. Raises LandmarkError if it is no JSON object or too large."""
    found = parse_json(read_text(path, MOST_METRICS_BYTES), path.name, strict=False)
    if not isinstance(found, dict):
        raise LandmarkError(f"{path.name} holds no measurements. Copy the whole folder again.")
    return found


def read_metrics(
    source: Source = None, revision: str | None = None, network: str | None = None
) -> dict:
    """The measurements in metrics.json of the network that `load` uses; {} if there are none.

    Raises LandmarkError if there is no such folder, repo or network, or the file is damaged.
    """
    path = choose(locate(source, revision), network) / METRICS_NAME
    return read_json(path) if path.exists() else {}


def choose(folder: Path, network: str | None) -> Path:
    """The folder of one network in `folder`; None takes the one that measured best.

    Raises LandmarkError if there is no such network, naming those there are.
    """
    found = best_first(folder)
    if network is None:
        return next(iter(found.values()))
    if network not in found:
        raise LandmarkError(f"There is no network {network!r} here. Use one of {', '.join(found)}.")
    return found[network]
