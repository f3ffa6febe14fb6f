"""The proportions that the metrics of a count table are made of; numpy only."""

import numpy as np

RATES = (
    "selection_rate",
    "true_positive_rate",
    "false_positive_rate",
    "positive_predictive_value",
)


def positive_classes(num_classes: int) -> list[int]:
    """Return the classes taken against the rest: class 1 of two, each of more.

    Example:
        >>> positive_classes(2), positive_classes(3)
        ([1], [0, 1, 2])
    """
    return [1] if num_classes == 2 else list(range(num_classes))


def shares(counts: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return part and whole of every proportion that the metrics are made of.

    The last axis runs over the attribute values A (over the classes C for ``recall``).

    Args:
        counts: Table [..., C, A + 1, C] as made by `tabulate`.

    Returns:
        ``accuracy`` [...], ``recall`` [..., C], ``group`` [..., C, A] (accuracy of a group),
        ``attribute`` [..., A], the four rates of a positive class [..., S, A], and ``chosen``
        [..., C, A] (share of the predictions).

    Example:
        >>> part, whole = shares(np.ones((2, 3, 2)))["recall"]
        >>> part.tolist(), whole.tolist()
        ([3.0, 3.0], [6.0, 6.0])
    """
    known = counts[..., :-1, :]
    cell = known.sum(-1)  # [..., C, A]
    right = np.swapaxes(np.diagonal(known, axis1=-3, axis2=-1), -1, -2)  # [..., C, A]
    overall = counts.sum(-2)  # [..., C, C]
    hits = np.diagonal(overall, axis1=-2, axis2=-1)
    positive = positive_classes(counts.shape[-1])
    other = 1 - np.eye(counts.shape[-1], dtype=counts.dtype)[positive]  # [S, C]
    # Sums over the other classes, not differences: under weights a difference that should be
    # zero is rounding noise, and a rate over it would be arbitrary.
    members, negatives = cell[..., positive, :], other @ cell
    true = np.stack([known[..., c, :, c] for c in positive], -2)
    false = np.stack([o @ known[..., c] for c, o in zip(positive, other, strict=True)], -2)
    people = cell.sum(-2)
    return {
        "accuracy": (hits.sum(-1), overall.sum((-2, -1))),
        "recall": (hits, overall.sum(-1)),
        "group": (right, cell),
        "attribute": (right.sum(-2), people),
        "selection_rate": (true + false, members + negatives),
        "true_positive_rate": (true, members),
        "false_positive_rate": (false, negatives),
        "positive_predictive_value": (true, true + false),
        "chosen": (np.swapaxes(known.sum(-3), -1, -2), people[..., None, :]),
    }


def taking_part(rows: np.ndarray, min_group_rows: int) -> dict[str, np.ndarray]:
    """Tell which groups take part in minima, gaps and ratios, for each entry of `shares`.

    A rate takes part if it is over at least `min_group_rows` rows (for the rates of an attribute
    value over predictions: if the value has as many). Where fewer than two reach the number, all
    take part.

    Args:
        rows: Number of rows of each group [..., C, A].
        min_group_rows: The number; 0 lets every group take part.

    Example:
        >>> taking_part(np.array([[20, 3], [20, 30]]), 10)["group"].tolist()
        [[True, False], [True, True]]
    """
    people = rows.sum(-2)[..., None, :]
    positive = positive_classes(rows.shape[-2])
    members = rows[..., positive, :]
    sizes = {
        "group": rows,
        "attribute": people[..., 0, :],
        "selection_rate": people,
        "true_positive_rate": members,
        "false_positive_rate": people - members,
        "positive_predictive_value": people,
        "chosen": people,
    }
    out = {}
    for name, size in sizes.items():
        axes = (-2, -1) if name == "group" else (-1,)
        enough = size >= min_group_rows
        out[name] = enough | (enough.sum(axes, keepdims=True) < 2)
    return out


def benefits(counts: np.ndarray) -> np.ndarray:
    """Count the rows of benefit b = predicted - actual + 1 in {0, 1, 2}, by positive class.

    Args:
        counts: Table [..., C, A + 1, C].

    Returns:
        [..., S, 3].
    """
    overall = counts.sum(-2)
    positive = positive_classes(overall.shape[-1])
    other = 1 - np.eye(overall.shape[-1], dtype=overall.dtype)[positive]
    hits = np.diagonal(overall, axis1=-2, axis2=-1)[..., positive]
    fair = hits + np.einsum("si,...ij,sj->...s", other, overall, other)
    double = np.stack([overall[..., c] @ o for c, o in zip(positive, other, strict=True)], -1)
    none = np.stack([overall[..., c, :] @ o for c, o in zip(positive, other, strict=True)], -1)
    return np.stack([none, fair, double], -1)
