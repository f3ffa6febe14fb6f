"""Long runs do not grow: neither tensors nor objects of Python pile up, whatever the method."""

import importlib.util
import sys
from functools import cache

import numpy as np
import pytest
import torch
from paths import ROOT
from promises import found, others_slow

from frbench.data import TableData
from frbench.objectives import ERM, Objective
from frbench.penalties import Penalty

pytestmark = pytest.mark.filterwarnings("ignore")

STEPS = [200, 700]
#: Objects that may come and go; one for each step would be 500.
SLACK = 60


@cache
def scale():
    """The benchmark, as a module."""
    path = ROOT / "benchmarks" / "scale.py"
    spec = importlib.util.spec_from_file_location("scale", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["scale"] = module
    spec.loader.exec_module(module)
    return module


def check(cls, **options):
    before, after = scale().long_run(cls, STEPS, **options).seen
    assert after[0] - before[0] < SLACK, "objects"
    assert after[1] - before[1] <= 2, "tensors"


@pytest.mark.promise("load")
@pytest.mark.parametrize("cls", others_slow(found(Objective)))
def test_objectives_do_not_grow(cls):
    check(cls)


@pytest.mark.slow
@pytest.mark.promise("load")
@pytest.mark.parametrize("cls", found(Penalty), ids=lambda cls: cls.__name__)
def test_penalties_do_not_grow(cls):
    check(ERM, penalties=[cls()])


class Leak(ERM):
    """Keeps the graph of every step, as the reference implementation of a method did."""

    def risk(self, out, batch):
        loss = super().risk(out, batch)
        self.__dict__.setdefault("graphs", []).append(loss)
        return loss


@pytest.mark.slow
def test_a_graph_that_is_kept_would_be_noticed():
    with pytest.raises(AssertionError, match=r"objects|tensors"):
        check(Leak)


def test_the_benchmark_knows_every_objective():
    assert {cls.__name__ for cls in scale().objectives()} == {
        cls.__name__ for cls in found(Objective)
    }


@pytest.mark.promise("load", TableData)
def test_setting_up_a_table_takes_time_and_memory_in_proportion(tmp_path):
    """At 5,000 and 40,000 rows: eight times as much, and not sixty-four."""
    found, threads = [], torch.get_num_threads()
    for n in (5_000, 40_000):
        path = tmp_path / f"{n}.csv"
        scale().write_table(path, n)
        stages = scale().Stages()
        scale().use(
            stages,
            lambda path=path: TableData(str(path), "y", "z", balance="joint", batch_size=1024),
            decode=False,
        )
        found.append(sum(seconds for seconds, _ in stages.found.values()))
    assert found[1] < 20 * found[0]
    assert torch.get_num_threads() == threads and np.isfinite(found).all()
