"""What the counts of label and attribute say of a recommended action."""

import json

import numpy as np
import pytest
import torch

from frbench.causal import analyze, example, practice
from frbench.commands.graph import main
from frbench.contracts.batch import Batch, Outputs, Sizes
from frbench.contracts.errors import UserError
from frbench.data.balance import effective_sample_size
from frbench.penalties import ConditionalMMD


def counted(name: str, counts: list[list[int]], batch: int = 128):
    """Practice of a named example on a table with these cells."""
    found = analyze(example(name))
    cells = np.array(counts)
    y, z = (index.ravel().repeat(cells.ravel()) for index in np.indices(cells.shape))
    return practice(found.task, found.recommendation, {"Y": y, "Z": z}, batch)


def test_expected_rows_and_bias_by_hand():
    one = counted("d", [[95, 5], [10, 90]], batch=100)
    assert one.counts.tolist() == [[95, 5], [10, 90]]
    assert one.expected.ravel().tolist() == [47.5, 2.5, 5.0, 45.0]
    assert one.bias == pytest.approx((1 / 47.5 + 1 / 2.5 + 1 / 5 + 1 / 45) / 2)
    assert one.small and "SMALL STRATA: 2 of 4 cells" in one.summary[1]
    assert "rarest cell, Y=0, Z=1, holds 2.5 rows" in one.summary[0]
    assert not counted("d", [[95, 5], [10, 90]], batch=1000).small


def test_the_bias_bounds_what_the_penalty_shows_where_nothing_depends():
    """Outputs that ignore z, spread so far apart that a row is near itself alone: E k is 0."""
    counts = np.array([[12, 3], [4, 8], [6, 6]])
    one = counted("d", counts.tolist(), batch=int(counts.sum()))
    y, z = (torch.tensor(i.ravel().repeat(counts.ravel())) for i in np.indices(counts.shape))
    # In double precision: a row's distance to itself must be 0, however far the outputs lie.
    logits = torch.arange(len(y))[:, None] * torch.tensor([[1e3, 0.0, 0.0]]).double()
    ones = torch.ones(len(y)).double()
    never = torch.zeros(len(y), dtype=torch.bool)
    batch = Batch(logits, y, z, y * 2 + z, ones, never, torch.arange(len(y)), never)
    penalty = ConditionalMMD()
    penalty.bind(Sizes(3, 2, (1,), 0))
    assert float(penalty(Outputs(logits, logits, ones), batch)) == pytest.approx(one.bias)


def test_a_marginal_penalty_compares_values_of_the_factor_alone():
    one = counted("b", [[60, 2], [30, 8]], batch=100)
    assert one.action == "marginal_mmd_without_balancing"
    assert one.expected.tolist() == [[90.0, 10.0]] and not one.small
    assert one.bias == pytest.approx(1 / 90 + 1 / 10)
    assert "rarest cell, Z=1, holds 10.0 rows" in one.summary[0] and len(one.summary) == 1


def test_joint_balancing_is_told_its_effective_sample_size():
    counts = np.array([[95, 5], [10, 90]])
    one = counted("a", counts.tolist())
    p = counts / counts.sum()
    weights = np.outer(p.sum(1), p.sum(0)) / p
    by_row = np.repeat(weights.ravel(), counts.ravel())
    assert one.effective == pytest.approx(effective_sample_size(by_row))
    assert f"effective sample of {one.effective:.0f} of 200 rows" in one.summary[0]
    empty = counted("a", [[95, 0], [10, 90]])
    assert empty.effective is None and "NO OVERLAP: no row has Y=0, Z=1" in empty.summary[0]


def test_a_further_factor_counts_jointly_and_other_actions_not_at_all():
    found = analyze(example("c2"))
    rng = np.random.default_rng(0)
    data = {node: rng.integers(0, 2, 400) for node in ("Y", "Z", "V")}
    one = practice(found.task, found.recommendation, data)
    assert one.action == found.recommendation.then.action
    assert one.counts.shape == (2, 4) and one.values[0] == "Z=0, V=0"
    assert counted("e", [[10, 10], [10, 10]]).summary == []


def test_what_cannot_be_counted():
    found = analyze(example("d"))
    y = np.arange(40) % 2
    assert practice(found.task, found.recommendation, {"Y": y}) is None
    continuous = {"Y": y, "Z": np.linspace(0, 1, 40)}
    assert practice(found.task, found.recommendation, continuous) is None
    missing = {"Y": y, "Z": np.array([None, "a", "b", "a"] * 10, dtype=object)}
    assert practice(found.task, found.recommendation, missing).counts.sum() == 30
    with pytest.raises(UserError, match="--batch must be at least 1"):
        practice(found.task, found.recommendation, missing, 0)


def test_the_command_warns(tmp_path, capsys):
    rows = ["Y,Z"] + [f"{i % 10},{'b' if i // 10 % 10 == 0 else 'a'}" for i in range(1000)]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(rows))
    for form in ("table", "markdown"):
        assert main(["d", "--data", str(path), "--batch", "256", "--format", form]) == 0
        text = " ".join(capsys.readouterr().out.split())
        assert text.index("In practice") < text.index("implied")
        assert "SMALL STRATA: 10 of 20 cells average fewer than 10" in text
    assert main(["d", "--data", str(path), "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)["practice"]
    assert found["small_strata"] and np.array(found["counts"]).sum() == 1000
