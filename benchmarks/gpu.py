"""What frbench costs on a GPU, in one table: steps, IRW, tiny networks, mixed precision, loading.

Usage: python benchmarks/gpu.py [--small] [--rounds 3] [--budget 320]

Without a GPU, or with ``--small``, every section runs at tiny sizes: that tests the script, and
no figure of it means anything. Each section has a share of the budget (seconds); what it does not
reach in time is a row that says so, and so is whatever fails. The exit status is 1 if a row failed.

- time: milliseconds of training_step, backward and optimiser on batches that lie on the device.
  Contenders take turns in rounds; the ratio is the median of the rounds' ratios (least to most).
  Without a GPU it is CPU time.
- memory: peak of the allocator in a step above what was allocated before it.
- syncs: synchronisations of host and device in a step, as torch's sync debug mode reports them.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from pytorch_lightning import Callback, Trainer, seed_everything
from pytorch_lightning.plugins import MixedPrecision
from torch import Tensor, nn

import frbench
from frbench import objectives, penalties
from frbench.contracts.batch import Batch, Sizes
from frbench.contracts.errors import UserError
from frbench.data import GroupDataModule, Table
from frbench.gradients import per_sample_gradients
from frbench.networks import MLP, Network
from frbench.objectives import ERM, IRW, IRWO, GroupDRO, Objective
from frbench.penalties import Penalty
from frbench.stacks.forming import stacked
from frbench.stacks.loader import StackData
from frbench.stacks.member import Member
from frbench.stacks.module import StackModule
from frbench.stacks.optimizer import StackedOptimizer
from frbench.training.manual import ManualObjective

CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
OBJECTIVES = [cls for name in objectives.__all__
              if (cls := getattr(objectives, name)) is not Objective]  # fmt: skip
PENALTIES = [cls for name in penalties.__all__
             if issubclass(cls := getattr(penalties, name), Penalty) and cls is not Penalty]  # fmt: skip
#: Those whose optimisers step in turn, which needs the loop of the Trainer.
SEVERAL = [cls for cls in OBJECTIVES if issubclass(cls, ManualObjective)]
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

    def first_batch(self) -> Batch:
        """Return the first batch of training on the device."""
        return self.transfer_batch_to_device(next(iter(self.train_dataloader())), DEVICE, 0)


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


def attached(model: Objective, data: Rows, precision: str) -> Objective:
    """Set a model up on the device as a trainer does before the first step."""
    trainer = make_trainer(precision=precision)
    Member(trainer, model, data).attach(trainer)
    model.to(DEVICE)
    model.on_fit_start()
    return model


class Step:
    """One step of a model outside the loop of the Trainer, in the precision of its trainer."""

    def __init__(self, model: Objective, data: Rows, precision: str = "32-true") -> None:
        self.model = attached(model, data, precision)
        self.batch = data.first_batch()
        self.optimizer = self.model.configure_optimizers()

    def __call__(self) -> Tensor:
        with self.model.trainer.precision_plugin.forward_context():
            loss = self.model.training_step(self.batch, 0)
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
    data = Rows(clean_share=0.2 if cls.uses_clean else 0.0, **of_data)
    return lambda: fit(make(cls, data, network()), data, steps)


# ---- sections -----------------------------------------------------------------------------------
def steps_of_methods(report: Report) -> None:
    """Every objective, and ERM with every penalty, on a ResNet in bf16."""
    depth, side, rows = (10, 16, 16) if report.small else (50, 224, 256)
    report.add(f"ResNet-{depth}, BatchNorm, {side} px, bf16, B {rows}", note="setting")
    data = {False: Rows([3, side, side], rows, batch_size=rows)}

    def build(cls: type[Objective], *parts: type[Penalty]) -> Step:
        shaped = data[cls.uses_clean] = data.get(cls.uses_clean) or Rows(
            [3, side, side], rows * 5 // 4, batch_size=rows, clean_share=0.2
        )
        model = make(cls, shaped, resnet(depth, "batch"), penalties=[p() for p in parts], lr=1e-4)
        return Step(model, shaped, "bf16-mixed")

    single = [cls for cls in OBJECTIVES if cls not in SEVERAL and cls is not ERM]
    makers = {cls.__name__: partial(build, cls) for cls in (ERM, *single)}
    makers |= {f"ERM, {cls.__name__}": partial(build, ERM, cls) for cls in PENALTIES}
    compare(report, makers, 1 if report.small else 4)


def irw(report: Report) -> None:
    """Back ends of IRW, and its step against that of explicit per-sample gradients."""

    def comparison(depth: int, side: int, rows: int, precision: str, naive: bool) -> None:
        report.add(f"ResNet-{depth}, GroupNorm, {side} px, {precision}, B {rows}", note="setting")
        data = Rows([3, side, side], rows, batch_size=rows)

        def build(cls: type[Objective], **options: Any) -> Step:
            return Step(make(cls, data, resnet(depth, "group"), **options), data, precision)

        makers: dict[str, Callable[[], Run]] = {"ERM": partial(build, ERM)}
        for backend in ("layers", "jvp"):
            makers[f"IRW, {backend}"] = partial(build, IRW, alpha=0.1, backend=backend)
        makers["IRW, last layer"] = partial(build, IRW, alpha=0.1, layers="last")
        makers["IRWO"] = partial(build, IRWO, alpha=0.1)
        if naive:
            makers["vmap(grad), gradients alone"] = lambda: partial(
                explicit, attached(make(ERM, data, resnet(depth, "group")), data, precision),
                data.first_batch(),
            )  # fmt: skip
        compare(report, makers, 1 if report.small else 4)

    comparison(*((10, 16, 16) if report.small else (50, 224, 64)), "bf16-mixed", naive=False)
    depth, side, rows = (10, 16, 16) if report.small else (18, 64, 32)
    comparison(depth, side, rows, "32-true", naive=True)
    with report.guarded("IRW, exactness"):
        exactness(report, Rows([3, side, side], rows, batch_size=rows), depth)


def explicit(model: Objective, batch: Batch) -> Tensor:
    """Return the gradient of each row [B, P]."""
    return per_sample_gradients(
        model.network, lambda out, y: F.cross_entropy(out[1], y), batch.x, batch.y
    )


def exactness(report: Report, data: Rows, depth: int) -> None:
    """Compare gradients of IRW with sum_i w_i g_i / sum_i w_i from the explicit matrix of g_i.

    That of ERM is the control: it must be further away than the tolerance.
    """
    tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        found = {}
        for name, cls, options in (
            ("layers", IRW, {"alpha": 0.25, "backend": "layers"}),
            ("jvp", IRW, {"alpha": 0.25, "backend": "jvp"}), ("ERM", ERM, {}),
        ):  # fmt: skip
            model = attached(make(cls, data, resnet(depth, "group"), **options), data, "32-true")
            batch = data.first_batch()
            model.training_step(batch, 0).backward()
            found[name] = torch.cat([p.grad.flatten() for p in model.network.parameters()])
        model = attached(make(ERM, data, resnet(depth, "group")), data, "32-true")
        gradients = explicit(model, batch)
        with torch.no_grad():
            worst = model.outputs(batch).losses.topk(-(-len(batch.y) // 4)).indices
        weights = (gradients @ gradients[worst].sum(0)).clamp(min=0)
        wanted = weights @ gradients / weights.sum()
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tf32
    off = {name: float((g - wanted).norm() / wanted.norm()) for name, g in found.items()}
    positive = int((weights > 0).sum())
    report.verdict(
        "IRW, gradient against explicit per-sample gradients",
        max(off["layers"], off["jvp"]) < 1e-3 < off["ERM"] and positive > 2,
        f"relative distances {', '.join(f'{k} {v:.1e}' for k, v in off.items())} (control); "
        f"tolerance 1e-3, TF32 off, {positive} positive weights",
    )


def tiny(report: Report) -> None:
    """A network whose arithmetic is little: what frbench, Lightning and stacks make of it."""
    steps, rows = (10, 32) if report.small else (400, 128)
    stacks = (2, 4) if report.small else (16, 128)
    report.add(f"MLP 64-64-32, fp32, B {rows}", note="setting; a stack's time is that of all runs")
    data = Rows([64], 10 * rows, batch_size=rows, passes=-(-steps // 10))
    network = partial(MLP, hidden=[64, 32])
    makers: dict[str, Callable[[], Run]] = {
        "bare loop": partial(bare_step, data, network),
        "bare loop, fused Adam": partial(bare_step, data, network, fused=True),
        **({"bare loop, CUDA graph": partial(captured, data, network)} if CUDA else {}),
        "ERM": lambda: Step(make(ERM, data, network()), data),
        "GroupDRO": lambda: Step(make(GroupDRO, data, network()), data),
    }
    makers |= {
        f"{n} runs of ERM in a stack": partial(stack_step, data, network, n) for n in stacks
    }
    compare(report, makers, 3 if report.small else 100)
    report.add(
        "the same under the Trainer", note="setting; loading and moving of batches included"
    )
    of_data = {"shape": [64], "rows": 10 * rows, "batch_size": rows, "passes": -(-steps // 10)}
    timers = {cls.__name__: fitted(cls, steps, network, **of_data)
              for cls in (ERM, GroupDRO, *SEVERAL)}  # fmt: skip
    timers |= {f"{n} runs of ERM in a stack": partial(stack_fit, data, network, n, steps)
               for n in stacks}  # fmt: skip
    take_turns(report, timers)


def bare_step(data: Rows, network: Callable[[], Network], **options: Any) -> Run:
    """A step of a loop in PyTorch."""
    net, batch = network(), data.first_batch()
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
    batch = Batch(*(c.expand(runs, *c.shape) for c in data.first_batch()))

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


def precision(report: Report) -> None:
    """Accuracy of each objective in mixed precision, and steps that fp16 skips."""
    steps = 20 if report.small else 200
    kinds = ("32-true", "bf16-mixed", *(["16-mixed"] if CUDA else []))
    for cls in OBJECTIVES:
        if report.is_over:
            report.add(cls.__name__, note="left out: the section's time is over")
            continue
        data = Rows([16], 640, batch_size=64, clean_share=0.2 if cls.uses_clean else 0.0)
        found: dict[str, float] = {}
        for kind in kinds:
            with report.guarded(f"{cls.__name__}, {kind}"):
                model = make(cls, data, MLP(hidden=[32]), lr=3e-3)
                try:
                    fit(model, data, steps, precision=kind)
                except UserError as error:  # a refusal that is documented
                    report.add(f"{cls.__name__}, {kind}", note=f"refused: {error}")
                    continue
                judge = Trainer(
                    accelerator="gpu" if CUDA else "cpu", devices=1, precision=kind, logger=False,
                    enable_progress_bar=False, enable_checkpointing=False,
                )  # fmt: skip
                judge.validate(model, datamodule=data, verbose=False)
                found[kind] = float(judge.callback_metrics["val/accuracy"])
        accuracies = ", ".join(f"{kind} {value:.3f}" for kind, value in found.items())
        apart = max(found.values(), default=0) - min(found.values(), default=1)
        report.verdict(cls.__name__, 0 <= apart <= 0.03, f"accuracy {accuracies}")
    with report.guarded("skipped steps"):
        skipped_steps(report)


def skipped_steps(report: Report) -> None:
    """Steps that fp16 skips leave parameters and q as they were; steps that are taken do not."""
    data, moved = Rows([16], 640, batch_size=64), {}
    for power in (60, 4):
        model = make(GroupDRO, data, MLP(hidden=[32]), lr=3e-3, eta=0.5)
        before = [t.detach().clone() for t in (*model.network.parameters(), model.log_q)]
        scaler = torch.amp.GradScaler(DEVICE.type, init_scale=2.0**power)
        fit(model, data, 3, plugins=[MixedPrecision("16-mixed", DEVICE.type, scaler)])
        after = [t.detach().cpu() for t in (*model.network.parameters(), model.log_q)]
        moved[power] = [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]
    report.verdict(
        "three steps of GroupDRO in fp16", not any(moved[60]) and all(moved[4]),
        f"of {len(moved[4])} tensors {sum(moved[60])} moved where all steps are skipped (scale "
        f"2^60), {sum(moved[4])} where all are taken (2^4)",
    )  # fmt: skip


def loading(report: Report) -> None:
    """Rows of a second from the tables of the host to the device."""

    def rate(each: Callable[[], Iterator[Tensor]]) -> float:
        rates = []
        for _ in range(report.rounds):
            synchronize()
            start = time.perf_counter()
            rows = sum(len(y) for y in each())
            synchronize()
            rates.append(rows / (time.perf_counter() - start))
        return statistics.median(rates)

    def through(data: Rows, finish: Callable[[Batch], Batch] = lambda batch: batch) -> float:
        loader = data.train_dataloader()
        move = partial(data.transfer_batch_to_device, device=DEVICE, dataloader_idx=0)
        return rate(lambda: (finish(move(batch)).y for batch in loader))

    rows, size = (2_000, 128) if report.small else (1_000_000, 1024)
    table = Rows([50], rows, batch_size=size)
    x, y = (
        column.to(DEVICE) for column in table.train_dataloader().dataset[np.arange(rows), None][:2]
    )

    def resident() -> Iterator[Tensor]:
        for index in torch.randperm(rows, device=DEVICE).split(size):
            x[index]
            yield y[index]

    with report.guarded("table"):
        floor, ours = rate(resident), through(table)
        report.add(
            f"table {rows} x 50 on the device, x and y, B {size}", f"{floor:,.0f} rows/s", "1.00"
        )
        report.add("as frbench loads it", f"{ours:,.0f} rows/s", f"{ours / floor:.2f} of the rate")
    side, rows, size = (16, 64, 16) if report.small else (224, 4096, 256)
    with report.guarded("images"):
        images, raw = (
            kind([3, side, side], rows, raw=True, batch_size=size) for kind in (Rows, Bytes)
        )
        ours, late = through(images), through(raw, lambda b: b._replace(x=b.x.float() / 255))
        report.add(
            f"uint8 images, {side} px, B {size}, as frbench loads them",
            f"{ours:,.0f} images/s",
            "1.00",
        )
        report.add(
            "bytes moved, floats made on the device",
            f"{late:,.0f} images/s",
            f"{late / ours:.2f} of the rate",
        )


class Bytes(Rows):
    """Rows that stay bytes until they are on the device."""

    def prepare(self, x: Tensor) -> Tensor:
        return x


#: Sections, each with its share of the budget.
SECTIONS: tuple[tuple[Callable[[Report], None], float], ...] = (
    (steps_of_methods, 0.45), (irw, 0.2), (tiny, 0.15), (precision, 0.12), (loading, 0.08),
)  # fmt: skip


def main() -> int:
    """Print the table; return 1 if a row of it failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--budget", type=float, default=320.0)
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    report, start = Report(args.small or not CUDA, args.rounds), time.monotonic()
    for section, share in SECTIONS:
        report.section = section.__name__
        report.until = time.monotonic() + share * args.budget
        with report.guarded("the section"):
            section(report)
        gc.collect()
    where = torch.cuda.get_device_name() if CUDA else "a CPU: a test of the script"
    print(f"frbench {frbench.__version__}, torch {torch.__version__}, {where}; "
          f"{time.monotonic() - start:.0f} s, {args.rounds} rounds\n")  # fmt: skip
    print("| " + " | ".join(Row._fields[:-1]) + " |\n|" + "---|" * (len(Row._fields) - 1))
    for row in report.rows:
        print("| " + " | ".join(row[:-1]) + " |")
    failed = [row for row in report.rows if row.failed]
    print(f"\n{len(report.rows)} rows, {len(failed)} failed")
    for row in failed:
        print(f"  {row.section}: {row.contender}: {row.note}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
