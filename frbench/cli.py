"""``frbench fit | validate | test | predict``: Lightning's command line with its warts cured."""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback

# Classes imported here can be named without their module on the command line and in YAML.
from frbench.callbacks import (
    BestCheckpoint,
    CSVLogger,
    EarlyStop,
    RollingCheckpoint,
    SanityCheck,
)
from frbench.data.images import QMNISTWriters
from frbench.data.module import GroupDataModule
from frbench.data.scenarios import Digits
from frbench.data.steps import FlipLabels, PoisonLargestMargin
from frbench.data.synthetic import TwoGaussians
from frbench.data.table_data import TableData
from frbench.data.tabular import ACSIncome, Adult, Bank, Compas, German, LawSchool
from frbench.errors import UserError
from frbench.messages import cause, readable
from frbench.networks import MLP, SmallCNN, Timm
from frbench.objectives import ERM, GroupDRO, Objective
from frbench.objectives.base import read_checkpoint
from frbench.spec import import_class, transient_arguments

__all__ = [
    "ERM", "MLP", "ACSIncome", "Adult", "Bank", "Compas", "Digits", "FlipLabels", "German",
    "GroupDRO", "LawSchool", "PoisonLargestMargin", "QMNISTWriters", "SmallCNN", "TableData",
    "Timm", "TwoGaussians", "run",
]  # fmt: skip

#: Arguments of an objective that come from the data and from nowhere else.
LINKED = ("num_classes", "num_attributes", "input_shape", "vocab_size")

NOISE = (
    "GPU available",
    "TPU available",
    "HPU available",
    "💡 Tip",
    "litlogger",
    "litmodels",
    "`Trainer.fit` stopped",
    "Restored all states",
    "Restoring states",
    "Loaded model weights",
    "Seed set",
    "`weights_only` was not set",
)


def quieten() -> None:
    """Drop Lightning's advertisements and notices that repeat what the user asked for."""

    def keep(record: logging.LogRecord) -> bool:
        return not any(word in record.getMessage() for word in NOISE)

    for name in ("pytorch_lightning", "lightning_fabric"):
        for child in (name, f"{name}.utilities.rank_zero", f"{name}.utilities.seed"):
            logging.getLogger(child).addFilter(keep)
    # torch's pytree warns about a class that Lightning uses on every batch.
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    warnings.filterwarnings("ignore", module="jsonargparse")
    warnings.filterwarnings("ignore", message=".*args parameter is intended to run from within")
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
    # The run's folder holds earlier checkpoints exactly when a run is continued.
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    # All loaders are frbench's own; their workers are data.num_workers.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")


class RecordRun(SaveConfigCallback):
    """Write the configuration into the run's folder and to the loggers; print the group table."""

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Save once, before training; never over another run's file."""
        if stage != "fit" or not trainer.is_global_zero:
            return
        print(trainer.datamodule.describe(), flush=True)
        text = self.parser.dump(self.config, skip_none=False)
        folder = Path(self.config.run_dir)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "config.yaml"
        for i in range(2, 10_000):
            if not path.exists() or path.read_text() == text:
                break
            path = folder / f"config-{i}.yaml"
        path.write_text(text)
        for logger in trainer.loggers:
            logger.log_hyperparams(yaml.safe_load(text))


