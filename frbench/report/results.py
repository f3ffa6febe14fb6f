"""Results files read into runs: the latest record of each, and notes on what was left out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from sys import intern
from typing import Any

from frbench.contracts.errors import UserError
from frbench.report.records import TRIALS, parse_line

#: What to do where a search stands alone.
CONFIRM = (
    "its numbers chose the settings; run `frbench bench` on its confirm.yaml, then report that."
)


@dataclass(frozen=True)
class Run:
    """One run of a grid.

    Attributes:
        cell: Key of the run.
        data: Name of the data set in the grid.
        method: Name of the method in the grid.
        settings: The point of the grid or the random draw, option -> value.
        seed: Seed of the run.
        fold: Fold of cross-validation, or None.
        metrics: Values of the chosen checkpoint, ``val/..`` and ``test/..``.
        monitor: The rule that chose the checkpoint inside the run, with its mode.
        oracle: Whether that rule looked at test data.
        attribute_as_input: Whether the network saw the attribute.
        training: What it was trained on and with: ``balance``, ``train_on``, ``penalties`` with
            their weights; empty in files of older versions.
        directions: Directions of the user's own metrics, by name: 1 if higher is better, -1 if
            lower is, 0 if it is not known.
        warnings: Message of each sanity check that fired, by name.
        seconds: Time of the run.
        memory: Peak memory in MB.
        software: Versions of the packages that it ran on.
        hardware: The processor or GPU that it ran on; empty in files of older versions.
        error: Why it failed, or None.
        folder: Where its files were written; they may be gone.
        record: Everything that the results file says of it, for what is only shown.
    """

    cell: str
    data: str
    method: str
    settings: dict[str, Any]
    seed: int
    fold: int | None
    metrics: dict[str, float]
    monitor: str
    oracle: bool
    attribute_as_input: bool
    training: dict[str, Any]
    directions: dict[str, int]
    warnings: dict[str, str]
    seconds: float
    memory: float
    software: str
    hardware: str
    error: str | None
    folder: Path
    record: dict[str, Any]

    @property
    def min_group_rows(self) -> int:
        """Rows that a group needed to take part in minima and gaps; 0 in older results files."""
        return int(self.record.get("selection", {}).get("min_group_rows", 0))

    @property
    def phases(self) -> dict[str, Any]:
        """Seeds of the search and of the final runs, of a grid of two phases; else empty."""
        return self.record.get("phases") or {}

    @property
    def selected(self) -> dict[str, dict[str, Any]]:
        """Step and metrics of the checkpoint by each metric, where a run has kept several.

        The one of the record comes first. Those of one step have the same metrics, which the
        record's step leaves out.
        """
        return self.record.get("selected") or {}

    @property
    def keeps(self) -> bool:
        """Whether its metrics are of the checkpoint whose predictions it keeps, the first."""
        return "metrics" not in self.selected.get(self.monitor.rpartition(" (")[0], {})

    @property
    def searched(self) -> bool:
        """Whether it may choose a setting; the final runs of two phases may not."""
        return not self.phases or self.seed in self.phases["search"]

    @property
    def setting(self) -> str:
        """The settings as text; equal settings give equal texts."""
        pairs = sorted(self.settings.items())
        words = [f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in pairs]
        return ", ".join(words) or "defaults"

    @property
    def name(self) -> str:
        """What people call the run."""
        setting = f" {self.setting}" if self.settings else ""
        fold = "" if self.fold is None else f" fold {self.fold}"
        return f"{self.data} {self.method}{setting} seed {self.seed}{fold}"


def read(paths: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """Read results files.

    A later record of the same cell replaces an earlier one. Runs of one name (data, method,
    settings, seed, fold) but another configuration are leftovers of an edited grid: the latest
    stays and a note says so.

    Args:
        paths: Files, or folders that hold ``*.jsonl`` or whose subfolders hold
            ``results.jsonl``.

    Returns:
        The runs, failed ones included, in the order in which they were finished; notes.

    Raises:
        UserError: If a path or all records are missing, or a line cannot be read.
    """
    groups, notes = read_each(paths)
    return together(groups, notes)


def read_each(paths: Sequence[Path]) -> tuple[dict[str, list[Run]], list[str]]:
    """Read the runs of each path, by its name; see :func:`read`."""
    groups: dict[str, list[Run]] = {}
    notes: list[str] = []
    for path in paths:
        cells: dict[str, Run] = {}
        for file in _files(path):
            with file.open("rb") as lines:
                for number, line in enumerate(lines, start=1):
                    if not line.strip():
                        continue
                    run = _parse(line.rstrip(b"\n"), f"{file}:{number}", file.parent)
                    if run is None:
                        notes.append(
                            f"{file}:{number} was cut short (its writer was killed): left out."
                        )
                        continue
                    cells.pop(run.cell, None)  # the latest also comes last
                    cells[run.cell] = run
        groups[str(path)] = list(cells.values())
    if not any(groups.values()):
        where = ", ".join(map(str, paths))
        raise UserError(f"{where} holds no finished run; `frbench bench GRID.yaml` writes some.")
    return groups, notes


def together(groups: Mapping[str, Sequence[Run]], notes: list[str]) -> tuple[list[Run], list[str]]:
    """Put the runs of several paths together, with notes on what differs; see :func:`read`."""
    cells: dict[str, Run] = {}
    for run in (run for group in groups.values() for run in group):
        cells.pop(run.cell, None)
        cells[run.cell] = run
    named = {(r.data, r.method, r.setting, r.seed, r.fold): r for r in cells.values()}
    if stale := len(cells) - len(named):
        notes.append(
            f"{stale} earlier run(s) with the name of a later one but another configuration are "
            "left out; write an edited grid's results to a folder of their own (--out)."
        )
    runs = list(named.values())
    if len(software := sorted({run.software for run in runs if run.software})) > 1:
        notes.append(f"The runs come from different software: {'; '.join(software)}.")
    for name in dict.fromkeys(run.data for run in runs):
        files = [run.record.get("data_files") or {} for run in runs if run.data == name]
        for file in dict.fromkeys(file for found in files for file in found):
            versions = {found[file] for found in files if file in found}
            if len(versions) > 1:
                notes.append(
                    f"{name}: its runs saw different data ({len(versions)} versions of {file}); "
                    "run frbench bench again."
                )
    return runs, notes


def own_directions(runs: Iterable[Run]) -> dict[str, int]:
    """Return the directions of the metrics that are not frbench's own, by name."""
    return {name: sign for run in runs for name, sign in run.directions.items()}


