"""The callback that ends a trial whose validations fall behind those of earlier trials."""

from __future__ import annotations

from typing import TYPE_CHECKING

import optuna
from pytorch_lightning import Callback, LightningModule, Trainer

from frbench.grids.cell import Pruned
from frbench.grids.study import Plan

if TYPE_CHECKING:
    from optuna.storages import BaseStorage


class PruneTrial(Callback):
    """Report the objective after each validation, and end the run by the median rule.

    A run ends when its best value so far is worse than the median of the values that earlier
    trials had at the same epoch (``optuna.pruners.MedianPruner``).

    Args:
        storage: Where the trials are kept.
        name: Name of the search in it.
        trial: Id of the trial.
        plan: Objective and rule.
    """

    def __init__(self, storage: BaseStorage, name: str, trial: int, plan: Plan) -> None:
        assert plan.prune is not None
        pruner = optuna.pruners.MedianPruner(plan.prune["startup"], plan.prune["warmup"])
        sampler = optuna.samplers.RandomSampler(0)  # nothing is drawn here
        study = optuna.load_study(study_name=name, storage=storage, sampler=sampler, pruner=pruner)
        self.trial = optuna.Trial(study, trial)
        self.storage = storage
        self.rule = plan.objectives[0]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report, and ask."""
        if trainer.state.fn != "fit" or getattr(pl_module, "identifying", False):
            return
        found = {key: float(value) for key, value in trainer.callback_metrics.items()}
        value, epoch = self.rule.value(found), trainer.current_epoch
        known = self.storage.get_trial(self.trial._trial_id).intermediate_values
        if value == value and epoch not in known:  # a continued run repeats its last one
            self.trial.report(value, epoch)
            if self.trial.should_prune():
                raise Pruned(f"pruned after epoch {epoch}: {self.rule.text} is {value:.4g}")
