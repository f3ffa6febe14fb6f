"""The evaluation of max entropy: its records against a loop, its tables, and that it resumes."""

import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest
from paths import ROOT
from scipy import stats
from sklearn.tree import DecisionTreeClassifier

from frbench.grids.grid import read_grid

GRIDS = sorted((ROOT / "configs" / "papers" / "max-entropy").glob("*.yaml"))

GRID = """
base:
  model: ERM
  model.network.hidden: [4]
  model.lr: 0.01
  trainer.max_steps: 3
  data: TableData
  data.path: people.csv
  data.target: hired
  data.attribute: sex
  data.split: folds
  data.folds: 3
  data.batch_size: 64
data:
  people: {}
methods:
  raw: {}
  weights: {data.augment: [Reweigh], data.via: weight}
  max-entropy: {data.augment: [MaxEntropy]}
folds: [0, 1]
seeds: [10]
"""


@pytest.fixture(scope="module")
def study():
    path = ROOT / "studies" / "max_entropy_study.py"
    spec = importlib.util.spec_from_file_location("max_entropy_study", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def grid(in_tmp: Path) -> Path:
    rng = np.random.default_rng(0)
    sex, skill = rng.integers(0, 2, 600), rng.integers(0, 5, 600)
    hired = rng.random(600) < 0.2 + 0.3 * sex + 0.08 * skill
    rows = [f"{int(h)},{s},{k}" for h, s, k in zip(hired, sex, skill, strict=True)]
    Path("people.csv").write_text("\n".join(["hired,sex,skill", *rows]))
    Path("released.yaml").write_text(GRID)
    return Path("released.yaml")


def test_records_are_those_of_a_loop(study, grid) -> None:
    cell = next(c for c in read_grid(grid) if c.method == "weights")
    with pytest.warns(UserWarning, match="have no `val_dataloader`"):
        by_name = {r["classifier"]: r for r in study.evaluate(cell, ["tree", "MLP"], None)}
    record, data = by_name["tree"], study.build(cell, None)
    train, test = data.training.table, data.splits["test"]
    model = DecisionTreeClassifier(random_state=0)
    model.fit(data.encode(train.x), train.y, data.training.weight)
    p = model.predict_proba(data.encode(test.x))
    correct, mean, share = 0, [], []
    for i, y in enumerate(test.y):
        correct += (p[i, 1] > 0.5) == y
    for z in (0, 1):
        rows = [i for i in range(len(test)) if test.z[i] == z]
        mean.append(sum(p[i, 1] for i in rows) / len(rows))
        share.append(sum(p[i, 1] > 0.5 for i in rows) / len(rows))
    assert record["accuracy"] == pytest.approx(correct / len(test))
    assert record["sr"] == pytest.approx(min(mean) / max(mean))
    assert record["hard_sr"] == pytest.approx(min(share) / max(share))
    assert record["data_rr"] == pytest.approx(1) and record["data_sr"] == pytest.approx(1)
    assert record["rows"] == len(train) and record["method"] == "weights"
    assert record["ratio"] == pytest.approx(len(test) / len(data.splits["train"]))
    assert 0.4 < by_name["MLP"]["accuracy"] < 1 and 0 < by_name["MLP"]["sr"] <= 1


def test_a_grid_is_run_once_and_printed(study, grid, capsys) -> None:
    study.main([str(grid), "--out", "out"])
    text = capsys.readouterr().out
    lines = (Path("out") / "released.jsonl").read_text().splitlines()
    assert len(lines) == 6
    assert "### people (n = 2 folds)" in text and "max-entropy C=.5 w_w" in text
    study.main([str(grid), "--out", "out", "--plot", "plot.png"])
    assert Path("plot.png").read_bytes().startswith(b"\x89PNG")
    assert (Path("out") / "released.jsonl").read_text().splitlines() == lines
    assert capsys.readouterr().out.endswith(text[text.index("### people") :])
    # The paired difference of the tree, as printed, is that of the records.
    accuracy = {}
    for line in lines:
        for r in json.loads(line)["records"]:
            if r["classifier"] == "tree":
                accuracy.setdefault(r["method"], {})[r["fold"]] = r["accuracy"]
    gap = np.mean([accuracy["raw"][f] - accuracy["weights"][f] for f in (0, 1)])
    paired = text[text.index("Paired differences") :]
    row = next(line for line in paired.splitlines() if line.startswith("| raw"))
    assert float(row.split("|")[2].split("±")[0]) == pytest.approx(gap, abs=6e-4)


def test_interval_is_the_corrected_one(study) -> None:
    values, ratio = [0.1, 0.3, 0.2, 0.5], 0.25
    mean = sum(values) / 4
    variance = sum((v - mean) ** 2 for v in values) / 3
    half = stats.t.ppf(0.975, 3) * math.sqrt(variance * (1 / 4 + ratio))
    assert study.interval(values, ratio) == pytest.approx((mean, half))
    assert math.isnan(study.interval([0.5], ratio)[1])


def test_verdicts(study) -> None:
    up, down, flat = [0.1, 0.11, 0.12, 0.1], [-0.1, -0.11, -0.12, -0.1], [0.1, -0.1, 0.1, -0.1]
    for accuracy, sr, word in (
        (up, flat, "gain"), (flat, up, "gain"), (up, up, "gain"), (up, down, "trade"),
        (flat, down, "loss"), (down, flat, "loss"), (down, up, "trade"), (flat, flat, "none"),
    ):  # fmt: skip
        assert study.verdict(accuracy, sr, 0.25) == word


def test_every_row_of_the_committed_grids_has_its_own_name(study) -> None:
    assert len(GRIDS) == 4
    for path in GRIDS:
        cells = read_grid(path)
        names = {(c.data, study.name_of(c), c.fold) for c in cells}
        assert len(names) == len(cells)
        names = {study.name_of(c) for c in cells}
        assert any(name.startswith(study.REFERENCE) for name in names)
        if path.stem == "released":
            assert names >= study.MLP_SETTINGS
            assert {c.options["data.seed"] for c in cells} == {11}
