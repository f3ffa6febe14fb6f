"""Data sets and the steps that shape the training distribution; names resolve on first use."""

from frbench.lazy import lazy

_HOME = {
    "balance_weights": "balance",
    "ACSIncome": "tabular",
    "Adult": "tabular",
    "AmazonReviews": "reviews",
    "Augmentation": "steps",
    "Bank": "tabular",
    "Compas": "tabular",
    "Corruption": "steps",
    "Digits": "scenarios",
    "FlipLabels": "steps",
    "German": "tabular",
    "GroupDataModule": "module",
    "ImageScenario": "scenarios",
    "LawSchool": "tabular",
    "MNIST": "scenarios",
    "MaxEntropy": "max_entropy",
    "PoisonLargestMargin": "steps",
    "QMNISTWriters": "images",
    "Scenario": "scenario",
    "Table": "table",
    "TableData": "table_data",
    "TextInputs": "text",
    "TextTable": "text",
    "TwoGaussians": "synthetic",
}
__all__ = sorted(_HOME)

__getattr__ = lazy(__name__, _HOME)
