"""Softmax regression on cached features: its loss, and two ways to minimise it."""

from __future__ import annotations

import numpy as np

from frbench.contracts.errors import UserError

#: Rows that are visited at a time, so that a block of features stays in the cache.
_BLOCK = 512
#: Columns up to which products with single vectors are faster than one with a thin matrix.
_SINGLE = 4


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return logarithms of the softmax over the last axis."""
    logits = logits - logits.max(-1, keepdims=True)
    found: np.ndarray = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return found


def loss_and_gradient(
    x: np.ndarray, y: np.ndarray, row_weight: np.ndarray, weight: np.ndarray, bias: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Return sum_i w_i cross-entropy_i of a linear layer, and its gradients.

    Args:
        x: Features [N, D].
        y: Labels [N].
        row_weight: w [N].
        weight: Weights of the layer [C, D].
        bias: Its bias [C].

    Example:
        >>> x, w = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([0.5, 0.5])
        >>> loss, _, _ = loss_and_gradient(x, np.array([0, 1]), w, np.zeros((2, 2)), np.zeros(2))
        >>> round(loss, 6)
        0.693147
    """
    loss, by_weight, by_bias = 0.0, np.zeros_like(weight), np.zeros_like(bias)
    # The softmax knows differences to the first class alone, and the errors of a row sum to zero.
    against, offset = weight[1:] - weight[0], bias[1:] - bias[0]
    single = len(against) <= _SINGLE
    for start in range(0, len(x), _BLOCK):
        part = slice(start, start + _BLOCK)
        rows, labels, share = x[part], y[part], row_weight[part]
        logits = np.zeros((len(rows), len(weight)))
        if single:
            for k, vector in enumerate(against):
                logits[:, k + 1] = rows @ vector
        else:
            logits[:, 1:] = rows @ against.T
        logits[:, 1:] += offset
        log_p = log_softmax(logits)
        at = np.arange(len(labels)), labels
        loss -= float(share @ log_p[at])
        error = np.exp(log_p)
        error[at] -= 1
        error *= share[:, None]
        if single:
            for k in range(1, len(weight)):
                by_weight[k] += error[:, k] @ rows
        else:
            by_weight[1:] += error[:, 1:].T @ rows
        by_bias[1:] += error[:, 1:].sum(0)
    by_weight[0], by_bias[0] = -by_weight[1:].sum(0), -by_bias[1:].sum()
    return loss, by_weight, by_bias


def minimise(
    x: np.ndarray,
    y: np.ndarray,
    row_weight: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    decay: float,
    steps: int = 300,
) -> tuple[np.ndarray, np.ndarray]:
    """Minimise sum_i w_i cross-entropy_i + decay |theta - theta_0|^2 by L-BFGS.

    The features are centred and scaled inside, which changes nothing but the speed where
    ``decay`` is 0; the penalty is on the scaled weights.

    Args:
        x: Features [N, D].
        y: Labels [N].
        row_weight: w, of sum one [N].
        weight: Weights of theta_0, where the search starts [C, D].
        bias: Bias of theta_0 [C].
        decay: Strength of the penalty.
        steps: Largest number of iterations.

    Returns:
        Weights and bias.
    """
    from scipy.optimize import minimize

    mean, scale = x.mean(0), x.std(0)
    scale[scale == 0] = 1.0
    x = (x - mean) / scale
    start = np.concatenate([weight * scale, (bias + weight @ mean)[:, None]], 1)

    def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
        theta = flat.reshape(start.shape)
        loss, by_weight, by_bias = loss_and_gradient(x, y, row_weight, theta[:, :-1], theta[:, -1])
        gradient = np.concatenate([by_weight, by_bias[:, None]], 1) + 2 * decay * (theta - start)
        return loss + decay * float(((theta - start) ** 2).sum()), gradient.ravel()

    found = minimize(
        value, start.ravel(), jac=True, method="L-BFGS-B",
        options={"maxiter": steps, "ftol": 1e-12, "gtol": 1e-8},
    ).x.reshape(start.shape)  # fmt: skip
    weight = found[:, :-1] / scale
    return weight, found[:, -1] - weight @ mean


def descend(
    x: np.ndarray,
    y: np.ndarray,
    row_weight: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    decay: float,
    steps: int,
    rate: float,
    clip: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Take steps of gradient descent on sum_i w_i cross-entropy_i + decay |theta - theta_0|^2.

    Args:
        x: Features [N, D].
        y: Labels [N].
        row_weight: w [N].
        weight: Weights of theta_0, where the descent starts [C, D].
        bias: Bias of theta_0 [C].
        decay: Strength of the penalty.
        steps: Number of steps.
        rate: Step size.
        clip: Largest norm of the gradient; None for no limit.

    Returns:
        Weights and bias.
    """
    new_weight, new_bias = weight.copy(), bias.copy()
    for _ in range(steps):
        _, by_weight, by_bias = loss_and_gradient(x, y, row_weight, new_weight, new_bias)
        by_weight += 2 * decay * (new_weight - weight)
        by_bias += 2 * decay * (new_bias - bias)
        size = float(np.sqrt((by_weight**2).sum() + (by_bias**2).sum()))
        factor = rate * (min(1.0, clip / size) if clip is not None and size else 1.0)
        new_weight -= factor * by_weight
        new_bias -= factor * by_bias
    return new_weight, new_bias


def class_weights(labels: np.ndarray) -> np.ndarray:
    """Return weights of sum one that give each value of ``labels`` the same share [N].

    Example:
        >>> class_weights(np.array([0, 0, 0, 1])).round(3).tolist()
        [0.167, 0.167, 0.167, 0.5]
    """
    _, code, count = np.unique(labels, return_inverse=True, return_counts=True)
    found: np.ndarray = 1 / (len(count) * count[code])
    return found


def check_classes(name: str, y: np.ndarray, num_classes: int) -> None:
    """Refuse held-out rows that lack a class.

    Raises:
        UserError: Naming the class.
    """
    if len(absent := np.setdiff1d(np.arange(num_classes), y)):
        raise UserError(f"{name} has no held-out rows of class {absent[0]}.")
