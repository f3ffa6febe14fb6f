"""One run of a stack: objective, data, callbacks, and what these see of the trainer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import Checkpoint, EarlyStopping
from pytorch_lightning.loggers import Logger

from frbench.callbacks import RollingCheckpoint
from frbench.contracts.batch import Batch
from frbench.data.loader import GroupLoader
from frbench.data.module import GroupDataModule
from frbench.training.objective import Objective


class Metrics(dict[str, Any]):
    """The latest metrics, none of which is ever changed in place: copies share them.

    Lightning's checkpoints copy all of them after every validation.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> Metrics:
        """Return a copy with the same values."""
        return Metrics(self)


class MemberTrainer:
    """The stack's trainer as one run sees it.

    Metrics, loggers, callbacks, data and the wish to stop are the run's own; steps, epochs,
    limits and devices are the stack's.

    Args:
        own: The trainer that the run would have alone.
        objective: The run's objective.
        data: Its data set.
    """

    def __init__(self, own: Any, objective: Objective, data: GroupDataModule) -> None:
        self.lightning_module = objective
        self.datamodule = data
        self.callbacks: list[Callback] = list(own.callbacks)
        self.loggers: list[Logger] = list(own.loggers)
        self.callback_metrics: dict[str, Any] = Metrics()
        self.optimizers: list[Any] = []
        self.should_stop = False
        self.train_dataloader: Any = None
        self.profiler: Any = own.profiler
        self.stack: Any = own
        self.save: Callable[[str], None] | None = None

    def __getattr__(self, name: str) -> Any:
        if name == "stack":  # not set yet
            raise AttributeError(name)
        return getattr(self.stack, name)

    @property
    def logger(self) -> Logger | None:
        """The first logger."""
        return self.loggers[0] if self.loggers else None

    @property
    def checkpoint_callbacks(self) -> list[Any]:
        """Callbacks that write checkpoints."""
        return [c for c in self.callbacks if isinstance(c, Checkpoint)]

    @property
    def early_stopping_callbacks(self) -> list[Any]:
        """Callbacks that stop training."""
        return [c for c in self.callbacks if isinstance(c, EarlyStopping)]

    def save_checkpoint(self, filepath: Any, *_: Any, **__: Any) -> None:
        """Write a checkpoint of this run alone."""
        assert self.save is not None
        self.save(str(filepath))


class Member:
    """A run of a stack.

    Args:
        own: The trainer that it would have alone, with its callbacks and loggers.
        objective: Its objective.
        data: Its data set.

    Attributes:
        finished: Steps and epochs after which it stopped; None while it trains.
        error: What ended it, if anything did.
        recorded: Whether it has a record already: nothing of it is written any more.
    """

    def __init__(self, own: Any, objective: Objective, data: GroupDataModule) -> None:
        self.own = own
        self.objective = objective
        self.data = data
        self.trainer = MemberTrainer(own, objective, data)
        self.finished: tuple[int, int] | None = None
        self.error: Exception | None = None
        self.recorded = False
        self._hooks: dict[str, list[Callable[..., None]]] = {}
        # As its own trainer would find it: the process has just been seeded for it.
        objective._seed = torch.initial_seed() % 2**31

    def attach(self, trainer: Trainer) -> None:
        """Belong to a stack, and set data, callbacks and objective up as a trainer would."""
        self.trainer.stack = trainer
        self.objective.trainer = self.trainer  # type: ignore[assignment]
        # As Lightning orders them; the rolling checkpoint is the stack's.
        callbacks = [*self.own.callbacks, *self.objective.configure_callbacks()]
        callbacks = [c for c in callbacks if not isinstance(c, RollingCheckpoint)]
        self.trainer.callbacks = sorted(callbacks, key=lambda c: isinstance(c, Checkpoint))
        self._hooks.clear()
        self.data.setup("fit")
        self.call("setup", "fit")
        self.objective.setup("fit")

    @property
    def loader(self) -> GroupLoader:
        """The training loader, made once."""
        if self.trainer.train_dataloader is None:
            self.trainer.train_dataloader = self.data.train_dataloader()
        loader: GroupLoader = self.trainer.train_dataloader
        return loader

    def call(self, hook: str, *args: Any) -> None:
        """Call a hook of every callback that has it."""
        if hook not in self._hooks:
            self._hooks[hook] = [
                getattr(c, hook)
                for c in self.trainer.callbacks
                if getattr(type(c), hook) is not getattr(Callback, hook)
            ]
        for method in self._hooks[hook]:
            method(self.trainer, self.objective, *args)

    def callback_states(self) -> dict[str, Any]:
        """State of each callback, by its key."""
        states = {c.state_key: c.state_dict() for c in self.trainer.callbacks}
        return {key: state for key, state in states.items() if state}

    def load_callback_states(self, states: dict[str, Any]) -> None:
        """Give the states back."""
        for callback in self.trainer.callbacks:
            if state := states.get(callback.state_key):
                callback.load_state_dict(state)


class BeforeSaving(Callback):
    """Calls what ends a batch, a validation or the training before checkpoints are written.

    A module's own hooks come after those of the callbacks.
    """

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """End the batch of every run."""
        pl_module.end_batch(outputs, batch, batch_idx)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """End the validation of every run."""
        pl_module.end_validation()

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """End every run."""
        pl_module.end_training()
