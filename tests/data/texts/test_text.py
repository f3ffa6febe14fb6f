"""Vocabulary, tables of texts and the reviews task."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from command import run

from frbench.contracts.errors import UserError
from frbench.data import AmazonReviews, TextTable
from frbench.data.texts.reviews import confounded
from frbench.data.texts.text_table import Vocabulary
from frbench.postprocessing.dfr import DFR
from frbench.runs.checkpoint import read_checkpoint
from frbench.runs.postprocess import Request, fit_behind

ROWS = [
    {"a": f"the {'good' if i % 2 else 'bad'} amp", "b": f"no {i % 3}" if i % 4 else "yes",
     "label": i % 2, "sex": "f" if i % 5 else "m"}
    for i in range(60)
]  # fmt: skip


@pytest.fixture
def table(tmp_path):
    def write(rows=ROWS, name="t.jsonl", **options):
        path = tmp_path / name
        if path.suffix == ".csv":
            pd.DataFrame(rows).to_csv(path, index=False)
        else:
            path.write_text("\n".join(map(json.dumps, rows)))
        options = {"text": "a", "target": "label", "attribute": "sex"} | options
        return TextTable(str(path), **options)

    return write


def test_vocabulary_is_that_of_the_training_rows(table):
    rows = [{**row, "part": "train" if i < 40 else "test"} for i, row in enumerate(ROWS)]
    for row in rows[40:]:
        row["a"] = "unheard of " * 40
    data = table(rows, split="column", split_column="part")
    assert set(data.vocabulary.known) == {"the", "good", "bad", "amp"}
    assert not (data.encode(data.splits["test"].x) > 1).any()
    assert (data.encode(data.splits["train"].x)[:, :3] > 2).all()


def test_most_frequent_words_first_and_equal_ones_by_alphabet():
    texts = [["b a", "c"], ["b a", "d d"], ["c b", ""]]
    assert Vocabulary.learn(texts, 100, 1).known == ["b", "a", "c", "d"]
    assert Vocabulary.learn(texts, 100, 3).known == ["b"]
    assert Vocabulary.learn(texts, 5, 1).known == ["b", "a"]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("a a", "b b", [3, 3, 2, 4, 4, 0, 0]),
        ("a a a a a a a a", "b", [3, 3, 3, 3, 3, 2, 4]),
        ("a", "b b b b b b b b", [3, 2, 4, 4, 4, 4, 4]),
        ("a a a a a a", "b b b b b b", [3, 3, 3, 2, 4, 4, 4]),
        ("", "", [2, 0, 0, 0, 0, 0, 0]),
    ],
)
def test_two_texts_share_the_room(first, second, expected):
    assert Vocabulary(["a", "b"]).encode([[first, second]], 7)[0].tolist() == expected


def test_a_row_without_words_is_one_unknown_word():
    assert Vocabulary(["a"]).encode([["?!"], ["a a a a"]], 3).tolist() == [[1, 0, 0], [3, 3, 3]]


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_labels_attributes_and_sizes(table, name):
    data = table(name=name, text=["a", "b"], max_words=20, max_length=9, batch_size=16)
    assert data.class_names == ("0", "1") and data.attribute_names == ("f", "m")
    assert data.sizes == (2, 2, (9,), 20)
    batch = next(iter(data.train_dataloader()))
    assert batch.x.dtype == torch.int64 and batch.x.shape == (16, 9)


def test_attribute_from_the_words_of_a_text(table):
    data = table(text=["a", "b"], attribute="b", attribute_words=["No", "never"])
    assert data.attribute_names == ("without", "with")
    for part in data.splits.values():
        assert (part.z == part.x["b"].str.startswith("no")).all()


def test_missing_text_is_empty_and_can_be_dropped(table):
    rows = [{**row, "a": None if i % 10 == 0 else row["a"]} for i, row in enumerate(ROWS)]
    sizes = {}
    for policy in ("keep", "drop"):
        data = table(rows, missing_input=policy)
        sizes[policy] = sum(map(len, data.splits.values()))
        assert not (data.encode(data.splits["train"].x) == 0).all(1).any()
    assert sizes == {"keep": 60, "drop": 54}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"text": "c"}, "no column 'c' .data.text."),
        ({"text": ["a", "b", "label"]}, "one column or two"),
        ({"max_length": 2}, "TextTable.max_length: expected an integer of at least 3"),
        ({"max_words": 3}, "TextTable.max_words: expected an integer of at least 4"),
        ({"drop": ["b"]}, "data.drop has no effect"),
        ({"min_count": 1000}, "lower data.min_count"),
        ({"tokenizer": "nowhere"}, "data.tokenizer|pip install frbench"),
    ],
)
def test_errors_say_the_remedy(table, options, words):
    with pytest.raises(UserError, match=words):
        next(iter(table(**options).train_dataloader()))


@pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning")
def test_a_checkpoint_brings_its_words_to_another_table(table, in_tmp):
    table()
    fit = ["--data=TextTable", "--data.path=t.jsonl", "--data.text=a", "--data.target=label",
           "--data.attribute=sex", "--data.max_words=30", "--data.max_length=8"]  # fmt: skip
    trainer = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false",
               "--trainer.enable_model_summary=false"]  # fmt: skip
    run("fit", *fit, "--model.lr=0.05", "--trainer.max_epochs=30", "--run_dir=r", *trainer)
    ckpt = "r/checkpoints/best.ckpt"
    words = read_checkpoint(ckpt)["frbench"]["learnt"]["vocabulary"]
    assert set(words) == {"the", "amp", "good", "bad"}
    # The other table has these words in another order of frequency, and further ones.
    other = [{**row, "a": f"zzz zzz zzz yyy yyy {row['a']}"} for row in ROWS]
    table(other, name="other.jsonl")
    fit[1] = "--data.path=other.jsonl"
    run("test", *fit, f"--ckpt_path={ckpt}", *trainer)
    found = json.loads(next(in_tmp.glob("r/test*.json")).read_text())
    assert found["metrics"]["test/accuracy"] == 1.0
    # So it is where the other table's rows refit the last layer.
    options = ["--data.path=other.jsonl"]
    request = Request(DFR(1, (1.0,)), "train", data=options, key="dfr")
    _, data, _ = fit_behind(Path(ckpt), Path("d.ckpt"), request)
    assert data.vocabulary.known == words


# ---- reviews ------------------------------------------------------------------------------------
def exact(share, strength, flip):
    """P(y, z) by a loop over all hidden values."""
    cells = np.zeros((2, 2))
    for t in (0, 1):
        for u in (0, 1):
            for y in (0, 1):
                for z in (0, 1):
                    p_y = flip * (y == u) + (1 - flip) * (y == t)
                    copy = u if strength >= 0 else 1 - u
                    p_z = abs(strength) * (z == copy) + (1 - abs(strength)) / 2
                    cells[y, z] += (share if t else 1 - share) * 0.5 * p_y * p_z
    return cells


@pytest.mark.parametrize("strength", [-0.8, 0.0, 0.8])
@pytest.mark.parametrize("balanced", [False, True])
def test_cells_of_labels_and_factors(strength, balanced):
    share, n = 0.3, 200_000
    t = (np.arange(n) < share * n).astype(int)
    keep, y, z = confounded(t, strength, 0.4, balanced, np.random.default_rng(0))
    p = exact(share, strength, 0.4)
    q = np.outer(p.sum(1), p.sum(0))
    measured = np.bincount(2 * y + z, minlength=4).reshape(2, 2) / len(keep)
    assert np.allclose(measured, q if balanced else p, atol=0.006)
    # P(T | Y, Z) is kept by balancing.
    kept = [t[keep][(y == a) & (z == b)].mean() for a in (0, 1) for b in (0, 1)]
    if balanced:
        _, y, z = confounded(t, strength, 0.4, False, np.random.default_rng(1))
        plain = [t[(y == a) & (z == b)].mean() for a in (0, 1) for b in (0, 1)]
        assert np.allclose(kept, plain, atol=0.01) and (len(keep) < n) == bool(strength)


REVIEWS = [
    {"reviewText": f"The amp and THEY love you, my theory {i}", "helpful": [i % 3, 3]}
    for i in range(90)
]


@pytest.fixture
def reviews(tmp_path):
    path = tmp_path / "reviews.json"
    path.write_text("\n".join(map(json.dumps, REVIEWS)))
    return str(path)


def test_words_are_marked_by_the_factor(reviews):
    data = AmazonReviews(path=reviews, max_words=60)
    for part in data.splits.values():
        for text, z in zip(part.x["text"], part.z, strict=True):
            end = ("xxxx", "yyyy")[z]
            assert text.startswith(
                f"The{end} amp and{end} THEY{end} love you{end}, my{end} theory"
            )
    assert "0.667 of 90 reviews" in data.notes[0]
    names = {"train", "val", "test/P", "test/Q", "test/P0", "test/shift=-0.8", "test/shift=-0.4"}
    assert set(data.splits) == names | {"test/shift=0.4"}
    assert set(data.family_names) == set(data.splits) - {"train", "val", "test/Q"}
    # One review is in one split only, and in a table once.
    numbers = [set(part.x["text"].str.rsplit(n=1).str[1]) for part in data.splits.values()]
    assert len(numbers[0]) == len(data.splits["train"])
    assert not numbers[0] & numbers[1] and not numbers[0] & numbers[2]


def test_votes_of_the_later_format(tmp_path):
    rows = [{"reviewText": "fine", **({"vote": "1,024"} if i % 5 == 0 else {})} for i in range(50)]
    path = tmp_path / "r.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    data = AmazonReviews(path=str(path), flip=0.0)
    assert sum(part.y.sum() for name, part in data.splits.items() if "/" not in name) == 8


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"flip": 2.0}, r"AmazonReviews.flip: expected a number in \[0, 1\]"),
        ({"shifts": [3.0]}, r"AmazonReviews.shifts: expected a list of numbers in \[-1, 1\]"),
        ({"train_on": "R"}, "AmazonReviews.train_on: expected one of P, Q, P0"),
    ],
)
def test_options_of_reviews(options, words):
    with pytest.raises(UserError, match=words):
        AmazonReviews(**options)


def test_a_file_without_the_fields_is_named(table, tmp_path):
    table()
    with pytest.raises(UserError, match="no fields reviewText"):
        AmazonReviews(path=str(tmp_path / "t.jsonl")).tables()


def test_the_real_reviews(shared_data):
    data = AmazonReviews(seed=3)
    train = data.splits["train"]
    assert len(train) == 6157 and "0.297 of 10261" in data.notes[0]
    measured = train.counts(2, 2) / len(train)
    assert np.allclose(measured, exact(0.2969, 0.8, 0.4), atol=0.025)
