import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import frbench.metrics
from frbench.contracts.errors import UserError
from frbench.metrics import evaluate, intervals, table_rates
from frbench.metrics.rows import cross_attributes, to_rows

Y, P, Z = [0, 1, 1, 0, 1, 0], [0, 1, 0, 0, 1, 1], [0, 0, 1, 1, 0, 1]


def test_text_booleans_floats_and_series_equal_integers():
    expected = list(evaluate(Y, P, Z).values())
    codings = [
        (np.array(Y, bool), np.array(P, bool), np.array(Z, bool)),
        (np.array(Y, float), np.array(P, float), np.array(Z, float)),
        (*[np.array(["no", "yes"])[v] for v in (Y, P)], np.array(["f", "m"])[Z]),
        (pd.Series(Y, dtype="category"), pd.Series(P, dtype="Int64"), pd.Series(Z, index=Y)),
        (pd.Series(Y).map({0: "a", 1: "b"}), ["ab"[i] for i in P], np.array(Z, object)),
        (np.array(Y) * 2 - 1, np.array(P) * 2 - 1, np.array(Z, np.uint8) + 7),
    ]
    for columns in codings:
        assert list(evaluate(*columns).values()) == expected


def test_names_come_from_the_values():
    assert to_rows(["no", "yes"], ["no", "no"], ["f", "m"])[-2:] == (("no", "yes"), ("f", "m"))
    assert to_rows([True, False], [True, True], [True, False])[-2:] == (("False", "True"),) * 2
    assert to_rows([True, False], [1, 0], [5, 5])[-2:] == (("0", "1"), ("5",))
    assert to_rows([-1, 1], [1, 1], [0, 0]).class_names == ("-1", "1")
    assert to_rows([1, 2], [2, 2], [0, 0]).y.tolist() == [0, 1]


def test_absent_and_unsorted_group_ids_never_shift_names():
    z = np.array([7, 2, 7, 2, 0, 0])
    values = evaluate(Y, P, z)
    for a in (0, 2, 7):
        rows = z == a
        expected = np.mean(np.array(Y)[rows] == np.array(P)[rows])
        assert values[f"accuracy/z={a}"] == expected
    assert "accuracy/z=1" not in values
    assert to_rows(Y, P, [7, 2, -1, 2, 0, -1]).z.tolist() == [2, 1, -1, 1, 0, -1]
    named = evaluate(Y, P, [2, 2, 0, 0, 2, 0], attribute_names=["a", "b", "c"])
    plain = evaluate(Y, P, [1, 1, 0, 0, 1, 0], attribute_names=["a", "c"])
    assert np.isnan(named.pop("accuracy/z=b"))
    assert named["accuracy/z=c"] == plain["accuracy/z=c"] != plain["accuracy/z=a"]
    assert named["demographic_parity_difference"] == plain["demographic_parity_difference"]


def test_keys_are_fixed_by_names():
    names = {"class_names": ["n", "p"], "attribute_names": ["a", "b", "c"]}
    keys = [list(evaluate(v, v, z, **names)) for v, z in (([0, 1], [0, 1]), ([1], [2]))]
    assert keys[0] == keys[1]


def test_given_names_set_the_positive_class():
    y, p = ["good", "bad", "bad", "good"], ["good", "good", "bad", "good"]
    found = evaluate(y, p, [0, 0, 0, 0], class_names=["good", "bad"])
    assert found["true_positive_rate/z=0"] == 0.5
    assert evaluate(y, p, [0, 0, 0, 0])["true_positive_rate/z=0"] == 1.0


def test_several_attributes_are_crossed():
    frame = pd.DataFrame({"sex": ["F", "M", "M", "F"], "race": [2, 2, 1, 1]})
    names = ("sex=F&race=1", "sex=F&race=2", "sex=M&race=1", "sex=M&race=2")
    codes, found = cross_attributes(frame)
    assert (codes.tolist(), found) == ([1, 3, 2, 0], names)
    codes, found = cross_attributes(frame.to_dict("list"))
    assert (codes.tolist(), found) == ([1, 3, 2, 0], names)
    codes, found = cross_attributes(np.array([[0, 1], [1, 0], [1, -1]]))
    assert (codes.tolist(), found) == (
        [1, 2, -1],
        ("z0=0&z1=0", "z0=0&z1=1", "z0=1&z1=0", "z0=1&z1=1"),
    )
    codes, found = cross_attributes([[0, 1], ["a", "a"]], [["F", "M"], ["a", "b"]])
    assert codes.tolist() == [0, 2]
    assert found == ("z0=F&z1=a", "z0=F&z1=b", "z0=M&z1=a", "z0=M&z1=b")


