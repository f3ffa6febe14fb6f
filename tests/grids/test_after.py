"""Methods of a grid that are fitted behind the runs of another."""

import json

import pytest
from command import run

from frbench.__main__ import main
from frbench.contracts.errors import UserError
from frbench.grids.grid import read_grid
from frbench.grids.queue import Queue
from frbench.report.records import Results

pytestmark = pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning")

GRID = """
base: {data.n: 300, data.n_eval: 300, trainer.max_epochs: 1, trainer.accelerator: cpu}
data: {digits: {data: Digits}}
methods:
  ERM: {model: ERM, grid: {model.lr: [0.01, 0.02]}}
  AFR: {after: ERM, postprocess: AFR, grid: {postprocess.gamma: [0, 4]}}
  TO: {after: AFR, postprocess: ThresholdOptimizer, share: 1}
seeds: [3]
"""


def read(tmp_path, text=GRID):
    (tmp_path / "g.yaml").write_text(text)
    return read_grid(tmp_path / "g.yaml")


def test_each_run_is_followed_by_its_points(tmp_path):
    cells = read(tmp_path)
    assert [c.index for c in cells] == list(range(2 + 4 + 4))
    assert [(c.method, c.settings) for c in cells[2:6]] == [
        ("AFR", {"model.lr": lr, "postprocess.gamma": gamma})
        for lr in (0.01, 0.02)
        for gamma in (0, 4)
    ]
    assert cells[4].parent.key == cells[1].key and cells[8].root.key == cells[1].key
    assert cells[2].options == {"postprocess": "AFR", "postprocess.gamma": 0}
    assert len({c.key for c in cells}) == 10
    # What changes the run changes what follows it, and its own words go to it alone.
    other = cells[2].with_words(("--trainer.max_epochs=2",))
    assert other.key != cells[2].key and other.extra == ()
    assert other.parent.key == cells[0].with_words(("--trainer.max_epochs=2",)).key


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("{after: DRO, postprocess: AFR}", "after names 'DRO'; the methods above it are: ERM"),
        ("{after: ERM}", "needs `postprocess`"),
        ("{after: ERM, postprocess: AFR, model.lr: 1}", "model.lr belongs to a run that trains"),
        ("{after: ERM, postprocess: AFR, grid: {model.lr: [1]}}", "model.lr belongs to"),
    ],
)
def test_what_cannot_follow_is_said(tmp_path, entry, words):
    text = "data: {d: {data: Digits}}\nmethods:\n  ERM: {model: ERM}\n  X: " + entry
    with pytest.raises(UserError, match=words):
        read(tmp_path, text)


def test_wrong_options_are_said_before_the_first_run(in_tmp, capsys):
    for entry, words in [("postprocess: AFR, postprocess.gama: 1", "gama"),
                         ("postprocess: AFR, share: 2", "share"),
                         ("postprocess: Nothing", "Nothing")]:  # fmt: skip
        (in_tmp / "g.yaml").write_text(
            "data: {d: {data: Digits}}\nmethods:\n  ERM: {model: ERM}\n"
            f"  X: {{after: ERM, {entry}}}\n"
        )
        assert main(["bench", "g.yaml", "--out=o"]) == 2
        assert words in capsys.readouterr().err


def test_a_cell_waits_for_the_one_it_starts_from(tmp_path, monkeypatch):
    cells = read(tmp_path)
    (tmp_path / "results.jsonl").touch()
    results = Results(tmp_path / "results.jsonl")
    order = [cells[8], cells[4], cells[1]]  # the last first
    queue = Queue(order, tmp_path, results)
    slept = []
    monkeypatch.setattr("frbench.grids.queue.time.sleep", slept.append)
    done = []
    for cell in queue:
        done.append(cell)
        results.append({"cell": cell.key, "status": "ok"})
    assert done == [cells[1], cells[4], cells[8]] and len(slept) == 2
    # One that failed keeps nobody waiting.
    other = Results(tmp_path / "other.jsonl")
    seen = []
    for cell in Queue([cells[1], cells[4]], tmp_path, other):
        seen.append(cell)
        other.append({"cell": cell.key, "status": "failed", "error": "x"})
    assert seen == [cells[1], cells[4]]


def test_a_grid_trains_once_and_fits_the_rest(in_tmp):
    one = GRID.replace("grid: {model.lr: [0.01, 0.02]}", "model.lr: 0.01")
    (in_tmp / "g.yaml").write_text(one)
    run("bench", "g.yaml", "--out", "out")
    records = list(Results(in_tmp / "out/results.jsonl").latest().values())
    assert [r["method"] for r in records] == ["ERM", "AFR", "AFR", "TO", "TO"]
    assert all(r["status"] == "ok" for r in records), records
    erm, none, afr, *_ = records
    assert none["settings"] == {"postprocess.gamma": 0} and none["after"] == erm["cell"]
    assert afr["postprocess"]["fitted_on"]["rows"] == 150
    assert afr["groups"] == erm["groups"] and afr["seconds"] < 30
    assert records[3]["postprocess"]["fitted_on"]["share"] == 1
    assert "reads the attribute" in records[3]["attribute_use"]
    assert len(list((in_tmp / "out/runs").glob("*/metrics.csv"))) == 1  # one training
    before = (in_tmp / "out/results.jsonl").read_text()
    run("bench", "g.yaml", "--out", "out")
    assert (in_tmp / "out/results.jsonl").read_text() == before
    run("report", "out", "--out", "table.json")
    assert {row["method"] for row in json.loads((in_tmp / "table.json").read_text())["rows"]} == {
        "ERM", "AFR", "TO"
    }  # fmt: skip


def test_a_shard_holds_whole_families(tmp_path):
    from frbench.commands.bench import _choose

    cells = read(tmp_path)
    shards = [_choose(cells, f"{i}/2", None) for i in (0, 1)]
    assert sorted(c.index for shard in shards for c in shard) == list(range(10))
    for shard in shards:
        keys = {c.key for c in shard}
        assert all(c.parent is None or c.parent.key in keys for c in shard)
