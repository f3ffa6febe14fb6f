"""Which rows a published table must leave out, because few people are in a group; numpy only."""

import numpy as np

from frbench.contracts.errors import UserError


def large_groups(y: np.ndarray, z: np.ndarray, least: int) -> np.ndarray:
    """Tell which rows may take part in a table that shows no group of fewer than so many people.

    An attribute value of which any label has fewer rows, but some, is left out with all its rows:
    they enter no total either, from which what is shown could be subtracted. Of several
    attributes the crossed values are left out, from the tables of each attribute too.

    Args:
        y: Labels in 0..C-1 [N].
        z: Attributes, -1 where unknown [N], or several [N, K].
        least: Rows of a group (label, attribute values) from which on it is shown.

    Returns:
        Whether a row takes part, bool [N].

    Raises:
        UserError: If fewer than two values are left.

    Example:
        >>> y, z = np.tile([0, 1], 50), np.repeat([0, 1, 2], [40, 56, 4])
        >>> int(large_groups(y, z, 10).sum())
        96
    """
    values, place = np.unique(z.reshape(len(z), -1), axis=0, return_inverse=True)
    classes = int(y.max(initial=0)) + 1
    cells = np.bincount(place.ravel() * classes + y, minlength=len(values) * classes)
    cells = cells.reshape(len(values), classes)
    fewest = np.where(cells > 0, cells, len(y)).min(1)
    known = np.sort(fewest[(values >= 0).all(1)])
    if len(known) < 2 or known[-2] < least:
        raise UserError(
            f"--min_cell {least}: fewer than two groups have as many rows of each label; use a "
            "smaller number, fewer columns in --z, or wider --bins"
        )
    large: np.ndarray = (fewest >= least)[place.ravel()]
    return large
