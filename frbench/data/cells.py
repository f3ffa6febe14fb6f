"""How the cells of a table are written: separators, numbers, words for missing; no torch."""

from __future__ import annotations

import argparse
import codecs
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from frbench.contracts.errors import UserError
from frbench.contracts.text import short
from frbench.data.categorical import codes_of, texts, value_name
from frbench.support.files import open_binary
from frbench.support.parser import mapping

if TYPE_CHECKING:
    import pandas as pd

#: How tabs and others are typed in a shell or in YAML.
_TYPED = {"\\t": "\t", "tab": "\t", "semicolon": ";", "comma": ","}
_SEPARATORS = ",;\t|"
#: What a column of text may be instead, by a pattern that all its values fit, and the remedy.
_LOOKS = {
    "numbers with a decimal comma": (r"[-+]?\d+,\d+", "say {0}decimal ','"),
    "numbers with a separator of thousands": (
        r"[-+]?\d{1,3}([,.' ])\d{3}(\1\d{3})*([.,]\d+)?", "say {0}thousands with that character",
    ),
    "numbers with a sign of their unit": (
        r"(?=.*[$€£¥%A-Z])[-+]?\s*([$€£¥%]|[A-Z]{3})?\s*[-+]?[\d.,' ]*\d[\d.,' ]*"
        r"([$€£¥%]|[A-Z]{3})?",
        "say {0}units with that sign",
    ),
    "dates": (
        r"\d{4}-\d\d?-\d\d?([ T].*)?|\d\d?[./]\d\d?[./](\d\d|\d{4})( .*)?",
        "leave the column out, or turn it into a number such as a year",
    ),
}  # fmt: skip
#: Distinct values that are looked at.
_SAMPLE = 1000


