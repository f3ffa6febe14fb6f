"""frbench: train, measure and compare fair and robust classifiers.

The package imports no torch by itself: public names are resolved on first use.
"""

from frbench.lazy import lazy

__version__ = "0.1.0"

_HOME = {
    "Batch": "batch",
    "Outputs": "batch",
    "Sizes": "batch",
    "load": "checkpoint",
    "UserError": "errors",
}
__all__ = ["__version__", *sorted(_HOME)]

__getattr__ = lazy(__name__, _HOME)
