"""Environment inference for invariant learning."""

from __future__ import annotations

import numpy as np

from frbench.contracts.ranges import NotNegativeInt, Positive
from frbench.group_inference.base import GroupInference, Rows, StageLength


def scale_slopes(logits: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the slope of each row's loss in the scale of its logits, at scale 1 [N].

    d/ds CE(s f, y) = sum_c softmax(f)_c f_c - f_y.

    Args:
        logits: Logits f [N, C].
        y: Labels [N].

    Example:
        >>> logits = np.array([[1, -1], [0.5, 0], [-0.25, 0.75], [2, 0]])
        >>> scale_slopes(logits, np.array([0, 1, 1, 0])).round(6)
        array([-0.238406,  0.31123 , -0.268941, -0.238406])
    """
    logits = logits.astype(np.float64)
    p = np.exp(logits - logits.max(1, keepdims=True))
    mean = (p * logits).sum(1) / p.sum(1)
    slopes: np.ndarray = mean - logits[np.arange(len(y)), y]
    return slopes


class EIIL(GroupInference):
    """Two environments between which the first network violates invariance most.

    With s_i the slope of row i's loss in the scale of its logits and q_i in [0, 1] the share in
    which it belongs to environment 1: max_q (mean_i q_i s_i)^2 + (mean_i (1 - q_i) s_i)^2. Source:
    Creager et al., arXiv 2010.07249, with IRM's penalty. The objective is convex in q,
    so that its maximum is a corner: q_i = 1 where s_i > 0, else 0, which is the default. For two
    classes these are exactly the rows that the network gets wrong, the set of
    :class:`~frbench.group_inference.Errors`. The released code climbs with Adam and stops short of
    it; ``steps`` does the same.

    Combine it with a penalty on environments (IRM, the paper) or with GroupDRO.

    Args:
        epochs: Epochs of the reference network, or their share of the run.
        steps: Steps of Adam over logits of q from standard normal values; 0 is the maximum itself.
            The released code takes 10,000.
        lr: Adam's rate.
        start: A checkpoint with the reference network, instead of the first stage.

    Example:
        >>> logits = np.array([[1, -1], [0.5, 0], [-0.25, 0.75], [2, 0]])
        >>> y = np.array([0, 1, 1, 0])
        >>> EIIL().infer(Rows(logits, logits, y * 0.5, y, y * 0 - 1), np.random.default_rng(0))
        array([0, 1, 0, 0])
    """

    def __init__(
        self,
        epochs: StageLength = 1,
        steps: NotNegativeInt = 0,
        lr: Positive = 0.001,
        start: str | None = None,
    ) -> None:
        super().__init__(epochs, start)
        self.steps = steps
        self.lr = lr

    def infer(self, rows: Rows, rng: np.random.Generator) -> np.ndarray:
        """Return 1 for the rows of the second environment."""
        slope = scale_slopes(rows.logits, rows.y)
        if not self.steps:
            return (slope > 0).astype(np.int64)
        return (self._climb(slope, rng.normal(size=len(slope))) > 0).astype(np.int64)

    def _climb(self, slope: np.ndarray, w: np.ndarray) -> np.ndarray:
        """Move the logits w of q by Adam's steps up the objective [N]."""
        first, second, n = np.zeros_like(w), np.zeros_like(w), len(w)
        for step in range(1, self.steps + 1):
            q = 1 / (1 + np.exp(-w))
            # Half the gradient of the objective; Adam is indifferent to its scale.
            rise = ((q @ slope) - ((1 - q) @ slope)) / n * slope / n * q * (1 - q)
            first = 0.9 * first + 0.1 * rise
            second = 0.999 * second + 0.001 * rise**2
            mean, square = first / (1 - 0.9**step), second / (1 - 0.999**step)
            w = w + self.lr * mean / (np.sqrt(square) + 1e-8)
        return w
