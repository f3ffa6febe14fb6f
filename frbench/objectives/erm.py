"""Empirical risk minimisation."""

from torch import Tensor

from frbench.contracts.batch import Batch, Outputs
from frbench.contracts.properties import Properties
from frbench.training.objective import Objective


class ERM(Objective):
    """Mean weighted loss, (1/B) sum_i w_i l_i.

    Weights have mean one over the training table, so dividing by B (not by sum w_i) keeps the
    estimate of E_Q[l] unbiased.
    """

    couples_batch = False
    properties = Properties(erm=({},), one_group={})

    def risk(self, out: Outputs, batch: Batch) -> Tensor:
        """Return the mean weighted loss."""
        return (batch.weight * out.losses).mean()
