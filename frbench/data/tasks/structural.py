"""Structural models of the failure-mode tasks: exact tables of P, Q, P0 and the shift family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import numpy as np

from frbench.contracts.errors import UserError
from frbench.contracts.ranges import Interval, Share, checked
from frbench.data.balance import cell_weights

Task = Literal["a", "a3", "b", "c", "d"]
Distribution = Literal["P", "Q", "P0"]
Correlation = Annotated[float, Interval(-1, 1)]
#: Strengths of the default shift family: of a copied U in task b, else of P'(Z = Y | Y).
FAMILY = {"b": (-0.9, -0.45, 0.0, 0.45, 0.9)}
FAMILY_OF_OTHERS = (0.05, 0.275, 0.5, 0.725, 0.95)


class Law(NamedTuple):
    """A distribution of a task.

    Attributes:
        p: Probability of label y, digit class t, attribute z and marker v [C, C, A, K]; K is 1
            in tasks without a marker.
        colour: Colour of the noise in the cell (y, z) [C, A].
    """

    p: np.ndarray
    colour: np.ndarray

    @property
    def num_colours(self) -> int:
        """Number of different colours."""
        return int(self.colour.max()) + 1

    def sample(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Draw labels, digit classes, attributes and markers, int64 [n] each."""
        classes = len(self.p)
        py = self.p.sum((1, 2, 3))
        y = rng.integers(0, classes, n) if np.ptp(py) < 1e-12 else rng.choice(classes, n, p=py)
        t = (y + _draw(self._by_offset().sum((2, 3))[y], rng)) % classes
        z = _draw(self.p.sum(3)[y, t], rng)
        v = _draw(self.p[y, t, z], rng) if self.p.shape[3] > 1 else np.zeros(n, np.int64)
        return y, t, z, v

    def _by_offset(self) -> np.ndarray:
        """The table with t - y, modulo C, in the place of t."""
        classes = np.arange(len(self.p))
        result: np.ndarray = self.p[classes[:, None], (classes[:, None] + classes) % len(self.p)]
        return result


