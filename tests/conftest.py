"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest

# Before anything else that may write Union[float, int]: typing keeps one order of a union, the
# first, and by it --trainer.limit_train_batches 1 is one batch or all of them.
import pytorch_lightning  # noqa: F401
import torch

pytest_plugins = ["promises"]
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
