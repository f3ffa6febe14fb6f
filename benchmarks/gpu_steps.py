"""Steps, their times and the rows of a table, for benchmarks/gpu.py."""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from pytorch_lightning import Callback, Trainer, seed_everything
from torch import Tensor, nn

from frbench.contracts.batch import Batch, Sizes
from frbench.data import GroupDataModule, Table
from frbench.networks import MLP, Network
from frbench.objectives import ERM, Objective
from frbench.stacks.forming import stacked
from frbench.stacks.loader import StackData
from frbench.stacks.member import Member
from frbench.stacks.module import StackModule
from frbench.stacks.optimizer import StackedOptimizer

CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
#: Options under which few steps reach every part of a method.
OPTIONS: dict[str, dict[str, Any]] = {"FRTrain": {"warmup": 1, "k": 1}}
#: One step, and how many milliseconds each of a number of steps takes.
Run = Callable[[], Any]
Timer = Callable[[], float]


class Row(NamedTuple):
    section: str
    contender: str
    time: str = ""
    ratio: str = ""
    memory: str = ""
    syncs: str = ""
    note: str = ""
    failed: bool = False


class Report:
    """The rows so far, and the time that is left to a section."""

    def __init__(self, small: bool, rounds: int) -> None:
        self.small, self.rounds = small, rounds
        self.rows: list[Row] = []
        self.section = ""
        self.until = 0.0

    @property
    def is_over(self) -> bool:
        return time.monotonic() > self.until

    def add(self, contender: str, *cells: str, note: str = "", failed: bool = False) -> None:
        cells = (*cells, *[""] * (4 - len(cells)))
        self.rows.append(Row(self.section, contender, *cells, note=note, failed=failed))
        print(" | ".join(self.rows[-1][:-1]) + " FAILED" * failed, file=sys.stderr, flush=True)

    def verdict(self, contender: str, passed: bool, note: str) -> None:
        self.add(contender, note=f"{'PASS' if passed else 'FAIL'}: {note}", failed=not passed)

    @contextlib.contextmanager
    def guarded(self, contender: str) -> Iterator[None]:
        """Turn an error into a row of the table."""
        try:
            yield
        except Exception as error:  # of any contender; the others go on
            reason = " ".join(str(error).split())
            self.add(contender, note=f"{type(error).__name__}: {reason:.160}", failed=True)


