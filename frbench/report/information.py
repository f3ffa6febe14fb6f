"""Where methods read the attribute, and which baseline of equal information each has."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from frbench.metrics.attribute_use import reads_attribute
from frbench.report.results import Run
from frbench.report.rule import Rule

#: Word of ``--baseline`` for a baseline of its own for each method.
EQUAL = "equal-information"
#: Parts of a run that may read the attribute.
PARTS = ("train", "select", "fit", "test")


def told_of(runs: Sequence[Run]) -> bool:
    """Whether the records of runs say what reads the attribute; older ones do not."""
    return any("attributes" in run.record for run in runs)


def use_of(runs: Sequence[Run], rule: Rule) -> tuple[str, ...]:
    """Return the parts of a method's runs that read the attribute; the report's rule selects, too.

    Args:
        runs: Runs of its chosen setting.
        rule: The rule of the report.
    """
    found = {p for run in runs for p, by in run.record.get("attributes", {}).items() if by}
    found -= {"select"} if rule.monitor and runs[0].selected else set()
    if any(reads_attribute(key) for _, key in rule.terms):
        found.add("select")
    return tuple(part for part in PARTS if part in found)


def is_baseline(runs: Sequence[Run]) -> bool:
    """Whether runs are of ERM on weighted, drawn or left out rows, postprocessed or not."""
    return all(run.training.get("erm", False) for run in runs)


def baselines(
    chosen: Mapping[str, Sequence[Run]], values: Mapping[str, float], rule: Rule
) -> dict[str, str]:
    """Return the best baseline of equal information of each method that has one.

    It is the baseline (:func:`is_baseline`), other than the method itself, that reads the
    attribute in no part in which the method does not, and whose value of the rule on validation
    data is best; of equal ones the first. Test data choose nothing, unless the rule does.

    Args:
        chosen: Runs of the chosen setting of each method of a data set.
        values: Value of the rule of each method.
        rule: The rule.
    """
    use = {method: {*use_of(runs, rule)} for method, runs in chosen.items()}
    known = [
        method
        for method, runs in chosen.items()
        if is_baseline(runs) and told_of(runs) and math.isfinite(values[method])
    ]
    out = {}
    for method, runs in chosen.items():
        found = [name for name in known if name != method and use[name] <= use[method]]
        if found and told_of(runs):
            out[method] = max(found, key=lambda name: rule.sign * values[name])
    return out
