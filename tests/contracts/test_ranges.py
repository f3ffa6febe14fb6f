"""Intervals and choices in annotations: what they allow, and that the command line takes them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

import numpy as np
import pytest
from jsonargparse import ArgumentParser

from frbench.contracts.errors import UserError
from frbench.contracts.ranges import CheckedArguments, Count, Interval, Positive, Share, checked
from frbench.data.max_entropy.prior import reweigh
from frbench.data.max_entropy.solution import solve
from frbench.data.splits import SplitPolicy
from frbench.data.tasks.structural import StructuralModel
from frbench.gan.dcgan import DCGAN
from frbench.gan.pairs import PairSettings
from frbench.postprocessing.dfr import DFR

if TYPE_CHECKING:
    from pandas import DataFrame


class Base(CheckedArguments):
    def __init__(self, count: Count = 1, kind: Literal["a", "b"] | None = None) -> None:
        self.count, self.kind = count, kind


class Method(Base):
    def __init__(
        self,
        *args: Any,
        share: Share = 0.5,
        rate: Positive | None = None,
        widths: list[Count] | None = None,
        strength: Share | dict[str, Share] = 0.5,
        any_of: Literal["x"] | Any = "x",
        table: DataFrame | None = None,
        **kwargs: Any,
    ) -> None:
        self.body_ran = True
        super().__init__(*args, **kwargs)
        self.share, self.rate, self.widths, self.strength = share, rate, widths, strength


@pytest.mark.parametrize(
    ("interval", "inside", "outside", "words"),
    [
        (Interval(0, 1), [0, 0.5, 1], [-1e-9, 1.1], "in [0, 1]"),
        (Interval(0, 1, closed="left"), [0, 0.9], [1], "in [0, 1)"),
        (Interval(0, 1, closed="right"), [1e-9, 1], [0], "in (0, 1]"),
        (Interval(0, 1, closed="neither"), [0.5], [0, 1], "in (0, 1)"),
        (Interval(2), [2, 10**400], [1], "of at least 2"),
        (Interval(2, closed="neither"), [2.5], [2], "above 2"),
        (Interval(high=2), [2, -5], [3], "of at most 2"),
        (Interval(high=2, closed="left"), [1], [2], "below 2"),
    ],
)
def test_intervals(interval, inside, outside, words):
    assert all(value in interval and np.float64(min(value, 9)) in interval for value in inside)
    assert not any(v in interval for v in [*outside, math.nan, math.inf, -math.inf, "0", None])
    assert str(interval) == words


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"share": 2}, r"Method.share: expected a number in \[0, 1\], got 2"),
        ({"share": "0.5"}, r"Method.share: .*, got '0.5'"),
        ({"rate": 0.0}, "Method.rate: expected a number above 0 or null, got 0.0"),
        ({"widths": [4, 0]}, "Method.widths: expected a list of integers of at least 1 or null"),
        ({"widths": 4}, "Method.widths"),
        ({"count": 1.5}, "Method.count: expected an integer of at least 1, got 1.5"),
        ({"kind": "c"}, "Method.kind: expected one of a, b or null, got 'c'"),
        ({"strength": {"a": 2.0}}, r"Method.strength: .* or a map to numbers in \[0, 1\], got {"),
        ({"strength": math.nan}, "Method.strength"),
    ],
)
def test_values_that_are_not_allowed(options, words):
    with pytest.raises(UserError, match=words):
        Method(**options)


def test_values_that_are_allowed():
    given = Method(
        np.int64(2), "b", share=np.float32(0.5), rate=None, widths=(4, 1), strength={"a": 1},
        any_of=object(), table=None,
    )  # fmt: skip
    assert (given.count, given.kind, given.widths) == (2, "b", (4, 1))
    assert list(inspect.signature(Method).parameters)[1:3] == ["share", "rate"]
    with pytest.raises(TypeError, match="unknown"):
        Method(unknown=1)


def test_functions_and_dataclasses():
    @checked
    @dataclass(frozen=True)
    class Options:
        strengths: Sequence[Positive] = (1.0,)

    with pytest.raises(UserError, match=r"Options.strengths: expected a list of numbers above 0"):
        Options([1.0, 0.0])
    assert Options([2.0]).strengths == [2.0]


@pytest.mark.parametrize(
    "value",
    [SplitPolicy, StructuralModel, PairSettings, DCGAN, DFR, solve, reweigh],
    ids=lambda value: value.__name__,
)
def test_annotations_of_what_is_checked_by_decorator_resolve(value):
    function = value.__init__ if isinstance(value, type) else value
    assert function.__wrapped__  # it is checked
    assert any(
        "Interval" in str(hint) for hint in get_type_hints(function, None, None, True).values()
    )


def test_the_command_line_takes_annotated_types():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Method, "m", skip={"table", "any_of"})
    given = parser.parse_args(
        ["--m.count=3", "--m.share=1", "--m.rate=null", "--m.widths=[3]", "--m.widths+=4",
         "--m.strength={a: 0.5}", "--m.kind=b"]
    ).m.as_dict()  # fmt: skip
    assert given == {"count": 3, "share": 1.0, "rate": None, "widths": [3, 4],
                     "strength": {"a": 0.5}, "kind": "b"}  # fmt: skip
    assert type(given["share"]) is float
    text = parser.format_help()
    assert "Annotated" not in text and "(type: float, default: 0.5)" in text
