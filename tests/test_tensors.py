"""Files of tensors are judged by what they claim, then read, then judged by their numbers."""

import json
import tracemalloc
from math import inf, nan
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from landmark_model import LandmarkError, tensors
from landmark_model.tensors import Claim, find_fault, read_claims, read_tensors


def write_claim(path: Path, kind: str, shape: list[int], bytes_each: int) -> Path:
    """A whole safetensors file of one tensor of zeros, without any of them on the disk."""
    size = bytes_each
    for side in shape:
        size *= side
    claim = {"w": {"dtype": kind, "shape": shape, "data_offsets": [0, size]}}
    head = json.dumps(claim).encode()
    head += b" " * (-len(head) % 8)
    with path.open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        file.truncate(8 + len(head) + size)
    return path


def test_claims_are_those_of_the_file(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.zeros(2, 3).half(), "b": torch.tensor(5)}, path)
    claims = read_claims(path)
    assert claims == {"a": Claim("F16", (2, 3)), "b": Claim("I64", ())}
    with pytest.raises(LandmarkError, match="does not exist"):
        read_claims(tmp_path)  # a folder
    assert [(claims[n].count, claims[n].is_float) for n in "ab"] == [(6, True), (1, False)]


def test_file_of_more_numbers_than_any_network_has_is_refused_unread(tmp_path):
    path = write_claim(tmp_path / "x.safetensors", "F16", [20_000, 20_000], 2)
    tracemalloc.start()
    try:
        with pytest.raises(LandmarkError, match=r"x\.safetensors holds 400,000,000 numbers"):
            read_claims(path)
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("kind", "size"), [("F8_E4M3", 1), ("C64", 8), ("U64", 8)])
def test_numbers_of_another_kind_are_refused(tmp_path, kind, size):
    path = write_claim(tmp_path / "x.safetensors", kind, [4], size)
    with pytest.raises(LandmarkError, match=rf"of the kind {kind}\. Convert"):
        read_claims(path)


@pytest.mark.parametrize("length", [4_000_001, 2**40, 2**64 - 1])
def test_head_that_is_too_long_is_refused_unread(tmp_path, length):
    path = tmp_path / "x.safetensors"
    with path.open("wb") as file:
        file.write(length.to_bytes(8, "little") + b'{"a":')
        file.truncate(20_000_000)
    with pytest.raises(LandmarkError, match="not a whole safetensors file"):
        read_claims(path)


def test_folder_in_place_of_a_file_is_refused(tmp_path):
    with pytest.raises(LandmarkError, match="does not exist"):
        read_claims(tmp_path)


KINDS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.mark.parametrize("kind", KINDS)
def test_fractions_of_any_kind_are_read_as_float32(tmp_path, kind):
    path = tmp_path / "x.safetensors"
    wanted = {"a": torch.randn(3, 5).to(kind), "none": torch.zeros(0).to(kind)}
    save_file(wanted | {"n": torch.tensor([3, -4])}, path)
    found = read_tensors(path)
    for name, tensor in wanted.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], tensor.float().numpy())
    assert found["n"].tolist() == [3, -4] and found["n"].dtype == np.int64


@pytest.mark.parametrize("value", [nan, inf, -inf])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", [0, 17, -1])
def test_one_number_that_is_not_finite_is_found(tmp_path, value, kind, place):
    tensor = torch.ones(40, dtype=kind)
    tensor[place] = value
    save_file({"fine": torch.ones(3), "bad": tensor.view(4, 10)}, tmp_path / "x")
    found = read_tensors(tmp_path / "x")
    assert find_fault(found) == "bad holds numbers that are not finite"
    assert find_fault({"fine": found["fine"]}) == ""


def test_number_that_no_network_learns_is_found():
    for value in (1e20, -1e11):
        fault = find_fault({"w": np.array([1.0, value], np.float32)})
        assert fault == "w holds numbers larger than any network learns"
    assert find_fault({"w": np.array([1e9, -1e9])}) == ""


def test_variance_below_zero_is_found_and_zero_is_none():
    assert find_fault({"norm.running_var": np.array([1.0, 0.0])}) == ""
    fault = find_fault({"norm.running_var": np.array([1.0, -1e-6])})
    assert fault == "norm.running_var holds variances below 0"


def test_whole_numbers_and_nothing_at_all_are_fine():
    assert find_fault({"n": np.array(-5), "none": np.zeros(0)}) == ""


def test_limit_has_room_for_the_largest_network_that_is_loaded():
    from landmark_model.networks import MOST_PARAMETERS

    assert tensors.MOST_NUMBERS >= MOST_PARAMETERS
