"""The named sets against the counts and rates that the literature states for them."""

import numpy as np
import pytest

from frbench.contracts.errors import UserError
from frbench.data.describe import describe
from frbench.data.tables.literature import ACSIncome, Adult, Bank, Compas, German, LawSchool

pytestmark = pytest.mark.usefixtures("shared_data")


def counts(data) -> np.ndarray:
    """Rows of each (y, z) cell over all splits [C, A]."""
    return sum(
        table.counts(data.num_classes, data.num_attributes) for table in data.splits.values()
    )


def rates(data) -> dict[str, float]:
    """P(y = 1) of each attribute value, to three digits."""
    table = counts(data)
    return dict(zip(data.attribute_names, (table[1] / table.sum(0)).round(3), strict=True))


def mutual_information(table: np.ndarray) -> float:
    p = table / table.sum()
    independent = p.sum(1, keepdims=True) * p.sum(0, keepdims=True)
    return float((p * np.log(p / independent)).sum())


# ---- Adult --------------------------------------------------------------------------------------
def test_adult_official_split_of_complete_rows():
    data = Adult()
    sizes = {name: len(table) for name, table in data.splits.items()}
    assert sizes["test"] == 16281 - 1221 and sizes["train"] + sizes["val"] == 32561 - 2399
    assert data.class_names == ("<=50K", ">50K")
    assert data.attribute_names == ("Female", "Male")
    assert data.splits["test"].x.index.min() == 32561
    assert counts(data).sum() == 45222 and counts(data)[1].sum() == 11208
    assert "3620 of 48842 rows dropped: input missing" in describe(data)


def test_adult_with_the_incomplete_rows():
    data = Adult(missing_input="keep")
    table = counts(data)
    assert table[1].sum() == 7841 + 3846
    assert table.sum(0).tolist() == [10771 + 5421, 21790 + 10860]
    assert len(data.splits["test"]) == 16281
    assert rates(data) == {"Female": 0.109, "Male": 0.304}
    assert mutual_information(table) == pytest.approx(0.02543, abs=5e-6)
    train = data.splits["train"].counts(2, 2) + data.splits["val"].counts(2, 2)
    assert mutual_information(train) == pytest.approx(0.02577, abs=5e-6)
    assert "workclass missing" in data.encoder.feature_names


def test_adult_by_race_and_by_both():
    race = Adult(attribute="race", missing_input="keep")
    assert race.num_attributes == 5
    assert rates(race)["White"] == 0.254 and rates(race)["Black"] == 0.121
    both = Adult(attribute=["sex", "race"], bins={"race": ["Black"]}, missing_input="keep")
    assert both.attribute_names == ("Female&Black", "Female&other", "Male&Black", "Male&other")
    train = both.splits["train"].counts(2, 4) + both.splits["val"].counts(2, 4)
    assert (train.sum(0)[[0, 2]] / 32561).round(4).tolist() == [0.0478, 0.0482]
    inputs = set(both.splits["train"].x.columns)
    assert not inputs & {"sex", "race", "income", "split", "fnlwgt"} and len(inputs) == 11


def test_adult_in_the_protocol_of_ffb():
    data = Adult(split="fraction", fractions=(0.4, 0.3, 0.3))
    assert counts(data).sum() == 45222
    assert len(data.splits["train"]) == pytest.approx(0.4 * 45222, abs=4)
    assert data.splits["test"].x.index.min() < 32561
    assert not any("split" in name for name in data.encoder.feature_names)


# ---- COMPAS -------------------------------------------------------------------------------------
def test_compas_filter_and_groups():
    data = Compas()
    table = dict(zip(data.attribute_names, counts(data).T.tolist(), strict=True))
    assert table == {
        "African-American": [1514, 1661],
        "Asian": [23, 8],
        "Caucasian": [1281, 822],
        "Hispanic": [320, 189],
        "Native American": [6, 5],
        "Other": [219, 124],
    }
    assert "ProPublica's filter: 6172 of 7214 rows" in describe(data)
    assert counts(Compas(attribute="sex")).tolist() == [[762, 2601], [413, 2396]]


def test_compas_of_two_races():
    data = Compas(races=["African-American", "Caucasian"])
    assert counts(data).sum() == 5278
    assert rates(data) == {"African-American": 0.523, "Caucasian": 0.391}
    with pytest.raises(UserError, match="there is no race 'white'; the races are: African-Am"):
        _ = Compas(races=["white", "Caucasian"]).splits


def test_compas_inputs_leak_nothing():
    data = Compas(attribute_as_input=True, charge_description=True)
    assert set(data.splits["train"].x.columns) == {
        *("sex", "age", "race", "juv_fel_count", "juv_misd_count", "juv_other_count"),
        *("priors_count", "c_charge_degree", "c_charge_desc"),
    }
    assert "race=Caucasian" in data.encoder.feature_names


# ---- the tables of adversarially reweighted learning --------------------------------------------
def rows_of(data, *names):
    """Rows of each (y, z) cell in the given splits together."""
    return sum(data.splits[name].counts(2, data.num_attributes) for name in names)


def test_compas_of_the_arl_line():
    data = Compas(protocol="arl", attribute=["sex", "race"], bins={"race": ["African-American"]})
    other, test = rows_of(data, "train", "val"), rows_of(data, "test")
    assert (other.sum(), test.sum()) == (5049, 2165)
    assert data.class_names == ("no recid", "recid") and other[1].sum() == 2459
    shares = dict(zip(data.attribute_names, other.sum(0) / 5049, strict=True))
    assert shares["Female&African-American"] == 478 / 5049 == min(shares.values())
    assert round(shares["Female&other"], 4) == 0.1030
    assert set(data.splits["train"].x.columns) == {
        *("age", "juv_fel_count", "juv_misd_count", "juv_other_count", "priors_count"),
        *("c_charge_degree", "c_charge_desc", "age_cat"),
    }
    assert "filter" not in describe(data)
    assert len(Compas(protocol="arl", split="fraction").splits["test"]) == pytest.approx(
        1443, abs=9
    )


