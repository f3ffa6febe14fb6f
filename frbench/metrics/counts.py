"""Every group metric as a pure function of one table of counts; numpy only.

The table is ``counts[..., y, z, y_pred]`` of shape [..., C, A + 1, C]; its last attribute slot
holds the rows whose attribute is unknown. Leading dimensions (bootstrap resamples) are carried
through each metric by the same array operations. docs/metric_definitions.md has the formulas.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from frbench.metrics.names import COUNTS, check_names, keys_of
from frbench.metrics.shares import RATES, benefits, shares, taking_part

Empty = Literal["ignore", "zero", "nan"]

# Rows coded at a time: the codes of a block stay in the cache (5x faster than whole columns).
_BLOCK = 1 << 16


def tabulate(
    y: np.ndarray,
    y_pred: np.ndarray,
    z: np.ndarray,
    num_classes: int,
    num_attributes: int,
    weight: np.ndarray | None = None,
) -> np.ndarray:
    """Count the rows of each cell (y, z, y_pred).

    Args:
        y: Labels, any integer type in 0..C-1 [N].
        y_pred: Predictions, in 0..C-1 [N].
        z: Attributes, in 0..A-1, -1 where unknown [N].
        num_classes: C.
        num_attributes: A.
        weight: Sample weights [N]; every row counts 1 by default.

    Returns:
        [C, A + 1, C], int64, or float64 if weighted; slot A of z holds the rows of unknown z.

    Raises:
        ValueError: If a code is out of range.

    Example:
        >>> y, y_pred, z = np.array([[0, 1, 1], [0, 1, 0], [0, 1, -1]])
        >>> tabulate(y, y_pred, z, 2, 2)[1].tolist()  # label 1: z = 0, z = 1, unknown
        [[0, 0], [0, 1], [1, 0]]
    """
    for name, codes, low, high in (
        ("y", y, 0, num_classes),
        ("y_pred", y_pred, 0, num_classes),
        ("z", z, -1, num_attributes),
    ):
        if len(codes) and not (low <= codes.min() and codes.max() < high):
            raise ValueError(f"{name} must lie in {low}..{high - 1}")
    shape = (num_classes, num_attributes + 1, num_classes)
    size = int(np.prod(shape))
    total = np.zeros(size, np.int64 if weight is None else np.float64)
    code, term = np.empty((2, min(len(y), _BLOCK)), np.int64)
    for start in range(0, len(y), _BLOCK):
        rows = slice(start, start + _BLOCK)
        length = len(y[rows])
        block, scaled = code[:length], term[:length]
        np.multiply(y[rows], shape[1] * num_classes, out=block, casting="unsafe")
        np.multiply(z[rows], num_classes, out=scaled, casting="unsafe")
        block += scaled
        np.add(y_pred[rows], num_classes, out=scaled, casting="unsafe")  # z = -1 lands in slot 0
        block += scaled
        total += np.bincount(block, None if weight is None else weight[rows], minlength=size)
    return np.roll(total.reshape(shape), -1, axis=1)


def rate(part: np.ndarray, whole: np.ndarray, empty: Empty) -> np.ndarray:
    """Divide, with the policy's value where the whole is empty.

    Example:
        >>> rate(np.array([1, 0]), np.array([2, 0]), "zero").tolist()
        [0.5, 0.0]
    """
    part, whole = np.broadcast_arrays(part, whole)
    out = np.full(part.shape, 0.0 if empty == "zero" else np.nan)
    result: np.ndarray = np.divide(part, whole, out=out, where=whole > 0)
    return result


def lowest(x: np.ndarray, empty: Empty) -> np.ndarray:
    """Return the minimum over the last axis under the policy for undefined values."""
    result: np.ndarray = (np.fmin if empty == "ignore" else np.minimum).reduce(x, axis=-1)
    return result


def highest(x: np.ndarray, empty: Empty) -> np.ndarray:
    """Return the maximum over the last axis under the policy for undefined values."""
    result: np.ndarray = (np.fmax if empty == "ignore" else np.maximum).reduce(x, axis=-1)
    return result


def mean(x: np.ndarray, empty: Empty) -> np.ndarray:
    """Return the mean over the last axis under the policy for undefined values."""
    if empty != "ignore":
        result: np.ndarray = x.mean(axis=-1)
        return result
    return rate(np.nansum(x, axis=-1), (~np.isnan(x)).sum(axis=-1), empty)


def _comparable(x: np.ndarray) -> np.ndarray:
    """Tell where enough values are defined to compare: two, unless there is only one group."""
    result: np.ndarray = (~np.isnan(x)).sum(axis=-1) >= min(2, x.shape[-1])
    return result


def gap(x: np.ndarray, empty: Empty) -> np.ndarray:
    """Return max - min over the last axis; NaN where fewer than two values are defined.

    Example:
        >>> gap(np.array([[0.5, np.nan, 0.25], [0.5, np.nan, np.nan]]), "ignore").tolist()
        [0.25, nan]
    """
    return np.where(_comparable(x), highest(x, empty) - lowest(x, empty), np.nan)


def ratio(x: np.ndarray, empty: Empty) -> np.ndarray:
    """Return min / max over the last axis; 1 where all are zero, NaN as in `gap`."""
    low, high = lowest(x, empty), highest(x, empty)
    equal = np.where(_comparable(x), np.where(high == 0, 1.0, np.nan), np.nan)
    result: np.ndarray = np.divide(low, high, out=equal, where=_comparable(x) & (high > 0))
    return result


def count_metrics(
    counts: np.ndarray,
    class_names: Sequence[str] | None = None,
    attribute_names: Sequence[str] | None = None,
    train_counts: np.ndarray | None = None,
    empty: Empty = "ignore",
    min_group_rows: int = 0,
    rows: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Compute every metric that a count table determines.

    With two classes, class 1 is the positive one. With more, each class is taken against the
    rest and a key holds the value of the worst class (the largest selection rate).

    Args:
        counts: Table [..., C, A + 1, C] as made by `tabulate`.
        class_names: C names used in keys; ``0..C-1`` by default.
        attribute_names: A names used in keys; ``0..A-1`` by default.
        train_counts: Rows of each training cell [C, A], the weights of
            ``weighted_average_accuracy`` (arXiv 1911.08731); the table's own by default.
        empty: What a rate over no rows is: left out of minima, maxima and means (``ignore``), 0 as
            in fairlearn (``zero``), or NaN that propagates (``nan``).
        min_group_rows: Rows that a rate must be over to take part in minima, gaps and ratios, see
            `taking_part`. If it is not 0, ``rare_groups_accuracy`` is the accuracy of all rows in
            smaller groups together.
        rows: Number of rows of each group [..., C, A] where the table is weighted; the table's
            own sums by default.

    Returns:
        Metric key -> value [...]; the keys depend on the names alone.

    Raises:
        UserError: If the number of names does not fit the table.

    Example:
        >>> table = np.array([[[3, 1], [2, 2], [0, 0]], [[1, 3], [0, 4], [0, 0]]])
        >>> metrics = count_metrics(table, attribute_names=["f", "m"])
        >>> float(metrics["accuracy"]), float(metrics["worst_group_accuracy"])
        (0.75, 0.5)
        >>> float(metrics["group_accuracy/y=0,z=m"]), float(metrics["disparate_impact"])
        (0.5, 0.6666666666666666)
    """
    num_classes, num_attributes = counts.shape[-1], counts.shape[-2] - 1
    classes = check_names(class_names, num_classes, "class_names")
    attributes = check_names(attribute_names, num_attributes, "attribute_names")
    values = count_values(counts, train_counts, empty, min_group_rows, rows)
    return keyed([name for name in COUNTS if name in values], values, classes, attributes)


