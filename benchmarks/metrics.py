"""Time group metrics of 10^6 rows in 8 groups: frbench, torchmetrics and fairlearn, one thread.

Run ``OMP_NUM_THREADS=1 python benchmarks/metrics.py`` (the environment must be set before numpy
starts); ``--skip-fairlearn`` saves about fifteen seconds.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from frbench.metrics import GroupCounts, evaluate, intervals

ROWS, GROUPS = 1_000_000, 8


def milliseconds(call: Callable[[], object], repeats: int) -> float:
    """Return the median time of a call in ms, after one call that is not counted."""
    if repeats > 1:
        call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def fairlearn_metrics(y: np.ndarray, y_pred: np.ndarray, z: np.ndarray) -> None:
    from fairlearn import metrics

    for name in ("demographic_parity", "equalized_odds", "equal_opportunity"):
        getattr(metrics, f"{name}_difference")(y, y_pred, sensitive_features=z)


def torchmetrics_metrics(y: torch.Tensor, y_pred: torch.Tensor, z: torch.Tensor) -> None:
    from torchmetrics.functional.classification import binary_fairness

    binary_fairness(y_pred, y, z, task="all", validate_args=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--skip-fairlearn", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    y, z = rng.integers(2, size=ROWS), rng.integers(GROUPS, size=ROWS)
    y_pred = np.where(rng.random(ROWS) < 0.8, y, 1 - y)
    scores = np.clip(0.25 + 0.5 * y + 0.2 * rng.normal(size=ROWS), 0, 1)
    tensors = tuple(map(torch.as_tensor, (y, y_pred, z)))

    ours = milliseconds(lambda: evaluate(y, y_pred, z), 31)
    rows = [
        ("frbench: all count metrics", ours),
        ("torchmetrics: DP, EOpp", milliseconds(lambda: torchmetrics_metrics(*tensors), 5)),
    ]
    if not args.skip_fairlearn:
        slow = milliseconds(lambda: fairlearn_metrics(y, y_pred, z), 1)
        rows.append(("fairlearn: DP, EO, EOpp", slow))
    rows += [
        ("frbench: with score metrics", milliseconds(lambda: evaluate(y, y_pred, z, scores), 5)),
        ("frbench: all intervals of counts", milliseconds(lambda: intervals(y, y_pred, z), 5)),
    ]
    for classes, batch in ((2, 128), (2, 1024), (10, 1024)):
        logits = torch.randn(batch, classes)
        labels, attributes = torch.randint(classes, (batch,)), torch.randint(GROUPS, (batch,))
        metric = GroupCounts(classes, GROUPS)
        update = milliseconds(lambda: metric.update(logits, labels, attributes), 301)  # noqa: B023
        rows.append((f"GroupCounts.update, batch {batch}, {classes} classes", update))
    # The class's own function: the instance's caches its result.
    compute = milliseconds(lambda: GroupCounts.compute(metric), 21)
    rows.append(("GroupCounts.compute, 10 classes", compute))

    out = Table(title=f"{ROWS:,} rows, 2 classes, {GROUPS} groups, one thread (median)")
    out.add_column("what")
    out.add_column("ms", justify="right")
    out.add_column("x frbench", justify="right")
    for i, (name, value) in enumerate(rows):
        compared = "DP" in name or i == 0
        out.add_row(name, f"{value:,.2f}", f"{value / ours:,.1f}" if compared else "")
    Console(width=100).print(out)


if __name__ == "__main__":
    main()
