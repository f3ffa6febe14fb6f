"""Networks for token ids."""

import sys
from types import SimpleNamespace

import pytest
import torch

from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.contracts.spec import from_spec, to_spec
from frbench.networks import MLP, BagOfWords, PretrainedText, TransformerEncoder
from frbench.objectives import ERM
from frbench.training.checks import check_data

SIZES = Sizes(3, 2, (6,), vocab_size=12)
X = torch.tensor([[3, 4, 5, 0, 0, 0], [6, 7, 8, 9, 10, 11], [1, 0, 0, 0, 0, 0]])
NETWORKS = [BagOfWords(8, [4]), BagOfWords(8, [], 0.5), TransformerEncoder(8, 2, 2)]


def built(network, sizes=SIZES):
    torch.manual_seed(0)
    twin = from_spec(to_spec(network))
    twin.bind(sizes)
    return twin.eval()


@pytest.mark.parametrize("network", NETWORKS)
def test_shapes_gradients_and_padding(network):
    net = built(network)
    features, logits = net(X)
    assert features.shape[0] == 3 and logits.shape == (3, 3) and torch.isfinite(logits).all()
    logits.sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    longer = torch.cat([X, torch.zeros(3, 1, dtype=torch.long)], 1)[:, :6]
    shorter = net(X[:1, :3])[1]
    assert torch.allclose(shorter, logits[:1], atol=1e-6)
    assert torch.allclose(net(longer)[1], logits, atol=1e-6)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("row", [0, 1])
def test_what_the_order_of_words_says(network, row):
    net = built(network)
    turned = X[row : row + 1].clone()
    turned[0, :3] = turned[0, [2, 1, 0]]
    same = torch.allclose(net(turned)[1], net(X[row : row + 1])[1], atol=1e-6)
    assert same == isinstance(network, BagOfWords)


def test_bag_is_the_mean_of_vectors():
    net = built(BagOfWords(5, []))
    vectors = net.backbone[0].embedding.weight
    assert torch.allclose(net(X)[0][0], (vectors[3] + vectors[4] + vectors[5]) / 3)


def test_attention_is_that_of_torch():
    block = built(TransformerEncoder(8, 1, 2, 0.0)).backbone.blocks[0]
    tokens, mask = torch.randn(3, 6, 8), X != 0
    normed = block.before_attention(tokens)
    weight, bias = block.query_key_value.weight, block.query_key_value.bias
    expected, _ = torch.nn.functional.multi_head_attention_forward(
        *[normed.transpose(0, 1)] * 3, 8, 2, weight, bias, None, None, False, 0.0,
        block.mix.weight, block.mix.bias, training=False, key_padding_mask=~mask,
    )  # fmt: skip
    after = tokens + expected.transpose(0, 1)
    assert torch.allclose(block(tokens, mask), after + block.dense(after), atol=1e-5)


# torch 2.15 compiles a part of forward mode with its own deprecated jit.
@pytest.mark.filterwarnings("ignore:.*jit.script.*:FutureWarning")
def test_forward_mode_derivatives_exist():
    net = built(TransformerEncoder(8, 1, 2, 0.0))
    parameters = dict(net.named_parameters())
    directions = {name: torch.randn_like(p) for name, p in parameters.items()}

    def logits(values):
        return torch.func.functional_call(net, values, (X,))[1]

    _, slope = torch.func.jvp(logits, (parameters,), (directions,))
    step = 1e-3
    ends = [
        logits({k: p + sign * step * directions[k] for k, p in parameters.items()})
        for sign in (1, -1)
    ]
    assert torch.allclose(slope, (ends[0] - ends[1]) / (2 * step), atol=0.05, rtol=0.05)


def test_text_and_numbers_do_not_mix():
    with pytest.raises(UserError, match=r"The data has text, which MLP .* BagOfWords"):
        ERM(2, 2, [6], vocab_size=12, network=MLP())
    with pytest.raises(UserError, match=r"The data has no text, which BagOfWords .* MLP"):
        ERM(2, 2, [6], network=BagOfWords())
    assert isinstance(ERM(2, 2, [6], vocab_size=12).network, BagOfWords)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: BagOfWords(0), "BagOfWords.width: expected an integer of at least 1"),
        (
            lambda: BagOfWords(4, [0]),
            "BagOfWords.hidden: expected a list of integers of at least 1",
        ),
        (lambda: TransformerEncoder(10), "TransformerEncoder.width must be a multiple of heads"),
    ],
)
def test_widths_are_checked(make, words):
    with pytest.raises(UserError, match=words):
        make()


