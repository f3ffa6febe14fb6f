"""CPU time of a grid's bookkeeping: cells that cost nothing, run by the real queue and sink.

    python benchmarks/bookkeeping.py [--cells 100 1000 10000]

``run``: from the grid file to the last record, per cell, fsync of each record included (its
waiting is wall time, not CPU time). ``again``: the same command on the finished grid, in all.
"""

import argparse
import contextlib
import io
import os
import resource
import tempfile
import time
from pathlib import Path
from unittest import mock

from frbench.commands import bench
from frbench.grids import executors
from frbench.support.files import file_hashes

GRID = """
data: {d: {data: Digits}}
methods: {m: {model: ERM}}
random: {draws: %d, space: {model.lr: {log_uniform: [1e-4, 1e-2]}}}
seeds: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
"""
#: As many metrics as a run of four groups records.
METRICS = {f"test/metric_{i}": i / 7 for i in range(300)}
#: A file of the data: this one.
FILES = file_hashes([str(Path(__file__).resolve())])


def fake(cell, folder, results):
    """Record what a run would."""
    return {
        "cell": cell.key, "data": cell.data, "method": cell.method, "settings": cell.settings,
        "seed": cell.seed, "fold": cell.fold, "status": "ok", "metrics": METRICS, "seconds": 0.0,
        "data_files": FILES,
    }  # fmt: skip


def command() -> tuple[float, float]:
    """CPU and wall seconds of one ``frbench bench``."""
    start, wall = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert bench.main(["grid.yaml", "--out=out"]) == 0
    end = resource.getrusage(resource.RUSAGE_SELF)
    cpu = end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime
    return cpu, time.perf_counter() - wall


def main() -> None:
    """Print one row per size of the grid."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", nargs="+", type=int, default=[100, 1000, 10_000])
    cells = parser.parse_args().cells
    print("cells  run, CPU ms per cell  run, wall ms per cell  again, CPU s in all")
    for count in cells:
        with (
            tempfile.TemporaryDirectory() as folder,
            mock.patch.object(executors, "run_cell", fake),
        ):
            os.chdir(folder)
            Path("grid.yaml").write_text(GRID % (count // 10))
            cpu, wall = command()
            again, _ = command()
            print(
                f"{count:5d}  {1e3 * cpu / count:20.3f}  {1e3 * wall / count:21.3f}  {again:19.3f}"
            )
            os.chdir("/")


if __name__ == "__main__":
    main()
