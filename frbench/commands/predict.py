"""``frbench predict``: score every row of a file by a checkpoint alone."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from frbench.contracts.errors import UserError
from frbench.runs.quiet import quieten
from frbench.support.atomic import check_new
from frbench.support.parser import Parser, decision_options, names, threads_option
from frbench.support.progress import busy, loading

EXAMPLES = """\
examples:
  frbench predict --ckpt_path best.ckpt new.csv --out scored.csv
  frbench predict --ckpt_path best.ckpt new.csv --keep '[loan_id]' --threshold .3
  frbench predict --ckpt_path best.ckpt faces/
  frbench predict --ckpt_path best.ckpt --split val

The table has the file's rows in their order: kept columns, prediction, p(<class>) for each class,
and y and z where the file has them. Of own data (--split), row is the position in that table,
file_row that in the file, from 0. Options of the data may follow and override the checkpoint's.
"""


def main(argv: list[str]) -> int:
    """Run ``frbench predict``.

    Raises:
        UserError: If an option, the checkpoint or the file cannot be used.
    """
    parser = Parser(
        "frbench predict",
        description="Write a checkpoint's predictions for the rows of a file, or of its own data.",
        epilog=EXAMPLES,
    )
    parser.add_argument("file", nargs="?", type=Path, help="table, folder of images, or .npz")
    parser.add_argument("--ckpt_path", type=Path, required=True, help="checkpoint of frbench fit")
    parser.add_argument("--out", type=Path, help="table to write; default beside the file")
    parser.add_argument("--keep", type=names, metavar="[COL, ...]", help="columns to copy, or all")
    parser.add_argument("--split", help="a table of the run's own data: train, val, test, ...")
    parser.add_argument("--run_dir", type=Path, help="folder of the predictions on own tables")
    parser.add_argument("--force", action="store_true", help="replace existing predictions")
    decision_options(parser)
    threads_option(parser)
    args, extra = parser.parse_known_args(argv)
    if strange := [w for w in extra if w.startswith("-") and not w.startswith("--data")]:
        raise UserError(f"unknown option {strange[0]}; see frbench predict --help.")
    if args.file is not None and args.split is not None:
        raise UserError("Give a file, or --split for a table of the run's own data, not both.")
    if args.out is not None and args.out.suffix == ".json":
        raise UserError(f"--out {args.out}: give another ending; a .json file is written beside.")
    if args.file is not None:
        if not args.file.exists():
            raise UserError(f"There is no file {args.file}.")
        out = args.out or args.file.with_name(f"{args.file.stem}-scored.csv")
        _check_out(args, [out], [args.file])
    with loading():
        from frbench.runs.build import load_with
        from frbench.runs.folder import folder_of
        from frbench.runs.score import write_scores, write_split
        from frbench.training.scoring import Decision
    quieten()
    model = load_with(args.ckpt_path, extra, args.threads)
    decision = Decision(args.threshold, args.top_k, args.selection_rate)
    if model.attribute_use:
        print(f"note: {model.attribute_use}")
    if args.file is not None:
        with busy(f"scoring {args.file}"):
            record = write_scores(model, args.file, out, args.keep, decision)
        for column, count in record["values_unseen_in_training"].items():
            print(f"{count} rows whose {column} does not occur in training: taken as unknown")
        for column, count in record["empty_cells"].items():
            print(f"{count} rows without a value of {column}: filled as in training")
        if count := record["attributes_unseen_in_training"]:
            print(f"{count} rows have an attribute value that does not occur in training")
        if count := record["labels_unknown_to_the_model"]:
            print(f"{count} rows have a label that the model does not know: left as it is")
        if count := record["decided_without_attribute"]:
            print(f"{count} rows have no attribute, which the decision reads: see {out.stem}.json")
        print(f"{record['rows']} rows written to {out}")
        return 0
    data = model.encoding
    wanted = [args.split] if args.split in data.splits else None
    if wanted is None and args.split in (None, "test"):
        wanted = data.test_names
    if wanted is None:
        raise UserError(f"--split: the data has {', '.join(data.splits)}, not {args.split!r}.")
    folder = args.run_dir or folder_of(args.ckpt_path)
    if args.out is not None and len(wanted) > 1:
        raise UserError(f"--out is one file, and there are {len(wanted)} tables; use --run_dir.")
    outs = {
        name: args.out or folder / f"predictions-{name.replace('/', '-')}.csv" for name in wanted
    }
    _check_out(args, list(outs.values()), [Path(file) for file in data.files])
    folder.mkdir(parents=True, exist_ok=True)
    for name, out in outs.items():
        write_split(model, name, out, decision)
        print(f"written to {out}")
    return 0


def _check_out(args: Namespace, outs: Sequence[Path], reads: Sequence[Path]) -> None:
    """Refuse tables that are there, and the records beside them."""
    files = [file for out in outs for file in (out, out.with_suffix(".json"))]
    check_new(*files, force=args.force, reads=[args.ckpt_path, *reads])
