"""Turn the columns people have (text, booleans, integers, several attributes) into codes."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from frbench.contracts.errors import UserError
from frbench.metrics.columns import Text, read_column, read_floats
from frbench.metrics.names import check_names
from frbench.support.overlap import group_sets

_MAX_VALUES = 1000
#: How far sums of rounded probabilities may be off.
_ROUNDING = 1e-3
#: Weights whose sums and squares are numbers.
_WEIGHTS = 1e-100, 1e100


class Rows(NamedTuple):
    """Checked and coded rows.

    Attributes:
        y: Labels in 0..C-1 [N].
        y_pred: Predictions in 0..C-1 [N].
        z: Attributes in 0..A-1, -1 where unknown [N].
        scores: Probabilities [N, S] (S = 1 for two classes, else C), or None.
        weight: Sample weights [N], or None.
        class_names: C names.
        attribute_names: A names.
    """

    y: np.ndarray
    y_pred: np.ndarray
    z: np.ndarray
    scores: np.ndarray | None
    weight: np.ndarray | None
    class_names: tuple[str, ...]
    attribute_names: tuple[str, ...]

    @property
    def sizes(self) -> tuple[int, int]:
        """(C, A)."""
        return len(self.class_names), len(self.attribute_names)


def to_rows(
    y: Any,
    y_pred: Any,
    z: Any,
    scores: Any = None,
    weight: Any = None,
    class_names: Sequence[str] | None = None,
    attribute_names: Sequence[Any] | None = None,
    overlapping: bool = False,
    called: Mapping[str, str] | None = None,
) -> Rows:
    """Check and code rows; see `frbench.metrics.evaluate` for what is accepted.

    `called` says how messages name y, y_pred, scores and weight.

    Raises:
        UserError: If the columns cannot be used; the message names the column and the remedy.

    Example:
        >>> rows = to_rows(["no", "yes"], ["yes", "yes"], ["f", "m"])
        >>> rows.y.tolist(), rows.class_names, rows.attribute_names
        ([0, 1], ('no', 'yes'), ('f', 'm'))
    """
    name = {key: key for key in ("y", "y_pred", "scores", "weight")} | dict(called or {})
    if scores is not None:
        scores = read_floats(scores, name["scores"])
        if class_names is None and scores.ndim == 2 and scores.shape[1] > 2:
            integer = np.asarray(y).dtype.kind in "iu"
            class_names = list(map(str, range(scores.shape[1]))) if integer else None
    coded, classes = factorise({name["y"]: y, name["y_pred"]: y_pred}, class_names)
    y, y_pred = coded[0], coded[-1]  # of one column, if both have the same name
    if len(classes) < 2:
        raise UserError(
            f"{name['y']} and {name['y_pred']} hold one class only ({classes[0]!r}); "
            + ("both must occur" if called else "pass class_names")
        )
    z, attributes = (overlapping_groups if overlapping else cross_attributes)(z, attribute_names)
    lengths = {"y": len(y), "y_pred": len(y_pred), "z": len(z)}
    if weight is not None:
        weight = read_floats(weight, name["weight"])
        lengths["weight"] = len(weight)
        most = weight.max(initial=0)
        if weight.ndim != 1 or not (weight.min(initial=0) >= 0 and most > 0):
            raise UserError(
                f"{name['weight']} must be a vector of non-negative numbers, not all zero"
            )
        if not _WEIGHTS[0] < most < _WEIGHTS[1]:  # only their ratios matter
            weight = weight / most
    if scores is not None:
        lengths["scores"] = len(scores)
        scores = _check_scores(scores, len(classes), name["scores"])
    if len(set(lengths.values())) > 1:
        raise UserError(f"Columns differ in length: {lengths}")
    if len(y) == 0:
        raise UserError("There are no rows to evaluate")
    return Rows(y, y_pred, z, scores, weight, classes, attributes)


def factorise(
    columns: Mapping[str, Any], names: Sequence[str] | None = None, unknown: bool = False
) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """Code columns that share one set of values.

    Without names, the names are the values found, in sorted order (0 and 1 are kept together
    even if one is absent); with names, integers are positions and text is looked up.

    Args:
        columns: Column name (for messages) -> values.
        names: Names of the codes.
        unknown: Whether -1 means unknown.

    Raises:
        UserError: If values are missing, continuous, mixed, or not among the names.

    Example:
        >>> (codes,), names = factorise({"z": [30, 10, 30]})
        >>> codes.tolist(), names
        ([1, 0, 1], ('10', '30'))
    """
    what = " and ".join(columns)
    values = [read_column(found, name) for name, found in columns.items()]
    numbers = [v for v in values if isinstance(v, np.ndarray)]
    text = [v for v in values if isinstance(v, Text)]
    if numbers and text:
        kinds = ["text" if isinstance(v, Text) else "numbers" for v in values]
        raise UserError(f"{what} hold {' and '.join(kinds)}: give both in the same coding")
    if names is not None:
        names = check_names(names, len(names), f"names of {what}")
    if text:
        found: list[Any] = sorted(set().union(*(v.values for v in text)))
        _check_number(len(found), what)
        names = tuple(found) if names is None else names
        _check_known([v for v in found if v not in names], what, names)
        code = {name: i for i, name in enumerate(names)}
        return [np.array([code[x] for x in v.values], np.int64)[v.codes] for v in text], names
    if names is not None:
        low = -1 if unknown else 0
        if not all(_within(v, low, len(names)) for v in numbers):
            found = sorted(set().union(*(_distinct(v) for v in numbers)))
            _check_known([v for v in found if not low <= v < len(names)], what, names)
        return numbers, names
    if all(np.asarray(column).dtype == bool for column in columns.values()):
        return numbers, ("False", "True")
    if not unknown and all(_within(v, 0, 2) for v in numbers):
        return numbers, ("0", "1")
    return _positions(numbers, what, unknown)


def _positions(
    values: list[np.ndarray], what: str, unknown: bool
) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """Code integers by their position among the values found."""
    found = sorted(set().union(*(_distinct(v) for v in values)))
    if unknown and found and found[0] < -1:
        raise UserError(f"{what} holds {found[0]}; only -1 (unknown) may be negative")
    if unknown and found == [-1, 1]:
        raise UserError(
            f"{what} holds -1 and 1 only; -1 means unknown: code the groups 0 and 1 "
            "or pass attribute_names"
        )
    has_unknown = unknown and found[:1] == [-1]
    known = found[has_unknown:]
    _check_number(len(known), what)
    names = tuple(map(str, known))
    if known == list(range(len(known))):
        return values, names
    codes = [np.searchsorted(found, v) - int(has_unknown) for v in values]
    return codes, names


def _distinct(v: np.ndarray) -> list[int]:
    """Return the values that occur; counting is several times faster than sorting."""
    low = int(v.min(initial=0))
    if int(v.max(initial=0)) - low > 1 << 16:
        return [int(x) for x in np.unique(v)]
    return (np.flatnonzero(np.bincount(v - low if low else v)) + low).tolist()


def _within(v: np.ndarray, low: int, high: int) -> bool:
    return len(v) == 0 or bool(v.min() >= low and v.max() < high)


def _check_known(strange: list[Any], what: str, names: Sequence[str]) -> None:
    if strange:
        raise UserError(f"{what} holds unknown labels {strange[:5]}; known: {list(names)}")


def _check_number(number: int, what: str) -> None:
    if number > _MAX_VALUES:
        raise UserError(f"{what} has {number} values: is it continuous? Bin it into groups first")


def cross_attributes(
    z: Any, names: Sequence[Any] | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Code one attribute, or cross several into ``sex=F&race=B``.

    Args:
        z: One column; or several as a DataFrame, a mapping, a 2-D array or a list of columns
            (called z0, z1, ... where they have no names).
        names: Names of the values; of several attributes, one list each.

    Example:
        >>> codes, names = cross_attributes({"sex": ["F", "M"], "race": [1, 0]})
        >>> codes.tolist(), names
        ([1, 2], ('sex=F&race=0', 'sex=F&race=1', 'sex=M&race=0', 'sex=M&race=1'))
    """
    columns = split_attributes(z)
    if len(columns) == 1:
        (name, column), *_ = columns.items()
        (codes,), values = factorise({name: column}, names, unknown=True)
        return codes, values
    if names is not None and len(names) != len(columns):
        raise UserError(f"attribute_names must hold one list for each of {list(columns)}")
    given = names or [None] * len(columns)
    coded = [
        factorise({name: column}, known, unknown=True)
        for (name, column), known in zip(columns.items(), given, strict=True)
    ]
    lengths = {name: len(c) for name, ((c,), _) in zip(columns, coded, strict=True)}
    if len(set(lengths.values())) > 1:
        raise UserError(f"Columns differ in length: {lengths}")
    number = int(np.prod([len(values) for _, values in coded]))
    _check_number(number, " x ".join(columns))
    crossed = np.zeros(next(iter(lengths.values())), np.int64)
    unknown = np.zeros(len(crossed), bool)
    for (codes,), values in coded:
        crossed = crossed * len(values) + codes
        unknown |= codes < 0
    crossed[unknown] = -1
    parts = [
        [f"{name}={value}" for value in values]
        for name, (_, values) in zip(columns, coded, strict=True)
    ]
    return crossed, tuple("&".join(combination) for combination in product(*parts))


