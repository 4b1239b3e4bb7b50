"""Reads safetensors files from untrusted sources: first the header, then only what it lists."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from landmark_model.errors import LandmarkError
from landmark_model.files import parse_json

MOST_NUMBERS = 200_000_000  # in one file: 0.8 GB in float32
MOST_HEADER_BYTES = 4_000_000
MOST_VALUE = 1e10
FLOATS = ("F64", "F32", "F16", "BF16")
WHOLE = ("I64", "I32", "I16", "I8", "U8", "BOOL")


class Claim(NamedTuple):
    """One tensor as the file's header describes it; `kind` is one of FLOATS or WHOLE."""

    kind: str
    shape: tuple[int, ...]

    @property
    def is_float(self) -> bool:
        """Whether the numbers are fractions."""
        return self.kind in FLOATS

    @property
    def count(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


def read_claims(path: Path) -> dict[str, Claim]:
    """The tensors listed in the header of the safetensors file at `path`, which are not read.

    Raises LandmarkError if it is missing, not whole, or holds what no network of ours needs:
    more numbers than MOST_NUMBERS, or other kinds than floats and whole numbers.
    """
    if not path.is_file():
        raise LandmarkError(f"{path} does not exist, or is not a file. Check the path.")
    try:
        with path.open("rb") as file:
            header_bytes = int.from_bytes(file.read(8), "little")
            if header_bytes > MOST_HEADER_BYTES:
                raise ValueError(f"a head of {header_bytes} bytes")
            head = file.read(header_bytes).decode()
        with safe_open(path, "pt"):  # which checks the head against the size of the file
            claims = {
                name: Claim(part["dtype"], tuple(part["shape"]))
                for name, part in parse_json(head, path.name).items()
                if name != "__metadata__"
            }
    except (SafetensorError, ValueError, OSError) as error:
        raise _not_whole(path) from error
    odd = {claim.kind for claim in claims.values()} - {*FLOATS, *WHOLE}
    if odd:
        raise LandmarkError(
            f"{path.name} holds numbers of the kind {min(odd)}. Convert it to float32 or float16."
        )
    count = sum(claim.count for claim in claims.values())
    if count > MOST_NUMBERS:
        raise LandmarkError(
            f"{path.name} holds {count:,} numbers, more than the {MOST_NUMBERS:,} that are read. "
            "Use a smaller network."
        )
    return claims


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file whose header was checked.

    Raises LandmarkError if it is missing or not whole.
    """
    try:
        return load_file(path)
    except (SafetensorError, ValueError, OSError) as error:
        raise _not_whole(path) from error


def _not_whole(path: Path) -> LandmarkError:
    return LandmarkError(
        f"{path.name} is not a whole safetensors file. Download it again, or convert it; "
        "pickled weights (.pt, .bin, .pth) are never loaded, since they can run code."
    )


def find_fault(tensors: dict[str, Tensor]) -> str:
    """What is wrong with the numbers of a network, naming the first tensor; "" if nothing.

    They must be finite and no larger than MOST_VALUE, and the variances that batch norm remembers
    not negative.
    """
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or not tensor.numel():
            continue
        # Five to ten times as fast as isfinite; where there is a NaN, both are NaN.
        low, high = (bound.item() for bound in tensor.aminmax())
        if not math.isfinite(low + high):
            return f"{name} holds numbers that are not finite"
        if max(-low, high) > MOST_VALUE:
            return f"{name} holds numbers larger than any network learns"
        if name.endswith("running_var") and low < 0:
            return f"{name} holds variances below 0"
    return ""
