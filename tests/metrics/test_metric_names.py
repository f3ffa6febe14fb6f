"""Keys are declared: what is listed without evaluating is what an evaluation gives."""

import itertools

import numpy as np
import pytest

from frbench.metrics import evaluate, metric_names, split_key
from frbench.metrics.counts import keyed
from frbench.metrics.rows import cross_attributes


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("values", [1, 2, 3])
@pytest.mark.parametrize("scores", [True, False])
def test_the_names_listed_are_those_of_an_evaluation(num_classes, values, scores):
    rng = np.random.default_rng(0)
    y, guess = rng.integers(0, num_classes, (2, 30))
    classes = ["no", "yes", "may be"][:num_classes]
    attributes = ["a/b", "z=c", "d"][:values]
    found = evaluate(
        y,
        guess,
        rng.integers(-1, values, 30),
        np.eye(num_classes)[guess] if scores else None,
        class_names=classes,
        attribute_names=attributes,
    )
    assert list(found) == metric_names(classes, attributes, scores)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_crossed_attributes_are_named_by_their_crossed_values(number):
    rows = np.array(list(itertools.product([0, 1], repeat=number)))
    z = {f"z{i}": column for i, column in enumerate(rows.T)}
    y = np.arange(len(rows)) % 2
    assert list(evaluate(y, y, z)) == metric_names(["0", "1"], cross_attributes(z)[1], False)


def test_values_that_are_not_declared_are_refused():
    with pytest.raises(KeyError, match="does not declare"):
        keyed(["accuracy"], {"accuracy": np.ones(()), "acuracy": np.ones(())})
    with pytest.raises(KeyError):
        keyed(["accuracy", "auroc"], {"accuracy": np.ones(())})


@pytest.mark.parametrize("table", ["val", "test", "test/P0", "end/test/P0", ""])
def test_a_key_is_divided_into_table_and_metric(table):
    for metric in metric_names(["no", "yes"], ["f/accuracy", "m"]):
        assert split_key(f"{table}/{metric}" if table else metric) == (table, metric)
    assert split_key("val/mine", {"mine": 0}) == ("val", "mine")
    assert split_key("train/risk") == ("train/risk", "")
