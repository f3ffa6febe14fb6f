"""Folders merged into one leaderboard, and results compared with their grid."""

import json

import pytest
import yaml
from command import SMALL

from frbench.__main__ import main

COUNTS = {"train": [5, 5, 5, 5], "test": [10, 20, 30, 40]}


def record(method="ERM", seed=0, **changed):
    return {
        "cell": f"{method}{seed}", "status": "ok", "data": "d", "method": method, "settings": {},
        "seed": seed, "fold": None, "seconds": 1.0, "peak_memory_mb": 1.0, "warnings": {},
        "versions": {"frbench": "0.2.0"}, "data_files": {"d.csv": "0123456789"},
        "selection": {"monitor": "val/accuracy", "mode": "max", "min_group_rows": 10},
        "groups": {"names": list("abcd"), "counts": COUNTS},
        "metrics": {"val/accuracy": 0.5, "val/worst_group_accuracy": 0.5, "test/accuracy": 0.5},
        **changed,
    }  # fmt: skip


def folder(path, *records):
    path.mkdir()
    text = "".join(json.dumps(one) + "\n" for one in records)
    (path / "results.jsonl").write_text(text)
    return str(path)


def test_folders_that_agree_are_one_leaderboard(tmp_path, capsys):
    ours = folder(tmp_path / "a", record(), record(seed=1))
    theirs = folder(tmp_path / "b", record("Mine"), record("Mine", 1), record("ERM", 1))
    assert main(["report", ours, theirs, "--format=csv"]) == 0
    out = capsys.readouterr().out
    assert "ERM" in out and "Mine" in out


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"versions": {"frbench": "0.1.0"}}, "version (frbench 0.2.0 and 0.1.0)"),
        ({"data_files": {"d.csv": "9876543210"}}, "data files (d.csv 01234567 and 98765432)"),
        ({"groups": {"names": list("abce"), "counts": COUNTS}}, "groups (their names)"),
        ({"groups": {"names": list("abcd"), "counts": {"test": [11, 20, 30, 40]}}},
         "rows of the test tables (seed 0)"),
        ({"selection": {"monitor": "val/loss", "mode": "min", "min_group_rows": 10}},
         "protocol (checkpoint by val/accuracy (max) and val/loss (min))"),
        ({"selection": {"monitor": "val/accuracy", "mode": "max", "min_group_rows": 5}},
         "protocol (smallest group 10 and 5)"),
        ({"method": "ERM"}, "configuration (d ERM seed 0 ERM0 and Mine0)"),
    ],
)  # fmt: skip
def test_folders_that_differ_are_refused_with_what_differs(tmp_path, capsys, changed, says):
    ours = folder(tmp_path / "a", record())
    theirs = folder(tmp_path / "b", record(**{"method": "Mine", "cell": "Mine0", **changed}))
    assert main(["report", ours, theirs]) == 2
    error = capsys.readouterr().err
    assert says in error and "'d'" in error and error.count("\n") == 1


def test_train_rows_and_other_data_sets_may_differ(tmp_path):
    ours = folder(tmp_path / "a", record())
    groups = {"names": list("abcd"), "counts": {**COUNTS, "train": [9, 9, 9, 9]}}
    theirs = folder(
        tmp_path / "b",
        record("Mine", groups=groups),
        record("Else", data="e", versions={"frbench": "0.1.0"}),
    )
    assert main(["report", ours, theirs]) == 0
    third = folder(tmp_path / "c", record("Third", versions={"frbench": "0.1.0"}))
    assert main(["report", ours, third]) == 2
    assert main(["report", ours, third, "--data=d"]) == 2


def test_results_are_compared_with_the_grid_beside_them(tmp_path, capsys):
    options = dict(word.removeprefix("--").split("=") for word in SMALL)
    grid = {
        "base": {"trainer.max_epochs": 1, "trainer.accelerator": "cpu", "model.network": "MLP"},
        "data": {"small": {key: yaml.safe_load(value) for key, value in options.items()}},
        "methods": {"ERM": {"model": "ERM"}, "GroupDRO": {"model": "GroupDRO"}},
        "seeds": [0],
    }
    (tmp_path / "g.yaml").write_text(yaml.safe_dump(grid))
    out = tmp_path / "out"
    words = [f"--out={out}", "--index=0"]
    with pytest.warns():  # groups of few rows
        assert main(["bench", str(tmp_path / "g.yaml"), *words]) == 0
    capsys.readouterr()
    assert main(["report", str(out), "--complete"]) == 2
    error = capsys.readouterr().err
    assert "is not the 2 runs of" in error and "1 missing (small GroupDRO seed 0)" in error

    lines = (out / "results.jsonl").read_text()
    kept = {**grid, "methods": {"ERM": {"model": "ERM"}}}
    (out / "grid.yaml").write_text(yaml.safe_dump(kept))
    assert main(["report", str(out), "--complete"]) == 0
    assert "complete: 1 runs of" in capsys.readouterr().out

    changed = {**kept, "base": {**grid["base"], "model.lr": 0.5}}
    (out / "grid.yaml").write_text(yaml.safe_dump(changed))
    assert main(["report", str(out), "--complete"]) == 2
    error = capsys.readouterr().err
    assert "1 missing (small ERM seed 0)" in error and "1 of no cell of it" in error
    assert (out / "results.jsonl").read_text() == lines
    (out / "grid.yaml").unlink()
    assert main(["report", str(out), "--complete"]) == 2
