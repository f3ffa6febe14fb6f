"""CPU time of a step of every objective, penalty and mixing, over a bare loop's and over ERM's.

Usage: python benchmarks/methods.py [NAME ...] [--steps 400] [--rounds 5]

One MLP with 256 rows a batch, one thread; every round times each method, the bare loop and ERM one
after the other in this process, and the figures are medians over rounds. Penalties and mixings
stand beside ERM.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import warnings
from collections.abc import Callable
from functools import partial

import torch
from steps import Random, bare, lightning

from frbench.objectives import ERM, Objective
from frbench.runs.catalogue import exported, import_all

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
    print(f"MLP 105-256x3, B 256: median of {args.rounds} rounds of {args.steps} steps")
    for name, rounds in times.items():
        own, over, over_erm = (
            statistics.median(values)
            for values in zip(*((a, a / b, a / erm) for a, b, erm in rounds), strict=True)
        )
        print(f"  {name:<24}{1e3 * own:>7.3f} ms   x {over:.2f} of the loop"
              f"   x {over_erm:.2f} of ERM")  # fmt: skip


if __name__ == "__main__":
    main()
