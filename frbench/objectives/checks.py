"""What must hold before an objective trains, or continues to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from frbench.errors import UserError
from frbench.spec import check_choices, differences, to_spec

if TYPE_CHECKING:
    from frbench.objectives.base import Objective

#: Options of the data that may change when a run is continued: they change no batch.
FREE_ON_RESUME = ("num_workers", "test_while_training")


def data_spec(trainer: Any) -> dict[str, Any] | None:
    """Return the datamodule as plain data; None without one, or if it cannot be written down."""
    try:
        result: dict[str, Any] | None = to_spec(getattr(trainer, "datamodule", None))
        return result
    except UserError:
        return None


def check_same_data(stored: dict[str, Any] | None, trainer: Any) -> None:
    """Refuse to continue a run on other data than it began on.

    Args:
        stored: What :func:`data_spec` gave when the checkpoint was written.
        trainer: The trainer that continues.

    Raises:
        UserError: Naming the options that differ.
    """
    given = data_spec(trainer)
    known = stored is not None and given is not None
    if known and (changed := differences(stored, given, "data", FREE_ON_RESUME)):
        raise UserError(f"The run to continue was trained on other data: {changed}.")


def check_whole_parameters(objective: Objective, why: str) -> None:
    """Refuse strategies that shard parameters (FSDP, DeepSpeed, ModelParallel).

    Args:
        objective: The method, attached to its trainer.
        why: What it does that needs them whole.

    Raises:
        UserError: Naming the strategy.
    """
    strategy = type(objective.trainer.strategy).__name__
    if not strategy.startswith(("DDP", "Single")):
        raise UserError(
            f"{type(objective).__name__} {why}, so each process needs whole parameters; use "
            f"trainer.strategy: ddp instead of {strategy}."
        )


def check_layers(objective: Objective) -> None:
    """Refuse layers that cannot train on these devices.

    Called before Lightning converts and wraps the network, where torch would raise a ValueError.

    Raises:
        UserError: For synchronised batch normalisation of processes on CPUs.
    """
    strategy: Any = objective.trainer.strategy
    converts = getattr(strategy, "_layer_sync", None) is not None
    kinds = (nn.SyncBatchNorm, _BatchNorm) if converts else nn.SyncBatchNorm
    group = type(strategy).__name__.startswith("DDP") and strategy.root_device.type == "cpu"
    if group and any(isinstance(m, kinds) for m in objective.modules()):
        raise UserError(
            "trainer.sync_batchnorm: torch synchronises batch normalisation on GPUs only; use a "
            "network with GroupNorm or LayerNorm, or one process."
        )


def check_data(objective: Objective, data: Any) -> None:
    """Check that data and method fit, whoever trains it.

    Args:
        objective: The method.
        data: The datamodule.

    Raises:
        UserError: Naming what does not fit and the remedy.
    """
    name = type(objective).__name__
    for part in (objective, objective.network, *objective.penalties):
        check_choices(part)
    if objective.uses_clean and not data.clean_per_batch:
        raise UserError(
            f"{name} needs verified rows beside the others: set data.clean_share, to 0.1 say, and "
            "leave data.clean_only false."
        )
    taken, given = objective.network.padding, getattr(data, "padding", None)
    if None not in (taken, given) and taken != given:
        raise UserError(
            f"data.tokenizer pads with id {given}, and {type(objective.network).__name__} takes "
            f"{taken} for padding; use PretrainedText, another tokenizer, or none."
        )
    if data.clean_per_batch and not objective.uses_clean:
        raise UserError(
            f"data.clean_share holds out rows that {name} does not use; set it to 0, train "
            "on them alone by data.clean_only, or use an objective with uses_clean."
        )
    if objective.compares_clean and data.changes_shares:
        raise UserError(
            f"{name} compares training rows with verified ones, which keep the data's shares of "
            "groups; data.rows_per_group and a balance by sample or subsample change those of "
            "the training rows alone, and the groups would tell them apart. Set data.via to "
            "weight and data.rows_per_group to 0."
        )


def check_fit(objective: Objective, data: Any) -> None:
    """Check that data, trainer and method fit, before training.

    Args:
        objective: The method, attached to its trainer.
        data: The datamodule.

    Raises:
        UserError: Naming what does not fit and the remedy.
    """
    check_data(objective, data)
    trainer: Any = objective.trainer
    name = type(objective).__name__
    coupled = [name] if objective.couples_batch else []
    coupled += objective.penalty_names
    if trainer.accumulate_grad_batches > 1 and coupled:
        raise UserError(
            f"{coupled[0]} looks at the whole batch, so gradients cannot be accumulated over "
            "parts of it; set trainer.accumulate_grad_batches to 1."
        )
    precision = str(trainer.precision)
    if precision.endswith("-true") and precision != "32-true":
        raise UserError(
            f"trainer.precision: {precision} would store weights and statistics in it; use "
            "bf16-mixed, 16-mixed or 32-true."
        )
    if precision == "16-mixed" and (objective.optimizer_options or {}).get("fused"):
        raise UserError(
            "A fused optimiser hides which steps 16-mixed skips, so method state would move "
            "in skipped steps; set fused to false."
        )
    if trainer.overfit_batches:
        raise UserError(
            "trainer.overfit_batches replaces the training loader; use "
            "trainer.limit_train_batches, or a smaller data set."
        )
    to_spec(objective)  # a constructor argument that was not kept must fail now, not at saving
