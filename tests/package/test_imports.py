"""What is imported when: commands that train nothing must not pay for torch."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import networkx as nx
import pytest
from paths import ROOT

#: Raises at any import of torch or Lightning, wherever it happens.
BLOCKED = """
import sys
from importlib.abc import MetaPathFinder

class Block(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchvision", "torchmetrics", "pytorch_lightning"}:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Block())
"""


def without_torch(code: str, *words: str) -> subprocess.CompletedProcess:
    """Run Python code in a process in which torch cannot be imported."""
    command = [sys.executable, "-c", BLOCKED + code, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def command_without_torch(*words: str) -> subprocess.CompletedProcess:
    """Run ``frbench`` in a process in which torch cannot be imported."""
    return without_torch("from frbench.__main__ import main; sys.exit(main(sys.argv[1:]))", *words)


def test_the_block_works() -> None:
    assert "torch is blocked" in without_torch("import torch").stderr
    assert "is blocked" in without_torch("import frbench; frbench.load").stderr


@pytest.mark.parametrize(
    "module",
    [
        "frbench",
        "frbench.__main__",
        "frbench.commands.audit",
        "frbench.commands.bench",
        "frbench.data",
        "frbench.data.steps.baselines",
        "frbench.data.steps.calmon",
        "frbench.commands.debias",
        "frbench.support.files",
        "frbench.commands.data",
        "frbench.data.table",
        "frbench.contracts.errors",
        "frbench.causal",
        "frbench.data.max_entropy",
        "frbench.grids.grid",
        "frbench.metrics",
        "frbench.report",
    ],
)
def test_module_needs_no_torch(module: str) -> None:
    done = without_torch(f"import {module}")
    assert done.returncode == 0, done.stderr


def test_metrics_of_predictions_need_no_torch() -> None:
    done = without_torch(
        "from frbench.metrics import evaluate, intervals\n"
        "print(evaluate([0, 1, 1, 0], [0, 1, 0, 1], [0, 0, 1, 1])['accuracy'])"
    )
    assert done.stdout == "0.5\n", done.stderr


def test_commands_that_train_nothing_need_no_torch(tmp_path) -> None:
    grid = tmp_path / "grid.yaml"
    grid.write_text("data: {d: {data: Digits}}\nmethods: {m: {model: ERM}}\nseeds: [0, 1]\n")
    table = tmp_path / "table.csv"
    table.write_text("y,p,z\n" + "0,0,a\n1,1,a\n0,1,b\n1,1,b\n" * 30)
    for words in (
        ["--version"],
        ["--help"],
        ["bench", "--help"],
        ["bench", str(grid), "--list"],
        ["data"],
        ["audit", str(table), "--y=y", "--pred=p", "--z=z"],
        ["alpha", "3561", "1488", "--simulate", "10"],
        ["data", "debias", str(table), "--target=y", "--protected=z", f"--out={tmp_path}/o.csv"],
    ):
        try:
            done = command_without_torch(*words)
        except SystemExit as stopped:
            assert stopped.code == 0
        assert done.returncode == 0, (words, done.stderr)
        assert done.stdout, words


def test_fit_does_not_import_what_it_does_not_use(tmp_path) -> None:
    """From the command to its last line; Lightning's metrics import some of these themselves."""
    code = """
import sys, pytorch_lightning
before = set(sys.modules)
from frbench.__main__ import main
assert main(["fit", "--data=Digits", "--data.n=200", "--data.n_eval=200", "--run_dir=run",
             "--trainer.max_steps=1", "--trainer.accelerator=cpu"]) == 0
heavy = {"timm", "wandb", "pandas", "sklearn", "torchvision", "transformers", "matplotlib"}
print("imported:", sorted(heavy & (set(sys.modules) - before)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "imported: []"


def test_every_lazy_name_resolves() -> None:
    import frbench
    import frbench.data
    import frbench.metrics

    for module in (frbench, frbench.data, frbench.metrics):
        for name in module.__all__:
            assert getattr(module, name) is not None
        with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
            _ = module.nothing


def test_version_is_quick() -> None:
    seconds = []
    for _ in range(3):
        start = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "frbench", "--version"],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        seconds.append(time.monotonic() - start)
        assert done.stdout.startswith("frbench ")
    # 0.05 s measured on 2 cores; the promise is 0.5 s, the rest is for a busy machine.
    assert min(seconds) < 1.5


# ---- the architecture -----------------------------------------------------------------------
#: Folder -> floor. An arrow (an import, lazy ones and those under TYPE_CHECKING included) goes to
#: a lower floor, or stays on its own between the folders of ``BESIDE``.
FLOORS = {
    "contracts": 1, "distributed": 1, "functional": 1,
    "support": 2, "metrics": 2, "penalties": 2, "gradients": 2, "group_inference": 2,
    "mixing": 2, "postprocessing": 2,
    "networks": 3, "data": 3, "report": 3,
    "training": 4, "causal": 4,
    "objectives": 5, "callbacks": 5, "gan": 5,
    "runs": 6, "sklearn": 6, "stacks": 6, "grids": 7, "commands": 8, "__main__": 9,
}  # fmt: skip
#: `support` holds nothing of the domain: the folders of its own floor may use it. FRAPPE trains
#: with penalties; a map may be fitted for the groups that an inference finds. `functional` holds
#: what objectives and penalties compute.
BESIDE = {
    ("functional", "contracts"), ("functional", "distributed"), ("metrics", "support"),
    ("postprocessing", "support"), ("postprocessing", "penalties"),
    ("postprocessing", "group_inference"),
}  # fmt: skip
#: Arrows that go down and are forbidden all the same.
FORBIDDEN = {("report", "runs"), ("causal", "runs")} | {
    (low, high)
    for low in ("penalties", "networks", "group_inference", "mixing", "postprocessing")
    for high in ("data", "training", "objectives")
}


def modules(package: Path) -> dict[str, Path]:
    """Module names of a package -> their files."""
    files = package.rglob("*.py")
    names = {".".join(f.relative_to(package.parent).with_suffix("").parts): f for f in files}
    return {name.removesuffix(".__init__"): file for name, file in names.items()}


def imports(known: dict[str, Path]) -> set[tuple[str, str]]:
    """All arrows between modules, wherever in the file the import stands; lazy names too."""
    arrows = set()
    for name, file in known.items():
        found = []
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                found += [f"{node.module}.{alias.name}" for alias in node.names] + [node.module]
        submodules = {f for f in found if f in known}
        # `from frbench.data import table` is an arrow to the module alone.
        arrows |= {(name, f) for f in submodules if f != name
                   and not any(other.startswith(f"{f}.") for other in submodules)}  # fmt: skip
    return arrows


def room(module: str) -> str:
    """The folder of a module, or the loose module itself; "" for the package."""
    return [*module.split("."), ""][1]


def crossings(arrows: set[tuple[str, str]]) -> list[str]:
    """Arrows between folders that the table does not allow."""
    wrong = []
    for start, end in sorted(arrows):
        low, high = room(start), room(end)
        if "" in (low, high) or low == high:
            continue
        allowed = FLOORS[high] < FLOORS[low] or (low, high) in BESIDE
        if not allowed or (low, high) in FORBIDDEN:
            wrong.append(f"{start} -> {end}")
    return wrong


def circles(arrows: set[tuple[str, str]]) -> list[list[str]]:
    """Groups of modules that import one another."""
    graph = nx.DiGraph(arrows)
    found = [sorted(part) for part in nx.strongly_connected_components(graph) if len(part) > 1]
    return sorted(found)


OURS = modules(ROOT / "frbench")
ARROWS = imports(OURS)


def test_no_forbidden_arrow():
    assert len(ARROWS) > 500
    assert crossings(ARROWS) == []


def test_no_circle():
    assert circles(ARROWS) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("contracts/batch.py", "from frbench.data.table import Table"),
        ("metrics/counts.py", "import frbench.report.rule"),
        ("data/table.py", "from frbench.gan import pairs"),
        ("penalties/mmd.py", "def f():\n    from frbench.training.objective import Objective"),
        ("training/log.py", "from frbench import callbacks"),
        ("causal/graph.py", "from frbench.runs import build"),
        ("runs/cli.py", "from frbench.commands.fit import main"),
    ],
)
def test_a_new_forbidden_arrow_is_found(tmp_path, file, line):
    known = dict(OURS)
    name = "frbench." + file.removesuffix(".py").replace("/", ".")
    known[name] = tmp_path / "changed.py"
    known[name].write_text(OURS[name].read_text() + f"\n{line}\n")
    (wrong,) = crossings(imports(known))
    assert wrong.startswith(f"{name} -> ")


def test_a_new_circle_is_found(tmp_path):
    known = {**OURS, "frbench.data.table": tmp_path / "table.py"}
    known["frbench.data.table"].write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
        "    from frbench.data.module import GroupDataModule\n"
    )
    assert any("frbench.data.table" in circle for circle in circles(imports(known)))


def test_nothing_is_imported_for_its_effect():
    for name, file in OURS.items():
        assert "# noqa: F401" not in file.read_text(), name


def test_the_house_is_small():
    loose = [name for name in OURS if name.count(".") == 1 and OURS[name].name != "__init__.py"]
    assert len(set(loose) - {"frbench.__main__"}) <= 3
    assert {room(name) for name in OURS} - {""} <= set(FLOORS)
    longest = max(OURS.values(), key=lambda file: len(file.read_text().splitlines()))
    assert len(longest.read_text().splitlines()) <= 350, longest
