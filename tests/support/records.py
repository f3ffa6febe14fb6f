"""Synthetic results files."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Record = dict[str, Any]


@pytest.fixture
def record() -> Callable[..., Record]:
    """Make a record as `frbench bench` writes it; metrics are given as keyword arguments."""

    def make(
        data: str = "digits",
        method: str = "ERM",
        settings: dict[str, Any] | None = None,
        seed: int = 0,
        fold: int | None = None,
        metrics: dict[str, float] | None = None,
        **extra: Any,
    ) -> Record:
        name = json.dumps([data, method, settings, seed, fold])
        out = {
            "cell": hashlib.sha256(name.encode()).hexdigest()[:16],
            "status": "ok",
            "data": data,
            "method": method,
            "settings": settings or {},
            "seed": seed,
            "fold": fold,
            "selection": {"monitor": "val/accuracy", "mode": "max", "oracle": False},
            "metrics": metrics or {},
            "config_hash": name,
            "data_hash": "d",
            "versions": {"frbench": "0.1.0", "torch": "2.15"},
            "seconds": 60.0,
            "peak_memory_mb": 512.0,
            "warnings": {},
        }
        return out | extra

    return make


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write records to a results file."""

    def to_file(records: list[Record], tail: str = "", name: str = "results.jsonl") -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(r) + "\n" for r in records) + tail)
        return path

    return to_file


@pytest.fixture
def grid(record: Callable[..., Record]) -> list[Record]:
    """Two data sets, three methods, two settings, three seeds; test prefers what val does not.

    Validation prefers lr 0.1, test lr 1.0, by 0.05 each.
    """
    levels = {
        "ERM": (0.7, 0.3, 0.4),
        "joint_weight": (0.8, 0.6, 0.1),
        "GroupDRO": (0.78, 0.65, 0.05),
    }
    records = []
    for data, tables in (("digits", ("test/P", "test/P0")), ("adult", ("test",))):
        for method, (accuracy, worst, gap) in levels.items():
            for lr in (0.1, 1.0):
                for seed in range(3):
                    noise = 0.01 * (seed * (len(method) + seed) % 7)
                    metrics = {
                        "val/accuracy": accuracy + noise,
                        "val/worst_group_accuracy": worst + noise + 0.05 * (lr == 0.1),
                        "val/demographic_parity_difference": gap + 0.2 * (lr == 0.1),
                    }
                    for table in tables:
                        bonus = noise**1.5 + 0.05 * (lr == 1.0) - 0.02 * (table == "test/P0")
                        metrics |= {
                            f"{table}/accuracy": accuracy + bonus,
                            f"{table}/worst_group_accuracy": worst + bonus,
                            f"{table}/demographic_parity_difference": gap - bonus,
                            f"{table}/equalized_odds_difference": gap + bonus,
                            f"{table}/group_accuracy/y=1,z=non-red": worst + bonus,
                            f"{table}/selection_rate": 0.5,
                            f"{table}/loss": 0.3,
                        }
                    settings = {"model.lr": lr}
                    records.append(record(data, method, settings, seed, metrics=metrics))
    return records
