"""``frbench fit | validate | test | predict``: train a model, or evaluate a trained one."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

from frbench.contracts.errors import interruptible
from frbench.support.progress import loading

ABOUT = {
    "fit": "train, keep the best and the latest checkpoint",
    "validate": "evaluate a checkpoint on the validation table",
    "test": "evaluate a checkpoint on the test tables",
    "predict": "write a checkpoint's predictions on the test tables",
}

PAGE = """\
usage: frbench {command} [--config FILE.yaml ...] [--data NAME] {needs}[options]

{about}

  --data NAME                 {data}
  --data.balance HOW          none, class, group, conditional, joint, reweighing
  --data.via HOW              sample, weight, subsample
  --data.batch_size B         global batch size
  --data.help NAME            all options of a data set
{model}\
  --trainer.devices N, .precision bf16-mixed, .logger WandbLogger
  --ckpt_path FILE            {ckpt}
  --run_dir FOLDER            where this run writes
  --print_config              show the resulting configuration and stop
  --help_all                  every option

examples
{examples}"""

MODEL = """\
  --model NAME                {model} (default ERM)
  --model.network NAME        {network}
  --model.penalties+= NAME    {penalty}
  --model.lr, .optimizer, .weight_decay, .scheduler
  --model.help NAME           all options of an objective
  --trainer.max_epochs N, .max_steps N, .log_every_n_steps N
  --checkpoint.monitor METRIC metric that picks the best checkpoint (val/worst_group_accuracy)
  --early_stopping.patience N validations without improvement before stopping (0: never)
  --rolling.every_n_steps N   steps between two writes of last.ckpt
  --seed_everything N         seed of training; --data.seed N of splits and order
"""

EXAMPLES = {
    "fit": """\
  frbench fit --data Digits --model GroupDRO --model.eta 0.1 --data.balance joint
  frbench fit --config base --config data/adult --config method/group_dro
  frbench fit --ckpt_path runs/Digits-ERM/0/checkpoints/last.ckpt --trainer.max_epochs 60
""",
    "other": """\
  frbench {command} --data Digits --ckpt_path runs/Digits-ERM/0/checkpoints/best.ckpt
""",
}


def _wrapped(names: str) -> str:
    """Break a list of names, and indent it like the explanations."""
    return ("\n" + " " * 30).join(textwrap.wrap(names, 68))


def page(command: str) -> str:
    """Return the help of a command on one page; ``--help_all`` shows every option."""
    from frbench.runs.catalogue import exported

    names = {
        key: _wrapped(", ".join(exported(key))) for key in ("data", "model", "network", "penalty")
    }
    fit = command == "fit"
    return PAGE.format(
        command=command,
        about=ABOUT[command],
        needs="[--model NAME] " if fit else "--ckpt_path FILE ",
        data=names["data"],
        model=MODEL.format(**names) if fit else "",
        ckpt="checkpoint to continue from"
        if fit
        else "the trained model (method and network too)",
        examples=EXAMPLES["fit" if fit else "other"].format(command=command),
    )


def main(argv: list[str]) -> int:
    """Run ``frbench fit``, ``validate``, ``test`` or ``predict``.

    Args:
        argv: The command's name and its options.
    """
    with loading():
        from frbench.runs.cli import finish_loggers, train
    if {"-h", "--help"} & set(argv):
        print(page(argv[0]), end="")
        return 0
    argv = ["--help" if word == "--help_all" else word for word in argv]
    with interruptible(lambda: _how_to_go_on(argv[0])):
        train(argv)
        finish_loggers()
    return 0


def _how_to_go_on(command: str) -> str:
    """Say what an interrupted run has left behind."""
    if command != "fit":
        return "nothing was written"
    last = Path(os.environ.get("FRBENCH_RUN_DIR", "")) / "checkpoints" / "last.ckpt"
    if last.is_file():
        return f"continue with: frbench fit ... --ckpt_path {last}"
    return "no checkpoint was due yet, start again (--rolling.every_n_steps says when one is)"
