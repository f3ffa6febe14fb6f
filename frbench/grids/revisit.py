"""The loop over the finished runs of a grid, for what is computed from their checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from frbench.contracts.errors import UserError
from frbench.report.records import Results
from frbench.support.progress import track


def revisit(
    folder: Path,
    what: str,
    wanted: Callable[[dict[str, Any], dict[str, Any]], bool],
    visit: Callable[[dict[str, Any], Path], dict[str, Any]],
) -> int:
    """Visit the finished runs of a grid and append a record for each.

    Records of runs that are themselves the result of a visit (a refitted last layer) have no
    folder and are left out.

    Args:
        folder: Folder of ``frbench bench``.
        what: What is done, for the progress bar.
        wanted: Given a record and all records by cell, whether to visit its run.
        visit: Given a record and its best checkpoint, returns the record to append.

    Returns:
        Number of runs visited.

    Raises:
        UserError: If the folder holds no results.
    """
    file = folder / "results.jsonl"
    if not file.is_file():
        raise UserError(f"--results: there is no {file}; run frbench bench first.")
    results = Results(file)
    records = results.latest()
    todo = [
        record
        for record in records.values()
        if record["status"] == "ok"
        and not {"dfr", "postprocess"} & record.keys()
        and wanted(record, records)
    ]
    for record in track(todo, what):
        best = folder / "runs" / record["cell"] / "checkpoints" / "best.ckpt"
        results.append(visit(record, best))
    return len(todo)
