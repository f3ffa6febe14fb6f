"""Penalties on a continuous attribute: loops, limits, runs that continue, and bad input."""

import numpy as np
import pandas as pd
import pytest
import torch
from pytorch_lightning import seed_everything
from rows import random_rows
from trainers import trainer

from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.data import TableData, TwoGaussians
from frbench.data.tables.training_columns import standardised
from frbench.group_inference import Errors
from frbench.mixing import Mixup
from frbench.networks import MLP
from frbench.objectives import ERM
from frbench.penalties import HGR, HSIC, Adversary, Covariance

ALL = [Covariance, HSIC, HGR, Adversary]
every = pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)


def make(cls, **options):
    torch.manual_seed(0)
    penalty = cls(**options)
    penalty.num_features = 3
    penalty.bind(Sizes(2, 2, (1,)))
    return penalty.double()


def rows(**options):
    """Random rows; the continuous attribute is the code of z, unknown where z is."""
    out, batch = random_rows(40, 2, 2, **options)
    code = torch.where(batch.z < 0, torch.nan, batch.z.double())
    return out, batch._replace(continuous=code)


@pytest.mark.parametrize("cls", [Covariance, HSIC], ids=lambda cls: cls.__name__)
def test_the_code_of_two_values_gives_what_z_gives(cls):
    out, batch = rows()
    continuous, discrete = (make(cls, attribute=name) for name in ("continuous", "z"))
    assert continuous(out, batch).item() == pytest.approx(discrete(out, batch).item(), abs=1e-9)


def known(batch, out):
    d = (out.logits[:, 1] - out.logits[:, 0]).detach().numpy()
    there = ~np.isnan(batch.continuous.numpy())
    return d[there], batch.continuous.numpy()[there], batch.weight.numpy()[there]


def test_values_equal_loops():
    out, batch = rows()
    value = torch.randn(40, generator=torch.Generator().manual_seed(0)).double()
    batch = batch._replace(continuous=torch.where(batch.z < 0, torch.nan, value))
    d, v, w = known(batch, out)
    mean = (w * v).sum() / w.sum()
    covariance = abs((w * (v - mean) * d).sum() / w.sum())
    found = make(Covariance, attribute="continuous")(out, batch).item()
    assert found == pytest.approx(covariance, abs=1e-9)
    h, p, n = 1 / (1 + np.exp(-d)), w / w.sum(), len(v)
    k, kernel = (np.exp(-((c[:, None] - c) ** 2)) for c in (h, v))
    centre = np.eye(n) - p
    hsic = sum(
        p[i] * p[j] * k[i, j] * (centre @ kernel @ centre.T)[i, j]
        for i in range(n)
        for j in range(n)
    )
    found = make(HSIC, attribute="continuous")(out, batch).item()
    assert found == pytest.approx(hsic * (n / (n - 1)) ** 2, abs=1e-9)
    penalty = make(Adversary, attribute="continuous", hidden=[4])
    guess = penalty.network.layers(torch.tensor(d)[:, None])[:, 0].detach().numpy()
    error = (w * (guess - v) ** 2).sum() / w.sum()
    assert penalty(out, batch).item() == pytest.approx(error, abs=1e-9)


@every
def test_rows_of_unknown_attribute_have_no_part_and_gradients_are_finite(cls):
    out, batch = rows()
    penalty = make(cls, attribute="continuous")
    (gradient,) = torch.autograd.grad(penalty(out, batch), out.logits)
    assert torch.isfinite(gradient).all() and not gradient[batch.z < 0].any()
    alone = batch._replace(continuous=torch.where(torch.arange(40) == 3, 0.5, torch.nan))
    (gradient,) = torch.autograd.grad(penalty(out, alone), out.logits)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("measure", ["chi2", "hgr"])
