"""Predictions written beside a grid before it ran, and what its runs say of them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from frbench.contracts.errors import UserError
from frbench.report.interval import Estimate, estimate

_TERM = re.compile(
    r"\s*([+-]?)\s*(?:(\d*\.?\d+)\s*\*\s*)?(?:([^\s\[\]:]+):)?([^\s\[\]:]+)\[([^\[\]]+)\]\s*"
)
_FORM = "[DATA:]METHOD[METRIC] - [DATA:]METHOD[METRIC] >= NUMBER"


class Term(NamedTuple):
    """A metric of a method with its factor; the data set is empty if the grid has only one."""

    factor: float
    data: str
    method: str
    key: str


class Claim(NamedTuple):
    """A bound on a sum of metrics.

    Attributes:
        text: What is claimed, for people.
        expression: How it is decided, as it was written.
        terms: The sum.
        low: Its lower bound, -inf for none.
        high: Its upper bound, inf for none.
    """

    text: str
    expression: str
    terms: tuple[Term, ...]
    low: float
    high: float


class Outcome(NamedTuple):
    """A claim beside the runs: the sum over seeds or folds, and whether it keeps the bound."""

    claim: Claim
    found: Estimate

    @property
    def hit(self) -> bool | None:
        """Whether the mean lies within the bounds; None if no seed has all terms."""
        return self.claim.low <= self.found.mean <= self.claim.high if self.found.n else None


def parse_claim(text: str, expression: str, metrics: Mapping[str, str]) -> Claim:
    """Read a claim such as ``Q[P0] - ERM[P0] >= .15``.

    A term is a method with a metric in brackets, with the data set before a colon if the grid has
    several, and with a factor if need be (``0.5 * Q[P0]``). Bounds are ``>=``, ``<=``, or both
    (``-.03 <= ... <= .03``).

    Args:
        text: What is claimed, for people.
        expression: The rule.
        metrics: Short names of metrics; any other name in brackets is the metric's own key.

    Raises:
        UserError: If the expression has another form.

    Example:
        >>> claim = parse_claim("", "Q+MMD-5[P0] - a:ERM[P0] >= .15", {"P0": "test/P0/accuracy"})
        >>> claim.terms[1]
        Term(factor=-1.0, data='a', method='ERM', key='test/P0/accuracy')
        >>> claim.low, claim.high
        (0.15, inf)
    """
    wrong = UserError(f"Prediction {text!r}: cannot read {expression!r}; write {_FORM}.")
    words = re.split(r"\s*(<=|>=)\s*", str(expression))
    if len(words) == 5 and words[1] == words[3] == "<=":
        low, total, high = _number(words[0]), words[2], _number(words[4])
    elif len(words) == 3:
        bound = _number(words[2])
        total = words[0]
        low, high = (bound, math.inf) if words[1] == ">=" else (-math.inf, bound)
    else:
        raise wrong
    terms: list[Term] = []
    end = 0
    while end < len(total):
        found = _TERM.match(total, end)
        if found is None or bool(terms) != bool(found[1]):  # a sign stands between terms
            raise wrong
        sign, factor, data, method, metric = found.groups()
        value = float(factor or 1) * (-1 if sign == "-" else 1)
        terms.append(Term(value, data or "", method, metrics.get(metric, metric)))
        end = found.end()
    if not terms or math.isnan(low) or math.isnan(high):
        raise wrong
    return Claim(text, str(expression), tuple(terms), low, high)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def decide(
    claim: Claim, values: Callable[[Term], Mapping[int, float]], folds: int | None = None
) -> Outcome:
    """Evaluate a claim, paired over the seeds (or folds) that all of its terms have.

    Args:
        claim: The claim.
        values: Gives the metric of a term by seed or fold.
        folds: Number of folds, see `frbench.report.interval.estimate`.
    """
    columns = [(term.factor, values(term)) for term in claim.terms]
    common = set.intersection(*(set(column) for _, column in columns))
    sums = [sum(factor * column[unit] for factor, column in columns) for unit in sorted(common)]
    return Outcome(claim, estimate(sums, folds))
