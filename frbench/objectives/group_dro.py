"""Group distributionally robust optimisation."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from frbench.contracts.batch import Batch, Outputs
from frbench.contracts.errors import UserError
from frbench.contracts.properties import Properties
from frbench.contracts.ranges import NotNegative, PositiveShare, Share
from frbench.data.module import GroupDataModule, datamodule_of
from frbench.distributed import all_sum, world_size
from frbench.functional.losses import group_dro_weights
from frbench.training.objective import Objective


class GroupDRO(Objective):
    """Minimise the worst group's loss by exponentiated-gradient weights over groups.

    Each step, with L_g the mean loss of group g in the global batch (0 where g is absent) and
    n_g its number of training rows: A_g = L_g + C_g / sqrt(n_g); log q <- log q + eta A_g,
    normalised; the loss is sum_g q_g L_g with the updated q. Source: arXiv 1911.08731,
    Algorithm 1 and equation 5; the greedy mode and the normalised loss are in its released code.

    Rows without attribute (z = -1) belong to no group; they add their share u of the batch to
    the loss, (1 - u) sum_g q_g L_g + u L_unknown. With a soft inference (``PseudoLabels``,
    ``soft``) a row belongs to group g with P(g): L_g = sum_i P_i(g) l_i / sum_i P_i(g), and n_g is
    the sum over the training rows (PG-DRO, arXiv 2303.05809).

    Args:
        eta: Step size of q (the paper's eta_q; 0 keeps q uniform).
        adjustment: C >= 0 for all groups, or C by group name (others 0).
        normalize: Update q by A_g / sum A instead of A_g; the minimised loss is unchanged.
        mode: ``online`` as above; ``greedy`` weighs the groups of highest moving average
            loss until their training share reaches alpha; ``single_group`` draws one present
            group per step uniformly and uses its rows alone (Algorithm 1 as printed).
        alpha: Training share covered by ``greedy``, in (0, 1].
        gamma: Rate of the moving averages, in (0, 1].
        min_weight: Mixes the weights with the uniform distribution (online, single_group) or
            with the training shares (greedy), in [0, 1].
        present_only: Renormalise q over the groups present in the batch and leave the others'
            weights alone.
        real_only: Generated rows are trained on with their group's weight but have no part in
            the losses that move the weights: labels of generated images are noisy, and the
            largest losses are where they are wrong.

    Raises:
        UserError: For a value out of range, an unknown group name, or single_group with
            present_only.
    """

    properties = Properties(
        weights="invariant", attributes="exchangeable", one_group={"present_only": True}
    )

    takes_membership = True
    log_q: Tensor
    moving_loss: Tensor
    seen: Tensor
    train_counts: Tensor
    adjustments: Tensor

    def __init__(
        self,
        *args: Any,
        eta: NotNegative = 0.01,
        adjustment: NotNegative | dict[str, NotNegative] = 0.0,
        normalize: bool = False,
        mode: Literal["online", "greedy", "single_group"] = "online",
        alpha: PositiveShare = 0.2,
        gamma: PositiveShare = 0.1,
        min_weight: Share = 0.0,
        present_only: bool = False,
        real_only: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if mode == "single_group" and present_only:
            raise UserError(
                "GroupDRO.present_only moves q between the groups of a batch, and mode: "
                "single_group has one: use one of the two."
            )
        self.eta = eta
        self.adjustment = adjustment
        self.normalize = normalize
        self.mode = mode
        self.alpha = alpha
        self.gamma = gamma
        self.min_weight = min_weight
        self.present_only = present_only
        self.real_only = real_only
        # Whether a training row may lack its attribute; the data say so before training.
        self._may_be_unknown = True
        groups = self.sizes.num_groups
        uniform = torch.full((groups,), 1 / groups)
        self.register_buffer("log_q", uniform.log())
        self.register_buffer("moving_loss", torch.zeros(groups))
        self.register_buffer("seen", torch.zeros(groups, dtype=torch.bool))
        # Read from the data at the start of fitting, hence not part of the checkpoint.
        self.register_buffer("train_counts", torch.zeros(groups), persistent=False)
        self.register_buffer("adjustments", torch.zeros(groups), persistent=False)

    def setup(self, stage: str) -> None:
        """Read group counts and adjustments of the table that training sees."""
        super().setup(stage)
        data = datamodule_of(self.trainer)
        if stage != "fit":
            return
        if data is not None:
            unknown = bool((data.training.table.z < 0).any())
            self._may_be_unknown = unknown or self.infer is not None
        elif (self.mode == "greedy" or self.adjustment) and not self.train_counts.any():
            raise UserError(
                "GroupDRO needs the groups' training counts for greedy and adjustment: fit with a "
                "datamodule, or call bind_groups first."
            )

    def cautions(self, train: GroupDataModule | None) -> dict[str, str]:
        """Warn when q has collapsed onto one group."""
        if float(self.log_q.max().exp()) <= 0.99:
            return {}
        group = self.seen_names[int(self.log_q.argmax())]
        return {
            "saturated_group_weights": f"q of {group} exceeds .99: the other groups are no longer "
            "trained; lower eta or set min_weight."
        }

    def bind_groups(self, train_counts: Tensor, group_names: list[str]) -> None:
        """Set n_g and C_g / sqrt(n_g).

        Args:
            train_counts: Training rows of each group, y-major [C * A].
            group_names: Names of the groups in that order.

        Raises:
            UserError: If ``adjustment`` names a group that does not exist.
        """
        if isinstance(self.adjustment, dict):
            if unknown := sorted(set(self.adjustment) - set(group_names)):
                raise UserError(
                    f"GroupDRO.adjustment names unknown groups {unknown}; the groups are "
                    f"{group_names}."
                )
            strength = torch.tensor([float(self.adjustment.get(n, 0.0)) for n in group_names])
        else:
            strength = torch.full((len(group_names),), float(self.adjustment))
        counts = train_counts.float().to(self.device)
        self.train_counts.copy_(counts)
        # A group without training rows has no loss that could answer an adjustment: it gets none.
        scale = torch.where(counts > 0, counts.clamp(min=1).rsqrt(), 0.0)
        self.adjustments.copy_(strength.to(self.device) * scale)

    def risk(self, out: Outputs, batch: Batch) -> Tensor:
        """Return sum_g w_g L_g over the global batch, and stage the new weights."""
        slots = self.sizes.num_groups + 1
        slot = batch.group % slots  # -1, no attribute, is the last slot
        judged = batch.weight * ~batch.synthetic if self.real_only else batch.weight
        columns = torch.stack([judged * out.losses.detach(), judged, batch.weight], 1)
        if (member := self.membership(batch)) is None:
            totals = all_sum(columns.new_zeros(slots, 3).index_add_(0, slot, columns))
        else:
            member = torch.cat([member, 1 - member.sum(1, keepdim=True)], 1)  # [B, slots]
            totals = all_sum(member.T @ columns)
        mass = totals[:, 2].clamp(min=1e-12)
        mean = totals[:, 0] / totals[:, 1].clamp(min=1e-12)
        with torch.no_grad():
            weights = self._update(mean[:-1], totals[:-1, 1] > 0, totals[:-1, 2] > 0)
            if self._may_be_unknown:
                unknown = totals[-1:, 2] / mass.sum()
                weights = torch.cat([weights * (1 - unknown), unknown])
            # sum_g w_g L_g as one weighted sum over samples, times W: DDP averages gradients.
            each = weights / mass[: len(weights)]
            chosen = each[slot] if member is None else member[:, : len(each)] @ each
            sample = batch.weight * chosen * world_size()
        return sample @ out.losses

    def _update(self, mean: Tensor, judged: Tensor, present: Tensor) -> Tensor:
        """Stage the state after group losses ``mean`` [G] and return the weights to use [G].

        Groups that are judged have a loss, those that are present have rows to weigh: with
        ``real_only`` these may be generated ones alone.
        """
        finite = judged & torch.isfinite(mean)
        mean = torch.where(finite, mean, 0.0)
        # The first loss of a group is taken as it is, later ones move the average by gamma.
        moving = torch.where(self.seen, self.moving_loss.lerp(mean, self.gamma), mean)
        moving = torch.where(finite, moving, self.moving_loss)
        self.stage(moving_loss=moving, seen=self.seen | finite)
        if self.mode == "greedy":
            return self._greedy(moving + self.adjustments)
        adjustments = self.adjustments
        if self.mode == "single_group":
            present = chosen = self._draw(judged)
            mean, adjustments = (torch.where(chosen, t, 0.0) for t in (mean, adjustments))
        q, log_q = group_dro_weights(
            self.log_q, mean, judged, self.eta, adjustments=adjustments, normalize=self.normalize,
            present_only=self.present_only, min_weight=self.min_weight, weighed=present,
        )  # fmt: skip
        self.stage(log_q=log_q)
        return torch.where(present, q, 0.0) if self.mode == "single_group" else q

    def _draw(self, present: Tensor) -> Tensor:
        """Mark one present group, drawn uniformly, the same on every process [G]."""
        seed = (self._seed or 0) * 1_000_003 + self.trainer.global_step
        generator = torch.Generator().manual_seed(seed % 2**63)
        score = torch.rand(len(present), generator=generator).to(present.device)
        score = torch.where(present, score, -1.0)
        return torch.arange(len(present), device=present.device) == score.argmax()

    def _greedy(self, loss: Tensor) -> Tensor:
        share = self.train_counts / self.train_counts.sum().clamp(min=1)
        order = loss.argsort(descending=True, stable=True)
        ordered = share[order]
        before = ordered.cumsum(0) - ordered
        # A group gets what is left of alpha, at most its share.
        covered = torch.minimum(ordered, (self.alpha - before).clamp(min=0)) / self.alpha
        weights = share.scatter(0, order, covered)
        return (1 - self.min_weight) * weights + self.min_weight * share

    def state_to_log(self) -> dict[str, Tensor]:
        """Return q, its entropy, and each group's moving loss, raw and adjusted, by name."""
        names = self.seen_names
        q = self.log_q.exp()
        logged = {f"q/{n}": q[i] for i, n in enumerate(names)}
        logged |= {f"moving_loss/{n}": self.moving_loss[i] for i, n in enumerate(names)}
        if self.adjustments.any():
            adjusted = self.moving_loss + self.adjustments
            logged |= {f"adjusted_loss/{n}": adjusted[i] for i, n in enumerate(names)}
        logged["q_entropy"] = -(q * self.log_q).sum()
        return logged
