"""The trainer of the tests."""

from typing import Any

from pytorch_lightning import Trainer


def trainer(**options: Any) -> Trainer:
    """Make a trainer on one CPU that writes no files, prints nothing and skips the sanity check.

    It trains one epoch, unless ``max_epochs`` or ``max_steps`` say otherwise.
    """
    defaults = {
        "accelerator": "cpu", "devices": 1, "logger": False, "enable_checkpointing": False,
        "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0,
    }  # fmt: skip
    if "max_steps" not in options:
        defaults["max_epochs"] = 1
    return Trainer(**{**defaults, **options})
