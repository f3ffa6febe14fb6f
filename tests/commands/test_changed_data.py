"""A grid whose data file changes: which cells run again, and what the report says."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command import run

from frbench.__main__ import main

pytestmark = pytest.mark.filterwarnings("ignore")  # small evaluation tables

GRID = """
base: {trainer.max_epochs: 1, trainer.accelerator: cpu, data.target: y, data.attribute: z}
data:
  a: {data: TableData, data.path: a.csv}
  b: {data: TableData, data.path: b.csv}
methods: {erm: {model: ERM}}
seeds: [0, 1]
"""


def table(path: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    columns = {"x": rng.normal(size=200)} | {k: rng.integers(0, 2, 200) for k in "yz"}
    pd.DataFrame(columns).to_csv(path, index=False)


def lines() -> list[dict]:
    return [json.loads(line) for line in Path("out/results.jsonl").read_text().splitlines()]


def test_cells_whose_data_changed_run_again_and_the_report_says_so(in_tmp, capsys):
    table("a.csv", 0)
    table("b.csv", 1)
    Path("grid.yaml").write_text(GRID)
    run("bench", "grid.yaml", "--out=out")
    run("bench", "grid.yaml", "--out=out")
    assert len(lines()) == 4  # nothing has changed
    capsys.readouterr()
    run("report", "out/results.jsonl")
    assert "saw different data" not in capsys.readouterr().out

    table("a.csv", 2)
    Path("b.csv").write_bytes(Path("b.csv").read_bytes())  # written anew, as it was
    assert main(["bench", "grid.yaml", "--out=out", "--shard=0/2"]) == 0  # one of the two cells
    again = lines()[4:]
    assert [record["data"] for record in again] == ["a"] and again[0]["status"] == "ok"
    first = next(record for record in lines() if record["cell"] == again[0]["cell"])
    assert again[0]["data_hash"] != first["data_hash"]
    capsys.readouterr()
    run("report", "out/results.jsonl")
    said = " ".join(capsys.readouterr().out.split())
    assert "a: its runs saw different data (2 versions of a.csv)" in said
    assert "b: its runs saw" not in said
