"""The parser of the commands that Lightning's command line has no part in."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import Any, NoReturn

from frbench.contracts.errors import UserError
from frbench.contracts.ranges import Interval
from frbench.support.yaml_files import parse_yaml

#: The last seed that numpy accepts.
MAX_SEED = 2**32 - 1


def seed(text: str) -> int:
    """Read the seed of a random generator."""
    if not text.isdecimal() or len(text) > 10 or int(text) > MAX_SEED:
        raise argparse.ArgumentTypeError(
            f"a seed is a whole number from 0 to {MAX_SEED}, got {text[:40]}"
        )
    return int(text)


def number(low: float = -math.inf, high: float = math.inf, whole: bool = False) -> Any:
    """Return a reader of finite numbers in a range, both ends included.

    Example:
        >>> number(0, 1)("0.5"), number(1, 10, whole=True)("7")
        (0.5, 7)
        >>> number(1, 10**6, whole=True)("1000000000")
        Traceback (most recent call last):
        argparse.ArgumentTypeError: expected a whole number in [1, 1e+06], got 1000000000
    """
    allowed = Interval(low, high)

    def read(text: str) -> float:
        try:
            value = int(text) if whole else float(text)
        except ValueError:
            value = math.nan
        if value not in allowed:
            kind = "whole number" if whole else "finite number"
            bounds = "" if low == -high == -math.inf else f" {allowed}"
            raise argparse.ArgumentTypeError(f"expected a {kind}{bounds}, got {text[:40]}")
        return value

    return read


def mapping(text: str) -> dict[str, Any]:
    """Read a mapping written as YAML, ``{age: [25, 40], income: 4}``."""
    try:
        found = parse_yaml(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not valid YAML: {error}") from None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError(f"give a mapping such as '{{age: 4}}', got {text[:60]}")
    return {str(key): value for key, value in found.items()}


def names(text: str) -> list[str]:
    """Read a list of names, ``[a, b]`` or ``a,b``.

    Example:
        >>> names("[sex, race]"), names("all")
        (['sex', 'race'], ['all'])
    """
    found = [name.strip().strip("'\"") for name in text.strip().strip("[]").split(",")]
    return [name for name in found if name]


def asked_help(words: Sequence[str]) -> list[str]:
    """Return the words that ask for the options of a class; none if no word does.

    The parser takes what follows for options of that class, so that all other words are left out.
    Where no class is named, it is the one that the command chooses.

    Example:
        >>> asked_help(["--model", "my_file.A", "--model.help", "--data", "Digits"])
        ['--model.help=my_file.A']
        >>> asked_help(["--model.help", "ERM", "--trainer.max_epochs=1"])
        ['--model.help=ERM']
    """
    given: dict[str, str] = {}
    for word, after in zip(words, [*words[1:], "--"], strict=True):
        key, equals, value = word.partition("=")
        if key.startswith("--"):
            given[key] = value if equals or after.startswith("--") else after
    return [
        f"{key}={value or given.get(key.removesuffix('.help'), '')}".removesuffix("=")
        for key, value in given.items()
        if key.endswith(".help")
    ]


def divided(words: Sequence[str], known: Sequence[str], command: str) -> dict[str, list[str]]:
    """Divide words into options by their beginnings, each with its values.

    Args:
        words: What the command's own parser has left over.
        known: Beginnings of options, ``--data.`` say.
        command: Name of the command, for the message.

    Raises:
        UserError: For any other option.

    Example:
        >>> divided(["--data.n", "5", "--method.q=1"], ["--data.", "--method."], "fit")
        {'--data.': ['--data.n', '5'], '--method.': ['--method.q=1']}
    """
    found: dict[str, list[str]] = {start: [] for start in known}
    target: list[str] | None = None
    for word in words:
        if word.startswith("--") or target is None:
            target = next((own for start, own in found.items() if word.startswith(start)), None)
        if target is None:
            raise UserError(f"unknown option {word}; see frbench {command} --help.")
        target.append(word)
    return found


def yes_or_no(text: str) -> bool:
    """Read ``true`` or ``false``, in any case.

    Example:
        >>> yes_or_no("true"), yes_or_no("False")
        (True, False)
    """
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"expected true or false, got {text[:40]}")
    return text.lower() == "true"


def decision_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that change the decision."""
    parser.add_argument(
        "--threshold", type=number(0, 1), help="least p(second class) that selects it"
    )
    parser.add_argument(
        "--top_k", type=number(0, 10**12, whole=True), help="number of rows that are selected"
    )
    parser.add_argument(
        "--selection_rate", type=number(0, 1), help="share of rows that is selected"
    )


def threads_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that says how many threads compute."""
    parser.add_argument("--threads", type=positive, help="default: by the size of a batch")


def positive(text: str) -> int:
    """Read a number of at least 1."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"must be a number of at least 1, got {text!r}")
    return int(text)


def stray(message: str) -> str:
    """Say what to do about words that belong to no option; empty for other errors of a parser.

    Example:
        >>> stray("unrecognized arguments: payment")
        "'payment' belongs to no option: put a value with spaces in quotes, --x 'a value'."
    """
    words = message.partition("unrecognized arguments: ")[2]
    if not words or words.startswith("-"):
        return ""
    return f"{words!r} belongs to no option: put a value with spaces in quotes, --x 'a value'."


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
        raise UserError(stray(message) or f"{message}; see {self.prog} --help.")
