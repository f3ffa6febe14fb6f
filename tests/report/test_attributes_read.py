"""Where runs read the attribute: what the classes declare, and the leaderboards by it."""

import itertools
from typing import get_args

import numpy as np
import pytest
import torch

from frbench.data import Digits, Table
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
from frbench.runs.attributes import attributes_behind, attributes_read


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
    found = attributes_behind(before, model.postprocess, model)
    assert found["fit"] == ["ThresholdOptimizer"] and found["select"] == [groups]
    assert "reads the attribute" in found["test"][0]
    assert attributes_behind(before, DFR(), of(ERM))["fit"] == ["DFR"]
    assert attributes_behind(before, SELF(), of(ERM))["fit"] == []


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