def _draw(mass: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a value from each row of (unnormalised) probabilities, the last value first [n]."""
    below = mass[:, ::-1].cumsum(1)
    u = rng.random(len(mass)) * below[:, -1]
    result: np.ndarray = (
        np.minimum((u[:, None] >= below).sum(1), mass.shape[1] - 1) * -1 + mass.shape[1] - 1
    )
    return result


@checked
@dataclass(frozen=True)
class StructuralModel:
    """The five tasks; T is the digit's class, which the network can read, Y its label.

    - ``a`` purely spurious: Y, T = Y flipped with rate eta, Z | Y.
    - ``a3`` label noise after confounding: T, Z | T, Y = T flipped with rate eta.
    - ``b`` causal: T and U uniform, Y = U with rate p, else T; Z = U with rate lambda, else
      uniform (a negative lambda copies U + 1 modulo A).
    - ``c`` further confounder: a, and a marker V | Y that training distribution Q keeps.
    - ``d`` entangled: a, with the colour max(Y, Z), which is Y OR Z for two values.

    The colour is Z but in d. Q is P jointly balanced in (Y, Z). P0: Z (and V) uniform and
    independent of Y; in d also with the colour Z; ``P0_or`` of d keeps the colour.
    Members of the shift family at strength g have P'(Z = Y mod A | Y) = g (T in a3), the rest
    uniform, and in c P'(V = 1 - Y | Y) = g; in b, lambda = g.

    Source: arXiv 2406.17433, Figure 1 and Appendix D; a3 and the parameters are frbench's.

    Args:
        task: Letter of the task.
        eta: Rate of flips between Y and T, in [0, 1].
        p_z: P(Z | Y), T in a3 [C, A].
        p_y: Law of Y (T in a3; T and U in b) [C]; None is uniform.
        v_rates: P(V = 1 | Y) in c [C].
        u_to_y: p of task b, in [0, 1].
        u_to_z: lambda of task b, in [-1, 1].
        z_to_v: Share of rows in c whose marker copies Z (modulo 2) instead, in [0, 1].

    Raises:
        UserError: For a value out of range.

    Example:
        >>> model = StructuralModel("a", 0.12, np.array([[0.95, 0.05], [0.1, 0.9]]))
        >>> [model.law(d).p.sum((1, 3)).round(3).tolist() for d in ("P", "P0")]
        [[[0.475, 0.025], [0.05, 0.45]], [[0.25, 0.25], [0.25, 0.25]]]
    """

    task: Task
    eta: Share
    p_z: np.ndarray
    p_y: np.ndarray | None = None
    v_rates: Sequence[Share] = ()
    u_to_y: Share = 0.6
    u_to_z: Correlation = 0.9
    z_to_v: Share = 0.0

    def __post_init__(self) -> None:
        good = self.p_z.min() >= 0 and np.allclose(self.p_z.sum(1), 1)
        if not good or min(self.p_z.shape) < 2:
            raise UserError(
                f"data.z_rates must give P(Z = 1 | Y) in [0, 1] of each class, or a row P(Z | Y) "
                f"of each that sums to one; got {self.p_z.tolist()}."
            )
        if self.p_y is not None and (
            self.p_y.shape != self.p_z.shape[:1]
            or self.p_y.min() < 0
            or not np.isclose(self.p_y.sum(), 1)
        ):
            raise UserError(
                f"data.y_rates must give the {len(self.p_z)} classes' shares, summing to one; got "
                f"{self.p_y.tolist()}."
            )
        if self.task == "c" and len(self.v_rates) != len(self.p_z):
            raise UserError(
                f"data.v_rates must give P(V = 1 | Y) of the {len(self.p_z)} classes, got "
                f"{list(self.v_rates)}."
            )

    @property
    def has_q(self) -> bool:
        """Whether P holds every cell (y, z), so that it can be balanced."""
        return bool((self.law("P").p.sum((1, 3)) > 0).all())

    @property
    def family(self) -> tuple[float, ...]:
        """Strengths of the default shift family."""
        return FAMILY.get(self.task, FAMILY_OF_OTHERS)

    def law(self, distribution: str | float) -> Law:
        """Give the exact table of a distribution.

        Args:
            distribution: ``P``, ``Q``, ``P0``, in d also ``P0_or``; or a strength, which names a
                member of the shift family.

        Raises:
            UserError: For an unknown name, a strength out of range, or the Q of a P without rows
                in some cell.
        """
        classes, values = self.p_z.shape
        colour = np.broadcast_to(np.arange(values), (classes, values))
        if self.task == "d" and distribution != "P0":
            colour = np.maximum(colour, np.arange(classes)[:, None])
        if distribution in ("P", "Q"):
            p = self._table(self.p_z, np.asarray(self.v_rates), self.u_to_z, self.z_to_v)
            if distribution == "Q":
                names = [f"y={y},z={z}" for y in range(classes) for z in range(values)]
                p = p * cell_weights(p.sum((1, 3)), "joint", "keep", names)[:, None, :, None]
        elif distribution == "P0" or (distribution == "P0_or" and self.task == "d"):
            uniform = np.full((classes, values), 1 / values)
            p = self._table(uniform, np.full(classes, 0.5), 0.0, 0.0)
        elif isinstance(distribution, int | float):
            p = self._member(float(distribution))
        else:
            raise UserError(
                f"data: {distribution!r} is no distribution of task {self.task}; use P, Q or P0."
            )
        return Law(p, colour)

    def _member(self, strength: float) -> np.ndarray:
        low = -1 if self.task == "b" else 0
        if not low <= strength <= 1:
            raise UserError(
                f"data.family: strengths of task {self.task} lie in [{low}, 1], got {strength}."
            )
        classes, values = self.p_z.shape
        if self.task == "b":
            return self._table(self.p_z, np.empty(0), strength, 0.0)
        other = (1 - strength) / (values - 1)
        aligned = np.arange(classes)[:, None] % values == np.arange(values)
        one = np.where(np.arange(classes) % 2 == 0, strength, 1 - strength)
        return self._table(np.where(aligned, strength, other), one, 0.0, 0.0)

    def _table(self, p_z: np.ndarray, p_v: np.ndarray, u_to_z: float, z_to_v: float) -> np.ndarray:
        """P(y, t, z, v) with the given mechanisms of Z and V [C, C, A, K]."""
        classes, values = p_z.shape
        same = np.eye(classes)
        root = np.full(classes, 1 / classes) if self.p_y is None else self.p_y
        flip = (1 - self.eta) * same + self.eta * (1 - same) / (classes - 1)
        if self.task == "b":
            y_of = self.u_to_y * same[:, None, :] + (1 - self.u_to_y) * same[None, :, :]  # [U,T,Y]
            shown = (np.arange(classes) + (u_to_z < 0)) % values
            z_of = np.eye(values)[shown] * abs(u_to_z) + (1 - abs(u_to_z)) / values
            table: np.ndarray = np.einsum("u,t,uty,uz->ytz", root, root, y_of, z_of)
            return table[..., None]
        if self.task == "a3":
            table = np.einsum("t,ty,tz->ytz", root, flip, p_z)
            return table[..., None]
        table = np.einsum("y,yt,yz->ytz", root, flip, p_z)[..., None]
        if self.task != "c":
            return table
        copied = np.eye(2)[np.arange(values) % 2]
        v_of = (1 - z_to_v) * np.stack([1 - p_v, p_v], 1)[:, None] + z_to_v * copied
        table = table * v_of[:, None]
        return table
