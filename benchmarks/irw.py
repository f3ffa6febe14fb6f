"""Cost of an IRW step against ERM's: interleaved medians, memory, epochs of the whole family.

Usage: python benchmarks/irw.py [steps | memory | lightning | family] [--rounds 15]

A step is forward, weights and backward, until .grad is there. "steps" times every back end, the
gradient by a second reverse pass ("two passes") and the naive ways (vmap of grad, Opacus if
installed) in one process, each round one after the other, and compares the two gradients.
"memory" runs each contender in a process of its own. "lightning" is training by the Trainer.
"family" splits an epoch of every method of the worst-case family at 10^4 to 10^6 rows. Times are
CPU times of the process, one thread: on an idle machine they are the wall's.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import resource
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pytorch_lightning import Callback, Trainer
from torch import Tensor, nn

from frbench.contracts.batch import Batch, Sizes
from frbench.contracts.errors import UserError
from frbench.data.module import GroupDataModule
from frbench.data.table import Table
from frbench.gradients import per_sample_gradients
from frbench.networks import MLP, Network
from frbench.objectives import ARL, BPF, ERM, IRW, IRWO, Chi2DRO, CVaR, Objective

ALPHA = 0.1


class ResNet18(Network):
    """torchvision's, by the norm."""

    def __init__(self, norm: str = "group") -> None:
        super().__init__()
        self.norm = norm

    def build(self, sizes: Sizes) -> tuple[nn.Module, int]:
        import torchvision

        layer = (lambda c: nn.GroupNorm(8, c)) if self.norm == "group" else nn.BatchNorm2d
        net = torchvision.models.resnet18(norm_layer=layer)
        net.fc = nn.Identity()
        return net, 512


def mlp() -> Network:
    return MLP(hidden=[256, 256])


SETTINGS: dict[str, tuple[list[int], int, Callable[[], Network]]] = {
    "MLP B 256": ([50], 256, mlp),
    "MLP B 1024": ([50], 1024, mlp),
    "MLP 105-256x3 B 256": ([105], 256, lambda: MLP(hidden=[256, 256, 256])),
    "ResNet-18 GN B 32": ([3, 64, 64], 32, lambda: ResNet18()),
    "ResNet-18 BN B 32": ([3, 64, 64], 32, lambda: ResNet18("batch")),
}


def batch_of(shape: list[int], n: int) -> Batch:
    g = torch.Generator().manual_seed(0)
    y = torch.randint(0, 2, (n,), generator=g)
    x = torch.randn(n, *shape, generator=g) + y.view(-1, *[1] * len(shape))
    zeros = torch.zeros_like(y)
    no = zeros.bool()
    return Batch(x, y, zeros, 2 * y, torch.ones(n), no, torch.arange(n), no)


def objective(setting: str, cls: type[Objective], **options: Any) -> Objective:
    shape, _, network = SETTINGS[setting]
    torch.manual_seed(0)
    model = cls(2, 2, shape, network=network(), **options)
    model._plain_weights = True  # what setup() learns from data without weights
    return model


def by_two_passes(model: Objective) -> Objective:
    """Leave the gradient of the weighted losses to autograd."""
    assert isinstance(model, IRW)
    object.__setattr__(model.engine, "weighted_sum", lambda losses, coef: coef @ losses)
    return model


def step(model: Objective, batch: Batch) -> Callable[[], None]:
    def run() -> None:
        model.zero_grad()
        model.discard_all()
        model.risk(model.training_outputs(batch), batch).backward()

    return run


def naive_step(model: Objective, batch: Batch, gradients: Callable[[], Tensor]) -> Callable:
    """IRW with the matrix of per-sample gradients [B, P]."""
    parameters = list(model.network.parameters())

    def run() -> None:
        with torch.no_grad():
            losses = model.outputs(batch).losses
        g = gradients()
        worst = losses.topk(int(np.ceil(ALPHA * len(losses)))).indices
        w = (g @ g[worst].sum(0)).clamp(min=0)
        flat = w / w.sum() @ g
        for p, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            p.grad = part.view_as(p)

    return run


