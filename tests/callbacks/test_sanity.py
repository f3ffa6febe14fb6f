"""Each sanity check fires on a run built for it and is silent on a healthy one."""

import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pytorch_lightning import seed_everything
from trainers import trainer

from frbench.callbacks import RollingCheckpoint, SanityCheck
from frbench.callbacks.sanity import SanityWarning
from frbench.contracts.batch import Sizes
from frbench.data import GroupDataModule, Table
from frbench.networks import MLP
from frbench.objectives import ERM, GroupDRO
from frbench.runs.quiet import quieten

EPOCHS = 6


class Rows(GroupDataModule):
    """Training and evaluation tables with given numbers of rows per group (y, z).

    The first columns of x are what ``Says`` predicts in each epoch; the last two hold y and z.
    """

    sizes = Sizes(2, 2, (EPOCHS + 2,))
    class_names = ("no", "yes")
    attribute_names = ("a", "b")

    def __init__(self, train=(400,) * 4, val=(200,) * 4, test=(200,) * 4, correct=(0.8,) * EPOCHS,
                 says=None, **kwargs):  # fmt: skip
        super().__init__(**kwargs)
        self.rows = {"train": train, "val": val, "test": test}
        self.correct = correct
        self.says = says

    def tables(self):
        return {name: self.table(counts) for name, counts in self.rows.items()}

    def table(self, counts):
        group = np.repeat(np.arange(4), counts)
        y, z = group // 2, group % 2
        # A share of each group is predicted right, the same in each.
        within = np.concatenate([np.arange(n) / max(n, 1) for n in counts])
        columns = [np.where(within < share, y, 1 - y) for share in self.correct]
        if self.says is not None:
            columns = [self.says(y, within)] * EPOCHS
        return Table(np.stack([*columns, y, z], 1).astype(np.float32), y, z)


class Prediction:
    """Predicts what the table says; a network is trained that nobody asks."""

    def forward(self, x):
        epoch = min(self.current_epoch, EPOCHS - 1)
        return torch.nn.functional.one_hot(x[:, epoch].long(), 2) * 2.0


class Says(Prediction, ERM): ...


class SaysDRO(Prediction, GroupDRO): ...


