"""Failure signatures: what a results table says went wrong, and what to try next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from frbench.report.interval import Estimate, estimate
from frbench.report.results import Run
from frbench.report.summary import Report, Row

#: Equalized odds (mean of the two gaps) that balancing should have removed. Where it works the
#: paper has .018 and .060, where it fails .554.
HIGH_ODDS = 0.1
#: Accuracy that P0 may lack against Q; the paper's working case has none.
LOST = 0.02
#: Accuracy of a probe for the factor above chance.
ENCODED = 0.1
#: Accuracy on Q that differs less over the strengths of a penalty is a plateau.
PLATEAU = 0.03
#: Worst group this far below the accuracy of its table: some group pays for the average.
POOR = 0.15

_BALANCED = ("joint", "reweighing")


class Signature(NamedTuple):
    """A pattern of failure that was seen.

    Attributes:
        data: Data set.
        method: Method that shows it.
        name: What was seen, in a few words.
        evidence: The numbers.
        step: What to do next.
    """

    data: str
    method: str
    name: str
    evidence: str
    step: str

    def __str__(self) -> str:
        return f"{self.data} {self.method}: {self.name} ({self.evidence}). Next: {self.step}"


def signatures(report: Report) -> list[Signature]:
    """Name the failure signatures in the chosen settings of a report.

    A method balances if its training distribution was jointly balanced or drawn from Q; methods
    of results files that do not say so are left out. An estimate must exceed its threshold with
    the whole 95 % interval over seeds. Source: the signatures of Sections 5 and 6 of
    arXiv 2406.17433.

    Args:
        report: What `frbench.report.summarise` returns; its runs need the metrics, whatever
            columns are shown.
    """
    found: list[Signature] = []
    for row in report.rows:
        if _balances(row.runs[0]):
            found += [*_odds(row), *_lost(row)]
        if _balances(row.runs[0]) or _strength(row.runs[0]):
            found += _encoded(row)
    for data in dict.fromkeys(row.data for row in report.rows):
        found += _plateau(data, [r for r in report.runs if r.data == data and r.error is None])
    return found


def _balances(run: Run) -> bool:
    return run.training.get("balance") in _BALANCED or run.training.get("train_on") == "Q"


def _strength(run: Run) -> float:
    """Sum of the weights of the penalties."""
    return float(sum(run.training.get("penalties", {}).values()))


def _key(run: Run, tables: Sequence[str], metrics: Sequence[str]) -> str | None:
    """Return the first of the metrics on the first of the tables that a run has."""
    keys = (f"{table}/{metric}" for table in tables for metric in metrics)
    return next((key for key in keys if np.isfinite(run.metrics.get(key, np.nan))), None)


def _over(runs: Sequence[Run], key: str) -> Estimate:
    return estimate(run.metrics.get(key, np.nan) for run in runs)


def _clear(value: Estimate, threshold: float) -> bool:
    """Whether an estimate exceeds a threshold with its interval, or alone if it has none."""
    return (value.low if value.n > 1 else value.mean) > threshold


def _odds(row: Row) -> Iterator[Signature]:
    key = _key(
        row.runs[0],
        ("test/P0", "test/Q", "test"),
        ("equalized_odds_mean", "equalized_odds_difference"),
    )
    if key and _clear(value := _over(row.runs, key), HIGH_ODDS):
        yield Signature(
            row.data, row.method, "equalized odds stay high after balancing", _text(key, value),
            "a part of the input depends on label and factor together (entangled): add a "
            "conditional MMD (--model.penalties+=ConditionalMMD). If the inputs cause the label, "
            "use the marginal one, without balancing. `frbench graph` tells which.",
        )  # fmt: skip


def _lost(row: Row) -> Iterator[Signature]:
    differences = [
        run.metrics.get("test/Q/accuracy", np.nan) - run.metrics.get("test/P0/accuracy", np.nan)
        for run in row.runs
    ]
    value = estimate(differences)
    if value.n and _clear(value, LOST):
        yield Signature(
            row.data, row.method, "accuracy on P0 is below that on Q",
            _text("Q minus P0, paired", value),
            "P0 differs from Q in more than the balanced dependence: look for a second factor "
            "that moves with the label (accuracy per candidate column), or for entangled inputs; "
            "write the graph down and read `frbench graph`.",
        )  # fmt: skip


def _encoded(row: Row) -> Iterator[Signature]:
    """Read the probe of z and of every further factor (`frbench.callbacks.EncodingProbe`)."""
    known = row.runs[0].metrics
    for table in ("test/P0", "test/Q", "test"):
        factors = [key.split("/encoding/")[1] for key in known if f"{table}/encoding/" in key]
        for factor in factors:
            key = f"{table}/encoding/{factor}"
            chance = _over(row.runs, f"{table}/encoding_chance/{factor}").mean
            if _clear(value := _over(row.runs, key), chance + ENCODED):
                yield Signature(
                    row.data, row.method, f"{factor} is still encoded",
                    f"{_text(key, value)}, chance {chance:.2f}",
                    "harmless as long as the head ignores it (equalized odds low); otherwise "
                    "penalise the features (tensor: features), or train the backbone, not the "
                    "head alone, on Q.",
                )  # fmt: skip
        if factors:
            return


def _plateau(data: str, runs: Sequence[Run]) -> Iterator[Signature]:
    """Compare the strengths of one penalty on one training distribution."""
    families: dict[tuple[Any, ...], dict[float, list[Run]]] = {}
    for run in runs:
        names = tuple(sorted(run.training.get("penalties", {})))
        if names:
            family = families.setdefault((names, _balances(run)), {})
            family.setdefault(_strength(run), []).append(run)
    for (names, balanced), strengths in families.items():
        if len(strengths) < 3:
            continue
        accuracy = [_over(own, "test/Q/accuracy").mean for own in strengths.values()]
        if not np.isfinite(accuracy).all() or np.ptp(accuracy) > PLATEAU:
            continue
        # Against the accuracy that the plateau promises, on the table where the groups are equal.
        gaps = {
            strength: estimate(
                run.metrics["test/Q/accuracy"]
                - run.metrics.get("test/P0/worst_group_accuracy", np.nan)
                for run in own
            )
            for strength, own in sorted(strengths.items())
        }
        if all(gap.n and _clear(gap, POOR) for gap in gaps.values()):
            worst = [_over(own, "test/P0/worst_group_accuracy").mean for own in strengths.values()]
            yield Signature(
                data, f"{', '.join(names)} on {'Q' if balanced else 'P'}",
                "plateau on Q with a poor worst group: another confounder",
                f"accuracy on Q {min(accuracy):.3f} to {max(accuracy):.3f}, worst group on P0 "
                f"{min(worst):.3f} to {max(worst):.3f} over strengths "
                f"{', '.join(f'{strength:g}' for strength in gaps)}",
                "the penalty removes what follows this factor and leaves another one in use: "
                "measure candidates, cross the right one into the factor (data.attribute), and "
                "balance or penalise over the pair.",
            )  # fmt: skip


def _text(name: str, value: Estimate) -> str:
    spread = f" ± {value.sd:.3f}, n = {value.n}" if value.n > 1 else ", one run"
    return f"{name} {value.mean:.3f}{spread}"
