"""A process that does many runs does not keep the tables of the earlier ones."""

import gc
import weakref
from pathlib import Path

import pytest
import yaml
from command import SMALL

from frbench.__main__ import main
from frbench.data import Digits


@pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning")
@pytest.mark.parametrize("words", [(), ("--stack=2",)], ids=["plain", "stacks"])
def test_data_of_earlier_runs_are_free(in_tmp: Path, monkeypatch, words):
    alive: list[weakref.ref[Digits]] = []
    most = []
    before = Digits.setup

    def setup(self: Digits, stage: str | None = None) -> None:
        alive.append(weakref.ref(self))
        most.append(len({id(found) for ref in alive if (found := ref()) is not None}))
        before(self, stage)

    monkeypatch.setattr(Digits, "setup", setup)
    options = dict(word.removeprefix("--").split("=") for word in SMALL)
    grid = {
        "base": {"trainer.max_epochs": 1, "trainer.accelerator": "cpu", "model.network": "MLP"},
        "data": {"small": {key: yaml.safe_load(value) for key, value in options.items()}},
        "methods": {"ERM": {"model": "ERM"}},
        "seeds": list(range(10)),
    }
    Path("g.yaml").write_text(yaml.safe_dump(grid))
    gc.disable()  # as between two of Python's own searches
    try:
        assert main(["bench", "g.yaml", "--out=out", *words]) == 0
    finally:
        gc.enable()
    assert len(alive) >= 10
    assert max(most) <= 5  # of ten: those of two stacks and the one that is being made
