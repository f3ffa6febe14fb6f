"""The graphs of arXiv 2406.17433 and of its failure modes, by name."""

from __future__ import annotations

from importlib import resources

import yaml

from frbench.causal.graph import CausalTask
from frbench.contracts.errors import UserError

# name: (edges, undesired, latents, shifting, note). Parts of X: XZ, XY, XYZ, XV or X.
_GRAPHS = {
    "a": ("U>Y U>Z Y>XZ Z>XY", "U>Y U>Z", "U", "Z", "anti-causal, purely spurious"),
    "a2": ("Y>Z Y>XZ Z>XY", "Y>Z", "", "Z", "a without confounder: Z is drawn given Y"),
    "a3": ("T>Y T>Z T>XZ Z>XY", "T>Z", "T", "Z", "label noise after confounding"),
    "b": ("XZ>Y U>Y U>Z Z>XY", "U>Y U>Z", "U", "Z", "causal, purely spurious"),
    "c": (
        "U1>Y U1>Z U2>Y U2>V U3>Z U3>V Y>XZ Z>XY V>XV",
        "U1>Y U1>Z U2>Y U2>V U3>Z U3>V",
        "U1 U2 U3 V",
        "Z V",
        "a further confounded factor V",
    ),
    "c2": ("Y>Z Y>V Y>XZ Z>XY V>XV", "Y>Z Y>V", "V", "Z V", "c with Z and V drawn given Y"),
    "c3": ("T>Y T>Z T>V T>XZ Z>XY V>XV", "T>Z T>V", "T V", "Z V", "c2 with label noise"),
    "d": ("U>Y U>Z Y>XZ Y>XYZ Z>XYZ", "U>Y U>Z", "U", "Z", "anti-causal, entangled"),
    "e": ("XZ>Y Z>XYZ XYZ>Y U>Y U>Z Z>XY", "U>Y U>Z", "U", "Z", "causal and entangled"),
    "ex1": ("Z>X X>Y U>Z U>Y", "U>Z U>Y", "U", "Z", "Appendix C, example 1"),
    "ex2": ("X>Y U>Z U>Y", "U>Z U>Y", "U", "Z", "Appendix C, example 2"),
    "ex3": ("Z>X X>Y", "Z>X", "", "Z", "Appendix C, example 3"),
    "ex4": ("Y>X U>Z U>Y Z>W W>X", "U>Z U>Y", "U W", "Z", "Appendix C, example 4"),
}

#: Names of the graphs, in the order of the catalogue.
EXAMPLES = tuple(_GRAPHS)
#: Graphs of real data sets; their files give a reason for each edge.
REAL = ("adult", "compas", "lsac", "qmnist_writers")


def source(name: str) -> str | None:
    """Return the file of a graph of a real data set, None for one of the catalogue."""
    if name not in REAL:
        return None
    return resources.files("frbench.causal").joinpath("tasks", f"{name}.yaml").read_text("utf-8")


def example(name: str) -> CausalTask:
    """Return a graph of the catalogue.

    Source: Table 1 (a-d) and Appendix C (ex1-ex4) of arXiv 2406.17433; a2 and c2 are what its
    image generators do, a3, c3 and e are further failure modes. The graphs of real data sets are
    frbench's own reading of the literature on them.

    Raises:
        UserError: If there is no graph of that name.

    Example:
        >>> example("d").kinds
        {'XZ': 'core', 'XYZ': 'entangled'}
    """
    if (text := source(name)) is not None:
        return CausalTask(**yaml.safe_load(text))
    if name not in _GRAPHS:
        raise UserError(f"No example graph {name!r}: use one of {', '.join([*EXAMPLES, *REAL])}.")
    edges, undesired, latents, shifting, note = (field.split() for field in _GRAPHS[name])
    ends = {node for edge in edges for node in edge.split(">")}
    return CausalTask(
        edges=edges,
        label="Y",
        attribute="Z",
        parts=[part for part in ("X", "XZ", "XY", "XYZ", "XV") if part in ends],
        latents=latents,
        undesired=undesired,
        shifting=shifting,
        name=name,
        note=" ".join(note),
    )
