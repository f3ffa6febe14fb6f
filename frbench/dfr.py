"""``frbench dfr``: deep feature re-weighting of a trained model's last layer."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from frbench.arguments import Parser, seed
from frbench.atomic import check_writable, replacing
from frbench.contracts.checkpoint_format import read_section
from frbench.errors import UserError
from frbench.progress import busy, steps

if TYPE_CHECKING:
    from frbench.data.module import GroupDataModule
    from frbench.objectives import Objective

#: Inverse strengths C of the L1 term that the paper's code tries.
STRENGTHS = (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)


class Head(NamedTuple):
    """A refitted last layer and how it came about.

    Attributes:
        weight: Float64 [C, D].
        bias: Float64 [C].
        strength: The chosen C of the L1 term.
        scores: Worst-group accuracy on the second half for each strength.
        per_group: Rows of each group in a balanced draw.
    """

    weight: np.ndarray
    bias: np.ndarray
    strength: float
    scores: dict[float, float]
    per_group: int


@dataclass(frozen=True)
class DFR:
    """Deep feature re-weighting (Kirichenko et al., arXiv 2204.02937, section 6 and appendix B).

    The features of a trained network are kept; its last layer is replaced by the mean of
    ``redraws`` logistic regressions, min_w C sum_i l(w; x_i, y_i) + |w|_1 on standardised
    features, each fitted on a draw with equally many held-out rows of every (y, z) cell. C is
    chosen first: fitted in the same way on one half of the rows, the C with the best worst-group
    accuracy on the other half wins, of equals the earlier. Two classes give one regression, more
    give one against the rest each.

    Args:
        redraws: Balanced draws that are averaged.
        strengths: Values of C to choose from.
        seed: Seed of halves and draws.

    Raises:
        UserError: If there is nothing to draw or to choose from.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> y, z = np.repeat([0, 1], 100), np.tile([0, 0, 0, 1, 1, 1, 1, 1], 25)
        >>> features = np.stack([y + 0.3 * rng.normal(size=200), z.astype(float)], 1)
        >>> head = DFR(redraws=5, strengths=[0.3]).fit(features, y, 2 * y + z, 2)
        >>> (features @ head.weight.T + head.bias).argmax(1)[[0, 199]].tolist()
        [0, 1]
    """

    redraws: int = 20
    strengths: Sequence[float] = STRENGTHS
    seed: int = 0

    def __post_init__(self) -> None:
        if self.redraws < 1:
            raise UserError(f"--redraws must be at least 1, got {self.redraws}.")
        if self.seed < 0:
            raise UserError(f"DFR.seed must not be negative, got {self.seed}.")
        if not self.strengths or min(self.strengths) <= 0:
            raise UserError(f"--strengths must be positive numbers, got {list(self.strengths)}.")

    def fit(
        self,
        features: np.ndarray,
        y: np.ndarray,
        group: np.ndarray,
        num_classes: int,
        names: Sequence[str] | None = None,
    ) -> Head:
        """Fit the last layer.

        Args:
            features: Features of the held-out rows [N, D].
            y: Their labels, int [N].
            group: Their groups, -1 where unknown, which leaves a row out [N].
            num_classes: C.
            names: Names of the groups, for messages.

        Returns:
            The layer for features as they are: standardisation is folded into it.

        Raises:
            UserError: If a class has no rows, or a group that occurs fewer than two.
        """
        from frbench.data.splits import cut

        known = np.flatnonzero(group >= 0)
        features, y, group = features[known], y[known], group[known]
        groups, counts = np.unique(group, return_counts=True)
        if len(counts) == 0 or counts.min() < 2:
            rare = groups[counts < 2]
            name = "any group" if not len(rare) else names[rare[0]] if names else rare[0]
            raise UserError(
                f"DFR halves the held-out rows of each group, but has fewer than two of {name}; "
                "use a larger held-out split, or --held_out train."
            )
        if len(absent := np.setdiff1d(np.arange(num_classes), y)):
            raise UserError(f"DFR has no held-out rows of class {absent[0]}.")
        mean, scale = features.mean(0), features.std(0)
        scale[scale == 0] = np.inf  # a feature that never varies gets no weight
        x = (features - mean) / scale
        rng = np.random.default_rng([self.seed, 21])
        half = cut(group, (1, 1), rng)
        scores = {}
        for strength in self.strengths:
            weight, bias = self._mean_fit(x, y, group, half == 0, strength, num_classes)
            hit = (x @ weight.T + bias).argmax(1) == y
            scores[strength] = min(hit[(half == 1) & (group == g)].mean() for g in groups)
        best = max(scores, key=scores.__getitem__)
        weight, bias = self._mean_fit(x, y, group, np.ones(len(y), bool), best, num_classes)
        weight = weight / scale
        return Head(weight, bias - weight @ mean, best, scores, int(counts.min()))

    def _mean_fit(
        self,
        x: np.ndarray,
        y: np.ndarray,
        group: np.ndarray,
        allowed: np.ndarray,
        strength: float,
        num_classes: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Average the regressions over balanced draws of the allowed rows."""
        from sklearn.linear_model import LogisticRegression

        # The option's name changed in scikit-learn 1.8; the old one is refused from 1.10 on.
        parameters = signature(LogisticRegression).parameters
        old = "penalty" in parameters and parameters["penalty"].default == "l2"
        l1: dict[str, Any] = {"penalty": "l1"} if old else {"l1_ratio": 1.0}
        members = [np.flatnonzero(allowed & (group == g)) for g in np.unique(group)]
        size = min(map(len, members))
        weight, bias = np.zeros((num_classes, x.shape[1])), np.zeros(num_classes)
        for redraw in range(self.redraws):
            rng = np.random.default_rng([self.seed, 22, redraw])
            rows = np.concatenate([rng.choice(m, size, replace=False) for m in members])
            for label in range(1 if num_classes == 2 else 0, num_classes):
                model = LogisticRegression(C=strength, solver="liblinear", random_state=0, **l1)
                model.fit(x[rows], y[rows] == label)
                weight[label] += model.coef_[0] / self.redraws
                bias[label] += model.intercept_[0] / self.redraws
        return weight, bias


