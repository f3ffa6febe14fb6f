"""What a run writes about itself: its options, for people and for loggers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pytorch_lightning.cli import SaveConfigCallback

from frbench.data.describe import describe
from frbench.metrics.own import directions
from frbench.runs import wandb as wandb_run
from frbench.runs.wandb import is_wandb
from frbench.support.atomic import write_text


class RecordRun(SaveConfigCallback):
    """Write the configuration into the run's folder and to the loggers; print the group table."""

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Print what training will see."""
        if stage == "fit" and trainer.is_global_zero:
            print(describe(trainer.datamodule), flush=True)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Save once the loaders stand, which check the inputs; never over another run's file."""
        if not trainer.is_global_zero:
            return
        # The parser has read it, and need not check it again.
        text = self.parser.dump(self.config, skip_none=False, skip_check=True)
        folder = Path(self.config.run_dir)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "config.yaml"
        for i in range(2, 10_000):
            if not path.exists() or path.read_text() == text:
                break
            path = folder / f"config-{i}.yaml"
        write_text(path, text)
        for logger in trainer.loggers:
            logger.log_hyperparams(yaml.safe_load(text))
            if is_wandb(logger):
                wandb_run.start(logger, folder, directions(pl_module.metrics))

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Complete what W&B shows of the run."""
        for logger in trainer.loggers if trainer.is_global_zero else ():
            if is_wandb(logger):
                wandb_run.finish(logger, Path(self.config.run_dir))
