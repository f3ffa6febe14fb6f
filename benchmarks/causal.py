"""CPU seconds of the causal analyzer on random graphs, one core.

    python benchmarks/causal.py [--rounds 5]

Each graph has all nodes observed and edges drawn at random along a random order. "verdicts" is
`analyze`; "with lists" is `Analysis.to_dict`, which also lists the independences of P, G0 and Q.
"""

from __future__ import annotations

import argparse
import itertools
import random
import time

from frbench.causal import CausalTask, analyze

SIZES = ((8, 12), (10, 15), (14, 24), (20, 40), (30, 60), (30, 120), (60, 120), (200, 400))


def random_task(nodes: int, edges: int, seed: int) -> CausalTask:
    """Draw a task; the label is Y, the factor Z, all other nodes are parts of X."""
    rng = random.Random(seed)
    names = ["Y", "Z", *(f"N{i}" for i in range(nodes - 2))]
    order = rng.sample(names, nodes)
    drawn = rng.sample(list(itertools.combinations(order, 2)), edges)
    undesired = [edge for edge in drawn if rng.random() < 0.3]
    return CausalTask(drawn, "Y", "Z", names[2:], undesired=undesired)


def seconds(task: CausalTask) -> tuple[float, float, str]:
    """Return CPU seconds of the verdicts and of all, and what the lists leave out."""
    start = time.process_time()
    found = analyze(task)
    verdicts = time.process_time() - start
    found.to_dict()
    return verdicts, time.process_time() - start, found.left_out or "nothing"


def _spread(values: tuple[float, ...]) -> str:
    ordered = sorted(values)
    return "/".join(f"{v:.2f}" for v in (ordered[0], ordered[len(ordered) // 2], ordered[-1]))


def main() -> None:
    """Print one row per size: minimum, median and maximum over seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="graphs of each size (5)")
    rounds = parser.parse_args().rounds
    print(f"CPU s, min/median/max of {rounds} graphs\n")
    print("| nodes | edges | verdicts | with lists | left out of the lists |")
    print("|---|---|---|---|---|")
    for nodes, edges in SIZES:
        runs = [seconds(random_task(nodes, edges, seed)) for seed in range(rounds)]
        verdicts, total, left_out = zip(*runs, strict=True)
        print(
            f"| {nodes} | {edges} | {_spread(verdicts)} | {_spread(total)} | {left_out[0]} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
