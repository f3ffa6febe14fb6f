"""Mixing: which rows of a batch are combined."""

from frbench.mixing.base import Mixing
from frbench.mixing.cutmix import CutMix
from frbench.mixing.lisa import LISA
from frbench.mixing.mixup import Mixup

__all__ = ["LISA", "CutMix", "Mixing", "Mixup"]
