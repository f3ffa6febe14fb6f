"""Every objective and every data set of the package, found by itself, keeps the same promises."""

import inspect
import math
import tempfile
from functools import cache
from typing import Annotated, Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import torch
from promises import found
from pytorch_lightning import seed_everything
from trainers import trainer

from frbench import load
from frbench.contracts.errors import UserError
from frbench.contracts.ranges import Interval, is_restricted
from frbench.contracts.spec import from_spec, init_parameters, public_name, to_spec
from frbench.data import (
    ArrayData,
    CelebA,
    Digits,
    ImageScenario,
    ImageTable,
    MNISTEnvironments,
    TenColourMNIST,
    TwoGaussians,
)
from frbench.data.fingerprint import fingerprint
from frbench.data.images.celeba import read_attributes
from frbench.data.images.cifar10 import CIFAR10Images
from frbench.data.images.drawn_celeba import draw_celeba
from frbench.data.images.image_data import ImageData
from frbench.data.module import GroupDataModule
from frbench.data.step import InputTransform, TableStep
from frbench.data.tables.table_data import TableData
from frbench.data.texts.text_table import TextTable
from frbench.gan import Generator
from frbench.group_inference import GroupInference
from frbench.mixing import Mixing
from frbench.networks import MLP, Network, Wrapped
from frbench.objectives import ERM, Objective
from frbench.penalties import MarginalMMD, Penalty
from frbench.postprocessing import FRAPPE, Postprocessor
from frbench.support.files import find

OBJECTIVES, DATA, NETWORKS = found(Objective), found(GroupDataModule), found(Network)
PENALTIES = found(Penalty)
PARTS = [*NETWORKS, *PENALTIES, *found(GroupInference), *found(Mixing), *found(Postprocessor)]
STEPS = [*found(TableStep), *found(InputTransform)]
CHECKED = [*OBJECTIVES, *PARTS, *DATA, *STEPS, *found(Generator)]
#: Arguments without a default of classes that are built with them alone.
NEEDED = {
    Wrapped: {"module": MLP(), "num_features": 2},
    FRAPPE: {"penalties": [MarginalMMD()]},
}
FILES = {
    "ACSIncome": "acs/acs_income_2018_test.npz", "Adult": "adult/adult.data",
    "AmazonReviews": "amazon/reviews_Musical_Instruments_5.json",
    "AdultSmall": "adult/adult.data",
    "CIFAR10S": "cifar10/cifar10_jpeg.npz",
    "CorruptedCIFAR10": "cifar10/cifar10_jpeg.npz",
    "ColouredMNIST": "MNIST/raw/train-images-idx3-ubyte",
    "CompasLarge": "compas/compas-scores.csv",
    "CompasSmall": "compas/compas-scores-two-years.csv",
    "Bank": "bank/bank-additional-full.csv", "Compas": "compas/compas-scores-two-years.csv",
    "FairBatchSynthetic": "fairbatch/xz_train.npy",
    "German": "german/german.data", "LawSchool": "law_school/bar_pass_prediction.csv",
    "MNIST": "MNIST/raw/train-images-idx3-ubyte",
    "MNISTEnvironments": "MNIST/raw/train-images-idx3-ubyte",
    "QMNISTWriters": "QMNIST/raw/qmnist-train-labels-idx2-int",
    "TableData": "dutch/dutch.csv", "TenColourMNIST": "MNIST/raw/train-images-idx3-ubyte",
    "TextTable": "amazon/reviews_Musical_Instruments_5.json",
}  # fmt: skip


def build(cls, **kwargs):
    own = NEEDED.get(cls, {})
    if issubclass(cls, ImageData):
        own = {"root": str(drawn_faces()), "num_workers": 0, "image_size": 16}
        if cls is ImageTable:
            own |= {"split": None, "target": "Smiling", "attribute": "Male"}
    if cls is ArrayData:
        own = {"path": str(drawn_arrays())}
    if cls in (TableData,):
        own = {"path": FILES["TableData"], "target": "occupation", "attribute": "sex"}
    if cls is ImageScenario:
        own = {"images": Digits(n=200, n_eval=100), "n": 300, "n_eval": 100}
    if issubclass(cls, CIFAR10Images):
        own = {"max_rows": 500}
    if cls in (MNISTEnvironments, TenColourMNIST):
        own = {"n": 2000, "n_eval": 500}
    if cls is TextTable:
        own = {"path": FILES["TextTable"], "text": ["summary", "reviewText"],
               "target": "overall", "attribute": "reviewText", "positive": [4, 5],
               "attribute_words": ["not", "never", "no"]}  # fmt: skip
    return cls(**{**own, **kwargs})


