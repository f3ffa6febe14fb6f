"""What `frbench audit` reads: the table, its columns by their options, and their codes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from frbench.contracts.errors import UserError
from frbench.contracts.text import short
from frbench.data.categorical import MAX_VALUES, categorize, made_up, membership_sets, value_name
from frbench.data.cells import add_cells, cells_of, check_plain
from frbench.data.reading import is_table, read_table
from frbench.metrics.rows import Rows, factorise, to_rows
from frbench.support.parser import mapping

if TYPE_CHECKING:
    import pandas as pd


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the file and the options of its columns."""
    parser.add_argument(
        "file", type=Path, nargs="?", metavar="FILE",
        help=".csv, .tsv, .jsonl (also .gz) or .parquet",
    )  # fmt: skip
    parser.add_argument(
        "--y", metavar="COL", help="column of the true labels; without it: selection rates alone"
    )
    parser.add_argument("--pred", required=True, metavar="COL", help="column of the predictions")
    parser.add_argument(
        "--z",
        required=True,
        nargs="+",
        action="extend",
        metavar="COL",
        help="columns of the attributes: each alone, then crossed; empty or -1 is unknown",
    )
    parser.add_argument(
        "--overlapping",
        action="store_true",
        help="the columns of --z say which of several groups a row is in: 1 or 0, or a share",
    )
    parser.add_argument("--score", metavar="COL", help="probability of the positive class")
    parser.add_argument("--weight", metavar="COL", help="sample weights")
    parser.add_argument("--positive", metavar="VALUE", help="the positive class against the rest")
    parser.add_argument(
        "--bins",
        type=mapping,
        default={},
        metavar="MAP",
        help="of attributes, '{age: [25, 40], income: 4}': edges, or a number of quantile bins",
    )
    add_cells(parser)


def read(args: argparse.Namespace) -> pd.DataFrame:
    """Read the file and check that it has the columns asked for.

    Raises:
        UserError: Naming the option and the columns there are.
    """
    if args.file is None:
        taken = [name for name in args.z if is_table(name)]
        where = f"; --z has taken {taken[0]!r}" if taken else ""
        raise UserError(f"FILE is missing{where}: give it first, frbench audit FILE --z ..")
    if not args.file.is_file():
        raise UserError(f"No file {str(args.file)!r}: give the path of a .csv or .parquet table")
    if not is_table(str(args.file)):
        raise UserError(
            f"Cannot read {str(args.file)!r}: expected .csv, .csv.gz or .parquet, .tsv or .jsonl"
        )
    frame = read_table(str(args.file), cells := cells_of(args))
    flags = [("--pred", args.pred), *(("--z", z) for z in args.z)]
    optional = (("--y", args.y), ("--score", args.score), ("--weight", args.weight))
    flags += [(flag, column) for flag, column in optional if column]
    for flag, column in flags:
        if column not in frame.columns:
            raise UserError(
                f"{str(args.file)!r} has no column {column!r}: "
                f"set {flag} to one of {', '.join(map(str, frame.columns))}"
            )
    used = list(dict.fromkeys(column for _, column in flags))
    check_plain(frame[used], str(args.file), "name another column")
    for flag, column in flags:
        lacking = int(frame[column].isna().sum())
        if lacking and flag != "--z":
            raise UserError(
                f"Column {column!r} of {str(args.file)!r} lacks {lacking} of {len(frame)} values: "
                "fill them or drop the rows"
            )
    if strange := sorted(set(args.bins) - set(args.z)):
        raise UserError(f"--bins names {strange[0]!r}, which is not in --z.")
    about = tuple(f"{name}: " for name in (str(args.file), *used))
    notes = [note for note in frame.attrs.get("notes", []) if note.startswith(about)]
    frame = frame[used]
    frame.attrs["notes"] = [*notes, *cells.remarks(frame)]
    return frame


