"""What a command that takes longer than two seconds shows meanwhile, on stderr alone."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from frbench.contracts.text import printable

if TYPE_CHECKING:
    from rich.status import Status

T = TypeVar("T")

#: What is on the screen; a second display would write over it.
_shown: list[Status | None] = []


@contextlib.contextmanager
def busy(what: str) -> Iterator[None]:
    """Show what is being done while it cannot be said how far it is; nothing without a terminal.

    Args:
        what: In words, ``reading Adult`` say.
    """
    from rich.console import Console
    from rich.text import Text

    if _shown or not sys.stderr.isatty():
        yield
        return
    with Console(stderr=True).status(Text(printable(what))) as status:
        _shown.append(status)
        try:
            yield
        finally:
            _shown.clear()


@contextlib.contextmanager
def aside() -> Iterator[None]:
    """Take what :func:`busy` shows off the screen while something better is shown there."""
    status = _shown[0] if _shown else None
    if status is not None:
        status.stop()
    try:
        yield
    finally:
        if status is not None:
            status.start()


def track(items: Iterable[T], what: str, total: float | None = None) -> Iterator[T]:
    """Go through items and show how many are done; the bar disappears at the end.

    Args:
        items: What to go through.
        what: In words, shown before the bar.
        total: Number of items, where they have no length.

    Example:
        >>> list(track([1, 2], "counting"))
        [1, 2]
    """
    from rich.console import Console
    from rich.progress import track as bar

    if _shown or not sys.stderr.isatty():
        yield from items
        return
    _shown.append(None)
    try:
        yield from bar(items, what, total, console=Console(stderr=True), transient=True)
    finally:
        _shown.clear()


@contextlib.contextmanager
def loading(what: str = "PyTorch") -> Iterator[None]:
    """Say that a large package is imported; the line disappears when it is there."""
    shown = sys.stderr.isatty() and "torch" not in sys.modules
    if shown:
        print(f"loading {what} ...", end="\r", file=sys.stderr, flush=True)
    yield
    if shown:
        print("\033[K", end="", file=sys.stderr, flush=True)
