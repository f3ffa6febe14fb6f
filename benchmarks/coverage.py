"""Coverage and width of 95 % intervals by simulation: frbench's, and what else there is.

Tables are drawn from known populations: 2, 4, 8 or 16 groups, of equal or unequal size, with equal
or unequal rates, of 60 to 30,000 rows, unweighted or with weights 1 and 4. A method covers if the
true value lies in its interval. ``python benchmarks/coverage.py`` runs the whole study (2,000
tables of each population, about half an hour of one core; the methods that draw for each table
are tried on fewer), ``--tables 200`` a quick one. It prints what
docs/results/tables/interval-coverage.csv holds.

The methods that were compared:

- ``limits``: what frbench does: intersection-union and union-intersection limits over contrasts;
- ``folded``: the folded interval of a signed difference (two groups only);
- ``posterior``: draws from the posterior of each group, gaps with the reflected lower end;
- ``m of n``: bootstrap of m = n^(2/3) rows, rescaled;
- ``fairlearn``: percentiles of resampled rows, as fairlearn's ``n_boot`` gives them.
"""

import argparse
import importlib.util
import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from frbench.metrics.counts import count_metrics
from frbench.metrics.table_intervals import count_intervals, proportions
from frbench.metrics.verdicts import pair_limits

GAPS = (
    "accuracy_gap",
    "demographic_parity_difference",
    "equal_opportunity_difference",
    "equalized_odds_difference",
    "equalized_odds_mean",
)
MINIMA = ("worst_group_accuracy", "worst_attribute_accuracy")
RATIOS = ("disparate_impact",)
EXTREMES = (*GAPS, *MINIMA, *RATIOS)
SMOOTH = ("balanced_accuracy", "theil_index")
PROPORTIONS = ("accuracy", "selection_rate/z=", "true_positive_rate/z=", "false_positive_rate/z=",
               "accuracy/z=", "group_accuracy/")  # fmt: skip
SPLITS = {
    2: [0.97, 0.03],
    4: [0.6, 0.25, 0.12, 0.03],
    8: [0.3, 0.2, 0.15, 0.12, 0.1, 0.07, 0.04, 0.02],
    16: [0.2, 0.15, 0.12, 0.1, 0.08, 0.07, 0.06, 0.05, 0.04, 0.03, 0.03, 0.02, 0.02, 0.01, 0.01,
         0.01],
}  # fmt: skip
WEIGHTS = (1.0, 4.0)
Found = dict[str, tuple[np.ndarray, np.ndarray]]


