"""Crossed attributes in three views: intersectional, parallel, and one attribute alone."""

import numpy as np
import pandas as pd
import pytest
import torch
from rows import random_rows

from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.contracts.text import factors
from frbench.data import TableData
from frbench.metrics import evaluate, higher_is_better, metric_names
from frbench.metrics.names import PARALLEL, PARALLEL_SOFT
from frbench.networks import MLP
from frbench.objectives import ERM
from frbench.penalties import Adversary, Fishr, Gap, KLProjection, Parallel, Violation


def people(n=400):
    rng = np.random.default_rng(0)
    sex, race = rng.choice(["f", "m"], n), rng.choice(["a", "b", "c"], n)
    pred = (rng.random(n) < 0.3 + 0.3 * (sex == "m") + 0.2 * (race == "c")).astype(int)
    return sex, race, pred, rng.integers(2, size=n), rng.random(n)


def test_the_metric_is_the_worst_over_single_attributes():
    sex, race, pred, y, scores = people()
    crossed = evaluate(y, pred, {"sex": sex, "race": race}, scores)
    alone = [evaluate(y, pred, z, scores) for z in (sex, race)]
    for name in PARALLEL + PARALLEL_SOFT:
        worst = min if higher_is_better(name) else max
        assert crossed[f"{name}/parallel"] == pytest.approx(worst(m[name] for m in alone))
    assert crossed["demographic_parity_difference"] > max(
        m["demographic_parity_difference"] for m in alone
    )
    assert not any(key.endswith("parallel") for key in alone[0])
    assert higher_is_better("test/disparate_impact/parallel")


def test_names_of_crossed_values():
    assert factors(['"a&b"&x', "c&x", "c&y"]) == [[0, 1, 1], [0, 0, 1]]
    assert factors(["a&b", "c"]) == [] == factors(["a", "b"])
    assert f"{PARALLEL[0]}/parallel" in metric_names(["0", "1"], ["f&a", "m&a"])


@pytest.mark.parametrize("inner", [Gap, Violation, KLProjection])
def test_the_penalty_is_the_largest_over_single_attributes(inner):
    out, batch = random_rows(80, 2, 6)
    penalty = Parallel(1.0, inner())
    penalty.bind(Sizes(2, 6, (1,)))
    penalty.double()
    penalty.codes = torch.tensor([[0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2]])
    values = []
    for k, count in enumerate((2, 3)):
        z = torch.where(batch.z < 0, -1, penalty.codes[k][batch.z])
        alone = inner()
        alone.bind(Sizes(2, count, (1,)))
        group = torch.where(z < 0, -1, batch.y * count + z)
        values.append(alone.double()(out, batch._replace(z=z, group=group)).item())
    assert penalty(out, batch).item() == pytest.approx(max(values), abs=1e-9)
    assert values[0] != values[1]


def test_a_table_of_two_attribute_columns(tmp_path):
    sex, race, _, y, x = people()
    frame = pd.DataFrame({"sex": sex, "race": race, "x": x, "hired": y})
    frame.to_csv(tmp_path / "people.csv", index=False)
    data = TableData(str(tmp_path / "people.csv"), target="hired", attribute=["sex", "race"])
    penalty = Parallel()
    model = ERM(2, 6, [1], network=MLP(hidden=[3]), penalties=[penalty])
    penalty.bind_data(data)
    assert penalty.codes.tolist() == [[0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2]]
    assert not penalty.state_dict() and "codes" not in " ".join(model.state_dict())


@pytest.mark.parametrize("inner", [Adversary(), Fishr(), Gap(start=3), Adversary(hidden=[])])
def test_penalties_with_a_state_are_refused(inner):
    with pytest.raises(UserError, match=r"Parallel\.penalty: \w+ has a state or a network"):
        ERM(2, 2, [1], network=MLP(hidden=[3]), penalties=[Parallel(1.0, inner)])
