"""An analysis as sheets of sentences and tables, for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from frbench.causal.advice import ACTIONS, Recommendation
from frbench.causal.analysis import Analysis, shown
from frbench.causal.evidence import Evidence
from frbench.causal.feasibility import Practice
from frbench.causal.graph import CausalTask
from frbench.causal.independence import minimal
from frbench.causal.verdicts import Proposition
from frbench.support.sheet import Cell, Sheet, document

_MAX_STATEMENTS = 20  # rows of the table of independences; json holds all

_KIND = {
    "core": "tied to {y}, not to {z} (X_Z⊥)",
    "entangled": "tied to both (X_Y∧Z)",
    "spurious": "tied to {z}, not to {y} (X_Y⊥)",
    "other": "tied to neither",
}


def render(
    found: Analysis,
    form: str,
    evidence: Evidence | None = None,
    counts: Practice | None = None,
    color: bool = False,
) -> str:
    """Write an analysis as text.

    Args:
        found: The analysis.
        form: table or markdown.
        evidence: What data says of the graph's independences.
        counts: What data says of the recommended action.
        color: Whether tables may hold terminal codes.
    """
    title = found.task.name + f": {found.task.note}" * bool(found.task.note)
    return document(sheets(found, evidence, counts), form, title, color)


def sheets(
    found: Analysis, evidence: Evidence | None = None, counts: Practice | None = None
) -> Iterator[Sheet]:
    """Lay out an analysis, the conclusion first, then what data says of action and graph."""
    z, y = _join(found.task.attribute), found.task.label
    color = "green" if found.recommendation.certified else "yellow"
    action, *reasons = _advice(found.recommendation)
    yield Sheet("Recommendation", lines=[Cell(action, style=f"bold {color}"), *reasons])
    if counts and counts.summary:
        yield Sheet("In practice", lines=counts.summary)
    if evidence:
        yield _evidence(evidence)
    yield _graph(found.task, found.direction)
    yield _parts(found)
    yield _predictors(found)
    yield Sheet(
        "Penalties",
        ("penalty", "on P", "after balancing (Q)"),
        [
            (
                f"{kind}: f(X) ⊥ {z}" + f" | {y}" * (kind == "conditional"),
                *(
                    _verdict(one.valid, "valid", "not valid: " + "; ".join(one.objections))
                    for one in (found.regularisers[kind, law] for law in ("P", "Q"))
                ),
            )
            for kind in ("conditional", "marginal")
        ],
        [
            "valid: costs no signal of an invariant core and can remove the rest. Only the "
            f"conditional one makes the risk the same for all P'({z} | {y}) by itself; the "
            "marginal one ensures demographic parity only."
        ],
    )
    lines = [_proposition(p) for p in (found.proposition, found.corollary)]
    yield Sheet("Propositions", lines=lines)
    if found.q_obeys_cut_graph:
        every = "every listed independence" if found.left_out else "every independence"
        text = f"Q has {every} of the graph without undesired edges (G0)."
    else:
        text = f"Q does not obey G0, the graph without undesired edges: {shown(found.violated)}."
    yield Sheet("Balanced distribution", lines=[text])
    yield _independences(found)


def _advice(advice: Recommendation) -> Iterator[str]:
    name = ACTIONS[advice.action]
    yield f"{name[0].upper()}{name[1:]}."
    yield advice.reason
    if advice.then:
        yield f"With the joint attribute: {ACTIONS[advice.then.action]}. {advice.then.reason}"
    caveats = (*advice.caveats, *(advice.then.caveats if advice.then else ()))
    yield from (f"Note: {text}" for text in caveats)


def _graph(task: CausalTask, direction: str) -> Sheet:
    kept = [">".join(edge) for edge in task.edges if edge not in task.undesired]
    lines = [
        f"label {task.label}, attribute {_join(task.attribute)}: {direction}",
        f"edges: {_join(kept)}",
    ]
    if task.undesired:
        lines.append(f"undesired: {_join('>'.join(edge) for edge in task.undesired)}")
    if task.latents:
        lines.append(f"hidden: {_join(task.latents)}")
    if task.measured:
        lines.append(f"measured besides: {_join(task.measured)}")
    lines.append(f"may shift: {_join(task.shifting) or 'nothing'}")
    return Sheet("Graph", lines=lines)


def _parts(found: Analysis) -> Sheet:
    task, z, y = found.task, found.task.attribute, found.task.label
    p, q = found.laws["P"], found.laws["Q"]
    names = _join(z)
    return Sheet(
        "Parts of X",
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


def _predictors(found: Analysis) -> Sheet:
    y = found.task.label
    names = {
        "f_P": f"f_P = E[{y} | X] on P",
        "f_Q": f"f_Q = E[{y} | X] on Q",
        "g": f"g = E[{y} | core] on Q",
    }
    return Sheet(
        "Predictors",
        ("predictor", "uses", "same risk under the shift", "DP", "EO", "PP"),
        [
            (
                names[key],
                _join(one.support) or "nothing",
                _verdict(one.invariant, "yes", f"no: moved by {_join(one.moved_by)}"),
                *map(_yes, one.fairness.values()),
            )
            for key, one in found.predictors.items()
        ],
        [
            "DP: f ⊥ attribute, EO: f ⊥ attribute given label, PP: label ⊥ attribute given f; "
            "each on the distribution that f is fitted on."
        ],
    )


def _proposition(one: Proposition) -> str:
    if one.holds:
        return f"{one.name} holds: " + " and ".join(p.text for p in one.premises) + "."
    failed = (f"{p.text} fails ({_join(p.broken_by)})" for p in one.failed)
    return f"{one.name} does not apply: " + "; ".join(failed) + "."


def _independences(found: Analysis) -> Sheet:
    held = {name: frozenset(statements) for name, statements in found.independences.items()}
    place = {node: i for i, node in enumerate(found.task.observed)}
    listed = {s for statements in found.independences.values() for s in minimal(statements)}
    rows = [
        (str(s), *(s in statements for statements in held.values()))
        for s in sorted(
            listed, key=lambda s: (len(s.given), [place[n] for n in (s.a, s.b, *s.given)])
        )
    ]
    # The statements on which the distributions differ are what balancing is about.
    rows.sort(key=lambda row: len(set(row[1:])) == 1)
    counts = ", ".join(f"{len(held)} in {name}" for name, held in found.independences.items())
    left = len(rows) - _MAX_STATEMENTS
    lines = [f"{counts}; shown with the smallest conditions"]
    if left > 0:
        lines[0] += f", {left} more rows in --format json"
    if found.left_out:
        lines[0] += f"; {found.left_out}"
    return Sheet(
        "Independences",
        ("statement", *found.laws),
        [(str(text), *map(_yes, held)) for text, *held in rows[:_MAX_STATEMENTS]],
        lines,
    )


def _evidence(evidence: Evidence) -> Sheet:
    shown = evidence.findings[:_MAX_STATEMENTS]
    lines = list(evidence.summary)
    if left := len(evidence.findings) - len(shown):
        lines.append(f"{left} more tests in --format json; the smallest p-values are shown.")
    return Sheet(
        "Data",
        ("implied", "refuted", "p", "Holm", "effect", "detectable", "rows", "strata", "test"),
        [
            (
                str(one.statement),
                Cell("REFUTED", style="red")
                if one.refuted
                else "low power"
                if one.low_power
                else "not refuted",
                f"{one.outcome.p:.2g}",
                f"{one.adjusted:.2g}",
                one.outcome.effect,
                one.detectable,
                one.outcome.rows,
                f"{one.outcome.strata} (>= {one.outcome.smallest})",
                one.outcome.method,
            )
            for one in shown
        ],
        lines,
        digits=2,
    )


def _join(names: Iterable[str]) -> str:
    return ", ".join(names)


def _verdict(value: object, yes: str, no: str) -> Cell:
    return Cell(yes, style="green") if value else Cell(no, style="red")


def _yes(value: object) -> Cell:
    return _verdict(value, "yes", "no")
