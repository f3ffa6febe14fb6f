"""Cores of this process."""

from __future__ import annotations

import os

#: Environment variable: cores of this process where others use the rest, as in ``bench --jobs``.
#: Where it is set, the number in OMP_NUM_THREADS is not the user's.
CORES = "FRBENCH_CORES"


def available_cores() -> int:
    """Return how many cores this process may use."""
    if given := os.environ.get(CORES):
        return int(given)
    has_set = hasattr(os, "sched_getaffinity")  # not on macOS
    return len(os.sched_getaffinity(0)) if has_set else os.cpu_count() or 1
