"""Exact scores of several processes: gathered at the end, with uneven numbers of rows."""

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from frbench.metrics import GroupCounts

pytestmark = [pytest.mark.ddp, pytest.mark.slow]

#: Rows of each of two processes; the second case has one without any.
SHARES = ((190, 110), (300, 0))


def table() -> tuple[torch.Tensor, ...]:
    rng = torch.Generator().manual_seed(0)
    y = torch.randint(3, (300,), generator=rng)
    z = torch.randint(-1, 2, (300,), generator=rng)
    return torch.randn(300, 3, generator=rng) + torch.eye(3)[y], y, z


def work(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", f"file://{folder}/init", rank=rank, world_size=2)
    found = []
    for share in SHARES:
        metric = GroupCounts(3, 2, exact=True)
        rows = slice(0, share[0]) if rank == 0 else slice(share[0], sum(share))
        for part in torch.arange(300)[rows].split(64):
            metric.update(*(column[part] for column in table()))
        found.append(metric.compute())
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_give_the_exact_scores_of_one(tmp_path):
    mp.spawn(work, (str(tmp_path),), nprocs=2)
    metric = GroupCounts(3, 2, exact=True)
    metric.update(*table())
    whole = metric.compute()
    assert np.isfinite(whole["auroc/z=1"])
    for rank in (0, 1):
        for found in torch.load(tmp_path / f"{rank}.pt"):
            assert found == pytest.approx(whole, rel=1e-12, nan_ok=True)
