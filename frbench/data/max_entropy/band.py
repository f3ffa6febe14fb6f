"""The dual where the protected marginal need not be met, but lie in a band about its goal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from frbench.data.max_entropy.column import Column
from frbench.data.max_entropy.domain import Domain, Samples
from frbench.data.max_entropy.dual import Dual, Point, newton

#: Smoothing of |mu|, one after another: each optimum starts the next.
_ROUNDINGS = (1.0, 1e-2, 1e-4, 1e-6)


class _Rounded(Dual):
    """h(lambda) + band sum_v sqrt(mu_v^2 + t^2), mu_v = <z_v, lambda> + s, of (lambda, s).

    Without t it is the dual of |P(z = v) - theta_v| <= band for all v; mu_v is the multiplier of
    value v, and s the gauge in which their sum is smallest.
    """

    def __init__(
        self,
        samples: Samples,
        weight: np.ndarray,
        theta: np.ndarray,
        c: float,
        z: int,
        band: float,
    ) -> None:
        super().__init__(samples, weight, theta, c)
        column, block = samples.domain.columns[z], samples.domain.blocks[z]
        self.to_mu = np.zeros((len(column.values), len(theta) + 1))
        self.to_mu[:, block] = column.points
        self.to_mu[:, -1] = 1
        self.band, self.t = band, 1.0

    def value(self, lam: np.ndarray) -> float:
        return super().value(lam[:-1]) + self.band * float(
            np.hypot(self.to_mu @ lam, self.t).sum()
        )

    def at(self, lam: np.ndarray) -> Point:
        point = super().at(lam[:-1])
        mu = self.to_mu @ lam
        root = np.hypot(mu, self.t)
        hessian = self.to_mu.T @ (self.to_mu * (self.band * self.t**2 / root**3)[:, None])
        hessian[:-1, :-1] += point.hessian
        gradient = self.to_mu.T @ (self.band * mu / root)
        gradient[:-1] += point.gradient
        value = point.value + self.band * float(root.sum())
        return point._replace(value=value, gradient=gradient, hessian=hessian)


@dataclass(frozen=True)
class _Pinned(Column):
    """A column of which only the shares of some values are constrained."""

    pinned: tuple[int, ...] = ()

    @property
    def is_number(self) -> bool:
        return False

    @cached_property
    def points(self) -> np.ndarray:
        return np.eye(len(self.values))[:, list(self.pinned)]


def newton_in_band(
    samples: Samples, weight: np.ndarray, theta: np.ndarray, c: float, z: int, band: float
) -> tuple[np.ndarray, np.ndarray, Point, int]:
    """Minimise the dual subject to |P(z = v) - theta_v| <= band for every value v of column z.

    Rounding the corner of |mu| finds the values whose share lies on an end of the band; with these
    fixed there, and the others free, plain Newton gives the exact optimum.

    Returns:
        lambda, the theta that is reached, h at them, and the steps of the last Newton method.
    """
    domain = samples.domain
    column, block = domain.columns[z], domain.blocks[z]
    goal = _shares(column, theta[block])
    rounded = _Rounded(samples, weight, theta, c, z, band)
    exact = Dual(samples, weight, theta, c)
    lam = np.zeros(len(theta) + 1)
    for rounded.t in _ROUNDINGS:
        lam, _, _ = newton(rounded, domain, lam, max(1e-11, 1e-5 * band))
    off = _shares(column, theta[block] + exact.at(lam[:-1]).gradient[block]) - goal
    on_end = np.abs(off) > band * (1 - 1e-6)
    for _ in column.values:
        ends = np.clip(goal + np.copysign(band, off), 0, 1)
        lam, steps = _solve_pinned(samples, weight, theta, c, z, on_end, ends)
        reached = theta[block] + exact.at(lam).gradient[block]
        off = _shares(column, reached) - goal
        if not (outside := np.abs(off) > band + 1e-12).any():
            break
        on_end |= outside
    theta = theta.copy()
    theta[block] = reached
    return lam, theta, Dual(samples, weight, theta, c).at(lam), steps


def _shares(column: Column, mean: np.ndarray) -> np.ndarray:
    """Turn the mean of a column's coordinates into the shares of its values [V]."""
    if column.is_number:
        shares: np.ndarray = np.where(column.points[:, 0] > 0, mean[0], 1 - mean[0])
        return shares
    shares = column.points @ mean + 1 / len(column.values)
    return shares


def _solve_pinned(
    samples: Samples,
    weight: np.ndarray,
    theta: np.ndarray,
    c: float,
    z: int,
    on_end: np.ndarray,
    ends: np.ndarray,
) -> tuple[np.ndarray, int]:
    """Solve with some shares of column z fixed and the others free."""
    domain = samples.domain
    column, block = domain.columns[z], domain.blocks[z]
    # All shares sum to one: the last follows from the others.
    pinned = np.flatnonzero(on_end)[: len(ends) - 1]
    part = _Pinned(column.name, column.values, pinned=tuple(pinned.tolist()))
    columns = (*domain.columns[:z], part, *domain.columns[z + 1 :])
    reduced = replace(samples, domain=Domain(columns))
    goal = np.concatenate([theta[: block.start], ends[pinned], theta[block.stop :]])
    short, _, steps = newton(Dual(reduced, weight, goal, c), reduced.domain)
    mu = np.zeros(len(ends))
    mu[pinned] = short[reduced.domain.blocks[z]]
    # The same tilt in the column's own coordinates, up to a constant that p* does not feel.
    both = np.column_stack([column.points, np.ones(len(ends))])
    own = np.linalg.lstsq(both, mu, rcond=None)[0][:-1]
    after = reduced.domain.blocks[z].stop
    return np.concatenate([short[: block.start], own, short[after:]]), steps
