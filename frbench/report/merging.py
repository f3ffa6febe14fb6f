"""Results of several folders in one leaderboard: what must agree, and what a grid must hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from frbench.contracts.errors import UserError
from frbench.report.results import Run

#: Names that a message lists.
SHOWN = 3


def check_alike(groups: Mapping[str, Sequence[Run]]) -> None:
    """Check that runs of one data set can be compared although several folders hold them.

    The folders must agree in what each of them says: the versions of frbench, the hashes of the
    data files, the groups, the rows of the test tables by seed and fold, the rule that chose the
    checkpoints with the smallest group that counts, and the seeds and rules of two phases. Runs
    of one name must have one configuration.

    Args:
        groups: The runs of each folder, by its name.

    Raises:
        UserError: Naming two folders, the data set, and all in which they differ.
    """
    names = list(groups)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            for data in dict.fromkeys(run.data for run in groups[one]):
                pair = [[r for r in groups[name] if r.data == data] for name in (one, other)]
                found = differences(*pair) if all(pair) else []
                if found:
                    raise UserError(
                        f"{one} and {other} cannot be merged: the runs of {data!r} differ in "
                        f"{'; '.join(found)}. Report them apart, or choose others by --data."
                    )


def differences(ours: Sequence[Run], theirs: Sequence[Run]) -> list[str]:
    """Say in what the runs of one data set in two folders differ.

    Args:
        ours: Those of the one folder.
        theirs: Those of the other.
    """
    found = []
    for label, facts in FACTS.items():
        a, b = facts(ours), facts(theirs)
        wrong = [key for key in a if key in b and a[key] != b[key]]
        if wrong:
            listed = [
                key if isinstance(a[key], Quiet) else f"{key} {a[key]} and {b[key]}"
                for key in wrong[:SHOWN]
            ]
            found.append(f"{label} ({', '.join(listed)}{', ...' * (len(wrong) > SHOWN)})")
    return found


def _versions(runs: Iterable[Run]) -> dict[str, str]:
    found = {str(run.record.get("versions", {}).get("frbench", "")) for run in runs} - {""}
    return {"frbench": "/".join(sorted(found))} if found else {}


def _files(runs: Iterable[Run]) -> dict[str, str]:
    return {file: digest[:8] for run in runs
            for file, digest in (run.record.get("data_files") or {}).items()}  # fmt: skip


def _groups(runs: Iterable[Run]) -> dict[str, Any]:
    found = {tuple((run.record.get("groups") or {}).get("names", ())) for run in runs} - {()}
    return {"their names": Quiet(sorted(found))} if found else {}


def _rows(runs: Iterable[Run]) -> dict[str, Any]:
    found = {}
    for run in runs:
        counts = (run.record.get("groups") or {}).get("counts", {})
        tested = [rows for table, rows in counts.items() if table.split("/")[0] == "test"]
        if tested:
            where = f"seed {run.seed}" + ("" if run.fold is None else f" fold {run.fold}")
            found[where] = Quiet(map(tuple, tested))
    return found


class Quiet(tuple[Any, ...]):
    """Values that are compared and too long to be written."""


def _protocol(runs: Iterable[Run]) -> dict[str, str]:
    runs = list(runs)
    phases = {str(run.phases) for run in runs if run.phases}
    return {
        "checkpoint by": "/".join(sorted({run.monitor for run in runs})),
        "smallest group": "/".join(sorted({str(run.min_group_rows) for run in runs})),
    } | ({"phases": "/".join(sorted(phases))} if phases else {})


def _configurations(runs: Iterable[Run]) -> dict[str, str]:
    return {run.name: run.cell for run in runs}


FACTS: dict[str, Callable[[Sequence[Run]], Mapping[str, Any]]] = {
    "version": _versions,
    "data files": _files,
    "groups": _groups,
    "rows of the test tables": _rows,
    "protocol": _protocol,
    "configuration": _configurations,
}


def check_complete(wanted: Mapping[str, str], runs: Iterable[Run], where: str, grid: str) -> None:
    """Check that results hold every run of a grid, all of them succeeded, and no other.

    Args:
        wanted: Names of the grid's runs, by key.
        runs: The runs of the results.
        where: The results' name.
        grid: The grid's name.

    Raises:
        UserError: Naming the runs that are missing, have failed, or are of another grid.
    """
    held = {run.cell: run for run in runs}
    missing = [name for key, name in wanted.items() if key not in held]
    failed = [run.name for run in held.values() if run.cell in wanted and run.error is not None]
    other = [run.name for key, run in held.items() if key not in wanted]
    parts = [
        f"{len(names)} {what} ({', '.join(names[:SHOWN])}{', ...' * (len(names) > SHOWN)})"
        for what, names in (("missing", missing), ("failed", failed), ("of no cell of it", other))
        if names
    ]
    if parts:
        raise UserError(
            f"{where} is not the {len(wanted)} runs of {grid}: {'; '.join(parts)}. "
            "`frbench bench` on that grid continues what is missing; a changed option, file or "
            "default makes another run."
        )
