"""Threads: time of a training step with one thread and with all cores, and what the rule chooses.

Usage: python benchmarks/threads.py [--rounds 30] [--seconds 0.2] [--busy 0]

Each round trains every network for a moment with one thread and then with all cores; the figure is
the fastest round of each, in milliseconds a step, since other work of the machine only ever adds
time. ``--busy N`` starts N processes that multiply matrices meanwhile, and the figure is then the
median of the rounds. "cost" is the time of the rule's choice over that of the better one.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from frbench.contracts.batch import Sizes
from frbench.networks import MLP, SmallCNN, Timm
from frbench.support.cores import available_cores
from frbench.training.threads import choose_threads, step_flops

#: Network, shape of an input, rows of a batch.
CASES: dict[str, tuple[Callable[[], Any], tuple[int, ...], int]] = {
    "MLP 2-64-32, B 128": (lambda: MLP(), (2,), 128),
    "MLP 105-256x3, B 108": (lambda: MLP(hidden=[256] * 3), (105,), 108),
    "MLP 105-256x3, B 1024": (lambda: MLP(hidden=[256] * 3), (105,), 1024),
    "MLP 105-512x3, B 256": (lambda: MLP(hidden=[512] * 3), (105,), 256),
    "CNN 1x8x8, B 64": (lambda: SmallCNN(), (1, 8, 8), 64),
    "CNN 3x32x32, B 32": (lambda: SmallCNN(), (3, 32, 32), 32),
    "CNN 3x32x32, B 128": (lambda: SmallCNN(), (3, 32, 32), 128),
    "ResNet-18 3x32x32, B 32": (lambda: Timm("resnet18"), (3, 32, 32), 32),
}


def stepper(network: nn.Module, shape: tuple[int, ...], rows: int) -> Callable[[], None]:
    """Return a training step."""
    x, y = torch.randn(rows, *shape), torch.randint(0, 2, (rows,))
    optimizer = torch.optim.Adam(network.parameters(), 1e-3, fused=True)

    def step() -> None:
        loss = F.cross_entropy(network(x)[1], y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def timed(step: Callable[[], None], threads: int, seconds: float) -> float:
    """Milliseconds a step."""
    torch.set_num_threads(threads)
    step()  # threads wake up
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        step()
        count += 1
    return 1e3 * (time.perf_counter() - start) / count


def work() -> None:
    """Keep a core busy."""
    torch.set_num_threads(1)
    matrix = torch.randn(256, 256)
    while True:
        matrix @ matrix


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=0.2)
    parser.add_argument("--busy", type=int, default=0, help="processes that compute meanwhile")
    args = parser.parse_args()
    start = multiprocessing.get_context("spawn").Process
    others = [start(target=work, daemon=True) for _ in range(args.busy)]
    for other in others:
        other.start()
    time.sleep(5 * bool(others))  # they import torch
    cores = available_cores()
    of_rounds = statistics.median if args.busy else min
    print(f"{cores} cores, {args.busy} busy processes, {args.rounds} rounds of {args.seconds} s\n")
    print(f"{'':<26}{'MFLOP':>8}{'1 thread':>10}{'all':>10}{'all / 1':>9}{'rule':>6}{'cost':>7}")
    for name, (make, shape, rows) in CASES.items():
        network, sizes = make(), Sizes(2, 2, shape)
        network.bind(sizes)
        flops = step_flops(network, sizes, rows)
        step = stepper(network, shape, rows)
        pairs = [[timed(step, n, args.seconds) for n in (1, cores)] for _ in range(args.rounds)]
        one, every = (of_rounds(times) for times in zip(*pairs, strict=True))
        chosen = choose_threads(flops, cores).number
        cost = (one if chosen == 1 else every) / min(one, every)
        print(f"{name:<26}{flops / 1e6:>8.0f}{one:>10.3f}{every:>10.3f}{every / one:>9.2f}"
              f"{chosen:>6}{cost:>7.2f}", flush=True)  # fmt: skip
    for other in others:
        other.terminate()


if __name__ == "__main__":
    main()
