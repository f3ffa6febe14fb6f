"""Encoding of a factor: what a linear probe reads of it from frozen features."""

from typing import NamedTuple

import numpy as np

from frbench.contracts.errors import UserError
from frbench.metrics.estimates import wilson


class Encoding(NamedTuple):
    """How well a factor is read.

    Attributes:
        accuracy: Share of held-out rows whose factor the probe reads correctly.
        chance: The same of a guess without features: the most frequent value (given y, if y was
            given).
        low: Lower end of the 95 % interval of the accuracy.
        high: Upper end.
    """

    accuracy: float
    chance: float
    low: float
    high: float


def encoding(
    features: np.ndarray,
    factor: np.ndarray,
    y: np.ndarray | None = None,
    folds: int = 2,
    strength: float = 1.0,
    seed: int = 0,
) -> Encoding:
    """Measure how well a linear probe reads a factor from frozen features.

    A logistic regression on standardised features is fitted on all folds but one and read on
    that one, so that every row is held out once. With ``y``, fitting and reading weigh rows by
    P(y) P(z) / P(y, z), so that the factor is independent of the label and cannot be read from
    what tells the label: decoding of Z given Y. Use it on tables where they depend; on P0 and Q
    it changes nothing but noise. Source: arXiv 2406.17433, Section 3 (encoding).

    Args:
        features: Output of the backbone [N, D].
        factor: Codes of the factor, -1 where unknown: such rows are left out [N].
        y: Labels [N]; None for unweighted rows.
        folds: Number of parts.
        strength: Inverse L2 strength of the regression (scikit-learn's C).
        seed: Seed of the parts.

    Raises:
        UserError: If the columns differ in length, the features are not finite, or some value of
            the factor has fewer rows than folds.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> z = rng.integers(0, 2, 400)
        >>> seen = encoding(np.stack([z + rng.normal(size=400) / 9, rng.normal(size=400)], 1), z)
        >>> unseen = encoding(rng.normal(size=(400, 2)), z)
        >>> seen.accuracy, unseen.low < unseen.chance
        (1.0, True)
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, factor = np.asarray(features, np.float64), np.asarray(factor)
    columns = [len(features), len(factor), *([] if y is None else [len(y)])]
    if features.ndim != 2 or len(set(columns)) > 1:
        raise UserError(
            f"encoding needs features [N, D] and columns of N rows, got {features.shape} and "
            f"{columns[1:]} rows."
        )
    if not np.isfinite(features).all():
        raise UserError("encoding: the features are not finite; the network has diverged.")
    known = factor >= 0
    features, factor = features[known], factor[known]
    label = np.zeros(len(factor), np.int64) if y is None else np.asarray(y)[known]
    values, counts = np.unique(factor, return_counts=True)
    if len(values) < 2 or counts.min() < folds:
        raise UserError(
            f"encoding needs two values of the factor with at least {folds} rows each, got "
            f"{dict(zip(values.tolist(), counts.tolist(), strict=True))}."
        )
    weight = _independent(label, factor)
    hit = np.zeros(len(factor), dtype=bool)
    guess = np.zeros(len(factor), dtype=bool)
    cell = np.unique(np.stack([label, factor]), axis=1, return_inverse=True)[1].ravel()
    stratum = cell if np.bincount(cell).min() >= folds else factor
    parts = StratifiedKFold(folds, shuffle=True, random_state=seed).split(features, stratum)
    for fit, held_out in parts:
        probe = make_pipeline(
            StandardScaler(), LogisticRegression(C=strength, max_iter=1000, tol=1e-3)
        )
        probe.fit(features[fit], factor[fit], logisticregression__sample_weight=weight[fit])
        hit[held_out] = probe.predict(features[held_out]) == factor[held_out]
        mass = [weight[fit][factor[fit] == value].sum() for value in values]
        guess[held_out] = factor[held_out] == values[int(np.argmax(mass))]
    total = weight.sum()
    accuracy, chance = float(weight @ hit / total), float(weight @ guess / total)
    effective = total**2 / np.square(weight).sum()
    low, high = wilson(accuracy * effective, effective)
    return Encoding(accuracy, chance, float(low), float(high))


def _independent(y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """P(y) P(z) / P(y, z) of each row [N]."""
    y, z = (np.unique(column, return_inverse=True)[1] for column in (y, z))
    joint = np.zeros((y.max() + 1, z.max() + 1))
    np.add.at(joint, (y, z), 1 / len(y))
    result: np.ndarray = (joint.sum(1)[y] * joint.sum(0)[z]) / joint[y, z]
    return result
