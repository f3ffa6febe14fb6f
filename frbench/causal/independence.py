"""Which independences hold in P, in the cut graph and in the balanced distribution Q."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import comb
from typing import NamedTuple

import networkx as nx

from frbench.causal.graph import CausalTask
from frbench.causal.separation import Separation, flood
from frbench.support.progress import track

#: Up to this many observed nodes every conditioning set is listed, beyond it small ones only.
_ALL_SETS = 7
_SMALL_SET = 2
#: Conditioning sets become smaller still where statements times nodes of the graph exceed this.
_MOST_WORK = 4_000_000


class Independence(NamedTuple):
    """The statement that two nodes are independent given a set."""

    a: str
    b: str
    given: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.a} ⊥ {self.b}" + f" | {', '.join(self.given)}" * bool(self.given)


class IndependenceModel:
    """The independences of a distribution that factorises over a graph: its d-separations.

    Args:
        graph: The graph.

    Example:
        >>> law = IndependenceModel(nx.DiGraph([("Y", "X"), ("Y", "Z")]))
        >>> law.independent("X", "Z"), law.independent("X", "Z", ["Y"])
        (False, True)
    """

    def __init__(self, graph: nx.DiGraph) -> None:
        self._graph = Separation(graph)

    def independent(
        self, a: str | Iterable[str], b: str | Iterable[str], given: Iterable[str] = ()
    ) -> bool:
        """Tell whether two sets of nodes are independent given a third; empty sets always are."""
        left, right = (self._graph.mask([s] if isinstance(s, str) else s) for s in (a, b))
        return self._separated(left, right, self._graph.mask(given))

    def _separated(self, a: int, b: int, given: int) -> bool:
        return not self._graph.connected(a, given) & b

    def statements(self, nodes: Sequence[str]) -> list[Independence]:
        """List the independences of two of the nodes, smallest conditioning sets first.

        Beyond seven nodes only small conditioning sets are listed: see :func:`largest_condition`.
        """
        held = []
        bits = [self._graph.mask([node]) for node in nodes]
        largest = largest_condition(len(nodes), len(self._graph.nodes))
        pools = [
            pool
            for size in range(2, largest + 3)
            for pool in itertools.combinations(range(len(nodes)), size)
        ]
        # All statements on the same nodes follow each other: they share most of the work.
        for pool in track(pools, "listing independences"):
            together = sum(bits[i] for i in pool)
            for i, j in itertools.combinations(pool, 2):
                if self._separated(bits[i], bits[j], together ^ bits[i] ^ bits[j]):
                    given = tuple(k for k in pool if k not in (i, j))
                    held.append((i, j, len(given), given))
        held.sort()
        return [
            Independence(nodes[i], nodes[j], tuple(nodes[k] for k in given))
            for i, j, _, given in held
        ]


def largest_condition(count: int, total: int = 0) -> int:
    """Return the size of the largest conditioning sets that are listed; -1 if none is.

    All of them up to seven nodes, then two nodes, then as many as keep the number of statements
    times the number of nodes of the graph below four million: one node beyond 28 nodes, none
    beyond 53; no statement is listed beyond 200.

    Args:
        count: Number of nodes over which independences are stated.
        total: Number of nodes of the graph, if larger.

    Example:
        >>> [largest_condition(count) for count in (5, 7, 8, 28, 29, 53, 54, 200, 201)]
        [3, 5, 2, 2, 1, 1, 0, 0, -1]
    """
    if max(count, total) <= _ALL_SETS:
        return max(count - 2, 0)
    largest = max(count - 2, 0) if count <= _ALL_SETS else _SMALL_SET
    statements, size = comb(count, 2), -1
    work = statements * max(count, total)
    while size < largest and work <= _MOST_WORK:
        size += 1
        work += statements * comb(count - 2, size + 1) * max(count, total)
    return size


def minimal(statements: Iterable[Independence]) -> list[Independence]:
    """Keep the statements of which no other has the same pair and a smaller condition."""
    kept: list[Independence] = []
    conditions: dict[tuple[str, str], list[frozenset[str]]] = {}
    for new in sorted(statements, key=lambda statement: len(statement.given)):
        given, smaller = frozenset(new.given), conditions.setdefault(new[:2], [])
        if not any(old <= given for old in smaller):
            smaller.append(given)
            kept.append(new)
    return kept


class BalancedModel(IndependenceModel):
    """The independences of the jointly balanced distribution Q.

    Q(V) = P(V) P(Y) P(Z) / P(Y, Z), Definition 1.1 of arXiv 2406.17433; several attributes are
    balanced as one. The rule is frbench's own. It needs no search over graphs, and is tested in
    both directions against exact enumeration and against the search that it replaced.

    Args:
        graph: The graph over which P factorises.
        label: The node Y.
        attribute: The nodes Z.

    Example:
        >>> graph = nx.DiGraph([("Y", "Z"), ("Y", "XZ"), ("Z", "XY")])
        >>> law = BalancedModel(graph, "Y", ["Z"])
        >>> law.independent("XZ", "Z"), law.independent("XZ", "Y")
        (True, False)
    """

    def __init__(self, graph: nx.DiGraph, label: str, attribute: Sequence[str]) -> None:
        super().__init__(graph)
        y, z = self._graph.mask([label]), self._graph.mask(attribute)
        self._sides = (_Side(self._graph, y, z), _Side(self._graph, z, y))

    def _separated(self, a: int, b: int, given: int) -> bool:
        return any(side.separated(a, b, given) for side in self._sides)


class _Side:
    """Q as P(E) P(T) P(R | E, T), where T is Z or Y and E the other one with all that Q keeps.

    E is the anchor K (Y if T is Z) and each node that is independent of T given K in P. So
    T ⊥ E without K | K in P, hence P(T | E) = P(T | K), and balancing turns P(E) P(T | K) into
    P(E) P(T). All other nodes, R, keep P(R | E, T).

    Whether Q has A ⊥ B | C: let R be the nodes of the statement outside E and T, and L those in
    E together with the Markov boundary of R in E. Q(L, T, R) = P(L) P(T) P(R | L, T) is positive,
    so that its independences are those of an undirected graph, in which two nodes are joined
    unless they are independent given all others:

    - a node of R and any other are so in Q if they are in P, as both have the same P(R | L, T);
    - two nodes of L, or one of L and one of T, may drop a node r from the rest if one of them is
      independent of r given all others (intersection and contraction). Once none of R is left,
      those of L are joined as in P(L), those of T as in P(T), and none of L with one of T.
    """

    def __init__(self, graph: Separation, anchor: int, target: int) -> None:
        self._graph, self._target = graph, target
        everything = (1 << len(graph.nodes)) - 1
        self._kept = everything & ~target & ~(graph.connected(target, anchor) & ~anchor)
        self._neighbours = lru_cache(1 << 12)(self._joined)

    def separated(self, a: int, b: int, given: int) -> bool:
        rest = (a | b | given) & ~self._kept & ~self._target
        kept = (a | b | given) & self._kept
        if rest:
            kept |= self._graph.adjacent(rest, self._kept | self._target) & self._kept
        if b & rest:  # the neighbours of such a node are found faster
            a, b = b, a
        return not b & flood(a, given, lambda i: self._neighbours(1 << i, kept, rest), b)

    def _joined(self, node: int, kept: int, rest: int) -> int:
        """Return the neighbours of a node in the undirected graph."""
        adjacent, fixed = self._graph.adjacent, kept | self._target
        found = adjacent(node, fixed | rest)
        if node & rest:
            return found
        found &= rest
        found |= adjacent(node, self._target if node & self._target else kept)
        # Drop what the node itself is not next to; what that leaves blocks no other node but
        # those next to some of it.
        left = rest
        while left != (left := left & adjacent(node, fixed | left)):
            pass
        close = adjacent(left, fixed | left) & ~node & ~left if left else 0
        while close:
            other = close & -close
            close ^= other
            if not self._all_dropped(node, other, fixed, left):
                found |= other
        return found

    def _all_dropped(self, a: int, b: int, fixed: int, rest: int) -> bool:
        """Tell whether each node of the rest can be dropped, one after the other.

        The order does not matter: Q is positive, so that whatever may be dropped may be dropped
        first.
        """
        while rest:
            left = rest & self._graph.adjacent(b, fixed | rest)
            if left == rest:
                a, b = b, a
                left = rest & self._graph.adjacent(b, fixed | rest)
            if left == rest:
                return False
            rest = left
        return True


def laws(task: CausalTask) -> dict[str, IndependenceModel]:
    """Return the independence models of P, of the cut graph (``G0``) and of Q."""
    return {
        "P": IndependenceModel(task.graph),
        "G0": IndependenceModel(task.cut),
        "Q": BalancedModel(task.graph, task.label, task.attribute),
    }