def count_values(
    counts: np.ndarray,
    train_counts: np.ndarray | None = None,
    empty: Empty = "ignore",
    min_group_rows: int = 0,
    rows: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Compute the values of `count_metrics` by their declared names; a name is not yet a key.

    Args:
        counts: Table [..., C, A + 1, C] as made by `tabulate`.
        train_counts: As of `count_metrics`, like the further arguments.
        empty: What a rate over no rows is.
        min_group_rows: Rows that a rate must be over to take part in minima, gaps and ratios.
        rows: Number of rows of each group [..., C, A] where the table is weighted.
    """
    num_classes, num_attributes = counts.shape[-1], counts.shape[-2] - 1
    parts = shares(counts)
    right, cell = parts["group"]
    value = {name: rate(*pair, empty) for name, pair in parts.items()}
    compared = value
    if min_group_rows:
        taken = taking_part(cell if rows is None else rows, min_group_rows)
        compared = value | {name: np.where(taken[name], value[name], np.nan) for name in taken}
    per_group, per_attribute = value["group"], value["attribute"]
    flat = compared["group"].reshape(*per_group.shape[:-2], -1)

    weights = cell if train_counts is None else np.asarray(train_counts, float)
    if weights.shape[-2:] != cell.shape[-2:]:
        raise ValueError(f"train_counts must be [{num_classes}, {num_attributes}]")
    used = weights * ~np.isnan(per_group) if empty == "ignore" else weights
    # A group that has no share must not turn the average into NaN.
    weighted = np.where(used > 0, per_group, 0.0) * used

    people = cell.sum(-2)
    by_class = ratio(compared["chosen"], empty)
    values = {
        "accuracy": value["accuracy"],
        "balanced_accuracy": mean(value["recall"], empty),
        "worst_class_accuracy": lowest(value["recall"], empty),
        "worst_group_accuracy": lowest(flat, empty),
        "worst_attribute_accuracy": lowest(compared["attribute"], empty),
        "weighted_average_accuracy": rate(weighted.sum((-2, -1)), used.sum((-2, -1)), empty),
        "accuracy_gap": gap(compared["attribute"], empty),
        "empty_groups": (cell == 0).sum((-2, -1)).astype(float),
        **_one_vs_rest(value, compared, empty),
        "theil_index": highest(theil(benefits(counts)), "ignore"),
        "representation_rate": ratio(rate(people, people.sum(-1)[..., None], empty), "ignore"),
        "statistical_rate": lowest(by_class, empty),
        "statistical_rate/y": by_class,
        "accuracy/z": per_attribute,
        "group_accuracy/y,z": per_group.reshape(*per_group.shape[:-2], -1),
    }
    if min_group_rows:
        rare = ~taken["group"]
        rare_rows = [np.where(rare, x, 0).sum((-2, -1)) for x in (right, cell)]
        values["rare_groups_accuracy"] = rate(rare_rows[0], rare_rows[1], "ignore")
    return values


def keyed(
    declared: Iterable[str], values: Mapping[str, np.ndarray], *names: Sequence[Any]
) -> dict[str, np.ndarray]:
    """Give the values of declared metrics their keys.

    Args:
        declared: The metrics in their order, all that `values` holds and no others.
        values: Declared metric -> values [...], or [..., K] of a metric with K keys.
        *names: Names of classes, attribute values and shares, see `frbench.metrics.names.keys_of`.

    Example:
        >>> list(keyed(["accuracy/z"], {"accuracy/z": np.array([0.5, 1.0])}, ["no"], ["f", "m"]))
        ['accuracy/z=f', 'accuracy/z=m']
    """
    declared = list(declared)
    if undeclared := values.keys() - set(declared):
        raise KeyError(f"frbench.metrics.names does not declare {sorted(undeclared)}")
    out: dict[str, np.ndarray] = {}
    for name in declared:
        last = values[name] if "/" in name else values[name][..., None]
        out |= {key: last[..., i] for i, key in enumerate(keys_of(name, *names))}
    return out


def _one_vs_rest(
    value: dict[str, np.ndarray], compared: dict[str, np.ndarray], empty: Empty
) -> dict[str, np.ndarray]:
    """Compute the metrics that need a positive class from its rates [..., S, A]."""
    selected, tpr, fpr, ppv = (compared[name] for name in RATES)
    tpr_gap, fpr_gap = gap(tpr, empty), gap(fpr, empty)
    odds = (tpr + fpr) / 2
    # AIF360's sign with z = 0 as the unprivileged group; no sign is defined for more than two.
    signed = odds.shape[-2:] == (1, 2)
    by_class = {
        "demographic_parity_difference": gap(selected, empty),
        "disparate_impact": ratio(selected, empty),
        "equal_opportunity_difference": tpr_gap,
        "equalized_odds_difference": np.maximum(tpr_gap, fpr_gap),
        "equalized_odds_mean": (tpr_gap + fpr_gap) / 2,
        "equalized_odds_sum": tpr_gap + fpr_gap,
        "average_odds_difference": odds[..., 0] - odds[..., 1] if signed else gap(odds, empty),
        "predictive_parity_difference": gap(ppv, empty),
    }
    worst = {name: _worst(name, values, empty) for name, values in by_class.items()}
    for name in RATES:
        key = f"{name}/z"
        worst[key] = _worst(key, np.swapaxes(value[name], -1, -2), empty)
    return worst


def _worst(name: str, values: np.ndarray, empty: Empty) -> np.ndarray:
    """Reduce [..., S] to the value of the worst class."""
    return lowest(values, empty) if COUNTS[name] > 0 else highest(values, empty)


def theil(rows: np.ndarray) -> np.ndarray:
    """Compute mean(r ln r) with r = b / mean(b) from the rows of each benefit b [..., S, 3]."""
    total = rows.sum(-1)
    fair, double = rows[..., 1], rows[..., 2]
    benefit = rate(fair + 2 * double, total, "nan")
    with np.errstate(divide="ignore", invalid="ignore"):
        one = fair / total * np.log(1 / benefit) / benefit
        two = double / total * np.log(2 / benefit) * 2 / benefit
    # Nobody benefits: all are equal, and 0 ln 0 = 0.
    return np.where(benefit == 0, 0.0, one + two)
