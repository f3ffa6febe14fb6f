"""Properties of balances and of the metrics of `evaluate`, on tables that hypothesis draws."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frbench.data.balance import Balance, balance_weights, target_distribution
from frbench.data.table import Table
from frbench.metrics import evaluate
from frbench.metrics.names import DIRECTION

drawn = settings(max_examples=15, deadline=None, derandomize=True, database=None)
balances = pytest.mark.parametrize("balance", get_args(Balance))
pytestmark = pytest.mark.promise("properties")


@st.composite
def tables(draw):
    """Labels of two classes, attributes of three values, weights; every cell has a row."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(6, 60))
    y = np.append([0, 0, 0, 1, 1, 1], rng.integers(2, size=n))
    z = np.append([0, 1, 2, 0, 1, 2], rng.integers(3, size=n))
    return Table(rng.normal(size=len(y)), y, z, weight=rng.uniform(0.2, 5, len(y))), rng


def weigh(table, balance):
    return balance_weights(table, 2, 3, balance)


@balances
@drawn
@given(drawn_table=tables())
def test_a_balance_reaches_its_target_whatever_order_scale_and_names(balance, drawn_table):
    table, rng = drawn_table
    weight = weigh(table, balance)
    cell = table.y * 3 + table.z
    p = np.bincount(cell, weights=table.weight, minlength=6).reshape(2, 3)
    q = np.bincount(cell, weights=weight, minlength=6).reshape(2, 3)
    target = target_distribution(p / p.sum(), balance, "keep")
    np.testing.assert_allclose(q / q.sum(), target, rtol=1e-9)
    assert weight.mean() == pytest.approx(1)
    order, name = rng.permutation(len(weight)), rng.permutation(3)
    np.testing.assert_allclose(weigh(table.take(order), balance), weight[order], rtol=1e-9)
    np.testing.assert_allclose(weigh(table.replace(z=name[table.z]), balance), weight, rtol=1e-9)
    scaled = table.replace(weight=7 * table.weight)
    np.testing.assert_allclose(weigh(scaled, balance), weight, rtol=1e-9)
    # A table that is balanced already stays as it is.
    np.testing.assert_allclose(weigh(table.replace(weight=weight), balance), weight, rtol=1e-6)


def metrics(table, scores, names=("a", "b", "c")):
    return evaluate(
        table.y, (scores > 0.5).astype(int), table.z, scores, table.weight,
        attribute_names=names, class_names=("n", "p"),
    )  # fmt: skip


#: Those that `evaluate` gives; the noise floor shuffles rows at random.
EVALUATED = [
    name for name in DIRECTION
    if name != "score_kl_noise_floor" and any(
        name in key.split("/") for key in metrics(
            Table(np.zeros(6), [0, 0, 0, 1, 1, 1], [0, 1, 2] * 2), np.linspace(0, 1, 6)))
]  # fmt: skip


@pytest.mark.parametrize("metric", EVALUATED)
@drawn
@given(drawn_table=tables())
def test_a_metric_does_not_depend_on_order_scale_or_codes(metric, drawn_table):
    table, rng = drawn_table
    scores = rng.random(len(table))
    order, code = rng.permutation(len(table)), rng.permutation(3)
    names = np.empty(3, dtype=object)
    names[code] = ["a", "b", "c"]  # value i is now coded code[i], under its old name
    one = metrics(table, scores)
    others = [
        metrics(table.take(order), scores[order]),
        metrics(table.replace(z=code[table.z]), scores, tuple(names)),
    ]
    if metric != "empty_groups":
        others.append(metrics(table.replace(weight=3 * table.weight), scores))
    for key in (key for key in one if metric in key.split("/")):
        for other in others:
            assert other[key] == pytest.approx(one[key], rel=1e-6, abs=1e-9, nan_ok=True), key
