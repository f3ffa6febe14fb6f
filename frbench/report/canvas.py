"""What all figures share: colours, marks, axes, files, and SVG that follows a page's colours.

Figures are made without pyplot, so that none stays open and no backend is chosen for others.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.etree import ElementTree

from frbench.contracts.text import printable
from frbench.support.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours without yellow, which is too light on white; with eight shapes, whose
# number has no common divisor with theirs, the first 56 methods differ.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
SHAPES = "osD^vPX<"
GREY = "#6b6b6b"
GRID = "#e6e6e6"
BROAD = "#c9c9c9"
#: Inches of a figure of the page: as wide as a telephone shows at the size of its texts.
WIDTH = 4.4
#: What a colour is called in the page, which has light and dark ones.
_THEME = {
    "#ffffff": "paper", GREY: "soft", GRID: "line", BROAD: "broad",
    **{color: f"c{i}" for i, color in enumerate(COLORS)},
}  # fmt: skip
_SVG = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"


def look(index: int) -> tuple[str, str]:
    """Return colour and shape of the method, or group, of that number."""
    return COLORS[index % len(COLORS)], SHAPES[index % len(SHAPES)]


def plain(name: str) -> str:
    r"""Write a name so that matplotlib shows it as it is: no formula, and in the legend.

    Example:
        >>> plain("a$b$"), plain("_hidden") == "\u2009_hidden"
        ('a\\$b\\$', True)
    """
    text = printable(name).replace("$", r"\$")
    return f"\u2009{text}" if text.startswith("_") else text


def axis_name(metric: str, sign: int) -> str:
    """Name a metric and say which of its directions is better."""
    better = {1: "higher is better", -1: "lower is better", 0: "no better direction"}
    return f"{plain(metric.replace('_', ' '))}\n({better[sign]})"


class Margins(NamedTuple):
    """Inches around each panel, for its texts."""

    left: float = 0.85
    right: float = 0.22  # half of a tick's label
    bottom: float = 0.62
    top: float = 0.15


MARGINS = Margins()


def panels(
    count: int,
    size: tuple[float, float],
    columns: int = 2,
    margins: Margins = MARGINS,
    below: float = 0.0,
) -> tuple[Figure, list[Axes]]:
    """Make a figure of equal panels, row by row.

    Margins are given, not found: to measure all texts takes longer than to draw them.

    Args:
        count: Panels.
        size: Inches of one, with its margins.
        columns: Panels side by side at most.
        margins: Around each panel.
        below: Inches below the panels, for a key and a caption.
    """
    from matplotlib.figure import Figure

    columns = min(columns, count)
    lines = -(-count // columns)
    width, height = size[0] * columns, size[1] * lines + below
    figure = Figure((width, height))
    axes = []
    for i in range(count):
        line, column = divmod(i, columns)
        left = column * size[0] + margins.left
        low = (lines - 1 - line) * size[1] + below + margins.bottom
        inner = size[0] - margins.left - margins.right, size[1] - margins.bottom - margins.top
        axes.append(figure.add_axes((left / width, low / height,
                                     inner[0] / width, inner[1] / height)))  # fmt: skip
    return figure, axes


def tidy(ax: Axes, title: str = "") -> None:
    """Draw a faint grid below the data and no frame; a title at the left."""
    ax.set_title(title, fontsize=11, loc="left")
    ax.grid(color=GRID, lw=0.6, clip_on=False)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(GREY)
    ax.tick_params(left=False, bottom=False, labelsize=9)
    ax.locator_params(nbins=6)


def _key_columns(names: Sequence[str], width: float) -> int:
    """Return how many columns of these names fit into so many inches."""
    longest = max((len(line) for name in names for line in name.split("\n")), default=1)
    return max(1, int(width / (0.5 + 0.068 * longest)))


def keyed(names: Sequence[str], width: float = WIDTH, lines: int = 1) -> float:
    """Return the inches below the panels that a key of these names and a caption take."""
    return 0.17 + 0.13 * lines + 0.18 * -(-len(names) // _key_columns(names, width))


def finish(figure: Figure, note: str) -> None:
    """Name the marks below the panels, each once, and say what they mean."""
    marks: dict[str, Any] = {}
    for ax in figure.axes:
        marks |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    width, height = figure.get_size_inches()
    low = 0.09 + 0.13 * (note.count("\n") + 1)
    if marks:
        figure.legend(marks.values(), marks, loc="lower left", ncols=_key_columns([*marks], width),
                      fontsize=8.5, bbox_to_anchor=(0, low / height), frameon=False, borderpad=0.2,
                      borderaxespad=0.1, labelspacing=0.3, columnspacing=1.2)  # fmt: skip
    figure.text(0.08 / width, 0.07 / height, note, fontsize=8, color=GREY)


def picture(figure: Figure, form: str, dpi: float = 150) -> bytes:
    """Return a figure as png, pdf or svg; the same figure gives the same bytes."""
    # Without the date that some formats hold.
    stamp: Any = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(form)
    stream = BytesIO()
    figure.savefig(stream, format=form, dpi=dpi, metadata=stamp)
    return stream.getvalue()


def save(figure: Figure, path: Path, dpi: float = 150) -> None:
    """Write a figure; the ending of the name is its format."""
    content = picture(figure, path.suffix.removeprefix("."), dpi)
    with replacing(path) as part:
        part.write_bytes(content)


def svg(figure: Figure, label: str) -> str:
    """Return a figure as an SVG element that stands in a page.

    Its colours are variables of the page's style sheet (``--ink``, ``--paper``, ``--soft``,
    ``--line``, ``--broad``, ``--c0`` to ``--c6``) and its texts are texts, in the page's font. It
    has no ``style``, which a content security policy would have to allow.

    Args:
        figure: The figure.
        label: What it shows, for those who do not see it; no two figures of a page have the same.
    """
    from matplotlib import rc_context

    figure.patch.set_visible(False)
    for ax in figure.axes:
        ax.patch.set_visible(False)
        for artist in ax.get_children():  # all lie inside, and a path to clip each is long
            artist.set_clip_on(False)
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": label}):
        text = picture(figure, "svg").decode()
    root = ElementTree.fromstring(text)
    _themed(root, set(re.findall(r'(?:url\(|href=")#([^)"]+)', text)))
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": label}
    ElementTree.register_namespace("", _SVG[1:-1])
    return re.sub(r">\s+<", "><", ElementTree.tostring(root, "unicode")).replace(" />", "/>")


def _themed(node: ElementTree.Element, used: set[str]) -> None:
    """Turn styles into attributes, colours into the page's; drop what has no effect."""
    given = node.attrib
    style = [part.partition(":") for part in given.pop("style", "").split(";") if part.strip()]
    given |= {key.strip(): value.strip() for key, _, value in style}
    if (link := given.pop(_LINK, None)) is not None:
        given["href"] = link
    if given.get("id") not in used:
        given.pop("id", None)
    if given.get("transform", "").startswith("rotate(-0 "):
        del given["transform"]
    for key in given.keys() & {"font-family", "stroke-linejoin", "stroke-linecap"}:
        del given[key]
    for key, _ in given.items() & {("stroke-dashoffset", "0"), ("text-anchor", "start")}:
        del given[key]
    for key in given.keys() & {"fill", "stroke"}:
        given[key] = f"var(--{_THEME[given[key]]})" if given[key] in _THEME else given[key]
    for key in given.keys() & {"d", "x", "y", "transform"}:
        given[key] = re.sub(r"(\.[1-9])\d+|\.0\d*", r"\1", given[key].strip())
    if path := re.sub(r"\s*([A-Za-z])\s*", r"\1", given.get("d", "")):  # a line needs no letter
        given["d"] = path if "C" in path else path.replace("L", " ")
    for child in node:
        _themed(child, used)
    inner: list[ElementTree.Element] = []
    for child in node:
        if child.tag == f"{_SVG}g" and not child.attrib:
            inner += child
        elif not child.tag.endswith(("}metadata", "}style")) and len(child) + len(child.attrib):
            inner.append(child)
    node[:] = inner
    # What all marks of a group have alike, the group has.
    if node.tag == f"{_SVG}g" and len(inner) > 1:
        for key in ("fill", "stroke", "stroke-width"):
            values = {child.get(key, "") for child in inner}
            if len(values) == 1 and "" not in values and key not in given:
                given[key] = values.pop()
                for child in inner:
                    del child.attrib[key]


def shortened(names: Sequence[str], letters: int) -> list[str]:
    """Cut long names, at their ends."""
    return [name if len(name) <= letters else f"{name[: letters - 1]}…" for name in names]
