"""The results of this repository, written from the records of finished grids.

Usage, in the root of the repository::

    python docs/_tools/pages.py keep RESULTS GRID.yaml   # results -> docs/results/records
    python docs/_tools/pages.py write                    # records -> docs (make results)

A record is a line of ``results.jsonl`` with only the metrics that the grid's ``report`` entry
names (page.py), so ``frbench report docs/results/records/X.jsonl`` works on it. Written are
``docs/results.md``, and beside the records CSV files of all rows, of the predictions and of the
published numbers. ``docs/results/pages.yaml`` names the works and the pages written by hand.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml
from page import Measured, Page, kept_keys, read_page
from page_text import farthest, how, rows, section, sheets, table, tally

from frbench.contracts.errors import UserError
from frbench.report import read
from frbench.report.records import Results
from frbench.report.results import Run
from frbench.support.atomic import write_text

GRIDS = (Path("configs/papers"), Path("configs/benchmark"))
RECORDS = Path("docs/results/records")
INDEX, WORKS = Path("docs/results.md"), Path("docs/results/pages.yaml")
BEGIN = "<!-- Written by `make results` from docs/results/records; edit the grids, not this. -->"
END = "<!-- End of what `make results` writes. -->"
#: Fields of a run that its page does not need.
DROPPED = ("metrics", "warnings", "config_hash")
#: Largest kept file, in bytes: 216 runs with penalties take 325,000.
LARGEST = 350_000


def name_of(grid: Path) -> str:
    """Name the files of a grid: ``mind-the-graph-a`` for ``.../mind-the-graph/a.yaml``."""
    return "-".join(grid.resolve().with_suffix("").parts[-2:])


def keep(results: Path, grid: Path, hardware: str) -> Path:
    """Write the records of a finished grid.

    Args:
        results: Its folder of results.
        grid: The grid.
        hardware: What it ran on, for records that do not say so.

    Raises:
        UserError: If the page needs no metric, or the records become too large.
    """
    page = read_page(grid)
    if not page.metrics:
        raise UserError(f"{grid} has no `report` with `metrics`: its results would be empty.")
    raw = Results(results / "results.jsonl").latest()
    order = [*yaml.safe_load(grid.read_text(encoding="utf-8"))["methods"]]
    lines = []
    for run in read([results / "results.jsonl"])[0]:
        record = {key: value for key, value in raw[run.cell].items() if key not in DROPPED}
        record.setdefault("hardware", hardware)
        kept = sorted(kept_keys(page, run))
        record["metrics"] = {key: float(f"{run.metrics[key]:.6g}") for key in kept}
        place = order.index(run.method) if run.method in order else len(order)  # ERM+DFR
        name = (run.data, place, run.method, run.setting, run.fold or 0, run.seed)
        lines.append((name, record))
    lines.sort(key=lambda line: line[0])
    text = "".join(json.dumps(record, separators=(",", ":")) + "\n" for _, record in lines)
    if len(text) > LARGEST:
        raise UserError(f"{grid}: {len(text)} bytes of records; keep fewer metrics.")
    path = RECORDS / f"{name_of(grid)}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
    return path


def documents() -> Iterator[tuple[Path, str]]:
    """Yield each file that is written, with its text."""
    grids = sorted(grid for folder in GRIDS for grid in folder.rglob("*.yaml"))
    pages: dict[Path, tuple[Page, list[Run]]] = {}
    for grid in grids:
        records = RECORDS / f"{name_of(grid)}.jsonl"
        if records.exists():
            pages[grid] = read_page(grid), read([records])[0]
            yield records.with_suffix(".csv"), rows(Measured(*pages[grid])).render("csv")
            for name, sheet in sheets(*pages[grid]):
                yield records.with_name(f"{records.stem}-{name}.csv"), sheet.render("csv")
    before, _, rest = INDEX.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    blocks = [BEGIN, *_index(grids, pages), END]
    yield INDEX, before + "\n\n".join(blocks) + after


def _index(grids: list[Path], pages: dict[Path, tuple[Page, list[Run]]]) -> Iterator[str]:
    """Write one table per work, then predictions and published numbers of its grids."""
    works = yaml.safe_load(WORKS.read_text(encoding="utf-8"))
    if unknown := sorted({grid.parent.name for grid in grids} ^ set(works)):
        raise UserError(f"{WORKS} and the grids differ in the works {', '.join(unknown)}.")
    for work, entry in works.items():
        own = [grid for grid in grids if grid.parent.name == work]
        yield f"### {entry['title']}"
        lines = [_line(grid, pages.get(grid), entry.get("by_hand") or {}) for grid in own]
        yield table(["grid", "runs, time", "predictions", "published numbers"], lines)
        for grid in own:
            page, runs = pages.get(grid, (None, []))
            if page and (page.claims or page.published or page.reason):
                link = f"results/records/{name_of(grid)}-"
                files = {name: f"{link}{name}.csv" for name, _ in sheets(page, runs)}
                yield section(page, runs, str(grid), files)


def _line(grid: Path, done: tuple[Page, list[Run]] | None, by_hand: dict[str, str]) -> list[str]:
    if done is None:
        text = by_hand.get(grid.stem, "not run")
        return [f"`{'/'.join(grid.parts[-2:])}`", text, "", ""]
    page, runs = done
    measured = Measured(page, runs)
    link = f"[`{'/'.join(grid.parts[-2:])}`](results/records/{name_of(grid)}.csv)"
    link += f": {page.title}" * bool(page.title)
    return [link, how(runs).partition(", on ")[0], tally(measured.outcomes()), farthest(measured)]


def main(argv: list[str] | None = None) -> int:
    """Keep records or write the pages; return the exit status."""
    parser = argparse.ArgumentParser(prog="python docs/_tools/pages.py", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    keeping = commands.add_parser("keep", help="keep what the page of a finished grid needs")
    keeping.add_argument("results", type=Path, help="folder of `frbench bench`")
    keeping.add_argument("grid", type=Path, help="the grid file")
    keeping.add_argument("--hardware", default="", help="for records that do not name it")
    commands.add_parser("write", help="write docs/results.md and docs/results/records/*.csv")
    args = parser.parse_args(argv)
    try:
        if args.command == "keep":
            print(f"wrote {keep(args.results, args.grid, args.hardware)}")
            return 0
        for path, text in documents():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, text)
            print(f"wrote {path}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
