"""``frbench dfr``: deep feature re-weighting of a trained model's last layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from frbench.commands.postprocess import over_results
from frbench.contracts.errors import UserError
from frbench.support.atomic import check_new
from frbench.support.parser import Parser, seed

EXAMPLES = """\
examples:
  frbench dfr --ckpt_path runs/Digits-ERM/0/checkpoints/best.ckpt
  frbench dfr --ckpt_path best.ckpt --held_out train --out dfr.ckpt --data.root /elsewhere
  frbench dfr --results results/celeba --methods ERM

The same as frbench postprocess --method DFR. Options of the data may follow and override the
checkpoint's. With --results every finished run of a grid is refitted, tested, and added to its
results as another method, <method>+DFR.
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
    parser.add_argument("--strengths", type=float, nargs="+", metavar="C")
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
    from frbench.postprocessing.dfr import DFR, STRENGTHS
    from frbench.runs.postprocess import Request, fit_behind

    method = DFR(redraws, STRENGTHS if args.strengths is None else args.strengths, args.seed)
    request = Request(method, args.held_out, data=extra, key="dfr")
    if args.results is not None:
        return over_results(args.results, args.methods, request, "DFR", "dfr", own_settings=False)
    out = args.out or args.ckpt_path.with_name("dfr.ckpt")
    check_new(out)
    model, data, found = fit_behind(args.ckpt_path, out, request)
    for strength, score in found["scores"]:
        chosen = "  <- chosen" if strength == found["strength"] else ""
        print(f"C {strength:<6g} worst group on the second half {score:.4f}{chosen}")
    weight: np.ndarray = model.network.head.state_dict()["weight"].numpy()
    print(
        f"{redraws} draws of {found['per_group']} rows of each group; "
        f"{np.count_nonzero(weight.any(0))} of {weight.shape[1]} features are used\n"
        f"written to {out}; next: frbench test --data {type(data).__name__} ... --ckpt_path {out}"
    )
    return 0
