"""Fixtures that every test may use."""

import inspect
import logging
import os
import random
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from pytorch_lightning import Trainer

pytest_plugins = ["forked", "promises", "records"]
# typing keeps one order of Union[float, int], the first that is written: imported after others,
# Trainer's limit_train_batches 1 would be all batches, not one.
assert get_args(inspect.signature(Trainer).parameters["limit_train_batches"].annotation)[0] is int
# Under nohup the signal is ignored, here and in every process that a test starts.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
# Two cores and, in the process tests, two processes: more threads would only fight.
torch.set_num_threads(1)


#: The loggers whose filters, handlers and levels a run changes.
LOGGERS = [
    logging.getLogger(package + child)
    for package in ("pytorch_lightning", "lightning_fabric")
    for child in ("", ".utilities.rank_zero", ".utilities.seed")
]


@pytest.fixture(autouse=True)
def independent(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Let no test depend on those that ran before it in the same process.

    Every test starts from the same random state and without the seed of an earlier run; what a
    run changes in the process is undone after it: log filters, the format of warnings, and the
    modules imported from folders of the test.
    """
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS", "COLUMNS"):  # xdist sets the last
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    monkeypatch.setattr(sys, "path", [*sys.path])  # a command adds the current folder
    modules = set(sys.modules)
    before = [(log.level, [*log.handlers], [*log.filters]) for log in LOGGERS]
    yield
    for log, (level, handlers, filters) in zip(LOGGERS, before, strict=True):
        log.setLevel(level)
        log.handlers, log.filters = handlers, filters
    folder = str(tmp_path_factory.getbasetemp())
    for name in sys.modules.keys() - modules:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(folder):
            del sys.modules[name]


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
