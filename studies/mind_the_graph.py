"""Theory beside measurement of the Mind the Graph grids; predictions stand in the grids.

Usage: python studies/mind_the_graph.py RESULTS ...   (folders of frbench bench, or the files
       docs/results/records/mind-the-graph-{a,a3,b,c,d}.jsonl)
       python studies/mind_the_graph.py   (exact limits of each way to balance, no training)

Prints Markdown. The rank of what the analyzer recommends is among all methods of the grid but
those trained on P0, by accuracy on P0, with the 95 % paired interval over seeds of its difference
to the best one.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from typing import get_args

import numpy as np

from frbench.causal import analyze, example
from frbench.data.balance import cell_weights
from frbench.data.tasks.oracle import conditional, score
from frbench.data.tasks.structural import StructuralModel, Task
from frbench.metrics import risk_invariance
from frbench.report import Estimate, Run, estimate, read

#: Example graph of each task, and the methods that carry out each of the analyzer's actions.
GRAPHS = {"a": "a", "a3": "a3", "b": "b", "c": "c2", "d": "d"}
CARRIES_OUT = {
    "joint_balancing": ("Q", "joint-weight", "joint-subsample"),
    "extra_factor": ("joint-zv-weight", "joint-zv-sample", "Q+CMMD-zv-5"),
    "conditional_mmd": tuple(f"{on}+CMMD-{s}" for on in "QP" for s in (1, 5, 10)),
    "marginal_mmd_without_balancing": tuple(f"P+MMMD-{s}" for s in (1, 5, 10, 20)),
    "none": ("ERM",),
}
P0, RANGE = "test/P0/accuracy", "test/family/accuracy_range"

Values = dict[str, dict[int, Run]]


def number(value: float) -> str:
    """Write a number without a leading zero."""
    return f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.3f}"


def spread(found: Estimate) -> str:
    """Write mean and standard deviation."""
    return number(found.mean) + (f" ± {number(found.sd)}" if found.n > 1 else "")


def values(runs: Values, method: str, key: str) -> dict[int, float]:
    """Metric of a method by seed."""
    return {seed: run.metrics.get(key, np.nan) for seed, run in runs.get(method, {}).items()}


def differences(first: dict[int, float], second: dict[int, float]) -> list[float]:
    """Paired differences over the seeds that both have."""
    return [first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())]


def theory(task: str, runs: Values) -> None:
    """Print the rank of each method that carries out the analyzer's recommendation."""
    advice = analyze(example(GRAPHS[task])).recommendation
    means = {m: estimate(values(runs, m, P0).values()).mean for m in runs if m != "P0"}
    order = sorted(means, key=lambda m: -means[m])
    worst = {m: estimate(values(runs, m, RANGE).values()).mean for m in means}
    steady = sorted(worst, key=lambda m: worst[m])
    best = order[0]
    for method in CARRIES_OUT[advice.action]:
        if method not in means:
            continue
        e = estimate(differences(values(runs, method, P0), values(runs, best, P0)))
        gap = "is the best" if method == best else (
            f"{spread(e)} [{number(e.low)}, {number(e.high)}] to {best}"
        )  # fmt: skip
        ranks = [f"{names.index(method) + 1} of {len(names)}" for names in (order, steady)]
        action = advice.action.replace("_", " ")
        print(f"| {task} | {action} | {method} | {ranks[0]} | {gap} | {ranks[1]} |")


def exact() -> None:
    """Print what E[Y | X] of each balanced distribution reaches, by enumeration."""
    rates = np.array([[0.95, 0.05], [0.10, 0.90]])
    print("| task | balanced | P0 | P0 log-loss | worst cell | accuracy range | log-loss range |")
    print("|---|---|---|---|---|---|---|")
    for task in get_args(Task):
        model = StructuralModel(task, 0.12, rates, v_rates=(0.8, 0.1))
        law, p0 = model.law("P"), model.law("P0")
        colours = max(law.num_colours, p0.num_colours)
        for balance in ("none", "class", "group", "conditional", "joint"):
            weights = cell_weights(law.p.sum((1, 3)), balance, "keep")
            balanced = law._replace(p=law.p * weights[:, None, :, None])
            f = conditional(balanced, num_colours=colours)
            on = score(f, p0)
            family = risk_invariance([score(f, model.law(g)) for g in model.family])
            values = [
                *(on[k] for k in ("accuracy", "negative_log_likelihood", "worst_group_accuracy")),
                family["accuracy_range"],
                family["negative_log_likelihood_range"],
            ]
            shown = " | ".join(number(v) for v in values)
            print(f"| {task} | {balance} | {shown} |")


def main() -> None:
    """Read the folders and print."""
    if len(sys.argv) < 2:
        exact()
        return
    tasks: dict[str, Values] = defaultdict(lambda: defaultdict(dict))
    runs, notes = read([Path(word) for word in sys.argv[1:]])
    for run in runs:
        if run.error is None:
            tasks[run.data][run.method][run.seed] = run
    print("| task | recommended | carried out by | rank, P0 accuracy | difference to the best "
          "[95 %] | rank, accuracy range |\n|---|---|---|---|---|---|")  # fmt: skip
    for task in tasks:
        if task in GRAPHS:
            theory(task, tasks[task])
    failed = [run for run in runs if run.error is not None]
    print(f"\n{len(runs)} runs, {len(failed)} failed.", *notes)


if __name__ == "__main__":
    main()
