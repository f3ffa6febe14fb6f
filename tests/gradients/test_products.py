"""Every product of gradients against one reverse pass per sample, in float64."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from sklearn.cluster import DBSCAN
from torch import nn
from torch.utils.checkpoint import checkpoint

from frbench.contracts.errors import UserError
from frbench.gradients import GradientSimilarity, dbscan_noise, per_sample_gradients
from frbench.gradients.forward import Recall

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*")
B = 6


def reference(losses, parameters):
    """Per-sample gradients [B, P], one reverse pass each."""
    parameters, rows = list(parameters), []
    for loss in losses:
        grads = torch.autograd.grad(
            loss, parameters, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        rows.append(torch.cat([g.flatten() for g in grads]))
    return torch.stack(rows)


def make(net, x, **kwargs):
    """Return an engine and a batch for a network's cross-entropy."""
    batch = (x, torch.arange(len(x)) % 2)

    def losses(batch):
        return F.cross_entropy(net(batch[0]), batch[1], reduction="none")

    return GradientSimilarity(net, losses, **kwargs), batch


def member_of(losses, k=2):
    member = torch.zeros(len(losses), dtype=losses.dtype)
    member[losses.detach().topk(k).indices] = torch.linspace(1, 2, k, dtype=losses.dtype)
    return member


def study(engine, batch):
    with engine.watch():
        out = engine.losses(batch)
    engine.study(out, batch)
    return out


def close(ours, wanted, tolerance=1e-10):
    assert (ours - wanted).norm() <= tolerance * wanted.norm()


class Tokens(nn.Module):
    """Text: embedding with padding, one-dimensional convolution, normalisation over tokens."""

    def __init__(self, words):
        super().__init__()
        self.table = nn.Embedding(words, 6, padding_idx=0)
        self.conv = nn.Conv1d(6, 8, 3, padding=1, stride=2)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        out = self.conv(self.table(x).transpose(1, 2)).transpose(1, 2)
        return self.head(self.norm(out).amax(1))


def resnet(norm):
    net = torchvision.models.resnet18(num_classes=2, norm_layer=norm)
    return net, torch.randn(B, 3, 32, 32, dtype=torch.float64)


def frozen_resnet():
    net, x = resnet(nn.BatchNorm2d)
    net(x.float())  # statistics other than (0, 1)
    return net.eval(), x


NETWORKS = {
    "mlp": lambda: (
        nn.Sequential(nn.Linear(5, 7), nn.ReLU(inplace=True), nn.Linear(7, 40, bias=False),
                      nn.ReLU(inplace=True), nn.Linear(40, 2)),
        torch.randn(B, 5, dtype=torch.float64),
    ),
    "tokens": lambda: (Tokens(11), torch.randint(0, 11, (B, 7))),
    # Then pairs of places are cheaper than the gradients of the table.
    "tokens-many-words": lambda: (Tokens(300), torch.randint(0, 11, (B, 7))),
    "token-linear": lambda: (
        nn.Sequential(nn.Linear(5, 6), nn.LayerNorm([3, 6]), nn.Flatten(), nn.Linear(18, 2)),
        torch.randn(B, 3, 5, dtype=torch.float64),
    ),
    "grouped": lambda: (
        nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1, dilation=2, bias=False),
                      nn.Conv2d(6, 6, 3, groups=3), nn.BatchNorm2d(6).eval(), nn.ReLU(),
                      nn.Flatten(), nn.BatchNorm1d(6).eval(), nn.Linear(6, 2)),
        torch.randn(B, 3, 8, 8, dtype=torch.float64),
    ),
    "sync": lambda: (nn.Sequential(nn.Linear(5, 6), nn.SyncBatchNorm(6).eval(), nn.Linear(6, 2)),
                     torch.randn(B, 5, dtype=torch.float64)),
    "resnet18-groupnorm": lambda: resnet(lambda c: nn.GroupNorm(8, c)),
    "resnet18-frozen-batchnorm": frozen_resnet,
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_both_back_ends_equal_one_reverse_pass_per_sample(name):
    torch.manual_seed(0)
    net, x = NETWORKS[name]()
    net.double()
    engine, batch = make(net, x)
    losses = study(engine, batch)
    g = reference(losses, list(net.parameters()))
    gram, member = g @ g.T, member_of(losses)
    assert engine.problem is None
    close(engine.scores(member, 2), gram @ member)
    close(engine.scores(member, B), gram @ member)
    close(engine.gram(), gram)
    close(engine.norms(), g.norm(dim=1))
    vector = engine.gradient(losses, member)
    close(engine.along(vector), gram @ member)
    for rows in (1, B):  # every layer both ways
        for layer in engine._calls.values():
            part = layer.take(torch.arange(rows))
            summed = layer.along(part.weighted(torch.ones(rows, dtype=torch.float64)))
            close(layer.gram(part).sum(1), summed)
    forward, _ = make(net, x, backend="jvp")
    study(forward, batch)
    scores = forward.scores(member, 2)
    close(scores, gram @ member)
    assert not scores.requires_grad


