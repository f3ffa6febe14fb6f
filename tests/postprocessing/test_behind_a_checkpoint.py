"""What is fitted behind a checkpoint is part of it: test, predict, load and export apply it."""

import csv
import json
import textwrap

import numpy as np
import pytest
import torch
from command import QUICK, SMALL, run
from pytorch_lightning import Trainer

from frbench import load
from frbench.__main__ import main
from frbench.commands.postprocess import main as postprocess
from frbench.contracts.errors import UserError
from frbench.data import Digits
from frbench.data.loader import EvalLoader
from frbench.objectives import ERM
from frbench.postprocessing import ThresholdOptimizer
from frbench.postprocessing.split import Split
from frbench.report.records import Results
from frbench.runs.checkpoint import read_checkpoint
from frbench.training.postprocess import outputs

pytestmark = pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning")


@pytest.fixture(scope="module")
def best(tmp_path_factory):
    """The checkpoint of a short training."""
    folder = tmp_path_factory.mktemp("run")
    run(
        "fit",
        *SMALL,
        *QUICK,
        f"--run_dir={folder / 'r'}",
        "--data.balance=none",
        "--trainer.max_epochs=4",
        "--model.lr=0.01",
    )
    return folder / "r/checkpoints/best.ckpt"


def fit_behind(best, tmp_path, *words):
    out = tmp_path / "new.ckpt"
    run("postprocess", f"--ckpt_path={best}", f"--out={out}", *words)
    return out


def data():
    return Digits(n=400, n_eval=400)


def evaluation_of(model, **options):
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False,
                      enable_checkpointing=False, enable_model_summary=False)  # fmt: skip
    trainer.test(model, datamodule=Digits(n=400, n_eval=400, **options), verbose=False)
    # Equal dictionaries may hold NaN.
    return {
        table: {k: None if np.isnan(v) else v for k, v in metrics.items()}
        for table, metrics in model.evaluation.items()
    }


def test_a_map_is_part_of_the_checkpoint(best, tmp_path, capsys):
    out = fit_behind(best, tmp_path, "--method=ThresholdOptimizer",
                     "--method.constraint=equalized_odds")  # fmt: skip
    said = capsys.readouterr().out
    assert "fitted on 200 rows of val; validation selects by 200 rows" in said
    assert "note: ThresholdOptimizer reads the attribute of each row to decide" in said
    old, new = load(best), load(out)
    for key, value in old.state_dict().items():
        assert torch.equal(value, new.state_dict()[key])
    # The same map, fitted by hand on the same half.
    rows = outputs(old, data(), "val")
    half = Split("val", 0.5, 0).fitting(rows.group)
    method = ThresholdOptimizer("equalized_odds")
    method.bind(old.sizes, old.network.num_features)
    method.fit(rows.take(half))
    for key, value in method.state_dict().items():
        assert torch.equal(value, new.state_dict()[f"postprocess.{key}"])
    record = read_checkpoint(out)["frbench"]["postprocess"]
    assert record["fitted_on"] == {"name": "val", "share": 0.5, "seed": 0, "rows": 200}
    assert record["selected_on"]["rows"] == 200 and record["needs"] == ["y", "z"]
    assert record["reads_attribute"] and record["method"]["class_path"].endswith(
        "postprocessing.ThresholdOptimizer"
    )
    # Scores stay; predictions and what follows from them change.
    before, after = evaluation_of(old), evaluation_of(new)
    for table, metrics in before.items():
        if "family" in table:
            continue
        for name in ("auroc", "negative_log_likelihood", "expected_calibration_error"):
            assert metrics[name] == after[table][name]
        assert metrics["accuracy"] != after[table]["accuracy"]


