"""``frbench fit | validate | test``: train a model, or evaluate a trained one."""

from __future__ import annotations

import argparse
import os
import textwrap
from pathlib import Path

from frbench.contracts.errors import UserError
from frbench.support.parser import (
    Parser,
    asked_help,
    decision_options,
    names,
    threads_option,
    yes_or_no,
)
from frbench.support.progress import loading
from frbench.support.stops import interruptible

#: Options that change the decision of a model on a file.
DECISIONS = ("threshold", "top_k", "selection_rate")

ABOUT = {
    "fit": "train, keep the best and the latest checkpoint",
    "validate": "evaluate a checkpoint on the validation table",
    "test": "evaluate a checkpoint on the test tables",
}

PAGE = """\
usage: frbench {command} [--config FILE.yaml ...] [--data NAME] {needs}[options]

{about}

  --data NAME                 {data}
  --data.balance HOW          none, class, group, conditional, joint, reweighing
  --data.via HOW              sample, weight, subsample, mixture
  --data.batch_size B         global batch size
  --data.help NAME            all options of a data set
{model}\
  --trainer.devices N, .precision bf16-mixed, .logger WandbLogger
  --ckpt_path FILE            {ckpt}
  --run_dir FOLDER            where this run writes
  --threads N                 default: one where a step is too small to share, else all cores
  --print_config              show the resulting configuration and stop
  --help_all                  every option

examples
{examples}"""

MODEL = """\
  --model NAME                {model} (default ERM)
  --model.network NAME        {network}
  --model.penalties+= NAME    {penalty}
  --model.infer NAME          {infer}
  --model.mixing NAME         {mixing}
  --model.lr, .optimizer, .weight_decay, .scheduler (of torch, or WarmupCosine)
  --init_from FILE            checkpoint whose weights the network begins with
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
        key: _wrapped(", ".join(exported(key)))
        for key in ("data", "model", "network", "penalty", "infer", "mixing")
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
    """Run ``frbench fit``, ``validate`` or ``test``.

    Args:
        argv: The command's name and its options.
    """
    if {"-h", "--help"} & set(argv):
        print(page(argv[0]), end="")
        return 0
    argv = [argv[0], *(asked_help(argv) or argv[1:])]
    if argv[0] == "test" and (given := _file_options(argv)) is not None:
        return _test_file(given)
    argv = ["--help" if word == "--help_all" else word for word in argv]
    if "LOCAL_RANK" not in os.environ:  # else it was chosen by the first process of this run
        os.environ.pop("FRBENCH_RUN_DIR", None)
    with interruptible(lambda: _how_to_go_on(argv)):
        with loading():
            from frbench.runs.cli import finish_loggers, train
        train(argv)
        finish_loggers()
    return 0


def _file_options(argv: list[str]) -> argparse.Namespace | None:
    """Read the words of a test on a file of its own; None if there is no file among them."""
    parser = Parser("frbench test")
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--ckpt_path", type=Path)
    parser.add_argument("--attributes", type=names, default=[])
    parser.add_argument("--run_dir", type=Path)
    parser.add_argument("--expected_decisions", type=yes_or_no, default=False)
    decision_options(parser)
    threads_option(parser)
    # Every other option has a value: only a word that follows no option is the file.
    own = ["--ckpt_path", "--attributes", "--run_dir", "--threads", "--expected_decisions",
           *(f"--{d}" for d in DECISIONS)]  # fmt: skip
    words, rest, mine = iter(argv[1:]), list[str](), list[str]()
    for word in words:
        if word.startswith("--") and word.split("=")[0] not in own:
            rest += [word] if "=" in word else [f"{word}={next(words, '')}"]
        else:
            mine.append(word)
    args = parser.parse_args(mine)
    used = [name for name in ("attributes", *DECISIONS) if getattr(args, name) not in (None, [])]
    if args.file is None:
        if used:
            raise UserError(f"--{used[0]} goes with a file: frbench test --ckpt_path ... new.csv.")
        return None
    if args.ckpt_path is None:
        raise UserError("frbench test needs --ckpt_path, the trained model.")
    if not args.file.exists():
        raise UserError(f"There is no file {args.file}.")
    if strange := [w for w in rest if not w.startswith(("--data", "--trainer."))]:
        raise UserError(f"{strange[0].split('=')[0]} has no effect on the test of a file.")
    args.data = [word for word in rest if word.startswith("--data")]
    return args


def _test_file(args: argparse.Namespace) -> int:
    """Evaluate all rows of a labelled file."""
    from frbench.runs.build import load_with
    from frbench.runs.checkpoint import read_description
    from frbench.runs.environment import environment
    from frbench.runs.folder import folder_of
    from frbench.runs.output import print_metrics, write_new
    from frbench.runs.quiet import quieten
    from frbench.runs.score import evaluate_file, rule_of
    from frbench.training.scoring import Decision

    quieten()
    model = load_with(args.ckpt_path, args.data, args.threads)
    model.expected_decisions = args.expected_decisions
    decision = Decision(args.threshold, args.top_k, args.selection_rate)
    if model.attribute_use:
        print(f"note: {model.attribute_use}")
    found = evaluate_file(model, args.file, args.attributes, decision)
    print_metrics(found, list(found))
    record = {
        "file": args.file.name,
        "held_out": False,
        "decision": decision.chosen or rule_of(model),
        "decisions": "expected" if model.expected_decisions else "made",
        "attribute_use": model.attribute_use or "none",
        "selection": read_description(args.ckpt_path).get("selection"),
        "metrics": found.flat(),
        **environment(),
    }
    print(f"written to {write_new(args.run_dir or folder_of(args.ckpt_path), 'test', record)}")
    return 0


def _how_to_go_on(argv: list[str]) -> str:
    """Say what an interrupted run has left behind."""
    if argv[0] != "fit":
        return "nothing was written"
    folder = os.environ.get("FRBENCH_RUN_DIR")  # chosen when the options have been read
    if folder and (last := Path(folder) / "checkpoints" / "last.ckpt").is_file():
        from frbench.runs.checkpoint import read_description
        from frbench.runs.options import command_to_continue

        return f"continue with: {command_to_continue(argv, last, read_description(last))}"
    words = iter(argv)  # maybe before the packages that read options were imported
    given = [next(words, "") if w == "--ckpt_path" else w.partition("=")[2]
             for w in words if w.split("=")[0] == "--ckpt_path"]  # fmt: skip
    if given and Path(given[-1]).is_file():
        return f"no later checkpoint was due yet, the same command continues from {given[-1]}"
    return "no checkpoint was due yet, start again (--rolling.every_n_steps says when one is)"
