"""Cells of a grid keep the scores of the rows that they were evaluated on."""

import json

import numpy as np
import pytest
import torch
from command import run

from frbench import load
from frbench.__main__ import main
from frbench.contracts.errors import UserError
from frbench.grids.grid import read_grid
from frbench.metrics import evaluate
from frbench.report.predictions import FILE, read_predictions
from frbench.report.records import Results
from frbench.runs.build import checkpoint_data
from frbench.runs.checkpoint import read_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning")

GRID = """
base: {data.n: 300, data.n_eval: 400, trainer.max_epochs: 2, trainer.accelerator: cpu}
data: {digits: {data: Digits}}
methods:
  ERM: {model: ERM, data.test_while_training: true}
  AFR: {after: ERM, postprocess: AFR}
  TO: {after: ERM, postprocess: ThresholdOptimizer}
seeds: [0, 1]
"""


def records_of(folder):
    return list(Results(folder / "out/results.jsonl").latest().values())


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A folder of a finished grid."""
    folder = tmp_path_factory.mktemp("kept")
    (folder / "g.yaml").write_text(GRID)
    run("bench", str(folder / "g.yaml"), f"--out={folder / 'out'}")
    return folder


def test_counts_metrics_are_those_of_the_record_and_soft_ones_nearly(done):
    for record in records_of(done):
        assert record["status"] == "ok", record
        kept = read_predictions(done / "out/runs" / record["cell"] / FILE)
        assert list(kept.tables) == ["val", "test/P", "test/Q", "test/P0"]
        for name, table in kept.tables.items():
            assert table.scores.dtype == np.float16
            names = {
                "class_names": kept.class_names,
                "attribute_names": kept.attribute_names,
                "train_counts": kept.train_counts,
                "min_group_rows": record["selection"]["min_group_rows"],
            }
            hard = evaluate(table.y, table.decision, table.z, **names)
            p = table.probabilities[:, 1]
            found = evaluate(table.y, table.decision, table.z, p, **names)
            compared = 0
            for key, value in record["metrics"].items():
                if not key.startswith(f"{name}/"):
                    continue
                short = key.removeprefix(f"{name}/")
                near = 1e-12 if short in hard else 0.03  # AUROC of groups is binned
                if short == "score_kl":  # of 50 bins: one row into an almost empty one shows
                    near = 0.15
                ours = found[short]
                same = np.isnan(ours) if value is None else abs(ours - value) <= near
                assert same, (key, ours, value)  # null stands for NaN in a record
                compared += short in hard
            assert compared > 30


def test_scores_are_those_of_the_checkpoint(done):
    for record in records_of(done):
        path = done / "out/runs" / record["cell"] / "checkpoints/best.ckpt"
        kept = read_predictions(path.parents[1] / FILE)
        data = checkpoint_data(read_checkpoint(path), path, [])
        data.setup("test")
        model = load(path)
        for name, table in kept.tables.items():
            split = data.splits[name]
            outcome = model.table_outcome(split)
            index = table.index
            assert (split.y[index] == table.y).all() and (split.z[index] == table.z).all()
            assert table.rows == data.contents[name]["columns"][""]
            log_p = torch.log_softmax(outcome.logits.double(), 1).numpy()[index]
            assert np.abs(table.scores / log_p - 1).max() < 2**-9
            if outcome.decision is None:
                assert table.decisions is None
                assert (table.decision == outcome.logits.numpy().argmax(1)[index]).all()
            elif name != "val":  # of a cut table, draws go by the place in the part
                assert (table.decision == outcome.decision.numpy()).all()


def test_what_a_method_was_fitted_on_is_left_out_of_validation(done):
    by_method = {(r["method"], r["seed"]): r for r in records_of(done)}
    folder = done / "out/runs"
    erm, afr = (
        read_predictions(folder / by_method[method, 0]["cell"] / FILE).tables["val"]
        for method in ("ERM", "AFR")
    )
    assert 0 < len(afr.y) < len(erm.y) and afr.rows == erm.rows
    assert (erm.y[afr.index] == afr.y).all() and (erm.z[afr.index] == afr.z).all()


def test_a_postprocessor_of_the_report_is_that_of_a_cell(done, capsys):
    words = ("--select=val/balanced_accuracy", "--postprocess=ThresholdOptimizer")
    assert main(["report", str(done / "out"), *words, "--format=json"]) == 0
    rows = {row["method"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    # Thresholds lie between scores in half precision: a row of a small group may differ.
    for key, ours in rows["ERM+ThresholdOptimizer"]["metrics"].items():
        theirs = rows["TO"]["metrics"][key]
        assert ours["n"] == theirs["n"] and abs(ours["mean"] - theirs["mean"]) < 0.03, key
    assert "AFR+ThresholdOptimizer" in rows and "TO+ThresholdOptimizer" not in rows


def test_the_same_again_and_in_a_stack(done, tmp_path):
    (tmp_path / "g.yaml").write_text(GRID)
    run("bench", str(tmp_path / "g.yaml"), f"--out={tmp_path / 'out'}", "--stack=2")
    stacked = 0
    for record in records_of(tmp_path):
        stacked += "stack" in record
        mine, theirs = (
            read_predictions(folder / "out/runs" / record["cell"] / FILE)
            for folder in (tmp_path, done)
        )
        for name, table in mine.tables.items():
            other = theirs.tables[name]
            assert table.rows == other.rows and (table.index == other.index).all()
            assert np.abs(table.scores - other.scores).max() < 0.02  # one step of half precision
    assert stacked == 2
    (again := tmp_path / "again").mkdir()
    (again / "g.yaml").write_text(GRID)
    words = ("bench", str(again / "g.yaml"), f"--out={again / 'out'}", "--index=0")
    run(*words)
    (record,) = records_of(again)
    files = [folder / "out/runs" / record["cell"] / FILE for folder in (again, done)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_continued_run_keeps_the_same(done, tmp_path):
    """From its last checkpoint, as after a death between training and the record."""
    (tmp_path / "g.yaml").write_text(GRID)
    words = ("bench", str(tmp_path / "g.yaml"), f"--out={tmp_path / 'out'}", "--index=0")
    run(*words, "--keep_last")
    (record,) = records_of(tmp_path)
    file = tmp_path / "out/runs" / record["cell"] / FILE
    before = file.read_bytes()
    file.write_text("cut off")
    (tmp_path / "out/results.jsonl").write_text("")
    run(*words)
    assert file.read_bytes() == before


def test_a_grid_may_keep_none(tmp_path):
    grid = tmp_path / "g.yaml"
    grid.write_text(GRID)
    kept = read_grid(grid)
    grid.write_text(GRID + "keep_predictions: false\n")
    none = read_grid(grid)
    assert [c.key for c in kept] == [c.key for c in none]
    assert all(c.keep_predictions for c in kept) and not any(c.keep_predictions for c in none)
    cell = tmp_path / "out/runs" / none[0].key
    cell.mkdir(parents=True)
    (cell / FILE).write_text("of an earlier run")
    run("bench", str(grid), f"--out={tmp_path / 'out'}", "--index=0")
    assert not list((tmp_path / "out").rglob(FILE))
    grid.write_text(GRID + "keep_predictions: yes please\n")
    with pytest.raises(UserError, match="keep_predictions must be true or false"):
        read_grid(grid)
