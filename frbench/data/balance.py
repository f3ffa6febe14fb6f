"""Weights that turn the empirical P(Y, Z) of a table into a target Q(Y, Z).

One weight per row serves three uses: sampling in proportion to it, multiplying the loss by it,
and keeping the largest sub-table that has the target's shares.
"""

from typing import Literal

import numpy as np

from frbench.data.table import Table
from frbench.errors import UserError

Balance = Literal["none", "class", "group", "conditional", "joint", "reweighing"]
Via = Literal["sample", "weight", "subsample"]
Marginals = Literal["keep", "uniform"]


def target_distribution(p: np.ndarray, balance: Balance, marginals: Marginals) -> np.ndarray:
    """Give the target Q(Y, Z) of a way of balancing.

    ``class``: Q = U(Y) P(Z|Y); ``group``: Q = U(Z) P(Y|Z); ``conditional``: Q = P(Y) U(Z);
    ``joint``: Q = P(Y) P(Z) (``keep``) or U(Y) U(Z) (``uniform``); ``reweighing``: joint, keep.

    Source: arXiv 2406.17433, Definition 1.1 (joint) and Appendix A.1 (class, group: uniform Z
    alone); the uniform form is RWG / SUBG of arXiv 2110.14503; ``reweighing`` is Kamiran and
    Calders (2012).

    Args:
        p: Joint distribution P(Y, Z) [C, A], summing to one.
        balance: What to equalise.
        marginals: For ``joint``: keep P(Y) and P(Z), or make both uniform.

    Returns:
        Q [C, A], summing to one.

    Example:
        >>> p = np.array([[0.4, 0.1], [0.1, 0.4]])
        >>> target_distribution(p, "joint", "keep").round(2).tolist()
        [[0.25, 0.25], [0.25, 0.25]]
    """
    num_classes, num_attributes = p.shape
    py, pz = p.sum(1, keepdims=True), p.sum(0, keepdims=True)
    uniform_y = np.full((num_classes, 1), 1 / num_classes)
    uniform_z = np.full((1, num_attributes), 1 / num_attributes)
    with np.errstate(divide="ignore", invalid="ignore"):
        if balance == "class":
            q = uniform_y * np.where(py > 0, p / py, np.nan)
        elif balance == "group":
            q = uniform_z * np.where(pz > 0, p / pz, np.nan)
        elif balance == "conditional":
            q = py * uniform_z
        elif balance in ("joint", "reweighing"):
            q = py * pz if marginals == "keep" else uniform_y * uniform_z
        else:
            q = p
    return q


def cell_weights(
    p: np.ndarray, balance: Balance, marginals: Marginals, names: list[str] | None = None
) -> np.ndarray:
    """Weight of each (y, z) cell, Q / P.

    Args:
        p: Joint distribution P(Y, Z) [C, A].
        balance: What to equalise.
        marginals: For ``joint``, see :func:`target_distribution`.
        names: Names of the cells, y-major, for the error message.

    Returns:
        Weights [C, A]; 0 for a cell that neither P nor Q holds.

    Raises:
        UserError: If Q needs a cell that has no rows.
    """
    q = target_distribution(p, balance, marginals)
    missing = np.flatnonzero(((p == 0) & (q > 0) | np.isnan(q)).ravel())
    if missing.size:
        cells = "; ".join(names[i] if names else f"cell {i}" for i in missing)
        raise UserError(
            f"balance: {balance} needs rows of every cell, but the training table has none of "
            f"[{cells}]. Merge attribute values, or use balance: class or none."
        )
    return np.divide(q, p, out=np.zeros_like(p), where=p > 0)


def balance_weights(
    table: Table,
    num_classes: int,
    num_attributes: int,
    balance: Balance = "joint",
    marginals: Marginals = "keep",
    names: list[str] | None = None,
) -> np.ndarray:
    """Weight of each row that turns the table's P(Y, Z) into the target; mean one.

    Rows whose attribute is unknown (z = -1) keep their weight and take no part in P(Y, Z).

    Args:
        table: The training table [N].
        num_classes: C.
        num_attributes: A.
        balance: What to equalise.
        marginals: For ``joint``: ``keep`` or ``uniform``.
        names: Names of the cells, for the error message.

    Returns:
        Weights, float64 [N], times the table's own weights.

    Raises:
        UserError: If the target needs a cell that has no rows.

    Example:
        >>> t = Table(x=np.zeros(4), y=[0, 0, 0, 1], z=[0, 0, 1, 1])
        >>> balance_weights(t, 2, 2, "class").round(3).tolist()
        [0.667, 0.667, 0.667, 2.0]
    """
    weight = table.weight.copy()
    if balance != "none":
        known = table.z >= 0
        cell = table.y[known] * num_attributes + table.z[known]
        size = num_classes * num_attributes
        mass = np.bincount(cell, weights=weight[known], minlength=size)
        p = (mass / mass.sum()).reshape(num_classes, num_attributes)
        weight[known] *= cell_weights(p, balance, marginals, names).ravel()[cell]
    return weight / weight.mean()


def subsample_rows(weight: np.ndarray, cell: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Choose the rows of the largest sub-table whose cell shares follow the weights.

    Args:
        weight: Row weights, constant inside each cell [N].
        cell: Cell id of each row [N].
        rng: Source of the random choice inside a cell.

    Returns:
        Sorted row positions; floor(n' Q(cell)) rows of each cell, n' = min over cells of
        n_cell / Q(cell).
    """
    cells, inverse, counts = np.unique(cell, return_inverse=True, return_counts=True)
    # Q(cell) is n_cell times the cell's weight; the keep rate of a cell is its weight over the
    # largest one, so the scarcest cell is kept whole.
    mean_weight = np.bincount(inverse, weights=weight) / counts
    keep = np.floor(counts * mean_weight / mean_weight.max() + 1e-9).astype(int)
    rows = [
        rng.choice(np.flatnonzero(inverse == i), size=keep[i], replace=False)
        for i in range(len(cells))
    ]
    return np.sort(np.concatenate(rows))


def effective_sample_size(weight: np.ndarray) -> float:
    """Kish's effective sample size, (sum w)^2 / sum w^2."""
    return float(weight.sum() ** 2 / np.square(weight).sum())