def _files(path: Path) -> Iterator[Path]:
    """Find the results files of a path; those of a search are none."""
    if path.name == TRIALS:
        raise UserError(f"{path} holds the runs of a search: {CONFIRM}")
    if path.is_file():
        _check_lines(path)
        yield path
        return
    if not path.exists():
        raise UserError(f"There is no {path}; give the --out folder of a bench.")
    found = sorted({*path.glob("*.jsonl"), *path.glob("*/results.jsonl")} - {path / TRIALS})
    if not found and (path / TRIALS).is_file():
        raise UserError(f"{path} holds a search and no results yet: {CONFIRM}")
    if not found:
        raise UserError(f"{path} holds no results.jsonl; give the --out folder of a bench.")
    yield from found


def _check_lines(path: Path) -> None:
    """Refuse a file that is one JSON document over several lines, and say what wrote it."""
    with path.open("rb") as file:
        if file.readline().strip() not in (b"{", b"["):
            return
    try:
        document = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError):  # said of the line where it is
        return
    writer = document.get("written_by") if isinstance(document, dict) else None
    what = f"the output of `{writer}`" if writer else "one JSON document"
    raise UserError(
        f"{path} is {what}, not results of runs; give the results.jsonl of a bench, or its folder."
    )


def _parse(line: bytes, where: str, out: Path) -> Run | None:
    """Read one line; None if it is the beginning of a record only."""
    record = parse_line(line, where)
    try:
        return None if record is None else run_of(record, out)
    except KeyError as error:
        raise UserError(f"{where} lacks {error}: is it a file of `frbench bench`?") from None
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{where} is not a record of a run ({error}): delete the line.") from None


def _amount(record: dict[str, Any], key: str) -> float:
    """Return a number of a record that is finite and not negative; 0 where there is none."""
    value = float(record.get(key, 0.0))
    if not 0 <= value < float("inf"):
        raise ValueError(f"{key} is {value}")
    return value


def numbers(metrics: dict[str, Any]) -> dict[str, float]:
    """Read metrics of a record, in which null stands for a number that is not finite.

    All runs share the text of the names, which would otherwise take most of the memory.
    """
    return {intern(k): float("nan") if v is None else float(v) for k, v in metrics.items()}


def run_of(record: dict[str, Any], out: Path) -> Run:
    """Read a record of a run whose folder is below ``out``."""
    failed = record["status"] != "ok"
    metrics = numbers(record.get("metrics", {}) if failed else record["metrics"])
    selection = record.get("selection", {})
    versions = record.get("versions", {})
    phases = record.get("phases") or {"search": [0], "final": [0], "select": [""]}
    if not all(phases[name] and isinstance(phases[name], list) for name in phases):
        raise TypeError("phases must be lists")
    files = record.get("data_files") or {}
    if not all(isinstance(value, str | None) for value in files.values()):
        raise TypeError("data_files must map names to hashes")
    return Run(
        cell=record["cell"],
        data=str(record["data"]),
        method=str(record["method"]),
        settings=dict(record["settings"]),
        seed=int(record["seed"]),
        fold=None if record.get("fold") is None else int(record["fold"]),
        metrics=metrics,
        monitor=f"{selection.get('monitor', 'unknown')} ({selection.get('mode', 'unknown')})",
        oracle=bool(selection.get("oracle", False)),
        attribute_as_input=bool(record.get("attribute_as_input", False)),
        training=dict(record.get("training", {})),
        directions=dict(record.get("directions", {})),
        warnings=dict(record.get("warnings", {})),
        seconds=_amount(record, "seconds"),
        memory=_amount(record, "peak_memory_mb"),
        software=", ".join(f"{k} {v}" for k, v in sorted(versions.items())),
        hardware=str(record.get("hardware", "")),
        error=str(record.get("error", "no reason given")) if failed else None,
        folder=out / "runs" / record["cell"],
        record={**record, "metrics": metrics},
    )
