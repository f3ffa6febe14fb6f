"""Fair-mixup: couplings that keep every row's weight, its integral, and where it is refused."""

import numpy as np
import pytest
import torch
from pytorch_lightning import seed_everything
from rows import batch_of, outputs_of, random_rows
from trainers import trainer

from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.data import TwoGaussians
from frbench.networks import MLP, BagOfWords
from frbench.objectives import ERM
from frbench.penalties import FairMixup, Gap, NetworkRun
from frbench.postprocessing import FRAPPE

TARGETS = ["demographic_parity", "equal_opportunity", "equalized_odds"]


class Given:
    """A generator whose next uniform number is given."""

    def __init__(self, t, seed=0):
        self.t, self.rng = t, np.random.default_rng(seed)

    def random(self):
        return self.t

    def integers(self, *args):
        return self.rng.integers(*args)


def make(cls, sizes, **options):
    penalty = cls(**options)
    penalty.bind(sizes)
    return penalty.double()


def linear(x):
    """A network whose score is linear in its one input."""
    return x, torch.cat([torch.zeros_like(x), x.logit()], 1)


def run_of(network, t=0.3, seed=0):
    return NetworkRun(network, lambda features: network(features)[1], Given(t, seed))


def scores(attributes=2, seed=1, **options):
    """Rows of unequal numbers and weights whose inputs are their scores."""
    _, batch = random_rows(50, 2, attributes, seed)
    h = torch.rand(50, 1, generator=torch.Generator().manual_seed(seed)).double() * 0.8 + 0.1
    return outputs_of(linear(h)[1], batch.y, h), batch._replace(x=h)


@pytest.mark.parametrize("at", ["inputs", "features"])
@pytest.mark.parametrize("target", TARGETS)
def test_a_linear_score_gives_the_gap_exactly(target, at):
    out, batch = scores()
    for t in (0.0, 0.4, 1.0):
        value = make(FairMixup, Sizes(2, 2, (1,)), target=target, at=at)(
            out, batch, run_of(linear, t)
        )
        gap = make(Gap, Sizes(2, 2, (1,)), target=target)(out, batch)
        assert value.item() == pytest.approx(gap.item(), abs=1e-6)


def test_of_more_values_it_is_the_mean_over_pairs():
    out, batch = scores(attributes=3)
    value = make(FairMixup, Sizes(2, 3, (1,)))(out, batch, run_of(linear))
    means = [
        (batch.weight[rows] @ batch.x[rows, 0] / batch.weight[rows].sum()).item()
        for rows in (batch.z == a for a in range(3))
    ]
    gaps = [abs(means[a] - means[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    assert value.item() == pytest.approx(np.mean(gaps), abs=1e-6)


def test_an_absent_value_leaves_the_pairs_of_the_others():
    out, batch = scores()
    three = batch._replace(group=torch.where(batch.z < 0, -1, batch.y * 3 + batch.z))
    two = make(FairMixup, Sizes(2, 2, (1,)))(out, batch, run_of(linear))
    value = make(FairMixup, Sizes(2, 3, (1,)))(out, three, run_of(linear))
    assert value.item() == pytest.approx(two.item(), abs=1e-6)


def test_its_integral_over_t_is_the_gap():
    out, batch = random_rows(60, 2, 2, seed=4)
    weight = torch.tensor([[0.7, -0.2], [0.4, 0.9], [-0.5, 0.3]]).double()
    batch = batch._replace(x=out.features + batch.z[:, None])  # the slope keeps its sign

    def network(x):
        return x, torch.tanh(x) @ weight

    out = outputs_of(network(batch.x)[1].detach(), batch.y)
    penalty = make(FairMixup, Sizes(2, 2, (3,)))
    found = [penalty(out, batch, run_of(network, (i + 0.5) / 200)).item() for i in range(200)]
    gap = make(Gap, Sizes(2, 2, (3,)))(out, batch).item()
    assert np.mean(found) == pytest.approx(gap, abs=1e-5)
    assert np.ptp(found) > 0.01  # and it is no constant


def test_one_row_of_each_value_and_scores_at_the_ends_have_finite_gradients():
    layer = torch.nn.Linear(1, 2).double()
    with torch.no_grad():
        layer.weight.mul_(1e4)
    two, three = (
        ([[0.5], [1.0]], [0, 1], [0, 1]),
        ([[-30.0], [40.0], [1.0]], [0, 1, 1], [0, 1, -1]),
    )
    for x, y, z in (two, three):
        batch = batch_of(y, z)._replace(x=torch.tensor(x).double())
        out = outputs_of(layer(batch.x).detach(), y)
        value = make(FairMixup, Sizes(2, 2, (1,)))(out, batch, run_of(lambda x: (x, layer(x))))
        (slope,) = torch.autograd.grad(value, [layer.weight])
        assert torch.isfinite(value) and torch.isfinite(slope).all()


def fit(seed=1, **options):
    seed_everything(seed, verbose=False)
    model = ERM(2, 2, [2], network=MLP(hidden=[6]), lr=0.02, **options)
    trainer(max_epochs=6, limit_val_batches=0).fit(
        model, datamodule=TwoGaussians(n=200, batch_size=50)
    )
    data = TwoGaussians(n=200)
    table = data.splits["train"]
    h = model.eval()(torch.as_tensor(table.x)).softmax(1)[:, 1].detach()
    return model, abs(float(h[table.z == 0].mean() - h[table.z == 1].mean()))


@pytest.mark.parametrize("at", ["inputs", "features"])
def test_training_lowers_the_gap(at):
    _, plain = fit()
    _, gap = fit(penalties=[FairMixup(30.0, at=at)])
    assert gap < plain / 2


def test_what_it_cannot_run_on_is_refused():
    with pytest.raises(UserError, match=r"FairMixup\.at: there is no path between token ids"):
        ERM(2, 2, [8], vocab_size=9, network=BagOfWords(), penalties=[FairMixup()])
    with pytest.raises(UserError, match="FairMixup runs the network"):
        FRAPPE([FairMixup()])
    with pytest.raises(UserError, match="compile_network: ERM needs single layers or second"):
        fit(penalties=[FairMixup()], compile_network=True)
