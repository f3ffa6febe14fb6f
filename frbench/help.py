"""``frbench fit --help`` on one page; ``--help_all`` still shows every option."""

from __future__ import annotations

import textwrap

from frbench.data.module import GroupDataModule
from frbench.messages import known_classes
from frbench.networks import Network
from frbench.objectives import Objective
from frbench.penalties import Penalty

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
  frbench fit --config configs/base.yaml --config configs/data/adult.yaml
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
    """Return the help of a command on one page."""
    names = {
        key: _wrapped(", ".join(known_classes(base)) or "yours, by import path")
        for key, base in (
            ("data", GroupDataModule), ("model", Objective), ("network", Network),
            ("penalty", Penalty),
        )
    }  # fmt: skip
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
