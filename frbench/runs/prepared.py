"""A run that is built as ``frbench fit`` builds it and trained by others."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from frbench.runs.cli import FrbenchCLI


class Prepared(FrbenchCLI):
    """A command line that builds a run and leaves its training to others."""

    begins = False

    def parse_arguments(self, parser: Any, args: Any) -> None:
        """Keep what was read; the configuration itself is completed while the run is built."""
        super().parse_arguments(parser, args)
        self.read = copy.deepcopy(self.config)

    def fit(self, **kwargs: Any) -> None:
        """Keep the options that the trainer was built with, callbacks as the user gave them."""
        given = self._get(self.config, "trainer").callbacks
        built = self._get(self.config_init, "trainer")
        self.trainer_options: dict[str, Any] = {**dict(built.items()), "callbacks": given}


class Alike(Prepared):
    """A run that has the parser of another one, and its options but for some values.

    Args:
        first: The other run.
        config: Options, as :func:`changed` gives them.
        args: As of :class:`~frbench.runs.cli.FrbenchCLI`.
        kwargs: As well.
    """

    def __init__(self, first: Prepared, config: Any, *args: Any, **kwargs: Any) -> None:
        self._first = first
        self.read = config
        super().__init__(*args, **kwargs)

    def setup_parser(self, *_: Any, **__: Any) -> None:
        """Take the parser of the first run."""
        for name in ("parser", "_subcommand_parsers", "_subcommand_method_arguments"):
            setattr(self, name, getattr(self._first, name))

    def parse_arguments(self, parser: Any, args: Any) -> None:
        """Take the options, which need not be read."""
        self.config = self.read


def changed(
    first: Prepared, before: Mapping[str, Any], after: Mapping[str, Any], words: str = ""
) -> Any | None:
    """Return the options of a run that is like another one but for some values.

    Args:
        first: The other run.
        before: Its options as they were given, by name.
        after: Those of the run.
        words: Words of the command line that were read after them.

    Returns:
        The options as the parser would have read them; None where that cannot be told: where an
        option is not in the place, or has not the value, that its name and value say, or where
        one of the words may change it.
    """
    config = copy.deepcopy(first.read)
    if before.keys() != after.keys():
        return None
    for name, value in before.items():
        if _same(value, after[name]):
            continue
        *path, last = name.split(".")
        if f"--{(path or [last])[0]}" in words or "--config" in words:
            return None
        place = config[config.subcommand]
        try:
            for part in path:
                place = _inside(place, part)[part]
            place = _inside(place, last)
            place[last] = _replaced(place[last], value, after[name])
        except (KeyError, TypeError, IndexError, _Elsewhere):
            return None
    return config


class _Elsewhere(Exception):
    """Another value than the one that is to be replaced."""


def _same(before: Any, after: Any) -> bool:
    return type(before) is type(after) and bool(before == after)


def _inside(place: Any, name: str) -> Any:
    """Return what holds an option of an object: its arguments where it is of a class."""
    return place["init_args"] if name not in place and "init_args" in place else place


def _replaced(now: Any, before: Any, after: Any) -> Any:
    """Return what was read with each value that differs replaced."""
    if _same(before, after):
        return now
    if isinstance(before, dict) and isinstance(after, dict) and before.keys() == after.keys():
        for key in before:
            now[key] = _replaced(now[key], before[key], after[key])
        return now
    if isinstance(before, list) and isinstance(after, list):
        return [_replaced(*each) for each in zip(now, before, after, strict=True)]
    if not _same(now, before):
        raise _Elsewhere
    return after
