"""Every inference with every mixing, objectives that weigh rows or groups, and two penalties."""

import pytest
import torch
from promises import SLOW, found
from pytorch_lightning import seed_everything
from trainers import trainer

from frbench.contracts.errors import UserError
from frbench.data import Digits
from frbench.group_inference import Errors, GroupInference
from frbench.mixing import LISA, Mixing
from frbench.networks import MLP
from frbench.objectives import ERM, CVaR, GroupDRO, Objective
from frbench.penalties import ConditionalMMD, VREx

PAIRS = [(infer, mixing) for infer in found(GroupInference) for mixing in found(Mixing)]


def part(infer, mixing):
    quick = (infer, mixing) == (Errors, LISA)
    return pytest.param(
        infer, mixing, id=f"{infer.__name__}-{mixing.__name__}", marks=[] if quick else SLOW
    )


@pytest.mark.promise("precision")
@pytest.mark.parametrize(("infer", "mixing"), [part(*pair) for pair in PAIRS])
def test_a_step_of_the_second_stage_in_both_precisions(infer, mixing):
    for cls in (ERM, GroupDRO, CVaR):
        for precision in ("32-true", "bf16-mixed"):
            seed_everything(0, verbose=False)
            method = infer()
            model = cls(
                2, 2, [3, 12, 8], network=MLP(hidden=[4]), infer=method, mixing=mixing(),
                penalties=[VREx(0.5), ConditionalMMD(0.5)],
            )  # fmt: skip
            run = trainer(
                max_steps=2 * method.length(1) + 1, limit_val_batches=0, precision=precision
            )
            run.fit(model, datamodule=Digits(n=48, n_eval=40, batch_size=24))
            assert not model.identifying
            assert {"VREx", "ConditionalMMD"} < model.training_log.terms.keys()
            assert all(torch.isfinite(term) for term in model.training_log.terms.values())
            assert all(torch.isfinite(value).all() for value in model.state_dict().values())


@pytest.mark.promise("input")
@pytest.mark.parametrize("cls", found(Objective), ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("axis", ["infer", "mixing"])
def test_an_objective_combines_with_an_axis_or_says_that_it_does_not(cls, axis):
    """The instance of one class of the axis stands for all."""
    part = Errors() if axis == "infer" else LISA()
    options = {axis: part, "network": MLP(hidden=[3])}
    alone = cls(2, 2, [2], network=MLP(hidden=[3]))
    if axis in cls.combines and not alone.uses_clean:
        assert getattr(cls(2, 2, [2], **options), axis) is part
        return
    with pytest.raises(UserError, match=rf"model.{axis}: {cls.__name__} .*{type(part).__name__}"):
        cls(2, 2, [2], **options)
