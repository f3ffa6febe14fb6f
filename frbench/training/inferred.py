"""Training in two stages: an attribute is inferred, then training sees it."""

from __future__ import annotations

import math
from pickle import UnpicklingError
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from frbench.contracts.batch import Batch, Outputs, Sizes
from frbench.contracts.errors import UserError
from frbench.data.loader import GroupLoader
from frbench.data.module import datamodule_of
from frbench.distributed import rank
from frbench.group_inference import GroupInference, Rows
from frbench.training.inference_report import cross_table, inference_report, inferred_sheet
from frbench.training.step import TrainingStep
from frbench.training.table_pass import table_outputs

#: Known attribute values beyond which the table of inferred against known ones is not printed.
MOST_SHOWN = 12


class InferredAttribute(TrainingStep):
    """A training step whose risk and penalties see an attribute that a first stage infers.

    Without ``infer`` it is the step itself.

    Attributes:
        data_sizes: Sizes of the data, which metrics and logs are about.
        sizes: Sizes that risk and penalties see; other attribute values where ``infer`` is set.
    """

    infer: GroupInference | None
    data_sizes: Sizes
    sizes: Sizes
    #: Names of the groups that risk and penalties see.
    seen_names: list[str]

    def __init__(self) -> None:
        super().__init__()
        self.forget_stages()

    def forget_stages(self) -> None:
        """Begin with the first stage, if there is one."""
        self._inferred: Tensor | None = None  # z' of each training row [N]
        self.seen_z = None  # the same on the host
        self._row_weights: np.ndarray | None = None  # of the second stage, mean one [N]
        self._membership: Tensor | None = None  # P(z' = a) of each training row [N, A']
        self._start: dict[str, Tensor] | None = None  # what the second stage begins with
        self._first_epoch = 0
        self._first_batch = 0

    @property
    def identifying(self) -> bool:
        """Whether training is in the stage that infers the attribute."""
        return self.infer is not None and self._inferred is None

    def membership(self, batch: Batch) -> Tensor | None:
        """Return P(group) of each row of a batch where ``infer`` is soft, else None [B, C * A].

        A row that belongs to no group has zeros.

        Args:
            batch: As risk and penalties see it.
        """
        if self._membership is None:
            return None
        label = F.one_hot(batch.y, self.sizes.num_classes).to(self._membership)
        return (label[:, :, None] * self._membership[batch.index][:, None]).flatten(1)

    @property
    def stage_epoch(self) -> int:
        """Epochs of the present stage before this one."""
        return int(self.trainer.current_epoch) - self._first_epoch

    def bind_groups(self, train_counts: Tensor, group_names: list[str]) -> None:
        """Learn how many training rows each group has that risk and penalties see.

        Called before they see a batch: with the groups of the data, or with the inferred ones.

        Args:
            train_counts: Training rows of each group, y-major [C * A].
            group_names: Names of the groups in that order.
        """

    def as_seen(self, batch: Batch) -> Batch:
        """Return the batch with the inferred attribute in the place of the known one."""
        if self._inferred is None:
            return batch
        z = self._inferred[batch.index]
        group = torch.where(z < 0, -1, batch.y * self.sizes.num_attributes + z)
        return batch._replace(z=z, group=group)

    def mixed(self, batch: Batch) -> tuple[Outputs, Batch]:
        """Run the network; rows are combined in the second stage alone."""
        if self.identifying:
            return self.training_outputs(batch), batch
        return super().mixed(batch)

    def terms(
        self, given: tuple[Outputs, Batch], rows: tuple[Outputs, Batch]
    ) -> dict[str, Tensor]:
        """Return the loss of the first stage, or that of the objective and its penalties."""
        if not self.identifying:
            return super().terms(given, rows)
        risk = cast(GroupInference, self.infer).risk(*rows)
        # DDP needs a gradient of every parameter, those of penalties and companions included.
        trained = {id(p) for p in self.network.parameters()}
        others = [p for p in self.parameters() if p.requires_grad and id(p) not in trained]
        loss = risk + sum(p.sum() * 0 for p in others) if others else risk
        return {"loss": loss, "risk": risk}

    # ---- the stages -------------------------------------------------------------------------
    @property
    def _first_stage(self) -> int:
        """Epochs of the first stage; a run of one batch, ``fast_dev_run``, tries the second."""
        if self.infer is None or self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            return 0
        return self.infer.length(self._epochs_of_run)

    @property
    def _epochs_of_run(self) -> float:
        """Epochs that the run has in all, maybe with a fraction; infinite if nothing ends it."""
        trainer, data = self.trainer, datamodule_of(self.trainer)
        limit: float = trainer.limit_train_batches  # a number of batches, or a share
        batches = 0 if data is None else data.batches_per_epoch
        batches = int(batches * limit) if isinstance(limit, float) else min(batches, int(limit))
        steps = math.ceil(batches / trainer.accumulate_grad_batches)
        ends = [float(n) for n in (trainer.max_epochs,) if n is not None and n >= 0]
        ends += [trainer.max_steps / steps] if trainer.max_steps >= 0 and steps else []
        return min(ends, default=math.inf)

    def check_stages(self) -> None:
        """Check that the run reaches its second stage.

        Raises:
            UserError: Naming the option.
        """
        if self.infer is None:
            return
        name, trainer = type(self.infer).__name__, self.trainer
        data = datamodule_of(trainer)
        if data is None:
            raise UserError(f"{name} visits the training table: fit a datamodule.")
        if not isinstance(self.infer.epochs, int) and math.isinf(self._epochs_of_run):
            raise UserError(
                f"{name}.epochs: {self.infer.epochs} is a share of a run that has no end; set "
                "trainer.max_epochs or trainer.max_steps, or a number of epochs."
            )
        length = self._first_stage
        self.infer.check(data.training.table.z)
        if known := [type(p).__name__ for p in self.penalties if p.sees_continuous]:
            raise UserError(
                f"model.infer: {known[0]} looks at the continuous attribute of the data, and "
                f"{name} stands for one that training does not know; leave one of them out."
            )
        if trainer.max_epochs is not None and 0 <= trainer.max_epochs <= length:
            raise UserError(
                f"{name}.epochs: the first stage takes {length} epochs, and trainer.max_epochs: "
                f"{trainer.max_epochs} counts both stages; set it to more."
            )

    def begin_stages(self) -> None:
        """Keep what the second stage begins with; called once the module is on its device."""
        if self._inferred is not None:
            self._inferred = self._inferred.to(self.device)
            if self._membership is not None:
                self._membership = self._membership.to(self.device)
        elif self.infer is not None and self._start is None:
            self._start = {k: v.detach().cpu().clone() for k, v in self.state_dict().items()}

    def on_train_start(self) -> None:
        """Check the number of steps, and bind the groups of a run that continues."""
        if self.infer is None:
            return
        batches = int(self.trainer.num_training_batches)
        steps = self._first_stage * math.ceil(batches / self.trainer.accumulate_grad_batches)
        if 0 <= self.trainer.max_steps <= steps:
            raise UserError(
                f"{type(self.infer).__name__}.epochs: the first stage takes {steps} steps, and "
                f"trainer.max_steps: {self.trainer.max_steps} counts both stages; set it to more."
            )
        if self._inferred is not None:
            self._bind_inferred()

    def enter_stage(self) -> None:
        """Cross into the second stage where it is due, and count its epochs from zero."""
        if self.infer is None:
            return
        if self.identifying and self.trainer.current_epoch >= self._first_stage:
            self._finish_identifying()
        if self._inferred is not None:
            # At an epoch's boundary the loader's state is not restored: told at every epoch.
            loader = cast(GroupLoader, self.trainer.train_dataloader)
            loader.first_epoch = self._first_epoch
            loader.set_epoch(self.trainer.current_epoch)

    def _finish_identifying(self) -> None:
        infer = cast(GroupInference, self.infer)
        rows, known = self._table(infer)
        rng = np.random.default_rng([cast(int, self._seed), 31])
        z = np.asarray(infer.infer(rows, rng))
        integer = z.shape == rows.y.shape and np.issubdtype(z.dtype, np.integer)
        if not integer or z.min() < -1 or z.max() >= self.sizes.num_attributes:
            raise ValueError(
                f"{type(infer).__name__}.infer must give {len(rows.y)} integers from -1 to "
                f"{self.sizes.num_attributes - 1}, got shape {z.shape} of {z.dtype}."
            )
        weights = infer.weights(z, rows)
        soft = infer.membership(z, rows) if infer.soft else None
        z, weights, soft = self.trainer.strategy.broadcast((z, weights, soft))
        self.seen_z = z.astype(np.int64)
        self._inferred = torch.as_tensor(self.seen_z, device=self.device)
        self._row_weights = None if weights is None else weights / weights.mean()
        self._membership = None if soft is None else torch.as_tensor(soft).float().to(self.device)
        if infer.begin_anew:
            self.load_state_dict(cast(dict[str, Tensor], self._start))
        self._start = None
        self._first_epoch = self.trainer.current_epoch
        self._first_batch = self.trainer.fit_loop.epoch_loop.total_batch_idx + 1
        self._bind_inferred()
        self.trainer.strategy.setup_optimizers(self.trainer)
        self.emit(inference_report(z, rows.y, known, self.sizes.num_attributes), False)
        found = self.inferred_groups()
        if rank() == 0 and found is not None and len(found["attributes"]) <= MOST_SHOWN:
            print(inferred_sheet(found).render("table"), end="", flush=True)

    def inferred_groups(self) -> dict[str, Any] | None:
        """Count the training rows of each class, inferred value and known attribute, for a record.

        Returns:
            ``classes`` and ``attributes`` by name, and ``counts`` [C, A', A + 1] as a nested list,
            rows of unknown attribute last; None without inferred attributes.
        """
        data = datamodule_of(self.trainer)
        if self.seen_z is None or data is None:
            return None
        table, sizes = data.training.table, self.data_sizes
        counts = cross_table(
            self.seen_z, table.y, table.z,
            (sizes.num_classes, self.sizes.num_attributes, sizes.num_attributes),
        )  # fmt: skip
        return {
            "classes": list(data.class_names),
            "attributes": list(data.attribute_names),
            "counts": counts.tolist(),
        }

    def _table(self, infer: GroupInference) -> tuple[Rows, np.ndarray]:
        """Return what the inference sees of the training table, and the known attributes."""
        loader = cast(GroupLoader, self.trainer.train_dataloader)
        y = loader.dataset.y[: loader.num_rows].numpy()
        known = loader.dataset.z[: loader.num_rows].numpy()
        z = known if infer.sees_attribute else np.full_like(known, -1)
        if not infer.needs_outputs:
            nothing = np.empty((len(y), 0), np.float32)
            return Rows(nothing, nothing, nothing[:, :0].sum(1), y, z), known
        if infer.start is not None:
            self._take_network(infer.start)
        out = table_outputs(self)
        features, logits, losses = (out[name].cpu().numpy() for name in Outputs._fields)
        return Rows(features, logits, losses, y, z), known

    def _take_network(self, path: str) -> None:
        """Load the network of a checkpoint."""
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
            found = {k.removeprefix("network."): v for k, v in state.items()
                     if k.startswith("network.")}  # fmt: skip
            self.network.load_state_dict(found)
        except (OSError, EOFError, KeyError, RuntimeError, UnpicklingError) as error:
            raise UserError(
                f"{type(self.infer).__name__}.start: {path} holds no network like this one "
                f"({str(error).splitlines()[0]})."
            ) from error

    def _bind_inferred(self) -> None:
        data, z = datamodule_of(self.trainer), cast(Tensor, self._inferred)
        assert data is not None  # checked before training
        y = torch.as_tensor(data.training.table.y, device=z.device)
        groups, values = self.sizes.num_groups, self.sizes.num_attributes
        if self._membership is None:
            counts = torch.bincount((y * values + z)[z >= 0], minlength=groups)
        else:  # expected ones
            counts = self._membership.new_zeros(self.sizes.num_classes, values)
            counts = counts.index_add(0, y, self._membership).flatten()
        self.seen_names = [f"y={c},inferred={i}" for c in data.class_names for i in range(values)]
        self.bind_groups(counts, self.seen_names)

    # ---- checkpoints ------------------------------------------------------------------------
    def stages_to_save(self) -> dict[str, Any] | None:
        """Return where the run stands between its stages."""
        if self.infer is None:
            return None
        weights = self._row_weights
        return {
            "inferred": None if self._inferred is None else self._inferred.cpu().clone(),
            "row_weights": None if weights is None else torch.as_tensor(weights),
            "membership": None if self._membership is None else self._membership.cpu().clone(),
            "start": self._start,
            "first_epoch": self._first_epoch,
            "first_batch": self._first_batch,
        }

    def restore_stages(self, stored: dict[str, Any] | None) -> None:
        """Take back what :meth:`stages_to_save` gave."""
        if stored is None:
            return
        self._inferred = stored["inferred"]
        self.seen_z = None if self._inferred is None else self._inferred.numpy()
        weights = stored["row_weights"]
        self._row_weights = None if weights is None else weights.numpy()
        self._membership = stored.get("membership")
        self._start = stored["start"]
        self._first_epoch = stored["first_epoch"]
        self._first_batch = stored["first_batch"]