@pytest.mark.parametrize("backend", ["auto", "jvp"])
@pytest.mark.parametrize("name", ["mlp", "resnet18-groupnorm"])
def test_float32_is_good_to_five_digits(name, backend):
    torch.manual_seed(0)
    net, x = NETWORKS[name]()
    exact, batch = make(net.double(), x)
    losses = study(exact, batch)
    member = member_of(losses)
    wanted, gram = exact.scores(member, 2), exact.gram()
    engine, batch = make(net.float(), x.float(), backend=backend)
    study(engine, batch)
    close(engine.scores(member.float(), 2).double(), wanted, 1e-5)
    if backend == "auto":
        close(engine.gram().double(), gram, 1e-5)


@pytest.mark.parametrize("layers", ["all", "last", ["fc", "layer4.0"]])
def test_batchnorm_in_training_equals_one_reverse_pass_per_sample(layers):
    torch.manual_seed(0)
    net, x = resnet(nn.BatchNorm2d)
    engine, batch = make(net.double(), x, layers=layers)
    before = {k: v.clone() for k, v in net.named_buffers()}
    losses = study(engine, batch)
    once = {k: v.clone() for k, v in net.named_buffers()}
    member = member_of(losses)
    g = reference(losses, list(engine._parameters().values()))
    close(engine.scores(member, 2), g @ (member @ g))
    # The running statistics moved once, by the training pass.
    assert all(torch.equal(v, once[k]) for k, v in net.named_buffers())
    assert not torch.equal(before["bn1.running_mean"], once["bn1.running_mean"])
    assert net.bn1.track_running_stats and net.bn1.training
    # What lies before no batch normalisation is still a product of layers.
    assert (engine.problem is None) == (layers == "last")
    if layers != "last":
        with pytest.raises(UserError, match="batchnorm: frozen"):
            engine.gram()


def test_a_map_over_samples_is_refused_where_batchnorm_trains():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).double()
    x, y = torch.randn(B, 5).double(), torch.arange(B) % 2
    with pytest.raises(UserError, match="batches of one"):
        per_sample_gradients(net, F.cross_entropy, x, y)
    losses = F.cross_entropy(net.eval()(x), y, reduction="none")
    close(per_sample_gradients(net, F.cross_entropy, x, y), reference(losses, net.parameters()))


