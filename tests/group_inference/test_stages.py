"""The contract of group inference: two stages in one run, the second of which sees z'."""

import csv

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback, seed_everything
from resumable import FILTERS, fit, small_network
from trainers import trainer

from frbench.callbacks import BestCheckpoint, CSVLogger
from frbench.contracts.errors import UserError
from frbench.data import TwoGaussians
from frbench.group_inference import EIIL, Classes, Clusters, Errors, GroupInference
from frbench.networks import MLP
from frbench.objectives import BPF, ERM, IRW, FRTrain, GroupDRO
from frbench.penalties import Adversary, Penalty
from frbench.training.inference_report import cross_table

pytestmark = [pytest.mark.filterwarnings(line) for line in FILTERS]

STEPS = 4  # per epoch


class Parity(GroupInference):
    """z' is the parity of the row, which nothing else knows; odd rows count twice."""

    def __init__(self, epochs: int = 1, start: str | None = None, anew: bool = True):
        super().__init__(epochs, start)
        self.anew = self.begin_anew = anew

    def infer(self, rows, rng):
        self.rows = rows
        return np.arange(len(rows.y)) % 2

    def weights(self, z, rows):
        return 1.0 + z


class Watch(Penalty):
    """Keeps what it sees."""

    def __init__(self, weight: float = 0.0):
        super().__init__(weight)
        self.batches = []

    def forward(self, out, batch):
        self.batches.append(batch)
        return out.logits.mean()


def data(n=STEPS * 16, **options):
    return TwoGaussians(n=n, batch_size=16, balance="conditional", via="weight", **options)


def train(model, epochs=3, callbacks=(), given=None, **options):
    seed_everything(3, verbose=False)
    run = trainer(max_epochs=epochs, callbacks=list(callbacks), **options)
    run.fit(model, datamodule=data() if given is None else given)
    return model


def make(cls=ERM, **options):
    seed_everything(1, verbose=False)
    return cls(2, 2, [2], network=small_network(), lr=0.05, **options)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize(
    "infer",
    [Errors(2, upweight=1.0), Classes(), Clusters(2, clusters=1, power=None)],
    ids=lambda part: type(part).__name__,
)
def test_where_the_inferred_attribute_has_no_part_the_second_stage_is_erm(infer):
    """Bit for bit, with dropout and a schedule: epochs and steps count from zero."""
    plan = {"scheduler": "StepLR", "scheduler_options": {"step_size": 1, "gamma": 0.5}}
    length = infer.length(1)
    two = train(make(infer=infer, **plan), 3 + length)
    assert same(two, train(make(**plan), 3))


def test_training_sees_the_inferred_attribute_and_people_the_known_one():
    watch, infer = Watch(), Parity()
    model = train(make(penalties=[watch], infer=infer), 2)
    assert len(watch.batches) == STEPS  # penalties have no part in the first stage
    table = model.trainer.datamodule.training.table
    seen = torch.cat([batch.index for batch in watch.batches])
    for batch in watch.batches:
        assert torch.equal(batch.z, batch.index % 2)
        assert torch.equal(batch.group, 2 * batch.y + batch.z)
        # Weights of the balance times those of the inference, whose mean is one.
        own = torch.as_tensor(model.trainer.datamodule.training.weight)[batch.index]
        assert torch.allclose(batch.weight.double(), own * (1 + batch.z) / 1.5, rtol=1e-6)
    known = torch.as_tensor(table.group(2) if callable(table) else 2 * table.y + table.z)[seen]
    counts = model.training_log.sums[:-1, 0].long()
    assert torch.equal(counts, known.bincount(minlength=4))


