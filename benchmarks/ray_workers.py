"""Cells per minute of a grid on Ray with one and with two workers of this machine.

    python benchmarks/ray_workers.py [--seeds 12]

Starts a Ray of its own on the loopback interface, and runs the same grid with one task at a time
and with two. The first runs of each, in which the workers import torch, are counted apart.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from datetime import datetime
from pathlib import Path

from frbench.__main__ import main

GRID = """
base: {trainer.max_epochs: 5, trainer.accelerator: cpu}
data: {digits: {data: Digits}}
methods: {ERM: {model: ERM}}
seeds: %s
"""


def measure(workers: int, seeds: int) -> tuple[float, float]:
    """Return cells per minute of wall time after the first cell of each worker, and the start."""
    from frbench.grids.cluster import ENVIRONMENT, LOOPBACK

    os.environ.update(ENVIRONMENT)
    from ray.cluster_utils import Cluster

    head = {"num_cpus": workers, "node_ip_address": LOOPBACK, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        with tempfile.TemporaryDirectory() as folder:
            grid = Path(folder) / "grid.yaml"
            grid.write_text(GRID % list(range(seeds)))
            begin = time.time()
            out = Path(folder) / "out"
            status = main(["bench", str(grid), f"--out={out}", f"--on=ray:{cluster.address}"])
            end = time.time()
            lines = (out / "results.jsonl").read_text().splitlines()
    finally:
        cluster.shutdown()
    assert status == 0 and len(lines) == seeds
    done = sorted(
        datetime.fromisoformat(json.loads(line)["finished"]).timestamp() for line in lines
    )
    first = done[workers - 1]
    return 60 * (seeds - workers) / (end - first), first - begin


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=12)
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for count in (1, 2):
        rate, start = measure(count, given.seeds)
        load = os.getloadavg()[0]
        print(f"{count} worker(s): {rate:.1f} cells per minute, after {start:.0f} s of start; "
              f"load {load:.1f}", flush=True)  # fmt: skip
