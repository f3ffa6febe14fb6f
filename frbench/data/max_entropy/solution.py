"""The max-entropy distribution: solving for it, its rates, sampling from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from frbench.contracts.errors import UserError
from frbench.contracts.ranges import PositiveShare, ProperShare, Share, checked
from frbench.data.max_entropy.band import newton_in_band
from frbench.data.max_entropy.domain import Domain, Samples, cell_mass
from frbench.data.max_entropy.dual import Dual, Point, check_inside, newton
from frbench.data.max_entropy.prior import Marginals, Prior, expectation, rates, reweigh

#: Added to every point's share of the data before KL, as the released code does.
_SHARE = 1e-7
#: Beyond this size the added shares outweigh the data.
_MAX_KL_SIZE = 10**6


@checked
def solve(
    samples: Samples,
    label: str | Sequence[str],
    protected: str | Sequence[str],
    smoothing: Share = 0.5,
    prior: Prior = "reweighted",
    marginals: Marginals = "reweighted",
    tau: PositiveShare = 1.0,
    band: ProperShare = 0.0,
) -> Solution:
    """Find p* = argmin KL(p || q_C) subject to E_p[a] = theta, with q_C = (1 - C) w + C u.

    Its dual h(lambda) = log sum_a q_C(a) exp<a - theta, lambda> is minimised by Newton's method
    on the closed form of the two-part mixture, with log-sum-exp throughout.
    Source: arXiv 1906.02164: the program, its dual, and Algorithm 1 (w); the closed form is ours.

    Args:
        samples: The samples, compressed.
        label: Column of the outcome y, of any number of values; or several columns, whose
            combinations are the outcomes.
        protected: Column of the protected attribute z; or several, whose combinations are z: rates
            of intersections, which those of every single column are never below.
        smoothing: C, the share of the uniform distribution u in the prior, in [0, 1].
        prior: Weights w of the samples: data, or reweighted, by :func:`reweigh`.
        marginals: See :func:`expectation`.
        tau: Representation rate of the re-weighting, in (0, 1].
        band: Largest distance of P(z) from its goal, for every value of z; 0 meets it exactly. A
            band keeps p* nearer to the prior where the exact goal costs much.

    Returns:
        The distribution with its rates.

    Raises:
        UserError: If smoothing or tau is out of range, a column is unknown, a (y, z) cell that
            re-weighting needs is empty, or no distribution has the marginals.

    Example:
        >>> from frbench.data.max_entropy import Column, Domain, Samples
        >>> domain = Domain((Column("y", (0, 1)), Column("z", ("f", "m"))))
        >>> codes = np.array([[1, 0], [1, 1], [1, 1], [0, 0], [0, 0], [0, 1], [0, 1]])
        >>> solution = solve(Samples.compress(domain, codes), "y", "z")
        >>> round(solution.representation_rate, 9), solution.statistical_rate.round(9).tolist()
        (1.0, [1.0, 1.0])
    """
    names = [label] if isinstance(label, str) else label
    others = [protected] if isinstance(protected, str) else protected
    if both := set(names) & set(others):
        raise UserError(
            f"max entropy: column '{min(both)}' is both label and protected; choose another."
        )
    samples, label = samples.cross(label, "label")
    samples, protected = samples.cross(protected, "protected")
    y = samples.domain.position(label, "label")
    z = samples.domain.position(protected, "protected")
    column = samples.domain.columns[z]
    if column.is_number and len(column.values) > 2:
        raise UserError(
            f"max entropy: protected column '{protected}' is ordinal, so that its mean would not "
            "fix the shares of its values; declare it categorical."
        )
    weight = reweigh(samples, label, protected, tau, prior)
    theta = expectation(samples, label, protected, marginals, tau)
    if smoothing:
        check_inside(samples.domain, theta, z, band)
    if band:
        lam, theta, point, steps = newton_in_band(samples, weight, theta, smoothing, z, band)
    else:
        lam, point, steps = newton(Dual(samples, weight, theta, smoothing), samples.domain)
    return Solution(samples, y, z, smoothing, tau, weight, theta, lam, steps, point)


@dataclass(frozen=True)
class Solution:
    """The max-entropy distribution: with probability rho a sample, else independent columns.

    Attributes:
        samples: The samples; several columns of y or z are one, of their combinations.
        y: Position of the label's column.
        z: Position of the protected column.
        smoothing: C.
        tau: Representation rate of the re-weighting.
        weight: Weights w of the distinct rows in the prior [K].
        theta: Mean of the coordinates, inside the band if there is one [d].
        multipliers: lambda, in the domain's coordinates [d].
        steps: Newton steps taken.
        point: The dual at lambda.
    """

    samples: Samples
    y: int
    z: int
    smoothing: float
    tau: float
    weight: np.ndarray
    theta: np.ndarray
    multipliers: np.ndarray
    steps: int
    point: Point

    @property
    def dual(self) -> float:
        """h(lambda*), which is -KL(p* || q_C)."""
        return self.point.value

    @property
    def gradient_norm(self) -> float:
        """Distance of the mean from theta, |E[a] - theta|."""
        return float(np.linalg.norm(self.point.gradient))

    @cached_property
    def coefficients(self) -> dict[str, np.ndarray]:
        """Multipliers by column: per unit of a number, or one per category, summing to zero."""
        domain, out = self.samples.domain, {}
        for column, block in zip(domain.columns, domain.blocks, strict=True):
            lam = self.multipliers[block]
            out[column.name] = lam / column.scale[1] if column.is_number else column.points @ lam
        return out

    @cached_property
    def shares(self) -> list[np.ndarray]:
        """Exact marginal P(value) of each column, [V_i] each."""
        domain, rows = self.samples.domain, self.samples.rows
        return [
            self.point.rho * np.bincount(rows[:, i], self.point.rows, len(factor))
            + (1 - self.point.rho) * factor
            for i, factor in enumerate(self._factors(domain))
        ]

    def _factors(self, domain: Domain) -> list[np.ndarray]:
        return np.split(self.point.factors, domain.starts[1:])

    def _joint(self, rho: float, rows: np.ndarray, factors: list[np.ndarray]) -> np.ndarray:
        cells, shape = self.samples.cells(self.y, self.z)
        independent = np.outer(factors[self.y], factors[self.z])
        return rho * cell_mass(cells, rows, shape) + (1 - rho) * independent

    @cached_property
    def joint(self) -> np.ndarray:
        """Exact P(Y, Z) [C, A]."""
        domain = self.samples.domain
        return self._joint(self.point.rho, self.point.rows, self._factors(domain))

    @cached_property
    def prior_joint(self) -> np.ndarray:
        """q_C(Y, Z) [C, A]."""
        uniform = [np.full(width, 1 / width) for width in self.samples.domain.widths]
        return self._joint(1 - self.smoothing, self.weight, uniform)

    @property
    def representation_rate(self) -> float:
        """Exact RR, see :func:`rates`."""
        return rates(self.joint)[0]

    @property
    def statistical_rate(self) -> np.ndarray:
        """Exact SR of every class value [C], see :func:`rates`."""
        return rates(self.joint)[1]

    def probability(self, codes: np.ndarray) -> np.ndarray:
        """Return p* of points of the domain, given by their codes [N, F]."""
        domain, rho = self.samples.domain, self.point.rho
        product = np.ones(len(codes))
        for i, factor in enumerate(self._factors(domain)):
            product *= factor[codes[:, i]]
        both = Samples.compress(domain, np.concatenate([self.samples.rows, codes]))
        k = len(self.samples.rows)
        mass = np.zeros(len(both.rows))
        mass[both.inverse[:k]] = self.point.rows
        result: np.ndarray = rho * mass[both.inverse[k:]] + (1 - rho) * product
        return result

    @cached_property
    def kl_to_data(self) -> float:
        """KL(p* || data), every point's share of the data raised by 1e-7 and renormalised.

        Exact without enumeration: off the samples p* is a product, whose entropy is the sum of
        its factors'. nan where the domain has over 10^6 points: the raised shares would outweigh
        the data.
        """
        domain, rho = self.samples.domain, self.point.rho
        if domain.size > _MAX_KL_SIZE:
            return math.nan
        product = np.full(len(self.samples.rows), 1 - rho)
        total = 0.0
        for i, factor in enumerate(self._factors(domain)):
            product *= factor[self.samples.rows[:, i]]
            total += float(np.sum(factor * np.log(np.where(factor > 0, factor, 1))))
        off = (1 - rho) * (total + math.log(1 - rho)) if rho < 1 else 0.0
        data = self.samples.counts / self.samples.counts.sum()
        p = rho * self.point.rows + product
        log = np.log(np.where(product > 0, product, 1))
        # The sum over the samples, plus that over all points less that over the samples.
        kl = np.sum(p * (np.log(np.where(p > 0, p, 1)) - np.log(data + _SHARE)))
        kl += off - np.sum(product * log) - math.log(_SHARE) * (1 - rho - product.sum())
        return float(kl + math.log1p(_SHARE * domain.size))

    @property
    def delta(self) -> float:
        """Largest distance of the joints of p* and the prior, max |p*(y, z) - q_C(y, z)|."""
        return float(np.abs(self.joint - self.prior_joint).max())

    @property
    def bound(self) -> float:
        """A lower bound of SR for binary y and z, tau - 4 d (1 + tau) / (C + 4 d).

        d is :attr:`delta`, computed; needs the reweighted prior, and RR of at least
        tau. Theorem 4.5 of arXiv 1906.02164, re-derived. The exact SR is never smaller. nan where
        it does not apply.
        """
        if self.joint.shape != (2, 2) or not self.smoothing:
            return math.nan
        if self.representation_rate < self.tau - 1e-9 or not self._is_reweighted:
            return math.nan
        delta = 4 * self.delta
        return self.tau - delta * (1 + self.tau) / (self.smoothing + delta)

    @property
    def _is_reweighted(self) -> bool:
        cells, shape = self.samples.cells(self.y, self.z)
        rr, sr = rates(cell_mass(cells, self.weight, shape))
        return bool(abs(rr - self.tau) < 1e-9 and sr.min() > 1 - 1e-9)

    def sample(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw from p*, exactly.

        Args:
            n: Number of draws.
            rng: Source of randomness.

        Returns:
            Codes [n, F], in random order, and the distinct row that each repeats, -1 if it was
            drawn column by column [n].
        """
        domain, point = self.samples.domain, self.point
        kept = int(rng.binomial(n, min(point.rho, 1.0)))
        source = np.full(n, -1)
        source[:kept] = _draw(point.rows, kept, rng)
        codes = np.empty((n, len(domain.columns)), dtype=np.int64)
        codes[:kept] = self.samples.rows[source[:kept]]
        for i, factor in enumerate(self._factors(domain)):
            codes[kept:, i] = _draw(factor, n - kept, rng)
        order = rng.permutation(n)
        return codes[order], source[order]

    def by_protected(self, joint: np.ndarray) -> dict[str, np.ndarray]:
        """Sum P(Y, Z) over all but one protected column: {column: P(Y, column)}, and Z itself."""
        column = self.samples.domain.columns[self.z]
        widths = [len(part.values) for part in column.parts or (column,)]
        cells = joint.reshape(len(joint), *widths)
        out = {
            part.name: cells.sum(tuple(j for j in range(1, cells.ndim) if j != i))
            for i, part in enumerate(column.parts, 1)
        }
        return {**out, column.name: joint}

    def describe(self) -> str:
        """Text of the rates before and after, and of the fit."""
        y = self.samples.domain.columns[self.y]
        cells, shape = self.samples.cells(self.y, self.z)
        lines = []
        data = cell_mass(cells, self.samples.counts, shape)
        afters = self.by_protected(self.joint)
        for name, joint in self.by_protected(data).items():
            before, after = rates(joint), rates(afters[name])
            lines.append(f"representation rate of {name}: {before[0]:.4f} -> {after[0]:.4f}")
            lines += [
                f"statistical rate of {y.name}={value} over {name}: {old:.4f} -> {new:.4f}"
                for value, old, new in zip(y.values, before[1], after[1], strict=True)
            ]
        if not math.isnan(self.bound):
            lines.append(
                f"statistical rate at least {max(self.bound, 0):.4f} by theorem 4.5 (delta "
                f"{self.delta:.4f})"
            )
        size = self.samples.domain.size
        kl = f"KL to the data {self.kl_to_data:.4f}"
        if math.isnan(self.kl_to_data):
            kl = f"KL to the data left out: the domain has {size:.3g} points"
        lines.append(
            f"{len(self.samples.rows)} distinct rows of {size:.3g} points; dual {self.dual:.6g} "
            f"after {self.steps} steps (gradient {self.gradient_norm:.1e}); {kl}"
        )
        return "\n".join(lines)


def _draw(shares: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw n positions in proportion to shares."""
    edges = np.cumsum(shares)
    draws = np.searchsorted(edges, rng.random(n) * edges[-1], side="right")
    result: np.ndarray = np.minimum(draws, len(shares) - 1)
    return result
