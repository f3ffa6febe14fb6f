"""Memory of a process that does many runs."""

import contextlib
import gc
import itertools
from collections.abc import Iterator

#: Counts the runs, or stacks of runs, that this process has begun.
_RUNS = itertools.count()


def free_earlier_runs() -> None:
    """Free the tables and networks of earlier runs of this process.

    They stand in cycles of references, which Python looks for only when many objects are new:
    hundreds of runs later. What is left after the first search, modules above all, is left out
    of later ones, which then take a few milliseconds.
    """
    if next(_RUNS):
        gc.collect()
        if not gc.get_freeze_count():
            gc.freeze()


@contextlib.contextmanager
def many_runs() -> Iterator[None]:
    """Do runs; then the modules take part in Python's searches as before."""
    try:
        yield
    finally:
        gc.unfreeze()
