"""Refusals of the operating system in one line: names, permissions, space, memory."""

from __future__ import annotations

import errno
import re
from importlib.metadata import version

from frbench.support.atomic import no_space

#: What importing torchvision says beside a torch that it was not built for.
_FOREIGN = re.compile(
    "torchvision::|module 'torchvision' has no attribute|PyTorch and torchvision were compiled"
)
_REMEDIES = {
    errno.ENAMETOOLONG: "give a shorter one",
    errno.EACCES: "change its permissions, or give another",
    errno.EPERM: "change its permissions, or give another",
    errno.EROFS: "write to another disk",
    errno.EISDIR: "name a file in it",
    errno.ENOTDIR: "a folder of the path is a file",
    errno.ENOENT: "check the path",
    errno.ELOOP: "a link refers to itself: remove it",
    errno.EMFILE: "close other programs, or raise `ulimit -n`",
}


def system_error(error: OSError | MemoryError) -> tuple[str, int] | None:
    """Say what the system refused, the remedy, and the exit status; None for other errors.

    Example:
        >>> system_error(OSError(errno.ENAMETOOLONG, "File name too long", "aaa"))
        ('aaa: File name too long; give a shorter one.', 2)
        >>> system_error(OSError("of a library")) is None
        True
    """
    if isinstance(error, MemoryError):
        return f"not enough memory: {error or 'none left'}; ask for fewer rows or draws.", 2
    where = "" if error.filename is None else str(error.filename)
    if no_space(error):
        return (
            f"the disk is full, there is no space{where and f' for {where}'}; what was written "
            "before is whole: free some space and run the command again, or continue from "
            "last.ckpt.",
            1,
        )
    if error.errno not in _REMEDIES:
        return None
    return f"{where and f'{where}: '}{error.strerror}; {_REMEDIES[error.errno]}.", 2


def mismatch(error: Exception) -> str | None:
    """Say that torch and torchvision are not of one build, if that is the error.

    Example:
        >>> mismatch(
        ...     RuntimeError("operator torchvision::nms does not exist")
        ... )  # doctest: +ELLIPSIS
        'torch ... and torchvision ... are not of one build (operator torchvision::nms ...'
        >>> mismatch(RuntimeError("of a library")) is None
        True
    """
    if not _FOREIGN.search(str(error)):
        return None
    return (
        f"torch {version('torch')} and torchvision {version('torchvision')} are not of one build "
        f"({error}); install both together from one package index: "
        "pip install -U torch torchvision."
    )
