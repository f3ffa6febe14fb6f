"""``frbench data debias``: a file in, a fair file out, and no surprises."""

import re

import numpy as np
import pandas as pd
import pytest

from frbench.__main__ import main
from frbench.data.max_entropy import rates


@pytest.fixture
def people(in_tmp):
    rng, n = np.random.default_rng(0), 5000
    man = rng.random(n) < 0.7
    race = rng.choice(["asian", "black", "white"], n, p=[0.2, 0.3, 0.5])
    rate = 0.15 + 0.3 * man + 0.2 * (race == "white")
    frame = pd.DataFrame(
        {
            "id": np.arange(n),
            "income": np.where(rng.random(n) < rate, "high", "low"),
            "age": rng.integers(18, 80, n),
            "sex": np.where(man, 1, 0),
            "race": race,
            "wage": rng.normal(man, 1, n).round(4),
            "member": rng.random(n) < 0.4,
            "note": np.where(rng.random(n) < 0.1, None, "x"),
        }
    )
    frame.to_csv("in.csv", index=False)
    return pd.read_csv("in.csv")


def debias(*words: str) -> int:
    return main(["data", "debias", "in.csv", "--target=income", *words])


def measured(frame: pd.DataFrame, by: list[str], weight=None) -> tuple[float, float]:
    """RR, and SR of high, by a loop over the values."""
    weight = np.ones(len(frame)) if weight is None else weight
    shares, highs = [], []
    for _, rows in frame.groupby(by).indices.items():
        shares.append(weight[rows].sum())
        highs.append(weight[rows][frame["income"].to_numpy()[rows] == "high"].sum() / shares[-1])
    return min(shares) / max(shares), min(highs) / max(highs)


def reported(text: str) -> dict[str, tuple[float, float]]:
    """Rates before and after, by their line."""
    found = re.findall(r"^\s*(.*rate of .*?)\s{2,}([\d.]+)\s+([\d.]+)\s*$", text, re.MULTILINE)
    return {name: (float(before), float(after)) for name, before, after in found}


def test_rates_before_and_after_are_those_of_the_files(people, capsys):
    assert debias("--protected=sex", "--out=out.csv", "--drop=id", "--n=20000") == 0
    out, text = pd.read_csv("out.csv"), capsys.readouterr().out
    assert list(out.columns) == [name for name in people.columns if name != "id"]
    assert len(out) == 20_000 and re.search(r"rows\s+5,000\s+20,000", text)
    rates_ = reported(text)
    for key, i in (("representation rate of sex", 0),
                   ("statistical rate of income=high over sex", 1)):  # fmt: skip
        assert rates_[key][0] == pytest.approx(measured(people, ["sex"])[i], abs=6e-5)
        assert rates_[key][1] == pytest.approx(measured(out, ["sex"])[i], abs=6e-5)
        assert rates_[key][1] > 0.95 > 0.6 > rates_[key][0]
    assert "written to out.csv" in text and "KL to the data" in text
    for name in out.columns:  # every value occurs in the input, in a column of the same type
        assert out[name].dtype == people[name].dtype
        assert set(out[name].dropna()) <= set(people[name].dropna())
    assert out["note"].isna().any()


def test_intersections(people, capsys):
    assert debias("--protected", "sex", "race", "--out=out.csv", "--drop=id", "--n=50000") == 0
    out, found = pd.read_csv("out.csv"), reported(capsys.readouterr().out)
    for by in (["sex"], ["race"], ["sex", "race"]):
        rr, sr = measured(out, by)
        assert rr > 0.9 and sr > 0.9
        assert found[f"representation rate of {'&'.join(by)}"][1] == pytest.approx(rr, abs=6e-5)
    assert measured(people, ["sex", "race"])[1] < 0.5


def test_options_reach_the_solver(people):
    words = ("--protected=sex", "--drop", "id", "note", "--n=60000", "--smoothing=0.2")
    assert debias(*words, "--tau=0.6", "--out=tau.csv", "--bins", "age=30,50") == 0
    counts = pd.read_csv("tau.csv")["sex"].value_counts()
    assert counts[0] / counts[1] == pytest.approx(0.6, abs=0.03)
    given = ["--marginals", "income=high:0.7,low:0.3", "sex=0:0.25,1:0.75", "member=0.9"]
    assert debias(*words, *given, "--out=given.csv") == 0
    out = pd.read_csv("given.csv")
    assert (out["income"] == "high").mean() == pytest.approx(0.7, abs=0.01)
    assert (out["sex"] == 0).mean() == pytest.approx(0.25, abs=0.01)
    assert out["member"].mean() == pytest.approx(0.9, abs=0.01)
    band = ["--marginals", "sex=0:0.5,1:0.5", "--prior=data", "--band=0.1"]
    assert debias(*words, *band, "--out=band.csv") == 0
    assert (pd.read_csv("band.csv")["sex"] == 0).mean() == pytest.approx(0.4, abs=0.01)


def test_seeds(people):
    for seed, name in ((1, "a"), (1, "b"), (2, "c")):
        assert debias("--protected=sex", "--drop=id", f"--seed={seed}", f"--out={name}.csv") == 0
    a, b, c = (pd.read_csv(f"{name}.csv") for name in "abc")
    pd.testing.assert_frame_equal(a, b)
    assert not a.equals(c)


