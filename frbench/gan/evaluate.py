"""``frbench gan metrics``: the metrics of the de-biasing literature for trained classifiers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from frbench.arguments import Parser
from frbench.data.module import GroupDataModule
from frbench.errors import UserError
from frbench.metrics.debiasing import calibrated_threshold, debiasing_metrics
from frbench.metrics.module import GroupCounts
from frbench.objectives import Objective
from frbench.progress import busy, steps

#: What is said of the training rows, and of every table at the end of training.
FIT = ("accuracy", "worst_group_accuracy", "negative_log_likelihood")


@torch.inference_mode()
def predict(objective: Objective, data: GroupDataModule, name: str) -> tuple[np.ndarray, ...]:
    """Return labels, P(y = 1) and attributes of a table's rows with known attribute."""
    objective.eval()
    parts = [(batch.y, objective(batch.x).float().softmax(1)[:, 1], batch.z)
             for batch in data.eval_loader(name)]  # fmt: skip
    y, scores, z = (torch.cat(column).numpy() for column in zip(*parts, strict=True))
    return y[z >= 0], scores[z >= 0], z[z >= 0]


def evaluate_debiasing(
    objective: Objective, data: GroupDataModule, resamples: int = 0, seed: int = 0
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Evaluate every test table; the threshold is calibrated on validation.

    Args:
        objective: A classifier of two classes.
        data: Its data, with two attribute values.
        resamples: Resamples of each table for the intervals; 0 gives none.
        seed: Seed of the resamples.

    Returns:
        Values by ``<table>/<metric>``, and 95 % percentile intervals.

    Raises:
        UserError: For more classes or attribute values.
    """
    if (data.num_classes, data.num_attributes) != (2, 2):
        raise UserError(
            "gan metrics are for two classes and two attribute values; the data have "
            f"{data.num_classes} and {data.num_attributes}."
        )
    threshold = calibrated_threshold(*predict(objective, data, "val")[:2])
    values: dict[str, float] = {}
    intervals: dict[str, tuple[float, float]] = {}
    for name in data.test_names:
        y, scores, z = predict(objective, data, name)
        found = debiasing_metrics(y, scores, z, threshold)
        values |= {f"{name}/{key}": value for key, value in found.items()}
        rng = np.random.default_rng([seed, 51])
        drawn = []
        for _ in range(resamples):
            rows = rng.integers(0, len(y), len(y))
            drawn.append(debiasing_metrics(y[rows], scores[rows], z[rows], threshold, 0))
        for key in drawn[0] if drawn else []:
            low, high = np.nanpercentile([one[key] for one in drawn], [2.5, 97.5])
            intervals[f"{name}/{key}"] = (float(low), float(high))
    return values, intervals


@torch.inference_mode()
def evaluate_fit(objective: Objective, data: GroupDataModule, name: str) -> dict[str, float]:
    """Average and worst-group accuracy and mean loss on a table, the training rows say.

    Args:
        objective: A classifier.
        data: Its data; of the training split the real rows count, without transforms or weights.
        name: Name of the table.

    Returns:
        Values by ``<table>/<metric>``.
    """
    objective.eval()
    metric = GroupCounts(data.num_classes, data.num_attributes)
    for batch in data.eval_loader(name):
        metric.update(objective(batch.x), batch.y, batch.z)
    found = metric.compute()
    return {f"{name}/{key}": found[key] for key in FIT}


def main(argv: list[str]) -> int:
    """Run ``frbench gan metrics``.

    Raises:
        UserError: If an option, the checkpoint or the data cannot be used.
    """
    from frbench.checkpoint import load, read_checkpoint
    from frbench.dfr import checkpoint_data
    from frbench.quiet import quieten

    quieten()
    parser = Parser("frbench gan")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--ckpt_path", type=Path)
    what.add_argument("--results", type=Path)
    parser.add_argument("--resamples", type=int, default=200)
    args, extra = parser.parse_known_args(argv)
    if args.results is not None:
        return _over_results(args.results, extra)
    data = checkpoint_data(read_checkpoint(args.ckpt_path), args.ckpt_path, extra)
    with busy(f"metrics and {args.resamples} resamples"):
        values, intervals = evaluate_debiasing(load(args.ckpt_path), data, args.resamples)
    width = max(map(len, values))
    for key, value in values.items():
        low, high = intervals.get(key, (np.nan, np.nan))
        print(
            f"{key:<{width}}  {value:8.4f}" + (f"  [{low:.4f}, {high:.4f}]" if low == low else "")
        )
    return 0


def _over_results(folder: Path, extra: list[str]) -> int:
    """Add the metrics to every finished run of a grid that lacks them.

    Beside those of the selected checkpoint, ``end/`` says how well the last one fits training and
    test rows, where ``frbench bench --keep_last`` kept it: a run that is selected early says
    nothing about training to the end.
    """
    from frbench.bench import append, read_results
    from frbench.checkpoint import load, read_checkpoint
    from frbench.dfr import checkpoint_data

    file = folder / "results.jsonl"
    if not file.is_file():
        raise UserError(f"--results: there is no {file}; run frbench bench first.")
    todo = [
        record
        for record in read_results(file).values()
        if record["status"] == "ok"
        and "dfr" not in record  # a refitted head of another run: no folder of its own
        and "train/accuracy" not in record["metrics"]
    ]
    for record in steps(todo, "metrics"):
        path = folder / "runs" / record["cell"] / "checkpoints" / "best.ckpt"
        data = checkpoint_data(read_checkpoint(path), path, extra)
        best, last = load(path), path.with_name("last.ckpt")
        values = evaluate_debiasing(best, data)[0] | evaluate_fit(best, data, "train")
        if last.is_file():
            end = load(last)
            for name in ("train", *data.test_names):
                fits = evaluate_fit(end, data, name)
                values |= {f"end/{key}": value for key, value in fits.items()}
        append(file, {**record, "metrics": {**record["metrics"], **values}})
    print(f"{len(todo)} runs have further metrics in {file}; next: frbench report {folder}")
    return 0
