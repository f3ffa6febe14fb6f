"""FR-Train: a classifier against a fairness and a robustness discriminator."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from frbench.contracts.batch import Batch, OncePerBatch, Outputs
from frbench.contracts.errors import UserError
from frbench.contracts.properties import Properties
from frbench.contracts.ranges import Count, NotNegative, NotNegativeInt, Positive
from frbench.data.module import datamodule_of
from frbench.distributed import all_gather, all_mean
from frbench.functional.fairness import Target
from frbench.objectives.fr_train.players import (
    RobustDiscriminator,
    check_bounds,
    check_shares,
    check_turns,
    discriminator_optimizers,
    draw_weights,
)
from frbench.penalties import MutualInformation
from frbench.penalties.adversary import Attributes, Discriminator, global_mean, margin
from frbench.penalties.mutual_information import Normaliser
from frbench.training.manual import ManualObjective


class FRTrain(ManualObjective):
    """Fair and robust training with two discriminators and a few verified rows.

    In every iteration D_F learns to tell z from the classifier's logits, and D_R to tell training
    rows (x, z, logit) from verified rows (x, z, label as -1 or 1); both see logits cut at +-1000,
    because the paper's game overflows on huge ones. The classifier moves in every
    iteration of the warm-up, on ``warmup_scale`` times the cross-entropy of logits times
    ``warmup_steepness``, and in every k-th one thereafter, on

        (1 - lambda_f - lambda_r) mean_i w_i CE_i - lambda_f mean_i w_i CE(D_F(l_i), z_i)
        - lambda_r mean_i CE(D_R(x_i, z_i, l_i), training),

    or with ``+ lambda_f I(Yhat; Z)`` (:class:`MutualInformation`) for the second term. Row i's
    weight is w_i = a D_R(i) + 1 - a, a = sigmoid(L / L_R - 3) with L the classifier's last loss
    and L_R that of D_R; a row's weight is renewed at its first visit after each
    ``reweight_every``-th iteration. Source: arXiv 2002.10234, section 3 and the released code,
    whose two notebooks are two settings of this class (configs/method/fr_train_official_*).

    Verified rows come from ``data.clean_share``. Penalties are added to the classifier's loss.

    Args:
        lambda_f: Weight of fairness, at least 0.
        lambda_r: Weight of robustness, at least 0; with lambda_f below 1.
        fairness: discriminator, smooth_mi, or none (lambda_f is then taken as 0).
        robustness: discriminator, or none (lambda_r is then 0, and no verified rows are used).
        target: demographic_parity; equal_opportunity: fairness terms see the rows with
            ``y = positive_class`` alone; equalized_odds: D_F sees y, I is conditional on it.
        positive_class: Label that equal_opportunity is about.
        beta: Steepness of the smooth mutual information.
        normaliser: Its normaliser (see :class:`MutualInformation`).
        warmup: Iterations of the warm-up.
        warmup_scale: Factor of its loss.
        warmup_steepness: Factor of the logits in it.
        k: Iterations per classifier step after it.
        fairness_optimizer: Class of ``torch.optim`` for D_F.
        fairness_lr: Its learning rate.
        fairness_hidden: Widths of D_F's hidden layers; empty is a linear model.
        robust_optimizer: Class of ``torch.optim`` for D_R.
        robust_lr: Its learning rate.
        robust_hidden: Widths of D_R's hidden layers.
        robust_sees: x, or the network's features (of images and text; the default there).
        robust_sees_attribute: Whether z is an input of D_R; needless where x holds z.
        detach_robust: Cut D_R's gradient into the classifier, as the notebook for clean data does.
        reweight: official weights, weights of mean one in the batch, or off.
        reweight_every: Iterations between two renewals.
        weight_bounds: Least and largest weight.
        init_std: Draw all linear weights from N(0, init_std^2), biases 0: classifier, D_F, D_R in
            this order from the run's seed, as the released code does with 0.2. None leaves them
            as torch draws them.

    Raises:
        UserError: For a value out of range, ``1 - lambda_f - lambda_r <= 0`` among them.
    """

    properties = Properties(
        weights=None,
        copies=None,  # D_R's term does not know weights
        attributes=None,  # both discriminators read z as an input or a target
        erm=({"fairness": "none", "robustness": "none", "k": 1},),
    )

    row_state: Mapping[str, float] = {"sample_weight": 1.0, "renewed_at": -1}
    mix: Tensor
    last_loss: Tensor
    sample_weight: Tensor
    renewed_at: Tensor

    def __init__(
        self,
        *args: Any,
        lambda_f: NotNegative = 0.3,
        lambda_r: NotNegative = 0.3,
        fairness: Literal["discriminator", "smooth_mi", "none"] = "discriminator",
        robustness: Literal["discriminator", "none"] = "discriminator",
        target: Target = "demographic_parity",
        positive_class: NotNegativeInt = 1,
        beta: Positive = 20.0,
        normaliser: Normaliser = "none",
        warmup: NotNegativeInt = 500,
        warmup_scale: float = 1.0,
        warmup_steepness: float = 1.0,
        k: Count = 3,
        fairness_optimizer: str = "SGD",
        fairness_lr: NotNegative = 0.01,
        fairness_hidden: list[Count] | None = None,
        robust_optimizer: str = "SGD",
        robust_lr: NotNegative = 0.01,
        robust_hidden: list[Count] | None = None,
        robust_sees: Literal["x", "features"] | None = None,
        robust_sees_attribute: bool = True,
        detach_robust: bool = False,
        reweight: Literal["official", "mean_one", "off"] = "official",
        reweight_every: Count = 100,
        weight_bounds: list[NotNegative] | None = None,
        init_std: NotNegative | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.lambda_f = lambda_f
        self.lambda_r = lambda_r
        self.fairness = fairness
        self.robustness = robustness
        self.target = target
        self.positive_class = positive_class
        self.beta = beta
        self.normaliser = normaliser
        self.warmup = warmup
        self.warmup_scale = warmup_scale
        self.warmup_steepness = warmup_steepness
        self.k = k
        self.fairness_optimizer = fairness_optimizer
        self.fairness_lr = fairness_lr
        self.fairness_hidden = fairness_hidden or []
        self.robust_optimizer = robust_optimizer
        self.robust_lr = robust_lr
        self.robust_hidden = [16] if robust_hidden is None else robust_hidden
        self.robust_sees = robust_sees
        self.robust_sees_attribute = robust_sees_attribute
        self.detach_robust = detach_robust
        self.reweight = reweight
        self.reweight_every = reweight_every
        self.weight_bounds = [0.01, 10.0] if weight_bounds is None else weight_bounds
        self.init_std = init_std
        check_shares(lambda_f, lambda_r, self.fair_weight + self.robust_weight)
        check_turns(k, fairness == "discriminator" or robustness != "none")
        check_bounds(self.weight_bounds)
        self.uses_clean = self.compares_clean = robustness == "discriminator"
        self._build_players()
        self.register_buffer("mix", torch.zeros(()))
        self.register_buffer("last_loss", torch.zeros(()))
        # Of the size of the data: kept in checkpoints by on_save_checkpoint.
        self.register_buffer("sample_weight", torch.ones(0), persistent=False)
        self.register_buffer("renewed_at", torch.zeros(0, dtype=torch.long), persistent=False)
        self._robust_loss = torch.ones(())
        self._attributes = OncePerBatch[Attributes]()
        self.other_optimizers()  # wrong names must fail before any data is read

    @property
    def _fairness(self) -> Discriminator:
        return cast(Discriminator, self.discriminators["fairness"])

    @property
    def _robustness(self) -> RobustDiscriminator:
        return cast(RobustDiscriminator, self.discriminators["robustness"])

    @property
    def fair_weight(self) -> float:
        """lambda_f, 0 without a fairness term."""
        return 0.0 if self.fairness == "none" else self.lambda_f

    @property
    def robust_weight(self) -> float:
        """lambda_r, 0 without a robustness discriminator."""
        return 0.0 if self.robustness == "none" else self.lambda_r

    def _build_players(self) -> None:
        """Create the discriminators and the measure, and draw the weights if asked to."""
        sizes = self.sizes
        # Checks the positive class and holds the label entropy, also where it is not the term.
        self.information = MutualInformation(
            target=self.target,
            beta=self.beta,
            normaliser=self.normaliser,
            positive_class=self.positive_class,
        )
        self.information.bind(sizes)
        odds = 1 if sizes.num_classes == 2 else sizes.num_classes
        self.discriminators = nn.ModuleDict()
        if self.fairness == "discriminator":
            self.discriminators["fairness"] = Discriminator(
                odds, sizes, self.target, self.positive_class, self.fairness_hidden
            )
        if self.robustness == "discriminator":
            self.discriminators["robustness"] = RobustDiscriminator(
                sizes,
                self.network.num_features,
                self.robust_hidden,
                self.robust_sees,
                self.robust_sees_attribute,
            )
        if self.init_std is not None:
            draw_weights((self.network, *self.discriminators.values()), self.init_std)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Groups of the classifier's optimiser: all but the discriminators."""
        theirs = {id(p) for p in self.discriminators.parameters()}
        own, *groups = super().parameter_groups()
        return [{"params": [p for p in own["params"] if id(p) not in theirs]}, *groups]

    def other_optimizers(self) -> list[Optimizer]:
        """Build the discriminators' optimisers: one with two groups where they are of one kind."""
        rates = {
            "fairness": (self.fairness_optimizer, "fairness_optimizer", self.fairness_lr),
            "robustness": (self.robust_optimizer, "robust_optimizer", self.robust_lr),
        }
        return discriminator_optimizers(self.discriminators, rates)

    # ---- one iteration ----------------------------------------------------------------------
    def training_step(self, batch: Batch, batch_idx: int) -> None:  # type: ignore[override]
        """Move the discriminators, then the classifier if it is its turn."""
        self.discard_all()
        iteration = self.iteration
        moves = iteration < self.warmup or iteration % self.k == 0
        looks = moves or self.log_is_due()  # at the classifier's loss
        with torch.set_grad_enabled(moves):
            out = self.outputs(batch) if looks else self._logits_alone(batch)
            rows = self.training_rows(out, batch)
        with self.full_precision():
            losses = self._discriminator_losses(out, batch, rows)
            named = {f"{name}_discriminator": loss for name, loss in losses.items()}
            if losses:
                others = range(1, len(self._raw))
                self.step([*losses.values()], others, counts=not moves)
            if looks:
                with torch.set_grad_enabled(moves):
                    named |= self.terms(rows, rows)
            if moves:
                self.step([named["loss"]], [0], counts=True)
                self.training_log.update(*rows, named)
            else:  # metrics of training are those of the rows that trained the classifier
                self.discard_all()
                self.training_log.terms = {k: v.detach() for k, v in named.items()}

    def _logits_alone(self, batch: Batch) -> Outputs:
        """Outputs whose losses are not computed, for iterations of the discriminators alone."""
        features, logits = self.network(batch.x)
        return Outputs(features.float(), logits.float(), logits[:, 0])

    @property
    def iteration(self) -> int:
        """Iterations before this one; without a trainer, the first after the warm-up."""
        return self.warmup if self._trainer is None else self.trainer.global_step

    def _discriminator_losses(
        self, out: Outputs, batch: Batch, rows: tuple[Outputs, Batch]
    ) -> dict[str, Tensor]:
        """Losses of D_F and D_R, without a gradient into the classifier."""
        trained, seen = rows
        answer = margin(trained.logits.detach())
        losses = {}
        if "fairness" in self.discriminators:
            attributes = self._attributes(seen, self._fairness.attributes)
            each = self._fairness.losses(answer, seen.y, attributes)
            losses["fairness"] = global_mean(each, attributes.mask * seen.weight)
        if "robustness" in self.discriminators:
            losses["robustness"] = self._robustness.loss(answer, out.features, batch)
            self._robust_loss = losses["robustness"].detach()
        return losses

    def risk(self, out: Outputs, batch: Batch) -> Tensor:
        """Return the classifier's loss in this iteration, and stage the weights of its rows."""
        if self.iteration < self.warmup:
            losses = out.losses
            if (steep := self.warmup_steepness) != 1:
                losses = F.cross_entropy(steep * out.logits, batch.y, reduction="none")
            loss = self.warmup_scale * (batch.weight * losses).mean()
            self.stage(last_loss=all_mean(loss))
            return loss
        answer, weight, robust = margin(out.logits), batch.weight, None
        if "robustness" in self.discriminators:
            seen = answer.detach() if self.detach_robust else answer
            odds = self._robustness(seen, out.features, batch)
            robust = F.softplus(odds).mean()  # CE of the answer "a training row"
            if self.reweight != "off":
                weight = self._sample_weights(batch, odds.detach().sigmoid()) * weight
        loss = (1 - self.fair_weight - self.robust_weight) * (weight * out.losses).mean()
        if self.fairness == "discriminator":
            attributes = self._attributes(batch, self._fairness.attributes)
            each = self._fairness.losses(answer, batch.y, attributes)
            loss = loss - self.fair_weight * global_mean(weight * each, attributes.mask)
        elif self.fairness == "smooth_mi":
            loss = loss + self.fair_weight * self.information(out, batch)
        if robust is not None:
            loss = loss - self.robust_weight * robust
        self.stage(last_loss=all_mean(loss))
        return loss

    def _sample_weights(self, batch: Batch, belief: Tensor) -> Tensor:
        """Weights of the batch's rows [B], renewed where due, from P(verified) by D_R [B]."""
        # The classifier moves at multiples of k, so both counters meet at their common multiples.
        every = math.lcm(self.k, self.reweight_every)
        due = self.iteration // every * every
        if due < self.warmup or not len(self.sample_weight):
            return torch.ones_like(belief)
        mix = self.mix
        if due == self.iteration:
            robust_loss = all_mean(self._robust_loss)
            mix = torch.sigmoid(self.last_loss / robust_loss.clamp(min=1e-12) - 3)
            self.stage(mix=mix)
        old, at = self.sample_weight[batch.index], self.renewed_at[batch.index]
        weight = torch.where(at < due, mix * belief + 1 - mix, old)
        # The rows of all processes: the next time, others may hold them.
        index = all_gather(batch.index)
        self.stage(
            sample_weight=self.sample_weight.index_copy(0, index, all_gather(weight)),
            renewed_at=self.renewed_at.index_fill(0, index, due),
        )
        if self.reweight == "mean_one":
            weight = weight / all_gather(weight).mean().clamp(min=1e-12)
        return weight.clamp(*self.weight_bounds)

    # ---- set-up ----------------------------------------------------------------------------
    def setup(self, stage: str) -> None:
        """Read the entropy of the labels."""
        super().setup(stage)
        data = datamodule_of(self.trainer)
        if stage != "fit":
            return
        if data is None and (self.uses_clean or self.normaliser == "label"):
            raise UserError(
                "FRTrain takes verified rows and label counts from a datamodule with clean_share; "
                "fit with one, or set robustness to none and another normaliser."
            )
        if data is not None:
            self.information.bind_data(data)
