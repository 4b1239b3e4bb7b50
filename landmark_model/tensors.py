"""Reads safetensors files from untrusted sources: first the header, then only what it lists."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError, deserialize, safe_open

from landmark_model.errors import LandmarkError
from landmark_model.files import parse_json

MOST_NUMBERS = 200_000_000  # in one file: 0.8 GB in float32
MOST_HEADER_BYTES = 4_000_000
MOST_VALUE = 1e10
FLOATS = ("F64", "F32", "F16", "BF16")
WHOLE = ("I64", "I32", "I16", "I8", "U8", "BOOL")
DTYPES = {"F64": "f8", "F32": "f4", "F16": "f2", "BF16": "u2", "I64": "i8", "I32": "i4"}
DTYPES |= {"I16": "i2", "I8": "i1", "U8": "u1", "BOOL": "?"}


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
        with safe_open(path, "np"):  # which checks the head against the size of the file
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


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file whose header was checked; fractions as float32.

    Raises LandmarkError if it is missing or not whole.
    """
    try:
        return {name: _to_array(part) for name, part in deserialize(path.read_bytes())}
    except (SafetensorError, ValueError, OSError) as error:
        raise _not_whole(path) from error


def _to_array(part: dict) -> np.ndarray:
    numbers = np.frombuffer(part["data"], f"<{DTYPES[part['dtype']]}").reshape(part["shape"])
    if part["dtype"] == "BF16":  # the upper half of a float32
        return (numbers.astype(np.uint32) << 16).view(np.float32)
    if part["dtype"] not in FLOATS:
        return numbers.copy()  # which may be written to
    with np.errstate(over="ignore"):  # a number that float32 cannot hold becomes infinite: a fault
        return numbers.astype(np.float32)


def _not_whole(path: Path) -> LandmarkError:
    return LandmarkError(
        f"{path.name} is not a whole safetensors file. Download it again, or convert it; "
        "pickled weights (.pt, .bin, .pth) are never loaded, since they can run code."
    )


def require_fit(path: Path, shapes: dict[str, tuple[int, ...]], whole: frozenset[str]) -> None:
    """Raises LandmarkError unless the file at `path` claims exactly the tensors of `shapes`.

    Those in `whole` are of whole numbers, the others of fractions.
    """
    claims = read_claims(path)
    misfits = [
        *(f"{name} is missing" for name in shapes if name not in claims),
        *(f"{name} is not in the network" for name in claims if name not in shapes),
        *(
            f"{name} is {claims[name].kind} {claims[name].shape}, not {shape}"
            for name, shape in shapes.items()
            if name in claims
            and (claims[name].shape, claims[name].is_float) != (shape, name not in whole)
        ),
    ]
    if misfits:
        raise LandmarkError(
            f"{path.name} and config.json in {path.parent.name} do not belong together: "
            f"{misfits[0]}{f', and {len(misfits) - 1} more' if len(misfits) > 1 else ''}. "
            "Use both from one training run."
        )


def read_network(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a network's file, whose claims were checked.

    Raises LandmarkError if it is not whole, or holds numbers that no network has.
    """
    tensors = read_tensors(path)
    if fault := find_fault(tensors):
        raise LandmarkError(
            f"{path.name} is damaged or does not hold a trained network: {fault}. Copy it again, "
            "or train the network again."
        )
    return tensors


def find_fault(tensors: dict[str, np.ndarray]) -> str:
    """What is wrong with the numbers of a network, naming the first tensor; "" if nothing.

    They must be finite and no larger than MOST_VALUE, and the variances that batch norm remembers
    not negative.
    """
    for name, tensor in tensors.items():
        if tensor.dtype.kind != "f" or not tensor.size:
            continue
        # Faster than isfinite; where there is a NaN, both are NaN.
        low, high = float(tensor.min()), float(tensor.max())
        if not math.isfinite(low + high):
            return f"{name} holds numbers that are not finite"
        if max(-low, high) > MOST_VALUE:
            return f"{name} holds numbers larger than any network learns"
        if name.endswith("running_var") and low < 0:
            return f"{name} holds variances below 0"
    return ""
