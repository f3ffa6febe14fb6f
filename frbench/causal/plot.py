"""A drawing of a causal graph: roles by colour, undesired edges in red, shifts marked."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np

from frbench.causal.graph import CausalTask
from frbench.contracts.errors import UserError
from frbench.support.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Tints of Okabe and Ito's colours, on which black text is readable.
_FILL = {
    "label": "#9ecae9",
    "factor": "#f6b58a",
    "core": "#a8dcc6",
    "entangled": "#dcb9d6",
    "spurious": "#f8dcc4",
    "other": "#ececec",
    "measured": "#ffffff",
    "latent": "#ffffff",
}
_LEGEND = {
    "label": "label",
    "factor": "factor",
    "core": "core of X",
    "entangled": "entangled part",
    "spurious": "spurious part",
    "other": "other part",
    "measured": "measured besides",
    "latent": "hidden",
}
_INK, _RED = "#333333", "#d1242f"
_CLEAR = 0.28  # an edge closer than this to a node that it does not join counts as a hit

Places = dict[str, tuple[float, float]]


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

    places = layout(task)
    across = [x for x, _ in places.values()]
    down = [y for _, y in places.values()]
    unit = max(1.35, 0.13 * max(map(len, task.nodes)) + 0.6)
    size = ((max(across) - min(across) + 1.2) * unit, (max(down) - min(down) + 1) * 1.05 + 1.1)
    figure = Figure(figsize=(max(5.2, size[0]), size[1]), layout="constrained")
    ax = figure.subplots()
    try:
        ax.set_xlim(min(across) - 0.6, max(across) + 0.6)
        ax.set_ylim(min(down) - 0.45, max(down) + 0.5)
        ax.axis("off")
        _draw(ax, task, places)
        title = task.name + f": {task.note}" * bool(task.note)
        ax.set_title(title, fontsize=11, loc="left")
        handles = _handles(task)
        figure.legend(
            handles=handles, loc="outside lower center", ncols=3, fontsize=8, frameon=False
        )
        with replacing(path) as part:
            figure.savefig(part, dpi=160)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"Cannot write {str(path)!r}: {reason}") from None


def _draw(ax: Axes, task: CausalTask, places: Places) -> None:
    boxes: dict[str, Any] = {}
    for node in task.nodes:
        role = _role(task, node)
        latent = role == "latent"
        style = {
            "boxstyle": "ellipse,pad=0.35" if latent else "round,pad=0.5,rounding_size=0.35",
            "facecolor": _FILL[role],
            "edgecolor": _INK,
            "linestyle": (0, (3, 2)) if latent else "solid",
        }
        text = ax.text(
            *places[node], node, ha="center", va="center", fontsize=11, bbox=style, zorder=3
        )
        boxes[node] = text.get_bbox_patch()
    # The boxes get their size when drawn; arrows end at them.
    ax.figure.canvas.draw()
    for edge in task.edges:
        undesired = edge in task.undesired
        ax.annotate(
            "",
            places[edge[1]],
            places[edge[0]],
            arrowprops={
                "arrowstyle": "-|>",
                "mutation_scale": 14,
                "linewidth": 1.5,
                "color": _RED if undesired else _INK,
                "linestyle": (0, (5, 2.5)) if undesired else "solid",
                "connectionstyle": f"arc3,rad={_bend(edge, places)}",
                "patchA": boxes[edge[0]],
                "patchB": boxes[edge[1]],
                "shrinkA": 1,
                "shrinkB": 2,
            },
            zorder=2,
        )
    for node in task.shifting:
        box = boxes[node].get_window_extent()
        corner = ax.transData.inverted().transform((box.x1, box.y1))
        ax.plot(*corner, "s", color=_RED, markersize=7, zorder=4, markeredgecolor="white")


def _role(task: CausalTask, node: str) -> str:
    if node == task.label:
        return "label"
    for role, nodes in (
        ("factor", task.factor),
        ("latent", task.latents),
        ("measured", task.measured),
    ):
        if node in nodes:
            return role
    return task.kinds[node]


def _handles(task: CausalTask) -> list[Any]:
    """Legend entries for what the drawing contains."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    used = dict.fromkeys(_role(task, node) for node in task.nodes)
    handles: list[Any] = [
        Patch(
            facecolor=_FILL[role],
            edgecolor=_INK,
            linestyle=(0, (3, 2)) if role == "latent" else "solid",
            label=label,
        )
        for role, label in _LEGEND.items()
        if role in used
    ]
    if task.undesired:
        style = (0, (5, 2.5))
        handles.append(Line2D([], [], color=_RED, linestyle=style, label="undesired edge"))
    if task.shifting:
        handles.append(
            Line2D([], [], color=_RED, marker="s", linestyle="none", label="mechanism may shift")
        )
    return handles


