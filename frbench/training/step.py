"""The training step: from a batch to the loss of an objective and its penalties."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from frbench.contracts.batch import Batch, OncePerBatch, Outputs, SampleLosses, cross_entropy
from frbench.data.loader import GroupLoader
from frbench.data.module import datamodule_of
from frbench.distributed import rank, world_size
from frbench.mixing import Mixing
from frbench.networks import Network
from frbench.penalties import NetworkRun, Penalty
from frbench.training.log import TrainingLog
from frbench.training.row_state import RowState
from frbench.training.scoring import Scoring


def run(network: Network, batch: Batch, losses: SampleLosses = cross_entropy) -> Outputs:
    """Run a network on a batch; everything it returns is float32."""
    features, logits = network(batch.x)
    logits = logits.float()
    return Outputs(features.float(), logits, losses(logits, batch.y))


class TrainingStep(Scoring, RowState, ABC):
    """A module with a network, penalties and a risk, of which it makes the loss of a batch.

    :class:`frbench.training.objective.Objective` builds network, penalties and log.
    """

    #: Whether it may train in a stack (:mod:`frbench.stacks`): its step is a pure function of
    #: parameters, buffers, states of rows and the batch.
    stackable = True
    #: What keeps it from that.
    why_alone = ""
    #: Whether :meth:`risk` gets the verified rows that ``data.clean_share`` appends.
    uses_clean = False
    network: Network
    penalties: Sequence[Penalty]
    training_log: TrainingLog
    mixing: Mixing | None
    #: Attributes of the training rows as training sees them, on the host; None for the data's [N].
    seen_z: np.ndarray | None

    def __init__(self) -> None:
        super().__init__()
        self._first_rows = OncePerBatch[Batch]()
        self._seed: int | None = None
        self._first_batch = 0  # of the present stage of the run
        self.seen_z = None

    @abstractmethod
    def risk(self, out: Outputs, batch: Batch) -> Tensor:
        """Turn per-sample losses into one number.

        Called outside autocast, with float32 features and logits. New state is proposed by
        ``self.stage(name=value)``, never written. The batch is this process's share: sums over
        the global batch go through :mod:`frbench.distributed`, and because DDP averages
        gradients, a term summed (not averaged) over processes is multiplied by W.

        Args:
            out: Features, logits and losses of the training rows.
            batch: The training rows.

        Returns:
            A scalar.
        """

    def state_to_log(self) -> dict[str, Tensor]:
        """Scalars that describe the method's state, logged with the losses."""
        return {}

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [B, C]."""
        result: Tensor = self.network(x)[1]
        return result

    def outputs(self, batch: Batch) -> Outputs:
        """Run the network; everything it returns is float32."""
        return run(self.network, batch, self.sample_losses)

    def sample_losses(self, logits: Tensor, y: Tensor) -> Tensor:
        """Return the loss of each row in training, before weights [B]; by default cross-entropy.

        Args:
            logits: Of these rows, float32 [B, C].
            y: Their labels [B].
        """
        return cross_entropy(logits, y)

    def companion_outputs(self, network: Network, batch: Batch) -> Outputs:
        """Run a further network in :meth:`risk`, in the precision in which the first one ran."""
        with self._step_precision():
            return run(network, batch)

    def _step_precision(self) -> AbstractContextManager[Any]:
        trainer = self._trainer
        return nullcontext() if trainer is None else trainer.precision_plugin.forward_context()

    def training_outputs(self, batch: Batch) -> Outputs:
        """Run the network in a training step; a method that records the forward wraps this."""
        return self.outputs(batch)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compute risk and penalties of one batch; nothing is synchronised with the host."""
        self.discard_all()
        out, seen = self.mixed(self.as_seen(batch))
        rows = self.training_rows(out, seen)
        with self.full_precision():
            terms = self.terms((out, seen) if self.uses_clean else rows, rows)
        # With other inputs or attributes there are no verified rows to leave out.
        self.training_log.update(rows[0], rows[1] if seen is batch else batch, terms)
        return terms["loss"]

    def as_seen(self, batch: Batch) -> Batch:
        """Return the batch that risk and penalties see."""
        return batch

    def mixed(self, batch: Batch) -> tuple[Outputs, Batch]:
        """Run the network, on combined rows where there is a mixing; return its inputs, too."""
        if self.mixing is None:
            return self.training_outputs(batch), batch
        return self.mixing.outputs(
            batch,
            self.training_outputs,
            self.network.head,
            self.mixing_generator(),
            self.sample_losses,
            self.host_labels(),
        )

    def mixing_generator(self) -> np.random.Generator:
        """Draws the partners of a batch: not a generator of this process, all draw the same."""
        return np.random.default_rng([cast(int, self._seed), self.batches_so_far, 41])

    def mixed_as(self, batch: Batch, *drawn: Tensor) -> tuple[Outputs, Batch]:
        """Run the network on rows whose partners have been drawn, as :meth:`mixed`.

        Args:
            batch: The rows.
            drawn: Positions of their partners, labels of these, and shares of the rows [B].
        """
        mixing, (place, other_y, share) = cast(Mixing, self.mixing), drawn
        losses, run = self.sample_losses, self.training_outputs
        drawn_rows = place, other_y, share
        return mixing.outputs_of(batch, drawn_rows, run, self.network.head, None, losses)

    def host_labels(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return y and z of the global batch, as training sees them, from the table [B].

        None where training has a loader of the user's own.
        """
        loader = self.trainer.train_dataloader
        if not isinstance(loader, GroupLoader):
            return None
        rows = loader.global_rows(self.trainer.fit_loop.epoch_loop.batch_idx)
        z = loader.dataset.z.numpy() if self.seen_z is None else self.seen_z
        return loader.dataset.y.numpy()[rows], z[rows]

    @property
    def batches_so_far(self) -> int:
        """Training batches of the present stage before this one."""
        return int(self.trainer.fit_loop.epoch_loop.total_batch_idx) - self._first_batch

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed all generators from (seed, step, rank): resuming at any step draws the same."""
        step = self.batches_so_far
        seed = (cast(int, self._seed) * 1_000_003 + step * world_size() + rank()) % 2**32
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - users' transforms may use the global generator
        if self.device.type == "cpu":
            # torch.manual_seed also formats a traceback for each absent accelerator: 75 us.
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def full_precision(self) -> AbstractContextManager[Any]:
        """Leave autocast; entering a context that changes nothing would cost ten microseconds."""
        kind = self.device.type
        on = torch.is_autocast_enabled(kind)
        return torch.autocast(kind, enabled=False) if on else nullcontext()

    def training_rows(self, out: Outputs, batch: Batch) -> tuple[Outputs, Batch]:
        """Return outputs and batch without the verified rows at the end."""
        if not self._clean_rows:
            return out, batch
        rows = len(batch.y) - self._clean_rows
        first = self._first_rows(batch, lambda b: Batch(*(c[:rows] for c in b)))
        return Outputs(*(c[:rows] for c in out)), first

    @property
    def _clean_rows(self) -> int:
        """Verified rows at the end of this process's batch."""
        data = None if self._trainer is None else datamodule_of(self.trainer)
        return data.clean_per_batch // world_size() if data is not None else 0

    def terms(
        self, given: tuple[Outputs, Batch], rows: tuple[Outputs, Batch]
    ) -> dict[str, Tensor]:
        """Return the loss and what it is made of: the risk and each penalty before its weight.

        Args:
            given: What :meth:`risk` sees.
            rows: The training rows, which penalties see.
        """
        risk = self.risk(*given)
        if risk.ndim:
            raise ValueError(f"{type(self).__name__}.risk gave shape {tuple(risk.shape)}, "
                             "it must give a scalar: take a mean or a sum.")  # fmt: skip
        terms = {"loss": risk, "risk": risk}
        for name, penalty in zip(self.penalty_names, self.penalties, strict=True):
            terms[name] = self.value_of(penalty, *rows)
            terms["loss"] = terms["loss"] + penalty.factor() * terms[name]
        return terms

    def value_of(self, penalty: Penalty, out: Outputs, batch: Batch) -> Tensor:
        """Return a penalty before its weight; one that ``sees_network`` is handed it.

        Args:
            penalty: One of the penalties.
            out: Outputs of the training rows.
            batch: The training rows.
        """
        if not penalty.sees_network:
            value: Tensor = penalty(out, batch)
            return value
        step = 0 if self._trainer is None else self.batches_so_far
        rng = np.random.default_rng([self._seed or 0, step, 43])
        result: Tensor = penalty(out, batch, NetworkRun(self._run_network, self._run_head, rng))
        return result

    def _run_network(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with self._step_precision():
            features, logits = self.network(x)
        return features.float(), logits.float()

    def _run_head(self, features: Tensor) -> Tensor:
        with self._step_precision():
            logits: Tensor = self.network.head(features)
        return logits.float()

    @property
    def penalty_names(self) -> list[str]:
        """Class names of the penalties, numbered where one occurs twice."""
        names = [type(p).__name__ for p in self.penalties]
        return [
            n if names.count(n) == 1 else f"{n}-{names[:i].count(n) + 1}"
            for i, n in enumerate(names)
        ]

    def all_state_to_log(self) -> dict[str, Tensor]:
        """Return the state of the method, and that of each penalty under its name."""
        logged = self.state_to_log()
        for name, penalty in zip(self.penalty_names, self.penalties, strict=True):
            logged |= {f"{name}/{key}": value for key, value in penalty.state_to_log().items()}
        return logged

    def discard_all(self) -> None:
        """Drop the proposals of a step that was not taken."""
        self.discard()
        for penalty in self.penalties:
            penalty.discard()

    def commit_all(self, optimizer: Any = None, *_: Any) -> None:
        """Make the proposals true; called by the optimiser after a step that was taken."""
        self.commit()
        for penalty in self.penalties:
            penalty.commit()
            if optimizer is not None and penalty.starts_anew:
                optimizer.state.clear()
