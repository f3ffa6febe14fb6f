"""The calls of users: metrics, intervals and table rates from columns; numpy only."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from frbench.contracts.errors import UserError
from frbench.metrics.counts import Empty, count_metrics, tabulate
from frbench.metrics.estimates import Interval
from frbench.metrics.overlapping import overlapping_intervals, overlapping_metrics
from frbench.metrics.own import CountMetric, check_metrics, evaluate_own
from frbench.metrics.own_intervals import own_intervals
from frbench.metrics.parallel import parallel_intervals, parallel_metrics
from frbench.metrics.ranking import Ranking, ranking
from frbench.metrics.rows import Rows, split_attributes, to_rows
from frbench.metrics.score_intervals import score_intervals
from frbench.metrics.scores import (
    ScoreState,
    exact_ranks,
    score_kl_noise_floor,
    score_metrics,
    score_state,
)
from frbench.metrics.table_intervals import count_intervals

_TABLE_RATES = ("representation_rate", "statistical_rate")


def evaluate(
    y: Any,
    y_pred: Any,
    z: Any = None,
    scores: Any = None,
    weight: Any = None,
    *,
    class_names: Sequence[str] | None = None,
    attribute_names: Sequence[Any] | None = None,
    train_counts: np.ndarray | None = None,
    empty: Empty = "ignore",
    metrics: Sequence[CountMetric] = (),
    min_group_rows: int = 0,
    sensitive_features: Any = None,
    overlapping: bool = False,
) -> dict[str, float]:
    """Compute every metric of the predictions of any model.

    docs/metric_definitions.md gives each key's formula. Keys depend on the names of classes
    and attribute values alone (`frbench.metrics.metric_names` lists them); pass the names where a
    table may lack some of them.

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
        metrics: Metrics of your own, functions of counts, see `frbench.metrics.metric`.
        min_group_rows: Rows that a group needs to take part in minima, gaps and ratios; by default
            every group does.
        sensitive_features: fairlearn's name for `z`; give one of the two.
        overlapping: Whether the columns of `z` say which of several groups a row is in, a column
            for each; keys of a group, ``group_accuracy/y=1,z=male``, are then over all its rows,
            and ``worst_group_accuracy/overlapping`` is the worst of them.

    Raises:
        UserError: On columns of different lengths, missing values, unknown labels, negative
            weights or scores out of [0, 1].

    Example:
        >>> metrics = evaluate([0, 1, 1, 0], [0, 1, 0, 1], ["f", "f", "m", "m"])
        >>> metrics["accuracy"], metrics["accuracy_gap"], metrics["group_accuracy/y=1,z=m"]
        (0.5, 1.0, 0.0)
    """
    z = _one_of(z, sensitive_features)
    rows = to_rows(y, y_pred, z, scores, weight, class_names, attribute_names, overlapping)
    check_metrics(metrics)
    return evaluate_rows(rows, train_counts, empty, metrics, min_group_rows)


def _one_of(z: Any, sensitive_features: Any) -> Any:
    """Return the attributes, which have two names."""
    if (z is None) == (sensitive_features is None):
        raise UserError("Give the attributes as z or as sensitive_features, one of the two.")
    return sensitive_features if z is None else z


def evaluate_rows(
    rows: Rows,
    train_counts: np.ndarray | None = None,
    empty: Empty = "ignore",
    metrics: Sequence[CountMetric] = (),
    min_group_rows: int = 0,
    noise_floor: bool = True,
) -> dict[str, float]:
    """Compute every metric of coded rows, see `evaluate` and `evaluate_counts`.

    Example:
        >>> evaluate_rows(to_rows([0, 1], [0, 1], [0, 1]))["worst_group_accuracy"]
        1.0
    """
    counts = tabulate(rows.y, rows.y_pred, rows.z, *rows.sizes, rows.weight)
    state = None
    if rows.scores is not None:
        # Mean weight 1, so that the noise floor shuffles about as many rows as there are.
        weight = None if rows.weight is None else rows.weight / rows.weight.mean()
        state = score_state(rows.y, rows.z, rows.scores, *rows.sizes, weight)
    cells = _cells(rows) if min_group_rows else None
    ranks = None if rows.scores is None else _ranking(rows)
    options = train_counts, empty, metrics, min_group_rows, cells, ranks, noise_floor
    return evaluate_counts(counts, state, rows.class_names, rows.attribute_names, *options)


def _cells(rows: Rows) -> np.ndarray:
    """Return the number of rows of each group [C, A], whatever they weigh."""
    cells: np.ndarray = tabulate(rows.y, rows.y_pred, rows.z, *rows.sizes)[:, :-1].sum(-1)
    return cells


def _ranking(rows: Rows) -> Ranking:
    assert rows.scores is not None
    return ranking(rows.y, rows.z, rows.scores, *rows.sizes, rows.weight)


def evaluate_counts(
    counts: np.ndarray,
    state: ScoreState | None,
    class_names: Sequence[str],
    attribute_names: Sequence[str],
    train_counts: np.ndarray | None = None,
    empty: Empty = "ignore",
    metrics: Sequence[CountMetric] = (),
    min_group_rows: int = 0,
    rows: np.ndarray | None = None,
    ranks: Ranking | None = None,
    noise_floor: bool = True,
) -> dict[str, float]:
    """Compute every metric of one table from what is counted of it, see `evaluate`.

    Args:
        counts: As made by `frbench.metrics.tabulate` [C, A + 1, C].
        state: As made by `frbench.metrics.scores.score_state`; None leaves score metrics out.
        class_names: C names.
        attribute_names: A names.
        train_counts: As in `evaluate`.
        empty: As in `evaluate`.
        metrics: As in `evaluate`.
        min_group_rows: As in `evaluate`.
        rows: Rows of each group [C, A], if the counts are weighted.
        ranks: The sorted scores; None gives the AUROC of binned ones.
        noise_floor: Whether to compute ``score_kl_noise_floor``, which takes much time.
    """
    options = train_counts, empty, metrics, min_group_rows, rows, ranks, noise_floor
    out = evaluate_tables(counts, state, class_names, attribute_names, *options)
    return {key: float(value) for key, value in out.items()}


def evaluate_tables(
    counts: np.ndarray,
    state: ScoreState | None,
    class_names: Sequence[str],
    attribute_names: Sequence[str],
    train_counts: np.ndarray | None = None,
    empty: Empty = "ignore",
    metrics: Sequence[CountMetric] = (),
    min_group_rows: int = 0,
    rows: np.ndarray | None = None,
    ranks: Ranking | None = None,
    noise_floor: bool = False,
) -> dict[str, np.ndarray]:
    """Compute the metrics of `evaluate_counts` of several tables.

    The arguments are those of `evaluate_counts`, each with the same leading dimensions; exact
    ranks and the noise floor are for one table.

    Returns:
        Metric key -> value [...].
    """
    names = class_names, attribute_names
    out = count_metrics(counts, *names, train_counts, empty, min_group_rows, rows)
    if state is not None:
        out |= score_metrics(state, attribute_names)
        if ranks is not None:
            out |= exact_ranks(ranks, attribute_names)
        if noise_floor:
            out["score_kl_noise_floor"] = np.asarray(score_kl_noise_floor(state.histogram))
    out |= parallel_metrics(counts, state, attribute_names, empty, min_group_rows, rows)
    out |= overlapping_metrics(counts, *names, empty, min_group_rows, rows)
    return out | evaluate_own(metrics, counts)


def intervals(
    y: Any,
    y_pred: Any,
    z: Any = None,
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
    metrics: Sequence[CountMetric] = (),
    min_group_rows: int = 0,
    sensitive_features: Any = None,
    overlapping: bool = False,
) -> dict[str, Interval]:
    """Compute an interval for every metric of `evaluate` for which one covers.

    docs/metrics.md says what an interval means, how each is made and what it was seen to cover.
    ``empty_groups``, ``expected_calibration_error``, ``score_kl`` and its noise floor have none.

    Args:
        y: As in `evaluate`.
        y_pred: As in `evaluate`.
        z: As in `evaluate`.
        scores: As in `evaluate`.
        weight: As in `evaluate`; each rate then has its own effective number of rows.
        n_resamples: Number of resamples, for the worst alpha shares and metrics of your own.
        level: Coverage aimed at.
        seed: Seed of the resamples.
        class_names: As in `evaluate`.
        attribute_names: As in `evaluate`.
        train_counts: As in `evaluate`.
        empty: As in `evaluate`.
        metrics: As in `evaluate`; each is called for every resample.
        min_group_rows: As in `evaluate`.
        sensitive_features: As in `evaluate`.
        overlapping: As in `evaluate`.

    Raises:
        UserError: As in `evaluate`.

    Example:
        >>> low, high = intervals([0, 1] * 50, [0, 1] * 40 + [1, 0] * 10, [0, 1] * 50)["accuracy"]
        >>> round(low, 3), round(high, 3)
        (0.711, 0.867)
    """
    z = _one_of(z, sensitive_features)
    rows = to_rows(y, y_pred, z, scores, weight, class_names, attribute_names, overlapping)
    check_metrics(metrics)
    return intervals_rows(
        rows, n_resamples, level, seed, train_counts, empty, metrics, min_group_rows
    )


def intervals_rows(
    rows: Rows,
    n_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    train_counts: np.ndarray | None = None,
    empty: Empty = "ignore",
    metrics: Sequence[CountMetric] = (),
    min_group_rows: int = 0,
) -> dict[str, Interval]:
    """Compute the intervals of coded rows, see `intervals`.

    Example:
        >>> low, high = intervals_rows(to_rows([0, 1], [0, 1], [0, 1]))["accuracy"]
        >>> round(low, 3), round(high, 3)
        (0.342, 1.0)
    """
    weight, squares = rows.weight, squares_of(rows)
    counts = tabulate(rows.y, rows.y_pred, rows.z, *rows.sizes, weight)
    cells = _cells(rows) if min_group_rows else None
    out = count_intervals(
        counts,
        level,
        squares=squares,
        class_names=rows.class_names,
        attribute_names=rows.attribute_names,
        train_counts=train_counts,
        empty=empty,
        min_group_rows=min_group_rows,
        rows=cells,
    )
    names = rows.attribute_names
    least = level, empty, min_group_rows, cells
    out |= parallel_intervals(counts, squares, names, *least)
    out |= overlapping_intervals(counts, squares, rows.class_names, names, *least)
    if rows.scores is not None:
        columns = rows.y, rows.z, rows.scores, rows.attribute_names, rows.sizes[0], _ranking(rows)
        out |= score_intervals(*columns, weight, n_resamples, level, seed)
    draws = None if squares is None else counts.sum() ** 2 / squares.sum()
    out |= own_intervals(metrics, counts, draws, n_resamples, level, seed)
    return {key: (float(low), float(high)) for key, (low, high) in out.items()}


def squares_of(rows: Rows) -> np.ndarray | None:
    """Return the table of squared weights, None without weights."""
    if rows.weight is None:
        return None
    return tabulate(rows.y, rows.y_pred, rows.z, *rows.sizes, rows.weight**2)


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
        rows = to_rows(y, y, column, None, weight, class_names, names)
        out[name] = {k: v for k, v in evaluate_rows(rows).items() if k.startswith(_TABLE_RATES)}
    return out
