"""Small tables and data of tables, shared by tests."""

import numpy as np

from frbench.contracts.batch import Sizes
from frbench.data.module import GroupDataModule
from frbench.data.table import Table


class Given(GroupDataModule):
    """Tables given by the test; validation is the training table, unless there is another."""

    class_names = attribute_names = ("0", "1")
    sizes = Sizes(2, 2, (2,))

    def __init__(self, train, val=None, **kwargs):
        super().__init__(**kwargs)
        self.train_table, self.val_table = train, train if val is None else val

    def tables(self):
        return {"train": self.train_table, "val": self.val_table, "test": self.val_table}


def rows(n=40, x=None, **columns):
    """Four groups of equal size; two equal inputs that are the label, unless columns are given."""
    r = np.arange(n)
    x = np.ones((n, 2), np.float32) * (r % 2)[:, None] if x is None else x
    return Table(x, columns.pop("y", r % 2), columns.pop("z", r // 2 % 2), **columns)
