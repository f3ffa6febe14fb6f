"""Drawings of causal graphs: roles by colour, undesired edges in red, shifts marked."""

from __future__ import annotations

import random
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np

from frbench.causal.graph import CausalTask, Edge
from frbench.contracts.errors import UserError
from frbench.support.atomic import replacing

# Role: fill (tints of Okabe and Ito's colours, on which black text is readable) and legend.
_ROLES = {
    "label": ("#9ecae9", "label"),
    "attribute": ("#f6b58a", "attribute"),
    "core": ("#a8dcc6", "core of X"),
    "entangled": ("#dcb9d6", "entangled part"),
    "spurious": ("#f8dcc4", "spurious part"),
    "other": ("#ececec", "other part"),
    "measured": ("#ffffff", "measured besides"),
    "latent": ("#ffffff", "hidden"),
}
_INK, _RED, _DASHED = "#333333", "#d1242f", (0, (4, 2.5))

Point = tuple[float, float]


def plot(task: CausalTask, path: Path | str) -> None:
    """Draw the graph of a task.

    Args:
        task: The task.
        path: Image to write; its ending is the format.

    Raises:
        UserError: If the image cannot be written there.
    """
    # Without pyplot: the backend of a notebook that calls this stays as it is.
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    routes = layout(task)
    xs, ys = zip(*(point for route in routes.values() for point in route), strict=True)
    unit = max(1.35, 0.13 * max(map(len, task.nodes)) + 0.6)
    width, height = (max(xs) - min(xs) + 1.2) * unit, (max(ys) - min(ys)) * 1.05 + 2.1
    figure = Figure(figsize=(max(5.2, width), height), layout="constrained")
    ax = figure.subplots()
    ax.set(xlim=(min(xs) - 0.6, max(xs) + 0.6), ylim=(min(ys) - 0.45, max(ys) + 0.5))
    ax.axis("off")
    ax.set_title(task.name + f": {task.note}" * bool(task.note), fontsize=11, loc="left")
    roles = task.kinds | dict.fromkeys(task.measured, "measured")
    roles |= dict.fromkeys(task.latents, "latent") | dict.fromkeys(task.attribute, "attribute")
    roles[task.label] = "label"
    styles: dict[str, dict[str, Any]] = {
        role: {"facecolor": fill, "edgecolor": _INK, "ls": _DASHED if role == "latent" else "-"}
        for role, (fill, _) in _ROLES.items()
    }
    boxes: dict[str, Any] = {}
    for node in task.nodes:
        shape = "ellipse,pad=0.35" if roles[node] == "latent" else "round,pad=0.5"
        style = {"boxstyle": shape, **styles[roles[node]]}
        text = ax.text(
            *routes[node, node][0], node, ha="center", va="center", bbox=style, zorder=3
        )
        boxes[node] = text.get_bbox_patch()
    handles: list[Any] = [
        Patch(label=label, **styles[role])
        for role, (_, label) in _ROLES.items()
        if role in roles.values()
    ]
    if task.undesired:
        handles.append(Line2D([], [], color=_RED, ls=_DASHED, label="undesired edge"))
    if task.shifting:
        handles.append(Line2D([], [], color=_RED, marker="s", ls="", label="mechanism may shift"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    try:
        figure.draw_without_rendering()  # the boxes get their size when drawn; arrows end at them
        for edge in task.edges:
            undesired = edge in task.undesired
            arrow = {
                "arrowstyle": "-|>",
                "mutation_scale": 14,
                "linewidth": 1.5,
                "color": _RED if undesired else _INK,
                "linestyle": _DASHED if undesired else "-",
                "connectionstyle": curve(ax.transData.transform(routes[edge])),
                "patchA": boxes[edge[0]],
                "patchB": boxes[edge[1]],
                "shrinkA": 1,
                "shrinkB": 2,
            }
            ax.annotate("", routes[edge][-1], routes[edge][0], arrowprops=arrow, zorder=2)
        for node in task.shifting:
            box = boxes[node].get_window_extent()
            corner = ax.transData.inverted().transform((box.x1, box.y1))
            ax.plot(*corner, "s", color=_RED, markersize=7, zorder=4, markeredgecolor="white")
        with replacing(path) as part:
            figure.savefig(part, dpi=160)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"Cannot write {str(path)!r}: {reason}") from None


def layout(task: CausalTask) -> dict[Edge, list[Point]]:
    """Place nodes in layers, causes above effects, so that few edges cross.

    An edge over several layers keeps a place in each of them, so that it passes no node.

    Args:
        task: The task.

    Returns:
        The points of each edge from top to bottom, and the one point of ``(node, node)``.
    """
    depth = {n: i for i, row in enumerate(nx.topological_generations(task.graph)) for n in row}
    for node in task.nodes:
        # A root sits just above its first effect, not at the top of the page.
        if not task.graph.in_degree(node):
            depth[node] = min((depth[n] for n in task.graph.successors(node)), default=1) - 1
    chains: dict[Edge, list[Any]] = {(node, node): [node] for node in task.nodes}
    for a, b in task.edges:
        chains[a, b] = [a, *((a, b, level) for level in range(depth[a] + 1, depth[b])), b]
    level = depth | {n: n[2] for chain in chains.values() for n in chain[1:-1]}
    rows = [[n for n in level if level[n] == i] for i in range(max(level.values()) + 1)]
    segments = [pair for chain in chains.values() for pair in pairwise(chain)]

    def places(rows: list[list[Any]]) -> dict[Any, Point]:
        return {n: (i - (len(r) - 1) / 2, -float(level[n])) for r in rows for i, n in enumerate(r)}

    def cost(rows: list[list[Any]]) -> float:
        x: dict[Any, float] = {node: place[0] for node, place in places(rows).items()}
        crossings: int = sum(
            level[a] == level[c] and (x[a] - x[c]) * (x[b] - x[d]) < 0
            for (a, b), (c, d) in combinations(segments, 2)
        )
        return 20 * crossings + sum(abs(x[a] - x[b]) for a, b in segments)

    rng, found = random.Random(0), []
    for _ in range(10):
        best = cost(rows)
        swaps = [(row, i, j) for row in rows for i, j in combinations(range(len(row)), 2)]
        while swaps:
            for row, i, j in swaps:
                row[i], row[j] = row[j], row[i]
                if (new := cost(rows)) < best - 1e-9:
                    best = new
                    break
                row[i], row[j] = row[j], row[i]
            else:
                break
        found.append((best, places(rows)))
        for row in rows:
            rng.shuffle(row)
    place = min(found, key=lambda pair: pair[0])[1]
    return {edge: [place[node] for node in chain] for edge, chain in chains.items()}


def curve(route: np.ndarray) -> str:
    """Return matplotlib's connection style of an arc whose middle is that of a route [P, 2]."""
    if len(route) == 2:
        return "arc3"
    start, end = route[0], route[-1]
    middle = (route[(len(route) - 1) // 2] + route[len(route) // 2]) / 2
    control = 2 * middle - (start + end) / 2
    out, back = (np.degrees(np.arctan2(*(control - point)[::-1])) for point in (start, end))
    return "arc3" if abs((out - back) % 180) < 1 else f"angle3,angleA={out},angleB={back}"
