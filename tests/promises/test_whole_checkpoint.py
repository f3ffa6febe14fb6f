"""A checkpoint is a whole model: new files are scored and evaluated by it alone."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from command import QUICK, rows, run

from frbench import UserError, load
from frbench.data import (
    MNIST,
    AmazonReviews,
    CelebA,
    ColouredMNIST,
    Digits,
    ImageScenario,
    ImageTable,
    QMNISTWriters,
    TableData,
    TextTable,
)
from frbench.data.images.drawn_celeba import draw_celeba
from frbench.runs.checkpoint import read_description

pytestmark = pytest.mark.filterwarnings("ignore")  # small evaluation tables

BEST = Path("r/checkpoints/best.ckpt")


def people(path: str, n: int = 200, shift: float = 0.0, jobs: str = "abc", seed: int = 0) -> None:
    """Write a table with a category, a number with gaps, an id and a binned attribute."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    frame = pd.DataFrame(
        {
            "loan_id": [f"{i:05d}" for i in range(n)],
            "x": np.where(rng.random(n) < 0.1, np.nan, x + shift),
            "code": rng.integers(1, 4, n),
            "job": rng.choice(list(jobs), n),
            "sex": rng.choice(["f", "m"], n),
            "age": rng.integers(20, 60, n),
            "paid": np.where(x + rng.normal(size=n) / 2 > 0, "yes", "no"),
        }
    )
    frame.to_csv(path, index=False)


TABLE = ("--data=TableData", "--data.path=t.csv", "--data.target=paid", "--data.attribute=sex",
         "--data.drop=[loan_id]", "--data.categorical=[code]")  # fmt: skip


def train(*words: str) -> None:
    run("fit", *words, *QUICK, "--run_dir=r")


def metrics(path: Path) -> dict[str, float]:
    return json.loads(path.read_text())["metrics"]


def write_held_out(data, split: str, folder: Path) -> Path:
    """Write a split of a data set to a file of its own, labels by name."""
    table = data.splits[split]
    y = np.array(data.class_names)[table.y]
    z = np.array([*data.attribute_names, None], dtype=object)[table.z]
    if isinstance(data, TableData):
        frame = data.read().iloc[table.x.index]
        frame.to_csv(folder / "new.csv", index=False)
    elif isinstance(table.x, np.ndarray) and table.x.ndim > 1:  # arrays of images
        np.savez(folder / "new.npz", x=table.x, y=y.astype(str), z=z.astype(str))
        return folder / "new.npz"
    elif isinstance(data, AmazonReviews):
        table.x.assign(y=y, z=z).to_csv(folder / "new.csv", index=False)
    else:
        for name in table.x:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(data.image_folder / name, target)
        named = {"file": table.x, "y": y, "z": z}
        if isinstance(data, ImageTable):
            named = {"file": table.x, data.target: y, data.attribute: z}
        pd.DataFrame(named).to_csv(folder / "new.csv", index=False)
    return folder / "new.csv"


def table_set() -> tuple[list[str], TableData]:
    people("t.csv")
    words = [*TABLE, "--data.positive=yes"]
    data = TableData(
        "t.csv", "paid", "sex", drop=["loan_id"], categorical=["code"], positive="yes"
    )
    return words, data


def binned_set() -> tuple[list[str], TableData]:
    people("t.csv")
    words = ["--data=TableData", "--data.path=t.csv", "--data.target=paid",
             "--data.attribute=[sex,age]", "--data.bins={age: [40]}"]  # fmt: skip
    return words, TableData("t.csv", "paid", ["sex", "age"], bins={"age": [40]})


def text_set() -> tuple[list[str], TextTable]:
    rng = np.random.default_rng(0)
    notes = [
        " ".join(rng.choice(["good", "bad", "late", "paid", "not", "very"], 4)) for _ in range(200)
    ]
    frame = {"note": notes, "place": rng.choice(["x", "y"], 200), "liked": rng.integers(0, 2, 200)}
    pd.DataFrame(frame).to_csv("t.csv", index=False)
    words = ["--data=TextTable", "--data.path=t.csv", "--data.text=note", "--data.target=liked",
             "--data.attribute=place", "--data.max_words=20", "--data.max_length=5"]  # fmt: skip
    return words, TextTable("t.csv", "note", "liked", "place", max_words=20, max_length=5)


