"""``frbench data``: which files are here, and the group tables of a data set."""

from __future__ import annotations

import os

from frbench.support.files import cache_folder, status
from frbench.support.progress import busy, loading
from frbench.support.sheet import Sheet, show

USAGE = """\
usage: frbench data                                   which data files are here
       frbench data --data Adult --data.attribute race --data.balance joint
                                                      group tables, rates, training distribution
       frbench data --check FILE [--target COL] [--attribute COL]
                                                      columns of a table, all that is wrong with
                                                      it, and a YAML that `frbench fit` reads
       frbench data debias in.csv --protected sex --target income --out out.csv
                                                      redraw a table with fair rates (--help)

examples
  frbench data --data Digits
  frbench data --data TableData --data.path loans.csv --data.target repaid --data.attribute sex
  frbench data debias loans.csv --protected sex --target repaid --out fair.csv

All options of a data set:  frbench fit --data.help Adult
"""


def _files() -> None:
    folder = os.environ.get("FRBENCH_DATA") or "not set"
    rows = [(name, str(path or "missing")) for name, path in status()]
    lines = [f"FRBENCH_DATA: {folder}; cache: {cache_folder()}",
             "Digits and TwoGaussians need no file."]  # fmt: skip
    show([Sheet("", ("file", "found"), rows), Sheet(lines=lines)])


def main(argv: list[str]) -> int:
    """Run ``frbench data``.

    Raises:
        UserError: If the data set or one of its options does not exist.
    """
    if argv[:1] == ["debias"]:
        from frbench.commands.debias import main as debias

        return debias(argv[1:])
    if any(word.split("=")[0] == "--check" for word in argv):
        from frbench.commands.check import main as check

        return check(argv)
    if "-h" in argv or "--help" in argv:
        print(USAGE, end="")
        return 0
    if not argv:
        _files()
        return 0
    from frbench.metrics import table_rates

    with loading():
        from frbench.data.describe import describe
        from frbench.data.fingerprint import fingerprint
        from frbench.runs.build import build
    with busy("reading the data"):
        data = build(argv)
        text = describe(data)
    print(text)
    train = data.splits["train"]
    rates = table_rates(
        train.y, train.z, class_names=data.class_names, attribute_names=data.attribute_names
    )
    print("rates of the training split before any edit:")
    for name, value in next(iter(rates.values())).items():
        print(f"  {name:<40} {value:.4f}")
    print(f"data hash {fingerprint(data)}")
    return 0
