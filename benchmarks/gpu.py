"""What frbench costs on a GPU, in one table: steps, IRW, tiny networks, mixed precision, loading.

Usage: python benchmarks/gpu.py [--small] [--rounds 3] [--budget 320]

Without a GPU, or with ``--small``, every section runs at tiny sizes: that tests the script, and
no figure of it means anything. Each section has a share of the budget (seconds); what it does not
reach in time is a row that says so, and so is whatever fails. The exit status is 1 if a row
failed.

- time: milliseconds of training_step, backward and optimiser on batches that lie on the device.
  Contenders take turns in rounds; the ratio is the median of the rounds' ratios (least to most).
  Without a GPU it is CPU time.
- memory: peak of the allocator in a step above what was allocated before it.
- syncs: synchronisations of host and device in a step, as torch's sync debug mode reports them.
"""

from __future__ import annotations

import argparse
import gc
import logging
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from gpu_steps import (
    CUDA,
    DEVICE,
    Bytes,
    Report,
    Row,
    Rows,
    Run,
    Step,
    attached,
    bare_step,
    captured,
    clean_share,
    compare,
    fit,
    fitted,
    make,
    resnet,
    stack_fit,
    stack_step,
    synchronize,
    take_turns,
)
from pytorch_lightning import Trainer
from pytorch_lightning.plugins import MixedPrecision
from torch import Tensor

import frbench
from frbench import objectives, penalties
from frbench.contracts.batch import Batch
from frbench.contracts.errors import UserError
from frbench.gradients import per_sample_gradients
from frbench.networks import MLP
from frbench.objectives import ERM, IRW, IRWO, GroupDRO, Objective
from frbench.penalties import Penalty
from frbench.training.manual import ManualObjective

OBJECTIVES = [cls for name in objectives.__all__
              if (cls := getattr(objectives, name)) is not Objective]  # fmt: skip
PENALTIES = [cls for name in penalties.__all__
             if Penalty in (cls := getattr(penalties, name)).__mro__[1:]]  # fmt: skip
#: Convolutions in bf16 take seconds on a CPU that has no instructions for them.
HALF = "bf16-mixed" if CUDA else "32-true"
#: Those whose optimisers step in turn, which needs the loop of the Trainer.
SEVERAL = [cls for cls in OBJECTIVES if issubclass(cls, ManualObjective)]


# ---- sections -----------------------------------------------------------------------------------
def steps_of_methods(report: Report) -> None:
    """Every objective, and ERM with every penalty, on a ResNet in bf16 (on a CPU, fp32)."""
    depth, side, rows = (10, 16, 16) if report.small else (50, 224, 256)
    report.add(f"ResNet-{depth}, BatchNorm, {side} px, {HALF}, B {rows}", note="setting")
    data = Rows([3, side, side], rows, batch_size=rows)

    def build(cls: type[Objective], *parts: type[Penalty]) -> Step:
        model = make(cls, data, resnet(depth, "batch"), penalties=[p() for p in parts], lr=1e-4)
        return Step(model, data, HALF)

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
                data.batches[0],
            )  # fmt: skip
        compare(report, makers, 1 if report.small else 4)

    comparison(*((10, 16, 16) if report.small else (50, 224, 64)), HALF, naive=False)
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
            batch = data.batches[0]
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


def precision(report: Report) -> None:
    """Accuracy of each objective in mixed precision, and steps that fp16 skips."""
    steps = 20 if report.small else 200
    kinds = ("32-true", "bf16-mixed", *(["16-mixed"] if CUDA else []))
    for cls in OBJECTIVES:
        if report.is_over:
            report.add(cls.__name__, note="left out: the section's time is over")
            continue
        data = Rows([16], 640, batch_size=64, clean_share=clean_share(cls))
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
