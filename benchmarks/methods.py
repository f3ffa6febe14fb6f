"""CPU time of a step of every objective, penalty and mixing, over a bare loop's and over ERM's.

Usage: python benchmarks/methods.py [NAME ...] [--steps 400] [--rounds 5]

One MLP with 256 rows a batch, one thread; every round times each method after the other in this
process, and the figures are medians over rounds. Penalties and mixings stand beside ERM.
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
    made = {n: make for n, make in methods().items() if n in ("ERM", *(args.names or methods()))}
    plain, clean = Random(105, batch_size=256), Random(105, batch_size=320, clean_share=0.2)
    times: dict[str, list[float]] = {name: [] for name in ("bare loop", *made)}
    for _ in range(args.rounds):
        times["bare loop"].append(bare(plain, HIDDEN, args.steps))
        for name, make in made.items():
            data = clean if getattr(make, "uses_clean", False) else plain
            times[name].append(lightning(make, data, HIDDEN, args.steps))
    print(f"MLP 105-256x3, B 256: median of {args.rounds} rounds of {args.steps} steps")
    for name, own in times.items():
        over, over_erm = (
            statistics.median(a / b for a, b in zip(own, times[base], strict=True))
            for base in ("bare loop", "ERM")
        )
        print(f"  {name:<24}{1e3 * statistics.median(own):>7.3f} ms   x {over:.2f} of the loop"
              f"   x {over_erm:.2f} of ERM")  # fmt: skip


if __name__ == "__main__":
    main()
