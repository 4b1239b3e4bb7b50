"""How much of the machine is ours."""

from __future__ import annotations

import math
import os
from pathlib import Path


def usable_cores() -> int:
    """How many CPU cores this process may use: by affinity, and by the quota of its container."""
    count = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(count, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no such file, or no limit: "max"
        return count
