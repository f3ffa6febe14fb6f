"""Every objective and penalty, found by itself, goes on exactly where it was killed."""

from functools import partial

import numpy as np
import pytest
import torch
from promises import SLOW, found, others_slow
from resumable import FILTERS, check_resume, small_network, two_gaussians

from frbench.data import Digits, GanPairs
from frbench.group_inference import Clusters, Errors, GroupInference
from frbench.mixing import LISA, Mixing, Mixup
from frbench.objectives import ARL, BPF, ERM, IRW, IRWO, FRTrain, GroupDRO, Objective
from frbench.penalties import Adversary, Penalty

pytestmark = [pytest.mark.filterwarnings(line) for line in FILTERS]

STEPS = 3  # per epoch
#: Options with which a method has the most to remember.
RICH = {
    ARL: {"adversary_hidden": [4], "adversary_lr": 0.1, "pretrain_steps": 2},
    FRTrain: {
        "warmup": 2, "k": 2, "reweight_every": 2, "optimizer": "Adam", "clip_norm": 1.0,
        "fairness_optimizer": "RMSprop", "robust_optimizer": "AdamW", "fairness_hidden": [4],
    },
    GroupDRO: {"adjustment": 0.5, "normalize": True, "min_weight": 0.1},
    IRW: {"alpha": 0.2},
    IRWO: {"alpha": 0.2, "quantile": 0.8},
}  # fmt: skip
#: Further ways of a method that keep other state.
OTHERS = [
    (GroupDRO, {"mode": "greedy"}),
    (GroupDRO, {"mode": "single_group"}),
    (IRW, {"scheme": "global"}),
    (IRW, {"scheme": "global", "via": "sample"}),
    (BPF, {"max_change": None}),
    (FRTrain, {"warmup": 0, "k": 1, "fairness": "smooth_mi", "reweight": "mean_one"}),
]


def build(cls, **options):
    options = {
        "lr": 0.05, "scheduler": "StepLR", "scheduler_options": {"step_size": 1, "gamma": 0.5},
        **options,
    }  # fmt: skip
    return cls(2, 2, [2], network=small_network(), **options)


def check(tmp_path, model, clean=False, data=None, epochs=2, **options):
    data = data or partial(two_gaussians, STEPS, clean=clean)
    whole, places = check_resume(tmp_path, model, data, epochs=epochs, **options)
    assert whole["step"] == epochs * STEPS
    # Nothing would be proved by a network that stands still.
    start = model().network.state_dict()
    assert any(not torch.equal(v, whole["state"][f"network.{k}"]) for k, v in start.items())
    return whole, places


@pytest.mark.promise("resume")
@pytest.mark.parametrize("cls", others_slow(found(Objective)))
def test_every_objective_at_every_position(tmp_path, cls):
    model = partial(build, cls, **RICH.get(cls, {}))
    _, places = check(tmp_path, model, clean=model().uses_clean)
    assert len(places) == 2 * STEPS - 1 + 2 + 2 + 1


@pytest.mark.slow
@pytest.mark.promise("resume")
@pytest.mark.parametrize(("cls", "options"), OTHERS, ids=lambda value: str(value)[:60])
def test_other_ways_of_a_method(tmp_path, cls, options):
    model = partial(build, cls, scheduler_interval="step", **options)
    check(tmp_path, model, clean=model().uses_clean, at=[0, STEPS - 1, STEPS, STEPS + 2])


@pytest.mark.promise("resume")
@pytest.mark.parametrize("cls", others_slow(found(Penalty)))
def test_every_penalty_at_every_position(tmp_path, cls):
    # One with state of its own is met twice: its buffers must not be mixed up.
    model = partial(lambda: build(ERM, penalties=[cls(weight=0.5), cls(weight=2.0)]))
    check(tmp_path, model)


@pytest.mark.promise("resume")
@pytest.mark.parametrize("cls", others_slow(found(GroupInference)))
def test_every_inference_in_its_stages_and_between_them(tmp_path, cls):
    check(tmp_path, lambda: build(GroupDRO, infer=cls(), adjustment=0.5), epochs=3)


@pytest.mark.promise("resume")
@pytest.mark.parametrize("cls", others_slow(found(Mixing)))
def test_every_mixing_inside_an_epoch_and_between_two(tmp_path, cls):
    def model():
        return ERM(2, 2, [3, 12, 8], network=small_network(), mixing=cls(), lr=0.01)

    data = partial(Digits, n=STEPS * 32, n_eval=60, batch_size=32)
    check(tmp_path, model, data=data, at=[1, STEPS, STEPS + 3])


