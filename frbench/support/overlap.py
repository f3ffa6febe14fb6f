"""Overlapping groups: a row is in several, and its attribute value is the set of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from frbench.contracts.errors import UserError
from frbench.contracts.text import overlapping

#: Sets of groups at most.
MOST_SETS = 1000


def group_sets(member: np.ndarray, groups: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Name the set of groups of each row: ``{}``, ``{black}``, ``{black+male}``.

    Args:
        member: Whether a row is in a group, bool [N, K].
        groups: K names.

    Returns:
        Position of the set of each row among the names [N]; the names, of the empty set, of each
        single group, and of the other sets that occur.

    Raises:
        UserError: For names with ``+``, ``{`` or ``}``, or too many sets.

    Example:
        >>> codes, names = group_sets(np.array([[0, 0], [1, 1], [0, 1]], bool), ["black", "male"])
        >>> names, [names[code] for code in codes]
        (['{}', '{black}', '{male}', '{black+male}'], ['{}', '{black+male}', '{male}'])
    """
    if bad := [name for name in groups if not name or set(name) & set("+{}")]:
        raise UserError(f"overlapping groups: rename {bad[0]!r}; names hold no '+', '{{' or '}}'.")
    size = len(groups)
    always = np.vstack([np.zeros((1, size), bool), np.eye(size, dtype=bool)])
    sets, first = np.unique(np.vstack([always, member]), axis=0, return_inverse=True)
    if len(sets) > MOST_SETS:
        raise UserError(f"the overlapping groups have {len(sets)} combinations, over {MOST_SETS}.")
    order = np.lexsort([*(~sets).T[::-1], sets.sum(1)])  # small sets first, then by column
    place = np.argsort(order)
    names = ["{" + "+".join(np.asarray(groups)[row]) + "}" for row in sets[order]]
    return place[first.reshape(-1)[len(always) :]].astype(np.int64), names


def sets_of(attribute_names: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Read the groups back from names of sets; no groups where the names are others.

    Returns:
        K groups; whether each set holds each group, bool [A, K].

    Example:
        >>> groups, member = sets_of(["{}", "{black}", "{male}", "{black+male}"])
        >>> groups, member[3].tolist(), sets_of(["f", "m"])[0]
        (['black', 'male'], [True, True], [])
    """
    sets = overlapping(attribute_names)
    groups = list(dict.fromkeys(group for row in sets for group in row))
    member = np.array([[group in row for group in groups] for row in sets], bool)
    return groups, member.reshape(len(sets), len(groups))


def most_specific(codes: np.ndarray, attribute_names: Sequence[str], least: int) -> np.ndarray:
    """Take each row for its set of groups if enough rows have it, else for its rarest group.

    The rarest group is that of the fewest rows; of equal ones the first counts.

    Args:
        codes: Position of each row's set among the names, -1 where unknown [N].
        attribute_names: Names of the sets, with each single group among them.
        least: Rows that a set needs.

    Returns:
        Position of the set or group of each row [N].

    Example:
        >>> names = ["{}", "{black}", "{male}", "{black+male}"]
        >>> most_specific(np.array([1, 2, 2, 3, 0]), names, 2).tolist()
        [1, 2, 2, 1, 0]
    """
    groups, member = sets_of(attribute_names)
    rows = np.bincount(codes[codes >= 0], minlength=len(member))
    single = [list(attribute_names).index("{" + group + "}") for group in groups]
    size = rows @ member
    target = np.arange(len(member) + 1)
    target[-1] = -1  # of the rows whose set is unknown
    for i in np.flatnonzero((rows < least) & (member.sum(1) > 1)):
        within = np.flatnonzero(member[i])
        target[i] = single[within[np.argmin(size[within])]]
    result: np.ndarray = target[codes]
    return result