def run(data, check=None, cls=Says, epochs=1, test=False, callbacks=(), ckpt_path=None, **options):
    """Train and return the check with its messages, all of them and in order."""
    check = check or SanityCheck()
    seed_everything(0, verbose=False)
    model = cls(2, 2, [EPOCHS + 2], network=MLP(hidden=[32]), **options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        quieten()
        run = trainer(
            max_epochs=epochs, log_every_n_steps=1, enable_checkpointing=bool(callbacks),
            callbacks=[check, *callbacks],
        )  # fmt: skip
        run.fit(model, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
        if test:
            run.test(model, datamodule=data, verbose=False)
    messages = [str(w.message) for w in caught if issubclass(w.category, SanityWarning)]
    others = [w for w in caught if not issubclass(w.category, SanityWarning)]
    assert [str(w.message) for w in others if "LeafSpec" not in str(w.message)] == []
    return check, messages


def names(messages):
    return [message.split("]")[0].removeprefix("[") for message in messages]


def independent(y, within):
    return (within < 0.3).astype(int)


# ---- healthy runs ------------------------------------------------------------------------------
@pytest.mark.parametrize("cls", [Says, GroupDRO])
def test_a_healthy_run_is_silent(cls) -> None:
    options = {"lr": 0.05} if cls is GroupDRO else {}
    check, messages = run(Rows(), cls=cls, epochs=3, test=True, **options)
    assert messages == []
    assert check.raised == {}


def test_a_healthy_balanced_run_is_silent() -> None:
    data = Rows(train=(600, 60, 60, 600), balance="joint", marginals="uniform")
    assert run(data, cls=GroupDRO, lr=0.05, epochs=2)[1] == []


# ---- predictions -------------------------------------------------------------------------------
@pytest.mark.parametrize("value", [0, 1])
def test_a_constant_predictor(value: int) -> None:
    _, messages = run(Rows(says=lambda y, _: np.full_like(y, value)))
    assert names(messages) == ["constant_predictor/val"]
    assert f"class {value}" in messages[0]


def test_accuracy_not_above_the_majority() -> None:
    # 3 of 4 rows are of class "no"; half of all are predicted right.
    data = Rows(val=(300, 300, 100, 100), correct=(0.7,) * EPOCHS)
    _, messages = run(data)
    assert names(messages) == ["below_majority/val"]
    assert "0.700" in messages[0] and "0.750" in messages[0]


def test_accuracy_just_above_the_majority_is_silent() -> None:
    data = Rows(val=(300, 300, 100, 100), correct=(0.76,) * EPOCHS)
    assert run(data)[1] == []


def test_predictions_independent_of_the_labels() -> None:
    # Every group's share of "yes" is .3, whatever its label: as with labels of other rows.
    _, messages = run(Rows(val=(100, 100, 250, 250), says=independent))
    assert "independent_predictions/val" in names(messages)
    message = next(m for m in messages if "independent" in m)
    assert "labels joined to the right inputs" in message


def test_shuffled_labels_are_noticed() -> None:
    def shuffled(y, within):
        return np.random.default_rng(0).permutation(y)

    assert "independent_predictions/val" in names(run(Rows(says=shuffled))[1])


def test_a_weak_but_real_signal_is_not_called_independent() -> None:
    data = Rows(correct=(0.56,) * EPOCHS)
    assert run(data)[1] == []


def test_test_tables_are_checked_at_testing() -> None:
    _, messages = run(Rows(test=(99, 200, 200, 200), correct=(0.8,) * EPOCHS), test=True)
    assert names(messages) == ["small_evaluation_group/test"]
    data = Rows(says=lambda y, within: np.where(len(y) == 800, y, 1))
    data.rows["test"] = (201,) * 4
    assert names(run(data, test=True)[1]) == ["constant_predictor/test"]


# ---- sizes -------------------------------------------------------------------------------------
def test_a_small_evaluation_group() -> None:
    _, messages = run(Rows(val=(200, 99, 200, 200)))
    assert names(messages) == ["small_evaluation_group/val"]
    assert "99 rows of y=no,z=b" in messages[0]
    assert "5.0 points" in messages[0]  # 50 / sqrt(99)
    assert run(Rows(val=(200, 100, 200, 200)))[1] == []


def test_an_empty_evaluation_group_is_a_small_one() -> None:
    _, messages = run(Rows(val=(200, 0, 200, 200)))
    assert names(messages) == ["small_evaluation_group/val"]
    assert "0 rows of y=no,z=b" in messages[0]


def test_a_batch_too_small_for_a_group() -> None:
    data = {"train": (570, 30, 300, 300), "batch_size": 128}  # 3.2 rows expected
    _, messages = run(Rows(**data), cls=SaysDRO)
    assert names(messages) == ["small_batch_groups"]
    assert "3.2 rows of y=no,z=b" in messages[0]
    assert "data.batch_size" in messages[0]
    assert names(run(Rows(**data))[1]) == ["small_batch_groups"]  # ERM hardly sees it, too
    # Not where batches are larger or balanced.
    assert run(Rows(**data | {"batch_size": 200}), cls=SaysDRO)[1] == []
    balanced = Rows(**data, balance="joint", marginals="uniform")
    assert run(balanced, cls=SaysDRO)[1] == []


def test_weights_do_not_fill_batches() -> None:
    data = Rows(train=(570, 30, 300, 300), balance="joint", marginals="uniform", via="weight")
    assert "small_batch_groups" in names(run(data, cls=SaysDRO)[1])


# ---- weights -----------------------------------------------------------------------------------
def test_a_batch_larger_than_the_table_is_the_table() -> None:
    data = Rows(train=(400, 400, 400, 2), batch_size=100_000)
    assert data.rows_per_batch == 1202
    with pytest.warns(SanityWarning, match="a batch of 1202 holds 2.0 rows"):
        SanityCheck().on_fit_start(SimpleNamespace(datamodule=data), ERM(2, 2, [EPOCHS + 2]))


def test_one_sample_holds_the_weight_of_a_batch() -> None:
    data = Rows(train=(1, 200, 200, 200), balance="joint", marginals="uniform", via="weight")
    _, messages = run(data)  # its weight is about 150 times the others'
    assert names(messages) == ["small_batch_groups", "one_sample_weight"]
    assert "via: sample" in messages[1]
    assert run(Rows(train=(100, 200, 200, 200), balance="joint", via="weight"))[1] == []


def test_saturated_group_weights() -> None:
    # Group y=yes,z=b is mislabelled for every other: its loss is the largest from the start.
    _, messages = run(Rows(train=(500, 500, 500, 100)), cls=SaysDRO, eta=500.0)
    assert names(messages) == ["saturated_group_weights"]
    assert "q of y=" in messages[0] and "eta" in messages[0]
    assert run(Rows(train=(500, 500, 500, 100)), cls=SaysDRO, eta=0.01)[1] == []
    capped = run(Rows(train=(500, 500, 500, 100)), cls=SaysDRO, eta=500.0, min_weight=0.1)
    assert capped[1] == []


# ---- over epochs -------------------------------------------------------------------------------
def test_worst_group_accuracy_falling_three_times_running() -> None:
    falling = (0.9, 0.88, 0.86, 0.84, 0.82, 0.80)
    _, messages = run(Rows(correct=falling), epochs=4)
    assert names(messages) == ["falling_worst_group"]
    assert "0.840" in messages[0]


@pytest.mark.parametrize(
    ("correct", "epochs"),
    [
        ((0.9, 0.88, 0.86, 0.84, 0.82, 0.80), 3),  # two falls only
        ((0.9, 0.88, 0.86, 0.87, 0.86, 0.85), 6),  # interrupted by a rise
        ((0.9, 0.88, 0.88, 0.86, 0.86, 0.84), 6),  # interrupted by a stand
        ((0.8, 0.82, 0.84, 0.86, 0.88, 0.90), 6),
    ],
)
def test_other_curves_are_silent(correct, epochs: int) -> None:
    assert run(Rows(correct=correct), epochs=epochs)[1] == []


def test_each_check_warns_once_a_run() -> None:
    check, messages = run(Rows(says=lambda y, _: np.ones_like(y)), epochs=4)
    assert names(messages) == ["constant_predictor/val"]
    assert list(check.raised) == ["constant_predictor/val"]
    assert messages == [f"[{name}] {text}" for name, text in check.raised.items()]


def test_the_thresholds_are_options() -> None:
    assert run(Rows(val=(200, 99, 200, 200)), SanityCheck(min_group=50))[1] == []
    assert names(run(Rows(), SanityCheck(min_group=201))[1]) == ["small_evaluation_group/val"]
    data = {"train": (570, 30, 300, 300)}
    assert run(Rows(**data), SanityCheck(min_expected=3), cls=SaysDRO)[1] == []
    falling = (0.9, 0.88, 0.86, 0.84, 0.82, 0.80)
    _, messages = run(Rows(correct=falling), SanityCheck(patience=2), epochs=3)
    assert names(messages) == ["falling_worst_group"]


# ---- state -------------------------------------------------------------------------------------
def test_state_survives_a_round_trip() -> None:
    check, _ = run(Rows(says=lambda y, _: np.ones_like(y)), epochs=2)
    state = check.state_dict()
    other = SanityCheck()
    other.load_state_dict(state)
    assert other.raised == check.raised
    assert other.state_dict() == state
    other.raised["x"] = "y"
    assert "x" not in check.raised and "x" not in state["raised"]


def test_a_continued_run_counts_on_and_does_not_repeat_itself(tmp_path: Path) -> None:
    falling = (0.9, 0.88, 0.86, 0.84, 0.82, 0.80)

    def rolling():
        return RollingCheckpoint(dirpath=str(tmp_path))

    small = (200, 99, 200, 200)
    first = run(Rows(correct=falling, val=small), epochs=3, callbacks=[rolling()])[1]
    assert names(first) == ["small_evaluation_group/val"]
    check, second = run(Rows(correct=falling, val=small), epochs=5, callbacks=[rolling()],
                        ckpt_path=tmp_path / "last.ckpt")  # fmt: skip
    assert names(second) == ["falling_worst_group"]
    assert "0.84" in second[0]  # the fourth epoch, not the third after the restart
    assert list(check.raised) == ["small_evaluation_group/val", "falling_worst_group"]


def test_a_run_without_datamodule_is_left_alone() -> None:
    data = Rows()
    data.setup("fit")
    model = ERM(2, 2, [EPOCHS + 2], network=MLP(hidden=[4]))
    with warnings.catch_warnings():
        warnings.simplefilter("error", SanityWarning)
        warnings.filterwarnings("ignore", message="You defined a `validation_step`")
        quieten()
        run = trainer(callbacks=[SanityCheck()])
        run.fit(model, train_dataloaders=data.train_dataloader())
