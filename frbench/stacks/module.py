"""The module that trains a stack."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback
from torch import Tensor

from frbench.contracts.batch import Batch
from frbench.contracts.checkpoint_format import read_section, write_section
from frbench.metrics.module import compute_together
from frbench.stacks.loader import RunBatch, partners
from frbench.stacks.member import BeforeSaving, Member
from frbench.stacks.optimizer import Schedules, StackedOptimizer, own_state
from frbench.stacks.tensors import Found, StackedTensors
from frbench.support.atomic import no_space
from frbench.training.lean import LeanModule, spare
from frbench.training.log import BATCHES, is_due

#: Opens what a run prints into, its log.
Into = Callable[[Member], contextlib.AbstractContextManager[Any]]


class StackModule(LeanModule):
    """Trains R objectives of one shape in one loop; each has the hooks of its own run.

    Args:
        members: The runs, set up.
        tensors: Their tensors.
        into: Opens a run's log.
        keep_last: Whether each run keeps a last checkpoint; one without a best one does anyway.

    Attributes:
        wasted: Steps of runs that had stopped while others went on.
    """

    def __init__(
        self,
        members: Sequence[Member],
        tensors: StackedTensors,
        into: Into,
        keep_last: bool = False,
    ) -> None:
        super().__init__()
        self.keep_last = keep_last
        self.members, self.tensors, self.into = members, tensors, into
        self.wasted = 0
        self.flat = tensors.flat
        groups = members[0].objective.data_sizes.num_groups
        self._sums = torch.zeros(len(members), groups + 1, 3, dtype=torch.float64)
        self._waiting: list[tuple[Tensor, Tensor, Tensor]] = []
        self._found: Found | None = None
        self._saving: int | None = None

    # ---- the runs that still train ----------------------------------------------------------
    def live(self) -> Iterator[tuple[int, Member]]:
        """The runs that have neither stopped nor failed."""
        for run, member in enumerate(self.members):
            if member.finished is None and member.error is None:
                yield run, member

    def each(self, call: Callable[[int, Member], Any], logged: bool = True) -> None:
        """Do something for each run that still trains; one that fails ends alone.

        Args:
            call: What is done.
            logged: Whether it may print something.
        """
        for run, member in self.live():
            try:
                with self.into(member) if logged else contextlib.nullcontext():
                    call(run, member)
            except Exception as error:  # one failed run must not end the others
                if isinstance(error, OSError) and no_space(error):
                    raise
                member.error = error
        if not any(self.live()):
            self.trainer.should_stop = True

    def finish(self, member: Member, epochs: int) -> None:
        """End the training of one run after so many epochs."""
        member.finished = self.trainer.global_step, epochs
        for callback in member.trainer.checkpoint_callbacks:
            if self.keep_last or not callback.best_model_path:
                member.trainer.save_checkpoint(Path(str(callback.dirpath)) / "last.ckpt")
        member.call("on_train_end")
        member.call("on_fit_end")

    # ---- set-up -----------------------------------------------------------------------------
    def configure_callbacks(self) -> list[Callback]:
        """Return what must come before the rolling checkpoint."""
        return [BeforeSaving()]

    def setup(self, stage: str) -> None:
        """Switch off what no step needs."""
        spare(self.trainer)

    def on_fit_start(self) -> None:
        """Begin every run."""
        self._sums = self._sums.to(self.device)

        def start(run: int, member: Member) -> None:
            member.trainer.save = lambda path: self._save_one(run, path)
            member.call("on_fit_start")
            member.objective.on_fit_start()
            log = member.objective.training_log
            self._sums[run] = log.sums
            log.sums = self._sums[run]

        self.each(start)

    def configure_optimizers(self) -> Any:
        """Build the optimiser of the stack from those that the runs would have."""
        found = [member.objective.configure_optimizers() for member in self.members]
        plain = not isinstance(found[0], dict)
        own = found if plain else [each["optimizer"] for each in found]
        for member, optimizer in zip(self.members, own, strict=True):
            member.trainer.optimizers = [optimizer]
        optimizer = StackedOptimizer(self.flat, own)
        optimizer.register_step_post_hook(self._commit)
        if plain:
            return optimizer
        schedules = [each["lr_scheduler"] for each in found]
        scheduler = Schedules(optimizer, [each["scheduler"] for each in schedules])
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": schedules[0]["interval"]},
        }

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Move every run's rates."""
        scheduler.step()

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradient of each run by itself."""
        grad = self.flat.grad
        if not gradient_clip_val or grad is None:
            return
        if gradient_clip_algorithm == "value":
            grad.clamp_(-gradient_clip_val, gradient_clip_val)
        else:
            norm = grad.norm(dim=1, keepdim=True)
            grad.mul_((gradient_clip_val / (norm + 1e-6)).clamp(max=1))

    # ---- training ---------------------------------------------------------------------------
    def on_train_start(self) -> None:
        """Begin every run, and stop those that had stopped before they were continued."""

        def start(run: int, member: Member) -> None:
            member.call("on_train_start")
            member.objective.on_train_start()

        self.each(start)

    def on_train_epoch_start(self) -> None:
        """Begin the epoch of every run."""
        self._waiting.clear()

        def start(run: int, member: Member) -> None:
            member.call("on_train_epoch_start")
            member.objective.on_train_epoch_start()

        self.each(start)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compute the losses of all runs; the gradient of their sum is each run's own."""
        found = self._found = self.tensors.step(
            batch, partners([m.objective for m in self.members], batch)
        )
        self._waiting.append((batch.group, found.correct, found.losses))
        if len(self._waiting) == BATCHES:
            self._add_waiting()
        return found.terms["loss"].sum()

    def _commit(self, *_: Any) -> None:
        if self._found is not None:
            self.tensors.commit(self._found)

    @torch.no_grad()
    def _add_waiting(self) -> None:
        """Add the rows of the latest batches to the sums of every run's epoch."""
        if not self._waiting:
            return
        group, correct, losses = (torch.cat(c, 1) for c in zip(*self._waiting, strict=True))
        self._waiting.clear()
        columns = torch.stack([torch.ones_like(losses), correct, losses], 2).double()
        slots = self._sums.shape[1]
        first = torch.arange(len(group), device=group.device)[:, None] * slots
        slot = (group % slots + first).flatten()
        self._sums.view(-1, 3).index_add_(0, slot, columns.flatten(0, 1))

    def end_batch(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Log what is due, and count the work of runs that have stopped."""
        self.wasted += sum(m.finished is not None for m in self.members)
        due = is_due(self.trainer, self.trainer.global_step)
        found = self._found
        assert found is not None

        def end(run: int, member: Member) -> None:
            if due:
                terms = {name: value[run].detach() for name, value in found.terms.items()}
                member.objective.training_log.terms = terms
            member.call("on_train_batch_end", outputs, RunBatch(batch, run), batch_idx)

        self.each(end, logged=due)

    # ---- validation -------------------------------------------------------------------------
    def on_validation_model_eval(self) -> None:
        """Put every run's modules into evaluation mode."""
        self._modes = [
            (module, module.training)
            for _, member in self.live()
            for module in member.objective.modules()
        ]
        for _, member in self.live():
            member.objective.eval()

    def on_validation_model_train(self) -> None:
        """Put each module back into its own mode."""
        for module, mode in self._modes:
            module.training = mode

    def validation_step(
        self, batch: list[Batch | None], batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Count the predictions of every run."""

        def step(run: int, member: Member) -> None:
            rows = batch[run]
            if rows is not None:
                member.objective.validation_step(rows, batch_idx, dataloader_idx)

        self.each(step, logged=False)

    def on_validation_epoch_end(self) -> None:
        """Log every run's metrics."""
        for tables in zip(*(m.objective.evaluators() for _, m in self.live()), strict=True):
            compute_together(tables)
        self.each(lambda run, member: member.objective.on_validation_epoch_end())

    def end_validation(self) -> None:
        """Let every run select its checkpoint and decide whether it stops."""
        self.each(lambda run, member: member.call("on_validation_end"))
        loop = self.trainer.fit_loop.epoch_loop.batch_progress
        if loop.current.ready < self.trainer.num_training_batches:
            self._stop_wanted()

    def _stop_wanted(self) -> None:
        """End the runs that want to stop in the midst of an epoch."""

        def stop(run: int, member: Member) -> None:
            if member.trainer.should_stop:
                self._end_epoch(run, member)
                self.finish(member, self.current_epoch + 1)

        self._add_waiting()
        self.each(stop)

    def _end_epoch(self, run: int, member: Member) -> None:
        member.call("on_train_epoch_end")
        member.objective.on_train_epoch_end()

    def on_train_epoch_end(self) -> None:
        """Log every run's epoch, and end those that want to stop."""
        self._add_waiting()
        self.each(self._end_epoch)

        def stop(run: int, member: Member) -> None:
            if member.trainer.should_stop:
                self.finish(member, self.current_epoch + 1)

        self.each(stop)

    def end_training(self) -> None:
        """End the runs that went on to the last step."""
        self.each(lambda run, member: self.finish(member, self.current_epoch))

    # ---- checkpoints ------------------------------------------------------------------------
    def _save_one(self, run: int, path: str) -> None:
        """Write a checkpoint of one run, as its own trainer would."""
        self._saving = run
        try:
            self.trainer.save_checkpoint(path)
        finally:
            self._saving = None

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Nothing: all tensors are in the section of the stack."""
        return {}

    def load_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: see :meth:`on_load_checkpoint`."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store all runs; or one of them, in the form of a run by itself."""
        self._add_waiting()
        if self._saving is not None:
            self._replace(checkpoint, self._saving, self.members[self._saving])
            return
        runs = []
        for member in self.members:
            own: dict[str, Any] = {}
            member.call("on_save_checkpoint", own)
            member.objective.on_save_checkpoint(own)
            states = member.callback_states()
            runs.append({"own": own, "callbacks": states, "finished": member.finished})
        write_section(
            checkpoint, "frbench_stack", runs=runs, tensors=self.tensors.state_dict(),
            wasted=self.wasted,
        )  # fmt: skip

    def _replace(self, checkpoint: dict[str, Any], run: int, member: Member) -> None:
        """Put one run in the place of the stack."""
        checkpoint["state_dict"] = {k: v.clone() for k, v in member.objective.state_dict().items()}
        checkpoint["callbacks"] |= member.callback_states()
        (optimizer,) = self.trainer.optimizers
        assert isinstance(optimizer, StackedOptimizer)
        checkpoint["optimizer_states"] = [own_state(optimizer, run)]
        schedules: Any = [config.scheduler for config in self.trainer.lr_scheduler_configs]
        checkpoint["lr_schedulers"] = [each.own[run].state_dict() for each in schedules]
        for loader in checkpoint["loops"]["fit_loop"]["state_dict"].get("combined_loader", []):
            loader.update(loader.pop("loaders")[run])
        section = read_section(checkpoint)  # of the rolling checkpoint, which is the stack's
        for name in ("csv_rows", "csv_rows_in_all"):
            section[name] = section[name][run : run + 1]
        member.call("on_save_checkpoint", checkpoint)
        member.objective.on_save_checkpoint(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take all runs back."""
        stored = read_section(checkpoint, "frbench_stack")
        self.wasted = stored["wasted"]
        for member, run in zip(self.members, stored["runs"], strict=True):
            member.objective.on_load_checkpoint(run["own"])
            member.call("on_load_checkpoint", run["own"])
            member.load_callback_states(run["callbacks"])
            if run["finished"] is not None:
                member.finished = tuple(run["finished"])
        self.tensors.load_state_dict(stored["tensors"])