@cache
def drawn_arrays():
    """A file of arrays."""
    rng, path = np.random.default_rng(0), f"{tempfile.mkdtemp()}/arrays.npz"
    np.savez(path, x=rng.normal(size=(300, 4)), y=rng.integers(0, 2, 300), z=np.arange(300) % 3)
    return path


@cache
def drawn_faces():
    """Drawn faces in CelebA's format, with a metadata.csv beside the images."""
    root = draw_celeba(tempfile.mkdtemp(), n=250)
    frame = read_attributes(root / "list_attr_celeba.txt")
    frame.index = "img_align_celeba/" + frame.index
    frame.rename_axis("file").to_csv(root / "metadata.csv")
    return root


@pytest.fixture(params=DATA, ids=lambda cls: cls.__name__)
def data_class(request):
    name = request.param.__name__
    if name in FILES and find(FILES[name]) is None:
        pytest.skip(f"{FILES[name]} is not here: set FRBENCH_DATA")
    return request.param


def test_every_class_is_public():  # so its stored name survives a move of its file
    from frbench.runs.catalogue import import_all

    known = import_all()
    named = (Objective, GroupDataModule, Network, Penalty, GroupInference, Mixing, Postprocessor)
    for base in named:
        for cls in found(base):
            assert known[cls.__name__] is cls  # and so its bare name resolves
    for base in (*named, TableStep, InputTransform, Generator):
        for cls in found(base):
            assert public_name(cls).count(".") == 2


@pytest.mark.parametrize("cls", [*OBJECTIVES, *PARTS], ids=lambda cls: cls.__name__)
def test_constructors_keep_their_arguments(cls):
    instance = (
        cls(2, 2, [2], network=MLP(hidden=[3]))
        if cls in OBJECTIVES
        else cls(**NEEDED.get(cls, {}))
    )
    assert all(hasattr(instance, name) for name in init_parameters(cls))
    twin = from_spec(to_spec(instance))
    assert type(twin) is cls and to_spec(twin) == to_spec(instance)


def hints(cls):
    """Annotations of the constructor's arguments, those of the bases included."""
    found = {}
    for base in reversed(cls.__mro__):
        found |= get_type_hints(vars(base).get("__init__", object), include_extras=True)
    return {name: found[name] for name in init_parameters(cls)}


def leaves(hint):
    """Parts of an annotation that have no parts: classes, numbers with their interval, choices."""
    if get_origin(hint) in (Annotated, Literal) or not get_args(hint):
        return [hint]
    return [leaf for part in get_args(hint) for leaf in leaves(part)]


def wrong_values(hint):
    """Values beside the first interval or choice of an annotation."""
    part = next((part for part in get_args(hint) if is_restricted(part)), None)
    if get_origin(hint) is Literal:
        return ["nonsense"]
    if get_origin(hint) is Annotated:
        (interval,) = (part for part in hint.__metadata__ if isinstance(part, Interval))
        ends = [end for end in (interval.low, interval.high) if math.isfinite(end)]
        beside = [end + step for end in ends for step in (-1, 0, 1) if end + step not in interval]
        assert beside
        return [*beside, math.nan, math.inf, -math.inf]
    if get_origin(hint) in (list, tuple):
        return [[value] for value in wrong_values(part)]
    return wrong_values(part)


@pytest.mark.parametrize("cls", CHECKED, ids=lambda cls: cls.__name__)
def test_arguments_out_of_range_are_refused_at_construction(cls):
    restricted = {name: hint for name, hint in hints(cls).items() if is_restricted(hint)}
    for name, hint in restricted.items():
        for value in wrong_values(hint):
            with pytest.raises(UserError, match=rf"^{cls.__name__}\.{name}: expected ") as error:
                build(cls, **{name: value})
            assert str(value) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.promise("input")
