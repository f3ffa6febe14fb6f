"""Mutual information: plug-in for discrete columns, nearest neighbours for mixed ones (nats)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from frbench.contracts.errors import UserError

#: Distances held at once, of all columns together: 4 MB of doubles, which stay in the cache.
_HELD = 500_000


def entropy(p: Any) -> float:
    """Entropy -sum p ln p of a table of probabilities or counts, in nats.

    Args:
        p: Non-negative numbers, not all zero, of any shape; they are normalised.

    Example:
        >>> round(entropy([2, 2]), 6)
        0.693147
    """
    p = np.asarray(p, dtype=np.float64)
    p = p[p > 0] / p.sum()
    return float(-(p * np.log(p)).sum())


def mutual_information(a: Any, b: Any) -> float:
    """Plug-in mutual information H(A) + H(B) - H(A, B) of two discrete columns, in nats.

    Args:
        a: Values of any kind that sorts [N].
        b: The same [N].

    Raises:
        UserError: If the columns differ in length or are empty.

    Example:
        >>> round(mutual_information([0, 0, 1, 1], ["f", "f", "m", "m"]), 6)
        0.693147
    """
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise UserError(
            f"mutual_information needs two columns of one length, got {a.shape} and {b.shape}."
        )
    first, second = (np.unique(column, return_inverse=True)[1] for column in (a, b))
    joint = np.zeros((first.max() + 1, second.max() + 1))
    np.add.at(joint, (first, second), 1)
    return max(entropy(joint.sum(1)) + entropy(joint.sum(0)) - entropy(joint), 0.0)


def conditional_mutual_information(
    x: Any, y: Any, z: Any = None, k: int = 8, *, memory: int = _HELD
) -> float:
    """Estimate I(X; Y | Z), or I(X; Y), of mixed columns by nearest neighbours, in nats.

    In the maximum norm over all columns, rho_i is the distance of point i to its k-th neighbour
    and k_i the number of other points within rho_i (more than k at ties); n_xz, n_yz, n_z count
    the other points within rho_i in those columns alone. The estimate is the mean over i of
    psi(k_i) - psi(n_xz) - psi(n_yz) + psi(n_z), or of psi(k_i) - psi(n_x) - psi(n_y) + psi(N)
    without z, at least 0. Source: arXiv 1912.03387, Algorithm 1 (there k_i differs from k only
    for rho_i = 0; its authors' code counts ties at any distance, as here).

    Args:
        x: A column [N], or a list of columns. Floats are compared by |a - b|; integers, booleans
            and texts are categories, at distance 0 or 1.
        y: As x.
        z: As x, or None.
        k: Number of neighbours.
        memory: Distances held at once; it changes the speed only.

    Raises:
        UserError: If columns differ in length or hold NaN, or k is not in 1..N-1.

    Example:
        >>> a = np.arange(100) % 2
        >>> round(conditional_mutual_information(a, a, k=3), 2)
        0.72
    """
    from scipy.special import digamma

    parts = [_columns(part) for part in (x, y, z)]
    columns = [column for part in parts for column in part]
    lengths = {len(column) for column in columns}
    n = len(columns[0])
    if len(lengths) > 1 or not 0 < k < n:
        raise UserError(
            f"conditional_mutual_information needs columns of one length N and k in 1..N-1, got "
            f"lengths {sorted(lengths)} and k = {k}."
        )
    rows = max(1, memory // (n * (len(columns) + 2)))
    total = 0.0
    for start in range(0, n, rows):
        here = slice(start, start + rows)
        dx, dy, dz = (_distance(part, here) for part in parts)
        assert dx is not None and dy is not None
        dxz = dx if dz is None else np.maximum(dx, dz)
        joint = np.maximum(dxz, dy)
        # Position k, not k - 1: the point itself is at distance 0.
        rho = np.partition(joint, k, axis=1)[:, k, None]

        def psi(distance: np.ndarray, rho: np.ndarray = rho) -> np.ndarray:
            result: np.ndarray = digamma((distance <= rho).sum(1) - 1)
            return result

        xi = psi(joint) - psi(dxz)
        if dz is None:
            xi += digamma(n) - psi(dy)
        else:
            xi += psi(dz) - psi(np.maximum(dy, dz))
        total += xi.sum()
    return max(float(total / n), 0.0)


def chain_information(v: Any, columns: Sequence[Any], k: int = 8) -> list[float]:
    """Estimate the terms of I(V; C_1, ..., C_m) = sum_j I(V; C_j | C_1, ..., C_{j-1}), in nats.

    With V the mark of a training row and the columns inputs, attribute and prediction (label, on
    verified rows), this is what FR-Train's robustness discriminator estimates (arXiv 2002.10234).

    Args:
        v: A column [N].
        columns: Columns [N], or lists of columns that enter together.
        k: Number of neighbours.

    Returns:
        One estimate per column, each at least 0.

    Raises:
        UserError: As in `conditional_mutual_information`.

    Example:
        >>> v, other = np.arange(200) % 2, np.arange(200) // 2 % 2
        >>> [round(term, 1) + 0.0 for term in chain_information(v, [other, v], k=5)]
        [0.0, 0.7]
    """
    terms: list[float] = []
    before: list[np.ndarray] = []
    for column in columns:
        given = list(before) or None
        terms.append(conditional_mutual_information(v, column, given, k))
        before += _columns(column)
    return terms


def _columns(part: Any) -> list[np.ndarray]:
    """Split a column, a list of columns or a table [N, d] into columns; categories as codes."""
    if part is None:
        return []
    several = isinstance(part, list | tuple) and len(part) > 0 and np.ndim(part[0]) > 0
    columns = [np.asarray(column) for column in (part if several else [part])]
    columns = [c for column in columns for c in (column.T if column.ndim == 2 else [column])]
    out: list[np.ndarray] = []
    for column in columns:
        if column.dtype.kind == "f":
            if np.isnan(column).any():
                raise UserError("conditional_mutual_information: a column holds NaN; drop or "
                                "fill those rows.")  # fmt: skip
            out.append(column.astype(np.float64))
        else:
            out.append(np.unique(column, return_inverse=True)[1])
    return out


def _distance(columns: list[np.ndarray], rows: slice) -> np.ndarray | None:
    """Maximum-norm distances of some rows to all [rows, N]; None without columns."""
    out = None
    for column in columns:
        if column.dtype.kind == "f":
            own = np.abs(column[rows, None] - column)
        else:
            own = (column[rows, None] != column).astype(np.float64)
        out = own if out is None else np.maximum(out, own, out=out)
    return out
