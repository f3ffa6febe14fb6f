"""TableData on small tables: policies, splits, encoding on training rows only, and errors."""

import numpy as np
import pandas as pd
import pytest

from frbench.contracts.errors import UserError
from frbench.data.categorical import Categorical, categorize, cross
from frbench.data.cells import Cells
from frbench.data.describe import describe
from frbench.data.fingerprint import fingerprint
from frbench.data.reading import read_table
from frbench.data.splits import cut, deal
from frbench.data.tables.table_data import TableData
from frbench.data.targets import binary


def people(n: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "age": rng.integers(18, 70, n),
            "job": rng.choice(["cook", "nurse", "clerk"], n),
            "sex": rng.choice(["f", "m"], n, p=[0.4, 0.6]),
            "race": rng.choice(["black", "white", "asian"], n),
            "hired": rng.choice(["no", "yes"], n, p=[0.7, 0.3]),
        }
    )


@pytest.fixture
def make(tmp_path):
    def build(frame=None, suffix=".csv", **options):
        path = tmp_path / f"people{suffix}"
        frame = people() if frame is None else frame
        if suffix == ".parquet":
            frame.to_parquet(path)
        else:
            frame.to_csv(path, index=False, sep=options.get("sep", ","))
        options = {"target": "hired", "attribute": "sex", **options}
        return TableData(str(path), **options)

    return build


def rows(data: TableData) -> dict[str, np.ndarray]:
    return {name: table.x.index.to_numpy() for name, table in data.splits.items()}


# ---- reading ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("suffix", "sep"), [(".csv", ","), (".csv", ";"), (".csv.gz", ","), (".parquet", ",")]
)
def test_formats_give_the_same_data(make, suffix, sep):
    assert fingerprint(make(suffix=suffix, sep=sep)) == fingerprint(make())


def test_raw_columns_arrive_with_labels_and_attributes(make):
    frame, data = people(), make()
    assert data.class_names == ("no", "yes") and data.attribute_names == ("f", "m")
    for table in data.splits.values():
        raw = frame.loc[table.x.index]
        assert list(table.x.columns) == ["age", "job", "race"]
        pd.testing.assert_frame_equal(table.x, raw[table.x.columns], check_dtype=False)
        np.testing.assert_array_equal(table.y, raw["hired"] == "yes")
        np.testing.assert_array_equal(table.z, raw["sex"] == "m")
    assert data.sizes == (2, 2, (7,), 0)
    assert data.encode(data.splits["val"].x).shape == (len(data.splits["val"]), 7)


def test_the_constructor_reads_nothing():
    data = TableData("absent.csv", target="y", attribute="z")
    with pytest.raises(UserError, match=r"there is no file absent\.csv"):
        _ = data.sizes


def test_the_table_is_read_once(make, monkeypatch):
    data = make()
    calls = []
    read = data.read
    monkeypatch.setattr(data, "read", lambda: calls.append(1) or read())
    _ = data.sizes, data.class_names, data.attribute_names, data.splits, describe(data)
    assert len(calls) == 1


def test_row_numbers_of_to_csv_are_no_input(tmp_path):
    path = tmp_path / "t.csv"
    people().to_csv(path)
    data = TableData(str(path), target="hired", attribute="sex")
    assert list(data.splits["train"].x.columns) == ["age", "job", "race"]


@pytest.mark.parametrize("name", ["NA", "None", "nan", "null"])
def test_a_column_may_be_called_as_missing_values_are(name, tmp_path):
    people().rename(columns={"job": name}).to_csv(tmp_path / "t.csv", index=False)
    data = TableData(str(tmp_path / "t.csv"), target="hired", attribute="sex")
    assert list(data.splits["train"].x.columns) == ["age", name, "race"]


@pytest.mark.parametrize("as_input", [False, True])
def test_the_attribute_is_an_input_on_demand_and_the_notes_say_so(make, as_input):
    data = make(attribute=["sex", "race"], attribute_as_input=as_input)
    assert ({"sex", "race"} <= set(data.splits["train"].x.columns)) == as_input
    assert ("sex=f" in data.encoder.feature_names) == as_input
    note = "attribute sex, race: among" if as_input else "attribute sex, race: not among"
    assert note in describe(data)


