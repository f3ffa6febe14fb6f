"""The dual of the max-entropy problem and Newton's method on it."""

from __future__ import annotations

import contextlib
import math
from typing import NamedTuple

import numpy as np

from frbench.contracts.errors import UserError
from frbench.data.max_entropy.domain import Domain, Samples

#: Of the dual, in coordinates where every column spans at most sqrt(2).
_TOLERANCE = 1e-11
_MAX_STEPS = 100
#: Longest change of a multiplier in one step: of odds by a factor of 150.
_MAX_MOVE = 5.0
#: Rows of a second moment that are weighted at once: the copy stays in the cache.
_CHUNK = 4096


class Point(NamedTuple):
    """The dual at one lambda: value, derivatives, and the tilted mixture behind them."""

    value: float
    gradient: np.ndarray
    hessian: np.ndarray
    rho: float  # share of the data part
    rows: np.ndarray  # tilted shares of the distinct rows, within the data part [K]
    factors: np.ndarray  # tilted shares of the values of every column, one after another [V]


class Dual:
    """h(lambda) = log sum_a q_C(a) exp<a - theta, lambda>, in O(K d + V d) per evaluation."""

    def __init__(self, samples: Samples, weight: np.ndarray, theta: np.ndarray, c: float) -> None:
        domain = samples.domain
        self.starts, self.widths = domain.starts, domain.widths
        self.log_uniform = -np.log(self.widths).sum() + (math.log(c) if c else -math.inf)
        # Centred at theta, the mean of the coordinates is the gradient, and lambda . theta is 0.
        self.rows = samples.embedded - theta
        with np.errstate(divide="ignore"):
            self.log_weight = np.log(weight) + (math.log(1 - c) if c < 1 else -math.inf)
        columns = np.repeat(np.arange(len(domain.columns)), self.widths)
        coordinate = np.repeat(
            np.arange(len(domain.columns)), [b.stop - b.start for b in domain.blocks]
        )
        self.points = np.where(columns[:, None] == coordinate, domain.points - theta, 0.0)
        self.across = (coordinate[:, None] != coordinate).astype(np.float64)
        self.c = c

    def _parts(self, lam: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, float]:
        """Unnormalised shares of rows and values, and the logarithms of the two parts."""
        rows, data = self.rows, -math.inf
        shares = self.log_weight
        if self.c < 1:
            exponent = rows @ lam + self.log_weight
            top = exponent.max()
            shares = np.exp(exponent - top)
            total = shares.sum()
            shares /= total
            data = float(top + math.log(total))
        else:
            shares = np.full(len(rows), 1 / len(rows))
        exponent = self.points @ lam
        tops = np.maximum.reduceat(exponent, self.starts)
        factors = np.exp(exponent - np.repeat(tops, self.widths))
        totals = np.add.reduceat(factors, self.starts)
        factors /= np.repeat(totals, self.widths)
        uniform = float(self.log_uniform + tops.sum() + np.log(totals).sum())
        return shares, factors, data, uniform

    def value(self, lam: np.ndarray) -> float:
        """h(lambda)."""
        _, _, data, uniform = self._parts(lam)
        return float(np.logaddexp(data, uniform))

    def at(self, lam: np.ndarray) -> Point:
        """Evaluate h, its gradient and its Hessian."""
        shares, factors, data, uniform = self._parts(lam)
        value = float(np.logaddexp(data, uniform))
        rho = math.exp(data - value)
        mean_points = factors @ self.points
        gradient = rho * (shares @ self.rows) + (1 - rho) * mean_points
        # Columns of the uniform part are independent: off its blocks, moments are products.
        hessian = self.points.T @ (self.points * factors[:, None])
        hessian += self.across * np.outer(mean_points, mean_points)
        hessian *= 1 - rho
        for start in range(0, len(shares), _CHUNK):
            rows = self.rows[start : start + _CHUNK]
            weight = rho * shares[start : start + _CHUNK, None]
            hessian += rows.T @ (rows * weight)
        hessian -= np.outer(gradient, gradient)
        return Point(value, gradient, hessian, rho, shares, factors)


