"""Trains every case of test_ddp.py and saves what came out; run by it on one and on two processes.

Usage: python ddp_cases.py OUT [CASE ...]
"""

import csv
import logging
import sys
import warnings
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from promises import found
from pytorch_lightning import Callback, seed_everything
from torch import nn
from trainers import trainer

from frbench.callbacks import CSVLogger
from frbench.contracts.batch import Sizes
from frbench.data import FlipLabels
from frbench.data.balance import Balance
from frbench.data.module import GroupDataModule
from frbench.data.step import Augmentation
from frbench.data.table import Table
from frbench.distributed import all_gather, all_sum, rank, world_size
from frbench.group_inference import EIIL, Clusters, Errors, GroupInference
from frbench.mixing import LISA, Mixing, Mixup
from frbench.networks import MLP, Network
from frbench.objectives import (
    ARL,
    BPF,
    ERM,
    IRW,
    IRWO,
    Chi2DRO,
    CVaR,
    DomainIndependent,
    FRTrain,
    GroupDRO,
    Objective,
    Trimmed,
)  # fmt: skip
from frbench.penalties import (
    HGR,
    HSIC,
    Adversary,
    ConditionalMMD,
    Covariance,
    MarginalMMD,
    MutualInformation,
    Penalty,
)


class Rows(GroupDataModule):
    """Two classes, three attribute values, one of them rare, some unknown; odd evaluation sets."""

    sizes = Sizes(2, 3, (4,))
    class_names = ("a", "b")
    attribute_names = ("u", "v", "w")

    def tables(self):
        rng = np.random.default_rng(0)

        def draw(n):
            z = rng.choice([-1, 0, 1, 2], size=n, p=[0.1, 0.5, 0.35, 0.05])
            y = (rng.random(n) < 0.3 + 0.2 * z).astype(int)
            x = rng.normal(size=(n, 4)) + y[:, None] - 0.5 * z[:, None]
            weight = rng.uniform(0.5, 1.5, n)
            number = np.where(z < 0, np.nan, x[:, 0] + z)
            return Table(x.astype(np.float32), y, z, weight=weight, continuous=number)

        return {"train": draw(203), "val": draw(65), "test": draw(33)}

    #: Evaluation in batches of B / W rows or fewer: the ranks then have different numbers of them.
    is_small = False


class Pictures(Rows):
    """The same rows as images of 2 x 2 pixels."""

    sizes = Sizes(2, 3, (1, 2, 2))

    def tables(self):
        return {k: t.replace(x=t.x.reshape(-1, 1, 2, 2)) for k, t in super().tables().items()}


class TwoValues(Rows):
    """The same rows, with the rare attribute value among the others."""

    sizes = Sizes(2, 2, (4,))
    attribute_names = ("u", "v")

    def tables(self):
        return {k: t.replace(z=np.minimum(t.z, 1)) for k, t in super().tables().items()}


class Marked(Augmentation):
    """Calls every third row generated."""

    def apply(self, table, rng, encode):
        return table.replace(synthetic=np.arange(len(table)) % 3 == 0)


class Pairwise(Penalty):
    """Mean squared distance of the logits of all pairs in the global batch."""

    def forward(self, out, batch):
        logits = all_gather(out.logits)
        return torch.cdist(logits, logits).square().mean()


class GlobalNorm(nn.BatchNorm1d):
    """BatchNorm over the global batch: what SyncBatchNorm, which torch has for GPUs only, does."""

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        return super().forward(all_gather(x)).chunk(world_size())[rank()]


class NormedMLP(Network):
    """An MLP whose hidden layer is normalised over the global batch."""

    def build(self, sizes):
        return nn.Sequential(nn.Linear(*sizes.input_shape, 6), GlobalNorm(6), nn.ReLU()), 6


class Clean(ERM):
    """Weighs verified rows twice."""

    uses_clean = True

    def risk(self, out, batch):
        return (out.losses * (1 + batch.clean)).mean()


class Reweighted(ERM):
    """Gives every epoch weights of its own."""

    def on_epoch_weights(self, train):
        rng = np.random.default_rng(self.current_epoch)
        return rng.uniform(0, 2, len(train.training.table))


class Differs(ERM):
    """Gives every process weights of its own, which the contract forbids."""

    def on_epoch_weights(self, train):
        return np.full(len(train.training.table), 1.0 + rank())


class DiffersLater(GroupDRO):
    """Moves a buffer of one process after an epoch's last step, which DDP does not broadcast."""

    def on_train_epoch_end(self):
        super().on_train_epoch_end()
        self.log_q += rank()


