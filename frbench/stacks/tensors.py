"""The tensors of all runs, and one training step of all of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from frbench.contracts.batch import Batch
from frbench.stacks.alike import Place
from frbench.training.objective import Objective

#: What a step may read of the trainer: all that is the same for every run of a stack.
READABLE = ("precision_plugin", "global_step", "current_epoch", "fit_loop", "state")


class _Shared:
    """A trainer or a data set of which a step reads what all runs have in common."""

    def __init__(self, source: Any, names: Sequence[str], **own: Any) -> None:
        self._source, self._names = source, names
        vars(self).update(own)

    def __getattr__(self, name: str) -> Any:
        if name in self._names:
            return getattr(self._source, name)
        raise NotInStack(f"a step reads {name}, which each run of a stack has for itself")


class NotInStack(RuntimeError):
    """A step that needs something of its own run."""


class _NoSeed:
    """Stands for the seeds of the runs where a step must not read one."""

    def __getattr__(self, name: str) -> Any:
        raise NotInStack("a step draws random numbers from the seed of its run")

    def __bool__(self) -> bool:
        raise NotInStack("a step draws random numbers from the seed of its run")


class Found(NamedTuple):
    """What a step gives; every tensor has a row for each run.

    Attributes:
        terms: The loss and what it is made of [R].
        staged: Proposed buffers by name.
        rows: Proposed values of rows by name: index [R, B] and value [R, B, ...].
        correct: Whether a training row is predicted right [R, B].
        losses: Losses of the training rows [R, B].
    """

    terms: dict[str, Tensor]
    staged: dict[str, Tensor]
    rows: dict[str, tuple[Tensor, Tensor]]
    correct: Tensor
    losses: Tensor


class _Step(nn.Module):
    """What ``training_step`` computes, as a function of parameters, buffers and batch."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, batch: Batch, drawn: tuple[Tensor, ...]) -> Found:
        model = self.objective
        model.discard_all()
        batch = model.as_seen(batch)
        out, seen = model.mixed_as(batch, *drawn) if drawn else model.mixed(batch)
        rows = model.training_rows(out, seen)
        with model.full_precision():
            terms = model.terms((out, seen) if model.uses_clean else rows, rows)
        staged = {f"objective.{name}": value for name, value in model._proposed.items()}
        for i, penalty in enumerate(model.penalties):
            proposed = penalty._proposed.items()
            staged |= {f"objective.penalties.{i}.{name}": value for name, value in proposed}
        rows_of = dict(model._proposed_rows)
        model.discard_all()
        correct = rows[0].logits.argmax(1) == rows[1].y
        return Found(terms, staged, rows_of, correct, rows[0].losses.detach())


@contextlib.contextmanager
def swapped(values: Mapping[tuple[nn.Module, str], Any]) -> Iterator[None]:
    """Give attributes of modules other values while the context is open."""
    before = {(module, key): vars(module)[key] for module, key in values}
    for (module, key), value in values.items():
        vars(module)[key] = value
    try:
        yield
    finally:
        for (module, key), value in before.items():
            vars(module)[key] = value


