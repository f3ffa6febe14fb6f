"""The base of every data set: its options, what is learnt from its rows, and its loaders."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor

from frbench.contracts.batch import Batch
from frbench.contracts.errors import UserError
from frbench.contracts.ranges import (
    CheckedArguments,
    Count,
    Interval,
    NotNegativeInt,
    ProperShare,
    Share,
)
from frbench.data.balance import Balance, Marginals, Via
from frbench.data.contents import contents
from frbench.data.distribution import TrainingDistribution
from frbench.data.distribution import TrainingRows as TrainingRows
from frbench.data.fetch import TensorTable
from frbench.data.learnt import Learnt
from frbench.data.loader import EvalLoader, GroupLoader, global_batch
from frbench.data.step import Augmentation, Corruption, InputTransform
from frbench.data.strata import check_strata
from frbench.data.table import Table
from frbench.data.verified import beside


class GroupDataModule(CheckedArguments, TrainingDistribution, Learnt):
    """Splits of a data set with labels y, attributes z and groups (y, z).

    A subclass says where the splits come from: :meth:`tables`, ``sizes``, ``class_names`` and
    ``attribute_names``. The training split then goes through corrupt -> augment -> balance;
    validation and test stay as they are.

    Args:
        batch_size: Global batch size B; each of W devices gets B / W rows.
        balance: Target of the training distribution: none, class, group (uniform Z), conditional
            (Z uniform given Y), joint (Y and Z independent), reweighing (joint, keep, by weight).
        via: How the target is reached: sample (draw rows; the default), weight (weigh losses; the
            default of reweighing), subsample, or mixture (cut each cell to ``mixture_ratio``
            times its rows in the subsample, then draw; arXiv 2407.13957).
        marginals: For joint: keep P(Y) and P(Z), or make the cells uniform.
        balance_power: Exponent of the balance weights; 0.5 takes their square roots.
        balance_beta: Divide by the effective number of rows of a cell,
            (1 - beta^n) / (1 - beta), instead of n (arXiv 1901.05555); null takes n.
        empty_cells: What a cell without rows is that the target needs: refuse, or skip.
        mixture_ratio: For via: mixture; 1 is subsample.
        corrupt: Steps that damage the training split.
        augment: Steps that extend or replace the training split.
        transforms: Changes of the encoded inputs, learnt from training and applied to all tables.
        clean_share: Share of the training rows held out, before corruption, as verified rows (of
            the split ``clean``, where the data set has one); an epoch passes over them once,
            a part at the end of every batch (for methods with uses_clean).
        clean_noise: Share of the verified rows whose label is wrong all the same.
        clean_only: Train on the verified rows alone, any method: the baseline that trusts
            nothing else.
        rows_per_group: Stratified batches: each has at least so many rows of every group, and
            weights that keep the training distribution as it is; 0 leaves it to chance.
        passes: Passes over the training rows that make an epoch; many for full-batch training,
            where an epoch would be a single step.
        num_workers: Processes that fetch batches; 0 is fastest for tables.
        seed: Seed of splits, draws and batch order.
        test_while_training: Also evaluate the test tables at every validation (oracle curves);
            allows selecting on them, which results then say.
        unknown_classes: What becomes of rows whose class or attribute value a checkpoint does not
            know: error, or drop.
        changed_data: Whether a run may be continued where its tables have changed: refuse, or
            accept.
        held_out: Share of the training rows of each group that training does not see: the split
            ``held_out``, for methods that are fitted afterwards (``frbench postprocess``).

    Raises:
        UserError: For options that contradict each other, empty splits, or an empty cell that
            the balance needs.
    """

    def __init__(
        self,
        batch_size: Count = 128,
        balance: Balance = "none",
        via: Via | None = None,
        marginals: Marginals = "keep",
        balance_power: Share = 1.0,
        balance_beta: ProperShare | None = None,
        empty_cells: Literal["refuse", "skip"] = "refuse",
        mixture_ratio: Annotated[float, Interval(1)] = 2.0,
        corrupt: list[Corruption] | None = None,
        augment: list[Augmentation] | None = None,
        transforms: list[InputTransform] | None = None,
        clean_share: ProperShare = 0.0,
        clean_noise: Share = 0.0,
        clean_only: bool = False,
        rows_per_group: NotNegativeInt = 0,
        passes: Count = 1,
        num_workers: NotNegativeInt = 0,
        seed: NotNegativeInt = 0,
        test_while_training: bool = False,
        unknown_classes: Literal["error", "drop"] = "error",
        changed_data: Literal["refuse", "accept"] = "refuse",
        held_out: ProperShare = 0.0,
    ) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.balance = balance
        self.via = via
        self.marginals = marginals
        self.balance_power = balance_power
        self.balance_beta = balance_beta
        self.empty_cells = empty_cells
        self.mixture_ratio = mixture_ratio
        self.corrupt = corrupt
        self.augment = augment
        self.transforms = transforms
        self.clean_share = clean_share
        self.clean_noise = clean_noise
        self.clean_only = clean_only
        self.rows_per_group = rows_per_group
        self.passes = passes
        self.num_workers = num_workers
        self.seed = seed
        self.test_while_training = test_while_training
        self.unknown_classes = unknown_classes
        self.changed_data = changed_data
        self.held_out = held_out
        self.notes: list[str] = []
        #: Places of the rows of a split that was cut, in the split as it was.
        self.places: dict[str, np.ndarray] = {}
        self._check_options()

    # ---- what a subclass writes -------------------------------------------------------------
    def prepare(self, x: Tensor) -> Tensor:
        """Turn inputs of a batch into float32, bytes scaled to [0, 1]; token ids into long."""
        if self.vocab_size:
            return x.long()
        return x.float() / 255 if x.dtype == torch.uint8 else x.float()

    @property
    def family_names(self) -> list[str]:
        """Test tables that are members of a shift family, for the risk-invariance metrics."""
        return []

    def factors(self, name: str) -> dict[str, np.ndarray]:
        """Return the factors of each row of a table that a probe may look for, by name.

        Args:
            name: Name of the table.

        Returns:
            Codes from 0 on, -1 where unknown [N]; here ``z``.
        """
        return {"z": self.splits[name].z}

    #: Random transform of prepared training inputs; None for none.
    transform: Callable[[Tensor], Tensor] | None = None

    # ---- what the splits show ---------------------------------------------------------------
    def learn(self) -> dict[str, Any]:
        """Return names and counts of the training split; a subclass adds what else it learns."""
        return {
            "class_names": list(self.class_names),
            "attribute_names": list(self.attribute_names),
            "observed": self.observed_counts.tolist(),
            **({"transforms": self.learnt_transforms} if self.transforms else {}),
        }

    @cached_property
    def observed_counts(self) -> np.ndarray:
        """Rows of each (y, z) cell of the training split, before any step [C, A]."""
        if self.restored is not None:
            return np.asarray(self.restored["observed"])
        return self.splits["train"].counts(self.num_classes, self.num_attributes)

    @cached_property
    def contents(self) -> dict[str, dict[str, Any]]:
        """Rows and hashes of the columns of each split, for comparison with a checkpoint's."""
        return {
            name: contents(self.traits(t.x), t.y, t.z, name == "train", t.weight, t.continuous)
            for name, t in self.splits.items()
        }

    def traits(self, x: Any) -> dict[str, Any]:
        """Return the columns of raw inputs that tell two tables apart, by name."""
        if hasattr(x, "columns"):
            return {str(name): x[name] for name in x.columns}
        return {"x": x}

    @property
    def test_names(self) -> list[str]:
        """Names of the test tables, ``test`` or ``test/<name>``."""
        return [name for name in self.splits if name.startswith("test")]

    @property
    def val_names(self) -> list[str]:
        """Tables evaluated at validation, in the order of their loaders."""
        return ["val", *(self.test_names if self.test_while_training else [])]

    # ---- Lightning --------------------------------------------------------------------------
    @property
    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer else 0

    @property
    def _world(self) -> int:
        return self.trainer.world_size if self.trainer else 1

    def setup(self, stage: str) -> None:
        """Build the tables; fail before training if batch and devices do not fit."""
        if self.batch_size % self._world:
            raise UserError(
                f"data.batch_size is the global batch and must be divisible by the number of "
                f"devices: {self.batch_size} is not divisible by {self._world}."
            )
        sizes = {name: len(table) for name, table in self.splits.items() if name != "train"}
        if stage == "fit":
            sizes["train"] = len(self.training.table)
            if self.rows_per_group:
                check_strata(
                    self.rows_per_group,
                    self.rows_per_batch,
                    self.effective_via,
                    self.train_counts,
                    self.group_names,
                    bool((self.training.table.z < 0).any()),
                )
            if self.clean_per_batch % self._world:
                raise UserError(
                    f"data.clean_share puts {self.clean_per_batch} verified rows into a batch, "
                    f"not divisible by {self._world} devices; change it or data.batch_size."
                )
        for name, size in sizes.items():
            if size < self._world:
                raise UserError(f"The {name} split has {size} rows for {self._world} devices.")

    def train_dataloader(self) -> GroupLoader:
        """Return the stateful loader of the training distribution, verified rows last."""
        table, clean, weight = self.training
        rows = self.encoded(table, "train")
        if len(clean):
            rows = beside(rows, self.encoded(clean, "clean"))
        uniform = bool(np.allclose(weight, weight[0]))
        batch_weight = np.ones(len(rows))
        if not self.draws:
            batch_weight[: len(table)] = weight
        dataset = TensorTable(
            rows, batch_weight, self.num_attributes, self.prepare, self.transform
        )
        return GroupLoader(
            dataset,
            self.batch_size,
            seed=self.seed,
            sampling=weight if self.draws and not uniform else None,
            rows_per_group=self.rows_per_group,
            num_clean=len(clean),
            clean_per_batch=self.clean_per_batch,
            passes=self.passes,
            rank=self._rank,
            world_size=self._world,
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
        )

    @property
    def batches_per_epoch(self) -> int:
        """Batches of an epoch of training, the last partial one dropped."""
        size = global_batch(len(self.training.table), self.batch_size, self._world)
        return len(self.training.table) // size * self.passes if size else 0

    @property
    def eval_batch_size(self) -> int:
        """Rows of a batch of evaluation."""
        return max(self.batch_size, 1024) if self.is_small else self.batch_size

    def table_loader(self, table: Table, name: str) -> EvalLoader:
        """Return the loader of a table, in its order and without random transforms.

        Args:
            table: Raw inputs, as :meth:`tables` gives them.
            name: What the table is called in messages.
        """
        rows = TensorTable(
            self.encoded(table, name), table.weight, self.num_attributes, self.prepare
        )
        return EvalLoader(
            rows,
            self.eval_batch_size,
            self._rank,
            self._world,
            self.num_workers,
            pin_memory=torch.cuda.is_available(),
        )

    def _eval_loaders(self, names: list[str]) -> list[EvalLoader]:
        return [self.table_loader(self.splits[name], name) for name in names]

    def eval_loader(self, name: str) -> EvalLoader:
        """Return the loader of one split, in the table's order and without random transforms."""
        return self._eval_loaders([name])[0]

    @property
    def is_small(self) -> bool:
        """Whether inputs are so small that evaluation may use larger batches."""
        return not self.vocab_size and int(np.prod(self.sizes.input_shape)) <= 4096

    def val_dataloader(self) -> list[EvalLoader]:
        """Return loaders of ``val_names``."""
        return self._eval_loaders(self.val_names)

    def test_dataloader(self) -> list[EvalLoader]:
        """Return loaders of ``test_names``."""
        return self._eval_loaders(self.test_names)

    def predict_dataloader(self) -> list[EvalLoader]:
        """Return loaders of ``test_names``."""
        return self.test_dataloader()

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Move the columns; Lightning's generic walk over the batch costs more than the move."""
        if device.type == "cpu":
            return batch
        return Batch(*(column.to(device, non_blocking=True) for column in batch))


def datamodule_of(trainer: Any) -> GroupDataModule | None:
    """Return the data set that a trainer was given; None where it was given plain loaders."""
    return getattr(trainer, "datamodule", None)  # Lightning sets it only when there is one
