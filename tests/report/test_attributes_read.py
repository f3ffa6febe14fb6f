"""Where runs read the attribute: what the classes declare, and the leaderboards by it."""

import itertools
import json
import re
from typing import get_args

import numpy as np
import pytest
import torch

from frbench.__main__ import main
from frbench.contracts.properties import Properties
from frbench.data import CorrelationRemover, Digits, Massaging, Reweigh, Subset, Table
from frbench.data.balance import Balance, balance_weights, reads_attribute
from frbench.group_inference import Errors, PseudoLabels
from frbench.metrics import evaluate
from frbench.metrics.attribute_use import reads_attribute as metric_reads
from frbench.mixing import LISA, Mixup
from frbench.objectives import ERM, CVaR, GroupDRO
from frbench.penalties import ConditionalMMD
from frbench.postprocessing import DFR, SELF, ThresholdOptimizer
from frbench.report import parse_rule, read, summarise
from frbench.report.sheets import sheets
from frbench.runs.attributes import attributes_behind, attributes_read, trains_as_erm


def test_metrics_that_read_no_attribute_have_a_value_without_it():
    rng = np.random.default_rng(0)
    y, guess = rng.integers(2, size=(2, 60))
    scores = np.eye(2)[guess] * 0.8 + 0.1
    names = {"class_names": ("a", "b"), "attribute_names": ("u", "v")}
    found = evaluate(y, guess, np.full(60, -1), scores=scores, **names)
    for key, value in found.items():
        if key != "empty_groups":  # a count, which is there without any attribute
            assert metric_reads(f"val/{key}") == np.isnan(value), key
    assert metric_reads("val/empty_groups") and metric_reads("val/my_own")


@pytest.mark.parametrize("balance", get_args(Balance))
def test_a_balance_reads_the_attribute_if_weights_change_with_it(balance):
    rng = np.random.default_rng(1)
    y, z, other = rng.integers(2, size=(3, 200))
    weights = [balance_weights(Table(np.zeros(200), y, a), 2, 2, balance) for a in (z, other)]
    assert reads_attribute(balance) == (not np.allclose(*weights))


def use(model, data, *monitors) -> tuple[bool, ...]:
    found = attributes_read(model, data, list(monitors))
    return tuple(bool(found[part]) for part in ("train", "select", "test"))


class Undeclared(ERM):
    def risk(self, out, batch):
        return (out.losses * (1.0 + batch.z)).mean()


class Declared(Undeclared):
    properties = Properties(attributes="unseen")

    def risk(self, out, batch):
        return out.losses.mean()


class Silent(ERM):
    """Another default, no other risk."""


def test_a_run_reads_what_its_parts_declare():
    data = Digits(n=100, n_eval=100)
    sizes = {"num_classes": 2, "num_attributes": 2, "input_shape": data.input_shape}

    def of(cls, **options):
        torch.manual_seed(0)
        model = cls(**sizes, **options)
        model.data_module = data
        return model

    plain, groups = "val/accuracy", "val/worst_group_accuracy"
    assert use(of(ERM), data, plain) == (False, False, False)
    assert use(of(CVaR), data, groups) == (False, True, False)
    assert use(of(ERM), data, plain, groups) == (False, True, False)  # which may stop training
    assert use(of(GroupDRO), data, plain) == (True, False, False)
    assert attributes_read(of(Undeclared), data, [])["train"] == ["Undeclared (declares nothing)"]
    assert use(of(Declared), data, plain) == use(of(Silent), data, plain) == (False, False, False)
    # Inferred groups take the place of the attribute, unless the inference sees it.
    assert use(of(GroupDRO, infer=Errors()), data, plain) == (False, False, False)
    assert use(of(GroupDRO, infer=PseudoLabels()), data, plain) == (True, False, False)
    assert use(of(ERM, penalties=[ConditionalMMD(weight=1.0)]), data) == (True, False, False)
    assert use(of(ERM, penalties=[ConditionalMMD(weight=0.0)]), data) == (False, False, False)
    assert use(of(ERM, mixing=Mixup()), data) == (False, False, False)
    assert use(of(ERM, mixing=LISA()), data) == (True, False, False)
    for balance in ("none", "class", "joint"):
        other = Digits(n=100, n_eval=100, balance=balance)
        assert use(of(ERM), other) == (balance == "joint", False, False)
    model = of(ERM, postprocess=ThresholdOptimizer())
    before = {"attributes": attributes_read(of(ERM), data, [groups])}
    found = attributes_behind(before, model.postprocess)
    assert found["fit"] == found["test"] == ["ThresholdOptimizer"] and found["select"] == [groups]
    assert "reads the attribute" in attributes_read(model, data, [])["test"][0]
    for method, fit in ((DFR(), ["DFR"]), (SELF(), [])):
        found = attributes_behind(before, method)
        assert (found["fit"], found["test"]) == (fit, [])


