"""The parser of the commands that Lightning's command line has no part in."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from frbench.contracts.errors import UserError


def seed(text: str) -> int:
    """Read the seed of a random generator, 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"a seed is a whole number from 0, got {text}")
    return int(text)


def names(text: str) -> list[str]:
    """Read a list of names, ``[a, b]`` or ``a,b``.

    Example:
        >>> names("[sex, race]"), names("all")
        (['sex', 'race'], ['all'])
    """
    found = [name.strip().strip("'\"") for name in text.strip().strip("[]").split(",")]
    return [name for name in found if name]


def decision_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that change the decision."""
    parser.add_argument("--threshold", type=float, help="least p(second class) that selects it")
    parser.add_argument("--top_k", type=int, help="number of rows that are selected")
    parser.add_argument("--selection_rate", type=float, help="share of rows that is selected")


def threads_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that says how many threads compute."""
    parser.add_argument("--threads", type=positive, help="default: by the size of a batch")


def positive(text: str) -> int:
    """Read a number of at least 1."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"must be a number of at least 1, got {text!r}")
    return int(text)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, whose options are written out, whose examples stay.

    Args:
        prog: The command, ``frbench bench`` say.
        **kwargs: As of :class:`argparse.ArgumentParser`.

    Example:
        >>> parser = Parser("frbench bench")
        >>> try:
        ...     parser.parse_args(["--jobs"])
        ... except UserError as error:
        ...     print(error)
        unrecognized arguments: --jobs; see frbench bench --help.
    """

    def __init__(self, prog: str, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(prog=prog, allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Raise a UserError in place of printing the usage and leaving the process."""
        raise UserError(f"{message}; see {self.prog} --help.")
