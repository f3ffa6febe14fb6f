"""The base of the failure-mode tasks: a structural model drawn over labelled images."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np

from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.contracts.ranges import Count, Interval, Share
from frbench.data.module import GroupDataModule
from frbench.data.table import Table
from frbench.data.tasks.canvas import COLOURS, paint
from frbench.data.tasks.structural import Correlation, Distribution, StructuralModel, Task


class Pool(NamedTuple):
    """Images to draw from.

    Attributes:
        images: Grey [M, H, W] or colour [M, 3, H, W]; uint8, or floats in [0, 1].
        labels: What they show, as the data set codes it [M].
    """

    images: Any
    labels: np.ndarray


class Scenario(GroupDataModule):
    """A structural model whose core feature is a real image; subclasses write :meth:`pools`.

    The image of a digit (say) of class T, copied to three channels, gets rows of noise on top,
    whose colour is that of the task, and in task c a green mark below, left or right by V. See
    :class:`frbench.data.tasks.structural.StructuralModel` for the tasks a, a3, b, c and d.
    Training, validation and test draw from disjoint images. Test tables ``test/P``, ``test/Q``
    (unless P lacks a cell), ``test/P0`` (d also ``test/P0_or``), and ``test/shift=<strength>``
    for each member of the family; validation is from P.

    Args:
        task: Letter of the task.
        train_on: Distribution of the training rows: exact draws of P, Q or P0.
        n: Training rows.
        n_eval: Rows of the validation table and of each test table.
        eta: Rate of flips between the label and the image's class.
        z_rates: P(Z = 1 | Y) of each class, or a row P(Z | Y) of each; by default 0.05 and 0.90,
            and for more classes or colours Z = Y mod A with rate 0.9.
        family: Strengths of the shifted test tables; None for no such tables.
        labels: The image labels of each class; two halves by default.
        colours: Number of attribute values A, if z_rates does not say.
        y_rates: Law of the classes; None is uniform.
        v_rates: P(V = 1 | Y) of task c.
        u_to_y: p of task b.
        u_to_z: lambda of task b.
        z_to_v: Share of rows of task c whose mark copies Z.
        attribute: What counts as the attribute: z, or in task c the pair (z, v).
        overwrite: Draw noise and mark over the image instead of beside it.
        **kwargs: Arguments of :class:`GroupDataModule`.

    Raises:
        UserError: For a value out of range or no rows.
    """

    #: Height and width of the images.
    image_shape: tuple[int, int]
    #: Image labels of each class, if the options give none; None where only the images say.
    usual_labels: list[list[int]] | None = [list(range(5)), list(range(5, 10))]

    def __init__(
        self,
        task: Task = "a",
        train_on: Distribution = "P",
        n: Count = 6000,
        n_eval: Count = 4000,
        eta: Share = 0.12,
        z_rates: list[float] | list[list[float]] | None = None,
        family: list[Correlation] | None = None,
        labels: list[list[int]] | None = None,
        colours: Annotated[int, Interval(2)] = 2,
        y_rates: list[Share] | None = None,
        v_rates: list[Share] | None = None,
        u_to_y: Share = 0.6,
        u_to_z: Correlation = 0.9,
        z_to_v: Share = 0.0,
        attribute: Literal["z", "z+v"] = "z",
        overwrite: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        name = type(self).__name__
        if attribute == "z+v" and task != "c":
            raise UserError(f"{name}: attribute z+v needs the mark of task c, not {task}.")
        self.task: Task = task
        self.train_on: Distribution = train_on
        self.n = n
        self.n_eval = n_eval
        self.eta = eta
        self.z_rates = z_rates
        self.family = family
        self.labels = self.usual_labels if labels is None else labels
        self.colours = colours
        self.y_rates = y_rates
        self.v_rates = v_rates
        self.u_to_y = u_to_y
        self.u_to_z = u_to_z
        self.z_to_v = z_to_v
        self.attribute = attribute
        self.overwrite = overwrite
        if self.labels is not None:
            self._check_labels(self.labels)
        classes = 2 if self.labels is None else len(self.labels)
        p_z = self._attribute_law(classes)
        self.model = StructuralModel(
            task,
            eta,
            p_z,
            None if y_rates is None else np.asarray(y_rates, float),
            tuple([0.8, 0.1] * (classes // 2) + [0.8] * (classes % 2))
            if v_rates is None
            else tuple(v_rates),
            u_to_y,
            u_to_z,
            z_to_v,
        )
        for strength in family or []:
            self.model.law(strength)  # out of range: said before anything is drawn
        names = ("P", "Q", "P0") if self.model.has_q else ("P", "P0")
        self._laws: dict[str, str | float] = {d: d for d in names}
        if task == "d":
            self._laws["P0_or"] = "P0_or"
        self._laws |= {f"shift={s:g}": float(s) for s in family or []}
        needed = max(self.model.law(d).num_colours for d in self._laws.values())
        if needed > len(COLOURS):
            raise UserError(f"{name}: there are {len(COLOURS)} colours, but {needed} are needed.")
        values = p_z.shape[1]
        # In d the colour is not the attribute's own.
        values_by_name = tuple(COLOURS) if task != "d" else tuple(map(str, range(values)))
        shown = values_by_name[:values]
        if attribute == "z+v":
            shown = tuple(f"{z}&{side}" for z in shown for side in ("left", "right"))
        self.attribute_names = shown
        self._factors: dict[str, dict[str, np.ndarray]] = {}
        self.name_classes()

    def name_classes(self) -> None:
        """Set the names of the classes and the sizes, unless only the images say them."""
        self.class_names = self._spans()
        self.sizes = self._sizes()

    def _spans(self) -> tuple[str, ...]:
        return tuple(_span(group) for group in self.groups)

    def _sizes(self) -> Sizes:
        height, width = self.image_shape
        shape = (3, height + self._rows_beside, width)
        return Sizes(len(self.class_names), len(self.attribute_names), shape)

    @property
    def groups(self) -> list[list[int]]:
        """The image labels of each class."""
        assert self.labels is not None
        return self.labels

    def _check_labels(self, groups: list[list[int]]) -> None:
        every = [label for group in groups for label in group]
        if len(groups) < 2 or not all(groups) or len(set(every)) < len(every):
            raise UserError(
                f"{type(self).__name__}: labels must be disjoint lists, one per class: {groups}."
            )

    def _attribute_law(self, classes: int) -> np.ndarray:
        """P(Z | Y) from ``z_rates`` [C, A]."""
        rates = self.z_rates
        if rates is None and (classes, self.colours) == (2, 2):
            rates = [0.05, 0.90]
        if rates is None:
            aligned = np.arange(classes)[:, None] % self.colours == np.arange(self.colours)
            return np.where(aligned, 0.9, 0.1 / (self.colours - 1))
        try:
            p = np.asarray(rates, float)
        except ValueError:
            p = np.empty(0)
        if p.ndim == 1:
            p = np.stack([1 - p, p], 1)
        if p.shape[:1] != (classes,):
            raise UserError(
                f"data.z_rates must have an entry for each of the {classes} classes, got {rates}."
            )
        return p

    # ---- what a subclass writes -------------------------------------------------------------
    @abstractmethod
    def pools(self) -> dict[str, Pool]:
        """Return the images of ``train``, ``val`` and ``test``."""

    # ---- drawing ----------------------------------------------------------------------------
    @property
    def noise_rows(self) -> int:
        """Rows of noise, and of the mark."""
        return max(2, self.image_shape[0] // 7)

    @property
    def _rows_beside(self) -> int:
        return 0 if self.overwrite else 2 * self.noise_rows

    @property
    def family_names(self) -> list[str]:
        """Test tables that are members of the shift family."""
        return [f"test/shift={strength:g}" for strength in self.family or []]

    @cached_property
    def _pools(self) -> dict[str, Pool]:
        return self.pools()

    def _draw(self, name: str, distribution: str | float, stream: int) -> Table:
        """Draw a table; its images come from the pool of its split."""
        split = name.split("/")[0]
        n = self.n if split == "train" else self.n_eval
        rng = np.random.default_rng([self.seed, stream])
        law = self.model.law(distribution)
        y, t, z, v = law.sample(n, rng)
        images, labels = self._pools[split]
        chosen = np.zeros(n, np.int64)
        for c, group in reversed(list(enumerate(self.groups))):
            members = np.flatnonzero(np.isin(labels, group))
            if not len(members):
                raise UserError(
                    f"{type(self).__name__}: the {split} images show none of the labels {group}."
                )
            chosen = np.where(t == c, rng.choice(members, n), chosen)
        mark = v if self.task == "c" else None
        drawn = np.asarray(images[chosen])
        x = paint(drawn, law.colour[y, z], mark, self.noise_rows, self.overwrite, rng)
        self._factors[name] = {"z": z, "v": v} if self.task == "c" else {"z": z}
        return Table(x, y, z * 2 + v if self.attribute == "z+v" else z)

    def tables(self) -> dict[str, Table]:
        """Draw the splits; each has a random stream of its own."""
        wanted: dict[str, str | float] = {"train": self.train_on, "val": "P"}
        wanted |= {f"test/{name}": law for name, law in self._laws.items()}
        return {name: self._draw(name, law, i) for i, (name, law) in enumerate(wanted.items())}

    def factors(self, name: str) -> dict[str, np.ndarray]:
        """Return z, and in task c the mark's side v, of each row of a table."""
        return self._factors[name] if name in self.splits else {}


def _span(labels: Sequence[int]) -> str:
    """Name a class by its labels: 0-4, or 1|3|5 where they do not follow each other."""
    first, last = labels[0], labels[-1]
    if len(labels) > 1 and list(labels) == list(range(first, last + 1)):
        return f"{first}-{last}"
    return "|".join(map(str, labels))
