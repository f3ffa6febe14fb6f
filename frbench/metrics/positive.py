"""The positive class, in words; no numpy."""

from collections.abc import Iterable, Sequence


def named_classes(keys: Iterable[str]) -> list[str]:
    """Find the names of the classes, in their order, in the keys of an evaluation.

    Example:
        >>> named_classes(["test/accuracy", *(f"test/statistical_rate/y={y}" for y in (0, 1))])
        ['0', '1']
    """
    found = (key.partition("statistical_rate/y=")[2] for key in keys)
    return list(dict.fromkeys(name for name in found if name))


def about_positive(class_names: Sequence[str]) -> str:
    """Say which class the selection and error rates speak of; empty without two classes.

    Example:
        >>> about_positive(["paid", "late"])  # doctest: +NORMALIZE_WHITESPACE
        'positive class late: the selection rate is the share of rows decided as late, the true
        (false) positive rate that share of the rows labelled late (paid)'
    """
    if len(class_names) != 2:
        return ""
    zero, one = class_names
    return (
        f"positive class {one}: the selection rate is the share of rows decided as {one}, the "
        f"true (false) positive rate that share of the rows labelled {one} ({zero})"
    )
