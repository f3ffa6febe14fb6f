"""Overlapping groups: metrics of each over all its rows, training on a partition."""

import sys
import types

import numpy as np
import pandas as pd
import published_forms as forms
import pytest
import torch
from command import run

from frbench.contracts.errors import UserError
from frbench.data import TableData, TextTable
from frbench.metrics import GroupCounts, evaluate, intervals, metric_names
from frbench.metrics.names import direction
from frbench.support.overlap import group_sets, most_specific, sets_of

pytestmark = pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning")
GROUPS = ["black", "male", "old"]


def drawn(n=500):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, n)
    member = rng.random((n, 3)) < [0.1, 0.5, 0.2]
    guess = np.where(rng.random(n) < 0.6 + 0.2 * member[:, 1], y, 1 - y)
    return y, guess, member


def test_each_group_is_counted_over_all_of_its_rows():
    y, guess, member = drawn()
    found = evaluate(y, guess, pd.DataFrame(member, columns=GROUPS), overlapping=True)
    worst = []
    for k, group in enumerate(GROUPS):
        for label in (0, 1):
            rows = member[:, k] & (y == label)
            accuracy = (guess == y)[rows].mean()
            assert found[f"group_accuracy/y={label},z={group}"] == pytest.approx(accuracy)
            worst.append(accuracy)
    assert found["worst_group_accuracy/overlapping"] == pytest.approx(min(worst))
    assert found["accuracy"] == pytest.approx((guess == y).mean())  # each row once
    rates = [guess[member[:, k]].mean() for k in range(3)]
    gap = found["demographic_parity_difference/overlapping"]
    assert gap == pytest.approx(max(rates) - min(rates))


def test_weights_and_intervals_are_those_of_the_groups_rows():
    y, guess, member = drawn()
    weight = np.random.default_rng(1).uniform(0.5, 2, len(y))
    given = {"weight": weight, "attribute_names": GROUPS, "overlapping": True}
    found, ends = evaluate(y, guess, member, **given), intervals(y, guess, member, **given)
    for k, group in enumerate(GROUPS):
        rows = member[:, k]
        alone = np.full(rows.sum(), 0), y[rows], guess[rows], weight[rows]
        key, own = f"group_accuracy/y=1,z={group}", "group_accuracy/y=1,z=0"
        wanted = intervals(alone[1], alone[2], alone[0], weight=alone[3])[own]
        assert ends[key] == pytest.approx(wanted)
        assert wanted[0] < found[key] < wanted[1]
    low, high = ends["worst_group_accuracy/overlapping"]
    assert low < found["worst_group_accuracy/overlapping"] < high


def test_the_metric_of_training_has_the_same_keys_and_values():
    y, guess, member = drawn()
    codes, names = group_sets(member, GROUPS)
    metric = GroupCounts(2, len(names), ["0", "1"], names)
    for part in np.array_split(np.arange(len(y)), 3):
        logits = torch.eye(2)[guess[part]] * 4
        metric.update(logits, torch.tensor(y[part]), torch.tensor(codes[part]))
    ours = metric.compute()
    wanted = evaluate(y, guess, member, attribute_names=GROUPS, overlapping=True)
    assert wanted.keys() <= ours.keys() and list(ours) == metric_names(["0", "1"], names)
    for key in wanted:
        assert ours[key] == pytest.approx(wanted[key], nan_ok=True), key
    assert direction("val/worst_group_accuracy/overlapping") == 1


def test_a_set_of_few_rows_is_trained_as_its_rarest_group():
    member = np.array([[1, 1, 0]] * 3 + [[0, 1, 1]] * 9 + [[0, 1, 0]] * 20 + [[0, 0, 1]] * 2, bool)
    codes, names = group_sets(member, GROUPS)
    assert sets_of(names)[0] == GROUPS
    found = np.array(names)[most_specific(codes, names, 5)]
    assert set(found[:3]) == {"{black}"} and set(found[3:12]) == {"{male+old}"}
    assert set(found[12:32]) == {"{male}"} and set(found[32:]) == {"{old}"}
    assert (most_specific(codes, names, 1) == codes).all()
    assert most_specific(np.array([-1]), names, 5).tolist() == [-1]