def test_decisions_do_not_depend_on_batches_order_or_place(best, tmp_path):
    out = fit_behind(best, tmp_path, "--method=EqOddsMixing", "--share=1")
    new = load(out)
    evaluations = [evaluation_of(new, batch_size=size) for size in (7, 400)]
    assert evaluations[0] == evaluations[1]
    table = data().splits["test/P"]
    whole = new.table_outcome(table)
    order = np.random.default_rng(0).permutation(len(table))
    shuffled = new.table_outcome(table.take(order), order)
    assert torch.equal(shuffled.decision, whole.decision[order])
    assert ((whole.shares > 0) & (whole.shares < 1)).any()  # it does draw
    # Three processes, each with its share of the rows, as the loaders of evaluation give it.
    rows = new.encoding.table_loader(table, "test").dataset
    for place in range(3):
        for batch in EvalLoader(rows, 16, place, 3, 0, False):
            decided = new.outcome(batch.x, batch.z, batch.index).decision
            assert torch.equal(decided, whole.decision[batch.index])


def test_expected_decisions_are_counted_by_their_probabilities(best, tmp_path):
    out = fit_behind(best, tmp_path, "--method=ThresholdOptimizer")
    new = load(out)
    drawn = evaluation_of(new)
    new.expected_decisions = True
    expected = evaluation_of(new)
    table = data().splits["test/P"]
    shares = new.table_outcome(table).shares.numpy()
    by_hand = shares[np.arange(len(table)), table.y].mean()
    assert expected["test/P"]["accuracy"] == pytest.approx(by_hand)
    assert drawn["test/P"]["accuracy"] != expected["test/P"]["accuracy"]
    assert drawn["test/P"]["accuracy"] == pytest.approx(by_hand, abs=0.06)
    assert drawn["test/P"]["auroc"] == expected["test/P"]["auroc"]
    run("test", *SMALL, *QUICK[1:], f"--ckpt_path={out}", "--expected_decisions=true",
        f"--run_dir={tmp_path}/t")  # fmt: skip
    record = json.loads((tmp_path / "t/test.json").read_text())
    assert record["metrics"]["test/P/accuracy"] == pytest.approx(by_hand)
    assert record["decisions"] == "expected" and "reads the attribute" in record["attribute_use"]


