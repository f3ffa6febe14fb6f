"""``frbench dfr``: deep feature re-weighting of a trained model's last layer."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from frbench.contracts.errors import UserError
from frbench.postprocessing.base import Head
from frbench.postprocessing.dfr import DFR, STRENGTHS
from frbench.support.atomic import check_writable, replacing
from frbench.support.parser import Parser, seed

if TYPE_CHECKING:
    from frbench.data.module import GroupDataModule
    from frbench.objectives import Objective


EXAMPLES = """\
examples:
  frbench dfr --ckpt_path runs/Digits-ERM/0/checkpoints/best.ckpt
  frbench dfr --ckpt_path best.ckpt --held_out train --out dfr.ckpt --data.root /elsewhere
  frbench dfr --results results/celeba --methods ERM

Options of the data may follow and override the checkpoint's. With --results every finished run
of a grid is refitted, tested, and added to its results as another method, <method>+DFR.
"""


def _parser() -> Parser:
    parser = Parser(
        "frbench dfr",
        description="Refit the last layer of a trained model on group-balanced held-out rows\n"
        "(deep feature re-weighting, arXiv 2204.02937) and write a checkpoint for `frbench test`.",
        epilog=EXAMPLES,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--ckpt_path", type=Path, help="checkpoint of frbench fit")
    what.add_argument("--results", type=Path, help="folder of frbench bench")
    parser.add_argument("--methods", nargs="+", help="with --results: only these methods")
    parser.add_argument("--out", type=Path, help="file to write; default dfr.ckpt beside the old")
    parser.add_argument("--held_out", choices=("val", "train"), default="val")
    parser.add_argument("--redraws", type=int, help="balanced draws; default 20, train: 10")
    parser.add_argument("--strengths", type=float, nargs="+", default=STRENGTHS, metavar="C")
    parser.add_argument("--seed", type=seed, default=0)
    return parser


def main(argv: list[str]) -> int:
    """Run ``frbench dfr``.

    Raises:
        UserError: If an option, the checkpoint or the data cannot be used.
    """
    args, extra = _parser().parse_known_args(argv)
    if strange := [w for w in extra if w.startswith("-") and not w.startswith("--data.")]:
        raise UserError(f"unknown option {strange[0]}; see frbench dfr --help.")
    redraws = args.redraws
    if redraws is None:
        redraws = 20 if args.held_out == "val" else 10
    if args.results is not None and args.out is not None:
        raise UserError(
            "--out goes with --ckpt_path; each run of --results keeps its own dfr.ckpt."
        )
    if args.results is None and args.methods is not None:
        raise UserError("--methods chooses among the runs of --results; leave it out.")
    settings = DFR(redraws, tuple(args.strengths), args.seed)
    if args.results is not None:
        return _over_results(args, extra, settings)
    out = args.out or args.ckpt_path.with_name("dfr.ckpt")
    if out.exists():
        raise UserError(f"{out} is there already; remove it, or give another --out.")
    check_writable(out.parent, "--out")
    _, data, head = _refit(args.ckpt_path, out, extra, settings, args.held_out)
    for strength, score in head.scores.items():
        chosen = "  <- chosen" if strength == head.strength else ""
        print(f"C {strength:<6g} worst group on the second half {score:.4f}{chosen}")
    name = type(data).__name__
    print(
        f"{settings.redraws} draws of {head.per_group} rows of each group; "
        f"{np.count_nonzero(head.weight.any(0))} of {head.weight.shape[1]} features are used\n"
        f"written to {out}; next: frbench test --data {name} ... --ckpt_path {out}"
    )
    return 0


def _refit(
    path: Path, out: Path, extra: list[str], settings: DFR, held_out: Literal["val", "train"]
) -> tuple[Objective, GroupDataModule, Head]:
    import torch

    from frbench.runs.build import checkpoint_data
    from frbench.runs.checkpoint import load, read_checkpoint
    from frbench.training.extract import reweight

    checkpoint = read_checkpoint(path)
    data = checkpoint_data(checkpoint, path, extra)
    data.setup("fit")
    objective = load(path)
    changed, head = reweight(checkpoint, objective, data, settings, held_out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as part:
        torch.save(changed, part)
    return objective, data, head


def _over_results(args: argparse.Namespace, extra: list[str], settings: DFR) -> int:
    """Refit every finished run of a grid and append what its test tables say."""
    from pytorch_lightning import Trainer

    from frbench.callbacks import SanityCheck
    from frbench.grids.revisit import revisit

    def wanted(record: dict[str, Any], records: dict[str, Any]) -> bool:
        chosen = args.methods is None or record["method"] in args.methods
        return chosen and f"{record['cell']}-dfr" not in records

    def visit(record: dict[str, Any], best: Path) -> dict[str, Any]:
        start = time.monotonic()
        out = best.with_name("dfr.ckpt")
        model, data, head = _refit(best, out, extra, settings, args.held_out)
        sanity = SanityCheck()
        trainer = Trainer(
            accelerator="auto", devices=1, logger=False, enable_progress_bar=False,
            enable_checkpointing=False, enable_model_summary=False, callbacks=[sanity],
        )  # fmt: skip
        metrics: dict[str, float] = {}
        for evaluate in (trainer.validate, trainer.test):
            evaluate(model, datamodule=data, verbose=False)
            metrics |= model.evaluation.flat()
        changes = {
            "cell": f"{record['cell']}-dfr",
            "method": f"{record['method']}+DFR",
            "metrics": metrics,
            "warnings": dict(sanity.raised),
            "dfr": {"strength": head.strength, "per_group": head.per_group},
            "seconds": round(time.monotonic() - start, 3),
        }
        return {**record, **changes}

    count = revisit(args.results, "refitting", wanted, visit)
    print(
        f"{count} runs refitted in {args.results / 'results.jsonl'}; next: frbench report "
        f"{args.results}"
    )
    return 0
