"""What weight group DRO gives to real, generated and wrongly labelled generated rows.

Usage: python studies/gan_weights.py results/factorial

The share of the loss that a row gets is (chance to be drawn) x (q of its group) / (share of its
group in a batch); here its mean over the rows of a kind, relative to the mean over all rows, at
the selected checkpoint. A generated row is wrong if a judge outside the loop gives it another
target or attribute than its labels say.
"""

import sys
from pathlib import Path

import numpy as np

from frbench.report.records import Results
from frbench.runs.build import checkpoint_data
from frbench.runs.checkpoint import load, read_checkpoint


def wrong(folder, rows, use):
    """Whether labels of the folder's first rows are not the judges' [N]."""
    with np.load(folder / "pairs.npz") as file:
        y, z, scores = file["y"], file["z"], file["scores"][..., 2:] > 0.5
    count = rows // (2 if use == "pairs" else 1)
    bad = [(scores[:, 0] != np.stack([y, z], 1)).any(1)[:count]]
    if use == "pairs":
        bad.append((scores[:, 1] != np.stack([y, 1 - z], 1)).any(1)[:count])
    return np.concatenate(bad)


def main(folder):
    found = {}
    for key, record in Results(folder / "results.jsonl").latest().items():
        if not record["method"].startswith("DRO") or record["status"] != "ok":
            continue
        path = folder / "runs" / key / "checkpoints" / "best.ckpt"
        data = checkpoint_data(read_checkpoint(path), path, [])
        table, _, weight = data.training
        if not data.augment:
            continue
        q = load(path).log_q.exp().numpy()
        group = table.y * data.num_attributes + table.z
        share = data.sampled_shares.ravel()
        effective = weight * (q / share)[group]
        effective /= effective.mean()
        step = data.augment[0]
        pairs = Path(step.path.replace("{seed}", str(data.seed)))
        bad = np.zeros(len(table), bool)
        bad[table.synthetic] = wrong(pairs, step.rows, step.use)
        kinds = {"real": ~table.synthetic, "generated": table.synthetic & ~bad, "wrong": bad}
        values = [effective[rows].mean() for rows in kinds.values()]
        found.setdefault((record["data"], record["method"]), []).append([*values, bad.sum()])
    for (data, method), values in sorted(found.items()):
        mean, sd = np.mean(values, 0), np.std(values, 0, ddof=min(1, len(values) - 1))
        cells = [f"{m:6.2f} ± {s:.2f}" for m, s in zip(mean[:3], sd[:3], strict=True)]
        print(f"{data:7} {method:24} real, generated, wrong: {'  '.join(cells)}   "
              f"wrong rows {mean[3]:.0f}   n = {len(values)}")  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]))