def test_the_inference_sees_the_table_in_evaluation_mode_and_no_attribute():
    infer = Parity(anew=False)
    model = make(infer=infer)
    network = {}

    class Keep(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            if not network:
                network.update({k: v.clone() for k, v in pl_module.network.state_dict().items()})

    train(model, 2, [Keep()])
    table = model.trainer.datamodule.training.table
    model.network.load_state_dict(network)
    with torch.no_grad():
        features, logits = model.eval().network(torch.as_tensor(table.x).float())
    assert np.allclose(infer.rows.logits, logits, atol=1e-6)
    assert np.allclose(infer.rows.features, features, atol=1e-6)
    loss = torch.nn.functional.cross_entropy(logits, torch.as_tensor(table.y), reduction="none")
    assert np.allclose(infer.rows.losses, loss, atol=1e-6)
    assert (infer.rows.y == table.y).all() and (infer.rows.z == -1).all()


def test_the_second_stage_begins_with_the_initial_weights_or_goes_on():
    firsts = []

    class First(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if not pl_module.identifying and not firsts:
                firsts.append([p.clone() for p in pl_module.parameters()])

    for anew in (True, False):
        firsts.clear()
        model = make(infer=Parity(anew=anew), penalties=[Adversary(lr=0.1)], weight_decay=0.1)
        start = [p.clone() for p in model.parameters()]
        train(model, 2, [First()])
        equal = [torch.equal(a, b) for a, b in zip(start, firsts[0], strict=True)]
        assert all(equal) if anew else not any(equal[:4])


def test_group_dro_weighs_the_inferred_groups():
    model = train(make(GroupDRO, infer=EIIL(), adjustment=1.0), 2)
    assert int(model.train_counts.sum()) == STEPS * 16
    assert model.seen_names[1] == f"y={model.trainer.datamodule.class_names[0]},inferred=1"
    assert set(model.state_to_log()) >= {f"q/{name}" for name in model.seen_names}
    one = train(make(GroupDRO, infer=Classes()), 2)
    assert one.log_q.shape == (2,) and one.training_log.sums.shape == (5, 3)


def test_weights_multiply_those_of_the_objective():
    model = train(make(BPF, infer=Parity(), eta=0.0, alpha=0.5), 2)
    weights = model.trainer.train_dataloader.state_dict()["epoch_weights"].numpy()
    assert np.allclose(weights, (1 + np.arange(STEPS * 16) % 2) / 1.5)


def test_a_finished_run_stands_for_the_first_stage(tmp_path):
    infer = Parity(2)
    first = train(make(infer=infer), 3)
    alone = train(make(), 2, given=data())
    alone.trainer.save_checkpoint(tmp_path / "first.ckpt")
    again = Parity(2, start=str(tmp_path / "first.ckpt"))
    second = train(make(infer=again), 1)
    assert np.allclose(again.rows.logits, infer.rows.logits, atol=1e-6)
    assert same(first, second)
    (tmp_path / "other.ckpt").write_bytes(b"nothing")
    for path in ("other.ckpt", "missing.ckpt"):
        with pytest.raises(UserError, match=r"Parity\.start: .* no network like this"):
            train(make(infer=Parity(start=str(tmp_path / path))), 2)
    with pytest.raises(UserError, match=r"Errors\.epochs"):
        Errors(0)


def test_no_checkpoint_is_chosen_in_the_first_stage(tmp_path):
    run, _ = fit(
        tmp_path, lambda: make(infer=Errors(2)), data, epochs=4, patience=1, every=0
    )  # fmt: skip
    best = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["epoch"] >= 2 and run.current_epoch >= 3
    stages = best["frbench"]["stages"]
    assert stages["start"] is None and len(stages["inferred"]) == STEPS * 16
    assert not any(len(v.shape) and len(v) == STEPS * 16 for v in best["state_dict"].values())
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    (told,) = (row for row in rows if row["inferred/rows/0"])
    sizes = [float(told[f"inferred/rows/{i}"]) for i in range(2)]
    assert sizes == [int((stages["inferred"] == i).sum()) for i in range(2)]
    assert -1 <= float(told["inferred/adjusted_rand/1"]) <= 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epochs": 2}, r"Errors\.epochs: the first stage takes 2 epochs, and trainer.max_epochs"),
        ({"epochs": -1, "max_steps": 8}, r"takes 8 steps, and trainer.max_steps: 8"),
    ],
)
def test_a_run_that_would_not_reach_its_second_stage_is_refused(options, words):
    with pytest.raises(UserError, match=words) as error:
        train(make(infer=Errors(2)), **options)
    assert "\n" not in str(error.value)


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
def test_what_does_not_combine_is_refused_by_name():
    class Clean(ERM):
        uses_clean = True

    for cls in (FRTrain, Clean):
        with pytest.raises(UserError, match=rf"model.infer: {cls.__name__} .*Classes"):
            make(cls, infer=Classes())
    make(IRW, infer=Classes())
    model = make(infer=Errors())
    with pytest.raises(UserError, match="fit a datamodule"):
        trainer().fit(model, train_dataloaders=data().train_dataloader())


class Wrong(Errors):
    def __init__(self, what):
        super().__init__()
        self.what = what

    def infer(self, rows, rng):
        return {"range": rows.y * 0 + 2, "kind": rows.y * 1.0, "length": rows.y[1:]}[self.what]


