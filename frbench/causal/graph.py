"""A classification task as a causal graph with roles; written in Python or YAML."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import networkx as nx
import yaml

from frbench.contracts.errors import UserError
from frbench.contracts.text import short
from frbench.support.yaml_files import read_yaml

Edge = tuple[str, str]
Edges = Sequence[str | Sequence[str]]


@dataclass(frozen=True, init=False, eq=True)
class CausalTask:
    """A causal graph over label, attribute, parts of X and hidden causes.

    P factorises over the graph. The cut graph G0 lacks the undesired edges. Source: Assumption 2.3
    and Section 2 of arXiv 2406.17433.

    Args:
        edges: Arrows ``"U>Y"``, chains ``"Z>W>X"`` or pairs ``("U", "Y")``.
        label: The node Y that is predicted.
        attribute: The auxiliary node Z (sensitive, spurious); several nodes are balanced jointly.
        parts: Nodes that make up the input X.
        latents: Nodes that are not measured and not part of X.
        measured: Further measured nodes, which the classifier does not see.
        undesired: Edges that the deployed world may lack.
        shifting: Nodes whose mechanism P(node | parents) may change; the attribute by default.
        name: Short name, used as title.
        note: One line that says what the task is.

    Raises:
        UserError: At a cycle, a node without role or with two, a missing label or attribute, or a
            node or edge that the graph does not have.

    Example:
        >>> task = CausalTask(
        ...     ["U>Y", "U>Z", "Y>XZ", "Z>XY"], "Y", "Z", ["XZ", "XY"], ["U"], ["U>Y", "U>Z"]
        ... )
        >>> task.kinds
        {'XZ': 'core', 'XY': 'spurious'}
    """

    edges: tuple[Edge, ...]
    label: str
    attribute: tuple[str, ...]
    parts: tuple[str, ...]
    latents: tuple[str, ...]
    undesired: tuple[Edge, ...]
    shifting: tuple[str, ...]
    measured: tuple[str, ...]
    name: str
    note: str

    def __init__(
        self,
        edges: Edges,
        label: str,
        attribute: str | Sequence[str],
        parts: Sequence[str],
        latents: Sequence[str] = (),
        undesired: Edges = (),
        shifting: Sequence[str] | None = None,
        measured: Sequence[str] = (),
        name: str = "task",
        note: str = "",
    ) -> None:
        set_ = object.__setattr__
        set_(self, "name", str(name))
        set_(self, "note", str(note))
        set_(self, "edges", self._read_edges("edges", edges))
        set_(self, "undesired", self._read_edges("undesired", undesired))
        labels = self._read_nodes("label", label)
        set_(self, "attribute", self._read_nodes("attribute", attribute))
        for role, nodes in (("parts", parts), ("latents", latents), ("measured", measured)):
            set_(self, role, self._read_nodes(role, nodes))
        if len(labels) != 1:
            self._fail(
                "needs exactly one label: set `label` to the node that is predicted"
                + f" (got {', '.join(labels)})" * bool(labels)
            )
        if not self.attribute:
            self._fail("has no attribute: set `attribute` to the sensitive or spurious node")
        if not self.parts:
            self._fail("has no parts of X: list what the classifier sees under `parts`")
        set_(self, "label", labels[0])
        chosen = self.attribute if shifting is None else self._read_nodes("shifting", shifting)
        set_(self, "shifting", chosen)
        self._check()

    def _fail(self, message: str) -> NoReturn:
        raise UserError(f"Causal task {self.name!r} {message}.")

    def _read_nodes(self, role: str, value: Any) -> tuple[str, ...]:
        values = [] if value is None else [value] if isinstance(value, str) else value
        if not isinstance(values, list | tuple) or not all(isinstance(v, str) for v in values):
            # YAML reads a bare `no` or `1` as a truth value or a number.
            self._fail(
                f"has no node names in `{role}`: {short(value)}; write text, in quotes if bare"
            )
        return tuple(dict.fromkeys(values))

    def _read_edges(self, role: str, value: Any) -> tuple[Edge, ...]:
        edges: dict[Edge, None] = {}
        if not isinstance(value, list | tuple):
            self._fail(f'needs a list in `{role}`, such as ["Y>X", "Z>X"]; got {short(value)}')
        for item in value:
            chain = item.replace("->", ">").split(">") if isinstance(item, str) else item
            flat = isinstance(chain, list | tuple) and not any(
                isinstance(node, list | tuple | dict) for node in chain
            )
            nodes = [str(node).strip() for node in chain] if flat else []
            if len(nodes) < 2 or not all(nodes):
                self._fail(f"cannot read {short(item)} in `{role}`: write an arrow such as 'Y>X'")
            edges |= dict.fromkeys(pairwise(nodes))
        return tuple(edges)

    def _check(self) -> None:
        roles = {
            "label": (self.label,),
            "attribute": self.attribute,
            "parts": self.parts,
            "latents": self.latents,
            "measured": self.measured,
        }
        owner: dict[str, str] = {}
        for role, nodes in roles.items():
            for node in nodes:
                if node in owner:
                    self._fail(f"gives {node!r} two roles, {owner[node]} and {role}: keep one")
                owner[node] = role
        for node in (node for edge in self.edges for node in edge):
            if node not in owner:
                self._fail(
                    f"has an edge with the unknown node {node!r}{_hint(node, owner)}: "
                    f"list it under {', '.join(list(roles)[:-1])} or {list(roles)[-1]}"
                )
        for node in self.shifting:
            if node not in owner:
                self._fail(
                    f"lets the unknown node {node!r} shift{_hint(node, owner)}: "
                    f"`shifting` may name {', '.join(owner)}"
                )
        for edge in self.undesired:
            if edge not in self.edges:
                self._fail(
                    f"calls {_arrow(edge)} undesired, which is no edge: "
                    f"`undesired` may name {', '.join(map(_arrow, self.edges))}"
                )
        if not nx.is_directed_acyclic_graph(self.graph):
            loop = [_arrow(edge) for edge in nx.find_cycle(self.graph)]
            self._fail(f"has a cycle, {', '.join(loop)}: remove or turn one of these edges")

    @property
    def nodes(self) -> tuple[str, ...]:
        """All nodes by role: label, attribute, parts, measured, latents."""
        return (self.label, *self.attribute, *self.parts, *self.measured, *self.latents)

    @property
    def observed(self) -> tuple[str, ...]:
        """The nodes over which independences are stated: all but the latents."""
        return self.nodes[: len(self.nodes) - len(self.latents)]

    @cached_property
    def graph(self) -> nx.DiGraph:
        """The graph G over which P factorises."""
        return self.draw(self.edges)

    @cached_property
    def cut(self) -> nx.DiGraph:
        """The graph G0 without the undesired edges."""
        return self.draw(edge for edge in self.edges if edge not in self.undesired)

    def draw(self, edges: Iterable[Edge]) -> nx.DiGraph:
        """Return a graph over all nodes of the task with the given edges."""
        graph = nx.DiGraph()
        graph.add_nodes_from(self.nodes)
        graph.add_edges_from(edges)
        return graph

    @cached_property
    def kinds(self) -> dict[str, str]:
        """Assumption 2.3: which part carries the label, the attribute, both or neither.

        A part is tied to Y by a causal path in G0 that avoids Z, or by a common cause there that
        the classifier does not see (label noise). It is tied to Z by a causal path in G that
        avoids Y: even an undesired path keeps a part from being X_Z⊥. ``core`` is X_Z⊥,
        ``spurious`` X_Y⊥, ``entangled`` X_{Y∧Z}; ``other`` is driven by something else.
        """
        names = {(True, False): "core", (True, True): "entangled", (False, True): "spurious"}
        without_attribute = nx.restricted_view(self.cut, self.attribute, [])
        causes = nx.ancestors(without_attribute, self.label) & {*self.latents, *self.measured}
        labelled = _linked(without_attribute, [self.label]).union(
            *(nx.descendants(without_attribute, cause) for cause in causes)
        )
        attributed = _linked(nx.restricted_view(self.graph, [self.label], []), self.attribute)
        return {
            part: names.get((part in labelled, part in attributed), "other") for part in self.parts
        }

    def of_kind(self, *kinds: str) -> tuple[str, ...]:
        """Return the parts of the given kinds."""
        return tuple(part for part in self.parts if self.kinds[part] in kinds)

    def with_factor(self, *extra: str) -> CausalTask:
        """Return the task with further nodes measured and balanced together with the attribute."""
        kept: dict[str, Any] = {
            role: [node for node in getattr(self, role) if node not in extra]
            for role in ("parts", "latents", "measured")
        }
        name = f"{self.name} with attribute ({', '.join((*self.attribute, *extra))})"
        return replace(self, attribute=(*self.attribute, *extra), name=name, **kept)

    def to_dict(self) -> dict[str, Any]:
        """Write the task as plain data; ``CausalTask(**data)`` builds it again."""
        data: dict[str, Any] = {"name": self.name, "note": self.note}
        data["edges"] = [_arrow(edge) for edge in self.edges]
        data["label"] = self.label
        data["attribute"] = self.attribute[0] if len(self.attribute) == 1 else list(self.attribute)
        for role in ("parts", "latents", "measured", "shifting"):
            data[role] = list(getattr(self, role))
        data["undesired"] = [_arrow(edge) for edge in self.undesired]
        # An empty `shifting` is a statement of its own; other empty entries are the default.
        return {key: value for key, value in data.items() if value or key == "shifting"}

    def to_yaml(self) -> str:
        """Write the task as YAML that :meth:`from_yaml` reads."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, default_flow_style=None, width=95)

    @classmethod
    def from_yaml(cls, path: str | Path) -> CausalTask:
        """Read a task from YAML; its keys are the constructor's arguments.

        Raises:
            UserError: If the file is missing, is not YAML, has an unknown key or an invalid task.
        """
        path = Path(path)
        if not path.is_file():
            raise UserError(f"No file {str(path)!r}: give the path of a task in YAML.")
        data = read_yaml(path)
        known = list(inspect.signature(cls).parameters)
        if not isinstance(data, dict):
            raise UserError(f"{str(path)!r} holds no task: its keys are {', '.join(known)}.")
        if "factor" in data and "attribute" not in data:  # the key of earlier releases
            data["attribute"] = data.pop("factor")
        for key in data:
            if key not in known:
                raise UserError(
                    f"{str(path)!r} has the unknown role {key!r}{_hint(str(key), known)}: "
                    f"use {', '.join(known)}."
                )
        required: dict[str, Any] = {
            "edges": [],
            "label": None,
            "attribute": None,
            "parts": None,
            "name": path.stem,
        }
        return cls(**{**required, **{key: v for key, v in data.items() if v is not None}})


def _arrow(edge: Edge) -> str:
    return ">".join(edge)


def _hint(word: str, known: Iterable[str]) -> str:
    close = get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _linked(graph: nx.DiGraph, nodes: Iterable[str]) -> set[str]:
    """Return the nodes that a directed path joins with one of some nodes, either way."""
    return set().union(*(nx.ancestors(graph, n) | nx.descendants(graph, n) for n in nodes))