def reviews_set() -> tuple[list[str], AmazonReviews]:
    rng = np.random.default_rng(0)
    line = {"reviewText": "", "helpful": [0, 0]}
    lines = []
    for i in range(300):
        text = " ".join(
            rng.choice(["the", "amp", "is", "good", "and", "you", "hear", "my", "guitar"], 6)
        )
        lines.append(json.dumps({**line, "reviewText": text, "helpful": [i % 2, 1]}))
    Path("t.json").write_text("\n".join(lines) + "\n")
    words = ["--data=AmazonReviews", "--data.path=t.json", "--data.max_words=20",
             "--data.max_length=6", "--data.shifts=[]"]  # fmt: skip
    data = AmazonReviews(path="t.json", max_words=20, max_length=6, shifts=[])
    return words, data


def celeba_set() -> tuple[list[str], CelebA]:
    draw_celeba("t.csv", n=120)  # a folder here
    words = ["--data=CelebA", "--data.root=t.csv", "--data.image_size=8", "--data.num_workers=0"]
    return words, CelebA("t.csv", image_size=8, num_workers=0)


def image_set() -> tuple[list[str], ImageTable]:
    from PIL import Image

    root = Path("t.csv")
    root.mkdir()
    lines = ["file,bird,place"]
    for i in range(80):
        Image.new("RGB", (12, 10), (3 * i, 90 * (i % 2), 0)).save(root / f"{i}.png")
        lines.append(f"{i}.png,{'land' if i % 2 else 'water'},{'wet' if i // 2 % 2 else 'dry'}")
    (root / "metadata.csv").write_text("\n".join(lines) + "\n")
    options = {"target": "bird", "attribute": "place", "image_size": 8, "num_workers": 0}
    words = ["--data=ImageTable", "--data.root=t.csv", "--data.split=null",
             *(f"--data.{k}={v}" for k, v in options.items())]  # fmt: skip
    return words, ImageTable("t.csv", split=None, **options)


def drawn(cls: type, **options: object) -> tuple[list[str], object]:
    """A set whose tables are arrays, and its words."""
    words = [f"--data={cls.__name__}", *(f"--data.{k}={v}" for k, v in options.items())]
    return words, cls(**options)


def scenario_set() -> tuple[list[str], ImageScenario]:
    rng = np.random.default_rng(0)
    labels = np.repeat([3, 7, 8], 40)
    images = rng.integers(0, 30 * labels[:, None, None], (120, 8, 6), dtype=np.uint8)
    np.savez("t.npz", images=images, labels=labels)
    return drawn(ImageScenario, images="t.npz", n=100, n_eval=80, task="c", attribute="z+v")


def digits_set() -> tuple[list[str], Digits]:
    return drawn(Digits, n=100, n_eval=100)


def mnist_set() -> tuple[list[str], MNIST]:
    return drawn(MNIST, n=100, n_eval=100, labels=[[1], [2, 3], [0]])


def coloured_set() -> tuple[list[str], ColouredMNIST]:
    return drawn(ColouredMNIST, n=100, n_eval=100, target="colour")


def writers_set() -> tuple[list[str], QMNISTWriters]:
    return drawn(QMNISTWriters, max_train=100)


SHARED = [mnist_set, coloured_set, writers_set]
SETS = [table_set, binned_set, text_set, reviews_set, celeba_set, image_set, scenario_set,
        digits_set, *SHARED[:2], pytest.param(writers_set, marks=pytest.mark.slow)]  # fmt: skip


@pytest.mark.parametrize("make", SETS, ids=lambda make: make.__name__)
def test_held_out_rows_are_evaluated_by_the_checkpoint_alone(
    make, in_tmp, capsys, request, monkeypatch
):
    if make in SHARED:
        request.getfixturevalue("shared_data")
    words, data = make()
    train(*words)
    run("test", "--ckpt_path", BEST, *QUICK[1:])
    name = data.test_names[0]
    Path("elsewhere").mkdir()
    new = write_held_out(data, name, Path("elsewhere"))
    count = len(data.splits[name])
    probabilities = load(BEST).table_outcome(data.splits[name]).logits.softmax(1)
    for gone in Path().glob("t.*"):
        shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    monkeypatch.setenv("FRBENCH_DATA", "nowhere")
    capsys.readouterr()
    run("test", "--ckpt_path", BEST, new)
    expected = {
        "test/" + key.removeprefix(f"{name}/"): value
        for key, value in metrics(Path("r/test.json")).items()
        if key.startswith(f"{name}/") and not key.startswith("test/family")
    }
    found = metrics(Path("r/test-2.json"))
    assert found.keys() == expected.keys()
    assert [f"{k}={found[k]!r}" for k in found] == [f"{k}={expected[k]!r}" for k in found]
    run("predict", "--ckpt_path", BEST, new, "--out=scored.csv")
    scored = rows(Path("scored.csv"))
    assert len(scored) == count
    classes = load(BEST).classes_
    columns = np.array([[float(row[f"p({c})"]) for c in classes] for row in scored], np.float32)
    np.testing.assert_array_equal(columns, probabilities.numpy())
    assert {row["prediction"] for row in scored} <= set(classes)


