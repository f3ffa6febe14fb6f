"""Counts which promises each method keeps, and writes docs/promises.md; a pytest plugin.

``@pytest.mark.promise("precision")`` counts a test for every subject among its parameters: a class
of the package below one of BASES, the name of a balance or of a metric.
``@pytest.mark.promise("precision", GroupDRO, "joint")`` names the subjects. ``make promises`` runs
the marked tests and writes the page.
"""

import importlib
import inspect
import pkgutil
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
from paths import ROOT

#: Columns of the page, and what their tests say.
PROMISES = {
    "devices": "two processes give what one gives, to 1e-5",
    "precision": "bf16-mixed and 16-mixed train; a skipped step moves no state; no NaN",
    "resume": "a run that was killed and continued equals one that was not, bit for bit",
    "input": "bad input gives one readable line, before training",
    "load": "memory stays flat, time and memory are linear in the rows",
    "properties": "invariances and limits: order, names of groups, scale of weights, ERM's limit",
}
_TABLES = "every data set hands tables to the one loader; tested with the objectives' data"
_STEP = "edits the table on the host, before anything is trained"
_BALANCE = "one weight for each row of the table, computed before training"
_METRIC = "a function of the counts that evaluation keeps"
#: Why a promise has no test of some subjects, by kind: the dashes of the page.
SILENT = {
    "Data": {
        "devices": _TABLES,
        "precision": _TABLES,
        "resume": _TABLES + " (TwoGaussians, Digits)",
        "input": "the checks of files are in TableData and ImageTable, which others derive from",
        "load": "large tables and folders were measured with TableData and ImageTable",
    },
    "Corruption": {
        "devices": _STEP + ", from the seed and so the same on every process",
        "precision": _STEP,
        "resume": _STEP + "; done again from the seed when a run is continued",
        "input": "wrong options and tables: tests/data/test_module.py",
        "load": "not measured",
    },
    "Inference": {
        "input": "options: tests/promises/test_contracts.py; what does not combine with it: "
        "tests/group_inference",
        "load": "one pass over the table, whose outputs are held once",
        "properties": "order of rows, and of the values of z: tests/group_inference",
    },
    "Mixing": {
        "input": "options: tests/promises/test_contracts.py; what does not combine with it: "
        "tests/mixing",
        "load": "nothing is kept from one batch to the next",
        "properties": "partners, shares and the limit of alpha 0: tests/mixing",
    },
    "Augmentation": {
        "devices": _STEP + ", from the seed and so the same on every process",
        "precision": _STEP,
        "resume": _STEP + "; done again from the seed when a run is continued",
        "input": "wrong options and tables: tests/data/steps, tests/data/max_entropy",
        "load": "not measured, MaxEntropy excepted (docs/results/max-entropy.md)",
    },
    "Balance": {
        "precision": _BALANCE,
        "resume": _BALANCE + "; runs that were killed balance jointly or not",
        "input": "names are checked as choices; cells without rows: `frbench fit`",
        "load": "joint balance was measured (docs/results/scale.md)",
    },
    "Metric": {
        "devices": "not evaluated while training, but by commands on one process",
        "precision": _METRIC,
        "resume": _METRIC + "; logged metrics are compared in every test of resuming",
        "input": _METRIC,
        "load": "all at once: docs/results/scale.md",
        "properties": "random, or of scores, families and generated pairs: tests/metrics",
    },
    "Around them": {
        "devices": "part of the objectives' cases",
        "precision": "no arithmetic",
        "resume": "nothing that could be interrupted",
        "load": "not measured",
        "properties": "no function of a batch or table",
    },
}
#: Subjects that are no class.
OTHERS = ("frbench bench", "frbench fit", "checkpoints", "configuration files", "results files")
#: Stand for their axis where a test would take long for every class: an objective, one with a
#: training step of its own, a penalty, an inference, a mixing.
STAND_INS = ("GroupDRO", "FRTrain", "Adversary", "Errors", "LISA")
SLOW = pytest.mark.slow
DASH = "–"
PAGE = ROOT / "docs" / "promises.md"


def found(base: type) -> list[type]:
    """Concrete classes of the package below a base, by name."""
    import frbench

    for _, name, _ in pkgutil.walk_packages(frbench.__path__, "frbench."):
        if "__main__" not in name:
            importlib.import_module(name)
    classes, todo = set(), [base]
    while todo:
        cls = todo.pop()
        todo += cls.__subclasses__()
        if not inspect.isabstract(cls) and cls.__module__.startswith("frbench."):
            classes.add(cls)
    return sorted(classes, key=lambda cls: cls.__name__)


