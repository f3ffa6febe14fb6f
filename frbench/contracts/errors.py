"""What the command line shows as a line instead of a traceback: wrong input."""

from __future__ import annotations


class UserError(ValueError):
    """Input that cannot be used; the message names what is wrong and the remedy.

    Every command prints the message on one line and exits with status 2.
    """