#: Cases with options of their own: class, its options, those of the data.
SPECIAL = {
    "erm-sample": (ERM, {}, {"balance": "class", "via": "sample"}),
    "erm-weight": (ERM, {}, {"balance": "conditional", "via": "weight"}),
    "erm-epoch-weights": (Reweighted, {}, {}),
    "erm-pairwise": (ERM, {"penalties": [Pairwise(0.3)]}, {}),
    "erm-information": (ERM, {"penalties": [
        MutualInformation(2.0, target="equalized_odds", normaliser="min"),
        Adversary(0.5, target="equal_opportunity", sees="features", lr=0.05)]},
        {"balance": "conditional", "via": "weight"}),
    "erm-mmd": (ERM, {"penalties": [ConditionalMMD(2.0), MarginalMMD(2.0, biased=False)]},
                {"balance": "class", "via": "weight"}),
    "erm-mmd-features": (ERM, {"penalties": [
        ConditionalMMD(1.0, "features", [0.5, 2.0], median=True, squared=False)]}, {}),
    "erm-strata-mmd": (ERM, {"penalties": [ConditionalMMD(2.0)]}, {"rows_per_group": 2}),
    "erm-continuous": (ERM, {"penalties": [
        cls(0.5, attribute="continuous") for cls in (Covariance, HSIC, HGR, Adversary)]}, {}),
    "erm-clean": (Clean, {}, {"clean_share": 0.17, "corrupt": [FlipLabels(0.2)]}),
    "trimmed": (Trimmed, {"drop": 0.3}, {}),
    "fr-train": (FRTrain, {"warmup": 4, "k": 2, "reweight_every": 4, "reweight": "mean_one",
                           "clip_norm": 0.5, "target": "equal_opportunity"},
                 {"clean_share": 0.17}),
    "fr-train-mi": (FRTrain, {"warmup": 4, "k": 2, "reweight_every": 4, "fairness": "smooth_mi",
                              "normaliser": "label"}, {"clean_share": 0.17}),
    "dro": (GroupDRO, {"eta": 0.5}, {}),
    "domain-independent": (DomainIndependent, {}, {"balance": "conditional", "via": "weight"}),
    "dro-real": (GroupDRO, {"eta": 0.5, "real_only": True}, {"augment": [Marked()]}),
    "dro-balanced": (GroupDRO, {"eta": 0.5, "adjustment": 2.0},
                     {"balance": "joint", "marginals": "uniform"}),
    "dro-greedy": (GroupDRO, {"mode": "greedy", "min_weight": 0.2}, {}),
    "dro-single": (GroupDRO, {"mode": "single_group", "eta": 0.3}, {}),
    "dro-present": (GroupDRO, {"present_only": True, "normalize": True, "eta": 0.5}, {}),
    "dro-weight-pairwise": (GroupDRO, {"eta": 0.3, "penalties": [Pairwise(0.1)]},
                            {"balance": "joint", "via": "weight"}),
    "cvar": (CVaR, {"alpha": 0.33}, {"balance": "conditional", "via": "weight"}),
    "chi2": (Chi2DRO, {"alpha": 0.5}, {"balance": "conditional", "via": "weight"}),
    "arl": (ARL, {"adversary_lr": 1.0, "pretrain_steps": 3},
            {"balance": "class", "via": "weight"}),
    "arl-features": (ARL, {"adversary_input": "features", "adversary_hidden": [3]}, {}),
    "irw": (IRW, {"alpha": 0.33}, {}),
    "irw-weights": (IRW, {"alpha": 0.33, "similarity": "cosine", "normalise": "max1"},
                    {"balance": "conditional", "via": "weight"}),
    "irw-jvp": (IRW, {"alpha": 0.2, "backend": "jvp"}, {}),
    "irw-global": (IRW, {"alpha": 0.2, "scheme": "global"}, {}),
    "irw-global-sample": (IRW, {"alpha": 0.2, "scheme": "global", "via": "sample"},
                          {"balance": "class", "via": "weight"}),
    "irwo": (IRWO, {"alpha": 0.3, "quantile": 0.8}, {}),
    "dro-batchnorm": (GroupDRO, {"network": NormedMLP(), "penalties": [ConditionalMMD(0.5)]}, {}),
    "jtt-schedule": (ERM, {"infer": Errors(1, 5.0, via="weight"), "scheduler": "StepLR",
                           "scheduler_options": {"step_size": 1}}, {}),
    "eiil-lisa-dro": (GroupDRO, {"eta": 0.5, "infer": EIIL(), "mixing": LISA(), "penalties": [
        Adversary(0.5, lr=0.05)]}, {}),
    "arl-clusters": (ARL, {"adversary_lr": 0.5, "infer": Clusters(clusters=2, via="weight"),
                           "mixing": Mixup(at="features")}, {}),
    "bpf": (BPF, {"alpha": 0.3, "max_change": None, "eta": 0.2}, {}),
}  # fmt: skip
#: Options under which 20 steps reach every part of a method; defaults for all that is not named.
SHORT = {
    "FRTrain": {"warmup": 4, "k": 2, "reweight_every": 4},
    "ARL": {"adversary_lr": 0.5},
    "LDAM": {"scale": 3.0, "defer": 1},
    "FairBatch": {"alpha": 0.1},
}


