"""What must hold around a pass that repeats, or differentiates, a training forward."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm

from frbench.contracts.errors import UserError

NORMS = (_BatchNorm, nn.GroupNorm, nn.LayerNorm)


def batch_statistics(model: nn.Module) -> str | None:
    """Name the first layer that normalises with the statistics of its batch; None if none does.

    Where there is one, a loss depends on the whole batch: what the samples' gradients would be
    one by one (``vmap`` over samples) is another quantity. Without running statistics, a
    BatchNorm does so in evaluation mode, too.
    """
    names = (
        name
        for name, m in model.named_modules()
        if isinstance(m, _BatchNorm) and (m.training or m.running_mean is None)
    )
    return next(names, None)


class Conditions(NamedTuple):
    """Random state and autocast of a forward pass, so that it can be run again.

    The generators of torch alone: a network that draws from python's or numpy's is not replayed.
    """

    device: torch.device
    random: Tensor
    random_cuda: Tensor | None
    autocast: torch.dtype | None

    @classmethod
    def now(cls, device: torch.device) -> Conditions:
        """Take down the present ones."""
        kind = device.type
        enabled = torch.is_autocast_enabled(kind)
        return cls(
            device,
            torch.get_rng_state(),
            torch.cuda.get_rng_state(device) if kind == "cuda" else None,
            torch.get_autocast_dtype(kind) if enabled else None,
        )

    @contextlib.contextmanager
    def again(self) -> Iterator[None]:
        """Restore them, and put the generators back at the end."""
        devices = [] if self.random_cuda is None else [self.device]
        autocast = torch.autocast(
            self.device.type, self.autocast, enabled=self.autocast is not None
        )
        with torch.random.fork_rng(devices=devices), autocast:
            torch.set_rng_state(self.random)
            if self.random_cuda is not None:
                torch.cuda.set_rng_state(self.random_cuda, self.device)
            yield


@contextlib.contextmanager
def _changed(modules: Iterable[nn.Module], attribute: str, value: bool) -> Iterator[None]:
    """Set an attribute of all batch normalisations in training mode."""
    norms = [m for m in modules if isinstance(m, _BatchNorm) and m.training]
    before = [getattr(m, attribute) for m in norms]
    try:
        for m in norms:
            setattr(m, attribute, value)
        yield
    finally:
        for m, old in zip(norms, before, strict=True):
            setattr(m, attribute, old)


def frozen_statistics(model: nn.Module) -> Any:
    """Let batch normalisations use their running statistics."""
    return _changed(model.modules(), "training", False)


@contextlib.contextmanager
def forward_mode(modules: list[nn.Module], autocast: bool) -> Iterator[None]:
    """Make the modules of a network fit for forward-mode differentiation.

    Batch normalisations keep the batch's statistics but do not count them a second time (their
    counters refuse forward mode, too). Attention takes the math kernel, the only one with a
    forward-mode rule. Under autocast, normalisations get float32: with bfloat16 inputs and
    float32 parameters their tangents come out in another type than their values.
    """

    def to_float(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (args[0].float(), *args[1:])

    with contextlib.ExitStack() as stack:
        stack.enter_context(_changed(modules, "track_running_stats", False))
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if autocast:
            for module in modules:
                if isinstance(module, NORMS):
                    handle = module.register_forward_pre_hook(to_float)
                    stack.callback(handle.remove)
        yield


@contextlib.contextmanager
def explained(name: str, problem: str | None) -> Iterator[None]:
    """Say in one line what autograd cannot do.

    Args:
        name: Who asks.
        problem: Why layer-local products are not used.

    Raises:
        UserError: For an error of autograd's inside.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, NotImplementedError) as error:
        raise UserError(
            f"{name}: this network allows neither layer-local products ({problem}) "
            f"nor forward mode ({' '.join(str(error).split())[:200]}). Use layers: last, "
            "batchnorm: frozen where SyncBatchNorm trains, or other layers (no reentrant "
            "checkpointing, LSTM, or function without a jvp)."
        ) from error
