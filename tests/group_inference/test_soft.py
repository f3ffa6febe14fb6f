"""Probabilities of groups: their use in GroupDRO by a loop, resume, and who refuses them."""

import numpy as np
import pytest
import torch
from pytorch_lightning import seed_everything
from test_methods import FOUR, rows_of
from trainers import trainer

from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.data import TwoGaussians
from frbench.group_inference import PseudoLabels
from frbench.networks import MLP
from frbench.objectives import ERM, GroupDRO


def bound(**options):
    method = PseudoLabels(**options)
    method.bind(Sizes(2, 2, (1,)))
    return method


def test_known_rows_are_certain_and_others_have_the_network_s_probabilities():
    rows = rows_of(FOUR.logits, FOUR.y, z=[1, -1, 0, -1])
    method = bound(soft=True)
    found = method.membership(method.infer(rows, np.random.default_rng(0)), rows)
    expected = [[0, 1], [0.622459, 0.377541], [1, 0], [0.880797, 0.119203]]
    assert found == pytest.approx(np.array(expected), abs=1e-6)


def make(**options):
    torch.manual_seed(0)
    return GroupDRO(2, 2, [2], network=MLP(hidden=[3]), infer=PseudoLabels(soft=True), **options)


def batch_and_model(certain):
    rng = np.random.default_rng(0)
    model = make(eta=0.5)
    loader = TwoGaussians(n=24, batch_size=24).train_dataloader()
    (batch,) = loader
    p = rng.random(24) if not certain else batch.z.numpy()[batch.index.argsort()]
    model._membership = torch.tensor(np.stack([1 - p, p], 1)).float()
    return model, batch


def test_the_risk_is_that_of_a_loop():
    model, batch = batch_and_model(certain=False)
    out = model.outputs(batch)
    mean = np.zeros((2, 2))
    for y in (0, 1):
        for z in (0, 1):
            p = [float(model._membership[i, z]) * (c == y)
                 for i, c in zip(batch.index.tolist(), batch.y.tolist(), strict=True)]  # fmt: skip
            mean[y, z] = np.dot(p, out.losses.tolist()) / sum(p)
    q = np.exp(0.5 * mean.ravel())
    expected = q / q.sum() @ mean.ravel()
    assert model.risk(out, batch).item() == pytest.approx(expected, abs=1e-6)


def test_certain_membership_is_the_hard_risk():
    model, batch = batch_and_model(certain=True)
    hard = make(eta=0.5)
    soft = model.risk(model.outputs(batch), batch)
    assert soft.item() == pytest.approx(hard.risk(hard.outputs(batch), batch).item(), abs=1e-6)


class Hide(TwoGaussians):
    """Half of the training rows lack their attribute."""

    def tables(self):
        tables = super().tables()
        z = tables["train"].z.copy()
        z[::2] = -1
        return tables | {"train": tables["train"].replace(z=z)}


def fit(epochs, path=None, **options):
    seed_everything(1, verbose=False)
    model = make(lr=0.02, eta=0.1)
    run = trainer(max_epochs=epochs, limit_val_batches=0, **options)
    run.fit(model, datamodule=Hide(n=96, batch_size=32), ckpt_path=path)
    return model, run


def test_a_run_that_continues_is_the_run_that_did_not_stop(tmp_path):
    whole, _ = fit(4)
    _, run = fit(2)
    run.save_checkpoint(tmp_path / "half.ckpt")
    again, _ = fit(4, str(tmp_path / "half.ckpt"))
    assert torch.equal(again._membership, whole._membership)
    for key, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key
    counts = whole.train_counts.sum().item()
    assert counts == pytest.approx(96, abs=1e-3)  # expected rows of each group
    assert not float(whole.train_counts[0]).is_integer()


def test_who_takes_one_group_for_each_row_refuses():
    with pytest.raises(UserError, match="ERM takes one group for each row, not probabilities"):
        ERM(2, 2, [2], network=MLP(hidden=[3]), infer=PseudoLabels(soft=True))
