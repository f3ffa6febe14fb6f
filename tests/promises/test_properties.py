"""Every objective and penalty keeps what its ``properties`` state, on batches of hypothesis.

The value of a risk or a penalty is compared together with its gradient in the network. A new class
is tested by itself, against the defaults until it states others.
"""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from promises import found
from pytorch_lightning import seed_everything
from trainers import trainer

from frbench.contracts.batch import Batch
from frbench.contracts.properties import Properties
from frbench.data import TwoGaussians
from frbench.networks import MLP
from frbench.objectives import ERM, GroupDRO, Objective
from frbench.penalties import Penalty

OBJECTIVES, PENALTIES = found(Objective), found(Penalty)
CLASSES = 2
#: The same examples on every run: what fails here fails again.
drawn = settings(
    max_examples=15, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
methods = pytest.mark.parametrize("cls", [*OBJECTIVES, *PENALTIES], ids=lambda cls: cls.__name__)
pytestmark = pytest.mark.promise("properties")


def make(x, y, z, weight, attributes=3, index=None):
    """A batch of rows given as arrays; the table's first ones in their order, by default."""
    x, y, z = (torch.as_tensor(np.ascontiguousarray(c)) for c in (x, y, z))
    group = torch.where(z < 0, -1, y * attributes + z)
    flags = torch.zeros(len(y), dtype=torch.bool)
    weight = torch.as_tensor(np.ascontiguousarray(weight))
    index = torch.arange(len(y)) if index is None else torch.as_tensor(index)
    return Batch(x.float(), y, z, group, weight.float(), flags, index, flags)


WEIGHTS = st.floats(0.125, 8, width=32)


@st.composite
def columns(draw, weight=WEIGHTS):
    """x, y, z and weights of 2 to 16 rows: three attribute values, some rows without one."""
    n = draw(st.integers(2, 16))
    return (
        draw(arrays(np.float32, (n, 2), elements=st.floats(-3, 3, width=32))),
        draw(arrays(np.int64, n, elements=st.integers(0, CLASSES - 1))),
        draw(arrays(np.int64, n, elements=st.integers(-1, 2))),
        draw(arrays(np.float32, n, elements=weight)),
    )


class Method:
    """A risk or a penalty on a network that is the same for every instance of a class."""

    def __init__(self, cls, attributes=3, **options):
        torch.manual_seed(0)
        network = MLP(hidden=[4])
        if issubclass(cls, Objective):
            self.model = cls(CLASSES, attributes, [2], network=network, **options)
        else:
            self.model = ERM(CLASSES, attributes, [2], network=network, penalties=[cls(**options)])
        if not all(hasattr(self.model, name) for name in self.model.row_state):
            self.model.allocate_rows(48)
        self.penalty = None if issubclass(cls, Objective) else self.model.penalties[0]

    def __call__(self, batch, take=False):
        """Value and gradient, one vector; ``take`` makes the staged state true."""
        self.model.discard_all()
        out = self.model.outputs(batch)
        if self.penalty is None:
            value = self.model.risk(out, batch)
        else:
            value = self.model.value_of(self.penalty, out, batch)
        parameters = list(self.model.network.parameters())
        gradients = torch.autograd.grad(value, parameters, allow_unused=True)
        if take:
            self.model.commit_all()
        parts = [
            torch.zeros_like(p) if g is None else g
            for g, p in zip(gradients, parameters, strict=True)
        ]
        return torch.cat([value[None], *(part.flatten() for part in parts)]).detach()


def close(a, b):
    scale = max(1.0, float(a.abs().max()))
    assert torch.allclose(a, b, rtol=1e-3, atol=1e-4 * scale), (a, b)


@methods
@drawn
@given(data=st.data())
def test_the_order_of_the_rows_does_not_matter(cls, data):
    rows = data.draw(columns())
    order = np.array(data.draw(st.permutations(range(len(rows[1])))))
    method = Method(cls)
    close(method(make(*rows)), method(make(*(c[order] for c in rows), index=order)))


@methods
@drawn
@given(rows=columns(), factor=st.floats(0.1, 10))
def test_scaled_weights(cls, rows, factor):
    x, y, z, weight = rows
    method = Method(cls)
    one, scaled = method(make(*rows)), method(make(x, y, z, weight * np.float32(factor)))
    kind = cls.properties.weights
    if kind is None:  # stated as neither: no claim, but nothing may break
        assert torch.isfinite(scaled).all()
    else:
        close(one * factor if kind == "linear" else one, scaled)


@methods
@drawn
@given(rows=columns(weight=st.sampled_from([1.0, 2.0, 3.0])))
def test_weights_are_copies(cls, rows):
    kind = cls.properties.copies
    if kind is None:
        pytest.skip("states that weights are not copies")
    x, y, z, weight = rows
    method = Method(cls)
    times = weight.astype(int)
    copies = (np.repeat(c, times, axis=0) for c in (x, y, z, np.ones_like(weight)))
    weight = weight / weight.mean() if kind == "relative" else weight
    close(method(make(x, y, z, weight)), method(make(*copies)))


@methods
@drawn
@given(data=st.data())
def test_names_of_attribute_values(cls, data):
    """Two steps: the second depends on the state that the first has left."""
    kind = cls.properties.attributes
    if kind is None:
        pytest.skip("states that parts of it belong to single attribute values")
    method, twin = Method(cls), Method(cls)
    name = np.array([*data.draw(st.permutations(range(3))), -1])  # -1 stays -1
    for _ in range(2):
        x, y, z, weight = data.draw(columns())
        other = name[z] if kind == "exchangeable" else data.draw(
            arrays(np.int64, len(z), elements=st.integers(-1, 2)))  # fmt: skip
        close(method(make(x, y, z, weight), True), twin(make(x, y, other, weight), True))


COMPARING = [cls for cls in PENALTIES if cls.properties.compares]


@pytest.mark.parametrize("cls", COMPARING, ids=lambda cls: cls.__name__)
@drawn
@given(rows=columns())
def test_with_one_attribute_value_there_is_nothing_to_penalise(cls, rows):
    x, y, z, weight = rows
    value = Method(cls, attributes=1)(make(x, y, np.minimum(z, 0), weight, attributes=1))
    close(value, torch.zeros_like(value))


ONE_GROUP = [cls for cls in OBJECTIVES if cls.properties.one_group is not None]


@pytest.mark.parametrize("cls", ONE_GROUP, ids=lambda cls: cls.__name__)
@drawn
@given(rows=columns())
def test_one_group_is_erm(cls, rows):
    x, y, z, weight = rows
    batch = make(x, y * 0 + 1, z * 0, weight / weight.mean(), attributes=1)
    method = Method(cls, attributes=1, **cls.properties.one_group)
    close(method(batch), Method(ERM, attributes=1)(batch))


@pytest.mark.promise("properties", GroupDRO)
@drawn
@given(rows=columns())
def test_without_a_step_size_the_weights_of_groups_stay_uniform(rows):
    x, y, z, weight = rows
    method = Method(GroupDRO, eta=0.0)
    batch = make(x, y, np.maximum(z, 0), weight)
    value = method(batch, take=True)[0]
    assert torch.allclose(method.model.log_q.exp(), torch.full((6,), 1 / 6))
    losses = method.model.outputs(batch).losses.detach()
    means = [
        float(batch.weight[rows] @ losses[rows] / batch.weight[rows].sum())
        for rows in (batch.group == g for g in range(6)) if rows.any()
    ]  # fmt: skip
    assert float(value) == pytest.approx(sum(means) / 6, rel=1e-4)


LIMITS = [(cls, options) for cls in OBJECTIVES for options in cls.properties.erm if options]


def trained(cls, options):
    seed_everything(1, verbose=False)
    model = cls(2, 2, [2], network=MLP(hidden=[4]), lr=0.05, **options)
    data = TwoGaussians(n=96, batch_size=16, balance="conditional", via="weight")
    run = trainer(max_epochs=3, limit_val_batches=0)
    run.fit(model, datamodule=data)
    return torch.cat([p.detach().flatten() for p in model.network.parameters()])


@cache
def plain_erm():
    return trained(ERM, {})


@pytest.mark.parametrize(
    ("cls", "options"), LIMITS, ids=lambda v: v.__name__ if isinstance(v, type) else str(v)
)
def test_the_limit_of_a_method_is_erm(cls, options):
    assert torch.allclose(trained(cls, options), plain_erm(), rtol=1e-4, atol=1e-5)


@pytest.mark.promise("properties", ERM)
def test_a_false_statement_fails():
    """What the tests above would say of a method that claims too much."""

    class Boasting(GroupDRO):
        properties = Properties()  # linear in the weights, blind to z

    x = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0]], dtype=np.float32)
    y, z, weight = np.array([0, 1, 1]), np.array([0, 1, 2]), np.ones(3, dtype=np.float32)
    method = Method(Boasting)
    one = method(make(x, y, z, weight))
    for other, times in ((make(x, y, z, 2 * weight), 2), (make(x, y, z * 0, weight), 1)):
        with pytest.raises(AssertionError):
            close(one * times, method(other))
