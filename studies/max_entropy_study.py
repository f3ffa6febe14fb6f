"""Max-entropy debiasing against its baselines: classifiers on the cells of grids, with intervals.

Run ``FRBENCH_DATA=... OMP_NUM_THREADS=1 python studies/max_entropy_study.py --out
results/max-entropy``. Every grid is one that ``frbench bench`` can run; here its training tables
also train a decision tree, naive Bayes and logistic regression. Finished cells are skipped, so
that the command may be stopped and given again; tables of the results are printed at the end.
"""

import argparse
import hashlib
import json
import math
import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jsonargparse import ArgumentParser
from pytorch_lightning import Trainer, seed_everything
from rich.progress import track
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier

from frbench.data.max_entropy import rates
from frbench.data.module import GroupDataModule
from frbench.grids.grid import Cell, read_grid
from frbench.networks import MLP
from frbench.objectives import ERM
from frbench.report.records import Results
from frbench.runs.catalogue import import_all
from frbench.runs.quiet import quieten

import_all()
GRIDS = Path(__file__).parents[1] / "configs" / "papers" / "max-entropy"
CLASSIC: dict[str, Callable] = {
    "tree": lambda: DecisionTreeClassifier(random_state=0),
    "naive Bayes": GaussianNB,
    "logistic": lambda: LogisticRegression(max_iter=1000),
}
#: Classifiers of each grid; the MLP, which costs most, for the settings below alone.
CLASSIFIERS = {
    "released": ["tree", "naive Bayes", "logistic", "MLP"],
    "tables": ["tree", "logistic"],
    "acs": ["logistic"],
    "curves": ["tree", "logistic"],
}
MLP_SETTINGS = {
    "raw",
    "weights",
    "massaging",
    "max-entropy C=.1 w_w",
    "max-entropy C=.5 w_w",
    "max-entropy C=.5 w_b",
}
#: What max entropy is compared with, cell by cell.
REFERENCE = "weights"


def name_of(cell: Cell) -> str:
    """Return the row of the table that a cell belongs to, in the paper's letters."""
    got = {key.rpartition(".")[2]: value for key, value in cell.settings.items()}
    if "augment" in got:  # a learning curve
        size = got["augment"][0]["init_args"]["size"]
        return f"{cell.method} n={'all' if size == 1_000_000 else size}"
    name = cell.method.removesuffix("-smoothing").removesuffix("-tau")
    if name != "max-entropy":
        return name
    c = got.get("smoothing", 0.5)
    prior, marginals = got.get("prior", "reweighted"), got.get("marginals", "reweighted")
    letters = {"data": "d", "reweighted": "w", "balanced": "b"}
    tau = f" tau={got['tau']}" if "tau" in got else ""
    return f"{name} C={c:g} {letters[prior]}_{letters[marginals]}{tau}".replace("=0.", "=.")


def build(cell: Cell, seed: int | None) -> GroupDataModule:
    """Build the data set of a cell, as ``frbench fit`` would."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(GroupDataModule, "data", required=True)
    words = [word for word in cell.arguments() if word.startswith(("--data=", "--data."))]
    words += [] if seed is None else [f"--data.seed={seed}"]
    return parser.instantiate(parser.parse_args(words)).data


def fit_mlp(data: GroupDataModule, cell: Cell, x: np.ndarray) -> np.ndarray:
    """Train ERM on the cell's MLP and return class probabilities of x."""
    import torch

    seed_everything(1000 * cell.seed + (cell.fold or 0), verbose=False)
    options = cell.options
    model = ERM(
        data.num_classes,
        data.num_attributes,
        data.input_shape,
        network=MLP(hidden=options["model.network.hidden"]),
        lr=options["model.lr"],
    )
    trainer = Trainer(
        max_steps=options["trainer.max_steps"],
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        use_distributed_sampler=False,
    )
    trainer.fit(model, train_dataloaders=data.train_dataloader())
    with torch.no_grad():
        return model.eval()(torch.from_numpy(x).float()).softmax(1).numpy()


