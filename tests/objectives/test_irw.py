"""IRW and IRWO against float64 loops, and what their definition promises."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from pytorch_lightning import seed_everything
from sklearn.cluster import DBSCAN
from torch import nn
from trainers import trainer

from frbench.callbacks import SanityCheck
from frbench.callbacks.sanity import SanityWarning
from frbench.contracts.batch import Batch, Outputs, Sizes
from frbench.contracts.errors import UserError
from frbench.data import FlipLabels, TwoGaussians
from frbench.data.module import GroupDataModule
from frbench.data.table import Table
from frbench.networks import MLP, Network, Timm
from frbench.objectives import ERM, IRW, IRWO

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*smaller than the logging interval"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script.*"),
]


def make(cls=IRW, network=None, **kwargs):
    torch.manual_seed(0)
    model = cls(2, 2, [3], network=network or MLP(hidden=[6]), **kwargs).double()
    # What the base computes in float32 must not limit the comparison.
    model.outputs = lambda batch: outputs(model, batch)
    return model


def outputs(model, batch):
    features, logits = model.network(batch.x)
    losses = nn.functional.cross_entropy(logits, batch.y, reduction="none")
    return Outputs(features, logits, losses)


def batch_of(n=24, seed=0, weight=None):
    rng = np.random.default_rng(seed)
    y, z = (torch.as_tensor(rng.integers(0, 2, n)) for _ in range(2))
    x = torch.as_tensor(rng.normal(size=(n, 3))) + y[:, None]
    weight = torch.ones(n) if weight is None else torch.as_tensor(weight, dtype=torch.float32)
    row = torch.arange(n)
    return Batch(x, y, z, 2 * y + z, weight.double(), y < 0, row, y < 0, row * torch.nan)


def gradients(model, batch):
    """Losses [B] and per-sample gradients [B, P], one reverse pass each."""
    parameters = list(model.network.parameters())
    losses = model.outputs(batch).losses
    rows = [torch.autograd.grad(loss, parameters, retain_graph=True) for loss in losses]
    return losses.detach(), torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])


def reference_weights(losses, g, alpha, rounding=math.ceil, cosine=False):
    """The definition, in loops."""
    k = max(1, rounding(round(alpha * len(losses), 9)))
    worst = sorted(range(len(losses)), key=lambda i: -float(losses[i]))[:k]
    total = sum(g[j] for j in worst)
    weights = []
    for i in range(len(losses)):
        score = float(g[i] @ total)
        if cosine:
            score /= float(g[i].norm() * total.norm())
        weights.append(max(0.0, score))
    return torch.tensor(weights, dtype=torch.float64), worst


def update(model, batch):
    """The gradient of the risk, and the risk."""
    model.zero_grad()
    with model.engine.watch():
        out = model.outputs(batch)
    loss = model.risk(out, batch)
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.network.parameters()]), loss.item()


def close(ours, wanted, tolerance=1e-10):
    assert (ours - wanted).norm() <= tolerance * wanted.norm()


@pytest.mark.parametrize("backend", ["auto", "jvp"])
@pytest.mark.parametrize("alpha", [0.01, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("normalise", ["sum1", "none", "max1"])
def test_the_update_equals_the_loop(alpha, normalise, backend):
    model, batch = make(alpha=alpha, normalise=normalise, backend=backend), batch_of()
    losses, g = gradients(model, batch)
    w, _ = reference_weights(losses, g, alpha)
    scale = {"sum1": 1 / w.sum(), "none": 1 / len(w), "max1": 1 / w.max() / len(w)}[normalise]
    gradient, loss = update(model, batch)
    close(gradient, scale * (w @ g))
    assert loss == pytest.approx(float(scale * (w @ losses)))


@pytest.mark.parametrize(("rounding", "rule"), [("ceil", math.ceil), ("floor", math.floor),
                                                ("round", round)])  # fmt: skip
def test_rounding_and_cosine(rounding, rule):
    for alpha in (0.01, 0.11, 0.19, 0.25):
        model, batch = make(alpha=alpha, rounding=rounding, similarity="cosine"), batch_of()
        losses, g = gradients(model, batch)
        w, _ = reference_weights(losses, g, alpha, rule, cosine=True)
        close(model.sample_weights(model.outputs(batch), batch), w)


@pytest.mark.parametrize("rounding", ["ceil", "floor", "round"])
@pytest.mark.parametrize("alpha", [0.01, 0.13, 0.9, 1.0])
def test_rows_without_weights_take_the_short_way_to_the_same_worst_share(alpha, rounding):
    model, batch = make(alpha=alpha, rounding=rounding), batch_of()
    wanted = model.sample_weights(model.outputs(batch), batch)
    model._plain_weights = True
    close(model.sample_weights(model.outputs(batch), batch), wanted)


def test_a_share_that_is_whole_in_decimals_is_not_rounded_up():
    model = make(alpha=0.1)
    assert model.worst(torch.rand(30), torch.ones(30)).sum() == 3  # .1 * 30 > 3 in binary


# ---- the invariants of specification 1.2 ----------------------------------------------------
def test_a_scores_of_the_worst_sum_to_the_square_of_their_gradient():
    model, batch = make(alpha=0.2), batch_of()
    losses, g = gradients(model, batch)
    member = model.worst(losses, batch.weight)
    with model.engine.watch():
        out = model.outputs(batch)
    model.engine.study(out.losses, batch)
    scores = model.engine.scores(member, 24)
    worst = member.bool()
    assert scores[worst].sum().item() == pytest.approx(float(g[worst].sum(0).square().sum()))


def test_b_the_update_decreases_the_loss_of_the_worst():
    model, batch = make(alpha=0.2), batch_of()
    losses, g = gradients(model, batch)
    w, worst = reference_weights(losses, g, 0.2)
    gradient, _ = update(model, batch)
    along = float(gradient @ g[worst].sum(0))
    assert along == pytest.approx(float(w.square().sum() / w.sum())) and along > 0


def test_c_alpha_one_is_not_erm():
    model, batch = make(alpha=1.0), batch_of()
    erm = model.outputs(batch).losses.mean()
    wanted = torch.autograd.grad(erm, list(model.network.parameters()))
    gradient, _ = update(model, batch)
    assert (gradient - torch.cat([g.flatten() for g in wanted])).norm() > 0.01


class NoBias(Network):
    def build(self, sizes):
        return nn.Flatten(), 3


def test_d_a_large_loss_without_gradient_counts_nothing():
    model = make(network=NoBias(), alpha=0.2)
    model.network.head = nn.Linear(3, 2, bias=False).double()
    plain = model.outputs

    def with_hopeless_samples(batch):
        out = plain(batch)
        return out._replace(losses=out.losses + 5.0 * (batch.x == 0).all(1))

    model.outputs = with_hopeless_samples
    batch = batch_of()
    batch.x[[3, 9]] = 0.0
    out = model.outputs(batch)
    assert set(out.losses.topk(2).indices.tolist()) == {3, 9}
    weights = model.sample_weights(out, batch)
    assert weights[[3, 9]].tolist() == [0, 0] and (weights > 0).sum() > 5


def test_e_the_scale_of_the_loss_does_not_matter():
    model, batch = make(alpha=0.2), batch_of()
    gradient, _ = update(model, batch)
    plain = model.outputs
    model.outputs = lambda batch: plain(batch)._replace(losses=7 * plain(batch).losses)
    scaled, _ = update(model, batch)
    close(scaled, 7 * gradient)


def test_f_copies_get_equal_weights_and_weights_are_copies():
    times = np.random.default_rng(3).integers(0, 4, 24)
    plain = batch_of()
    copies = Batch(*(column[np.repeat(np.arange(24), times)] for column in plain))
    for alpha in (0.13, 0.3):
        model = make(alpha=alpha)
        w = model.sample_weights(model.outputs(copies), copies)
        first = np.flatnonzero(np.diff(np.repeat(np.arange(24), times), prepend=-1))
        close(w, w[np.repeat(first, times[times > 0])])
        close(update(model, batch_of(weight=times))[0], update(model, copies)[0])


def test_g_scores_are_row_sums_of_the_gram_matrix():
    model, batch = make(alpha=0.2), batch_of()
    losses, _ = gradients(model, batch)
    member = model.worst(losses, batch.weight)
    with model.engine.watch():
        out = model.outputs(batch)
    model.engine.study(out.losses, batch)
    close(model.engine.scores(member, 24), model.engine.gram()[:, member.bool()].sum(1))


def test_a_stationary_point_gives_a_zero_step_not_nan():
    model, batch = make(alpha=0.2), batch_of()
    batch = batch._replace(y=torch.zeros_like(batch.y))
    with torch.no_grad():
        model.network.head.bias.copy_(torch.tensor([2000.0, -2000.0]))
    gradient, loss = update(model, batch)
    assert loss == 0 and not gradient.any()
    model.commit_all()
    assert model.effective_share == 0


def test_tiny_gradients_leave_the_effective_share_a_share():
    torch.manual_seed(0)
    model, batch = IRW(2, 2, [3], network=MLP(hidden=[]), alpha=0.2), batch_of()
    batch = batch._replace(x=batch.x.float(), y=0 * batch.y, weight=batch.weight.float())
    with torch.no_grad():
        model.network.head.bias.copy_(torch.tensor([14.0, -14.0]))
    update(model, batch)
    model.commit_all()
    assert 0 < model.effective_share <= 1


@pytest.mark.parametrize("backend", ["auto", "jvp"])
def test_a_copy_of_the_model_weighs_with_its_own_network(backend):
    model, batch = IRW(2, 2, [3], network=MLP(hidden=[4]), backend=backend), batch_of()
    batch = batch._replace(x=batch.x.float(), weight=batch.weight.float())
    expected = update(model, batch)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        with torch.no_grad():
            model.network.head.weight.add_(1.0)  # of no concern to the twin
        found = update(twin, batch)
        torch.testing.assert_close(found[0], expected[0])
        assert found[1] == pytest.approx(expected[1]) and expected[0].any()


# ---- IRWO -----------------------------------------------------------------------------------
@pytest.mark.parametrize("similarity", ["dot", "cosine"])
@pytest.mark.parametrize("options", [{"quantile": 0.9}, {"eps": 0.8}, {"eps": 0.3},
                                     {"quantile": 0.7, "min_samples": 3}])  # fmt: skip
def test_irwo_equals_the_loop_with_scikit_learn(options, similarity):
    alpha = 0.2
    removed = []
    for seed in range(5):
        model = make(IRWO, alpha=alpha, similarity=similarity, **options)
        batch = batch_of(40, seed)
        losses, g = gradients(model, batch)
        distances = np.array([[float((a - b).norm()) for b in g] for a in g])
        k = options.get("min_samples", 5)
        eps = options.get("eps") or np.quantile(
            np.sort(distances, 1)[:, k - 1], options["quantile"]
        )
        # A hair wider: the quantile may be one of the distances, and ours are rounded otherwise.
        clusters = DBSCAN(eps=eps + 1e-7, min_samples=k, metric="precomputed").fit(distances)
        keep = np.flatnonzero(clusters.labels_ >= 0)
        if len(keep) < alpha * len(g):
            keep = np.arange(len(g))
        w = torch.zeros(40, dtype=torch.float64)
        w[keep], _ = reference_weights(losses[keep], g[keep], alpha, cosine=similarity == "cosine")
        close(update(model, batch)[0], w @ g / w.sum(), 1e-7)
        model.commit_all()
        removed.append(40 - len(keep))
        assert model.removed_share.item() == pytest.approx(1 - len(keep) / 40)
    assert any(removed) or "eps" in options


def test_irwo_removes_an_outlier_that_irw_follows():
    # Mislabelled and far out: its gradient is the longest and points the other way.
    models = [make(cls, alpha=0.1) for cls in (IRW, IRWO)]
    batch = batch_of(40)
    batch.x[0] = 9.0
    batch.y[0] = models[0].outputs(batch).logits[0].argmin()
    weights = [model.sample_weights(model.outputs(batch), batch) for model in models]
    assert weights[0].argmax() == 0
    assert weights[1][0] == 0 and weights[1].any()


def test_irwo_keeps_everything_if_too_little_would_remain():
    irw, irwo = make(alpha=0.3), make(IRWO, alpha=0.3, eps=1e-9)
    close(update(irwo, batch_of())[0], update(irw, batch_of())[0])


class WithBatchNorm(Network):
    def build(self, sizes):
        return nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU()), 6


def test_batchnorm_is_frozen_or_refused():
    with pytest.raises(UserError, match=r"backbone.1 normalises with the batch's statistics"):
        make(IRWO, network=WithBatchNorm(), batchnorm="batch")
    model, batch = make(IRWO, network=WithBatchNorm(), alpha=0.2), batch_of()
    with model.engine.watch():
        out = model.outputs(batch)
    weights = model.sample_weights(out, batch)
    model.eval()
    losses, g = gradients(model, batch)
    model.train()
    keep = np.flatnonzero(~model.noise(g @ g.T))
    w = torch.zeros(24, dtype=torch.float64)
    w[keep], _ = reference_weights(losses[keep], g[keep], 0.2)
    close(weights, w)
    # The step itself still trains through the batch's statistics.
    assert model.network.backbone[1].num_batches_tracked == 1


def test_a_network_without_layer_local_products_is_refused_by_irwo():
    class Scaled(NoBias):
        def build(self, sizes):
            self.scale = nn.Parameter(torch.ones(3))
            return super().build(sizes)

        def forward(self, x):
            features = self.backbone(x * self.scale)
            return features, self.head(features)

    model = make(IRWO, network=Scaled())
    with pytest.raises(UserError, match="layers: last"):
        model.risk(model.outputs(batch_of()), batch_of())


# ---- options --------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("cls", "kwargs", "match"),
    [
        (IRW, {"alpha": 0.0}, "alpha"),
        (IRW, {"alpha": 1.5}, "alpha"),
        (IRW, {"via": "sample"}, "scheme: global"),
        (IRW, {"similarity": "cosine", "scheme": "global"}, "cosine"),
        (IRW, {"similarity": "cosine", "backend": "jvp"}, "cosine"),
        (IRW, {"layers": "nowhere"}, "nowhere"),
        (IRWO, {"scheme": "global"}, "pair by pair"),
        (IRWO, {"backend": "jvp"}, "pair by pair"),
        (IRWO, {"quantile": 0.0}, "quantile"),
        (IRWO, {"eps": -1.0}, "eps"),
        (IRWO, {"min_samples": 1}, r"IRWO.min_samples: .* at least 2, got 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(cls, kwargs, match):
    with pytest.raises(UserError, match=match):
        make(cls, **kwargs)


def test_neighbours_must_fit_into_a_batch():
    model = IRWO(2, 2, [2], network=MLP(hidden=[4]), min_samples=21)
    with pytest.raises(UserError, match="no sample would ever be removed"):
        trainer().fit(model, datamodule=TwoGaussians(n=40, batch_size=20))


def test_a_small_worst_set_is_said_once_and_by_name():
    data = TwoGaussians(n=400, batch_size=40)
    model, check = IRW(2, 2, [2], network=MLP(hidden=[4]), alpha=0.1), SanityCheck(0, 0)
    with pytest.warns(SanityWarning, match=r"the worst 0.1 of a batch of 40 is 4.0 rows"):
        trainer(callbacks=[check], limit_val_batches=0).fit(model, datamodule=data)
    assert "raise data.batch_size to 80" in check.raised["small_worst_set"]
    assert not model.cautions(TwoGaussians(n=400, batch_size=80))
    assert not IRW(2, 2, [2], scheme="global").cautions(data)


def test_a_copy_has_an_engine_of_its_own():
    model = IRW(2, 2, [3], network=MLP(hidden=[4]), alpha=0.2)
    twin = copy.deepcopy(model)
    assert twin.engine.model is twin.network is not model.network
    assert twin.engine.losses.__self__ is twin


class Spy(IRW):
    """Compares its weights with those of a worst share of any number of samples."""

    checked = 0

    def _weights(self, losses, mass):
        weights = super()._weights(losses, mass)
        everyone = self.engine.scores(self.worst(losses, mass), len(losses)).clamp(min=0)
        torch.testing.assert_close(weights, everyone, rtol=1e-4, atol=1e-6)
        self.checked += (mass != 1).any().item()
        return weights


@pytest.mark.parametrize("options", [{"rows_per_group": 9}, {"balance": "class", "via": "weight"}])
def test_a_worst_share_of_light_samples_is_whole(options):
    seed_everything(0, verbose=False)
    model = Spy(2, 2, [2], network=MLP(hidden=[4]), alpha=0.4)
    trainer().fit(model, datamodule=TwoGaussians(n=400, batch_size=40, **options))
    assert model.checked == 10


def test_the_size_of_the_worst_share_is_forgotten_with_the_data():
    data, model = TwoGaussians(n=80, batch_size=40), IRW(2, 2, [2], network=MLP(hidden=[4]))
    trainer().fit(model, datamodule=data)
    assert model._plain_weights
    trainer().fit(model, data.train_dataloader(), data.val_dataloader())
    assert not model._plain_weights


def test_a_compiled_network_is_refused():
    model = IRW(2, 2, [2], network=MLP(hidden=[4]))
    model.network.compile()
    with pytest.raises(UserError, match="do not compile"):
        trainer().fit(model, datamodule=TwoGaussians(n=40, batch_size=20))
    compiled = torch.compile(IRW(2, 2, [2], network=MLP(hidden=[4])))
    with pytest.raises(UserError, match="do not compile"):
        trainer().fit(compiled, datamodule=TwoGaussians(n=40, batch_size=20))


class Images(GroupDataModule):
    """Noise of 64 pixels: on smaller images ResNet-18 convolves single pixels, whose bfloat16
    gradients torch 2.15 sometimes reads from uninitialised memory, for ERM too."""

    sizes = Sizes(2, 2, (3, 64, 64))
    class_names = attribute_names = ("a", "b")

    def tables(self):
        rng = np.random.default_rng(0)
        y, z = rng.integers(0, 2, (2, 8))
        table = Table(rng.normal(size=(8, 3, 64, 64)).astype(np.float32), y, z)
        return {"train": table, "val": table, "test": table}


@pytest.mark.parametrize("cls", [IRW, IRWO])
@pytest.mark.parametrize(
    "network", ["mlp", pytest.param("resnet18", marks=pytest.mark.slow), "vit"]
)
def test_bfloat16_training(cls, network):
    options = {"img_size": 64, "patch_size": 16, "embed_dim": 32, "depth": 2, "num_heads": 2}
    build = {"mlp": lambda: MLP(hidden=[8]), "resnet18": lambda: Timm("resnet18"),
             "vit": lambda: Timm("vit_tiny_patch16_224", options=options)}[network]  # fmt: skip
    seed_everything(0, verbose=False)
    data = Images(batch_size=8)
    layers = "last" if (cls, network) == (IRWO, "vit") else "all"
    model = cls(2, 2, data.input_shape, network=build(), layers=layers)
    trainer(max_epochs=2, precision="bf16-mixed").fit(model, datamodule=data)
    assert all(torch.isfinite(v).all() for v in model.state_dict().values())
    assert 0 < model.effective_share < 1
    expected = {"mlp": None, "resnet18": "statistics", "vit": "not known"}[network]
    if cls is IRW and expected:
        assert expected in model.engine.problem
    elif cls is IRWO:
        assert model.engine.problem is None


# ---- the global scheme ----------------------------------------------------------------------
def fit_global(steps=0, **options):
    seed_everything(1, verbose=False)
    data = TwoGaussians(n=120, batch_size=30, corrupt=[FlipLabels(0.1)])
    model = IRW(2, 2, [2], network=MLP(hidden=[6], dropout=0.2), scheme="global", alpha=0.2,
                lr=0.05, **options)  # fmt: skip
    trainer(max_epochs=3).fit(model, datamodule=data)
    return model, data


@pytest.mark.parametrize("backend", ["auto", "jvp"])
def test_global_weights_equal_the_loop(backend):
    model, data = fit_global(backend=backend)
    model.trainer.fit_loop.setup_data()
    weights = model.on_epoch_weights(data)
    assert model.network.backbone[3].training  # dropout is on again
    model.eval()
    table = data.training.table
    batch = Batch(*(torch.as_tensor(c) for c in (
        table.x, table.y, table.z, table.y, table.weight, table.clean, table.y,
            table.clean)))  # fmt: skip
    losses, g = gradients(model, batch)
    w, _ = reference_weights(losses, g, 0.2)
    np.testing.assert_allclose(weights, w * len(w) / w.sum(), rtol=2e-3, atol=1e-5)
    assert weights.sum() == pytest.approx(len(w))


def test_global_weights_reach_the_batches_by_weight_or_by_sampling():
    for via in ("weight", "sample"):
        model, _ = fit_global(via=via)
        loader = model.trainer.train_dataloader
        weights = loader.state_dict()["epoch_weights"]
        never = set(np.flatnonzero(weights.numpy() == 0))
        batches = list(loader)
        rows = torch.cat([b.index for b in batches])
        applied = torch.cat([b.weight for b in batches])
        assert never
        if via == "weight":
            assert torch.allclose(applied, weights[rows].float())
        else:
            assert not never & set(rows.tolist()) and (applied == 1).all()


def test_global_weights_are_normalised_over_the_training_distribution():
    data = TwoGaussians(n=120, batch_size=30, balance="class", via="weight")
    model = IRW(2, 2, [2], network=MLP(hidden=[6]), scheme="global", alpha=0.2)
    trainer().fit(model, datamodule=data)
    weights = model.trainer.train_dataloader.state_dict()["epoch_weights"].numpy()
    assert weights @ data.training.weight == pytest.approx(120)
    assert weights.sum() != pytest.approx(120, rel=1e-3)


@pytest.mark.parametrize(("small", "rows"), [(True, [120]), (False, [30] * 4)])
def test_large_inputs_are_visited_in_batches_of_the_training_size(small, rows, monkeypatch):
    model, data = fit_global()
    model.trainer.fit_loop.setup_data()
    monkeypatch.setattr(TwoGaussians, "is_small", small)
    assert [len(batch.y) for batch in model._pass_over(data)] == rows


def test_a_diverged_network_is_said_by_the_global_scheme():
    model, data = fit_global()
    model.trainer.fit_loop.setup_data()
    torch.nn.init.constant_(model.network.head.weight, torch.nan)
    with pytest.raises(UserError, match=r"diverged; lower model.lr"):
        model.on_epoch_weights(data)


def test_the_local_scheme_never_touches_the_loader():
    assert make(alpha=0.2).on_epoch_weights(None) is None
    with pytest.raises(UserError, match="datamodule"):
        make(scheme="global").on_epoch_weights(None)


# ---- resampling against reweighting ---------------------------------------------------------
def second_moments(g, w):
    """Of one draw: uniform i with N p_i g_i, and i ~ p with g_i; both have mean sum p_i g_i."""
    p = w / w.sum()
    square = g.square().sum(1)
    return float(len(p) * (p.square() @ square)), float(p @ square)


def test_resampling_has_the_smaller_variance_for_irw_weights():
    """The paper's corollary for SGD, exactly and by drawing, and where it stops."""
    generator = torch.Generator().manual_seed(0)
    ratios = []
    for seed in range(10):
        model, batch = make(alpha=0.1), batch_of(200, seed)
        losses, g = gradients(model, batch)
        w, _ = reference_weights(losses, g, 0.1)
        reweighted, resampled = second_moments(g, w)
        ratios.append(resampled / reweighted)
    assert max(ratios) < 0.75
    p = w / w.sum()
    uniform = torch.randint(0, 200, (40_000,), generator=generator)
    drawn = torch.multinomial(p, 40_000, replacement=True, generator=generator)
    first = 200 * p[uniform, None] * g[uniform]
    second = g[drawn]
    mean = p @ g
    assert (first.mean(0) - mean).norm() < 0.05 * mean.norm()
    assert (second.mean(0) - mean).norm() < 0.05 * mean.norm()
    assert first.square().sum(1).mean().item() == pytest.approx(reweighted, rel=0.05)
    assert second.square().sum(1).mean().item() == pytest.approx(resampled, rel=0.05)
    # Equal norms: always (Cauchy-Schwarz). Large weights on short gradients: the other way.
    unit = g / g.norm(dim=1, keepdim=True)
    assert second_moments(unit, w)[1] < second_moments(unit, w)[0]
    short = torch.tensor([0.1, 1.0, 1.0]).double()[:, None]
    moments = second_moments(short, torch.tensor([0.8, 0.1, 0.1]).double())
    assert moments[1] > moments[0]


def test_equal_weights_would_be_erm():
    """Degenerate: where all gradients point one way with one length, IRW is ERM."""
    torch.manual_seed(0)
    batch = batch_of()
    batch = batch._replace(x=torch.ones_like(batch.x), y=torch.ones_like(batch.y))
    irw, erm = make(alpha=0.2), make(ERM)
    out = irw.outputs(batch)
    assert irw.risk(out, batch).item() == pytest.approx(erm.risk(erm.outputs(batch), batch).item())