def extract(objective: Objective, data: GroupDataModule, split: str) -> tuple[np.ndarray, ...]:
    """Run a network over a split in the table's order.

    Args:
        objective: The trained method.
        data: Its data.
        split: Name of the table.

    Returns:
        Features, float64 [N, D]; labels [N]; groups, -1 where unknown [N].
    """
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = objective.to(device).eval().network
    loader = data.eval_loader(split)
    parts = []
    with torch.inference_mode():
        for batch in steps(loader, f"features of {split}", len(loader)):
            features = network(batch.x.to(device))[0]
            parts.append((features.double().cpu(), batch.y, batch.group))
    objective.cpu()
    return tuple(torch.cat(column).numpy() for column in zip(*parts, strict=True))


def reweight(
    checkpoint: dict[str, Any],
    objective: Objective,
    data: GroupDataModule,
    settings: DFR,
    held_out: Literal["val", "train"] = "val",
) -> tuple[dict[str, Any], Head]:
    """Replace the last layer of a checkpoint.

    Args:
        checkpoint: What :func:`frbench.checkpoint.read_checkpoint` gives.
        objective: The method rebuilt from it; its last layer is replaced, too.
        data: The data it was trained on.
        settings: How to fit.
        held_out: Split to fit on.

    Returns:
        A checkpoint that ``frbench test`` evaluates, and the new layer.
    """
    import torch
    from torch import nn

    from frbench.networks.mlp import OneLogit

    linear = objective.network.head
    if not isinstance(linear, nn.Linear):
        raise UserError(
            f"DFR replaces a linear last layer; {type(objective.network).__name__} has {linear}."
        )
    outputs = 1 if isinstance(linear, OneLogit) else objective.num_classes
    if linear.out_features != outputs:
        raise UserError(
            f"DFR fits one output per class; {type(objective).__name__} has "
            f"{linear.out_features} outputs for {objective.num_classes} classes."
        )
    features, y, group = extract(objective, data, held_out)
    with busy("fitting the last layer"):
        head = settings.fit(features, y, group, objective.num_classes, data.group_names)
    with torch.no_grad():
        # Of two classes, the first has the logit 0.
        linear.weight.copy_(torch.as_tensor(head.weight[-outputs:]))
        linear.bias.copy_(torch.as_tensor(head.bias[-outputs:]))
    record = {
        "held_out": held_out,
        "redraws": settings.redraws,
        "seed": settings.seed,
        "strength": head.strength,
        "scores": [[float(c), float(score)] for c, score in head.scores.items()],
        "per_group": head.per_group,
    }
    changed = {
        **checkpoint,
        "state_dict": objective.state_dict(),
        "optimizer_states": [],
        "lr_schedulers": [],
        "frbench": {
            **read_section(checkpoint),
            "dfr": record,
            "selection": {**(read_section(checkpoint).get("selection") or {}), "dfr": record},
        },
    }
    return changed, head


EXAMPLES = """\
examples:
  frbench dfr --ckpt_path runs/Digits-ERM/0/checkpoints/best.ckpt
  frbench dfr --ckpt_path best.ckpt --held_out train --out dfr.ckpt --data.root /elsewhere
  frbench dfr --results results/celeba --methods ERM

Options of the data may follow and override the checkpoint's. With --results every finished run
of a grid is refitted, tested, and added to its results as another method, <method>+DFR.
"""