def test_drop_and_overrides(make):
    data = make(drop=["race"], categorical=["age"], attribute="race")
    assert list(data.splits["train"].x.columns) == ["age", "job", "sex"]
    assert any(name.startswith("age=") for name in data.encoder.feature_names)


# ---- labels and attributes ----------------------------------------------------------------------
def test_positive_values_make_class_one(make):
    data = make(target="job", positive=["nurse", "cook"])
    assert data.class_names == ("clerk", "nurse|cook")
    assert data.num_classes == 2
    jobs = people()["job"]
    for table in data.splits.values():
        np.testing.assert_array_equal(table.y, jobs[table.x.index] != "clerk")


@pytest.mark.parametrize("positive", [1, "1", 1.0])
def test_positive_may_be_written_as_number_or_text(make, positive):
    frame = people().assign(hired=lambda d: (d["hired"] == "yes").astype(float))
    frame.loc[0, "hired"] = np.nan
    data = make(frame, positive=positive)
    assert data.class_names == ("0", "1")
    assert "1 of 400 rows dropped: target missing" in describe(data)


def test_three_classes_are_sorted(make):
    assert make(target="job").class_names == ("clerk", "cook", "nurse")


def test_crossed_attributes_hold_the_combinations_that_occur(make):
    frame = people()
    frame = frame[(frame["sex"] != "f") | (frame["race"] != "asian")]
    data = make(frame, attribute=["sex", "race"])
    assert data.attribute_names == ("f&black", "f&white", "m&asian", "m&black", "m&white")
    raw = frame.reset_index(drop=True)
    for table in data.splits.values():
        names = raw.loc[table.x.index, ["sex", "race"]].agg("&".join, axis=1)
        np.testing.assert_array_equal(np.array(data.attribute_names)[table.z], names)