@dataclass(frozen=True)
class Cells:
    r"""How the cells of a file are written; nothing is guessed but the separator.

    Attributes:
        sep: One character between the cells of a text file; ``\t`` or ``tab`` for a tab. None:
            a tab for ``.tsv``, else a comma, or the one of ``;``, tab and ``|`` that the header
            holds if it holds no comma.
        decimal: Character before the decimals.
        thousands: Character between groups of three digits, which is left out.
        units: Signs beside numbers that are left out, as ``%`` or ``$``; 12% is 12.
        missing_words: The words that mean a missing value, besides an empty cell; None for those
            of pandas (``NA``, ``None``, ``null`` and the like).
        missing_values: Further texts that stand for a missing value.
        encoding: Of a text file.
        map: For each column, values to write in another way, ``{sex: {F: female, f: female}}``.
        numeric: Columns that hold numbers, also where they start with zeros.
        option: What stands before the name of an option, for messages.

    Raises:
        UserError: For a separator of several characters, or characters that contradict.

    Example:
        >>> Cells(sep="tab").separator(Path("t.csv"))
        '\t'
    """

    sep: str | None = None
    decimal: str = "."
    thousands: str | None = None
    units: Sequence[str] = ()
    missing_words: Sequence[str] | None = None
    missing_values: Sequence[str] | None = None
    encoding: str = "utf-8"
    map: Mapping[str, Mapping[Any, Any]] | None = None
    numeric: Sequence[str] = ()
    option: str = "--data."

    def __post_init__(self) -> None:
        sep = self._sep
        if sep is not None and (len(sep) != 1 or sep in '"\n\r'):
            self._refuse("sep", self.sep, "give one character, or \\t for a tab")
        for name, value in (("decimal", self.decimal), ("thousands", self.thousands)):
            if value is not None and (len(value) != 1 or value.isalnum() or value == '"'):
                self._refuse(name, value, "give one character that is no letter and no digit")
        given = [c for c in (sep, self.decimal, self.thousands) if c is not None]
        if len(set(given)) < len(given):
            self._refuse("decimal", self.decimal, "sep, decimal and thousands must differ")
        try:
            codecs.lookup(self.encoding)
        except (LookupError, ValueError):
            self._refuse("encoding", self.encoding, "such as utf-8, latin-1, cp1252 or utf-16")

    def _refuse(self, name: str, value: Any, remedy: str) -> None:
        raise UserError(f"{self.option}{name} is {short(value)}: {remedy}.")

    @property
    def _sep(self) -> str | None:
        return None if self.sep is None else _TYPED.get(self.sep, self.sep)

    def separator(self, file: Path) -> str:
        """Return what separates the cells of a text file."""
        if self._sep is not None:
            return self._sep
        plain = file.name.lower().removesuffix(".gz")
        if plain.endswith((".tsv", ".tab")):
            return "\t"
        with open_binary(file) as lines:
            head = lines.readline(2**16).decode(self.encoding, errors="replace")
        found = [sep for sep in _SEPARATORS if sep in head]
        return found[0] if len(found) == 1 and found[0] != self.decimal else ","

    @property
    def by_bytes(self) -> bool:
        """Whether commas and digits are single bytes, as in all but UTF-16 and 32."""
        return ",0".encode(self.encoding) == b",0"

    def options(self, file: Path) -> dict[str, Any]:
        """Return the arguments of ``pandas.read_csv``."""
        words: dict[str, Any] = {} if self.missing_words is None else {
            "keep_default_na": False, "na_values": ["", *self.missing_words],
        }  # fmt: skip
        words.setdefault("na_values", [])
        words["na_values"] = [*words["na_values"], *(self.missing_values or ())] or None
        return {
            "sep": self.separator(file), "decimal": self.decimal, "thousands": self.thousands,
            "encoding": self.encoding, "index_col": False, "low_memory": False,
            "skipinitialspace": True, **words,
        }  # fmt: skip

    def tidied(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Strip spaces, leave units out, map values; ``attrs["notes"]`` says what was done."""
        notes: list[str] = list(frame.attrs.get("notes", []))
        changed: dict[str, Any] = {}
        for name in frame.columns:
            before = column = frame[name]
            if column.dtype.kind == "O" or str(column.dtype) in ("str", "string"):
                column = self._stripped(column, notes)
                if self.units or self.thousands or self.decimal != ".":
                    column = self._numbers(column)
            if given := (self.map or {}).get(str(name)):
                column = self._mapped(column, given)
            if column is not before:
                changed[name] = column
        if changed:
            frame = frame.assign(**{str(name): column for name, column in changed.items()})
        frame.attrs["notes"] = notes
        return frame

    def _stripped(self, column: pd.Series, notes: list[str]) -> pd.Series:
        values = column.dropna()
        if not len(values):
            return column
        try:
            distinct = [v for v in values.unique() if isinstance(v, str) and v != v.strip()]
        except TypeError:  # lists and mappings: said where the column is used
            return column
        if not distinct:
            return column
        marks = {"", *(self.missing_words or ()), *(self.missing_values or ())}
        plain = {v: None if v.strip() in marks else v.strip() for v in distinct}
        notes.append(f"{column.name}: spaces around {short(distinct[0])} and others left out")
        return column.map(lambda v: plain.get(v, v) if isinstance(v, str) else v)

    def _numbers(self, column: pd.Series) -> pd.Series:
        """Return a column as numbers if all its values are some, without units and thousands."""
        import pandas as pd

        values = column.dropna()
        try:
            distinct = values.unique()
        except TypeError:
            return column
        if not len(values) or not all(isinstance(v, str) for v in distinct):
            return column
        if column.name not in self.numeric and any(re.fullmatch(r"0\d+", v) for v in distinct):
            return column  # codes
        found = {value: self._number(value) for value in distinct}
        if None in found.values():
            return column
        return pd.to_numeric(column.map(found))

    def _number(self, text: str) -> float | None:
        for sign in self.units:
            text = text.replace(sign, "")
        text = re.sub(r"\s", "", text)
        if self.thousands:
            text = text.replace(self.thousands, "")
        try:
            return float(text.replace(self.decimal, "."))
        except ValueError:
            return None

    def _mapped(self, column: pd.Series, given: Mapping[Any, Any]) -> pd.Series:
        import pandas as pd

        written = [value_name(key) for key in given]
        codes, _ = codes_of(found := texts(column), written)
        names = np.array([*(value_name(v) for v in given.values()), None], dtype=object)
        mapped = np.where(codes == -2, found, names[np.maximum(codes, -1)])
        return pd.Series(mapped, index=column.index, name=column.name, dtype=object)

    def remarks(self, frame: pd.DataFrame) -> list[str]:
        """Say which columns of text look like something else, and which values nearly agree."""
        found = []
        for name in frame.columns:
            column = frame[name]
            if column.dtype.kind != "O" and str(column.dtype) not in ("str", "string"):
                continue
            try:
                values = [v for v in column.dropna().unique()[:_SAMPLE] if isinstance(v, str)]
            except TypeError:
                continue
            for what, (pattern, remedy) in _LOOKS.items():
                if values and all(len(v) < 40 and re.fullmatch(pattern, v) for v in values):
                    found.append(
                        f"{name}: looks like {what}, {short(values[0])} say, and is read as text; "
                        f"{remedy.format(self.option)}"
                    )
            alike: dict[str, str] = {}
            for value in values:
                first = alike.setdefault(" ".join(value.casefold().split()), value)
                if first != value:
                    found.append(
                        f"{name}: {short(first)} and {short(value)} differ in case or spaces "
                        f"only; make them one by {self.option}map "
                        f"'{{{name}: {{{value}: {first}}}}}'"
                    )
                    break
        return found


def add_cells(parser: argparse.ArgumentParser) -> None:
    """Add the options of :class:`Cells` to the parser of a command."""
    add = parser.add_argument
    add("--sep", help="between cells of a text file; default by name and header, \\\\t is a tab")
    add("--decimal", metavar="C", default=".", help="character before the decimals")
    add("--thousands", metavar="C", help="character between groups of three digits")
    add("--units", nargs="+", metavar="S", default=[], help="signs beside numbers, to leave out")
    add(
        "--missing_words",
        nargs="*",
        metavar="W",
        help="words for missing, in place of NA, None ...",
    )
    add("--encoding", metavar="E", default="utf-8", help="of a text file")
    add("--map", type=mapping, help="values to write otherwise, '{sex: {F: female, f: female}}'")


def cells_of(args: argparse.Namespace) -> Cells:
    """Return what the options say."""
    for name, given in (args.map or {}).items():
        if not isinstance(given, dict):
            raise UserError(f"--map: give column {name!r} a mapping from values to values.")
    return Cells(args.sep, args.decimal, args.thousands, args.units, args.missing_words,
                 encoding=args.encoding, map=args.map, option="--")  # fmt: skip


def check_plain(frame: pd.DataFrame, path: str, remedy: str) -> None:
    """Refuse columns whose cells are lists or mappings.

    Args:
        frame: The columns that are used.
        path: Its file, for the message.
        remedy: How a column is left out.

    Raises:
        UserError: Naming the column and the remedy.
    """
    from pandas.api.types import infer_dtype

    for name in frame.columns:
        column = frame[name]
        if column.dtype.kind != "O" or infer_dtype(column, skipna=True) != "mixed":
            continue
        for cell in column.to_numpy():
            if isinstance(cell, list | dict | set | tuple | np.ndarray):
                raise UserError(
                    f"{path}: column {str(name)!r} holds lists or mappings, {short(cell, 60)} "
                    f"say, which are no values of a table; {remedy}."
                )