class Case(NamedTuple):
    """What is trained: a method, its options, those of the data, and what that says about."""

    cls: type[Objective]
    options: dict[str, Any]
    data: dict[str, Any]
    subjects: list[Any]
    rows: type[Rows] = Rows


def cases() -> dict[str, Case]:
    """The special cases, and what the package has: objectives, penalties with ERM and with
    GroupDRO, balances. A new class is among them by itself.
    """
    made = {}
    for name, (cls, options, data) in SPECIAL.items():
        ours = next(c for c in cls.__mro__ if c.__module__.startswith("frbench."))
        penalties = [type(p) for p in options.get("penalties", ())]
        parts = [type(options[axis]) for axis in ("infer", "mixing") if axis in options]
        parts += [p for p in penalties if p.__module__.startswith("frbench.")]
        made[name] = Case(cls, options, data, [ours, *parts, data.get("balance", "none")])
    for cls in found(Objective):
        options = SHORT.get(cls.__name__, {})
        clean = cls(2, 3, [4], network=MLP(hidden=[6]), **options).uses_clean
        made[f"{cls.__name__} alone"] = Case(
            cls, options, {"clean_share": 0.17} if clean else {}, [cls]
        )
    for penalty in found(Penalty):
        for cls in (ERM, GroupDRO):
            options = {"penalties": [penalty(0.5)]}
            made[f"{cls.__name__} and {penalty.__name__}"] = Case(cls, options, {}, [cls, penalty])
    for inference in found(GroupInference):
        options = {"infer": inference()}
        made[f"ERM and {inference.__name__}"] = Case(ERM, options, {}, [ERM, inference], TwoValues)
    for mixing in found(Mixing):
        options = {"mixing": mixing()}
        made[f"GroupDRO and {mixing.__name__}"] = Case(
            GroupDRO, options, {}, [GroupDRO, mixing], Pictures
        )
    for balance in get_args(Balance):
        made[f"balance {balance}"] = Case(ERM, {}, {"balance": balance}, [ERM, balance])
    return made


CASES = cases()
#: Cases that several processes refuse.
REFUSED = {cls.__name__: Case(cls, {}, {}, []) for cls in (Differs, DiffersLater)}
#: Of the special cases of GroupDRO: most groups are on one process only, or on none.
TWO_ROWS = tuple(name for name in SPECIAL if name.startswith("dro"))


class Lonely(Callback):
    """Counts the steps in which some group is present on one process alone."""

    def __init__(self) -> None:
        self.steps = 0

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        present = torch.bincount(batch.group[batch.group >= 0], minlength=6) > 0
        self.steps += bool((all_sum(present.long()) == 1).any())


def train(name: str, out: Path) -> dict:
    case = {**CASES, **REFUSED}[name]
    seed_everything(3, verbose=False)
    data = case.rows(batch_size=4 if name in TWO_ROWS else 20, **case.data)
    options = {"network": MLP(hidden=[6]), **case.options}
    model = case.cls(
        *case.rows.sizes[:2], list(case.rows.sizes.input_shape), optimizer="SGD", lr=0.1, **options
    )
    lonely = Lonely()
    processes = world_size_of_launch()
    run = trainer(
        max_steps=20, log_every_n_steps=5, devices=processes,
        strategy="ddp" if processes > 1 else "auto", logger=CSVLogger(str(out / name)),
        val_check_interval=10, check_val_every_n_epoch=None, callbacks=[lonely],
    )  # fmt: skip
    run.fit(model, datamodule=data)
    rows = []
    if rank() == 0:
        with (out / name / "metrics.csv").open() as file:
            rows = list(csv.DictReader(file))
    run.test(model, datamodule=data, verbose=False)
    return {
        "state": model.state_dict(),
        "rows": rows,
        "counts": {k: torch.as_tensor(v) for k, v in model.last_counts.items()},
        "metrics": dict(model.evaluation.flat()),
        "ranks": world_size(),
        "lonely": lonely.steps,
    }


def world_size_of_launch() -> int:
    import os

    return int(os.environ.get("WORLD_SIZE", 1))


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.disable(logging.INFO)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    results = {name: train(name, folder) for name in sys.argv[2:] or CASES}
    if rank() == 0:
        torch.save(results, folder / "results.pt")
