"""How small is the smallest group, asked under local differential privacy; no torch."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np

from frbench.contracts.errors import UserError

Members = Literal["fixed", "sampled"]
Bound = Literal["exact", "normal"]


class AlphaEstimate(NamedTuple):
    """What private answers say about the groups.

    Attributes:
        alpha: Estimate of the smallest share; as a minimum of noisy values it leans downward.
        lower: One-sided lower confidence bound of the smallest share: what methods may assume.
        shares: Unbiased estimates of the groups' shares, some perhaps negative [K].
        sd: Their standard deviations, members fixed [K].
        lower_shares: One-sided lower confidence bound of each share [K].
    """

    alpha: float
    lower: float
    shares: np.ndarray
    sd: np.ndarray
    lower_shares: np.ndarray


class Simulation(NamedTuple):
    """The mechanism repeated on groups that are known.

    Attributes:
        true_shares: Shares of the groups [K].
        bias: Mean of the estimated shares less the true ones [K].
        bias_error: Standard error of that mean [K].
        sd: Standard deviation of the estimates over the trials [K].
        exact_sd: The formula's [K].
        alpha: Mean estimate of the smallest share.
        lower: Mean lower bound.
        coverage: Share of the trials whose lower bound is not above the true smallest share.
    """

    true_shares: np.ndarray
    bias: np.ndarray
    bias_error: np.ndarray
    sd: np.ndarray
    exact_sd: np.ndarray
    alpha: float
    lower: float
    coverage: float


#: Privacy at which truth and lie are told apart by what a float holds, at least.
MIN_EPSILON = 1e-6
#: Draws of a simulation, at most: some seconds.
MAX_DRAWS = 10**8


class RandomizedResponse:
    """K-ary randomised response: the truth with probability p, else another group at random.

    p = e^eps / (e^eps + K - 1), each other answer q = 1 / (e^eps + K - 1): no answer is more than
    e^eps times likelier for one group than for another, which is (eps, 0)-local differential
    privacy. K = 2 and eps = ln 3 is the survey with two fair coins (p = 3/4). Truth with
    probability 1/2 and a uniform answer else is eps = ln(K + 1). Sources: Warner (1965);
    Kairouz et al., arXiv 1407.1338.

    Args:
        num_groups: K >= 2.
        epsilon: Privacy eps > 0, in nats; infinity asks without privacy.

    Raises:
        UserError: If K or eps is out of range.

    Example:
        >>> coins = RandomizedResponse()
        >>> round(coins.truth, 3), round(coins.lie, 3)
        (0.75, 0.25)
        >>> found = coins.estimate([3561, 1488])
        >>> round(found.alpha, 4), round(found.lower, 4)
        (0.0894, 0.0683)
    """

    def __init__(self, num_groups: int = 2, epsilon: float = math.log(3)) -> None:
        if num_groups < 2:
            raise UserError(f"num_groups must be at least 2, got {num_groups}.")
        if not epsilon >= MIN_EPSILON:
            raise UserError(
                f"epsilon must be at least {MIN_EPSILON:g}, got {epsilon}: at 0 the answers say "
                "nothing. The survey with two coins has ln 3 = 1.0986."
            )
        self.num_groups = num_groups
        self.epsilon = epsilon

    @property
    def truth(self) -> float:
        """Probability p of the true answer."""
        return 1 / (1 + (self.num_groups - 1) * math.exp(-self.epsilon))

    @property
    def lie(self) -> float:
        """Probability q of each other answer."""
        return (1 - self.truth) / (self.num_groups - 1)

    def answer(self, groups: Any, rng: np.random.Generator) -> np.ndarray:
        """Draw a private answer for each person.

        Args:
            groups: True groups in 0..K-1 [n].
            rng: Source of randomness.

        Returns:
            Answers in 0..K-1 [n].

        Raises:
            UserError: If a group is out of range.
        """
        groups = np.asarray(groups)
        if len(groups) and not (groups.min() >= 0 and groups.max() < self.num_groups):
            raise UserError(f"groups must lie in 0..{self.num_groups - 1}.")
        shift = rng.integers(1, self.num_groups, size=len(groups))
        lies = rng.random(len(groups)) >= self.truth
        result: np.ndarray = (groups + lies * shift) % self.num_groups
        return result

    def shares(self, counts: Any) -> np.ndarray:
        """Estimate the groups' shares without bias, (f_k - q) / (p - q), f_k = counts / n.

        Args:
            counts: Number of answers of each group [..., K].

        Raises:
            UserError: If there are not K counts, or one is negative, or all are zero.
        """
        counts = np.asarray(counts, float)
        if counts.shape[-1:] != (self.num_groups,):
            raise UserError(f"need {self.num_groups} counts, got shape {counts.shape}.")
        total = counts.sum(-1, keepdims=True)
        if not ((counts >= 0).all() and (total > 0).all()):
            raise UserError(f"counts must not be negative or all zero, got {counts.tolist()}.")
        result: np.ndarray = (counts / total - self.lie) / (self.truth - self.lie)
        return result

    def variance(self, shares: Any, n: int, members: Members = "fixed") -> np.ndarray:
        """Compute the exact variance of :meth:`shares`.

        fixed: [s p (1 - p) + (1 - s) q (1 - q)] / (n (p - q)^2), the noise of the answers alone.
        sampled: f (1 - f) / (n (p - q)^2), f = q + (p - q) s, where the n people are themselves
        drawn. For two coins: 3 / (4 n) and (3/4 + s (1 - s)) / n.

        Args:
            shares: True shares s [K].
            n: Number of people.
            members: Whether the people are fixed or drawn independently from a population.

        Example:
            >>> RandomizedResponse().variance([0.1, 0.9], n=3).tolist()
            [0.25, 0.25]
        """
        s, p, q = np.asarray(shares, float), self.truth, self.lie
        if members == "fixed":
            one = s * p * (1 - p) + (1 - s) * q * (1 - q)
        else:
            f = q + (p - q) * s
            one = f * (1 - f)
        return one / (n * (p - q) ** 2)

    def lower_shares(self, counts: Any, level: float = 0.95, bound: Bound = "exact") -> np.ndarray:
        """Compute a one-sided lower confidence bound of each share.

        exact: Clopper and Pearson's bound of f_k, mapped to shares; it covers people drawn from
        a population exactly, and fixed people more than asked. normal: s - z sd with the variance
        of fixed people at the estimated share.

        Args:
            counts: Number of answers of each group [..., K].
            level: Coverage in (0, 1).
            bound: Which of the two.

        Raises:
            UserError: As :meth:`shares`, or for a level outside (0, 1).
        """
        from scipy.special import betaincinv, ndtri

        if not 0 < level < 1:
            raise UserError(f"level must lie in (0, 1), got {level}.")
        shares = self.shares(counts)
        counts = np.asarray(counts, float)
        n = counts.sum(-1, keepdims=True)
        if bound == "normal":
            variance = self.variance(np.clip(shares, 0, 1), n, "fixed")
            result: np.ndarray = shares - ndtri(level) * np.sqrt(variance)
            return result
        f = np.where(counts > 0, betaincinv(np.maximum(counts, 1), n - counts + 1, 1 - level), 0.0)
        return (f - self.lie) / (self.truth - self.lie)

    def estimate(self, counts: Any, level: float = 0.95, bound: Bound = "exact") -> AlphaEstimate:
        """Estimate the smallest share and bound it from below.

        The smallest of K lower bounds is above the smallest share only if that group's own bound
        is above it, so it keeps the level without a correction for K. It is kept within
        [1 / n, 1 / K].

        Args:
            counts: Number of answers of each group [K].
            level: Coverage of the bound in (0, 1).
            bound: See :meth:`lower_shares`.

        Raises:
            UserError: As :meth:`lower_shares`.
        """
        shares, lower = self.shares(counts), self.lower_shares(counts, level, bound)
        n = int(np.sum(counts))
        sd = np.sqrt(self.variance(np.clip(shares, 0, 1), n))
        alpha, bounded = self._smallest(shares, n), self._smallest(lower, n)
        return AlphaEstimate(float(alpha), float(bounded), shares, sd, lower)

    def _smallest(self, values: np.ndarray, n: int) -> np.ndarray:
        result: np.ndarray = np.clip(
            values.min(-1), min(1 / n, 1 / self.num_groups), 1 / self.num_groups
        )
        return result

    def simulate(
        self,
        counts: Any,
        trials: int = 1000,
        level: float = 0.95,
        bound: Bound = "exact",
        members: Members = "fixed",
        seed: int = 0,
    ) -> Simulation:
        """Repeat survey and estimate on groups that are known.

        Args:
            counts: True number of people in each group [K].
            trials: Number of surveys.
            level: Coverage asked of the bound.
            bound: See :meth:`lower_shares`.
            members: The same people each time, or as many drawn from a population of these shares.
            seed: Seed of the draws.

        Raises:
            UserError: If the counts cannot be used or there are fewer than two trials.
        """
        self.shares(counts)  # the checks
        if trials < 2:
            raise UserError(f"at least 2 trials are needed, got {trials}.")
        if (draws := trials * self.num_groups ** (2 if members == "fixed" else 1)) > MAX_DRAWS:
            raise UserError(
                f"{trials} surveys of {self.num_groups} groups are {draws:.3g} draws, more than "
                f"{MAX_DRAWS:.0e}; simulate fewer."
            )
        rng = np.random.default_rng(seed)
        people = np.asarray(counts, int)
        n = int(people.sum())
        true = people / n
        given = np.full((self.num_groups,) * 2, self.lie)
        np.fill_diagonal(given, self.truth)
        if members == "sampled":
            drawn = rng.multinomial(n, true @ given, size=trials)
        else:
            groups = zip(people, given, strict=True)
            drawn = np.sum([rng.multinomial(size, row, size=trials) for size, row in groups], 0)
        found, lower = self.shares(drawn), self.lower_shares(drawn, level, bound)
        sd = found.std(0, ddof=1)
        least = self._smallest(lower, n)
        return Simulation(
            true_shares=true,
            bias=found.mean(0) - true,
            bias_error=sd / math.sqrt(trials),
            sd=sd,
            exact_sd=np.sqrt(self.variance(true, n, members)),
            alpha=float(self._smallest(found, n).mean()),
            lower=float(least.mean()),
            coverage=float((least <= true.min()).mean()),
        )