def evaluate(cell: Cell, classifiers: list[str], seed: int | None) -> list[dict]:
    """Build a cell's training table, train every classifier on it and test on the real rows."""
    data = build(cell, seed)
    table, _, weight = data.training
    test = data.splits["test"]
    x, x_test = data.encode(table.x), data.encode(test.x)
    shape = (data.num_classes, data.num_attributes)
    joint = np.zeros(shape)
    np.add.at(joint, (table.y, table.z), weight)
    rr, sr = rates(joint)
    records = []
    for name in classifiers:
        if name == "MLP":
            p = fit_mlp(data, cell, x_test)
        else:
            p = CLASSIC[name]().fit(x, table.y, weight).predict_proba(x_test)
        # As in the paper: P(Yhat|Z) by the mean predicted probability; and of hard predictions.
        soft, hard = np.zeros(shape), np.zeros(shape)
        np.add.at(soft.T, test.z, p)
        np.add.at(hard, (p.argmax(1), test.z), 1)
        records.append(
            {
                "data": cell.data,
                "method": name_of(cell),
                "fold": cell.fold,
                "classifier": name,
                "rows": len(table),
                "ratio": len(test) / len(data.splits["train"]),
                "data_rr": rr,
                "data_sr": float(sr[1]),
                "accuracy": float((p.argmax(1) == test.y).mean()),
                "sr": float(rates(soft)[1][1]),
                "hard_sr": float(np.nan_to_num(rates(hard)[1][1])),
            }
        )
    return records


def run(grid: Path, out: Path, seed: int | None, folds: int | None, shard: str) -> Path:
    """Evaluate the cells that are not finished; return the file of records."""
    path = out / f"{grid.stem}.jsonl"
    out.mkdir(parents=True, exist_ok=True)
    done = set()
    if path.exists():
        done = {json.loads(line)["cell"] for line in path.read_text().splitlines()}
    i, n = map(int, shard.split("/"))
    cells = [cell for cell in read_grid(grid) if folds is None or (cell.fold or 0) < folds][i::n]
    for cell in track(cells, description=grid.stem):
        key = hashlib.sha256(f"{cell.key}{seed}".encode()).hexdigest()[:16]
        if key in done:
            continue
        chosen = [
            name
            for name in CLASSIFIERS.get(grid.stem, ["tree"])
            if name != "MLP" or name_of(cell) in MLP_SETTINGS
        ]
        with warnings.catch_warnings():  # Lightning's about data without validation
            warnings.simplefilter("ignore")
            records = evaluate(cell, chosen, seed)
        Results(path).append({"cell": key, "records": records})
    return path


def interval(values: list[float], ratio: float) -> tuple[float, float]:
    """Mean and half a 95 % interval over folds whose training sets overlap.

    The variance of the mean is s^2 (1/n + n_test/n_train), the correction of Nadeau and Bengio
    (Inference for the generalization error, 2003); t has n - 1 degrees of freedom.
    """
    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return mean, math.nan
    deviation = float(np.std(values, ddof=1)) * math.sqrt(1 / n + ratio)
    return mean, float(stats.t.ppf(0.975, n - 1)) * deviation


def cell_text(values: list[float], ratio: float, sign: bool = False) -> str:
    mean, half = interval(values, ratio)
    text = f"{mean:+.3f}" if sign else f"{mean:.3f}"
    return f"{text} ± {half:.3f}".replace("0.", ".")


def read(path: Path) -> dict:
    """Read the records of a grid: {data: {(method, classifier): {fold: record}}}."""
    found: dict = defaultdict(lambda: defaultdict(dict))
    for line in path.read_text().splitlines():
        for record in json.loads(line)["records"]:
            key = (record["method"], record["classifier"])
            found[record["data"]][key][record["fold"]] = record
    return found


