"""What the grids of configs/papers/irw do not print: tables by setting, removals, plots.

Usage: python studies/irw_study.py tables results/irw/compas [...] [--against ERM]
       python studies/irw_study.py schemes results/irw/schemes OUT.png
       python studies/irw_study.py curves results/irw/alpha OUT.png
       python studies/irw_study.py weights OUT.png
       python studies/irw_study.py removed | stale

"weights", "removed" and "stale" train on COMPAS (four groups) with the settings of
configs/papers/irw/compas.yaml, on its seeds.
"""

from __future__ import annotations

import argparse
import json
import logging
import warnings
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Trainer, seed_everything
from torch import Tensor

from frbench.contracts.batch import Batch
from frbench.data import Compas, FlipLabels, PoisonLargestMargin
from frbench.data.step import Corruption
from frbench.networks import MLP
from frbench.objectives import IRW, IRWO, Objective
from frbench.report.interval import estimate

ALPHA = 0.0947
SEEDS = range(10, 15)
METRICS = ("accuracy", "worst_group", "worst_cell", "max_min", "deviations", "log_loss", "ece",
           "worst_tenth_loss")  # fmt: skip


def measures(metrics: dict[str, float]) -> dict[str, float]:
    """Return the reported figures of one run.

    Groups are attribute values, as in the sources; cells are groups by label.
    """
    accuracy = metrics["test/accuracy"]
    by_z = [v for k, v in metrics.items() if k.startswith("test/accuracy/z=")]
    return {
        "accuracy": accuracy,
        "worst_group": min(by_z),
        "worst_cell": metrics["test/worst_group_accuracy"],
        "max_min": max(by_z) - min(by_z),
        "deviations": sum(abs(v - accuracy) for v in by_z),
        "log_loss": metrics["test/negative_log_likelihood"],
        "ece": metrics["test/expected_calibration_error"],
        "worst_tenth_loss": metrics["test/worst_alpha_loss/alpha=0.1"],
    }


def read(folder: str) -> list[dict[str, Any]]:
    path = Path(folder) / "results.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    latest = {row["cell"]: row for row in rows}
    return [row for row in latest.values() if row["status"] == "ok"]


def tables(args: argparse.Namespace) -> None:
    """Print mean ± sd [95 % t-interval] of every data set, method and setting."""
    for folder in args.paths:
        rows = read(folder)

        def key(row: dict[str, Any]) -> tuple[str, str, str]:
            settings = (f"{k.split('.')[-1]} {v}" for k, v in row["settings"].items())
            return row["data"], row["method"], ", ".join(settings)

        first = [key(row) for row in rows]
        rows.sort(key=lambda row: first.index(key(row)))
        print(f"\n{folder}\n\n| data | method | setting | n | {' | '.join(METRICS)} |")
        print("|" + "---|" * (4 + len(METRICS)))
        for (data, method, setting), group in groupby(rows, key):
            found = [measures(row["metrics"]) for row in group]
            cells = []
            for name in METRICS:
                e = estimate([m[name] for m in found])
                interval = f" [{e.low:.3f}, {e.high:.3f}]" if name in METRICS[:2] else ""
                cells.append(f"{e.mean:.3f} ± {e.sd:.3f}{interval}")
            print(f"| {data} | {method} | {setting} | {len(found)} | {' | '.join(cells)} |")
        if args.against:
            differences(rows, args.against)


def differences(rows: list[dict[str, Any]], against: str) -> None:
    """Print differences to a method, paired by seed and by every setting that both have."""
    base = [row for row in rows if row["method"] == against]
    found: dict[str, list[list[float]]] = {}
    for row in rows:
        shared = [
            b for b in base
            if (b["data"], b["seed"]) == (row["data"], row["seed"])
            and all(row["settings"].get(k) == v for k, v in b["settings"].items())
        ]  # fmt: skip
        if row["method"] != against and shared:
            ours, theirs = measures(row["metrics"]), measures(shared[0]["metrics"])
            name = f"{row['data']} | {row['method']} | {row['settings']}"
            found.setdefault(name, []).append([ours[m] - theirs[m] for m in METRICS[:2]])
    print(f"\n| data | method | setting | {METRICS[0]} - {against} | {METRICS[1]} - {against} |")
    print("|---|---|---|---|---|")
    for name, values in found.items():
        e = [estimate(column) for column in zip(*values, strict=True)]
        print(
            f"| {name} | " + " | ".join(f"{x.mean:+.3f} [{x.low:+.3f}, {x.high:+.3f}]" for x in e)
        )


