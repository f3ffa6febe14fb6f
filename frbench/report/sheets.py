"""The tables of a report and the statements below them, before they have a format."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from frbench.metrics.positive import about_positive, named_classes
from frbench.report.information import EQUAL, told_of, use_of
from frbench.report.interval import Estimate
from frbench.report.results import Run
from frbench.report.signatures import signatures
from frbench.report.significance import ALPHA, corrected, show_p
from frbench.report.summary import Report, Row, Spread
from frbench.support.sheet import Cell, Sheet, Value


def sheets(report: Report, metrics: Sequence[str], grouped: bool = False) -> list[Sheet]:
    """Lay out leaderboard and differences of each test table, and the choices of each data set.

    Args:
        report: The report.
        metrics: Columns, names without split and table.
        grouped: Whether methods that read the attribute in different parts have a leaderboard
            each.
    """
    oracle = "ORACLE (settings chosen on test data): " if report.rule.oracle else ""
    names = [metric.replace("_", " ") for metric in metrics]
    out = []
    for data, tables in report.tables.items():
        rows = [row for row in report.rows if row.data == data]
        for table in tables:
            keys = [f"{table}/{metric}" for metric in metrics]
            title = f"{oracle}{data}, {table.replace('/', ' ')}"
            told = any(told_of(row.runs) for row in rows)
            use = {row.method: use_of(row.runs, report.rule) for row in rows}
            header = ["method", *(["attribute read in"] * told), "n", *names]
            uses = dict.fromkeys(sorted(use.values(), key=len))
            for kind in uses if grouped and told else [None]:
                here = [row for row in rows if kind is None or use[row.method] == kind]
                lines = _leaderboard(report, here, keys, told)
                of = "" if kind is None else f"; attribute read in {', '.join(kind) or 'nothing'}"
                out.append(Sheet(title + of, header, lines))
            if lines := _differences(report, rows, keys):
                versus = f"{title}: difference to {reference(report)}"
                own = ["baseline"] * (report.baseline == EQUAL)
                out.append(Sheet(versus, ["method", *own, "n", *names], lines))
        if all(row.given == 1 for row in rows):
            continue
        lines = [
            [row.method, row.given, row.runs[0].setting, cell(row.rule, spread=report.spread)]
            for row in rows
        ]
        header = ["method", "settings", "chosen", report.rule.text.replace("_", " ")]
        out.append(Sheet(f"{oracle}{data}: chosen settings", header, lines))
    return out


def reference(report: Report) -> str:
    """Name what the methods are compared with."""
    equal = "the best baseline of equal information"
    return equal if report.baseline == EQUAL else str(report.baseline)


def _leaderboard(
    report: Report, rows: Sequence[Row], keys: Sequence[str], told: bool
) -> list[list[Value]]:
    """Sort the methods by the first metric; the best values of each metric stand out."""
    lines: list[list[Value]] = []
    for row in ranked(rows, keys[0], report.direction(keys[0])):
        n = max((row.metrics[key].n for key in keys), default=0)
        shown = [cell(row.metrics[key], n, spread=report.spread) for key in keys]
        bold = ["bold" * (key in row.leads) for key in keys]
        cells = [c._replace(style=style) for c, style in zip(shown, bold, strict=True)]
        use = [", ".join(use_of(row.runs, report.rule)) or "nothing"] * told
        lines.append([label(row), *use, n, *cells])
    return lines


def label(row: Row) -> str:
    """Name a method as a leaderboard does."""
    marks = " (oracle checkpoint)" * row.oracle + " (checkpoint rule never moved)" * bool(
        row.unmoved
    )
    return row.method + marks


def ranked(rows: Sequence[Row], key: str, sign: int) -> list[Row]:
    """Sort methods by a metric of direction `sign`, the best first, those without it last."""

    def rank(row: Row) -> float:
        value = (sign or 1) * row.metrics[key].mean
        return math.inf if math.isnan(value) else -value

    return sorted(rows, key=rank)


def _differences(report: Report, rows: Sequence[Row], keys: Sequence[str]) -> list[list[Value]]:
    """List the paired differences; those that the corrected p-value tells from 0 stand out."""
    lines: list[list[Value]] = []
    p_values = {key: corrected(rows, key) for key in keys}
    for row in rows:
        if row.differences:
            n = max(row.differences[key].n for key in keys)
            cells = []
            for key in keys:
                shown, p = (
                    cell(row.differences[key], n, True, report.spread),
                    p_values[key][row.method],
                )
                beside = shown.text if math.isnan(p) else f"{shown.text}, {show_p(p)}"
                cells.append(shown._replace(text=beside, style="bold" * (p < ALPHA)))
            own = [row.against] * (report.baseline == EQUAL)
            lines.append([row.method, *own, n, *cells])
    return lines


def cell(
    found: Estimate, n: int | None = None, signed: bool = False, spread: Spread = "both"
) -> Cell:
    """Show an estimate; its number of values too where that differs from the row's."""
    if not found.n:
        return Cell("–")
    few = f" (n={found.n})" if n is not None and found.n != n else ""
    if found.n == 1:
        return Cell(show(found.mean, signed) + few)
    interval = f"[{show(found.low, signed)}, {show(found.high, signed)}]"
    width = found.sd / math.sqrt(found.n) if spread == "se" else found.sd
    around = "" if spread == "interval" else f" ± {width:.3f}"
    beside = (interval,) if spread in ("both", "interval") else ()
    return Cell(f"{show(found.mean, signed)}{around}{few}", *beside)


