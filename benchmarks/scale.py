"""Memory and time of large tables, and of long runs.

Usage: python benchmarks/scale.py tables [--rows 10000 100000 1000000]
       python benchmarks/scale.py images [--rows 2000 20000 200000]
       python benchmarks/scale.py growth [--steps 20000] [--only IRW FRTrain]

``tables`` writes a CSV with ten columns and measures each stage on the way from it to metrics:
CPU seconds, and the peak of resident memory above what was there before the stage. ``images``
does so for a table of image names; the images are links to one picture. ``growth`` trains every
objective on a tiny network with a validation every hundred steps, in a process of its own, and
reports how much that has grown after its first tenth.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, Trainer

from frbench.data import ImageTable, TableData, TwoGaussians
from frbench.data.fingerprint import fingerprint
from frbench.data.module import GroupDataModule
from frbench.metrics import GroupCounts, evaluate
from frbench.networks import MLP
from frbench.objectives import Objective


def resident_mb(what: str = "VmRSS") -> float:
    """Resident memory of this process, or its peak (VmHWM), in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(what)).split()[1]) / 1024


class Stages:
    """CPU seconds and peak memory of named stages."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[float, float]] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before, start = resident_mb(), time.process_time()
        yield
        self.found[name] = time.process_time() - start, resident_mb("VmHWM") - before


def write_table(path: Path, n: int) -> None:
    """Write numbers, categories, missing values, a label and an attribute that hang together."""
    import pandas as pd

    rng = np.random.default_rng(0)
    z = rng.integers(0, 4, n)
    y = (rng.random(n) < 0.2 + 0.15 * z).astype(int)
    columns: dict[str, Any] = {f"number{i}": (rng.normal(size=n) + y).round(4) for i in range(5)}
    columns["number4"][rng.random(n) < 0.1] = np.nan
    for i, levels in enumerate((3, 10, 40)):
        columns[f"category{i}"] = np.array([f"level{k}" for k in range(levels)])[
            rng.integers(0, levels, n)
        ]
    frame = pd.DataFrame({**columns, "z": np.array(list("abcd"))[z], "y": y})
    frame.to_csv(path, index=False)


def use(stages: Stages, build: Callable[[], GroupDataModule], decode: bool) -> None:
    """Go from the data to metrics."""
    with stages("reading and splits"):
        data = build()
        assert data.splits
    with stages("balance"):
        assert len(data.training.weight)
    with stages("checks of set-up"):
        data.setup("fit")
    with stages("fingerprint"):
        fingerprint(data)
    with stages("loader, one order of an epoch"):
        loader = data.train_dataloader()
        assert sum(len(rows) for rows, _ in loader.keys())  # noqa: SIM118 - no mapping
    if not decode:
        with stages("one pass over the training rows"):
            assert sum(len(batch.y) for batch in loader)
    table = data.splits["train"]
    y, z = torch.as_tensor(table.y), torch.as_tensor(table.z)
    logits = torch.randn(len(y), data.num_classes, generator=torch.Generator().manual_seed(0))
    with stages("metrics of the training rows"):
        counts = GroupCounts(data.num_classes, data.num_attributes)
        for start in range(0, len(y), 1024):
            rows = slice(start, start + 1024)
            counts.update(logits[rows], y[rows], z[rows])
        counts.compute()
    with stages("metrics.evaluate"):
        evaluate(table.y, logits.argmax(1).numpy(), table.z, scores=logits.softmax(1).numpy())


def large_tables(sizes: list[int], images: bool) -> None:
    """Print the stages of each size, and the power of n by which they grow."""
    found = {}
    for n in sizes:
        stages = Stages()
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if images:
                write_images(folder, n)
                build: Callable[[], GroupDataModule] = partial(
                    ImageTable, str(folder), target="y", attribute="z", split=None,
                    image_size=32, balance="joint", num_workers=0,
                )  # fmt: skip
            else:
                path = folder / "table.csv"
                write_table(path, n)
                build = partial(TableData, str(path), target="y", attribute="z",
                                balance="joint", batch_size=1024)  # fmt: skip
            use(stages, build, decode=images)
        found[n] = stages.found
        print(f"{n} rows measured", flush=True)
    head = " | ".join(f"{n:.0e} s | MB" for n in sizes)
    print(f"\n| stage | {head} | power of n |\n{'|---' * (2 * len(sizes) + 2)}|")
    for stage in found[sizes[0]]:
        cells = [f"{found[n][stage][0]:.3f} | {found[n][stage][1]:.0f}" for n in sizes]
        times = [found[n][stage][0] for n in sizes[-2:]]
        power = np.log(times[1] / times[0]) / np.log(sizes[-1] / sizes[-2])
        print(f"| {stage} | {' | '.join(cells)} | {power:.2f} |")


def write_images(folder: Path, n: int) -> None:
    """Write one picture, links to it, and the table that names them."""
    from PIL import Image

    Image.new("RGB", (40, 40), (9, 9, 9)).save(folder / "one.png")
    rng = np.random.default_rng(0)
    y, z = rng.integers(0, 2, (2, n))
    lines = [f"{i:06d}.png,{y[i]},{z[i]}" for i in range(n)]
    for i in range(n):
        os.symlink(folder / "one.png", folder / f"{i:06d}.png")
    (folder / "metadata.csv").write_text("\n".join(["file,y,z", *lines]) + "\n")


# ---- long runs ----------------------------------------------------------------------------------
class Growth(Callback):
    """Counts at some steps what is alive: objects of Python, tensors, bytes of the process.

    Args:
        steps: The steps.
    """

    def __init__(self, steps: list[int]) -> None:
        self.steps = steps
        self.seen: list[tuple[int, int, float]] = []

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Count, if it is time."""
        if trainer.global_step in self.steps and len(self.seen) < len(self.steps):
            gc.collect()
            alive = gc.get_objects()
            tensors = sum(issubclass(type(value), torch.Tensor) for value in alive)
            self.seen.append((len(alive), tensors, resident_mb()))


