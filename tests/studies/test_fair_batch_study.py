"""The disparities of FairBatch's released code, by hand and by a loop."""

import numpy as np
import pytest

from studies import fair_batch


def test_by_hand():
    table = np.array([[[3, 1], [1, 0], [0, 0]], [[1, 1], [1, 3], [0, 0]]])
    parity = fair_batch.demographic_parity_deviation(table)
    assert parity == pytest.approx(0.6 - 5 / 11)  # rates 1/3 and 3/5 against 5/11
    assert fair_batch.equal_opportunity_deviation(table) == pytest.approx(2 / 3 - 0.5)
    assert fair_batch.equalized_odds_deviation(table) == pytest.approx(0.2)


def test_loop():
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 50, (2, 4, 2))
    seen = counts[:, :-1]
    expected = max(
        abs(seen[y, z, 1] / seen[y, z].sum() - seen[y, :, 1].sum() / seen[y].sum())
        for y in (0, 1)
        for z in range(3)
    )
    assert fair_batch.equalized_odds_deviation(counts) == pytest.approx(expected)
