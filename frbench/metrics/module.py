"""The metric that training and evaluation update: sum-reduced counts and score histograms."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from frbench.contracts.errors import UserError
from frbench.metrics.api import evaluate_counts, evaluate_tables
from frbench.metrics.names import check_names, direction, metric_names
from frbench.metrics.own import CountMetric, check_metrics, directions
from frbench.metrics.ranking import Ranking, ranking
from frbench.metrics.scores import (
    CALIBRATION_BINS,
    MAX_LOGIT,
    NUM_BINS,
    RANK_BINS,
    ScoreState,
    rank_bound,
)
from frbench.metrics.shares import positive_classes
from frbench.metrics.worst_losses import LOSS_BINS, LOSS_SCALE


class GroupCounts(Metric):
    r"""Every group metric of a classifier, from states that add over batches and ranks.

    The states are those of `frbench.metrics.counts` and `frbench.metrics.scores`: int64 counts by
    (y, z, prediction) and by score bin, float64 sums. An update issues no collective, no copy to
    the host and no loop over groups; rows out of range are counted and reported by `compute`.
    A logit that is not finite makes ``negative_log_likelihood`` and ``worst_alpha_loss`` NaN and
    nothing else.

    Args:
        num_classes: C.
        num_attributes: A.
        class_names: C names used in keys; ``0..C-1`` by default.
        attribute_names: A names used in keys; ``0..A-1`` by default.
        train_counts: Training rows of each group [C, A], for ``weighted_average_accuracy``.
        metrics: Metrics of your own, functions of counts, see `frbench.metrics.metric`.
        exact: Whether to hold all scores, for exact AUROC and average precision (16 bytes a row);
            otherwise both are those of binned scores, see `rank_error`.
        min_group_rows: Rows that a group needs to take part in minima, gaps and ratios, see
            `frbench.metrics.count_metrics`.
        expected: Whether `update` is given probabilities of decisions, whose sums are counted.
        noise_floor: Whether ``score_kl_noise_floor`` is among the metrics; it takes more time
            than all others.
        **kwargs: Passed to `torchmetrics.Metric`.

    Raises:
        UserError: If the number of names does not fit the sizes, or `metrics` cannot be used.

    Example:
        >>> metric = GroupCounts(2, 2, attribute_names=["land", "water"])
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [0.0, 2.0], [0.0, 2.0]])
        >>> metric.update(logits, torch.tensor([0, 1, 0, 1]), torch.tensor([0, 0, 1, -1]))
        >>> values = metric.compute()
        >>> values["accuracy"], values["accuracy/z=land"], values["group_accuracy/y=0,z=water"]
        (0.75, 1.0, 0.0)
    """

    full_state_update = False
    is_differentiable = False

    counts: Tensor
    histogram: Tensor
    ranks: Tensor
    score_sum: Tensor
    loss_sum: Tensor
    calibration: Tensor
    losses: Tensor
    invalid: Tensor
    scores: list[Tensor] | Tensor
    cells: list[Tensor] | Tensor

    def __init__(
        self,
        num_classes: int,
        num_attributes: int,
        class_names: Sequence[str] | None = None,
        attribute_names: Sequence[str] | None = None,
        train_counts: Any = None,
        metrics: Sequence[CountMetric] = (),
        exact: bool = False,
        min_group_rows: int = 0,
        expected: bool = False,
        noise_floor: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.num_attributes = num_attributes
        self.exact = exact
        self.min_group_rows = min_group_rows
        self.noise_floor = noise_floor
        #: Largest error of the AUROC of the last `compute`; 0 if it is exact.
        self.rank_error = 0.0
        self.class_names = check_names(class_names, num_classes, "class_names")
        self.attribute_names = check_names(attribute_names, num_attributes, "attribute_names")
        self.train_counts = None if train_counts is None else np.asarray(train_counts)
        check_metrics(metrics)
        self.metrics = tuple(metrics)
        slots, scored = num_attributes + 1, len(positive_classes(num_classes))
        decided = torch.float64 if expected else torch.int64
        for name, shape, dtype in (
            ("counts", (num_classes, slots, num_classes), decided),
            ("histogram", (scored, 2, slots, NUM_BINS), torch.int64),
            ("ranks", (scored, 2, RANK_BINS), torch.int64),
            ("score_sum", (scored, 2, slots), torch.float64),
            ("loss_sum", (2,), torch.float64),
            ("calibration", (3, CALIBRATION_BINS), torch.float64),
            ("losses", (3, LOSS_BINS), torch.float64),
            ("invalid", (), torch.int64),
        ):
            self.add_state(name, torch.zeros(shape, dtype=dtype), dist_reduce_fx="sum")
        if exact:
            self.add_state("scores", [], dist_reduce_fx="cat")
            self.add_state("cells", [], dist_reduce_fx="cat")

    @torch.no_grad()
    def update(self, logits: Tensor, y: Tensor, z: Tensor, decision: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            logits: Logits of any float type [B, C]; score metrics come from them.
            y: Labels, long in 0..C-1 [B].
            z: Attributes, long in 0..A-1, -1 where unknown [B].
            decision: Predicted classes where they are not those of the largest logits, long [B];
                or the probability of each, whose sums are counted, float64 [B, C].
        """
        classes, slots = self.num_classes, self.num_attributes + 1
        if logits.shape != (len(y), classes) or y.ndim != 1 or y.shape != z.shape:
            raise UserError(
                f"{type(self).__name__} needs logits [B, {classes}] and y and z [B], got shapes "
                f"{[list(t.shape) for t in (logits, y, z)]}."
            )
        logits = logits.float()
        valid = (y >= 0) & (y < classes) & (z >= -1) & (z < self.num_attributes)
        self.invalid += (~valid).sum()
        # Invalid rows add zero to cell 0: dropping them would need their number on the host.
        one = valid.long()
        y, slot = y * one, torch.where(z < 0, slots - 1, z) * one
        # NaN where a logit is not finite, else 0: shown by the likelihood, kept out of the rest.
        diverged = (logits - logits).sum(1).double()
        logits = logits.nan_to_num()
        pred = logits.argmax(1)
        cell = (y * slots + slot) * classes
        if decision is not None and decision.ndim == 2:
            each = decision.double() * one[:, None]
            self.counts.view(-1, classes).index_add_(0, cell // classes, each)
        else:
            chosen = pred if decision is None else decision
            self.counts.view(-1).index_add_(0, cell + chosen, one.to(self.counts.dtype))

        log_p = logits.double().log_softmax(1)
        p = log_p.exp()
        actual = (y[:, None] == torch.arange(classes, device=y.device)).long()
        weight = one.double()
        score, of_class = p, actual
        if classes == 2:
            score, of_class = p[:, 1:], actual[:, 1:]
        if self.exact:
            assert isinstance(self.scores, list) and isinstance(self.cells, list)
            self.scores.append(score)
            self.cells.append(torch.where(valid, y * slots + slot, -1))
        offset = torch.arange(score.shape[1], device=y.device) * 2
        cell = (offset + of_class) * slots + slot[:, None]  # [B, S]
        bins = (score * NUM_BINS).long().clamp_(max=NUM_BINS - 1)
        each = one[:, None].expand_as(cell).reshape(-1)
        self.histogram.view(-1).index_add_(0, (cell * NUM_BINS + bins).view(-1), each)
        # The same bins as `frbench.metrics.scores.rank`.
        logit = (score.log() - torch.log1p(-score)).clamp_(-MAX_LOGIT, MAX_LOGIT)
        rank = (score + 0.5 + logit / (2 * MAX_LOGIT)) / 2
        bins = (rank * RANK_BINS).long().clamp_(max=RANK_BINS - 1)
        code = (offset + of_class) * RANK_BINS + bins
        self.ranks.view(-1).index_add_(0, code.view(-1), each)
        weighted = (score * weight[:, None]).view(-1)
        self.score_sum.view(-1).index_add_(0, cell.view(-1), weighted)

        nll = diverged - (log_p * actual).sum(1)
        error = (p - actual).square().sum(1) / (2 if classes == 2 else 1)
        self.loss_sum += torch.stack([nll @ weight, error @ weight])
        confidence = p.amax(1)
        hit = (pred == y).double()
        terms = torch.stack([weight, confidence * weight, hit * weight])
        level = (confidence * CALIBRATION_BINS).long().clamp_(max=CALIBRATION_BINS - 1)
        self.calibration.index_add_(1, level, terms)
        # The same bins as `worst_losses.loss_state`; NaN counts as the largest loss.
        level = (nll / (nll + LOSS_SCALE)).nan_to_num(1.0).mul(LOSS_BINS).long()
        terms = torch.stack([weight, nll * weight, hit * weight])
        self.losses.index_add_(1, level.clamp_(max=LOSS_BINS - 1), terms)

    def compute(self) -> dict[str, float]:
        """Return every metric of docs/metric_definitions.md; the keys depend on the names alone.

        Raises:
            ValueError: If rows had labels or attributes that are out of range.
        """
        if bad := int(self.invalid):
            raise ValueError(
                f"{bad} rows had y outside 0..{self.num_classes - 1} "
                f"or z outside -1..{self.num_attributes - 1}"
            )
        state = self._scores()
        names = self.class_names, self.attribute_names
        counts = _numpy(self.counts)
        ranks = self._ranking() if self.exact and counts.sum() else None
        self.rank_error = rank_bound(state.ranks) if ranks is None else 0.0
        return evaluate_counts(
            counts,
            state,
            *names,
            self.train_counts,
            metrics=self.metrics,
            min_group_rows=self.min_group_rows,
            rows=counts[:, :-1].sum(-1).round() if counts.dtype.kind == "f" else None,
            ranks=ranks,
            noise_floor=self.noise_floor,
        )

    def _scores(self) -> ScoreState:
        return ScoreState(*(_numpy(getattr(self, name)) for name in ScoreState._fields))

    def _ranking(self) -> Ranking:
        scores, cells = (
            _numpy(torch.cat(x) if isinstance(x, list) else x) for x in (self.scores, self.cells)
        )
        kept = cells >= 0
        slots = self.num_attributes + 1
        y, slot = np.divmod(cells[kept], slots)
        z = np.where(slot == self.num_attributes, -1, slot)
        return ranking(y, z, scores[kept], self.num_classes, self.num_attributes)

    def _sync_dist(self, *args: Any, **kwargs: Any) -> None:
        # A process without rows would otherwise send a tensor of another type and shape.
        if self.exact and not len(self.scores):
            scored = len(positive_classes(self.num_classes))
            self.scores = [torch.zeros(0, scored, dtype=torch.float64, device=self.device)]
            self.cells = [torch.zeros(0, dtype=torch.int64, device=self.device)]
        super()._sync_dist(*args, **kwargs)


def compute_together(evaluators: Sequence[GroupCounts]) -> None:
    """Compute several metrics on one process at once; each returns its own in its `compute`.

    Those that hold exact scores or expected decisions, have the noise floor or metrics of one's
    own, or rows out of range, are left out: each is computed, or fails, by itself.

    Args:
        evaluators: Metrics of the same sizes.

    Example:
        >>> pair = [GroupCounts(2, 1, noise_floor=False) for _ in range(2)]
        >>> for metric, y in zip(pair, (0, 1)):
        ...     metric.update(torch.tensor([[1.0, 0.0]]), torch.tensor([y]), torch.tensor([0]))
        >>> compute_together(pair)
        >>> [metric.compute()["accuracy"] for metric in pair]
        [1.0, 0.0]
    """
    alike: dict[Any, list[GroupCounts]] = {}
    for each in evaluators:
        alone = each.exact or each.noise_floor or each.metrics or each.counts.is_floating_point()
        if not (alone or each.invalid):
            names = tuple(each.class_names), tuple(each.attribute_names)
            key = names, each.min_group_rows, each.train_counts is not None
            alike.setdefault(key, []).append(each)
    for ((classes, attributes), least, known), group in alike.items():
        state = ScoreState(*map(np.stack, zip(*(each._scores() for each in group), strict=True)))
        train = np.stack([np.asarray(each.train_counts) for each in group]) if known else None
        counts = np.stack([_numpy(each.counts) for each in group])
        found = evaluate_tables(counts, state, classes, attributes, train, min_group_rows=least)
        keys, rows = list(found), np.stack(list(found.values()), -1).tolist()
        for each, values, ranks in zip(group, rows, state.ranks, strict=True):
            # The cache of torchmetrics, which update and reset clear.
            each._computed = dict(zip(keys, values, strict=True))  # type: ignore[assignment]
            each.rank_error = rank_bound(ranks)


class GroupMetric(GroupCounts):
    """One group metric by its name, a number that ``self.log`` of Lightning takes.

    ``self.log`` refuses metrics of several values: it is given this one, and `GroupCounts` is for
    ``self.log_dict(metric.compute())`` and for a `torchmetrics.MetricCollection`.

    Args:
        name: Key of docs/metric_definitions.md, ``worst_group_accuracy`` say.
        num_classes: C.
        num_attributes: A.
        **kwargs: Further arguments of `GroupCounts`.

    Raises:
        UserError: If there is no such metric.

    Example:
        >>> metric = GroupMetric("worst_group_accuracy", 2, 2)
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [0.0, 2.0], [0.0, 2.0]])
        >>> metric(logits, torch.tensor([0, 1, 0, 1]), torch.tensor([0, 0, 1, 1]))
        tensor(0.)
    """

    def __init__(self, name: str, num_classes: int, num_attributes: int, **kwargs: Any) -> None:
        super().__init__(num_classes, num_attributes, **kwargs)
        rare = self.min_group_rows > 0
        known = metric_names(self.class_names, self.attribute_names, rare=rare)
        known += [each.__name__ for each in self.metrics]
        if name not in known:
            near = get_close_matches(name, known, 3, 0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else "see docs/metrics.md."
            raise UserError(f"GroupMetric: there is no metric {name!r}; {hint}")
        self.name = name

    @property
    def higher_is_better(self) -> bool | None:  # type: ignore[override]
        """Whether more is better; None where neither direction is."""
        sign = direction(self.name, directions(self.metrics))
        return None if sign == 0 else sign > 0

    def compute(self) -> Tensor:  # type: ignore[override]
        """Return the metric's value."""
        value = super().compute()[self.name]
        return torch.tensor(value, dtype=torch.float32, device=self.counts.device)


def _numpy(state: Tensor) -> np.ndarray:
    return state.detach().cpu().numpy()
