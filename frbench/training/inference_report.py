"""What the first stage of a method with group inference found, beside the known attribute."""

from __future__ import annotations

from typing import Any

import numpy as np

from frbench.support.sheet import Sheet


def cross_table(
    inferred: np.ndarray, y: np.ndarray, known: np.ndarray, shape: tuple[int, int, int]
) -> np.ndarray:
    """Count rows by label, inferred value and known attribute [C, A', A + 1].

    Args:
        inferred: Inferred values; rows with -1 are left out [N].
        y: Labels [N].
        known: Attributes; rows with -1 are counted last [N].
        shape: C, A' and A.

    Example:
        >>> z, y = np.array([0, 1, 1]), np.array([0, 0, 1])
        >>> cross_table(z, y, np.array([1, -1, 0]), (2, 2, 2)).tolist()
        [[[0, 1, 0], [0, 0, 1]], [[0, 0, 0], [1, 0, 0]]]
    """
    classes, values, attributes = shape
    there = inferred >= 0
    cell = (y * values + inferred) * (attributes + 1) + known % (attributes + 1)
    size = classes * values * (attributes + 1)
    counts = np.bincount(cell[there], minlength=size)
    return counts.reshape(classes, values, attributes + 1)


def inference_report(
    z: np.ndarray, y: np.ndarray, known: np.ndarray, num_attributes: int
) -> dict[str, float]:
    """Return the number of rows of each inferred value, and its agreement with the known ones.

    Args:
        z: Inferred attributes, -1 where unknown [N].
        y: Labels [N].
        known: Attributes of the data, -1 where unknown; used for this report alone [N].
        num_attributes: A'.

    Returns:
        Values by ``inferred/rows/<z'>`` and ``inferred/adjusted_rand/<y>``, the adjusted Rand
        index of inferred and known values within a class.
    """
    from sklearn.metrics import adjusted_rand_score

    report = {f"inferred/rows/{i}": float((z == i).sum()) for i in range(num_attributes)}
    for label in np.unique(y):
        rows = (y == label) & (z >= 0) & (known >= 0)
        if rows.any():
            report[f"inferred/adjusted_rand/{label}"] = float(
                adjusted_rand_score(known[rows], z[rows])
            )
    return report


def inferred_sheet(found: dict[str, Any]) -> Sheet:
    """Lay out the rows of each class and inferred value by known attribute.

    Args:
        found: ``classes`` and ``attributes`` by name, and ``counts`` as :func:`cross_table` gives.

    Example:
        >>> counts = [[[5, 1, 0], [0, 4, 0]], [[2, 0, 0], [1, 3, 0]]]
        >>> found = {"classes": ["a", "b"], "attributes": ["f", "m"], "counts": counts}
        >>> inferred_sheet(found).columns
        ['', '', 'z=f', 'z=m']
    """
    names = [*found["attributes"], "unknown"]
    some = np.asarray(found["counts"]).sum((0, 1)) > 0
    rows = [
        [f"y={label}", f"inferred={value}", *np.asarray(row)[some].tolist()]
        for label, values in zip(found["classes"], found["counts"], strict=True)
        for value, row in enumerate(values)
    ]
    shown = [f"z={name}" for name, there in zip(names, some, strict=True) if there]
    return Sheet("training rows by inferred and known attribute", ["", "", *shown], rows)
