"""Logit correction: a loop over rows and steps, limits, and draws without generators."""

import math

import numpy as np
import pytest
import torch
from pytorch_lightning import seed_everything
from rows import batch_of

from frbench.contracts.errors import UserError
from frbench.networks import MLP
from frbench.objectives import LogitCorrection
from frbench.objectives.lff import exaggerated
from frbench.objectives.logit_correction import hashed


def make(**options):
    seed_everything(0, verbose=False)
    return LogitCorrection(2, 2, [2], network=MLP(hidden=[4]), **options)


def random_batch(n, rng, rows=12):
    y = rng.integers(0, 2, n)
    batch = batch_of(y, y * 0, rng.uniform(0.5, 1.5, n).astype(np.float32))
    x = torch.as_tensor(rng.normal(size=(n, 2)), dtype=torch.float32)
    return batch._replace(x=x, index=torch.as_tensor(rng.permutation(rows)[:n]))


@pytest.mark.parametrize("at", ["inputs", "features", "nothing"])
def test_steps_equal_a_loop(at):
    model = make(at=at, eta=1.3, mix_limit=0.4, ramp=3, decay=0.9)
    rng, prior = np.random.default_rng(0), np.zeros((2, 2))
    for step in range(5):
        batch = random_batch(6, rng)
        y, weight = batch.y.numpy(), batch.weight.numpy()
        with torch.no_grad():
            p = model.biased(batch.x)[1].softmax(1).numpy()
            losses = model.companion_outputs(model.biased, batch).losses
            easy = exaggerated(losses, 0.7, "weighted").numpy()
        guess = p.argmax(1)  # of this step: earlier guesses have no part in it
        for c in range(2):
            for a in range(2):
                cell = [row[c] for row, k, g in zip(p, y, guess, strict=True) if (k, g) == (c, a)]
                if cell:
                    new, left = np.mean(cell), 0.9 ** len(cell) if prior[c, a] else 0.0
                    prior[c, a] = left * prior[c, a] + (1 - left) * new
        columns = prior / np.maximum(prior.sum(0), 1e-4)
        out = model.outputs(batch)
        partner, share = model._partners(torch.as_tensor(guess), batch)
        tau = 0.4 * math.exp(-5 * (1 - min(step / 3, 1)) ** 2)
        assert 1 - 2 * tau <= share <= 1 - tau
        share = float(share)
        total = 0.0
        for i in range(6):
            j = int(partner[i])
            assert y[j] == y[i]
            if ((guess != y) & (y == y[i])).any():
                assert guess[j] != y[j]
            t = 1.0 if at == "nothing" else share
            with torch.no_grad():
                if at == "features":
                    features = t * out.features[i] + (1 - t) * out.features[j]
                    logits = model.network.head(features[None])[0].numpy()
                else:
                    x = t * batch.x[i] + (1 - t) * batch.x[j]
                    logits = model.network(x[None])[1][0].numpy()
            mixed = t * columns[:, guess[i]] + (1 - t) * columns[:, guess[j]]
            logits = logits + np.log(mixed**1.3 + 1e-4)
            loss = np.log(np.exp(logits).sum()) - logits[y[i]]
            total += weight[i] * (loss + easy[i])
        value = model.risk(out, batch)
        assert value.item() == pytest.approx(total / 6, rel=1e-4)
        model.commit_all()
    assert int(model.steps) == 5 and np.allclose(model.prior, prior, atol=1e-6)


def test_without_strength_and_mixing_the_second_network_is_trained_as_by_erm():
    model = make(eta=0.0, at="nothing")
    batch = random_batch(8, np.random.default_rng(1))
    out = model.outputs(batch)
    biased = exaggerated(model.companion_outputs(model.biased, batch).losses, 0.7, "weighted")
    expected = (batch.weight * (out.losses + biased)).mean()
    assert model.risk(out, batch).item() == pytest.approx(expected.item(), rel=1e-6)


def test_minority_partners_are_drawn_uniformly_and_anew_in_each_step():
    model = make()
    y = torch.zeros(30, dtype=torch.long)
    guess = torch.tensor([0] * 20 + [1] * 10)
    batch = batch_of(y, y)
    counts, shares = torch.zeros(30), []
    for step in range(300):
        model.steps.fill_(step)
        partner, share = model._partners(guess, batch)
        counts += partner.bincount(minlength=30)
        shares.append(float(share))
    assert not counts[:20].any()
    assert counts[20:].tolist() == pytest.approx([900] * 10, rel=0.15)
    assert 0 <= min(shares) < 0.02 and 0.48 < max(shares) <= 0.5  # U(0, .5) at tau .5


def test_the_biased_network_has_a_rate_of_its_own():
    groups = make(lr=0.1).parameter_groups()
    assert [group.get("lr") for group in groups] == [None, pytest.approx(0.01)]
    assert make(biased_lr=0.3).parameter_groups()[1]["lr"] == 0.3


def test_hashes_of_pairs_are_uniform_and_differ():
    u = hashed(torch.tensor(5), torch.arange(200)[:, None], torch.arange(200))
    assert len(u.unique()) > 39_990
    assert np.histogram(u.numpy(), 10, (0, 1))[0].std() < 120  # 63 by chance
    assert abs(np.corrcoef(u[:-1].numpy().ravel(), u[1:].numpy().ravel())[0, 1]) < 0.03
    assert abs(np.corrcoef(u.numpy().ravel(), u.T.numpy().ravel())[0, 1]) < 0.03


def test_wrong_options_are_named():
    with pytest.raises(UserError, match="mix_limit"):
        make(mix_limit=0.7)
    with pytest.raises(UserError, match="token ids cannot be mixed"):
        LogitCorrection(2, 2, [5], vocab_size=9)
