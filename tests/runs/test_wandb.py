"""Loggers beside the CSV file: an offline W&B run is read back, TensorBoard's events too."""

import importlib.util
import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from command import QUICK, SMALL, column, evaluate, fit, rows, run
from paths import ROOT

import frbench.metrics
from frbench.__main__ import main
from frbench.commands.report import main as report
from frbench.contracts.errors import UserError
from frbench.data import Digits
from frbench.metrics.names import higher_is_better

wandb = pytest.importorskip("wandb")

pytestmark = [
    pytest.mark.xdist_group("wandb"),  # its service starts once in a process
    pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning"),
    # wandb reads a deprecated attribute of its own pydantic models.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

GROUPS = ("y=0-4,z=red", "y=0-4,z=blue", "y=5-9,z=red", "y=5-9,z=blue")
CONFIGS = ROOT / "configs"
WANDB = ("--trainer.logger=WandbLogger", "--trainer.logger.offline=true")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, in_tmp: Path) -> Iterator[Path]:
    """No account, no network, no output.

    W&B's service keeps the folder in which it was started, so that paths here are absolute.
    """
    for name, value in (("MODE", "offline"), ("SILENT", "true"), ("CONSOLE", "off")):
        monkeypatch.setenv(f"WANDB_{name}", value)
    yield in_tmp
    wandb.finish()  # of a failed test; later ones would write into its run


@pytest.fixture(scope="module", autouse=True)
def service() -> Iterator[None]:
    """Stop W&B's service process at the end; it cannot be started a second time."""
    yield
    wandb.teardown()


def records(path: Path) -> Iterator:
    """Read a ``.wandb`` file: LevelDB's log format, each record a protobuf.

    wandb 0.31 has no reader of its own in Python. Blocks of 32 KiB after a header of 7 bytes; a
    chunk has checksum, length and type (1 whole, 2 first, 3 middle, 4 last).
    """
    from wandb.proto.wandb_internal_pb2 import Record

    content, position, parts = path.read_bytes(), 7, b""
    assert content[:4] == b":W&B"
    while position + 7 <= len(content):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        position += 7
        if kind == 0:
            break
        parts += content[position : position + length]
        position += length
        if kind in (1, 4):
            record = Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


class Offline:
    """What one offline run recorded."""

    def __init__(self, folder: Path, which: int = 0, of: int = 1) -> None:
        self.config: dict = {}
        self.history: list[dict] = []
        self.summary: dict = {}
        self.metrics: dict[str, tuple] = {}
        self.artifacts: dict[str, list[str]] = {}
        self.id = ""
        self.runs = 0
        files = [path for path in folder.rglob("*.wandb") if not path.is_symlink()]
        files.sort(key=lambda file: file.stat().st_ctime)
        assert len(files) == of, files
        files = files[which:]
        self.folder = files[0].parent
        deadline = time.monotonic() + 60  # its own process writes the file, late on a busy machine
        found = list(records(files[0]))
        while all(r.WhichOneof("record_type") != "exit" for r in found):
            assert time.monotonic() < deadline, "the run was not ended"
            time.sleep(0.2)
            found = list(records(files[0]))
        for record in found:
            kind = record.WhichOneof("record_type")
            if kind == "run":
                self.runs += 1
                self.id = record.run.run_id
                self._update(self.config, record.run.config.update)
            elif kind == "config":
                self._update(self.config, record.config.update)
            elif kind == "history":
                row: dict = {}
                self._update(row, record.history.item)
                self.history.append(row)
            elif kind == "metric":
                best = next((n for n in ("min", "max") if getattr(record.metric.summary, n)), "")
                name = record.metric.name or record.metric.glob_name
                self.metrics[name] = (record.metric.step_metric, best)
            elif kind == "request" and record.request.HasField("log_artifact"):
                self._add(record.request.log_artifact.artifact)
            elif kind == "artifact":
                self._add(record.artifact)
            elif kind == "summary":
                self._update(self.summary, record.summary.update)

    def _add(self, artifact) -> None:
        self.artifacts[artifact.name] = [entry.path for entry in artifact.manifest.contents]

    @staticmethod
    def _update(target: dict, items) -> None:
        for item in items:
            key = item.key or ".".join(item.nested_key)
            target[key] = json.loads(item.value_json)

    def values(self, name: str) -> list[float]:
        return [row[name] for row in self.history if name in row]


