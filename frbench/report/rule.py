"""The rule that picks a setting: one metric, or a sum of metrics, of validation data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from frbench.contracts.errors import UserError
from frbench.metrics.bounds import bounds
from frbench.metrics.names import NO_METRICS, direction, higher_is_better, split_of

#: The rule that chooses settings unless another is named.
DEFAULT = "val/worst_group_accuracy"
# Group names may hold + and -: only before a metric are they operators.
_FACTOR = r"\d*\.?\d+\s*\*\s*"
_OPERATOR = re.compile(rf"\s*([+-])\s*(?=(?:{_FACTOR})?(?:val|test)/)")
_TERM = re.compile(rf"({_FACTOR})?((?:val|test)/.+)")


@dataclass(frozen=True)
class Rule:
    """A weighted sum of metrics.

    Attributes:
        text: The rule as the user wrote it.
        terms: Weight and key of each metric.
        sign: 1 if the sum is maximised, -1 if it is minimised.
        oracle: Whether it looks at test data.
        own: Directions of the user's own metrics, by name.
    """

    text: str
    terms: tuple[tuple[float, str], ...]
    sign: int
    oracle: bool
    own: Mapping[str, int] = field(default_factory=dict, compare=False)

    def value(self, metrics: Mapping[str, float]) -> float:
        """Compute the sum; NaN if a metric is missing."""
        return sum(weight * metrics.get(key, float("nan")) for weight, key in self.terms)

    @property
    def monitor(self) -> str | None:
        """The metric of validation that a run can choose its checkpoint by, None for a sum."""
        (factor, key), *more = self.terms
        plain = not more and factor == 1 and self.sign == direction(key, self.own)
        return key if plain and not self.oracle else None

    @property
    def within(self) -> tuple[float, float]:
        """The smallest and the largest value that the sum can have."""
        ends = [
            sorted(weight * end for end in bounds(key)) for weight, key in self.terms if weight
        ]
        return sum(low for low, _ in ends), sum(high for _, high in ends)

    def against(self) -> list[str]:
        """Return the metrics that the rule drives in their worse direction."""
        return [
            key for weight, key in self.terms if self.sign * weight * direction(key, self.own) < 0
        ]


def parse_rule(text: str, own: Mapping[str, int] = NO_METRICS, option: str = "--select") -> Rule:
    """Read a selection rule.

    A single metric is optimised in its own direction, a sum or difference is maximised; the
    prefixes ``max:`` and ``min:`` say otherwise. A metric may have a factor (``0.5 * val/..``).
    Metrics of test data are refused unless the rule begins with ``oracle:``.

    Args:
        text: For example ``val/worst_group_accuracy`` or ``val/accuracy + val/disparate_impact``.
        own: Directions of the user's own metrics, by name.
        option: What holds the rule, for messages.

    Raises:
        UserError: If the form or a metric is wrong, or test data are used without ``oracle:``.

    Example:
        >>> rule = parse_rule("val/accuracy - 0.5*val/demographic_parity_difference")
        >>> rule.value({"val/accuracy": 0.8, "val/demographic_parity_difference": 0.2}), rule.sign
        (0.7000000000000001, 1)
        >>> parse_rule("val/loss").sign
        -1
    """
    prefix = re.match(r"(oracle:)?\s*(max:|min:)?\s*", text)
    assert prefix is not None  # everything in it is optional
    words = _OPERATOR.split(text[prefix.end() :].strip())
    words = ["+", *words] if words[0] or len(words) == 1 else words[1:]  # it may begin with a sign
    terms = []
    for sign, word in zip(words[::2], words[1::2], strict=True):
        term = _TERM.fullmatch(word)
        if term is None:
            raise UserError(
                f"{option}: cannot read {word!r} in {text!r}; write metrics as val/NAME and join "
                "them by + or -, for example 'val/accuracy + val/disparate_impact'."
            )
        factor = float(term[1].rstrip("* ")) if term[1] else 1.0
        terms.append((factor if sign == "+" else -factor, term[2].strip()))
    for _, key in terms:
        direction(key, own)  # raises, with names close to it, if there is no such metric
    uses_test = any(split_of(key) == "test" for _, key in terms)
    if uses_test and not prefix[1]:
        raise UserError(
            f"{option} {text!r} would choose settings on test data and flatter the result; use "
            f"val/.. or, for an upper bound that is marked as such, 'oracle:{text}'."
        )
    if prefix[1] and not uses_test:
        raise UserError(f"{option} {text!r} uses no test data: leave out 'oracle:'.")
    single = len(terms) == 1 and terms[0][0] == 1.0
    maximise = not single or prefix[2] or higher_is_better(terms[0][1], own)
    sign = -1 if prefix[2] == "min:" or not maximise else 1
    return Rule(text, tuple(terms), sign, uses_test, dict(own))
