"""Time and memory of ``frbench report`` on a folder of many records with kept predictions.

    python benchmarks/kept_predictions.py [--records 10000] [--rows 1000] [--folder FOLDER]

Makes a synthetic folder: 10 methods, settings, 5 seeds; ``small`` has a tenth of the records,
``large`` the rest. The records lack ``theil_index`` (of counts) and ``auroc`` (of scores). Each
command is a process of its own; peak memory is the process's.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from frbench.metrics import evaluate
from frbench.report.predictions import FILE, KeptPredictions, Predictions, log_scores

CLASSES, VALUES = ["no", "yes"], ["a", "b", "c"]
LACKING = ("theil_index", "auroc")
#: Distinct files of predictions; records share them by links.
FILES = 50
COMMANDS = {
    "plain": [],
    "page": ["--html", "page.html", "--force"],
    "small, metric of counts computed": ["--data", "small", "--metrics", "theil_index"],
    "small, metric of scores computed": ["--data", "small", "--metrics", "auroc"],
    "small, rule of counts computed": ["--data", "small", "--select", "val/theil_index"],
    "flips": ["--flips"],
    "ensemble": ["--ensemble"],
    "small, postprocessor": ["--data", "small", "--postprocess", "TemperatureScaling"],
}


def table(rng: np.random.Generator, rows: int, name: str) -> Predictions:
    """Predictions of random rows."""
    fixed = np.random.default_rng(rows)
    y, z = fixed.integers(0, 2, rows), fixed.integers(0, 3, rows)
    logits = np.stack([np.zeros(rows), rng.normal(size=rows) + (2 * y - 1) * (1 + z)], 1)
    return Predictions(log_scores(logits), y, z, np.arange(rows), name)


def make(folder: Path, records: int, rows: int) -> None:
    """Write the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    found = []
    for i in range(FILES):
        tables = {"val": table(rng, rows // 2, "v"), "test": table(rng, rows, "t")}
        kept = KeptPredictions(tables, CLASSES, VALUES, np.ones((2, 3)))
        kept.write(folder / f"{i}.npz")
        metrics = {
            f"{name}/{metric}": value
            for name, one in tables.items()
            for metric, value in evaluate(
                one.y, one.decision, one.z, one.probabilities[:, 1],
                class_names=CLASSES, attribute_names=VALUES,
            ).items()
            if metric not in LACKING
        }  # fmt: skip
        found.append(metrics)
    names = [f"y={y},z={z}" for y in CLASSES for z in VALUES]
    with (folder / "results.jsonl").open("w") as file:
        for data, share in (("small", 0.1), ("large", 0.9)):
            settings = range(max(1, round(records * share / 50)))
            points = itertools.product(range(10), settings, range(5))
            for number, (method, setting, seed) in enumerate(points):
                cell = f"{data}-{method}-{setting}-{seed}"
                (folder / "runs" / cell).mkdir(parents=True, exist_ok=True)
                (folder / "runs" / cell / FILE).hardlink_to(folder / f"{number % FILES}.npz")
                record = {
                    "cell": cell, "status": "ok", "data_files": {}, "data": data,
                    "method": f"method {method}", "settings": {"model.lr": 0.1 / (1 + setting)},
                    "seed": seed, "fold": None, "metrics": found[number % FILES],
                    "selection": {"monitor": "val/accuracy", "mode": "max", "oracle": False,
                                  "min_group_rows": 10},
                    "versions": {"frbench": "0.2.0"}, "seconds": 1.0, "peak_memory_mb": 500.0,
                    "warnings": {}, "groups": {"names": names, "counts": {}, "Q": [0.1] * 6},
                }  # fmt: skip
                file.write(json.dumps(record) + "\n")


def measure(folder: Path, words: list[str]) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak MB of a command."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "frbench", "report", str(folder), *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                               cwd=folder)  # fmt: skip
    assert process.stderr is not None
    said = process.stderr.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(said)
    wall = time.perf_counter() - start
    return wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main() -> None:
    """Print a row for each command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=1000, help="of test; val has half as many")
    parser.add_argument("--folder", type=Path, help="of an earlier call, or to make; kept")
    parser.add_argument("--only", help="part of a command's name")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (args.folder or Path(temporary)).resolve()
        if not (folder / "results.jsonl").is_file():
            make(folder, args.records, args.rows)
        size = (folder / "results.jsonl").stat().st_size / 2**20
        kept = sum((folder / f"{i}.npz").stat().st_size for i in range(FILES)) / FILES
        print(f"results.jsonl {size:.0f} MB, predictions {kept / 2**10:.1f} kB a record")
        print(f"{'command':36}{'wall s':>8}{'CPU s':>8}{'peak MB':>9}")
        for name, words in COMMANDS.items():
            if args.only is None or args.only in name:
                wall, cpu, peak = measure(folder, words)
                print(f"{name:36}{wall:8.1f}{cpu:8.1f}{peak:9.0f}", flush=True)


if __name__ == "__main__":
    main()
