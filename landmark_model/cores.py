"""How much of the machine is ours."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path


def usable_cores() -> int:
    """How many CPU cores this process may use: by affinity, by the quota of its container, and by
    OMP_NUM_THREADS, which is set where processes share a machine."""
    limits = [os.cpu_count() or 1]
    if hasattr(os, "sched_getaffinity"):
        limits = [len(os.sched_getaffinity(0))]
    threads = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if threads.isdecimal():
        limits.append(int(threads))
    with suppress(OSError, ValueError):  # no such file, or no limit: "max"
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        limits.append(math.ceil(int(quota) / int(period)))
    return max(1, min(limits))
