"""What a person needs who shows an audit to others: verdicts, calibration, a page, clear words."""

import csv
import io
import json

import numpy as np
import pandas as pd
import pytest

from frbench.commands.audit import main
from frbench.contracts.errors import UserError


@pytest.fixture(scope="module")
def equal(tmp_path_factory):
    """Two equal groups, of which b has scores that are .15 too high."""
    n = 20_000
    y, z = np.tile([0, 1], n // 2), np.repeat(["a", "b"], n // 2)
    rng = np.random.default_rng(0)
    p = np.where(np.arange(n) // 2 % 5, y, 1 - y)
    score = np.where(rng.random(n) < 0.8, 0.2 + 0.6 * y, 0.8 - 0.6 * y) + 0.15 * (z == "b")
    frame = pd.DataFrame({"y": y, "p": p, "z": z, "score": score.round(3)})
    path = tmp_path_factory.mktemp("court") / "equal.csv"
    frame.replace({"y": {0: "no", 1: "yes"}, "p": {0: "no", 1: "yes"}}).to_csv(path, index=False)
    return path


def run(capsys, *argv):
    assert main([str(a) for a in argv]) == 0
    return capsys.readouterr()


def columns(path):
    return [path, "--y", "y", "--pred", "p", "--z", "z", "--resamples", 10]


@pytest.mark.parametrize("form", ["table", "markdown", "json", "csv"])
def test_a_bound_that_is_met_has_a_verdict_in_every_form(equal, capsys, form):
    text = run(capsys, *columns(equal), "--tolerance", 0.05, "--format", form).out
    if form == "json":
        tests = json.loads(text)["attributes"]["z"]["gap_tests"]
        assert {t["verdict"] for t in tests} == {"within"} and len(tests) == 5
    elif form == "csv":
        rows = [r for r in csv.DictReader(io.StringIO(text)) if r["metric"].startswith("gap/")]
        assert [r["verdict"] for r in rows] == ["within"] * 5
        assert all(float(r["low"]) <= float(r["value"]) <= float(r["high"]) for r in rows)
    else:
        assert "0 above, 0 undecided, 5 within" in text and "undecided from" not in text
        assert "<0.001" in text


def test_the_csv_holds_the_plan(equal, capsys):
    text = run(capsys, *columns(equal), "--plan", 0.1, "--tolerance", 0.05, "--format", "csv").out
    rows = {r["metric"]: r["value"] for r in csv.DictReader(io.StringIO(text))}
    assert int(rows["rows_needed/false_positive_rate"]) > 500
    assert int(rows["rows_needed_within/false_positive_rate"]) > 500


def test_calibration_is_by_group(equal, capsys):
    found = json.loads(
        run(capsys, *columns(equal), "--score", "score", "--format", "json").out
    )["attributes"]["z"]["calibration"]  # fmt: skip
    low, high = found["b"]["observed_interval"]
    assert low < found["b"]["observed"] == 0.5 < high < found["b"]["score"]
    assert found["b"]["score"] == pytest.approx(0.65, abs=0.02)
    assert found["b"]["error"] > 0.1 > found["a"]["error"] and found["a"]["by_chance"] < 0.02
    low, high = found["a"]["brier_interval"]
    assert low < found["a"]["brier"] < high < found["b"]["brier"]
    text = run(capsys, *columns(equal), "--score", "score").out
    assert "z: calibration by value, of yes" in text and "calibration error" in text


def test_the_gap_names_its_groups_and_the_favourable_class_is_said(equal, capsys):
    text = run(capsys, *columns(equal)).out
    assert "equalized_odds_difference" in text and " : " in text.split("four-fifths")[0]
    assert "favourable outcome is taken to be yes; --positive changes it" in text


def test_a_third_decision_is_refused_with_its_rows(equal, tmp_path):
    frame = pd.read_csv(equal)
    frame.loc[:3, "p"] = "maybe"
    frame.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(UserError, match=r"'p' holds 'maybe' in 4 rows.*drop .*--positive"):
        main([str(a) for a in columns(tmp_path / "t.csv")])
    assert main([str(a) for a in columns(tmp_path / "t.csv")] + ["--positive", "yes"]) == 0


def test_a_rare_third_label_is_said(equal, tmp_path, capsys):
    frame = pd.read_csv(equal)
    frame.loc[:3, "y"] = "maybe"
    frame.to_csv(tmp_path / "t.csv", index=False)
    said = run(capsys, *columns(tmp_path / "t.csv")).err
    assert "3 classes" in said and "'maybe', is in 4 rows of 'y' and 0 rows of 'p'" in said


def test_an_inverted_score_is_said(equal, capsys):
    args = [*columns(equal), "--score", "score"]
    assert "below 0.5" not in run(capsys, *args).err
    assert "below 0.5" in run(capsys, *args, "--positive", "no").err


def test_a_repeated_z_adds_and_a_swallowed_file_is_named(equal, tmp_path, capsys):
    frame = pd.read_csv(equal)
    frame["w"] = np.tile(["u", "v", "v"], len(frame))[: len(frame)]
    frame.to_csv(tmp_path / "two.csv", index=False)
    args = [*columns(tmp_path / "two.csv"), "--z", "w", "--format", "json"]
    assert list(json.loads(run(capsys, *args).out)["attributes"]) == ["z", "w", "z&w"]
    with pytest.raises(UserError, match=r"FILE is missing; --z has taken '.*equal\.csv'"):
        main(["--z", "z", str(equal), "--pred", "p"])


def test_mistakes_name_the_columns(equal, tmp_path):
    frame = pd.read_csv(equal)
    frame["number"] = 0.5
    frame["same"], frame["code"] = "no", 0
    frame.to_csv(tmp_path / "t.csv", index=False)
    for change, said in (
        (["--pred", "number"], "'number' has fractional numbers"),
        (["--pred", "code"], "'y' and 'code' hold text and numbers"),
        (["--pred", "same", "--y", "same"], "'same' and 'same' hold one class only"),
        (["--weight", "p"], "'p' must be numbers"),
    ):
        with pytest.raises(UserError, match=said):
            main([*map(str, columns(tmp_path / "t.csv")), *change])


def test_the_page_has_all_tests_and_is_not_replaced_unasked(equal, tmp_path, capsys):
    frame = pd.read_csv(equal)
    frame["z"] = np.arange(len(frame)) // 2 % 7  # 21 pairs, 105 tests
    frame.to_csv(tmp_path / "seven.csv", index=False)
    page = tmp_path / "new" / "page.html"
    args = [*columns(tmp_path / "seven.csv"), "--score", "score", "--tolerance", 0.05]
    text = run(capsys, *args, "--html", page).out
    assert "85 further tests" in text
    shown = page.read_text()
    assert shown.count("positive_predictive_value ") == 21
    for part in (
        "--tolerance 0.05", "by frbench", "Reliability by group", "<svg", "four-fifths",
        "Calibration by value", "Undecided: these rows cannot tell",
    ):  # fmt: skip
        assert part in shown
    assert "further tests" not in shown and shown.count("<script") == 1
    with pytest.raises(UserError, match=r"exists, and is not overwritten; .*--force"):
        main([str(a) for a in (*args, "--html", page)])
    run(capsys, *args, "--html", page, "--force")
    with pytest.raises(UserError, match=r"--html .*: the name must end in \.html"):
        main([str(a) for a in (*args, "--html", tmp_path / "page.txt")])