def long_run(cls: type[Objective], steps: list[int], **options: Any) -> Growth:
    """Train an objective on a tiny network with an epoch of a hundred steps at the most.

    Args:
        cls: The objective.
        steps: When to count; the last is the end.
        options: Arguments of the objective.
    """
    torch.manual_seed(0)
    model = cls(2, 2, [2], network=MLP(hidden=[4]), lr=1e-3, **options)
    per_epoch = min(100, steps[0] // 4)
    data = TwoGaussians(
        n=16 * per_epoch + 8, batch_size=16, clean_share=0.2 if model.uses_clean else 0.0
    )
    growth = Growth(steps)
    trainer = Trainer(
        max_steps=steps[-1], max_epochs=-1, logger=False, enable_checkpointing=False, devices=1,
        enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
        num_sanity_val_steps=0, callbacks=[growth],
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    return growth


def objectives() -> list[type[Objective]]:
    """Every objective of the package."""
    import frbench.objectives as home

    classes = [getattr(home, name) for name in home.__all__]
    return [cls for cls in classes if isinstance(cls, type) and issubclass(cls, Objective)
            and not cls.__abstractmethods__]  # fmt: skip


def growth_of(cls: type[Objective], counts: list[int]) -> tuple[float, list[Any]]:
    """Return CPU milliseconds a step of a long run, and what was alive at each count."""
    be_quiet()
    start = time.process_time()
    seen = long_run(cls, counts).seen
    return 1e3 * (time.process_time() - start) / counts[-1], seen


def growth(steps: int, only: list[str] | None) -> None:
    """Print what every objective has grown by between a tenth of the steps and their end.

    The slope is that of least squares through ten counts.
    """
    counts = [steps * i // 10 for i in range(1, 11)]
    print(f"| objective | CPU ms a step | MB at {counts[0]} | MB at {steps} | growth MB | kB per "
          f"1,000 steps | objects | tensors |\n{'|---' * 8}|")  # fmt: skip
    for cls in objectives():
        if only and cls.__name__ not in only:
            continue
        # A process of its own: memory that an earlier run has freed would hide what grows.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            each, seen = pool.submit(growth_of, cls, counts).result()
        objects, tensors, memory = (np.array(column) for column in zip(*seen, strict=True))
        slope = np.polyfit(counts, memory, 1)[0] * 1024 * 1000
        print(f"| {cls.__name__} | {each:.2f} | {memory[0]:.1f} | {memory[-1]:.1f} | "
              f"{memory[-1] - memory[0]:+.1f} | {slope:+.1f} | {objects[-1] - objects[0]:+d} | "
              f"{tensors[-1] - tensors[0]:+d} |", flush=True)  # fmt: skip


def be_quiet() -> None:
    """Use one thread and print nothing but the tables."""
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    warnings.filterwarnings("ignore")


def main() -> None:
    """Run one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("tables", "images", "growth"))
    parser.add_argument("--rows", type=int, nargs="+")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--only", nargs="+")
    args = parser.parse_args()
    be_quiet()
    if args.what == "growth":
        growth(args.steps, args.only)
    elif args.what == "images":
        large_tables(args.rows or [2_000, 20_000, 200_000], images=True)
    else:
        large_tables(args.rows or [10_000, 100_000, 1_000_000], images=False)


if __name__ == "__main__":
    main()