@pytest.mark.parametrize("backend", ["auto", "jvp"])
def test_frozen_statistics_get_a_pass_of_their_own(backend):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))
    engine, batch = make(net.double(), torch.randn(B, 5).double(), batchnorm="frozen",
                         backend=backend)  # fmt: skip
    net(torch.randn(50, 5).double())
    random = torch.get_rng_state()
    with engine.watch():
        out = engine.losses(batch)
    after = torch.get_rng_state()
    once = net[1].running_mean.clone()
    losses = engine.study(out, batch)
    assert torch.equal(torch.get_rng_state(), after)
    member = member_of(losses)
    scores = engine.scores(member, 2)
    assert torch.equal(net[1].running_mean, once) and net[1].training
    torch.set_rng_state(random)
    net[1].eval()
    wanted = engine.losses(batch)
    assert torch.allclose(losses, wanted) and not torch.allclose(losses, out)
    g = reference(wanted, list(net.parameters()))
    close(scores, g @ (member @ g))


# ---- sums of losses whose gradient is written -----------------------------------------------
def both_gradients(engine, batch, parameters, rest=0.0):
    """The gradient of a weighted sum of losses, and autograd's; whether the first is written."""
    coef = torch.linspace(0, 1, B, dtype=batch[0].dtype if batch[0].is_floating_point() else None)
    losses = study(engine, batch)
    total = engine.weighted_sum(losses, coef.to(losses.dtype))
    written = type(total.grad_fn).__name__ == "_WrittenBackward"
    wanted = coef.to(losses.dtype) @ losses
    assert torch.allclose(total, wanted)
    found = []
    for value in (total, wanted):
        # Twice the value and a term of its own graph, as a scaler and a penalty make of it.
        grads = torch.autograd.grad(2 * value + rest * losses.square().sum(), parameters,
                                    retain_graph=True)  # fmt: skip
        found.append(torch.cat([g.flatten() for g in grads]))
    return *found, written


@pytest.mark.parametrize("rest", [0.0, 0.1])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_written_gradient_is_autograds(name, rest):
    torch.manual_seed(0)
    net, x = NETWORKS[name]()
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 2e-6)):
        net.to(dtype)
        engine, batch = make(net, x.to(dtype) if x.is_floating_point() else x)
        for _ in range(2):
            ours, wanted, written = both_gradients(engine, batch, list(net.parameters()), rest)
            assert written
            close(ours, wanted, tolerance)


def test_a_graph_of_a_written_gradient_is_used_once_unless_it_is_retained():
    torch.manual_seed(0)
    net, x = NETWORKS["mlp"]()
    engine, batch = make(net.double(), x)
    losses = study(engine, batch)
    total = engine.weighted_sum(losses, torch.ones(B).double())
    engine.clear()
    total.backward()
    with pytest.raises(RuntimeError, match="a second time"):
        total.backward()


class Tempered(nn.Module):
    """Divides logits by a parameter that belongs to no network."""

    def __init__(self):
        super().__init__()
        self.log_t = nn.Parameter(torch.zeros(()))

    def forward(self, logits):
        return logits / self.log_t.exp()


@pytest.mark.parametrize("case", ["repeated", "last", "own parameter", "frozen", "zero head"])
def test_the_gradient_is_autograds_where_the_layers_are_not_all_of_it(case):
    torch.manual_seed(0)
    net, x = NETWORKS["mlp"]()
    if case in ("repeated", "zero head"):
        net = Tied("repeated" if case == "repeated" else "plain")
    if case == "zero head":
        nn.init.zeros_(net.head.weight)
    if case == "frozen":
        net.insert(1, nn.BatchNorm1d(7))
    net.double()
    last = Tempered().double()
    engine, batch = make(net, x, layers="last" if case == "last" else "all",
                         batchnorm="frozen" if case == "frozen" else "batch")  # fmt: skip
    if case == "own parameter":
        engine.losses = lambda b: F.cross_entropy(last(net(b[0])), b[1], reduction="none")
    parameters = [*net.parameters()]
    if case == "repeated":
        parameters = [p for n, p in net.named_parameters() if not n.startswith("b.")]
    if case == "own parameter":
        parameters += list(last.parameters())
    ours, wanted, written = both_gradients(engine, batch, parameters)
    assert not written
    close(ours, wanted, 1e-14)
    if case == "zero head":  # then it has moved, and the next comparison finds evidence
        nn.init.ones_(net.head.weight[:1].detach())
        for _ in range(3):
            ours, wanted, written = both_gradients(engine, batch, parameters)
        assert written
        close(ours, wanted, 1e-12)


