"""Cells one by one against the same cells in stacks: CPU seconds from start to records.

``python benchmarks/stacks.py [digits] [gaussians] [search] [--before PATH]`` runs each grid in
processes of their own, on one thread, and prints user and system time of the whole command. With
``--before PATH``, a checkout of an earlier commit, its one-by-one cells are timed, too.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

METHODS = {
    "ERM": "{model: ERM}",
    "GroupDRO": "{model: GroupDRO, model.eta: 0.1}",
    "ConditionalMMD": "{model: ERM, model.penalties: [{class_path: ConditionalMMD}]}",
    "LISA": "{model: ERM, model.mixing: LISA}",
}
#: Of the search, which has methods that an earlier commit lacks.
MORE = {
    **METHODS,
    "CVaR": "{model: CVaR, model.alpha: 0.2}",
    "MutualInformation": "{model: ERM, model.penalties: [{class_path: MutualInformation}]}",
}
BASE = """
base:
  trainer.accelerator: cpu
  trainer.max_epochs: 30
  data.batch_size: 128
  model.network: {class_path: MLP, init_args: {hidden: [64, 32]}}
"""
DATA = {
    "digits": "data: {digits: {data: Digits, data.n: 2000, data.n_eval: 500}}\n",
    "gaussians": "data: {gaussians: {data: TwoGaussians, data.n: 2000}}\n",
}
SEARCH = """
random:
  draws: {draws}
  space:
    model.lr: {{log_uniform: [0.0003, 0.03]}}
    model.weight_decay: {{log_uniform: [0.00001, 0.1]}}
"""


def seconds(grid: str, words: list[str], package: Path | None) -> float:
    """User and system seconds of one command, its processes included."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "grid.yaml"
        path.write_text(grid)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        if package is not None:
            environment["PYTHONPATH"] = str(package)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-m", "frbench", "bench", str(path), f"--out={folder}/out", *words],
            env=environment, cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            raise SystemExit(done.stderr[-2000:])
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compare(name: str, data: str, method: str, rest: str, size: int, before: Path | None) -> None:
    """Time one method both ways and print a line of a table."""
    grid = BASE + DATA[data] + f"methods: {{{method}: {MORE[method]}}}\n" + rest
    stacked = seconds(grid, [f"--stack={size}"], None)
    alone = seconds(grid, [], None)
    line = f"| {name} {method} | {alone:.1f} | {stacked:.1f} | {alone / stacked:.2f} |"
    if before is not None:
        earlier = seconds(grid, [], before) if method != "LISA" else float("nan")
        line += f" {earlier:.1f} | {earlier / stacked:.2f} |"
    print(line, flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=["digits", "gaussians", "search"])
    parser.add_argument("--before", type=Path, help="checkout of an earlier commit")
    parser.add_argument("--methods", nargs="*", help="of all by default")
    parser.add_argument("--draws", type=int, default=48, help="of the search")
    parser.add_argument("--runs", type=int, help="seeds of each grid; 16 and 32 by default")
    args = parser.parse_args()
    more = " at the earlier commit | ratio |" if args.before else ""
    print(f"| cells | CPU s one by one | in stacks | ratio |{more}")
    for what, runs in (("digits", 16), ("gaussians", 32)):
        for method in args.methods or METHODS if what in args.what else ():
            seeds = args.runs or runs
            rest = f"seeds: {list(range(seeds))}\n"
            compare(f"{seeds} x {what}", what, method, rest, seeds, args.before)
    for method in args.methods or MORE if "search" in args.what else ():
        search = SEARCH.format(draws=args.draws)
        compare(f"{args.draws} draws, digits", "digits", method, search, 16, args.before)


if __name__ == "__main__":
    main()
