"""A training table as discrete columns, and drawn codes back as rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from frbench.contracts.errors import UserError
from frbench.data.encode import MAX_LEVELS
from frbench.data.max_entropy.column import Column
from frbench.data.max_entropy.domain import Domain, Samples
from frbench.data.table import Table

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class TableColumns:
    """A training table as samples of a domain, and the way back.

    The domain's columns are label, attribute, and the discrete and binned inputs. Binning is an
    extension beyond the paper: a drawn bin becomes a value that a sample has in that bin.

    Attributes:
        frame: Inputs of the rows.
        domain: Its domain.
        codes: Codes of the rows [N, F].
        weight: Weights of the rows [N].
        restating: Inputs that fix the attribute or are fixed by it: drawing them independently
            would contradict z, so that they are drawn from samples with the same z.
    """

    frame: pd.DataFrame
    domain: Domain
    codes: np.ndarray
    weight: np.ndarray
    restating: tuple[str, ...]

    @classmethod
    def of(
        cls,
        table: Table,
        names: tuple[Sequence[str], Sequence[str]],
        bins: Mapping[str, Sequence[float]],
        max_bins: int,
        ordinal: Sequence[str],
        factors: tuple[str, str] = ("label", "attribute"),
        who: str = "MaxEntropy",
    ) -> TableColumns:
        """Make every column discrete.

        Args:
            table: Inputs (a DataFrame, or an array of two dimensions), labels and attributes.
            names: Names of the classes and of the attribute values; empty if they have none.
            bins: Ascending inner edges of numeric columns.
            max_bins: Numeric columns with more distinct values get min(max_bins, N^(1/3))
                quantile bins, fewer where quantiles coincide.
            ordinal: Columns whose mean only is kept; of all others, every value's share.
            factors: Names of the domain's columns of labels and attributes.
            who: Name of the step, for messages.

        Raises:
            UserError: If bins or ordinal name no column, or do not fit theirs; if a row has no
                attribute, a column too many categories, or the inputs are no table.
        """
        if (table.z < 0).any():
            raise UserError(
                f"{who}: {(table.z < 0).sum()} training rows have no attribute; use "
                "data.missing_attribute: drop or group."
            )
        frame = _frame(table.x, who)
        for option, chosen in (("bins", bins), ("ordinal", ordinal)):
            if absent := [name for name in chosen if name not in frame.columns]:
                raise UserError(
                    f"{who}: {option} names {absent[0]!r}, which is no input; the inputs "
                    f"are: {', '.join(map(str, frame.columns))}."
                )
        columns = [
            Column(name, tuple(given) or tuple(map(str, range(int(values.max()) + 1))))
            for name, given, values in zip(factors, names, (table.y, table.z), strict=True)
        ]
        codes, restating = [table.y, table.z], []
        quantiles = max(2, min(max_bins, round(len(frame) ** (1 / 3))))
        for name in map(str, frame.columns):
            column, code, order = _discretise(
                frame[name], bins.get(name), max_bins, quantiles, name in ordinal, who
            )
            if _restates(order, table.z):
                restating.append(name)
            elif len(column.values) > MAX_LEVELS and not column.is_number:
                raise UserError(
                    f"{who}: column '{name}' has {len(column.values)} categories, more than "
                    f"{MAX_LEVELS}; drop it, or merge categories."
                )
            else:
                columns.append(column)
                codes.append(code)
        domain = Domain(tuple(columns))
        return cls(frame, domain, np.stack(codes, axis=1), table.weight, tuple(restating))

    def draw(
        self, samples: Samples, codes: np.ndarray, source: np.ndarray, rng: np.random.Generator
    ) -> pd.DataFrame:
        """Turn codes into inputs, every one a value of a sample, in the columns' own types.

        Args:
            samples: The compressed samples.
            codes: Drawn codes [n, F].
            source: The distinct row that each repeats, or -1 [n].
            rng: Source of randomness.

        Returns:
            Inputs [n rows]; a repeated row is a whole sample.
        """
        import pandas as pd

        new = source < 0
        whole = self._pick(samples.inverse, source[~new], rng)
        modelled = {column.name: i for i, column in enumerate(self.domain.columns) if i > 1}
        out = {}
        for name in self.frame.columns:
            i = modelled.get(str(name), 1)  # 1: a restating column, drawn inside z
            rows = np.empty(len(codes), dtype=np.int64)
            rows[~new] = whole
            rows[new] = self._pick(self.codes[:, i], codes[new, i], rng)
            out[name] = self.frame[name].array[rows]
        return pd.DataFrame(out)

    def redraw(self, codes: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
        """Turn codes of the same rows [N, F] into inputs; what did not change stays as it is."""
        out = self.frame.copy()
        modelled = {column.name: i for i, column in enumerate(self.domain.columns) if i > 1}
        for name in self.frame.columns:
            if (i := modelled.get(str(name))) is None:
                continue
            rows, changed = np.arange(len(codes)), codes[:, i] != self.codes[:, i]
            rows[changed] = self._pick(self.codes[:, i], codes[changed, i], rng)
            out[name] = self.frame[name].array[rows]
        return out

    def _pick(
        self, groups: np.ndarray, wanted: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Draw, for each wanted group, a row of it in proportion to the rows' weights."""
        order = np.argsort(groups, kind="stable")
        edges = np.concatenate([[0.0], np.cumsum(self.weight[order])])
        first = np.searchsorted(groups[order], wanted, side="left")
        last = np.searchsorted(groups[order], wanted, side="right")
        draws = edges[first] + rng.random(len(wanted)) * (edges[last] - edges[first])
        rows = np.searchsorted(edges, draws, side="right") - 1
        result: np.ndarray = order[np.clip(rows, first, last - 1)]
        return result


