"""What must hold before an objective trains, or continues to."""

from __future__ import annotations

import contextlib
import hashlib
from typing import Any, NamedTuple

import numpy as np
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.strategies import Strategy
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from frbench.contracts.errors import UserError
from frbench.contracts.spec import differences, from_spec, to_spec
from frbench.data.contents import changes
from frbench.data.module import GroupDataModule
from frbench.distributed import all_gather, world_size

#: Options of the data that may change when a run is continued: they change no batch.
FREE_ON_RESUME = ("num_workers", "test_while_training", "unknown_classes", "changed_data")


class Needs(NamedTuple):
    """What a method asks of data and trainer.

    Attributes:
        name: Class of the method, for messages.
        network: Class of its network, for messages.
        padding: Token id that the network takes for padding, or None.
        tokenizer: Whether the network reads the ids of a tokenizer only.
        uses_clean: Whether its risk gets verified rows.
        compares_clean: Whether it learns to tell verified rows from training rows.
        coupled: Names of the parts whose value is more than a mean over samples.
        fused: Whether its optimiser is fused.
    """

    name: str
    network: str
    padding: int | None
    tokenizer: bool
    uses_clean: bool
    compares_clean: bool
    coupled: list[str]
    fused: bool


def data_spec(data: GroupDataModule | None) -> dict[str, Any] | None:
    """Return a data set as plain data; None without one, or if it cannot be written down."""
    try:
        result: dict[str, Any] | None = to_spec(data)
        return result
    except UserError:
        return None


def data_record(data: GroupDataModule | None) -> dict[str, Any]:
    """Return what a checkpoint holds of its data: what was learnt, and hashes of the tables."""
    if data is None:
        return {"learnt": None, "tables": None}
    return {"learnt": data.learnt, "tables": data.contents}


def check_same_data(run: dict[str, Any], data: GroupDataModule | None) -> None:
    """Refuse to continue a run on other data than it began on.

    Args:
        run: The section of the checkpoint.
        data: The data of the run that continues.

    Raises:
        UserError: Naming the options, or the tables, that differ.
    """
    stored, given = run["data"], data_spec(data)
    known = stored is not None and given is not None
    with contextlib.suppress(UserError):
        # Options that an earlier release did not have get their defaults.
        stored = to_spec(from_spec(stored, GroupDataModule)) if known else stored
    if known and (changed := differences(stored, given, "data", FREE_ON_RESUME)):
        raise UserError(f"The run to continue was trained on other data: {changed}.")
    if data is not None and run.get("tables") and data.changed_data == "refuse":
        changed = changes(run["tables"], data.contents)
        if changed:
            raise UserError(
                f"The data have changed since the checkpoint was written: {changed}. Restore "
                "them, train anew, or continue all the same by --data.changed_data accept."
            )


def check_whole_parameters(name: str, strategy: Strategy, why: str) -> None:
    """Refuse strategies that shard parameters (FSDP, DeepSpeed, ModelParallel).

    Args:
        name: Class of the method.
        strategy: The trainer's.
        why: What the method does that needs them whole.

    Raises:
        UserError: Naming the strategy.
    """
    kind = type(strategy).__name__
    if not kind.startswith(("DDP", "Single")):
        raise UserError(
            f"{name} {why}, so each process needs whole parameters; use "
            f"trainer.strategy: ddp instead of {kind}."
        )


def check_layers(module: nn.Module, strategy: Strategy) -> None:
    """Refuse layers that cannot train on these devices.

    Called before Lightning converts and wraps the network, where torch would raise a ValueError.

    Args:
        module: The method with its network.
        strategy: The trainer's.

    Raises:
        UserError: For synchronised batch normalisation of processes on CPUs.
    """
    converts = getattr(strategy, "_layer_sync", None) is not None
    kinds = (nn.SyncBatchNorm, _BatchNorm) if converts else nn.SyncBatchNorm
    group = type(strategy).__name__.startswith("DDP") and strategy.root_device.type == "cpu"
    if group and any(isinstance(m, kinds) for m in module.modules()):
        raise UserError(
            "trainer.sync_batchnorm: torch synchronises batch normalisation on GPUs only; use a "
            "network with GroupNorm or LayerNorm, or one process."
        )


#: Numbers in which each part is summed up.
SUMS = 32


def check_agreement(parts: dict[str, Any], device: torch.device) -> None:
    """Compare what must be the same on every process (a collective); nothing on one process.

    Bytes and integers are compared by a hash; floating-point values by sums, to 1e-4 of their
    size, since GPUs add in different orders.

    Args:
        parts: Tensors, arrays or bytes by the name that the message gives them; None is a value.
        device: Where processes exchange tensors.

    Raises:
        UserError: Naming what differs, and between which processes.
    """
    if world_size() == 1:
        return
    ours = torch.stack([_summed_up(part) for part in parts.values()]).to(device)
    everyone = all_gather(ours[None]).cpu()  # [W, parts, SUMS + 1], the last one their size
    for name, rows in zip(parts, everyone.unbind(1), strict=True):
        off = (rows - rows[0]).abs().amax(1) > 1e-4 * rows[0, -1]
        if others := off.nonzero().flatten().tolist():
            raise UserError(
                f"{name} must be the same on every process, but differs between processes 0 and "
                f"{others[0]}; compute it from values that all have, and draw from a generator "
                "that is seeded alike, np.random.default_rng([seed, epoch]) say."
            )