@pytest.mark.parametrize(("dtype", "by_hand"), [(torch.bfloat16, True), (torch.float16, False)])
def test_only_cotangents_that_cannot_underflow_are_written(dtype, by_hand):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 64), nn.ReLU(), nn.Linear(64, 2))
    engine, batch = make(net, torch.randn(B, 5))
    coef = torch.linspace(0, 1, B)
    losses = study(engine, batch)
    wanted = torch.autograd.grad(coef @ losses, list(net.parameters()))
    with torch.autocast("cpu", dtype), engine.watch():
        out = engine.losses(batch).float()
    engine.study(out, batch)
    total = engine.weighted_sum(out, coef)
    assert (type(total.grad_fn).__name__ == "_WrittenBackward") == by_hand
    ours = torch.autograd.grad(total, list(net.parameters()))
    for a, b in zip(ours, wanted, strict=True):
        assert a.dtype == torch.float32
        close(a, b, 0.05)


# ---- what rules layer-local products out ----------------------------------------------------
class Tied(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.how = how
        self.a, self.b = nn.Linear(5, 5), nn.Linear(5, 5)
        self.head = nn.Linear(5, 2)
        if how == "shared":
            self.b.weight = self.a.weight
        if how == "uncovered":
            self.scale = nn.Parameter(torch.ones(5))

    def forward(self, x):
        if self.how == "parametrized-outside":  # used once more, behind the module's back
            return self.head(F.linear(torch.tanh(self.b(self.a(x))), self.a.weight))
        if self.how == "mixing":
            x = self.a(x)
            return self.head(torch.tanh(self.b(x - x.mean(0))))
        if self.how == "transposed":
            return self.head(self.b(torch.tanh(self.a(x.T.contiguous().T))).roll(1, 0).roll(-1, 0))
        middle = self.a(self.a(x)) if self.how == "repeated" else self.b(self.a(x))
        return self.head(torch.tanh(middle * getattr(self, "scale", 1.0)))


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("repeated", "a was called 2 times"),
        ("shared", "are one parameter"),
        ("uncovered", r"Tied \(the network\) is not known"),
        ("parametrized-outside", "a.weight has gradients that its layer's calls do not explain"),
        ("mixing", "do not explain"),
    ],
)
def test_what_layers_cannot_explain_falls_back_to_forward_mode(how, why):
    import re

    torch.manual_seed(0)
    net = Tied(how).double()
    if how == "repeated":
        net.b.requires_grad_(False)
    engine, batch = make(net, torch.randn(B, 5).double())
    for _ in range(2):  # the decision is kept
        losses = study(engine, batch)
        assert re.search(why, engine.problem)
        member = member_of(losses)
        g = reference(losses, list(engine._parameters().values()))
        close(engine.scores(member, 2), g @ (member @ g))
    insistent, batch = make(net, torch.randn(B, 5).double(), backend="layers")
    with pytest.raises(UserError, match="cannot use layer-local products"):
        study(insistent, batch)


def error_of(engine, batch):
    losses = study(engine, batch)
    member = member_of(losses)
    g = reference(losses, list(engine._parameters().values()))
    wanted = g @ (member @ g)
    return (engine.scores(member, 2) - wanted).norm() / wanted.norm()


def test_samples_that_mix_behind_a_head_of_zeros_are_found_once_it_has_moved():
    torch.manual_seed(0)
    net = Tied("mixing").double()
    nn.init.zeros_(net.head.weight)
    engine, batch = make(net, torch.randn(B, 5).double())
    assert error_of(engine, batch) < 1e-10 and engine.problem is None
    nn.init.ones_(net.head.weight[:1].detach())
    for _ in range(3):
        assert error_of(engine, batch) < 1e-10
    assert "do not explain" in engine.problem


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(6))

    def forward(self, x):
        return x * self.scale


