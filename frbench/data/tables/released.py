"""The discrete tables on which max-entropy debiasing was published, as its released code has them.

All columns are discrete, and the protected column is among the inputs.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from frbench.data.tables.table_data import TableData
from frbench.support.files import locate, open_binary

if TYPE_CHECKING:
    import pandas as pd


class CompasSmall(TableData):
    """COMPAS as 144 possible rows: sex, race, age, number of priors, degree of the charge.

    5,278 defendants of two races, 142 distinct rows; the columns of AIF360 0.2. Raw rates over
    race: RR .66236, SR .74715 (rearrest).

    Args:
        attribute: ``race``, ``sex`` or both.
        attribute_as_input: Whether the attribute is among the inputs; it is in the released code.
        **kwargs: As for :class:`~frbench.data.tables.table_data.TableData`.
    """

    def __init__(
        self,
        attribute: str | list[str] = "race",
        attribute_as_input: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            path="compas/compas-scores-two-years.csv",
            target="label",
            attribute=attribute,
            attribute_as_input=attribute_as_input,
            positive="recid",
            **kwargs,
        )

    def read(self) -> pd.DataFrame:
        """Return the rows of both races with discrete columns."""
        return _compas_small(locate("compas/compas-scores-two-years.csv")).copy()


class AdultSmall(TableData):
    """UCI Adult as 504 possible rows: race, sex, decade of age, years of education.

    All 48,842 rows, 410 distinct; the columns of AIF360 0.2. Raw rates over sex: RR .49593,
    SR .35966 (above 50K).

    Args:
        attribute: ``sex``, ``race`` (White or not) or both.
        attribute_as_input: Whether the attribute is among the inputs; it is in the released code.
        **kwargs: As for :class:`~frbench.data.tables.table_data.TableData`.
    """

    def __init__(
        self,
        attribute: str | list[str] = "sex",
        attribute_as_input: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            path="adult/adult.data",
            target="label",
            attribute=attribute,
            attribute_as_input=attribute_as_input,
            positive=">50K",
            **kwargs,
        )

    @property
    def files(self) -> list[str]:
        """Both official files."""
        return ["adult/adult.data", "adult/adult.test"]

    def read(self) -> pd.DataFrame:
        """Return all rows with discrete columns."""
        return _adult_small(locate("adult/adult.data"), locate("adult/adult.test")).copy()


class CompasLarge(TableData):
    """COMPAS as 4.8e10 possible rows: 19 numeric columns, the nature of the charge among them.

    8,723 screenings, 4,524 distinct. Like the released loader it splits lines at every comma and
    drops those that then do not parse. Raw rates over race: RR .55657, SR .76600. Race is
    Caucasian or not: the released loader's own choice follows the hash seed.

    Args:
        attribute: ``race`` or ``sex``.
        attribute_as_input: Whether the attribute is among the inputs; it is in the released code.
        **kwargs: As for :class:`~frbench.data.tables.table_data.TableData`.
    """

    def __init__(
        self,
        attribute: str | list[str] = "race",
        attribute_as_input: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            path="compas/compas-scores.csv",
            target="label",
            attribute=attribute,
            attribute_as_input=attribute_as_input,
            positive="recid",
            **kwargs,
        )

    @property
    def files(self) -> list[str]:
        """The screenings and the charges."""
        return [self.path, "compas/charges_features.txt"]

    def read(self) -> pd.DataFrame:
        """Return the lines that parse, with numeric columns."""
        scores = locate("compas/compas-scores.csv")
        return _compas_large(scores, locate("compas/charges_features.txt")).copy()


@lru_cache(1)
def _compas_small(path: Path) -> pd.DataFrame:
    import pandas as pd

    frame = pd.read_csv(path)
    keep = (
        frame["days_b_screening_arrest"].between(-30, 30)
        & (frame["is_recid"] != -1)
        & (frame["c_charge_degree"] != "O")
        & frame["score_text"].notna()
        & frame["race"].isin(["African-American", "Caucasian"])
    )
    frame = frame[keep]
    columns = {
        "sex": frame["sex"],
        "race": frame["race"],
        "age": frame["age_cat"],
        "priors": np.array(["0", "1 to 3", "more"])[np.digitize(frame["priors_count"], [1, 4])],
        "charge": frame["c_charge_degree"],
        "label": frame["two_year_recid"].map({0: "no recid", 1: "recid"}),
    }
    return pd.DataFrame(columns)


@lru_cache(1)
def _adult_small(data: Path, test: Path) -> pd.DataFrame:
    import pandas as pd

    parts = [
        pd.read_csv(path, header=None, skiprows=skip, skipinitialspace=True)
        for path, skip in ((data, 0), (test, 1))
    ]
    frame = pd.concat(parts, ignore_index=True)
    decade = np.minimum(frame[0] // 10, 7)  # the last one is 70 and above
    education = np.clip(frame[4], 5, 13)  # years, the ends open
    columns = {
        "race": np.where(frame[8] == "White", "White", "other"),
        "sex": frame[9],
        "age": (10 * decade).astype(str) + "s",
        "education": education.astype(str).str.zfill(2),
        "label": np.where(frame[14].str.startswith(">50K"), ">50K", "<=50K"),
    }
    return pd.DataFrame(columns)


@lru_cache(1)
def _compas_large(scores: Path, charges_file: Path) -> pd.DataFrame:
    import pandas as pd

    with open_binary(scores) as file:
        lines = [line.split(",") for line in file.read().decode().split("\n")]
    place = {name: i for i, name in enumerate(lines[0])}
    with open_binary(charges_file) as file:
        flags = [line.split(",") for line in file.read().decode().split("\n") if line]
    charges = {
        row[0]: dict(zip(flags[0][1:], map(float, row[1:]), strict=True)) for row in flags[1:]
    }
    counts = ["juv_fel_count", "decile_score", "juv_misd_count", "juv_other_count"]
    rows = []
    for line in lines[1:]:
        if len(line) != len(lines[0]):
            continue
        get = {name: line[i] for name, i in place.items()}
        try:
            first, last = (datetime.fromisoformat(get[f"c_jail_{way}"]) for way in ("in", "out"))
            datetime.fromisoformat(get["c_offense_date"])
            months = abs((first - last).days) / 12  # days over twelve: the loader's months
            row = {
                "sex": get["sex"],
                "age": int(np.digitize(int(get["age"]), [25, 65], right=True)),
                "race": "Caucasian" if get["race"] == "Caucasian" else "other",
                **{name: int(get[name]) for name in counts},
                "priors": int(np.digitize(int(get["priors_count"]), [0, 10, 20, 30, 40], True)),
                "jail": int(np.digitize(months, [0, 3, 6, 12, 24, 48, 60], True)),
                "charge": get["c_charge_degree"],
                **charges[get["c_charge_desc"]],
                "label": "recid" if int(get["is_recid"]) else "no recid",
            }
        except (ValueError, KeyError):
            continue
        if int(get["decile_score"]) > 0:
            rows.append(row)
    return pd.DataFrame(rows)
