import csv
import gzip
import io
import json
import re

import numpy as np
import pandas as pd
import pytest

from frbench.commands.audit import main
from frbench.contracts.errors import UserError
from frbench.metrics import evaluate

COLUMNS = ["--y", "income", "--pred", "guess"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    rng = np.random.default_rng(0)
    n = 2000
    frame = pd.DataFrame({"sex": rng.choice(["F", "M"], n), "race": rng.choice([1, 2, 3], n)})
    score = np.clip(rng.random(n) * 0.8 + 0.2 * (frame.sex == "M"), 0, 1)
    frame["income"] = np.where(rng.random(n) < score, ">50K", "<=50K")
    frame["guess"] = np.where(score > 0.5, ">50K", "<=50K")
    frame["score"], frame["weight"] = score, rng.random(n)
    path = tmp_path_factory.mktemp("audit") / "predictions.csv"
    frame.to_csv(path, index=False)
    return path, frame


def run(capsys, *argv):
    assert main([str(a) for a in argv]) == 0
    return capsys.readouterr().out


def test_json_holds_every_metric_of_evaluate(table, capsys):
    path, frame = table
    args = [*COLUMNS, "--score", "score", "--weight", "weight", "--resamples", 50]
    out = json.loads(run(capsys, path, "--z", "sex", "race", *args, "--format", "json"))
    assert out["n"] == len(frame) and out["classes"] == ["<=50K", ">50K"]
    assert list(out["attributes"]) == ["sex", "race", "sex&race"]
    views = {"sex": frame.sex, "race": frame.race, "sex&race": frame[["sex", "race"]]}
    for name, z in views.items():
        metrics = out["attributes"][name]["metrics"]
        values = evaluate(frame.income, frame.guess, z, frame.score, frame.weight)
        assert {k: v["value"] for k, v in metrics.items()} == pytest.approx(values, rel=1e-12)
        without = {
            "empty_groups",
            "expected_calibration_error",
            "score_kl",
            "score_kl_noise_floor",
            "demographic_parity_soft/parallel",
            "equalized_odds_soft/parallel",
        }
        for key, found in metrics.items():
            if key in without:
                assert found["low"] is found["high"] is None
            else:
                assert found["low"] - 1e-9 <= found["value"] <= found["high"] + 1e-9, key
    everyone, pair = out["attributes"]["sex"]["four_fifths"]
    assert everyone["groups"] is None and pair["groups"] == ["F", "M"]
    assert pair["verdict"] == "fail" and pair["high"] < 0.8
    assert len(out["attributes"]["sex&race"]["four_fifths"]) == 1 + 15


def test_csv_can_be_read_back(table, capsys):
    path, frame = table
    text = run(capsys, path, "--z", "sex", *COLUMNS, "--resamples", 20, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    values = evaluate(frame.income, frame.guess, frame.sex)
    found = {r["metric"]: float(r["value"]) for r in rows if not r["verdict"]}
    assert found == values
    assert [r["metric"] for r in rows if r["verdict"]] == ["four_fifths", "four_fifths/F : M"]


def test_table_is_readable(table, capsys):
    path, frame = table
    text = run(capsys, path, "--z", "sex", "race", *COLUMNS, "--score", "score", "--resamples", 20)
    accuracy = evaluate(frame.income, frame.guess, frame.sex)["accuracy"]
    for part in (
        "2000 rows, positive class >50K",
        f"{accuracy:.3f}",
        "worst_group_accuracy",
        "auroc",
        "y=>50K,z=sex=F&race=1",
        "sex&race: four-fifths rule",
        "F : M",
        "fail",
    ):
        assert part in text
    for key in evaluate(frame.income, frame.guess, frame.sex, frame.score):
        name = key.split("/")[0]
        shown = name.replace("_", " ") if "/z=" in key else name
        assert name == "group_accuracy" or shown.split()[0] in text, key


def test_positive_class_is_set_and_binarises(table, capsys, tmp_path):
    path, frame = table
    args = [path, "--z", "sex", *COLUMNS, "--resamples", 10, "--format", "json"]
    out = json.loads(run(capsys, *args, "--positive", "<=50K"))
    assert out["classes"] == [">50K", "<=50K"]
    rate = np.mean(frame.guess[frame.sex == "F"] == "<=50K")
    found = out["attributes"]["sex"]["metrics"]["selection_rate/z=F"]["value"]
    assert found == pytest.approx(rate)
    pd.DataFrame({"y": [1, 2, 3, 1], "p": [1, 3, 3, 2], "z": list("abab")}).to_csv(
        tmp_path / "three.csv.gz", index=False
    )
    args = [tmp_path / "three.csv.gz", "--y", "y", "--pred", "p", "--z", "z", "--format", "json"]
    assert json.loads(run(capsys, *args))["classes"] == ["1", "2", "3"]
    assert json.loads(run(capsys, *args, "--positive", 3))["classes"] == ["not 3", "3"]


def test_parquet_and_missing_attributes(table, capsys, tmp_path):
    _, frame = table
    frame = frame.copy()
    frame["race"] = frame.race.astype(float)
    frame.loc[:99, "race"] = np.nan
    frame.to_parquet(tmp_path / "p.parquet")
    args = [tmp_path / "p.parquet", "--z", "race", *COLUMNS, "--resamples", 10]
    assert "100 rows have no race" in run(capsys, *args)
    metrics = json.loads(run(capsys, *args, "--format", "json"))["attributes"]["race"]["metrics"]
    z = frame.race.fillna(0).astype(int) - 1
    values = evaluate(frame.income, frame.guess, z, attribute_names=["1", "2", "3"])
    assert {k: v["value"] for k, v in metrics.items()} == pytest.approx(values)


def test_what_is_over_few_people_is_not_shown(capsys, tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"y": rng.integers(2, size=300), "z": rng.choice(["a", "b"], 300)})
    frame["p"] = np.where(rng.random(300) < 0.8, frame.y, 1 - frame.y)
    frame.loc[:5, "z"] = "rare"
    frame.loc[:5, "p"] = 1 - frame.y[:6]
    frame.to_csv(tmp_path / "t.csv", index=False)
    args = [tmp_path / "t.csv", "--y", "y", "--pred", "p", "--z", "z", "--min_cell", 10]
    found = json.loads(run(capsys, *args, "--format", "json"))["attributes"]["z"]
    hidden = [key for key, value in found["metrics"].items() if key.endswith("z=rare")]
    assert len(hidden) == 7
    assert all(found["metrics"][key]["value"] is None for key in hidden)
    assert found["metrics"]["worst_attribute_accuracy"]["value"] > 0.5
    assert not any("rare" in (rule["groups"] or ()) for rule in found["four_fifths"])
    text = run(capsys, *args)
    assert "<10" in text and "groups of fewer than 10 rows are not shown" in text
    with pytest.raises(
        UserError, match=r"--min_cell 500: fewer than two groups have as many rows"
    ):
        main([*map(str, args[:-1]), "500"])


def test_gaps_plans_and_bounds_are_given_where_asked_for(table, capsys, tmp_path):
    path, frame = table
    args = [path, "--z", "sex", *COLUMNS, "--tolerance", "0.1", "--plan", "0.05"]
    found = json.loads(run(capsys, *args, "--format", "json"))["attributes"]["sex"]
    assert [test["metric"] for test in found["gap_tests"]] == [
        "accuracy", "selection_rate", "true_positive_rate", "false_positive_rate",
        "positive_predictive_value",
    ]  # fmt: skip
    assert found["gap_tests"][1]["above"] and found["gap_tests"][1]["groups"] == ["F", "M"]
    # A gap of .05 is never above .1: the rows that would show a gap of 0 to be within are said.
    assert found["plan"][1]["rows"] is None and found["plan"][1]["rows_within"] > 500
    alone = json.loads(run(capsys, *args[:-4], "--plan", "0.05", "--format", "json"))
    assert alone["attributes"]["sex"]["plan"][1]["rows"] > 1000 and found["bounds"] == {}
    assert found["corrected"]["disparate_impact"] < 0.8
    text = run(capsys, *args)
    for part in (
        "sex: is the gap above 0.1?",
        "sex: rows of each group to find a gap of 0.05",
        "no number is enough",
        "to show equal groups within 0.1",
    ):
        assert part in text
    unknown = frame.copy()
    unknown.loc[:99, "sex"] = None
    unknown.to_csv(tmp_path / "u.csv", index=False)
    text = run(capsys, tmp_path / "u.csv", "--z", "sex", *COLUMNS)
    assert "sex: bounds, whatever the attribute" in text


def test_undefined_values_are_null_in_json(capsys, tmp_path):
    frame = pd.DataFrame({"y": [0, 0, 1, 0], "p": [0, 1, 1, 0], "z": list("aabb")})
    frame.loc[2, "z"] = "a"
    frame.to_csv(tmp_path / "t.csv", index=False)
    args = [tmp_path / "t.csv", "--y", "y", "--pred", "p", "--z", "z", "--resamples", 10]
    out = json.loads(run(capsys, *args, "--format", "json"))
    group = out["attributes"]["z"]["metrics"]["group_accuracy/y=1,z=b"]
    assert group == {"value": None, "low": None, "high": None}
    assert "undefined" in run(capsys, *args)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--y", "incme"], r"has no column 'incme': set --y to one of sex, race, income"),
        (["--pred", "x"], "set --pred to one of"),
        (["--z", "sex", "x"], "set --z to one of"),
        (["--score", "x"], "set --score to one of"),
        (["--weight", "x"], "set --weight to one of"),
        (["--positive", "maybe"], "--positive 'maybe' is not in column 'income'"),
        (["--tolerance", "1"], r"--tolerance must lie in \[0, 1\)"),
        (["--plan", "0"], r"--plan must lie in \(0, 1\]"),
        (["--min_cell", "-1"], "--min_cell must not be negative"),
        (["--resamples", "0"], "--resamples must be at least 1"),
        (["--score", "race"], r"scores must lie in \[0, 1\]"),
        (["--z", "score"], "score has fractional numbers"),
    ],
)
def test_mistakes_are_one_line_with_the_remedy(table, change, message):
    with pytest.raises(UserError, match=message) as error:
        main([str(table[0]), "--z", "sex", *COLUMNS, *change])
    assert "\n" not in str(error.value)