def layout(task: CausalTask) -> Places:
    """Place causes above effects so that few edges cross or run through a node.

    Args:
        task: The task.

    Returns:
        x and y of each node, in units of a node's distance.
    """
    depth: dict[str, int] = {}
    for node in nx.topological_sort(task.graph):
        above = [depth[parent] for parent in task.graph.predecessors(node)]
        depth[node] = max(above, default=-1) + 1
    for node in task.nodes:
        # A root sits just above its first effect, not at the top of the page.
        below = [depth[child] for child in task.graph.successors(node)]
        if not task.graph.in_degree(node) and below:
            depth[node] = min(below) - 1
    rows = [
        [n for n in task.nodes if depth[n] == level] for level in range(max(depth.values()) + 1)
    ]
    places = {
        node: (i - (len(row) - 1) / 2, -float(level))
        for level, row in enumerate(rows)
        for i, node in enumerate(row)
    }
    slots = np.arange(-len(task.nodes), len(task.nodes) + 1) / 2
    cost = _cost(task, places)
    improved = True
    while improved:
        improved = False
        for trial in _moves(rows, places, slots):
            new = _cost(task, trial)
            if new < cost - 1e-9:
                places, cost, improved = trial, new, True
                break
    return places


def _moves(rows: list[list[str]], places: Places, slots: np.ndarray) -> Any:
    """Yield layouts with one node moved within its row, or two of a row exchanged."""
    for row in rows:
        for node in row:
            for x in slots:
                if all(abs(x - places[other][0]) >= 1 for other in row if other != node):
                    yield places | {node: (float(x), places[node][1])}
        for a, b in itertools.combinations(row, 2):
            yield places | {a: places[b], b: places[a]}


def _cost(task: CausalTask, places: Places) -> float:
    """Edges through nodes, then crossings, then length and width."""
    segments = [(np.array(places[a]), np.array(places[b])) for a, b in task.edges]
    hits = sum(
        _distance(np.array(places[node]), *segment) < _CLEAR
        for edge, segment in zip(task.edges, segments, strict=True)
        for node in task.nodes
        if node not in edge
    )
    crossings = sum(_cross(*one, *two) for one, two in itertools.combinations(segments, 2))
    length = sum(float(np.abs(b[0] - a[0])) for a, b in segments)
    xs = [x for x, _ in places.values()]
    return 50.0 * hits + 20.0 * crossings + length + 0.5 * (max(xs) - min(xs)) + 0.1 * abs(sum(xs))


def _distance(point: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    along = float(np.clip((point - a) @ (b - a) / max((b - a) @ (b - a), 1e-9), 0, 1))
    return float(np.linalg.norm(point - a - along * (b - a)))


def _cross(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> bool:
    def side(p: np.ndarray, q: np.ndarray, r: np.ndarray) -> float:
        return float((q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]))

    return side(a, b, c) * side(a, b, d) < -1e-9 and side(c, d, a) * side(c, d, b) < -1e-9


def _bend(edge: tuple[str, str], places: Places) -> float:
    """Bow an edge around a node that lies on it."""
    a, b = (np.array(places[node]) for node in edge)
    hit = any(
        _distance(np.array(place), a, b) < _CLEAR
        for node, place in places.items()
        if node not in edge
    )
    return 0.3 if hit else 0.0
