"""``frbench data``: which files are here, and the group tables of a data set."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from frbench.data.files import cache_folder, status
from frbench.errors import UserError
from frbench.progress import busy, loading

if TYPE_CHECKING:
    from frbench.data.module import GroupDataModule

USAGE = """\
usage: frbench data                                   which data files are here
       frbench data --data Adult --data.attribute race --data.balance joint
                                                      group tables, rates, training distribution
       frbench data debias in.csv --protected sex --target income --out out.csv
                                                      redraw a table with fair rates (--help)

examples
  frbench data --data Digits
  frbench data --data TableData --data.path loans.csv --data.target repaid --data.attribute sex
  frbench data debias loans.csv --protected sex --target repaid --out fair.csv

All options of a data set:  frbench fit --data.help Adult
"""


def _files() -> None:
    from rich.console import Console
    from rich.table import Table as RichTable

    view = RichTable("file", "found")
    for name, path in status():
        view.add_row(name, str(path) if path else "missing")
    console = Console()
    console.print(view)
    folder = os.environ.get("FRBENCH_DATA") or "not set"
    console.print(f"FRBENCH_DATA: {folder}; cache: {cache_folder()}", highlight=False)
    console.print("Digits and TwoGaussians need no file.", highlight=False)


def build(argv: list[str], stored: dict[str, Any] | None = None) -> GroupDataModule:
    """Build the data set of ``--data NAME --data.OPTION VALUE`` words.

    Args:
        argv: The words.
        stored: A data set as plain data, whose options the words override.

    Raises:
        UserError: If the data set or one of its options does not exist.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    import frbench.cli  # noqa: F401 - makes the names of the data sets known
    from frbench.data.module import GroupDataModule
    from frbench.messages import cause, readable

    parser = ArgumentParser(prog="frbench", exit_on_error=False)
    parser.add_subclass_arguments(GroupDataModule, "data", required=True)
    if stored is not None:
        parser.set_defaults({"data": stored})
    try:
        result: GroupDataModule = parser.instantiate(parser.parse_args(argv)).data
        return result
    except ArgumentError as error:
        raise UserError(readable(str(error))) from error
    except ValueError as error:
        if (user_error := cause(error)) is not None:
            raise user_error from None
        raise


def main(argv: list[str]) -> int:
    """Run ``frbench data``.

    Raises:
        UserError: If the data set or one of its options does not exist.
    """
    if argv[:1] == ["debias"]:
        from frbench.data.debias import main as debias

        return debias(argv[1:])
    if "-h" in argv or "--help" in argv:
        print(USAGE, end="")
        return 0
    if not argv:
        _files()
        return 0
    from frbench.metrics import table_rates

    with loading():
        import frbench.cli  # noqa: F401 - knows all data sets
    with busy("reading the data"):
        data = build(argv)
        text = data.describe()
    print(text)
    train = data.splits["train"]
    rates = table_rates(
        train.y, train.z, class_names=data.class_names, attribute_names=data.attribute_names
    )
    print("rates of the training split before any edit:")
    for name, value in next(iter(rates.values())).items():
        print(f"  {name:<40} {value:.4f}")
    print(f"data hash {data.fingerprint()}")
    return 0
