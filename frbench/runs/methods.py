"""A table of all methods, made of what their classes say about themselves."""

from __future__ import annotations

import inspect
import re
from typing import Any, Literal, NamedTuple, get_args

from frbench.data.balance import Balance
from frbench.data.step import Augmentation, InputTransform
from frbench.runs.catalogue import exported, import_all

Axis = Literal[
    "training distribution", "group inference", "mixing", "objective", "penalty", "postprocessing"
]
AXES: tuple[Axis, ...] = get_args(Axis)
COLUMNS = ("axis", "method", "in one sentence", "training", "selection", "test", "source")
#: Balances and their variants are values of options, not classes: labels and source of those
#: that differ from the others'.
BALANCES = dict.fromkeys(get_args(Balance)[1:], ("y, z", "arXiv 2406.17433")) | {
    "class": ("y", "arXiv 2406.17433"),
    "label_given_attribute": ("y, z", "–"),
    "joint, marginals uniform": ("y, z", "arXiv 2110.14503"),
    "reweighing": ("y, z", "Kamiran and Calders (2012)"),
    "effective numbers": ("y, z", "arXiv 1901.05555"),
    "mixture": ("y", "arXiv 2407.13957"),
}


class Method(NamedTuple):
    """A line of the table.

    Attributes:
        axis: Which question it answers.
        name: Class, or value of ``data.balance``.
        summary: First sentence of its docstring.
        training: Columns of labels that training reads.
        selection: Columns that choosing a setting or fitting on held-out rows reads; ``monitor``
            where that is up to the metric that is monitored.
        test: Columns beside x that a decision reads unless told otherwise; a dash for none.
        source: arXiv ids, or the works that the docstring names.
    """

    axis: Axis
    name: str
    summary: str
    training: str
    selection: str
    test: str
    source: str


def summary(docstring: str) -> str:
    """Return the first sentence of a docstring, without markup.

    Example:
        >>> summary("Mean loss, see :class:`~frbench.objectives.ERM`.")
        'Mean loss, see ERM'
    """
    text = " ".join(inspect.cleandoc(docstring).split("\n\n")[0].split())
    first = re.split(r"\.(?=\s+[A-Z`]|$)", text)[0]
    return re.sub(r":\w+:`~?(?:\w+\.)*(\w+)`", r"\1", first).replace("``", "").rstrip(".")


def source(docstring: str) -> str:
    """Return the arXiv ids of a docstring, or else the first words behind ``Source:``.

    Example:
        >>> source("Source: arXiv 1911.08731, equation 5; 2110.14503.")
        'arXiv 1911.08731, 2110.14503'
        >>> source("A mean. Source: Gretton et al. (2005), equation 9.")
        'Gretton et al. (2005)'
    """
    text = " ".join(docstring.split())
    if ids := list(dict.fromkeys(re.findall(r"\b\d{4}\.\d{5}\b|\b\d{4}\.\d{4}\b", text))):
        return f"arXiv {', '.join(ids)}"
    found = re.search(r"Sources?: (.*?\((?:[A-Z]\w* )?\d{4}\)|[^.;]*)", text)
    return found[1].strip() if found else "–"


def _of_class(axis: Axis, cls: Any, training: str, selection: str = "monitor") -> Method:
    test = "z" if getattr(cls, "reads_attribute", False) else "–"
    doc = cls.__doc__ or ""
    return Method(axis, cls.__name__, summary(doc), training, selection, test, source(doc))


def methods() -> list[Method]:
    """List every method of the package, axis by axis."""
    classes: dict[str, Any] = dict(import_all())
    found: list[Method] = []
    for name, (labels, cited) in BALANCES.items():
        text = "Weights, draws or subsets of rows: see the page on balancing"
        found.append(Method(AXES[0], f"balance: {name}", text, labels, "monitor", "–", cited))
    for _, cls in sorted(classes.items()):
        kinds = (Augmentation, InputTransform)
        if inspect.isclass(cls) and issubclass(cls, kinds) and not inspect.isabstract(cls):
            found.append(_of_class(AXES[0], cls, "y, z"))
    for name in exported("infer"):
        cls = classes[name]
        found.append(_of_class("group inference", cls, "y, z" if cls.sees_attribute else "y"))
    for name in exported("mixing"):
        cls = classes[name]
        found.append(_of_class("mixing", cls, "y, z" if cls.sees_attribute else "y"))
    trained: tuple[tuple[Axis, Any], ...] = (("objective", "model"), ("penalty", "penalty"))
    for axis, kind in trained:
        for name in exported(kind):
            unseen = classes[name].properties.attributes == "unseen"
            found.append(_of_class(axis, classes[name], "y" if unseen else "y, z"))
    for name in exported("postprocessing"):
        needs = ", ".join(classes[name].needs)
        held_out, training = ("–", needs) if classes[name].fits_on == "train" else (needs, "y")
        found.append(_of_class("postprocessing", classes[name], training, held_out))
    return found
