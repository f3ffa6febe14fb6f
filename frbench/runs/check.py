"""Options of many runs, read by the parser of ``frbench fit``; nothing is built or trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from frbench.contracts.errors import UserError
from frbench.contracts.spec import from_spec
from frbench.data.module import GroupDataModule
from frbench.runs.causes import one_line
from frbench.runs.cli import LINKED, FrbenchCLI, command_line
from frbench.runs.options import check_configs, known_options


class _Read(Exception):
    """Ends the command line after its parser has read everything; holds what it found."""

    def __init__(self, found: list[Any]) -> None:
        self.found = found


class _Reader(FrbenchCLI):
    """A command line that stops where it would build the classes."""

    def parse_arguments(self, parser: Any, args: Any) -> None:
        """Read each of several lists of words, and look at what was read."""
        options = known_options()
        look, runs = args
        found = []
        for words in runs:
            try:
                with one_line(LINKED, options):
                    found.append(look(parser.parse_args(check_configs(words))))
            except UserError as error:
                found.append(error)
        raise _Read(found)


def _read(runs: Sequence[list[str]], look: Callable[[Any], Any]) -> list[Any]:
    try:
        command_line(_Reader, "fit", (look, runs))
    except _Read as read:
        return read.found
    raise AssertionError("the command line did not read its options")


def problems(runs: Sequence[list[str]]) -> list[str | None]:
    """Say what is wrong with the options of each run, in one line; None where they are right.

    Classes, options and their types are checked, and files of the user's own are imported.
    Ranges of values, and what depends on the data, are checked when a run starts.

    Args:
        runs: The words of each, ``fit`` first.
    """
    return [None if found is None else str(found) for found in _read(runs, lambda _: None)]


def data_files(runs: Sequence[list[str]]) -> list[list[str]]:
    """Name the files that the data of each run are read from.

    Args:
        runs: The words of each, ``fit`` first.

    Raises:
        UserError: If options are wrong.
    """
    found = _read(runs, lambda config: from_spec(config.fit.data.as_dict(), GroupDataModule).files)
    for error in found:
        if isinstance(error, UserError):
            raise error
    return found
