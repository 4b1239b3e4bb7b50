"""The checkpoint: what survives of a killed run, as one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor

from landmark_model.config import LandmarkError
from landmark_model.files import staged

CHECKPOINT_NAME = "checkpoint.safetensors"


def get_moments(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The tensors that `optimizer` remembers of a parameter, by "<parameter's number>/<name>"."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}/{name}": value
        for index, of in state.items()
        for name, value in of.items()
        if isinstance(value, Tensor)  # Muon notes besides which rule moves it, and finds it anew
    }


def set_moments(optimizer: torch.optim.Optimizer, moments: dict[str, Tensor]) -> None:
    """Gives `optimizer` back what `get_moments` took; its rates and groups stay."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in moments.items():
        index, name = key.split("/")
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})


def write_checkpoint(folder: Path, about: dict, parts: dict[str, dict[str, Tensor]]) -> None:
    """Writes the checkpoint in `folder`: one safetensors file, never a pickle.

    `about` is anything JSON knows; `parts` are tensors by part and name.
    """
    tensors = {
        f"{part}/{name}": tensor.contiguous()
        for part, values in parts.items()
        for name, tensor in values.items()
    }
    with staged(folder) as scratch:
        content = serialise(tensors, metadata={"about": json.dumps(about)})
        (scratch / CHECKPOINT_NAME).write_bytes(content)


def has_checkpoint(folder: Path) -> bool:
    """Whether a run in `folder` can be resumed."""
    return (folder / CHECKPOINT_NAME).is_file()


def read_about(folder: Path) -> dict:
    """What `write_checkpoint` was told about the run in `folder`, without its tensors."""
    with _open(folder / CHECKPOINT_NAME) as file:
        return json.loads(file.metadata()["about"])


def read_parts(folder: Path) -> dict[str, dict[str, Tensor]]:
    """The tensors of the checkpoint in `folder` by part and name."""
    parts: dict[str, dict[str, Tensor]] = {}
    with _open(folder / CHECKPOINT_NAME) as file:
        for key in file.keys():  # noqa: SIM118 (not a dict)
            part, _, name = key.partition("/")
            parts.setdefault(part, {})[name] = file.get_tensor(key)
    return parts


@contextmanager
def _open(path: Path) -> Iterator[safe_open]:
    """The open file. Raises LandmarkError if it is missing, or not what we wrote."""
    if not path.is_file():
        raise LandmarkError(f"{path} does not exist: nothing to resume. Leave out --resume.")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, TypeError, LookupError, ValueError) as error:
        raise LandmarkError(
            f"{path.name} is not a checkpoint of ours. Start again without --resume."
        ) from error
