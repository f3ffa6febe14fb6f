"""What the command line shows as a line instead of a traceback: wrong input, and Ctrl-C."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator


class UserError(ValueError):
    """Input that cannot be used; the message names what is wrong and the remedy.

    Every command prints the message on one line and exits with status 2.
    """


@contextlib.contextmanager
def interruptible(how: Callable[[], str]) -> Iterator[None]:
    """Say how to go on when Ctrl-C ends what runs inside; Lightning makes an exit of it.

    Args:
        how: Gives the words, asked for after the interrupt.

    Raises:
        KeyboardInterrupt: With these words, which ``frbench`` prints before it ends with 130.

    Example:
        >>> try:
        ...     with interruptible(lambda: "the same command continues"):
        ...         raise KeyboardInterrupt
        ... except KeyboardInterrupt as error:
        ...     print(error)
        the same command continues
    """
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(how()) from None
    except SystemExit as error:
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        raise KeyboardInterrupt(how()) from None