def test_bins_cut_numbers_and_gather_texts(make):
    data = make(attribute=["age", "race"], bins={"age": [25, 60], "race": ["black"]})
    assert data.attribute_names == (
        *("age<25&black", "age<25&other", "25<=age<60&black", "25<=age<60&other"),
        *("age>=60&black", "age>=60&other"),
    )
    frame = people()
    for table in data.splits.values():
        ages = frame.loc[table.x.index, "age"]
        np.testing.assert_array_equal(table.z // 2, (ages >= 25).astype(int) + (ages >= 60))


def test_factors_by_hand():
    ages = categorize(pd.Series([24.9, 25, np.nan, 80], name="age"), [25, 60])
    assert ages.codes.tolist() == [0, 1, -1, 2]
    # Empty intervals are no values: an empty group could never be balanced.
    assert categorize(pd.Series([1, 99], name="age"), [25, 60]).names == ["age<25", "age>=60"]
    both = cross(
        [Categorical(np.array([0, 0, 1, -1]), ["a", "b"]), categorize(pd.Series([5, 6, None, 5]))]
    )
    assert both.codes.tolist() == [0, 1, -1, -1] and both.names == ["a&5", "a&6"]
    assert binary(Categorical(np.array([0, 1, 2]), ["0", "1", "2"]), [2.0]).names == ["other", "2"]


# ---- missing values -----------------------------------------------------------------------------
def gappy() -> pd.DataFrame:
    frame = people()
    frame.loc[:19, "sex"] = None
    frame.loc[10:39, "job"] = None
    frame.loc[395:, "hired"] = None
    return frame


@pytest.mark.parametrize(
    ("policy", "size", "names", "note"),
    [
        ("drop", 375, ("f", "m"), "20 of 395 rows dropped: attribute missing"),
        ("group", 395, ("f", "m", "missing"), "20 rows have no attribute: they are a group"),
        ("ignore", 395, ("f", "m"), "rows without attribute, in no group"),
    ],
)
def test_rows_without_attribute(make, policy, size, names, note):
    data = make(gappy(), missing_attribute=policy)
    assert data.attribute_names == names
    assert sum(map(len, data.splits.values())) == size
    z = {i: z for t in data.splits.values() for i, z in zip(t.x.index, t.z, strict=True)}
    without = [z[i] for i in range(20) if i in z]
    assert without == {"drop": [], "group": [2] * 20, "ignore": [-1] * 20}[policy]
    assert all(value >= 0 for i, value in z.items() if i >= 20)
    assert note in describe(data)
    assert "5 of 400 rows dropped: target missing" in describe(data)


def test_crossed_attributes_are_missing_where_any_is(make):
    frame = gappy()
    frame.loc[50, "race"] = None
    data = make(frame, attribute=["sex", "race"], missing_attribute="group")
    assert data.attribute_names[-1] == "missing"
    assert sum((t.z == len(data.attribute_names) - 1).sum() for t in data.splits.values()) == 21


def test_rows_without_an_input_are_kept_or_dropped(make):
    kept = make(gappy())
    assert "job missing" in kept.encoder.feature_names
    dropped = make(gappy(), missing_input="drop")
    assert "job missing" not in dropped.encoder.feature_names
    assert "30 of 395 rows dropped: input missing" in describe(dropped)
    assert sum(map(len, dropped.splits.values())) == 400 - 5 - 40


def test_missing_values_may_be_marked_by_a_text(make):
    frame = people().replace({"job": {"cook": "?"}})
    names = make(frame, missing_values=["?"]).encoder.feature_names
    assert "job missing" in names and "job=?" not in names


def test_missing_values_are_the_same_in_every_format(tmp_path):
    frame = people().replace({"job": {"cook": "?"}})
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    frame.to_parquet(tmp_path / "t.parquet")
    cells = Cells(missing_values=["?"])
    lacking = {
        suffix: int(read_table(str(tmp_path / f"t.{suffix}"), cells)["job"].isna().sum())
        for suffix in ("csv", "jsonl", "parquet")
    }
    assert len(set(lacking.values())) == 1 and lacking["csv"] > 0


def test_values_that_stay_may_be_called_other_or_named_twice():
    column = pd.Series(["black", "other", "white", "black"], name="race")
    found = categorize(column, bins=["black", "other", "black"])
    assert found.names == ["black", "other"] and found.codes.tolist() == [0, 1, 1, 0]


def test_a_column_that_names_single_rows_is_pointed_at(make):
    frame = people(1000).assign(name=[f"Müller, {i}" for i in range(1000)])
    note = "name: 600 different values in 600 training rows; if it names single rows, leave it out"
    assert note in describe(make(frame))
    shared = frame.assign(name=[f"street {i // 4}" for i in range(1000)])
    assert "different values" not in describe(make(shared))
    assert "different values" not in describe(make(frame, drop=["name"]))


def test_values_that_training_lacks_are_counted(make):
    frame = people().assign(part=["train"] * 200 + ["val"] * 100 + ["test"] * 100)
    frame.loc[[300, 301], "job"] = "pilot"
    data = make(frame, split="column", split_column="part")
    assert "test: 2 rows whose job does not occur in training (all zeros)" in describe(data)
    column = [n.startswith("job=") for n in data.encoder.feature_names]
    assert not data.encode(data.splits["test"].x)[:2, column].any()


# ---- splits -------------------------------------------------------------------------------------
@pytest.mark.parametrize("split", ["fraction", "folds"])
def test_splits_are_a_partition_and_repeat_with_the_seed(make, split):
    first, again, other = (rows(make(split=split, seed=seed)) for seed in (3, 3, 4))
    every = np.concatenate(list(first.values()))
    assert len(every) == 400 and len(set(every)) == 400
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
        assert not np.array_equal(first[name], other[name])


def test_fractions_hold_in_every_cell(make):
    data = make(fractions=(0.5, 0.2, 0.3))
    counts = {name: table.counts(2, 2) for name, table in data.splits.items()}
    total = sum(counts.values())
    for name, share in zip(("train", "val", "test"), (0.5, 0.2, 0.3), strict=True):
        assert np.abs(counts[name] - share * total).max() <= 1, name


def test_a_cell_too_small_leaves_stratification_by_label(make):
    frame = people()
    frame.loc[0, ["sex", "hired"]] = ["x", "yes"]
    data = make(frame)
    assert "stratified on y alone" in describe(data)
    y = {name: np.bincount(table.y) for name, table in data.splits.items()}
    assert np.abs(y["test"] - 0.2 * sum(y.values())).max() <= 1


def test_split_by_column(make):
    frame = people().assign(part=["train"] * 250 + ["val"] * 50 + ["test"] * 100)
    data = make(frame, split="column", split_column="part")
    parts = rows(data)
    assert parts["train"].tolist() == list(range(250))
    assert parts["val"].tolist() == list(range(250, 300))
    assert "part" not in data.splits["train"].x.columns


def test_split_by_column_without_val_takes_it_from_train(make):
    frame = people().assign(part=["train"] * 320 + ["test"] * 80)
    parts = rows(make(frame, split="column", split_column="part", fractions=(0.6, 0.3, 0.1)))
    assert parts["test"].tolist() == list(range(320, 400))
    assert abs(len(parts["val"]) - 320 / 3) <= 2
    assert set(parts["train"]) | set(parts["val"]) == set(range(320))


def test_every_row_is_in_one_test_fold_per_repeat(make):
    options = {"split": "folds", "folds": 4, "repeats": 2}
    tests = [rows(make(fold=fold, **options))["test"] for fold in range(8)]
    for repeat in (tests[:4], tests[4:]):
        assert sorted(np.concatenate(repeat)) == list(range(400))
        assert {len(part) for part in repeat} == {100}
    assert not any(np.array_equal(a, b) for a in tests[:4] for b in tests[4:])
    data = make(fold=5, **options)
    share = data.splits["test"].counts(2, 2) / 100
    whole = sum(table.counts(2, 2) for table in data.splits.values()) / 400
    assert np.abs(share - whole).max() <= 0.01
    assert len(data.splits["val"]) == pytest.approx(75, abs=2)


def test_cut_and_deal_on_random_strata():
    rng = np.random.default_rng(0)
    strata = rng.integers(0, 7, 1000) ** 2
    part, fold = cut(strata, (2, 1, 1), rng), deal(strata, 6, rng)
    for stratum in np.unique(strata):
        size = (strata == stratum).sum()
        counts = np.bincount(part[strata == stratum], minlength=3)
        assert np.abs(counts - size * np.array([0.5, 0.25, 0.25])).max() <= 1
        assert np.ptp(np.bincount(fold[strata == stratum], minlength=6)) <= 1
    assert np.ptp(np.bincount(fold)) <= 1


# ---- encoding -----------------------------------------------------------------------------------
def test_the_encoder_sees_training_rows_only(make):
    before = make()
    frame = people()
    held_out = np.concatenate([rows(before)["val"], rows(before)["test"]])
    frame.loc[held_out, "age"] = 10_000
    frame.loc[held_out, "job"] = "pilot"
    after = make(frame)
    train = before.encode(before.splits["train"].x)
    np.testing.assert_array_equal(train, after.encode(after.splits["train"].x))
    assert after.encoder.feature_names == before.encoder.feature_names
    frame.loc[rows(before)["train"][0], "age"] = 10_000
    changed = make(frame)
    assert not np.array_equal(train[1:], changed.encode(changed.splits["train"].x)[1:])


def test_batches_reach_training(make):
    data = make(batch_size=32, balance="joint")
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch.x.shape == (32, 7) and set(batch.z.tolist()) <= {0, 1}


# ---- errors -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "hird"}, r"people\.csv: there is no column 'hird' \(data\.target\).*age, job"),
        ({"attribute": ["sex", "gender"]}, r"no column 'gender' \(data\.attribute\)"),
        ({"drop": ["x"]}, r"no column 'x' \(data\.drop\)"),
        ({"categorical": ["x"]}, r"no column 'x' \(data\.categorical\)"),
        ({"bins": {"x": [1]}}, r"no column 'x' \(data\.bins\)"),
        ({"split": "column", "split_column": "x"}, r"no column 'x' \(data\.split_column\)"),
        ({"split": "column"}, "needs data.split_column"),
        ({"split": "column", "split_column": "job"}, "must hold train, val or test, got 'n?c"),
        ({"attribute": []}, "data.attribute names no column"),
        ({"attribute": "hired"}, "'hired' is both target and attribute"),
        ({"positive": "maybe"}, "values of the target, which are: no, yes; got maybe"),
        ({"positive": ["no", "yes"]}, "some but not all values"),
        ({"attribute": "age"}, "column 'age' has 52 different values, more than 50.*Bin it"),
        ({"attribute": "age", "bins": {"age": [60, 25]}}, "edges of 'age' must ascend"),
        ({"attribute": "age", "bins": {"age": ["old"]}}, "edges of 'age' must ascend"),
        ({"attribute": "age", "bins": {"age": [10]}}, "attribute has fewer than two values: age>"),
        ({"bins": {"sex": ["female"]}}, "'female' does not occur in column 'sex'"),
        ({"fractions": (0.9, 0.2, 0.2)}, "data.fractions: the shares .* must sum to 1"),
        ({"fractions": (1.0, 0.0, 0.0)}, r"fractions: expected .* numbers in \(0, 1\)"),
        ({"split": "folds", "fold": 5}, r"data\.fold must lie in 0\.\.4"),
        ({"split": "folds", "fold": 10, "repeats": 2}, r"data\.fold must lie in 0\.\.9"),
        ({"split": "folds", "folds": 1}, "folds: expected an integer of at least 2"),
        ({"drop": ["age", "job", "race"]}, "no column is left as input"),
    ],
)
def test_options_that_cannot_be_used(make, options, message):
    with pytest.raises(UserError, match=message):
        _ = make(**options).splits


