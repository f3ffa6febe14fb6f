"""What a causal graph implies for balancing, regularising, fairness and robustness."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import networkx as nx

from frbench.causal.advice import Findings, Recommendation, recommend
from frbench.causal.graph import CausalTask
from frbench.causal.independence import (
    Independence,
    IndependenceModel,
    largest_condition,
    laws,
    minimal,
)
from frbench.causal.verdicts import (
    Predictor,
    Proposition,
    Regulariser,
    corollary,
    predictor,
    proposition,
    regulariser,
    support,
)

DIRECTIONS = ("anti-causal", "causal", "mixed", "common cause", "none")


@dataclass(frozen=True)
class Analysis:
    """Everything that :func:`analyze` derives from a task.

    Attributes:
        task: The task.
        direction: One of :data:`DIRECTIONS`.
        laws: Independence models of P, G0 and Q: ``analysis.laws["Q"].independent("XZ", "Z")``.
        proposition: Proposition 4.2 (conditions in Q).
        corollary: Corollary 4.3 (conditions in P).
        predictors: ``f_P``, ``f_Q`` and ``g``.
        regularisers: Keyed by penalty and law, such as ``("conditional", "P")``.
        recommendation: What to do, and why.
    """

    task: CausalTask
    direction: str
    laws: dict[str, IndependenceModel]
    proposition: Proposition
    corollary: Proposition
    predictors: dict[str, Predictor]
    regularisers: dict[tuple[str, str], Regulariser]
    recommendation: Recommendation

    @cached_property
    def independences(self) -> dict[str, tuple[Independence, ...]]:
        """The statements among observed nodes that hold in each law.

        Beyond seven nodes only those with small conditions, see :attr:`left_out`.
        """
        return {name: tuple(law.statements(self.task.observed)) for name, law in self.laws.items()}

    @property
    def left_out(self) -> str:
        """Which statements :attr:`independences` does not list; empty if it lists all."""
        count = len(self.task.observed)
        largest = largest_condition(count, len(self.task.nodes))
        if largest >= count - 2:
            return ""
        if largest < 0:
            return f"none is listed for a graph of {len(self.task.nodes)} nodes"
        return f"conditions of more than {largest} of the {count} observed nodes are not listed"

    @cached_property
    def violated(self) -> tuple[Independence, ...]:
        """Statements of the cut graph that Q breaks."""
        held = set(self.independences["Q"])
        return tuple(s for s in self.independences["G0"] if s not in held)

    @property
    def q_obeys_cut_graph(self) -> bool:
        """Whether Q has every independence of the cut graph (Proposition 5.1: it need not)."""
        return not self.violated

    def to_dict(self) -> dict[str, Any]:
        """Write all findings as plain data."""
        return {
            "task": self.task.to_dict(),
            "direction": self.direction,
            "parts": self.task.kinds,
            "recommendation": self.recommendation.to_dict(),
            **{
                key: {
                    "holds": found.holds,
                    "premises": [
                        {"text": p.text, "holds": p.holds, "broken_by": list(p.broken_by)}
                        for p in found.premises
                    ],
                }
                for key, found in (
                    ("proposition_4_2", self.proposition),
                    ("corollary_4_3", self.corollary),
                )
            },
            "q_obeys_cut_graph": self.q_obeys_cut_graph,
            "violated": list(map(str, self.violated)),
            "predictors": {
                name: {
                    "law": found.law,
                    "support": list(found.support),
                    "risk_invariant": found.invariant,
                    "moved_by": list(found.moved_by),
                    "fairness": found.fairness,
                }
                for name, found in self.predictors.items()
            },
            "regularisers": [
                {
                    "penalty": found.penalty,
                    "law": found.law,
                    "valid": found.valid,
                    "keeps_core": found.keeps_core,
                    "untouched": list(found.untouched),
                    "objections": list(found.objections),
                }
                for found in self.regularisers.values()
            ],
            "independences": {k: list(map(str, v)) for k, v in self.independences.items()},
            "left_out": self.left_out,
        }


def analyze(task: CausalTask) -> Analysis:
    """Derive from a causal graph which mitigation is justified, and why.

    A statement that holds in P is a d-separation; for Q, see
    :class:`~frbench.causal.independence.BalancedModel`. A statement that fails does not hold in
    some distribution of the graph. Source: Propositions 4.2 and 5.1, Corollary 4.3 and Table 1 of
    arXiv 2406.17433.

    Args:
        task: The graph and its roles.

    Returns:
        All findings.

    Example:
        >>> from frbench.causal import example
        >>> found = analyze(example("d"))
        >>> found.recommendation.action, found.predictors["f_Q"].support
        ('conditional_mmd', ('XZ', 'XYZ'))
    """
    models = laws(task)
    core = task.of_kind("core")
    predictors = {
        "f_P": predictor(task, "f_P", "P", models, support(task, models["P"])),
        "f_Q": predictor(task, "f_Q", "Q", models, support(task, models["Q"])),
        "g": predictor(task, "g", "Q", models, core),
    }
    regularisers = {
        (penalty, name): regulariser(task, penalty, name, models[name], predictors["g"])
        for penalty in ("conditional", "marginal")
        for name in ("P", "Q")
    }
    findings = Findings(
        task=task,
        supports={name: predictors[name].support for name in ("f_P", "f_Q")},
        moved_by={name: found.moved_by for name, found in predictors.items()},
        untouched=regularisers["conditional", "P"].untouched,
        conditional=models["P"].independent(core, task.attribute, [task.label]),
        marginal=models["P"].independent(core, task.attribute),
        common_cause=_direction(task) == "common cause",
    )
    return Analysis(
        task=task,
        direction=_direction(task),
        laws=models,
        proposition=proposition(task, models["Q"]),
        corollary=corollary(task, models["P"]),
        predictors=predictors,
        regularisers=regularisers,
        recommendation=recommend(
            findings, lambda extra: analyze(task.with_factor(*extra)).recommendation
        ),
    )


def shown(statements: Iterable[Independence]) -> str:
    """Write statements on one line, those that follow with a larger condition left out."""
    return "; ".join(map(str, minimal(statements)))


def _direction(task: CausalTask) -> str:
    """Whether the parts that carry the label are its causes or its effects, in the cut graph."""
    carriers = set(task.of_kind("core", "entangled"))
    causes = carriers & nx.ancestors(task.cut, task.label)
    effects = carriers & nx.descendants(task.cut, task.label)
    if causes or effects:
        return "mixed" if causes and effects else "causal" if causes else "anti-causal"
    return "common cause" if carriers else "none"
