"""metrics.csv: appended, repaired, cut, and continued without gaps or repeats."""

from pathlib import Path

import pytest
from command import fit, rows

from frbench.callbacks import CSVLogger

ignore_small_groups = pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning")


def values(path: Path) -> list[dict[str, str]]:
    """Rows without their empty cells."""
    return [{key: value for key, value in row.items() if value} for row in rows(path)]


def test_rows_are_appended_and_new_columns_left_empty_above(tmp_path: Path) -> None:
    logger = CSVLogger(str(tmp_path / "run"))
    logger.log_metrics({"a": 1.5}, step=1)
    logger.log_metrics({"b": 2.0, "a": 0.25}, step=2)
    logger.log_metrics({"b": 3.0}, step=3)
    assert rows(tmp_path / "run" / "metrics.csv") == [
        {"step": "1", "a": "1.5", "b": ""},
        {"step": "2", "a": "0.25", "b": "2.0"},
        {"step": "3", "a": "", "b": "3.0"},
    ]
    assert logger.rows == 3


def test_numbers_come_back_exactly(tmp_path: Path) -> None:
    numbers = {"third": 1 / 3, "tiny": 1e-300, "nan": float("nan"), "large": 123456789.123456789}
    logger = CSVLogger(str(tmp_path))
    logger.log_metrics(numbers, step=0)
    found = rows(logger.path)[0]
    assert {k: repr(float(found[k])) for k in numbers} == {k: repr(v) for k, v in numbers.items()}


def test_names_with_commas_and_quotes_survive(tmp_path: Path) -> None:
    logger = CSVLogger(str(tmp_path))
    logger.log_metrics({'acc/y="a",z=b': 1.0}, step=0)
    logger.log_metrics({"c": 2.0}, step=1)
    assert values(logger.path) == [
        {"step": "0", 'acc/y="a",z=b': "1.0"},
        {"step": "1", "c": "2.0"},
    ]


def test_a_second_logger_continues_the_file(tmp_path: Path) -> None:
    CSVLogger(str(tmp_path)).log_metrics({"a": 1.0}, step=1)
    second = CSVLogger(str(tmp_path))
    second.log_metrics({"b": 2.0}, step=2)
    assert values(second.path) == [{"step": "1", "a": "1.0"}, {"step": "2", "b": "2.0"}]
    assert second.rows == 2


def test_truncate_keeps_the_first_rows(tmp_path: Path) -> None:
    first = CSVLogger(str(tmp_path))
    for step in range(5):
        first.log_metrics({"a": float(step)}, step=step)
    second = CSVLogger(str(tmp_path))
    second.truncate(2)
    assert second.rows == 2
    second.log_metrics({"a": 9.0}, step=2)
    assert [row["a"] for row in rows(second.path)] == ["0.0", "1.0", "9.0"]


def test_truncate_beyond_the_end_or_without_a_file(tmp_path: Path) -> None:
    logger = CSVLogger(str(tmp_path))
    logger.truncate(3)
    assert not logger.path.exists()
    logger.log_metrics({"a": 1.0}, step=1)
    logger.truncate(3)
    assert len(rows(logger.path)) == 1


@pytest.mark.parametrize("cut", [1, 3, 6])
def test_a_half_written_last_row_is_left_out(tmp_path: Path, cut: int) -> None:
    """Whatever was written of the last row, the file is whole once it is continued."""
    first = CSVLogger(str(tmp_path))
    for step in range(3):
        first.log_metrics({"a": 1.25, "b": 2.5}, step=step)
    content = first.path.read_bytes()
    first.path.write_bytes(content[:-cut])
    second = CSVLogger(str(tmp_path))
    second.truncate(2)
    second.log_metrics({"a": 7.0, "b": 8.0}, step=2)
    assert [(row["step"], row["a"], row["b"]) for row in rows(second.path)] == [
        ("0", "1.25", "2.5"),
        ("1", "1.25", "2.5"),
        ("2", "7.0", "8.0"),
    ]


def test_a_row_without_its_last_columns_is_dropped_when_the_file_is_continued(
    tmp_path: Path,
) -> None:
    first = CSVLogger(str(tmp_path))
    for step in range(3):
        first.log_metrics({"a": 1.25, "b": 2.5}, step=step)
    first.path.write_bytes(first.path.read_bytes()[:-6])
    CSVLogger(str(tmp_path)).log_metrics({"a": 7.0}, step=2)
    assert [row["a"] for row in rows(first.path)] == ["1.25", "1.25", "7.0"]


@ignore_small_groups
@pytest.mark.parametrize("steps", [0, 2])
def test_a_continued_run_leaves_the_rows_of_an_uninterrupted_one(in_tmp: Path, steps: int) -> None:
    common = ("--model=GroupDRO", "--data.balance=joint", "--trainer.log_every_n_steps=1",
              f"--rolling.every_n_steps={steps}")  # fmt: skip
    fit("--run_dir=whole", "--trainer.max_epochs=4", *common)
    fit("--run_dir=parts", "--trainer.max_epochs=2", *common)
    last = "--ckpt_path=parts/checkpoints/last.ckpt"
    fit("--run_dir=parts", "--trainer.max_epochs=4", last, *common)
    whole, parts = (values(Path(name) / "metrics.csv") for name in ("whole", "parts"))
    assert len(whole) == 4 * (3 + 2)  # steps, validation, epoch
    assert parts == whole


@ignore_small_groups
def test_rows_logged_after_the_checkpoint_are_logged_again(in_tmp: Path) -> None:
    """A run that dies in its third epoch is continued from the end of its second."""
    common = ("--trainer.log_every_n_steps=1", "--rolling.every_n_steps=0")
    fit("--run_dir=whole", "--trainer.max_epochs=4", *common)
    fit("--run_dir=parts", "--trainer.max_epochs=2", *common)
    last = Path("parts/checkpoints/last.ckpt")
    kept = last.read_bytes()
    fit("--run_dir=parts", "--trainer.max_epochs=3", f"--ckpt_path={last}", *common)
    last.write_bytes(kept)  # as if it had been killed before the third was complete
    assert len(rows(Path("parts/metrics.csv"))) == 15
    fit("--run_dir=parts", "--trainer.max_epochs=4", f"--ckpt_path={last}", *common)
    assert values(Path("parts/metrics.csv")) == values(Path("whole/metrics.csv"))
    assert sorted(p.name for p in Path("parts").glob("config*")) == [
        "config-2.yaml", "config-3.yaml", "config.yaml"
    ]  # fmt: skip


@ignore_small_groups
def test_testing_does_not_touch_the_rows_of_training(in_tmp: Path) -> None:
    from command import evaluate

    fit("--run_dir=run")
    before = Path("run/metrics.csv").read_bytes()
    evaluate("test", Path("run/checkpoints/last.ckpt"))
    evaluate("validate", Path("run/checkpoints/best.ckpt"))
    assert Path("run/metrics.csv").read_bytes() == before
