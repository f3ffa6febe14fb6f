"""Whether fairness and robustness go together over the methods of a factorial.

Usage: python studies/gan_trade_off.py results/factorial

Of each data set and seed: Spearman's correlation, over the methods, of worst-group accuracy and
DEO on the test table with equally many rows of each group. Below zero the fairer methods are the
more robust ones; a trade-off would be above zero.
"""

import sys
from collections import defaultdict
from pathlib import Path

from scipy.stats import spearmanr

from frbench.report.interval import estimate
from frbench.report.records import Results

TABLES = ("test/balanced", "test")


def main(folder):
    found = defaultdict(list)
    for record in Results(folder / "results.jsonl").latest().values():
        if record["status"] == "ok":
            metrics = record["metrics"]
            table = next(t for t in TABLES if f"{t}/deo" in metrics)
            values = metrics[f"{table}/worst_group_accuracy"], metrics[f"{table}/deo"]
            found[record["data"], record["seed"]].append(values)
    correlations = defaultdict(list)
    for (data, _), pairs in found.items():
        correlations[data].append(float(spearmanr(*zip(*pairs, strict=True)).statistic))
    for data, values in correlations.items():
        e = estimate(values)
        print(f"{data:14} {e.mean:6.2f} ± {e.sd:.2f} [{e.low:.2f}, {e.high:.2f}]   n = {e.n}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