def test_the_choice_follows_what_trains():
    torch.manual_seed(0)
    norm, scale = nn.BatchNorm1d(6).eval(), Scale().requires_grad_(False)
    net = nn.Sequential(nn.Linear(5, 6), norm, scale, nn.ReLU(), nn.Linear(6, 2)).double()
    engine, batch = make(net, torch.randn(B, 5).double())
    problems = []
    for change in (net.eval, norm.train, norm.eval, lambda: scale.requires_grad_(True)):
        change()
        assert error_of(engine, batch) < 1e-10
        problems.append(engine.problem)
    assert problems[0] is problems[2] is None
    assert "batch's statistics" in problems[1] and "Scale" in problems[3]


def test_layers_with_exchanged_parameters_are_not_known():
    torch.manual_seed(0)
    pruned = torch.nn.utils.prune.random_unstructured(nn.Linear(5, 6), "weight", 0.3)
    with pytest.warns(FutureWarning):
        normed = torch.nn.utils.weight_norm(nn.Linear(5, 6))
    for layer in (pruned, normed):
        net = nn.Sequential(layer, nn.ReLU(), nn.Linear(6, 2)).double()
        engine, batch = make(net, torch.randn(B, 5).double())
        if layer is pruned:
            assert error_of(engine, batch) < 1e-10
        else:  # torch has no jvp for it
            with pytest.raises(UserError, match=r"Linear with these options \(0\) is not known"):
                error_of(engine, batch)
        assert "is not known" in engine.problem


@pytest.mark.parametrize("training", [True, False])
def test_batchnorm_without_running_statistics_mixes_in_either_mode(training):
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(6, track_running_stats=False)
    net = nn.Sequential(nn.Linear(5, 6), norm, nn.ReLU(), nn.Linear(6, 2)).double()
    engine, batch = make(net.train(training), torch.randn(B, 5).double(), batchnorm="frozen")
    assert error_of(engine, batch) < 1e-10 and "batch's statistics" in engine.problem
    with pytest.raises(UserError, match="batches of one"):
        per_sample_gradients(net, F.cross_entropy, *batch)


def test_float16_does_not_overflow_in_forward_mode():
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(5, 64), nn.ReLU(), nn.Linear(64, 2)), 300 * torch.randn(B, 5)
    engine, batch = make(net, x, backend="jvp")
    member = member_of(study(engine, batch))
    wanted = engine.scores(member, 2)
    assert wanted.abs().max() > torch.finfo(torch.float16).max
    with torch.autocast("cpu", torch.float16), engine.watch():
        out = engine.losses(batch)
    engine.study(out.float(), batch)
    close(engine.scores(member, 2), wanted, 0.02)


class Repeated(nn.Module):
    """One layer called twice; its first output is changed in place, or by a hook."""

    def __init__(self, change):
        super().__init__()
        self.change = change
        self.layer = nn.Linear(5, 5)
        self.head = nn.Linear(5, 2)
        if change == "hook":
            self.layer.register_forward_hook(lambda module, args, out: 2 * out)

    def forward(self, x):
        x = self.layer(x)
        x = x.mul_(2) if self.change == "in place" else x
        return self.head(self.layer(torch.tanh(x)))


@pytest.mark.parametrize(("change", "reused"), [("none", 3), ("in place", 2), ("hook", 1)])
def test_forward_mode_reuses_outputs_that_are_still_what_they_were(change, reused, monkeypatch):
    torch.manual_seed(0)
    taken, take = [], Recall.take
    monkeypatch.setattr(
        Recall, "take", lambda self, layer: taken.append(out := take(self, layer)) or out
    )
    net = Repeated(change).double()
    engine, batch = make(net, torch.randn(B, 5).double(), backend="jvp")
    losses = study(engine, batch)
    g = reference(losses, list(net.parameters()))
    member = member_of(losses)
    for calls in (3, 6):  # the second pass finds nothing left, and computes
        close(engine.scores(member, 2), g @ g.T @ member)
        assert len(taken) == calls and sum(out is not None for out in taken) == reused


