"""``frbench data debias``: a user's table redrawn with fair rates; imports no torch."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from frbench.contracts.errors import UserError
from frbench.contracts.text import printable
from frbench.data.categorical import MAX_VALUES, Categorical, categorize, cross
from frbench.data.cells import add_cells, cells_of, check_plain
from frbench.data.max_entropy import MaxEntropy, rates
from frbench.data.max_entropy.prior import Given
from frbench.data.reading import read_table
from frbench.data.table import Table
from frbench.support.atomic import check_new, replacing
from frbench.support.parser import Parser, number, seed
from frbench.support.progress import busy
from frbench.support.sheet import Sheet, show

if TYPE_CHECKING:
    import pandas as pd

#: Rows that are drawn, at most.
MAX_DRAWN = 10**8

DESCRIPTION = """\
Redraw a table so that all values of the protected columns are as frequent as each other and have
nearly the same outcomes: the max-entropy distribution closest to the data (docs/max_entropy.md).
Numbers are cut into bins and drawn inside their bin; every written value occurs in the input."""

EXAMPLES = """\
examples:
  frbench data debias in.csv --protected sex --target income --out out.csv
  frbench data debias in.csv --protected sex race --target income --out out.csv \\
      --smoothing 0.1 --bins age=25,40,60 --drop id --n 50000 --seed 1
  frbench data debias in.csv --protected sex --target income --out out.csv \\
      --marginals income=no:0.7,yes:0.3 sex=f:0.4,m:0.6
  frbench data debias in.csv --protected sex --target income --out out.csv \\
      --smoothing 0 --via weight          # the same rows and a column `weight`
