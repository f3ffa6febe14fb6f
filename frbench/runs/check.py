"""Options of many runs, read by the parser of ``frbench fit``; nothing is built or trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from frbench.contracts.errors import UserError
from frbench.runs.causes import one_line
from frbench.runs.cli import LINKED, FrbenchCLI, command_line
from frbench.runs.options import check_configs, known_options


class _Read(Exception):
    """Ends the command line after its parser has read everything; holds what it found."""

    def __init__(self, found: list[str | None]) -> None:
        self.found = found


class _Reader(FrbenchCLI):
    """A command line that stops where it would build the classes."""

    def parse_arguments(self, parser: Any, args: Any) -> None:
        """Read each of several lists of words."""
        options = known_options()
        raise _Read([self._problem(parser, words, options) for words in args])

    @staticmethod
    def _problem(parser: Any, words: list[str], options: list[str]) -> str | None:
        try:
            with one_line(LINKED, options):
                parser.parse_args(check_configs(words))
        except UserError as error:
            return str(error)
        return None


def problems(runs: Sequence[list[str]]) -> list[str | None]:
    """Say what is wrong with the options of each run, in one line; None where they are right.

    Classes, options and their types are checked, and files of the user's own are imported.
    Ranges of values, and what depends on the data, are checked when a run starts.

    Args:
        runs: The words of each, ``fit`` first.
    """
    try:
        command_line(_Reader, "fit", runs)
    except _Read as read:
        return read.found
    raise AssertionError("the command line did not read its options")
