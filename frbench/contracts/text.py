"""Text from files and users, as it is shown: on one line, without terminal codes, bounded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from reprlib import Repr
from typing import Any

_TOO_LONG = 4000


def printable(text: str) -> str:
    r"""Write control characters, line ends and terminal codes as escapes.

    Example:
        >>> print(printable("\033[31mred\n"))
        \x1b[31mred\n
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def short(value: Any, most: int = 200) -> str:
    """Write a value from a file or an option in few words, however deep or long it is.

    Args:
        value: Anything; a list that holds itself is fine.
        most: Characters at most.

    Example:
        >>> short("abc"), len(short("a" * 10**6)), short([[[[[1]]]]])
        ("'abc'", 80, '[[[[[...]]]]]')
    """
    form = Repr()
    form.maxlevel, form.maxlist, form.maxdict, form.maxtuple, form.maxset = 4, 9, 9, 9, 9
    form.maxstring = form.maxother = form.maxlong = 80
    text = printable(form.repr(value))
    return text if len(text) <= most else f"{text[:most]} ..."


def one_line(text: str) -> str:
    """Write a message on one line, without what is too long to read.

    Runs of one character, such as a name of 300 times ``a``, are cut as well.

    Example:
        >>> one_line("no file " + "a" * 300)
        'no file aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa... (300 times)'
    """
    text = re.sub(r"(.)\1{63,}", lambda m: f"{m[1] * 32}... ({len(m[0])} times)", printable(text))
    return text if len(text) <= _TOO_LONG else f"{text[:_TOO_LONG]} ..."


def factors(attribute_names: Sequence[str]) -> list[list[int]]:
    """Return the code of each crossed value in each single attribute; none if none are crossed.

    Args:
        attribute_names: Values joined by ``&``, in quotes where they hold one themselves.

    Example:
        >>> factors(["f&black", "f&white", "m&white"]), factors(["f", "m"])
        ([[0, 0, 1], [0, 1, 1]], [])
    """
    parts = [re.findall(r'"[^"]*"|[^&]+', str(name)) for name in attribute_names]
    if len({len(row) for row in parts}) != 1 or len(parts[0]) == 1:
        return []
    columns = [list(dict.fromkeys(column)) for column in zip(*parts, strict=True)]
    return [[c.index(row[i]) for row in parts] for i, c in enumerate(columns)]


def overlapping(attribute_names: Sequence[str]) -> list[list[str]]:
    """Return the groups in each set that an attribute value names; none if values are no sets.

    Args:
        attribute_names: Sets of overlapping groups as ``{}``, ``{male}``, ``{black+male}``.

    Example:
        >>> overlapping(["{}", "{male}", "{black+male}"]), overlapping(["f", "m"])
        ([[], ['male'], ['black', 'male']], [])
    """
    names = [str(name) for name in attribute_names]
    if not all(name[:1] == "{" and name[-1:] == "}" for name in names):
        return []
    return [name[1:-1].split("+") if name != "{}" else [] for name in names]
