"""frbench: train, measure and compare fair and robust classifiers.

The package imports no torch by itself: public names are resolved on first use.
"""

from frbench.support.lazy import lazy

__version__ = "0.2.0"

_HOME = {
    "Batch": "contracts.batch",
    "Outputs": "contracts.batch",
    "Sizes": "contracts.batch",
    "load": "runs.checkpoint",
    "UserError": "contracts.errors",
}
__all__ = ["__version__", *sorted(_HOME)]

__getattr__ = lazy(__name__, _HOME)
