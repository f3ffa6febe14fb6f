"""What a run does not need to say: advertisements, notices, other libraries' deprecations."""

from __future__ import annotations

import logging
import sys
import warnings
from typing import Any

from frbench.callbacks.sanity import SanityWarning

NOISE = (
    "GPU available",
    "TPU available",
    "HPU available",
    "💡 Tip",
    "litlogger",
    "litmodels",
    "`Trainer.fit` stopped",
    "Restored all states",
    "Restoring states",
    "Loaded model weights",
    "Seed set",
    "Received SIGTERM",
    "Detected KeyboardInterrupt",
    "`weights_only` was not set",
)


def _keep(record: logging.LogRecord) -> bool:
    return not any(word in record.getMessage() for word in NOISE)


class _Stderr(logging.StreamHandler[Any]):
    """Standard error as it is now: each run of a grid has it redirected into its own log."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


_usual_format = warnings.formatwarning


def _format_warning(message: Any, category: type[Warning], *args: Any, **kwargs: Any) -> str:
    """Show a sanity check's finding as one line, without a place in the source."""
    if issubclass(category, SanityWarning):
        return f"frbench: warning: {message}\n"
    return _usual_format(message, category, *args, **kwargs)


def quieten() -> None:
    """Drop Lightning's advertisements and notices that repeat what the user asked for."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        children = (
            "utilities.rank_zero",
            "utilities.seed",
            "trainer.connectors.checkpoint_connector",
        )
        for logger in (name, *(f"{name}.{child}" for child in children)):
            logging.getLogger(logger).addFilter(_keep)  # once: it is the same function each time
        # Lightning's own keeps the stream of its import; a user's handlers stay.
        logging.getLogger(name).handlers = [
            _Stderr() if type(handler) is logging.StreamHandler else handler
            for handler in logging.getLogger(name).handlers
        ]
    # torch's pytree warns about a class that Lightning uses on every batch.
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    warnings.filterwarnings("ignore", module="jsonargparse")
    warnings.filterwarnings("ignore", message=".*args parameter is intended to run from within")
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
    # The run's folder holds earlier checkpoints exactly when a run is continued.
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    # All loaders are frbench's own; their workers are data.num_workers.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # A network is in evaluation mode where it is frozen, and only there.
    warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode at the start")
    # Metrics are summed over processes before they are logged.
    warnings.filterwarnings("ignore", message=".*sync_dist=True.*")
    # A foreign checkpoint is refused by a line of its own.
    warnings.filterwarnings("ignore", message="Detected pickle protocol")
    warnings.formatwarning = _format_warning
