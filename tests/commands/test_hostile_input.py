"""Bad input of every kind: one readable line with the remedy, exit status 2, nothing written.

Each row is proved as well by removing its check from the package: then it must fail.
"""

import gzip
import json
import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from mutation import removed
from PIL import Image

from frbench.__main__ import main
from frbench.callbacks.sanity import SanityWarning
from frbench.data import GanPairs, ImageTable, TableData
from frbench.objectives import CVaR

pytestmark = pytest.mark.filterwarnings("ignore")

QUIET = ("--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false",
         "--trainer.enable_model_summary=false", "--trainer.max_epochs=1")  # fmt: skip
GAUSS = ("fit", "--data=TwoGaussians", "--data.n=64", "--data.batch_size=16", *QUIET)
TABLE = ("fit", "--data=TableData", "--data.path=t.csv", "--data.target=y",
         "--data.attribute=z", "--data.batch_size=16", *QUIET)  # fmt: skip
IMAGES = ("fit", "--data=ImageTable", "--data.root=images", "--data.target=y",
          "--data.attribute=z", "--data.split=null", "--data.image_size=8",
          "--data.num_workers=0", "--data.batch_size=16", *QUIET)  # fmt: skip
DIGITS = ("fit", "--data=Digits", "--data.n=64", "--data.n_eval=40", *QUIET)
OWN = ("fit", "--data=own_data.Own", *QUIET)
LAST = "--ckpt_path=run/checkpoints/last.ckpt"


# ---- what lies in the folder ----------------------------------------------------------------
def table(rows=60, header="x,z,y", row=lambda i: f"{i % 7},{'ab'[i % 2]},{i // 2 % 2}"):
    return "\n".join([header, *(row(i) for i in range(rows))]) + "\n"


def csv(text):
    return lambda: Path("t.csv").write_text(text)


def split_table(train, other):
    """A table with a split column; a function gives the row's z and y in each part."""
    rows = [f"{i % 7},{train(i)},train" for i in range(40)]
    rows += [f"{i % 7},{other(i)},{'val' if i % 2 else 'test'}" for i in range(40)]
    return csv("x,z,y,part\n" + "\n".join(rows) + "\n")


def both(i):
    return f"{'ab'[i % 2]},{i // 2 % 2}"


def images(names=None, spoil=None, table_rows=None):
    """Draw forty images and their table; some are spoilt, or named otherwise."""

    def make():
        Path("images").mkdir()
        for i in range(40):
            Image.new("RGB", (9, 9), (6 * i, 0, 0)).save(f"images/{i}.png")
        shown = [f"{i}.png" for i in range(40)]
        for i, name in (names or {}).items():
            shown[i] = name
        for name, content in (spoil or {}).items():
            path = Path("images") / name
            path.write_bytes(path.read_bytes()[:45] if content is None else content)
        rows = [f"{name},{both(i)}" for i, name in enumerate(shown)]
        Path("images/metadata.csv").write_text("\n".join(["file,z,y", *rows]) + "\n")
        Image.new("RGB", (9, 9)).save("secret.png")

    return make


OWN_DATA = """
import numpy as np
from frbench.contracts.batch import Sizes
from frbench.data.module import GroupDataModule
from frbench.data.table import Table

class Own(GroupDataModule):
    sizes = Sizes(2, 2, (2,))
    class_names = attribute_names = ("0", "1")

    def tables(self):
        def part():
            i = np.arange(40)
            x = np.ones((40, 2), np.float32)
            y, z, weight = i % 2, i // 2 % 2, np.ones(40)
            {edit}
            return Table(x, y, z, weight)
        return {{"train": part(), "val": part(), "test": part()}}
"""


def own(edit):
    return lambda: Path("own_data.py").write_text(OWN_DATA.format(edit=edit))


def gone_checkpoint(**changes):
    """A checkpoint of GroupDRO, changed."""

    def make():
        assert main([*GAUSS, "--model=GroupDRO", "--model.network=MLP", "--run_dir=run"]) == 0
        path = Path("run/checkpoints/last.ckpt")
        checkpoint = torch.load(path, weights_only=True)
        for name, change in changes.items():
            change(checkpoint[name])
        torch.save(checkpoint, path)

    return make


