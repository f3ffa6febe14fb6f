"""Steps per second: a bare PyTorch loop, ERM and GroupDRO under Lightning, interleaved.

Usage: python benchmarks/steps.py [--steps 400] [--rounds 5]

Every round times each contender on the same batches, one after the other, in this process; the
figure is the median over rounds. "loop" draws its batches from the same loader, "prefetched" has
them in a list already, which is as fast as a step can be.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from pytorch_lightning import Callback, Trainer

from frbench.contracts.batch import Sizes
from frbench.data.module import GroupDataModule
from frbench.data.table import Table
from frbench.networks import MLP, SmallCNN
from frbench.objectives import ERM, GroupDRO, Objective


class Random(GroupDataModule):
    """Random inputs of a given shape."""

    class_names = attribute_names = ("0", "1")

    def __init__(self, shape: list[int], n: int, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.shape = shape
        self.n = n
        self.sizes = Sizes(2, 2, tuple(shape))

    def tables(self) -> dict[str, Table]:
        rng = np.random.default_rng(0)

        def draw(n: int) -> Table:
            y, z = rng.integers(0, 2, (2, n))
            x = rng.normal(size=(n, *self.shape)).astype(np.float32)
            return Table(x + y.reshape(-1, *[1] * len(self.shape)), y, z)

        return {"train": draw(self.n), "val": draw(100), "test": draw(100)}


class Clock(Callback):
    """Times the steps after the first twenty."""

    def on_train_batch_start(self, trainer: Trainer, *_: object) -> None:
        if trainer.global_step == 20:
            self.start = time.perf_counter()

    def on_train_end(self, trainer: Trainer, *_: object) -> None:
        self.rate = (trainer.global_step - 20) / (time.perf_counter() - self.start)


def lightning(cls: type[Objective], data: Random, network: Callable, steps: int) -> float:
    clock = Clock()
    trainer = Trainer(
        max_steps=steps, max_epochs=-1, logger=False, enable_checkpointing=False, devices=1,
        enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
        limit_val_batches=0, num_sanity_val_steps=0, callbacks=[clock],
    )  # fmt: skip
    trainer.fit(cls(2, 2, data.shape, network=network(), lr=1e-3), datamodule=data)
    return clock.rate


def bare(data: Random, network: Callable, steps: int, prefetched: bool) -> float:
    net = network()
    net.bind(data.sizes)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)

    def stream():
        while True:
            yield from data.train_dataloader()

    batches = stream()
    if prefetched:
        batches = iter([next(batches) for _ in range(steps)])
    for step in range(steps):
        if step == 20:
            start = time.perf_counter()
        batch = next(batches)
        loss = F.cross_entropy(net(batch.x)[1], batch.y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (steps - 20) / (time.perf_counter() - start)


CASES = {
    "MLP 105-256-256-256, B 108": ([105], 108, lambda: MLP(hidden=[256, 256, 256]), 1.0),
    "MLP 2-64-32, B 128": ([2], 128, lambda: MLP(), 1.0),
    "CNN 3x32x32, B 128": ([3, 32, 32], 128, lambda: SmallCNN(), 0.2),
}


def main() -> None:
    """Print one table per network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    warnings.filterwarnings("ignore")
    for name, (shape, batch_size, network, share) in CASES.items():
        data = Random(shape, 20 * batch_size, batch_size=batch_size)
        steps = max(60, int(args.steps * share))
        contenders: dict[str, Callable[[], float]] = {
            "loop, prefetched": lambda: bare(data, network, steps, True),  # noqa: B023
            "loop": lambda: bare(data, network, steps, False),  # noqa: B023
            "ERM": lambda: lightning(ERM, data, network, steps),  # noqa: B023
            "GroupDRO": lambda: lightning(GroupDRO, data, network, steps),  # noqa: B023
        }
        rates: dict[str, list[float]] = {key: [] for key in contenders}
        for _ in range(args.rounds):
            for key, run in contenders.items():
                rates[key].append(run())
        medians = {key: statistics.median(values) for key, values in rates.items()}
        print(f"\n{name}: steps per second, median of {args.rounds} rounds of {steps} steps")
        for key, rate in medians.items():
            print(f"  {key:<18}{rate:>9.0f}   {1e3 / rate:>7.3f} ms   "
                  f"x {medians['loop'] / rate:.2f} of loop")  # fmt: skip
        ratios = [e / d for e, d in zip(rates["ERM"], rates["GroupDRO"], strict=True)]
        print(f"  GroupDRO / ERM: {statistics.median(ratios):.3f} "
              f"(rounds {min(ratios):.3f} to {max(ratios):.3f})")  # fmt: skip


if __name__ == "__main__":
    main()