def test_an_untouched_layout_is_covered():
    torch.manual_seed(0)
    engine, batch = make(Tied("transposed").double(), torch.randn(B, 5).double())
    study(engine, batch)
    assert engine.problem is None


def test_the_chosen_back_end_is_said(monkeypatch):
    said = []
    monkeypatch.setattr("frbench.gradients.engine.rank_zero_info", said.append)
    for how in ("plain", "repeated"):
        engine, batch = make(Tied(how), torch.randn(B, 5))
        study(engine, batch)
        study(engine, batch)
    assert said == [
        "GradientSimilarity: gradient similarity by layer-local products.",
        "GradientSimilarity: gradient similarity by forward mode (a was called 2 times).",
    ]


def test_hooks_live_around_the_forward_alone():
    net = NETWORKS["mlp"]()[0]
    engine, batch = make(net, torch.randn(B, 5))
    with engine.watch():
        assert any(m._forward_hooks for m in net.modules())
        out = engine.losses(batch)
    assert not any(m._forward_hooks for m in net.modules())
    engine.study(out, batch)
    engine.clear()
    assert engine._calls is None and engine._graph is None


def test_layers_by_name():
    net = NETWORKS["resnet18-groupnorm"]()[0]
    engine, _ = make(net, torch.zeros(1), layers=["layer4", "fc"])
    assert {n.split(".")[0] for n in engine._parameters()} == {"layer4", "fc"}
    with pytest.raises(UserError, match="no trainable layer 'layer'"):
        make(net, torch.zeros(1), layers=["layer"])
    with pytest.raises(UserError, match="needs a trainable linear layer"):
        make(nn.Conv2d(1, 1, 1), torch.zeros(1), layers="last")


def test_partly_frozen_layers_count_what_trains():
    torch.manual_seed(0)
    net = NETWORKS["mlp"]()[0].double()
    net[0].weight.requires_grad_(False)
    net[4].bias.requires_grad_(False)
    net[2].requires_grad_(False)
    engine, batch = make(net, torch.randn(B, 5).double())
    losses = study(engine, batch)
    g = reference(losses, [p for p in net.parameters() if p.requires_grad])
    assert engine.problem is None
    close(engine.gram(), g @ g.T)
    close(engine.norms(), g.norm(dim=1))
    member = member_of(losses)
    close(engine.scores(member, B), g @ (member @ g))


# ---- forward mode: the table of what breaks -------------------------------------------------
class Attention(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.how = how
        self.first = nn.Linear(5, 8)
        if how == "layer":
            self.mix = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        else:
            self.mix = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        x = self.first(x)
        if self.how == "layer":
            return self.head(self.mix(x).mean(1))
        return self.head(self.mix(x, x, x, need_weights=False)[0].mean(1))


@pytest.mark.parametrize("how", ["layer", "multihead"])
def test_fused_attention_takes_the_math_kernel(how):
    torch.manual_seed(0)
    net = Attention(how).double()
    engine, batch = make(net, torch.randn(B, 4, 5).double())
    losses = study(engine, batch)
    member = member_of(losses)
    g = reference(losses, list(net.parameters()))
    close(engine.scores(member, 2), g @ (member @ g))
    assert "mix" in engine.problem


TIMM = {
    "vit": ("vit_tiny_patch16_224", {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2,
                                     "num_heads": 2}),
    "mobilenet": ("mobilenetv3_small_050", {}),
    "convnext": ("convnext_atto", {}),
}  # fmt: skip


def timm_net(name):
    import timm

    torch.manual_seed(0)
    model, options = TIMM[name]
    return timm.create_model(model, num_classes=2, **options), torch.randn(B, 3, 32, 32)


@pytest.mark.parametrize("name", ["vit", "mobilenet"])
def test_timm_networks_in_forward_mode(name):
    net, x = timm_net(name)
    engine, batch = make(net.double().eval(), x.double())
    losses = study(engine, batch)
    member = member_of(losses)
    g = reference(losses, list(net.parameters()))
    assert engine.problem is not None  # position embeddings; normalisations with activations
    close(engine.scores(member, 2), g @ (member @ g))


def small_conv(norm):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), norm(8), nn.ReLU(), nn.Conv2d(8, 8, 3), norm(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2),
    ), torch.randn(32, 3, 12, 12)  # fmt: skip