def check_inside(domain: Domain, theta: np.ndarray, z: int, band: float) -> None:
    """Refuse a theta on or outside the border of the domain's hull, where lambda is infinite.

    The shares of the column at position z may be off by band.
    """
    for i, (column, block) in enumerate(zip(domain.columns, domain.blocks, strict=True)):
        # A point is inside if, and only if, all its shares (or its two distances) are positive.
        if column.is_number:
            shares = np.array([1 - theta[block][0], theta[block][0]])
            names = [column.values[i] for i in (column.points.argmin(), column.points.argmax())]
        else:
            shares = column.points @ theta[block] + 1 / len(column.values)
            names = list(column.values)
        if len(column.values) > 1 and shares.min() + (band if i == z else 0.0) <= 1e-12:
            value = names[int(shares.argmin())]
            raise UserError(
                f"max entropy: the marginals leave no share to {value!r} of column "
                f"'{column.name}' (or give more than all to another value), so that no "
                "distribution on the whole domain has them; drop the value from the domain, or "
                "give other marginals."
            )


def _unreachable(domain: Domain, lam: np.ndarray, smoothing: float) -> UserError:
    """Name the column along which the multipliers diverge."""
    sizes = [np.abs(lam[block]).max(initial=0) for block in domain.blocks]
    name = domain.columns[int(np.argmax(sizes))].name
    if smoothing:
        return UserError(
            f"max entropy: no optimum after {_MAX_STEPS} steps: the marginal of column '{name}' "
            "leaves almost no share to a value; drop the value, or give other marginals."
        )
    return UserError(
        "max entropy: with smoothing 0 only samples that occur can be weighted, and no weights "
        f"give the marginals asked for (farthest off in column '{name}'); use smoothing above 0, "
        f"or marginals nearer to the data in '{name}'."
    )


def _direction(point: Point, definite: bool) -> np.ndarray:
    """Return the Newton step, H^-1 g, of a length at which H still means something."""
    hessian, gradient = point.hessian, point.gradient
    step = np.zeros_like(gradient)
    if definite:
        with contextlib.suppress(np.linalg.LinAlgError):
            step = np.linalg.solve(hessian, gradient)
    if not gradient @ step > 0:  # flat: samples in a plane, or curvature below rounding
        values, vectors = np.linalg.eigh(hessian)
        flat = values < 1e-13 * values[-1]
        along = vectors.T @ gradient
        along[flat & (np.abs(along) < 1e-12)] = 0
        step = vectors @ (along / np.maximum(values, 1e-13 * values[-1] + 1e-300))
    # Longer steps may land where all curvature is below rounding, although h is smaller there.
    result: np.ndarray = step * min(1.0, _MAX_MOVE / max(np.abs(step).max(), 1e-300))
    return result


def newton(
    dual: Dual, domain: Domain, start: np.ndarray | None = None, tolerance: float = _TOLERANCE
) -> tuple[np.ndarray, Point, int]:
    """Minimise the dual by Newton's method with backtracking; return lambda, h, steps."""
    lam = np.zeros(dual.rows.shape[1]) if start is None else start
    point, steps = dual.at(lam), 0
    while np.linalg.norm(point.gradient) > tolerance:
        step = _direction(point, dual.c > 0)
        decrement = float(point.gradient @ step)
        length = 1.0
        # Near the optimum the decrease is below the rounding of h, and the full step is right.
        while decrement > 1e-9 and length > 1e-9:
            if dual.value(lam - length * step) <= point.value - 1e-4 * length * decrement:
                break
            length /= 2
        lam = lam - length * step
        point, steps = dual.at(lam), steps + 1
        if steps == _MAX_STEPS:
            raise _unreachable(domain, lam, dual.c)
    # On the border of the samples' hull the gradient vanishes while lambda goes to infinity: its
    # steps do not get shorter.
    if not dual.c and steps and np.abs(_direction(point, False)).max() > 0.1:
        raise _unreachable(domain, lam, dual.c)
    return lam, point, steps
