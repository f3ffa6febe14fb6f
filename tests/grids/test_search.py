"""The search over trials, with runs that compute a formula in place of training."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from frbench.__main__ import main
from frbench.grids import executors
from frbench.grids.grid import read_grid
from frbench.grids.queue import Queue, claimed
from frbench.grids.search import Search
from frbench.grids.study import read_study
from frbench.grids.where import limited
from frbench.report.records import TRIALS, Results
from frbench.support.stops import Stop, listening

optuna = pytest.importorskip("optuna", reason="pip install 'frbench[tune]'")

STUDY = """
data: {digits: {data: Digits}}
methods: {ERM: {model: ERM}}
search:
  trials: 12
  objectives: [val/accuracy]
  space:
    model.lr: {log_uniform: [0.001, 0.1]}
    model.weight_decay: {uniform: [0, 1]}
    data.batch_size: {int_uniform: [16, 64]}
    model.network.hidden: {choice: [[8], [16, 16]]}
"""


def formula(cell, folder, results, watchers=()) -> dict:
    """Accuracy is best at a rate of .03 and no weight decay; parity grows with accuracy."""
    if Path("stop").exists() and cell.settings["data.batch_size"] > int(Path("stop").read_text()):
        raise KeyboardInterrupt
    rate, decay = (cell.settings.get(k, 0.1) for k in ("model.lr", "model.weight_decay"))
    accuracy = 1 - abs(rate - 0.03) * 5 - decay / 2 - cell.seed / 1000
    metrics = {
        "val/accuracy": accuracy,
        "val/demographic_parity_difference": max(accuracy, 0),
        "val/worst_class_accuracy": accuracy / 2 if accuracy < 0.99 else None,
        "test/accuracy": accuracy - 0.1,
    }
    status = "failed" if Path("fail").exists() else "ok"
    return {"cell": cell.key, "data": cell.data, "method": cell.method, "seed": cell.seed,
            "settings": cell.settings, "fold": cell.fold, "status": status, "seconds": 0.1,
            "metrics": metrics, "data_files": {}, "error": "broken"}  # fmt: skip


@pytest.fixture
def formula_runs(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "run_cell", formula)
    monkeypatch.setattr("frbench.commands.tune.wrong_cells", lambda cells: [])


def search(text: str = STUDY, out: str = "out") -> Search:
    Path("study.yaml").write_text(text)
    Path(out).mkdir(exist_ok=True)
    file = Path(out) / TRIALS
    size = file.stat().st_size if file.exists() else 0
    return Search(read_study(Path("study.yaml")), Path(out), Results(file, size))


def run(text: str = STUDY, out: str = "out") -> Search:
    made = search(text, out)
    executors.in_process(made, lambda *_: None)
    return made


def records(out: str = "out", name: str = TRIALS) -> list[dict]:
    return [json.loads(line) for line in (Path(out) / name).read_text().splitlines()]


def settings(out: str = "out") -> list[dict]:
    return [record["settings"] for record in records(out)]


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_the_same_seed_and_one_worker_give_the_same_trials(formula_runs, sampler: str) -> None:
    text = STUDY.replace("trials: 12", f"trials: 12\n  sampler: {sampler}")
    for out in ("a", "b"):
        assert run(text, out).done() == 12
    run(text.replace("sampler:", "seed: 1\n  sampler:"), "c")
    assert settings("a") == settings("b") != settings("c")
    assert len({str(s) for s in settings("a")}) == 12


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_search_that_was_interrupted_goes_on_as_it_would_have_done(
    formula_runs, sampler: str
) -> None:
    text = STUDY.replace("trials: 12", f"trials: 12\n  sampler: {sampler}")
    run(text, "whole")
    stops = 0
    Path("stop").write_text("40")
    for bound in ("40", "50", "60", "99"):
        Path("stop").write_text(bound)
        try:
            run(text, "parts")
        except KeyboardInterrupt:
            stops += 1
    assert stops >= 2
    assert settings("parts") == settings("whole")


def test_more_trials_continue_and_an_edited_study_begins_anew(formula_runs) -> None:
    run()
    first = settings()
    assert run().done() == 12 and settings() == first
    assert run(STUDY.replace("trials: 12", "trials: 15")).done() == 15
    assert settings()[:12] == first and len(settings()) == 15
    edited = run(STUDY.replace("objectives:", "constraints: [val/accuracy >= 0]\n  objectives:"))
    assert edited.done() == 12


def test_every_point_of_a_grid_is_tried_once(formula_runs) -> None:
    text = STUDY.replace("trials: 12", "sampler: grid").replace("log_uniform: [0.001, 0.1]",
        "choice: [0.03, 0.01]").replace("uniform: [0, 1]", "choice: [0, 0.5]").replace(
        "int_uniform: [16, 64]", "int_uniform: [16, 18]")  # fmt: skip
    assert run(text).done() == 24
    assert len({str(s) for s in settings()}) == 24
    assert run(text).done() == 24 and len(settings()) == 24


def test_tune_writes_the_best_and_a_grid_with_new_seeds(formula_runs, capsys) -> None:
    Path("study.yaml").write_text(STUDY + "seeds: [0, 1]\n")
    assert main(["tune", "study.yaml", "--out=out"]) == 0
    out = capsys.readouterr().out
    (best,) = yaml.safe_load(Path("out/best.yaml").read_text())
    tried = records()
    assert len(tried) == 24
    means: dict[str, float] = {}
    for record in tried:
        means[str(record["settings"])] = (
            means.get(str(record["settings"]), 0) + record["metrics"]["val/accuracy"] / 2
        )
    assert best["objectives"]["val/accuracy"] == pytest.approx(max(means.values()))
    assert means[str(best["settings"])] == max(means.values())
    assert {r["cell"] for r in tried if r["settings"] == best["settings"]} == {*best["runs"]}
    assert "frbench bench out/confirm.yaml --out out/confirm" in out
    # Nothing of the search is reported; the confirmation is.
    assert main(["report", "out"]) == 2
    assert "holds a search and no results yet" in capsys.readouterr().err
    assert main(["report", f"out/{TRIALS}"]) == 2
    assert "its numbers chose the settings" in capsys.readouterr().err
    bench = ["bench", "out/confirm.yaml", "--out", "out/confirm"]
    assert main([*bench, "--list"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split("seed=")[1][0] for line in listed] == list("23456")
    assert all(str(best["settings"]) in line for line in listed)
    assert not {r["cell"] for r in tried} & {line.split()[1] for line in listed}
    grid = Path("out/confirm.yaml")
    Path("out/confirm").mkdir()
    done = Results(Path("out/confirm/results.jsonl"))
    executors.in_process(Queue(read_grid(grid), Path("out/confirm"), done), lambda *_: None)
    words = ["--metrics", "accuracy", "--select", "val/accuracy", "--out", "table.json"]
    assert main(["report", "out", *words]) == 0
    (row,) = json.loads(Path("table.json").read_text())["rows"]
    confirmed = [r["metrics"]["test/accuracy"] for r in records("out/confirm", "results.jsonl")]
    assert len(confirmed) == 5 and row["seeds"] == [2, 3, 4, 5, 6]
    assert row["metrics"]["test/accuracy"]["mean"] == pytest.approx(sum(confirmed) / 5)
    assert not {r["cell"] for r in tried} & {*row["cells"]}


def test_folds_are_drawn_anew_for_the_confirmation(formula_runs) -> None:
    Path("study.yaml").write_text(STUDY + "folds: [0, 1]\n")
    assert main(["tune", "study.yaml", "--out=out"]) == 0
    grid = yaml.safe_load(Path("out/confirm.yaml").read_text())
    assert grid["folds"] == [0, 1] and grid["seeds"] == [1, 2, 3, 4, 5]
    assert grid["methods"]["ERM"]["data.seed"] == 1


TWO = STUDY.replace("[val/accuracy]", "[val/accuracy, val/demographic_parity_difference]")


def test_a_constraint_keeps_the_constant_classifier_off_the_front(formula_runs) -> None:
    """The worst trial has the least parity difference; it is on the front unless ruled out."""
    (free,) = run(TWO, "free").askers
    front = [trial.values for trial in free.best()]
    assert len(front) > 1
    limit = "constraints: [val/accuracy >= 0.6]\n  objectives:"
    (kept,) = run(TWO.replace("objectives:", limit), "kept").askers
    assert any(accuracy < 0.6 for accuracy, _ in front)
    chosen = [trial.values for trial in kept.best()]
    assert chosen and all(accuracy >= 0.6 for accuracy, _ in chosen)


def test_each_trial_of_a_front_is_confirmed(formula_runs) -> None:
    Path("study.yaml").write_text(TWO)
    assert main(["tune", "study.yaml", "--out=out"]) == 0
    best = yaml.safe_load(Path("out/best.yaml").read_text())
    methods = yaml.safe_load(Path("out/confirm.yaml").read_text())["methods"]
    assert list(methods) == [f"ERM (trial {one['trial']})" for one in best] and len(best) > 1


def test_trials_that_fail_are_not_chosen_and_not_endless(formula_runs, capsys) -> None:
    Path("fail").touch()
    Path("study.yaml").write_text(STUDY)
    assert main(["tune", "study.yaml", "--out=out"]) == 1
    assert "no trial has finished" in capsys.readouterr().out
    assert len(settings()) == 12 and not Path("out/confirm.yaml").exists()


def test_one_search_at_a_time_writes_a_journal(formula_runs, capsys) -> None:
    Path("study.yaml").write_text(STUDY)
    with claimed(Path("out")):
        assert main(["tune", "study.yaml", "--out=out"]) == 2
    assert "another search writes to out" in capsys.readouterr().err


def test_a_database_that_is_not_there_is_one_line(formula_runs, capsys) -> None:
    Path("study.yaml").write_text(
        STUDY.replace("trials: 12", "storage: 'sqlite:////no/such/folder/x.db'")
    )
    assert main(["tune", "study.yaml", "--out=out"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "cannot open sqlite://" in said and "no/such" not in said


def test_without_optuna_one_line_says_what_to_install(formula_runs, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    Path("study.yaml").write_text(STUDY)
    assert main(["tune", "study.yaml", "--out=out"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "pip install 'frbench[tune]'" in said


def test_time_that_is_over_ends_what_runs() -> None:
    with listening(), pytest.raises(Stop) as stopped, limited(1e-6):
        time.sleep(30)
    assert stopped.value.status == 143
    with listening(), limited(1e-5):
        pass  # and not what comes after it


# ---- processes ----------------------------------------------------------------------------------
SLOW = """
import time
from pathlib import Path
from frbench.objectives import ERM

