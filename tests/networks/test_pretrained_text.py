"""Pretrained encoders and decoders with their tokenizers, through the command line."""

import pytest
import torch
from command import QUICK, run

from frbench.__main__ import main
from frbench.contracts.batch import Sizes
from frbench.networks import PretrainedText
from frbench.runs.checkpoint import load

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

pytestmark = pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning")

WORDS = ["[UNK]", "<end>", "[PAD]", "good", "bad", "amp", "very"]
SHAPE = {"vocab_size": 7, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
         "intermediate_size": 16}  # fmt: skip


def tokenizer(folder, words=WORDS, **special):
    ids = {word: i for i, word in enumerate(words)}
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token="[UNK]"))
    model.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=model, unk_token="[UNK]", **special
    ).save_pretrained(folder)


def model(folder, kind="GPT2", **options):
    torch.manual_seed(0)
    small = {
        "GPT2": {"vocab_size": 7, "n_positions": 12, "n_embd": 8, "n_layer": 1, "n_head": 2,
                 "bos_token_id": 1, "eos_token_id": 1},
        "Bert": {**SHAPE, "max_position_embeddings": 12, "pad_token_id": 2},
        "Roberta": {**SHAPE, "max_position_embeddings": 12, "pad_token_id": 2},
        "T5": {"vocab_size": 7, "d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1,
               "num_heads": 2, "pad_token_id": 2, "decoder_start_token_id": 2},
    }[kind]  # fmt: skip
    config = getattr(transformers, f"{kind}Config")(**small | options)
    getattr(transformers, f"{kind}Model")(config).save_pretrained(folder)


@pytest.fixture
def words(tmp_path):
    """Options of fit for a table of texts, one of them long, and the folder of a model."""
    folder = tmp_path / "model"
    folder.mkdir()
    rows = ["good amp,1,f", "bad,0,m", "good,1,m", "very bad amp,0,f", ",1,f"] * 20
    rows += [f"{'very ' * 20}bad,0,m"] * 40
    (tmp_path / "t.csv").write_text("\n".join(["a,y,z", *rows]))
    return folder, (
        "fit", "--data=TextTable", f"--data.path={tmp_path / 't.csv'}", "--data.text=a",
        "--data.target=y", "--data.attribute=z", f"--data.tokenizer={folder}",
        "--data.max_length=12", "--model.network=PretrainedText",
        f"--model.network.path={folder}", f"--run_dir={tmp_path / 'run'}", *QUICK,
    )  # fmt: skip


def refused(capsys, *words):
    assert main(list(words)) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("frbench: error: ")
    return said


def test_a_decoder_trains_pools_its_last_token_and_says_what_is_cut(words, capsys, tmp_path):
    folder, command = words
    tokenizer(folder, eos_token="<end>")
    model(folder)
    run(*command)
    assert "of the first 84 training texts have more than 12 tokens" in capsys.readouterr().out
    (checkpoint,) = tmp_path.glob("run/**/last.ckpt")
    network = load(checkpoint).network
    assert (network.pooling, network.padding, network.backbone.padding) == ("last", 1, 1)
    texts = torch.tensor([[3, 5, 1, 1], [3, 5, 6, 1], [1, 1, 1, 1]])
    features = network.eval()(texts)[0]
    assert torch.isfinite(features).all()
    for row, length in enumerate((2, 3, 1)):  # padding is not seen
        alone = network.backbone.model(texts[row : row + 1, :length]).last_hidden_state[0, -1]
        assert torch.allclose(features[row], alone, atol=1e-6)


def test_a_tokenizer_that_cannot_pad_is_refused(words, capsys):
    folder, command = words
    tokenizer(folder)
    model(folder)
    said = refused(capsys, *command)
    assert "neither a padding token nor an end-of-text token" in said and '"pad_token"' in said


def test_tokenizer_and_encoder_that_pad_otherwise_are_refused_and_may_be_told(words, capsys):
    folder, command = words
    tokenizer(folder, pad_token="[PAD]")
    model(folder)
    said = refused(capsys, *command)
    assert "pads with id 2, and PretrainedText takes 1" in said
    run(*command, *said.split("with ")[-1].rstrip(".").split())


def test_a_tokenizer_with_more_ids_than_the_encoder_is_refused(words, capsys):
    folder, command = words
    tokenizer(folder, [*WORDS, "more"], eos_token="<end>")
    model(folder)
    assert "knows 7 token ids, the data has 8" in refused(capsys, *command)


def test_words_of_the_training_rows_are_no_tokens_of_an_encoder(words, capsys):
    folder, command = words
    model(folder, "Bert", pad_token_id=0)
    said = refused(capsys, *command, "--data.tokenizer=null", "--data.max_words=7")
    assert "set data.tokenizer to the folder of the encoder" in said


@pytest.mark.parametrize(("kind", "limit"), [("GPT2", 12), ("Bert", 12), ("Roberta", 9)])
def test_more_tokens_than_positions_are_refused(words, capsys, kind, limit):
    folder, command = words
    tokenizer(
        folder, **{"eos_token": "<end>", "pad_token": "<end>" if kind == "GPT2" else "[PAD]"}
    )
    model(folder, kind)
    said = refused(capsys, *command, "--data.max_length=13")
    assert f"13 tokens are more than the {limit} positions" in said
    net = PretrainedText(str(folder))
    net.bind(Sizes(2, 2, (limit,), vocab_size=7))
    assert net(torch.full((2, limit), 3))[1].shape == (2, 2)  # all of them can be used


@pytest.mark.parametrize(
    ("kind", "pooling"), [("GPT2", "last"), ("Bert", "first"), ("T5", "mean")]
)
def test_pooling_by_default(tmp_path, kind, pooling):
    model(tmp_path, kind)
    net = PretrainedText(str(tmp_path))
    net.bind(Sizes(2, 2, (6,), vocab_size=7))
    assert net.pooling == net.backbone.pooling == pooling
    assert net.twin().pooling == pooling


def test_a_folder_of_pictures_is_refused(words, capsys):
    folder, command = words
    tokenizer(folder, eos_token="<end>")
    config = transformers.ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        image_size=8, patch_size=4,
    )  # fmt: skip
    transformers.ViTModel(config).save_pretrained(folder)
    assert "ViTModel is no model of texts" in refused(capsys, *command)