def test_the_leaderboard_is_grouped_by_where_it_is_read(record, write):
    parts = ("train", "select", "fit", "test")
    records, expected = [], {}
    for used in itertools.product((False, True), repeat=4):
        by = {part: ["x"] * yes for part, yes in zip(parts, used, strict=True)}
        name = "".join(map(str, map(int, used)))
        metrics = {"val/accuracy": 0.5, "val/worst_group_accuracy": 0.5, "test/accuracy": 0.5}
        records.append(record(method=name, metrics=metrics, attributes=by))
        expected[name] = ", ".join(p for p, yes in zip(parts, used, strict=True) if yes)
    runs, _ = read([write(records)])
    for text, selects in (("val/accuracy", False), ("val/worst_group_accuracy", True)):
        report = summarise(runs, parse_rule(text), ["accuracy"])
        (board,) = sheets(report, ["accuracy"])
        assert board.columns[1] == "attribute read in"
        shown = {row[0]: row[1] for row in board.rows}
        for name, words in expected.items():
            parts_of = {*words.split(", ")} - {""} | ({"select"} if selects else set())
            assert {*shown[name].split(", ")} - {"nothing"} == parts_of
        boards = sheets(report, ["accuracy"], grouped=True)
        assert len(boards) == (8 if selects else 16)
        assert sum(len(one.rows) for one in boards) == 16
        for one in boards:
            assert len({row[1] for row in one.rows}) == 1
            assert one.title.endswith("attribute read in " + one.rows[0][1])


def test_records_that_do_not_say_it_get_no_column(grid, write):
    report = summarise(read([write(grid)])[0], parse_rule("val/accuracy"), ["accuracy"])
    assert all("attribute read in" not in s.columns for s in sheets(report, ["accuracy"], True))


def test_what_trains_as_erm():
    data = Digits(n=100, n_eval=100)
    sizes = {"num_classes": 2, "num_attributes": 2, "input_shape": data.input_shape}

    def erm(cls, data=data, **options):
        return trains_as_erm(cls(**sizes, **options), data)

    assert erm(ERM) and erm(ERM, penalties=[ConditionalMMD(weight=0.0)])
    for balance in ("class", "joint"):
        assert erm(ERM, Digits(n=100, n_eval=100, balance=balance))
    assert erm(ERM, Digits(n=100, n_eval=100, augment=[Reweigh(), Subset(size=50)]))
    assert not erm(ERM, Digits(n=100, n_eval=100, augment=[Massaging()]))
    assert not erm(ERM, Digits(n=100, n_eval=100, transforms=[CorrelationRemover()]))
    assert not erm(CVaR) and not erm(GroupDRO) and not erm(ERM, mixing=Mixup())
    assert not erm(ERM, infer=Errors())
    assert not erm(ERM, penalties=[ConditionalMMD(weight=1.0)])


