"""``--metrics``: the user's own metrics in fit, test, grids and reports of grids."""

import json
import sys
from pathlib import Path

import pytest
import torch
import yaml
from command import evaluate, fit, rows

from frbench.__main__ import main
from frbench.contracts.checkpoint_format import read_section
from frbench.contracts.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning")

MINE, PLAIN = "own_metrics.error_rate", "own_metrics.plain_error_rate"


def values(path: str) -> dict[str, float]:
    return json.loads(Path(path).read_text())["metrics"]


def test_a_metric_chooses_the_checkpoint_and_is_remembered(in_tmp: Path) -> None:
    fit("--run_dir=run", f"--metrics+={MINE}", "--checkpoint.monitor=val/error_rate",
        "--early_stopping.monitor=val/error_rate", "--early_stopping.patience=5",
        "--trainer.max_epochs=3", "--model.lr=0.03")  # fmt: skip
    found = [row for row in rows(Path("run/metrics.csv")) if row["val/error_rate"]]
    column = [float(row["val/error_rate"]) for row in found]
    assert column == pytest.approx([1 - float(row["val/accuracy"]) for row in found], abs=1e-6)
    best = Path("run/checkpoints/best.ckpt")
    state = torch.load(best, weights_only=True)
    # Equal values are decided by balanced accuracy and loss: any of the least ones.
    least = {int(row["step"]) for row, value in zip(found, column, strict=True)
             if value == min(column)}  # fmt: skip
    assert state["global_step"] in least
    assert read_section(state)["metrics"] == [MINE]
    assert yaml.safe_load(Path("run/config.yaml").read_text())["metrics"] == [MINE]

    evaluate("test", best, f"--metrics+={PLAIN}", "--trust=own_metrics")
    metrics = values("run/test.json")
    assert metrics["test/P/error_rate"] == metrics["test/P/plain_error_rate"]
    assert metrics["test/P/error_rate"] == pytest.approx(1 - metrics["test/P/accuracy"])
    evaluate("test", best, "--metrics=[]")  # needs no word of trust
    assert metrics.keys() - values("run/test-2.json").keys() == {
        key for key in metrics if key.endswith("error_rate")
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--metrics+=nowhere.mine"], "metrics: cannot import 'nowhere.mine'"),
        (["--checkpoint.monitor=val/error_rate"], "checkpoint.monitor: Unknown metric"),
        ([f"--metrics+={PLAIN}", "--checkpoint.monitor=val/plain_error_rate"],
         "does not say which direction is better"),
        (["--metrics+=own_metrics.never", "--checkpoint.monitor=val/never",
          "--checkpoint.mode=max"], "never has no value on val"),
    ],
)  # fmt: skip
def test_wrong_metrics_are_refused_in_one_line(in_tmp: Path, capsys, words, message) -> None:
    with pytest.raises(AssertionError):
        fit("--run_dir=run", *words)
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("frbench: error: ") and message in error
    assert not Path("run/checkpoints").exists()


GRID = """
metrics: [{metrics}]
base: {{trainer.max_epochs: 1, trainer.accelerator: cpu, data.n: 300, data.n_eval: 200}}
data: {{digits: {{data: Digits}}}}
methods: {{ERM: {{model: ERM}}, DRO: {{model: GroupDRO}}}}
"""


def test_a_grid_records_metrics_and_directions_for_reports(in_tmp: Path, capsys, monkeypatch):
    Path("grid.yaml").write_text(GRID.format(metrics=f"{MINE}, {PLAIN}"))
    assert main(["bench", "grid.yaml", "--out=out"]) == 0
    records = [json.loads(line) for line in Path("out/results.jsonl").read_text().splitlines()]
    for record in records:
        assert record["directions"] == {"error_rate": -1, "plain_error_rate": 0}
        assert {"val/error_rate", "test/P/error_rate"} <= record["metrics"].keys()
    capsys.readouterr()
    monkeypatch.setitem(sys.modules, "own_metrics", None)  # a report imports nothing
    words = ["--select=val/error_rate", "--metrics", "error_rate", "--format=json"]
    assert main(["report", "out", *words]) == 0
    assert "test/P" in capsys.readouterr().out
    assert main(["report", "out", "--html=page.html", "--y=error_rate"]) == 0
    page = Path("page.html").read_text()
    first = page[page.index("error rate against worst group accuracy") :]
    label = first[first.index(">error rate</text>") : first.index("</figure>")]
    assert "(lower is better)" in label
    capsys.readouterr()
    assert main(["report", "out", "--select=val/plain_error_rate"]) == 2
    assert "no better direction" in capsys.readouterr().err


def test_a_grid_wants_a_list_of_paths(in_tmp: Path) -> None:
    from frbench.grids.grid import read_grid

    Path("grid.yaml").write_text("metrics: mine\ndata: {d: {}}\nmethods: {m: {}}\n")
    with pytest.raises(UserError, match="metrics must be a list of import paths"):
        read_grid("grid.yaml")
