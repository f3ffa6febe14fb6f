"""Any image model of timm, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from frbench.batch import Sizes
from frbench.errors import UserError
from frbench.networks.base import Network


class Timm(Network):
    """A timm model without its classifier, from scratch or from a local checkpoint.

    Nothing is downloaded: weights come from ``checkpoint`` alone.

    Args:
        name: Name in timm's list, ``resnet50`` say.
        checkpoint: Local file of weights for that model (state dict or safetensors); the
            classifier of the checkpoint is dropped.
        freeze: Keep the backbone fixed, in evaluation mode; only the head is trained.
        options: Further arguments of ``timm.create_model``, ``{pad_type: same}`` say.

    Raises:
        UserError: For an unknown name, a missing file, or weights of another model.
    """

    transient_arguments: ClassVar[dict[str, Any]] = {"checkpoint": None}

    def __init__(
        self,
        name: str = "resnet18",
        checkpoint: str | None = None,
        freeze: bool = False,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.checkpoint = checkpoint
        self.freeze = freeze
        self.options = options

    def build(self, sizes: Sizes) -> tuple[nn.Module, int]:
        """Return the timm model and its number of features."""
        import timm

        if not timm.is_model(self.name):
            known = timm.list_models(f"*{self.name[:6]}*")[:8]
            raise UserError(f"timm has no model {self.name!r}; similar names: {known or 'none'}.")
        model = timm.create_model(
            self.name, num_classes=0, in_chans=sizes.input_shape[0], **(self.options or {})
        )
        if self.checkpoint is not None:
            self._load(model)
        if self.freeze:
            model.requires_grad_(False)
        # Where timm has a layer between pooling and classifier, its width is not num_features.
        width = getattr(model, "head_hidden_size", None) or model.num_features
        return model, cast(int, width)

    def _load(self, model: nn.Module) -> None:
        from timm.models import load_state_dict

        path = Path(str(self.checkpoint))
        if not path.is_file():
            raise UserError(f"model.network.checkpoint: there is no file {path}.")
        state = load_state_dict(str(path), weights_only=True)
        wanted = set(model.state_dict())
        missing = sorted(wanted - set(state))
        if missing:
            raise UserError(
                f"{path.name} holds no weights {missing[:3]} of timm's {self.name}; is it a "
                "checkpoint of another model?"
            )
        model.load_state_dict({key: state[key] for key in wanted})

    def train(self, mode: bool = True) -> Timm:
        """Set the mode; a frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.freeze and hasattr(self, "backbone"):
            self.backbone.eval()
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return features [B, D] and logits [B, C]."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze):
            features = self.backbone(x)
        return features, self.head(features)