@pytest.mark.parametrize("what", ["range", "kind", "length"])
def test_a_wrong_answer_of_a_users_class_is_named(what):
    with pytest.raises(ValueError, match=r"Wrong\.infer must give 64 integers from -1 to 1"):
        train(make(infer=Wrong(what)), 2)


def test_the_attribute_of_the_data_changes_nothing():
    """Only the groups that people see; neither weights nor z'."""

    class Renamed(TwoGaussians):
        def tables(self):
            tables = super().tables()
            rng = np.random.default_rng(0)
            return {k: t.replace(z=rng.permutation(t.z)) for k, t in tables.items()}

    found = []
    for cls in (TwoGaussians, Renamed):
        model = make(GroupDRO, infer=Errors(1, 3.0))
        train(model, 3, given=cls(n=64, batch_size=16))
        found.append(model)
    assert same(*found) and torch.equal(found[0]._inferred, found[1]._inferred)


def test_a_model_is_evaluated_by_the_known_groups(tmp_path):
    model = make(infer=Classes())
    callbacks = [BestCheckpoint(dirpath=str(tmp_path))]
    train(model, 1, callbacks, enable_checkpointing=True, logger=CSVLogger(str(tmp_path)))
    model.trainer.test(model, datamodule=data(), verbose=False)
    assert model.last_counts["test"].shape == (2, 3, 2)


def test_a_twin_is_a_network_of_its_own():
    network = MLP(hidden=[3], dropout=0.5)
    ERM(2, 2, [2], network=network)
    twin = network.twin()
    assert twin.hidden == [3] and twin.num_features == network.num_features
    assert not torch.equal(twin.head.weight, network.head.weight)


def test_inferred_against_known_attributes_are_printed_and_recorded(capsys):
    given = data()
    model = train(make(infer=Parity()), given=given)
    table = given.training.table
    found = model.inferred_groups()
    for y in range(2):
        for value in range(2):
            for z in range(2):
                rows = (table.y == y) & (np.arange(len(table)) % 2 == value) & (table.z == z)
                assert found["counts"][y][value][z] == rows.sum()
            assert found["counts"][y][value][2] == 0
    text = capsys.readouterr().out
    assert "training rows by inferred and known attribute" in text and "unknown" not in text
    shown = next(line for line in text.splitlines() if "y=1" in line and "inferred=0" in line)
    assert [int(word) for word in shown.split()[2:]] == found["counts"][1][0][:2]


def test_rows_of_unknown_attribute_are_counted_apart_and_those_left_out_are_not_counted():
    rng = np.random.default_rng(0)
    y, known, inferred = (
        rng.integers(0, 3, 500),
        rng.integers(-1, 4, 500),
        rng.integers(-1, 2, 500),
    )
    counts = cross_table(inferred, y, known, (3, 2, 4))
    assert counts.sum() == (inferred >= 0).sum()
    for cell in np.ndindex(3, 2, 5):
        z = cell[2] if cell[2] < 4 else -1
        own = (y == cell[0]) & (inferred == cell[1]) & (known == z)
        assert counts[cell] == own.sum()


@pytest.mark.parametrize(
    ("share", "limits", "epochs"),
    [
        (0.5, {"max_epochs": 6}, 3),
        (0.25, {"max_epochs": -1, "max_steps": 8 * STEPS}, 2),
        (0.5, {"max_epochs": 100, "max_steps": 4 * STEPS - 1}, 2),
        (0.1, {"max_epochs": 3}, 1),  # never less than one epoch
        (0.5, {"max_epochs": -1, "max_steps": 6, "limit_train_batches": 2}, 2),
        (0.5, {"max_epochs": -1, "max_steps": 8, "accumulate_grad_batches": 2}, 2),
    ],
)
def test_a_first_stage_may_be_a_share_of_the_run(share, limits, epochs):
    """Of its steps where they end it; the run equals one with that number of epochs."""
    limits = {"max_epochs": 1} | limits
    found = []
    for length in (share, epochs):
        seed_everything(3, verbose=False)
        model = make(infer=Errors(length, upweight=5.0))
        run = trainer(**limits)
        run.fit(model, datamodule=data())
        assert not model.identifying
        found.append(model)
    assert same(*found)


def test_a_share_of_a_run_without_an_end_is_refused():
    seed_everything(3, verbose=False)
    run = trainer(max_epochs=-1)
    with pytest.raises(UserError, match="share of a run that has no end; set trainer"):
        run.fit(make(infer=Errors(0.5)), datamodule=data())
    with pytest.raises(UserError, match=r"Errors.epochs: expected .* got 1\.5"):
        Errors(1.5)
