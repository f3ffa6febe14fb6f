"""Features of a fixed network: every split once, in a file that ArrayData trains on."""

import json

import numpy as np
import pytest
import torch
from command import QUICK, SMALL, fit, run

from frbench import load
from frbench.__main__ import main
from frbench.data import ArrayData, Digits
from frbench.support.stops import Stop

pytestmark = pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning")
MLP = ("--network=MLP", "--network.hidden=[5]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint and its features."""
    folder = tmp_path_factory.mktemp("features")
    fit(f"--run_dir={folder / 'run'}", "--model.network=MLP", "--model.network.hidden=[6]")
    checkpoint = folder / "run" / "checkpoints" / "last.ckpt"
    run("features", f"--ckpt_path={checkpoint}", f"--out={folder / 'f.npz'}")
    return folder


def test_they_are_what_the_head_of_the_checkpoint_sees(folder):
    model, data = load(folder / "run/checkpoints/last.ckpt"), Digits(n=400, n_eval=400)
    with np.load(folder / "f.npz") as file:
        found = {name: file[name] for name in file.files}
    assert found["x"].dtype == np.float32 and "weight" not in found
    assert found["class_names"].tolist() == list(data.class_names)
    for name, table in data.splits.items():
        own = found["split"] == name
        with torch.no_grad():
            x = data.prepare(torch.as_tensor(table.x))
            features, logits = model.eval().network(x)
        np.testing.assert_allclose(found["x"][own], features, atol=1e-5)
        np.testing.assert_array_equal(found["y"][own], table.y)
        np.testing.assert_array_equal(found["z"][own], table.z)
        np.testing.assert_array_equal(found["id"][own], np.arange(len(table)))
        head = model.network.head(torch.as_tensor(found["x"][own]))
        assert torch.allclose(head, logits, atol=1e-4)
    record = json.loads((folder / "f.json").read_text())
    assert record["rows"] == {name: len(t) for name, t in data.splits.items()}
    assert record["features"] == 6 and "last.ckpt" in record["about"]


def test_arrays_of_them_are_the_same_rows_and_train(folder, monkeypatch):
    monkeypatch.chdir(folder)
    data, digits = ArrayData(path="f.npz"), Digits(n=400, n_eval=400)
    assert data.class_names == digits.class_names
    assert data.attribute_names == digits.attribute_names
    assert list(data.splits) == list(digits.splits)
    for name, table in digits.splits.items():
        np.testing.assert_array_equal(data.splits[name].y, table.y)
        np.testing.assert_array_equal(data.splits[name].z, table.z)
    assert "features of Digits by MLP" in data.notes[0]
    run("fit", "--data=ArrayData", "--data.path=f.npz", "--model.network=MLP",
        "--model.network.hidden=[]", "--run_dir=on_features", *QUICK)  # fmt: skip
    run("test", "--ckpt_path=on_features/checkpoints/last.ckpt", *QUICK[1:])


def test_a_network_without_checkpoint_depends_on_the_seed(tmp_path, capsys):
    for out, seed in (("a", 0), ("b", 0), ("c", 1)):
        run("features", *MLP, *SMALL, f"--out={tmp_path / out}.npz", f"--seed={seed}")
    assert "random weights" in capsys.readouterr().out
    a, b, c = (np.load(tmp_path / f"{out}.npz")["x"] for out in "abc")
    assert np.array_equal(a, b) and not np.array_equal(a, c)


def test_another_data_set_by_the_network_of_a_checkpoint(folder, capsys):
    words = ("features", f"--ckpt_path={folder / 'run/checkpoints/last.ckpt'}")
    run(*words, "--data=Digits", "--data.n=100", "--data.n_eval=50", "--data.seed=3",
        f"--out={folder / 'g.npz'}")  # fmt: skip
    assert len(np.load(folder / "g.npz")["x"]) < 400
    assert main([*words, "--data=TwoGaussians", f"--out={folder / 'h.npz'}"]) == 2
    assert "was trained on inputs of shape" in capsys.readouterr().err


def test_files_of_images_keep_their_names(tmp_path):
    from frbench.data.images.drawn_celeba import draw_celeba

    root = draw_celeba(tmp_path, n=60)
    run("features", *MLP, "--data=CelebA", f"--data.root={root}", "--data.image_size=8",
        "--data.num_workers=0", f"--out={tmp_path / 'f.npz'}")  # fmt: skip
    ids = np.load(tmp_path / "f.npz")["id"]
    assert len(set(ids)) == 60 and all(name.endswith(".jpg") for name in ids)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--out=f.txt", *MLP, *SMALL), "must end in .npz"),
        (("--out=f.npz", *MLP), "needs --data NAME"),
        (("--out=f.npz", *SMALL), "one."),
        (("--out=f.npz", *MLP, *SMALL, "--ckpt_path=a.ckpt"), "one."),
        (("--out=f.npz", "--network=Mlp", *SMALL), "Mlp"),
        (("--out=f.npz", *MLP, *SMALL, "--model.lr=1"), "unknown option --model.lr"),
        (("--out=f.npz", "--network=BagOfWords", *SMALL), "BagOfWords does not read"),
        (("--out=there.npz", *MLP, *SMALL), "there.npz exists, and is not overwritten"),
        (("--out=f.npz", "--ckpt_path=none.ckpt"), "There is no checkpoint none.ckpt"),
    ],
)
def test_wrong_options_end_in_one_line_and_nothing_is_written(
    tmp_path, monkeypatch, capsys, words, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.npz").write_text("mine")
    assert main(["features", *words]) == 2
    assert message in (err := capsys.readouterr().err) and err.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["there.npz"]
    assert (tmp_path / "there.npz").read_text() == "mine"


def test_an_interrupt_leaves_nothing(tmp_path, monkeypatch, capsys):
    import frbench.training.postprocess as module

    def stopped(loader, what, total):
        yield from list(loader)[:1]
        raise Stop(15)

    monkeypatch.setattr(module, "track", stopped)
    words = ("features", *MLP, *SMALL, f"--out={tmp_path / 'f.npz'}")
    assert main(list(words)) == 143
    assert "the same command begins anew" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
