"""Independences tested on data: levels, power, and what is said of them."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, chi2_contingency

from frbench.causal import confront, example
from frbench.causal.columns import columns
from frbench.causal.independence import IndependenceModel
from frbench.causal.statistics import column, detectable, examine
from frbench.commands.graph import main
from frbench.contracts.errors import UserError
from frbench.metrics.multiplicity import holm
from frbench.runs.build import build_named


def binary(rng, p):
    return (rng.random(np.shape(p) or None) < p).astype(int)


def draw_a(rng, n, edge=0.0, continuous=False):
    """Sample graph a; ``edge`` adds Z > XZ, which the graph denies."""
    u = rng.integers(0, 2, n)
    y, z = binary(rng, 0.3 + 0.4 * u), binary(rng, 0.2 + 0.6 * u)
    if continuous:
        core, rest = y + rng.normal(size=n) + 2 * edge * z, 2 * z + rng.normal(size=n)
    else:
        core, rest = binary(rng, 0.2 + 0.4 * y + edge * z), binary(rng, 0.1 + 0.8 * z)
    return {"Y": y, "Z": z, "XZ": core, "XY": rest}


def draw_b(rng, n, edge=0.0):
    """Sample graph b with a continuous core: Y depends on it, Z does not."""
    u, core = rng.integers(0, 2, n), rng.normal(size=n)
    y = np.where(rng.random(n) < 0.5, u, core > 0)
    z = binary(rng, np.clip(0.2 + 0.6 * u + edge * (core > 0), 0, 1))
    return {"Y": y, "Z": z, "XZ": core, "XY": z + rng.normal(size=n)}


def within(count, runs, rate=0.05):
    """Whether a number of alarms is one that a test of that level gives, but for 1 in 500."""
    return binom.ppf(0.001, runs, rate) <= count <= binom.ppf(0.999, runs, rate)


def alarms(draw, runs=250):
    count = 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        a, b, *given = map(column, draw(rng))
        count += examine(a, b, given, rng).p < 0.05
    return count


def strata(rng, n=300):
    s = rng.integers(0, 3, n)
    return s, binary(rng, 0.2 + 0.2 * s), binary(rng, 0.7 - 0.2 * s)


def dense(rng):
    s, a, b = strata(rng)
    return a, b, s


def sparse(rng):
    """Many strata of a few rows with rare levels."""
    s, t = rng.integers(0, 8, 200), rng.integers(0, 5, 200)
    return rng.poisson(0.3 + 0.1 * s), rng.poisson(0.4 + 0.1 * s), s, t


def tails(rng):
    s, a, _ = strata(rng)
    return a, rng.standard_cauchy(300) * (1 + s), s


def curved(rng):
    """Both sides bend with a continuous condition; a linear partial correlation would alarm."""
    x = rng.normal(size=400)
    return x**2 + rng.normal(size=400), np.cos(2 * x) + rng.normal(size=400), x


def mixed(rng):
    x, w = rng.normal(size=400), rng.integers(0, 3, 400)
    return binary(rng, 1 / (1 + np.exp(w - 2 * x))), np.sin(2 * x) + w + rng.normal(size=400), x, w


@pytest.mark.parametrize("draw", [dense, sparse, tails, curved, mixed])
def test_false_alarms_are_as_many_as_the_level_says(draw):
    assert within(alarms(draw), 250)


def test_a_linear_partial_correlation_would_alarm():
    """The reason for splines: with them the level holds, see above."""
    from scipy.stats import pearsonr

    count = 0
    for seed in range(50):
        a, b, x = curved(np.random.default_rng(seed))
        line = np.column_stack([np.ones(len(x)), x])
        left, right = (v - line @ np.linalg.lstsq(line, v, rcond=None)[0] for v in (a, b))
        count += pearsonr(left, right)[1] < 0.05
    assert count > 40


def test_g_is_the_sum_over_strata():
    s, a, b = strata(np.random.default_rng(0), 900)
    statistic = df = 0
    for value in range(3):
        table = np.zeros((2, 2))
        np.add.at(table, (a[s == value], b[s == value]), 1)
        found = chi2_contingency(table, correction=False, lambda_="log-likelihood")
        statistic, df = statistic + found.statistic, df + found.dof
    out = examine(*map(column, (a, b)), [column(s)], np.random.default_rng(0))
    assert (out.method, out.df, out.strata, out.rows) == ("G", df, 3, 900)
    assert out.effect == pytest.approx(np.sqrt(max(statistic - df, 0) / 900))
    from scipy.stats import chi2

    assert out.p == pytest.approx(chi2.sf(statistic, df))


def test_random_tables_agree_with_the_exact_test_of_fisher():
    from scipy.stats import fisher_exact

    table = np.array([[5, 0], [2, 6]])
    a, b = (np.repeat(side.ravel(), table.ravel()) for side in np.indices((2, 2)))
    out = examine(column(a), column(b), [], np.random.default_rng(0))
    assert out.method == "G, random tables"
    assert out.p == pytest.approx(fisher_exact(table).pvalue, abs=0.02)
    out = examine(column(np.tile(a, 9)), column(np.tile(b, 9)), [], np.random.default_rng(0))
    assert out.method == "G" and out.p < 1e-6


def test_strata_that_say_nothing_are_not_counted():
    s = np.repeat([0, 1, 2], [40, 40, 20])
    a = np.where(s == 1, 0, np.tile([0, 1], 50))
    b = np.tile([0, 0, 1, 1], 25)
    out = examine(column(a), column(b), [column(s)], np.random.default_rng(0))
    assert (out.rows, out.strata, out.smallest) == (60, 2, 20)
    nothing = examine(column(np.zeros(9, int)), column(b[:9]), [], np.random.default_rng(0))
    assert nothing.p == 1 and nothing.rows == 0


def test_a_dependence_without_trend_is_found():
    rng = np.random.default_rng(0)
    x = rng.normal(size=500)
    out = examine(column(x), column((abs(x) > 0.7).astype(int)), [], rng)
    assert out.p < 1e-6


def test_the_detectable_effect_is_found_four_times_in_five():
    n = 400
    size = detectable(df=1, rows=n, alpha=0.05)
    found = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        a = rng.integers(0, 2, n)
        b = np.where(rng.random(n) < size, a, rng.integers(0, 2, n))  # correlation: size
        found += examine(column(a), column(b), [], rng).p < 0.05
    assert 0.73 < found / 300 < 0.87
    assert detectable(1, 0, 0.05) == np.inf


# ---- graphs -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "draw"),
    [("a", draw_a), ("a", lambda rng, n: draw_a(rng, n, continuous=True)), ("b", draw_b)],
)
def test_true_graphs_are_rarely_refuted(name, draw):
    """The level is that of all tests together."""
    runs = 60
    count = sum(
        bool(confront(example(name), draw(np.random.default_rng(seed), 400)).refuted)
        for seed in range(runs)
    )
    assert count <= binom.ppf(0.999, runs, 0.05)


@pytest.mark.parametrize("continuous", [False, True])
def test_a_missing_edge_is_named(continuous):
    alarms = 0
    for seed in range(20):
        data = draw_a(np.random.default_rng(seed), 800, edge=0.35, continuous=continuous)
        found = confront(example("a"), data)
        refuted = {str(one.statement) for one in found.refuted}
        assert "Z ⊥ XZ | Y" in refuted
        alarms += bool({"Y ⊥ XY | Z", "Y ⊥ XY | Z, XZ"} & refuted)  # the edge leaves these true
        assert found.findings[0].refuted and "REFUTED" in found.summary[1]
    assert alarms <= binom.ppf(0.999, 20, 0.05)


def test_the_wrong_direction_is_refuted():
    """Data of b (causal) against graph a (anti-causal), and the reverse."""
    rng = np.random.default_rng(0)
    for name, data in (("a", draw_b(rng, 2000)), ("b", draw_a(rng, 2000))):
        assert confront(example(name), data).refuted
    assert any(str(f.statement) == "Z ⊥ XZ" for f in confront(example("b"), data).refuted)


def test_every_implied_statement_is_tested_once():
    task, data = example("a"), draw_a(np.random.default_rng(0), 300)
    found = confront(task, data)
    implied = IndependenceModel(task.graph).statements(task.observed)
    assert sorted(f.statement for f in found.findings) == sorted(implied)
    small = confront(task, data, largest=1)
    assert {f.statement for f in small.findings} == {s for s in implied if len(s.given) < 2}
    assert [f.adjusted for f in found.findings] == pytest.approx(
        holm([f.outcome.p for f in found.findings])
    )
    less = confront(task, {k: v for k, v in data.items() if k != "XY"})
    assert less.absent == ("XY",) and {str(f.statement) for f in less.findings} == {"Z ⊥ XZ | Y"}


def test_missing_values_are_left_out_and_counted():
    data = draw_a(np.random.default_rng(0), 400)
    data["XZ"] = np.where(np.arange(400) % 4 == 0, np.nan, data["XZ"])
    data["Z"] = np.array([None if i % 8 == 1 else str(v) for i, v in enumerate(data["Z"])], object)
    found = {str(f.statement): f for f in confront(example("a"), data).findings}
    assert found["Z ⊥ XZ | Y"].missing == 150 and found["Z ⊥ XZ | Y"].outcome.rows == 250
    assert found["Y ⊥ XY | Z"].missing == 50


def test_columns_of_any_type_are_read(tmp_path):
    frame = pd.DataFrame(draw_a(np.random.default_rng(0), 200)).astype(int)
    expected = confront(example("a"), {name: frame[name].to_numpy() for name in frame})
    gaps = (
        frame.astype({"Z": "boolean", "XZ": "Int64"}).astype({"Y": "str"}).astype({"Y": "string"})
    )
    gaps.to_parquet(tmp_path / "whole.parquet")
    frame.assign(Y=[[value] for value in frame["Y"]]).to_json(
        tmp_path / "lists.jsonl", orient="records", lines=True
    )
    found = confront(example("a"), columns(example("a"), str(tmp_path / "whole.parquet"))[0])
    assert [f.outcome.p for f in found.findings] == [f.outcome.p for f in expected.findings]
    with pytest.raises(UserError, match=r"lists\.jsonl: column 'Y' holds lists or mappings"):
        columns(example("a"), str(tmp_path / "lists.jsonl"))
    gaps.loc[3, ["Y", "Z", "XZ"]] = pd.NA
    gaps.to_parquet(tmp_path / "gaps.parquet")
    found = confront(example("a"), columns(example("a"), str(tmp_path / "gaps.parquet"))[0])
    assert {f.missing for f in found.findings} == {1}


def test_low_power_is_said():
    found = confront(example("a"), draw_a(np.random.default_rng(0), 60))
    assert "LOW POWER: 7 of 7 tests" in found.summary[-1]
    enough = confront(example("a"), draw_a(np.random.default_rng(1), 3000))
    assert "LOW POWER" not in " ".join(enough.summary) and not enough.refuted
    assert "does not prove the graph" in enough.summary[1]


def test_a_graph_without_independences_says_so():
    task = example("ex1")
    found = confront(task, {"Y": np.arange(9) % 2, "Z": np.arange(9) % 3})
    assert found.findings == () and "implies no independence" in found.summary[1]
    # Graph a implies some, but none without a condition.
    found = confront(example("a"), draw_a(np.random.default_rng(0), 60), largest=0)
    assert found.findings == () and "given at most 0 nodes" in found.summary[1]
    assert "no data refutes it" not in found.summary[1]


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        ({"Y": np.zeros(3)}, {}, "columns for 1 of the nodes Y, Z, XZ, XY; two are needed"),
        ({"Y": np.zeros(3), "Z": np.zeros(3)}, {"alpha": 2}, "level must lie"),
        (
            {"Y": np.arange(2), "Z": np.arange(2), "XZ": np.full(2, np.nan)},
            {},
            "no row has Z, XZ, Y",
        ),
        ({"Y": np.arange(3), "Z": np.zeros(3)}, {}, "column of Z is 0.0 in every row"),
        ({"Y": np.arange(3), "Z": np.arange(3)}, {"largest": -1}, "at least 0, got -1"),
    ],
)
def test_errors_of_data(data, options, words):
    with pytest.raises(UserError, match=words):
        confront(example("a"), data, **options)


# ---- the command --------------------------------------------------------------------------------
@pytest.fixture
def csv(tmp_path):
    data = draw_a(np.random.default_rng(2), 900, edge=0.35)
    path = tmp_path / "rows.csv"
    names = {"Y": "label", "Z": "Z", "XZ": "XZ", "XY": "XY"}
    pd.DataFrame({names[k]: v for k, v in data.items()}).to_csv(path, index=False)
    return str(path)


def test_command_reads_a_table(csv, capsys):
    assert main(["a", "--data", csv, "--column", "Y=label"]) == 0
    text = capsys.readouterr().out
    assert text.index("Recommendation") < text.index("REFUTED: ") < text.index("Graph")
    assert all(len(line) <= 140 for line in text.splitlines())
    assert main(["a", "--data", csv, "--column", "Y=label", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (one,) = [t for t in found["data"]["tests"] if t["statement"] == "Z ⊥ XZ | Y"]
    assert one["refuted"] and one["rows"] == 900 and one["strata"] == 2
    assert found["recommendation"]["action"] == "joint_balancing"
    assert main(["a", "--data", csv, "--format", "markdown"]) == 0
    assert "## Data" in capsys.readouterr().out


def test_command_reads_a_data_set_of_ours(tmp_path, capsys):
    assert main(["a2", "--data", "Digits", "--data.n", "400", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)["data"]
    assert found["columns"] == ["Y", "Z"] and found["absent"] == ["XZ", "XY"]
    assert found["source"] == "Digits (training split)" and found["rows"] == 400
    path = tmp_path / "data.yaml"
    path.write_text("data:\n  class_path: Digits\n  init_args: {n: 123}\n")
    values, _ = columns(example("a"), build_named(str(path), []))
    assert len(values["Y"]) == 123 and set(values["Z"]) == {"red", "blue"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a", "--data", "CSV", "--column", "Y:label"], "write NODE=COLUMN"),
        (["a", "--data", "CSV", "--column", "Q=label"], "'Q' is no observed node"),
        (["a", "--data", "CSV", "--column", "Y=lable"], "no column 'lable'; its columns are"),
        (["a", "--data", "CSV", "--data.n", "4"], "takes no --data.n"),
        (["a", "--data", "none.csv"], "there is no file none.csv"),
        (["a", "--data", "none.yaml"], "there is no file none.yaml"),
        (["a", "--data", "Digitz"], "Digitz"),
        (["a", "--dat", "Digits"], "unknown option"),
        (["a", "--data", "Digits", "stray"], "unknown option 'stray'"),
        (["--data", "Digits"], "Name the task"),
    ],
)
def test_command_errors(words, message, csv):
    with pytest.raises(UserError, match=message):
        main([csv if word == "CSV" else word for word in words])
