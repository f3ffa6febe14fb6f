"""A metric of a user's own, for tests of the command line."""

import numpy as np

from frbench.metrics import metric


@metric(higher_is_better=False)
def error_rate(counts):
    """Share of the rows that are predicted wrongly."""
    return 1 - np.einsum("yzy->", counts) / counts.sum()


def plain_error_rate(counts):
    """Share of the rows that are predicted wrongly, without a direction."""
    return error_rate(counts)


def never(counts):
    """Have no value on any table."""
    return np.nan
