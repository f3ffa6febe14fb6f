"""CPU time of a training step with a fairness penalty: frbench's, fairret's and FFB's in one loop.

Usage: python benchmarks/fairness_peers.py [--ffb src/loss.py] [--steps 200] [--rounds 5]

One bare PyTorch loop (MLP 105-256x3, Adam, one thread) runs with each penalty in turn, interleaved
with the loop without one; figures are medians over rounds. fairret takes part where it is
installed (its projections need cvxpy), FFB where ``--ffb`` names its file of losses, whose
imports for plots are replaced by empty modules, and which asks for CUDA: ``.cuda()`` is
replaced by nothing while it runs.
"""

from __future__ import annotations

import argparse
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

#: A penalty of logits [B, 2], labels [B] and attributes [B].
Term = Callable[[Tensor, Tensor, Tensor], Tensor]
INPUTS, WIDTH = 105, 256


def ours(penalty: Penalty) -> Term:
    """Return what a penalty of frbench gives in a plain loop, committed after each call."""
    penalty.bind(Sizes(2, 2, (INPUTS,)))

    def term(logits: Tensor, y: Tensor, z: Tensor) -> Tensor:
        losses = F.cross_entropy(logits, y, reduction="none")
        value = penalty(Outputs(logits, logits, losses), Batch.of(logits, y, z, num_attributes=2))
        penalty.commit()
        return value

    return term


def fairret() -> dict[str, Term]:
    """Return fairret's penalties of the positive rate, as its documentation calls them."""
    from fairret.loss import KLProjectionLoss, NormLoss
    from fairret.statistic import PositiveRate

    def term(loss: nn.Module) -> Term:
        def call(logits: Tensor, y: Tensor, z: Tensor) -> Tensor:
            score = (logits[:, 1] - logits[:, 0])[:, None]
            return loss(score, F.one_hot(z, 2).to(score))

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

    def positive(logits: Tensor) -> Tensor:
        return logits.softmax(1)[:, 1]

    return {
        "Gap": lambda logits, y, z: gap(positive(logits), z, y)[0],
        "HSIC": lambda logits, y, z: hsic(positive(logits)[:, None], z[:, None].float(), y)[0],
        "PrejudiceRemover": lambda logits, y, z: remover(positive(logits), z, y)[0],
    }


def seconds(term: Term | None, batch_size: int, steps: int) -> float:
    """Return the CPU time of a step of the loop with a term, after ten steps for warming up."""
    torch.manual_seed(0)
    y, z = torch.randint(0, 2, (2, batch_size))
    x = torch.randn(batch_size, INPUTS) + y[:, None]
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
        loss = F.cross_entropy(logits, y)
        if term is not None:
            loss = loss + 0.1 * term(logits, y, z)
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
    contenders: dict[str, Term] = {f"frbench {name}": ours(penalty) for name, penalty in {
        "Gap": Gap(), "Violation": Violation(), "KLProjection": KLProjection(), "HSIC": HSIC(),
        "PrejudiceRemover": MutualInformation(beta=1.0)}.items()}  # fmt: skip
    if importlib.util.find_spec("fairret") is not None:
        contenders |= {f"fairret {name}": term for name, term in fairret().items()}
    if args.ffb:
        contenders |= {f"FFB {name}": term for name, term in ffb(args.ffb).items()}
    for rows in (108, 256):
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
        with mock.patch.object(Tensor, "cuda", lambda self: self), \
                mock.patch("torch.Tensor.to", _stay(Tensor.to)):  # fmt: skip
            for _ in range(args.rounds):
                for name, term in contenders.items():
                    steps = args.steps if name != "fairret KLProjection" else args.steps // 4
                    times[name].append((seconds(None, rows, args.steps),
                                        seconds(term, rows, steps)))  # fmt: skip
        print(f"B {rows}: median of {args.rounds} rounds, over the loop without a penalty")
        for name, rounds in times.items():
            ratio = statistics.median(own / plain for plain, own in rounds)
            added = statistics.median(own - plain for plain, own in rounds)
            print(f"  {name:<28} x {ratio:5.2f}   + {1e3 * added:.3f} ms")


def _stay(to: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Leave a tensor where it is when it is sent to "cuda"."""
    return lambda self, *args, **kw: self if args[:1] == ("cuda",) else to(self, *args, **kw)


if __name__ == "__main__":
    main()
