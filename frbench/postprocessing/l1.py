"""Many logistic regressions with an L1 penalty, on draws of the same rows, solved together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import expit

#: Share of the first violation of the optimum's conditions at which a regression is finished.
TOLERANCE = 5e-5
#: Largest number of quadratic models, and of passes over the features in each.
_MODELS, _PASSES, _CONJUGATE = 200, 2, 40


class L1Regressions:
    """min_w C sum_i log(1 + exp(-s_i w x_i)) + |w|_1 for several draws of the same rows.

    The bias is a weight of the constant 1 and penalised like the others, as in liblinear. All
    regressions take their steps together: a step minimises a quadratic model with the penalty,
    coordinate by coordinate, and the curvature of the model is the mean of all regressions', so
    that one matrix serves them (proximal quasi-Newton, Lee et al., arXiv 1206.1623); the step of
    each is halved until its loss falls enough. A next C begins where the last one ended.

    Args:
        x: Features [N, D].
        draws: Matrix of each regression, whose product with x are its inputs, [n, N] with the same
            n for all, sparse [K].
        labels: Whether an input is of the positive class, bool [n] each [K].

    Example:
        >>> from scipy.sparse import eye_array
        >>> x, y = np.array([[-1.0], [1.0], [0.5], [-0.5]]), np.array([False, True, True, False])
        >>> weight, bias = L1Regressions(x, [eye_array(4, format="csr")], [y]).solve(1.0)
        >>> slope = float(y @ x[:, 0] - expit(weight[0] * x[:, 0] + bias[0]) @ x[:, 0])
        >>> round(slope, 4), float(bias[0])  # the gradient of C loss equals that of |w|
        (1.0, 0.0)
    """

    def __init__(self, x: np.ndarray, draws: Sequence[Any], labels: Sequence[np.ndarray]) -> None:
        self.x = np.concatenate([x, np.ones((len(x), 1))], 1)
        self.draws = draws
        self.back = [draw.T.tocsr() for draw in draws]
        self.squares = [back.power(2) for back in self.back]
        self.labels = np.stack(labels, 1)
        self.size = len(self.labels)
        self.weight = np.zeros((self.x.shape[1], len(draws)))
        self.logits = np.zeros((len(x), len(draws)))
        _, chance = self._losses(self.logits)
        self.first = self._gradient(chance)  # at weights of zero

    def begin(self, weight: np.ndarray, bias: np.ndarray) -> None:
        """Let the next search begin at weights [K, D] and biases [K]."""
        self.weight = np.concatenate([weight.T, bias[None]])
        self.logits = self.x @ self.weight

    def solve(self, strength: float) -> tuple[np.ndarray, np.ndarray]:
        """Return weights [K, D] and biases [K].

        Args:
            strength: C.
        """
        penalty = 1 / (strength * self.size)
        enough = TOLERANCE * np.abs(self.first - self.first.clip(-penalty, penalty)).sum(0)
        loss, chance = self._losses(self.logits)
        curvature = self._curvature(chance)
        for _ in range(_MODELS):
            gradient = self._gradient(chance)
            slope = np.where(
                self.weight != 0,
                gradient + penalty * np.sign(self.weight),
                gradient - gradient.clip(-penalty, penalty),
            )
            if (np.abs(slope).sum(0) <= enough).all():
                break
            step = self._step(gradient, curvature, penalty)
            change = self.x @ step
            before = np.abs(self.weight).sum(0)
            gain = (gradient * step).sum(0) + penalty * (
                np.abs(self.weight + step).sum(0) - before
            )
            part = np.ones(step.shape[1])
            for _ in range(30):
                new_loss, chance = self._losses(self.logits + part * change)
                size = np.abs(self.weight + part * step).sum(0)
                missed = new_loss - loss + penalty * (size - before) > 0.01 * part * gain + 1e-15
                if not missed.any():
                    break
                part[missed] /= 2
            self.weight += part * step
            self.logits += part * change
            loss = new_loss
        return self.weight[:-1].T.copy(), self.weight[-1].copy()

    def _losses(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean losses [K] and probabilities of the positive class [n, K]."""
        inputs = np.stack([d @ logits[:, k] for k, d in enumerate(self.draws)], 1)
        loss = np.logaddexp(0, np.where(self.labels, -inputs, inputs)).mean(0)
        return loss, expit(inputs)

    def _gradient(self, chance: np.ndarray) -> np.ndarray:
        """Return the gradients of the mean losses [D + 1, K]."""
        error = (chance - self.labels) / self.size
        of_row = np.stack([b @ error[:, k] for k, b in enumerate(self.back)], 1)
        found: np.ndarray = self.x.T @ of_row
        return found

    def _curvature(self, chance: np.ndarray) -> np.ndarray:
        """Return the mean of the regressions' second derivatives [D + 1, D + 1]."""
        of_input = chance * (1 - chance) / self.size
        of_row = np.mean([b @ of_input[:, k] for k, b in enumerate(self.squares)], 0)
        used = of_row > 0
        rows = (self.x[used] * np.sqrt(of_row[used])[:, None]).astype(np.float32)
        found: np.ndarray = (rows.T @ rows).astype(np.float64)
        found[np.diag_indices(len(found))] *= 1 + 1e-5  # more than the rounding of the product
        found[np.diag_indices(len(found))] += 1e-10
        return found

    def _step(self, gradient: np.ndarray, curvature: np.ndarray, penalty: float) -> np.ndarray:
        """Minimise the quadratic model with the penalty, nearly [D + 1, K]."""
        step, value = np.zeros_like(self.weight), self.weight.copy()
        diagonal = np.diag(curvature).tolist()
        active = np.arange(len(value))
        for _ in range(_PASSES):
            for j in active:
                at = diagonal[j]
                wanted = value[j] - (gradient[j] + curvature[j] @ step) / at
                limit = penalty / at
                new = wanted - np.minimum(np.maximum(wanted, -limit), limit)
                step[j] += new - value[j]
                value[j] = new
            slope = gradient + curvature @ step
            change = _conjugate(curvature, -(slope + penalty * np.sign(value)), value != 0)
            crossed = (value + change) * value < 0  # those stop at zero
            change[crossed] = -value[crossed]
            size = np.abs(value + change).sum(0) - np.abs(value).sum(0)
            gain = ((slope + curvature @ change / 2) * change).sum(0) + penalty * size
            change[:, gain >= 0] = 0
            step += change
            value += change
            active = np.flatnonzero(value.any(1))
        return step


def _conjugate(matrix: np.ndarray, right: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Solve matrix @ x = right roughly for the free entries of each column; the others are 0."""
    found, residual = np.zeros_like(right), right * free
    direction, before = residual, (residual**2).sum(0)
    enough = 1e-4 * before
    for _ in range(_CONJUGATE):
        image = (matrix @ direction) * free
        length = before / np.maximum((direction * image).sum(0), 1e-300)
        found += length * direction
        residual = residual - length * image
        after = (residual**2).sum(0)
        if (after <= enough).all():
            break
        direction = residual + after / np.maximum(before, 1e-300) * direction
        before = after
    return found