def overlapping_groups(
    z: Any, names: Sequence[str] | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Code the sets of overlapping groups that rows are in, ``{}``, ``{black+male}``.

    Args:
        z: A column for each group: true or false, or a share, of which a half is enough.
        names: Names of the groups; by default those of the columns.

    Example:
        >>> codes, sets = overlapping_groups({"black": [0, 1], "male": [0.2, 0.8]})
        >>> codes.tolist(), sets
        ([0, 3], ('{}', '{black}', '{male}', '{black+male}'))
    """
    columns = split_attributes(z)
    groups = check_names(names or list(columns), len(columns), "attribute_names")
    shares = [read_floats(column, name) for name, column in columns.items()]
    if len(lengths := {len(share) for share in shares}) > 1:
        raise UserError(f"Columns differ in length: {lengths}")
    if any(((share < 0) | (share > 1)).any() for share in shares):
        raise UserError(f"{list(columns)} must hold true or false, or numbers from 0 to 1")
    codes, sets = group_sets(np.stack(shares, 1) >= 0.5, groups)
    return codes, tuple(sets)


def split_attributes(z: Any) -> dict[str, Any]:
    """Return attribute columns by name, whatever holds them.

    Example:
        >>> list(split_attributes([[0, 1], ["a", "b"]])), list(split_attributes([0, 1]))
        (['z0', 'z1'], ['z'])
    """
    if hasattr(z, "columns"):
        return {str(name): z[name] for name in z.columns}
    if isinstance(z, Mapping):
        return {str(name): column for name, column in z.items()}
    if getattr(z, "ndim", 1) == 2:
        return {f"z{i}": z[:, i] for i in range(z.shape[1])}
    first = z[0] if isinstance(z, list | tuple) and len(z) else None
    if isinstance(first, list | tuple) or getattr(first, "ndim", 0) == 1:
        return {f"z{i}": column for i, column in enumerate(z)}
    return {"z": z}


def _check_scores(scores: np.ndarray, num_classes: int, name: str) -> np.ndarray:
    """Return scores [N, S] with S = 1 for two classes, else C."""
    if scores.min(initial=0) < -_ROUNDING or scores.max(initial=1) > 1 + _ROUNDING:
        raise UserError(f"{name} must lie in [0, 1]: give probabilities, not logits")
    scores = scores.clip(0, 1)
    if scores.ndim == 2 and scores.shape[1] == num_classes:
        if np.abs(scores.sum(1) - 1).max(initial=0) > _ROUNDING:
            raise UserError(f"{name} of a row must sum to 1: give probabilities of all classes")
        return scores[:, 1:] if num_classes == 2 else scores
    if num_classes == 2 and scores.ndim == 1:
        return scores[:, None]
    shape = f"[N, {num_classes}]" + (" or [N]" if num_classes == 2 else "")
    raise UserError(f"{name} must have shape {shape} for {num_classes} classes: {scores.shape}")
