"""Images per second of the input pipeline, against torchvision's own loader loop; waiting time.

Usage: python benchmarks/images.py [--images 512] [--size 224] [--workers 0 2] [--rounds 5]

Drawn faces of 218x178 pixels are read as JPEG, cropped to the centred square and resized. The
reference does the same with torchvision's parts: default_loader, CenterCrop, Resize and ToTensor
in a Dataset of samples, torch's DataLoader with its own collation. Both give float batches in
[0, 1]; rounds alternate. The second table trains ResNet-18 and says which share of the time of a
step is spent waiting for its batch.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets.folder import default_loader

from frbench.data import CelebA
from frbench.data.images.drawn_celeba import draw_celeba
from frbench.networks import Timm
from frbench.objectives import ERM


class Reference(Dataset):
    """Samples as torchvision's folder data sets give them."""

    def __init__(self, data: CelebA, size: int) -> None:
        table = data.splits["train"]
        self.samples = list(zip(table.x.tolist(), table.y.tolist(), strict=True))
        self.folder = data.image_folder
        self.transform = transforms.Compose(
            [transforms.CenterCrop(178), transforms.Resize(size), transforms.ToTensor()]
        )

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        name, y = self.samples[index]
        return self.transform(default_loader(str(self.folder / name))), y


def rate(batches: Iterable, first: Callable[[object], Tensor]) -> float:
    """Images per second of one pass, the start of workers included."""
    start, count = time.perf_counter(), 0
    for batch in batches:
        count += len(first(batch))
    return count / (time.perf_counter() - start)


class Wait(Callback):
    """Measures which share of a step is spent waiting for its batch, the first step left out."""

    def __init__(self) -> None:
        self.waited = self.total = 0.0
        self.end: float | None = None

    def on_train_batch_start(self, *_: object) -> None:
        self.start = time.perf_counter()
        if self.end is not None:
            self.waited += self.start - self.end

    def on_train_batch_end(self, *_: object) -> None:
        now = time.perf_counter()
        if self.end is not None:
            self.total += now - self.end
        self.end = now


def waiting(data: CelebA, size: int) -> tuple[float, float]:
    """Share of time spent waiting, and images per second, in one epoch of training."""
    clock = Wait()
    trainer = Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=0, devices=1, callbacks=[clock],
    )  # fmt: skip
    model = ERM(2, 2, [3, size, size], network=Timm("resnet18"))
    trainer.fit(model, datamodule=data)
    steps = trainer.global_step - 1
    return clock.waited / clock.total, steps * data.batch_size / clock.total


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    warnings.filterwarnings("ignore")
    root = draw_celeba(Path(tempfile.mkdtemp()), n=round(args.images / 0.7))
    print(f"{args.images} JPEGs to {args.size} px, batch {args.batch_size}, {args.rounds} rounds")
    for workers in args.workers:
        data = CelebA(
            str(root), image_size=args.size, batch_size=args.batch_size, num_workers=workers
        )
        theirs = DataLoader(
            Reference(data, args.size), args.batch_size, shuffle=True, num_workers=workers,
            drop_last=True,
        )  # fmt: skip
        ours = data.train_dataloader()
        pairs = [(rate(ours, lambda b: b.x), rate(theirs, lambda b: b[0]))
                 for _ in range(args.rounds)]  # fmt: skip
        ratios = [a / b for a, b in pairs]
        print(
            f"  {workers} workers: frbench {statistics.median(a for a, _ in pairs):.0f} images/s, "
            f"torchvision {statistics.median(b for _, b in pairs):.0f}, ratio "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )
    for workers in args.workers:
        data = CelebA(
            str(root), image_size=args.size, batch_size=args.batch_size, num_workers=workers,
            max_train=4 * args.batch_size,
        )  # fmt: skip
        share, speed = waiting(data, args.size)
        print(f"  ResNet-18, {workers} workers: {speed:.1f} images/s, {share:.1%} of it waiting")


if __name__ == "__main__":
    main()
