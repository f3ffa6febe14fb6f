"""Loss and accuracy of the worst alpha share of the rows: no group labels; numpy only."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from frbench.contracts.errors import UserError
from frbench.metrics.counts import rate
from frbench.metrics.names import ALPHAS

LOSS_BINS = 2000
# A loss l lies in bin LOSS_BINS l / (l + ln 2): wrong and right predictions of two classes never
# share one, and no loss is too large.
LOSS_SCALE = float(np.log(2))


class WorstAlpha(NamedTuple):
    """The worst share of a table, for each alpha.

    Attributes:
        loss: Mean loss of the worst share.
        accuracy: Its share of hits; NaN if no hits were given.
    """

    loss: np.ndarray
    accuracy: np.ndarray


def worst_alpha(losses: Any, alpha: Any, hits: Any = None, weight: Any = None) -> WorstAlpha:
    """Compute mean loss and accuracy of the alpha share of the rows with the largest losses.

    (1 / alpha N) sum of the alpha N largest losses, the last row counted by its fraction; rows of
    equal loss share what is left. This is the test measure of blind Pareto fairness (Martinez et
    al., ICML 2021); it bounds the mean loss of every group of share alpha or more.

    Args:
        losses: Losses of the rows, finite [N].
        alpha: One share, or several for a curve, in (0, 1].
        hits: Whether each row is predicted right [N].
        weight: Non-negative weights [N]; shares are then of the weight.

    Returns:
        Values in the shape of `alpha`.

    Raises:
        UserError: If a share is outside (0, 1], a loss or weight is not usable, or columns differ
            in length.

    Example:
        >>> worst_alpha([0.1, 0.2, 0.9, 2.0], [0.25, 0.375, 1.0], [1, 1, 0, 0]).loss.round(3)
        array([2.   , 1.633, 0.8  ])
        >>> float(worst_alpha([0.1, 0.2, 0.9, 2.0], 0.75, [1, 1, 0, 0]).accuracy.round(3))
        0.333
    """
    losses, alpha = np.asarray(losses, float), np.asarray(alpha, float)
    mass = np.ones(len(losses)) if weight is None else np.asarray(weight, float)
    right = np.full(len(losses), np.nan) if hits is None else np.asarray(hits, float)
    if not (losses.shape == mass.shape == right.shape and losses.ndim == 1 and len(losses)):
        raise UserError(
            f"losses, hits and weight must have one length, got {losses.shape}, {right.shape} "
            f"and {mass.shape}"
        )
    if not ((alpha > 0) & (alpha <= 1)).all():
        raise UserError(f"alpha must lie in (0, 1], got {alpha.tolist()}")
    if not (np.isfinite(losses).all() and (mass >= 0).all() and 0 < mass.sum() < np.inf):
        raise UserError("losses must be finite, weights not negative and not all zero")
    level, row = np.unique(-losses, return_inverse=True)  # rows of equal loss, worst first
    rows, hit = (np.bincount(row, term, minlength=len(level)) for term in (mass, mass * right))
    state = np.array([rows, -level * rows, hit])
    values = np.array([_share(state, a) for a in alpha.ravel()]).reshape(*alpha.shape, 2)
    return WorstAlpha(values[..., 0], values[..., 1])


def _share(state: np.ndarray, alpha: float) -> np.ndarray:
    """Compute mean loss and accuracy of the worst share.

    Args:
        state: Rows, sums of losses and of hits by level of loss, worst first [..., 3, K].
        alpha: The share.

    Returns:
        [..., 2].
    """
    rows = state[..., 0, :]
    share = alpha * rows.sum(-1, keepdims=True)
    taken = np.clip(share - (np.cumsum(rows, -1) - rows), 0, rows)
    part = rate(taken, rows, "zero")
    return rate((part[..., None, :] * state[..., 1:, :]).sum(-1), share, "ignore")


def loss_state(losses: np.ndarray, hits: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Count rows, losses and hits by bin of the loss.

    Args:
        losses: Losses [N].
        hits: Whether each row is predicted right [N].
        weight: Weights [N].

    Returns:
        [3, LOSS_BINS], the largest losses last; states of shards add.
    """
    bins = np.minimum((losses / (losses + LOSS_SCALE) * LOSS_BINS).astype(int), LOSS_BINS - 1)
    terms = (weight, weight * losses, weight * hits)
    return np.array([np.bincount(bins, term, minlength=LOSS_BINS) for term in terms])


def worst_values(state: np.ndarray, alphas: Sequence[float] = ALPHAS) -> dict[str, np.ndarray]:
    """Compute loss and accuracy of the worst shares from a histogram of losses.

    Exact but for the one bin that the share ends in, of which it takes the mean: with s the bin's
    share of the rows and b its width, the loss is too low by at most s b / (4 alpha).

    Args:
        state: As made by `loss_state` [..., 3, LOSS_BINS].
        alphas: K shares in (0, 1].

    Returns:
        Metric as declared in `frbench.metrics.names.SCORES` -> values [..., K].

    Example:
        >>> state = loss_state(np.array([0.1, 2.0]), np.array([1, 0]), np.ones(2))
        >>> worst_values(state, [0.5])["worst_alpha_loss/alpha"].tolist()
        [2.0]
    """
    values = np.stack([_share(state[..., ::-1], alpha) for alpha in alphas], -1)
    return {
        "worst_alpha_loss/alpha": values[..., 0, :],
        "worst_alpha_accuracy/alpha": values[..., 1, :],
    }