# ---- data and networks --------------------------------------------------------------------------
class Rows(GroupDataModule):
    """Random inputs that lean towards class and attribute; every group has as many rows."""

    class_names = attribute_names = ("0", "1")

    def __init__(self, shape: Sequence[int], rows: int, raw: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shape, self.rows, self.raw = list(shape), rows, raw
        self.sizes = Sizes(2, 2, tuple(shape))

    def tables(self) -> dict[str, Table]:
        rng = np.random.default_rng(0)

        def draw(n: int) -> Table:
            y, z = np.arange(n) % 2, np.arange(n) // 2 % 2
            if self.raw:
                return Table(rng.integers(0, 256, (n, *self.shape), dtype=np.uint8), y, z)
            x = rng.standard_normal((n, *self.shape), dtype=np.float32)
            x += 0.5 * (y + z).astype(np.float32).reshape(-1, *[1] * len(self.shape))
            return Table(x, y, z)

        others = 400 if len(self.shape) == 1 else 8
        return {"train": draw(self.rows), "val": draw(others), "test": draw(others)}

    @cached_property
    def batches(self) -> tuple[Batch, Batch]:
        """The first batch of training on the device, twice: what repeats may be kept by a step."""
        batch = self.transfer_batch_to_device(next(iter(self.train_dataloader())), DEVICE, 0)
        return batch, Batch(*(column.clone() for column in batch))


class Bytes(Rows):
    """Rows that stay bytes until they are on the device."""

    def prepare(self, x: Tensor) -> Tensor:
        return x


class ResNet(nn.Module):
    """torchvision's ResNet without its classifier; of 10 layers for tests.

    Args:
        depth: 10, 18 or 50.
        norm: batch or group.
    """

    def __init__(self, depth: int, norm: str) -> None:
        super().__init__()
        self.depth, self.norm = depth, norm
        layers = {10: [1, 1, 1, 1], 18: [2, 2, 2, 2], 50: [3, 4, 6, 3]}[depth]
        kinds = torchvision.models.resnet
        self.net = torchvision.models.ResNet(
            kinds.Bottleneck if depth == 50 else kinds.BasicBlock, layers,
            norm_layer=nn.BatchNorm2d if norm == "batch" else partial(nn.GroupNorm, 8),
        )  # fmt: skip
        self.num_features = self.net.fc.in_features
        self.net.fc = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def resnet(depth: int, norm: str) -> Network:
    module = ResNet(depth, norm)
    return Network.wrap(module, module.num_features)


# ---- one step -----------------------------------------------------------------------------------
def make_trainer(steps: int = 1, callbacks: Sequence[Callback] = (), **options: Any) -> Trainer:
    return Trainer(
        max_steps=steps, max_epochs=-1, logger=False, enable_checkpointing=False, devices=1,
        accelerator="gpu" if CUDA else "cpu", enable_progress_bar=False, num_sanity_val_steps=0,
        enable_model_summary=False, limit_val_batches=0, callbacks=list(callbacks), **options,
    )  # fmt: skip


def make(cls: type[Objective], data: Rows, network: Network, **options: Any) -> Objective:
    seed_everything(0, verbose=False)
    return cls(2, 2, data.shape, network=network, **{**OPTIONS.get(cls.__name__, {}), **options})


def clean_share(cls: type[Objective]) -> float:
    """Return the share of verified rows for a method, none where it does not look at them."""
    return 0.2 if cls(2, 2, [2], network=MLP(hidden=[2])).uses_clean else 0.0


def attached(model: Objective, data: Rows, precision: str) -> Objective:
    """Set a model up on the device as a trainer does before the first step."""
    trainer = make_trainer(precision=precision)
    Member(trainer, model, data).attach(trainer)
    model.to(DEVICE)
    model.on_fit_start()
    trainer.fit_loop.epoch_loop.batch_progress.increment_ready()  # the first batch
    return model


class Step:
    """One step of a model outside the loop of the Trainer, in the precision of its trainer."""

    def __init__(self, model: Objective, data: Rows, precision: str = "32-true") -> None:
        self.model = attached(model, data, precision)
        self.batches = cycle(data.batches)
        self.optimizer = self.model.configure_optimizers()

    def __call__(self) -> Tensor:
        with self.model.trainer.precision_plugin.forward_context():
            loss = self.model.training_step(next(self.batches), 0)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()


def synchronize() -> None:
    if CUDA:
        torch.cuda.synchronize()


def now() -> float:
    """Seconds: of the wall where a GPU works, of the process where it does not."""
    synchronize()
    return time.perf_counter() if CUDA else time.process_time()


def timed(run: Run, steps: int) -> float:
    """Milliseconds of a step."""
    start = now()
    for _ in range(steps):
        run()
    return 1e3 * (now() - start) / steps


def peak(run: Run) -> float:
    """Mebibytes that a step allocates at its peak."""
    synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def host_syncs(run: Run) -> int:
    """Synchronisations of host and device in a step."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            run()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(w.message).lower() for w in seen)


def compare(report: Report, makers: Mapping[str, Callable[[], Run]], steps: int) -> None:
    """Warm every contender up, measure memory and synchronisations, then time all of them.

    Args:
        report: Gets a row for each.
        makers: Functions that build a step; the first is what the others are compared with.
        steps: Steps of a contender in a round.
    """
    timers: dict[str, Timer] = {}
    measured: dict[str, tuple[float, int]] = {}
    for name, build in makers.items():
        if report.is_over:
            report.add(name, note="left out: the section's time is over")
            continue
        with report.guarded(name):
            run = build()
            run()
            if isinstance(loss := run(), Tensor) and not bool(torch.isfinite(loss).all()):
                raise FloatingPointError("the loss is not finite")
            if CUDA:
                measured[name] = peak(run), host_syncs(run)
            timers[name] = partial(timed, run, steps)
        if CUDA:
            torch.cuda.empty_cache()
    take_turns(report, timers, measured)


def take_turns(
    report: Report, timers: Mapping[str, Timer], measured: Mapping[str, tuple[float, int]] = {}
) -> None:
    """Time contenders in rounds and add their rows; the first is the base of the ratios."""
    times: dict[str, list[float]] = {name: [] for name in timers}
    working = dict(timers)
    for turn in range(report.rounds):
        if turn and report.is_over:
            break
        for name, timer in list(working.items()):
            del working[name]
            with report.guarded(name):
                times[name].append(timer())
                working[name] = timer
    base = next(iter(timers), "")
    for name in working:
        memory = syncs = spread = ""
        if ratios := sorted(a / b for a, b in zip(times[name], times[base], strict=False)):
            spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        if name in measured:
            memory, syncs = f"{measured[name][0]:.0f} MiB", str(measured[name][1])
            if base in measured:
                memory += f", x {measured[name][0] / max(measured[base][0], 1e-9):.2f}"
        report.add(name, f"{statistics.median(times[name]):.3f} ms", spread, memory, syncs)


# ---- under the Trainer --------------------------------------------------------------------------
class Clock(Callback):
    """Times the batches after the first ones, until training ends."""

    def __init__(self, skip: int) -> None:
        self.skip, self.seen = skip, 0

    def on_train_batch_start(self, *_: Any) -> None:
        if self.seen == self.skip:
            self.start = now()
        self.seen += 1

    def on_train_end(self, *_: Any) -> None:
        self.ms = 1e3 * (now() - self.start) / (self.seen - self.skip)


def fit(model: Any, data: Any, steps: int, **options: Any) -> float:
    """Train; return milliseconds of a step, in which loading and moving of batches are."""
    clock = Clock(steps // 5)
    make_trainer(steps, [clock], **options).fit(model, datamodule=data)
    return clock.ms


def fitted(
    cls: type[Objective], steps: int, network: Callable[[], Network], **of_data: Any
) -> Timer:
    """Train a new model of a class each time, on verified rows, too, where it asks for them."""
    data = Rows(clean_share=clean_share(cls), **of_data)
    return lambda: fit(make(cls, data, network()), data, steps)


# ---- tiny networks ------------------------------------------------------------------------------
def bare_step(data: Rows, network: Callable[[], Network], **options: Any) -> Run:
    """A step of a loop in PyTorch."""
    net, batch = network(), data.batches[0]
    net.bind(data.sizes)
    optimizer = torch.optim.Adam(net.to(DEVICE).parameters(), 1e-3, **options)

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=not options.get("capturable"))
        loss = F.cross_entropy(net(batch.x)[1], batch.y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def captured(data: Rows, network: Callable[[], Network]) -> Run:
    """The same step as one CUDA graph."""
    step = bare_step(data, network, fused=True, capturable=True)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def members(data: Rows, network: Callable[[], Network], runs: int) -> list[Member]:
    """Set the runs of a stack up."""
    found = []
    for seed in range(runs):
        model = make(ERM, data, network())
        seed_everything(seed, verbose=False)
        found.append(Member(make_trainer(), model, data))
    trainer = make_trainer()
    for member in found:
        member.attach(trainer)
    return found


def stack_step(data: Rows, network: Callable[[], Network], runs: int) -> Run:
    """A step of a stack outside the loop of the Trainer."""
    mine = members(data, network, runs)
    tensors = stacked(mine, {})
    optimizer = StackedOptimizer(tensors.flat, [m.objective.configure_optimizers() for m in mine])
    batch = Batch(*(c.expand(runs, *c.shape) for c in data.batches[0]))

    def step() -> Tensor:
        found = tensors.step(batch)
        loss = found.terms["loss"].sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        tensors.commit(found)
        return loss.detach()

    return step


def stack_fit(data: Rows, network: Callable[[], Network], runs: int, steps: int) -> float:
    """Train a stack under the Trainer; return milliseconds of a step of all runs."""
    clock = Clock(steps // 5)
    trainer = make_trainer(steps, [clock])
    mine = members(data, network, runs)
    for member in mine:
        member.trainer.stack = trainer
    module = StackModule(mine, stacked(mine, {}), lambda _: contextlib.nullcontext())
    trainer.fit(module, datamodule=StackData(mine))
    return clock.ms