@pytest.mark.parametrize("cls", [*OBJECTIVES, *PENALTIES], ids=lambda cls: cls.__name__)
def test_a_wrong_option_is_named_in_one_line(cls):
    wrong = {"weight": -1.0} if cls in PENALTIES else {"optimizer": "Adamm"}
    first = next(
        (name for name, p in inspect.signature(cls.__init__).parameters.items()
         if "Literal" in str(p.annotation)), None)  # fmt: skip
    for name, value in {**wrong, **({first: "nonsense"} if first else {})}.items():
        with pytest.raises(UserError, match=name) as error:
            if cls in PENALTIES:
                cls(**{name: value})
            else:
                cls(2, 2, [2], network=MLP(hidden=[3]), **{name: value})
        assert "\n" not in str(error.value)


#: Numbers that may be any.
FREE = {
    "lr", "weight_decay", "mean", "warmup_scale", "warmup_steepness", "z_rates", "labels", "bins",
    "thresholds", "output_range", "positive", "marginals", "map",
    # Linked from the data.
    "num_classes", "num_attributes", "input_shape", "vocab_size",
}  # fmt: skip


@pytest.mark.parametrize("cls", CHECKED, ids=lambda cls: cls.__name__)
def test_every_number_has_a_range(cls):
    plain = [n for n, hint in hints(cls).items() if {int, float} & set(leaves(hint))]
    assert set(plain) <= FREE


class Apart(TwoGaussians):
    """Classes that a line separates, whatever the attribute: every method must learn them."""

    def tables(self):
        tables = super().tables().items()
        return {
            name: t.replace(x=(t.x + 8 * (t.y[:, None] - 0.5)).astype(np.float32))
            for name, t in tables
        }


def fit(cls, folder=None, penalties=None, max_epochs=2, data_class=TwoGaussians, **options):
    seed_everything(2, verbose=False)
    model = cls(2, 2, [2], network=MLP(hidden=[4]), lr=0.01, penalties=penalties)
    data = data_class(n=64, batch_size=16, clean_share=0.25 if model.uses_clean else 0.0)
    run = trainer(max_epochs=max_epochs, **options)
    run.fit(model, datamodule=data)
    if folder is not None:
        run.save_checkpoint(folder / "x.ckpt")
    return model, run


@cache
def plain_erm():
    return fit(ERM)[0]


@pytest.mark.promise("precision")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("cls", OBJECTIVES, ids=lambda cls: cls.__name__)
def test_objectives_train_to_finite_parameters(cls, precision):
    start = {k: v.clone() for k, v in cls(2, 2, [2], network=MLP(hidden=[4])).state_dict().items()}
    options = {"max_epochs": 10, "check_val_every_n_epoch": 10, "data_class": Apart}
    model, trainer = fit(cls, precision=precision, **options)
    assert start.keys() == model.state_dict().keys()
    assert all(torch.isfinite(v).all() for v in model.state_dict().values())
    assert trainer.callback_metrics["val/accuracy"] > 0.9  # the larger class has .56


@pytest.mark.parametrize("cls", OBJECTIVES, ids=lambda cls: cls.__name__)
def test_objectives_are_rebuilt_from_their_checkpoint(cls, tmp_path):
    model, _ = fit(cls, tmp_path, log_every_n_steps=0)  # that is: no step is logged
    twin = load(tmp_path / "x.ckpt")
    x = torch.randn(5, 2)
    assert torch.equal(twin(x), model.eval()(x))
    for key, value in model.state_dict().items():
        assert torch.equal(value, twin.state_dict()[key]), key


@pytest.mark.promise("properties")
@pytest.mark.parametrize("cls", OBJECTIVES, ids=lambda cls: cls.__name__)
def test_risks_are_finite_scalars_that_do_not_depend_on_the_order(cls):
    data = TwoGaussians(n=64, batch_size=64)
    (batch,) = list(data.train_dataloader())
    batch = batch._replace(z=batch.z * 0, group=batch.y * 2)  # two of the four groups are absent
    model = cls(2, 2, [2], network=MLP(hidden=[4]))
    if not all(hasattr(model, name) for name in model.row_state):
        model.allocate_rows(64)
    order = torch.randperm(64)
    risks = []
    for rows in (torch.arange(64), order):
        part = type(batch)(*(column[rows] for column in batch))
        loss = model.risk(model.outputs(part), part)
        model.discard_all()
        assert loss.ndim == 0 and torch.isfinite(loss)
        risks.append(loss.item())
    assert risks[0] == pytest.approx(risks[1], rel=1e-5)
    assert not any(b.requires_grad for b in model.buffers())


