"""One optimiser over the parameters of all runs, with a rate and a decay for each."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

#: Options of torch's that runs of one stack may differ in.
FREE = ("lr", "weight_decay")
#: Options that say how torch moves parameters, not where.
_FORMS = ("params", "initial_lr", "fused", "foreach", "capturable", "differentiable")
#: Options whose other values have no elementwise step here.
_OFF = ("amsgrad", "maximize")


def reason_alone(optimizer: Optimizer) -> str | None:
    """Say why an optimiser has no step for a stack, if it has none."""
    kind = type(optimizer)
    if kind not in (SGD, Adam, AdamW):
        return f"{kind.__name__} has no step for a stack; SGD, Adam and AdamW have one"
    on = [name for name in _OFF for group in optimizer.param_groups if group.get(name)]
    if on:
        return f"{kind.__name__} with {on[0]} has no step for a stack"
    return None


def shared_options(optimizer: Optimizer) -> list[dict[str, Any]]:
    """Return what must be equal in a stack, for each parameter group."""
    return [
        {k: v for k, v in group.items() if k not in (*FREE, *_FORMS)}
        for group in optimizer.param_groups
    ]


class StackedOptimizer(Optimizer):
    """SGD, Adam or AdamW of R runs at once; each run's step is that of torch's class.

    A run differs from the others in nothing but ``lr`` and ``weight_decay``, which are read from
    its own optimiser in each step: that one takes no steps, its schedule moves its rates.

    Args:
        flat: The runs' parameters, a row for each run, in the order of the groups [R, P].
        own: Each run's optimiser; all have the same groups.
    """

    def __init__(self, flat: Tensor, own: Sequence[Optimizer]) -> None:
        super().__init__([{"params": [flat]}], {})
        self.own = own
        self.flat = flat
        self._sizes = [sum(p.numel() for p in g["params"]) for g in own[0].param_groups]
        self._options = shared_options(own[0])
        self._kind = type(own[0])
        self.refresh()

    def refresh(self) -> None:
        """Read the runs' rates and decays, which their schedules may have changed."""
        self._rates: list[tuple[Tensor, Tensor | None]] = []
        for i in range(len(self._sizes)):
            columns = [[[o.param_groups[i][name]] for o in self.own] for name in FREE]
            lr, decay = torch.tensor(columns, dtype=self.flat.dtype, device=self.flat.device)
            self._rates.append((lr, decay if decay.any() else None))

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take one step of all runs."""
        with torch.enable_grad():
            loss = None if closure is None else closure()
        assert self.flat.grad is not None
        state = self.state[self.flat]
        if not state:
            names = ["exp_avg", "exp_avg_sq"]
            if self._kind is SGD:
                names = ["momentum"] if any(o["momentum"] for o in self._options) else []
            state |= {"step": 0, **{name: torch.zeros_like(self.flat) for name in names}}
        state["step"] += 1
        parts = [
            t.split(self._sizes, 1)
            for t in (self.flat, self.flat.grad, *(state[k] for k in state if k != "step"))
        ]
        move = _sgd if self._kind is SGD else _adam
        for options, rates, *tensors in zip(self._options, self._rates, *parts, strict=True):
            move(state["step"], options, *rates, *tensors)
        return loss


def _sgd(
    step: int, options: dict[str, Any], lr: Tensor, decay: Tensor | None,
    value: Tensor, grad: Tensor, buffer: Tensor | None = None,
) -> None:  # fmt: skip
    if decay is not None:
        grad = torch.addcmul(grad, value, decay)
    momentum = options["momentum"]
    if momentum and buffer is not None:
        # torch's buffer begins as the first gradient, whatever the dampening.
        share = 1 if step == 1 else 1 - options["dampening"]
        buffer.mul_(momentum).add_(grad, alpha=share)
        grad = grad.add(buffer, alpha=momentum) if options["nesterov"] else buffer
    value.addcmul_(grad, lr, value=-1)


def _adam(
    step: int, options: dict[str, Any], lr: Tensor, decay: Tensor | None,
    value: Tensor, grad: Tensor, mean: Tensor, square: Tensor,
) -> None:  # fmt: skip
    first, second = options["betas"]
    if decay is not None and options["decoupled_weight_decay"]:
        value.mul_(1 - lr * decay)
    elif decay is not None:
        grad = torch.addcmul(grad, value, decay)
    mean.lerp_(grad, 1 - first)
    square.mul_(second).addcmul_(grad, grad, value=1 - second)
    root = square.sqrt().div_((1 - second**step) ** 0.5).add_(options["eps"])
    value.addcmul_(mean / root, lr, value=-1 / (1 - first**step))


def own_state(optimizer: StackedOptimizer, run: int) -> dict[str, Any]:
    """Return the state of one run as its own optimiser would hold it.

    Args:
        optimizer: The stack's.
        run: Row of the run.
    """
    own, state = optimizer.own[run], optimizer.state.get(optimizer.flat)
    found = own.state_dict()
    if not state:
        return found
    start, number = 0, 0
    for group in own.param_groups:
        for parameter in group["params"]:
            place = slice(start, start + parameter.numel())
            rows = {k: v[run, place].view_as(parameter) for k, v in state.items() if k != "step"}
            found["state"][number] = _named(type(own), group, state["step"], rows)
            start, number = place.stop, number + 1
    return found


def _named(
    kind: type, group: dict[str, Any], step: int, rows: dict[str, Tensor]
) -> dict[str, Any]:
    """Return one parameter's state under torch's names."""
    if kind is not SGD:
        return {"step": torch.tensor(float(step)), **{k: v.clone() for k, v in rows.items()}}
    return {"momentum_buffer": rows["momentum"].clone() if group["momentum"] else None}


class Schedules:
    """The schedules of all runs, as the one that Lightning steps.

    Args:
        optimizer: The stack's.
        own: Each run's schedule.
    """

    def __init__(self, optimizer: StackedOptimizer, own: Sequence[Any]) -> None:
        self.optimizer = optimizer
        self.own = own

    def step(self, *_: Any) -> None:
        """Move every run's rates."""
        with warnings.catch_warnings():
            # The optimisers whose rates they move take no steps.
            warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
            for schedule in self.own:
                schedule.step()
        self.optimizer.refresh()

    def state_dict(self) -> dict[str, Any]:
        """Return the states, and the rates that they have led to."""
        rates = [[g["lr"] for g in o.param_groups] for o in self.optimizer.own]
        return {"own": [schedule.state_dict() for schedule in self.own], "rates": rates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the states back."""
        for schedule, own in zip(self.own, state["own"], strict=True):
            schedule.load_state_dict(own)
        for optimizer, rates in zip(self.optimizer.own, state["rates"], strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate
        self.optimizer.refresh()
