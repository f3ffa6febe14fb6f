"""Max-entropy debiasing of discrete tables: the closest distribution with given rates, exactly.

The prior is a mixture of weighted samples and the uniform distribution, so that the partition
function, its derivatives, all rates and sampling are closed-form: nothing enumerates a domain.
"""

from frbench.data.max_entropy.column import Column
from frbench.data.max_entropy.domain import Domain, Samples
from frbench.data.max_entropy.prior import expectation, rates, reweigh
from frbench.data.max_entropy.solution import Solution, solve
from frbench.data.max_entropy.step import MaxEntropy

__all__ = [
    "Column", "Domain", "MaxEntropy", "Samples", "Solution", "expectation", "rates", "reweigh",
    "solve",
]  # fmt: skip