def said_of(spread: Spread) -> str:
    """Say what stands beside a mean, ``{seeds}`` for what it is over."""
    interval = "95 % t-interval of the mean, cut where no value can be (0 and 1)"
    sd = "sd of one run with n − 1 in the denominator"
    if spread == "interval":
        return f"mean over n {{seeds}} and {interval}"
    if spread == "se":
        return f"mean ± standard error over n {{seeds}}, {sd} over the square root of n"
    return f"mean ± sd over n {{seeds}}, {sd}" + f"; {interval}" * (spread == "both")


def show(value: float, signed: bool = False) -> str:
    """Write a number with three decimals and a true minus sign."""
    return f"{value:{'+' if signed else ''}.3f}".replace("-", "−")


def footer(report: Report) -> list[str]:
    """State the protocol, then everything that the reader must know, then the cost."""
    lines = protocol(report)
    if any(row.differences for row in report.rows):
        lines.append(
            f"Differences to {reference(report)} are paired by seed or fold. The p-value decides: "
            "two-sided paired t-test, corrected by Holm's method for the methods compared on a "
            f"metric of a table; bold: p < {ALPHA:g}. Intervals are not corrected."
        )
    lines += report.notes
    lines += list(_sanity(report))
    lines += [f"SIGNATURE {seen}" for seen in signatures(report)]
    failed = [run for run in report.runs if run.error is not None]
    lines += [f"FAILED {run.name}: {run.error}" for run in failed]
    return [*lines, *_checkpoints(report), cost(report)]


def _checkpoints(report: Report) -> Iterator[str]:
    """Say where the models of the chosen settings lie, if they still do."""
    files = {
        f"{row.data} {row.method}": row.runs[0].folder / "checkpoints" / "best.ckpt"
        for row in report.rows
    }
    if there := [f"{name} {file}" for name, file in files.items() if file.is_file()]:
        yield (
            f"Checkpoints of the chosen settings, first run of each: {'; '.join(there[:12])}. "
            "Others: --format json lists the folders below runs/ (`cells`)."
        )


def protocol(report: Report) -> list[str]:
    """State how settings were chosen and what the values are."""
    rule = report.rule
    shown = [run for row in report.rows for run in row.runs]
    split = "TEST" if rule.oracle else "validation"
    sense = "highest" if rule.sign > 0 else "lowest"
    monitors = ", ".join(sorted({run.monitor for run in shown}))
    tried = "see chosen settings" if any(row.given > 1 for row in report.rows) else "one each"
    seeds = ", ".join(str(seed) for seed in sorted({run.seed for run in shown}) if seed >= 0)
    least = sorted({n for run in shown if (n := run.min_group_rows)})
    rare = [
        f"Groups of fewer than {' or '.join(map(str, least))} rows take no part in worst_group_* "
        "and the gaps (all do where fewer than two have as many); rare_groups_accuracy is theirs "
        "together."
    ]
    phases = next((run.phases for run in shown if run.phases), None)
    return [
        *_positive(shown),
        *rare[: len(least)],
        *([_two_phases(phases)] if phases else []),
        f"Settings: of those given to a method ({tried}), the one with the {sense} mean "
        f"{rule.text} on {split} data; only its test metrics are shown. Checkpoint inside a run: "
        f"{monitors}.",
        f"Values: {said_of(report.spread).format(seeds=f'seeds ({seeds})')}; bold: the "
        "best, and what is not clearly behind it, if anything is (the interval of paired "
        "differences leaves out 0). Undefined values (NaN, infinite) are left out, and n says so.",
    ]


def _positive(runs: Sequence[Run]) -> Iterator[str]:
    """Say of each data set what its positive class is."""
    lines = {run.data: about_positive(named_classes(run.metrics)) for run in runs}
    for data, line in lines.items():
        if line:
            yield f"{data}: {line}." if len(lines) > 1 else f"{line[0].upper()}{line[1:]}."


def _two_phases(phases: dict[str, Any]) -> str:
    """Say which runs chose the settings, and which are shown."""
    search, final = (", ".join(map(str, phases[name])) for name in ("search", "final"))
    both = sorted({*phases["search"]} & {*phases["final"]})
    shared = f" Of these, {', '.join(map(str, both))} took part in the search." if both else ""
    return (
        f"Two phases: the runs of the search (seeds {search}) chose the settings; every value "
        f"shown is of the chosen setting's runs on the final seeds ({final}) alone.{shared}"
    )


def cost(report: Report) -> str:
    """State how many runs there are and what they took."""
    runs = report.runs
    failed = sum(run.error is not None for run in runs)
    memory = max(run.memory for run in runs)
    return (
        f"{len(runs)} runs, {failed} failed; {duration(sum(run.seconds for run in runs))} "
        f"of computing, peak memory {memory:.0f} MB."
    )


def _sanity(report: Report) -> Iterator[str]:
    """Count the sanity warnings of each method, in the runs shown and in all."""
    shown = {id(run) for row in report.rows for run in row.runs}
    arms: dict[tuple[str, str], list[Run]] = {}
    for run in report.runs:
        arms.setdefault((run.data, run.method), []).append(run)
    for (data, method), runs in arms.items():
        total = Counter(name for run in runs for name in run.warnings)
        here = Counter(name for run in runs if id(run) in shown for name in run.warnings)
        here_all = sum(id(run) in shown for run in runs)
        for name, count in total.items():
            fired = [run for run in runs if name in run.warnings]
            first = min(fired, key=lambda run: id(run) not in shown)
            yield (
                f"WARNING {data} {method}: {name} in {here[name]} of the {here_all} runs shown, "
                f"{count} of all {len(runs)}; seed {first.seed}: {first.warnings[name]}"
            )


def duration(seconds: float) -> str:
    """Write a time in minutes and seconds, long ones in hours and minutes."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
