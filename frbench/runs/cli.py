"""``frbench fit | validate | test``: Lightning's command line with its warts cured."""

from __future__ import annotations

import json
import os
import shlex
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from jsonargparse.typing import PositiveInt
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI

from frbench.callbacks import (
    BestCheckpoint,
    CSVLogger,
    EarlyStop,
    RollingCheckpoint,
    SanityCheck,
    ThreadRule,
)
from frbench.callbacks.monitors import optimised
from frbench.contracts.errors import UserError
from frbench.contracts.spec import check_spec, differences
from frbench.contracts.trust import check_trusted
from frbench.data.contents import changes
from frbench.data.fingerprint import fingerprint
from frbench.data.module import GroupDataModule
from frbench.metrics import split_key
from frbench.metrics.own import directions, import_metrics
from frbench.objectives import Objective
from frbench.runs.catalogue import import_all
from frbench.runs.causes import one_line
from frbench.runs.checkpoint import explained, read_description, restore, start_from
from frbench.runs.environment import environment
from frbench.runs.evaluation import evaluate_with_figures
from frbench.runs.folder import choose_run_dir, give_back
from frbench.runs.options import check_configs, known_options, option_values
from frbench.runs.output import (
    log_final_table,
    print_best,
    print_metrics,
    settle_loggers,
    write_new,
)
from frbench.runs.quiet import quieten
from frbench.runs.record import RecordRun
from frbench.support.cores import CORES, available_cores
from frbench.training.checks import FREE_ON_RESUME

import_all()  # bare class names on the command line and in YAML

#: Epochs of a run that is given no limit of its own.
MAX_EPOCHS = 30
#: Arguments of an objective that come from the data and from nowhere else.
LINKED = ("num_classes", "num_attributes", "input_shape", "vocab_size")


