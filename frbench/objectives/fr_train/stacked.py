"""Games of FR-Train side by side: what ``FRTrain.training_step`` does, on stacked tensors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frbench.contracts.batch import Batch
from frbench.data.loader import GroupLoader
from frbench.data.module import GroupDataModule
from frbench.objectives.fr_train.game import FRTrain
from frbench.objectives.fr_train.stack import Stack
from frbench.penalties.adversary import cut
from frbench.penalties.mutual_information import conditional_information, normalised
from frbench.training.optimizer import make_optimizer


class _Rows(NamedTuple):
    """A batch of every run; columns are samples.

    Attributes:
        x: Inputs [R, d, B].
        against_y: 1 where y = 0, -1 where y = 1 [R, B].
        against_z: The same for z [R, B].
        attribute: One-hot z [R, B, 2].
        weight: Weights of the balance [R, B].
        index: Rows of the tables [R, B].
        robust: Inputs x, answer, z of D_R, verified rows last; the answers of the others are
            still to be filled in [R, D, B + M].
    """

    x: Tensor
    against_y: Tensor
    against_z: Tensor
    attribute: Tensor
    weight: Tensor
    index: Tensor  # type: ignore[assignment]  # tuple.index, as in Batch
    robust: Tensor


class StackedGame:
    """R games of one shape, side by side."""

    def __init__(self, models: list[FRTrain], data: list[GroupDataModule]) -> None:
        self.models = models
        self.settings = model = models[0]
        self.classifier = Stack([m.network for m in models])
        names = [name for name in ("fairness", "robustness") if name in model.discriminators]
        layers: dict[str, list[nn.Module]] = {
            name: [cast(Any, m.discriminators[name]).layers for m in models] for name in names
        }
        self.discriminators = {name: Stack(parts) for name, parts in layers.items()}
        self.optimizer = make_optimizer(
            model.optimizer, [{"params": self.classifier.parameters}], lr=model.lr,
            weight_decay=model.weight_decay, **(model.optimizer_options or {}),
        )  # fmt: skip
        rates = {
            "fairness": (model.fairness_optimizer, model.fairness_lr),
            "robustness": (model.robust_optimizer, model.robust_lr),
        }
        self.others = [
            make_optimizer(rates[name][0], [{"params": stack.parameters}], lr=rates[name][1])
            for name, stack in self.discriminators.items()
        ]
        self.lambda_f = torch.tensor([m.fair_weight for m in models])
        self.lambda_r = torch.tensor([m.robust_weight for m in models])
        for m, d in zip(models, data, strict=True):
            m.information.bind_data(d)
        # Cut off and without weight, D_R's term is 0 and need not be computed.
        self._feels_robustness = not model.detach_robust or bool(self.lambda_r.any())
        self.label_entropy = torch.stack([m.information.label_entropy for m in models])
        runs, rows = len(models), max(len(d.training.table) for d in data)
        self.sample_weight = torch.ones(runs, rows)
        self.renewed_at = torch.full((runs, rows), -1)
        self.mix = torch.stack([m.mix for m in models])
        self.last_loss = torch.stack([m.last_loss for m in models])
        self.losses: dict[str, Tensor] = {}
        self.iteration = 0
        self.batches = self._batches(data)

    # ---- batches ----------------------------------------------------------------------------
    def _batches(self, data: list[GroupDataModule]) -> Iterator[_Rows]:
        """Yield what the runs' own loaders give, stacked."""
        loaders = {id(d): d.train_dataloader() for d in data}
        if all(loader.is_fixed for loader in loaders.values()):
            # Every batch is the whole table: take it once.
            whole = {
                key: loader.dataset[np.arange(len(loader.dataset)), None]
                for key, loader in loaders.items()
            }
            rows = self._rows([whole[id(d)] for d in data])
            while True:
                yield rows
        streams = {key: _forever(loader) for key, loader in loaders.items()}
        while True:
            batches = {key: next(stream) for key, stream in streams.items()}
            yield self._rows([batches[id(d)] for d in data])

    def _rows(self, batches: list[Batch]) -> _Rows:
        x = torch.stack([b.x.flatten(1).T for b in batches])
        y, z = (torch.stack([getattr(b, name) for b in batches]).float() for name in "yz")
        verified = int(batches[0].clean.sum()) if self.settings.uses_clean else 0
        train = slice(0, x.shape[2] - verified)
        parts = [x, (2 * y - 1)[:, None]]
        if self.settings.robust_sees_attribute:
            parts.append(z[:, None])
        return _Rows(
            x=x[:, :, train].contiguous(),
            against_y=(1 - 2 * y)[:, train].contiguous(),
            against_z=(1 - 2 * z)[:, train].contiguous(),
            attribute=torch.stack([1 - z, z], 2)[:, train].contiguous(),
            weight=torch.stack([b.weight for b in batches])[:, train].contiguous(),
            index=torch.stack([b.index for b in batches])[:, train].contiguous(),
            robust=torch.cat(parts, 1),
        )

    # ---- one iteration ----------------------------------------------------------------------
    def margin(self, x: Tensor) -> Tensor:
        """Log-odds [R, N] of inputs [R, d, N], without gradients."""
        with torch.no_grad():
            return self._margin(x)

    def _margin(self, x: Tensor) -> Tensor:
        logits = self.classifier(x)
        return logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]

    def iterate(self) -> None:
        """Do what ``FRTrain.training_step`` does."""
        rows = next(self.batches)
        moves = self.iteration < self.settings.warmup or self.iteration % self.settings.k == 0
        with torch.set_grad_enabled(moves):
            margin = self._margin(rows.x)
        self._discriminate(rows, cut(margin.detach()))
        if moves:
            loss = self._risk(rows, margin)
            _step([self.optimizer], [self.classifier], loss.sum())
            self.last_loss = self.losses["risk"] = loss.detach()
        self.iteration += 1

    def _discriminate(self, rows: _Rows, margin: Tensor) -> None:
        losses = {}
        if fair := self.discriminators.get("fairness"):
            odds = fair(margin[:, None])[:, 0]
            each = F.softplus(rows.against_z * odds) * rows.weight
            losses["fairness"] = each.sum(1) / rows.weight.sum(1)
        if robust := self.discriminators.get("robustness"):
            train = margin.shape[1]
            rows.robust[:, rows.x.shape[1], :train] = margin
            odds = robust(rows.robust)[:, 0]
            verified = F.softplus(-odds[:, train:]).mean(1)
            losses["robustness"] = (F.softplus(odds[:, :train]).mean(1) + verified) / 2
        if losses:
            stacks = list(self.discriminators.values())
            _step(self.others, stacks, torch.stack([*losses.values()]).sum())
        self.losses |= {name: loss.detach() for name, loss in losses.items()}

    def _risk(self, rows: _Rows, margin: Tensor) -> Tensor:
        """Loss of each classifier [R]."""
        model = self.settings
        if self.iteration < model.warmup:
            each = F.softplus(rows.against_y * (model.warmup_steepness * margin))
            return model.warmup_scale * (rows.weight * each).mean(1)
        own = 1 - self.lambda_f - self.lambda_r
        weight, against = rows.weight, margin.new_zeros(len(margin))
        if "robustness" in self.discriminators:
            if self._feels_robustness:
                odds = self._robust_odds(rows, margin)
                against = self.lambda_r * F.softplus(odds).mean(1)
            if model.reweight != "off":
                weight = self._sample_weights(rows, margin.detach()) * weight
        loss = own * (weight * F.softplus(rows.against_y * margin)).mean(1) - against
        if fair := self.discriminators.get("fairness"):
            odds = fair(cut(margin)[:, None])[:, 0]
            return loss - self.lambda_f * (weight * F.softplus(rows.against_z * odds)).mean(1)
        if model.fairness == "smooth_mi":
            return loss + self.lambda_f * self._information(rows, margin)
        return loss

    def _robust_odds(self, rows: _Rows, margin: Tensor) -> Tensor:
        """D_R's log-odds that the training rows are verified [R, B]."""
        blind = self.settings.detach_robust
        answer = cut(margin.detach() if blind else margin)[:, None]
        rest = rows.robust[:, rows.x.shape[1] + 1 :, : margin.shape[1]]
        with torch.set_grad_enabled(not blind and margin.requires_grad):
            return self.discriminators["robustness"](torch.cat([rows.x, answer, rest], 1))[:, 0]

    def _sample_weights(self, rows: _Rows, margin: Tensor) -> Tensor:
        """As ``FRTrain._sample_weights`` [R, B]."""
        model = self.settings
        every = math.lcm(model.k, model.reweight_every)
        due = self.iteration // every * every
        if due < model.warmup:
            return torch.ones_like(margin)
        if due == self.iteration:
            self.mix = torch.sigmoid(
                self.last_loss / self.losses["robustness"].clamp(min=1e-12) - 3
            )
        weight = self.sample_weight.gather(1, rows.index)
        late = self.renewed_at.gather(1, rows.index) < due
        if late.any():
            belief = self._robust_odds(rows, margin).sigmoid()
            mix = self.mix[:, None]
            weight = torch.where(late, mix * belief + 1 - mix, weight)
            self.sample_weight.scatter_(1, rows.index, weight)
            self.renewed_at.scatter_(1, rows.index, due)
        if model.reweight == "mean_one":
            weight = weight / weight.mean(1, keepdim=True).clamp(min=1e-12)
        return weight.clamp(*model.weight_bounds)

    def _information(self, rows: _Rows, margin: Tensor) -> Tensor:
        """As ``MutualInformation.forward`` [R]."""
        model = self.settings
        positive = torch.sigmoid(model.beta * margin) * rows.weight
        chosen = torch.stack([rows.weight - positive, positive], 1)
        table = torch.bmm(chosen, rows.attribute).transpose(1, 2)  # z, prediction
        table = table / table.sum((1, 2), keepdim=True)
        information, attribute, prediction = torch.vmap(conditional_information)(table[:, None])
        return normalised(information, attribute, prediction, self.label_entropy, model.normaliser)

    def write_back(self) -> None:
        """Leave the models as training leaves them."""
        for stack in (self.classifier, *self.discriminators.values()):
            stack.write_back()
        for run, model in enumerate(self.models):
            model.mix.copy_(self.mix[run])
            model.last_loss.copy_(self.last_loss[run])


def _step(optimizers: list[torch.optim.Optimizer], stacks: list[Stack], loss: Tensor) -> None:
    parameters = [p for stack in stacks for p in stack.parameters]
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.grad = gradient
    for optimizer in optimizers:
        optimizer.step()


def _forever(loader: GroupLoader) -> Iterator[Batch]:
    while True:
        yield from loader
