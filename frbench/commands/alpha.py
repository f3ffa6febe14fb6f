"""``frbench alpha``: the share of the smallest group from private answers."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

from frbench.contracts.errors import UserError
from frbench.data.cells import Cells
from frbench.data.reading import table_parts
from frbench.metrics.privacy import Members, RandomizedResponse
from frbench.support.parser import Parser, number, seed
from frbench.support.sheet import FORMS, Sheet, document

#: Groups of a survey, and answers of a group, at most: numbers that a float holds exactly.
MAX_GROUPS, MAX_ANSWERS = 10_000, 10**15

EPILOG = """\
examples
  frbench alpha 3561 1488                     estimate from 3,561 and 1,488 answers
  frbench alpha answers.csv --column answer --epsilon 2
  frbench alpha 4571 478 --simulate 1000      true counts: bias, variance, coverage

The lower bound is what --model.alpha of CVaR, Chi2DRO, BPF or IRW may assume.
"""


def main(argv: list[str]) -> int:
    """Run the command; returns the exit status.

    Raises:
        UserError: If counts, file or an option cannot be used.
    """
    args = _parser().parse_args(argv)
    if args.simulate is None and (args.members or args.seed is not None):
        raise UserError("--members and --seed are about simulated surveys; add --simulate TRIALS.")
    counts = _counts(args.answers, args.column)
    if args.groups is not None and args.groups < len(counts):
        raise UserError(f"--groups {args.groups} is less than the {len(counts)} groups answered.")
    for i in range(len(counts), args.groups or 0):
        counts[f"unanswered {i}"] = 0
    if len(counts) < 2:
        raise UserError(f"at least two groups are needed, got {', '.join(counts) or 'none'}.")
    mechanism = RandomizedResponse(len(counts), args.epsilon)
    numbers = list(counts.values())
    result: dict[str, Any] = {
        "epsilon": args.epsilon, "truth": mechanism.truth, "people": sum(numbers),
        "level": args.level, "bound": args.bound,
    }  # fmt: skip
    if args.simulate is None:
        found = mechanism.estimate(numbers, args.level, args.bound)
        columns = {
            "answers": numbers,
            "share": found.shares.tolist(),
            "sd": found.sd.tolist(),
            "lower bound": found.lower_shares.tolist(),
        }
        result |= {"alpha": found.alpha, "lower": found.lower}
    else:
        members: Members = args.members or "fixed"
        run = mechanism.simulate(
            numbers, args.simulate, args.level, args.bound, members, args.seed or 0
        )
        columns = {
            "people": numbers,
            "share": run.true_shares.tolist(),
            "bias": run.bias.tolist(),
            "its error": run.bias_error.tolist(),
            "sd": run.sd.tolist(),
            "exact sd": run.exact_sd.tolist(),
        }
        result |= {
            "trials": args.simulate, "members": members, "alpha": run.alpha,
            "lower": run.lower, "coverage": run.coverage,
        }  # fmt: skip
    before, after = _lines(result)
    rows = list(zip(counts, *columns.values(), strict=True))
    sheet = Sheet("", ["group", *columns], rows, [before], digits=4)
    if args.format == "json":
        result["groups"] = {record.pop("group"): record for record in sheet.records()}
        result["epsilon"] = args.epsilon if math.isfinite(args.epsilon) else None  # JSON has none
        print(json.dumps(result, indent=2, allow_nan=False))
    elif args.format == "csv":
        print(sheet.render("csv"), end="")
    else:
        print(document([sheet, Sheet(lines=[after])], args.format), end="")
    return 0


def _parser() -> Parser:
    parser = Parser(
        "frbench alpha",
        description="Estimate the share of the smallest group, and a lower confidence bound, "
        "from answers given\nunder K-ary randomised response: the truth with probability "
        "e^eps / (e^eps + K - 1), else\nanother group at random.",
        epilog=EPILOG,
    )
    parser.add_argument(
        "answers",
        nargs="+",
        metavar="COUNT | FILE",
        help="number of answers of each group, or a .csv (.csv.gz) file with one answer per row",
    )
    parser.add_argument("--column", metavar="COL", help="column of FILE that holds the groups")
    parser.add_argument(
        "--groups",
        type=number(2, MAX_GROUPS, whole=True),
        metavar="K",
        help="groups of the survey, if some got no answer",
    )
    parser.add_argument(
        "--epsilon",
        type=float,
        default=math.log(3),
        metavar="E",
        help="privacy in nats; default ln 3, for two groups the survey with two fair coins",
    )
    parser.add_argument("--level", type=float, default=0.95, help="coverage; default %(default)s")
    parser.add_argument(
        "--bound",
        choices=("exact", "normal"),
        default="exact",
        help="Clopper-Pearson (default), or estimate - z sd",
    )
    parser.add_argument(
        "--simulate",
        type=number(2, 10**6, whole=True),
        metavar="TRIALS",
        help="the counts are true: repeat the survey",
    )
    parser.add_argument(
        "--members",
        choices=("fixed", "sampled"),
        help="simulate with the same people (default), or with people drawn anew",
    )
    parser.add_argument("--seed", type=seed, help="of the simulation; default 0")
    parser.add_argument("--format", choices=FORMS, default="table")
    return parser


def _counts(words: list[str], column: str | None) -> dict[str, int]:
    """Read the number of answers of each group, by name."""
    if all(word.isdecimal() for word in words):
        if column is not None:
            raise UserError("--column belongs to a file; drop it, or name the file.")
        if long := [w for w in words if len(w) > 16 or int(w) > MAX_ANSWERS]:
            raise UserError(
                f"at most {MAX_ANSWERS:.0e} answers can be counted, got {long[0][:20]}."
            )
        counts = {str(i): int(word) for i, word in enumerate(words)}
    elif len(words) == 1 and Path(words[0]).is_file():
        counts = _count_file(words[0], column)
    else:
        odd = next(word for word in words if not word.isdecimal())
        raise UserError(f"{odd!r} is neither a file nor a count of answers, 0 or more.")
    return counts


def _count_file(path: str, column: str | None) -> dict[str, int]:
    cells = Cells(missing_words=[])  # a group may be called None or NA
    found: Counter[str] = Counter()
    missing = 0
    for part in table_parts(path, 65_536, cells):
        if column not in part.columns:
            raise UserError(
                f"--column must name a column of {path}: {', '.join(map(str, part.columns))}."
            )
        found.update(part[column].dropna())
        missing += int(part[column].isna().sum())
    if missing:
        raise UserError(
            f"{path}: {missing} rows have no {column}; who did not answer is no group. Remove the "
            "rows."
        )
    if len(found) > MAX_GROUPS:
        raise UserError(
            f"{path}: column {column!r} has {len(found)} values, more than {MAX_GROUPS} groups; "
            "name the column of the groups."
        )
    return dict(sorted(found.items()))


def _lines(result: dict[str, Any]) -> tuple[str, str]:
    """Return the sentences above and below the table."""
    before = (
        f"{result['people']:,} people, eps = {result['epsilon']:.4g}: the truth with probability "
        f"{result['truth']:.4f}"
    )
    if "coverage" in result:
        return before, (
            f"{result['trials']:,} surveys ({result['members']} people): smallest share estimated "
            f"at {result['alpha']:.4f} on average, bounded at {result['lower']:.4f}; the bound "
            f"held in {result['coverage']:.1%}, {result['level']:.0%} asked"
        )
    return before, (
        f"smallest share {result['alpha']:.4f}; at least {result['lower']:.4f} with "
        f"{result['level']:.0%} confidence ({result['bound']})"
    )
