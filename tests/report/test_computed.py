"""What `frbench report` computes from kept predictions, against slow references."""

import itertools
import json

import numpy as np
import pytest

from frbench.commands.report import main
from frbench.contracts.errors import UserError
from frbench.metrics import evaluate
from frbench.report.choice import at_checkpoints
from frbench.report.computed import read_kept, with_metrics
from frbench.report.flips import flips
from frbench.report.predictions import FILE, KeptPredictions, Predictions, log_scores
from frbench.report.results import run_of
from frbench.report.rule import parse_rule

CLASSES, VALUES = ["no", "yes"], ["f", "m"]
OWN = """
def share_of_yes(counts):
    return counts[..., 1].sum() / counts.sum()

share_of_yes.higher_is_better = True
"""


def rows(rng, n, name):
    """Predictions of a table whose rows are those of its name."""
    fixed = np.random.default_rng(len(name))
    y, z, x = fixed.integers(0, 2, n), fixed.integers(0, 2, n), fixed.normal(size=n)
    one = 1.5 * (2 * y - 1) * (1 + z) + 2 * x + rng.normal(size=n)
    return Predictions(log_scores(np.stack([0 * one, one], 1)), y, z, np.arange(n), name)


def metrics_of(table, own=()):
    """Every metric of a table."""
    return evaluate(table.y, table.decision, table.z, table.probabilities[:, 1],
                    class_names=CLASSES, attribute_names=VALUES, metrics=own)  # fmt: skip


@pytest.fixture
def folder(record, write, tmp_path):
    """Results of two methods, two settings and three seeds; only some metrics in the records."""
    records, kept = [], {}
    for method, lr, seed in itertools.product(("ERM", "Other"), (0.1, 1.0), range(3)):
        rng = np.random.default_rng([seed, len(method), int(10 * lr)])
        tables = {"val": rows(rng, 1200, f"val{seed}"), "test/P": rows(rng, 1500, "t")}
        metrics = {
            f"{name}/{metric}": metrics_of(table)[metric]
            for name, table in tables.items()
            for metric in ("accuracy", "worst_group_accuracy", "balanced_accuracy")
        }
        made = record("d", method, {"model.lr": lr}, seed, metrics=metrics)
        made["groups"] = {"names": [], "counts": {}, "Q": []}
        path = tmp_path / "runs" / made["cell"] / FILE
        path.parent.mkdir(parents=True)
        KeptPredictions(tables, CLASSES, VALUES, np.ones((2, 2))).write(path)
        records.append(made)
        kept[method, lr, seed] = tables
    write(records)
    return tmp_path, kept