@pytest.fixture
def trained(in_tmp) -> Path:
    people("t.csv")
    train(*TABLE)
    return BEST


def test_every_row_of_a_file_is_scored_in_its_order(trained, capsys):
    people("new.csv", 100, jobs="abcd", seed=1)
    frame = pd.read_csv("new.csv", dtype=str)
    frame.loc[3, "job"] = np.nan
    frame.drop(columns="paid").to_csv("new.csv", index=False)
    run("predict", "--ckpt_path", trained, "new.csv", "--out=s.csv")
    scored = rows(Path("s.csv"))
    assert [row["loan_id"] for row in scored] == frame["loan_id"].tolist()
    assert set(scored[0]) == {"loan_id", "prediction", "p(no)", "p(yes)", "z"}
    assert [row["z"] for row in scored] == frame["sex"].tolist()
    unseen = int((frame["job"] == "d").sum())
    assert f"{unseen} rows whose job does not occur in training" in capsys.readouterr().out
    model = load(trained)
    assert model.predict(pd.read_csv("new.csv")).tolist() == [row["prediction"] for row in scored]
    assert list(model.classes_) == ["no", "yes"]


@pytest.mark.parametrize(
    ("words", "count"),
    [(["--top_k=7"], 7), (["--selection_rate=.2"], 20), (["--threshold=0"], 100)],
)
def test_the_decision_can_be_changed_and_is_recorded(trained, words, count):
    people("new.csv", 100, seed=1)
    run("predict", "--ckpt_path", trained, "new.csv", "--out=s.csv", "--keep=[loan_id]", *words)
    scored = rows(Path("s.csv"))
    chosen = [row for row in scored if row["prediction"] == "yes"]
    assert len(chosen) == count
    if count < 100:
        rest = max(float(row["p(yes)"]) for row in scored if row["prediction"] == "no")
        assert min(float(row["p(yes)"]) for row in chosen) >= rest
    option, value = words[0].removeprefix("--").split("=")
    assert json.loads(Path("s.json").read_text())["decision"] == {option: float(value)}
    run("audit", "s.csv", "--y=y", "--pred=prediction", "--z", "z", "--score=p(yes)")


def test_a_shifted_column_stays_shifted_and_attributes_are_reported_together(trained):
    people("new.csv", 300, shift=3.0, seed=1)
    frame = pd.read_csv("new.csv")
    model = load(trained)
    back = model.encoding.encode(frame.assign(x=frame["x"] - 3))
    known = frame["x"].notna().to_numpy()
    scale = next(c["scale"] for c in model.encoding.learnt["columns"] if c["name"] == "x")
    moved = (model.encoding.encode(frame) - back)[known, 0]
    np.testing.assert_allclose(moved, 3 / scale, rtol=1e-4)
    cohort = np.where(frame["age"] < 40, "young", "old")  # a column that training never saw
    frame.assign(cohort=cohort).to_csv("new.csv", index=False)
    run("test", "--ckpt_path", trained, "new.csv", "--attributes=[sex, cohort]")
    found = metrics(Path("r/test.json"))
    assert found["test by sex/accuracy"] == found["test by cohort/accuracy"]
    cell = "group_accuracy/y=yes,z=sex=f&cohort=old"
    assert f"test by sex&cohort/{cell}" in found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="x"), "There is no column 'x'"),
        (lambda f: f.assign(paid="maybe"), "The class 'maybe' is unknown to the checkpoint"),
        (lambda f: f.assign(sex="d"), "The attribute 'd' is unknown to the checkpoint"),
        (lambda f: f.drop(columns="paid"), "has no labels"),
    ],
)
def test_what_does_not_fit_is_named(trained, change, message):
    people("new.csv", 20)
    change(pd.read_csv("new.csv")).to_csv("new.csv", index=False)
    with pytest.raises(UserError, match=message):
        load(trained).evaluate("new.csv")


def test_unknown_classes_can_be_dropped(trained):
    people("new.csv", 40)
    frame = pd.read_csv("new.csv")
    expected = load(trained).evaluate(frame[10:])
    frame.loc[:9, "paid"] = "maybe"
    frame.to_csv("new.csv", index=False)
    run("test", "--ckpt_path", trained, "new.csv", "--data.unknown_classes=drop")
    assert metrics(Path("r/test.json"))["test/accuracy"] == expected["accuracy"]


