"""The options of a stack's further cells are those that the parser would have read."""

import functools
from pathlib import Path

import pytest
import torch
from resumable import FILTERS

from frbench.contracts.spec import to_spec
from frbench.grids.cell import fit_words
from frbench.grids.grid import read_grid
from frbench.runs.cli import train
from frbench.runs.prepared import Alike, Prepared, changed

pytestmark = [pytest.mark.filterwarnings(line) for line in FILTERS]

GRID = """
base: {trainer.accelerator: cpu, data.n: 100, model.network: {class_path: MLP}}
data: {d: {data: TwoGaussians}}
methods:
  m:
    model: GroupDRO
    model.eta: 0.1
    model.penalties: [{class_path: ConditionalMMD, init_args: {weight: 0.5}}]
    grid:
      model.penalties:
        - [{class_path: ConditionalMMD, init_args: {weight: 0.5}}]
        - [{class_path: ConditionalMMD, init_args: {weight: 2.5}}]
      model.lr: [0.01, 0.02]
seeds: [0, 3]
"""


def options(cell, folder: Path) -> dict:
    """The options of a cell, its folder included."""
    return {**cell.options, "run_dir": str(folder)}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The cells of the grid and the first of them, built."""
    folder = tmp_path_factory.mktemp("alike")
    (folder / "grid.yaml").write_text(GRID)
    cells = read_grid(folder / "grid.yaml")
    return cells, train(fit_words(cells[0], folder / "0"), kind=Prepared), folder


def test_each_cell_is_built_as_the_parser_builds_it(built):
    cells, first, folder = built
    seen = set()
    for cell in cells[1:]:
        path = folder / f"{cell.index}"
        words = fit_words(cell, path)
        full = train(words, kind=Prepared)
        config = changed(first, options(cells[0], folder / "0"), options(cell, path))
        assert config == full.read
        mine = train(words, kind=functools.partial(Alike, first, config))
        assert mine.config == full.config
        assert to_spec(mine.model) == to_spec(full.model)
        assert to_spec(mine.datamodule) == to_spec(full.datamodule)
        weights = zip(mine.model.state_dict().values(), full.model.state_dict().values(),
                      strict=True)  # fmt: skip
        assert all(torch.equal(a, b) for a, b in weights)
        kept = full.parser.dump(full.config, skip_none=False)
        assert mine.parser.dump(mine.config, skip_none=False, skip_check=True) == kept
        seen.add((mine.model.lr, float(mine.model.penalties[0].weight), mine.datamodule.seed))
    assert len(seen) == len(cells) - 1 == 7


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ({"model.lr": 0.3}, {"model.lr": 0.4}, ""),  # not what was read
        ({"model.learning_rate": 0.3}, {"model.learning_rate": 0.4}, ""),  # not where it says
        ({"model.lr": 0.01}, {}, ""),
        ({"model.lr": 0.01}, {"model.lr": 0.02}, "--model.lr=0.01"),
        ({"data.seed": 0}, {"data.seed": 1}, "--config=own.yaml"),
        ({"seed_everything": 0}, {"seed_everything": 1}, "--seed_everything=0"),
    ],
)
def test_what_cannot_be_told_is_read(built, before, after, words):
    _, first, _ = built
    assert changed(first, before, after, words) is None


def test_words_about_other_options_leave_the_rest(built):
    _, first, _ = built
    config = changed(first, {"model.lr": 0.01}, {"model.lr": 0.02}, "--trainer.max_epochs=2")
    assert config.fit.model.init_args.lr == 0.02
    assert first.read.fit.model.init_args.lr == 0.01
