"""Domain-independent heads against a loop, and their special cases."""

import numpy as np
import pytest
import torch

from frbench.contracts.batch import Batch
from frbench.contracts.errors import UserError
from frbench.networks import MLP
from frbench.objectives import ERM, DomainIndependent


def batch_of(z, seed=0):
    rng = np.random.default_rng(seed)
    n = len(z)
    x = torch.tensor(rng.normal(size=(n, 5)), dtype=torch.float32)
    y, z = torch.tensor(rng.integers(0, 3, n)), torch.tensor(z)
    one = torch.tensor(rng.uniform(0.5, 1.5, n), dtype=torch.float32)
    return Batch(x, y, z, torch.where(z < 0, -1, 2 * y + z), one, z > 5, y, z > 5)


@pytest.mark.parametrize("inference", ["sum_logits", "sum_probabilities", "max"])
def test_each_row_trains_its_own_head(inference):
    torch.manual_seed(0)
    model = DomainIndependent(3, 2, [5], network=MLP(hidden=[7]), inference=inference).double()
    batch = batch_of([0, 1, 1, 0, -1, 1])
    batch = batch._replace(x=batch.x.double(), weight=batch.weight.double())
    out = model.outputs(batch)
    with torch.no_grad():
        flat = model.network(batch.x)[1].numpy()
    total = 0.0
    for i in range(6):
        heads = [flat[i, :3], flat[i, 3:]]
        joint = np.exp(flat[i]) / np.exp(flat[i]).sum()
        combined = {
            "sum_logits": heads[0] + heads[1],
            "sum_probabilities": np.log(joint[:3] + joint[3:]),
            "max": np.maximum(*heads),
        }[inference]
        logits = combined if batch.z[i] < 0 else heads[batch.z[i]]
        loss = np.log(np.exp(logits).sum()) - logits[batch.y[i]]
        total += batch.weight[i].item() * loss / 6
        shown = out.logits[i].detach().softmax(0).numpy()
        np.testing.assert_allclose(shown, np.exp(combined) / np.exp(combined).sum(), rtol=1e-5)
    assert model.risk(out, batch).item() == pytest.approx(total, rel=1e-5)


def test_rows_of_one_domain_leave_the_other_head_alone():
    model = DomainIndependent(3, 2, [5], network=MLP(hidden=[7]))
    batch = batch_of([1, 1, 1])
    model.risk(model.outputs(batch), batch).backward()
    gradient = model.network.head.weight.grad
    assert not gradient[:3].any() and gradient[3:].any()


def test_one_attribute_value_is_erm():
    torch.manual_seed(1)
    model = DomainIndependent(3, 1, [5], network=MLP(hidden=[7]))
    torch.manual_seed(1)
    erm = ERM(3, 1, [5], network=MLP(hidden=[7]))
    batch = batch_of([0, 0, 0, 0])
    for a, b in (
        (model.outputs(batch).logits, erm.outputs(batch).logits),
        (model.risk(model.outputs(batch), batch), erm.risk(erm.outputs(batch), batch)),
    ):
        torch.testing.assert_close(a, b)


def test_unknown_inference_is_refused():
    with pytest.raises(UserError, match="inference"):
        DomainIndependent(2, 2, [5], inference="conditional")