"""


def _parser() -> Parser:
    parser = Parser(
        "frbench data debias",
        usage="frbench data debias FILE --protected COL ... --target COL --out FILE [options]",
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    add = parser.add_argument
    add("file", metavar="FILE", help=".csv, .csv.gz or .parquet")
    add("--protected", nargs="+", required=True, metavar="COL", help="several: intersections")
    add("--target", required=True, metavar="COL", help="outcome, of two or more values")
    add("--out", required=True, type=Path, metavar="FILE", help="written; must not exist")
    add(
        "--smoothing",
        type=float,
        default=0.5,
        metavar="C",
        help="uniform share of the prior: .5",
    )
    add("--prior", choices=("reweighted", "data"), default="reweighted", help="rest of the prior")
    add(
        "--marginals",
        nargs="+",
        default=["reweighted"],
        metavar="M",
        help="reweighted (default), balanced, data, or COL=VALUE:SHARE,... or COL=MEAN",
    )
    add(
        "--tau",
        type=float,
        default=1.0,
        help="wanted ratio of the protected shares, in (0, 1]",
    )
    add(
        "--band",
        type=float,
        default=0.0,
        help="largest distance of these shares from their goal",
    )
    add(
        "--n",
        type=number(1, MAX_DRAWN, whole=True),
        metavar="ROWS",
        help="rows to draw; as many as in the input",
    )
    add("--seed", type=seed, default=0, help="of the draws: 0")
    add("--bins", nargs="+", default=[], metavar="COL=EDGES", help="inner edges, as 25,40,60")
    add(
        "--max-bins",
        type=number(2, 1000, whole=True),
        default=10,
        help="quantile bins of other numbers: 10",
    )
    add("--ordinal", nargs="+", default=[], metavar="COL", help="keep only the mean of a number")
    add("--drop", nargs="+", default=[], metavar="COL", help="leave out, as ids and names")
    add("--via", choices=("sample", "weight"), default="sample", help="draw rows, or weigh them")
    add_cells(parser)
    return parser


def main(argv: list[str]) -> int:
    """Run the command; returns the exit status.

    Raises:
        UserError: If the file, a column or an option cannot be used, or the output exists.
    """
    args = _parser().parse_args(argv)
    if args.out.suffix not in (".csv", ".parquet") or not args.out.parent.is_dir():
        raise UserError(f"--out {args.out}: give a .csv or .parquet file in a folder that exists.")
    check_new(args.out)
    if not Path(args.file).is_file():
        raise UserError(f"there is no file {args.file} (seen from {Path.cwd()}).")
    with busy(f"reading {args.file}"):
        frame = read_table(args.file, cells := cells_of(args))
    for note in [*frame.attrs["notes"], *cells.remarks(frame)]:
        print(f"note: {printable(note)}", file=sys.stderr)
    frame, y, z = _prepare(frame, args)
    step = MaxEntropy(
        args.smoothing,
        args.prior,
        _marginals(args, z),
        args.tau,
        args.band,
        _edges(args.bins),
        args.max_bins,
        args.ordinal,
        args.n,
        args.via,
    )
    step.bind(tuple(y.names), tuple(z.names))
    step.columns = (args.target, "&".join(args.protected))
    chosen = [args.target, *args.protected]
    table = Table(frame.drop(columns=chosen), y.codes, z.codes)
    with busy("fitting and drawing"):
        fair = step.apply(table, np.random.default_rng(args.seed), np.asarray)
    out = fair.x.reset_index(drop=True)
    for names, old, new in (
        ([args.target], y.codes, fair.y),
        (args.protected, z.codes, fair.z),
    ):
        _, first = np.unique(old, return_index=True)  # a row that has each code
        out[names] = frame[names].iloc[first[new]].reset_index(drop=True)
    out = out[list(frame.columns)]
    if args.via == "weight":
        out["weight"] = fair.weight
    _report(frame, out, y, args)
    assert step.solution is not None
    print(step.solution.describe().splitlines()[-1])
    with replacing(args.out, new=True) as part:
        if args.out.suffix == ".parquet":
            out.to_parquet(part, index=False)
        else:
            out.to_csv(part, index=False)
    print(f"written to {args.out}")
    return 0


def _prepare(
    frame: pd.DataFrame, args: argparse.Namespace
) -> tuple[pd.DataFrame, Categorical, Categorical]:
    """Check the columns, leave out rows without target or attribute, and code both."""
    chosen = [args.target, *args.protected]
    for option, names in (("target", [args.target]), ("protected", args.protected),
                          ("drop", args.drop)):  # fmt: skip
        if absent := [name for name in names if name not in frame.columns]:
            raise UserError(
                f"--{option}: {args.file} has no column {absent[0]!r}; the columns are: "
                f"{', '.join(frame.columns)}."
            )
    if len(set(chosen)) < len(chosen) or set(chosen) & set(args.drop):
        raise UserError("name every column once among --target, --protected and --drop.")
    if args.via == "weight" and "weight" in frame.columns:
        raise UserError(f"{args.file} has a column 'weight' already; rename it.")
    frame = frame.drop(columns=args.drop)
    if len(frame.columns) == len(chosen):
        raise UserError("no column is left beside target and protected; shorten --drop.")
    known = frame[chosen].notna().all(axis=1)
    if dropped := int((~known).sum()):
        print(f"{dropped} of {len(frame)} rows left out: no {' or '.join(chosen)}")
    frame = frame[known].reset_index(drop=True)
    check_plain(frame, args.file, "leave it out by --drop NAME")
    edges = _edges(args.bins)
    for name in frame.columns.difference(args.ordinal):
        if frame[name].dtype.kind == "f" and np.isinf(frame[name]).any():
            raise UserError(
                f"column '{name}' of {args.file} holds infinite values; clean it, or leave it out "
                "by --drop."
            )
    for name in chosen:
        if len(frame) == 0 or frame[name].nunique() < 2:
            raise UserError(f"column '{name}' of {args.file} has fewer than two values.")
        if (count := frame[name].nunique()) > MAX_VALUES:
            raise UserError(
                f"column '{name}' of {args.file} has {count} different values, more than "
                f"{MAX_VALUES}; add a column of its bins to the file."
            )
        if name in edges:
            raise UserError(
                f"--bins: '{name}' is {'the target' if name == args.target else 'protected'}; "
                "its values are drawn as they are. Add a column of its bins to the file."
            )
    y = categorize(frame[args.target])
    z = cross([categorize(frame[name]) for name in args.protected])
    return frame, y, z


def _edges(words: list[str]) -> dict[str, list[float]]:
    """Read ``age=25,40``."""
    out = {}
    for word in words:
        name, _, text = word.rpartition("=")
        try:
            out[name] = [float(edge) for edge in text.split(",")]
            if not all(map(math.isfinite, out[name])):
                raise ValueError
        except ValueError:
            name = ""
        if not name:
            raise UserError(f"--bins: give COLUMN=EDGE,EDGE,..., as age=25,40; got {word!r}.")
    return out


def _marginals(args: argparse.Namespace, z: Categorical) -> Any:
    """Read ``reweighted`` or ``income=no:0.7,yes:0.3 age=35``."""
    if len(args.marginals) == 1 and "=" not in args.marginals[0]:
        return args.marginals[0]
    out: dict[str, Given] = {}
    for word in args.marginals:
        name, _, text = word.partition("=")
        try:
            if ":" in text:
                pairs = (part.rpartition(":") for part in text.split(","))
                given: Given = {value: float(share) for value, _, share in pairs}
            else:
                given = float(text)
            if not all(map(math.isfinite, given.values() if isinstance(given, dict) else [given])):
                raise ValueError
        except ValueError:
            raise UserError(
                "--marginals: give reweighted, balanced, data, or COLUMN=VALUE:SHARE,... or "
                f"COLUMN=MEAN with finite numbers; got {word!r}."
            ) from None
        if name in args.protected and len(args.protected) > 1:
            raise UserError(
                f"--marginals: of several protected columns give the shares of the combinations: "
                f"{'&'.join(args.protected)}={z.names[0]}:SHARE,..."
            )
        out[name] = given
    return out


def _report(
    before: pd.DataFrame, after: pd.DataFrame, y: Categorical, args: argparse.Namespace
) -> None:
    """Print rows and rates of both tables, over every protected column and their combination."""
    views = [[name] for name in args.protected]
    views += [args.protected] if len(args.protected) > 1 else []
    known = {
        "&".join(names): cross([categorize(before[name]) for name in names]) for names in views
    }
    found = []
    for frame in (before, after):
        weight = frame["weight"].to_numpy() if args.via == "weight" and frame is after else None
        codes = categorize(frame[args.target])
        column: dict[str, float] = {"rows": len(frame)}
        place = np.array([y.names.index(name) for name in codes.names])
        for names in views:
            shown = "&".join(names)
            z, values = cross([categorize(frame[name]) for name in names]), known[shown].names
            column_of = np.array([values.index(name) for name in z.names])  # few rows lack some
            joint = np.zeros((len(y.names), len(values)))
            cells = place[codes.codes], column_of[z.codes]
            np.add.at(joint, cells, 1.0 if weight is None else weight)
            rr, sr = rates(joint)
            column[f"representation rate of {shown}"] = float(rr)
            for value, rate in zip(y.names, sr, strict=True):
                column[f"statistical rate of {args.target}={value} over {shown}"] = float(rate)
        found.append(column)
    rows = [(key, value, found[1][key]) for key, value in found[0].items()]
    show([Sheet("", ("", "before", "after"), rows, digits=4)])
