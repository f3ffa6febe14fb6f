"""The tables of the fairness literature, as thin subclasses of TableData.

Each says which columns are inputs. An attribute that is not chosen stays an input; columns that
restate it are never inputs. Counts are of all rows, before splitting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from frbench.contracts.errors import UserError
from frbench.data.splits import Split
from frbench.data.tables.table_data import TableData
from frbench.data.tables.table_splits import arl_split
from frbench.support.files import locate

if TYPE_CHECKING:
    import pandas as pd


# Columns of the files without a header, in their order.
_ADULT = (
    "age workclass fnlwgt education education_num marital_status occupation relationship race sex "
    "capital_gain capital_loss hours_per_week native_country income"
)
_GERMAN = (
    "checking duration history purpose amount savings employment installment_rate sex debtors "
    "residence property age plans housing credits job dependents telephone foreign credit"
)
# RAC1P as the file stores it: the code of the Census less one.
_RACES = (
    "White Black American-Indian Alaska-Native Native-unspecified Asian Pacific-Islander Other "
    "Two-or-more"
)


class Adult(TableData):
    """UCI Adult: income above 50,000 dollars in the US census of 1994.

    48,842 rows, 3,620 of them with a missing input (``?``): 45,222 complete rows, 11,208 above
    50K. Of all rows 32,650 are male (.304 above 50K) and 16,192 female (.109).
    Inputs: all columns but ``fnlwgt``, the survey's sampling weight. ``relationship`` (Husband,
    Wife) nearly gives sex; drop it to hide sex. With ``split: column`` test is the official
    16,281 rows; FFB's protocol is ``split: fraction`` with fractions .4, .3, .3.

    Args:
        attribute: ``sex``, ``race`` (5 values) or several columns.
        split: column (official test rows, val out of train), fraction or folds.
        missing_input: drop or keep the 3,620 rows.
        **kwargs: As for :class:`~frbench.data.tables.table_data.TableData`.
    """

    def __init__(
        self,
        attribute: str | list[str] = "sex",
        split: Split = "column",
        missing_input: Literal["keep", "drop"] = "drop",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            path="adult/adult.data",
            target="income",
            attribute=attribute,
            positive=">50K",
            split=split,
            split_column="split",
            missing_input=missing_input,
            **kwargs,
        )

    @property
    def files(self) -> list[str]:
        """Both official files."""
        return ["adult/adult.data", "adult/adult.test"]

    def read(self) -> pd.DataFrame:
        """Return both official files, the second without its junk line and label dots."""
        import pandas as pd

        parts = [
            pd.read_csv(
                locate(f"adult/adult.{suffix}"),
                names=_ADULT.split(),
                skiprows=skiprows,
                skipinitialspace=True,
                na_values="?",
            ).assign(split=split)
            for suffix, skiprows, split in (("data", 0, "train"), ("test", 1, "test"))
        ]
        frame = pd.concat(parts, ignore_index=True).drop(columns="fnlwgt")
        frame["income"] = frame["income"].str.rstrip(".")
        return frame


class Compas(TableData):
    """COMPAS: arrest within two years, defendants of Broward County 2013-14 (ProPublica).

    ProPublica's filter leaves 6,172 of 7,214 rows, 2,809 rearrested. African-American 3,175
    (.523), Caucasian 2,103 (.391), Hispanic 509, Other 343, Asian 31, Native American 11; male
    4,997 (.479), female 1,175 (.351).
    Inputs: age, sex, race, numbers of priors and juvenile offences, degree of the charge. Scores,
    dates, custody and everything about the second arrest are never inputs.

    ``protocol: arl`` is the table of adversarially reweighted learning (arXiv 2006.13114) and of
    work after it: all 7,214 rows, target ``is_recid`` (3,471), the text of the charge and the age
    class among the inputs, 2,165 test rows by a fixed division. With ``attribute: [sex, race]``
    and ``bins: {race: [African-American]}`` the smallest of its four groups is
    Female&African-American, .0947 of the 5,049 other rows.

    Args:
        attribute: ``race``, ``sex`` or both.
        protocol: propublica, or arl as above.
        races: Keep the rows of these races only, for example African-American and Caucasian
            (5,278 rows).
        charge_description: Add the text of the charge as a category (389 values; FFB does).
        split: fraction, column (the test rows of ``arl``, val out of the others) or folds; None
            is column for ``arl``, else fraction.
        **kwargs: As for :class:`~frbench.data.tables.table_data.TableData`.
    """

    def __init__(
        self,
        attribute: str | list[str] = "race",
        protocol: Literal["propublica", "arl"] = "propublica",
        races: list[str] | None = None,
        charge_description: bool = False,
        split: Split | None = None,
        **kwargs: Any,
    ) -> None:
        arl = protocol == "arl"
        super().__init__(
            path="compas/compas-scores-two-years.csv",
            target="is_recid" if arl else "two_year_recid",
            attribute=attribute,
            positive="recid",
            split=split or ("column" if arl else "fraction"),
            split_column="split" if arl else None,
            **kwargs,
        )
        self.protocol = protocol
        self.races = races
        self.charge_description = charge_description

    def read(self) -> pd.DataFrame:
        """Return the filtered rows with the columns that are known at the time of the score."""
        import pandas as pd

        frame = pd.read_csv(locate("compas/compas-scores-two-years.csv"))
        arl = self.protocol == "arl"
        keep = (
            pd.Series(True, frame.index)
            if arl
            else (
                frame["days_b_screening_arrest"].between(-30, 30)
                & (frame["is_recid"] != -1)
                & (frame["c_charge_degree"] != "O")
                & frame["score_text"].notna()
            )
        )
        if not arl:
            self.notes.append(f"ProPublica's filter: {keep.sum()} of {len(frame)} rows")
        if self.races is not None:
            if absent := set(self.races) - set(frame["race"]):
                raise UserError(
                    f"data.races: there is no race {min(absent)!r}; the races are: "
                    f"{', '.join(sorted(set(frame['race'])))}."
                )
            keep &= frame["race"].isin(self.races)
        columns = ["sex", "age", "race", "juv_fel_count", "juv_misd_count", "juv_other_count"]
        columns += ["priors_count", "c_charge_degree"]
        columns += ["c_charge_desc"] if self.charge_description or arl else []
        columns += ["age_cat"] if arl else []
        label = frame[self.target].map({0: "no recid", 1: "recid"})
        frame = frame[columns].assign(**{self.target: label})
        return (frame.assign(split=arl_split(frame)) if arl else frame)[keep]


class German(TableData):
    """Statlog German credit: good or bad risk.

    1,000 rows, 700 good. Female 310 (.648 good), male 690 (.723); age up to 25: 190 (.579 good),
    older: 810 (.728).
    The code of sex and marital status becomes ``sex``; marital status is never an input, as its
    codes differ by sex. A numeric attribute ``age`` is cut at 26.

    Args:
        attribute: ``sex``, ``age`` or both.
        **kwargs: As for :class:`~frbench.data.tables.table_data.TableData`.
    """

    default_bins = {"age": [26]}

    def __init__(self, attribute: str | list[str] = "sex", **kwargs: Any) -> None:
        super().__init__(
            path="german/german.data",
            target="credit",
            attribute=attribute,
            positive="good",
            **kwargs,
        )

    def read(self) -> pd.DataFrame:
        """Return the table with named columns and sex in place of the combined code."""
        import pandas as pd

        frame = pd.read_csv(locate("german/german.data"), sep=" ", names=_GERMAN.split())
        frame["sex"] = np.where(frame["sex"].isin(["A92", "A95"]), "female", "male")
        frame["credit"] = frame["credit"].map({1: "good", 2: "bad"})
        return frame


class LawSchool(TableData):
    """LSAC bar passage study: passing the bar examination, at the first or second attempt.

    27,478 students, of whom 4,375 never took it and are dropped; 23,103 rows, 21,901 passed.
    white 19,285 (.967), black 1,368 (.776), hisp 1,046 (.877), asian 961 (.919), other 426 (.892);
    17 have no race.
    Inputs: LSAT and undergraduate grades, grades and deciles of law school, tier of the school,
    family income, full time, gender, race. The results of the examinations, whether someone
    graduated, copies of race and gender, ids, and the damaged column age are never inputs.

    ``protocol: arl`` is the table of adversarially reweighted learning (arXiv 2006.13114) and of
    work after it: who never took the examination counts as failed, missing grades and years of
    birth are 0, other rows with a missing value are dropped; 26,551 rows, 7,966 of them test by a
    fixed division. With ``attribute: [gender, race]`` and ``bins: {race: [black]}`` the smallest
    of its four groups is male&black, .0275 of the 18,585 other rows.

    Args:
        attribute: ``race`` (5 values), ``gender`` or both.
        protocol: takers, or arl as above.
        split: fraction, column (the test rows of ``arl``, val out of the others) or folds; None
            is column for ``arl``, else fraction.
        **kwargs: As for :class:`~frbench.data.tables.table_data.TableData`.
    """

    def __init__(
        self,
        attribute: str | list[str] = "race",
        protocol: Literal["takers", "arl"] = "takers",
        split: Split | None = None,
        **kwargs: Any,
    ) -> None:
        arl = protocol == "arl"
        super().__init__(
            path="law_school/bar_pass_prediction.csv",
            target="pass_bar",
            attribute=attribute,
            positive="pass",
            split=split or ("column" if arl else "fraction"),
            split_column="split" if arl else None,
            **kwargs,
        )
        self.protocol = protocol

    def read(self) -> pd.DataFrame:
        """Return the columns known before the examination, and the result."""
        import pandas as pd

        frame = pd.read_csv(locate("law_school/bar_pass_prediction.csv"))
        frame = frame.rename(columns={"race1": "race", "race": "race_code"})
        if self.protocol == "arl":
            columns = ["zfygpa", "zgpa", "DOB_yr", "parttime", "gender", "race", "tier", "fam_inc"]
            columns += ["lsat", "ugpa", "index6040"]
            filled = dict.fromkeys(["zfygpa", "zgpa", "DOB_yr", "pass_bar"], 0)
            frame = frame[[*columns, "pass_bar"]].fillna(filled).dropna()
            frame = frame.assign(split=arl_split(frame))
            return frame.assign(pass_bar=frame["pass_bar"].map({0: "fail", 1: "pass"}))
        columns = ["lsat", "ugpa", "zfygpa", "zgpa", "decile1b", "decile3", "fulltime", "fam_inc"]
        columns += ["tier", "gender", "race"]
        return frame[columns].assign(pass_bar=frame["pass_bar"].map({0: "fail", 1: "pass"}))


class ACSIncome(TableData):
    """ACSIncome of folktables, all US states in 2018: income above 50,000 dollars.

    332,900 rows, the 20 % test part of the 1,664,500 row table; 122,863 above 50K. Male .443,
    female .289 above 50K; nine races.
    Inputs: age, hours, schooling as numbers; class of worker, marital status, relationship, place
    of birth and occupation as categories. Occupation and birthplace are grouped by the hundreds
    of their codes (occupational groups, continents); full codes give about 800 columns, hence
    1 GB of inputs.

    Args:
        attribute: ``SEX``, ``RAC1P`` (race) or both.
        full_codes: Keep every occupation and birthplace apart.
        **kwargs: As for :class:`~frbench.data.tables.table_data.TableData`.
    """

    def __init__(
        self,
        attribute: str | list[str] = "SEX",
        full_codes: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            path="acs/acs_income_2018_test.npz",
            target="PINCP",
            attribute=attribute,
            positive=">50K",
            **kwargs,
        )
        self.full_codes = full_codes

    def read(self) -> pd.DataFrame:
        """Return the table with names for the codes of income, sex and race."""
        import pandas as pd

        with np.load(locate("acs/acs_income_2018_test.npz")) as arrays:
            frame = pd.DataFrame({k: arrays[k] for k in arrays.files if k != "index"})
        if not self.full_codes:
            frame[["OCCP", "POBP"]] //= 100
        frame["PINCP"] = np.where(frame["PINCP"] == 1, ">50K", "<=50K")
        frame["SEX"] = frame["SEX"].map({1: "Male", 2: "Female"})
        frame["RAC1P"] = frame["RAC1P"].map(dict(enumerate(_RACES.split())))
        codes = ["COW", "MAR", "RELP", "OCCP", "POBP"]
        return frame.astype(dict.fromkeys(codes, "category"))


class Bank(TableData):
    """UCI Bank Marketing (bank-additional-full): whether a client takes a term deposit.

    41,188 rows, 4,640 yes. age < 25: 1,068; married 24,928, single 11,568, divorced 4,612,
    unknown 80. The text ``unknown`` is a missing value.
    ``duration`` of the call is never an input: it is known only when the answer is.

    Args:
        attribute: ``age`` (below 25 or not), ``marital`` or both.
        **kwargs: As for :class:`~frbench.data.tables.table_data.TableData`.
    """

    default_bins = {"age": [25]}

    def __init__(self, attribute: str | list[str] = "age", **kwargs: Any) -> None:
        super().__init__(
            path="bank/bank-additional-full.csv",
            target="y",
            attribute=attribute,
            positive="yes",
            sep=";",
            missing_values=["unknown"],
            **kwargs,
        )

    def read(self) -> pd.DataFrame:
        """Return the table without the duration of the call."""
        return super().read().drop(columns="duration")
