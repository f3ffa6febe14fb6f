"""``frbench postprocess``: fit a method on held-out outputs of a trained model."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frbench.contracts.errors import UserError
from frbench.support.atomic import check_new
from frbench.support.parser import Parser, asked_help, divided, seed
from frbench.support.progress import loading

if TYPE_CHECKING:
    from frbench.runs.postprocess import Request

EXAMPLES = """\
examples:
  frbench postprocess --ckpt_path best.ckpt --method AFR
  frbench postprocess --ckpt_path best.ckpt --method my_file.MyMap --share 1 --out mine.ckpt
  frbench postprocess --results results/adult --method RelaxedEqualizedOdds --methods ERM

--method.OPTION VALUE sets an option of the method, --method.help NAME lists them; --data.OPTION
VALUE overrides one of the checkpoint's data. With --results every finished run of a grid is
taken, tested, and added to its results as another method, <method>+<NAME>. In a grid of its own:
methods: {AFR: {after: ERM, postprocess: AFR, grid: {postprocess.gamma: [4, 10]}}}
"""


def _parser() -> Parser:
    parser = Parser(
        "frbench postprocess",
        description="Fit a last layer, or a map from outputs to decisions, on held-out rows,\n"
        "and write a checkpoint for frbench test, predict, audit and export.",
        epilog=EXAMPLES,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--ckpt_path", type=Path, help="checkpoint of frbench fit")
    what.add_argument("--results", type=Path, help="folder of frbench bench")
    parser.add_argument("--method", required=True, help="class to fit, or its import path")
    parser.add_argument("--methods", nargs="+", help="with --results: only these methods")
    parser.add_argument(
        "--split", help="val, train or held_out (of --data.held_out); default the method's own"
    )
    parser.add_argument(
        "--share", type=float,
        help="share of its rows, of each group, that fits; the rest selects (default .5 of val)",
    )  # fmt: skip
    parser.add_argument("--seed", type=seed, default=0, help="seed of this division")
    parser.add_argument("--earlier", type=Path, help="earlier checkpoint of the run (SELF)")
    parser.add_argument("--out", type=Path, help="file; default <old name>-<method>.ckpt")
    return parser


def main(argv: list[str]) -> int:
    """Run ``frbench postprocess``.

    Raises:
        UserError: If an option, the checkpoint or the data cannot be used.
    """
    if asked := asked_help(argv):
        return _help(asked)
    args, extra = _parser().parse_known_args(argv)
    words = divided(extra, ("--method.", "--data."), "postprocess")
    if args.results is None and args.methods is not None:
        raise UserError("--methods chooses among the runs of --results; leave it out.")
    if args.results is not None and (args.out or args.earlier):
        raise UserError("--out and --earlier go with --ckpt_path, not with --results.")
    with loading():
        from frbench.runs.postprocess import Request, build_method, check_split, fit_behind
    split = args.split, args.share
    check_split(*split, "--")
    method = build_method([f"--method={args.method}", *words["--method."]])
    request = Request(method, *split, args.seed, words["--data."], args.earlier)
    name = type(method).__name__
    if args.results is not None:
        suffix = f"{name}-{_digest(request)}"
        return over_results(args.results, args.methods, request, name, suffix)
    out = args.out or args.ckpt_path.with_name(f"{args.ckpt_path.stem}-{name}.ckpt")
    check_new(out)
    model, _, record = fit_behind(args.ckpt_path, out, request)
    fitted, selects = record["fitted_on"], record["selected_on"]["rows"]
    print(f"{name} fitted on {fitted['rows']} rows of {fitted['name']}; "
          f"validation selects by {selects} rows")  # fmt: skip
    for key, value in record.items():
        if key not in ("method", "fitted_on", "selected_on", "needs", "kind", "reads_attribute"):
            print(f"{key}: {json.dumps(value)}")
    if model.attribute_use:
        print(f"note: {model.attribute_use}")
    print(f"written to {out}; next: frbench test --ckpt_path {out}")
    return 0


def _digest(request: Request) -> str:
    """Return a short name of everything that decides what is fitted."""
    from frbench.contracts.spec import to_spec

    _, *rest, _, key = request
    text = json.dumps([to_spec(request.method), rest, key], default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def over_results(
    folder: Path,
    methods: Sequence[str] | None,
    request: Request,
    name: str,
    suffix: str,
    own_settings: bool = True,
) -> int:
    """Fit behind every finished run of a grid and append what its tables say.

    Args:
        folder: Folder of ``frbench bench``.
        methods: Names of the grid's methods to take; None for all.
        request: What to fit.
        name: The records' method is ``<method>+<name>``.
        suffix: Their key is that of the run and this.
        own_settings: Whether options of the method become settings of the records.
    """
    from frbench.contracts.spec import to_spec
    from frbench.grids.revisit import revisit
    from frbench.runs.postprocess import build_method, evaluate_tables, fit_behind

    specification = to_spec(request.method)

    def wanted(record: dict[str, Any], records: dict[str, Any]) -> bool:
        chosen = methods is None or record["method"] in methods
        return chosen and f"{record['cell']}-{suffix}" not in records

    def visit(record: dict[str, Any], best: Path) -> dict[str, Any]:
        start = time.monotonic()
        out = best.with_name(f"{suffix}.ckpt")
        # A map belongs to one model: each run gets a new one.
        fresh = request._replace(method=build_method([f"--method={json.dumps(specification)}"]))
        model, data, fitted = fit_behind(best, out, fresh, best.parent)
        metrics, warnings = evaluate_tables(model, data)
        return {
            **record,
            "cell": f"{record['cell']}-{suffix}",
            "method": f"{record['method']}+{name}",
            "settings": {**record["settings"], **(_settings(fitted) if own_settings else {})},
            "metrics": metrics,
            "warnings": warnings,
            "attribute_use": model.attribute_use or "none",
            request.key: fitted,
            "seconds": round(time.monotonic() - start, 3),
        }

    count = revisit(folder, "refitting", wanted, visit)
    print(f"{count} runs refitted in {folder / 'results.jsonl'}; next: frbench report {folder}")
    return 0


def _settings(fitted: dict[str, Any]) -> dict[str, Any]:
    """Return the options of the method that are not its defaults, as settings of a grid."""
    from inspect import Parameter, signature

    from frbench.contracts.spec import import_class

    given = fitted["method"]["init_args"]
    found = signature(import_class(fitted["method"]["class_path"])).parameters
    defaults = {k: p.default for k, p in found.items() if p.default is not Parameter.empty}
    return {
        f"postprocess.{name}": value
        for name, value in given.items()
        if not (name in defaults and _plain(defaults[name]) == value)
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _help(words: list[str]) -> int:
    """Print the options of a method."""
    from frbench.runs.postprocess import build_method

    build_method(words)
    return 0
