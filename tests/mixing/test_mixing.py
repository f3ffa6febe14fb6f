"""The contract of mixing: partners in the global batch, soft labels in the losses."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pytorch_lightning import Callback, seed_everything
from torch.utils._python_dispatch import TorchDispatchMode
from trainers import trainer

from frbench.contracts.batch import Batch, Outputs, Sizes
from frbench.contracts.errors import UserError
from frbench.data import TwoGaussians
from frbench.group_inference import Clusters
from frbench.mixing import LISA, CutMix, Mixing, Mixup
from frbench.mixing.cutmix import cut_box
from frbench.mixing.lisa import partners
from frbench.networks import MLP
from frbench.objectives import ERM, IRW, DomainIndependent, FRTrain, GroupDRO


class Given(Mixing):
    """Partners and shares that the test chooses."""

    def __init__(self, partner, share, at="inputs"):
        super().__init__(at)
        self.partner, self.share = partner, share

    def pairs(self, y, z, rng):
        return np.array(self.partner), np.array(self.share)


def batch_of(x, y, z=None):
    y, n = torch.as_tensor(y), len(y)
    z = torch.as_tensor(y * 0 if z is None else z)
    flags = torch.zeros(n, dtype=torch.bool)
    one = torch.ones(n, dtype=torch.as_tensor(x).dtype)
    return Batch(torch.as_tensor(x), y, z, 2 * y + z, one, flags, torch.arange(n), flags)


def test_the_example_of_the_specification():
    """Logits (1, -1), share .3 of class 0 and .7 of class 1."""
    logits = torch.tensor([[1.0, -1.0], [1.0, -1.0]])
    batch = batch_of(logits, [0, 1])

    def run(batch):
        loss = F.cross_entropy(batch.x, batch.y, reduction="none")
        return Outputs(batch.x, batch.x, loss)

    out, _ = Given([1, 0], [0.3, 0.3]).outputs(batch, run, run, np.random.default_rng(0))
    assert out.losses[0].item() == pytest.approx(1.526928, abs=5e-7)


@pytest.mark.parametrize("at", ["inputs", "features"])
def test_against_a_loop_over_rows(at):
    rng = np.random.default_rng(1)
    seed_everything(0, verbose=False)
    model = ERM(3, 2, [4], network=MLP(hidden=[5]))
    x, y = rng.normal(size=(6, 4)).astype(np.float32), rng.integers(0, 3, 6)
    partner, share = rng.integers(0, 6, 6), rng.random(6).astype(np.float32)
    mixing = Given(partner, share, at)
    found, seen = mixing.outputs(
        batch_of(x, y), model.training_outputs, model.network.head, np.random.default_rng(0)
    )
    for i, (j, t) in enumerate(zip(partner, share, strict=True)):
        if at == "inputs":
            mixed = torch.as_tensor(t * x[i] + (1 - t) * x[j])
            assert torch.allclose(seen.x[i], mixed, atol=1e-6)
            features, logits = model.network(mixed[None])
        else:
            features = model.network(torch.as_tensor(x))[0]
            features = (t * features[i] + (1 - t) * features[j])[None]
            logits = model.network.head(features)
        assert torch.allclose(found.features[i], features[0].float(), atol=1e-6)
        p = logits.softmax(1)[0]
        loss = -t * p[y[i]].log() - (1 - t) * p[y[j]].log()
        assert found.losses[i].item() == pytest.approx(loss.item(), rel=1e-5)
    assert torch.equal(seen.y, torch.as_tensor(y)) and torch.equal(seen.index, torch.arange(6))


def test_the_larger_share_gives_label_attribute_group_and_weight():
    rng = np.random.default_rng(2)
    x, y, z = rng.normal(size=(6, 2)), rng.integers(0, 2, 6), rng.integers(-1, 2, 6)
    partner, share = rng.permutation(6), np.array([0.1, 0.9, 0.5, 0.3, 0.6, 0.0])
    batch = batch_of(x, y, z)
    batch = batch._replace(weight=torch.arange(6.0))
    found = {}
    for label in ("first", "larger"):
        mixing = Given(partner, share)
        mixing.label = label

        def run(batch):
            return Outputs(batch.x, batch.x, F.cross_entropy(batch.x, batch.y, reduction="none"))

        found[label] = mixing.outputs(batch, run, run, rng)
    assert torch.equal(found["first"][0].losses, found["larger"][0].losses)
    for i in range(6):
        j = partner[i] if share[i] < 0.5 else i
        for name in ("y", "z", "group", "weight"):
            assert getattr(found["larger"][1], name)[i] == getattr(batch, name)[j]
            assert getattr(found["first"][1], name)[i] == getattr(batch, name)[i]
    assert torch.equal(found["larger"][1].index, batch.index)


def fit(cls=ERM, steps=6, **options):
    seed_everything(1, verbose=False)
    model = cls(2, 2, [2], network=MLP(hidden=[4], dropout=0.5), lr=0.05, **options)
    run = trainer(max_steps=steps, limit_val_batches=0)
    run.fit(model, datamodule=TwoGaussians(n=64, batch_size=16, balance="joint", via="weight"))
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("mixing", [Mixup(0.0), LISA(0.0)], ids=["Mixup", "LISA"])
@pytest.mark.parametrize("cls", [ERM, GroupDRO])
def test_without_strength_it_is_not_there(mixing, cls):
    assert torch.equal(fit(cls, mixing=mixing), fit(cls))  # bit for bit, with dropout


def test_with_one_attribute_value_lisa_within_labels_is_erm():
    class One(TwoGaussians):
        def tables(self):
            return {k: t.replace(z=t.z * 0) for k, t in super().tables().items()}

    found = []
    for mixing in (None, LISA(p_sel=1.0)):
        seed_everything(1, verbose=False)
        model = ERM(2, 2, [2], network=MLP(hidden=[4]), mixing=mixing)
        trainer(max_steps=4, limit_val_batches=0).fit(model, datamodule=One(n=64, batch_size=16))
        found.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*found)


def test_it_changes_what_is_learnt():
    plain = fit()
    for mixing in (Mixup(), LISA(), LISA(p_sel=0.0), Mixup(at="features"), LISA(at="features")):
        assert not torch.equal(fit(mixing=mixing), plain)


def test_partners_of_lisa_against_a_loop():
    rng = np.random.default_rng(0)
    for _ in range(50):
        n = int(rng.integers(1, 12))
        y, z = rng.integers(0, 3, n), rng.integers(-1, 3, n)
        for fixed, free in ((y, z), (z, y)):
            found, alone = partners(fixed, free, rng)
            for i in range(n):
                allowed = [
                    j for j in range(n)
                    if z[i] >= 0 and z[j] >= 0 and fixed[j] == fixed[i] and free[j] != free[i]
                ]  # fmt: skip
                assert found[i] in (allowed or [i]) and alone[i] == (not allowed)


def test_partners_of_lisa_are_drawn_uniformly():
    rng, z = np.random.default_rng(0), np.array([0, 1, 1, 2, 2])
    drawn = np.stack([partners(z * 0, z, rng)[0] for _ in range(4000)])
    shares = np.stack([(drawn == j).mean(0) for j in range(5)], 1)
    expected = (z[:, None] != z) / (z[:, None] != z).sum(1, keepdims=True)
    assert np.abs(shares - expected).max() < 0.03  # four standard errors


def test_lisa_within_labels_never_changes_a_constant_predictors_loss():
    y, z = np.repeat([0, 1], 8), np.tile([0, 1], 8)
    x = np.random.default_rng(0).normal(size=(16, 2)).astype(np.float32)
    logits = torch.tensor([[0.3, -1.0]]).expand(16, 2)

    def run(batch):
        return Outputs(batch.x, logits, F.cross_entropy(logits, batch.y, reduction="none"))

    out, _ = LISA(p_sel=1.0).outputs(batch_of(x, y, z), run, run, np.random.default_rng(3))
    assert torch.allclose(out.losses, run(batch_of(x, y, z)).losses)


def test_lisa_draws_shares_of_its_own_for_each_row_and_strategies_by_their_probability():
    rng = np.random.default_rng(0)
    y, z = np.repeat([0, 1], 8), np.tile([0, 1], 8)
    within = 0
    for _ in range(2000):
        partner, share = LISA(p_sel=0.3).pairs(y, z, rng)
        assert len(np.unique(share)) == 16
        within += (y[partner] == y).all()
    assert within / 2000 == pytest.approx(0.3, abs=0.04)


@pytest.mark.parametrize("mixing", [CutMix(), LISA(how="cutmix", p_sel=1.0)], ids=type)
def test_a_box_of_the_partner_is_pasted(mixing):
    y, z = np.repeat([0, 1], 3), np.array([0, 1, 0, 1, 0, 0])
    x = np.broadcast_to(np.arange(6, dtype=np.float32)[:, None, None, None], (6, 2, 9, 7)).copy()
    mixing.bind(Sizes(2, 2, (2, 9, 7)))
    kept = []

    def run(batch):
        kept.append(batch.x)
        logits = torch.zeros(6, 2)
        return Outputs(logits, logits, batch.y.float())  # the loss tells the share

    for seed in range(30):
        rng = np.random.default_rng(seed)
        partner, _ = mixing.pairs(y, z, np.random.default_rng(seed))
        out, _ = mixing.outputs(batch_of(x, y, z), run, run, rng)
        for i in range(6):
            row = kept[-1][i]
            pasted = (row == partner[i]) & bool(partner[i] != i)
            assert ((row == i) | pasted).all()
            inside = pasted[0].nonzero()
            if len(inside):
                low, high = inside.min(0).values, inside.max(0).values
                assert len(inside) == (high - low + 1).prod()  # a box
                share = 1 - len(inside) / 63
                loss = share * y[i] + (1 - share) * np.log(2)
                assert out.losses[i].item() == pytest.approx(loss, rel=1e-5)


def test_boxes_are_uniform_and_cut_at_the_edges():
    rng = np.random.default_rng(0)
    boxes = [cut_box(8, 8, 0.25, rng) for _ in range(4000)]
    sides = np.array([[r.stop - r.start, c.stop - c.start] for r, c in boxes])
    assert sides.min() == 2 and sides.max() == 4
    # Of the eight places of the centre, those at 0, 1 and 7 leave 2, 3 and 3 of 4 pixels.
    assert sides.mean(0) == pytest.approx([(2 + 3 + 3 + 5 * 4) / 8] * 2, abs=0.05)
    rows, _ = cut_box(8, 8, 0.0, rng)
    assert rows.start == rows.stop


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: ERM(2, 2, [5], mixing=CutMix()), "CutMix needs images"),
        (lambda: ERM(2, 2, [5], mixing=LISA(how="cutmix")), r"LISA.how: cutmix needs images"),
        (lambda: LISA(how="cutmix", at="features"), "LISA.how"),
        (lambda: ERM(2, 2, [5], vocab_size=9, mixing=Mixup()), "token ids cannot be mixed"),
        (lambda: IRW(2, 2, [2], mixing=Mixup()), "model.mixing: IRW .*Mixup"),
        (lambda: FRTrain(2, 2, [2], mixing=Mixup()), "model.mixing: FRTrain"),
        (lambda: DomainIndependent(2, 2, [2], mixing=LISA()), "model.mixing: DomainIndependent"),
    ],
)
def test_what_cannot_be_mixed_is_refused_by_name(build, words):
    with pytest.raises(UserError, match=words) as error:
        build()
    assert "\n" not in str(error.value)


class Watched(Mixing):
    """Keeps what ``pairs`` is given; every row stays as it is."""

    sees_attribute = True

    def __init__(self):
        super().__init__()
        self.seen = []

    def pairs(self, y, z, rng):
        self.seen.append((y, z))
        return np.arange(len(y)), np.ones(len(y))


class Recorded(ERM):
    """Keeps the labels of its batches."""

    def as_seen(self, batch):
        seen = super().as_seen(batch)
        self.__dict__.setdefault("batches", []).append((batch.index, seen.y, seen.z))
        return seen


@pytest.mark.parametrize("infer", [None, Clusters(1, clusters=3)], ids=["known", "inferred"])
@pytest.mark.parametrize("options", [{}, {"num_workers": 1}, {"balance": "joint", "passes": 2}])
def test_labels_come_from_the_host_for_every_batch_also_of_a_run_that_continues(
    tmp_path, options, infer
):
    per_epoch = 4 * options.get("passes", 1)
    path = tmp_path / "inside_the_third_epoch.ckpt"

    class Save(Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 2 * per_epoch + 2:
                trainer.save_checkpoint(path)

    def run(*callbacks, **where):
        seed_everything(1, verbose=False)
        model = Recorded(2, 2, [2], network=MLP(hidden=[4]), mixing=Watched(), infer=infer)
        once = trainer(max_epochs=3, limit_val_batches=0, callbacks=list(callbacks))
        once.fit(model, datamodule=TwoGaussians(n=70, batch_size=16, **options), **where)
        return model

    first = run(Save())
    later = run(ckpt_path=path)
    for model in (first, later):
        seen = model.mixing.seen
        assert seen and all(isinstance(z, np.ndarray) for _, z in seen)
        for (y, z), (_, own_y, own_z) in zip(seen, model.batches[-len(seen) :], strict=True):
            assert (y == own_y.numpy()).all() and (z == own_z.numpy()).all()
    assert len(later.mixing.seen) == per_epoch - 2


def test_the_host_does_not_wait_for_the_device():
    """With labels given, no value of a tensor is read by the host."""

    class NothingRead(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            assert function is not torch.ops.aten._local_scalar_dense.default
            return function(*args, **(kwargs or {}))

    y, z = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    x = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)
    model = ERM(2, 2, [2], network=MLP(hidden=[3]))
    for mixing in (Mixup(), LISA(), Mixup(at="features"), LISA(at="features")):
        batch = batch_of(x, y, z)
        expected, _ = mixing.outputs(
            batch, model.training_outputs, model.network.head, np.random.default_rng(2)
        )
        absent = batch._replace(z=None)  # it is taken from the labels alone
        with NothingRead():
            out, _ = mixing.outputs(
                absent, model.training_outputs, model.network.head, np.random.default_rng(2),
                labels=(y, z),
            )  # fmt: skip
        assert torch.equal(out.losses, expected.losses)