def test_law_school_of_the_arl_line():
    data = LawSchool(protocol="arl", attribute=["gender", "race"], bins={"race": ["black"]})
    other, test = rows_of(data, "train", "val"), rows_of(data, "test")
    assert (other.sum(), test.sum()) == (18585, 7966)
    assert data.class_names == ("fail", "pass") and other[1].sum() == 14870
    shares = dict(zip(data.attribute_names, other.sum(0) / 18585, strict=True))
    assert shares["male&black"] == 511 / 18585 == min(shares.values())
    assert len(data.splits["train"].x.columns) == 9


# ---- the others ---------------------------------------------------------------------------------
def test_german():
    sex, age = German(), German(attribute="age")
    assert sex.class_names == ("bad", "good")
    assert counts(sex).sum(0).tolist() == [310, 690] and counts(sex)[1].sum() == 700
    assert rates(sex) == {"female": 0.648, "male": 0.723}
    assert mutual_information(counts(sex)) == pytest.approx(0.00281, abs=5e-6)
    assert age.attribute_names == ("age<26", "age>=26")
    assert counts(age).sum(0).tolist() == [190, 810]
    assert rates(age) == {"age<26": 0.579, "age>=26": 0.728}
    # The combined code of sex and marital status would give sex away.
    assert not any("A9" in name or "sex" in name for name in sex.encoder.feature_names)


def test_law_school():
    data = LawSchool()
    assert data.class_names == ("fail", "pass")
    assert rates(data) == {
        **{"asian": 0.919, "black": 0.776, "hisp": 0.877, "other": 0.892, "white": 0.967}
    }
    fails = dict(zip(data.attribute_names, counts(data)[0], strict=True))
    assert (fails["white"], fails["black"]) == (641, 306)
    text = describe(data)
    assert "4375 of 27478 rows dropped: target missing" in text
    assert "17 of 23103 rows dropped: attribute missing" in text
    grouped = LawSchool(missing_attribute="group")
    assert counts(grouped)[:, -1].tolist() == [2, 15]
    assert counts(grouped).sum(1).tolist() == [1202, 21901]


def test_law_school_inputs_leak_nothing():
    data = LawSchool(attribute_as_input=True)
    assert set(data.splits["train"].x.columns) == {
        *("lsat", "ugpa", "zfygpa", "zgpa", "decile1b", "decile3", "fulltime", "fam_inc"),
        *("tier", "gender", "race"),
    }


def test_acs_income():
    sex = ACSIncome()
    assert counts(sex).sum() == 332900 and counts(sex)[1].sum() == 122863
    assert {k: round(v, 3) for k, v in rates(sex).items()} == {"Female": 0.289, "Male": 0.443}
    assert mutual_information(counts(sex)) == pytest.approx(0.01271, abs=5e-6)
    assert sex.input_shape[0] < 200 and not any("SEX" in n for n in sex.encoder.feature_names)


def test_acs_income_by_race():
    by_race = rates(ACSIncome(attribute="RAC1P"))
    assert sorted(by_race.values()) == sorted(
        [0.391, 0.245, 0.218, 0.164, 0.222, 0.444, 0.260, 0.180, 0.288]
    )
    assert (by_race["White"], by_race["Black"], by_race["Asian"]) == (0.391, 0.245, 0.444)


def test_bank():
    age = Bank()
    table = counts(age)
    assert table.sum() == 41188 and table[1].sum() == 4640
    assert age.attribute_names == ("age<25", "age>=25") and table.sum(0)[0] == 1068
    assert not {"duration", "y", "age"} & set(age.splits["train"].x.columns)
    marital = Bank(attribute="marital", missing_attribute="group")
    assert marital.attribute_names == ("divorced", "married", "single", "missing")
    assert counts(marital).sum(0).tolist() == [4612, 24928, 11568, 80]


# ---- what all share -----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kind", "attribute", "column"),
    [
        (Adult, "sex", "sex=Male"),
        (Compas, "race", "race=Caucasian"),
        (German, "sex", "sex=male"),
        (LawSchool, "race", "race=white"),
        (ACSIncome, "SEX", "SEX=Male"),
        (Bank, "age", "age"),
    ],
)
def test_attribute_as_input(kind, attribute, column):
    without, data = kind(), kind(attribute_as_input=True)
    assert column in data.encoder.feature_names
    assert column not in without.encoder.feature_names
    assert f"attribute {attribute}: among the inputs" in data._rows.notes
    for one in (without, data):
        rows = np.concatenate([table.x.index for table in one.splits.values()])
        assert len(set(rows)) == len(rows)
        x = one.encode(one.splits["val"].x)
        assert x.dtype == np.float32 and x.shape[1:] == tuple(one.input_shape)
        assert np.isfinite(x).all() and np.abs(x).max() < 100


@pytest.mark.parametrize(
    ("kind", "accuracy", "tolerance"), [(Adult, 0.85, 0.01), (Compas, 0.67, 0.02)]
)
def test_logistic_regression_reaches_the_known_accuracy(kind, accuracy, tolerance):
    from sklearn.linear_model import LogisticRegression

    data = kind(attribute="sex", split="fraction")
    train, test = data.splits["train"], data.splits["test"]
    model = LogisticRegression(C=0.1, max_iter=1000).fit(data.encode(train.x), train.y)
    assert model.score(data.encode(test.x), test.y) == pytest.approx(accuracy, abs=tolerance)