@pytest.mark.slow
@pytest.mark.promise("resume", ARL, BPF, Errors, Clusters, LISA, Mixup)
@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (ARL, lambda: {"infer": Clusters(2, clusters=2), "mixing": Mixup(at="features")}),
        (BPF, lambda: {"infer": Errors(via="weight"), "mixing": LISA()}),
    ],
)
def test_axes_together(tmp_path, cls, options):
    check(tmp_path, lambda: build(cls, **options()), epochs=4)


@pytest.mark.slow
@pytest.mark.promise("resume")
@pytest.mark.parametrize("cls", [Adversary], ids=lambda cls: cls.__name__)
def test_a_penalty_beside_group_weights_under_a_limit_of_steps(tmp_path, cls):
    model = lambda: build(GroupDRO, penalties=[cls(lr=0.1, hidden=[4])], **RICH[GroupDRO])  # noqa: E731
    check(tmp_path, model, max_steps=2 * STEPS, at=[1, STEPS - 1, STEPS, STEPS + 1, -1])


def optimizers():
    """Those of torch that a method may name, alone and as discriminators'."""
    refused = {"Optimizer", "LBFGS", "SparseAdam", "Muon"}  # sparse gradients or matrices only
    names = [name for name, cls in vars(torch.optim).items() if isinstance(cls, type)]
    return sorted(set(names) - refused)


@pytest.mark.promise("resume", FRTrain)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "AdamW" else SLOW) for name in optimizers()]
)
def test_every_optimizer_of_three_at_once(tmp_path, name):
    names = {f"{who}optimizer": name for who in ("", "fairness_", "robust_")}
    model = partial(build, FRTrain, **RICH[FRTrain] | names, lr=0.01)
    check(tmp_path, model, clean=True, at=[STEPS])


@pytest.mark.slow
@pytest.mark.promise("resume", FRTrain, ERM)
@pytest.mark.filterwarnings("ignore:A `OneCycleLR` scheduler")
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("CosineAnnealingLR", {"T_max": 5}),
        ("OneCycleLR", {"max_lr": 0.1, "total_steps": 50}),
        ("CosineAnnealingWarmRestarts", {"T_0": 2}),
        ("LinearLR", {"total_iters": 4}),
    ],
)
@pytest.mark.parametrize("interval", ["epoch", "step"])
def test_schedules(tmp_path, name, options, interval):
    plan = {"scheduler": name, "scheduler_options": options, "scheduler_interval": interval}
    for i, cls in enumerate((ERM, FRTrain)):
        model = partial(build, cls, **RICH.get(cls, {}) | plan | {"optimizer": "SGD"})
        at = [STEPS - 1, STEPS + 2]  # after an epoch's last batch, and inside the next
        check(tmp_path / str(i), model, clean=model().uses_clean, at=at)


@pytest.fixture
def pair_table(tmp_path):
    """A ready table of pairs in the size of the digits."""
    folder = tmp_path / "pairs"
    folder.mkdir()
    rng = np.random.default_rng(3)
    for name in ("images", "partners"):
        np.save(folder / f"{name}.npy", rng.integers(0, 256, (40, 3, 12, 8), np.uint8))
    np.savez(folder / "pairs.npz", y=rng.integers(0, 2, 40), z=rng.integers(0, 2, 40))
    return folder


@pytest.mark.slow
@pytest.mark.promise("resume", GanPairs)
def test_generated_pairs_among_the_rows(tmp_path, pair_table):
    def data():
        return Digits(n=120, n_eval=60, batch_size=64, augment=[GanPairs(str(pair_table))])

    def model():
        return GroupDRO(2, 2, [3, 12, 8], network=small_network(), real_only=True, lr=0.01)

    check(tmp_path, model, data=data)


@pytest.mark.promise("resume")
@pytest.mark.slow
@pytest.mark.parametrize("cls", [FRTrain, BPF, GroupDRO], ids=lambda cls: cls.__name__)
def test_with_two_workers(tmp_path, cls):
    model = partial(build, cls, **RICH.get(cls, {}))
    data = partial(two_gaussians, STEPS, clean=model().uses_clean, num_workers=2)
    check(tmp_path, model, data=data, at=[STEPS - 1, STEPS + 2])
