"""What every study writes: a table of rows, means with spread, a figure."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from frbench.support.atomic import replacing


def subplots(rows: int, columns: int, width: float = 4.2, height: float = 3.2) -> Any:
    """Make a figure without a display: (figure, axes [rows, columns])."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams |= {"axes.spines.top": False, "axes.spines.right": False, "font.size": 9}
    return plt.subplots(rows, columns, figsize=(width * columns, height * rows),
                        squeeze=False, layout="constrained")  # fmt: skip


def save(figure: Any, path: Path) -> None:
    """Write a figure and forget it."""
    import matplotlib.pyplot as plt

    with replacing(path) as part:
        figure.savefig(part, dpi=110)
    plt.close(figure)
    print(f"wrote {path}")


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows with equal keys as CSV."""
    rows = list(rows)
    with replacing(path) as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"wrote {path}")


def choose(rows: list[dict[str, Any]], **where: Any) -> list[dict[str, Any]]:
    """Rows that have all of the given values.

    Example:
        >>> choose([{"a": 1, "b": 2}, {"a": 3, "b": 2}], a=3)
        [{'a': 3, 'b': 2}]
    """
    return [row for row in rows if all(row[key] == value for key, value in where.items())]


def distinct(rows: list[dict[str, Any]], key: str) -> list[Any]:
    """Values of a column, each once, in the order of the rows."""
    return list(dict.fromkeys(row[key] for row in rows))


def spread(values: Iterable[float], digits: int = 3) -> str:
    """Format mean ± standard deviation (n - 1).

    Example:
        >>> spread([0.5, 0.7])
        '0.600 ± 0.141'
    """
    column = np.asarray(list(values), dtype=float)
    deviation = f"{column.std(ddof=1):.{digits}f}" if len(column) > 1 else "?"
    return f"{column.mean():.{digits}f} ± {deviation}"


def markdown(header: list[str], rows: Iterable[Iterable[Any]]) -> str:
    """Write a Markdown table.

    Example:
        >>> print(markdown(["a", "b"], [[1, 2]]))
        | a | b |
        |---|---|
        | 1 | 2 |
    """
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in [header, *rows]]
    return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]])
