"""frbench: train, measure and compare fair and robust classifiers.

The package imports no torch by itself: public names are resolved on first use.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Batch": "frbench.batch",
    "Outputs": "frbench.batch",
    "Sizes": "frbench.batch",
    "load": "frbench.checkpoint",
    "UserError": "frbench.errors",
}
__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'frbench' has no attribute {name!r}")
