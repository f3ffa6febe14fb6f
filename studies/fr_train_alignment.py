"""Whether FR-Train's discriminator losses follow the mutual information they stand for."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from frbench.metrics.information import (
    chain_information,
    conditional_mutual_information,
    entropy,
)
from frbench.objectives.fr_train.sweep import View
from frbench.report.canvas import COLORS
from frbench.support.atomic import write_text
from studies.game import GameRun, Watch, build_data, build_model, play
from studies.output import markdown, save, spread, subplots, write_rows

OPTIONS = {"cases", "seeds", "phases", "neighbours"}

#: Loss -> the information that its negative should follow.
PAIRS = {
    "fairness_loss": ("information", "information_of_logit"),
    "robustness_loss": ("information_of_split",),
}
LABELS = {
    "information": "I(Ŷ; Z)",
    "information_of_logit": "I(logit; Z)",
    "information_of_split": "I(V; X, Z, Ŷ)",
    "fairness_loss": "fairness discriminator",
    "robustness_loss": "robustness discriminator",
}


class Information(Watch):
    """Watches losses, I(prediction; Z), I(logit; Z), I(V; X, Z, Y) with V the mark of training.

    The first is a plug-in estimate, the others are nearest-neighbour estimates. Predictions stand
    for labels on training rows, in the coding of the labels of the verified rows.

    Args:
        runs: Runs on one data set each, with verified rows.
        neighbours: Number of neighbours.
    """

    def __init__(self, runs: list[GameRun], neighbours: int) -> None:
        super().__init__(runs, tables=("train",), losses=True)
        self.neighbours = neighbours
        self._fixed: dict[int, float] = {}

    def __call__(self, view: View) -> None:
        """Add one row per run."""
        first = len(self.rows)
        super().__call__(view)
        x, _, z = self._inputs(view.runs)["train"]
        margin = view.margin(x).numpy()
        for i, run in enumerate(view.runs):
            row = self.rows[first + i]
            row["information_of_logit"] = conditional_mutual_information(
                margin[i], z[i], k=self.neighbours
            )
            row["information_of_split"] = self._split(run, margin[i] > 0)

    def _split(self, run: int, prediction: np.ndarray) -> float:
        """Estimate I(V; X) + I(V; Z | X) + I(V; Y | X, Z); the first two never change."""
        table, clean, _ = self.runs[run].data.training
        v = np.repeat([1, 0], [len(table), len(clean)])
        x = np.concatenate([table.x, clean.x])[:, :2].astype(float)
        z = np.concatenate([table.z, clean.z])
        y = np.concatenate([prediction.astype(int), clean.y])
        if run not in self._fixed:
            self._fixed[run] = sum(chain_information(v, [x, z], self.neighbours))
        given = [*x.T, z]
        return self._fixed[run] + conditional_mutual_information(v, y, given, self.neighbours)


def run(config: dict[str, Any], out: Path) -> None:
    """Train the cases, write and plot losses and information, print correlations by phase."""
    rows = []
    for name, case in config["cases"].items():
        data = build_data(case["data"])
        runs = [
            GameRun({"case": name, "seed": seed}, build_model(case["model"], data, seed), data)
            for seed in config["seeds"]
        ]
        rows += play(runs, case["steps"], case["every"], Information(runs, config["neighbours"]))
        for row in rows:
            row.setdefault("attribute_entropy", entropy(np.bincount(data.training.table.z)))
    write_rows(out / "traces.csv", rows)
    traces: dict[str, dict[int, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        traces[row["case"]][row["seed"]].append(row)
    _plot(traces, config["phases"], out / "alignment.png")
    text = _table(traces, config["phases"])
    write_text(out / "summary.md", text + "\n")
    print(text)


def _table(traces: dict[str, Any], phases: list[int]) -> str:
    """Correlation of loss and information by case and phase, mean ± sd over seeds.

    Runs in which one of them does not change in a phase are left out of it.
    """
    lines = []
    for case, seeds in traces.items():
        last = max(row["step"] for rows in seeds.values() for row in rows)
        edges = [(0, last)]
        edges += [*zip([0, *phases], [*phases, last], strict=True)]
        for low, high in edges:
            cells = []
            for loss, measures in PAIRS.items():
                for measure in measures:
                    each = []
                    for rows in seeds.values():
                        part = [r for r in rows if low < r["step"] <= high]
                        columns = [[r[key] for r in part] for key in (loss, measure)]
                        with np.errstate(invalid="ignore", divide="ignore"):  # a constant: NaN
                            each.append(float(np.corrcoef(columns)[0, 1]))
                    found = [value for value in each if np.isfinite(value)]
                    missing = f" (n = {len(found)})" if len(found) < len(each) else ""
                    cells.append(spread(found, 2) + missing if found else "none varies")
            lines.append([case, f"{low}-{high}", *cells])
    header = ["case", "iterations"]
    header += [f"{LABELS[loss]}, {LABELS[m]}" for loss, ms in PAIRS.items() for m in ms]
    return markdown(header, lines)


def _plot(traces: dict[str, Any], phases: list[int], path: Path) -> None:
    figure, axes = subplots(len(traces), 2, 5.2, 3.0)
    for line, (case, seeds) in zip(axes, traces.items(), strict=True):
        right = line[1].twinx()
        for i, rows in enumerate(seeds.values()):
            steps = [row["step"] for row in rows]
            look: dict[str, Any] = {"lw": 1.2 if i == 0 else 0.5, "alpha": 1 if i == 0 else 0.35}
            line[0].plot(steps, [r["fairness_loss"] for r in rows], color=COLORS[0], **look)
            for color, key in ((COLORS[1], "information"), (COLORS[2], "information_of_logit")):
                bound = [r["attribute_entropy"] - r[key] for r in rows]
                line[0].plot(steps, bound, color=color, **look)
            line[1].plot(steps, [r["robustness_loss"] for r in rows], color=COLORS[0], **look)
            information = [r["information_of_split"] for r in rows]
            right.plot(steps, information, color=COLORS[1], **look)
        for ax in line:
            for phase in phases:
                ax.axvline(phase, color="#bbbbbb", lw=0.7, zorder=0)
            ax.set_xlabel("iteration")
        for color, text, y in (
            (COLORS[0], "loss of the fairness discriminator", 0.20),
            (COLORS[1], "H(Z) - I(Ŷ; Z)", 0.12),
            (COLORS[2], "H(Z) - I(logit; Z)", 0.04),
        ):
            line[0].text(0.35, y, text, color=color, transform=line[0].transAxes)
        line[0].set_title(f"{case}: fairness", loc="left")
        line[1].set_title(f"{case}: robustness", loc="left")
        line[0].set_ylabel("nats")
        line[1].set_ylabel("loss of the discriminator", color=COLORS[0])
        right.set_ylabel("I(V; X, Z, Ŷ)  [nats]", color=COLORS[1])
        right.spines["right"].set_visible(True)
    save(figure, path)
