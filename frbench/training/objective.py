"""The base of every objective: steps, metrics, optimiser, logging and state, once."""

from __future__ import annotations

from typing import Any, Literal, cast

import numpy as np
import torch
from pytorch_lightning import Callback
from torch import nn

from frbench.contracts.batch import Sizes
from frbench.contracts.checkpoint_format import read_section, write_section
from frbench.contracts.errors import UserError
from frbench.contracts.properties import Properties
from frbench.contracts.ranges import CheckedArguments
from frbench.contracts.spec import to_spec
from frbench.data.loader import GroupLoader
from frbench.data.module import GroupDataModule, datamodule_of
from frbench.group_inference import GroupInference
from frbench.metrics.own import metric_paths
from frbench.mixing import Mixing
from frbench.networks import MLP, BagOfWords, Network, SmallCNN
from frbench.penalties import Penalty
from frbench.postprocessing import OutputMap
from frbench.training.checks import (
    Needs,
    check_agreement,
    check_compiler,
    check_fit,
    check_layers,
    check_same_data,
    data_record,
    data_spec,
)
from frbench.training.lean import spare
from frbench.training.log import LogSteps, TrainingLog, is_due
from frbench.training.optimized import Optimized
from frbench.training.optimizer import check_optimizer


class Objective(CheckedArguments, Optimized):
    """A way to train; a subclass writes :meth:`risk`.

    Args:
        num_classes: C; linked from the data on the command line, like the next three.
        num_attributes: A.
        input_shape: Shape of one input.
        vocab_size: Number of token ids, 0 if inputs are not text.
        network: Maps x to features and logits; by default an MLP, a small CNN for
            images, a bag of words for text.
        penalties: Terms added to the risk.
        optimizer: Name of a class of ``torch.optim``.
        lr: Learning rate.
        weight_decay: The optimiser's weight decay.
        optimizer_options: Its further arguments, ``{momentum: 0.9}`` say.
        scheduler: Name of a class of ``torch.optim.lr_scheduler``, or ``WarmupCosine``; None keeps
            the rate.
        scheduler_options: Its arguments, ``{T_max: 20}`` say; ``total_steps`` comes from the run.
        scheduler_interval: Whether it counts epochs or steps; one over ``total_steps`` counts
            steps.
        compile_network: Train and validate by ``torch.compile``; checkpoints do not differ.
        infer: Which attribute training sees, where it is not the data's.
        mixing: Which rows of a batch are combined; none by default.
        postprocess: Map from outputs to decisions, fitted after training by ``frbench
            postprocess``.

    Raises:
        UserError: For an unknown optimiser or scheduler, or arguments it does not take, or a
            method that does not combine with the inference or the mixing.
    """

    #: Whether it learns to tell verified rows from training rows: groups must not tell them apart.
    compares_clean = False
    #: Whether the risk is more than a mean over samples (then gradients cannot be accumulated).
    couples_batch = True
    #: What the tests hold :meth:`risk` to.
    properties = Properties()
    #: Which of ``infer`` and ``mixing`` its training step can work with.
    combines: tuple[str, ...] = ("infer", "mixing")
    #: Whether the risk takes P(group) of each row from a soft inference, see :meth:`membership`.
    takes_membership = False
    #: Whether weights of :meth:`on_epoch_weights` go into the sampler or into batch.weight.
    epoch_weights_via: Literal["sample", "weight"] = "weight"

    def __init__(
        self,
        num_classes: int,
        num_attributes: int,
        input_shape: list[int],
        vocab_size: int = 0,
        network: Network | None = None,
        penalties: list[Penalty] | None = None,
        optimizer: str = "Adam",
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        optimizer_options: dict[str, Any] | None = None,
        scheduler: str | None = None,
        scheduler_options: dict[str, Any] | None = None,
        scheduler_interval: Literal["epoch", "step"] = "epoch",
        compile_network: bool = False,
        infer: GroupInference | None = None,
        mixing: Mixing | None = None,
        postprocess: OutputMap | None = None,
    ) -> None:
        super().__init__()
        self.infer = infer
        self.mixing = mixing
        self.num_classes = num_classes
        self.num_attributes = num_attributes
        self.input_shape = list(input_shape)
        self.vocab_size = vocab_size
        self.data_sizes = Sizes(num_classes, num_attributes, tuple(input_shape), vocab_size)
        self.sizes = self.data_sizes
        if infer is not None:
            infer.bind(self.data_sizes)
            self.sizes = self.data_sizes._replace(num_attributes=infer.num_attributes)
        if mixing is not None:
            mixing.bind(self.data_sizes)
        self.seen_names = [str(i) for i in range(self.sizes.num_groups)]
        if network is None:
            image = len(input_shape) == 3
            network = BagOfWords() if vocab_size else SmallCNN() if image else MLP()
        self.network = network
        self.network.bind(self.head_sizes)
        self.penalties = cast(Any, nn.ModuleList(penalties or []))
        for penalty in self.penalties:
            penalty.num_features = self.network.num_features
            penalty.bind(self.sizes)
        self.optimizer = optimizer
        self.lr = lr
        self.weight_decay = weight_decay
        self.optimizer_options = optimizer_options
        self.scheduler = scheduler
        self.scheduler_options = scheduler_options
        self.scheduler_interval = scheduler_interval
        self.compile_network = compile_network
        self.attach(postprocess)
        self.training_log = TrainingLog(self.data_sizes.num_groups)
        self.reset_evaluators()
        self._check_combination()
        check_optimizer(self.optimization)  # wrong names must fail before any data is read

    def _check_combination(self) -> None:
        for axis in ("infer", "mixing"):
            part = getattr(self, axis)
            if part is not None and (axis not in self.combines or self.uses_clean):
                rows = " and its verified rows" if self.uses_clean else ""
                raise UserError(
                    f"model.{axis}: {type(self).__name__}{rows} cannot be combined with "
                    f"{type(part).__name__}; leave one of them out."
                )
        if self.infer is not None and self.infer.soft and not self.takes_membership:
            raise UserError(
                f"model.infer: {type(self).__name__} takes one group for each row, not "
                "probabilities; set soft to false, or use GroupDRO."
            )

    def attach(self, postprocess: OutputMap | None) -> None:
        """Take a map from outputs to decisions, or none; it is part of the model from then on."""
        self.postprocess = postprocess
        if postprocess is not None:
            postprocess.bind(self.data_sizes, self.network.num_features)

    # ---- what a subclass writes -------------------------------------------------------------
    @property
    def head_sizes(self) -> Sizes:
        """Sizes the network is built for; a method with more logits than classes says so."""
        return self.sizes

    def bind_data(self, data: GroupDataModule) -> None:
        """Read what depends on the training rows, before fitting; penalties do the same."""

    def on_epoch_weights(self, train: Any) -> np.ndarray | None:
        """Give each training row a weight for the coming epoch, or None to leave them.

        Args:
            train: The datamodule.

        Returns:
            Non-negative weights [N], the same on every process.
        """
        return None

    def cautions(self, train: GroupDataModule | None) -> dict[str, str]:
        """Return what about this method on these data should not be trusted, by name of the check.

        Called when training starts, at logged steps and at the end of epochs.

        Args:
            train: The datamodule, if there is one.
        """
        return {}

    # ---- the step ---------------------------------------------------------------------------

    def configure_callbacks(self) -> list[Callback]:
        """Log steps by a callback: the module's own hook would run after checkpoints are saved."""
        return [LogSteps()]

    def on_train_epoch_start(self) -> None:
        """Begin the epoch's sums and hand the weights of the rows to the loader."""
        self.training_log.reset()
        self.enter_stage()
        if self.identifying:
            return
        weights, via = self.on_epoch_weights(datamodule_of(self.trainer)), self.epoch_weights_via
        if self.infer is not None and self._row_weights is not None:
            weights = self._row_weights * (1 if weights is None else weights)
            via = self.infer.via
        check_agreement({"on_epoch_weights": weights, **self._shared()}, self.device)
        if weights is not None:
            loader = cast(GroupLoader, self.trainer.train_dataloader)
            loader.set_epoch_weights(weights, via)

    def _shared(self) -> dict[str, Any]:
        """What is the same on every process, by name: seed, rows, weights, and the method's state.

        Not among it are parameters, which DDP keeps alike, and buffers of the network: batch
        normalisation averages over the rows of each process.
        """
        name, data = type(self).__name__, datamodule_of(self.trainer)
        found: dict[str, Any] = {"the seed": str(self._seed).encode()}
        if data is not None:
            table = data.training.table
            columns = {"labels": table.y, "attributes": table.z, "weights": data.training.weight}
            found |= {f"the {key} of the training rows": value for key, value in columns.items()}
        state = [(f"{name}.{key}", value) for key, value in self.named_buffers(recurse=False)]
        state += [(f"{name}.{key}", getattr(self, key)) for key in self.row_state]
        for key, penalty in zip(self.penalty_names, self.penalties, strict=True):
            state += [(f"{key}.{part}", b) for part, b in penalty.named_buffers(recurse=False)]
        return {**found, **dict(state)}

    def on_train_epoch_end(self) -> None:
        """Log the epoch's group metrics on the training rows."""
        names = getattr(self, "group_names", [str(i) for i in range(self.data_sizes.num_groups)])
        self.emit(self.training_log.epoch_metrics(names))

    def log_step(self) -> None:
        """Log the terms of the latest step, if it is one of ``log_every_n_steps``."""
        step = self.trainer.global_step
        if not step or not is_due(self.trainer, step):
            return
        state, optimizers = self.all_state_to_log(), self.trainer.optimizers
        if metrics := self.training_log.step_metrics(step, state, optimizers):
            self.emit(metrics, to_callbacks=False)

    # ---- set-up -----------------------------------------------------------------------------
    @property
    def needs(self) -> Needs:
        """What the method asks of data and trainer."""
        coupled = [type(self).__name__] if self.couples_batch else []
        return Needs(
            name=type(self).__name__,
            network=type(self.network).__name__,
            padding=self.network.padding,
            tokenizer=self.network.needs_tokenizer,
            uses_clean=self.uses_clean,
            compares_clean=self.compares_clean,
            coupled=coupled + self.penalty_names,
            fused=bool((self.optimizer_options or {}).get("fused")),
        )

    def setup(self, stage: str) -> None:
        """Check that data, trainer and method fit, and build the evaluators."""
        spare(self.trainer)
        data = datamodule_of(self.trainer)
        if stage == "fit":
            self.forget_stages()
            self.check_stages()
        if data is None:
            if missing := [name for name in self.row_state if not hasattr(self, name)]:
                raise UserError(
                    f"{type(self).__name__} keeps {missing[0]} for each training row: fit a "
                    "datamodule."
                )
            self.reset_evaluators()
            return
        theirs = Sizes(data.num_classes, data.num_attributes, tuple(data.input_shape))
        ours = self.data_sizes._replace(vocab_size=0)
        if theirs != ours:
            raise UserError(
                f"The model was built for {ours} but {type(data).__name__} has {theirs}; "
                "train a new model, or pass the data set the checkpoint was trained on."
            )
        self.group_names = data.group_names
        if stage == "fit":
            self.allocate_rows(len(data.training.table))
            if self.infer is None:
                self.seen_names = data.group_names
                self.bind_groups(torch.as_tensor(data.train_counts).flatten(), data.group_names)
            if self.postprocess is not None:
                raise UserError(
                    f"model.postprocess: {type(self.postprocess).__name__} is fitted after "
                    "training, by frbench postprocess; leave it out of frbench fit, and continue "
                    "a run from its last.ckpt."
                )
            check_layers(self, self.trainer.strategy)
            check_fit(self.needs, data, self.trainer)
            to_spec(self)  # an argument that was not kept must fail now, not at saving
            self.bind_data(data)
            for penalty in self.penalties:
                penalty.bind_data(data)
            if self.compile_network:
                records = type(self).training_outputs is not Objective.training_outputs
                records |= any(penalty.sees_network for penalty in self.penalties)
                check_compiler(type(self).__name__, records, self.trainer.strategy)
                self.network.compile()  # in place: the names of parameters stay
        names = data.val_names if stage in ("fit", "validate") else data.test_names
        self.build_evaluators(data, names, stage == "test", noise_floor=stage != "fit")

    def on_fit_start(self) -> None:
        """Fix the seed of the run (rank 0's) and the sums of the epoch."""
        if self._seed is None:
            self._seed = self.trainer.strategy.broadcast(torch.initial_seed() % 2**31)
        self.training_log.to(self.device)
        self.move_rows(self.device)
        self.begin_stages()

    # ---- checkpoints ------------------------------------------------------------------------
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store class and arguments, the seed, and the sums of the epoch over all processes."""
        write_section(
            checkpoint,
            model=to_spec(self),
            data=data_spec(datamodule_of(self.trainer)),
            seed=self._seed,
            training_log=self.training_log.state_dict(),
            **data_record(datamodule_of(self.trainer)),
            metrics=metric_paths(self.metrics),
            stages=self.stages_to_save(),
            **self.rows_to_save(),
        )

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore what only training needs."""
        if self._trainer is not None and self.trainer.state.fn == "fit":
            run = read_section(checkpoint)
            if record := run.get("postprocess") or run.get("dfr"):
                command = "postprocess" if "postprocess" in run else "dfr"
                what = "Outputs" if record.get("kind") == "map" else "The last layer"
                raise UserError(
                    f"{what} of this checkpoint was refitted by frbench {command}; continue "
                    "training from the run's last.ckpt."
                )
            check_same_data(run, datamodule_of(self.trainer))
            self._seed = run["seed"]
            self.training_log.load_state_dict(run["training_log"])
            self.restore_stages(run["stages"])
            self.restore_rows(run)