AUTOCAST = {
    "mlp": lambda: (NETWORKS["mlp"]()[0], torch.randn(32, 5)),
    "batchnorm": lambda: small_conv(nn.BatchNorm2d),
    "groupnorm": lambda: small_conv(lambda c: nn.GroupNorm(2, c)),
    "vit": lambda: timm_net("vit"),
    "convnext": lambda: timm_net("convnext"),
}


@pytest.mark.parametrize("backend", ["auto", "jvp"])
@pytest.mark.parametrize("name", AUTOCAST)
def test_bfloat16_autocast_agrees_with_float32(name, backend):
    if backend == "auto" and name in ("vit", "convnext", "batchnorm"):
        pytest.skip("chooses jvp, which the other case runs")
    torch.manual_seed(0)
    net, x = AUTOCAST[name]()
    engine, batch = make(net, x, backend=backend)
    study(engine, batch)
    member = torch.zeros(len(x))
    member[:4] = 1
    wanted = engine.scores(member, 4)
    engine, _ = make(net, x, backend=backend)
    with torch.autocast("cpu", torch.bfloat16), engine.watch():
        out = engine.losses(batch)
    engine.study(out.float(), batch)  # outside autocast, as risk is
    assert (engine.problem is None) == (backend == "auto")
    ours = engine.scores(member, 4)
    assert ours.dtype == torch.float32
    assert torch.corrcoef(torch.stack([ours, wanted]))[0, 1] > 0.99
    if backend == "auto":
        assert engine.gram().dtype == torch.float32


@pytest.mark.parametrize("backend", ["auto", "jvp"])
def test_dropout_masks_are_those_of_the_training_pass(backend):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 30), nn.Dropout(0.5), nn.ReLU(), nn.Linear(30, 2)).double()
    engine, batch = make(net, torch.randn(B, 5).double(), backend=backend)
    losses = study(engine, batch)
    after = torch.get_rng_state()
    member = member_of(losses)
    g = reference(losses, list(net.parameters()))
    close(engine.scores(member, 2), g @ (member @ g))
    assert torch.equal(torch.get_rng_state(), after)


class Checkpointed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.reentrant = reentrant
        self.a, self.b, self.head = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x):
        x = checkpoint(lambda v: self.b(v).tanh(), self.a(x), use_reentrant=self.reentrant)
        return self.head(x)


@pytest.mark.parametrize("backend", ["auto", "jvp"])
def test_checkpointing_must_not_be_reentrant(backend):
    torch.manual_seed(0)
    net = Checkpointed(False).double()
    engine, batch = make(net, torch.randn(B, 5).double(), backend=backend)
    losses = study(engine, batch)
    member = member_of(losses)
    g = reference(losses, list(net.parameters()))
    close(engine.scores(member, 2), g @ (member @ g))
    engine, batch = make(Checkpointed(True), torch.randn(B, 5), backend=backend)
    losses = study(engine, batch)
    with pytest.raises(UserError, match="reentrant"):
        engine.scores(member_of(losses), 2)