def _discretise(
    series: pd.Series,
    edges: Sequence[float] | None,
    max_bins: int,
    quantiles: int,
    ordinal: bool,
    who: str,
) -> tuple[Column, np.ndarray, np.ndarray]:
    """Return the column, its codes [N], and ranks of the raw values, -1 where missing [N]."""
    import pandas as pd
    from pandas.api import types

    name = str(series.name)
    try:
        ranks, levels = pd.factorize(series, sort=types.is_numeric_dtype(series))
    except TypeError as error:  # of what cannot be compared
        raise UserError(f"{who}: column '{name}' holds lists or objects; drop it.") from error
    ranks = np.asarray(ranks, dtype=np.int64)
    missing = ranks < 0
    numeric = types.is_numeric_dtype(series) and not types.is_bool_dtype(series)
    if (edges is not None or ordinal) and not numeric:
        raise UserError(f"{who}: column '{name}' is not numeric; leave it out of the options.")
    if ordinal:
        finite = np.isfinite(series.to_numpy(np.float64, na_value=np.nan)).all()
        if not finite or len(levels) < 2:
            raise UserError(
                f"{who}: ordinal column '{name}' lacks values in some rows, is infinite there, or "
                "has one value only; drop the rows or take it out of ordinal."
            )
        return Column(name, tuple(levels.tolist()), "ordinal"), ranks, ranks
    if numeric and (edges is not None or len(levels) > max_bins):
        numbers = series.to_numpy(np.float64, na_value=np.nan)
        if edges is None:
            inner = np.arange(1, quantiles) / quantiles
            edges = np.unique(np.quantile(numbers[~missing], inner)).tolist()
        elif not edges or list(edges) != sorted(set(edges)):
            raise UserError(f"{who}: the bins of '{name}' must ascend, got {list(edges)}.")
        shown = [f"{name}<{edges[0]:g}", *(f"{name}>={edge:g}" for edge in edges)]
        codes = np.searchsorted(np.asarray(edges, np.float64), numbers, side="right")
    else:
        shown, codes = [str(level) for level in levels], ranks
    codes = np.where(missing, len(shown), codes)
    used, codes = np.unique(codes, return_inverse=True)
    names = tuple([*shown, "missing"][i] for i in used)
    if len(set(names)) < len(names):  # values of several types that are written alike
        names = tuple(f"{text} ({i})" for i, text in enumerate(names))
    return Column(name, names), codes, ranks


def _restates(ranks: np.ndarray, z: np.ndarray) -> bool:
    """Whether z follows from the column, not by accident, or the column from z."""
    pairs = np.unique(np.stack([ranks, z]), axis=1)
    num_levels, num_attributes = len(np.unique(ranks)), len(np.unique(z))
    if pairs.shape[1] == num_attributes:
        return True
    # Nearly unique numbers would pass for a function: their intervals must be z's.
    steps = int((np.diff(pairs[1]) != 0).sum())
    repeated = len(z) >= 5 * num_levels or steps == num_attributes - 1
    return pairs.shape[1] == num_levels and repeated


def _frame(x: Any, who: str) -> pd.DataFrame:
    """Return raw inputs as named columns."""
    import pandas as pd

    if isinstance(x, pd.DataFrame):
        return x.rename(columns=str)
    if isinstance(x, np.ndarray) and x.ndim == 2:
        return pd.DataFrame(x, columns=[f"x{i}" for i in range(x.shape[1])])
    raise UserError(
        f"{who} needs a table of named columns; images and texts have no discrete domain."
    )