class Payload:
    """Writes a file when it is unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("executed"),)


def payload(path):
    def make():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(pickle.dumps(Payload()))

    return make


def pairs(**changes):
    """A table of pairs for the digits, some files of which are others."""

    def make():
        Path("pairs").mkdir()
        for name in ("images", "partners"):
            np.save(f"pairs/{name}.npy", np.zeros((4, 3, 12, 8), np.uint8))
        np.savez("pairs/pairs.npz", y=[0, 1, 0, 1], z=[0, 0, 1, 1])
        for name, content in changes.items():
            path = next(Path("pairs").glob(f"{name}.*"))
            path.write_bytes(path.read_bytes()[:40] if content is None else content)

    return make


def outside(make_cwd_read_only=False):
    Path("file").write_text("no folder")


def add(text="", **files):
    def make():
        for name, content in files.items():
            Path(name.replace("__", ".")).write_text(content)

    return make


# ---- the rows -------------------------------------------------------------------------------
@dataclass
class Row:
    """One bad input.

    Attributes:
        name: What is wrong.
        argv: The command.
        says: Words of the message: what is wrong, and the remedy.
        check: Function that refuses it, ``module:function``, and words of its raise statement.
        make: Lays the files.
        about: Subjects of the promise.
    """

    name: str
    argv: tuple[str, ...]
    says: tuple[str, ...]
    check: tuple[str, str]
    make: object = csv(table())
    about: tuple = ("frbench fit",)


READ = "frbench.data.reading:read_table"
DATA = "frbench.data.tables.table_data:TableData."
COLUMNS = "frbench.data.tables.columns:TableColumns."
SPLITS = "frbench.data.tables.table_splits:"
CHECKS = "frbench.data.checks:"
MODULE = "frbench.data.distribution:TrainingDistribution._check_options"
RANGES = ("frbench.contracts.ranges:check_argument", "expected")
T = {"about": (TableData,)}
PAIRS = (*DIGITS, "--data.augment+=GanPairs", "--data.augment.path=pairs")
COLUMN = (*TABLE, "--data.split=column", "--data.split_column=part")

ROWS = [
    Row("negative seed", (*DIGITS, "--data.seed=-1"), ("Digits.seed", "at least 0", "-1"),
        RANGES),
    Row("flips of nobody", (*DIGITS, "--data.corrupt+=FlipLabels", "--data.corrupt.z=7"),
        ("FlipLabels", "z = 7"),
        ("frbench.data.steps.corruptions:FlipLabels.apply", "no training row")),
    Row("adversary of no width", (*DIGITS, "--model=ARL", "--model.adversary_hidden=[-1]"),
        ("ARL.adversary_hidden", "at least 1", "[-1]"),
        RANGES),
    Row("pairs told by no JSON", PAIRS, ("GanPairs", "damaged", "make it again"),
        ("frbench.data.steps.gan_pairs:GanPairs.apply", "damaged"),
        lambda: (pairs()(), Path("pairs/pairs.json").write_text("{"))),
    # Data files
    Row("no such file", (*TABLE, "--data.path=no.csv"), ("no.csv", "there is no file"),
        ("frbench.data.reading:find_table", "there is no file"), **T),
    Row("truncated table", TABLE, ("t.csv", "2 of 3 values", "fetch it again"),
        ("frbench.data.reading:_read_text", "truncated"), csv(table()[:-3]), **T),
    Row("truncated gzip", (*TABLE, "--data.path=t.csv.gz"), ("t.csv.gz", "cannot be read",
        "again"),
        ("frbench.data.reading:_read_whole", "cannot be read"),
        lambda: Path("t.csv.gz").write_bytes(gzip.compress(table(3000).encode())[:-400]), **T),
    Row("ragged row", TABLE, ("t.csv", "cannot be read"),
        ("frbench.data.reading:_read_whole", "cannot be read"),
        csv(table() + "1,a,0,5,6\n"), **T),
    Row("wrong encoding", TABLE, ("t.csv", "UTF-8", "save it so"),
        ("frbench.data.reading:_read_whole", "_wrong_encoding"),
        lambda: Path("t.csv").write_bytes(table(row=lambda i: f"{i},mä{i % 2},{i % 2}")
                                          .encode("latin-1")), **T),
    Row("wrong checksum", ("fit", "--data=Adult", *QUIET), ("adult.data", "sha256", "Replace it"),
        ("frbench.support.files:_check", "is not the expected file"),
        lambda: (Path("adult").mkdir(), Path("adult/adult.data").write_text("1, 2\n"),
                 Path("adult/adult.test").write_text("1, 2\n"))),
    Row("damaged archive", ("fit", "--data=ImageScenario", "--data.images=i.npz", *QUIET),
        ("i.npz", "must be an .npz file"),
        ("frbench.data.tasks.scenarios:_source", "must be an .npz"),
        lambda: Path("i.npz").write_bytes(b"PK\3\4 and no more")),
    Row("entries that climb out of the folder",
        ("fit", "--data=ImageScenario", "--data.images=i.npz", *QUIET),
        ("i.npz", "arrays images and labels"),
        ("frbench.data.tasks.scenarios:_source", "must be an .npz"),
        lambda: np.savez("i.npz", **{"../../images": np.zeros(3), "../labels": np.zeros(3)})),
    # Columns and values
    Row("missing column", (*TABLE, "--data.target=income"), ("'income'", "x, z, y"),
        (COLUMNS + "_check_names", "there is no column"), **T),
    Row("duplicated column", TABLE, ("two columns", "'x'", "rename"), (READ, "two columns"),
        csv(table(header="x,x,z,y", row=lambda i: f"{i},{i},{both(i)}")), **T),
    Row("text among numbers", (*TABLE, "--data.numeric=[x]"), ("'x'", "not numeric", "drop it"),
        ("frbench.data.encode:_Numeric._values", "is not numeric"),
        csv(table(row=lambda i: f"{'abc'[i % 3]},{both(i)}")), **T),
    Row("infinite feature", TABLE, ("'x'", "infinite", "clean or drop"),
        ("frbench.data.encode:_Numeric._values", "infinite"),
        csv(table(row=lambda i: f"{'inf' if i == 7 else i},{both(i)}")), **T),
    Row("a column of NaN", TABLE, ("'x'", "no value", "drop the column"),
        ("frbench.data.encode:_Numeric.fit", "has no value"),
        csv(table(row=lambda i: f"nan,{both(i)}")), **T),
    Row("NaN in own data", OWN, ("NaN or infinite", "row 3", "drop or fill"),
        (CHECKS + "check_inputs", "NaN or infinite"), own("x[3, 1] = np.nan")),
    Row("infinite value in own data", OWN, ("NaN or infinite", "row 4"),
        (CHECKS + "check_inputs", "NaN or infinite"), own("x[4, 0] = -np.inf")),
    Row("inputs of another shape", OWN, ("(3,)", "(2,)"), (CHECKS + "check_inputs", "of shape"),
        own("x = np.ones((40, 3), np.float32)")),
    Row("labels out of range", OWN, ("column y", "expected 0..1"),
        (CHECKS + "check_tables", "of the {name} split has values"), own("y[0] = 5")),
    Row("attributes out of range", OWN, ("column z", "expected -1..1"),
        (CHECKS + "check_tables", "of the {name} split has values"), own("z[0] = 2")),
    Row("negative weights of rows", OWN, ("weights of the train split", "not negative"),
        (CHECKS + "check_tables", "weights of"), own("weight[1] = -1")),
    # Classes and groups
    Row("one class only", TABLE, ("target", "fewer than two values"),
        (DATA + "_factors", "fewer than two"), csv(table(row=lambda i: f"{i},{'ab'[i % 2]},1")),
        **T),
    Row("one group only", TABLE, ("attribute", "fewer than two values"),
        (DATA + "_factors", "fewer than two"), csv(table(row=lambda i: f"{i},a,{i % 2}")), **T),
    Row("one class only in training", COLUMN, ("one class only", "change the split"),
        (SPLITS + "check_classes", "one class only"),
        split_table(lambda i: f"{'ab'[i % 2]},1", both), **T),
    Row("a class unseen in training", COLUMN, ("class '2'", "no training row", "merge classes"),
        (SPLITS + "check_classes", "no training row"),
        split_table(both, lambda i: f"{'ab'[i % 2]},{i // 2 % 3}"), **T),
    Row("a group missing in training", (*COLUMN, "--data.balance=joint"),
        ("y=1,z=b", "Merge attribute values"),
        ("frbench.data.balance:cell_weights", "needs rows of every cell"),
        split_table(lambda i: f"{'ab'[i % 2]},{i // 2 % 2 * (1 - i % 2)}", both), **T),
    Row("a group missing in val", (*COLUMN, "--checkpoint.monitor=val/group_accuracy/y=1,z=b"),
        ("group_accuracy/y=1,z=b", "no value on val", "choose another metric"),
        ("frbench.callbacks.monitors:check_monitor", "has no value on"),
        split_table(both, lambda i: f"a,{i // 2 % 2}"), **T),
    Row("selecting on test", (*GAUSS, "--checkpoint.monitor=test/accuracy"),
        ("would select on test data", "test_while_training"),
        ("frbench.callbacks.monitors:check_monitor", "would select on test")),
    Row("an empty split", COLUMN, ("the test split is empty", "change the split"),
        (SPLITS + "split_rows", "split is empty"),
        csv("x,z,y,part\n" + "".join(f"{i},{both(i)},{'train' if i < 30 else 'val'}\n"
                                     for i in range(60))), **T),
    # Images
    Row("an image that does not decode", IMAGES, ("7.png", "cannot be decoded", "replace"),
        ("frbench.data.images.image_files:ImageFiles._decode", "cannot be decoded"),
        images(spoil={"7.png": b"<html>not found</html>"}), (ImageTable,)),
    Row("a truncated image", IMAGES, ("9.png", "cannot be decoded", "replace"),
        ("frbench.data.images.image_files:ImageFiles._decode", "cannot be decoded"),
        images(spoil={"9.png": None}), (ImageTable,)),
    Row("a missing image", IMAGES, ("gone.png", "1 of 40", "Put them there"),
        ("frbench.data.images.image_data:ImageData.setup", "are not in"),
        images({3: "gone.png"}), (ImageTable,)),
    Row("duplicate file names", IMAGES, ("2.png", "2 times", "one file is one row"),
        ("frbench.data.images.image_files:check_once", "times"), images({3: "2.png"}),
        (ImageTable,)),
    Row("a name outside the folder", IMAGES, ("../secret.png", "outside", "below it"),
        ("frbench.data.images.image_files:check_inside", "outside the image folder"),
        images({3: "../secret.png"}), (ImageTable,)),
    # Pairs
    Row("truncated images of pairs", PAIRS, ("pairs", "damaged", "make it again"),
        ("frbench.data.steps.gan_pairs:GanPairs.apply", "is damaged"), pairs(images=None),
        (GanPairs,)),
    Row("a pickle among pairs", PAIRS, ("pairs", "damaged"),
        ("frbench.data.steps.gan_pairs:GanPairs.apply", "is damaged"),
        pairs(pairs=pickle.dumps(Payload())), (GanPairs,)),
    # Configurations
    Row("a file that is no YAML", (*GAUSS, "--config=c.yaml"), ("c.yaml", "not valid YAML"),
        ("frbench.support.yaml_files:read_yaml", "not valid YAML"), add(c__yaml="a: [1, 2"),
        ("configuration files",)),
    Row("a configuration that is a list", (*GAUSS, "--config=c.yaml"), ("c.yaml", "map options"),
        ("frbench.runs.options:check_configs", "must map"), add(c__yaml="- a\n- b\n"),
        ("configuration files",)),
    Row("a typo in a configuration", ("fit", "--config=c.yaml", *QUIET), ("batch_sise",
        "did you mean"),
        ("frbench.runs.causes:one_line", "readable("),
        add(c__yaml="data: {class_path: TwoGaussians, init_args: {batch_sise: 8}}"),
        ("configuration files",)),
    Row("a misspelt option", (*GAUSS, "--trainer.max_epoch=1"), ("did you mean", "max_epochs"),
        ("frbench.runs.causes:one_line", "readable(")),
    Row("a misspelt class", (*GAUSS, "--model=GrupDRO"), ("did you mean GroupDRO",),
        ("frbench.runs.causes:one_line", "readable(")),
    Row("a class that resembles none", (*GAUSS, "--model=Xyzzy"), ("known:", "GroupDRO",
        "FRTrain"),
        ("frbench.runs.causes:one_line", "readable(")),
    Row("an unknown key of a grid", ("bench", "g.yaml"), ("'sedes'", "seeds"),
        ("frbench.grids.grid:read_file", "unknown keys"),
        add(g__yaml="data: {d: {data: Digits}}\nmethods: {m: {}}\nsedes: [0]\n"),
        ("frbench bench",)),
    Row("an unknown scheduler", (*GAUSS, "--model.scheduler=StepLR2"), ("StepLR2", "StepLR"),
        ("frbench.training.optimizer:_by_name", "there is no")),
    # Combinations and ranges
    Row("stratified batches by weight",
        (*GAUSS, "--data.rows_per_group=2", "--data.balance=joint", "--data.via=weight"),
        ("rows_per_group", "via"), ("frbench.data.strata:check_strata", "via")),
    Row("reweighing by samples", (*GAUSS, "--data.balance=reweighing", "--data.via=sample"),
        ("reweighing", "use balance: joint"),
        (MODULE, "reweighing is by weight")),
    Row("uniform marginals of nothing", (*GAUSS, "--data.marginals=uniform"),
        ("marginals", "use balance: joint"),
        (MODULE, "has no effect")),
    Row("verified rows that nobody uses", (*GAUSS, "--data.clean_share=.2"), ("clean_share",
        "ERM"),
        ("frbench.training.checks:check_data", "does not use")),
    Row("a method without its verified rows", (*GAUSS, "--model=FRTrain"), ("clean_share",
        "FRTrain"),
        ("frbench.training.checks:check_data", "needs verified rows")),
    Row("accumulated gradients of a batch-coupled method",
        (*GAUSS, "--model=CVaR", "--trainer.accumulate_grad_batches=2"),
        ("accumulate_grad_batches to 1",), ("frbench.training.checks:check_fit", "accumulated")),
    Row("alpha of nothing", (*GAUSS, "--model=CVaR", "--model.alpha=0"), ("CVaR.alpha", "(0, 1]"),
        RANGES, about=(CVaR,)),
    Row("alpha above one", (*GAUSS, "--model=IRW", "--model.alpha=1.5"), ("IRW.alpha", "(0, 1]"),
        RANGES),
    Row("negative weight of a penalty",
        (*GAUSS, "--model.penalties+=ConditionalMMD", "--model.penalties.weight=-1"),
        ("ConditionalMMD.weight", "at least 0", "-1"), RANGES),
    Row("negative step size", (*GAUSS, "--model=GroupDRO", "--model.eta=-1"), ("GroupDRO.eta",
        "at least 0", "-1"), RANGES),
    # Checkpoints
    Row("another method than the checkpoint's", (*GAUSS, LAST, "--model=CVaR"),
        ("GroupDRO", "CVaR", "Drop those options"),
        ("frbench.runs.cli:FrbenchCLI.before_instantiate_classes", "already fixes"),
        gone_checkpoint(), ("checkpoints",)),
    Row("another value than the checkpoint's", (*GAUSS, LAST, "--model.lr=.5"),
        ("model.lr", "0.5", "Drop those options"),
        ("frbench.runs.cli:FrbenchCLI.before_instantiate_classes", "already fixes"),
        gone_checkpoint(), ("checkpoints",)),
    Row("data of another size than the checkpoint's",
        ("test", "--data=Digits", "--data.n=64", "--data.n_eval=40", *QUIET[:3], LAST),
        ("Digits", "class '0-4'", "unknown to the checkpoint", "0, 1"),
        ("frbench.data.learnt:Learnt.restore", "is unknown to the checkpoint"),
        gone_checkpoint(), ("checkpoints",)),
    Row("a checkpoint of a later version", (*GAUSS, LAST), ("later frbench", "update frbench"),
        ("frbench.contracts.checkpoint_format:read_section", "written by a later"),
        gone_checkpoint(frbench=lambda d: d.update(format=99)), ("checkpoints",)),
    Row("a checkpoint whose weights are of other code", (*GAUSS, LAST),
        ("last.ckpt", "does not fit its class", "version"),
        ("frbench.runs.checkpoint:explained", "does not fit"),
        gone_checkpoint(state_dict=lambda d: d.pop("log_q")), ("checkpoints",)),
    Row("a checkpoint whose class has other arguments", ("gan", "pairs", "--out=pairs",
        "--generator=AnalyticFaces", "--target=run/checkpoints/last.ckpt", "--protected=no.ckpt"),
        ("last.ckpt", "does not fit its class"),
        ("frbench.runs.checkpoint:explained", "does not fit"),
        gone_checkpoint(frbench=lambda d: d["model"]["init_args"].update(old=1)),
        ("checkpoints",)),
    Row("a checkpoint of something else", (*GAUSS, LAST), ("not written by frbench",
        "frbench fit"),
        ("frbench.runs.checkpoint:read_checkpoint", "was not written by"),
        lambda: (Path("run/checkpoints").mkdir(parents=True),
                 torch.save({"a": torch.ones(1)}, "run/checkpoints/last.ckpt")), ("checkpoints",)),
    Row("a truncated checkpoint", (*GAUSS, LAST), ("not a readable checkpoint",),
        ("frbench.runs.checkpoint:read_checkpoint", "not a readable"),
        lambda: (gone_checkpoint()(), Path("run/checkpoints/last.ckpt").write_bytes(
            Path("run/checkpoints/last.ckpt").read_bytes()[:900])), ("checkpoints",)),
    *(Row(f"a pickle in place of a checkpoint: {argv[0]}", argv, ("last.ckpt", "not a readable"),
          ("frbench.runs.checkpoint:read_checkpoint", "not a readable"),
          payload("run/checkpoints/last.ckpt"), ("checkpoints",))
      for argv in ((*GAUSS, LAST), ("test", *GAUSS[1:-1], LAST), ("dfr", LAST))),
    # Folders
    Row("a folder below a file", (*GAUSS, "--run_dir=file/run"), ("file", "is a file",
        "--run_dir"),
        ("frbench.support.atomic:check_writable", "is a file"), outside),
    Row("a bench below a file", ("bench", "g.yaml", "--out=file/out"), ("file", "is a file",
        "--out"),
        ("frbench.support.atomic:check_writable", "is a file"),
        lambda: (outside(), add(g__yaml="data: {d: {data: Digits}}\nmethods: {m: {}}\n")()),
        ("frbench bench",)),
    Row("a folder that holds a run", (*GAUSS, "--run_dir=old"), ("already holds a run",
        "Remove it"),
        ("frbench.runs.folder:choose_run_dir", "already holds a run"),
        lambda: (Path("old").mkdir(), Path("old/metrics.csv").write_text("step\n"))),
]  # fmt: skip


def parameters():
    marks = [pytest.mark.promise("input", *row.about) for row in ROWS]
    return [pytest.param(r, id=r.name, marks=m) for r, m in zip(ROWS, marks, strict=True)]


def everything():
    """All files below the folder, with their content."""
    return {
        p: p.read_bytes() for p in Path().rglob("*") if p.is_file() and "pycache" not in str(p)
    }


def wrong(row, capsys):
    """Run the row's command and say what is wrong with its refusal; nothing if all is well."""
    import sys

    sys.modules.pop("own_data", None)
    before = everything()
    capsys.readouterr()
    try:
        status = main([*row.argv, *(() if row.argv[0] != "fit" or "run_dir" in str(row.argv)
                                    or LAST in row.argv else ("--run_dir=new",))])  # fmt: skip
    except BaseException as error:
        return f"raised {type(error).__name__}: {error}"
    error = capsys.readouterr().err
    if status != 2:
        return f"exit status {status}"
    if not error.startswith("frbench: error: ") or error.strip().count("\n"):
        return f"not one line: {error}"
    if missing := [words for words in row.says if words not in error]:
        return f"{missing} not in: {error}"
    if everything() != before:
        return f"files changed: {set(everything()) ^ set(before)}"
    return ""