def test_training_is_recorded_with_config_metrics_and_q(offline: Path) -> None:
    fit("--model=GroupDRO", "--model.eta=0.1", "--trainer.max_epochs=2",
        f"--run_dir={offline}/mine", "--trainer.log_every_n_steps=1", *WANDB)  # fmt: skip
    found = Offline(Path("mine"))
    assert found.config["model"]["class_path"].endswith("GroupDRO")
    assert found.config["model"]["init_args"]["eta"] == 0.1
    assert found.config["data"]["init_args"]["n"] == 400
    assert found.config["seed_everything"] == 0
    # Beside it lies the same in CSV.
    path = Path("mine/metrics.csv")
    expected = {f"val/{key}" for key in frbench.metrics.evaluate(
        [0, 1], [0, 1], [0, 1], [0.5, 0.5], class_names=Digits.class_names,
        attribute_names=Digits.attribute_names, train_counts=[[1, 1], [1, 1]])}  # fmt: skip
    expected -= {"val/score_kl_noise_floor"}  # which takes too long for each epoch
    assert expected <= set(rows(path)[0])
    for name in sorted(expected):
        assert found.values(name) == pytest.approx(column(path, name), nan_ok=True), name
    for group in GROUPS:
        assert len(found.values(f"train/q/{group}")) == 6
        for name in (f"train/q/{group}", f"train/group_accuracy/{group}"):
            assert found.values(name) == pytest.approx(column(path, name)), name
    assert found.values("trainer/global_step") == sorted(found.values("trainer/global_step"))


def test_the_final_table_of_a_test_is_recorded(offline: Path) -> None:
    fit(f"--run_dir={offline}/mine")
    evaluate("test", offline / "mine/checkpoints/best.ckpt", *WANDB)
    found = Offline(Path("mine"))
    assert found.values("final._type") == ["table-file"]
    table = json.loads((found.folder / "files" / found.values("final.path")[0]).read_text())
    assert table["columns"] == ["metric", "test/P", "test/Q", "test/P0"]
    metrics = json.loads(Path("mine/test.json").read_text())["metrics"]
    recorded = {
        f"{name}/{metric}": value
        for metric, *values in table["data"]
        for name, value in zip(table["columns"][1:], values, strict=True)
    }
    assert recorded == pytest.approx(metrics, nan_ok=True)
    assert found.values("test/P0/worst_group_accuracy") == [
        pytest.approx(metrics["test/P0/worst_group_accuracy"])
    ]


def test_groups_are_drawn_together_and_files_are_an_artifact(offline: Path) -> None:
    fit("--model=GroupDRO", f"--run_dir={offline}/mine", "--trainer.max_epochs=3",
        "--trainer.log_every_n_steps=1", *WANDB)  # fmt: skip
    found = Offline(Path("mine"))
    assert found.metrics["val/worst_group_accuracy"] == ("trainer/global_step", "max")
    assert found.metrics["val/demographic_parity_difference"] == ("trainer/global_step", "min")
    assert "val/selection_rate" not in found.metrics  # neither direction is better
    charts = {key for row in found.history for key in row if key.startswith("groups/")}
    for name in ("val group accuracy", "train group accuracy", "train group loss", "train q"):
        assert any(key.startswith(f"groups/{name}") for key in charts), (name, charts)
    tables = [json.loads(path.read_text()) for path in found.folder.rglob("*.table.json")]
    lines = {line for table in tables for line in (row[1] for row in table["data"])}
    assert set(GROUPS) <= lines
    assert found.artifacts[f"run-{found.id}"] == ["config.yaml", "metrics.csv"]


def test_a_continued_run_keeps_its_id(offline: Path) -> None:
    fit(f"--run_dir={offline}/mine", *WANDB)
    run("fit", *QUICK, "--trainer.max_epochs=2", *WANDB,
        f"--ckpt_path={offline}/mine/checkpoints/last.ckpt")  # fmt: skip
    evaluate("test", offline / "mine/checkpoints/best.ckpt", *WANDB)
    found = [Offline(Path("mine"), i, of=3) for i in range(3)]
    assert len({x.id for x in found}) == 1 and found[0].id == Path("mine/wandb_id").read_text()
    steps = [x.values("trainer/global_step") for x in found[:2]]
    assert max(steps[0]) == 3 < min(step for step in steps[1] if step > 3)
    assert found[2].values("test/P0/accuracy")
    logged = {key for row in found[2].history for key in row if key.startswith("errors/")}
    for name in ("confusion matrices", "reliability", "roc curves"):
        assert any(key.startswith(f"errors/test P0 {name}") for key in logged), logged


def test_an_id_that_is_given_is_kept(offline: Path) -> None:
    fit(f"--run_dir={offline}/mine", *WANDB, "--trainer.logger.id=first")
    run("fit", *QUICK, "--trainer.max_epochs=2", *WANDB, "--trainer.logger.id=second",
        f"--ckpt_path={offline}/mine/checkpoints/last.ckpt")  # fmt: skip
    assert [Offline(Path("mine"), i, of=2).id for i in range(2)] == ["first", "second"]


