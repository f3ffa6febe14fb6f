"""FR-Train on imbalanced data: does dividing the mutual information by an entropy help?"""

from __future__ import annotations

import hashlib
import json
import time
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

OPTIONS = {"rates", "factors", "trials", "steps", "data", "model", "lambda_f", "arms", "baselines"}


def run(config: dict[str, Any], out: Path) -> None:
    """Train every cell that is not there yet, select on validation, plot, print the summary.

    Raises:
        UserError: If a run cannot be built.
    """
    # What decides a cell beside its place: cells of other settings are not taken for it.
    decides = {key: value for key, value in config.items() if key not in ("rates", "factors")}
    mark = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:8]
    cells = out / "cells"
    cells.mkdir(exist_ok=True)
    todo = [(rate, c) for rate in config["rates"] for c in config["factors"]]
    rows = []
    for done, (rate, c) in enumerate(todo, 1):
        path = cells / f"rate{rate}-c{c}-{mark}.json"
        if not path.exists():
            start = time.process_time()
            found = _cell(config, rate, c)
            write_text(path, json.dumps(found))
            print(f"{done} of {len(todo)}: P(Y=1) = {rate}, c = {c}, "
                  f"{time.process_time() - start:.0f} CPU s", flush=True)  # fmt: skip
        rows += json.loads(path.read_text())
    write_rows(out / "runs.csv", rows)
    chosen = select(rows)
    write_rows(out / "selected.csv", chosen)
    for name, arms in (("arms", config["arms"]), ("baselines", config["baselines"])):
        _plot([row for row in chosen if row["arm"] in arms], out / f"{name}.png")
    text = "\n\n".join([summary(chosen), contrasts(chosen, list(config["arms"]))])
    write_text(out / "summary.md", text + "\n")
    print(text)


def _cell(config: dict[str, Any], rate: float, c: float) -> list[dict[str, Any]]:
    """Train all arms, baselines, strengths and trials on data of one imbalance."""
    runs = []
    for trial in config["trials"]:
        shared = {"positive_rate": rate, "c": c, "seed": trial}
        data = build_data(config["data"], **shared)
        for arm, changes in (config["arms"] | config["baselines"]).items():
            model = dict(changes.get("model", {}))
            own = (
                build_data(config["data"], **shared, **changes["data"])
                if "data" in changes
                else data
            )
            strengths = [model.pop("lambda_f")] if "lambda_f" in model else config["lambda_f"]
            for strength in strengths:
                name = {"rate": rate, "c": c, "arm": arm, "lambda_f": strength, "trial": trial}
                method = build_model(config["model"], own, trial, lambda_f=strength, **model)
                runs.append(GameRun(name, method, own))
    return play(runs, config["steps"], config["steps"], Watch(runs))


def select(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Keep, per data set and arm, the test row of the strength with the best validation sum.

    Example:
        >>> row = {"rate": 0.5, "c": 1, "arm": "a", "trial": 0}
        >>> values = [(0.1, "val", 0.9, 0.5), (0.2, "val", 0.8, 0.9), (0.1, "test", 1, 1),
        ...           (0.2, "test", 0, 0)]
        >>> names = "lambda_f", "table", "accuracy", "disparate_impact"
        >>> select([row | dict(zip(names, v)) for v in values])[0]["lambda_f"]
        0.2
    """
    best: dict[tuple[Any, ...], dict[str, Any]] = {}
    test = {}
    for row in rows:
        key = tuple(row[k] for k in ("rate", "c", "arm", "trial"))
        if row["table"] == "test":
            test[(*key, row["lambda_f"])] = row
            continue
        score = row["accuracy"] + row["disparate_impact"]
        if key not in best or score > best[key]["accuracy"] + best[key]["disparate_impact"]:
            best[key] = row
    return [test[(*key, row["lambda_f"])] for key, row in best.items()]


def summary(rows: list[dict[str, Any]]) -> str:
    """Test accuracy and DI of each arm by P(Y=1), over all c and trials."""
    lines = []
    for rate in distinct(rows, "rate"):
        for arm in distinct(rows, "arm"):
            own = choose(rows, rate=rate, arm=arm)
            columns = [[row[k] for row in own] for k in ("accuracy", "disparate_impact")]
            strength = np.median([row["lambda_f"] for row in own])
            lines.append([rate, arm, *map(spread, columns), f"{strength:g}", len(own)])
    header = ["P(Y=1)", "arm", "test accuracy", "test DI", "median λ_f", "n"]
    return markdown(header, lines)


def contrasts(rows: list[dict[str, Any]], arms: list[str]) -> str:
    """Differences to the first two arms on the same data sets, with 95 % t intervals."""
    from scipy.stats import t

    lines = []
    pairs = [(arm, base) for i, base in enumerate(arms[:2]) for arm in arms[i + 1 :]]
    for low, high in ((0.0, 0.2), (0.3, 0.7), (0.8, 1.0)):
        for arm, base in pairs:
            cells = []
            for key in ("accuracy", "disparate_impact"):
                values: dict[Any, dict[str, float]] = {}
                for row in rows:
                    if row["arm"] in (arm, base) and low <= row["rate"] <= high:
                        at = row["rate"], row["c"], row["trial"]
                        values.setdefault(at, {})[row["arm"]] = row[key]
                gaps = np.array([pair[arm] - pair[base] for pair in values.values()])
                if len(gaps) > 1:
                    half = t.ppf(0.975, len(gaps) - 1) * gaps.std(ddof=1) / np.sqrt(len(gaps))
                    cells.append(f"{gaps.mean():+.3f} ± {half:.3f}")
            if cells:
                lines.append([f"{low:g}-{high:g}", f"{arm} - {base}", *cells, len(gaps)])
    header = ["P(Y=1)", "contrast", "accuracy", "DI", "n"]
    return markdown(header, lines)


def _plot(rows: list[dict[str, Any]], path: Path) -> None:
    arms = distinct(rows, "arm")
    figure, axes = subplots(2, len(arms), 3.0, 2.4)
    for column, arm in enumerate(arms):
        for line, key in enumerate(("accuracy", "disparate_impact")):
            ax = axes[line, column]
            for i, c in enumerate(distinct(rows, "c")):
                rates = distinct(rows, "rate")
                values = [[row[key] for row in choose(rows, rate=r, c=c, arm=arm)] for r in rates]
                ax.errorbar(np.array(rates) + 0.012 * (i - 1), [np.mean(v) for v in values],
                            [np.std(v, ddof=1) for v in values], color=COLORS[i], marker="o",
                            ms=3, lw=1, elinewidth=0.7, label=f"c = {c}")  # fmt: skip
            ax.set_ylim((0.45, 1.0) if key == "accuracy" else (0.0, 1.05))
            ax.set_ylabel(f"{key.replace('_', ' ')} (test)" if column == 0 else "")
            ax.set_xlabel("P(Y=1)" if line else "")
        axes[0, column].set_title(arm, loc="left")
    axes[0, 0].legend(frameon=False, loc="lower right")
    save(figure, path)
