"""``frbench card``: a model card of a checkpoint."""

from __future__ import annotations

from pathlib import Path

from frbench.contracts.errors import UserError
from frbench.runs.quiet import quieten
from frbench.support.atomic import check_new, replacing
from frbench.support.parser import Parser, threads_option
from frbench.support.progress import busy, loading

EXAMPLES = """\
examples:
  frbench card best.ckpt                   README.md beside the checkpoint
  frbench card best.ckpt new.csv --out card.md
  frbench card best.ckpt --data.path moved.csv

The card has the format of Hugging Face: data and groups, what was trained and selected on what,
metrics with intervals on the test tables or on the rows of a file, limits, versions.
"""


def main(argv: list[str]) -> int:
    """Run ``frbench card``.

    Raises:
        UserError: If an option, the checkpoint or the file cannot be used, or the card exists.
    """
    parser = Parser(
        "frbench card",
        description="Write a model card of a checkpoint, and evaluate it for that.",
        epilog=EXAMPLES,
    )
    parser.add_argument("ckpt_path", type=Path, help="checkpoint of frbench fit")
    parser.add_argument("file", nargs="?", type=Path, help="labelled rows to evaluate on")
    parser.add_argument("--out", type=Path, help="file to write; README.md beside the checkpoint")
    parser.add_argument("--force", action="store_true", help="replace the file")
    threads_option(parser)
    args, extra = parser.parse_known_args(argv)
    if strange := [w for w in extra if w.startswith("-") and not w.startswith("--data")]:
        raise UserError(f"unknown option {strange[0]}; see frbench card --help.")
    out = args.out or args.ckpt_path.parent / "README.md"
    if args.file is not None and not args.file.exists():
        raise UserError(f"There is no file {args.file}.")
    check_new(out, force=args.force, reads=filter(None, (args.ckpt_path, args.file)))
    with loading():
        from frbench.runs.build import load_with
        from frbench.runs.card import card
    quieten()
    model = load_with(args.ckpt_path, extra, args.threads)
    with busy("evaluating"):
        text = card(model, args.ckpt_path, args.file)
    with replacing(out, new=not args.force) as part:
        part.write_text(text, encoding="utf-8")
    print(f"written to {out}")
    return 0