def test_unreadable_files_are_named(table, tmp_path):
    args = ["--z", "sex", *COLUMNS]
    with pytest.raises(UserError, match=r"No file '.*nothing\.csv'"):
        main([str(tmp_path / "nothing.csv"), *args])
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UserError, match=r"expected \.csv, \.csv\.gz or \.parquet"):
        main([str(tmp_path / "a.txt"), *args])
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(UserError, match=r"empty\.csv cannot be read: .*; fetch or save"):
        main([str(tmp_path / "empty.csv"), *args])
    packed = gzip.compress(table[0].read_bytes())
    (tmp_path / "cut.csv.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(UserError, match=r"cut\.csv\.gz cannot be read: .*; fetch or save"):
        main([str(tmp_path / "cut.csv.gz"), *args])
    frame = table[1].copy()
    frame.loc[:2, "guess"] = None
    frame.to_csv(tmp_path / "holes.csv", index=False)
    with pytest.raises(UserError, match=r"'guess' of .* lacks 3 of 2000 values"):
        main([str(tmp_path / "holes.csv"), *args])


def test_metrics_of_ones_own_have_intervals_and_a_section(table, capsys):
    path, _ = table
    args = [path, "--z", "sex", *COLUMNS, "--resamples", 50]
    args += ["--metrics", "own_metrics.error_rate"]
    found = json.loads(run(capsys, *args, "--format", "json"))["attributes"]["sex"]["metrics"]
    assert found["error_rate"]["value"] == pytest.approx(1 - found["accuracy"]["value"])
    assert found["error_rate"]["low"] < found["error_rate"]["value"] < found["error_rate"]["high"]
    assert re.search(
        r"sex: your own\n.*\n( *\n|.*─.*\n)* *error_rate +0\.\d{3}", run(capsys, *args)
    )
    with pytest.raises(UserError, match=r"cannot import 'nowhere\.mine'"):
        main([*map(str, args), "nowhere.mine"])
