"""From the findings on a graph to one recommended action with its reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from frbench.causal.graph import CausalTask

#: Actions and their one-line names.
ACTIONS = {
    "erm": "train on P as it is",
    "joint_balancing": "balance jointly over label and attribute",
    "extra_factor": "balance or regularise over a further factor too",
    "conditional_mmd": "penalise dependence of f(X) on the attribute given the label",
    "marginal_mmd_without_balancing": "do not balance: penalise dependence of f(X) on the "
    "attribute",
    "none": "no mitigation has a certificate",
}


@dataclass(frozen=True)
class Recommendation:
    """What to do, and why.

    Attributes:
        action: One of :data:`ACTIONS`.
        certified: Whether the graph guarantees that the action can reach a risk-invariant model.
        reason: Why this action.
        caveats: What the certificate does not say.
        extra: Nodes to measure and to balance together with the attribute (``extra_factor``).
        then: The recommendation once they are part of the attribute.
    """

    action: str
    certified: bool
    reason: str
    caveats: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    then: Recommendation | None = None

    def to_dict(self) -> dict[str, Any]:
        """Write the recommendation as plain data."""
        return {
            "action": self.action,
            "certified": self.certified,
            "reason": self.reason,
            "caveats": list(self.caveats),
            "extra": list(self.extra),
            "then": self.then.to_dict() if self.then else None,
        }


@dataclass(frozen=True)
class Findings:
    """The findings that the decision needs.

    Attributes:
        task: The task.
        supports: Parts used by ``f_P`` and ``f_Q``.
        moved_by: Mechanisms that break the certificate of ``f_P``, ``f_Q`` and ``g``.
        untouched: Parts besides the core that the conditional penalty on P cannot remove.
        conditional: Whether the core is independent of Z given Y in P.
        marginal: Whether the core is independent of Z in P.
        common_cause: Whether label and core share a hidden cause (label noise).
    """

    task: CausalTask
    supports: dict[str, tuple[str, ...]]
    moved_by: dict[str, tuple[str, ...]]
    untouched: tuple[str, ...]
    conditional: bool
    marginal: bool
    common_cause: bool


def recommend(
    found: Findings, again: Callable[[tuple[str, ...]], Recommendation]
) -> Recommendation:
    """Choose the action for a task.

    Source: the actions of Table 1 of arXiv 2406.17433, extended by certificates: a model that
    needs no mitigation, graphs without any certificate, and a second pass with a joint attribute.

    Args:
        found: Findings on the task.
        again: Analyses the task with further nodes as part of the attribute.

    Returns:
        The recommendation.
    """
    task = found.task
    core, y = task.of_kind("core"), task.label
    xz, z = _list(core), _list(task.attribute)
    if not found.moved_by["f_P"]:
        return Recommendation(
            "erm",
            True,
            f"E[{y} | X] on P uses {_list(found.supports['f_P'])}, whose law with {y} no shift "
            "moves: it is risk-invariant and optimal as it is.",
            ("Risk-invariance says nothing of fairness: see the criteria that f_P meets.",),
        )
    if not core:
        return Recommendation(
            "none",
            False,
            f"No part of X is tied to {y} and not to {z}: an invariant model has nothing to read.",
            ("Look for inputs that the attribute does not reach.",),
        )
    if set(found.supports["f_Q"]) <= set(core) and found.conditional and not found.moved_by["f_Q"]:
        return Recommendation(
            "joint_balancing",
            True,
            f"In Q, E[{y} | X] uses {xz} alone, and {xz} ⊥ {z} | {y} in P: balancing removes the "
            "dependence and leaves the signal.",
            (
                "f_Q is optimal on P0, minimax over the family and best among risk-invariant "
                "models; on single members of the family other models can be better.",
                "A conditional MMD penalty besides is harmless in theory.",
                "The network must be able to separate the parts: look at the encoding of the "
                "attribute (Proposition 4.4).",
            ),
        )
    if found.moved_by["g"]:
        return Recommendation(
            "none",
            False,
            f"Even E[{y} | {xz}] is not risk-invariant: a shift of {_list(found.moved_by['g'])} "
            f"moves the law of ({xz}, {y}).",
            ("Train on data from the shifted world, or restrict the family of shifts.",),
        )
    others = tuple(node for node in task.shifting if node not in task.attribute)
    if others or found.untouched:
        return _extra(found, others, again)
    if found.conditional:
        return Recommendation(
            "conditional_mmd",
            True,
            f"Balancing leaves {_list(p for p in found.supports['f_Q'] if p not in core)} in use, "
            f"but {xz} ⊥ {z} | {y} in P: f(X) ⊥ {z} | {y} costs no signal and removes the rest, "
            "before or after balancing.",
            (
                f"Any f with f(X) ⊥ {z} | {y} has the same risk whatever P'({z} | {y}) is; where "
                "some combination of the values never occurs in training, it rests on the network "
                "being smooth.",
            ),
        )
    if found.marginal:
        return Recommendation(
            "marginal_mmd_without_balancing",
            True,
            f"{xz} ⊥ {z} in P but not in Q: f(X) ⊥ {z} costs no signal on P, while after "
            f"balancing, which opens the path through {y}, it would destroy some.",
            (
                "Measure accuracy and log-loss over the family apart: after balancing the "
                "accuracy can be constant while the log-loss is not.",
                f"The family shifts the mechanism P({z} | its causes), not P({z} | {y}).",
            ),
        )
    caveat = "Collect data in which the attribute is assigned at random, or measure its causes."
    if found.common_cause:
        caveat = (
            f"{y} and {xz} share a hidden cause (label noise): if {xz} determines that cause, "
            "training on P as it is is already optimal and balancing makes the model worse."
        )
    return Recommendation(
        "none",
        False,
        f"Neither {xz} ⊥ {z} | {y} nor {xz} ⊥ {z} holds in P: each penalty, and balancing, costs "
        "signal or leaves a dependence.",
        (caveat,),
    )


def _extra(
    found: Findings,
    others: tuple[str, ...],
    again: Callable[[tuple[str, ...]], Recommendation],
) -> Recommendation:
    """Recommend a further factor: what else shifts, or what drives an untouched part."""
    task = found.task
    fixed = {task.label, *task.attribute, *task.parts}
    drivers = {node for part in found.untouched for node in task.graph.predecessors(part)}
    # What shifts is the cause of the failure; drivers of untouched parts stand in for it.
    extra = tuple(node for node in others if node not in fixed) or tuple(
        node for node in task.nodes if node in drivers - fixed
    )
    reasons = []
    if others:
        reasons.append(f"the mechanism of {_list(others)} shifts besides {_list(task.attribute)}")
    if found.untouched:
        reasons.append(
            f"the penalty f(X) ⊥ {_list(task.attribute)} | {task.label} cannot touch "
            f"{_list(found.untouched)}"
        )
    reason = " and ".join(reasons)
    reason = f"{reason[0].upper()}{reason[1:]}"
    if not extra:
        return Recommendation(
            "none", False, f"{reason}, and no node is left that could be balanced as well."
        )
    then = again(extra)
    joint = _list((*task.attribute, *extra))
    end = "gives a certificate" if then.certified else "gives no certificate either"
    return Recommendation(
        "extra_factor",
        then.certified,
        f"{reason}: measure {_list(extra)} and treat ({joint}) as one attribute, which {end}.",
        (
            "The rarest cell of label and joint attribute bounds the effective sample size: clip "
            "weights or subsample with care.",
        ),
        extra,
        then,
    )


def _list(names: Iterable[str]) -> str:
    return ", ".join(names) or "nothing"