def shown(folder, capsys, *words):
    """The report as JSON."""
    assert main([str(folder), "--format=json", *words]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_metric_that_records_lack(folder, capsys):
    path, kept = folder
    words = ("--metrics", "accuracy", "auroc", "demographic_parity_difference")
    found = shown(path, capsys, *words)
    assert any("auroc: computed from the kept predictions of 12 runs" in n for n in found["notes"])
    for row in found["rows"]:
        tables = [
            kept[row["method"], row["settings"]["model.lr"], seed]["test/P"] for seed in range(3)
        ]
        for metric in words[1:]:
            values = [metrics_of(table)[metric] for table in tables]
            ours = row["metrics"][f"test/P/{metric}"]
            assert ours["n"] == 3 and np.isclose(ours["mean"], np.mean(values), atol=1e-12)
            assert np.isclose(ours["sd"], np.std(values, ddof=1), atol=1e-12)


def test_a_rule_that_records_lack(folder, capsys):
    path, kept = folder
    found = shown(path, capsys, "--select", "val/demographic_parity_difference")
    for row in found["rows"]:
        gaps = {
            lr: np.mean([metrics_of(kept[row["method"], lr, seed]["val"])
                         ["demographic_parity_difference"] for seed in range(3)])
            for lr in (0.1, 1.0)
        }  # fmt: skip
        assert row["settings"]["model.lr"] == min(gaps, key=gaps.get)
        assert np.isclose(row["rule"]["mean"], min(gaps.values()))


def test_a_metric_of_ones_own(folder, capsys, monkeypatch):
    path, kept = folder
    (path / "own_of_report.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(path))
    found = shown(path, capsys, "--metrics", "own_of_report.share_of_yes", "accuracy",
                  "--select", "val/share_of_yes")  # fmt: skip
    for row in found["rows"]:
        shares = {
            (lr, name): np.mean([kept[row["method"], lr, seed][name].decision.mean()
                                 for seed in range(3)])
            for lr in (0.1, 1.0) for name in ("val", "test/P")
        }  # fmt: skip
        lr = max((0.1, 1.0), key=lambda lr: shares[lr, "val"])
        assert row["settings"]["model.lr"] == lr
        assert np.isclose(row["metrics"]["test/P/share_of_yes"]["mean"], shares[lr, "test/P"])


def test_without_predictions_the_metric_is_missing(folder, capsys):
    path, _ = folder
    files = sorted(path.rglob(FILE))
    for file in files[:3]:
        file.unlink()
    found = shown(path, capsys, "--metrics", "accuracy", "auroc")
    assert any("auroc: 3 runs have neither it nor kept predictions" in n
               for n in found["notes"])  # fmt: skip
    for file in files[3:]:
        file.unlink()
    with pytest.raises(UserError, match="No run has the test metric 'auroc'"):
        main([str(path), "--metrics", "auroc"])


def test_predictions_of_another_checkpoint_are_not_taken(record, tmp_path):
    """Those of the first rule are kept; another rule may have chosen another step."""
    rng = np.random.default_rng(0)
    metrics = {"val/accuracy": 0.5, "test/accuracy": 0.5}
    later = {"step": 4, "metrics": metrics}
    made = record(metrics=metrics, selected={"val/accuracy": {"step": 3},
                                             "val/balanced_accuracy": later,
                                             "val/worst_group_accuracy": {"step": 3}})  # fmt: skip
    run = run_of(made, tmp_path)
    run.folder.mkdir(parents=True)
    tables = {name: rows(rng, 50, name) for name in ("val", "test")}
    KeptPredictions(tables, CLASSES, VALUES, np.ones((2, 2))).write(run.folder / FILE)
    for rule, kept in (("accuracy", 1), ("balanced_accuracy", 0), ("worst_group_accuracy", 1)):
        (there,) = at_checkpoints([run], parse_rule(f"val/{rule}"))
        (found,), _ = with_metrics([there], ["auroc"])
        assert ("test/auroc" in found.metrics) == kept == (read_kept(there) is not None)


def test_an_ensemble_is_a_further_row(folder, capsys):
    path, kept = folder
    found = shown(path, capsys, "--metrics", "accuracy", "auroc", "--ensemble")
    by_name = {row["method"]: row for row in found["rows"]}
    assert list(by_name) == ["ERM", "Other", "ERM (ensemble of 3)", "Other (ensemble of 3)"]
    alone = shown(path, capsys, "--metrics", "accuracy", "auroc")
    for row in alone["rows"]:
        assert row == by_name[row["method"]]
        other = by_name[f"{row['method']} (ensemble of 3)"]
        assert other["settings"] == row["settings"] and other["rule"] == row["rule"]
        tables = [
            kept[row["method"], row["settings"]["model.lr"], seed]["test/P"] for seed in range(3)
        ]
        p = sum(table.probabilities[:, 1] for table in tables) / 3
        slow = evaluate(tables[0].y, (p > 0.5).astype(int), tables[0].z, p)
        for metric in ("accuracy", "auroc"):
            ours = other["metrics"][f"test/P/{metric}"]
            assert ours["n"] == 1 and np.isclose(ours["mean"], slow[metric], atol=1e-12)
        assert other["differences"] == {}


def test_no_ensemble_over_seeds_of_other_rows(folder, capsys):
    path, kept = folder
    for file in path.rglob(FILE):
        first = next(iter(kept.values()))["test/P"]
        moved = Predictions(first.scores, first.y, first.z, first.index, file.parent.name)
        KeptPredictions({"test/P": moved}, CLASSES, VALUES, np.ones((2, 2))).write(file)
    found = shown(path, capsys, "--metrics", "accuracy", "--ensemble")
    assert [row["method"] for row in found["rows"]] == ["ERM", "Other"]
    assert sum("no ensemble: its seeds have different test rows" in n for n in found["notes"]) == 2


def test_flips_are_those_of_a_loop_over_pairs():
    rng = np.random.default_rng(0)
    kept = []
    for fold, seeds in ((0, 4), (1, 2), (2, 1)):
        n = 40 + fold
        y, z = rng.integers(0, 3, n), rng.integers(-1, 2, n)
        z[y == 2] = 0  # an empty group
        for _ in range(seeds):
            scores = log_scores(rng.normal(size=(n, 3)))
            table = Predictions(scores, y, z, np.arange(n), f"rows of fold {fold}")
            kept.append(KeptPredictions({"test": table}, "abc", "fm", np.ones((3, 2))))
    shares = {}
    pairs = 0
    for one, other in itertools.combinations(kept, 2):
        a, b = one.tables["test"], other.tables["test"]
        if a.rows != b.rows:
            continue
        pairs += 1
        shares.setdefault("", []).append(np.mean(a.decision != b.decision))
        for y, z in np.ndindex(3, 2):
            of_group = [
                a.decision[i] != b.decision[i]
                for i in range(len(a.y))
                if (a.y[i], a.z[i]) == (y, z)
            ]
            if of_group:
                shares.setdefault(f"y={'abc'[y]},z={'fm'[z]}", []).append(np.mean(of_group))
    found = flips(kept, "test")
    assert found.pairs == pairs == 6 + 1
    assert np.isclose(found.overall, np.mean(shares.pop("")))
    assert np.isnan(found.groups.pop("y=c,z=m")) and found.groups.keys() == shares.keys()
    for name, values in shares.items():
        assert np.isclose(found.groups[name], np.mean(values)), name
    alone = flips(kept[-1:], "test")
    assert alone.pairs == 0 and np.isnan(alone.overall) and alone.groups == {}


def test_flips_are_shown(folder, capsys, tmp_path):
    path, kept = folder
    page = tmp_path / "page.html"
    found = shown(path, capsys, "--flips", "--html", str(page))
    (lr,) = {0.1, 1.0} & {
        row["settings"]["model.lr"] for row in shown(path, capsys)["rows"]
        if row["method"] == "ERM"
    }  # fmt: skip
    decisions = [kept["ERM", lr, seed]["test/P"].decision for seed in range(3)]
    share = np.mean([np.mean(a != b) for a, b in itertools.combinations(decisions, 2)])
    flat = json.dumps(found)
    assert f"{share:.12f}"[:10] in flat and "decisions that differ between two seeds" in (
        page.read_text()
    )
    with pytest.raises(UserError, match="two views"):
        main([str(path), "--flips", "--ranks"])


def test_a_postprocessor_is_a_further_row(folder, capsys):
    path, _ = folder
    words = ("--metrics", "accuracy", "equalized_odds_difference")
    plain = {row["method"]: row for row in shown(path, capsys, *words)["rows"]}
    found = shown(path, capsys, *words, "--postprocess", "ThresholdOptimizer",
                  "constraint=equalized_odds")  # fmt: skip
    by_name = {row["method"]: row for row in found["rows"]}
    assert list(by_name) == [
        "ERM", "Other", "ERM+ThresholdOptimizer", "Other+ThresholdOptimizer"
    ]  # fmt: skip
    key = "test/P/equalized_odds_difference"
    for method, row in plain.items():
        assert by_name[method]["metrics"] == row["metrics"]
        mapped = by_name[f"{method}+ThresholdOptimizer"]["metrics"][key]
        assert mapped["n"] == 3 and mapped["mean"] < row["metrics"][key]["mean"] / 2
    for word in ("AFR", "ExponentiatedGradient"):
        with pytest.raises(UserError, match=f"{word} needs the network"):
            main([str(path), "--postprocess", word])
