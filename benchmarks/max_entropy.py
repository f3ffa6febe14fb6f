"""Time max-entropy fits and draws on COMPAS and Adult, and how a fit grows with K and d.

Run ``FRBENCH_DATA=... OMP_NUM_THREADS=1 python benchmarks/max_entropy.py`` (the environment must
be set before numpy starts); ``--skip-growth`` leaves out the tables of up to 10^6 unique rows.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from frbench.data.max_entropy import solve
from frbench.data.max_entropy.domain import Column, Domain, Samples

#: Targets in ms: fit of the compressed samples, draw of 10,000 samples.
TARGETS = {"COMPAS small": (1.0, 5.0), "Adult": (1.5, 5.0), "COMPAS large": (10.0, 5.0)}
CONFIGURATIONS = [
    (prior, marginals)
    for prior in ("data", "reweighted")
    for marginals in ("data", "balanced", "reweighted")
]


def compas_small(folder: Path) -> pd.DataFrame:
    """5,278 defendants of two races, 144 possible rows; the columns of AIF360 0.2."""
    frame = pd.read_csv(folder / "compas" / "compas-scores-two-years.csv")
    keep = (
        frame["days_b_screening_arrest"].between(-30, 30)
        & (frame["is_recid"] != -1)
        & (frame["c_charge_degree"] != "O")
        & frame["score_text"].notna()
        & frame["race"].isin(["African-American", "Caucasian"])
    )
    frame = frame[keep]
    columns = {
        "sex": frame["sex"] == "Female",
        "race": frame["race"] == "Caucasian",
        "age": frame["age_cat"],
        "priors": np.digitize(frame["priors_count"], [1, 4]),  # none, 1 to 3, more
        "charge": frame["c_charge_degree"],
        "label": frame["two_year_recid"],
    }
    return pd.DataFrame(columns)


def adult(folder: Path) -> pd.DataFrame:
    """All 48,842 rows, 504 possible; the columns of AIF360 0.2."""
    parts = [
        pd.read_csv(
            folder / "adult" / f"adult.{suffix}", header=None, skiprows=skip, skipinitialspace=True
        )
        for suffix, skip in (("data", 0), ("test", 1))
    ]
    frame = pd.concat(parts, ignore_index=True)
    columns = {
        "race": frame[8] == "White",
        "sex": frame[9] == "Male",
        "age": np.minimum(frame[0] // 10, 7),  # decades, the last one 70 and above
        "education": np.clip(frame[4], 5, 13),  # years, the ends open
        "label": frame[14].str.startswith(">50K"),
    }
    return pd.DataFrame(columns)


def compas_large(folder: Path) -> pd.DataFrame:
    """8,723 screenings in 19 columns, of which the released loader makes 4.8e10 possible rows.

    Like that loader it splits lines at every comma and drops those that then do not parse. Race
    is Caucasian or not: the loader's own choice follows the hash seed.
    """
    lines = [
        line.split(",")
        for line in (folder / "compas" / "compas-scores.csv").read_text().split("\n")
    ]
    place = {name: i for i, name in enumerate(lines[0])}
    with (folder / "compas" / "charges_features.txt").open() as file:
        flags = [line.strip().split(",") for line in file]
    charges = {
        row[0]: dict(zip(flags[0][1:], map(float, row[1:]), strict=True)) for row in flags[1:]
    }
    counts = ["juv_fel_count", "decile_score", "juv_misd_count", "juv_other_count"]
    rows = []
    for line in lines[1:]:
        if len(line) != len(lines[0]):
            continue
        get = {name: line[i] for name, i in place.items()}
        try:
            first, last = (datetime.fromisoformat(get[f"c_jail_{way}"]) for way in ("in", "out"))
            datetime.fromisoformat(get["c_offense_date"])
            months = abs((first - last).days) / 12  # days over twelve: the loader's months
            row = {
                "sex": get["sex"] == "Male",
                "age": np.digitize(int(get["age"]), [25, 65], right=True),
                "race": get["race"] == "Caucasian",
                **{name: int(get[name]) for name in counts},
                "priors": np.digitize(int(get["priors_count"]), [0, 10, 20, 30, 40], right=True),
                "jail": np.digitize(months, [0, 3, 6, 12, 24, 48, 60], right=True),
                "charge": get["c_charge_degree"],
                **charges[get["c_charge_desc"]],
                "label": int(get["is_recid"]),
            }
        except (ValueError, KeyError):
            continue
        if row["decile_score"] > 0:
            rows.append(row)
    return pd.DataFrame(rows)


def tables(folder: Path) -> dict[str, tuple[Samples, str]]:
    """The three tables, compressed, with their protected column."""
    out = {}
    for name, read, protected in (
        ("COMPAS small", compas_small, "race"),
        ("Adult", adult, "sex"),
        ("COMPAS large", compas_large, "race"),
    ):
        frame = read(folder)
        numbers = list(frame.columns) if read is compas_large else []
        domain = Domain.of(frame, ordinal=numbers)
        out[name] = (Samples.compress(domain, domain.codes(frame)), protected)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--skip-growth", action="store_true")
    args = parser.parse_args()
    out = Table(title="Max entropy, one thread (median over C .1, .5 and 6 configurations)")
    for head in ("table", "rows", "unique", "what", "steps", "ms", "target", "x target"):
        out.add_column(head, justify="left" if head in ("table", "what") else "right")
    for name, (samples, z) in tables(Path(os.environ["FRBENCH_DATA"])).items():
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
    out = Table(title="Growth: random binary columns (one run each)")
    for head in ("K rows", "d columns", "compress ms", "fit ms", "fit ns / (K d)"):
        out.add_column(head, justify="right")
    for k, d in ((10**4, 25), (10**5, 25), (10**6, 25), (10**5, 50), (10**5, 100), (10**6, 100)):
        compressed, fit = growth(k, d)
        ns = f"{1e6 * fit / (k * d):.2f}"
        out.add_row(f"{k:,}", str(d), f"{compressed:,.0f}", f"{fit:,.0f}", ns)
    console.print(out)


if __name__ == "__main__":
    main()
