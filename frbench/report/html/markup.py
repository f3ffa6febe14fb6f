"""HTML from Python values; all that is not made here is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

_EMPTY = {"meta", "link", "img"}


class Markup(str):
    """Text that is HTML already."""


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """Make an element; children and attributes are escaped unless they are `Markup`.

    Args:
        name: Of the element.
        children: Text, numbers or `Markup`; None is left out.
        attributes: ``class_`` becomes ``class``, ``data_value`` ``data-value``; None and False
            are left out, True has no value.

    Example:
        >>> print(tag("td", "a < b", tag("b", 1), class_="text", data_value=0.5, hidden=None))
        <td class="text" data-value="0.5">a &lt; b<b>1</b></td>
    """
    words = [name]
    for key, value in attributes.items():
        if value is not None and value is not False:
            attribute = key.rstrip("_").replace("_", "-")
            words.append(attribute if value is True else f'{attribute}="{escape(str(value))}"')
    opening = Markup(f"<{' '.join(words)}>")
    return opening if name in _EMPTY else Markup(f"{opening}{join(children)}</{name}>")


def join(children: Iterable[object]) -> Markup:
    """Put elements and texts one after the other."""
    return Markup(
        "".join(
            child if isinstance(child, Markup) else escape(str(child))
            for child in children
            if child is not None
        )
    )


def table(caption: str, header: Iterable[object], rows: Iterable[Sequence[object]]) -> Markup:
    """Make a table whose first column names the rows; entries may be cells already."""
    lines = (
        tag("tr", _cell("th", first, scope="row"), *(_cell("td", entry) for entry in rest))
        for first, *rest in rows
    )
    content = tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", *(_cell("th", entry, scope="col") for entry in header))),
        tag("tbody", *lines),
    )
    # A region that scrolls must be reachable by keyboard, and have a name.
    return tag("div", content, class_="scroll", tabindex=0, role="region", aria_label=caption)


def _cell(name: str, entry: object, **attributes: object) -> Markup:
    if isinstance(entry, Markup) and entry.startswith(("<td", "<th")):
        return entry
    return tag(name, entry, **attributes)
