"""``frbench tune``: search for settings with Optuna, one ordinary run of a grid for each trial."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml

from frbench.commands.bench import Progress, check_extra
from frbench.contracts.errors import UserError
from frbench.grids.executors import in_process
from frbench.grids.grid import Cell
from frbench.grids.outlook import wrong_cells
from frbench.grids.pool import in_processes
from frbench.grids.queue import claimed
from frbench.grids.search import Search
from frbench.grids.study import Study, read_study
from frbench.grids.where import check_place, limited, on_cluster, place_options
from frbench.report.records import TRIALS, Results
from frbench.support.atomic import check_writable, replacing, write_text
from frbench.support.parser import Parser, positive
from frbench.support.stops import as_stop

EXAMPLES = """\
examples:
  frbench tune study.yaml --jobs 2
  frbench tune study.yaml --on ray:auto --gpus 0.25
  frbench bench results/study/confirm.yaml --out results/study/confirm
  frbench report results/study

Ctrl-C or SIGTERM ends the runs; the same command continues them.
"""


def _parser() -> Parser:
    parser = Parser(
        "frbench tune",
        usage="frbench tune STUDY.yaml [options] [options of frbench fit]",
        description="Search the settings of each method of a study file.",
        epilog=EXAMPLES,
    )
    parser.add_argument("study", type=Path, help="study file (YAML): a grid file with `search`")
    parser.add_argument("--out", type=Path, help="folder of results; default results/<its name>")
    parser.add_argument("--jobs", type=positive, default=1, help="processes on this machine")
    place_options(parser)
    return parser


def main(argv: list[str]) -> int:
    """Run ``frbench tune``.

    Args:
        argv: Study file and options; unknown options go to every run.

    Returns:
        0, or 1 if no trial of some method can be chosen.

    Raises:
        UserError: If the file or an option is wrong, or the folder cannot be written.
    """
    args, extra = _parser().parse_known_args(argv)
    check_extra(extra, "tune")
    check_place(args)
    studies = read_study(args.study, tuple(extra))
    if wrong := wrong_cells([cell for study in studies for cell in study.samples()]):
        raise UserError(wrong[0])
    out = args.out or Path("results") / args.study.stem
    check_writable(out, "--out")
    (out / "runs").mkdir(parents=True, exist_ok=True)
    with _only(out, studies[0]) as mine:
        if not mine:
            raise UserError(f"another search writes to {out}: give another --out.")
        if args.study.resolve() != (out / "study.yaml").resolve():
            with replacing(out / "study.yaml") as part:
                shutil.copyfile(args.study, part)
        file = out / TRIALS
        search = Search(studies, out, Results(file, file.stat().st_size if file.exists() else 0))
        try:
            with limited(args.max_hours), search.beating():
                _run(search, args)
        except KeyboardInterrupt as error:
            print(f"\ninterrupted; the same command continues ({search.done()} trials done)")
            return as_stop(error).status
        return _conclude(search, out, extra)


def _only(out: Path, study: Study) -> contextlib.AbstractContextManager[bool]:
    """Lock the folder whose journal file holds the trials; a database has many drivers."""
    return claimed(out) if study.plan.storage is None else contextlib.nullcontext(True)


def _run(search: Search, args: Any) -> None:
    trials = sum(asker.plan.trials for asker in search.askers)
    progress = Progress(trials, search.done(), sys.stderr)

    def show(cell: Cell, record: dict[str, Any]) -> None:
        progress(cell, record)
        progress.bar.update(progress.task, completed=search.done())

    with progress.shown():
        if args.on:
            on_cluster(search, show, args)
        elif args.jobs > 1:
            in_processes(search, show, args.jobs)
        else:
            in_process(search, show)


def _conclude(search: Search, out: Path, extra: list[str]) -> int:
    """Write the best settings, and the grid that confirms them on new seeds."""
    best: list[dict[str, Any]] = []
    methods: dict[str, Any] = {}
    for asker in search.askers:
        found = asker.best()
        if not found:
            print(f"{asker.study.method}: no trial has finished and keeps the constraints")
        for trial in found:
            settings = asker.settings(trial)
            values = {rule.text: value for rule, value in
                      zip(asker.plan.objectives, trial.values or (), strict=True)}  # fmt: skip
            best.append({"method": asker.study.method, "trial": trial.number,
                         "settings": settings, "objectives": values,
                         "runs": trial.user_attrs["runs"]})  # fmt: skip
            name = asker.study.method + (f" (trial {trial.number})" if found[1:] else "")
            methods[name] = asker.study.options | {"grid": {k: [v] for k, v in settings.items()}}
            shown = ", ".join(f"{k} {v:.4g}" for k, v in values.items())
            print(f"{asker.study.method}: trial {trial.number}, {shown}: {settings}")
    print(f"{search.done()} trials; these numbers chose the settings, so they are no results")
    if not methods:
        return 1
    write_text(out / "best.yaml", yaml.safe_dump(best, sort_keys=False))
    confirm = _confirmation(search.askers[0].study, methods, out)
    write_text(out / "confirm.yaml", yaml.safe_dump(confirm, sort_keys=False))
    words = shlex.join([str(out / "confirm.yaml"), "--out", str(out / "confirm"), *extra])
    print(f"next: frbench bench {words}; frbench report {out}")
    return 0 if len({entry["method"] for entry in best}) == len(search.askers) else 1


def _confirmation(study: Study, methods: dict[str, Any], out: Path) -> dict[str, Any]:
    """Return a grid of the chosen settings, on seeds that the search has not seen."""
    grid = dict(study.grid)
    first = max(grid.get("seeds", [0])) + 1
    if "configs" in grid:
        grid["configs"] = [os.path.relpath(study.path.parent / c, out) for c in grid["configs"]]
    if "folds" in grid:  # which then divide the rows in another way, too
        methods = {name: {**options, "data.seed": first} for name, options in methods.items()}
    return grid | {"methods": methods, "seeds": list(range(first, first + study.plan.confirm))}