class FrbenchCLI(LightningCLI):
    """The parser and the runner; ``run`` is the entry."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the run's folder, the selection rule, and the sizes' links."""
        parser.add_argument(
            "--run_dir",
            type=str | None,
            default=None,
            help="Folder of this run; by default runs/<data>-<model>/<next number>, or the folder "
            "of --ckpt_path.",
        )
        parser.add_lightning_class_args(BestCheckpoint, "checkpoint")
        parser.add_lightning_class_args(RollingCheckpoint, "rolling")
        parser.add_lightning_class_args(EarlyStop, "early_stopping")
        parser.add_lightning_class_args(SanityCheck, "sanity")
        parser.set_defaults({"model": "ERM"})
        for name in LINKED:
            parser.link_arguments(
                f"data.{name}", f"model.init_args.{name}", apply_on="instantiate"
            )

    def before_instantiate_classes(self) -> None:
        """Check what the parser lets pass, and settle where the run writes."""
        config = self.config[self.subcommand]
        for name in LINKED:
            if config.model.init_args.get(name):
                raise UserError(f"model.{name} comes from the data; remove it from your options.")
        if config.get("ckpt_path"):
            stored = read_checkpoint(config.ckpt_path)["frbench"]["model"]
            given = yaml.safe_load(self._parser(self.subcommand).dump(config))["model"]
            if differences := compare(stored, given, "model"):
                raise UserError(
                    "--ckpt_path already fixes the model. It differs from your options in "
                    + "; ".join(f"{k}: checkpoint {a!r}, given {b!r}" for k, a, b in differences)
                    + ". Drop those options."
                )
        config.run_dir = choose_run_dir(config, str(self.subcommand))
        for key in ("checkpoint", "rolling"):
            if config[key].dirpath is None:
                config[key].dirpath = str(Path(config.run_dir) / "checkpoints")
        self._settle_loggers(config)

    @staticmethod
    def _settle_loggers(config: Any) -> None:
        """Make every logger without a folder of its own write into the run's."""
        given = config.trainer.logger
        if given is False:
            return
        loggers = [] if given is None or given is True else given
        loggers = loggers if isinstance(loggers, list) else [loggers]
        for logger in loggers:
            if logger.init_args.get("save_dir") in (None, "."):
                logger.init_args.save_dir = config.run_dir
                Path(config.run_dir).mkdir(parents=True, exist_ok=True)
        config.trainer.logger = loggers or None

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """Build the trainer; metrics.csv is written beside any other logger."""
        config = self._get(self.config_init, "trainer")
        if config.logger is not False and self.subcommand == "fit":
            run_dir = self._get(self.config_init, "run_dir")
            config.logger = [*(config.logger or []), CSVLogger(run_dir)]
        elif self.subcommand != "fit":
            config.logger = config.logger or False
        return super().instantiate_trainer(**kwargs)

    # ---- after a command --------------------------------------------------------------------
    def warnings(self) -> dict[str, str]:
        """Return what the sanity checks found, by name."""
        return dict(self._get(self.config_init, "sanity").raised)

    def fit(self, **kwargs: Any) -> None:
        """Train; a checkpoint to resume from is read without unpickling code."""
        self.trainer.fit(**{**kwargs, "weights_only": True})

    def validate(self, **kwargs: Any) -> None:
        """Evaluate the validation table and print its metrics."""
        self._evaluate("validate", kwargs)

    def test(self, **kwargs: Any) -> None:
        """Evaluate the test tables, print their metrics and store them."""
        self._evaluate("test", kwargs)

    def _evaluate(self, subcommand: str, kwargs: dict[str, Any]) -> None:
        kwargs |= {"verbose": False, "weights_only": True}
        getattr(self.trainer, subcommand)(**kwargs)
        metrics = self.model.last_metrics
        if self.trainer.is_global_zero:
            data = self.datamodule
            names = data.test_names if subcommand == "test" else data.val_names
            log_final_table(self.trainer.loggers, metrics, names)
            print_metrics(metrics, names)
            folder = Path(self._get(self.config, "run_dir"))
            record = {"data": self.datamodule.fingerprint(), "metrics": metrics}
            print(f"written to {write_new(folder, subcommand, record)}")

    def predict(self, **kwargs: Any) -> None:
        """Write one CSV of predictions per test table (and process)."""
        kwargs |= {"return_predictions": True, "weights_only": True}
        parts = self.trainer.predict(**kwargs)
        names = self.datamodule.test_names
        folder = Path(self._get(self.config, "run_dir"))
        write_predictions(
            parts if len(names) > 1 else [parts], self.datamodule, folder, self.trainer
        )


def compare(stored: Any, given: Any, path: str) -> list[tuple[str, Any, Any]]:
    """List (key, stored, given) where two specifications differ; what is not given is ignored."""
    if isinstance(stored, dict) and isinstance(given, dict):
        if "class_path" in stored and "class_path" in given:
            ours, theirs = import_class(stored["class_path"]), import_class(given["class_path"])
            if ours is not theirs:
                return [(path, ours.__name__, theirs.__name__)]
            skip = {*LINKED, *transient_arguments(ours)}
            stored, given = stored.get("init_args", {}), given.get("init_args") or {}
            stored = {k: v for k, v in stored.items() if k not in skip}
        both = [k for k in stored if given.get(k) is not None]
        return [d for k in both for d in compare(stored[k], given[k], f"{path}.{k}")]
    if isinstance(stored, list) and isinstance(given, list) and len(stored) == len(given):
        pairs = enumerate(zip(stored, given, strict=True))
        return [d for i, (a, b) in pairs for d in compare(a, b, f"{path}.{i}")]
    return [] if stored == given else [(path, stored, given)]


def choose_run_dir(config: Any, subcommand: str) -> str:
    """Give the folder of a run: as asked, that of the checkpoint, or the next free number.

    Processes that Lightning starts for further devices take the first process's choice.
    """
    if "FRBENCH_RUN_DIR" in os.environ and "LOCAL_RANK" in os.environ:
        return os.environ["FRBENCH_RUN_DIR"]
    folder = config.run_dir
    if folder is None and config.get("ckpt_path"):
        parent = Path(config.ckpt_path).resolve().parent
        folder = str(parent.parent if parent.name == "checkpoints" else parent)
    if folder is None:
        name = f"{config.data.class_path.split('.')[-1]}-{config.model.class_path.split('.')[-1]}"
        root = Path("runs") / name
        taken = [int(p.name) for p in root.glob("*") if p.name.isdigit()]
        folder = str(root / str(max(taken, default=-1) + 1))
    elif (
        subcommand == "fit"
        and not config.get("ckpt_path")
        and (Path(folder) / "metrics.csv").exists()
    ):
        raise UserError(
            f"--run_dir {folder} already holds a run. Continue it with --ckpt_path "
            f"{folder}/checkpoints/last.ckpt, or choose another folder."
        )
    os.environ["FRBENCH_RUN_DIR"] = folder
    return folder


