"""Many games of FR-Train trained at once, each as if it were trained alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from frbench.contracts.errors import UserError
from frbench.contracts.spec import init_parameters
from frbench.data.module import GroupDataModule
from frbench.objectives.fr_train.game import FRTrain
from frbench.objectives.fr_train.stacked import StackedGame
from frbench.training.checks import check_data

#: Optimisers whose step treats each number alone, so that stacked runs stay apart.
_ELEMENTWISE = (
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "NAdam",
    "RAdam",
    "RMSprop",
    "SGD",
)

#: Arguments of FRTrain that runs of one stack may differ in.
_FREE = ("lambda_f", "lambda_r")


@dataclass
class View:
    """What an observer sees of one stack between two iterations.

    Attributes:
        step: Iterations done.
        runs: Positions of the stack's runs in the sweep.
        losses: Each player's last loss [R]: risk, fairness, robustness.
        margin: Maps inputs [R, d, N] to the classifiers' log-odds [R, N].
    """

    step: int
    runs: list[int]
    losses: dict[str, Tensor]
    margin: Callable[[Tensor], Tensor]


def sweep(
    models: Sequence[FRTrain],
    data: Sequence[GroupDataModule],
    steps: int,
    *,
    every: int = 0,
    observe: Callable[[View], None] | None = None,
    size: int = 32,
) -> None:
    """Train every model on its data for some iterations, stacked where they can be.

    Each run gets the parameters, batches and updates that ``Trainer(max_steps=steps).fit(model,
    data)`` gives it, up to the order of sums. Runs in a stack differ in lambda_f, lambda_r, data
    (of one size) and initial parameters; others go to another stack. What cannot be stacked is
    refused: networks other than linear layers and elementwise functions, more than two classes or
    attribute values, unknown attributes, targets other than demographic parity, D_R on features,
    penalties, schedules, clipping, optimisers that mix parameters, random transforms.

    Args:
        models: Fresh models; at the end they hold the trained parameters.
        data: One datamodule per model; several models may share one.
        steps: Iterations.
        every: Iterations between two observations; 0 observes the end alone.
        observe: Called with a :class:`View` of each stack.
        size: Most runs in a stack; 16 to 64 keep a core's caches warm.

    Raises:
        UserError: For a model or data set that cannot be stacked, naming why.

    Example:
        >>> from frbench.data import TwoGaussians
        >>> from frbench.networks import MLP
        >>> data = TwoGaussians(n=40, clean_share=0.2, batch_size=32)
        >>> runs = [FRTrain(2, 2, [2], network=MLP(hidden=[]), lambda_f=f) for f in (0.1, 0.5)]
        >>> sweep(runs, [data, data], 10, observe=lambda v: print(v.step, v.runs))
        10 [0, 1]
    """
    if len(models) != len(data) or len({id(model) for model in models}) < len(models):
        raise UserError("A sweep needs one datamodule for each model, and no model twice.")
    stacks: dict[str, list[int]] = {}
    for run, (model, own) in enumerate(zip(models, data, strict=True)):
        _check(model, own)
        stacks.setdefault(_shape(model, own), []).append(run)
    for runs in stacks.values():
        for start in range(0, len(runs), size):
            part = runs[start : start + size]
            game = StackedGame([models[run] for run in part], [data[run] for run in part])
            for step in range(1, steps + 1):
                game.iterate()
                if observe is not None and (step == steps or (every and step % every == 0)):
                    observe(View(step, part, game.losses, game.margin))
            game.write_back()


def _check(model: FRTrain, data: GroupDataModule) -> None:
    check_data(model.needs, data)
    reasons = {
        "more than two classes or attribute values": model.sizes[:2] != (2, 2),
        "a target other than demographic_parity": model.target != "demographic_parity",
        "penalties": len(model.penalties) > 0,
        "a schedule": model.scheduler is not None,
        "clip_norm": model.clip_norm > 0,
        "D_R on features": model.uses_clean and not model._robustness.sees_x,
        "a random transform": data.transform is not None,
        "rows without attribute": bool((data.training.table.z < 0).any()),
    }
    for what, found in reasons.items():
        if found:
            raise UserError(f"FRTrain with {what} cannot be stacked; train it by itself.")
    for name in (model.optimizer, model.fairness_optimizer, model.robust_optimizer):
        if name not in _ELEMENTWISE:
            raise UserError(
                f"{name} may mix the numbers of stacked runs; use one of "
                f"{', '.join(_ELEMENTWISE)}, or train one by one."
            )


def _shape(model: FRTrain, data: GroupDataModule) -> str:
    """All that must be equal within a stack, as text."""
    names = [n for n in init_parameters(FRTrain) if n not in (*_FREE, "network", "penalties")]
    settings = [getattr(model, name) for name in names]
    return repr([settings, str(model.network), data.rows_per_batch, data.clean_per_batch])