def _summed_up(value: Any) -> Tensor:
    """Return the digest of a value, or sums of its numbers, and the size that they have."""
    value = torch.as_tensor(value) if isinstance(value, np.ndarray) else value
    if not (isinstance(value, Tensor) and value.is_floating_point()):
        if isinstance(value, Tensor):
            value = repr(tuple(value.shape)).encode() + value.cpu().numpy().tobytes()
        digest = hashlib.sha256(b"nothing" if value is None else value).digest()
        return torch.tensor([*digest, 1.0], dtype=torch.float64)
    numbers = value.detach().cpu().double().nan_to_num(-1e9).clamp(-1e9, 1e9).flatten()
    place = torch.arange(len(numbers), dtype=torch.float64).cos()
    sums = torch.zeros(SUMS, dtype=torch.float64)
    sums.index_add_(0, torch.arange(len(numbers)) % SUMS, numbers * place)
    return torch.cat([sums, numbers.abs().sum().view(1) + 1e-9])


def check_compiler(name: str, records: bool, strategy: Strategy) -> None:
    """Compile a small function where the network would be: what is missing shows before training.

    Args:
        name: Class of the method.
        records: Whether it records what the layers of the network do, or differentiates twice.
        strategy: The trainer's.

    Raises:
        UserError: If torch cannot compile here, or the method needs more than the outputs.
    """
    if records:
        raise UserError(
            f"model.compile_network: {name} needs single layers or second derivatives of the "
            "network in training, which a compiled network does not give; leave it out."
        )
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.zeros(3, device=strategy.root_device))
    except Exception as error:  # of the compiler, of its absence, or of this version of Python
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"model.compile_network: torch cannot compile for {strategy.root_device} here "
            f"({reason:.200}); leave it out, or install what is missing (a C++ compiler for CPUs, "
            "triton for GPUs)."
        ) from error


def check_data(needs: Needs, data: GroupDataModule) -> None:
    """Check that data and method fit, whoever trains it.

    Args:
        needs: What the method asks for.
        data: The datamodule.

    Raises:
        UserError: Naming what does not fit and the remedy.
    """
    if needs.uses_clean and not data.clean_per_batch:
        raise UserError(
            f"{needs.name} needs verified rows beside the others: set data.clean_share, to 0.1 "
            "say, and leave data.clean_only false."
        )
    if needs.tokenizer and getattr(data, "tokenizer", "") is None:
        raise UserError(
            f"{needs.network} has a tokenizer of its own, and the data has ids of words; set "
            "data.tokenizer to the folder of the encoder."
        )
    taken, given = needs.padding, getattr(data, "padding", None)
    if None not in (taken, given) and taken != given:
        raise UserError(
            f"data.tokenizer pads with id {given}, and {needs.network} takes "
            f"{taken} for padding; use another tokenizer or none, or PretrainedText with "
            f"--model.network.padding {given}."
        )
    if data.clean_per_batch and not needs.uses_clean:
        raise UserError(
            f"data.clean_share holds out rows that {needs.name} does not use; set it to 0, train "
            "on them alone by data.clean_only, or use an objective with uses_clean."
        )
    if needs.compares_clean and data.changes_shares:
        raise UserError(
            f"{needs.name} compares training rows with verified ones, which keep the data's "
            "shares of groups; data.rows_per_group and a balance by sample or subsample change "
            "those of the training rows alone, and the groups would tell them apart. Set data.via "
            "to weight and data.rows_per_group to 0."
        )


def check_fit(needs: Needs, data: GroupDataModule, trainer: Trainer) -> None:
    """Check that data, trainer and method fit, before training.

    Args:
        needs: What the method asks for.
        data: The datamodule.
        trainer: The trainer.

    Raises:
        UserError: Naming what does not fit and the remedy.
    """
    check_data(needs, data)
    if trainer.accumulate_grad_batches > 1 and needs.coupled:
        raise UserError(
            f"{needs.coupled[0]} looks at the whole batch, so gradients cannot be accumulated "
            "over parts of it; set trainer.accumulate_grad_batches to 1."
        )
    precision = str(trainer.precision)
    if precision.endswith("-true") and precision != "32-true":
        raise UserError(
            f"trainer.precision: {precision} would store weights and statistics in it; use "
            "bf16-mixed, 16-mixed or 32-true."
        )
    if precision == "16-mixed" and needs.fused:
        raise UserError(
            "A fused optimiser hides which steps 16-mixed skips, so method state would move "
            "in skipped steps; set fused to false."
        )
    if trainer.overfit_batches:  # type: ignore[attr-defined]
        raise UserError(
            "trainer.overfit_batches replaces the training loader; use "
            "trainer.limit_train_batches, or a smaller data set."
        )
