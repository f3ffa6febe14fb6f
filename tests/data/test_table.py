"""What a table may hold, and what is refused before training."""

import numpy as np
import pytest
import torch
from given_tables import Given, rows
from trainers import trainer

from frbench.contracts.errors import UserError
from frbench.data.fingerprint import fingerprint
from frbench.data.table import Table
from frbench.objectives import ERM


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (rows(x=np.full((40, 2), np.nan, np.float32)), "NaN or infinite"),
        (rows(x=np.ones((40, 3), np.float32)), "sizes declares"),
        (rows(weight=-np.ones(40)), "weights"),
        (rows(weight=np.full(40, np.nan)), "weights"),
        (rows(weight=np.zeros(40)), "weights"),
    ],
)
def test_hostile_tables_are_refused_before_training(table, words):
    with pytest.raises(UserError, match=words):
        trainer().fit(ERM(2, 2, [2]), datamodule=Given(table))


def test_labels_are_codes():
    for y in ([0.7, 1.9], ["a", "b"]):
        with pytest.raises(ValueError, match="integer codes"):
            Table(np.zeros((2, 1)), y, [0, 1])
    assert Table(np.zeros((2, 1)), [0.0, 1.0], [True, False]).y.tolist() == [0, 1]


@pytest.mark.parametrize("dtype", [np.int64, np.float64, np.bool_, np.uint8])
def test_features_of_any_number_type_train(dtype):
    table = rows(x=(np.ones((40, 2)) * (np.arange(40) % 2)[:, None]).astype(dtype))
    model = ERM(2, 2, [2])
    trainer().fit(model, datamodule=Given(table))
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert next(iter(Given(table).train_dataloader())).x.dtype == torch.float32


class Lazy:
    """Inputs that are made when they are indexed."""

    def __init__(self, value):
        self.value = value

    def __len__(self):
        return 40

    def __getitem__(self, index):
        return np.full((len(np.atleast_1d(index)), 2), self.value, np.float32)


def test_the_fingerprint_sees_inputs_that_are_not_arrays():
    prints = {
        fingerprint(Given(rows(x=x)))
        for x in (torch.ones(40, 2), 3 * torch.ones(40, 2), Lazy(1), Lazy(2))
    }
    assert len(prints) == 4
