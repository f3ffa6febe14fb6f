"""Networks: x -> features -> logits."""

from frbench.networks.base import Network
from frbench.networks.cnn import SmallCNN
from frbench.networks.mlp import MLP
from frbench.networks.timm import Timm

__all__ = ["MLP", "Network", "SmallCNN", "Timm"]