def opacus_gradients(model: Objective, batch: Batch) -> Callable[[], Tensor] | None:
    try:
        from opacus import GradSampleModule
    except ImportError:
        return None
    for module in model.network.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    try:
        wrapped = GradSampleModule(model.network)
    except Exception as error:  # it refuses some layers by exceptions of its own
        print("  Opacus refuses:", " ".join(str(error).split())[:100])
        return None

    def gradients() -> Tensor:
        wrapped.zero_grad()
        F.cross_entropy(wrapped(batch.x)[1], batch.y, reduction="sum").backward()
        return torch.cat([p.grad_sample.flatten(1) for p in wrapped.parameters()], 1)

    return gradients


def contenders(setting: str, naive: bool = True) -> dict[str, Callable[[], None]]:
    shape, n, _ = SETTINGS[setting]
    batch = batch_of(shape, n)
    frozen = "BN" in setting
    made: dict[str, tuple[type[Objective], dict[str, Any]]] = {
        "ERM": (ERM, {}),
        "CVaR": (CVaR, {"alpha": ALPHA}),
        "IRW layer-local": (IRW, {"alpha": ALPHA, "batchnorm": "frozen" if frozen else "batch"}),
        "IRW jvp": (IRW, {"alpha": ALPHA, "backend": "jvp"}),
        "IRW last layer": (IRW, {"alpha": ALPHA, "layers": "last"}),
        "IRWO": (IRWO, {"alpha": ALPHA, "quantile": 0.95}),
    }
    runs: dict[str, Callable[[], None]] = {
        name: step(objective(setting, cls, **options), batch)
        for name, (cls, options) in made.items()
    }
    for name in ("IRW layer-local", "IRWO"):
        cls, options = made[name]
        other = by_two_passes(objective(setting, cls, **options))
        runs[f"{name}, two passes"] = step(other, batch)
    if naive:
        model = objective(setting, ERM)

        def loss(out: tuple[Tensor, Tensor], y: Tensor) -> Tensor:
            return F.cross_entropy(out[1], y)

        runs["vmap(grad)"] = naive_step(
            model, batch, lambda: per_sample_gradients(model.network, loss, batch.x, batch.y)
        )
        other = objective(setting, ERM)  # Opacus changes the modules of its model
        opacus = opacus_gradients(other, batch)
        if opacus is not None:
            runs["Opacus"] = naive_step(other, batch, opacus)
    return runs


def difference(setting: str) -> float:
    """Return how far the written gradient of IRW is from that of two passes, relative."""
    shape, n, _ = SETTINGS[setting]
    found = []
    for prepare in (lambda model: model, by_two_passes):
        model = prepare(objective(setting, IRW, alpha=ALPHA))
        step(model, batch_of(shape, n))()
        found.append(torch.cat([p.grad.flatten() for p in model.network.parameters()]))
    return float((found[0] - found[1]).norm() / found[1].norm())


