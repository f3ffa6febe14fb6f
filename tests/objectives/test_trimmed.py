"""Trimmed losses against a loop; nothing dropped is ERM."""

import pytest
import torch

from frbench.contracts.errors import UserError
from frbench.data import TwoGaussians
from frbench.networks import MLP
from frbench.objectives import ERM, Trimmed


@pytest.mark.parametrize("drop", [0.0, 0.1, 0.35, 0.99])
def test_equals_a_sorted_loop(drop):
    torch.manual_seed(0)
    model = Trimmed(2, 2, [2], network=MLP(hidden=[4]), drop=drop)
    data = TwoGaussians(n=40, batch_size=40, balance="class", via="weight", positive_rate=0.3)
    batch = next(iter(data.train_dataloader()))
    out = model.outputs(batch)
    pairs = sorted(zip(out.losses.tolist(), batch.weight.tolist(), strict=True))
    kept = pairs[: max(1, 40 - round(drop * 40))]
    expected = sum(loss * weight for loss, weight in kept) / len(kept)
    assert model.risk(out, batch).item() == pytest.approx(expected, rel=1e-5)
    if drop == 0:
        assert model.risk(out, batch).item() == pytest.approx(ERM.risk(model, out, batch).item())


def test_dropped_rows_have_no_gradient():
    model = Trimmed(2, 2, [2], network=MLP(hidden=[]), drop=0.5)
    batch = next(iter(TwoGaussians(n=8, batch_size=8).train_dataloader()))
    losses = torch.arange(8.0).requires_grad_()
    model.risk(model.outputs(batch)._replace(losses=losses), batch).backward()
    assert losses.grad.tolist() == [0.25] * 4 + [0.0] * 4


@pytest.mark.parametrize("drop", [-0.1, 1.0])
def test_a_share_out_of_range_is_refused(drop):
    with pytest.raises(UserError, match="drop"):
        Trimmed(2, 2, [2], drop=drop)
