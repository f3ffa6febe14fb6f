"""Cost of a training step with an MMD penalty, as a ratio to ERM's.

Usage: python benchmarks/mmd.py [--steps 400]

One run under Lightning in which the contenders take turns, step by step, on the same network and
stream of batches. A step lasts from its batch's start to the next one's; the figure is the ratio
of the medians over steps of the processor's time, so that other processes do not count.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from steps import Random

from frbench.networks import MLP, Network, Timm
from frbench.objectives import ERM
from frbench.penalties import ConditionalMMD, MarginalMMD, Penalty

CASES: dict[str, tuple[list[int], Callable[[], Network], float]] = {
    "MLP 64-32 on 2 inputs": ([2], MLP, 1.0),
    "MLP 256-256-256 on 105 inputs": ([105], lambda: MLP(hidden=[256, 256, 256]), 1.0),
    "ResNet-18, 3x64x64": ([3, 64, 64], lambda: Timm("resnet18"), 0.04),
}
CONTENDERS: dict[str, Penalty | None] = {
    "ERM": None,
    "ConditionalMMD": ConditionalMMD(5.0),
    "MarginalMMD": MarginalMMD(5.0),
    "ConditionalMMD, features, 3 kernels": ConditionalMMD(
        5.0, "features", [0.25, 1.0, 4.0], median=True
    ),
}
WARM_UP = 5


class InTurns(ERM):
    """ERM whose penalty is another contender's in each step."""

    turn = 0

    def _penalties(self) -> list[Penalty]:
        penalty = list(CONTENDERS.values())[self.turn]
        return [] if penalty is None else [penalty]

    @property
    def penalty_names(self) -> list[str]:
        return [type(penalty).__name__ for penalty in self._penalties()]


class Clock(Callback):
    """Times each step and passes the turn."""

    def __init__(self) -> None:
        self.times: list[list[float]] = [[] for _ in CONTENDERS]
        self.last = 0.0

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, *_: object) -> None:
        now = time.process_time()
        if trainer.global_step:
            self.times[pl_module.turn].append(now - self.last)
        pl_module.turn = trainer.global_step % len(CONTENDERS)
        self.last = time.process_time()


def main() -> None:
    """Print one table per network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400, help="steps of each contender")
    parser.add_argument("--only", default="", help="cases whose name holds this word")
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    warnings.filterwarnings("ignore")
    chosen = {name: case for name, case in CASES.items() if args.only in name}
    for name, (shape, network, share) in chosen.items():
        data = Random(shape, 20 * 128, batch_size=128)
        steps = WARM_UP + int(args.steps * share)
        for penalty in CONTENDERS.values():
            if penalty is not None:
                penalty.bind(data.sizes)
        clock = Clock()
        trainer = Trainer(
            max_steps=1 + steps * len(CONTENDERS), max_epochs=-1, logger=False, devices=1,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            accelerator="cpu", limit_val_batches=0, num_sanity_val_steps=0, callbacks=[clock],
        )  # fmt: skip
        trainer.fit(InTurns(2, 2, shape, network=network()), datamodule=data)
        medians = [statistics.median(times[WARM_UP:]) for times in clock.times]
        print(f"\n{name}, B 128: median of {steps - WARM_UP} steps")
        for contender, median in zip(CONTENDERS, medians, strict=True):
            print(f"  {contender:<36}{1e3 * median:>9.3f} ms   {median / medians[0]:.3f} x ERM",
                  flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