class StackedTensors:
    """Parameters, buffers and states of rows of R objectives, a row for each.

    The objectives' own tensors become views of them: what a step of the stack changes, an
    objective has, and evaluates and saves as if it were trained alone.

    Args:
        objectives: Objectives of one shape.
        numbers: Attributes in which they differ, a value for each objective.
        trainer: The stack's trainer.

    Attributes:
        flat: The trained parameters, in the order of the groups of the optimiser [R, P].
    """

    def __init__(
        self, objectives: Sequence[Objective], numbers: Mapping[Place, Sequence[float]],
        trainer: Any,
    ) -> None:  # fmt: skip
        self.objectives = objectives
        self.base = base = objectives[0]
        self._step = _Step(base)
        self._trainer = trainer
        names = {id(p): name for name, p in base.named_parameters()}
        trained = [p for group in base.parameter_groups() for p in group["params"]]
        self._names = [names[id(p)] for p in trained]
        self._shapes = [p.shape for p in trained]
        self._sizes = [p.numel() for p in trained]
        flat = torch.empty(len(objectives), sum(self._sizes), device=base.device)
        for row, objective in zip(flat, objectives, strict=True):
            own = dict(objective.named_parameters())
            for name, part in zip(self._names, row.split(self._sizes), strict=True):
                part.copy_(own[name].detach().flatten())
                own[name].data = part.view_as(own[name])
        self.flat = nn.Parameter(flat)
        self._kept = {
            name: self._stack(name)
            for name, tensor in (*base.named_parameters(), *base.named_buffers())
            if name not in self._names and not name.startswith("_evaluators.")
        }
        self.rows = {name: self._stack(name) for name in base.row_state}
        modules = dict(base.named_modules())
        self._numbers = {
            (modules[name], key): torch.tensor(values, device=base.device)
            for (name, key), values in numbers.items()
        }
        # Randomness is an error: one-by-one runs would draw other numbers.
        self._all = vmap(self._one, in_dims=0, randomness="error")

    def _stack(self, name: str) -> Tensor:
        """Stack one tensor of each objective, and leave a view of it in its place."""
        path, _, key = name.rpartition(".")
        owners = [objective.get_submodule(path) for objective in self.objectives]
        stacked = torch.stack([getattr(owner, key).detach() for owner in owners])
        for owner, part in zip(owners, stacked, strict=True):
            if isinstance(parameter := getattr(owner, key), nn.Parameter):
                parameter.data = part
            else:
                setattr(owner, key, part)
        return stacked

    def _one(
        self,
        tensors: dict[str, Tensor],
        rows: dict[str, Tensor],
        numbers: list[Tensor],
        batch: Batch,
        drawn: tuple[Tensor, ...],
    ) -> Found:
        lifted = dict(zip(self._numbers, numbers, strict=True))
        lifted |= {(self.base, name): value for name, value in rows.items()}
        with swapped(lifted):
            found: Found = functional_call(self._step, tensors, (batch, drawn))
        return found

    def step(self, batch: Batch, drawn: tuple[Tensor, ...] = ()) -> Found:
        """Compute one training step of every run.

        Args:
            batch: Batches of all runs [R, B, ...].
            drawn: Partners of a mixing, their labels, and shares [R, B]; nothing without one.
        """
        parts = self.flat.split(self._sizes, 1)
        tensors = {
            f"objective.{name}": part.view(len(part), *shape)
            for name, part, shape in zip(self._names, parts, self._shapes, strict=True)
        }
        tensors |= {f"objective.{name}": tensor for name, tensor in self._kept.items()}
        data = self.base.trainer.datamodule  # type: ignore[attr-defined]
        trainer = _Shared(self._trainer, READABLE, datamodule=_Shared(data, ("clean_per_batch",)))
        with swapped({(self.base, "_seed"): _NoSeed(), (self.base, "_trainer"): trainer}):
            return self._all(tensors, self.rows, list(self._numbers.values()), batch, drawn)

    @torch.no_grad()
    def commit(self, found: Found) -> None:
        """Write what a step has proposed."""
        for name, value in found.staged.items():
            self._kept[name.removeprefix("objective.")].copy_(value)
        for name, (index, value) in found.rows.items():
            rows = self.rows[name]
            index = index.view(*index.shape, *[1] * (value.ndim - 2)).expand_as(value)
            rows.scatter_reduce_(1, index, value.to(rows), "mean", include_self=False)

    def state_dict(self) -> dict[str, Any]:
        """Return parameters and buffers; the states of rows are saved by the objectives."""
        return {"flat": self.flat.detach(), "kept": self._kept}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them back, and the states of rows from the objectives, which have theirs."""
        self.flat.copy_(state["flat"])
        for name, tensor in self._kept.items():
            tensor.copy_(state["kept"][name])
        for name, rows in self.rows.items():
            for objective, mine in zip(self.objectives, rows, strict=True):
                mine.copy_(getattr(objective, name))
                setattr(objective, name, mine)

    # ---- before training --------------------------------------------------------------------
    def check(self, batch: Batch, compare: bool = True) -> None:
        """Compare a step of the stack with the step of each run by itself.

        Args:
            batch: Batches of all runs [R, B, ...].
            compare: Whether to compare, or to try the step of the stack alone.

        Raises:
            NotInStack: If the step cannot be taken by all at once, or gives other numbers.
        """
        kept = {name: tensor.clone() for name, tensor in self._kept.items()}
        drawn: tuple[Tensor, ...] = ()
        if self.base.mixing is not None:
            size = batch.y.shape[1]
            place = torch.arange(size - 1, -1, -1).expand(len(batch.y), size)
            share = torch.full(place.shape, 0.75, dtype=torch.float64)
            drawn = place, batch.y.gather(1, place), share
        try:
            found = self.step(batch, drawn)
            (grad,) = torch.autograd.grad(found.terms["loss"].sum(), self.flat)
            for run, objective in enumerate(self.objectives if compare else ()):
                own = dict(objective.named_parameters())
                rows = Batch(*(column[run] for column in batch))
                mine = tuple(column[run] for column in drawn)
                alone = _Step(objective)(rows, mine).terms["loss"]
                parts = torch.autograd.grad(
                    alone, [own[n] for n in self._names], allow_unused=True, materialize_grads=True
                )
                theirs = torch.cat([alone[None], *(p.flatten() for p in parts)]).detach()
                ours = torch.cat([found.terms["loss"][run, None], grad[run]]).detach()
                if not bool((theirs - ours).norm() <= 1e-3 * theirs.norm()):
                    raise NotInStack("its first step has other numbers in a stack")
        except NotInStack:
            raise
        except Exception as error:  # of torch or of a method, which batches of several runs break
            reason = " ".join(str(error).split()) or type(error).__name__
            raise NotInStack(f"a step of several runs fails ({reason:.160})") from error
        finally:
            with torch.no_grad():
                for name, tensor in self._kept.items():
                    tensor.copy_(kept[name])
            for objective in self.objectives:
                objective.discard_all()
