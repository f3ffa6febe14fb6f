"""Goals of max-entropy debiasing: rates, re-weighted samples, wanted marginals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from frbench.contracts.errors import UserError
from frbench.contracts.ranges import PositiveShare, checked
from frbench.data.max_entropy.domain import Samples, cell_mass

Prior = Literal["data", "reweighted"]
#: Of one column: a mean (or the share of the second of two values), or the share of every value.
Given = float | dict[str, float]
Marginals = Literal["data", "reweighted", "balanced"] | Mapping[str, Any]


def rates(joint: np.ndarray) -> tuple[float, np.ndarray]:
    """Representation and statistical rate: RR = min_ij P(z_i)/P(z_j), SR_y of P(y|z) likewise.

    Source: arXiv 1906.02164 (its two fairness rates).

    Args:
        joint: P(Y, Z), or counts [C, A].

    Returns:
        RR, and SR of each class value [C] (nan for a class that has no mass).

    Example:
        >>> rr, sr = rates(np.array([[2, 2], [1, 2]]))
        >>> rr, sr.tolist()
        (0.75, [0.75, 0.6666666666666666])
    """
    pz = joint.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        conditional = joint / pz
        return float(pz.min() / pz.max()), conditional.min(1) / conditional.max(1)


@checked
def reweigh(
    samples: Samples,
    label: str | Sequence[str],
    protected: str | Sequence[str],
    tau: PositiveShare = 1.0,
    prior: Prior = "reweighted",
) -> np.ndarray:
    """Give the distinct rows the weights of the prior, w_k ~ n_k c(y) / c(y, z) for reweighted.

    Then P(Y|Z) is equal in all z (SR 1), and P(z) is tau times that of the most frequent value
    (RR tau); data leaves the shares of the samples. Algorithm 1 of arXiv 1906.02164; with more
    than two values of z, all but the most frequent are taken as under-represented.

    Args:
        samples: The samples.
        label: Column of y, or several, whose combinations are the values of y.
        protected: Column of z, or several: then of intersections.
        tau: Representation rate of the weights, in (0, 1].
        prior: reweighted, or data.

    Returns:
        Weights of the distinct rows [K], summing to one.

    Raises:
        UserError: If tau is outside (0, 1], a column is unknown, or a (y, z) cell has no sample.

    Example:
        The seven people of the blog on the method: weights 3, 1.5, 2 and 2.

        >>> from frbench.data.max_entropy import Column, Domain, Samples
        >>> domain = Domain((Column("y", (0, 1)), Column("z", ("f", "m"))))
        >>> codes = np.array([[1, 0], [1, 1], [1, 1], [0, 0], [0, 0], [0, 1], [0, 1]])
        >>> samples = Samples.compress(domain, codes)
        >>> weights = 14 * reweigh(samples, "y", "z") / samples.counts
        >>> dict(zip(map(tuple, samples.rows.tolist()), weights.round(9).tolist()))
        {(0, 0): 2.0, (0, 1): 2.0, (1, 0): 3.0, (1, 1): 1.5}
    """
    samples, label = samples.cross(label, "label")
    samples, protected = samples.cross(protected, "protected")
    y = samples.domain.position(label, "label")
    z = samples.domain.position(protected, "protected")
    if prior == "data":
        weight: np.ndarray = samples.counts / samples.counts.sum()
        return weight
    cells, shape = samples.cells(y, z)
    mass = cell_mass(cells, samples.counts, shape)
    if (empty := np.argwhere(mass <= 0)).size:
        columns = samples.domain.columns
        names = "; ".join(
            f"{label}={columns[y].values[i]}, {protected}={columns[z].values[j]}"
            for i, j in empty[:5].tolist()
        )
        raise UserError(
            f"max entropy: no sample has [{names}], which re-weighting needs; merge or drop "
            f"values of '{label}' or '{protected}', or use prior and marginals: data."
        )
    share = np.where(np.arange(shape[1]) == mass.sum(0).argmax(), 1.0, tau)
    weight = samples.counts * (mass.sum(1, keepdims=True) / mass * share).ravel()[cells]
    weight /= weight.sum()
    return weight


def expectation(
    samples: Samples,
    label: str,
    protected: str,
    marginals: Marginals = "reweighted",
    tau: float = 1.0,
) -> np.ndarray:
    """Give the mean theta that the distribution must have.

    Args:
        samples: The samples.
        label: Column of y; several are crossed first, see :meth:`Samples.cross`.
        protected: Column of z, likewise.
        marginals: data, the mean of the samples; reweighted, their mean under Algorithm 1's
            weights; balanced, as data with all values of z equally likely; or given, for some
            columns, as {column: mean or {value: share}}, the others as data.
        tau: See :func:`reweigh`.

    Returns:
        Mean of the coordinates [d].

    Raises:
        UserError: As :func:`reweigh`, and for a marginal that does not fit its column.
    """
    prior: Prior = "reweighted" if marginals == "reweighted" else "data"
    theta: np.ndarray = reweigh(samples, label, protected, tau, prior) @ samples.embedded
    columns, blocks = samples.domain.columns, samples.domain.blocks
    if marginals == "balanced":
        z = samples.domain.position(protected, "protected")
        theta[blocks[z]] = columns[z].points.mean(0)
    elif isinstance(marginals, Mapping):
        for name, given in marginals.items():
            i = samples.domain.position(name, "marginals")
            theta[blocks[i]] = columns[i].mean(given)
    elif marginals not in ("data", "reweighted"):
        raise UserError(
            f"max entropy: marginals must be data, reweighted, balanced or {{column: marginal}}, "
            f"got {marginals!r}."
        )
    return theta
