import pytest
import torch

from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.contracts.spec import to_spec
from frbench.networks import MLP, VGG, SmallCNN, Timm, ViT
from frbench.objectives import ERM


def paper_cnn():
    """The small network of arXiv 2406.17433."""
    return SmallCNN([6, 9, 12, 12, 9], kernels=[4, 3, 2, 2, 2], dense=2, dropout=0.1)


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (MLP(), (5,)),
        (MLP(hidden=[]), (3, 4, 4)),
        (MLP(hidden=[4], dropout=0.5), (2,)),
        (SmallCNN(), (1, 28, 28)),
        (SmallCNN(channels=[4], features=6, dropout=0.1), (3, 12, 8)),
        (Timm("resnet10t"), (3, 32, 32)),
        (Timm("resnet10t", image_size=[32, 48], mean=[0.5], std=[0.2, 0.3, 0.4]), (3, 12, 8)),
        (paper_cnn(), (3, 36, 28)),
        (paper_cnn(), (3, 12, 8)),  # half-padded even kernels: five halvings leave one pixel
        (VGG(), (1, 28, 28)),
        (VGG(dropout=0.1, batch_norm=False), (3, 12, 8)),
        (ViT(), (1, 28, 28)),
        (ViT(patch=2, features=12, depth=2, heads=3, dropout=0.1), (3, 12, 8)),
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
        (VGG(), (5,), "use --model.network MLP"),
        (ViT(), (5,), "use --model.network MLP"),
        (ViT(patch=5), (1, 28, 28), "must divide"),
        (Timm("resnet10t"), (5,), "use --model.network MLP"),
        (Timm("resnet10t", mean=[0.5, 0.5]), (3, 32, 32), "2 numbers for images of 3"),
        (Timm("resnet9000"), (3, 32, 32), "similar names"),
        (Timm("resnet10t", checkpoint="nowhere.pth"), (3, 32, 32), "no file"),
    ],
)
def test_what_cannot_be_built_is_said(network, shape, words):
    with pytest.raises(UserError, match=words):
        network.bind(Sizes(2, 2, shape))


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
    for _ in range(2):  # as built, which is how Lightning trains it, and after train()
        assert model.network.training
        assert not any(module.training for module in model.network.backbone.modules())
        model.train()
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


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MLP(hidden=[0]), "MLP.hidden: expected a list of integers of at least 1"),
        (lambda: SmallCNN(channels=[4, 0]), "SmallCNN.channels: .* of at least 1"),
        (lambda: SmallCNN(kernels=[3]), "one kernel for each"),
        (lambda: VGG(strides=[1]), "one stride for each"),
        (lambda: VGG([8], [0]), "VGG.strides: .* of at least 1"),
        (lambda: ViT(depth=0), "ViT.depth: expected an integer of at least 1"),
        (lambda: ViT(features=10, heads=4), "multiple of heads"),
        (lambda: Timm(image_size=[64]), "height, width"),
        (lambda: Timm(std=[0.0]), "Timm.std: expected a list of numbers above 0"),
    ],
)
def test_wrong_arguments_are_refused(make, words):
    with pytest.raises(UserError, match=words):
        make()


def test_attention_is_the_one_of_torch():
    """Against torch's own block with the same weights."""
    torch.manual_seed(0)
    network = ViT(patch=4, features=16, depth=1, heads=4)
    network.bind(Sizes(2, 2, (3, 12, 8)))
    embed, block, norm, _ = network.backbone
    theirs = torch.nn.TransformerEncoderLayer(
        16, 4, 64, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    pairs = {"norm": "norm1", "to_qkv": "self_attn.in_proj_", "out": "self_attn.out_proj",
             "mlp.0": "norm2", "mlp.1": "linear1", "mlp.3": "linear2"}  # fmt: skip
    state = {}
    for ours, name in pairs.items():
        for kind in ("weight", "bias"):
            key = f"{name}{kind}" if name.endswith("_") else f"{name}.{kind}"
            state[key] = block.state_dict()[f"{ours}.{kind}"]
    theirs.load_state_dict(state)
    x = torch.randn(5, 3, 12, 8)
    tokens = theirs(embed(x))
    assert torch.allclose(network(x)[0], norm(tokens).mean(1), atol=1e-6)


def test_every_token_sees_its_place():
    torch.manual_seed(0)
    network = ViT()
    network.bind(Sizes(2, 2, (1, 28, 28)))
    x = torch.randn(1, 1, 28, 28)
    moved = torch.cat([x[..., 4:], x[..., :4]], -1)  # the same patches elsewhere
    assert not torch.allclose(network(x)[0], network(moved)[0], atol=1e-4)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")  # torch's own use of it
@pytest.mark.parametrize("network", [ViT(patch=2, features=8, depth=1, heads=2), VGG([4], [2])])
def test_forward_mode_derivatives_exist(network):
    """IRW needs them; torch's fused attention has none on the CPU."""
    network.bind(Sizes(2, 2, (3, 4, 4)))
    network.eval()
    x, v = torch.randn(2, 2, 3, 4, 4).unbind()
    _, along = torch.func.jvp(lambda x: network(x)[1], (x,), (v,))
    difference = (network(x + 1e-3 * v)[1] - network(x - 1e-3 * v)[1]) / 2e-3
    assert torch.allclose(along, difference, atol=1e-2)


def test_timm_inputs_are_resized_and_normalised():
    torch.manual_seed(0)
    network = Timm("resnet10t", image_size=[32, 32], mean=[0.5], std=[0.25])
    network.bind(Sizes(2, 2, (3, 16, 16)))
    network.eval()
    x = torch.rand(2, 3, 16, 16)
    by_hand = torch.nn.functional.interpolate(4 * x - 2, (32, 32), mode="bilinear")
    assert torch.allclose(network(x)[0], network.backbone(by_hand))
    assert not any("input_" in key for key in network.state_dict())


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda state: state.pop("conv1.0.weight"), "it lacks conv1.0.weight"),
        (lambda state: state.update(extra=torch.zeros(1)), "it has extra"),
        (lambda state: state.update({"bn1.bias": torch.zeros(5)}), r"bn1.bias has shape \(5,\)"),
    ],
)
def test_weights_of_another_model_are_refused(tmp_path, edit, words):
    import timm

    state = timm.create_model("resnet10t").state_dict()
    edit(state)
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(UserError, match=words):
        Timm("resnet10t", checkpoint=str(tmp_path / "x.pth")).bind(Sizes(2, 2, (3, 32, 32)))


def test_a_file_that_holds_no_weights_is_refused(tmp_path):
    (tmp_path / "x.pth").write_text("no weights")
    with pytest.raises(UserError, match="no readable file of weights"):
        Timm("resnet10t", checkpoint=str(tmp_path / "x.pth")).bind(Sizes(2, 2, (3, 32, 32)))


@pytest.mark.parametrize("name", ["vgg11", "mobilenetv3_small_050", "lcnet_050"])
def test_timm_models_with_a_layer_before_the_classifier(name):
    network = Timm(name)
    network.bind(Sizes(3, 2, (3, 64, 64)))
    assert network.eval()(torch.zeros(1, 3, 64, 64))[1].shape == (1, 3)
