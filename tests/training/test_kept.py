"""Kept outputs: whole tables in their order, on one process and on two."""

import multiprocessing
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.distributed as dist

from frbench.contracts.batch import Batch
from frbench.report.predictions import KeptPredictions, read_predictions
from frbench.training.decisions import Outcome
from frbench.training.kept import Kept

N = 13
GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(N, 3, generator=GENERATOR)
Y = torch.randint(0, 3, (N,), generator=GENERATOR)
Z = torch.randint(-1, 2, (N,), generator=GENERATOR)
DATA = SimpleNamespace(
    splits={"val": range(N), "test": range(N + 4)},
    places={"val": np.arange(N) * 3},
    contents={name: {"columns": {"": f"hash of {name}"}} for name in ("val", "test")},
)


def tables(first=0, step=1, size=2):
    """Give a collector the rows of one process, batch by batch."""
    kept = Kept()
    for rows in torch.arange(first, N, step).split(size):
        batch = Batch.of(torch.zeros(len(rows), 1), Y[rows], Z[rows], 2)._replace(index=rows)
        kept.add("val", batch, Outcome(LOGITS[rows]))
        later = batch._replace(index=rows + (rows > 4) * 4)  # a part of the table is not visited
        kept.add("test", later, Outcome(LOGITS[rows], None, (Y[rows] + 1) % 3))
    return kept.tables(DATA)


def whole(found):
    """The file of tables."""
    return KeptPredictions(found, "abc", "fm", np.ones((3, 2)))


def process(rank, folder):
    """One process of two; the first one writes."""
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    found = tables(rank, 2, 3)
    if rank == 0:
        whole(found).write(folder / "two.npz")
    dist.destroy_process_group()


def test_rows_are_in_the_order_of_the_table(tmp_path):
    whole(tables()).write(tmp_path / "one.npz")
    found = read_predictions(tmp_path / "one.npz").tables
    val, test = found["val"], found["test"]
    assert (val.y == Y.numpy()).all() and (val.z == Z.numpy()).all()
    assert (val.decision == LOGITS.argmax(1).numpy()).all() and val.decisions is None
    assert np.abs(val.scores - LOGITS.log_softmax(1).numpy()).max() < 2e-3
    assert (val.index == np.arange(N) * 3).all() and val.rows == "hash of val"
    assert test.index.tolist() == [*range(5), *range(9, N + 4)]
    assert (test.decision == (Y.numpy() + 1) % 3).all()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forks beside threads
def test_two_processes_keep_what_one_keeps(tmp_path):
    whole(tables()).write(tmp_path / "one.npz")
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=process, args=(rank, tmp_path)) for rank in (0, 1)]
    for one in both:
        one.start()
    for one in both:
        one.join(120)
        assert one.exitcode == 0
    assert (tmp_path / "two.npz").read_bytes() == (tmp_path / "one.npz").read_bytes()
