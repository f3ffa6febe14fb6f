"""Runs that leave copies of their folder behind, as a kill -9 would, and go on from each."""

import csv
import shutil
from pathlib import Path

import torch
from pytorch_lightning import Callback, Trainer, seed_everything
from trainers import trainer

from frbench.callbacks import BestCheckpoint, CSVLogger, EarlyStop, RollingCheckpoint, SanityCheck
from frbench.data import TwoGaussians
from frbench.networks import MLP

#: What a run logs beside its results, and a test may not care about.
FILTERS = [
    "ignore::frbench.callbacks.sanity.SanityWarning",
    "ignore:.*does not have many workers",
    "ignore:Checkpoint directory",
    "ignore:.*smaller than the logging interval",
]


class Copies(Callback):
    """Copies the run's folder at every place where a process could be killed.

    Being no ``Checkpoint``, it runs before those write what belongs to the same moment.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.taken: dict[str, Path] = {}

    def _copy(self, where: str, trainer: Trainer) -> None:
        source = Path(trainer.logger.log_dir)
        if (source / "checkpoints" / "last.ckpt").is_file():  # else a run begins anew
            target = self.folder / f"{len(self.taken):02d}"
            shutil.copytree(source, target)
            self.taken[f"{where} at step {trainer.global_step}"] = target

    def on_train_batch_start(self, trainer, *_):
        self._copy("before the batch", trainer)

    def on_validation_end(self, trainer, *_):
        self._copy("in validation", trainer)

    def on_train_epoch_end(self, trainer, *_):
        self._copy("before the epoch's last write", trainer)

    def on_train_end(self, trainer, *_):
        self._copy("after training", trainer)


def two_gaussians(steps=7, **options):
    """Data of so many batches of 32 rows, and some rows that an epoch drops."""
    rows = steps * 32 + 3
    share = 0.25 if options.pop("clean", False) else 0.0
    n = int(rows / (1 - share)) + 1 if share else rows
    # Drawing would tell verified rows by group, which FRTrain refuses.
    via = "weight" if share else "sample"
    options = {"balance": "joint", "via": via, "clean_share": share, **options}
    return TwoGaussians(n=n, batch_size=32, **options)


def fit(folder, model, data, every=1, ckpt=None, extra=(), patience=20, epochs=3, **options):
    """Build everything anew, as another process would, and train.

    ``model`` and ``data`` are functions without arguments.
    """
    seed_everything(5, verbose=False)
    objective, datamodule = model(), data()
    checkpoints = str(folder / "checkpoints")
    callbacks = [
        SanityCheck(), BestCheckpoint(dirpath=checkpoints), EarlyStop(patience=patience),
        RollingCheckpoint(every_n_steps=every, dirpath=checkpoints), *extra,
    ]  # fmt: skip
    run = trainer(**{
        "max_epochs": epochs, "log_every_n_steps": 2, "enable_checkpointing": True,
        "logger": CSVLogger(str(folder)), "callbacks": callbacks, **options,
    })  # fmt: skip
    run.fit(objective, datamodule=datamodule, ckpt_path=ckpt, weights_only=True)
    return run, objective


def outcome(trainer, model):
    """All that two equal runs have in common: state, checkpoints and logs; no times."""
    folder = Path(trainer.logger.log_dir)
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    best, last = (
        torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)
        for name in ("best", "last")
    )
    last["callbacks"]["RollingCheckpoint"].pop("seconds")
    last["callbacks"] = {
        name: {k: v for k, v in state.items() if str(folder) not in str(v)}
        for name, state in last["callbacks"].items()
    }
    own = ("epoch", "global_step", "callbacks", "lr_schedulers", "frbench")
    return {
        "state": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in trainer.optimizers],
        "rows": rows,
        "best": best["state_dict"],
        "best_step": best["global_step"],
        "score": trainer.checkpoint_callback.best_model_score,
        "step": trainer.global_step,
        "last": {name: last[name] for name in own},
        "last_state": last["state_dict"],
    }


def assert_same(a, b, path=""):
    """Equal to the last bit."""
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for key in a:
            assert_same(a[key], b[key], f"{path}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), path
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{path}[{i}]")
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a.nan_to_num(nan=-7.25), b.nan_to_num(nan=-7.25)), path
    else:
        assert a == b or (a != a and b != b), path


def check_resume(tmp_path, model, data, at=None, every=1, **options):
    """Train without interruption, then go on from each copy, and compare.

    Args:
        tmp_path: An empty folder.
        model: Builds the objective.
        data: Builds the data.
        at: Which copies, by their place in the order; by default all.
        every: Steps between writes of ``last.ckpt``.
        options: Of :func:`fit`.

    Returns:
        The uninterrupted run's outcome, and where the copies were taken.
    """
    run = tmp_path / "run"
    copies = Copies(tmp_path / "copies")
    whole = outcome(*fit(run, model, data, every, extra=[copies], **options))
    assert copies.taken
    places = list(copies.taken)
    for place in places if at is None else [places[i] for i in at]:
        shutil.rmtree(run)
        shutil.copytree(copies.taken[place], run)
        last = str(run / "checkpoints" / "last.ckpt")
        assert_same(outcome(*fit(run, model, data, every, ckpt=last, **options)), whole, place)
    return whole, places


def small_network():
    """A network that draws random numbers in training."""
    return MLP(hidden=[8], dropout=0.5)