@pytest.mark.promise("precision")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("cls", PENALTIES, ids=lambda cls: cls.__name__)
def test_penalties_train_are_rebuilt_and_weigh_nothing_at_weight_zero(cls, precision, tmp_path):
    model, _ = fit(ERM, tmp_path, penalties=[cls(weight=0.5)], precision=precision)
    twin = load(tmp_path / "x.ckpt")
    for key, value in model.state_dict().items():
        assert torch.isfinite(value).all() and torch.equal(value, twin.state_dict()[key]), key
    assert all(torch.isfinite(value) for value in model.all_state_to_log().values())
    if precision == "32-true":
        off = fit(ERM, penalties=[cls(weight=0.0)])[0].network.state_dict()
        for key, value in plain_erm().network.state_dict().items():
            assert torch.equal(value, off[key]), key
            assert not torch.equal(value, model.network.state_dict()[key])


@pytest.mark.promise("properties")
@pytest.mark.parametrize("rows", ["all", "one z", "unknown z", "one row"])
@pytest.mark.parametrize("cls", PENALTIES, ids=lambda cls: cls.__name__)
def test_penalties_are_finite_scalars_that_do_not_depend_on_the_order(cls, rows):
    data = TwoGaussians(n=64, batch_size=64)
    (batch,) = list(data.train_dataloader())
    if rows != "all":
        batch = batch._replace(z=batch.z * 0, group=batch.y * 2)
    if rows == "unknown z":
        batch = batch._replace(z=batch.z - 1, group=batch.group * 0 - 1)
    if rows == "one row":
        batch = type(batch)(*(column[:1] for column in batch))
    model = ERM(2, 2, [2], network=MLP(hidden=[4]), penalties=[cls()])
    (penalty,) = model.penalties
    values, gradients = [], []
    for order in (torch.arange(len(batch.y)), torch.randperm(len(batch.y))):
        part = type(batch)(*(column[order] for column in batch))
        value = model.value_of(penalty, model.outputs(part), part)
        penalty.discard()
        assert value.ndim == 0 and torch.isfinite(value)
        gradients += torch.autograd.grad(value, model.network.parameters(), allow_unused=True)
        values.append(value.item())
    assert values[0] == pytest.approx(values[1], rel=1e-5, abs=1e-6)
    assert all(torch.isfinite(g).all() for g in gradients if g is not None)


@pytest.mark.promise("properties")
def test_tables_fit_their_sizes_and_names(data_class):
    data = build(data_class)
    assert len(data.class_names) == data.num_classes
    assert len(data.attribute_names) == data.num_attributes
    assert len(set(data.group_names)) == data.sizes.num_groups
    for table in data.splits.values():
        part = table.take(np.arange(min(50, len(table))))
        assert np.shape(data.encode(part.x))[1:] == tuple(data.input_shape)
    batch = next(iter(data.train_dataloader()))
    assert batch.x.dtype == (torch.int64 if data.vocab_size else torch.float32)
    assert torch.isfinite(batch.x).all()
    assert batch.x.shape == (128, *data.input_shape)
    assert all(len(column) == 128 for column in batch)
    known = batch.group[batch.z >= 0]
    assert torch.equal(known, (batch.y * data.num_attributes + batch.z)[batch.z >= 0])


@pytest.mark.promise("properties")
@pytest.mark.parametrize("cls", DATA, ids=lambda cls: cls.__name__)
def test_data_is_rebuilt_from_its_arguments(cls):
    data = build(cls)
    twin = from_spec(to_spec(data))
    assert type(twin) is cls and to_spec(twin) == to_spec(data)


@pytest.mark.promise("properties")
def test_equal_seeds_give_equal_data(data_class):
    if data_class.__name__ in ("ACSIncome", "QMNISTWriters"):
        pytest.skip("hashing its inputs twice takes seconds; the splits are tested elsewhere")
    prints = [fingerprint(build(data_class, seed=seed)) for seed in (0, 0, 1)]
    assert prints[0] == prints[1]
    # Where the files give all three splits, the seed has no part in them.
    assert (prints[1] == prints[2]) == (data_class is CelebA)
