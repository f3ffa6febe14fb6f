"""Image data sets read from files."""

from __future__ import annotations

from typing import Any

import numpy as np

from frbench.contracts.batch import Sizes
from frbench.contracts.ranges import Count, OpenShare, PositiveShare
from frbench.data.images.idx import read_idx
from frbench.data.module import GroupDataModule
from frbench.data.table import Table
from frbench.support.files import locate


class QMNISTWriters(GroupDataModule):
    """MNIST's digits with who wrote them: NIST employees or high-school students.

    Row i of QMNIST's label files belongs to image i of MNIST; its column 1 is 4 for students and
    0 or 1 for employees, column 2 the writer. Training has 539 writers, none of them in test;
    validation holds out writers, too.

    Args:
        students: Share of the training rows by students that is kept, in (0, 1]: makes them a
            minority.
        max_train: At most this many training rows, drawn at random; None keeps all.
        val_writers: Share of the training writers held out for validation, in (0, 1).
        **kwargs: Arguments of :class:`GroupDataModule`.

    Raises:
        UserError: For a share out of range, or if a file is missing or damaged.
    """

    sizes = Sizes(10, 2, (1, 28, 28))
    class_names = tuple("0123456789")
    attribute_names = ("employee", "student")

    def __init__(
        self,
        students: PositiveShare = 1.0,
        max_train: Count | None = None,
        val_writers: OpenShare = 0.15,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.students = students
        self.max_train = max_train
        self.val_writers = val_writers

    @staticmethod
    def _read(part: str, prefix: str) -> tuple[Table, np.ndarray]:
        images = read_idx(locate(f"MNIST/raw/{prefix}-images-idx3-ubyte"))
        labels = read_idx(locate(f"QMNIST/raw/qmnist-{part}-labels-idx2-int"))[: len(images)]
        table = Table(images[:, None], labels[:, 0], labels[:, 1] == 4)
        return table, labels[:, 2]

    def tables(self) -> dict[str, Table]:
        """Read the images and split the training writers."""
        train, writer = self._read("train", "train")
        test, _ = self._read("test", "t10k")
        rng = np.random.default_rng([self.seed, 0])
        writers = rng.permutation(np.unique(writer))
        held_out = np.isin(writer, writers[: round(self.val_writers * len(writers))])
        val, train = train.take(held_out), train.take(~held_out)
        drop = (train.z == 1) & (rng.random(len(train)) >= self.students)
        train = train.take(~drop)
        if self.max_train is not None and self.max_train < len(train):
            train = train.take(np.sort(rng.choice(len(train), self.max_train, replace=False)))
        return {"train": train, "val": val, "test": test}
