"""Every YAML that is shipped runs: data and methods alone, grids by one run of each arm."""

import os
from itertools import groupby
from pathlib import Path

import pytest
import yaml
from command import run

from frbench.grid import read_grid

pytestmark = pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning")

CONFIGS = Path(__file__).parents[1] / "configs"
DATA = sorted((CONFIGS / "data").glob("*.yaml"))
METHODS = sorted((CONFIGS / "method").glob("*.yaml"))
PAPERS = sorted((CONFIGS / "papers").rglob("*.yaml"))
#: Files of frbench.studies; tests/studies runs them.
STUDIES = [path for path in PAPERS if "study" in yaml.safe_load(path.read_text())]
GRIDS = sorted({*(CONFIGS / "bench").glob("*.yaml"), *PAPERS} - {*STUDIES})
#: Data that need no file.
EMBEDDED = {"digits", "two_gaussians", "Digits", "TwoGaussians"}

FAST = (
    "--trainer.fast_dev_run=true",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
)


def name(path: Path) -> str:
    return str(path.relative_to(CONFIGS).with_suffix(""))


@pytest.fixture(autouse=True)
def no_wrong_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of data that does not exist is as good as none."""
    if not Path(os.environ.get("FRBENCH_DATA", "")).is_dir():
        monkeypatch.delenv("FRBENCH_DATA")


def arms() -> list:
    """List the first cell of each data set and method of each grid."""
    found = []
    for path in GRIDS:
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("FRBENCH_DATA", raising=False)
            cells = groupby(read_grid(path), key=lambda cell: (cell.data, cell.method))
        found += [
            pytest.param(path, next(group).index, id=f"{name(path)}-{data}-{method}")
            for (data, method), group in cells
        ]
    return found


def test_there_are_configs_of_every_kind() -> None:
    assert DATA and METHODS and GRIDS
    everything = set(CONFIGS.rglob("*.yaml")) - {CONFIGS / "base.yaml"}
    assert everything == {*DATA, *METHODS, *GRIDS, *STUDIES}


@pytest.mark.parametrize("path", DATA, ids=name)
def test_data_runs(path: Path, in_tmp: Path, request: pytest.FixtureRequest) -> None:
    if path.stem not in EMBEDDED:
        request.getfixturevalue("shared_data")
    run("fit", f"--config={path}", *FAST)


@pytest.mark.parametrize("path", METHODS, ids=name)
def test_method_runs_on_top_of_base_and_data(path: Path, in_tmp: Path) -> None:
    base, data = CONFIGS / "base.yaml", CONFIGS / "data" / "digits.yaml"
    run("fit", f"--config={base}", f"--config={data}", f"--config={path}", *FAST)


@pytest.mark.parametrize(("path", "index"), arms())
def test_arm_of_grid_runs(
    path: Path, index: int, in_tmp: Path, request: pytest.FixtureRequest
) -> None:
    cell = read_grid(path)[index]
    if cell.options["data"] not in EMBEDDED:
        request.getfixturevalue("shared_data")
    run("fit", *cell.arguments(), *FAST)


@pytest.mark.parametrize("path", GRIDS, ids=name)
def test_grid_has_distinct_cells_and_rerun_keys(path: Path) -> None:
    keys = [cell.key for cell in read_grid(path)]
    assert len(set(keys)) == len(keys) > 1
    assert [cell.key for cell in read_grid(path)] == keys
