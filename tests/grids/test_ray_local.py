"""Grids and searches on a Ray that the command itself starts on this machine."""

import json
from pathlib import Path

import pytest
import yaml

from frbench.__main__ import main
from frbench.support.cores import CORES

ray = pytest.importorskip("ray", reason="pip install 'frbench[ray]'")

pytestmark = [
    pytest.mark.filterwarnings("ignore"), pytest.mark.slow, pytest.mark.xdist_group("ray"),
]  # fmt: skip

DATA = """
base: {data.n: 300, data.n_eval: 200, trainer.max_epochs: 2, trainer.accelerator: cpu}
data: {digits: {data: Digits}}
"""
#: What two runs of the same cell may differ in.
FREE = {"seconds", "peak_memory_mb", "finished", "node", "attempts"}


@pytest.fixture(autouse=True)
def one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv(CORES, "1")
    monkeypatch.setenv("RAY_agent_register_timeout_ms", "100000")


def on_ray(words: list[str], capsys: pytest.CaptureFixture) -> None:
    status = main([*words, "--on=ray:local"])
    said = capsys.readouterr().err
    if "timed out during startup" in said:
        pytest.skip("this machine does not start a node of Ray within the 15 s that Ray allows")
    assert status == 0, said
    assert not ray.is_initialized()


def records(file: str) -> list[dict]:
    return [json.loads(line) for line in Path(file).read_text().splitlines()]


def assert_equal(alone: list[dict], there: list[dict]) -> None:
    """In the order of the runs, too: there is one worker."""
    assert [r["cell"] for r in alone] == [r["cell"] for r in there]
    for one, other in zip(alone, there, strict=True):
        assert one.keys() | {"node", "attempts"} == other.keys()
        assert other["node"].startswith("127.0.0.") and other["attempts"] == 1
        for name in one.keys() - FREE:
            assert one[name] == other[name], name


def test_postprocessors_run_behind_the_runs_that_they_start_from(in_tmp: Path, capsys) -> None:
    Path("base.yaml").write_text("model: {lr: 0.02}\n")
    Path("grid.yaml").write_text(
        "configs: [base.yaml]\n" + DATA + "methods:\n"
        "  ERM: {model: ERM}\n"
        "  AFR: {after: ERM, postprocess: AFR, grid: {postprocess.gamma: [0, 4]}}\n"
        "  TO: {after: AFR, postprocess: ThresholdOptimizer, share: 1}\n"
    )
    assert main(["bench", "grid.yaml", "--out=alone"]) == 0
    on_ray(["bench", "grid.yaml", "--out=there"], capsys)
    alone, there = (
        sorted(records(f"{out}/results.jsonl"), key=lambda record: record["cell"])
        for out in ("alone", "there")
    )
    assert sorted(r["method"] for r in there) == ["AFR", "AFR", "ERM", "TO", "TO"]
    assert_equal(alone, there)


def test_a_search_has_the_trials_that_it_has_without_ray(in_tmp: Path, capsys) -> None:
    """Each trial knows of those before it: pruning depends on them."""
    Path("study.yaml").write_text(
        DATA.replace("max_epochs: 2", "max_epochs: 6") + "methods: {ERM: {model: ERM}}\n"
        "search: {sampler: grid, objectives: [val/accuracy], prune: {startup: 2, warmup: 0},\n"
        "         space: {model.lr: {choice: [0.1, 0.01, 1.0e-12]}}}\n"
    )
    assert main(["tune", "study.yaml", "--out=alone"]) == 0
    on_ray(["tune", "study.yaml", "--out=there"], capsys)
    alone, there = (records(f"{out}/trials.jsonl") for out in ("alone", "there"))
    assert [r["settings"]["model.lr"] for r in there if r["status"] == "pruned"] == [1e-12]
    assert_equal(alone, there)
    best, same = (yaml.safe_load(Path(f"{o}/best.yaml").read_text()) for o in ("alone", "there"))
    assert best == same and Path("there/confirm.yaml").exists()