def others_slow(classes: list[type]) -> list:
    """Parameters of a long test: ``make test`` takes STAND_INS, ``make test-slow`` the others."""
    return [
        pytest.param(cls, id=cls.__name__, marks=[] if cls.__name__ in STAND_INS else SLOW)
        for cls in classes
    ]


@cache
def subjects() -> dict[str, list[str]]:
    """All names that a promise can be about, by kind."""
    from frbench.data.balance import Balance
    from frbench.data.module import GroupDataModule
    from frbench.data.step import Augmentation, Corruption
    from frbench.group_inference import GroupInference
    from frbench.metrics.names import DIRECTION
    from frbench.mixing import Mixing
    from frbench.objectives import Objective
    from frbench.penalties import Penalty

    classes = {
        "Objective": Objective, "Penalty": Penalty,
        "Inference": GroupInference, "Mixing": Mixing, "Data": GroupDataModule,
        "Corruption": Corruption, "Augmentation": Augmentation,
    }  # fmt: skip
    named = {kind: [cls.__name__ for cls in found(base)] for kind, base in classes.items()}
    return named | {
        "Balance": [*get_args(Balance)],
        "Metric": [*DIRECTION],
        "Around them": [*OTHERS],
    }


def _name(value: object) -> str | None:
    """Name of a subject; None for anything else."""
    name = value.__name__ if isinstance(value, type) else value
    known = isinstance(name, str) and any(name in names for names in subjects().values())
    return name if known else None


def kept(item: pytest.Item) -> list[tuple[str, str]]:
    """Return (promise, subject) for all that a test is about.

    Raises:
        ValueError: For an unknown promise or subject, or a test without subject.
    """
    callspec = getattr(item, "callspec", None)
    parameters = list(callspec.params.values()) if callspec else []
    marks = list(item.iter_markers("promise"))
    pairs = [
        (mark.args[0], _name(value)) for mark in marks for value in mark.args[1:] or parameters
    ]
    known = [(promise, name) for promise, name in pairs if name]
    by_hand = [_name(value) for mark in marks for value in mark.args[1:]]
    unknown = {mark.args[0] for mark in marks} - PROMISES.keys()
    if unknown or None in by_hand or (marks and not known):
        raise ValueError(
            f"{item.nodeid}: promise{[mark.args for mark in marks]}: expected one of "
            f"{[*PROMISES]}, and subjects that tests/support/promises.py knows, named there "
            "or among the parameters."
        )
    return list(dict.fromkeys(known))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--promises", metavar="PATH", help="write the table of promises there")


def pytest_configure(config: pytest.Config) -> None:
    if (path := config.getoption("--promises")) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Tally(Path(path)), "tally of promises")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        try:
            kept(item)
        except ValueError as error:
            raise pytest.UsageError(str(error)) from error


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    report = yield
    if report.when == "call" or (report.when == "setup" and not report.passed):
        report.user_properties += [("promise", pair) for pair in kept(item)]
    return report


class Tally:
    """Counts outcomes by promise and subject and writes the page at the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.outcomes: dict[tuple[str, str], Counter] = defaultdict(Counter)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        outcome = "failed" if hasattr(report, "wasxfail") else report.outcome
        for name, pair in report.user_properties:
            if name == "promise" and (report.when == "call" or outcome != "passed"):
                self.outcomes[tuple(pair)][outcome] += 1

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        if exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            self.path.write_text(render(self.outcomes))


def render(outcomes: dict[tuple[str, str], Counter]) -> str:
    """The page: a table of subject x promise for each kind."""
    lines = [
        "# Promises", "",
        "Which promise each method keeps, counted by the tests: passed / run, and in brackets how",
        "many were skipped (a file that was not there, or a class that states no such property).",
        "A dash: no test; the reason is below the table. Written by `make promises`; do not edit.",
        "",
        *(f"- **{name}**: {meaning}." for name, meaning in PROMISES.items()),
    ]  # fmt: skip
    for kind, names in subjects().items():
        lines += ["", f"| {kind} | {' | '.join(PROMISES)} |", "|---" * (len(PROMISES) + 1) + "|"]
        dashed: set[str] = set()
        for name in names:
            cells = [_cell(outcomes.get((promise, name))) for promise in PROMISES]
            lines.append(f"| {name} | {' | '.join(cells)} |")
            dashed |= {p for p, cell in zip(PROMISES, cells, strict=True) if cell == DASH}
        why = SILENT.get(kind, {})
        lines += ["", *(f"- {p}: {why.get(p, 'not tested')}." for p in PROMISES if p in dashed)]
    return "\n".join(lines) + "\n"


def _cell(counts: Counter | None) -> str:
    if not counts:
        return DASH
    skipped = f" ({counts['skipped']})" if counts["skipped"] else ""
    return f"{counts['passed']}/{counts['passed'] + counts['failed']}{skipped}"
