"""Write docs/data_tables.md from the data: ``python docs/_tools/data_tables.py``."""

from __future__ import annotations

import time
from pathlib import Path

from frbench.contracts.errors import UserError
from frbench.data.describe import describe
from frbench.runs.build import build

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

Written by `python docs/_tools/data_tables.py` from the data themselves: rows of each group in
each split with the default options (seed 0), and the share Q of each group in what training sees.
A group is a cell (y, z). [data.md](data.md) says where files belong and how to bring your own.
"""


def main() -> None:
    """Print each table into the page, and how long it took onto the terminal."""
    parts = [START]
    for options, note in SETS:
        start = time.monotonic()
        try:
            text = describe(build(options.split()))
        except UserError as error:
            raise SystemExit(f"{options}: {error}") from error
        title = options.replace("--data ", "").replace(" --data.", ", ")
        parts.append(f"## {title}\n\n`frbench data {options}`: {note}.\n\n"
                     f"```text\n{text.rstrip()}\n```\n")  # fmt: skip
        print(f"{options}: {time.monotonic() - start:.1f} s", flush=True)
    Path(__file__).parents[1].joinpath("data_tables.md").write_text("\n".join(parts))


if __name__ == "__main__":
    main()
