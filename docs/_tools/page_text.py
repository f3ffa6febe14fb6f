"""The results of a grid as Markdown: how it was run, predictions, published numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from claims import Outcome
from page import Measured, Page, number, spread

from frbench.report.interval import Estimate
from frbench.report.results import Run
from frbench.report.sheets import duration
from frbench.support.sheet import Sheet, Value


def section(page: Page, runs: Sequence[Run], grid: str, files: Mapping[str, str]) -> str:
    """Write the commands, conditions, misses and published numbers of a grid.

    Args:
        page: What the grid says of its results.
        runs: Its runs.
        grid: Path of the grid, as it stands in the command.
        files: Where the tables of `sheets` stand, by their names.
    """
    measured = Measured(page, runs)
    blocks = [
        f"#### {page.title or grid}",
        "```\n" + "\n".join(page.commands or [f"frbench bench {grid}"]) + "\n```",
        " ".join([conditions(runs), *measured.notes]),
    ]
    outcomes = measured.outcomes()
    if outcomes:
        blocks.append(f"[Predictions]({files['predictions']}): {tally(outcomes)}.")
        if missed := [outcome for outcome in outcomes if not outcome.hit]:
            blocks.append("\n".join(_missed(outcome) for outcome in missed))
    if page.published:
        far = farthest(measured)
        blocks.append(f"[Published numbers]({files['published']}): {page.source}; {far}.")
    if page.reason:
        blocks.append(page.reason.strip())
    return "\n\n".join(blocks)


def _missed(outcome: Outcome) -> str:
    claim, found = outcome
    interval = f" [{number(found.low)}, {number(found.high)}]" if found.n > 1 else ""
    measured = f": measured {spread(found)}{interval}" if found.n else ""
    return f"- {verdict(outcome)}: {claim.text}, `{claim.expression}`{measured}"


def sheets(page: Page, runs: Sequence[Run]) -> Iterator[tuple[str, Sheet]]:
    """Yield the name and the content of each table that a grid's section links to."""
    measured = Measured(page, runs)
    if page.claims:
        yield "predictions", predictions(measured)
    if page.published:
        yield "published", published(measured)


def how(runs: Sequence[Run]) -> str:
    """Say how many runs there were, and on what they ran."""
    failed = [run for run in runs if run.error is not None]
    seeds = {run.seed for run in runs}
    folds = {run.fold for run in runs if run.fold is not None}
    words = [f"{len(runs)} runs", f"seed{'s' * (len(seeds) > 1)} {_ranges(seeds)}"]
    words += [f"{len(folds)} folds"] if folds else []
    words += [f"{duration(sum(run.seconds for run in runs))} of computing"]
    words += [f"{len(failed)} failed"] if failed else []
    places = sorted({run.hardware for run in runs if run.hardware})
    return f"{', '.join(words)}, on {'; '.join(places) or 'hardware that was not recorded'}."


def conditions(runs: Sequence[Run]) -> str:
    """Say what chose the checkpoint inside a run."""
    monitors = sorted({run.monitor for run in runs if run.error is None})
    return f"Checkpoint inside a run: {', '.join(monitors)}."


def _ranges(numbers: Iterable[int]) -> str:
    """Write numbers, consecutive ones as a range.

    Example:
        >>> _ranges([1, 10, 11, 12])
        '1, 10 to 12'
    """
    runs: list[list[int]] = []
    for value in sorted(numbers):
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]} to {r[-1]}" for r in runs)


def predictions(measured: Measured) -> Sheet:
    """Lay out each prediction beside what came out."""
    lines: list[list[Value]] = [
        [claim.text, claim.expression, *_rounded(found, intervals=True), found.n, verdict(outcome)]
        for outcome in measured.outcomes()
        for claim, found in [outcome]
    ]
    columns = ["prediction", "rule", "measured", "sd", "low", "high", "n", "outcome"]
    return Sheet("", columns, lines)


def _rounded(found: Estimate, intervals: bool = False) -> list[Value]:
    values = [found.mean, found.sd, *([found.low, found.high] if intervals else [])]
    several = found.n > 1
    return [
        float(f"{x:.6g}") if x == x and (several or i == 0) else None for i, x in enumerate(values)
    ]


def verdict(outcome: Outcome) -> str:
    """Write hit or miss."""
    return {True: "hit", False: "miss", None: "not run"}[outcome.hit]


def tally(outcomes: Sequence[Outcome]) -> str:
    """Count the predictions that hold; one of several rules holds if all of them do.

    Example:
        >>> tally([])
        ''
    """
    whole: dict[str, bool | None] = {}
    for outcome in outcomes:
        before = whole.get(outcome.claim.text, True)
        both = (before, outcome.hit)
        whole[outcome.claim.text] = None if None in both else all(both)
    hits, missing = (sum(hit is value for hit in whole.values()) for value in (True, None))
    if not whole:
        return ""
    return f"{hits} of {len(whole)} hit" + (f", {missing} not run" if missing else "")


def published(measured: Measured) -> Sheet:
    """Lay out each published number beside the measured one."""
    lines: list[list[Value]] = []
    for given in measured.page.published:
        data = given.data or measured.data[0]
        found = measured.estimate(data, given.method, given.metric)
        theirs = Estimate(given.mean, given.sd, 1 if given.sd != given.sd else 2, 0, 0)
        gap = None if math.isnan(found.mean) else float(f"{found.mean - given.mean:.6g}")
        lines.append([data, given.method, given.metric, *_rounded(found), *_rounded(theirs), gap])
    columns = ["data", "row", "metric", "measured", "sd", "published", "published sd"]
    return Sheet("", [*columns, "difference"], lines)


def farthest(measured: Measured) -> str:
    """Name the published number that lies farthest from what was measured."""
    gaps = []
    for given in measured.page.published:
        found = measured.estimate(given.data or measured.data[0], given.method, given.metric)
        if found.n:
            name = " ".join(filter(None, (given.data, given.method, given.metric)))
            gaps.append((abs(found.mean - given.mean), name))
    if not gaps:
        return ""
    gap, name = max(gaps)
    return f"{len(gaps)} compared, farthest {number(gap)} ({name})"


def rows(measured: Measured) -> Sheet:
    """Lay out mean and standard deviation of every metric, a line per data set and row."""
    metrics = list(measured.page.metrics)
    lines: list[list[Value]] = []
    for data, name in measured.rows:
        found = [measured.estimate(data, name, metric) for metric in metrics]
        n = max((e.n for e in found), default=0)
        numbers = [x for e in found for x in (e.mean, e.sd)]
        lines.append([data, name, n, *(float(f"{x:.6g}") if x == x else None for x in numbers)])
    columns = [name for metric in metrics for name in (metric, f"{metric} sd")]
    return Sheet("", ["data", "row", "n", *columns], lines)


def table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    r"""Write a Markdown table.

    Example:
        >>> print(table(["a", "b"], [["x|y", "1"]]))
        | a | b |
        |---|---|
        | x\|y | 1 |
    """
    rows = [[re.sub(r"\|", r"\\|", cell) for cell in line] for line in [header, *lines]]
    text = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([text[0], "|" + "---|" * len(header), *text[1:]])
