"""Whether paired differences to the baseline can be told from chance, over several methods."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy.special import stdtr, stdtrit

from frbench.metrics.multiplicity import holm
from frbench.report.interval import LEVEL, Estimate
from frbench.report.summary import Row

#: Corrected p-value under which a difference is marked.
ALPHA = 0.05


def paired_p(difference: Estimate) -> float:
    """Return the p-value of the two-sided paired t-test of a mean difference of 0.

    p = 2 F(-|mean| / se), with F of Student's t with n - 1 degrees of freedom and se the standard
    error that the interval has, so that p < .05 if and only if the 95 % interval leaves out 0;
    under cross-validation se is corrected for the overlap of training sets (Nadeau and Bengio
    2003), as the interval is.

    Args:
        difference: Estimate of the paired differences.

    Returns:
        NaN with fewer than two pairs, or where all pairs differ by the same amount: seeds that
        change nothing are no sample.

    Example:
        >>> from frbench.report.interval import estimate
        >>> round(paired_p(estimate([0.1, 0.2, 0.3])), 4), paired_p(estimate([0.1, 0.1]))
        (0.0742, nan)
    """
    if difference.n < 2 or difference.sd <= 1e-12 * max(1.0, abs(difference.mean)):
        return math.nan
    df = difference.n - 1
    error = (difference.high - difference.mean) / float(stdtrit(df, (1 + LEVEL) / 2))
    return 2 * float(stdtr(df, -abs(difference.mean) / error))


def corrected(rows: Sequence[Row], key: str) -> dict[str, float]:
    """Return the corrected p-value of each method that is compared with the baseline.

    Args:
        rows: The methods on one data set: they are the comparisons that are corrected for.
        key: Metric of a test table, ``test/accuracy``.
    """
    own = [row for row in rows if key in row.differences]
    values = holm([paired_p(row.differences[key]) for row in own])
    return dict(zip((row.method for row in own), values, strict=True))


def show_p(p: float) -> str:
    """Write a p-value.

    Example:
        >>> show_p(0.0312), show_p(0.0004), show_p(1.0)
        ('p = .031', 'p < .001', 'p = 1')
    """
    if p < 0.001:
        return "p < .001"
    return f"p = {f'{p:.3f}'.lstrip('0')}" if p < 0.9995 else "p = 1"