# ---- pretrained ---------------------------------------------------------------------------------
@pytest.fixture
def bert(tmp_path):
    """A tiny BERT with a tokenizer of its own, written to a folder as published ones are."""
    transformers = pytest.importorskip("transformers")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "amp"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=12,
    )  # fmt: skip
    torch.manual_seed(3)
    transformers.BertModel(config).save_pretrained(tmp_path)
    return tmp_path


TOKENS = torch.tensor([[2, 5, 7, 3, 0, 0], [2, 6, 7, 7, 7, 3]])
EIGHT = Sizes(2, 2, (6,), vocab_size=8)


def test_weights_come_from_the_folder_and_then_from_the_checkpoint(bert):
    import transformers

    net = PretrainedText(str(bert))
    net.bind(EIGHT)
    assert all(module.training for module in net.modules())  # else its dropout would do nothing
    net.eval()
    reference = transformers.AutoModel.from_pretrained(bert).eval()
    expected = reference(TOKENS, attention_mask=TOKENS.ne(0).long()).last_hidden_state[:, 0]
    assert torch.allclose(net(TOKENS)[0], expected, atol=1e-6)
    spec = to_spec(net)
    assert spec["init_args"]["path"] is None
    for file in bert.iterdir():
        file.unlink()
    twin = from_spec(spec)
    twin.bind(EIGHT)
    twin.load_state_dict(net.state_dict())
    assert torch.equal(twin.eval()(TOKENS)[1], net(TOKENS)[1])


def test_pooling_and_freezing(bert):
    net = PretrainedText(str(bert), freeze=True, pooling="mean")
    net.bind(EIGHT)
    for _ in range(2):
        assert not any(module.training for module in net.backbone.model.modules())
        net.train()
    features, logits = net(TOKENS)
    logits.sum().backward()
    assert all(p.grad is None for p in net.backbone.parameters()) and not features.requires_grad
    longer = torch.cat([TOKENS[:1], torch.zeros(1, 4, dtype=torch.long)], 1)
    assert torch.allclose(net(longer)[0], features[:1], atol=1e-6)


def test_the_tokenizer_of_the_folder(bert, tmp_path):
    from frbench.data import TextTable

    path = tmp_path / "t.csv"
    path.write_text("\n".join(["a,b,y,z", *["good amp,bad,1,f", "bad,amp amp,0,m"] * 20]))
    data = TextTable(str(path), ["a", "b"], "y", "z", tokenizer=str(bert), max_length=6)
    assert data.vocab_size == 8 and data.state_dict() == {}
    rows = {tuple(row) for row in data.encode(data.splits["train"].x).tolist()}
    assert rows == {(2, 5, 7, 3, 6, 3), (2, 6, 3, 7, 7, 3)}


def test_errors_of_pretrained_encoders(bert, tmp_path, monkeypatch):
    for network, words in (
        (PretrainedText(), "give the local folder"),
        (PretrainedText(str(tmp_path / "x")), "holds no config.json"),
    ):
        with pytest.raises(UserError, match=words):
            network.bind(EIGHT)
    with pytest.raises(UserError, match="knows 8 token ids, the data has 5000"):
        PretrainedText(str(bert)).bind(EIGHT._replace(vocab_size=5000))
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"pip install 'frbench\[text\]'"):
        PretrainedText(str(bert)).bind(EIGHT)


def test_a_tokenizer_must_pad_as_the_network_takes_it():
    data = SimpleNamespace(padding=1, clean_per_batch=0)
    with pytest.raises(UserError, match=r"with id 1, and BagOfWords takes 0 .* PretrainedText"):
        check_data(ERM(2, 2, [5], vocab_size=9, network=BagOfWords()).needs, data)
    check_data(ERM(2, 2, [5], network=MLP()).needs, data)  # not for those that take none
