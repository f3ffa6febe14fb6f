"""State that a training step proposes and that only a taken optimiser step makes true."""

from __future__ import annotations

from torch import Tensor, nn


class Staged(nn.Module):
    """A module whose buffers change only when the optimiser has stepped.

    ``risk`` and penalties call :meth:`stage`; the base calls :meth:`commit` after the optimiser
    step. When mixed precision skips a step, the proposal is dropped.
    """

    def __init__(self) -> None:
        super().__init__()
        self._proposed: dict[str, Tensor] = {}

    def stage(self, **values: Tensor) -> None:
        """Propose new values of buffers, by name.

        Raises:
            ValueError: If there is no such buffer, or its shape is another.
        """
        for name, value in values.items():
            buffer = self._buffers.get(name)
            if buffer is None or buffer.shape != value.shape:
                shape = None if buffer is None else tuple(buffer.shape)
                raise ValueError(
                    f"stage({name}=...) of shape {tuple(value.shape)}, but the buffer {name!r} "
                    f"has shape {shape}; register it in __init__."
                )
            self._proposed[name] = value.detach()

    def discard(self) -> None:
        """Forget what was proposed."""
        self._proposed.clear()  # not a new dict: assigning to a module costs microseconds

    def commit(self) -> None:
        """Write what was proposed into the buffers."""
        for name, value in self._proposed.items():
            buffer = self._buffers[name]
            assert buffer is not None  # checked when it was staged
            buffer.copy_(value)
        self.discard()