def plot(path: Path, target: Path, classifiers: tuple[str, str] = ("tree", "logistic")) -> None:
    """Draw accuracy against statistical rate, one panel per data set and classifier."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    found = read(path)
    shape = (len(found), len(classifiers))
    figure, axes = plt.subplots(*shape, figsize=(10, 3.6 * shape[0]), squeeze=False)
    for row, (data, cells) in zip(axes, found.items(), strict=True):
        for axis, name in zip(row, classifiers, strict=True):
            methods = [m for m, n in cells if n == name]
            # Of max entropy the paper's choice, both reweighted; the others are in the tables.
            methods = [m for m in methods if " " not in m or m.endswith(" w_w")]
            for i, method in enumerate(methods):
                records = list(cells[method, name].values())
                x, dx = interval([r["sr"] for r in records], records[0]["ratio"])
                y, dy = interval([r["accuracy"] for r in records], records[0]["ratio"])
                marker = "s" if method.startswith("max-entropy") else "o"
                axis.errorbar(
                    x, y, dy, dx, fmt=marker, color=f"C{i % 10}", mfc="none" if i > 9 else None,
                    lw=0.7, ms=6, label=method,
                )  # fmt: skip
            axis.set(title=f"{data}, {name}", xlabel="statistical rate on test", ylabel="accuracy")
    axes[0, 0].legend(fontsize=7, loc="lower left")
    figure.tight_layout()
    figure.savefig(target, dpi=90)
    plt.close(figure)


def verdict(accuracy: list[float], sr: list[float], ratio: float) -> str:
    """Say what paired differences to the weights amount to: by their intervals, at 95 %.

    gain: one of accuracy and statistical rate is higher and the other not lower; loss: one lower,
    the other not higher; trade: one higher, the other lower; none: neither interval leaves 0.
    """
    (a, da), (s, ds) = interval(accuracy, ratio), interval(sr, ratio)
    up, down = a > da or s > ds, a < -da or s < -ds
    return {(1, 0): "gain", (0, 1): "loss", (1, 1): "trade"}.get((up, down), "none")


def tables(path: Path) -> str:
    """Return the results of a grid as Markdown: levels, then differences to the weights alone."""
    lines = []
    for data, cells in read(path).items():
        methods = list(dict.fromkeys(method for method, _ in cells))
        names = list(dict.fromkeys(name for _, name in cells))
        some = next(iter(cells.values()))
        ratio = next(iter(some.values()))["ratio"]
        lines += [f"\n### {data} (n = {len(some)} folds)\n"]
        head = ["training table", "rows", "RR", "SR"]
        head += [f"{name} {what}" for name in names for what in ("accuracy", "SR")]
        lines += ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
        for method in methods:
            first = next(cells[method, name] for name in names if (method, name) in cells)
            records = list(first.values())
            row = [method, f"{np.mean([r['rows'] for r in records]):.0f}"]
            row += [f"{np.mean([r[k] for r in records]):.3f}" for k in ("data_rr", "data_sr")]
            for name in names:
                part = cells.get((method, name), {}).values()
                for what in ("accuracy", "sr"):
                    row.append(cell_text([r[what] for r in part], ratio) if part else "")
            lines.append("| " + " | ".join(row) + " |")
        lines += ["", f"Paired differences to `{REFERENCE}`, fold by fold:", ""]
        head = ["training table", *head[4:]]
        lines += ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
        verdicts: dict = defaultdict(list)
        for method in methods:
            curve = method.partition(" n=")[2]
            other = f"{REFERENCE} n={curve}" if curve else REFERENCE
            if method.startswith(REFERENCE) or (other, names[0]) not in cells:
                continue
            row = [method]
            for name in names:
                mine, theirs = cells.get((method, name), {}), cells.get((other, name), {})
                both = sorted(set(mine) & set(theirs))
                gaps = [
                    [mine[f][what] - theirs[f][what] for f in both] for what in ("accuracy", "sr")
                ]
                row += [cell_text(gap, ratio, sign=True) if both else "" for gap in gaps]
                if both:
                    verdicts[name, verdict(*gaps, ratio)].append(method)
            lines.append("| " + " | ".join(row) + " |")
        lines += [""]
        for (name, word), chosen in sorted(verdicts.items()):
            lines.append(f"- {name}, {word}: {', '.join(chosen)}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("grids", nargs="*", type=Path, default=sorted(GRIDS.glob("*.yaml")))
    parser.add_argument("--out", type=Path, default=Path("results/max-entropy"))
    parser.add_argument("--folds", type=int, help="only the first folds")
    parser.add_argument("--seed", type=int, help="another data.seed, for development")
    parser.add_argument("--plot", type=Path, help="PNG of accuracies and rates, of released.yaml")
    parser.add_argument("--shard", default="0/1", help="cells i, i + n, ... as i/n")
    args = parser.parse_args(argv)
    quieten()
    paths = [run(grid, args.out, args.seed, args.folds, args.shard) for grid in args.grids]
    for path in paths:
        print(tables(path))
    if args.plot:
        plot(next((path for path in paths if path.stem == "released"), paths[0]), args.plot)


if __name__ == "__main__":
    main()
