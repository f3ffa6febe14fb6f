"""Pictures of what a GAN makes while it trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer

from frbench.gan.pictures import grid, save_grid


class SampleGrid(Callback):
    """Writes a grid of images of the same latents every n steps, and sends it to the loggers.

    Args:
        folder: Where to write ``<step>.png``.
        every: Steps between two grids; 0 writes none.
    """

    def __init__(self, folder: str, every: int = 500) -> None:
        self.folder = folder
        self.every = every

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Write, if this step is due."""
        step = trainer.global_step
        if not self.every or step % self.every or not trainer.is_global_zero:
            return
        with torch.inference_mode():
            x = pl_module.average.eval()(pl_module.preview)
        images = (x.float().clamp(0, 1) * 255).round().byte().cpu().numpy()
        save_grid(Path(self.folder) / f"{step:07d}.png", images)
        for logger in trainer.loggers:
            if hasattr(logger, "log_image"):
                logger.log_image("samples", [grid(images, 8)], step=step)
