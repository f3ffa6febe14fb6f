"""How many threads a process uses for the arithmetic of a step."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import torch
from torch import nn

from frbench.contracts.batch import Sizes
from frbench.support.cores import CORES, available_cores

#: Floating-point operations of a step below which sharing them among threads does not pay.
SMALL_STEP = 2e8


class Threads(NamedTuple):
    """A number of threads and its reason, for the log."""

    number: int
    reason: str

    def __str__(self) -> str:
        return f"{self.number} thread{'s' * (self.number > 1)}: {self.reason}"


def step_flops(network: nn.Module, sizes: Sizes, rows: int, backward: bool = True) -> float:
    """Count the floating-point operations of one step.

    The forward pass of one row is counted; the backward pass takes about twice as many.

    Args:
        network: Maps x to features and logits.
        sizes: Shape of one input.
        rows: Rows in a batch of this process.
        backward: Whether the step is one of training.

    Returns:
        Rows x operations of the forward pass of one row, x 3 in training.

    Example:
        >>> from frbench.networks import MLP
        >>> network, sizes = MLP(hidden=[8]), Sizes(2, 2, (4,))
        >>> network.bind(sizes)
        >>> step_flops(network, sizes, 10)  # 2 x (4 x 8 + 8 x 2) operations a row, x 3
        2880.0
    """
    from torch.utils.flop_counter import FlopCounterMode

    kind = torch.long if sizes.vocab_size else torch.float32
    x = torch.zeros(1, *sizes.input_shape, dtype=kind, device=next(network.parameters()).device)
    modes = [(module, module.training) for module in network.modules()]
    network.eval()  # one row is no batch to normalise with
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(x)
    finally:
        for module, mode in modes:
            module.training = mode
    return (3.0 if backward else 1.0) * rows * float(counter.get_total_flops())


def choose_threads(flops: float, cores: int) -> Threads:
    """Choose one thread for small steps and all cores for large ones.

    Threads that share a small step wait for one another longer than they compute, above all where
    other processes use the cores too (``benchmarks/threads.py`` measures it). The command line
    has waiting threads sleep (OMP_WAIT_POLICY): by default they compute nothing at full speed.

    Args:
        flops: Operations of a step (:func:`step_flops`).
        cores: Cores of this process.

    Example:
        >>> print(choose_threads(2e6, cores=4))
        1 thread: a step of 2 million operations is too small to share
        >>> print(choose_threads(2e10, cores=4))
        4 threads: a step of 2e+04 million operations is shared by all cores
    """
    size = f"a step of {flops / 1e6:.3g} million operations"
    if flops < SMALL_STEP:
        return Threads(1, f"{size} is too small to share")
    return Threads(cores, f"{size} is shared by all cores")


def module_threads(module: Any, rows: int, cores: int, training: bool = False) -> Threads:
    """Choose the number of threads of an objective.

    Args:
        module: The objective, with its network and sizes.
        rows: Rows in a batch of this process.
        cores: Cores of this process.
        training: Whether it trains on them, or evaluates them alone.
    """
    return choose_threads(step_flops(module.network, module.sizes, rows, training), cores)


def use_threads(module: Any, rows: int, option: int | None = None) -> None:
    """Set the number of threads for evaluating an objective on the CPU.

    Args:
        module: The objective.
        rows: Rows in a batch.
        option: What the user gave by ``--threads``.
    """
    chosen = user_threads(option) or module_threads(module, rows, available_cores())
    torch.set_num_threads(chosen.number)


def user_threads(option: int | None) -> Threads | None:
    """Return the number that the user asked for by ``--threads`` or OMP_NUM_THREADS, if any."""
    if option is not None:
        return Threads(option, "--threads")
    variable = os.environ.get("OMP_NUM_THREADS", "")
    if variable.isdecimal() and int(variable) and CORES not in os.environ:
        return Threads(int(variable), "OMP_NUM_THREADS")
    return None
