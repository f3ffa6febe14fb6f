"""Weights that turn the empirical P(Y, Z) of a table into a target Q(Y, Z).

One weight per row serves three uses: sampling in proportion to it, multiplying the loss by it,
and keeping the largest sub-table that has the target's shares.
"""

from typing import Literal

import numpy as np

from frbench.contracts.errors import UserError
from frbench.data.table import Table

Balance = Literal[
    "none", "class", "group", "conditional", "label_given_attribute", "joint", "reweighing"
]
Via = Literal["sample", "weight", "subsample", "mixture"]
Marginals = Literal["keep", "uniform"]


def target_distribution(p: np.ndarray, balance: Balance, marginals: Marginals) -> np.ndarray:
    """Give the target Q(Y, Z) of a way of balancing.

    ``class``: Q = U(Y) P(Z|Y); ``group``: Q = U(Z) P(Y|Z); ``conditional``: Q = P(Y) U(Z);
    ``label_given_attribute``: Q = U(Y) P(Z), equal prevalence in every attribute value;
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
        elif balance == "label_given_attribute":
            q = uniform_y * pz
        elif balance in ("joint", "reweighing"):
            q = py * pz if marginals == "keep" else uniform_y * uniform_z
        else:
            q = p
    return q


def reads_attribute(balance: Balance, marginals: Marginals = "keep") -> bool:
    """Whether the weight of a row depends on its attribute, Q / P differing within a class.

    Example:
        >>> reads_attribute("class"), reads_attribute("joint")
        (False, True)
    """
    p = np.array([[0.4, 0.1], [0.2, 0.3]])
    ratio = target_distribution(p, balance, marginals) / p
    return not np.allclose(ratio, ratio[:, :1])


def cell_weights(
    p: np.ndarray,
    balance: Balance,
    marginals: Marginals,
    names: list[str] | None = None,
    skip_empty: bool = False,
) -> np.ndarray:
    """Weight of each (y, z) cell, Q / P.

    Args:
        p: Joint distribution P(Y, Z) [C, A].
        balance: What to equalise.
        marginals: For ``joint``, see :func:`target_distribution`.
        names: Names of the cells, y-major, for the error message.
        skip_empty: Spread Q over the cells that have rows instead of refusing.

    Returns:
        Weights [C, A]; 0 for a cell without rows.

    Raises:
        UserError: If Q needs a cell that has no rows.
    """
    q = target_distribution(p, balance, marginals)
    missing = np.flatnonzero(((p == 0) & (q > 0) | np.isnan(q)).ravel())
    if missing.size and skip_empty:
        q = np.where(p > 0, q, 0)
        q = q / q.sum()
    elif missing.size:
        cells = "; ".join(names[i] if names else f"cell {i}" for i in missing)
        raise UserError(
            f"balance: {balance} needs rows of every cell, but the training table has none of "
            f"[{cells}]. Merge attribute values, set empty_cells: skip, or use balance: class or "
            "none."
        )
    result: np.ndarray = np.divide(q, p, out=np.zeros_like(p), where=p > 0)
    return result


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
    weight = table.weight * balance_ratio(
        table, num_classes, num_attributes, balance, marginals, names
    )
    result: np.ndarray = weight / weight.mean()
    return result


def balance_ratio(
    table: Table,
    num_classes: int,
    num_attributes: int,
    balance: Balance,
    marginals: Marginals = "keep",
    names: list[str] | None = None,
    power: float = 1.0,
    beta: float | None = None,
    skip_empty: bool = False,
) -> np.ndarray:
    """Factor Q / P of each row, apart from the table's own weights.

    Args:
        table: The training table [N].
        num_classes: C.
        num_attributes: A.
        balance: What to equalise.
        marginals: For ``joint``: ``keep`` or ``uniform``.
        names: Names of the cells, for the error message.
        power: Exponent of the factors, which then have mean one again; 0.5 is their square
            root, 0 leaves every row alone.
        beta: Replace the number n of rows of a cell by the effective number
            (1 - beta^n) / (1 - beta), arXiv 1901.05555; None leaves it.
        skip_empty: Leave out cells without rows that the target needs.

    Returns:
        Factors, float64 [N].

    Example:
        >>> t = Table(x=np.zeros(5), y=[0, 0, 0, 0, 1], z=[0, 0, 0, 0, 0])
        >>> balance_ratio(t, 2, 1, "class").tolist()
        [0.625, 0.625, 0.625, 0.625, 2.5]
        >>> balance_ratio(t, 2, 1, "class", power=0.5).round(3).tolist()
        [0.833, 0.833, 0.833, 0.833, 1.667]
    """
    ratio = np.ones(len(table))
    if balance == "none":
        return ratio
    # Class balancing does not look at z, so rows of unknown z take part in it.
    z, width = (table.z * 0, 1) if balance == "class" else (table.z, num_attributes)
    if balance == "class" and names is not None:
        names = [name.rsplit(",z=", 1)[0] for name in names[::num_attributes]]
    known = z >= 0
    cell = table.y[known] * width + z[known]
    mass = np.bincount(cell, weights=table.weight[known], minlength=num_classes * width)
    p = (mass / mass.sum()).reshape(num_classes, width)
    factor = cell_weights(p, balance, marginals, names, skip_empty).ravel()
    if beta is not None:
        n = np.bincount(cell, minlength=len(factor)).clip(min=1)
        # Through expm1: 1 - beta^n itself would round to 1 for large n, beta^n to 1 for small.
        log = np.log(beta) if beta else -np.inf
        factor = factor * n * (1 - beta) / -np.expm1(n * log)
    if beta is not None or power != 1:
        factor = factor**power
        factor /= np.average(factor, weights=p.ravel())
    ratio[known] = factor[cell]
    return ratio


def subsample_rows(
    ratio: np.ndarray, cell: np.ndarray, rng: np.random.Generator, excess: float = 1.0
) -> np.ndarray:
    """Choose the rows of the largest sub-table whose cell shares follow the ratios Q / P.

    Args:
        ratio: Q / P of each row, constant inside each cell [N].
        cell: Cell id of each row [N].
        rng: Source of the random choice inside a cell.
        excess: Keep so many times the rows, where a cell has them.

    Returns:
        Sorted row positions; floor(excess n' Q(cell)) rows of each cell, at most all of them,
        n' = min over cells of n_cell / Q(cell).

    Raises:
        UserError: If a cell that the target needs would be left without rows.
    """
    cells, inverse, counts = np.unique(cell, return_inverse=True, return_counts=True)
    # Q(cell) is n_cell times the cell's ratio; the keep rate of a cell is its ratio over the
    # largest one, so the scarcest cell is kept whole.
    wanted = np.bincount(inverse, weights=ratio) / counts
    rate = np.minimum(1, excess * wanted / wanted.max())
    keep = np.floor(counts * rate + 1e-9).astype(int)
    if lost := int(((keep == 0) & (wanted > 0)).sum()):
        raise UserError(
            f"via: subsample would leave {lost} of {len(cells)} cells without a row, since the "
            f"scarcest has {counts.min()}; use via: sample or weight."
        )
    rows = [
        rng.choice(np.flatnonzero(inverse == i), size=keep[i], replace=False)
        for i in range(len(cells))
    ]
    return np.sort(np.concatenate(rows))


def effective_sample_size(weight: np.ndarray) -> float:
    """Kish's effective sample size, (sum w)^2 / sum w^2."""
    return float(weight.sum() ** 2 / np.square(weight).sum())
