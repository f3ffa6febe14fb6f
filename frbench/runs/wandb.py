"""What frbench adds to Lightning's W&B logger: one run per folder, tidy charts, artifacts.

Importing this module imports no wandb; the functions do where they need it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from frbench.contracts.errors import UserError
from frbench.metrics.names import DIRECTION, NO_METRICS
from frbench.report.logged import read_curves
from frbench.support.atomic import write_text

#: Beside the checkpoints of a run: the id that W&B knows it by.
ID_FILE = "wandb_id"
#: What Lightning's logger takes for the horizontal axis.
STEP = "trainer/global_step"


def is_wandb(logger: Any) -> bool:
    """Whether a logger, or the configuration of one, is Lightning's for W&B."""
    name = getattr(logger, "class_path", None) or type(logger).__name__
    return str(name).split(".")[-1] == "WandbLogger"


def keep_id(logger: Any, folder: Path) -> None:
    """Let a configured logger continue the W&B run of a folder, unless an id is given.

    Args:
        logger: Configuration of a logger, with ``init_args``.
        folder: The run's folder.
    """
    file = folder / ID_FILE
    given = logger.init_args
    if file.is_file() and not (given.get("id") or given.get("version")):
        given.id = file.read_text().strip()


def start(logger: Any, folder: Path, own: Mapping[str, int] = NO_METRICS) -> None:
    """Write the run's id into its folder, and tell W&B what to summarise.

    Of validation metrics with a direction the best value is the summary, which sweeps and tables
    read; of all others the latest.

    Args:
        logger: A W&B logger.
        folder: The run's folder.
        own: Directions of the user's own metrics, by name.
    """
    run = logger.experiment
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / ID_FILE, run.id)
    for metric, sign in {**DIRECTION, **own}.items():
        if sign:
            best = "max" if sign > 0 else "min"
            run.define_metric(f"val/{metric}", step_metric=STEP, step_sync=True, summary=best)


def finish(logger: Any, folder: Path) -> None:
    """Draw the groups of each table in one chart, and keep the run's files as an artifact.

    The charts ``groups/..`` have one line per group, by name; W&B's own would be one panel per
    group and metric.

    Args:
        logger: A W&B logger.
        folder: The run's folder, with ``metrics.csv`` and ``config.yaml``.
    """
    import wandb

    run = logger.experiment
    charts = {}
    for curve in read_curves(folder / "metrics.csv", points=200):
        table, metric = curve.table.replace("/", " "), curve.metric.replace("_", " ")
        charts[f"groups/{table} {metric}"] = wandb.plot.line_series(
            xs=curve.steps,
            ys=list(curve.groups.values()),
            keys=list(curve.groups),
            title=f"{table}: {metric}",
            xname="step",
        )
    if charts:
        run.log(charts)
    files = [folder / name for name in ("config.yaml", "metrics.csv")]
    log_files(run, f"run-{run.id}", "run", [file for file in files if file.is_file()])


def log_files(run: Any, name: str, kind: str, files: Sequence[Path]) -> None:
    """Log files as one artifact.

    Args:
        run: A W&B run.
        name: Of the artifact.
        kind: Its type.
        files: What it holds.
    """
    import wandb

    if not files:
        return
    artifact = wandb.Artifact(name, type=kind)
    for file in files:
        artifact.add_file(str(file))
    run.log_artifact(artifact)


def log_report(files: Sequence[Path], project: str) -> None:
    """Send a report to W&B, as a run of its own of the type ``report``.

    Pages and pictures are shown in the run; all files are the artifact ``report``.

    Args:
        files: Page, tables and plots, as they were written.
        project: Of W&B.

    Raises:
        UserError: If W&B refuses.
    """
    import wandb

    try:
        place = str(files[0].resolve().parent)
        with wandb.init(project=project, job_type="report", dir=place) as run:
            shown: dict[str, Any] = {}
            for file in files:
                if file.suffix in (".html", ".htm"):
                    shown["report/page"] = wandb.Html(file.read_text("utf-8"), inject=False)
                elif file.suffix == ".png":
                    shown[f"report/{file.stem}"] = wandb.Image(str(file))
            if shown:
                run.log(shown)
            log_files(run, "report", "report", files)
    except wandb.Error as error:
        raise UserError(f"--wandb: {error}") from error