def test_training_sees_the_partition_and_the_test_rows_all_their_groups(tmp_path):
    y, _, member = drawn()
    frame = pd.DataFrame(np.where(member, 0.9, 0.1), columns=GROUPS).assign(x=y, y=y)
    frame.to_csv(tmp_path / "a.csv", index=False)
    data = TableData(str(tmp_path / "a.csv"), "y", GROUPS, overlapping=12)
    names, splits = data.attribute_names, data.splits
    counts = np.bincount(splits["train"].z, minlength=len(names))
    assert all(n == 0 or n >= 12 or "+" not in s for n, s in zip(counts, names, strict=True))
    assert any("in their rarest group" in note for note in data.notes)
    rows = splits["test"].x.index
    wanted = [{g for g, m in zip(GROUPS, member[i], strict=True) if m} for i in rows]
    assert [set(names[z][1:-1].split("+")) - {""} for z in splits["test"].z] == wanted
    new = data.new_rows(next(data.new_parts(str(tmp_path / "a.csv"))))
    assert set(new.z) <= set(names) and len(new.z) == 500


@pytest.mark.parametrize(
    ("column", "said"),
    [(["a", "b"], "has the value 'a'"), ([0, 3], "numbers from 0 to 1")],
)
def test_columns_that_say_no_membership_are_refused(column, said, tmp_path):
    frame = pd.DataFrame({"x": range(40), "y": [0, 1] * 20, "g": column * 20, "h": [0, 1] * 20})
    frame.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(UserError, match=said):
        TableData(str(tmp_path / "a.csv"), "y", ["g", "h"], overlapping=0).setup("fit")
    with pytest.raises(UserError, match=r"leave out data\.bins"):
        TableData(str(tmp_path / "a.csv"), "y", ["h"], overlapping=0, bins={"h": [1]}).setup("fit")
    with pytest.raises(UserError, match="rename 'a\\+b'"):
        group_sets(np.ones((1, 1), bool), ["a+b"])


def test_audit_reads_a_column_for_each_group(in_tmp, capsys):
    y, guess, member = drawn()
    frame = pd.DataFrame(member.astype(int), columns=GROUPS).assign(y=y, guess=guess)
    frame.to_csv("a.csv", index=False)
    run("audit", "a.csv", "--y=y", "--pred=guess", "--z", *GROUPS, "--overlapping",
        "--format=csv", "--resamples=2")  # fmt: skip
    wanted = evaluate(y, guess, member, attribute_names=GROUPS, overlapping=True)
    lines = dict(
        line.split(",")[1:3] for line in capsys.readouterr().out.splitlines() if "/ove" in line
    )
    key = "worst_group_accuracy/overlapping"
    assert float(lines[key]) == pytest.approx(wanted[key], abs=1e-4)


@pytest.fixture
def civilcomments(tmp_path, monkeypatch):
    monkeypatch.setenv("FRBENCH_DATA", str(tmp_path))
    forms.civilcomments(tmp_path)
    by = {"split": "column", "split_column": "split", "overlapping": 5, "batch_size": 32}
    file = str(tmp_path / "civilcomments_v1.0" / "all_data_with_identities.csv")
    return TextTable(file, "comment_text", "toxicity", forms.IDENTITIES, positive=">= 0.5", **by)


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable", "ignore:The 'future")
def test_worst_group_of_civilcomments_is_that_of_wilds(civilcomments, tmp_path, monkeypatch):
    wilds = pytest.importorskip("wilds")

    def mean(src, index, dim_size, reduce):
        return torch.zeros(dim_size).scatter_reduce_(0, index, src, reduce, include_self=False)

    monkeypatch.setitem(sys.modules, "torch_scatter", types.SimpleNamespace(scatter=mean))
    by = {"split": "column", "split_column": "split", "overlapping": 5}
    data = TextTable("wilds:civilcomments", "text", "y", forms.IDENTITIES, **by)
    test = data.splits["test"]
    guess = np.where(np.random.default_rng(0).random(len(test)) < 0.7, test.y, 1 - test.y)
    ours = evaluate(test.y, guess, test.z, attribute_names=data.attribute_names,
                    class_names=["0", "1"])  # fmt: skip
    with pd.option_context("future.infer_string", False):
        subset = wilds.get_dataset("civilcomments", root_dir=str(tmp_path)).get_subset("test")
    theirs, _ = subset.eval(torch.tensor(guess), subset.y_array, subset.metadata_array)
    assert ours["worst_group_accuracy/overlapping"] == pytest.approx(theirs["acc_wg"])
    for group in forms.IDENTITIES:
        for y in (0, 1):
            known = theirs[f"acc_y:{y}_{group}:1"]
            assert ours[f"group_accuracy/y={y},z={group}"] == pytest.approx(known)
    alone = civilcomments.splits["test"]  # the same rows without the package
    assert alone.y.tolist() == test.y.tolist() and len(alone) == len(test)