class Cube(torch.autograd.Function):
    """No setup_context, no jvp."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, grad):
        return 3 * ctx.saved_tensors[0] ** 2 * grad


class Custom(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.a, self.head = nn.Linear(5, 6), nn.Linear(6, 2)
        if scale:
            self.scale = nn.Parameter(torch.ones(6))

    def forward(self, x):
        out = Cube.apply(self.a(x)) * getattr(self, "scale", 1.0)
        if out.mean().item() > 1e9:  # a branch on values
            out = -out
        return self.head(out)


def test_a_function_without_jvp_needs_known_layers():
    torch.manual_seed(0)
    engine, batch = make(Custom(False).double(), torch.randn(B, 5).double())
    losses = study(engine, batch)
    member = member_of(losses)
    g = reference(losses, list(engine.model.parameters()))
    assert engine.problem is None
    close(engine.scores(member, 2), g @ (member @ g))
    engine, batch = make(Custom(True), torch.randn(B, 5))
    losses = study(engine, batch)
    with pytest.raises(UserError, match="neither layer-local products"):
        engine.scores(member_of(losses), 2)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.LSTM(5, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.cell(x)[0][:, -1])


def test_an_lstm_allows_its_head_alone():
    torch.manual_seed(0)
    net, x = Recurrent(), torch.randn(B, 3, 5)
    engine, batch = make(net, x, layers="last")
    losses = study(engine, batch)
    g = reference(losses, list(net.head.parameters()))
    close(engine.gram(), g @ g.T, 1e-5)
    engine, batch = make(net, x)
    losses = study(engine, batch)
    with pytest.raises(UserError, match="layers: last"):
        engine.scores(member_of(losses), 2)


@pytest.mark.parametrize("training", [True, False])
def test_spectral_norm_works_in_evaluation_mode(training):
    torch.manual_seed(0)
    net = nn.Sequential(torch.nn.utils.parametrizations.spectral_norm(nn.Linear(5, 6)),
                        nn.Tanh(), nn.Linear(6, 2)).double()  # fmt: skip
    net.train(training)
    engine, batch = make(net, torch.randn(B, 5).double())
    losses = study(engine, batch)
    member = member_of(losses)
    assert "is not known" in engine.problem
    if training:
        with pytest.raises(UserError, match="forward mode"):
            engine.scores(member, 2)
    else:
        g = reference(losses, list(net.parameters()))
        close(engine.scores(member, 2), g @ (member @ g))


@pytest.mark.parametrize("backend", ["auto", "jvp"])
def test_channels_last(backend):
    net, x = small_conv(lambda c: nn.GroupNorm(2, c))
    plain, batch = make(net, x, backend=backend)
    member = member_of(study(plain, batch))
    wanted = plain.scores(member, 2)
    net.to(memory_format=torch.channels_last)
    engine, batch = make(net, x.to(memory_format=torch.channels_last), backend=backend)
    study(engine, batch)
    close(engine.scores(member, 2), wanted, 1e-5)


# ---- density --------------------------------------------------------------------------------
def test_noise_equals_scikit_learn_on_300_random_cases():
    rng = np.random.default_rng(0)
    marked = 0
    for _ in range(300):
        n, d = rng.integers(2, 60), rng.integers(1, 5)
        x = rng.normal(size=(n, d)) * rng.choice([0.3, 1, 3], size=(n, 1))
        if rng.random() < 0.3:
            x = np.round(x)  # ties and duplicates
        distances = np.sqrt(((x[:, None] - x) ** 2).sum(-1))
        # Often exactly one of the distances: the rule is "at most eps".
        eps = float(rng.choice([rng.uniform(0.05, 2), max(rng.choice(distances.ravel()), 1e-3)]))
        k = int(rng.integers(1, 9))
        wanted = DBSCAN(eps=eps, min_samples=k, metric="precomputed").fit(distances).labels_ == -1
        ours = dbscan_noise(torch.as_tensor(distances), eps, k)
        assert (ours.numpy() == wanted).all()
        marked += wanted.sum()
    assert marked > 500