def test_test_predict_and_python_agree(best, tmp_path, capsys):
    out = fit_behind(best, tmp_path, "--method=RelaxedEqualizedOdds", "--method.tolerance=0.05")
    run("test", *SMALL, *QUICK[1:], f"--ckpt_path={out}", f"--run_dir={tmp_path}/t")
    record = json.loads((tmp_path / "t/test.json").read_text())
    assert record["selection"]["postprocess"]["method"]["init_args"]["tolerance"] == 0.05
    capsys.readouterr()
    run("predict", f"--ckpt_path={out}", "--split=test/P", f"--out={tmp_path}/p.csv")
    assert "note: RelaxedEqualizedOdds reads the attribute" in capsys.readouterr().out
    with (tmp_path / "p.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    right = np.mean([line["prediction"] == line["y"] for line in lines])
    assert right == pytest.approx(record["metrics"]["test/P/accuracy"])
    names = load(out).classes_
    chance = np.array([[float(line[f"decides({name})"]) for name in names] for line in lines])
    assert np.allclose(chance.sum(1), 1)
    assert main(["predict", f"--ckpt_path={out}", "--split=test/P", "--threshold=0.4",
                 f"--out={tmp_path}/q.csv"]) == 2  # fmt: skip
    assert "decides by RelaxedEqualizedOdds" in capsys.readouterr().err


def test_rows_without_attribute_keep_the_networks_decision(best, tmp_path, capsys):
    out = fit_behind(best, tmp_path, "--method=ThresholdOptimizer")
    x = data().splits["test/P"].x[:30]
    np.savez(tmp_path / "rows.npz", x=x)
    capsys.readouterr()
    run("predict", f"--ckpt_path={out}", str(tmp_path / "rows.npz"), f"--out={tmp_path}/s.csv")
    assert "30 rows have no attribute, which the decision reads" in capsys.readouterr().out
    with (tmp_path / "s.csv").open(newline="") as file:
        found = [line["prediction"] for line in csv.DictReader(file)]
    old = load(best)
    assert found == old.predict(x).tolist() == load(out).predict(x).tolist()
    assert json.loads((tmp_path / "s.json").read_text())["decided_without_attribute"] == 30


def test_a_last_layer_behind_a_checkpoint(best, tmp_path):
    out = fit_behind(best, tmp_path, "--method=AFR", "--method.steps=0", "--method.gamma=10")
    old, new = load(best), load(out)
    for key, value in old.state_dict().items():
        assert torch.equal(value, new.state_dict()[key])  # no step: the checkpoint bit for bit
    assert evaluation_of(old) == evaluation_of(new)
    moved = tmp_path / "moved.ckpt"
    run("postprocess", f"--ckpt_path={best}", f"--out={moved}", "--method=AFR")
    assert evaluation_of(load(moved)) != evaluation_of(old)
    record = read_checkpoint(moved)["frbench"]["postprocess"]
    assert record["needs"] == ["y"] and record["loss"] < record["loss_before"]


def test_a_class_of_ones_own_needs_trust_where_a_file_names_it(best, tmp_path, monkeypatch):
    (tmp_path / "own_map.py").write_text(textwrap.dedent('''
        """A map of one's own."""
        from frbench.postprocessing import Part, ThresholdMap

        class Half(ThresholdMap):
            """Thresholds of .4 for every group."""
            def rule(self, rows):
                return [[Part(1.0, 0.4)] for _ in range(self.num_attributes)], {}
    '''))  # fmt: skip
    monkeypatch.syspath_prepend(str(tmp_path))
    out = fit_behind(best, tmp_path, "--method=own_map.Half")
    with pytest.raises(UserError, match="--trust own_map"):
        load(out)
    new = load(out, trust=["own_map"])
    table = data().splits["test/P"]
    found = new.table_outcome(table)
    assert torch.equal(found.decision, (found.logits.double().softmax(1)[:, 1] > 0.4).long())


def test_export_gives_the_decisions_too(best, tmp_path):
    out = fit_behind(best, tmp_path, "--method=ThresholdOptimizer")
    run("export", "--to=torch", str(out), f"--out={tmp_path}/m.pt2")
    program = torch.export.load(tmp_path / "m.pt2").module()
    table = data().splits["test/P"]
    new = load(out)
    found = new.table_outcome(table)
    x, z = torch.as_tensor(table.x).float(), torch.as_tensor(table.z)
    probabilities, shares = program(new.encoding.prepare(x), z)
    assert torch.allclose(probabilities, found.logits.softmax(1), atol=1e-5)
    assert torch.allclose(shares, found.shares, atol=1e-5)


def test_rows_that_training_does_not_see(tmp_path, capsys):
    """AFR's protocol: the last layer is refitted on a share of the training rows."""
    whole, parted = Digits(n=400, n_eval=400), Digits(n=400, n_eval=400, held_out=0.2)
    table, left, rest = whole.splits["train"], parted.splits["train"], parted.splits["held_out"]
    assert len(left) + len(rest) == len(table) and abs(len(rest) - 80) <= 2
    cells = [t.counts(parted.num_classes, parted.num_attributes) for t in (table, rest)]
    assert np.abs(cells[1] - 0.2 * cells[0]).max() <= 0.5
    rows = {x.tobytes() for x in np.asarray(left.x)}
    assert len(parted.training.table) == len(left) and parted.test_names == whole.test_names
    assert sum(x.tobytes() in rows for x in np.asarray(rest.x)) <= len(table) - len(
        {x.tobytes() for x in np.asarray(table.x)}
    )
    run("fit", *SMALL, *QUICK, f"--run_dir={tmp_path / 'r'}", "--data.held_out=0.2")
    best = tmp_path / "r/checkpoints/best.ckpt"
    out = fit_behind(best, tmp_path, "--method=AFR", "--split=held_out")
    assert f"fitted on {len(rest)} rows of held_out; validation selects by all rows" in (
        capsys.readouterr().out
    )
    record = read_checkpoint(out)["frbench"]["postprocess"]
    assert record["fitted_on"] == {"name": "held_out", "share": 1.0, "seed": 0, "rows": len(rest)}
    found = outputs(load(best), parted, "held_out")
    assert np.array_equal(found.y, rest.y)
    with pytest.raises(UserError, match=r"data\.held_out"):
        _ = Digits(n=40, n_eval=40, held_out=0.001).splits


def test_wrong_use_is_one_line(best, tmp_path, capsys):
    out = fit_behind(best, tmp_path, "--method=EqOddsMixing")
    behind = f"--ckpt_path={best}"
    for words, message in [
        (["postprocess", "--method=AFR"], "--ckpt_path --results is required"),
        (["postprocess", behind], "--method"),
        (["postprocess", behind, "--method=Nothing"], "Nothing"),
        (["postprocess", behind, "--method=AFR", "--method.gama=1"], "gama"),
        (["postprocess", behind, "--method=AFR", "--method.gamma=-1"], "gamma"),
        (["postprocess", behind, "--method=AFR", "--what=1"], "unknown option --what"),
        (["postprocess", behind, "--method=AFR", "--share=0"], "--share"),
        (["postprocess", behind, "--method=AFR", "--split=test"], "--split"),
        (["postprocess", behind, "--method=AFR", "--split=held_out"], "--data.held_out"),
        (["postprocess", behind, "--method=AFR", f"--out={out}"], "exists, and is not"),
        (["postprocess", f"--ckpt_path={out}", "--method=ThresholdOptimizer"], "behind it"),
        (["postprocess", behind, "--method=AFR", "--methods=ERM"], "--methods chooses"),
        (["postprocess", "--results=nowhere", "--method=AFR"], "no nowhere/results.jsonl"),
        (["fit", *SMALL, *QUICK, f"--ckpt_path={out}"], "continue a run from its last.ckpt"),
        (["fit", *SMALL, *QUICK, "--model=ERM", "--model.postprocess=EqOddsMixing"],
         "fitted after training"),
    ]:  # fmt: skip
        capsys.readouterr()
        assert main([str(word) for word in words]) == 2, words
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("frbench: error: ") and message in error, (words, error)


def test_every_run_of_a_grid_is_taken_once(in_tmp):
    (in_tmp / "g.yaml").write_text(
        "base: {data.n: 300, data.n_eval: 300, trainer.max_epochs: 1, trainer.accelerator: cpu}\n"
        "data: {digits: {data: Digits}}\nmethods: {ERM: {model: ERM}}\n"
    )
    run("bench", "g.yaml", "--out", "out")
    words = ["--results=out", "--method=RelaxedEqualizedOdds", "--method.tolerance=0.1"]
    for _ in range(2):  # the second finds nothing to do
        assert postprocess(words) == 0
    assert postprocess([*words[:2], "--method.tolerance=0.2"]) == 0
    records = list(Results(in_tmp / "out/results.jsonl").latest().values())
    assert [r["method"] for r in records] == ["ERM", *["ERM+RelaxedEqualizedOdds"] * 2]
    assert [r["settings"] for r in records[1:]] == [
        {"postprocess.tolerance": 0.1}, {"postprocess.tolerance": 0.2}
    ]  # fmt: skip
    assert all("reads the attribute" in r["attribute_use"] for r in records[1:])
    assert records[1]["metrics"]["test/P/auroc"] == records[0]["metrics"]["test/P/auroc"]
    assert list((in_tmp / "out/runs").glob("*/checkpoints/outputs-val-*.npz"))


def test_an_unfitted_map_is_the_networks_decision():
    torch.manual_seed(0)
    model = ERM(2, 2, [4], postprocess=ThresholdOptimizer())
    x, z = torch.randn(50, 4), torch.randint(-1, 2, (50,))
    found = model.eval().outcome(x, z, torch.arange(50))
    assert torch.equal(found.decision, model(x).argmax(1))
    assert torch.equal(found.logits, model(x))


def test_expected_decisions_of_a_file(in_tmp, capsys):
    """Counted by their probabilities, whether or not columns are reported on."""
    rng = np.random.default_rng(0)
    z, y, x = rng.integers(0, 2, 600), rng.integers(0, 2, 600), rng.normal(size=600)
    lines = [f"{v:.3f},{'ab'[a]},{c},{'pqr'[k % 3]}"
             for k, (v, a, c) in enumerate(zip(x + y + 0.5 * z, z, y, strict=True))]  # fmt: skip
    (in_tmp / "t.csv").write_text("\n".join(["x,z,y,site", *lines]) + "\n")
    run(
        "fit",
        *QUICK[1:],
        "--data=TableData",
        "--data.path=t.csv",
        "--data.target=y",
        "--data.attribute=z",
        "--data.drop=[site]",
        "--trainer.max_epochs=2",
        "--run_dir=r",
    )
    best = in_tmp / "r/checkpoints/best.ckpt"
    out = fit_behind(best, in_tmp, "--method=EqOddsMixing", "--share=1")
    new = load(out)
    rows = list(new.score("t.csv"))
    shares = np.concatenate([part.shares for part in rows])
    assert ((shares > 0.01) & (shares < 0.99)).any()
    by_hand = shares[np.arange(600), y].mean()
    found = {}
    expected = ["--expected_decisions", "true"]
    for k, words in enumerate(([], expected, [*expected, "--attributes=z,site"])):
        run("test", "t.csv", f"--ckpt_path={out}", f"--run_dir=t{k}", *words)
        record = json.loads((in_tmp / f"t{k}/test.json").read_text())
        assert record["decisions"] == ("expected" if words else "made")
        assert record["decision"] == "EqOddsMixing"
        found[k] = record["metrics"]
    assert found[1]["test/accuracy"] == pytest.approx(by_hand)
    assert found[0]["test/accuracy"] != found[1]["test/accuracy"]
    for name in ("accuracy", "equalized_odds_difference", "auroc", "group_accuracy/y=1,z=a"):
        assert found[2][f"test by z/{name}"] == pytest.approx(found[1][f"test/{name}"]), name
    assert {"test by site/auroc", "test by z&site/accuracy"} <= found[2].keys()
    capsys.readouterr()
    assert main(["test", "t.csv", f"--ckpt_path={out}", "--expected_decisions=maybe"]) == 2
    assert "expected true or false, got maybe" in capsys.readouterr().err


def test_groups_that_an_inference_finds_need_no_attribute(best, tmp_path, capsys):
    """The inference is part of the map's specification, its groups have their own number."""
    out = fit_behind(best, tmp_path, "--method=Barycentre", "--method.attribute=Clusters",
                     "--method.attribute.clusters=3", "--share=1")  # fmt: skip
    assert "note:" not in capsys.readouterr().out
    record = read_checkpoint(out)["frbench"]["postprocess"]
    assert record["method"]["init_args"]["attribute"]["init_args"]["clusters"] == 3
    assert not record["reads_attribute"] and len(record["rule"]) == 3
    new = load(out)
    assert new.attribute_use == "" and new.postprocess.num_attributes == 3
    table = data().splits["test/P"]
    blind = new.table_outcome(table.replace(z=np.full(len(table), -1)))
    assert torch.equal(blind.decision, new.table_outcome(table).decision)
    rows = outputs(load(best), data(), "val")
    told = new.postprocess.groups_of(rows)
    chosen = new.table_outcome(data().splits["val"]).shares[:, 1].numpy()
    assert np.ptp([chosen[told == g].mean() for g in range(3)]) < 1e-3
    capsys.readouterr()
    words = ["postprocess", f"--ckpt_path={best}", "--method=Barycentre", "--method.attribute=No"]
    assert main(words) == 2
    assert "method.attribute" in (error := capsys.readouterr().err) and error.count("\n") == 1