def test_the_report_is_an_artifact(offline: Path) -> None:
    Path("grid.yaml").write_text(
        "base: {trainer.max_epochs: 1, trainer.accelerator: cpu, data.n: 300, data.n_eval: 200}\n"
        "data: {digits: {data: Digits}}\nmethods: {ERM: {model: ERM}}\nseeds: [3]\n"
    )
    run("bench", "grid.yaml", f"--out={offline}/out")
    run("report", "out", f"--html={offline}/shown/page.html",
        "--plot=shown/plot.png", "--wandb=mine")  # fmt: skip
    found = Offline(offline / "shown")
    assert found.artifacts == {"report": ["page.html", "plot.png"]}
    assert {"report/page._type", "report/plot._type"} <= {k for row in found.history for k in row}
    with pytest.raises(UserError, match="give --html, --plot or --out"):
        report(["out", "--wandb=mine"])


def test_every_value_of_the_sweep_is_an_option(offline: Path) -> None:
    sweep = yaml.safe_load((CONFIGS / "wandb" / "sweep.yaml").read_text())
    assert higher_is_better(sweep["metric"]["name"]) == (sweep["metric"]["goal"] == "maximize")
    assert sweep["command"][0] == "frbench" and sweep["command"][-1] == "${args}"
    values = {name: given["values"] for name, given in sweep["parameters"].items()}
    for i in range(max(map(len, values.values()))):
        # As W&B fills in ${args}: in alphabetical order.
        args = [f"--{name}={own[i % len(own)]}" for name, own in sorted(values.items())]
        words = [*sweep["command"][1:-1], *args]
        run(*words, *SMALL[1:], *QUICK, "--trainer.logger.offline=true",
            f"--run_dir={offline}/run{i}")  # fmt: skip
        found = Offline(Path(f"run{i}"))
        assert found.config["model"]["init_args"]["lr"] == values["model.lr"][i]
        assert found.values(sweep["metric"]["name"])


def test_runs_of_one_process_are_recorded_apart(offline: Path) -> None:
    for name in ("a", "b"):
        fit(f"--run_dir={offline}/{name}", f"--seed_everything={ord(name)}", *WANDB)
    seeds = [Offline(Path(name)).config["seed_everything"] for name in ("a", "b")]
    assert seeds == [97, 98]


def test_cells_of_a_grid_are_recorded_apart(offline: Path) -> None:
    Path("grid.yaml").write_text(
        "base: {trainer.max_epochs: 1, trainer.accelerator: cpu, data.n: 300, data.n_eval: 200,\n"
        "       trainer.logger: WandbLogger, trainer.logger.offline: true}\n"
        "data: {digits: {data: Digits}}\nmethods: {ERM: {model: ERM}}\nseeds: [3, 4]\n"
    )
    run("bench", "grid.yaml", f"--out={offline}/out")
    cells = sorted(Path("out/runs").iterdir())
    found = [Offline(cell) for cell in cells]
    assert sorted(x.config["seed_everything"] for x in found) == [3, 4]
    # Each holds its own evaluation of the best step on validation and test.
    assert all(x.values("test/P0/accuracy") for x in found)


def test_tensorboard_gets_the_same_metrics(offline: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    fit("--model=GroupDRO", f"--run_dir={offline}/mine", "--trainer.logger=TensorBoardLogger",
        "--trainer.logger.save_dir=.", "--trainer.log_every_n_steps=1")  # fmt: skip
    file = next(Path("mine").rglob("events.out.*"))
    found = events.EventAccumulator(str(file.parent))
    found.Reload()
    for name in (
        "val/worst_group_accuracy",
        f"train/q/{GROUPS[1]}",
        f"train/group_loss/{GROUPS[0]}",
    ):
        scalars = [event.value for event in found.Scalars(name)]
        assert scalars == pytest.approx(column(Path("mine/metrics.csv"), name), rel=1e-6)


def test_a_logger_of_the_users_keeps_its_own_folder(offline: Path) -> None:
    fit(
        f"--run_dir={offline}/mine",
        "--trainer.logger=TensorBoardLogger",
        "--trainer.logger.save_dir=board",
    )
    assert list(Path("board").rglob("events.out.*"))
    assert not list(Path("mine").rglob("events.out.*"))


def test_no_logger_leaves_no_metrics_file(offline: Path) -> None:
    fit(f"--run_dir={offline}/mine", "--trainer.logger=false")
    assert not Path("mine/metrics.csv").exists()
    assert torch.load("mine/checkpoints/best.ckpt", weights_only=True)["global_step"] == 3


def test_a_logger_whose_package_is_missing_is_one_line(in_tmp, capsys):
    pytest.importorskip("pytorch_lightning.loggers.mlflow")
    if importlib.util.find_spec("mlflow") is not None:
        pytest.skip("mlflow is installed here")
    assert main(["fit", "--data=TwoGaussians", "--trainer.logger=MLFlowLogger"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("frbench: error: A package is missing: pip install")
    assert len(error.splitlines()) == 1