@pytest.fixture
def folder(in_tmp, monkeypatch):
    monkeypatch.setenv("FRBENCH_DATA", str(in_tmp))
    monkeypatch.setenv("FRBENCH_CACHE", str(in_tmp / "cache"))
    return in_tmp


@pytest.mark.parametrize("row", parameters())
def test_bad_input_is_one_line_and_its_check_is_needed(row, folder, capsys):
    row.make()
    assert not wrong(row, capsys)
    assert not Path("executed").exists()
    with removed(*row.check):
        assert wrong(row, capsys), "the row passes without its check"


@pytest.mark.promise("input", "checkpoints")
def test_a_pickle_is_executed_only_if_weights_only_is_dropped(folder, capsys, monkeypatch):
    payload("run/checkpoints/last.ckpt")()
    load = torch.load
    monkeypatch.setattr(torch, "load", lambda *a, **k: load(*a, **{**k, "weights_only": False}))
    main([*GAUSS, LAST])
    assert Path("executed").exists()


@pytest.mark.promise("input", TableData)
def test_categories_unseen_in_training_are_said_before_training(folder, capsys):
    rows = [f"{'pq'[i % 2]},{both(i)},train" for i in range(40)]
    rows += [f"{'pr'[i % 2]},{both(i)},{'val' if i < 20 else 'test'}" for i in range(40)]
    csv("x,z,y,part\n" + "\n".join(rows) + "\n")()
    assert main([*COLUMN, "--run_dir=new"]) == 0
    said = [
        line for line in capsys.readouterr().out.splitlines() if "not occur in training" in line
    ]
    assert len(said) == 2 and all("10 rows whose x" in line for line in said)


