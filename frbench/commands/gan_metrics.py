"""``frbench gan metrics``: the metrics of the de-biasing literature for trained classifiers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from frbench.gan.evaluate import evaluate_debiasing, evaluate_fit
from frbench.runs.build import checkpoint_data
from frbench.runs.checkpoint import load, read_checkpoint
from frbench.runs.quiet import quieten
from frbench.support.parser import Parser
from frbench.support.progress import busy


def main(argv: list[str]) -> int:
    """Run ``frbench gan metrics``.

    Raises:
        UserError: If an option, the checkpoint or the data cannot be used.
    """
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
    from frbench.grids.revisit import revisit

    def visit(record: dict[str, Any], path: Path) -> dict[str, Any]:
        data = checkpoint_data(read_checkpoint(path), path, extra)
        best, last = load(path), path.with_name("last.ckpt")
        values = evaluate_debiasing(best, data)[0] | evaluate_fit(best, data, "train")
        if last.is_file():
            end = load(last)
            for name in ("train", *data.test_names):
                fits = evaluate_fit(end, data, name)
                values |= {f"end/{key}": value for key, value in fits.items()}
        return {**record, "metrics": {**record["metrics"], **values}}

    def wanted(record: dict[str, Any], records: dict[str, Any]) -> bool:
        return "train/accuracy" not in record["metrics"]

    count = revisit(folder, "metrics", wanted, visit)
    print(
        f"{count} runs have further metrics in {folder / 'results.jsonl'}; next: frbench report "
        f"{folder}"
    )
    return 0