def compare(args: argparse.Namespace) -> None:
    for setting in SETTINGS:
        if args.only not in setting:
            continue
        runs = contenders(setting, not args.skip_naive)
        for name, run in list(runs.items()):  # warm up; IRW proves its back end here
            try:
                run()
                run()
            except (UserError, RuntimeError) as error:  # Opacus and in-place additions
                print(f"  {name} is refused: {' '.join(str(error).split())[:150]}")
                del runs[name]
        times: dict[str, list[float]] = {name: [] for name in runs}
        for i in range(args.rounds):
            for name, run in runs.items():
                naive = name in ("vmap(grad)", "Opacus")
                if naive and i >= max(3, args.rounds // 4):
                    continue
                repeat = 1 if naive or "ResNet" in setting else 5
                start = time.process_time()
                for _ in range(repeat):
                    run()
                times[name].append((time.process_time() - start) / repeat)
        erm = statistics.median(times["ERM"])
        print(f"\n{setting}: ERM {1e3 * erm:.2f} ms, median of {args.rounds} rounds; "
              f"gradients of one and two passes differ by {difference(setting):.1e}")  # fmt: skip
        for name, values in times.items():
            ratios = [a / b for a, b in zip(values, times["ERM"], strict=False)]
            print(f"  {name:<28}{1e3 * statistics.median(values):>10.2f} ms   x "
                  f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
                  flush=True)  # fmt: skip


def allocated(run: Callable[[], None]) -> int:
    """Peak of the bytes allocated inside a step, from the profiler's memory records."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as prof:
        run()
    now = peak = 0
    events = sorted(
        (e for e in prof.profiler.kineto_results.events() if e.name() == "[memory]"),
        key=lambda e: e.start_ns(),
    )
    for event in events:
        now += event.nbytes()
        peak = max(peak, now)
    return peak


def apart(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function in a process of its own, forked so that nothing is imported twice."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(function, args)


def grown(since: float = 0.0) -> float:
    """Return the largest size of this process so far in MB, less an earlier one."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10 - since


def memory_of(setting: str, name: str) -> tuple[float, float] | str:
    runs = contenders(setting, naive=name in ("vmap(grad)", "Opacus"))
    if name not in runs:
        return "not installed"
    one = runs.pop(name)
    runs.clear()
    before = grown()
    try:
        one()
        one()
    except (UserError, RuntimeError) as error:
        return str(error)
    return allocated(one) / 2**20, grown(before)


def memory(args: argparse.Namespace) -> None:
    for setting in SETTINGS:
        if args.only not in setting:
            continue
        print(
            f"\n{setting}: peak inside a step, MB by the allocator (ratio to ERM); process growth"
        )
        base = 0.0
        for name in (*contenders(setting, naive=False), "vmap(grad)", "Opacus"):
            if args.skip_naive and name in ("vmap(grad)", "Opacus"):
                continue
            found = apart(memory_of, setting, name)
            if isinstance(found, str):
                print(f"  {name:<28} -  ({' '.join(found.split())[:90]})")
                continue
            peak, growth = found
            base = base or peak
            print(f"  {name:<28}{peak:>9.1f} (x {peak / base:.2f})   {growth:>8.0f}", flush=True)


class Rows(GroupDataModule):
    """Random inputs of a given shape."""

    class_names = attribute_names = ("0", "1")

    def __init__(self, shape: list[int], n: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shape, self.n = shape, n
        self.sizes = Sizes(2, 2, tuple(shape))

    def tables(self) -> dict[str, Table]:
        rng = np.random.default_rng(0)

        def draw(n: int) -> Table:
            y, z = rng.integers(0, 2, (2, n))
            x = rng.standard_normal((n, *self.shape), dtype=np.float32)
            return Table(x + y.reshape(-1, *[1] * len(self.shape)).astype(np.float32), y, z)

        return {"train": draw(self.n), "val": draw(100), "test": draw(100)}


class Clock(Callback):
    """Times the steps after the first ten."""

    def on_train_batch_start(self, trainer: Trainer, *_: object) -> None:
        if trainer.global_step == 10:
            self.start = time.process_time()

    def on_train_end(self, trainer: Trainer, *_: object) -> None:
        self.seconds = (time.process_time() - self.start) / (trainer.global_step - 10)


def trained(model: Objective, data: Rows, steps: int) -> float:
    """Seconds per step under the Trainer, optimiser and logging included."""
    clock = Clock()
    trainer = Trainer(
        max_steps=steps, max_epochs=-1, logger=False, enable_checkpointing=False, devices=1,
        enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
        limit_val_batches=0, num_sanity_val_steps=0, callbacks=[clock],
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    return clock.seconds


def lightning(args: argparse.Namespace) -> None:
    for setting, (shape, n, _) in SETTINGS.items():
        if args.only not in setting:
            continue
        steps = 16 if "ResNet" in setting else 110
        data = Rows(shape, 10 * n, batch_size=n)
        rates: dict[str, list[float]] = {}
        for _ in range(max(3, args.rounds // 4)):
            for cls, options in ((ERM, {}), (IRW, {"alpha": ALPHA}),
                                 (IRWO, {"alpha": ALPHA, "quantile": 0.95})):  # fmt: skip
                model = objective(setting, cls, **options)
                rates.setdefault(cls.__name__, []).append(trained(model, data, steps))
        print(
            f"\n{setting}, under the Trainer: ERM {1e3 * statistics.median(rates['ERM']):.2f} ms"
        )
        for name, values in rates.items():
            ratio = statistics.median(a / b for a, b in zip(values, rates["ERM"], strict=True))
            print(f"  {name:<6} x {ratio:.2f}", flush=True)


class Stopwatch:
    """Adds up the time of named methods of an object."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def wrap(self, owner: Any, method: str, name: str) -> None:
        inner = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            try:
                return inner(*args, **kwargs)
            finally:
                spent = time.process_time() - start
                self.seconds[name] = self.seconds.get(name, 0.0) + spent

        object.__setattr__(owner, method, timed)


FAMILY: dict[str, tuple[type[Objective], dict[str, Any]]] = {
    "ERM": (ERM, {}),
    "CVaR": (CVaR, {"alpha": ALPHA}),
    "Chi2DRO": (Chi2DRO, {"alpha": ALPHA}),
    "ARL": (ARL, {}),
    "BPF": (BPF, {"alpha": ALPHA}),
    "IRW local": (IRW, {"alpha": ALPHA}),
    "IRW global": (IRW, {"alpha": ALPHA, "scheme": "global"}),
    "IRWO": (IRWO, {"alpha": ALPHA}),
}


#: One epoch of a game with the whole table is as ERM's: the second is the first to be weighed.
EPOCHS = {"BPF": 2}


def epoch_of(name: str, rows: int, steps: int) -> tuple[list[float], float]:
    """Train for an epoch; return seconds by part, scaled to all of its steps, and MB grown."""
    cls, options = FAMILY[name]
    data = Rows([50], rows, batch_size=256)
    model = cls(2, 2, [50], network=mlp(), **options)
    watch = Stopwatch()
    watch.wrap(model, "training_outputs", "forward")
    watch.wrap(model, "risk", "weights")
    watch.wrap(model, "on_epoch_weights", "epoch")
    if isinstance(model, IRWO):
        watch.wrap(model.engine, "gram", "gram")
        watch.wrap(model, "noise", "noise")
    epochs = EPOCHS.get(name, 1)
    trainer = Trainer(
        max_epochs=epochs, logger=False, enable_checkpointing=False, devices=1, accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
        num_sanity_val_steps=0, limit_train_batches=steps or 1.0,
    )  # fmt: skip
    data.setup("fit")
    before = grown()
    start = time.process_time()
    trainer.fit(model, datamodule=data)
    total = time.process_time() - start
    spent = {
        k: watch.seconds.get(k, 0.0) for k in ("epoch", "forward", "weights", "gram", "noise")
    }
    spent["weights"] -= spent["gram"] + spent["noise"]
    parts = [*list(spent.values())[1:], total - sum(spent.values())]
    scale = (rows // 256) / trainer.global_step
    return [spent["epoch"], *(scale * seconds for seconds in parts)], grown(before)


def family(args: argparse.Namespace) -> None:
    """One epoch of each method on the MLP, each in a process of its own."""
    for rows in args.rows:
        # A full epoch at 10^6 rows is 3906 equal steps: time 400 of them, and scale.
        steps = 400 if rows == 1_000_000 else 0
        how = f" ({steps} steps, scaled)" if steps else ""
        print(f"\n{rows} rows, B 256: seconds per epoch{how}")
        print(f"  {'':<12}{'total':>9}{'epoch w.':>9}{'forward':>9}{'weights':>9}{'Gram':>9}"
              f"{'noise':>9}{'update':>9}{'MB':>7}")  # fmt: skip
        for name in FAMILY:
            parts, growth = apart(epoch_of, name, rows, steps)
            row = "".join(f"{seconds:>9.2f}" for seconds in (sum(parts), *parts))
            print(f"  {name:<12}{row}{growth:>7.0f}", flush=True)


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["steps", "memory", "lightning", "family"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", default="")
    parser.add_argument("--skip-naive", action="store_true", help="no B x P matrices")
    parser.add_argument("--rows", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    warnings.filterwarnings("ignore")
    {"steps": compare, "memory": memory, "lightning": lightning, "family": family}[args.what](args)


if __name__ == "__main__":
    main()
