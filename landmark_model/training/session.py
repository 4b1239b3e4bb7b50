"""Where a run takes place: machine, precision, folder, seed."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from pathlib import Path

from accelerate import Accelerator, DataLoaderConfiguration
from accelerate.state import AcceleratorState
from accelerate.utils import set_seed


@dataclass(frozen=True)
class Session:
    """Where a run takes place: on which machine, in which folder, and from which seed.

    With `resume` it goes on from the checkpoint in `folder`. `workers` prepare photos.
    """

    accelerator: Accelerator
    folder: Path
    seed: int = 0
    resume: bool = False
    workers: int = 0


def make_accelerator(precision: str, seed: int) -> Accelerator:
    """The engine. `precision` is "no", "bf16" or "fp16"."""
    set_seed(seed)
    keep_freed_memory()
    AcceleratorState._reset_state()  # or a second run in this process keeps the first's precision
    return Accelerator(
        mixed_precision=precision,
        dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True, data_seed=seed),
    )


def open_session(
    folder: Path, precision: str = "no", seed: int = 0, resume: bool = False, workers: int = 0
) -> Session:
    """A session in `folder` on this machine; `precision` is as for `make_accelerator`."""
    return Session(make_accelerator(precision, seed), folder, seed, resume, workers)


def keep_freed_memory() -> None:
    """Has glibc keep the memory of large tensors for reuse, as described in mallopt(3).

    Else the kernel zeroes every page of it anew at the next step: on a CPU much of its time.
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another libc
        return
    m_trim_threshold, m_mmap_max = -1, -4
    mallopt(m_mmap_max, 0)
    mallopt(m_trim_threshold, 2**31 - 1)
