"""Networks: x -> features -> logits."""

from frbench.networks.base import Network, Wrapped
from frbench.networks.cnn import VGG, SmallCNN
from frbench.networks.mlp import MLP
from frbench.networks.text import BagOfWords, PretrainedText, TransformerEncoder
from frbench.networks.timm import Timm
from frbench.networks.vit import ViT

__all__ = [
    "MLP", "VGG", "BagOfWords", "Network", "PretrainedText", "SmallCNN", "Timm",
    "TransformerEncoder", "ViT", "Wrapped",
]  # fmt: skip