def _parser() -> Parser:
    parser = Parser(
        "frbench dfr",
        description="Refit the last layer of a trained model on group-balanced held-out rows\n"
        "(deep feature re-weighting, arXiv 2204.02937) and write a checkpoint for `frbench test`.",
        epilog=EXAMPLES,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--ckpt_path", type=Path, help="checkpoint of frbench fit")
    what.add_argument("--results", type=Path, help="folder of frbench bench")
    parser.add_argument("--methods", nargs="+", help="with --results: only these methods")
    parser.add_argument("--out", type=Path, help="file to write; default dfr.ckpt beside the old")
    parser.add_argument("--held_out", choices=("val", "train"), default="val")
    parser.add_argument("--redraws", type=int, help="balanced draws; default 20, train: 10")
    parser.add_argument("--strengths", type=float, nargs="+", default=STRENGTHS, metavar="C")
    parser.add_argument("--seed", type=seed, default=0)
    return parser


def main(argv: list[str]) -> int:
    """Run ``frbench dfr``.

    Raises:
        UserError: If an option, the checkpoint or the data cannot be used.
    """
    args, extra = _parser().parse_known_args(argv)
    if strange := [w for w in extra if w.startswith("-") and not w.startswith("--data.")]:
        raise UserError(f"unknown option {strange[0]}; see frbench dfr --help.")
    redraws = args.redraws
    if redraws is None:
        redraws = 20 if args.held_out == "val" else 10
    if args.results is not None and args.out is not None:
        raise UserError(
            "--out goes with --ckpt_path; each run of --results keeps its own dfr.ckpt."
        )
    if args.results is None and args.methods is not None:
        raise UserError("--methods chooses among the runs of --results; leave it out.")
    settings = DFR(redraws, tuple(args.strengths), args.seed)
    if args.results is not None:
        return _over_results(args, extra, settings)
    out = args.out or args.ckpt_path.with_name("dfr.ckpt")
    if out.exists():
        raise UserError(f"{out} is there already; remove it, or give another --out.")
    check_writable(out.parent, "--out")
    _, data, head = _refit(args.ckpt_path, out, extra, settings, args.held_out)
    for strength, score in head.scores.items():
        chosen = "  <- chosen" if strength == head.strength else ""
        print(f"C {strength:<6g} worst group on the second half {score:.4f}{chosen}")
    name = type(data).__name__
    print(
        f"{settings.redraws} draws of {head.per_group} rows of each group; "
        f"{np.count_nonzero(head.weight.any(0))} of {head.weight.shape[1]} features are used\n"
        f"written to {out}; next: frbench test --data {name} ... --ckpt_path {out}"
    )
    return 0


def _refit(
    path: Path, out: Path, extra: list[str], settings: DFR, held_out: Literal["val", "train"]
) -> tuple[Objective, GroupDataModule, Head]:
    import torch

    from frbench.checkpoint import load, read_checkpoint

    checkpoint = read_checkpoint(path)
    data = checkpoint_data(checkpoint, path, extra)
    data.setup("fit")
    objective = load(path)
    changed, head = reweight(checkpoint, objective, data, settings, held_out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as part:
        torch.save(changed, part)
    return objective, data, head


def checkpoint_data(checkpoint: dict[str, Any], path: Path, extra: list[str]) -> GroupDataModule:
    """Build the data that the checkpoint was trained on, with options of the command line."""
    from frbench.data.inspect import build

    stored = read_section(checkpoint)["data"]
    if stored is None:
        raise UserError(
            f"{path} does not say what data it was trained on; use frbench.dfr.reweight in Python."
        )
    data = build(extra, stored)
    # What Lightning stores of the data: the words of the texts that it was trained on.
    if state := checkpoint.get(type(data).__qualname__):
        data.load_state_dict(state)
    return data


def _over_results(args: argparse.Namespace, extra: list[str], settings: DFR) -> int:
    """Refit every finished run of a grid and append what its test tables say."""
    from pytorch_lightning import Trainer

    from frbench.bench import append, read_results
    from frbench.callbacks import SanityCheck

    file = args.results / "results.jsonl"
    if not file.is_file():
        raise UserError(f"--results: there is no {file}; run frbench bench first.")
    records = read_results(file)
    todo = [
        record
        for key, record in records.items()
        if record["status"] == "ok"
        and "dfr" not in record
        and f"{key}-dfr" not in records
        and (args.methods is None or record["method"] in args.methods)
    ]
    for record in steps(todo, "refitting"):
        start = time.monotonic()
        folder = args.results / "runs" / record["cell"] / "checkpoints"
        out = folder / "dfr.ckpt"
        model, data, head = _refit(folder / "best.ckpt", out, extra, settings, args.held_out)
        sanity = SanityCheck()
        trainer = Trainer(
            accelerator="auto", devices=1, logger=False, enable_progress_bar=False,
            enable_checkpointing=False, enable_model_summary=False, callbacks=[sanity],
        )  # fmt: skip
        metrics: dict[str, float] = {}
        for evaluate in (trainer.validate, trainer.test):
            evaluate(model, datamodule=data, verbose=False)
            metrics |= model.last_metrics
        changes = {
            "cell": f"{record['cell']}-dfr",
            "method": f"{record['method']}+DFR",
            "metrics": metrics,
            "warnings": dict(sanity.raised),
            "dfr": {"strength": head.strength, "per_group": head.per_group},
            "seconds": round(time.monotonic() - start, 3),
        }
        append(file, {**record, **changes})
    print(f"{len(todo)} runs refitted in {file}; next: frbench report {args.results}")
    return 0