def test_table_rates_per_attribute_and_crossed():
    y = [1, 0, 1, 1, 0, 1]
    frame = pd.DataFrame({"sex": list("FFMMMM"), "race": list("ababab")})
    rates = table_rates(y, frame)
    assert list(rates) == ["sex", "race", "sex&race"]
    assert rates["sex"]["representation_rate"] == 0.5
    assert rates["sex"]["statistical_rate/y=1"] == pytest.approx(0.5 / 0.75)
    assert rates["sex"]["statistical_rate/y=0"] == 0.5 == rates["sex"]["statistical_rate"]
    assert rates["race"]["representation_rate"] == 1.0
    assert rates["sex&race"]["statistical_rate"] == 0.0
    weighted = table_rates(y, frame["sex"], weight=[2, 2, 1, 1, 1, 1])["z"]
    assert weighted["representation_rate"] == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": [0, 1]}, "Columns differ in length"),
        ({"y": [0, 1, np.nan, 0, 1, 0]}, "y has missing values"),
        ({"y_pred": [0, 1, None, 0, 1, 0]}, "y_pred has missing values"),
        ({"z": pd.Series(["a", None, "b", "a", "b", "a"])}, "z has missing values"),
        ({"z": pd.Series([1, None, 0, 1, 0, 1], dtype="Int64")}, "z has missing values"),
        ({"y": [0.5, 1, 1, 0, 1, 0]}, "y has fractional numbers"),
        ({"y": list("aabbab")}, "y and y_pred hold text and numbers"),
        ({"y": [3] * 6, "y_pred": [3] * 6}, "one class only"),
        ({"z": [-2, 1, 1, 0, 0, 0]}, "only -1"),
        ({"z": [-1, 1, 1, -1, 1, 1]}, "-1 means unknown"),
        ({"z": [[0, 1], [1, 0]]}, "Columns differ in length"),
        ({"class_names": ["a"]}, r"unknown labels \[1\]"),
        ({"class_names": ["a", "a"]}, "2 distinct names"),
        ({"attribute_names": ["a"]}, r"z holds unknown labels \[1\]"),
        ({"y": list("aabbab"), "y_pred": list("aabbab"), "class_names": ["a", "c"]}, "'b'"),
        ({"weight": [1, 1, 1, 1, 1, -1]}, "non-negative"),
        ({"weight": [0] * 6}, "not all zero"),
        ({"weight": [1, 1]}, "Columns differ in length"),
        ({"weight": [1, 1, 1, 1, 1, np.inf]}, "weight has missing or infinite"),
        ({"scores": [0, 0, 0, 0, 0, 1.01]}, r"scores must lie in \[0, 1\]"),
        ({"scores": [0, 0, 0, 0, 0, -0.01]}, r"scores must lie in \[0, 1\]"),
        ({"scores": [0, 0, 0, 0, 0, np.nan]}, "scores has missing"),
        ({"scores": ["a"] * 6}, "scores must be numbers"),
        ({"scores": np.full((6, 2), 0.4)}, "sum to 1"),
        ({"scores": np.full((6, 3), 1 / 3), "class_names": ["a", "b"]}, "scores must have shape"),
        ({"scores": [0.5] * 5}, "Columns differ in length"),
        ({"y": [], "y_pred": [], "z": []}, "no rows"),
        ({"z": range(2000), "y": [0] * 2000, "y_pred": [1] * 2000}, "continuous"),
    ],
)
def test_unusable_columns_are_named_in_one_line(change, message):
    columns = {"y": Y, "y_pred": P, "z": Z} | change
    with pytest.raises(UserError, match=message) as error:
        evaluate(**columns)
    assert "\n" not in str(error.value)


def test_scores_of_two_columns_equal_those_of_one():
    s = np.linspace(0.1, 0.9, 6)
    assert evaluate(Y, P, Z, s) == evaluate(Y, P, Z, np.stack([1 - s, s], 1))


def test_public_names_resolve_and_unknown_ones_do_not():
    for name in frbench.metrics.__all__:
        assert callable(getattr(frbench.metrics, name))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = frbench.metrics.nothing
    assert "GroupCounts" in dir(frbench.metrics)


def test_no_torch_is_needed():
    code = """
import json, sys
for name in ("torch", "torchmetrics", "pytorch_lightning"):
    sys.modules[name] = None  # importing it raises
import frbench.metrics as m
values = m.evaluate([0, 1, 1, 0], [0, 1, 0, 0], [0, 0, 1, 1], [.1, .9, .4, .2])
m.intervals([0, 1, 1, 0], [0, 1, 0, 0], [0, 0, 1, 1], [.1, .9, .4, .2], n_resamples=10)
import frbench.commands.audit
try:
    m.GroupCounts
except ImportError:
    values["blocked"] = 1
print(json.dumps({k: values[k] for k in ("accuracy", "blocked")}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"accuracy": 0.75, "blocked": 1}


def test_intervals_have_the_keys_of_evaluate_but_those_without():
    s = np.linspace(0.1, 0.9, 6)
    keys = evaluate(Y, P, Z, s).keys()
    assert intervals(Y, P, Z, s, n_resamples=20).keys() == keys - {
        "empty_groups", "expected_calibration_error", "score_kl", "score_kl_noise_floor"
    }  # fmt: skip
