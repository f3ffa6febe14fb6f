"""Data sets and the steps that shape the training distribution; names resolve on first use."""

from frbench.support.lazy import lazy

_HOME = {
    "balance_weights": "balance",
    "ACSIncome": "tables.literature",
    "Adult": "tables.literature",
    "AmazonReviews": "texts.reviews",
    "AdultSmall": "tables.released",
    "Augmentation": "step",
    "Bank": "tables.literature",
    "CorrelationRemover": "steps.inputs",
    "CelebA": "images.celeba",
    "ColouredMNIST": "images.coloured_mnist",
    "Compas": "tables.literature",
    "CompasLarge": "tables.released",
    "CompasSmall": "tables.released",
    "Corruption": "step",
    "Digits": "tasks.scenarios",
    "DisparateImpactRemover": "steps.inputs",
    "FairRepresentation": "steps.inputs",
    "FlipLabels": "steps.corruptions",
    "GanPairs": "steps.gan_pairs",
    "German": "tables.literature",
    "GroupDataModule": "module",
    "ImageData": "images.image_data",
    "ImageScenario": "tasks.scenarios",
    "ImageTable": "images.image_table",
    "InputTransform": "step",
    "LawSchool": "tables.literature",
    "MNIST": "tasks.scenarios",
    "Massaging": "steps.baselines",
    "MaxEntropy": "max_entropy",
    "OptimizedPreprocessing": "steps.calmon",
    "PoisonLargestMargin": "steps.corruptions",
    "QMNISTWriters": "images.qmnist",
    "Reweigh": "steps.baselines",
    "Scenario": "tasks.base",
    "Subset": "steps.baselines",
    "Table": "table",
    "TableData": "tables.table_data",
    "TextInputs": "texts.text_table",
    "TextTable": "texts.text_table",
    "TwoGaussians": "tasks.two_gaussians",
}
__all__ = sorted(_HOME)

__getattr__ = lazy(__name__, _HOME)
