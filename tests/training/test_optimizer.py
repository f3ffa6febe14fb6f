"""Which parameters the optimiser holds, and which options it refuses."""

import pytest
import torch
from torch import nn
from trainers import trainer

from frbench.contracts.errors import UserError
from frbench.data import TwoGaussians
from frbench.objectives import ERM, GroupDRO


class Adversarial(ERM):
    """Owns a layer that its parameter groups give a rate of its own."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.adversary = nn.Linear(2, 1)

    def parameter_groups(self):
        own = list(self.adversary.parameters())
        return [{"params": list(self.network.parameters())}, {"params": own, "lr": 0.5}]

    def risk(self, out, batch):
        return super().risk(out, batch) + self.adversary(out.logits).square().mean()


class Scaled(ERM):
    """Owns a parameter and says nothing of it."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.scale = nn.Parameter(torch.ones(()))

    def risk(self, out, batch):
        return super().risk(out, batch) * self.scale


class Forgetful(Adversarial):
    """Leaves its layer out of every group."""

    def parameter_groups(self):
        return super().parameter_groups()[:1]


def test_parameters_of_an_objective_are_optimised():
    model = Adversarial(2, 2, [2])
    run = trainer()
    run.fit(model, datamodule=TwoGaussians(n=64))
    assert [group["lr"] for group in run.optimizers[0].param_groups] == [1e-3, 0.5]
    scaled = Scaled(2, 2, [2])
    trainer().fit(scaled, datamodule=TwoGaussians(n=64))
    assert scaled.scale.item() != 1
    with pytest.raises(UserError, match=r"adversary\.weight is in no group"):
        trainer().fit(Forgetful(2, 2, [2]), datamodule=TwoGaussians(n=64))


def test_fused_optimisers_and_skipped_steps_do_not_mix():
    model = GroupDRO(2, 2, [2], optimizer_options={"fused": True})
    with pytest.raises(UserError, match="fused"):
        from pytorch_lightning.plugins.precision import MixedPrecision

        plugin = MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu"))
        trainer(plugins=[plugin]).fit(model, datamodule=TwoGaussians(n=64))
