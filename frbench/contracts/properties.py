"""What a method says about itself, so that one test can hold every method to its word."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple


class Properties(NamedTuple):
    """How the value of a risk or a penalty, and its gradient, answer a change of the batch.

    A class attribute ``properties`` of every objective and penalty;
    ``tests/promises/test_properties.py`` proves each statement for each class, and that the order
    of the rows never matters. The
    defaults are those of a mean over samples: a new method for which they do not hold fails the
    test until it says what does.

    Attributes:
        weights: Multiplying all of ``batch.weight`` by c multiplies the value by c (linear), or
            leaves it (invariant); None: neither.
        copies: A row of weight n stands for n equal rows of weight one, where the batch's weights
            have mean one (relative), or as they are (absolute); None: it does not.
        attributes: The value is the same whatever z is (unseen), or when the values of z are
            renamed (exchangeable); None: neither, parts of the model belong to single values.
        erm: Options under which training gives the network that ERM gives.
        one_group: Options under which a batch of one group has ERM's risk; None if there are none.
        compares: Whether a penalty compares attribute values, and so is zero where there is one.

    Example:
        >>> from frbench.objectives import CVaR, GroupDRO
        >>> CVaR.properties.erm, GroupDRO.properties.attributes
        (({'alpha': 1.0},), 'exchangeable')
    """

    weights: Literal["linear", "invariant"] | None = "linear"
    copies: Literal["relative", "absolute"] | None = "relative"
    attributes: Literal["unseen", "exchangeable"] | None = "unseen"
    erm: tuple[dict[str, Any], ...] = ()
    one_group: dict[str, Any] | None = None
    compares: bool = True


class StepProperties(NamedTuple):
    """What a step does to the training table, and what it leaves alone.

    A class attribute ``properties`` of every corruption and augmentation. The same seed gives the
    same table, and the table that was given stays as it is: that holds for all and is not stated.
    ``tests/promises/test_properties_steps.py`` proves each statement for each class; the defaults
    are those of a step that edits labels, the same ones whatever the order of the rows.

    Attributes:
        rows: The rows stay (kept), some stay, in their order (subset), others follow them
            (extended), or all are new (drawn).
        changes: Columns of rows that stay which it may change.
        ordered: A table in another order gives the same rows in that order (of drawn rows nothing
            is claimed); False where random numbers go to positions.
        identity: Options under which nothing changes; None if there are none.

    Example:
        >>> from frbench.data import FlipLabels
        >>> FlipLabels.properties.changes, FlipLabels.properties.identity
        (('y',), {'rate': 0.0})
    """

    rows: Literal["kept", "subset", "extended", "drawn"] = "kept"
    changes: tuple[str, ...] = ("y",)
    ordered: bool = True
    identity: dict[str, Any] | None = None
