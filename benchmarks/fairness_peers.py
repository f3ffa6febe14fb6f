"""CPU time of a training step with a fairness penalty: frbench's, fairret's and FFB's in one loop.

Usage: python benchmarks/fairness_peers.py [--ffb src/loss.py] [--steps 200] [--rounds 5]

One bare PyTorch loop (MLP 105-256x3, Adam, one thread) runs with each penalty in turn, interleaved
with the loop without one; figures are medians over rounds. fairret takes part where it is
installed (its projections need cvxpy), FFB where ``--ffb`` names its file of losses, whose
imports for plots are replaced by empty modules, and which asks for CUDA: ``.cuda()`` is
replaced by nothing while it runs. Labels, attributes and losses of the rows stand before the
clock starts or are the loop's own.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frbench import Batch, Outputs, Sizes
from frbench.penalties import HSIC, Gap, KLProjection, MutualInformation, Penalty, Violation

#: A penalty of the outputs and the batch.
Term = Callable[[Outputs, Batch], Tensor]
INPUTS, WIDTH = 105, 256


def ours(penalty: Penalty) -> Term:
    """Return what a penalty of frbench gives in a plain loop, committed after each call."""
    penalty.bind(Sizes(2, 2, (INPUTS,)))

    def term(out: Outputs, batch: Batch) -> Tensor:
        value: Tensor = penalty(out, batch)
        penalty.commit()
        return value

    return term


def fairret() -> dict[str, Term]:
    """Return fairret's penalties of the positive rate, as its documentation calls them."""
    from fairret.loss import KLProjectionLoss, NormLoss
    from fairret.statistic import PositiveRate

    def term(loss: nn.Module) -> Term:
        def call(out: Outputs, batch: Batch) -> Tensor:
            score = (out.logits[:, 1] - out.logits[:, 0])[:, None]
            return loss(score, F.one_hot(batch.z, 2).to(score))

        return call

    return {"Violation": term(NormLoss(PositiveRate())),
            "KLProjection": term(KLProjectionLoss(PositiveRate()))}  # fmt: skip


def ffb(path: Path) -> dict[str, Term]:
    """Return FFB's penalties from its own file."""
    named = ("matplotlib", "matplotlib.pyplot", "seaborn", "IPython")
    with mock.patch.dict(sys.modules, {name: mock.MagicMock() for name in named}):
        spec = importlib.util.spec_from_file_location("ffb_loss", path)
        if spec is None or spec.loader is None:
            raise SystemExit(f"{path} is no Python file.")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    gap, hsic, remover = module.gap_reg(mode="dp"), module.HSIC(), module.PRLoss()

    def positive(out: Outputs) -> Tensor:
        return out.logits.softmax(1)[:, 1]

    return {
        "Gap": lambda out, b: gap(positive(out), b.z, b.y)[0],
        "HSIC": lambda out, b: hsic(positive(out)[:, None], b.z[:, None].float(), b.y)[0],
        "PrejudiceRemover": lambda out, b: remover(positive(out), b.z, b.y)[0],
    }


def seconds(term: Term | None, batch_size: int, steps: int) -> float:
    """Return the CPU time of a step of the loop with a term, after ten steps for warming up."""
    torch.manual_seed(0)
    y, z = torch.randint(0, 2, (2, batch_size))
    x = torch.randn(batch_size, INPUTS) + y[:, None]
    batch = Batch.of(x, y, z, num_attributes=2)
    model = nn.Sequential(
        nn.Linear(INPUTS, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(),
        nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 2),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    start = 0.0
    for step in range(steps + 10):
        if step == 10:
            start = time.process_time()
        optimizer.zero_grad()
        logits = model(x)
        losses = F.cross_entropy(logits, y, reduction="none")
        loss = losses.mean()
        if term is not None:
            loss = loss + 0.1 * term(Outputs(logits, logits, losses), batch)
        loss.backward()
        optimizer.step()
    return (time.process_time() - start) / steps


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ffb", type=Path)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    for rows in (108, 256):
        times: dict[str, list[tuple[float, float]]] = {}
        contenders = terms(args.ffb)
        for _ in range(args.rounds):
            for name, term in contenders.items():
                plain = seconds(None, rows, args.steps)
                with contextlib.ExitStack() as stack:
                    if name.startswith("FFB"):
                        stack.enter_context(mock.patch.object(Tensor, "cuda", lambda self: self))
                        stack.enter_context(mock.patch.object(Tensor, "to", _stay(Tensor.to)))
                    times.setdefault(name, []).append((plain, seconds(term, rows, args.steps)))
        print(f"B {rows}: median of {args.rounds} rounds, over the loop without a penalty")
        for name, rounds in times.items():
            ratio = statistics.median(own / plain for plain, own in rounds)
            added = statistics.median(own - plain for plain, own in rounds)
            print(f"  {name:<28} x {ratio:5.2f}   + {1e3 * added:.3f} ms")


def terms(ffb_file: Path | None) -> dict[str, Term]:
    """Return every penalty by its name."""
    found = {f"frbench {name}": ours(penalty) for name, penalty in {
        "Gap": Gap(), "Violation": Violation(), "KLProjection": KLProjection(), "HSIC": HSIC(),
        "PrejudiceRemover": MutualInformation(beta=1.0)}.items()}  # fmt: skip
    if importlib.util.find_spec("fairret") is not None:
        found |= {f"fairret {name}": term for name, term in fairret().items()}
    if ffb_file:
        found |= {f"FFB {name}": term for name, term in ffb(ffb_file).items()}
    return found


def _stay(to: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Leave a tensor where it is when it is sent to "cuda"."""
    return lambda self, *args, **kw: self if args[:1] == ("cuda",) else to(self, *args, **kw)


if __name__ == "__main__":
    main()
