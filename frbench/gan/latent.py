"""Hyperplanes in a generator's latent space, and the moves that flip one score and keep another.

Numpy only. The method is Ramaswamy, Kim and Russakovsky's (arXiv 2012.01469, section 3): images
come in pairs G(z), G(z') that share the target attribute and differ in the protected one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from frbench.contracts.errors import UserError

#: Smallest sin^2 of the angle between a normal and the span of the others: below, the move that
#: changes one score and keeps the others is more than 30 times longer than needed to change it.
MIN_SINE_SQUARED = 1e-3


class Hyperplane(NamedTuple):
    """The set w.z + b = 0 with |w| = 1; its score is the signed distance.

    Attributes:
        normal: Unit vector w [d].
        intercept: b, in units of latent length.

    Example:
        >>> Hyperplane(np.array([0.6, 0.8]), 1.0).score(np.array([[1.0, 1.0]])).tolist()
        [2.4]
    """

    normal: np.ndarray
    intercept: float = 0.0

    def score(self, z: np.ndarray) -> np.ndarray:
        """Return w.z + b of latents [N, d] as [N]."""
        result: np.ndarray = z @ self.normal + self.intercept
        return result


def fit_hyperplane(
    z: np.ndarray, labels: np.ndarray, c: float = 1.0, intercept: bool = True
) -> Hyperplane:
    """Separate labelled latents by a linear support vector machine, scaled to |w| = 1.

    Args:
        z: Latents [N, d].
        labels: Attribute of their images, 0 or 1 [N].
        c: Inverse strength of the machine's regularisation.
        intercept: Whether b is fitted; False for generators that normalise z, for which only
            hyperplanes through the origin have the same sign at z and at its rescaled copy.

    Raises:
        UserError: If only one of the two labels occurs.

    Example:
        >>> z = np.array([[-2.0, 1.0], [-1.0, -1.0], [1.0, 1.0], [2.0, -1.0]])
        >>> (fit_hyperplane(z, np.array([0, 0, 1, 1])).score(z) > 0).tolist()
        [False, False, True, True]
    """
    from sklearn.svm import LinearSVC

    labels = np.asarray(labels)
    if len(np.unique(labels)) != 2:
        raise UserError(
            "A hyperplane needs latents of both attribute values; the labels of the generated "
            "images are all alike. Label more images, or move the classifier's threshold."
        )
    machine = LinearSVC(C=c, dual=False, fit_intercept=intercept, max_iter=10_000, tol=1e-6)
    machine.fit(z, labels)
    normal = machine.coef_[0].astype(np.float64)
    norm = np.linalg.norm(normal)
    return Hyperplane(normal / norm, float(np.ravel(machine.intercept_)[0] / norm))


def shift(z: np.ndarray, normals: np.ndarray, changes: np.ndarray) -> np.ndarray:
    """Move latents by the shortest way that changes scores as wanted.

    z' = z + W^T (W W^T)^-1 D: the least-norm solution of W (z' - z) = D; for one target and one
    protected normal with cosine c it is arXiv 2012.01469, section 3.3,
    z' = z - 2 s / (1 - c^2) (w_g - c w_t).

    Args:
        z: Latents [N, d].
        normals: Unit normals W [k, d].
        changes: Wanted change D of each score [N, k].

    Raises:
        UserError: If a normal lies too near the span of the others.

    Example:
        >>> z = np.array([[1.0, 1.0]])
        >>> shift(z, np.array([[1.0, 0.0], [0.6, 0.8]]), np.array([[0.0, -2.8]])).round(6).tolist()
        [[1.0, -2.5]]
    """
    gram = normals @ normals.T
    values = np.linalg.eigvalsh(gram)
    # 1 / (G^-1)_ii is sin^2 of the angle between normal i and the span of the others.
    if values[0] < 1e-12 or (1 / np.diag(np.linalg.inv(gram))).min() < MIN_SINE_SQUARED:
        cosine = np.abs(gram - np.eye(len(gram))).max()
        raise UserError(
            f"Hyperplanes are nearly parallel (largest cosine {cosine:.5f}): no move flips one "
            "attribute and keeps the other. Use attributes that the generator separates, or fit "
            "the hyperplanes on more labelled latents."
        )
    result: np.ndarray = z + np.linalg.solve(gram, changes.T).T @ normals
    return result


def complement(
    z: np.ndarray,
    target: Hyperplane | Sequence[Hyperplane],
    protected: Hyperplane | Sequence[Hyperplane],
    flip: float = 1.0,
) -> np.ndarray:
    """Give each latent its partner: target score kept, protected scores negated.

    h_t(z') = h_t(z) and h_g(z') = (1 - 2 flip) h_g(z) for each protected g, by :func:`shift`.
    Two targets are domain-dependent (eq. 4 of arXiv 2012.01469): ``target[v]`` belongs to images
    with protected value v, and the partner has on the other domain's hyperplane the score that z
    has on its own.

    Args:
        z: Latents [N, d].
        target: h_t, or the pair (h_t of domain 0, h_t of domain 1).
        protected: h_g, or several; with two targets exactly one.
        flip: 1 negates the protected score, .5 puts z' on the hyperplane.

    Raises:
        UserError: If hyperplanes are nearly parallel, or two targets meet several protected.

    Example:
        >>> h_t, h_g = Hyperplane(np.array([1.0, 0.0])), Hyperplane(np.array([0.6, 0.8]))
        >>> pair = complement(np.array([[1.0, 1.0]]), h_t, h_g)
        >>> h_t.score(pair).round(6).tolist(), h_g.score(pair).round(6).tolist()
        ([1.0], [-1.4])
    """
    flips = [protected] if isinstance(protected, Hyperplane) else list(protected)
    scores = np.stack([h.score(z) for h in flips], 1)
    moves = -2 * flip * scores
    if isinstance(target, Hyperplane):
        normals = np.stack([target.normal, *(h.normal for h in flips)])
        return shift(z, normals, np.column_stack([np.zeros(len(z)), moves]))
    if len(target) != 2 or len(flips) != 1:
        raise UserError(
            "Domain-dependent target hyperplanes are a pair, one for each value of one protected "
            f"attribute; got {len(target)} targets and {len(flips)} protected attributes."
        )
    result = np.empty_like(z, dtype=np.float64)
    for domain in (0, 1):
        rows = (scores[:, 0] > 0) == bool(domain)
        own, other = target[domain], target[1 - domain]
        keep = own.score(z[rows]) - other.score(z[rows])
        normals = np.stack([other.normal, flips[0].normal])
        result[rows] = shift(z[rows], normals, np.column_stack([keep, moves[rows]]))
    return result
