"""Verdicts on single predictors, penalties and propositions of a causal task."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import networkx as nx

from frbench.causal.graph import CausalTask
from frbench.causal.independence import IndependenceModel

#: Fairness criteria of a predictor f(A), each an independence; names as in `frbench.metrics`.
CRITERIA = ("demographic_parity", "equalized_odds", "predictive_parity")


@dataclass(frozen=True)
class Premise:
    """One condition of a proposition, and what breaks it."""

    text: str
    broken_by: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether nothing breaks the premise."""
        return not self.broken_by


@dataclass(frozen=True)
class Proposition:
    """A sufficient condition for balancing, with its premises."""

    name: str
    premises: tuple[Premise, ...]

    @property
    def holds(self) -> bool:
        """Whether all premises hold."""
        return all(premise.holds for premise in self.premises)

    @property
    def failed(self) -> tuple[Premise, ...]:
        """The premises that do not hold."""
        return tuple(premise for premise in self.premises if not premise.holds)


@dataclass(frozen=True)
class Predictor:
    """A predictor E[Y | support] and what is known of it.

    Attributes:
        name: ``f_P`` and ``f_Q`` are E[Y | X] of P and Q, ``g`` sees the core parts only.
        law: The distribution on which it is fitted and its fairness is stated.
        support: The parts of X that it uses.
        moved_by: Shifting mechanisms that move the law of (support, Y); none: its risk is the
            same in every member of the family, for every loss.
        fairness: Whether each of :data:`CRITERIA` holds.
    """

    name: str
    law: str
    support: tuple[str, ...]
    moved_by: tuple[str, ...]
    fairness: dict[str, bool]

    @property
    def invariant(self) -> bool:
        """Whether the risk-invariance certificate holds."""
        return not self.moved_by


@dataclass(frozen=True)
class Regulariser:
    """Whether a penalty on f(X) ⊥ Z (marginal) or f(X) ⊥ Z | Y (conditional) does what it should.

    Valid means that it costs no signal of an invariant core and can remove all else that shifts.
    Only the conditional constraint makes the risk the same for all P'(Z | Y) by itself; the
    marginal one ensures no more than demographic parity (C.5-C.7 of arXiv 2406.17433).

    Attributes:
        penalty: ``conditional`` or ``marginal``.
        law: ``P``: without balancing; ``Q``: after it.
        keeps_core: Whether the core parts satisfy the constraint, so that it costs no signal.
        untouched: Parts besides the core that satisfy it too: the penalty cannot remove them.
        objections: Why it is not valid, in words; none: it is valid.
    """

    penalty: str
    law: str
    keeps_core: bool
    untouched: tuple[str, ...]
    objections: tuple[str, ...]

    @property
    def valid(self) -> bool:
        """Whether there is no objection."""
        return not self.objections


def support(task: CausalTask, law: IndependenceModel) -> tuple[str, ...]:
    """Return the smallest A among the parts with Y ⊥ X without A | A."""
    parts = set(task.parts)
    # P and Q are positive: the parts on which Y depends given all others separate it from them.
    return tuple(p for p in task.parts if not law.independent(task.label, p, parts - {p}))


def _moved_by(task: CausalTask, support: Iterable[str]) -> tuple[str, ...]:
    """Return the shifting mechanisms that can change the law of (support, Y).

    Each mechanism has a root of its own, whose value stands for the member of the family. Where
    no path leads from it, all members share that law, hence the risk; a path leads from it to
    the node and its descendants. For a causal task the family moves P(Z | causes of Z), not
    P(Z | Y): under the latter nothing would be invariant.
    """
    seen = {task.label, *support}
    return tuple(
        node
        for node in task.shifting
        if not seen.isdisjoint({node} | nx.descendants(task.graph, node))
    )


def predictor(
    task: CausalTask,
    name: str,
    law: str,
    models: dict[str, IndependenceModel],
    support: tuple[str, ...],
) -> Predictor:
    """Judge E[Y | support], fitted on the given law."""
    model = models[law]
    return Predictor(
        name,
        law,
        support,
        _moved_by(task, support),
        {
            "demographic_parity": model.independent(support, task.attribute),
            "equalized_odds": model.independent(support, task.attribute, [task.label]),
            "predictive_parity": model.independent(task.label, task.attribute, support),
        },
    )


def regulariser(
    task: CausalTask, penalty: str, name: str, law: IndependenceModel, core: Predictor
) -> Regulariser:
    """Judge a penalty on one law; ``core`` is the predictor that it should lead to."""
    given = [task.label] if penalty == "conditional" else []
    attribute = ", ".join(task.attribute)
    condition = f" | {task.label}" * bool(given)
    keeps_core = law.independent(core.support, task.attribute, given)
    rest = [part for part in task.parts if part not in core.support]
    untouched = tuple(part for part in rest if law.independent(part, task.attribute, given))
    others = [node for node in task.shifting if node not in task.attribute]
    objections = []
    if not core.support:
        objections.append(f"no part of X carries {task.label} without {attribute}")
    elif not keeps_core:
        objections.append(
            f"destroys signal: not {', '.join(core.support)} ⊥ {attribute}{condition} in {name}"
        )
    if untouched:
        objections.append(f"leaves {', '.join(untouched)}, independent of {attribute}{condition}")
    if others:
        objections.append(f"{', '.join(others)} shifts too")
    if core.support and not core.invariant and not others:
        objections.append(
            f"even the core is not invariant: {', '.join(core.moved_by)} moves {task.label}"
        )
    return Regulariser(penalty, name, keeps_core, untouched, tuple(objections))


def proposition(task: CausalTask, law: IndependenceModel) -> Proposition:
    """Proposition 4.2: X_Z⊥ ⊥_Q Z | Y and X_Z⊥ sufficient in Q."""
    core, y = task.of_kind("core"), task.label
    rest = [part for part in task.parts if part not in core]
    z, xz = ", ".join(task.attribute), ", ".join(core)
    tied = tuple(c for c in core if not law.independent(c, task.attribute, [y]))
    used = tuple(r for r in rest if not law.independent(y, r, core))
    if not used and not law.independent(y, rest, core):
        used = tuple(rest)
    premises = (
        Premise(f"{xz} ⊥ {z} | {y} in Q", tied),
        Premise(f"{xz} is sufficient for {y} in Q", used),
    )
    return Proposition("Proposition 4.2", premises if core else _no_core(task))


def corollary(task: CausalTask, law: IndependenceModel) -> Proposition:
    """Corollary 4.3: R ⊥_P {Y, X_Z⊥} | Z and X_Z⊥ ⊥_P Z | Y, with R all parts but X_Z⊥."""
    core, y = task.of_kind("core"), task.label
    rest = [part for part in task.parts if part not in core]
    z, xz = ", ".join(task.attribute), ", ".join(core)
    linked = tuple(r for r in rest if not law.independent(r, (y, *core), task.attribute))
    tied = tuple(c for c in core if not law.independent(c, task.attribute, [y]))
    premises = (
        Premise(f"{', '.join(rest) or 'nothing else'} ⊥ {y}, {xz} | {z} in P", linked),
        Premise(f"{xz} ⊥ {z} | {y} in P", tied),
    )
    return Proposition("Corollary 4.3", premises if core else _no_core(task))


def _no_core(task: CausalTask) -> tuple[Premise, ...]:
    text = f"some part of X is tied to {task.label} and not to {', '.join(task.attribute)}"
    return (Premise(text, task.parts),)
