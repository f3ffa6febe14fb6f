"""The command from data to de-biased classifier, as a user types it."""

import json

import numpy as np
import pytest
from command import run

from frbench.__main__ import main
from frbench.report.records import Results

pytestmark = [
    pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory"),
]
DATA = ("--data=GeneratedFaces", "--data.n=300", "--data.n_eval=200", "--data.image_size=16")
QUICK = ("--trainer.max_epochs=6", "--trainer.accelerator=cpu", "--model.lr=0.01",
         "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false",
         "--data.batch_size=32")  # fmt: skip


def test_from_data_to_a_debiased_classifier(in_tmp, capsys):
    run("fit", *DATA, *QUICK, "--data.cosine=0", "--data.n=1500", "--run_dir=t")
    run("fit", *DATA, *QUICK, "--data.cosine=0", "--data.target=long_hair", "--run_dir=g")
    run("gan", "train", *DATA, "--data.batch_size=32", "--steps=12", "--grid_every=6",
        "--model.width=4", "--model.latent_dim=8", "--out=gan")  # fmt: skip
    run("gan", "train", *DATA, "--data.batch_size=32", "--steps=15", "--model.width=4",
        "--model.latent_dim=8", "--out=gan")  # fmt: skip
    assert "15 steps" in capsys.readouterr().out
    assert sorted(p.name for p in (in_tmp / "gan/samples").iterdir())[0] == "0000006.png"
    best = "checkpoints/best.ckpt"
    words = ("gan", "pairs", "--generator=AnalyticFaces", "--generator.image_size=16",
             f"--target=t/{best}", f"--protected=g/{best}", "--settings.n=200",
             "--settings.fit=600", "--out=pairs", "--judges", f"t/{best}",
             f"g/{best}")  # fmt: skip
    run(*words)
    shown = capsys.readouterr().out
    run(*words)
    assert capsys.readouterr().out.strip() == shown.strip() and "outside the loop" in shown
    record = json.loads((in_tmp / "pairs/pairs.json").read_text())
    assert record["quality"]["flip_rate"] > 0.7
    run("gan", "show", "pairs", "--out=pairs.png", "--count=20")
    assert (in_tmp / "pairs.png").stat().st_size > 1000
    run("fit", *DATA, *QUICK, "--data.augment+=GanPairs", "--data.augment.path=pairs",
        "--run_dir=both")  # fmt: skip
    assert "generated: 400 of 700 training rows" in capsys.readouterr().out
    run("gan", "metrics", f"--ckpt_path=both/{best}", "--resamples=20")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 14 and all(
        np.isfinite(float(line.split()[1])) for line in lines if "amplification" not in line
    )


def test_trained_gan_as_generator_and_metrics_of_a_grid(in_tmp, capsys):
    run("gan", "train", *DATA, "--data.batch_size=32", "--steps=3", "--model.width=4",
        "--out=gan", "--grid_every=0")  # fmt: skip
    (in_tmp / "grid.yaml").write_text(
        "base: {data.n: 100, data.n_eval: 40, data.image_size: 16, trainer.max_epochs: 1,\n"
        "  data.batch_size: 32, trainer.accelerator: cpu}\n"
        "data: {d: {data: GeneratedFaces}}\nmethods: {ERM: {}}\nseeds: [0]\n"
    )
    for folder, *more in (("grid",), ("kept", "--keep_last")):
        run("bench", "grid.yaml", f"--out=results/{folder}", *more)
        run("gan", "metrics", f"--results=results/{folder}")
        run("gan", "metrics", f"--results=results/{folder}")
        out = capsys.readouterr().out
        assert "1 runs have further metrics" in out and "0 runs have further metrics" in out
        (record,) = Results(in_tmp / f"results/{folder}/results.jsonl").latest().values()
        assert 0 <= record["metrics"]["train/worst_group_accuracy"] <= 1
        ends = [key for key in record["metrics"] if key.startswith("end/")]
        assert bool(ends) == (folder == "kept")
    refitted = {**record, "cell": f"{record['cell']}-dfr", "dfr": {"strength": 1}}
    refitted["metrics"] = {}
    Results(in_tmp / "results/kept/results.jsonl").append(refitted)
    run("gan", "metrics", "--results=results/kept")  # has no checkpoint of its own
    assert "0 runs have further metrics" in capsys.readouterr().out
    last = json.loads((in_tmp / "results/grid/results.jsonl").read_text().splitlines()[-1])
    assert 0 <= last["metrics"]["test/balanced/deo"] <= 1
    run("report", "results/grid", "--metrics", "deo", "kl")
    assert "deo" in capsys.readouterr().out
    best = next((in_tmp / "results/grid/runs").glob("*/checkpoints/best.ckpt"))
    words = ("gan", "pairs", "--generator=Trained", "--generator.path=gan/last.ckpt",
             f"--target={best}", f"--protected={best}", "--settings.n=10", "--settings.fit=50",
             "--out=p")  # fmt: skip
    assert main(list(words)) == 2  # one classifier twice: the planes are parallel
    assert "hyperplane" in capsys.readouterr().err.lower()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nothing",), "train, pairs, metrics, show"),
        (("train", "--data=GeneratedFaces", "--steps=0", "--out=x"), "--steps"),
        (("train", "--data=GeneratedFaces", "--seed=-1", "--out=x"), "seed"),
        (("train", "--data=TwoGaussians", "--out=x"), "square images"),
        (("train", "--data=GeneratedFaces", "--out=x", "--model.depth=3"), "depth"),
        (("pairs", "--generator=AnalyticFaces", "--target=no.ckpt", "--protected=no.ckpt",
          "--out=x"), "no checkpoint"),
        (("pairs", "--generator=AnalyticFaces", "--generator.cosine=2", "--target=a",
          "--protected=b", "--out=x"), "cosine: expected a number in (-1, 1)"),
        (("metrics", "--results=nowhere"), "run frbench bench first"),
        (("metrics",), "required"),
        (("show", "nowhere", "--out=x.png"), "holds no pairs"),
        (("show", "nowhere", "--out=x"), "--out FILE.png"),
        (("show", "nowhere", "--out=x.png", "--count=0"), "--count of 1 or more"),
    ],
)  # fmt: skip
def test_wrong_input_is_one_line(words, message, in_tmp, capsys):
    assert main(["gan", *words]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert message in error[-1] and error[-1].startswith("frbench: error:")