class Slow(ERM):
    def risk(self, out, batch):
        if self.training and not Path("slow").exists():
            with open("steps.txt", "a") as file:
                file.write(f"{self.lr}\\n")
        time.sleep(0.1 * Path("slow").exists())
        return super().risk(out, batch)
"""


@pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning")
@pytest.mark.slow
def test_two_processes_stop_at_a_checkpoint_go_on_and_prune(in_tmp: Path) -> None:
    Path("slow_method.py").write_text(SLOW)
    Path("study.yaml").write_text(
        "base: {trainer.accelerator: cpu, data.n: 300, data.n_eval: 200,"
        " rolling.every_n_steps: 1, trainer.max_epochs: 6}\ndata: {digits: {data: Digits}}\n"
        "methods: {S: {model: slow_method.Slow}}\n"
        "search: {sampler: grid, objectives: [val/accuracy], prune: {startup: 2, warmup: 0},\n"
        "         space: {model.lr: {choice: [0.1, 0.01, 1.0e-12, 1.0e-13]}}}\n"
    )
    Path("slow").touch()
    command = [sys.executable, "-m", "frbench", "tune", "study.yaml", "--out=out", "--jobs=2"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    deadline = time.monotonic() + 400
    while len(begun := [*Path("out").glob("runs/*/checkpoints/last.ckpt")]) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=240)[0]
    assert process.returncode == 143 and "the same command continues (0 trials done)" in said
    assert not Path("out", TRIALS).exists() and len(begun) == 2
    Path("slow").unlink()
    assert main(["tune", "study.yaml", "--out=out"]) == 0
    found = {record["settings"]["model.lr"]: record for record in records()}
    assert len(records()) == 4
    assert [found[lr]["status"] for lr in (0.1, 0.01, 1e-12, 1e-13)] == ["ok", "ok"] + 2 * [
        "pruned"
    ]
    assert found[0.1]["steps"] == found[0.01]["steps"]
    assert "val/accuracy is" in found[1e-12]["error"]
    again = Path("steps.txt").read_text().split()
    # The one that began first may have been trained to its end when it was told to stop.
    assert all(again.count(lr) < found[0.1]["steps"] for lr in ("0.1", "0.01"))
