"""Objectives, penalties and postprocessing as an estimator of scikit-learn."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import torch
from pytorch_lightning import Trainer
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

import frbench.objectives
from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.data.balance import Balance, Marginals, Via
from frbench.data.tables.array_data import ArrayData
from frbench.group_inference import GroupInference
from frbench.metrics.api import evaluate
from frbench.metrics.rows import cross_attributes
from frbench.networks import Network
from frbench.objectives import Objective
from frbench.penalties import Penalty
from frbench.postprocessing import Postprocessor
from frbench.postprocessing.split import Split
from frbench.training.postprocess import outputs, postprocess


class FrbenchClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Train a classifier by any objective of frbench, with the interface of scikit-learn.

    ``fit(X, y, sensitive_features=z)`` is enough for most; without ``sensitive_features`` all
    rows have the same attribute. Inputs are taken as they are: standardise them by a Pipeline.
    Objects given (penalties, a network) are copied for each fit.

    Args:
        objective: Name of a class of ``frbench.objectives``, or a class.
        objective_options: Its own arguments, ``{"eta": 0.1}`` say.
        penalties: Objects of ``frbench.penalties``.
        infer: An object of ``frbench.group_inference``.
        postprocess: An object of ``frbench.postprocessing``, fitted on the training rows, or on
            ``validation_share`` of them that are held out for it.
        network: An object of ``frbench.networks``; by default an MLP.
        balance: Target of the training distribution, as ``data.balance``.
        via: How it is reached, as ``data.via``.
        marginals: As ``data.marginals``.
        max_epochs: Passes over the rows.
        batch_size: Rows of a batch; of fewer rows, one batch of all.
        lr: Learning rate.
        optimizer: Name of a class of ``torch.optim``.
        weight_decay: The optimiser's weight decay.
        validation_share: Share of the rows held out for ``postprocess``; 0 uses all for both.
        accelerator: Of Lightning's Trainer.
        random_state: Seed, or a random state; None draws one.

    Attributes:
        classes_: Values of y, sorted [C].
        attributes_: Names of the values of ``sensitive_features`` [A].
        model_: The trained :class:`~frbench.objectives.Objective`.
        n_features_in_: Number of inputs.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> y, z = rng.integers(0, 2, (2, 200))
        >>> X = rng.normal(size=(200, 3)) + 2 * y[:, None]
        >>> model = FrbenchClassifier("GroupDRO", {"eta": 0.1}, max_epochs=20, lr=0.01,
        ...                           random_state=0)
        >>> model.fit(X, y, sensitive_features=z).score(X, y) > 0.9
        True
    """

    def __init__(
        self,
        objective: str | type[Objective] = "ERM",
        objective_options: dict[str, Any] | None = None,
        penalties: list[Penalty] | None = None,
        infer: GroupInference | None = None,
        postprocess: Postprocessor | None = None,
        network: Network | None = None,
        balance: Balance = "none",
        via: Via | None = None,
        marginals: Marginals = "keep",
        max_epochs: int = 50,
        batch_size: int = 32,
        lr: float = 3e-3,
        optimizer: str = "Adam",
        weight_decay: float = 0.0,
        validation_share: float = 0.0,
        accelerator: str = "cpu",
        random_state: Any = None,
    ) -> None:
        self.objective = objective
        self.objective_options = objective_options
        self.penalties = penalties
        self.infer = infer
        self.postprocess = postprocess
        self.network = network
        self.balance = balance
        self.via = via
        self.marginals = marginals
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.optimizer = optimizer
        self.weight_decay = weight_decay
        self.validation_share = validation_share
        self.accelerator = accelerator
        self.random_state = random_state

    def fit(
        self, X: Any, y: Any, sensitive_features: Any = None, sample_weight: Any = None
    ) -> Self:
        """Train.

        Args:
            X: Inputs, numbers [N, D].
            y: Labels of any type [N].
            sensitive_features: Attributes of the rows, one column or several that are crossed
                [N]; as in fairlearn.
            sample_weight: Weights of the rows [N].

        Raises:
            UserError: For an unknown objective, options it does not take, or rows that it cannot
                use.
            ValueError: For inputs that scikit-learn refuses.
        """
        X, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
        z, self.attributes_ = _attributes(sensitive_features, len(X))
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        if len(self.classes_) == 1:  # nothing to learn
            self.model_ = None
            return self
        with torch.random.fork_rng(devices=[]), _quiet():
            torch.manual_seed(seed)
            self.model_ = self._trained(X, codes, z, weight, seed)
        return self

    def _trained(
        self, x: np.ndarray, y: np.ndarray, z: np.ndarray, weight: np.ndarray, seed: int
    ) -> Objective:
        sizes = Sizes(len(self.classes_), len(self.attributes_), x.shape[1:])
        split = Split("train", 1 - self.validation_share, seed)
        groups = y * sizes.num_attributes + z
        fits = split.fitting(groups) if self.validation_share else np.ones(len(groups), bool)
        # A data set has validation and test rows: where nobody looks at them, the first row.
        more = ["val", "test"] if fits.all() else ["test"]
        again = np.append(np.arange(len(x)), [0] * len(more))
        part = np.append(np.where(fits, "train", "val"), more)
        data = ArrayData(
            x[again], y[again], z[again], part, weight[again],
            classes=[str(c) for c in self.classes_], attributes=list(self.attributes_),
            batch_size=self.batch_size, balance=self.balance, via=self.via,
            marginals=self.marginals, seed=seed,
        )  # fmt: skip
        model = self._class()(
            sizes.num_classes,
            sizes.num_attributes,
            list(sizes.input_shape),
            network=copy.deepcopy(self.network),
            penalties=copy.deepcopy(self.penalties),
            infer=copy.deepcopy(self.infer),
            optimizer=self.optimizer,
            lr=self.lr,
            weight_decay=self.weight_decay,
            **(self.objective_options or {}),
        )
        trainer = Trainer(
            max_epochs=self.max_epochs, accelerator=self.accelerator, devices=1, logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            limit_val_batches=0, num_sanity_val_steps=0,
        )  # fmt: skip
        trainer.fit(model, datamodule=data)
        model.cpu().eval()
        if self.postprocess is not None:
            rows = outputs(model, data, "train" if fits.all() else "val")
            postprocess(model, rows, copy.deepcopy(self.postprocess), Split("val", 1.0, seed))
        return model

    def _class(self) -> type[Objective]:
        if isinstance(self.objective, type):
            return self.objective
        if self.objective not in frbench.objectives.__all__:
            raise UserError(
                f"FrbenchClassifier.objective: there is no {self.objective!r}; choose one of "
                f"{', '.join(frbench.objectives.__all__)}, or give a class."
            )
        found: type[Objective] = getattr(frbench.objectives, self.objective)
        return found

    @torch.inference_mode()
    def _outcome(self, X: Any, sensitive_features: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return probabilities [N, C] and codes of the decisions [N]."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)
        if self.model_ is None:
            return np.ones((len(X), 1)), np.zeros(len(X), np.int64)
        z, _ = _attributes(sensitive_features, len(X), self.attributes_)
        z = np.full(len(X), -1) if sensitive_features is None else z
        logits, _, decision = self.model_.outcome(
            torch.as_tensor(X), torch.as_tensor(z), torch.arange(len(X))
        )
        p = logits.double().softmax(1)
        return p.numpy(), (p.argmax(1) if decision is None else decision).numpy()

    def predict_proba(self, X: Any, sensitive_features: Any = None) -> np.ndarray:
        """Return class probabilities [N, C] in the order of ``classes_``.

        Args:
            X: Inputs [N, D].
            sensitive_features: Attributes, for a postprocessing that reads them [N].
        """
        return self._outcome(X, sensitive_features)[0]

    def predict(self, X: Any, sensitive_features: Any = None) -> np.ndarray:
        """Return the predicted classes [N].

        Args:
            X: Inputs [N, D].
            sensitive_features: Attributes, for a postprocessing that reads them [N].
        """
        codes = self._outcome(X, sensitive_features)[1]
        found: np.ndarray = self.classes_[codes]
        return found

    def evaluate(self, X: Any, y: Any, sensitive_features: Any) -> dict[str, float]:
        """Return every group metric of :func:`frbench.metrics.evaluate`.

        Args:
            X: Inputs [N, D].
            y: Labels [N].
            sensitive_features: Attributes [N].
        """
        p, codes = self._outcome(X, sensitive_features)
        names = [str(c) for c in self.classes_]
        scores = p[:, 1] if p.shape[1] == 2 else p
        labels = np.asarray(y).astype(str)
        return evaluate(labels, np.array(names)[codes], sensitive_features=sensitive_features,
                        scores=scores, class_names=names)  # fmt: skip


def _attributes(
    columns: Any, rows: int, names: list[str] | None = None
) -> tuple[np.ndarray, list[str]]:
    """Return the codes [N] and names [A] of attributes; of none, one value for all rows."""
    if columns is None:
        return np.zeros(rows, np.int64), ["all"]
    codes, found = cross_attributes(columns)
    if len(codes) != rows:
        raise ValueError(f"sensitive_features has {len(codes)} rows, X has {rows}")
    if names is None:
        return codes, list(found)
    places = np.array([names.index(n) if n in names else -1 for n in found] or [-1])
    return np.where(codes < 0, -1, places[codes]), names


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning from reporting on devices and data loaders for each fit."""
    log = logging.getLogger("pytorch_lightning.utilities.rank_zero")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")
            yield
    finally:
        log.setLevel(level)
