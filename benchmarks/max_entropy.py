"""Time max-entropy fits and draws on COMPAS and Adult, and how a fit grows with K and d.

Run ``FRBENCH_DATA=... OMP_NUM_THREADS=1 python benchmarks/max_entropy.py`` (the environment must
be set before numpy starts); ``--skip-growth`` leaves out the tables of up to 10^6 unique rows.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table as RichTable

from frbench.contracts.errors import UserError
from frbench.data.max_entropy import Column, Domain, MaxEntropy, Samples, solve
from frbench.data.steps.calmon import OptimizedPreprocessing
from frbench.data.table import Table
from frbench.data.tables.released import AdultSmall, CompasLarge, CompasSmall

#: Targets in ms: fit of the compressed samples, draw of 10,000 samples.
TARGETS = {"COMPAS small": (1.0, 5.0), "Adult": (1.5, 5.0), "COMPAS large": (10.0, 5.0)}
CONFIGURATIONS = [
    (prior, marginals)
    for prior in ("data", "reweighted")
    for marginals in ("data", "balanced", "reweighted")
]


def tables() -> dict[str, tuple[Samples, str]]:
    """The three tables of the released code, compressed, with their protected column."""
    out = {}
    for name, data in (
        ("COMPAS small", CompasSmall()),
        ("Adult", AdultSmall()),
        ("COMPAS large", CompasLarge()),
    ):
        frame = data.read()
        numbers = list(frame.columns) if name == "COMPAS large" else []
        domain = Domain.of(frame, ordinal=numbers)
        out[name] = (Samples.compress(domain, domain.codes(frame)), str(data.attribute))
    return out


def milliseconds(call: Callable[[], object], repeats: int) -> float:
    """Return the median time of a call in ms, after one call that is not counted."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def growth(k: int, d: int) -> tuple[float, float]:
    """Time of compressing and fitting k random rows of d binary columns, in ms, and its share."""
    rng = np.random.default_rng(0)
    domain = Domain(tuple(Column(f"x{i}", (0, 1)) for i in range(d)))
    latent = rng.random((k, 1)) * 0.4 + 0.3
    codes = (rng.random((k, d)) < latent).astype(np.int64)
    start = time.perf_counter()
    samples = Samples.compress(domain, codes)
    compressed = time.perf_counter()
    solve(samples, "x0", "x1")
    stop = time.perf_counter()
    return 1e3 * (compressed - start), 1e3 * (stop - compressed)


def growing_tables(limit: float) -> Iterator[tuple[int, int, float, float | None]]:
    """Yield columns, possible rows, and ms of max entropy and of Calmon et al., both fit and draw.

    Tables of 5,000 rows, a label, an attribute and ever more inputs of three values. Calmon et al.
    stops (None) after the first table that takes longer than the limit in ms, or is refused.
    """
    rng, stopped = np.random.default_rng(0), False
    z = rng.integers(0, 2, 5000)
    y = (rng.random(5000) < 0.45 + 0.1 * z).astype(np.int64)
    for d in range(1, 11):
        names = [f"x{i}" for i in range(d)]
        x = pd.DataFrame({name: rng.integers(0, 3, 5000).astype(str) for name in names})
        table = Table(x, y, z)
        ours = milliseconds(lambda: MaxEntropy().apply(table, rng, np.asarray), 3)  # noqa: B023
        theirs = None
        if not stopped:
            start = time.perf_counter()
            try:
                OptimizedPreprocessing().apply(table, rng, np.asarray)
                theirs = 1e3 * (time.perf_counter() - start)
            except UserError:
                stopped = True
            stopped = stopped or (theirs is not None and theirs > limit)
        yield d, 4 * 3**d, ours, theirs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--skip-growth", action="store_true")
    parser.add_argument("--calmon-limit", type=float, default=60.0, help="seconds")
    args = parser.parse_args()
    out = RichTable(title="Max entropy, one thread (median over C .1, .5 and 6 configurations)")
    for head in ("table", "rows", "unique", "what", "steps", "ms", "target", "x target"):
        out.add_column(head, justify="left" if head in ("table", "what") else "right")
    for name, (samples, z) in tables().items():
        fits, draws, steps = [], [], []
        for c in (0.1, 0.5):
            for prior, marginals in CONFIGURATIONS:
                fit = lambda: solve(samples, "label", z, c, prior, marginals)  # noqa: B023, E731
                fits.append(milliseconds(fit, 31))
                solution, rng = fit(), np.random.default_rng(0)
                steps.append(solution.steps)
                draws.append(milliseconds(lambda: solution.sample(10_000, rng), 31))  # noqa: B023
        for what, times, target in zip(
            ("fit", "10k draws"), (fits, draws), TARGETS[name], strict=True
        ):
            ms = statistics.median(times)
            size = (f"{len(samples.inverse):,}", f"{len(samples.rows):,}")
            most = f"<= {max(steps)}" if what == "fit" else ""
            out.add_row(name, *size, what, most, f"{ms:.2f}", f"{target:g}", f"{ms / target:.2f}")
    console = Console(width=100)
    console.print(out)
    if args.skip_growth:
        return
    out = RichTable(title="Growth: random binary columns (one run each)")
    for head in ("K rows", "d columns", "compress ms", "fit ms", "fit ns / (K d)"):
        out.add_column(head, justify="right")
    for k, d in ((10**4, 25), (10**5, 25), (10**6, 25), (10**5, 50), (10**5, 100), (10**6, 100)):
        compressed, fit = growth(k, d)
        ns = f"{1e6 * fit / (k * d):.2f}"
        out.add_row(f"{k:,}", str(d), f"{compressed:,.0f}", f"{fit:,.0f}", ns)
    console.print(out)
    out = RichTable(title="Rows: 12 random binary columns, 4,096 possible rows (one run each)")
    for head in ("n rows", "compress ms", "fit ms"):
        out.add_column(head, justify="right")
    for n in (10**4, 10**5, 10**6, 10**7):
        compressed, fit = growth(n, 12)
        out.add_row(f"{n:,}", f"{compressed:,.0f}", f"{fit:,.2f}")
    console.print(out)
    out = RichTable(title="Beside Calmon et al.: fit and draw of 5,000 rows")
    for head in ("inputs", "possible rows", "max entropy ms", "Calmon et al. ms"):
        out.add_column(head, justify="right")
    for d, size, ours, theirs in growing_tables(1e3 * args.calmon_limit):
        out.add_row(str(d), f"{size:,}", f"{ours:,.1f}", f"{theirs:,.0f}" if theirs else "-")
    console.print(out)


if __name__ == "__main__":
    main()
