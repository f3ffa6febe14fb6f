"""How much mutual information says about disparate impact, on random tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from frbench.metrics.information import entropy
from frbench.support.atomic import write_text
from studies.output import markdown, save, subplots, write_rows

OPTIONS = {"tables", "seed"}


def random_tables(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw P(Z=1), P(Yhat=1 | Z=0), P(Yhat=1 | Z=1) uniformly; measure each table [n].

    Example:
        >>> tables = random_tables(3, np.random.default_rng(0))
        >>> (tables["information"] <= tables["entropy"]).all()
        np.True_
    """
    share, low, high = rng.random((3, n))
    joint = np.stack(
        [(1 - share) * (1 - low), (1 - share) * low, share * (1 - high), share * high]
    )
    joint = joint.reshape(2, 2, n)  # z, prediction
    prediction = np.array([entropy(joint[..., i].sum(0)) for i in range(n)])
    both = np.array([entropy(joint[..., i]) for i in range(n)])
    attribute = np.array([entropy([1 - p, p]) for p in share])
    return {
        "attribute_rate": share,
        "selection_rate": joint[:, 1].sum(0),
        "entropy": prediction,
        "information": np.maximum(attribute + prediction - both, 0),
        "disparate_impact": np.minimum(low, high) / np.maximum(low, high),
    }


def run(config: dict[str, Any], out: Path) -> None:
    """Draw the tables, write them, plot impact against information, print how far it tells."""
    tables = random_tables(config["tables"], np.random.default_rng(config["seed"]))
    write_rows(
        out / "tables.csv",
        [
            dict(zip(tables, map(float, row), strict=True))
            for row in zip(*tables.values(), strict=True)
        ],
    )
    normalised = tables["information"] / tables["entropy"]
    impact = tables["disparate_impact"]
    figure, axes = subplots(1, 2, 4.6, 3.4)
    for ax, x, label in (
        (axes[0, 0], tables["information"], "I(Ŷ; Z)  [nats]"),
        (axes[0, 1], normalised, "I(Ŷ; Z) / H(Ŷ)"),
    ):
        dots = ax.scatter(
            x, impact, c=tables["selection_rate"], s=6, cmap="viridis", vmin=0, vmax=1
        )
        ax.set_xscale("log")
        ax.set_xlim(1e-6, 1)
        ax.set_xlabel(label)
        ax.set_ylabel("disparate impact")
    figure.colorbar(dots, ax=axes, label="P(Ŷ = 1)")
    save(figure, out / "information_and_impact.png")
    from scipy.stats import spearmanr

    rows = []
    for name, x in (("I", tables["information"]), ("I / H(Ŷ)", normalised)):
        for few in (False, True):
            kept = tables["selection_rate"] < 0.2 if few else np.ones(len(x), bool)
            small = kept & (x < 0.01)
            quantiles = (
                np.quantile(impact[small], [0.05, 0.5, 0.95]) if small.any() else [np.nan] * 3
            )
            rows.append([
                name, "P(Ŷ=1) < .2" if few else "all", kept.sum(),
                f"{spearmanr(x[kept], impact[kept]).statistic:.3f}", small.sum(),
                *(f"{q:.3f}" for q in quantiles),
            ])  # fmt: skip
    header = ["measure", "tables", "n", "rank correlation with DI", "n below .01",
              "DI there: 5 %", "50 %", "95 %"]  # fmt: skip
    text = markdown(header, rows)
    write_text(out / "summary.md", text + "\n")
    print(text)
