"""CPU time of a step of every objective, penalty and mixing, over a bare loop's and over ERM's.

Usage: python benchmarks/methods.py [NAME ...] [--steps 400] [--rounds 5]

One MLP with 256 rows a batch, one thread; every round times each method, the bare loop and ERM one
after the other in this process, and the figures are medians over rounds. Penalties and mixings
stand beside ERM. The last line compares a run of JTT with the sum of its stages: ERM for the
epochs of the first stage, a pass over the table, and ERM for those of the second.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from steps import Random, bare, lightning

from frbench.group_inference import Errors
from frbench.networks import MLP
from frbench.objectives import ERM, Objective
from frbench.runs.catalogue import exported, import_all
from frbench.training.table_pass import table_outputs

HIDDEN = [256, 256, 256]
#: Methods for images alone.
IMAGES = ("CutMix",)


def methods() -> dict[str, Callable[..., Objective]]:
    """Return what makes the objective of each method, by its name."""
    classes = import_all()
    made: dict[str, Callable[..., Objective]] = {"ERM": ERM}
    made |= {name: classes[name] for name in exported("model")}
    for name in exported("penalty"):
        made[name] = partial(_with_penalty, classes[name])
    for name in exported("mixing"):
        made[name] = partial(_with_mixing, classes[name])
    return {name: make for name, make in made.items() if name not in IMAGES}


def _with_penalty(penalty: type, *args: object, **options: object) -> Objective:
    return ERM(*args, penalties=[penalty(1.0)], **options)


def _with_mixing(mixing: type, *args: object, **options: object) -> Objective:
    return ERM(*args, mixing=mixing(), **options)


class Whole(Callback):
    """CPU time of all of training, and of a pass over the table behind it."""

    def on_train_start(self, *_: object) -> None:
        self.start = time.process_time()

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.seconds = time.process_time() - self.start
        start = time.process_time()
        table_outputs(pl_module)
        self.of_a_pass = time.process_time() - start


def whole(data: Random, epochs: int, **options: Any) -> Whole:
    """Time a run of so many epochs of 20 steps."""
    clock = Whole()
    trainer = Trainer(
        max_epochs=epochs, logger=False, enable_checkpointing=False, devices=1,
        enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
        limit_val_batches=0, num_sanity_val_steps=0, callbacks=[clock],
    )  # fmt: skip
    model = ERM(2, 2, [data.inputs], network=MLP(hidden=HIDDEN), lr=1e-3, **options)
    trainer.fit(model, datamodule=data)
    return clock


def over_stages(data: Random, first: int = 10, second: int = 10) -> float:
    """Return the time of a run of JTT over that of its parts."""
    with contextlib.redirect_stdout(io.StringIO()):  # the table of what was inferred
        jtt = whole(data, first + second, infer=Errors(first, via="weight"))
    parts = whole(data, first), whole(data, second)
    return jtt.seconds / (parts[0].seconds + parts[0].of_a_pass + parts[1].seconds)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    warnings.filterwarnings("ignore")
    made = {name: make for name, make in methods().items() if name in (args.names or methods())}
    plain, clean = Random(105, batch_size=256), Random(105, batch_size=320, clean_share=0.2)
    times: dict[str, list[tuple[float, ...]]] = {name: [] for name in made}
    for _ in range(args.rounds):
        for name, make in made.items():
            data = clean if make(2, 2, [105]).uses_clean else plain
            # One after the other: the speed of a machine that others share drifts.
            times[name].append((
                lightning(make, data, HIDDEN, args.steps),
                bare(plain, HIDDEN, args.steps),
                lightning(ERM, plain, HIDDEN, args.steps),
            ))  # fmt: skip
    stages = sorted(over_stages(plain) for _ in range(args.rounds))
    print(f"MLP 105-256x3, B 256: median of {args.rounds} rounds of {args.steps} steps")
    for name, rounds in times.items():
        own, over, over_erm = (
            statistics.median(values)
            for values in zip(*((a, a / b, a / erm) for a, b, erm in rounds), strict=True)
        )
        print(f"  {name:<24}{1e3 * own:>7.3f} ms   x {over:.2f} of the loop"
              f"   x {over_erm:.2f} of ERM")  # fmt: skip
    print(f"  JTT, 10 + 10 epochs: x {statistics.median(stages):.3f} of the sum of its stages "
          f"({stages[0]:.3f} to {stages[-1]:.3f})")  # fmt: skip


if __name__ == "__main__":
    main()