@pytest.fixture
def field(record):
    """Methods by where they read the attribute, whether they are ERM, and validation accuracy."""
    methods = {
        "ERM": ((), True, 0.5), "class balance": ((), True, 0.6), "RWG": (("train",), True, 0.8),
        "ERM+TO": (("fit", "test"), True, 0.9), "JTT": ((), False, 0.95),
        "GroupDRO": (("train",), False, 0.7), "undefined": ((), True, float("nan")),
        "GroupDRO+TO": (("train", "fit", "test"), False, 0.4),
    }  # fmt: skip

    def make(**changes):
        out = []
        for method, (parts, erm, value) in {**methods, **changes}.items():
            for seed in range(3):
                test = value + 0.01 * (seed * len(method) % 4)
                metrics = {"val/accuracy": value, "val/worst_group_accuracy": 1 - value,
                           "test/accuracy": test}  # fmt: skip
                extra = {"attributes": {p: ["x"] for p in parts}, "training": {"erm": erm}}
                out.append(record(method=method, seed=seed, metrics=metrics, **extra))
        return out

    return make


def against(records, write, rule="val/accuracy"):
    report = summarise(
        read([write(records)])[0], parse_rule(rule), ["accuracy"], "equal-information"
    )
    return report, {row.method: row.against for row in report.rows}


def test_each_method_is_compared_with_the_best_baseline_that_reads_no_more(field, write):
    report, found = against(field(), write)
    assert found == {
        "ERM": "class balance", "class balance": "ERM", "JTT": "class balance",
        "RWG": "class balance", "GroupDRO": "RWG", "ERM+TO": "class balance",
        "GroupDRO+TO": "ERM+TO", "undefined": "class balance",
    }  # fmt: skip
    by_name = {row.method: row for row in report.rows}
    for method, other in found.items():
        values = [
            [run.metrics["test/accuracy"] for run in by_name[name].runs]
            for name in (method, other)
        ]
        expected = np.mean(np.subtract(*values))
        mean = by_name[method].differences["test/accuracy"].mean
        assert np.isnan(expected) if np.isnan(mean) else mean == pytest.approx(expected)
    # Another rule, and each method selects by the attribute: the order on validation is reversed.
    _, found = against(field(), write, "val/worst_group_accuracy")
    assert found["GroupDRO"] == found["GroupDRO+TO"] == "ERM" and found["ERM"] == "class balance"


def test_test_data_choose_no_baseline(field, write):
    records = field()
    _, found = against(records, write)
    for record in records:
        record["metrics"]["test/accuracy"] = 1 - record["metrics"]["test/accuracy"]
    assert against(records, write)[1] == found


def test_the_report_names_the_baselines_and_methods_without_one(field, write, tmp_path, capsys):
    path = write(field())
    words = ["report", str(path), "--select=val/accuracy", "--baseline=equal-information"]
    page = tmp_path / "page.html"
    assert main([*words, "--metrics=accuracy", f"--html={page}"]) == 0
    text = capsys.readouterr().out
    assert "difference to the best baseline of equal information" in text
    assert re.search(r"GroupDRO\+TO +│? *ERM\+TO", text)
    html = page.read_text()
    assert "difference to RWG over 3 pairs" in html and "attribute read in" in html
    assert main([*words, "--metrics=accuracy", "--format=json"]) == 0
    rows = {row["method"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    assert rows["GroupDRO"]["compared_with"] == "RWG"
    assert "p_holm" in rows["GroupDRO"]["differences"]["test/accuracy"]
    records = [r for r in field() if r["method"] in ("ERM", "JTT", "GroupDRO")]
    report, found = against(records, write)
    assert found == {"ERM": "", "JTT": "ERM", "GroupDRO": "ERM"}
    assert any("no difference: ERM" in note for note in report.notes)


def test_older_records_have_no_baseline_of_equal_information(grid, write):
    report, found = against(grid, write)
    assert not any(found.values())
    assert sum("records of an older frbench" in note for note in report.notes) == 2
