"""Predictions, tables, and theory beside measurement of the Mind the Graph grids.

Usage: python benchmarks/mind_the_graph.py results/a results/b ...   (folders of frbench bench)
       python benchmarks/mind_the_graph.py   (exact limits of each way to balance, no training)

Prints Markdown. A prediction is compared with the mean over seeds; the rank of what the analyzer
recommends is among all methods of the grid but those trained on P0, by accuracy on P0, with the
95 % paired interval over seeds of its difference to the best one.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np

from frbench.causal import analyze, example
from frbench.data.balance import cell_weights
from frbench.data.oracle import conditional, score
from frbench.data.structural import StructuralModel, Task
from frbench.metrics import risk_invariance
from frbench.report import Run, estimate, read

#: Example graph of each task, and the methods that carry out each of the analyzer's actions.
GRAPHS = {"a": "a", "a3": "a3", "b": "b", "c": "c2", "d": "d"}
CARRIES_OUT = {
    "joint_balancing": ("Q", "joint-weight", "joint-subsample"),
    "extra_factor": ("joint-zv-weight", "joint-zv-sample", "Q+CMMD-zv-5"),
    "conditional_mmd": tuple(f"{on}+CMMD-{s}" for on in "QP" for s in (1, 5, 10)),
    "marginal_mmd_without_balancing": tuple(f"P+MMMD-{s}" for s in (1, 5, 10, 20)),
    "none": ("ERM",),
}
P0, ODDS = "test/P0/accuracy", "test/P0/equalized_odds_mean"
WORST, NLL = "test/P0/worst_group_accuracy", "test/P0/negative_log_likelihood"
RANGE, NLL_RANGE = "test/family/accuracy_range", "test/family/negative_log_likelihood_range"
ENCODING = "test/P0/encoding/z"


class Prediction(NamedTuple):
    """A difference (or value) of a metric, and its bound."""

    task: str
    text: str
    first: tuple[str, str]
    second: tuple[str, str] | None
    at_least: float | None = None
    at_most: float | None = None


PREDICTIONS = [
    Prediction("a", "Q above ERM on P0 by >= .15", ("Q", P0), ("ERM", P0), 0.15),
    Prediction("a", "equalized odds of Q <= .06", ("Q", ODDS), None, None, 0.06),
    Prediction("a", "Q - P0 of Q within .03", ("Q", "test/Q/accuracy"), ("Q", P0), -0.03, 0.03),
    Prediction("d", "worst cell of Q <= .05", ("Q", WORST), None, None, 0.05),
    Prediction("d", "P0 of Q <= .72", ("Q", P0), None, None, 0.72),
    Prediction("d", "P0 of Q + CMMD 5 >= .80", ("Q+CMMD-5", P0), None, 0.80),
    Prediction("d", "worst cell of Q + CMMD 5 >= .70", ("Q+CMMD-5", WORST), None, 0.70),
    Prediction("c", "Q - P0 of Q >= .12", ("Q", "test/Q/accuracy"), ("Q", P0), 0.12),
    Prediction("c", "CMMD 10 lowers P0 by >= .05", ("Q", P0), ("Q+CMMD-10", P0), 0.05),
    Prediction("c", "trained on P0: >= .83", ("P0", P0), None, 0.83),
    Prediction("b", "ERM on P0 <= .60", ("ERM", P0), None, None, 0.60),
    Prediction("b", "Q on P0 >= .64", ("Q", P0), None, 0.64),
    Prediction("b", "P + MMMD 5 below Q in P0 log-loss by >= .05", ("Q", NLL), ("P+MMMD-5", NLL),
               0.05),
    Prediction("b", "accuracy range of P + MMMD 5 <= .05", ("P+MMMD-5", RANGE), None, None, 0.05),
    Prediction("b", "MMMD 5 on Q widens the accuracy range by >= .03", ("Q+MMMD-5", RANGE),
               ("Q", RANGE), 0.03),
    Prediction("a3", "cutting lowers P0 by >= .03", ("ERM", P0), ("joint-subsample", P0), 0.03),
    Prediction("a3", "weighing lowers P0 by >= .03", ("ERM", P0), ("joint-weight", P0), 0.03),
]  # fmt: skip

Values = dict[str, dict[int, Run]]


def values(runs: Values, method: str, key: str) -> dict[int, float]:
    """Metric of a method by seed."""
    return {seed: run.metrics.get(key, np.nan) for seed, run in runs.get(method, {}).items()}


def differences(first: dict[int, float], second: dict[int, float]) -> list[float]:
    """Paired differences over the seeds that both have."""
    return [first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())]


def show(mean: float, sd: float) -> str:
    """Write mean and standard deviation without leading zeros."""
    if np.isnan(mean):
        return ""
    text = f"{mean:.3f} ± {sd:.3f}" if not np.isnan(sd) else f"{mean:.3f}"
    return text.replace("0.", ".")


def table(runs: Values) -> None:
    """Print one row per method."""
    keys = {
        "P0": P0,
        "P0 log-loss": NLL,
        "worst cell": WORST,
        "equalized odds": ODDS,
        "encoding of Z": ENCODING,
        "accuracy range": RANGE,
        "log-loss range": NLL_RANGE,
    }
    print("| method | own | " + " | ".join(keys) + " |\n|" + "---|" * (len(keys) + 2))
    for method, by_seed in runs.items():
        train_on = next(iter(by_seed.values())).training.get("train_on") or "P"
        own = values(runs, method, f"test/{train_on}/accuracy")
        cells = [own, *(values(runs, method, key) for key in keys.values())]
        shown = [show(*estimate(cell.values())[:2]) for cell in cells]
        print(f"| {method} | " + " | ".join(shown) + " |")


def predictions(task: str, runs: Values) -> None:
    """Print what was predicted of a task, what came out, hit or miss."""
    for p in (p for p in PREDICTIONS if p.task == task):
        found = list(values(runs, *p.first).values())
        if p.second is not None:
            found = differences(values(runs, *p.first), values(runs, *p.second))
        if not found:
            continue
        e = estimate(found)
        low = -np.inf if p.at_least is None else p.at_least
        high = np.inf if p.at_most is None else p.at_most
        verdict = "hit" if low <= e.mean <= high else "**miss**"
        print(f"| {task} | {p.text} | {show(e.mean, e.sd)} | {e.n} | {verdict} |")


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
            f"{show(e.mean, e.sd)} [{e.low:.3f}, {e.high:.3f}] to {best}".replace("0.", ".")
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
            shown = " | ".join(show(v, np.nan) for v in values)
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
    print("| task | prediction | measured | n | |\n|---|---|---|---|---|")
    for task in tasks:
        predictions(task, tasks[task])
    print("\n| task | recommended | carried out by | rank, P0 accuracy | difference to the best "
          "[95 %] | rank, accuracy range |\n|---|---|---|---|---|---|")  # fmt: skip
    for task in tasks:
        if task in GRAPHS:
            theory(task, tasks[task])
    for task, of_task in tasks.items():
        print(f"\n### {task}\n")
        table(of_task)
    failed = [run for run in runs if run.error is not None]
    print(f"\n{len(runs)} runs, {len(failed)} failed.", *notes)


if __name__ == "__main__":
    main()
