"""The balanced law by enumeration of graphs: the slow reference for `BalancedModel`."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import networkx as nx

from frbench.causal import CausalTask, Independence


def statements(nodes) -> Iterator[Independence]:
    """Yield each pair of nodes with each conditioning set from the rest."""
    for a, b in itertools.combinations(nodes, 2):
        rest = [node for node in nodes if node not in (a, b)]
        for size in range(len(rest) + 1):
            for given in itertools.combinations(rest, size):
                yield Independence(a, b, given)


class EnumeratedModel:
    """Q by brute force: the d-separations of the graphs of all orders of the nodes.

    Join each node to its Markov boundary among the earlier ones. If the later of Y and Z has no
    neighbour there but the other, P has the factor P(Z | Y) or P(Y | Z), and Q is P with that one
    edge dropped. The search follows sets of earlier nodes instead of orders, and keeps one graph
    of each set with the same adjacencies and colliders (Verma and Pearl, 1990).
    """

    def __init__(self, task: CausalTask) -> None:
        self.task, self._boundaries = task, {}
        nothing = frozenset()
        layers = [{} for _ in range(len(task.nodes) + 1)]
        layers[0][nothing] = {(nothing, nothing): nothing}
        for layer in layers[:-1]:
            for earlier, graphs in layer.items():
                for step in self._steps(earlier):
                    placed = earlier.union(node for node, _ in step)
                    longer = layers[len(placed)].setdefault(placed, {})
                    for (joined, colliders), edges in graphs.items():
                        for node, parents in step:
                            pairs = map(frozenset, itertools.combinations(parents, 2))
                            colliders |= {(pair, node) for pair in pairs if pair not in joined}
                            edges |= {(parent, node) for parent in parents}
                            joined |= {frozenset((parent, node)) for parent in parents}
                        longer.setdefault((joined, colliders), edges)
        self.graphs = [task.draw(edges) for edges in layers[-1][frozenset(task.nodes)].values()]

    def independent(self, a, b, given=()) -> bool:
        left, right = ({s} if isinstance(s, str) else set(s) for s in (a, b))
        return any(nx.is_d_separator(graph, left, right, set(given)) for graph in self.graphs)

    def _boundary(self, node, earlier):
        key = node, earlier
        if key not in self._boundaries:
            self._boundaries[key] = frozenset(
                other
                for other in earlier
                if not nx.is_d_separator(self.task.graph, {node}, {other}, set(earlier - {other}))
            )
        return self._boundaries[key]

    def _steps(self, earlier):
        label, attribute = self.task.label, frozenset(self.task.attribute)
        for node in self.task.nodes:
            if node in earlier:
                continue
            parents = self._boundary(node, earlier)
            if node == label and attribute & earlier:
                if attribute <= earlier and parents <= attribute:
                    yield [(node, frozenset())]
            elif node not in attribute or label not in earlier:
                yield [(node, parents)]
        if label in earlier and not attribute & earlier:
            others = set(earlier - {label})
            if not others or nx.is_d_separator(self.task.graph, set(attribute), others, {label}):
                for order in itertools.permutations(self.task.attribute):
                    yield [
                        (node, self._boundary(node, frozenset(order[:i])))
                        for i, node in enumerate(order)
                    ]


def varied_task(seed: int) -> CausalTask:
    """Draw a task of four to eight nodes with all roles that there are."""
    rng = random.Random(seed)
    size = rng.randint(4, 8)
    names = ["Y", "Z", *(f"N{i}" for i in range(size - 2))]
    order = names[:]
    rng.shuffle(order)
    density = rng.choice((0.25, 0.35, 0.5))
    edges = [pair for pair in itertools.combinations(order, 2) if rng.random() < density]
    roles = {"parts": ["N0"], "latents": [], "measured": [], "attribute": ["Z"]}
    for node in names[3:]:
        (role,) = rng.choices(("parts", "latents", "measured", "attribute"), (6, 3, 1, 1))
        roles[role].append(node)
    undesired = [edge for edge in edges if rng.random() < 0.3]
    shifting = None if rng.random() < 0.6 else sorted(rng.sample(names[1:], rng.randint(0, 2)))
    return CausalTask(
        edges, label="Y", undesired=undesired, shifting=shifting, name=f"random{seed}", **roles
    )
