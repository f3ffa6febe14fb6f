"""Data sets and the steps that shape the training distribution; names resolve on first use."""

from importlib import import_module
from typing import Any

_HOME = {
    "ACSIncome": "tabular",
    "Adult": "tabular",
    "Augmentation": "steps",
    "Bank": "tabular",
    "Compas": "tabular",
    "Corruption": "steps",
    "Digits": "scenarios",
    "FlipLabels": "steps",
    "German": "tabular",
    "GroupDataModule": "module",
    "LawSchool": "tabular",
    "PoisonLargestMargin": "steps",
    "QMNISTWriters": "images",
    "Table": "table",
    "TableData": "table_data",
    "TwoGaussians": "synthetic",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"frbench.data.{_HOME[name]}"), name)
    raise AttributeError(f"module 'frbench.data' has no attribute {name!r}")
