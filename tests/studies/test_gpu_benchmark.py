"""The benchmark for GPUs runs on a CPU at tiny sizes, and no row of it fails."""

import subprocess
import sys

import pytest
from paths import ROOT

SECTIONS = {"steps_of_methods", "irw", "tiny", "precision", "loading"}


@pytest.mark.slow
def test_small():
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--small", "--rounds=1",
         "--budget=3000"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert " 0 failed" in done.stdout and "left out" not in done.stdout
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    assert {row[0].removeprefix("| ") for row in rows[1:]} == SECTIONS
