"""CPU time of a step over that of a bare PyTorch loop and over ERM's: the guard of speed.

Usage: python benchmarks/steps.py [--rounds 5] [--write]

Every round times each contender on one thread, one after the other, in this process; ratios are
taken within a round, and the table shows their minimum, median and maximum. The bare loop has its
batches in a list and ``torch.optim.Adam`` as it comes; epochs have 20 steps. The medians over the
bare loop are compared with those of benchmarks/steps.json: exit status 1 if one is more than 25 %
larger. ``--write`` replaces the file by what was measured on this machine.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import fr_train
import numpy as np
import torch
import torch.nn.functional as F
from pytorch_lightning import Callback, Trainer

from frbench.callbacks import CSVLogger
from frbench.contracts.batch import Sizes
from frbench.data.module import GroupDataModule
from frbench.data.table import Table
from frbench.networks import MLP
from frbench.objectives import ERM, CVaR, GroupDRO, Objective
from frbench.penalties import ConditionalMMD
from frbench.runs.environment import hardware

COMMITTED = Path(__file__).with_suffix(".json")
TOLERANCE = 1.25
SKIP = 20  # steps before the clock starts

#: Inputs, rows of a batch, hidden layers, steps of a round.
CASES: dict[str, tuple[int, int, list[int], int]] = {
    "MLP 2-64-32, B 128": (2, 128, [64, 32], 400),
    "MLP 105-256x3, B 108": (105, 108, [256, 256, 256], 300),
}
#: Objectives and penalties of each contender.
METHODS: dict[str, Callable[..., Objective]] = {
    "ERM": ERM,
    "GroupDRO": GroupDRO,
    "ConditionalMMD": lambda *args, **kw: ERM(*args, penalties=[ConditionalMMD()], **kw),
    "CVaR": CVaR,
}


class Random(GroupDataModule):
    """Random rows of as many inputs as asked for, twenty batches an epoch."""

    class_names = attribute_names = ("0", "1")

    def __init__(self, inputs: int, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.inputs = inputs
        self.sizes = Sizes(2, 2, (inputs,))

    def tables(self) -> dict[str, Table]:
        rng = np.random.default_rng(0)

        def draw(n: int) -> Table:
            y, z = rng.integers(0, 2, (2, n))
            return Table(rng.normal(size=(n, self.inputs)).astype(np.float32) + y[:, None], y, z)

        return {"train": draw(20 * self.batch_size), "val": draw(100), "test": draw(100)}


class Clock(Callback):
    """CPU time of the steps after the first ones."""

    def on_train_batch_start(self, trainer: Trainer, *_: object) -> None:
        if trainer.global_step == SKIP:
            self.start = time.process_time()

    def on_train_end(self, trainer: Trainer, *_: object) -> None:
        self.seconds = (time.process_time() - self.start) / (trainer.global_step - SKIP)


def lightning(make: Callable[..., Objective], data: Random, hidden: list[int], n: int) -> float:
    """Seconds a step of an objective, as frbench trains it."""
    clock = Clock()
    trainer = Trainer(
        max_steps=n, max_epochs=-1, logger=False, enable_checkpointing=False, devices=1,
        enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
        limit_val_batches=0, num_sanity_val_steps=0, callbacks=[clock],
    )  # fmt: skip
    model = make(2, 2, [data.inputs], network=MLP(hidden=hidden), lr=1e-3)
    trainer.fit(model, datamodule=data)
    return clock.seconds


def bare(data: Random, hidden: list[int], n: int, fused: bool | None = None) -> float:
    """Seconds a step of a loop in PyTorch."""
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"  # importing Lightning slows Adam down
    net = MLP(hidden=hidden)
    net.bind(data.sizes)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3, fused=fused)
    batches = [batch for _ in range(n // 20) for batch in data.train_dataloader()]
    for step, batch in enumerate(batches):
        if step == SKIP:
            start = time.process_time()
        loss = F.cross_entropy(net(batch.x)[1], batch.y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (time.process_time() - start) / (len(batches) - SKIP)


def measure(rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return the seconds of each case, contender and round."""
    found: dict[str, dict[str, list[float]]] = {}
    for case, (inputs, rows, hidden, steps) in CASES.items():
        data = Random(inputs, batch_size=rows)
        times = found[case] = {k: [] for k in ("bare loop", "bare loop, fused Adam", *METHODS)}
        for _ in range(rounds):
            times["bare loop"].append(bare(data, hidden, steps))
            times["bare loop, fused Adam"].append(bare(data, hidden, steps, fused=True))
            for name, make in METHODS.items():
                times[name].append(lightning(make, data, hidden, steps))
    data, times = fr_train.make_data(), {"bare loop": [], "FRTrain": []}
    for _ in range(rounds):
        with TemporaryDirectory() as folder:
            times["FRTrain"].append(1 / fr_train.lightning(data, 1000, CSVLogger(folder))[0])
        times["bare loop"].append(1 / fr_train.loop(data, 1000)[0])
    return found | {"FR-Train, 1800 rows, an iteration": times}


def main() -> int:
    """Print the table and compare it with the committed one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    warnings.filterwarnings("ignore")
    found = measure(args.rounds)
    old = json.loads(COMMITTED.read_text()) if COMMITTED.exists() else {"ratios": {}}
    ratios: dict[str, float] = {}
    worse = []
    print(f"{hardware()}, load {os.getloadavg()[0]:.1f}, one thread, {args.rounds} rounds\n")
    head = f"{'CPU time of a step':<36}{'us':>8}   over the bare loop   over ERM   committed"
    print(head)
    for case, times in found.items():
        print(case)
        for name, own in times.items():
            over = sorted(a / b for a, b in zip(own, times["bare loop"], strict=True))
            over_erm = [a / b for a, b in zip(own, times.get("ERM", own), strict=True)]
            key, median = f"{case}: {name}", statistics.median(over)
            ratios[key] = round(median, 3)
            before = old["ratios"].get(key)
            bad = before is not None and median > TOLERANCE * before
            worse += [key] * bad
            erm = f"{statistics.median(over_erm):>8.2f}" if "ERM" in times else " " * 8
            print(f"  {name:<34}{1e6 * statistics.median(own):>8.0f}"
                  f"   {over[0]:5.2f} {median:5.2f} {over[-1]:5.2f}   {erm}   "
                  f"{'' if before is None else f'{before:>9.2f}'}{'  worse' * bad}")  # fmt: skip
    if "machine" in old:
        print(f"\ncommitted: {old['machine']}, min median max of rounds on the left")
    if args.write:
        text = {"machine": hardware(), "ratios": ratios}
        COMMITTED.write_text(json.dumps(text, indent=1) + "\n")
    if worse and not args.write:
        print(f"more than 25 % worse than {COMMITTED.name}: {'; '.join(worse)}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
