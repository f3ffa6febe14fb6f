"""Write docs/data_tables.md and .csv from the data: ``python docs/_tools/data_tables.py``."""

from __future__ import annotations

import time
from pathlib import Path

from frbench.contracts.errors import UserError
from frbench.data.describe import group_table
from frbench.runs.build import build
from frbench.support.sheet import Sheet, Value

#: Options of ``frbench data``, and where the data is from.
SETS = [
    ("--data Digits", "embedded, coloured; see mind_the_graph.md for its tasks"),
    ("--data TwoGaussians", "drawn; arXiv 2002.10234, section 4"),
    ("--data MNIST", "as Digits, on MNIST's images"),
    ("--data QMNISTWriters --data.students 0.1", "arXiv 1905.10498"),
    ("--data ColouredMNIST", "MNIST's images, coloured"),
    ("--data MNISTEnvironments", "arXiv 1907.02893, section 5.1"),
    ("--data GeneratedFaces", "drawn"),
    ("--data Adult --data.attribute sex", "UCI; split of the files"),
    ("--data Adult --data.attribute [sex,race]", "crossed"),
    ("--data Compas --data.attribute race", "ProPublica"),
    ("--data Compas --data.attribute sex", "ProPublica"),
    ("--data German", "UCI Statlog"),
    ("--data LawSchool", "LSAC"),
    ("--data Bank", "UCI bank-additional-full"),
    ("--data ACSIncome", "folktables, 2018"),
    ("--data CompasSmall", "as the max-entropy code has it"),
    ("--data CompasLarge", "as the max-entropy code has it"),
    ("--data AdultSmall", "as the max-entropy code has it"),
    ("--data AmazonReviews", "Musical Instruments, 5-core"),
    ("--data CelebA", "the attribute files; images are needed to train"),
]
START = """\
# Group tables

Written by `python docs/_tools/data_tables.py` from the data themselves, with the default options
(seed 0). A group is a cell (y, z); the smallest is that of the training rows, without empty ones.
[Every group in every table](data_tables.csv), with the share Q of each group in what training
sees. `frbench data` followed by the options prints the same for one data set.
[Data](data.md) says where files belong and how to bring your own.

| options | source | classes, values of z | training rows | smallest group | tables |
|---|---|---|---|---|---|
"""


def main() -> None:
    """Write page and table, and say on the terminal how long each data set took."""
    lines: list[str] = []
    rows: list[list[Value]] = []
    for options, note in SETS:
        start = time.monotonic()
        try:
            data = build(options.split())
            groups = group_table(data)
        except UserError as error:
            raise SystemExit(f"{options}: {error}") from error
        counts: dict[str, list[int]] = groups["counts"]
        for table, column in counts.items():
            shares = groups["Q"] if table == "train" else [None] * len(column)
            for name, count, share in zip(groups["names"], column, shares, strict=True):
                rows.append([options.removeprefix("--data "), table, name, count, share])
        sizes = f"{data.num_classes}, {data.num_attributes}"
        smallest = min(count for count in counts["train"] if count)
        row = [f"`{options}`", note, sizes, f"{sum(counts['train']):,}", f"{smallest:,}"]
        lines.append(f"| {' | '.join([*row, ', '.join(counts)])} |")
        print(f"{options}: {time.monotonic() - start:.1f} s", flush=True)
    page = Path(__file__).parents[1] / "data_tables.md"
    page.write_text(START + "\n".join(lines) + "\n", encoding="utf-8")
    columns = ["data", "table", "group", "rows", "Q"]
    page.with_suffix(".csv").write_text(Sheet("", columns, rows).render("csv"), encoding="utf-8")


if __name__ == "__main__":
    main()