def write_new(folder: Path, stem: str, record: dict[str, Any]) -> Path:
    """Write a JSON file under the first free name ``stem.json``, ``stem-2.json``, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}.json"
    number = 2
    while path.exists():
        path = folder / f"{stem}-{number}.json"
        number += 1
    path.write_text(json.dumps(record, indent=1))
    return path


def write_predictions(parts: Any, data: GroupDataModule, folder: Path, trainer: Any) -> None:
    """Write row, label, attribute, prediction and probabilities of each test table as CSV."""
    import pandas as pd
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    rank = f"-rank{trainer.global_rank}" if trainer.world_size > 1 else ""
    for name, batches in zip(data.test_names, parts, strict=True):
        columns = {k: torch.cat([b[k] for b in batches]).numpy() for k in batches[0]}
        probabilities = columns.pop("probabilities")
        frame = pd.DataFrame(columns).rename(columns={"index": "row"})
        frame["pred"] = probabilities.argmax(1)
        for i, label in enumerate(data.class_names):
            frame[f"p({label})"] = probabilities[:, i]
        path = folder / f"predictions-{name.replace('/', '-')}{rank}.csv"
        frame.to_csv(path, index=False)
        print(f"written to {path}")


def log_final_table(loggers: list[Any], metrics: dict[str, float], tables: list[str]) -> None:
    """Send one row per metric, one column per evaluated table, to loggers that take tables."""
    start = f"{tables[0]}/"
    names = [key.removeprefix(start) for key in metrics if key.startswith(start)]
    rows = [[name, *(metrics[f"{table}/{name}"] for table in tables)] for name in names]
    for logger in loggers:
        if hasattr(logger, "log_table"):
            logger.log_table("final", columns=["metric", *tables], data=rows)


def print_metrics(metrics: dict[str, float], tables: list[str]) -> None:
    """Print one row per metric, one column per evaluated table."""
    from rich.console import Console
    from rich.table import Table as RichTable

    view = RichTable("metric", *tables)
    start = f"{tables[0]}/"
    first = [key.removeprefix(start) for key in metrics if key.startswith(start)]
    for name in first:
        view.add_row(name, *(f"{metrics[f'{table}/{name}']:.4f}" for table in tables))
    Console().print(view)


def _checkpoint_option(argv: list[str]) -> str | None:
    for i, word in enumerate(argv):
        if word == "--ckpt_path" and i + 1 < len(argv):
            return argv[i + 1]
        if word.startswith("--ckpt_path="):
            return word.split("=", 1)[1]
    return None


def run(argv: list[str]) -> int:
    """Run ``frbench fit | validate | test | predict`` and return the exit status."""
    try:
        train(argv)
    except SystemExit as error:
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        folder = os.environ.get("FRBENCH_RUN_DIR", "")
        last = Path(folder) / "checkpoints" / "last.ckpt"
        if last.is_file():
            print(f"continue with: frbench fit ... --ckpt_path {last}", file=sys.stderr)
        return 130
    return 0


def train(argv: list[str]) -> FrbenchCLI:
    """Run one training or evaluation command.

    Args:
        argv: Subcommand and options, as on the command line.

    Returns:
        The command line with its trainer, model and data.

    Raises:
        UserError: For wrong options or data, before training starts.
    """
    quieten()
    sys.path.insert(0, os.getcwd())  # a user's own classes are found by import path
    path = _checkpoint_option(argv)
    if path is not None:
        model = read_checkpoint(path)["frbench"]["model"]
        init_args = {k: v for k, v in model["init_args"].items() if k not in LINKED}
        stored = json.dumps({"class_path": model["class_path"], "init_args": init_args})
        argv = [argv[0], f"--model={stored}", *argv[1:]]
    elif argv[0] in ("validate", "test", "predict") and "--help" not in argv:
        raise UserError(f"frbench {argv[0]} needs --ckpt_path, the trained model.")
    common = {"allow_abbrev": False, "exit_on_error": False}
    usage = {name: {"usage": f"frbench {name} [options]", **common} for name in
             ("fit", "validate", "test", "predict")}  # fmt: skip
    try:
        return FrbenchCLI(
            Objective,
            GroupDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=RecordRun,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            trainer_defaults={"num_sanity_val_steps": 0, "use_distributed_sampler": False},
            parser_kwargs={"prog": "frbench", **common, **usage},
            args=argv,
        )
    except ArgumentError as error:
        raise UserError(readable(str(error), hidden=LINKED)) from error
    except ValueError as error:
        # A UserError of a constructor arrives wrapped by the parser that called it.
        if (user_error := cause(error)) is not None:
            raise user_error from None
        raise