def test_hgr_tells_dependence_from_independence(measure):
    rng = np.random.default_rng(0)
    out, batch = random_rows(2000, 2, 2, unknown=0.0)
    d = (out.logits[:, 1] - out.logits[:, 0]).detach()
    noise = torch.tensor(rng.normal(size=2000))
    square = (d - d.mean()).square()
    penalty = make(HGR, measure=measure, attribute="continuous")
    free, odd = (
        penalty(out, batch._replace(continuous=(v - v.mean()) / v.std())).item()
        for v in (noise, square)
    )
    assert free < 0.1 and odd > 4 * free  # a covariance would not see a symmetric square


class Shifted(TwoGaussians):
    """The attribute's bins come from a number."""

    def tables(self):
        return {k: t.replace(continuous=t.x[:, 0] + t.z) for k, t in super().tables().items()}


def fit(penalty, epochs=4, path=None, cls=Shifted, **options):
    seed_everything(1, verbose=False)
    model = ERM(2, 2, [2], network=MLP(hidden=[4]), lr=0.02, penalties=[penalty], **options)
    run = trainer(max_epochs=epochs, limit_val_batches=0)
    run.fit(model, datamodule=cls(n=96, batch_size=32, clean_share=0.0), ckpt_path=path)
    return model, run


@every
def test_a_run_that_continues_is_the_run_that_did_not_stop(cls, tmp_path):
    whole, _ = fit(cls(attribute="continuous"), mixing=Mixup())
    _, run = fit(cls(attribute="continuous"), 2, mixing=Mixup())
    run.save_checkpoint(tmp_path / "half.ckpt")
    again, _ = fit(cls(attribute="continuous"), path=str(tmp_path / "half.ckpt"), mixing=Mixup())
    for key, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key


def table(tmp_path, **options):
    rng = np.random.default_rng(0)
    age = rng.integers(18, 70, 200).astype(float)
    age[::20] = np.nan
    frame = pd.DataFrame(
        {"age": age, "x": rng.normal(size=200), "hired": rng.integers(2, size=200)}
    )
    frame.to_csv(tmp_path / "people.csv", index=False)
    options = {"attribute": "age", "bins": {"age": [30, 50]}, "continuous": "age", **options}
    return TableData(str(tmp_path / "people.csv"), target="hired", batch_size=16, **options)


def test_a_column_travels_beside_its_bins(tmp_path):
    data = table(tmp_path, missing_attribute="ignore")
    train = data.splits["train"]
    known = train.z >= 0
    assert np.isnan(train.continuous[~known]).all() and (~known).any()
    assert train.continuous[known].mean() == pytest.approx(0, abs=1e-9)
    assert train.continuous[known].std() == pytest.approx(1)
    low, high = (train.continuous[train.z == z] for z in (0, 2))
    assert low.max() < high.min() and data.attribute_names == ("age<30", "30<=age<50", "age>=50")
    batch = next(iter(data.train_dataloader()))
    row = train.continuous[batch.index.numpy()]
    assert np.allclose(batch.continuous.numpy(), row, equal_nan=True, atol=1e-6)
    assert "(continuous)" in data.contents["train"]["columns"]


def test_bad_input(tmp_path):
    with pytest.raises(UserError, match=r"Covariance\.attribute: the training rows of TwoGauss"):
        fit(Covariance(attribute="continuous"), cls=TwoGaussians)
    with pytest.raises(UserError, match="HSIC looks at the continuous attribute"):
        fit(HSIC(attribute="continuous"), infer=Errors())
    with pytest.raises(UserError, match="continuous has no loss: l1"):
        Adversary(attribute="continuous", loss="l1")
    with pytest.raises(UserError, match="'x' is no attribute column"):
        _ = table(tmp_path, continuous="x").splits
    with pytest.raises(UserError, match="has one value in all training rows"):
        standardised(pd.Series([3, None, 3], name="age"), "t.csv")
    with pytest.raises(UserError, match="must hold finite numbers; 1 rows have another value"):
        standardised(pd.Series(["3", "x", "4"], name="age"), "t.csv")
    out, batch = random_rows(8, 2, 2)
    with pytest.raises(UserError, match="The batch has no continuous attribute"):
        make(HGR, attribute="continuous")(out, batch)
