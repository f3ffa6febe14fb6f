"""Predictions and published numbers of a grid beside its runs."""

import math

import numpy as np
import pytest
import yaml
from claims import decide, parse_claim
from page import Measured, kept_keys, parse_page, read_page, value
from page_text import farthest, how, rows, section, sheets, tally

from frbench.contracts.errors import UserError
from frbench.grids.grid import read_grid
from frbench.report import read

ENTRY = {
    "title": "Two arms",
    "metrics": {"P0": "test/P0/accuracy", "own": "test/{train_on}/accuracy"},
    "predictions": {
        "Q is better": "Q[P0] - ERM[P0] >= .1",
        "both are good": ["Q[P0] >= .9", "ERM[P0] >= .2"],
        "never run": "other[P0] >= 0",
    },
    "published": {"source": "Table 2", "Q": {"P0": [0.7, 0.01]}, "ERM": {"own": 0.9}},
    "reason": "Another network.",
}


@pytest.fixture
def runs(record, write):
    """ERM and Q on seeds 0 to 2; seed 2 of ERM failed."""
    records = []
    for seed in range(3):
        for method, accuracy in (("ERM", 0.5), ("Q", 0.75)):
            metrics = {
                f"test/{table}/accuracy": accuracy + 0.01 * seed * bonus
                for table, bonus in (("P0", 1), ("P", 2), ("Q", 3))
            }
            extra = {"training": {"train_on": "Q" if method == "Q" else "P"}}
            if (method, seed) == ("ERM", 2):
                extra |= {"status": "failed", "error": "killed"}
            records.append(record("d", method, seed=seed, metrics=metrics, **extra))
    return read([write(records)])[0]


@pytest.mark.parametrize(
    "expression",
    ["Q[P0]", "Q[P0] > .1", "Q P0 >= .1", "Q[P0] ERM[P0] >= .1", "Q[P0] >= x", "- Q[P0] >= 0",
     ".1 >= Q[P0] >= 0", "Q[P0] - >= 0", ">= .1", "0 <= Q[P0] <= nan"],
)  # fmt: skip
def test_what_is_no_claim_is_refused_with_the_form(expression: str) -> None:
    with pytest.raises(UserError, match=r"cannot read .* write \[DATA:\]METHOD\[METRIC\]"):
        parse_claim("it", expression, {})


def test_a_claim_is_the_paired_sum_over_the_units_that_all_terms_have() -> None:
    claim = parse_claim("", "-1 <= 0.5 * x:A+B-5[k] - A[m] + B[k] <= 2", {"m": "test/m"})
    rng = np.random.default_rng(0)
    columns = [dict(enumerate(rng.random(5).tolist(), start)) for start in range(3)]
    given = dict(zip(claim.terms, columns, strict=True))
    found = decide(claim, given.__getitem__)
    by_hand = [0.5 * columns[0][s] - columns[1][s] + columns[2][s] for s in (2, 3, 4)]
    assert [t.method for t in claim.terms] == ["A+B-5", "A", "B"]
    assert (claim.low, claim.high, claim.terms[1].key) == (-1, 2, "test/m")
    assert found.found.mean == pytest.approx(np.mean(by_hand)) and found.found.n == 3
    assert found.found.sd == pytest.approx(np.std(by_hand, ddof=1)) and found.hit is True
    assert decide(claim, lambda term: {}).hit is None


@pytest.mark.parametrize(("mean", "hit"), [(0.1, True), (0.0999, False), (0.3, True)])
def test_a_mean_at_the_bound_is_a_hit(mean: float, hit: bool) -> None:
    claim = parse_claim("", "A[k] >= .1", {})
    assert decide(claim, lambda term: {0: mean}).hit is hit


