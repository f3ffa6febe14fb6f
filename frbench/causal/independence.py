"""Which independences hold in P, in the cut graph and in the balanced distribution Q."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, NamedTuple

import networkx as nx

from frbench.causal.graph import CausalTask

#: Sets of earlier nodes followed per step: all of them in graphs of up to ten nodes.
WIDTH = 252
#: Up to this many observed nodes every conditioning set is listed, beyond it small ones only.
_ALL_SETS = 7
_SMALL_SET = 2

Nodes = frozenset[str]


class Independence(NamedTuple):
    """The statement that two nodes are independent given a set."""

    a: str
    b: str
    given: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.a} ⊥ {self.b}" + f" | {', '.join(self.given)}" * bool(self.given)


class IndependenceModel:
    """The independence model of a distribution, as the union of the d-separations of graphs.

    Args:
        graphs: Graphs over each of which the distribution factorises.

    Example:
        >>> law = IndependenceModel([nx.DiGraph([("Y", "X"), ("Y", "Z")])])
        >>> law.independent("X", "Z"), law.independent("X", "Z", ["Y"])
        (False, True)
    """

    def __init__(self, graphs: Sequence[nx.DiGraph]) -> None:
        self.graphs = tuple(graphs)
        self._known: dict[tuple[Nodes, Nodes, Nodes], bool] = {}

    def independent(
        self, a: str | Iterable[str], b: str | Iterable[str], given: Iterable[str] = ()
    ) -> bool:
        """Tell whether two sets of nodes are independent given a third; empty sets always are."""
        left, right, known = _set(a), _set(b), _set(given)
        if not left or not right:
            return True
        key = (left, right, known)
        if key not in self._known:
            self._known[key] = any(
                nx.is_d_separator(graph, set(left), set(right), set(known))
                for graph in self.graphs
            )
        return self._known[key]

    def statements(self, nodes: Sequence[str]) -> list[Independence]:
        """List every independence of two of the nodes, smallest conditioning sets first.

        Beyond seven nodes only conditioning sets of up to two nodes are listed.
        """
        return [s for s in candidates(nodes) if self.independent(s.a, s.b, s.given)]


def candidates(nodes: Sequence[str]) -> Iterator[Independence]:
    """Yield each pair of nodes with each conditioning set from the rest."""
    largest = len(nodes) - 2 if len(nodes) <= _ALL_SETS else _SMALL_SET
    for a, b in itertools.combinations(nodes, 2):
        rest = [node for node in nodes if node not in (a, b)]
        for size in range(largest + 1):
            for given in itertools.combinations(rest, size):
                yield Independence(a, b, given)


def minimal(statements: Iterable[Independence]) -> list[Independence]:
    """Keep the statements of which no other has the same pair and a smaller condition."""
    kept: list[Independence] = []
    for new in sorted(statements, key=lambda statement: len(statement.given)):
        if not any(new[:2] == old[:2] and set(old.given) <= set(new.given) for old in kept):
            kept.append(new)
    return kept


def balanced_graphs(task: CausalTask, width: int = WIDTH) -> list[nx.DiGraph]:
    """Build graphs over which the jointly balanced distribution factorises.

    Q(V) = P(V) P(Y) P(Z) / P(Y, Z). Order the nodes and join each to its Markov boundary among
    the earlier ones. If the later of Y and Z has no neighbour there but the other, P has the
    factor P(Z | Y) or P(Y | Z), and Q is P with that one edge dropped. So each d-separation in any
    of these graphs holds in Q. Q need not factorise over the cut graph. Source: Definition 1.1
    and Proposition 5.1 of arXiv 2406.17433; the construction is frbench's own, and tested in both
    directions against exact enumeration.

    Args:
        task: The task; several attributes are balanced as one, P(Y) P(Z1, Z2).
        width: Sets of earlier nodes that are followed at each step, those with the sparsest
            graphs first. The default covers all orders of up to ten nodes; beyond, some
            independences of Q may be missed, and none is invented.

    Returns:
        The graphs, one of each set that share all d-separations; the sparsest first.

    Example:
        >>> from frbench.causal import example
        >>> sorted(balanced_graphs(example("a2"))[0].edges)
        [('Y', 'XZ'), ('Z', 'XY')]
    """
    # 2^n sets of earlier nodes are followed instead of n! orders: orders that lead to the same
    # set with equivalent graphs stay equivalent. Dicts serve as sets that keep their order.
    layers: list[dict[Nodes, dict[_Graph, None]]] = [{} for _ in range(len(task.nodes) + 1)]
    layers[0][frozenset()] = {_Graph(): None}
    boundary = cache(partial(_boundary, task.graph))
    first = [*task.attribute, task.label]
    first += [node for node in nx.topological_sort(task.graph) if node not in first]
    sure = {frozenset(first[:i]) for i in range(len(first))}

    def rank(item: tuple[Nodes, dict[_Graph, None]]) -> tuple[Any, ...]:
        # The first order can always be completed; others may find no valid place for Y or Z.
        earlier, graphs = item
        size = min(len(graph.edges) for graph in graphs)
        done = {task.label, *task.attribute} <= earlier
        return earlier not in sure, not done, size, sorted(earlier)

    for layer in layers[:-1]:
        for earlier, graphs in sorted(layer.items(), key=rank)[:width]:
            for step in _steps(task, earlier, boundary):
                placed = earlier.union(node for node, _ in step)
                longer = layers[len(placed)].setdefault(placed, {})
                for graph in graphs:
                    for node, parents in step:
                        graph = graph.extended(node, parents)
                    longer.setdefault(graph)
    found = [sorted(graph.edges) for graph in layers[-1][frozenset(task.nodes)]]
    return [task.draw(edges) for edges in sorted(found, key=lambda edges: (len(edges), edges))]


def _boundary(graph: nx.DiGraph, node: str, earlier: Nodes) -> Nodes:
    """Return the smallest set of earlier nodes that separates a node from the other ones.

    d-separation is closed under intersection, so that set is unique: the nodes that stay
    connected to it given all others.
    """
    return frozenset(
        other
        for other in earlier
        if not nx.is_d_separator(graph, {node}, {other}, set(earlier - {other}))
    )


def _steps(
    task: CausalTask, earlier: Nodes, boundary: Callable[[str, Nodes], Nodes]
) -> Iterator[list[tuple[str, Nodes]]]:
    """Yield the nodes that may come next in an order, each with its parents in Q."""
    label, attribute = task.label, frozenset(task.attribute)
    for node in task.nodes:
        if node in earlier:
            continue
        parents = boundary(node, earlier)
        if node == label and attribute & earlier:
            # P(Y | earlier) = P(Y | Z) becomes P(Y).
            if attribute <= earlier and parents <= attribute:
                yield [(node, frozenset())]
        elif node not in attribute or label not in earlier:
            yield [(node, parents)]
    if label in earlier and not attribute & earlier:
        # P(Z | earlier) = P(Z | Y) becomes P(Z), for all attributes at once.
        others = set(earlier - {label})
        if not others or nx.is_d_separator(task.graph, set(attribute), others, {label}):
            for order in itertools.permutations(task.attribute):
                yield [
                    (node, boundary(node, frozenset(order[:i]))) for i, node in enumerate(order)
                ]


@dataclass(frozen=True)
class _Graph:
    """A graph that grows; equal to all with the same adjacencies and colliders.

    Such graphs have the same d-separations (Verma and Pearl, 1990), also once both have got the
    same further nodes.
    """

    edges: frozenset[tuple[str, str]] = field(default=frozenset(), compare=False)
    joined: frozenset[Nodes] = frozenset()
    colliders: frozenset[tuple[Nodes, str]] = frozenset()

    def extended(self, node: str, parents: Nodes) -> _Graph:
        pairs = map(frozenset, itertools.combinations(parents, 2))
        return _Graph(
            self.edges.union((parent, node) for parent in parents),
            self.joined.union(frozenset((parent, node)) for parent in parents),
            self.colliders.union((pair, node) for pair in pairs if pair not in self.joined),
        )


def laws(task: CausalTask) -> dict[str, IndependenceModel]:
    """Return the independence models of P, of the cut graph (``G0``) and of Q."""
    return {
        "P": IndependenceModel([task.graph]),
        "G0": IndependenceModel([task.cut]),
        "Q": IndependenceModel(balanced_graphs(task)),
    }


def _set(value: str | Iterable[str]) -> Nodes:
    return frozenset([value] if isinstance(value, str) else value)