def test_weights_and_parquet(people):
    pytest.importorskip("pyarrow")
    words = ("--protected=sex", "--drop=id", "--smoothing=0", "--via=weight")
    assert debias(*words, "--out=out.parquet") == 0
    out = pd.read_parquet("out.parquet")
    pd.testing.assert_frame_equal(out.drop(columns="weight"), people.drop(columns="id"),
                                  check_dtype=False)  # fmt: skip
    rr, sr = measured(out, ["sex"], out["weight"].to_numpy())
    assert rr == pytest.approx(1) and sr == pytest.approx(1)


def test_nothing_is_overwritten(people, capsys):
    assert debias("--protected=sex", "--drop=id", "--out=out.csv") == 0
    before = pd.read_csv("out.csv")
    assert debias("--protected=sex", "--drop=id", "--out=out.csv", "--seed=3") == 2
    assert "out.csv exists, and is not overwritten" in capsys.readouterr().err
    pd.testing.assert_frame_equal(before, pd.read_csv("out.csv"))


def test_a_group_that_was_not_drawn_has_rate_zero(people, capsys):
    assert debias("--protected=race", "--out=out.csv", "--drop=id", "--n=1") == 0
    found = reported(capsys.readouterr().out)
    assert found["representation rate of race"][1] == 0


def test_more_than_two_outcomes_and_rows_without_one(people, capsys):
    frame = people.drop(columns=["id", "wage"])
    frame["income"] = frame["income"].where(frame.index % 3 > 0, "middle")
    frame.loc[:9, "income"] = None
    frame.loc[10:14, "sex"] = None
    frame.to_csv("in.csv", index=False)
    assert debias("--protected=sex", "--out=out.csv", "--n=50000") == 0
    out, text = pd.read_csv("out.csv"), capsys.readouterr().out
    assert "15 of 5000 rows left out: no income or sex" in text
    assert out["income"].nunique() == 3 and out["sex"].notna().all()
    joint = pd.crosstab(out["income"], out["sex"]).to_numpy()
    assert rates(joint)[1].min() > 0.93
    assert sum("statistical rate of income=" in line for line in text.splitlines()) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--protected=gender"],
            "--protected: in.csv has no column 'gender'; the columns",
        ),
        (["--protected=sex", "--drop=idd"], "--drop: in.csv has no column 'idd'"),
        (["--protected=income"], "name every column once among --target, --protected and --drop"),
        (["--protected=sex"], "column 'key' has 5000 categories, more than 1000; drop it"),
        (["--protected=wage"], "column 'wage' of in.csv has .* different values.*add a column"),
        (["--protected=sex", "--bins=age"], "give COLUMN=EDGE,EDGE,..., as age=25,40; got 'age'"),
        (["--protected=sex", "--bins=sex=1"], "--bins: 'sex' is protected; its values are drawn"),
        (["--protected=sex", "--bins=member=1"], "column 'member' is not numeric"),
        (["--protected=sex", "--drop=key", "--tau=2"], "tau: expected a number in .0, 1."),
        (
            ["--protected=sex", "--smoothing=x"],
            "invalid float value: 'x'; see frbench",
        ),
        (["--protected=sex", "--via=weight"], "via: weight keeps the rows; it needs smoothing"),
        (
            ["--protected=sex", "--marginals=fair", "--drop=key"],
            "marginals: expected one of data, rew",
        ),
        (["--protected=sex", "--marginals=sex=a:b"], "give reweighted, balanced, data, or COL"),
        (
            ["--protected", "sex", "race", "--marginals=sex=0.5"],
            "shares of the combinations: sex&race=0&asian:SHARE",
        ),
        (
            ["--protected=sex", "--marginals=sex=0:1,1:0", "--drop=key"],
            "no share to '1' of column 'sex'",
        ),
    ],
)
def test_one_line_for_what_is_wrong(people, capsys, words, message):
    people.assign(key=[f"k{i}" for i in range(len(people))]).to_csv("in.csv", index=False)
    assert debias(*words, "--out=out.csv") == 2
    error = capsys.readouterr().err
    assert re.search(message, error) and error.count("\n") == 1
    assert error.startswith("frbench: error: ")


def test_infinite_ordinals_and_lists_are_named(people, capsys):
    people.assign(wage=people["wage"].where(people["age"] > 20, -np.inf)).to_csv("in.csv")
    assert debias("--protected=sex", "--ordinal=wage", "--out=out.csv") == 2
    assert "ordinal column 'wage' lacks values in some rows, is infin" in capsys.readouterr().err
    people.assign(note=[[i] for i in people["age"]]).to_parquet("in.parquet")
    words = ["--target=income", "--protected=sex", "--out=out.csv"]
    assert main(["data", "debias", "in.parquet", *words]) == 2
    assert "column 'note' holds lists or mappings" in capsys.readouterr().err


def test_wrong_files(in_tmp, capsys):
    assert debias("--protected=sex", "--out=out.csv") == 2
    assert "there is no file in.csv" in capsys.readouterr().err
    assert debias("--protected=sex", "--out=nowhere/out.csv") == 2
    assert "give a .csv or .parquet file in a folder that exists" in capsys.readouterr().err


def test_help_fits_a_screen_and_a_half(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["data", "debias", "--help"])
    text = capsys.readouterr().out
    assert stopped.value.code == 0 and len(text.splitlines()) <= 60
    assert "frbench data debias in.csv --protected sex --target income --out out.csv" in text
    assert main(["data", "--help"]) == 0
    assert "frbench data debias" in capsys.readouterr().out
