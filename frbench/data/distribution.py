"""What training sees of a data set: the training split corrupted, augmented and balanced."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np

from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.data.balance import Balance, Marginals, Via, balance_ratio, subsample_rows
from frbench.data.checks import check_inputs, check_tables
from frbench.data.mixed import Mixed
from frbench.data.step import Augmentation, Corruption, InputTransform
from frbench.data.strata import allot
from frbench.data.table import Table
from frbench.data.verified import hold_out, mislabel
from frbench.support.stratified import cut


class TrainingRows(NamedTuple):
    """What training sees of a data set.

    Attributes:
        table: The training table after corruption, augmentation and subsampling.
        clean: The verified rows that are held out of it; possibly none.
        weight: One balance weight per row of ``table``, of mean one, float64 [N].
    """

    table: Table
    clean: Table
    weight: np.ndarray


class TrainingDistribution(ABC):
    """Splits of a data set, and the distribution of the rows of its training batches.

    The training split goes through corrupt -> augment -> balance. A subclass says where the
    splits come from; the options are arguments of :class:`~frbench.data.module.GroupDataModule`.
    """

    sizes: Sizes
    class_names: tuple[str, ...]
    attribute_names: tuple[str, ...]
    batch_size: int
    balance: Balance
    via: Via | None
    marginals: Marginals
    balance_power: float
    balance_beta: float | None
    empty_cells: Literal["refuse", "skip"]
    mixture_ratio: float
    corrupt: list[Corruption] | None
    augment: list[Augmentation] | None
    transforms: list[InputTransform] | None
    restored: dict[str, Any] | None
    clean_share: float
    clean_noise: float
    clean_only: bool
    held_out: float
    rows_per_group: int
    seed: int
    #: Which of several divisions of the rows this is; the draws of each are independent.
    fold: int = 0

    def _check_options(self) -> None:
        if (self.clean_noise or self.clean_only) and not self.clean_share:
            raise UserError(
                "data.clean_noise and data.clean_only are about verified rows: set "
                "data.clean_share to have some."
            )
        if self.balance == "reweighing" and self.via not in (None, "weight"):
            raise UserError(
                f"data.balance: reweighing is by weight; for via: {self.via} use balance: joint."
            )
        if self.marginals == "uniform" and self.balance != "joint":
            raise UserError(
                f"data.marginals: uniform has no effect with balance: {self.balance}; use "
                "balance: joint, or drop marginals."
            )

    # ---- what a subclass writes -------------------------------------------------------------
    @abstractmethod
    def tables(self) -> dict[str, Table]:
        """Return the splits: ``train``, ``val`` and ``test``, or several ``test/<name>``.

        A data set with verified rows of its own gives them as ``clean``.
        """

    def encode(self, x: Any) -> Any:
        """Turn raw inputs of a split into the array that batches index; the identity here."""
        return x

    def encode_all(self, x: Any) -> Any:
        """Encode inputs, some of which may be encoded already."""
        return x.encode(self.encode) if isinstance(x, Mixed) else self.encode(x)

    @cached_property
    def learnt_transforms(self) -> list[dict[str, Any]]:
        """What the transforms of the inputs have learnt from the rows that training sees."""
        if self.restored is not None:
            return list(self.restored.get("transforms", []))
        if not self.transforms:
            return []
        table = self.training.table
        x, found = self._numbers(self.encode_all(table.x)), list[dict[str, Any]]()
        for step in self.transforms:
            found.append(step.learn(x, table.y, table.z, self.sizes))
            x = step.transform(x, table.z, found[-1])
        return found

    def _numbers(self, x: Any) -> np.ndarray:
        """Return encoded inputs as a table of numbers, which transforms are for."""
        if self.vocab_size or len(self.sizes.input_shape) != 1 or not isinstance(x, np.ndarray):
            raise UserError(
                f"data.transforms are for tables of numbers; {type(self).__name__} has inputs of "
                f"shape {list(self.sizes.input_shape)}."
            )
        return x.astype(np.float64)

    def encoded(self, table: Table, name: str) -> Table:
        """Encode, transform and check the inputs of a table.

        Args:
            table: Raw inputs, as :meth:`tables` gives them.
            name: What the table is called in messages.
        """
        x = self.encode_all(table.x)
        if self.transforms and len(table):
            x = self._numbers(x)
            for step, learnt in zip(self.transforms, self.learnt_transforms, strict=True):
                x = step.transform(x, table.z, learnt)
            x = x.astype(np.float32)
        if isinstance(x, np.ndarray):
            check_inputs(x, self.sizes, f"{type(self).__name__}: the {name} split")
        return table.replace(x=x)

    # ---- names and sizes --------------------------------------------------------------------
    @property
    def num_classes(self) -> int:
        """C."""
        return self.sizes.num_classes

    @property
    def num_attributes(self) -> int:
        """A."""
        return self.sizes.num_attributes

    @property
    def input_shape(self) -> list[int]:
        """Shape of one input."""
        return list(self.sizes.input_shape)

    @property
    def vocab_size(self) -> int:
        """Number of token ids, 0 if inputs are not text."""
        return self.sizes.vocab_size

    @property
    def group_names(self) -> list[str]:
        """Names of the groups in the order of their ids, ``y=<class>,z=<attribute>``."""
        return [f"y={c},z={a}" for c in self.class_names for a in self.attribute_names]

    # ---- the training distribution ----------------------------------------------------------
    @cached_property
    def splits(self) -> dict[str, Table]:
        """The tables as the subclass gives them, checked."""
        for name in ("sizes", "class_names", "attribute_names"):
            if not hasattr(self, name):
                raise UserError(f"{type(self).__name__} declares no `{name}`.")
        tables = self.tables()
        check_tables(tables, self.sizes, type(self).__name__)
        if self.held_out:
            train = tables["train"]
            group = np.where(train.z < 0, -1, train.y * self.num_attributes + train.z)
            rng = np.random.default_rng([self.seed, 9, self.fold])
            kept = cut(group, (1 - self.held_out, self.held_out), rng) == 0
            if kept.all() or not kept.any():
                raise UserError(
                    f"data.held_out: {self.held_out} of {len(train)} training rows leaves one "
                    "part without rows; choose another share."
                )
            tables = {**tables, "train": train.take(np.flatnonzero(kept)),
                      "held_out": train.take(np.flatnonzero(~kept))}  # fmt: skip
        return tables

    @cached_property
    def training(self) -> TrainingRows:
        """What training sees."""
        rng = np.random.default_rng([self.seed, 7, self.fold])
        table, clean = hold_out(
            self.splits["train"], self.splits.get("clean"), self.clean_share, rng
        )
        noise = np.random.default_rng([self.seed, 8, self.fold])
        clean = mislabel(clean, self.clean_noise, self.num_classes, noise)
        if self.clean_only:
            table, clean = clean, clean.take(np.arange(0))
        # Verified rows stay as they are, also where they are all there is.
        corrupt = [] if self.clean_only else self.corrupt or []
        for step in [*corrupt, *(self.augment or [])]:
            step.bind(self.class_names, self.attribute_names)
            step.seed = self.seed
            table = step.apply(table, rng, self.encode_all)
        ratio = self._ratio(table)
        if self.effective_via in ("subsample", "mixture"):
            cell = np.where(table.z < 0, -1, table.y * self.num_attributes + table.z)
            excess = self.mixture_ratio if self.effective_via == "mixture" else 1.0
            table = table.take(subsample_rows(ratio, cell, rng, excess))
            ratio = self._ratio(table) if self.effective_via == "mixture" else np.ones(len(table))
        weight = table.weight * ratio
        return TrainingRows(table, clean, weight / weight.mean())

    def _ratio(self, table: Table) -> np.ndarray:
        """Factor of each row by which the balance changes its weight [N]."""
        return balance_ratio(
            table,
            self.num_classes,
            self.num_attributes,
            self.balance,
            self.marginals,
            self.group_names,
            self.balance_power,
            self.balance_beta,
            self.empty_cells == "skip",
        )

    @property
    def effective_via(self) -> Via:
        """``via``, or its default: weight for reweighing, sample for the others."""
        return self.via or ("weight" if self.balance == "reweighing" else "sample")

    @property
    def draws(self) -> bool:
        """Whether rows are drawn in proportion to the weights of the balance."""
        return self.effective_via in ("sample", "mixture")

    @property
    def changes_shares(self) -> bool:
        """Whether batches hold the groups in other shares than the data, by drawing rows."""
        drawn = self.balance != "none" and self.effective_via != "weight"
        return drawn or self.rows_per_group > 0

    @cached_property
    def train_counts(self) -> np.ndarray:
        """Rows of each (y, z) cell of the table that training sees, before weights [C, A]."""
        return self.training.table.counts(self.num_classes, self.num_attributes)

    @cached_property
    def sampled_shares(self) -> np.ndarray:
        """Expected share of each (y, z) cell in a training batch [C, A]."""
        table, _, weight = self.training
        weight = weight if self.draws else np.ones(len(table))
        known = table.z >= 0
        cell = table.y[known] * self.num_attributes + table.z[known]
        size = self.num_classes * self.num_attributes
        shares = np.bincount(cell, weights=weight[known], minlength=size) / weight.sum()
        if self.rows_per_group:
            least = np.full(size, self.rows_per_group)
            shares = allot(shares / shares.sum(), self.rows_per_batch, least) / self.rows_per_batch
        result: np.ndarray = shares.reshape(self.num_classes, self.num_attributes)
        return result

    @property
    def rows_per_batch(self) -> int:
        """Training rows of a batch: ``batch_size``, or all of them where there are fewer."""
        return min(self.batch_size, len(self.training.table))

    @property
    def clean_per_batch(self) -> int:
        """Verified rows appended to each global batch: as many as it has of the training rows."""
        if not self.clean_share or self.clean_only:
            return 0
        table, clean, _ = self.training
        return max(1, round(self.rows_per_batch / len(table) * len(clean)))