def test_changed_data_is_refused_on_resume(trained, capsys):
    from frbench.__main__ import main

    last = "r/checkpoints/last.ckpt"
    people("t.csv", 210)
    words = ["fit", f"--ckpt_path={last}", "--trainer.max_epochs=2", *QUICK[1:]]
    assert main(words) == 2
    assert "train has 126 rows, had 121" in capsys.readouterr().err
    run(*words, "--data.changed_data=accept")
    run("test", "--ckpt_path", trained, *QUICK[1:])
    said = capsys.readouterr().out
    assert "not the rows held out in training: test has 42 rows, had 39" in said
    command = "frbench test --ckpt_path r/checkpoints/best.ckpt t.csv"
    assert f"only test of t.csv is evaluated; for all its rows: {command}" in said


def test_a_checkpoint_names_no_folder_of_the_machine(trained, monkeypatch):
    text = str(torch.load(trained, weights_only=True))
    assert str(Path.cwd()) not in text and str(Path.home()) not in text
    monkeypatch.chdir("r")  # the path of the data is relative to the run's start
    run("test", "--ckpt_path", "checkpoints/best.ckpt", *QUICK[1:])
    assert read_description("checkpoints/best.ckpt")["started_in"] == ".."


def test_what_was_learnt_is_small(trained):
    checkpoint = torch.load(trained, weights_only=True)
    whole = trained.stat().st_size
    for key in ("learnt", "tables", "started_in"):
        checkpoint["frbench"].pop(key)
    torch.save(checkpoint, "without.ckpt")
    assert whole - Path("without.ckpt").stat().st_size < 20_000


def test_an_exported_model_is_the_model(trained):
    run("export", "--to=torch", trained, "--out=m.pt2")
    encoding = json.loads(Path("m.json").read_text())["encoding"]
    assert encoding["class_names"] == ["no", "yes"]
    model = load(trained)
    x = torch.rand(7, *model.input_shape)
    again = torch.export.load("m.pt2").module()
    torch.testing.assert_close(again(x), model(x).softmax(1), atol=1e-6, rtol=0)


def test_an_onnx_file_is_the_model(trained):
    runtime = pytest.importorskip("onnxruntime", reason="frbench export --to onnx needs it")
    pytest.importorskip("onnxscript", reason="frbench export --to onnx needs it")
    run("export", "--to=onnx", trained, "--out=m.onnx")
    assert json.loads(Path("m.json").read_text())["largest_difference"] <= 1e-5
    model = load(trained)
    session = runtime.InferenceSession("m.onnx")
    for rows_ in (1, 7):
        x = torch.rand(rows_, *model.input_shape)
        found = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
        np.testing.assert_allclose(found, model(x).softmax(1).detach(), atol=1e-5)


def test_export_says_which_package_is_missing(trained, capsys, monkeypatch):
    from frbench.__main__ import main

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["export", "--to=onnx", str(trained)]) == 2
    assert "needs the package onnx: pip install onnx" in capsys.readouterr().err


READS = """
from frbench.objectives import ERM

class Reads(ERM):
    reads_attribute = True
"""


def test_a_method_that_reads_the_attribute_says_so_in_every_output(in_tmp, capsys, monkeypatch):
    people("t.csv")
    Path("reads_it.py").write_text(READS)
    monkeypatch.syspath_prepend(in_tmp)
    train(*TABLE, "--model=reads_it.Reads")
    said = "Reads reads the attribute of each row to decide"
    trust = "--trust=reads_it"
    for words in (["test", *QUICK[1:]], ["test", "t.csv"], ["predict", "t.csv", "--out=s.csv"],
                  ["predict", "--split=val", "--out=v.csv"]):  # fmt: skip
        capsys.readouterr()
        run(*words, "--ckpt_path", BEST, trust)
        assert f"note: {said}" in capsys.readouterr().out
    for path in ("r/test.json", "r/test-2.json", "s.json", "v.json"):
        record = json.loads(Path(path).read_text())
        assert record["attribute_use"] == said
        assert {"versions", "hardware", "threads", "deterministic"} <= record.keys()


def test_no_method_of_frbench_reads_the_attribute_to_decide():
    """Their forward takes inputs alone; a base that took more would have to say so."""
    import inspect

    from frbench import objectives

    for name in objectives.__all__:
        cls = getattr(objectives, name)
        assert list(inspect.signature(cls.forward).parameters) == ["self", "x"]
        assert not cls.reads_attribute
