"""Exact distributions over binary nodes: the reference for every verdict on a graph."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import networkx as nx
import numpy as np

from frbench.causal import CausalTask

Tables = dict[str, np.ndarray]


def draw_tables(graph: nx.DiGraph, rng: np.random.Generator, nodes: Iterable[str] = ()) -> Tables:
    """Draw P(node = 1 | parents) for all nodes, or for the given ones."""
    return {node: rng.uniform(0.05, 0.95, (2,) * graph.in_degree(node)) for node in nodes or graph}


class Exact:
    """A joint table with one axis per node."""

    def __init__(self, nodes: Sequence[str], p: np.ndarray) -> None:
        self.nodes, self.p = tuple(nodes), p

    @classmethod
    def of(cls, graph: nx.DiGraph, tables: Tables) -> Exact:
        """Multiply the conditional tables; the axes of a table follow the graph's parents."""
        nodes = list(graph)
        p = np.ones((2,) * len(nodes))
        for node, table in tables.items():
            parents = list(graph.predecessors(node))
            one = np.stack([1 - table, table], axis=-1)
            axes = [nodes.index(name) for name in (*parents, node)]
            shape = [2 if i in axes else 1 for i in range(len(nodes))]
            p = p * one.transpose(np.argsort(axes)).reshape(shape)
        return cls(nodes, p)

    def marginal(self, names: Iterable[str]) -> np.ndarray:
        """Sum out all but the given nodes; axes follow the names."""
        names = list(names)
        axes = [self.nodes.index(name) for name in names]
        kept = self.p.sum(axis=tuple(i for i in range(len(self.nodes)) if i not in axes))
        return kept.transpose(np.argsort(np.argsort(axes)))

    def _spread(self, names: Iterable[str]) -> np.ndarray:
        axes = sorted(self.nodes.index(name) for name in names)
        drop = tuple(i for i in range(len(self.nodes)) if i not in axes)
        return self.p.sum(axis=drop, keepdims=True)

    def balanced(self, label: str, attribute: Sequence[str]) -> Exact:
        """Definition 1.1: P times P(Y) P(Z) / P(Y, Z)."""
        weight = (
            self._spread([label]) * self._spread(attribute) / self._spread([label, *attribute])
        )
        return Exact(self.nodes, self.p * weight)

    def dependence(self, a: Iterable[str], b: Iterable[str], given: Iterable[str] = ()) -> float:
        """Return max |p(a, b | s) - p(a | s) p(b | s)|."""
        a, b, given = list(a), list(b), list(given)
        p = self.marginal([*a, *b, *given]).reshape(2 ** len(a), 2 ** len(b), -1)
        p = p / p.sum((0, 1))
        return float(np.abs(p - p.sum(1, keepdims=True) * p.sum(0, keepdims=True)).max())

    def predictor(self, label: str, support: Sequence[str]) -> np.ndarray:
        """E[Y | support], with an axis per node, so that it can be used on another table."""
        one = Exact(self.nodes, self.p * self._indicator(label))
        return one._spread(support) / self._spread(support)

    def _indicator(self, node: str) -> np.ndarray:
        shape = [2 if name == node else 1 for name in self.nodes]
        return np.arange(2).reshape(shape)

    def risk(self, label: str, f: np.ndarray, loss: str = "log") -> float:
        """Expected loss of a predictor of P(Y = 1)."""
        y = self._indicator(label)
        if loss == "accuracy":
            return float((self.p * ((f > 0.5) == y)).sum())
        if loss == "square":
            return float((self.p * (f - y) ** 2).sum())
        return float(-(self.p * np.log(np.where(y == 1, f, 1 - f))).sum())


def members(task: CausalTask, tables: Tables, rng: np.random.Generator, count: int) -> list[Exact]:
    """Draw members of the family: new tables for the shifting mechanisms."""
    return [
        Exact.of(task.graph, tables | draw_tables(task.graph, rng, task.shifting))
        for _ in range(count)
    ]


def random_task(rng: np.random.Generator) -> CausalTask:
    """Draw a graph over label, attribute, three parts and one or two latents."""
    latents = ["U", "T"][: rng.integers(1, 3)]
    names = ["Y", "Z", "A", "B", "C", *latents]
    order = rng.permutation(names)
    edges = [pair for pair in itertools.combinations(order, 2) if rng.random() < 0.35]
    return CausalTask(
        edges=[tuple(map(str, pair)) for pair in edges],
        label="Y",
        attribute="Z",
        parts=["A", "B", "C"],
        latents=latents,
        undesired=[tuple(map(str, pair)) for pair in edges if rng.random() < 0.3],
    )
