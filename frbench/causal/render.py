"""An analysis as blocks of text and tables, for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from frbench.causal.advice import ACTIONS, Recommendation
from frbench.causal.analysis import Analysis, shown
from frbench.causal.evidence import Evidence
from frbench.causal.feasibility import Practice
from frbench.causal.graph import CausalTask
from frbench.causal.independence import candidates, minimal
from frbench.causal.verdicts import Proposition

if TYPE_CHECKING:
    from rich.console import Console

_MAX_STATEMENTS = 20  # rows of the table of independences; json holds all

_KIND = {
    "core": "tied to {y}, not to {z} (X_Z⊥)",
    "entangled": "tied to both (X_Y∧Z)",
    "spurious": "tied to {z}, not to {y} (X_Y⊥)",
    "other": "tied to neither",
}


class Block(NamedTuple):
    """One section: lines of text, or a table if it has columns."""

    title: str
    lines: list[str]
    columns: tuple[str, ...] = ()
    rows: Sequence[tuple[str, ...]] = ()


def blocks(
    found: Analysis, evidence: Evidence | None = None, counts: Practice | None = None
) -> Iterator[Block]:
    """Lay out an analysis, the conclusion first, then what data says of action and graph."""
    z, y = _join(found.task.factor), found.task.label
    yield Block("Recommendation", list(_advice(found.recommendation)))
    if counts and counts.summary:
        yield Block("In practice", counts.summary)
    if evidence:
        yield _evidence(evidence)
    yield _graph(found.task, found.direction)
    yield _parts(found)
    yield _predictors(found)
    yield Block(
        "Penalties",
        [
            "valid: costs no signal of an invariant core and can remove the rest. Only the "
            f"conditional one makes the risk the same for all P'({z} | {y}) by itself; the "
            "marginal one ensures demographic parity only."
        ],
        ("penalty", "on P", "after balancing (Q)"),
        [
            (
                f"{kind}: f(X) ⊥ {z}" + f" | {y}" * (kind == "conditional"),
                *(
                    "valid" if one.valid else "not valid: " + "; ".join(one.objections)
                    for one in (found.regularisers[kind, law] for law in ("P", "Q"))
                ),
            )
            for kind in ("conditional", "marginal")
        ],
    )
    yield Block("Propositions", [_proposition(p) for p in (found.proposition, found.corollary)])
    if found.q_obeys_cut_graph:
        text = "Q has every independence of the graph without undesired edges (G0)."
    else:
        text = f"Q does not obey G0, the graph without undesired edges: {shown(found.violated)}."
    yield Block("Balanced distribution", [text])
    yield _independences(found)


def _advice(advice: Recommendation) -> Iterator[str]:
    name = ACTIONS[advice.action]
    yield f"{name[0].upper()}{name[1:]}."
    yield advice.reason
    if advice.then:
        yield f"With the joint factor: {ACTIONS[advice.then.action]}. {advice.then.reason}"
    caveats = (*advice.caveats, *(advice.then.caveats if advice.then else ()))
    yield from (f"Note: {text}" for text in caveats)


def _graph(task: CausalTask, direction: str) -> Block:
    kept = [">".join(edge) for edge in task.edges if edge not in task.undesired]
    lines = [
        f"label {task.label}, factor {_join(task.factor)}: {direction}",
        f"edges: {_join(kept)}",
    ]
    if task.undesired:
        lines.append(f"undesired: {_join('>'.join(edge) for edge in task.undesired)}")
    if task.latents:
        lines.append(f"hidden: {_join(task.latents)}")
    if task.measured:
        lines.append(f"measured besides: {_join(task.measured)}")
    lines.append(f"may shift: {_join(task.shifting) or 'nothing'}")
    return Block("Graph", lines)


def _parts(found: Analysis) -> Block:
    task, z, y = found.task, found.task.factor, found.task.label
    p, q = found.laws["P"], found.laws["Q"]
    names = _join(z)
    return Block(
        "Parts of X",
        [],
        ("part", "kind", f"⊥ {names} | {y}: P", "Q", f"⊥ {names}: P", "Q"),
        [
            (
                part,
                f"{kind}: {_KIND[kind].format(y=y, z=names)}",
                *(_yes(law.independent(part, z, [y])) for law in (p, q)),
                *(_yes(law.independent(part, z)) for law in (p, q)),
            )
            for part, kind in task.kinds.items()
        ],
    )


def _predictors(found: Analysis) -> Block:
    y = found.task.label
    names = {
        "f_P": f"f_P = E[{y} | X] on P",
        "f_Q": f"f_Q = E[{y} | X] on Q",
        "g": f"g = E[{y} | core] on Q",
    }
    return Block(
        "Predictors",
        [],
        ("predictor", "uses", "same risk under the shift", "DP", "EO", "PP"),
        [
            (
                names[key],
                _join(one.support) or "nothing",
                "yes" if one.invariant else f"no: moved by {_join(one.moved_by)}",
                *map(_yes, one.fairness.values()),
            )
            for key, one in found.predictors.items()
        ],
    )


def _proposition(one: Proposition) -> str:
    if one.holds:
        return f"{one.name} holds: " + " and ".join(p.text for p in one.premises) + "."
    failed = (f"{p.text} fails ({_join(p.broken_by)})" for p in one.failed)
    return f"{one.name} does not apply: " + "; ".join(failed) + "."


def _independences(found: Analysis) -> Block:
    laws = found.laws.values()
    listed = {s for held in found.independences.values() for s in minimal(held)}
    rows = [
        (str(s), *(law.independent(s.a, s.b, s.given) for law in laws))
        for s in sorted(candidates(found.task.observed), key=lambda s: len(s.given))
        if s in listed
    ]
    # The statements on which the distributions differ are what balancing is about.
    rows.sort(key=lambda row: len(set(row[1:])) == 1)
    counts = ", ".join(f"{len(held)} in {name}" for name, held in found.independences.items())
    left = len(rows) - _MAX_STATEMENTS
    lines = [f"{counts}; shown with the smallest conditions"]
    if left > 0:
        lines[0] += f", {left} more rows in --format json"
    return Block(
        "Independences",
        lines,
        ("statement", *found.laws),
        [(str(text), *map(_yes, held)) for text, *held in rows[:_MAX_STATEMENTS]],
    )


def _evidence(evidence: Evidence) -> Block:
    shown = evidence.findings[:_MAX_STATEMENTS]
    lines = list(evidence.summary)
    if left := len(evidence.findings) - len(shown):
        lines.append(f"{left} more tests in --format json; the smallest p-values are shown.")
    return Block(
        "Data",
        lines,
        ("implied", "refuted", "p", "Holm", "effect", "detectable", "rows", "strata", "test"),
        [
            (
                str(one.statement),
                "REFUTED" if one.refuted else "low power" if one.low_power else "not refuted",
                f"{one.outcome.p:.2g}",
                f"{one.adjusted:.2g}",
                f"{one.outcome.effect:.2f}",
                f"{one.detectable:.2f}",
                str(one.outcome.rows),
                f"{one.outcome.strata} (>= {one.outcome.smallest})",
                one.outcome.method,
            )
            for one in shown
        ],
    )


def to_markdown(
    found: Analysis, evidence: Evidence | None = None, counts: Practice | None = None
) -> str:
    """Write an analysis as Markdown."""
    out = [f"# {_title(found.task)}"]
    for block in blocks(found, evidence, counts):
        out.append(f"## {block.title}")
        if block.lines:
            out.append("\n\n".join(map(_plain, block.lines)))
        if block.columns:
            table = [block.columns, ("---",) * len(block.columns), *block.rows]
            out.append("\n".join("| " + " | ".join(map(_plain, row)) + " |" for row in table))
    return "\n\n".join(out) + "\n"


def show(
    found: Analysis,
    console: Console,
    evidence: Evidence | None = None,
    counts: Practice | None = None,
) -> None:
    """Print an analysis for people."""
    from rich import box
    from rich.markup import escape
    from rich.panel import Panel
    from rich.table import Table

    console.print(f"[bold]{escape(_title(found.task))}")
    for block in blocks(found, evidence, counts):
        if block.title == "Recommendation":
            first, *rest = map(escape, block.lines)
            color = "green" if found.recommendation.certified else "yellow"
            text = "\n".join([f"[bold {color}]{first}[/]", *rest])
            console.print(Panel(text, title=block.title, title_align="left", border_style=color))
            continue
        console.print(f"\n[bold]{block.title}")
        for line in block.lines:
            console.print(f"  {escape(line)}")
        if block.columns:
            table = Table(box=box.SIMPLE_HEAD, pad_edge=True, show_edge=False)
            for column in block.columns:
                table.add_column(escape(column))
            for row in block.rows:
                table.add_row(*(_color(escape(cell)) for cell in row))
            console.print(table)
    console.print(
        "\n[dim]DP: f ⊥ factor, EO: f ⊥ factor given label, PP: label ⊥ factor given f; each on "
        "the distribution that f is fitted on."
    )


def _title(task: CausalTask) -> str:
    return task.name + f": {task.note}" * bool(task.note)


def _join(names: Iterable[str]) -> str:
    return ", ".join(names)


def _yes(value: object) -> str:
    return "yes" if value else "no"


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("_", "\\_").replace("*", "\\*")


def _color(cell: str) -> str:
    if cell in ("yes", "valid"):
        return f"[green]{cell}[/]"
    return (
        f"[red]{cell}[/]"
        if cell in ("no", "REFUTED") or cell.startswith(("no:", "not valid"))
        else cell
    )