def edited(**columns) -> pd.DataFrame:
    return people().assign(**columns)


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        (edited(hired="no"), {}, "the target has fewer than two values: no"),
        (edited(sex="f"), {}, "the attribute has fewer than two values: f"),
        (edited(sex=None), {}, "every row lacks a value .*attribute missing"),
        (edited(sex=None), {"missing_attribute": "ignore"}, "fewer than two values: none"),
        (edited(age=np.inf), {}, r"people\.csv: Column 'age' holds infinite values"),
        (people(8).iloc[:4], {"fractions": (0.98, 0.01, 0.01)}, "the val split is empty"),
        (
            edited(part=lambda d: np.where(d["hired"] == "no", "train", "test")),
            {"split": "column", "split_column": "part"},
            "the train split holds one class only",
        ),
        (
            edited(part="train"),
            {"split": "column", "split_column": "part"},
            "the test split is empty",
        ),
        (
            pd.concat([people(), people()[["age"]]], axis=1),
            {},
            "two columns are named 'age'",
        ),
    ],
)
def test_tables_that_cannot_be_used(make, frame, options, message):
    with pytest.raises(UserError, match=message):
        data = make(frame, **options)
        _ = data.splits


@pytest.mark.parametrize("name", ["empty.csv", "broken.parquet", "broken.csv.gz"])
def test_files_that_cannot_be_read(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"" if name == "empty.csv" else b"not what the name says")
    with pytest.raises(UserError, match=f"{name} cannot be read"):
        _ = TableData(str(path), target="y", attribute="z").splits


def test_rows_longer_than_the_header_do_not_shift_the_columns(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("x,y,z\n" + "1,yes,a,7\n2,no,b,8\n" * 20)
    with pytest.raises(UserError, match=r"t\.csv cannot be read: Length of header"):
        _ = TableData(str(path), target="y", attribute="z").splits


def test_too_many_combinations(make):
    frame = edited(a=np.arange(400) % 30, b=np.arange(400) // 30)
    with pytest.raises(UserError, match="combinations, more than 50"):
        _ = make(frame, attribute=["a", "b"]).splits