def schemes(args: argparse.Namespace) -> None:
    """Plot training loss and validation accuracy of the schemes over epochs."""
    import matplotlib.pyplot as plt
    import pandas as pd

    folder, out = args.paths
    names = ("train/mean_loss", "val/accuracy", "val/worst_attribute_accuracy")
    runs: dict[str, list[Any]] = {}
    for row in read(folder):
        log = pd.read_csv(Path(folder) / "runs" / row["cell"] / "metrics.csv")
        columns = [log[name].dropna().to_numpy() for name in names]
        runs.setdefault(row["method"], []).append(columns)
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    for axis, i in zip(axes, range(3), strict=True):
        for method, columns in runs.items():
            # The last validation of the file is that of the chosen checkpoint.
            values = np.stack([c[i][: len(c[0])] for c in columns])
            epochs = np.arange(1, values.shape[1] + 1)
            mean, sd = values.mean(0), values.std(0, ddof=1)
            axis.plot(epochs, mean, label=method)
            axis.fill_between(epochs, mean - sd, mean + sd, alpha=0.2)
        axis.set(xlabel="epoch", title=names[i])
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.savefig(out, dpi=110)


def curves(args: argparse.Namespace) -> None:
    """Plot accuracy, worst group and log-loss against the assumed alpha."""
    import matplotlib.pyplot as plt

    folder, out = args.paths
    rows = read(folder)
    marks = {"compas": (0.0947, 0.0747), "law": (0.0275, 0.0171)}
    names = ("accuracy", "worst_group", "log_loss")
    figure, axes = plt.subplots(2, 3, figsize=(10, 5.5), layout="constrained", sharex=True)
    for row_of_axes, (data, (true, private)) in zip(axes, marks.items(), strict=True):
        for axis, name in zip(row_of_axes, names, strict=True):
            for method, marker in (("CVaR", "o"), ("IRW", "s")):
                chosen = [r for r in rows if (r["data"], r["method"]) == (data, method)]
                alphas = sorted({r["settings"]["model.alpha"] for r in chosen})
                values = [
                    [measures(r["metrics"])[name] for r in chosen
                     if r["settings"]["model.alpha"] == alpha] for alpha in alphas
                ]  # fmt: skip
                means, sds = [np.mean(v) for v in values], [np.std(v, ddof=1) for v in values]
                axis.errorbar(alphas, means, sds, marker=marker, ms=4, capsize=2, label=method)
            axis.axvline(true, color="black", lw=1, label="smallest group")
            axis.axvline(private, color="black", lw=1, ls=":", label="private bound")
            axis.set(xscale="log", title=f"{data}: {name.replace('_', ' ')}", ylabel="test")
            axis.grid(alpha=0.3)
    for axis in axes[1]:
        axis.set_xlabel("assumed alpha")
    axes[0, 0].legend(fontsize=8)
    figure.savefig(out, dpi=110)


def data_of(seed: int, corrupt: Corruption | None = None) -> Compas:
    return Compas(
        protocol="arl", attribute=["sex", "race"], bins={"race": ["African-American"]},
        batch_size=128, seed=seed, corrupt=[corrupt] if corrupt else None,
    )  # fmt: skip


def train(model: Objective, data: Compas, epochs: int) -> None:
    Trainer(
        max_epochs=epochs, accelerator="cpu", devices=1, logger=False, num_sanity_val_steps=0,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        limit_val_batches=0, use_distributed_sampler=False,
    ).fit(model, datamodule=data)  # fmt: skip


def options(data: Compas) -> dict[str, Any]:
    return {
        "num_classes": 2, "num_attributes": data.num_attributes, "input_shape": data.input_shape,
        "network": MLP(hidden=[64, 32]), "optimizer": "Adagrad", "lr": 0.01, "alpha": ALPHA,
        "scheduler": "StepLR", "scheduler_options": {"step_size": 5, "gamma": 0.5},
    }  # fmt: skip


