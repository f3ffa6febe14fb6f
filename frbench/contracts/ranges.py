"""Allowed values of arguments, declared in the annotations and checked on every call."""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from types import NoneType, SimpleNamespace, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from frbench.contracts.errors import UserError

T = TypeVar("T", bound=Callable[..., Any])


@dataclass(frozen=True)
class Interval:
    """An interval of finite numbers, for ``Annotated[float, Interval(0, 1)]``.

    Args:
        low: Lower end.
        high: Upper end; without one there is no upper limit.
        closed: Which of the ends belong to the interval.

    Example:
        >>> 1.0 in Interval(0, 1), 1.0 in Interval(0, 1, closed="left"), math.nan in Interval()
        (True, False, False)
    """

    low: float = -math.inf
    high: float = math.inf
    closed: Literal["both", "left", "right", "neither"] = "both"

    def __contains__(self, value: Any) -> bool:
        number: Any = value if isinstance(value, Real) else math.nan
        inside = -math.inf < number < math.inf and self.low <= number <= self.high
        ends = (self.low, "left"), (self.high, "right")
        return inside and all(number != end or self.closed in ("both", side) for end, side in ends)

    def __str__(self) -> str:
        left, right = self.closed in ("both", "left"), self.closed in ("both", "right")
        if self.high == math.inf:
            return f"{'of at least' if left else 'above'} {self.low:g}"
        if self.low == -math.inf:
            return f"{'of at most' if right else 'below'} {self.high:g}"
        return f"in {'(['[left]}{self.low:g}, {self.high:g}{')]'[right]}"


Positive = Annotated[float, Interval(0, closed="neither")]
NotNegative = Annotated[float, Interval(0)]
Share = Annotated[float, Interval(0, 1)]
PositiveShare = Annotated[float, Interval(0, 1, closed="right")]
ProperShare = Annotated[float, Interval(0, 1, closed="left")]
OpenShare = Annotated[float, Interval(0, 1, closed="neither")]
Count = Annotated[int, Interval(1)]
NotNegativeInt = Annotated[int, Interval(0)]


def is_restricted(hint: Any) -> bool:
    """Whether an annotation holds an interval or a choice (``Literal``)."""
    if get_origin(hint) is Annotated:
        return any(isinstance(part, Interval) for part in hint.__metadata__)
    return get_origin(hint) is Literal or any(map(is_restricted, get_args(hint)))


def _holds(origin: Any, kind: type) -> bool:
    return isinstance(origin, type) and issubclass(origin, kind)


def _fits(hint: Any, value: Any) -> bool:
    """Whether a value is allowed by an annotation, as far as this can be told."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        intervals = [part for part in hint.__metadata__ if isinstance(part, Interval)]
        return _fits(parts[0], value) and all(value in interval for interval in intervals)
    if origin is Literal:
        return isinstance(value, str | int | NoneType) and value in parts
    if origin in (Union, UnionType):
        return any(_fits(part, value) for part in parts)
    if _holds(origin, Sequence) and isinstance(value, Iterable):
        return not isinstance(value, str | Mapping) and all(_fits(parts[0], v) for v in value)
    if _holds(origin, Mapping) and isinstance(value, Mapping):
        return all(_fits(parts[1], item) for item in value.values())
    kind = {float: Real, int: Integral}.get(hint, origin or hint)
    return kind is Any or not isinstance(kind, type) or isinstance(value, kind)


def _words(hint: Any, plural: bool = False) -> str:
    """Say what an annotation allows."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        ranges = [str(part) for part in hint.__metadata__ if isinstance(part, Interval)]
        return " ".join([_words(parts[0], plural), *ranges])
    if origin is Literal:
        return f"one of {', '.join(map(str, parts))}"
    if origin in (Union, UnionType):
        return " or ".join(_words(part, plural) for part in parts)
    if _holds(origin, Sequence):
        return f"a list of {_words(parts[0], plural=True)}"
    if _holds(origin, Mapping):
        return f"a map to {_words(parts[1], plural=True)}"
    names = {float: "a number", int: "an integer", str: "a string", NoneType: "null"}
    name = names.get(hint, getattr(hint, "__name__", str(hint)))
    return f"{name.split()[1]}s" if plural and hint in (float, int, str) else name


def check_argument(owner: str, name: str, hint: Any, value: Any) -> None:
    """Refuse a value that the annotation of an argument does not allow.

    Args:
        owner: Class or function that takes the argument, for the message.
        name: Name of the argument.
        hint: Its annotation; only intervals and choices are checked.
        value: Its value.

    Raises:
        UserError: Naming the argument, what is allowed, and the value.

    Example:
        >>> check_argument("MLP", "dropout", ProperShare, 1.5)
        Traceback (most recent call last):
        frbench.contracts.errors.UserError: MLP.dropout: expected a number in [0, 1), got 1.5.
    """
    if is_restricted(hint) and not _fits(hint, value):
        raise UserError(f"{owner}.{name}: expected {_words(hint)}, got {value!r:.200}.")


def checked(function: T) -> T:
    """Check the arguments of a function, or of a class's constructor, before each call.

    Args:
        function: A function or class whose annotations declare intervals and choices. An
            annotation with a name that is imported for type checkers only is not checked.

    Example:
        >>> @checked
        ... def shrink(x: float, by: PositiveShare = 0.5) -> float:
        ...     return x * by
        >>> shrink(3.0, by=0.0)
        Traceback (most recent call last):
        frbench.contracts.errors.UserError: shrink.by: expected a number in (0, 1], got 0.0.
    """
    if isinstance(function, type):
        function.__init__ = checked(function.__init__)  # type: ignore[misc]
        return function
    signature = inspect.signature(function)
    hints = functools.cache(lambda: _restricted(function))

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind_partial(*args, **kwargs).arguments
        owner = type(args[0]).__name__ if "self" in given else function.__name__
        for name, hint in hints().items():
            if name in given:
                check_argument(owner, name, hint, given[name])
        return function(*args, **kwargs)

    return call  # type: ignore[return-value]


def _restricted(function: Callable[..., Any]) -> dict[str, Any]:
    function, found = inspect.unwrap(function), dict[str, Any]()
    for name, annotation in function.__annotations__.items():
        one = SimpleNamespace(__annotations__={name: annotation})
        with contextlib.suppress(NameError):  # what is imported for type checkers only
            found |= get_type_hints(one, function.__globals__, None, True)
    return {name: hint for name, hint in found.items() if is_restricted(hint)}


def check_class(owner: object, label: int, num_classes: int) -> None:
    """Refuse a ``positive_class`` that is none of the data's labels.

    Args:
        owner: Whose argument it is, for the message.
        label: Its value.
        num_classes: C.

    Raises:
        UserError: If it is at least C.
    """
    if label >= num_classes:
        raise UserError(
            f"{type(owner).__name__}.positive_class: {label} is not one of the {num_classes} "
            "classes."
        )


class CheckedArguments:
    """Base of classes whose constructors check their arguments by :func:`checked`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            checked(cls)
