"""An attribute value that only a test table has: it counts there, and changes no training."""

import json

import numpy as np
import pandas as pd
import pytest

from frbench.__main__ import main
from frbench.report.predictions import FILE, read_predictions
from frbench.report.records import Results

pytestmark = [
    pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning"),
    pytest.mark.slow,
]

GRID = """
base: {data: TableData, data.target: y, data.attribute: z, data.split: column,
       data.split_column: s, data.batch_size: 50, trainer.max_epochs: 2, trainer.accelerator: cpu}
data: {more: {data.path: more.csv}, same: {data.path: same.csv}}
methods:
  ERM: {model: ERM}
  GroupDRO: {model: GroupDRO}
  RWG: {data.balance: joint, data.marginals: uniform, data.empty_cells: skip}
  VREx: {model.penalties: [{class_path: VREx}], model.penalties.weight: 1.0}
  FairBatch: {model: FairBatch}
  DFR: {after: ERM, postprocess: DFR}
  TO: {after: ERM, postprocess: ThresholdOptimizer}
"""


def test_an_unseen_value_counts_on_test_and_changes_no_training(in_tmp, capsys):
    rng = np.random.default_rng(0)
    n = 700
    y, z = rng.integers(2, size=n), rng.choice(["u", "v"], n)
    split = np.repeat(["train", "val", "test"], [400, 150, 150])
    z[-60:] = "w"
    frame = pd.DataFrame({"a": rng.normal(size=n) + y, "b": rng.normal(size=n) - y, "y": y,
                          "z": z, "s": split})  # fmt: skip
    frame.to_csv("more.csv", index=False)
    frame[:-60].to_csv("same.csv", index=False)
    (in_tmp / "g.yaml").write_text(GRID)
    assert main(["bench", "g.yaml", "--out=out"]) == 1  # one cell fails
    found = {
        (r["data"], r["method"]): r
        for r in Results(in_tmp / "out/results.jsonl").latest().values()
    }
    for name in ("ERM", "GroupDRO", "RWG", "VREx", "FairBatch", "DFR"):
        more, same = found["more", name], found["same", name]
        assert more["status"] == same["status"] == "ok", more
        values = more["metrics"]
        known = [k for k in same["metrics"] if "z=u" in k or "z=v" in k]
        assert len(known) > 20
        loss = "val/negative_log_likelihood"
        # GroupDRO's q begins uniform over all groups, as published, also those without rows.
        for key in [*known, "val/worst_group_accuracy", "val/accuracy", loss] * (
            name != "GroupDRO"
        ):
            # Batches of another size round otherwise: of some hundred pairs of scores few tie.
            near = 1e-2 if "auroc" in key or "average_precision" in key else 1e-6
            assert values[key] == pytest.approx(same["metrics"][key], abs=near, nan_ok=True), key
        groups = [values[f"test/group_accuracy/y={y},z={z}"] for y in (0, 1) for z in "uvw"]
        assert values["test/worst_group_accuracy"] == min(groups)
        assert values["val/empty_groups"] == 2 and values["test/empty_groups"] == 0
        kept = read_predictions(in_tmp / "out/runs" / more["cell"] / FILE)
        assert (np.bincount(kept.tables["test"].z) > 0).all() and len(kept.attribute_names) == 3
    # What is fitted by attribute value says which one it has no rows of.
    assert found["same", "TO"]["status"] == "ok"
    assert "no held-out rows of the attribute value 2" in found["more", "TO"]["error"]
    words = ("--data", "more", "--metrics=group_accuracy/y=1,z=w", "--format=json")
    capsys.readouterr()
    assert main(["report", "out", *words]) == 0
    assert len(json.loads(capsys.readouterr().out)["rows"]) == 6