class Population(NamedTuple):
    """What tables are drawn from."""

    groups: int
    split: str
    rates: str
    weighted: bool

    @property
    def cells(self) -> np.ndarray:
        """Probability of each cell [C, A + 1, C]; nobody's attribute is unknown."""
        number = self.groups
        share = np.full(number, 1 / number) if self.split == "even" else np.array(SPLITS[number])
        t = np.linspace(0, 1, number) if self.rates == "unequal" else np.zeros(number)
        if self.rates == "unequal":
            base, tpr, fpr = 0.5 - 0.2 * t, 0.85 - 0.25 * t, 0.12 + 0.13 * t
        else:
            base, tpr, fpr = 0.4 + t, 0.8 + t, 0.15 + t
        y0 = np.stack([share * (1 - base) * (1 - fpr), share * (1 - base) * fpr], -1)
        y1 = np.stack([share * base * (1 - tpr), share * base * tpr], -1)
        cells = np.zeros((2, number + 1, 2))
        cells[:, :-1] = y0, y1
        return cells

    def draw(self, n: int, tables: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Draw counts, sums of weights and sums of squared weights [T, C, A + 1, C]."""
        cells = self.cells
        levels = np.array(WEIGHTS if self.weighted else [1.0])
        p = np.repeat(cells[None] / len(levels), len(levels), 0)
        rows = rng.multinomial(n, p.ravel() / p.sum(), tables).reshape(tables, *p.shape)
        return tuple(np.einsum("twyzp,w->tyzp", rows, levels**k) for k in (0, 1, 2))


def limits(table: np.ndarray, squares: np.ndarray | None) -> Found:
    """The intervals of frbench."""
    return count_intervals(table, squares=squares)


def _each(one: Callable[[np.ndarray, np.ndarray], Found]) -> Callable[..., Found]:
    """Turn a method for the draws of one table into one for many tables."""

    def many(table: np.ndarray, squares: np.ndarray | None) -> Found:
        rng = np.random.default_rng(1)
        found = []
        for i, counts in enumerate(table):
            kish = 1.0 if squares is None else counts.sum() / squares[i].sum()
            found.append(one(counts * kish, rng))
        return {
            key: tuple(np.array([f[key][end] for f in found]) for end in (0, 1))
            for key in found[0]
        }

    return many


DRAWS = 300


def _percentiles(sampled: dict[str, np.ndarray]) -> Found:
    with np.errstate(all="ignore"):
        return {
            key: np.nanquantile(values, [0.025, 0.975]) if not np.isnan(values).all()
            else (np.nan, np.nan)
            for key, values in sampled.items()
        }  # fmt: skip


def _resampled(counts: np.ndarray, rng: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
    drawn = rng.multinomial(rows, counts.ravel() / counts.sum(), DRAWS)
    found = count_metrics(drawn.reshape(-1, *counts.shape))
    return {key: found[key] for key in EXTREMES}


def percentiles(counts: np.ndarray, rng: np.random.Generator) -> Found:
    """Percentiles of resampled rows (fairlearn); the law of tables is that of rows."""
    return _percentiles(_resampled(counts, rng, max(1, round(counts.sum()))))


def m_of_n(counts: np.ndarray, rng: np.random.Generator) -> Found:
    """Bootstrap of fewer rows, whose errors are scaled to those of all."""
    n = counts.sum()
    rows = max(2, round(n ** (2 / 3)))
    observed = count_metrics(counts)
    sampled = _resampled(counts, rng, rows)
    out = {}
    for key, (low, high) in _percentiles(sampled).items():
        value, scale = float(observed[key]), np.sqrt(rows / n)
        ends = value - scale * (high - value), value - scale * (low - value)
        out[key] = tuple(np.clip(ends, 0, 1))
    return out


def posterior(counts: np.ndarray, rng: np.random.Generator) -> Found:
    """Draws from the posterior of each group (prior 1/2 per cell), gaps with a reflected end."""
    drawn = np.zeros((DRAWS, *counts.shape))
    drawn[..., :-1, :] = rng.gamma(counts[:, :-1] + 0.5, size=drawn[..., :-1, :].shape)
    observed = count_metrics(counts)
    out = {}
    for key, (low, high) in _percentiles({k: count_metrics(drawn)[k] for k in EXTREMES}).items():
        value = float(observed[key])
        if key in GAPS:
            low = min(low, max(0.0, 2 * value - high))
        elif key in MINIMA:
            high = min(1.0, max(high, 2 * value - low))
        else:
            high = min(1.0, max(high, max(value, 1e-9) ** 2 / max(low, 1e-9)))
        out[key] = (min(low, value), max(high, value))
    return out


def folded(table: np.ndarray, squares: np.ndarray | None) -> Found:
    """The folded interval of a signed difference of two rates (normal limits, two groups)."""
    counts = table if squares is None else table * _kish(table, squares)
    if counts.shape[-2] != 3:
        return {}
    known = counts[..., :2, :]
    people = known.sum((-3, -1))
    parts = {
        "demographic_parity_difference": (known[..., 1].sum(-2), people),
        "equal_opportunity_difference": (known[..., 1, :, 1], known[..., 1, :, :].sum(-1)),
        "accuracy_gap": (known[..., 1, :, 1] + known[..., 0, :, 0], people),
    }
    out = {}
    for key, (part, whole) in parts.items():
        with np.errstate(all="ignore"):
            p = part / whole
            half = 1.96 * np.sqrt((p * (1 - p) / whole).sum(-1))
        gap = np.abs(p[..., 0] - p[..., 1])
        out[key] = (np.maximum(gap - half, 0), np.minimum(gap + half, 1))
    return out


def _kish(table: np.ndarray, squares: np.ndarray) -> np.ndarray:
    total = table.sum((-3, -2, -1)) / squares.sum((-3, -2, -1))
    return total[:, None, None, None]


METHODS = {
    "limits": limits,
    "folded": folded,
    "posterior": _each(posterior),
    "m of n": _each(m_of_n),
    "fairlearn": _each(percentiles),
}


class Line(NamedTuple):
    """One metric of one population by one method."""

    population: Population
    n: int
    smallest_cell: float
    key: str
    method: str
    coverage: float
    below: float
    width: float
    fails: float


def study(
    populations: list[Population], sizes: list[int], tables: int, others: int
) -> Iterator[Line]:
    """Simulate.

    Args:
        populations: What tables are drawn from.
        sizes: Rows of a table.
        tables: Tables of each population and size.
        others: Tables on which the other methods are tried, which draw for each of them.
    """
    for population, n in itertools.product(populations, sizes):
        rng = np.random.default_rng(20261130)
        cells = population.cells
        true = {k: float(v) for k, v in count_metrics(cells).items()}
        # Expected rows of the smallest cell that a rate is over.
        smallest = float(n * cells[:, :-1].sum(-1).min())
        _, weighted, squares = population.draw(n, tables, rng)
        for method, run in METHODS.items():
            own = slice(None) if method in ("limits", "folded") else slice(others)
            if len(weighted[own]) == 0:
                continue
            found = run(weighted[own], squares[own] if population.weighted else None)
            fails = np.nan
            if method == "limits":
                fails = _fails(weighted, squares if population.weighted else None)
            for key, (low, high) in found.items():
                if not (key in EXTREMES or key in SMOOTH or key.startswith(PROPORTIONS)):
                    continue
                defined = ~np.isnan(low)
                if not defined.any():
                    continue
                low, high, value = low[defined], high[defined], true[key]
                missed = value < low - 1e-12
                inside = ~missed & (value <= high + 1e-12)
                yield Line(population, n, smallest, key, method, float(inside.mean()),
                           float(missed.mean()), float((high - low).mean()), fails)  # fmt: skip


def _fails(table: np.ndarray, squares: np.ndarray | None) -> float:
    """Share of the tables with at least one verdict "fail", of all values or of a pair."""
    overall = count_intervals(table, squares=squares)["disparate_impact"][1] < 0.8
    groups = list(itertools.combinations(range(table.shape[-2] - 1), 2))
    selection = proportions(table, squares)["selection_rate"]
    pairs = pair_limits(selection, groups, len(groups))[1] < 0.8
    return float((overall | pairs.any(-1)).mean())


def rates_study(tables: int) -> dict[str, float]:
    """Coverage of proportions over rates .05 to .95 and 5 to 1000 rows of a group."""
    from frbench.metrics.estimates import wilson

    rng = np.random.default_rng(0)
    out = []
    for n in (5, 10, 20, 50, 100, 300, 1000):
        for rate in np.arange(0.05, 0.96, 0.05):
            low, high = np.moveaxis(wilson(rng.binomial(n, rate, tables), np.array(n)), -1, 0)
            out.append(float(((low <= rate) & (rate <= high)).mean()))
    return {"mean": float(np.mean(out)), "smallest": float(np.min(out))}


def fairlearn_itself(n_boot: int = 200) -> str:
    """Say what fairlearn gives for one table, beside the percentiles of its counts."""
    from fairlearn.metrics import MetricFrame, selection_rate

    population = Population(2, "even", "equal", False)
    counts = population.draw(300, 1, np.random.default_rng(0))[0][0].astype(int)
    y, z, y_pred = np.repeat(np.argwhere(counts), counts[counts > 0], axis=0).T
    frame = MetricFrame(metrics=selection_rate, y_true=y, y_pred=y_pred, sensitive_features=z,
                        n_boot=n_boot, ci_quantiles=[0.025, 0.975], random_state=0)  # fmt: skip
    low, high = (float(x) for x in frame.difference_ci())
    ours = percentiles(counts, np.random.default_rng(0))["demographic_parity_difference"]
    return (
        f"fairlearn's own bootstrap of one table, equal groups: {low:.3f} to {high:.3f}; "
        f"percentiles of resampled counts: {ours[0]:.3f} to {ours[1]:.3f}"
    )


def populations(groups: list[int]) -> list[Population]:
    """Every population of the study."""
    return [
        Population(*one)
        for one in itertools.product(
            groups, ("even", "skewed"), ("equal", "unequal"), (False, True)
        )
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", type=int, default=2000)
    parser.add_argument("--others", type=int, default=100, help="tables for the other methods")
    parser.add_argument("--groups", type=int, nargs="+", default=[2, 4, 8, 16])
    parser.add_argument("--rows", type=int, nargs="+", default=[60, 300, 3000, 30000])
    parser.add_argument("--json", type=Path, help="also write every line")
    parser.add_argument("--read", type=Path, nargs="+", help="report what --json has written")
    args = parser.parse_args()
    start = time.perf_counter()
    if args.read:
        lines = [_line(one) for path in args.read for one in json.loads(path.read_text())]
    else:
        lines = list(study(populations(args.groups), args.rows, args.tables, args.others))
    if args.json:
        args.json.write_text(json.dumps([line._asdict() for line in lines]))
    report(lines, args.tables)
    if importlib.util.find_spec("fairlearn"):
        print(fairlearn_itself())
    print(f"\n{time.perf_counter() - start:.0f} s")


def _line(values: dict[str, Any]) -> Line:
    return Line(**values | {"population": Population(*values["population"])})


def report(lines: list[Line], tables: int) -> None:
    """Print the tables of docs/results/tables/interval-coverage.csv."""
    found = rates_study(tables)
    print(
        "Proportions of n = 5 to 1000 rows, rates .05 to .95: "
        f"mean coverage {found['mean']:.3f}, smallest {found['smallest']:.3f}\n"
    )
    for title, test in (
        ("20 rows or more in each cell", lambda cell: cell >= 20),
        ("5 to 19 rows in the smallest cell", lambda cell: 5 <= cell < 20),
        ("fewer than 5 rows in the smallest cell", lambda cell: cell < 5),
    ):
        print(f"**{title}**: smallest (mean) coverage over the populations, mean width\n")
        print("| metric | " + " | ".join(METHODS) + " |")
        print("|---|" + "---|" * len(METHODS))
        for key in (*EXTREMES, *SMOOTH, *PROPORTIONS):
            cells = []
            for method in METHODS:
                among = [
                    x
                    for x in lines
                    if test(x.smallest_cell)
                    and x.method == method
                    and (x.key == key or (key[-1] in "=/" and x.key.startswith(key)))
                ]
                if not among:
                    cells.append("")
                    continue
                cover = [x.coverage for x in among]
                width = np.mean([x.width for x in among])
                cells.append(f"{min(cover):.2f} ({np.mean(cover):.2f}), {width:.3f}")
            print(f"| {key} | " + " | ".join(cells) + " |")
        print()
    fair = [x for x in lines if x.method == "limits" and x.population.rates == "equal"]
    worst = max(fair, key=lambda x: x.fails, default=None)
    if worst is not None:
        where = f"{worst.population.groups} groups, {worst.population.split}, n = {worst.n}"
        print(f'False "fail" of a fair classifier: at most {worst.fails:.4f} ({where})')
    wide = []
    index = {(x.population, x.n, x.key, x.method): x for x in lines}
    for (population, n, key, method), x in index.items():
        if method == "fairlearn" and x.coverage >= 0.93 and x.smallest_cell >= 20:
            wide.append((index[population, n, key, "limits"].width / x.width, population, n, key))
    if wide:
        ratio = sorted(wide, key=lambda w: w[0])
        print(f"Width against percentiles where these cover ({len(ratio)} cases of 20 rows or "
              f"more): median {ratio[len(ratio) // 2][0]:.2f}, largest {ratio[-1][0]:.2f} "
              f"({ratio[-1][3]}, {ratio[-1][1].groups} groups, n = {ratio[-1][2]}); "
              f"above 1.3 in {sum(w[0] > 1.3 for w in ratio)}")  # fmt: skip


if __name__ == "__main__":
    main()
