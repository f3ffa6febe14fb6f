"""What a run ran on: versions, hardware, threads and determinism."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import frbench


def environment() -> dict[str, Any]:
    """Return what two records need to say why they differ; no names of users or folders."""
    import torch

    return {
        "versions": {
            "frbench": frbench.__version__,
            "python": sys.version.split()[0],
            **{name: version(name) for name in ("torch", "pytorch-lightning", "numpy")},
        },
        "hardware": hardware(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def hardware() -> str:
    """Name the GPU, or the processor and the number of its cores."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):  # Linux names the model there alone
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line for line in lines if line.startswith("model name")).split(": ")[1]
    return f"{name}, {os.cpu_count()} cores"