def test_predictions_published_numbers_and_rows_are_shown(runs) -> None:
    page = parse_page(ENTRY, "g.yaml")
    files = {name: f"{name}.csv" for name in ("predictions", "published")}
    text = section(page, runs, "configs/g.yaml", files)
    for line in (
        "#### Two arms",
        "frbench bench configs/g.yaml",
        "[Predictions](predictions.csv): 1 of 3 hit, 1 not run.",
        "- miss: both are good, `Q[P0] >= .9`: measured .760 ± .010 [.735, .785]",
        "- not run: never run, `other[P0] >= 0`",
        "[Published numbers](published.csv): Table 2; 2 compared, farthest .390 (ERM own).",
        "Another network.",
    ):
        assert line in text
    assert text.count("\n- ") == 2
    assert how(runs).startswith("6 runs, seeds 0 to 2, 6 min 0 s of computing, 1 failed")
    tables = {name: sheet.render("csv") for name, sheet in sheets(page, runs)}
    for line in (
        "Q is better,Q[P0] - ERM[P0] >= .1,0.25,0.0,0.25,0.25,2,hit",
        "both are good,Q[P0] >= .9,0.76,0.01,0.735159,0.784841,3,miss",
        "both are good,ERM[P0] >= .2,",
        "never run,other[P0] >= 0,,,,,0,not run",
    ):
        assert line in tables["predictions"]
    assert "d,Q,P0,0.76,0.01,0.7,0.01,0.06\n" in tables["published"]
    assert "d,ERM,own,0.51,0.0141421,0.9,,-0.39\n" in tables["published"]
    measured = Measured(parse_page(ENTRY, "g.yaml"), runs)
    assert tally(measured.outcomes()) == "1 of 3 hit, 1 not run"
    assert farthest(measured) == "2 compared, farthest .390 (ERM own)"
    (row,) = [row for row in rows(measured).records() if row["row"] == "Q"]
    assert row == {"data": "d", "row": "Q", "n": 3, "P0": 0.76, "P0 sd": 0.01,
                   "own": 0.78, "own sd": 0.03}  # fmt: skip


def test_a_method_shows_its_chosen_setting_or_each_of_them(grid, write) -> None:
    runs = [run for run in read([write(grid)])[0] if run.data == "adult"]
    entry = {"metrics": {"accuracy": "test/accuracy"}, "predictions": {"x": "ERM[accuracy] >= 0"}}
    chosen = Measured(parse_page(entry, "g"), runs)
    assert {run.settings["model.lr"] for run in chosen.rows["adult", "ERM"]} == {0.1}
    each = Measured(parse_page(entry | {"rows": "{method}@{model.lr}"}, "g"), runs)
    assert ("adult", "ERM@1.0") in each.rows and len(each.rows) == 2 * len(chosen.rows)


def test_a_range_and_the_own_distribution_are_metrics_too(runs) -> None:
    run = next(run for run in runs if run.method == "Q" and run.seed == 2)
    assert value(run, "test/{train_on}/accuracy") == run.metrics["test/Q/accuracy"]
    assert value(run, "range of test/P*/accuracy") == pytest.approx(0.02)
    assert math.isnan(value(run, "range of test/X*/accuracy")) and math.isnan(value(run, "none"))
    page = parse_page(
        {"metrics": {"r": "range of test/P*/accuracy"}, "keep": ["test/Q/*"]}, "g.yaml"
    )
    assert kept_keys(page, run) == set(run.metrics)
    assert kept_keys(parse_page({"metrics": {"a": "test/P/accuracy"}}, "g"), run) == {
        "test/P/accuracy"
    }


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ([1], "report must map names"),
        ({"titel": "x"}, "no 'titel'; did you mean title"),
        ({"predictions": {"x": "Q[P0] is high"}}, "cannot read"),
        ({"published": {"Q": {}}}, "must name its `source`"),
        ({"published": {"source": "T", "Q": {"P0": 1}}}, "no name of report.metrics"),
        ({"published": {"source": "T", "Q": {"m": "x"}}, "metrics": {"m": "k"}}, "give a mean"),
        ({"published": {"source": "T", "Q": 3}}, "published.Q must map names"),
        ({"select": "test/accuracy"}, "would choose settings on test data"),
    ],
)
def test_a_wrong_entry_is_refused(tmp_path, entry, message: str) -> None:
    path = tmp_path / "g.yaml"
    path.write_text(yaml.safe_dump({"data": {"d": {}}, "methods": {"m": {}}, "report": entry}))
    with pytest.raises(UserError, match=message):
        read_page(path)
    with pytest.raises(UserError, match="There is no grid file"):
        read_page(tmp_path / "none.yaml")


def test_the_entry_decides_no_run(tmp_path) -> None:
    path = tmp_path / "g.yaml"
    keys = []
    for extra in ({}, {"report": ENTRY}, {"report": {"any": ["thing"]}}):
        path.write_text(yaml.safe_dump({"data": {"d": {}}, "methods": {"m": {}}} | extra))
        keys.append([cell.key for cell in read_grid(path)])
    assert keys[0] == keys[1] == keys[2]
    path.write_text(yaml.safe_dump({"data": {"d": {}}, "methods": {"m": {}}, "report": [1]}))
    with pytest.raises(UserError, match="report must map names"):
        read_grid(path)
