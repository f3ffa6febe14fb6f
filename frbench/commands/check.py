"""``frbench data --check FILE``: what a table holds, all that is wrong with it, and a YAML."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from frbench.contracts.errors import UserError
from frbench.contracts.text import printable
from frbench.data.cells import Cells, add_cells, cells_of
from frbench.data.reading import is_table, read_table
from frbench.data.tables.schema import kind_of, levels_of, problems, schema
from frbench.data.targets import MAX_FRACTIONS
from frbench.support.atomic import check_new, write_text
from frbench.support.parser import Parser
from frbench.support.sheet import Sheet, show

if TYPE_CHECKING:
    import pandas as pd

#: Names by which a target, an attribute or a split is known, best first.
_TARGETS = ("target", "label", "y", "class", "outcome", "income")
_ATTRIBUTES = ("sex", "gender", "race", "ethnicity", "z", "group", "a")
_SPLITS = {"train", "val", "test"}
#: Classes or groups of a column that is taken for a target or attribute unasked.
_FEW = range(2, 21)


def main(argv: list[str]) -> int:
    """Run the command; returns the exit status.

    Raises:
        UserError: If the file cannot be read, or has no column for target or attribute.
    """
    args = _parser().parse_args(argv)
    if not is_table(args.check):
        raise UserError(f"--check: {args.check} is no .csv, .tsv, .jsonl or .parquet file.")
    if not Path(args.check).is_file():
        raise UserError(f"--check: there is no file {args.check}.")
    out = args.out or Path(Path(args.check).name.split(".")[0] + ".yaml")
    cells = replace(cells_of(args), option="--data.")
    frame, cells, notes = _read(args.check, cells)
    for name in filter(None, (args.target, args.attribute)):
        if name not in frame.columns:
            raise UserError(
                f"{args.check} has no column {name!r}; the columns are: "
                f"{', '.join(frame.columns)}."
            )
    check_new(out, force=args.force)
    names = [str(name) for name in frame.columns]
    split = next((n for n in names if set(frame[n].dropna().map(str)) == _SPLITS), None)
    target = args.target or _likely(frame, _TARGETS, {args.attribute, split}, last=True)
    attribute = args.attribute or _likely(frame, _ATTRIBUTES, {target, split})
    if target is None or attribute is None:
        raise UserError(
            f"{args.check}: no column looks like "
            f"{'a target' if target is None else 'an attribute'}; name it by "
            f"--{'target' if target is None else 'attribute'} COLUMN."
        )
    inputs = [name for name in frame.columns if name not in (target, attribute, split)]
    wrong = problems(frame, inputs)
    options = _options(frame, args.check, target, attribute, split, list(wrong), cells)
    roles = {**dict.fromkeys(inputs, "input"), **dict.fromkeys(wrong, "left out"),
             target: "target", attribute: "attribute"}  # fmt: skip
    roles |= {split: "split"} if split else {}
    lines = [*notes, *(f"{name}: {reason}; left out" for name, reason in wrong.items())]
    if len(wrong) == len(inputs):
        raise UserError(f"{args.check}: no column is left as input ({'; '.join(lines)}).")
    table = schema(frame, roles)
    show([table, Sheet(lines=[*map(printable, lines)] or ["nothing stands out"])])
    import yaml

    entry = {"data": {"class_path": "TableData", "init_args": options}}
    write_text(out, yaml.safe_dump(entry, sort_keys=False, allow_unicode=True))
    print(f"written to {out}; next: frbench fit --config {out}")
    return 0


def _parser() -> Parser:
    parser = Parser(
        "frbench data --check",
        description="Read a table once, print its columns and everything that stands out, and "
        "write the YAML by which `frbench fit` reads it.",
    )
    parser.add_argument("--check", required=True, metavar="FILE", help="the table")
    parser.add_argument("--target", metavar="COL", help="column of the labels; default: guessed")
    parser.add_argument("--attribute", metavar="COL", help="column of the attribute; guessed")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: the table's name .yaml")
    parser.add_argument("--force", action="store_true", help="replace the YAML")
    add_cells(parser)
    return parser


def _read(path: str, cells: Cells) -> tuple[pd.DataFrame, Cells, list[str]]:
    """Read a table, and again by each option that a remark names, which the YAML will say."""
    notes: list[str] = []
    try:
        frame = read_table(path, cells)
    except UserError as error:
        if not (match := re.search(r"encoding (utf-16|cp1252)", str(error))):
            raise
        notes.append(f"{path} is not UTF-8 and was read as {match[1]}")
        cells = replace(cells, encoding=match[1])
        frame = read_table(path, cells)
    for _ in range(4):
        remarks = cells.remarks(frame)
        better = _better(frame, remarks, cells)
        if better == cells:
            break
        notes += [note for note in remarks if note not in notes]
        cells, frame = better, read_table(path, better)
    notes += [note for note in [*frame.attrs["notes"], *remarks] if note not in notes]
    return frame, cells, notes


def _better(frame: pd.DataFrame, remarks: list[str], cells: Cells) -> Cells:
    """Follow the remarks: decimals, thousands, units, and values that are almost alike."""
    values: dict[str, tuple[str, Callable[[str], Any]]] = {
        "decimal": ("a decimal comma", lambda text: ","),
        "thousands": ("of thousands", lambda text: next(c for c in ",.' " if c in text)),
        "units": (
            "of their unit",
            lambda text: [*cells.units, *dict.fromkeys(re.findall(r"[^\d\s.,'+-]+", text))],
        ),
    }
    for name, (words, read) in values.items():
        for remark in remarks:
            if f"{words}," in remark and getattr(cells, name) in (None, ".", cells.units):
                column = remark.split(": looks like")[0]
                try:
                    found: dict[str, Any] = {name: read(str(frame[column].dropna().iloc[0]))}
                    return replace(cells, **found)
                except (UserError, StopIteration, KeyError):
                    continue
    maps: dict[str, dict[Any, Any]] = {k: dict(v) for k, v in (cells.map or {}).items()}
    for column in {r.split(": ")[0] for r in remarks if "in case or spaces only" in r}:
        for value in frame[column].dropna().unique():
            first = next(
                other
                for other in frame[column].dropna().unique()
                if " ".join(str(other).casefold().split())
                == " ".join(str(value).casefold().split())
            )
            if first != value:
                maps.setdefault(str(column), {})[str(value)] = str(first)
    return replace(cells, map=maps) if maps else cells


def _likely(
    frame: pd.DataFrame, names: tuple[str, ...], taken: set[str | None], last: bool = False
) -> str | None:
    """Guess a column: by its name, else one of few values (the last such, or the first text)."""
    few = [n for n in frame.columns if n not in taken and (levels_of(frame[n]) or 0) in _FEW]
    for name in names:
        if found := [n for n in frame.columns if n.lower() == name and n not in taken]:
            return str(found[0])
    texts = [name for name in few if kind_of(frame[name]) in ("text", "truth value")]
    return next(iter(few[::-1] if last else texts or few), None)


def _options(
    frame: pd.DataFrame, path: str, target: str, attribute: str, split: str | None,
    left_out: list[str], cells: Cells,
) -> dict[str, Any]:  # fmt: skip
    """Arguments of ``TableData`` that differ from the defaults."""
    options: dict[str, Any] = {"path": path, "target": target, "attribute": attribute}
    for role in (target, attribute):
        if kind_of(frame[role]) == "list or mixed" or not (levels_of(frame[role]) or 0) > 1:
            raise UserError(
                f"{path}: column {role!r} has fewer than two plain values; name another by "
                f"--{'target' if role == target else 'attribute'}."
            )
    kind, count = kind_of(frame[target]), levels_of(frame[target]) or 0
    if kind.endswith("number") and count > (MAX_FRACTIONS if kind == "number" else 50):
        options["positive"] = f"> {float(np.median(frame[target].dropna())):g}"
    if kind_of(frame[attribute]).endswith("number") and (levels_of(frame[attribute]) or 0) > 10:
        options["bins"] = {attribute: 4}
    if left_out:
        options["drop"] = left_out
    if split:
        options |= {"split": "column", "split_column": split}
    default, given = asdict(Cells()), asdict(cells)
    for name in ("sep", "decimal", "thousands", "units", "missing_words", "encoding", "map"):
        if given[name] != default[name] and given[name]:
            value = given[name]
            options[name] = list(value) if isinstance(value, tuple | list) else value
    if cells.missing_words == []:
        options["missing_words"] = []
    return options
