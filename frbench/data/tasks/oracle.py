"""What any network could reach at best on a task: exact predictors by enumeration, no training."""

from __future__ import annotations

import numpy as np

from frbench.data.tasks.structural import Law
from frbench.metrics import evaluate

#: Least probability that a likelihood sees: a predictor may rule out what another law holds.
CLIP = 1e-9


def conditional(law: Law, support: str = "tkv", num_colours: int | None = None) -> np.ndarray:
    """Compute E[Y | X] under a law, with X read without error.

    X shows the digit's class t, the colour k of the noise, and the marker v.

    Args:
        law: The distribution.
        support: What the predictor may use of t, k and v; ``t`` gives E[Y | X_Z⊥].
        num_colours: Number of colours, if more than the law's.

    Returns:
        P(Y | t, k, v) [C, C, colours, K], y first; P(Y) where the law has no such x.

    Example:
        >>> from frbench.data.tasks.structural import StructuralModel
        >>> model = StructuralModel("a", 0.12, np.array([[0.95, 0.05], [0.1, 0.9]]))
        >>> conditional(model.law("P"), "t")[1, :, 0, 0].round(2).tolist()
        [0.12, 0.88]
    """
    mass = _visible(law, num_colours or law.num_colours).sum(1)
    drop = tuple(1 + i for i, name in enumerate("tkv") if name not in support)
    joint = np.broadcast_to(mass.sum(drop, keepdims=True), mass.shape)
    total = joint.sum(0)
    prior = law.p.sum((1, 2, 3))[:, None, None, None]
    return np.where(total > 0, joint / np.where(total > 0, total, 1), prior)


def _visible(law: Law, num_colours: int) -> np.ndarray:
    """P(y, z, t, k, v)."""
    shown = np.eye(num_colours)[law.colour]  # [C, A, colours]
    result: np.ndarray = np.einsum("ytzv,yzk->yztkv", law.p, shown)
    return result


def score(f: np.ndarray, law: Law) -> dict[str, float]:
    """Compute every metric of a predictor under a law, exactly.

    Args:
        f: P(Y | t, k, v) [C, C, colours, K], as :func:`conditional` gives it.
        law: The distribution it is used on.

    Returns:
        The metrics of :func:`frbench.metrics.evaluate`; the label predicted is the most probable
        one, the first at a tie; likelihoods see probabilities of at least 1e-9.

    Example:
        >>> from frbench.data.tasks.structural import StructuralModel
        >>> model = StructuralModel("a", 0.12, np.array([[0.95, 0.05], [0.1, 0.9]]))
        >>> f_p, f_q = conditional(model.law("P")), conditional(model.law("Q"))
        >>> [round(score(f, model.law("P0"))["accuracy"], 3) for f in (f_p, f_q)]
        [0.5, 0.88]
    """
    mass = _visible(law, f.shape[2])
    y, z, t, k, v = np.nonzero(mass)
    weight = mass[y, z, t, k, v]
    probabilities = f[:, t, k, v].T
    # Ties of exact arithmetic may come out of floating point in either order.
    prediction = (probabilities > probabilities.max(1, keepdims=True) - 1e-12).argmax(1)
    metrics: dict[str, float] = evaluate(
        y,
        prediction,
        z,
        scores=probabilities if len(f) > 2 else probabilities[:, 1],
        weight=weight,
        class_names=[str(i) for i in range(mass.shape[0])],
        attribute_names=[str(i) for i in range(mass.shape[1])],
    )
    own = np.maximum(probabilities[np.arange(len(y)), y], CLIP)
    metrics["negative_log_likelihood"] = float(-(weight * np.log(own)).sum())
    return metrics