@pytest.mark.promise("input", TableData)
def test_a_group_missing_in_val_or_test_is_said(folder, capsys):
    split_table(both, lambda i: f"a,{i // 2 % 2}")()
    with pytest.warns(SanityWarning, match="val has 0 rows of y=0,z=b"):
        assert main([*COLUMN, "--run_dir=new"]) == 0


# ---- folders that cannot be written ---------------------------------------------------------
@pytest.fixture
def read_only(folder):
    """A folder into which nobody may write, root included."""
    import os
    import subprocess

    closed = folder / "closed"
    closed.mkdir()
    closed.chmod(0o500)
    locked = os.geteuid() == 0 and subprocess.run(
        ["chattr", "+i", closed], stderr=subprocess.DEVNULL, check=False
    ).returncode == 0  # fmt: skip
    try:
        if os.access(closed, os.W_OK):
            pytest.skip("root may write everywhere, and this file system knows no chattr +i")
        yield closed
    finally:
        if locked:
            subprocess.run(["chattr", "-i", closed], check=True)
        closed.chmod(0o700)


GRID = (
    "base: {data.n: 64, trainer.max_epochs: 1}\n"
    "data: {d: {data: TwoGaussians}}\nmethods: {m: {}}\n"
)
CLOSED = [
    Row("fit", (*GAUSS, "--run_dir=closed/run"), ("closed is read-only", "--run_dir"), ()),
    Row("bench", ("bench", "g.yaml", "--out=closed/out"), ("closed is read-only", "--out"), ()),
    Row("gan train", ("gan", "train", "--data=GeneratedFaces", "--steps=1", "--out=closed/gan"),
        ("closed is read-only", "--out"), ()),
    Row("debias", ("data", "debias", "t.csv", "--protected=z", "--target=y", "--out=closed/o.csv"),
        ("closed is read-only", "--out"), ()),
]  # fmt: skip


