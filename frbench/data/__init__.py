"""Data sets and the steps that shape the training distribution; names resolve on first use."""

from frbench.lazy import lazy

_HOME = {
    "balance_weights": "balance",
    "ACSIncome": "tabular",
    "Adult": "tabular",
    "AmazonReviews": "reviews",
    "AdultSmall": "released",
    "Augmentation": "steps",
    "Bank": "tabular",
    "CelebA": "celeba",
    "ColouredMNIST": "coloured_mnist",
    "Compas": "tabular",
    "CompasLarge": "released",
    "CompasSmall": "released",
    "Corruption": "steps",
    "Digits": "scenarios",
    "FlipLabels": "steps",
    "GanPairs": "gan_pairs",
    "GeneratedFaces": "generated_faces",
    "German": "tabular",
    "GroupDataModule": "module",
    "ImageData": "image_data",
    "ImageScenario": "scenarios",
    "ImageTable": "image_table",
    "LawSchool": "tabular",
    "MNIST": "scenarios",
    "Massaging": "baselines",
    "MaxEntropy": "max_entropy",
    "OptimizedPreprocessing": "calmon",
    "PoisonLargestMargin": "steps",
    "QMNISTWriters": "images",
    "Reweigh": "baselines",
    "Scenario": "scenario",
    "Subset": "baselines",
    "Table": "table",
    "TableData": "table_data",
    "TextInputs": "text",
    "TextTable": "text",
    "TwoGaussians": "synthetic",
}
__all__ = sorted(_HOME)

__getattr__ = lazy(__name__, _HOME)
