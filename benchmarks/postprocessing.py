"""Seconds that postprocessing takes to fit, on generated outputs.

Usage: python benchmarks/postprocessing.py [--rows 20000] [--features 512] [--scores 1000000]

Last layers and ensembles on features of the first size, maps of scores on scores of the last. One
thread; the time is that of the processor, so that other processes do not count.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from frbench import Sizes
from frbench.penalties import MarginalMMD
from frbench.postprocessing import (
    AFR,
    CRT,
    DFR,
    DISPEL,
    DPE,
    FRAPPE,
    LLR,
    SELF,
    Barycentre,
    CalibratedOdds,
    EqOddsMixing,
    ExponentiatedGradient,
    GridSearch,
    GroupThresholds,
    HeldOut,
    LastLayer,
    Postprocessor,
    RejectOption,
    RelaxedEqualizedOdds,
    ReweightCRT,
    TemperatureScaling,
    ThresholdOptimizer,
    VanillaCRT,
)

HEADS: list[Postprocessor] = [
    AFR(), SELF(), LLR(), LLR("class"), LLR("group"), CRT(), ReweightCRT(), VanillaCRT(), DFR(),
    DISPEL(), FRAPPE([MarginalMMD()]), DPE(), GridSearch(), ExponentiatedGradient(),
]  # fmt: skip
MAPS: list[Postprocessor] = [
    *(ThresholdOptimizer(name) for name in ("demographic_parity", "equalized_odds",
                                            "true_positive_rate", "true_negative_rate")),
    RelaxedEqualizedOdds(0.05), GroupThresholds(), EqOddsMixing(), CalibratedOdds(),
    RejectOption(), Barycentre(), TemperatureScaling(),
]  # fmt: skip


def outputs(n: int, features: int, seed: int = 0) -> HeldOut:
    """Draw outputs of a network: two classes, two attribute values, an informative score."""
    rng = np.random.default_rng(seed)
    z = rng.integers(0, 2, n)
    y = (rng.random(n) < 0.3 + 0.2 * z).astype(int)
    x = rng.normal(size=(n, features)).clip(min=0)
    if features:
        x[:, : features // 8] += 0.2 * y[:, None]
        x[:, features // 8 : features // 4] += 0.2 * z[:, None]
    logit = rng.normal(size=n) + 1.5 * y - 1
    weight = rng.normal(size=(2, features)) * 0.05
    logits = np.stack([0 * logit, logit], 1) if not features else x @ weight.T
    return HeldOut(x, logits, y, z, 2, 2, weight, np.zeros(2))


def seconds(method: Postprocessor, rows: HeldOut) -> float:
    """Fit a method and return the processor's time."""
    if not isinstance(method, LastLayer):
        method.bind(Sizes(2, 2, (1,)), rows.features.shape[1])  # type: ignore[attr-defined]
    start = time.process_time()
    method.fit(rows)  # type: ignore[attr-defined]
    return time.process_time() - start


def main() -> None:
    """Print a line for each method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--scores", type=int, default=1_000_000)
    parser.add_argument("--only", default="", help="names of classes that contain this")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for methods, rows in (
        (HEADS, outputs(args.rows, args.features)),
        (MAPS, outputs(args.scores, 0)),
    ):
        for method in methods:
            name = type(method).__name__
            if args.only in name:
                option = next(iter(vars(method).values()), "") if name == "LLR" else getattr(
                    method, "constraint", "")  # fmt: skip
                print(f"{name} {option}: {seconds(method, rows):.2f} s", flush=True)


if __name__ == "__main__":
    main()