def weights(args: argparse.Namespace) -> None:
    """Plot IRW's and CVaR's weight of each training row against its loss after some epochs."""
    import matplotlib.pyplot as plt

    seed_everything(SEEDS[0], verbose=False)
    data = data_of(SEEDS[0])
    model = IRW(**options(data), scheme="global")
    train(model, data, args.epochs)
    w = model.on_epoch_weights(data)
    table = data.training.table
    losses = torch.zeros(len(table))
    model.eval()
    with torch.no_grad():
        for rows in model._pass_over(data):
            losses[rows.index] = model.outputs(rows).losses
    worst = model.worst(losses, torch.ones(len(table))).numpy()
    loss = losses.numpy()
    inside = worst > 0
    print(
        f"rows in S: {inside.sum()} of {len(inside)}; smallest loss in S {loss[inside].min():.3f}"
    )
    print(f"rows of S to which IRW gives no weight: {np.mean(w[inside] == 0):.3f}")
    print(f"share of IRW's weight outside of S: {w[~inside].sum() / w.sum():.3f}")
    print(f"rows outside of S with weight: {np.mean(w[~inside] > 0):.3f}")
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained", sharex=True)
    order = np.random.default_rng(0).permutation(len(table))  # no group on top of the others
    for axis, values, name in zip(axes, (worst / worst.mean(), w), ("CVaR", "IRW"), strict=True):
        for y, marker in ((0, "o"), (1, "^")):
            rows = order[table.y[order] == y]
            colors = [f"C{z}" for z in table.z[rows]]
            axis.scatter(loss[rows], values[rows], 9, colors, marker, alpha=0.6, linewidths=0)
        axis.set(xlabel="loss of the row", ylabel="weight (mean 1)", title=name)
        axis.grid(alpha=0.3)
    for z, label in enumerate(data.attribute_names):
        axes[1].plot([], [], "s", color=f"C{z}", label=label)
    for marker, label in zip("o^", data.class_names, strict=True):
        axes[1].plot([], [], marker, color="gray", label=label)
    axes[1].legend(fontsize=7)
    figure.savefig(args.paths[0], dpi=110)


class Recording(IRWO):
    """Counts what IRWO removes, by row."""

    def noise(self, gram: Tensor) -> Tensor:
        self.marked = super().noise(gram)
        return self.marked

    def sample_weights(self, out: Any, batch: Batch) -> Tensor:
        w = super().sample_weights(out, batch)
        self.seen[batch.index] += 1
        self.gone[batch.index[self.marked]] += 1
        return w


def removed(args: argparse.Namespace) -> None:
    """Print the share that IRWO removes: overall, clean and flipped, and by group."""
    cases = {"flips 10 %": FlipLabels(0.1), "flips 20 %": FlipLabels(0.2),
             "clustered 10 %": PoisonLargestMargin(0.1, z=None)}  # fmt: skip
    for name, corrupt in cases.items():
        for quantile in (0.9, 0.99):
            found: dict[str, list[float]] = {}
            for seed in SEEDS:
                seed_everything(seed, verbose=False)
                data = data_of(seed, corrupt)
                model = Recording(**options(data), quantile=quantile)
                table = data.training.table
                model.seen, model.gone = (torch.zeros(len(table)) for _ in range(2))
                train(model, data, args.epochs)
                flipped = table.y != table.true_y
                masks = {"all": np.ones(len(table), bool), "clean": ~flipped, "flipped": flipped}
                masks |= {n: table.z == z for z, n in enumerate(data.attribute_names)}
                for label, mask in masks.items():
                    share = model.gone.numpy()[mask].sum() / model.seen.numpy()[mask].sum()
                    found.setdefault(label, []).append(float(share))
            cells = (f"{k} {np.mean(v):.4f} ± {np.std(v, ddof=1):.4f}" for k, v in found.items())
            print(f"{name}, quantile {quantile}: " + "; ".join(cells), flush=True)


class Stale(IRW):
    """Compares the weights of an epoch's start with those of its end."""

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        assert self.start is not None
        now = self.on_epoch_weights(self.trainer.datamodule)
        cosine = now @ self.start / np.linalg.norm(now) / np.linalg.norm(self.start)
        lost = self.start[now == 0].sum() / self.start.sum()
        self.history.append((float(cosine), float(lost)))

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        state = self.trainer.train_dataloader.state_dict()
        self.start = state["epoch_weights"].numpy()


def stale(args: argparse.Namespace) -> None:
    """Print how far global weights are out of date when their epoch ends."""
    runs = []
    for seed in SEEDS:
        seed_everything(seed, verbose=False)
        data = data_of(seed)
        model = Stale(**options(data), scheme="global")
        model.history = []
        train(model, data, args.epochs)
        runs.append(model.history)
    mean, sd = np.mean(runs, 0), np.std(runs, 0, ddof=1)
    for epoch in range(args.epochs):
        cosine, lost = (f"{m:.3f} ± {s:.3f}" for m, s in zip(mean[epoch], sd[epoch], strict=True))
        print(f"epoch {epoch + 1}: cosine {cosine}, weight on rows that would have none {lost}")


def main() -> None:
    """Run the study asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "what", choices=["tables", "curves", "schemes", "weights", "removed", "stale"]
    )
    parser.add_argument("paths", nargs="*")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--against", default="")
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    warnings.filterwarnings("ignore")
    globals()[args.what](args)


if __name__ == "__main__":
    main()
