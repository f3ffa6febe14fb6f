"""The encoder against a slow loop that follows its docstring word by word."""

import numpy as np
import pandas as pd
import pytest

from frbench.contracts.errors import UserError
from frbench.data.encode import MAX_LEVELS, TableEncoder


def slow(train: pd.DataFrame, frame: pd.DataFrame, categorical: set[str]) -> np.ndarray:
    """One value at a time."""
    rows = []
    for i in range(len(frame)):
        row = []
        for name in train.columns:
            seen = [v for v in train[name] if not pd.isna(v)]
            value, lacks = frame[name].iloc[i], len(seen) < len(train)
            if name in categorical:
                row += [
                    float(not pd.isna(value) and value == level) for level in sorted(set(seen))
                ]
            else:
                mean = sum(seen) / len(seen)
                sd = (sum((v - mean) ** 2 for v in seen) / len(seen)) ** 0.5
                filled = sorted(seen)[len(seen) // 2] if pd.isna(value) else value
                row.append(0.0 if len(set(seen)) == 1 else (filled - mean) / sd)
            if lacks:
                row.append(float(pd.isna(value)))
        rows.append(row)
    return np.array(rows, dtype=np.float32)


@pytest.fixture
def frames():
    rng = np.random.default_rng(0)
    n = 301

    def frame(levels: str) -> pd.DataFrame:
        text = pd.Series(rng.choice(list(levels), n), dtype=object)
        gaps = rng.normal(3, 2, n)
        gaps[rng.random(n) < 0.1] = np.nan
        return pd.DataFrame(
            {
                "number": rng.normal(50, 9, n),
                "text": text.where(rng.random(n) > 0.1, None),
                "flag": rng.random(n) < 0.3,
                "few": rng.integers(0, 3, n),
                "code": rng.integers(1, 4, n),
                "gaps": gaps,
                "category": pd.Categorical(rng.choice(["u", "v"], n)),
            }
        )

    train = frame("abc")
    if train["gaps"].notna().sum() % 2 == 0:  # the loop's median is that of odd counts
        train = train.drop(train.index[train["gaps"].notna()][0])
    return train, frame("abcd")


def test_equals_the_slow_loop(frames):
    train, other = frames
    other.loc[:9, "number"] = np.nan  # missing, though never in training
    encoder = TableEncoder(categorical=["code"]).fit(train)
    categorical = {"text", "flag", "code", "category"}
    for frame in frames:
        x = encoder.transform(frame)
        assert x.dtype == np.float32
        expected = slow(train, frame, categorical)
        if frame is other:  # the loop knows no median for a column that is complete in training
            expected[:10, 0] = (train["number"].median() - train["number"].mean()) / train[
                "number"
            ].std(ddof=0)
        np.testing.assert_allclose(x, expected, rtol=2e-5, atol=2e-6)
    assert encoder.unseen(other) == {"text": (other["text"] == "d").sum()}
    assert encoder.unseen(train) == {}


def test_names_and_order_follow_the_columns(frames):
    encoder = TableEncoder(categorical=["code"]).fit(frames[0])
    assert encoder.feature_names == [
        *["number", "text=a", "text=b", "text=c", "text missing", "flag=False", "flag=True"],
        *["few", "code=1", "code=2", "code=3", "gaps", "gaps missing"],
        *["category=u", "category=v"],
    ]


def test_dummies_are_zero_or_one_and_numbers_are_standardised(frames):
    train = frames[0]
    encoder = TableEncoder().fit(train)
    x = encoder.transform(train)
    for i, name in enumerate(encoder.feature_names):
        if "=" in name or "missing" in name:
            assert set(np.unique(x[:, i])) == {0, 1}, name
    number = x[:, 0].astype(np.float64)
    assert abs(number.mean()) < 1e-5 and abs(number.std() - 1) < 1e-5


def test_a_column_constant_in_training_is_zero_everywhere():
    encoder = TableEncoder().fit(pd.DataFrame({"c": [0.1] * 7}))
    assert encoder.transform(pd.DataFrame({"c": [0.1, 5.0]})).tolist() == [[0.0], [0.0]]


def test_codes_with_gaps_keep_their_levels():
    """A missing value turns integers into floats; level 1 must stay level 1."""
    encoder = TableEncoder(categorical=["c"]).fit(pd.DataFrame({"c": [1, 2, 2]}))
    assert encoder.transform(pd.DataFrame({"c": [2.0, np.nan]})).tolist() == [[0, 1], [0, 0]]


def test_numeric_overrides_the_type():
    encoder = TableEncoder(numeric=["c"]).fit(pd.DataFrame({"c": ["1", "3", None]}))
    assert encoder.transform(pd.DataFrame({"c": ["3"]})).tolist() == [[1, 0]]


@pytest.mark.parametrize(
    ("column", "options", "message"),
    [
        ([1.0, np.inf], {}, "Column 'c' holds infinite values"),
        ([np.nan, np.nan], {}, "Column 'c' has no value in the training split"),
        (["1", "x"], {"numeric": ["c"]}, "Column 'c' is not numeric: it holds 'x'"),
        (pd.to_datetime(["2020-01-01", "2020-01-02"]), {}, "Column 'c' holds dates"),
        ([f"id{i}" for i in range(MAX_LEVELS + 1)], {}, "1001 different values"),
    ],
)
def test_columns_that_cannot_be_encoded(column, options, message):
    with pytest.raises(UserError, match=message):
        TableEncoder(**options).fit(pd.DataFrame({"c": column}))


def test_infinite_values_outside_training_are_an_error_too():
    encoder = TableEncoder().fit(pd.DataFrame({"c": [1.0, 2.0]}))
    with pytest.raises(UserError, match="Column 'c' holds infinite values"):
        encoder.transform(pd.DataFrame({"c": [-np.inf]}))
