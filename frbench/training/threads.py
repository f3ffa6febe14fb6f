"""How many threads a training process uses for the arithmetic of one step."""

from __future__ import annotations

import os
from typing import NamedTuple

import torch
from torch import nn

from frbench.contracts.batch import Sizes

#: Floating-point operations of a step below which sharing them among threads does not pay.
SMALL_STEP = 1e9
#: Cores that this process may use, where several processes share a machine (``bench --jobs``).
CORES = "FRBENCH_CORES"


class Threads(NamedTuple):
    """A number of threads and its reason, for the log."""

    number: int
    reason: str


def step_flops(network: nn.Module, sizes: Sizes, rows: int) -> float:
    """Count the floating-point operations of one training step.

    The forward pass of one row is counted; the backward pass takes about twice as many.

    Args:
        network: Maps x to features and logits.
        sizes: Shape of one input.
        rows: Rows in a batch of this process.

    Returns:
        3 x rows x operations of the forward pass of one row.

    Example:
        >>> from frbench.networks import MLP
        >>> network, sizes = MLP(hidden=[8]), Sizes(2, 2, (4,))
        >>> network.bind(sizes)
        >>> step_flops(network, sizes, 10)  # 2 x (4 x 8 + 8 x 2) operations a row
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
    return 3.0 * rows * float(counter.get_total_flops())


def available_cores() -> int:
    """Cores that this process may use."""
    if given := os.environ.get(CORES):
        return int(given)
    return (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )


def choose_threads(flops: float, given: int | None = None, stored: int | None = None) -> Threads:
    """Choose the number of threads: one for small steps, all cores for large ones.

    Threads that share a small step wait for one another longer than they compute, above all where
    other processes use the cores too. The number decides in which order sums are taken, so a
    continued run keeps it.

    Args:
        flops: Operations of a step (:func:`step_flops`).
        given: What the user asked for by ``--threads``.
        stored: What the checkpoint that is continued was trained with.

    Example:
        >>> choose_threads(1e6, given=3)
        Threads(number=3, reason='--threads')
    """
    if given is not None:
        return Threads(given, "--threads")
    if (variable := os.environ.get("OMP_NUM_THREADS", "")).isdecimal():
        return Threads(int(variable), "OMP_NUM_THREADS")
    if stored is not None:
        return Threads(stored, "as in the checkpoint")
    size = f"a step of {flops / 1e6:.3g} million operations"
    if flops < SMALL_STEP:
        return Threads(1, f"{size} is too small to share")
    return Threads(available_cores(), f"{size} is shared by all cores")
