"""The calls of users: metrics, intervals and table rates from columns; numpy only."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from frbench.metrics.counts import Empty, count_metrics, tabulate
from frbench.metrics.encode import Rows, encode, split_attributes
from frbench.metrics.scores import score_kl_noise_floor, score_metrics, score_state
from frbench.metrics.uncertainty import Interval, bootstrap, effective_size, score_bootstrap

_TABLE_RATES = ("representation_rate", "statistical_rate")


def evaluate(
    y: Any,
    y_pred: Any,
    z: Any,
    scores: Any = None,
    weight: Any = None,
    *,
    class_names: Sequence[str] | None = None,
    attribute_names: Sequence[Any] | None = None,
    train_counts: np.ndarray | None = None,
    empty: Empty = "ignore",
) -> dict[str, float]:
    """Compute every metric of the predictions of any model.

    docs/metrics.md gives each key's formula and convention. Keys depend on the names of classes
    and attribute values alone; pass the names where a table may lack some of them.

    Args:
        y: Labels [N]: integers, booleans or text. The second of two classes (in sorted order, or
            in that of `class_names`) is the positive one.
        y_pred: Predicted labels in the same coding [N].
        z: Attributes [N], the integer -1 where unknown; several as a DataFrame, a mapping, a 2-D
            array or a list of columns are crossed, with names like ``sex=F&race=B``.
        scores: Probabilities in [0, 1]: of the positive class [N], or of each class [N, C].
        weight: Non-negative sample weights [N].
        class_names: Names of the classes; integers in `y` are then positions.
        attribute_names: Names of the attribute values; of several attributes, one list each.
        train_counts: Training rows of each group [C, A], for ``weighted_average_accuracy``.
        empty: Policy for rates over no rows, see `frbench.metrics.count_metrics`.

    Raises:
        UserError: On columns of different lengths, missing values, unknown labels, negative
            weights or scores out of [0, 1].

    Example:
        >>> metrics = evaluate([0, 1, 1, 0], [0, 1, 0, 1], ["f", "f", "m", "m"])
        >>> metrics["accuracy"], metrics["accuracy_gap"], metrics["group_accuracy/y=1,z=m"]
        (0.5, 1.0, 0.0)
    """
    rows = encode(y, y_pred, z, scores, weight, class_names, attribute_names)
    return evaluate_rows(rows, train_counts, empty)


def evaluate_rows(
    rows: Rows, train_counts: np.ndarray | None = None, empty: Empty = "ignore"
) -> dict[str, float]:
    """Compute every metric of coded rows, see `evaluate`.

    Example:
        >>> evaluate_rows(encode([0, 1], [0, 1], [0, 1]))["worst_group_accuracy"]
        1.0
    """
    counts = tabulate(rows.y, rows.y_pred, rows.z, *rows.sizes, rows.weight)
    names = rows.class_names, rows.attribute_names
    out = count_metrics(counts, *names, train_counts, empty)
    if rows.scores is not None:
        # Mean weight 1, so that the noise floor shuffles about as many rows as there are.
        weight = None if rows.weight is None else rows.weight / rows.weight.mean()
        state = score_state(rows.y, rows.z, rows.scores, *rows.sizes, weight)
        out |= score_metrics(state)
        out["score_kl_noise_floor"] = np.asarray(score_kl_noise_floor(state.histogram))
    return {key: float(value) for key, value in out.items()}


def intervals(
    y: Any,
    y_pred: Any,
    z: Any,
    scores: Any = None,
    weight: Any = None,
    *,
    n_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    class_names: Sequence[str] | None = None,
    attribute_names: Sequence[Any] | None = None,
    train_counts: np.ndarray | None = None,
    empty: Empty = "ignore",
) -> dict[str, Interval]:
    """Compute an interval for every metric of `evaluate` but the noise floor.

    Args:
        y: As in `evaluate`.
        y_pred: As in `evaluate`.
        z: As in `evaluate`.
        scores: As in `evaluate`.
        weight: As in `evaluate`; resamples then have Kish's effective number of rows.
        n_resamples: Number of bootstrap resamples.
        level: Coverage aimed at.
        seed: Seed of the resamples.
        class_names: As in `evaluate`.
        attribute_names: As in `evaluate`.
        train_counts: As in `evaluate`.
        empty: As in `evaluate`.

    Raises:
        UserError: As in `evaluate`.

    Example:
        >>> low, high = intervals([0, 1] * 50, [0, 1] * 40 + [1, 0] * 10, [0, 1] * 50)["accuracy"]
        >>> round(low, 3), round(high, 3)
        (0.711, 0.867)
    """
    rows = encode(y, y_pred, z, scores, weight, class_names, attribute_names)
    return intervals_rows(rows, n_resamples, level, seed, train_counts, empty)


def intervals_rows(
    rows: Rows,
    n_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    train_counts: np.ndarray | None = None,
    empty: Empty = "ignore",
) -> dict[str, Interval]:
    """Compute the intervals of coded rows, see `intervals`.

    Example:
        >>> low, high = intervals_rows(encode([0, 1], [0, 1], [0, 1]))["accuracy"]
        >>> round(low, 3), round(high, 3)
        (0.342, 1.0)
    """
    out = bootstrap(
        tabulate(rows.y, rows.y_pred, rows.z, *rows.sizes, rows.weight),
        n_resamples,
        level,
        seed,
        class_names=rows.class_names,
        attribute_names=rows.attribute_names,
        train_counts=train_counts,
        empty=empty,
        draws=effective_size(rows.weight),
    )
    if rows.scores is not None:
        columns = rows.y, rows.z, rows.scores, *rows.sizes, rows.weight
        out |= score_bootstrap(*columns, n_resamples, level, seed)
    return out


def table_rates(
    y: Any,
    z: Any,
    weight: Any = None,
    *,
    class_names: Sequence[str] | None = None,
    attribute_names: Sequence[Any] | None = None,
) -> dict[str, dict[str, float]]:
    """Compute representation and statistical rate of a table's labels or of predictions.

    ``representation_rate`` is min / max over z of P(z); ``statistical_rate/y=c`` is min / max
    over z of P(y = c | z) and ``statistical_rate`` its minimum over classes (Celis et al.,
    arXiv 1906.02164).

    Args:
        y: Labels or predictions, as in `evaluate` [N].
        z: One attribute or several, as in `evaluate` [N].
        weight: Non-negative sample weights [N].
        class_names: As in `evaluate`.
        attribute_names: As in `evaluate`.

    Returns:
        Attribute -> key -> value: for each attribute and, if there are several, for all crossed
        (``sex&race``); a single column without a name is ``z``.

    Raises:
        UserError: As in `evaluate`.

    Example:
        >>> table_rates([0, 1, 1, 0, 1, 1], ["f", "f", "m", "m", "m", "m"])["z"]
        ... # doctest: +NORMALIZE_WHITESPACE
        {'representation_rate': 0.5, 'statistical_rate': 0.5,
         'statistical_rate/y=0': 0.5, 'statistical_rate/y=1': 0.6666666666666666}
    """
    columns = split_attributes(z)
    given = [attribute_names] if len(columns) == 1 else attribute_names or [None] * len(columns)
    tables = [(n, z, names) for (n, z), names in zip(columns.items(), given, strict=True)]
    if len(columns) > 1:
        tables.append(("&".join(columns), columns, attribute_names))
    out = {}
    for name, column, names in tables:
        rows = encode(y, y, column, None, weight, class_names, names)
        out[name] = {k: v for k, v in evaluate_rows(rows).items() if k.startswith(_TABLE_RATES)}
    return out
