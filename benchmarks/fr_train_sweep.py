"""Iterations per CPU second of FR-Train: run by run under the Trainer, and swept in stacks.

Usage: python benchmarks/fr_train_sweep.py [--iterations 400] [--rounds 3] [--runs 8 16 32]

All contenders train the same runs: the shape of the released code (1800 rows and 200 verified
ones in every batch, a linear classifier), eight values of lambda_f, further seeds where there are
more runs. A round times all contenders one after the other in this process; the figure is the
median over rounds of run-iterations per CPU second. The parameters must agree at the end.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
import warnings
from collections.abc import Callable

import torch
from pytorch_lightning import Trainer

from frbench.data import TwoGaussians
from frbench.networks import MLP
from frbench.objectives import FRTrain
from frbench.objectives.fr_train.sweep import sweep

SETTINGS = {
    "official, poisoned (k = 5, D_R in the loss)": {
        "k": 5, "lr": 1e-3, "fairness_lr": 1e-3, "robust_lr": 1e-3, "lambda_r": 0.1,
    },
    "official, clean (k = 3, D_R cut off)": {
        "k": 3, "lr": 5e-3, "fairness_lr": 1e-2, "robust_lr": 1e-3, "lambda_r": 0.1,
        "detach_robust": True,
    },
    "mutual information (k = 1)": {
        "k": 1, "lr": 5e-3, "robust_lr": 1e-3, "lambda_r": 0.1, "fairness": "smooth_mi",
        "detach_robust": True,
    },
}  # fmt: skip


def models(settings: dict, count: int) -> list[FRTrain]:
    made = []
    for run in range(count):
        torch.manual_seed(run // 8)
        made.append(
            FRTrain(2, 2, [3], network=MLP(hidden=[], one_logit=True), warmup=50, init_std=0.2,
                    lambda_f=0.1 * (run % 8 + 1), **settings)
        )  # fmt: skip
    return made


def one_by_one(runs: list[FRTrain], data: TwoGaussians, iterations: int) -> None:
    for model in runs:
        trainer = Trainer(
            max_steps=iterations, max_epochs=-1, logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, accelerator="cpu", devices=1,
            limit_val_batches=0, num_sanity_val_steps=0, log_every_n_steps=10**9,
        )  # fmt: skip
        trainer.fit(model, datamodule=data)


def main() -> None:
    """Print one table per setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, nargs="+", default=[8, 16, 32])
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    warnings.filterwarnings("ignore")
    data = TwoGaussians(
        n=2000, attribute_as_input=True, clean_share=0.1, batch_size=1800, passes=10_000
    )
    for name, settings in SETTINGS.items():
        contenders: dict[str, tuple[int, Callable]] = {
            "Trainer, 8 runs one by one": (8, lambda r: one_by_one(r, data, args.iterations)),
            "sweep, 8 runs one by one": (
                8,
                lambda r: sweep(r, [data] * len(r), args.iterations, size=1),
            ),
        }
        for count in args.runs:
            contenders[f"sweep, {count} at once"] = (
                count,
                lambda r: sweep(r, [data] * len(r), args.iterations, size=len(r)),
            )
        rates: dict[str, list[float]] = {key: [] for key in contenders}
        ends = {}
        for _ in range(args.rounds):
            for key, (count, train) in contenders.items():
                runs = models(settings, count)
                start = time.process_time()
                train(runs)
                rates[key].append(count * args.iterations / (time.process_time() - start))
                ends[key] = [torch.cat([p.detach().flatten() for p in m.parameters()])
                             for m in runs[:8]]  # fmt: skip
        print(f"\n{name}: run-iterations per CPU second, median of {args.rounds} rounds of "
              f"{args.iterations} iterations")  # fmt: skip
        first = next(iter(ends))
        base = statistics.median(rates[first])
        for key, values in rates.items():
            rate = statistics.median(values)
            gap = max((a - b).abs().max() for a, b in zip(ends[key], ends[first], strict=True))
            print(f"  {key:<28}{rate:>8.0f}   x {rate / base:>5.2f}   largest difference of a "
                  f"parameter {gap:.1e}")  # fmt: skip


if __name__ == "__main__":
    main()
