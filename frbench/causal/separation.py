"""d-separation on sets of nodes written as the bits of an integer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

import networkx as nx


class Separation:
    """Which nodes of a directed acyclic graph are d-connected; sets are the bits of an integer.

    Args:
        graph: The graph; bit ``i`` stands for its node number ``i``.

    Example:
        >>> graph = Separation(nx.DiGraph([("Y", "X"), ("Y", "Z")]))
        >>> graph.names(graph.connected(graph.mask(["X"]), graph.mask([])))
        ['Y', 'Z']
        >>> graph.names(graph.connected(graph.mask(["X"]), graph.mask(["Y"])))
        []
    """

    def __init__(self, graph: nx.DiGraph) -> None:
        self.nodes = list(graph)
        self._bit = {node: 1 << i for i, node in enumerate(self.nodes)}
        self._parents = [self.mask(graph.predecessors(node)) for node in self.nodes]
        self._children = [self.mask(graph.successors(node)) for node in self.nodes]
        self._ancestors = [0] * len(self.nodes)  # with the node itself
        for node in nx.topological_sort(graph):
            i = self._bit[node].bit_length() - 1
            self._ancestors[i] = self._bit[node] | self._above(self._parents[i])
        self.adjacent: Callable[[int, int], int] = lru_cache(1 << 16)(self._adjacent)
        self.connected: Callable[[int, int], int] = lru_cache(1 << 16)(self._connected)
        self._moral = lru_cache(1 << 12)(self._moralised)

    def mask(self, nodes: Iterable[str]) -> int:
        """Write a set of nodes as an integer."""
        return sum({self._bit[node] for node in nodes})

    def names(self, mask: int) -> list[str]:
        """List the nodes of a set."""
        return [self.nodes[i] for i in _indices(mask)]

    def _above(self, nodes: int) -> int:
        found = 0
        for i in _indices(nodes):
            found |= self._ancestors[i]
        return found

    def _connected(self, start: int, given: int) -> int:
        """Return the nodes that some node of ``start`` is d-connected to, given others.

        Source: the reachability procedure of Koller and Friedman, Probabilistic Graphical Models,
        algorithm 3.1. A node is entered from a child (``up``) or from a parent (``down``).
        """
        opened = self._above(given)  # colliders among them let a path pass
        up, down, seen_up, seen_down = start, 0, 0, 0
        while up | down:
            if up:
                bit = up & -up
                up ^= bit
                seen_up |= bit
                if not bit & given:
                    i = bit.bit_length() - 1
                    up |= self._parents[i] & ~seen_up
                    down |= self._children[i] & ~seen_down
                continue
            bit = down & -down
            down ^= bit
            seen_down |= bit
            i = bit.bit_length() - 1
            if not bit & given:
                down |= self._children[i] & ~seen_down
            if bit & opened:
                up |= self._parents[i] & ~seen_up
        return (seen_up | seen_down) & ~given & ~start

    def _moralised(self, kept: int) -> list[int]:
        """Return the neighbours of each node in the moral graph of an ancestral set."""
        neighbours = [0] * len(self.nodes)
        for i in _indices(kept):
            family = self._parents[i] | 1 << i
            for j in _indices(family):
                neighbours[j] |= family
        return neighbours

    def _adjacent(self, start: int, among: int) -> int:
        """Return the nodes of ``among`` that touch ``start`` when all of ``among`` is observed.

        Of a single node these are the nodes that it is d-connected to given all others of the
        set; of several, their Markov boundary in it.
        """
        neighbours = self._moral(self._above(start | among))
        among &= ~start
        return flood(start, 0, lambda i: 0 if among >> i & 1 else neighbours[i]) & among


def flood(start: int, blocked: int, neighbours: Callable[[int], int], sought: int = 0) -> int:
    """Return all that is reached from a set of nodes; blocked nodes are reached, not passed.

    Args:
        start: Nodes to start from.
        blocked: Nodes at which a walk ends.
        neighbours: Neighbours of the node of a number.
        sought: Nodes of which it is enough to reach one.

    Example:
        >>> chain = {0: 0b010, 1: 0b101, 2: 0b010}
        >>> bin(flood(0b001, 0, chain.get)), bin(flood(0b001, 0b010, chain.get))
        ('0b111', '0b11')
    """
    seen = todo = start
    while todo and not seen & sought:
        bit = todo & -todo
        todo ^= bit
        new = neighbours(bit.bit_length() - 1) & ~seen
        seen |= new
        todo |= new & ~blocked
    return seen


def _indices(mask: int) -> Iterator[int]:
    while mask:
        bit = mask & -mask
        yield bit.bit_length() - 1
        mask ^= bit
