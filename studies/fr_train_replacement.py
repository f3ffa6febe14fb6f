"""FR-Train's fairness discriminator against the mutual information that could replace it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from frbench.report.canvas import COLORS
from frbench.support.atomic import write_text
from studies.game import GameRun, Watch, build_data, build_model, play
from studies.output import (
    choose,
    distinct,
    markdown,
    save,
    spread,
    subplots,
    write_rows,
)

OPTIONS = {"seeds", "methods", "trade_off", "stability"}

#: A predictor that selects fewer, or all but fewer, is constant.
_CONSTANT = 0.02


def run(config: dict[str, Any], out: Path) -> None:
    """Train trade-off and stability, write both tables, plot them, print the summaries."""
    trade_off = _trade_off(config)
    write_rows(out / "trade_off.csv", trade_off)
    traces = _stability(config)
    write_rows(out / "stability.csv", traces)
    _plot_trade_off(trade_off, out / "trade_off.png")
    _plot_stability(traces, out / "stability.png")
    below = config["stability"]["collapse_below"]
    text = "\n\n".join([selected(trade_off), differences(trade_off), stability(traces, below)])
    write_text(out / "summary.md", text + "\n")
    print(text)


def _trade_off(config: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for name, case in config["trade_off"].items():
        data = build_data(case["data"])
        runs = [
            GameRun({"case": name, "method": method, "lambda_f": strength, "seed": seed},
                build_model(case["model"], data, seed, lambda_f=strength, **changes), data)
            for method, changes in config["methods"].items()
            for strength in case["lambda_f"]
            for seed in config["seeds"]
        ]  # fmt: skip
        rows += play(runs, case["steps"], case["steps"], Watch(runs))
    return rows


def _stability(config: dict[str, Any]) -> list[dict[str, Any]]:
    case = config["stability"]
    data = build_data(case["data"])
    rates = {name: case["model"][name] for name in case["scaled"]}
    runs = [
        GameRun({"method": method, "rate": factor, "seed": seed},
            build_model(case["model"], data, seed, **changes,
                        **{name: factor * rate for name, rate in rates.items()}), data)
        for method, changes in config["methods"].items()
        for factor in case["factors"]
        for seed in config["seeds"]
    ]  # fmt: skip
    return play(runs, case["steps"], case["every"], Watch(runs, tables=("test",)))


# ---- trade-off ------------------------------------------------------------------------------
def selected(rows: list[dict[str, Any]]) -> str:
    """Test figures at the strength with the largest validation accuracy + DI, per seed."""
    lines = []
    for case in distinct(rows, "case"):
        for method in distinct(rows, "method"):
            chosen = []
            for seed in distinct(rows, "seed"):
                own = choose(rows, case=case, method=method, seed=seed, table="val")
                best = max(own, key=lambda row: row["accuracy"] + row["disparate_impact"])
                same = {key: best[key] for key in ("case", "method", "lambda_f", "seed")}
                chosen += choose(rows, **same, table="test")
            columns = [[row[k] for row in chosen] for k in ("accuracy", "disparate_impact")]
            strengths = ", ".join(str(row["lambda_f"]) for row in chosen)
            lines.append([case, method, *map(spread, columns), strengths, len(chosen)])
    header = ["data", "method", "test accuracy", "test DI", "λ_f chosen on validation", "n"]
    return markdown(header, lines)


def differences(rows: list[dict[str, Any]], levels: tuple[float, ...] = (0.6, 0.7, 0.8)) -> str:
    """Test accuracy of the curves, interpolated at given DI; second method minus first."""
    lines = []
    first, second = distinct(rows, "method")
    for case in distinct(rows, "case"):
        for level in levels:
            found: dict[str, list[float]] = {}
            for method in (first, second):
                found[method] = []
                for seed in distinct(rows, "seed"):
                    own = choose(rows, case=case, method=method, seed=seed, table="test")
                    curve = sorted((r["disparate_impact"], r["accuracy"]) for r in own)
                    x, y = np.array(curve).T
                    inside = x[0] <= level <= x[-1]
                    found[method].append(float(np.interp(level, x, y)) if inside else np.nan)
            both = np.array([found[first], found[second]])
            both = both[:, np.isfinite(both).all(0)]
            if both.size:
                lines.append([case, level, spread(both[0]), spread(both[1]),
                              spread(both[1] - both[0]), both.shape[1]])  # fmt: skip
    return markdown(["data", "at DI", first, second, "difference", "n"], lines)


def _plot_trade_off(rows: list[dict[str, Any]], path: Path) -> None:
    cases = distinct(rows, "case")
    figure, axes = subplots(1, len(cases))
    for ax, case in zip(axes[0], cases, strict=True):
        for color, method in zip(COLORS, distinct(rows, "method"), strict=False):
            own = choose(rows, case=case, method=method, table="test")
            groups = [choose(own, lambda_f=s) for s in distinct(own, "lambda_f")]
            x = np.array([[row["disparate_impact"] for row in g] for g in groups])
            y = np.array([[row["accuracy"] for row in g] for g in groups])
            order = x.mean(1).argsort()
            x, y = x[order], y[order]
            mean, sd = y.mean(1), y.std(1, ddof=1)
            ax.plot(x.mean(1), mean, "o-", ms=3, color=color, label=method)
            ax.fill_between(x.mean(1), mean - sd, mean + sd, color=color, alpha=0.2, lw=0)
            ax.scatter(x, y, s=4, color=color, alpha=0.5)
        ax.set_title(case, loc="left")
        ax.set_xlabel("disparate impact (test)")
        ax.set_ylabel("accuracy (test)")
    axes[0, 0].legend(frameon=False)
    save(figure, path)


# ---- stability ------------------------------------------------------------------------------
def stability(rows: list[dict[str, Any]], collapse_below: float) -> str:
    """Spread in the last quarter, time to 99 % of its mean, collapses, by method and rate."""
    lines = []
    for rate in distinct(rows, "rate"):
        for method in distinct(rows, "method"):
            cells: dict[str, list[float]] = {}
            for seed in distinct(rows, "seed"):
                own = choose(rows, method=method, rate=rate, seed=seed)
                for name, value in _describe(own, collapse_below).items():
                    cells.setdefault(name, []).append(value)
            collapses = int(sum(cells.pop("collapsed")))
            shown = [spread(v, 0 if "time" in name else 3) for name, v in cells.items()]
            lines.append([f"x{rate}", method, *shown, f"{collapses} of {len(cells['accuracy'])}"])
    header = ["rates", "method", "accuracy", "its sd", "DI", "its sd", "iterations to 99 % of DI",
              "iterations until DI stays within 5 %", "collapses"]  # fmt: skip
    return markdown(header, lines)


def _describe(rows: list[dict[str, Any]], collapse_below: float) -> dict[str, float]:
    """Describe one run's trace: level and spread of the last quarter, times, collapse."""
    steps = np.array([row["step"] for row in rows])
    last = steps > 0.75 * steps[-1]
    out = {}
    for short, key in (("accuracy", "accuracy"), ("impact", "disparate_impact")):
        values = np.array([row[key] for row in rows])
        out[short] = values[last].mean()
        out[f"{short}_sd"] = values[last].std(ddof=1)
    impact = np.array([row["disparate_impact"] for row in rows])
    # A trace may begin above its final value (a constant predictor is perfectly fair): the time
    # counts from its lowest point on.
    start = int(impact[~last].argmin()) if (~last).any() else 0
    reached = np.flatnonzero(impact[start:] >= 0.99 * out["impact"])
    out["time_reached"] = float(steps[start + reached[0]]) if len(reached) else float(steps[-1])
    outside = np.flatnonzero(np.abs(impact - out["impact"]) > 0.05 * out["impact"])
    settled = outside[-1] + 1 if len(outside) else 0
    out["time_settled"] = float(steps[min(settled, len(steps) - 1)])
    final = rows[-1]["accuracy"]
    constant = not _CONSTANT < rows[-1]["selection_rate"] < 1 - _CONSTANT
    out["collapsed"] = float(constant or final <= collapse_below)
    return out


def _plot_stability(rows: list[dict[str, Any]], path: Path) -> None:
    rates, methods = distinct(rows, "rate"), distinct(rows, "method")
    figure, axes = subplots(2, len(rates), 4.2, 2.4)
    for column, rate in enumerate(rates):
        for line, key in enumerate(("accuracy", "disparate_impact")):
            ax = axes[line, column]
            for color, method in zip(COLORS, methods, strict=False):
                for seed in distinct(rows, "seed"):
                    own = choose(rows, method=method, rate=rate, seed=seed)
                    ax.plot([row["step"] for row in own], [row[key] for row in own],
                            color=color, lw=0.6, alpha=0.8,
                            label=method if seed == rows[0]["seed"] else None)  # fmt: skip
            ax.set_ylim((0.45, 0.9) if key == "accuracy" else (0.0, 1.02))
            ax.set_ylabel(key.replace("_", " ") + " (test)")
            ax.set_xlabel("iteration")
        axes[0, column].set_title(f"learning rates x{rate}", loc="left")
    axes[0, 0].legend(frameon=False, loc="lower right")
    save(figure, path)
