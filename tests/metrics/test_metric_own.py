"""Metrics of one's own: functions of counts, by import path."""

import pickle
import sys

import numpy as np
import pytest
import torch

from frbench.contracts.errors import UserError
from frbench.metrics import GroupCounts, evaluate, higher_is_better, intervals, metric, tabulate
from frbench.metrics.own import directions, import_metrics, metric_paths


@metric(higher_is_better=False)
def errors_of_unknown(counts):
    """Count the errors on rows of unknown attribute."""
    table = counts[:, -1]
    return table.sum() - np.trace(table)


def error_rate(counts):
    return 1 - np.einsum("yzy->", counts) / counts.sum()


def overwriting(counts):
    counts[:] = 0
    return 0


def empty(counts):
    return counts[0, 0, 0] * 0 / 0


Y, P, Z = [0, 1, 1, 0, 1], [0, 1, 0, 1, 1], [0, 1, -1, -1, 1]
OWN = [errors_of_unknown, error_rate]


def test_own_metrics_are_computed_from_the_counts():
    found = evaluate(Y, P, Z, metrics=[overwriting, *OWN, empty])
    assert list(found)[-4:] == ["overwriting", "errors_of_unknown", "error_rate", "empty"]
    assert found["errors_of_unknown"] == 2 and np.isnan(found["empty"])
    assert found["error_rate"] == pytest.approx(1 - found["accuracy"])


def test_weights_count_too():
    found = evaluate(Y, P, Z, weight=[1, 1, 0.5, 0.25, 1], metrics=OWN)
    assert found["errors_of_unknown"] == 0.75
    assert found["error_rate"] == pytest.approx(1 - found["accuracy"])


def test_intervals_are_those_of_the_resampled_counts():
    rng = np.random.default_rng(0)
    y, p, z = rng.integers(0, 2, (3, 200))
    found = intervals(y, p, z, n_resamples=200, metrics=[error_rate])["error_rate"]
    counts = tabulate(y, p, z, 2, 2)
    tables = np.random.default_rng(0).multinomial(200, counts.ravel() / 200, 200)
    slow = [error_rate(table.reshape(counts.shape)) for table in tables]
    assert found == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])))


def test_states_of_processes_are_summed_before_the_metric():
    logits = torch.nn.functional.one_hot(torch.tensor(P), 2) * 4.0
    y, z = torch.tensor(Y), torch.tensor(Z)
    whole, *parts = (GroupCounts(2, 2, metrics=[overwriting, *OWN]) for _ in range(3))
    whole.update(logits, y, z)
    for part, rows in zip(parts, (slice(0, 1), slice(1, 5)), strict=True):
        part.update(logits[rows], y[rows], z[rows])
    expected = evaluate(Y, P, Z, metrics=OWN)
    assert whole.compute()["errors_of_unknown"] == expected["errors_of_unknown"] == 2
    assert whole.counts.sum() == 5  # a function that overwrites its counts changes a copy
    for name, state in parts[0].metric_state.items():
        setattr(parts[0], name, state + parts[1].metric_state[name])
    parts[0]._computed = None
    assert parts[0].compute()["error_rate"] == pytest.approx(expected["error_rate"])
    assert pickle.loads(pickle.dumps(whole)).metrics == whole.metrics


def test_directions_are_attached_and_known_to_rules():
    own = directions(OWN)
    assert own == {"errors_of_unknown": -1, "error_rate": 0}
    assert not higher_is_better("val/errors_of_unknown", own)
    with pytest.raises(UserError, match="no better direction"):
        higher_is_better("val/error_rate", own)
    with pytest.raises(UserError, match="did you mean: error_rate"):
        higher_is_better("val/error_rat", own)


FILE = """
def mine(counts):
    return 1.0

def accuracy(counts):
    return 1.0

class Kind:
    pass

number = 3
"""


def test_metrics_are_imported_by_path_or_refused_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "my_own_metrics.py").write_text(FILE)
    (tmp_path / "my_broken_metrics.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        (mine,) = import_metrics(["my_own_metrics.mine", "my_own_metrics.mine"])
        assert mine.__name__ == "mine" and metric_paths([mine]) == ["my_own_metrics.mine"]
        for path, words in (
            ("my_other_metrics.mine", "cannot import 'my_other_metrics.mine'"),
            ("my_own_metrics.yours", "no attribute 'yours'"),
            ("my_broken_metrics.mine", "ZeroDivisionError"),
            ("mine", "cannot import 'mine'"),
            ("my_own_metrics.accuracy", "another metric 'accuracy'"),
            ("my_own_metrics.Kind", "no function"),
            ("my_own_metrics.number", "no function"),
        ):
            with pytest.raises(UserError, match=words) as caught:
                import_metrics([path])
            assert "\n" not in str(caught.value)
    finally:
        for name in ("my_own_metrics", "my_broken_metrics"):
            sys.modules.pop(name, None)


def test_what_is_no_number_is_refused():
    def words(counts):
        return "many"

    with pytest.raises(UserError, match="words must return a number, got 'many'"):
        evaluate(Y, P, Z, metrics=[words])
    with pytest.raises(UserError, match="another metric 'error_rate'"):
        evaluate(Y, P, Z, metrics=[error_rate, error_rate])