class FrbenchCLI(LightningCLI):
    """The parser and the runner of one command."""

    #: Whether a folder that holds a run is refused.
    begins = True

    def __init__(
        self, command: str, *args: Any, callbacks: Sequence[Any] = (), **kwargs: Any
    ) -> None:
        self.command = command
        self.callbacks = callbacks
        super().__init__(*args, **kwargs)

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Return the command that is run alone: a parser for each of the others is not needed."""
        return {self.command: LightningCLI.subcommands()[self.command]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the run's folder, the selection rule, and the sizes' links."""
        parser.add_argument(
            "--run_dir",
            type=str | None,
            default=None,
            help="Folder of this run; by default runs/<data>-<model>/<next number>, or the folder "
            "of --ckpt_path.",
        )
        parser.add_argument(
            "--init_from",
            type=str | None,
            default=None,
            help="Checkpoint whose network's weights the training begins with; a run that is "
            "continued (--ckpt_path) has begun already.",
        )
        parser.add_argument(
            "--metrics",
            type=list[str],
            default=[],
            help="Metrics of your own by import path, my_file.my_metric: functions from counts "
            "[C, A + 1, C] over (y, z, prediction), the last z for unknown, to a number.",
        )
        parser.add_argument(
            "--expected_decisions",
            type=bool,
            default=False,
            help="Count randomised decisions (frbench postprocess) by their probabilities, "
            "without drawing them.",
        )
        parser.add_argument(
            "--threads",
            type=PositiveInt | None,
            default=None,
            help="Threads of a run on CPUs; by default OMP_NUM_THREADS, or one where a step is "
            "too small to share and all cores otherwise.",
        )
        parser.add_lightning_class_args(BestCheckpoint, "checkpoint")
        parser.add_lightning_class_args(RollingCheckpoint, "rolling")
        parser.add_lightning_class_args(EarlyStop, "early_stopping")
        parser.add_lightning_class_args(SanityCheck, "sanity")
        parser.set_defaults({"model": "ERM"})
        for name in LINKED:
            # The whole data set is the source: it must be that of the checkpoint before it is
            # asked for its sizes.
            parser.link_arguments(
                "data",
                f"model.init_args.{name}",
                compute_fn=partial(self._size, name),
                apply_on="instantiate",
            )

    def _size(self, name: str, data: GroupDataModule) -> Any:
        """Return one of the sizes, of the data set as the checkpoint knows it."""
        path = self._get(self.config, "ckpt_path")
        if path and len(data.folders) == 1:  # not restored yet
            restore(data, read_description(path), path)
        return getattr(data, name)

    def before_instantiate_classes(self) -> None:
        """Check what the parser lets pass, and settle where the run writes."""
        config = self.config[self.subcommand]
        for name in LINKED:
            if config.model.init_args.get(name):
                raise UserError(f"model.{name} comes from the data; remove it from your options.")
        if config.get("ckpt_path"):
            stored = read_description(config.ckpt_path)
            given = yaml.safe_load(self._parser(self.subcommand).dump(config))
            changed = differences(stored["model"], given["model"], "model", LINKED, partial=True)
            if not changed and self.subcommand == "fit" and stored["data"]:
                changed = differences(
                    stored["data"], given["data"], "data", FREE_ON_RESUME, partial=True
                )
            if changed:
                raise UserError(
                    f"--ckpt_path already fixes what is trained. It differs from your options in "
                    f"{changed}. Drop those options."
                )
        limits = (config.trainer.max_epochs, config.trainer.max_time)
        if limits == (None, None) and config.trainer.max_steps == -1:
            config.trainer.max_epochs = MAX_EPOCHS  # Lightning's own default is 1000
        self.metrics = import_metrics(config.metrics)
        own = directions(self.metrics)
        for name in ("checkpoint", "early_stopping"):  # which know the metrics of frbench alone
            rule = config[name]
            if split_key(rule.monitor, own)[1] in own:
                rule.mode = optimised(f"{name}.monitor", rule.monitor, rule.mode, own)
        config.run_dir = choose_run_dir(config, str(self.subcommand), self.begins)
        for key in ("checkpoint", "rolling"):
            if config[key].dirpath is None:
                config[key].dirpath = str(Path(config.run_dir) / "checkpoints")
        settle_loggers(config)

    def instantiate_classes(self) -> None:
        """Build data, model and trainer; the data must have the sizes of the checkpoint."""
        super().instantiate_classes()
        self.model.metrics = self.metrics
        self.model.expected_decisions = self._get(self.config, "expected_decisions")
        begin = self._get(self.config, "init_from")
        if begin and not self._get(self.config, "ckpt_path"):
            start_from(self.model, begin)
        if path := self._get(self.config, "ckpt_path"):
            stored = read_description(path)["model"]["init_args"]
            ours = {name: getattr(self.model, name) for name in LINKED}
            if theirs := {k: stored[k] for k in LINKED if k in stored and stored[k] != ours[k]}:
                raise UserError(
                    f"--ckpt_path has a model for {theirs}, but --data "
                    f"{type(self.datamodule).__name__} has { {k: ours[k] for k in theirs} }; give "
                    "the data set that the checkpoint was trained on."
                )

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """Build the trainer; metrics.csv is written beside any other logger."""
        config = self._get(self.config_init, "trainer")
        if config.logger is not False and self.subcommand == "fit":
            run_dir = self._get(self.config_init, "run_dir")
            config.logger = [*(config.logger or []), CSVLogger(run_dir)]
        elif self.subcommand != "fit":
            config.logger = config.logger or False
        threads = ThreadRule(self._get(self.config_init, "threads"))
        config.callbacks = [*(config.callbacks or []), threads, *self.callbacks]
        try:
            return super().instantiate_trainer(**kwargs)
        except (ValueError, TypeError) as error:  # what the Trainer says about its own options
            raise UserError(f"trainer: {' '.join(str(error).split())}") from error

    # ---- after a command --------------------------------------------------------------------
    def warnings(self) -> dict[str, str]:
        """Return what the sanity checks found, by name."""
        raised = dict(self._get(self.config_init, "sanity").raised)
        for callback in self.trainer.checkpoint_callbacks:
            if isinstance(callback, BestCheckpoint) and (line := callback.never_moved()):
                raised["monitor_never_moved"] = line
        return raised

    def fit(self, **kwargs: Any) -> None:
        """Train; a checkpoint to resume from is read without unpickling code."""
        if len(self.trainer.loggers) > 1:  # others than ours write elsewhere if it is missing
            Path(self._get(self.config, "run_dir")).mkdir(parents=True, exist_ok=True)
        self.trainer.fit(**{**kwargs, "weights_only": True})
        if self.trainer.is_global_zero:
            print_best(self.trainer.checkpoint_callbacks)

    def validate(self, **kwargs: Any) -> None:
        """Evaluate the validation table and print its metrics."""
        self._evaluate("validate", kwargs)

    def test(self, **kwargs: Any) -> None:
        """Evaluate the test tables, print their metrics and store them."""
        self._evaluate("test", kwargs)

    def _evaluate(self, subcommand: str, kwargs: dict[str, Any]) -> None:
        kwargs |= {"verbose": False, "weights_only": True}
        folder = Path(self._get(self.config, "run_dir"))
        folder.mkdir(parents=True, exist_ok=True)  # as in fit
        evaluate = partial(getattr(self.trainer, subcommand), **kwargs)
        evaluate_with_figures(self.trainer, self.model, self.datamodule, evaluate)
        found = self.model.evaluation
        self.model.data_module = self.datamodule
        if self.trainer.is_global_zero:
            data = self.datamodule
            names = data.test_names if subcommand == "test" else data.val_names
            log_final_table(self.trainer.loggers, found, names)
            if self.model.attribute_use:
                print(f"note: {self.model.attribute_use}")
            print_metrics(found, names)
            path = kwargs["ckpt_path"]
            checkpoint = read_description(path)
            differs = changes(checkpoint.get("tables") or {}, data.contents, tuple(names))
            if differs:
                print(f"not the rows held out in training: {differs}")
                if len(data.files) == 1:
                    words = ["frbench", "test", "--ckpt_path", str(path), data.files[0]]
                    print(f"only {', '.join(names)} of {data.files[0]} is evaluated; "
                          f"for all its rows: {shlex.join(words)}")  # fmt: skip
            record = {
                "data": fingerprint(self.datamodule),
                "selection": checkpoint.get("selection"),
                "held_out": not differs,
                "attribute_use": self.model.attribute_use or "none",
                "decisions": "expected" if self.model.expected_decisions else "made",
                "metrics": found.flat(),
                **environment(),
            }
            print(f"written to {write_new(folder, subcommand, record)}")


