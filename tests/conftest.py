"""Fixtures that every test may use."""

import inspect
import os
from pathlib import Path
from typing import get_args

import pytest
import torch
from pytorch_lightning import Trainer

pytest_plugins = ["promises", "records"]
# typing keeps one order of Union[float, int], the first that is written: imported after others,
# Trainer's limit_train_batches 1 would be all batches, not one.
assert get_args(inspect.signature(Trainer).parameters["limit_train_batches"].annotation)[0] is int
# Two cores and, in the process tests, two processes: more threads would only fight.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data; tests that need it are skipped where there is none."""
    folder = os.environ.get("FRBENCH_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("FRBENCH_DATA names no folder of real data")
    return Path(folder)


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run the test in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
