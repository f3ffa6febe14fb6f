"""Risk invariance: how far the risk moves over a family of distributions; numpy only."""

from collections.abc import Mapping, Sequence

import numpy as np

from frbench.contracts.errors import UserError

#: Metrics that are risks, or one minus a risk, of the member's own rows.
RISKS = ("accuracy", "negative_log_likelihood", "brier_score")


def risk_invariance(members: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Summarise the metrics of one predictor on the members of a family of distributions.

    ``<risk>_range`` is max - min over the members, the smallest epsilon for which the predictor
    is epsilon-risk-invariant on them, max |R_P'(f) - R_P''(f)|: of the 0-1 loss (``accuracy``),
    of the cross-entropy (``negative_log_likelihood``) and of the square loss (``brier_score``).
    They are apart because a predictor may keep its accuracy while its probabilities drift.
    ``family_worst_accuracy`` and ``family_worst_negative_log_likelihood`` are the worst member's.
    Source: arXiv 2406.17433, Definition 2.2 and Proposition 4.4 (as a gap of risks, which its
    proof bounds).

    On finite tables a range has a positive bias: of an invariant accuracy p over M tables of n
    rows it is about 2.3 sqrt(p (1 - p) / n) for M = 5.

    Args:
        members: The metrics of each member, as :func:`frbench.metrics.evaluate` gives them.

    Raises:
        UserError: If there are fewer than two members.

    Example:
        >>> one = {"accuracy": 0.9, "negative_log_likelihood": 0.3, "brier_score": 0.1}
        >>> two = {"accuracy": 0.7, "negative_log_likelihood": 0.8, "brier_score": 0.2}
        >>> {k: round(v, 3) for k, v in risk_invariance([one, two]).items()
        ...  if k in ("accuracy_range", "family_worst_accuracy")}
        {'accuracy_range': 0.2, 'family_worst_accuracy': 0.7}
    """
    if len(members) < 2:
        raise UserError(f"risk_invariance needs two members of a family, got {len(members)}.")
    columns = {risk: np.array([float(m[risk]) for m in members if risk in m]) for risk in RISKS}
    out = {f"{risk}_range": float(np.ptp(v)) for risk, v in columns.items() if len(v)}
    out["family_worst_accuracy"] = float(columns["accuracy"].min())
    if len(nll := columns["negative_log_likelihood"]):
        out["family_worst_negative_log_likelihood"] = float(nll.max())
    return out
