"""FR-Train: iterations per CPU second under Lightning and in a bare PyTorch loop, interleaved.

Usage: python benchmarks/fr_train.py [--steps 2000] [--rounds 5]

Both train the same players on the same 1800 rows and 200 verified ones, all in each batch, k = 3,
and log every 50 iterations (the loop keeps its losses as numbers). The figure is the median ratio
over rounds; at the end both have the same weights, or the comparison is refused.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
import warnings
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F
from pytorch_lightning import Callback, Trainer, seed_everything

from frbench.callbacks import CSVLogger
from frbench.data import TwoGaussians
from frbench.networks import MLP
from frbench.objectives import FRTrain

WARMUP, K, EVERY, LAMBDA_F, LAMBDA_R = 500, 3, 100, 0.4, 0.1
SKIP = 20  # iterations before the clock starts


def make_data(seed: int = 0) -> TwoGaussians:
    return TwoGaussians(
        n=2000, batch_size=1800, clean_share=0.1, attribute_as_input=True, passes=1000, seed=seed
    )


def make_model() -> FRTrain:
    seed_everything(1, verbose=False)
    return FRTrain(
        2, 2, [3], network=MLP(hidden=[], one_logit=True), lr=0.005, fairness_lr=0.01,
        robust_lr=0.001, lambda_f=LAMBDA_F, lambda_r=LAMBDA_R, warmup=WARMUP, k=K,
        reweight_every=EVERY, robust_sees_attribute=False, init_std=0.2,
    )  # fmt: skip


class Clock(Callback):
    def on_train_batch_start(self, trainer: Trainer, *_: object) -> None:
        if trainer.global_step == SKIP:
            self.start = time.process_time()

    def on_train_end(self, trainer: Trainer, *_: object) -> None:
        self.rate = (trainer.global_step - SKIP) / (time.process_time() - self.start)


def lightning(data: TwoGaussians, steps: int, logger: object) -> tuple[float, torch.Tensor]:
    clock, model = Clock(), make_model()
    trainer = Trainer(
        max_steps=steps, max_epochs=-1, logger=logger, enable_checkpointing=False, devices=1,
        enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
        limit_val_batches=0, num_sanity_val_steps=0, log_every_n_steps=50, callbacks=[clock],
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    return clock.rate, model.network.head.weight.detach()


def loop(data: TwoGaussians, steps: int) -> tuple[float, torch.Tensor]:
    model = make_model()
    generator = model.network.head
    d_f, d_r = (model.discriminators[name].layers for name in ("fairness", "robustness"))
    table, clean, _ = data.training
    x, y = torch.as_tensor(table.x), torch.as_tensor(table.y).float()[:, None]
    z = torch.as_tensor(table.z).float()[:, None]
    verified = torch.cat(
        [torch.as_tensor(clean.x), 2 * torch.as_tensor(clean.y)[:, None] - 1.0], 1
    )
    ones, zeros = torch.ones(len(verified), 1), torch.zeros(len(x), 1)
    opt_g = torch.optim.Adam(generator.parameters(), 0.005)
    opt_f = torch.optim.SGD(d_f.parameters(), 0.01)
    opt_r = torch.optim.SGD(d_r.parameters(), 0.001)
    bce = F.binary_cross_entropy_with_logits
    weight, loss_g, losses = torch.ones_like(y), torch.zeros(()), []
    for t in range(steps):
        if t == SKIP:
            start = time.process_time()
        odds = F.linear(x, generator.weight, generator.bias)
        rows = torch.cat([x, odds], 1)
        opt_f.zero_grad()
        loss_f = bce(d_f(odds.detach()), z)
        loss_f.backward()
        opt_f.step()
        opt_r.zero_grad()
        loss_r = 0.5 * (bce(d_r(verified), ones) + bce(d_r(rows.detach()), zeros))
        loss_r.backward()
        opt_r.step()
        if t < WARMUP or t % K == 0:
            opt_g.zero_grad()
            if t < WARMUP:
                loss = bce(odds, y)
            else:
                belief = d_r(rows)
                robust = bce(belief, zeros)
                if t % EVERY == 0:
                    a = torch.sigmoid(loss_g / loss_r.detach() - 3)
                    weight = a * belief.detach().sigmoid() + 1 - a
                fair = (weight * bce(d_f(odds), z, reduction="none")).mean()
                own = (weight * bce(odds, y, reduction="none")).mean()
                loss = (1 - LAMBDA_F - LAMBDA_R) * own - LAMBDA_F * fair - LAMBDA_R * robust
            loss.backward()
            opt_g.step()
            loss_g = loss.detach()
        if t % 50 == 0:
            losses.append((loss_f.item(), loss_r.item(), loss_g.item()))
    return (steps - SKIP) / (time.process_time() - start), generator.weight.detach()


def main() -> None:
    """Print both rates and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    warnings.filterwarnings("ignore")
    data = make_data()
    rates: list[tuple[float, float]] = []
    for i in range(args.rounds):
        with TemporaryDirectory() as folder:
            ours, mine = lightning(data, args.steps, CSVLogger(folder))
        theirs, other = loop(data, args.steps)
        if not torch.allclose(mine, other, atol=1e-3):
            raise SystemExit(f"round {i}: {mine} and {other}: not the same algorithm")
        rates.append((ours, theirs))
        print(f"round {i}: Lightning {ours:.0f}, loop {theirs:.0f} iterations per CPU second, "
              f"ratio {ours / theirs:.2f}")  # fmt: skip
    ratios = [a / b for a, b in rates]
    print(f"median ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
