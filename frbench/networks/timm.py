"""Any image model of timm, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.contracts.ranges import Count, Positive
from frbench.networks.base import Network, check_image
from frbench.support.files import find


class Timm(Network):
    """A timm model without its classifier, from scratch or from a local checkpoint.

    Nothing is downloaded: weights come from ``checkpoint`` alone.

    Args:
        name: Name in timm's list, ``resnet50`` say.
        checkpoint: Local file of weights for that model (state dict or safetensors), or its path
            below ``FRBENCH_DATA``; the classifier of the checkpoint is dropped, every other
            tensor must fit.
        freeze: Keep the backbone fixed, in evaluation mode (BatchNorm statistics too); only the
            head is trained.
        options: Further arguments of ``timm.create_model``, ``{pad_type: same}`` say.
        image_size: Height and width to which inputs are resized (bilinear) before the model;
            None leaves them.
        mean: What is subtracted from inputs in [0, 1], one number or one for each channel; it
            belongs to the weights.
        std: By what they are divided then.

    Raises:
        UserError: For an unknown name, a missing or unreadable file, or weights of another
            model.
    """

    input_mean: Tensor
    input_std: Tensor
    transient_arguments: ClassVar[dict[str, Any]] = {"checkpoint": None}

    def __init__(
        self,
        name: str = "resnet18",
        checkpoint: str | None = None,
        freeze: bool = False,
        options: dict[str, Any] | None = None,
        image_size: list[Count] | None = None,
        mean: list[float] | None = None,
        std: list[Positive] | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.checkpoint = checkpoint
        self.freeze = freeze
        self.options = options
        self.image_size = image_size
        self.mean = mean
        self.std = std
        if image_size is not None and len(image_size) != 2:
            raise UserError(f"Timm.image_size must be [height, width], got {image_size}.")

    @property
    def pretrained(self) -> bool:  # type: ignore[override]
        """Whether there is a file of weights."""
        return self.checkpoint is not None

    def build(self, sizes: Sizes) -> tuple[nn.Module, int]:
        """Return the timm model and its number of features."""
        import timm

        check_image(sizes, "Timm")
        if not timm.is_model(self.name):
            known = timm.list_models(f"*{self.name[:6]}*")[:8]
            raise UserError(f"timm has no model {self.name!r}; similar names: {known or 'none'}.")
        channels = sizes.input_shape[0]
        for name, default in (("mean", 0.0), ("std", 1.0)):
            values = getattr(self, name) or [default]
            if len(values) not in (1, channels):
                raise UserError(
                    f"Timm.{name} has {len(values)} numbers for images of {channels} channels."
                )
            shape = torch.tensor(values).view(-1, 1, 1)
            self.register_buffer(f"input_{name}", shape, persistent=False)
        try:
            model = timm.create_model(
                self.name, num_classes=0, in_chans=channels, **(self.options or {})
            )
        except Exception as error:  # timm's models raise many types for options they do not take
            if not self.options:
                raise
            raise UserError(
                f"model.network.options: timm's {self.name} refuses {self.options} "
                f"({type(error).__name__}: {error})."
            ) from error
        if self.checkpoint is not None:
            self._load(model)
        if self.freeze:
            model.requires_grad_(False)
        return model, self._width(model, sizes)

    def _width(self, model: Any, sizes: Sizes) -> int:
        """Return the number of features of an image of zeros, whose size the model must take."""
        size = list(self.image_size or sizes.input_shape[1:])
        training = model.training
        try:
            with torch.no_grad():
                features = model.eval()(torch.zeros(1, sizes.input_shape[0], *size))
        except Exception as error:  # assertions and shapes of timm's many models
            made_for = list((getattr(model, "pretrained_cfg", None) or {}).get("input_size") or ())
            reason = " ".join(str(error).split())
            raise UserError(
                f"model.network.image_size: timm's {self.name} does not take images of {size} "
                f"({type(error).__name__}: {reason:.200}); set it to {made_for[1:] or 'another'}, "
                f"or options.img_size to {size} where the model has it."
            ) from error
        finally:
            model.train(training)
        shape = list(getattr(features, "shape", []))
        if len(shape) != 2:
            raise UserError(
                f"model.network.options: with {self.options} timm's {self.name} gives "
                f"{shape or type(features).__name__} for an image, not features [1, D]; leave out "
                "features_only, num_classes and global_pool."
            )
        return int(shape[1])

    def _load(self, model: nn.Module) -> None:
        from timm.models import load_state_dict

        path = Path(str(self.checkpoint))
        if not path.is_file():
            found = find(str(path))
            if found is None:
                raise UserError(
                    f"model.network.checkpoint: there is no file {path}, neither seen from "
                    f"{Path.cwd()} nor below FRBENCH_DATA."
                )
            path = found
        try:
            state = load_state_dict(str(path), weights_only=True)
        except Exception as error:  # many types, for a damaged or foreign file
            raise UserError(
                f"model.network.checkpoint: {path} is no readable file of weights (state dict or "
                "safetensors): it is damaged, or holds something else."
            ) from error
        wanted = model.state_dict()
        classifiers = cast(Any, model).pretrained_cfg.get("classifier") or ()
        classifiers = [classifiers] if isinstance(classifiers, str) else list(classifiers)
        problems = [f"it lacks {key}" for key in sorted(set(wanted) - set(state))]
        problems += [
            f"it has {key}, which the model lacks"
            for key in sorted(set(state) - set(wanted))
            if not any(key.startswith(f"{name}.") for name in classifiers)
        ]
        problems += [
            f"{key} has shape {tuple(state[key].shape)}, the model's {tuple(wanted[key].shape)}"
            for key in wanted
            if key in state and state[key].shape != wanted[key].shape
        ]
        if problems:
            raise UserError(
                f"model.network.checkpoint: {path.name} does not fit timm's {self.name}: "
                f"{problems[0]} ({len(problems)} differences). Is it of another model, or for "
                "other options or input channels?"
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
        x = (x - self.input_mean) / self.input_std
        if self.image_size is not None and list(x.shape[2:]) != self.image_size:
            x = F.interpolate(x, self.image_size, mode="bilinear", antialias=False)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze):
            features = self.backbone(x)
        return features, self.head(features)