def check_decisions(frame: pd.DataFrame, args: argparse.Namespace) -> list[str]:
    """Look for values that stand in one of the columns of labels and predictions alone.

    A third value beside two classes turns every rate into that of the worst of three.

    Returns:
        What the reader must know.

    Raises:
        UserError: If predictions hold a value beside the two of the labels.
    """
    if args.positive is not None:
        return []
    columns = list(dict.fromkeys([args.y or args.pred, args.pred]))
    if len({frame[column].dtype.kind in "iufb" for column in columns}) > 1:
        return []  # text and numbers, which is said where they are coded
    counts = [frame[column].map(value_name).value_counts() for column in columns]
    labels, predictions = counts[0], counts[-1]
    values = {*labels.index, *predictions.index}
    if len(values) < 3:
        return []
    remedy = "drop these rows, or name the positive class by --positive (all else is the other)"
    alone = [value for value in predictions.index if value not in labels.index]
    if alone and len(labels) < 3:
        held = ", ".join(f"{value!r} in {_rows(predictions[value])}" for value in alone[:5])
        raise UserError(
            f"Column {args.pred!r} holds {held}, which no label of {args.y!r} is "
            f"({', '.join(map(str, labels.index))}): {remedy}"
        )
    rare = min(values, key=lambda value: labels.get(value, 0) + predictions.get(value, 0))
    held = " and ".join(
        f"{_rows(found.get(rare, 0))} of {column!r}"
        for column, found in zip(columns, counts, strict=True)
    )
    return [
        f"{len(values)} classes: rates and gaps are those of the worst class, each against the "
        f"rest. The rarest, {rare!r}, is in {held}: if it is none, {remedy}"
    ]


def _rows(number: int) -> str:
    return f"{number} row" + "s" * int(number != 1)


def code(frame: pd.DataFrame, columns: list[str], args: argparse.Namespace) -> Rows:
    """Return the rows for one attribute, or for several crossed; without labels, y is y_pred.

    Raises:
        UserError: If a column cannot be used.
    """
    y, y_pred, names = frame[args.y or args.pred], frame[args.pred], None
    if args.positive is not None:
        y, y_pred = y.map(value_name), y_pred.map(value_name)
        values = sorted({*y, *y_pred})
        if args.positive not in values:
            raise UserError(
                f"--positive {args.positive!r} is not in column {args.y or args.pred!r}: "
                f"use one of {', '.join(values[:20])}"
            )
        rest = [v for v in values if v != args.positive]
        other = rest[0] if len(rest) == 1 else made_up(f"not {args.positive}", [args.positive])
        names = [other, args.positive]
        y, y_pred = (y == args.positive).astype(int), (y_pred == args.positive).astype(int)
    if args.overlapping:
        sets = membership_sets(frame[columns])
        coded = [(sets.codes, tuple(sets.names))]
    else:
        coded = [_attribute(frame[column], args) for column in columns]
    codes = {column: found[0] for column, found in zip(columns, coded, strict=False)}
    return to_rows(
        y.to_numpy(),
        y_pred.to_numpy(),
        codes if len(coded) > 1 else codes[columns[0]],
        frame[args.score].to_numpy() if args.score else None,
        frame[args.weight].to_numpy() if args.weight else None,
        names,
        [found[1] for found in coded] if len(coded) > 1 else coded[0][1],
        called={
            "y": repr(args.y or args.pred),
            "y_pred": repr(args.pred),
            "scores": f"{args.score!r}: scores",
            "weight": repr(args.weight),
        },
    )


def _attribute(column: pd.Series, args: argparse.Namespace) -> tuple[np.ndarray, tuple[str, ...]]:
    """Codes of an attribute's values, -1 where unknown, and their names."""
    known = column.notna().to_numpy()
    if not known.any():
        raise UserError(f"Column {column.name!r} is empty: choose another with --z")
    if (bins := args.bins.get(column.name)) is not None:
        found = categorize(column, bins if isinstance(bins, int | list) else [bins], option="--")
        return found.codes, tuple(found.names)
    whole = column.dtype.kind in "iuf" and bool((column[known] % 1 == 0).all())
    if whole and column.nunique() > MAX_VALUES:
        raise UserError(
            f"Column {column.name!r} has {column.nunique()} different numbers, "
            f"{short(column[known].iloc[0])} say: bin it by --bins '{{{column.name}: 4}}' or "
            "'{...: [EDGE, ...]}'"
        )
    codes = np.full(len(column), -1)
    (codes[known],), names = factorise({str(column.name): column[known]}, unknown=True)
    return codes, names
