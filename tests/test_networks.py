import pytest
import torch

from frbench.batch import Sizes
from frbench.errors import UserError
from frbench.networks import MLP, SmallCNN, Timm
from frbench.objectives import ERM
from frbench.spec import to_spec


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (MLP(), (5,)),
        (MLP(hidden=[]), (3, 4, 4)),
        (MLP(hidden=[4], dropout=0.5), (2,)),
        (SmallCNN(), (1, 28, 28)),
        (SmallCNN(channels=[4], features=6, dropout=0.1), (3, 12, 8)),
        (Timm("resnet10t"), (3, 32, 32)),
    ],
)
def test_shapes_and_gradients(network, shape):
    network.bind(Sizes(3, 2, shape))
    features, logits = network(torch.randn(4, *shape))
    assert logits.shape == (4, 3) and features.shape[0] == 4 and features.ndim == 2
    logits.sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_a_linear_model_has_the_inputs_as_features():
    network = MLP(hidden=[])
    network.bind(Sizes(2, 2, (3,)))
    x = torch.randn(5, 3)
    assert torch.equal(network(x)[0], x)
    assert sum(p.numel() for p in network.parameters()) == 8


@pytest.mark.parametrize(
    ("network", "shape", "words"),
    [
        (SmallCNN(), (5,), "use --model.network MLP"),
        (SmallCNN(channels=[4] * 5), (1, 8, 8), "fewer channels"),
        (Timm("resnet9000"), (3, 32, 32), "similar names"),
        (Timm("resnet10t", checkpoint="nowhere.pth"), (3, 32, 32), "no file"),
    ],
)
def test_what_cannot_be_built_is_said(network, shape, words):
    with pytest.raises(UserError, match=words):
        network.bind(Sizes(2, 2, shape))


def test_weights_of_another_model_are_refused(tmp_path):
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "x.pth")
    with pytest.raises(UserError, match="another model"):
        Timm("resnet10t", checkpoint=str(tmp_path / "x.pth")).bind(Sizes(2, 2, (3, 32, 32)))


def test_a_local_checkpoint_is_loaded_and_not_needed_again(tmp_path):
    import timm

    torch.manual_seed(0)
    torch.save(timm.create_model("resnet10t").state_dict(), tmp_path / "x.pth")
    network = Timm("resnet10t", checkpoint=str(tmp_path / "x.pth"))
    network.bind(Sizes(2, 2, (3, 32, 32)))
    stored = torch.load(tmp_path / "x.pth", weights_only=True)
    assert torch.equal(network.backbone.conv1[0].weight, stored["conv1.0.weight"])
    spec = to_spec(network)
    assert spec["init_args"]["checkpoint"] is None  # a reader of our checkpoints lacks the file


def test_a_frozen_backbone_keeps_weights_and_statistics():
    torch.manual_seed(0)
    model = ERM(2, 2, [3, 32, 32], network=Timm("resnet10t", freeze=True))
    before = {k: v.clone() for k, v in model.network.backbone.state_dict().items()}
    model.train()
    assert model.network.training and not model.network.backbone.training
    model(torch.randn(4, 3, 32, 32)).sum().backward()
    assert all(torch.equal(v, before[k]) for k, v in model.network.backbone.state_dict().items())
    (group,) = model.parameter_groups()
    assert len(group["params"]) == 2  # the head's weight and bias


def test_the_pretrained_mobilenet_recognises_nothing_by_chance(shared_data):
    weights = "weights/mobilenetv2_100_tfsame_from_tflite_ptq-a098fff1.pth"
    network = Timm(
        "mobilenetv2_100", checkpoint=str(shared_data / weights), options={"pad_type": "same"}
    )
    network.bind(Sizes(2, 2, (3, 64, 64)))
    fresh = Timm("mobilenetv2_100", options={"pad_type": "same"})
    fresh.bind(Sizes(2, 2, (3, 64, 64)))
    assert network(torch.zeros(1, 3, 64, 64))[0].shape == (1, 1280)
    stem = [n.backbone.conv_stem.weight.flatten() for n in (network, fresh)]
    assert stem[0].abs().max() > 0 and not torch.allclose(*stem)


@pytest.mark.parametrize("make", [lambda: MLP(hidden=[0]), lambda: SmallCNN(channels=[4, 0])])
def test_widths_are_positive(make):
    with pytest.raises(UserError, match="positive widths"):
        make()