def finish_loggers() -> None:
    """End the W&B run of this process; the next training would be written into it."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        wandb.finish()


def train(
    argv: list[str], callbacks: Sequence[Any] = (), kind: type[FrbenchCLI] = FrbenchCLI
) -> FrbenchCLI:
    """Run one training or evaluation command.

    Args:
        argv: Subcommand and options, as on the command line.
        callbacks: Of the trainer, beside those of the options, and named in no record.
        kind: Class of the command line.

    Returns:
        The command line with its trainer, model and data.

    Raises:
        UserError: For wrong options or data, before training starts.
    """
    quieten()
    if "OMP_NUM_THREADS" not in os.environ:  # which Lightning sets where it starts processes
        os.environ.setdefault(CORES, str(available_cores()))
    if argv[0] != "fit":  # what the checkpoint knows of its own training does not matter
        warnings.filterwarnings("ignore", message="The dirpath has changed from")
        warnings.filterwarnings("ignore", message="Be aware that when using `ckpt_path`")
    argv = check_configs(argv)
    paths = option_values(argv, "--ckpt_path")
    if paths:
        model = (stored := read_description(paths[-1]))["model"]
        check_spec(model, Objective)  # before the parser imports what it names
        init_args = {k: v for k, v in model["init_args"].items() if k not in LINKED}
        words = [f"--model={json.dumps({**model, 'init_args': init_args})}"]
        # Evaluation is on the data named, or else on those of the training.
        named = {word.split("=")[0] for word in argv} & {"--data", "--config"}
        if stored["data"] and (argv[0] == "fit" or not named):
            check_spec(stored["data"], GroupDataModule)
            words.append(f"--data={json.dumps(stored['data'])}")
        if stored.get("metrics") and not option_values(argv, "--metrics"):  # which replace them
            for path in stored["metrics"]:
                check_trusted(path)  # before the parser's caller imports it
            words.append(f"--metrics={json.dumps(stored['metrics'])}")
        argv = [argv[0], *words, *argv[1:]]
    elif argv[0] in ("validate", "test") and "--help" not in argv:
        raise UserError(f"frbench {argv[0]} needs --ckpt_path, the trained model.")
    try:
        with one_line(LINKED, known_options()), explained(paths[-1] if paths else None):
            return command_line(kind, argv[0], argv, callbacks)
    finally:
        give_back()


def command_line(
    kind: type[FrbenchCLI], command: str, args: Any, callbacks: Sequence[Any] = ()
) -> FrbenchCLI:
    """Build the command line, which runs the command.

    Args:
        kind: Its class.
        command: Name of the command.
        args: What its ``parse_arguments`` reads.
        callbacks: Further callbacks of the trainer.
    """
    common = {"allow_abbrev": False, "exit_on_error": False}
    usage = {command: {"usage": f"frbench {command} [options]", **common}}
    return kind(
        command,
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
        args=args,
        callbacks=callbacks,
    )