@pytest.mark.promise("input", "frbench fit", "frbench bench", "results files")
@pytest.mark.parametrize("row", CLOSED, ids=lambda row: row.name)
def test_a_read_only_folder_is_refused_before_any_work(row, folder, read_only, capsys):
    csv(table())()
    Path("g.yaml").write_text(GRID)
    assert not wrong(row, capsys)
    with removed("frbench.support.atomic:check_writable", "is read-only"):
        assert wrong(row, capsys)


@pytest.mark.promise("input", "frbench fit")
def test_runs_in_a_read_only_folder(folder, read_only, capsys, monkeypatch):
    monkeypatch.chdir(read_only)
    assert main([*GAUSS]) == 2
    assert "is read-only" in capsys.readouterr().err


@pytest.mark.promise("input", "results files")
def test_what_is_in_a_folder_that_became_read_only_stays(folder, capsys):
    """A grid that is half done: its results are kept, and the end is one line."""
    import os
    import subprocess

    Path("g.yaml").write_text(GRID)
    assert main(["bench", "g.yaml", "--out=out"]) == 0
    before = everything()
    assert json.loads(Path("out/results.jsonl").read_text())["status"] == "ok"
    Path("g.yaml").write_text(GRID + "seeds: [0, 1]\n")
    if os.geteuid() or subprocess.run(["chattr", "+i", "out"], check=False).returncode:
        pytest.skip("needs root and chattr")
    try:
        assert main(["bench", "g.yaml", "--out=out"]) == 2
        assert "read-only" in capsys.readouterr().err
    finally:
        subprocess.run(["chattr", "-i", "out"], check=True)
    after = everything()
    assert {p: c for p, c in after.items() if p.name != "g.yaml"} == {
        p: c for p, c in before.items() if p.name != "g.yaml"
    }
