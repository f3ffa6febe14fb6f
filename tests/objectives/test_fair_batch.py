"""FairBatch: the move of a share by hand and by a loop, its state, and its draws."""

import numpy as np
import pytest
import torch
from pytorch_lightning import seed_everything
from trainers import trainer

from frbench.contracts.errors import UserError
from frbench.data import TwoGaussians
from frbench.networks import MLP
from frbench.objectives import ERM, FairBatch

HALF = np.full((2, 2), 0.5)


def make(classes=2, attributes=2, **options):
    return FairBatch(classes, attributes, [2], network=MLP(hidden=[4]), **options)


def test_example():
    losses = np.array([[0.1, 0.9], [0.4, 0.6]])
    assert make(alpha=0.005).moved(HALF, losses)[1, 1] == pytest.approx(0.505)
    assert make(alpha=0.005).moved(HALF, losses)[0].tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("target", "losses", "expected"),
    [
        ("equalized_odds", [[0.1, 0.9], [0.4, 0.6]], [[0.49, 0.51], [0.5, 0.5]]),
        ("equalized_odds", [[0.9, 0.8], [0.6, 0.4]], [[0.5, 0.5], [0.51, 0.49]]),
        ("demographic_parity", [[0.1, 0.9], [0.4, 0.6]], [[0.51, 0.49], [0.5, 0.5]]),
        ("demographic_parity", [[0.5, 0.6], [0.9, 0.6]], [[0.5, 0.5], [0.51, 0.49]]),
        ("equal_opportunity", [[0.1, 0.9], [0.5, 0.5]], [[0.5, 0.5], [0.5, 0.5]]),
        ("equal_opportunity", [[0.1, 0.9], [np.nan, 0.5]], [[0.5, 0.5], [0.5, 0.5]]),
    ],
)
def test_which_share_moves_and_whither(target, losses, expected):
    found = make(target=target, alpha=0.01).moved(HALF, np.array(losses))
    assert found == pytest.approx(np.array(expected))


def test_shares_stay_shares():
    rng, shares = np.random.default_rng(0), np.full((2, 3), 1 / 3)
    model = make(attributes=3, target="equalized_odds", alpha=0.2)
    for _ in range(50):
        shares = model.moved(shares, rng.random((2, 3)))
        assert shares.sum(1) == pytest.approx(np.ones(2)) and (shares >= 0).all()


def fit(epochs=3, **options):
    seed_everything(1, verbose=False)
    data = TwoGaussians(n=200, batch_size=20)
    model = make(lr=0.01, **options)
    run = trainer(max_epochs=epochs, limit_val_batches=0)
    run.fit(model, datamodule=data)
    return model, data


@pytest.mark.parametrize("target", ["equal_opportunity", "equalized_odds", "demographic_parity"])
def test_the_losses_of_the_table_decide(target):
    model, data = fit(target=target, alpha=0.05)
    table, before = data.training.table, model._shares
    with torch.no_grad():
        data_x = torch.as_tensor(data.encode_all(table.x)).float()
        p = model.eval()(data_x).softmax(1).double()
    sums, rows = np.zeros((2, 2)), np.zeros((2, 2))
    for i, (y, z) in enumerate(zip(table.y, table.z, strict=True)):
        label = 1 if target == "demographic_parity" else y
        sums[y, z] -= float(p[i, label].log())
        rows[y, z] += 1
    losses = sums / (rows.sum(0) if target == "demographic_parity" else rows)
    weights = model.on_epoch_weights(data)
    assert model._shares == pytest.approx(model.moved(before, losses))
    drawn = np.bincount(table.y * 2 + table.z, weights=weights).reshape(2, 2)
    assert drawn / drawn.sum(1, keepdims=True) == pytest.approx(model._shares)
    assert drawn.sum(1) == pytest.approx(rows.sum(1))  # the labels keep their shares
    assert not np.allclose(before, model._shares)


def test_without_a_step_it_is_erm_bit_for_bit():
    model, _ = fit(alpha=0.0)
    seed_everything(1, verbose=False)
    plain = ERM(2, 2, [2], network=MLP(hidden=[4]), lr=0.01)
    run = trainer(max_epochs=3, limit_val_batches=0)
    run.fit(plain, datamodule=TwoGaussians(n=200, batch_size=20))
    for key, value in plain.state_dict().items():
        assert torch.equal(value, model.state_dict()[key]), key


def test_no_such_class():
    with pytest.raises(UserError, match=r"FairBatch\.positive_class: 2 is not one of the 2"):
        make(positive_class=2)
