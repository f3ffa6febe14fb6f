"""``frbench gan``: train a generator, make complementary pairs, look at them."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from frbench.contracts.errors import UserError
from frbench.support.atomic import check_new, check_writable
from frbench.support.progress import loading
from frbench.support.stops import interruptible

USAGE = """\
usage: frbench gan COMMAND [options]

  train   train a DCGAN on the images of a data set, or continue to:
            frbench gan train --data ColouredMNIST --steps 6000 --out gans/mnist
          further: --model.latent_dim 64 --model.width 32 --model.lr 2e-4 --model.decay .999,
          --seed 0, --grid_every 500 (images in OUT/samples; 0 for none). OUT/last.ckpt holds it.

  pairs   make pairs that share the target and differ in the protected attribute:
            frbench gan pairs --generator Trained --generator.path gans/mnist/last.ckpt \\
              --target digit.ckpt --protected colour.ckpt --out pairs/mnist
          --target and --protected are checkpoints of frbench fit, two classes each.
          --judges A.ckpt B.ckpt  classifiers of target and attribute outside the loop that
                                  measure how often pairs keep the one and flip the other
          --distances true        FID and KID to the target classifier's training images, in
                                  features of the target's judge; needs those images
          --settings.n 10000      pairs;  --settings.fit 10000  latents for the hyperplanes
          --settings.flip 1       .5 puts the partner on the hyperplane
          --settings.domain_dependent true   a target hyperplane for each attribute value
          --settings.thresholds [.5, .5]     scores above which the classifiers say 1
          --settings.c 1, --settings.seed 0
          generators: Trained (a checkpoint of gan train), AnalyticFaces (drawn, for a first
          try), OwnGenerator (--generator.build my_file.build --generator.latent_dim 512
          --generator.image_shape [3, 128, 128] --generator.weights file.pth
          --generator.output_range [-1, 1] --generator.normalizes_latent true), or the import
          path of a class of your own. A stopped command continues; a finished one is not redone.

  metrics  average precision, DEO, bias amplification and KL, threshold from validation:
            frbench gan metrics --ckpt_path runs/.../best.ckpt   prints them with 95 % intervals
            frbench gan metrics --results results/factorial      adds them to a grid's results

  show    write a picture of pairs, images above their partners:
            frbench gan show pairs/mnist --out pairs.png

examples
  frbench gan pairs --generator AnalyticFaces --target smile.ckpt --protected hair.ckpt --out faces
  frbench fit --data ColouredMNIST --data.augment+=GanPairs --data.augment.path pairs/mnist
"""


def main(argv: list[str]) -> int:
    """Run ``frbench gan``.

    Raises:
        UserError: If an option or a file is wrong.
    """
    commands = {"train": _train, "pairs": _pairs, "metrics": _metrics, "show": _show}
    if not argv or {"-h", "--help"} & set(argv):
        print(USAGE, end="")
        return 0
    if argv[0] not in commands:
        raise UserError(f"frbench gan knows {', '.join(commands)}, not {argv[0]!r}.")
    return commands[argv[0]](argv[1:])


def _parse(parser: Any, argv: list[str]) -> tuple[Any, Any]:
    """Parse and instantiate; errors become one line."""
    from pytorch_lightning import seed_everything

    from frbench.runs.causes import one_line

    with one_line():
        config = parser.parse_args(argv)
        seed_everything(config.get("seed", 0), verbose=False)
        return config, parser.instantiate(config)


def _parser() -> Any:
    from jsonargparse import ArgumentParser

    from frbench.runs.catalogue import import_all

    import_all()
    return ArgumentParser(prog="frbench gan", exit_on_error=False)


def _train(argv: list[str]) -> int:
    with loading():
        from pytorch_lightning import Trainer
    from jsonargparse.typing import NonNegativeInt

    from frbench.callbacks import CSVLogger, RollingCheckpoint
    from frbench.data.module import GroupDataModule
    from frbench.gan.dcgan import DCGAN
    from frbench.gan.samples import SampleGrid
    from frbench.runs.quiet import quieten

    quieten()
    # The moving average stays in evaluation mode; validation is for classifiers.
    warnings.filterwarnings("ignore", message="You passed in a `val_dataloader`")
    warnings.filterwarnings("ignore", message="Found .* in eval mode")
    parser = _parser()
    parser.add_subclass_arguments(GroupDataModule, "data", required=True)
    parser.add_class_arguments(DCGAN, "model")
    parser.link_arguments("data.input_shape", "model.image_shape", apply_on="instantiate")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--grid_every", type=int, default=500)
    parser.add_argument("--save_every", type=int, default=500)
    parser.add_argument("--seed", type=NonNegativeInt, default=0)
    parser.add_argument("--out", type=Path, required=True)
    config, built = _parse(parser, argv)
    if config.steps < 1:
        raise UserError(f"--steps must be at least 1, got {config.steps}.")
    check_writable(config.out, "--out")
    last = config.out / "last.ckpt"
    trainer = Trainer(
        max_steps=config.steps,
        max_epochs=-1,
        accelerator="auto",
        devices=1,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_model_summary=False,
        log_every_n_steps=50,
        logger=CSVLogger(str(config.out)),
        callbacks=[
            SampleGrid(str(config.out / "samples"), config.grid_every),
            RollingCheckpoint(config.save_every, str(config.out)),
        ],
    )
    with interruptible(
        lambda: (
            "the same command continues"
            if last.exists()
            else "no checkpoint was due yet; "
            f"the same command starts anew (lower --save_every, now {config.save_every})"
        )
    ):
        trainer.fit(
            built.model, built.data, ckpt_path=last if last.exists() else None, weights_only=True
        )
    print(f"{trainer.global_step} steps; the generator is in {last}")
    return 0


def _pairs(argv: list[str]) -> int:
    with loading():
        import torch

    from frbench.contracts.spec import to_spec
    from frbench.gan import generator as generators
    from frbench.gan.pairs import PairSettings, build_pairs
    from frbench.runs.build import checkpoint_data
    from frbench.runs.checkpoint import load, read_checkpoint
    from frbench.runs.quiet import quieten

    quieten()
    parser = _parser()
    parser.add_subclass_arguments(generators.Generator, "generator", required=True)
    parser.add_class_arguments(PairSettings, "settings")
    for name in ("target", "protected"):
        parser.add_argument(f"--{name}", type=str, required=True)
    parser.add_argument("--judges", nargs=2, type=str, default=None)
    parser.add_argument("--distances", type=bool, default=True)
    parser.add_argument("--out", type=Path, required=True)
    config, built = _parse(parser, argv)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    target = read_checkpoint(config.target)
    real = checkpoint_data(target, Path(config.target), []) if config.distances else None
    judges = config.judges and tuple(load(path).to(device) for path in config.judges)
    with interruptible(lambda: "the same command continues"):
        record = build_pairs(
            config.out,
            built.generator.to(device),
            load(config.target).to(device),
            load(config.protected).to(device),
            built.settings,
            judges,
            {"generator": to_spec(built.generator)},
            real,
        )
    measured = record["quality"]
    correlation = measured["correlation"]
    print(
        f"{record['done']} pairs in {config.out}\n"
        f"target kept {measured['keep_rate']:.4f}, attribute flipped {measured['flip_rate']:.4f} "
        f"(judged by {record['judge']})\n"
        f"correlation of target and attribute {correlation['images']:.3f} in images alone, "
        f"{correlation['pairs']:.3f} in pairs\n"
        f"{_told(measured)}"
        f"next: frbench fit ... --data.augment+=GanPairs --data.augment.path {config.out}"
    )
    return 0


def _told(quality: dict[str, Any]) -> str:
    """Line of FID and KID, if they were measured."""
    if "distance" not in quality:
        return ""
    names = ("images", "partners", "held_out")
    values = {name: quality["distance"][name] for name in names}
    parts = [f"{k} {v['fid']:.3g} / {v['kid']:.3g} ± {v['kid_sd']:.2g}" for k, v in values.items()]
    return f"FID / KID to real training rows: {', '.join(parts)}\n"


def _metrics(argv: list[str]) -> int:
    from frbench.commands.gan_metrics import main as metrics

    return metrics(argv)


def _show(argv: list[str]) -> int:
    from frbench.gan.pictures import save_grid
    from frbench.support.parser import Parser

    parser = Parser("frbench gan")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--force", action="store_true")
    args = parser.parse_args(argv)
    if args.count < 1 or args.out.suffix != ".png":
        raise UserError("frbench gan show needs a --count of 1 or more and an --out FILE.png.")
    check_new(args.out, force=args.force)
    try:
        parts = [np.load(args.folder / f"{n}.npy", mmap_mode="r")[: args.count]
                 for n in ("images", "partners")]  # fmt: skip
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{args.folder} holds no pairs ({error}).") from error
    columns = 12
    rows = [part[i : i + columns] for i in range(0, len(parts[0]), columns) for part in parts]
    blank = np.full_like(rows[0][:1], 255)
    full = [np.concatenate([row, *[blank] * (columns - len(row))]) for row in rows]
    save_grid(args.out, np.concatenate(full), columns)
    print(f"written to {args.out}", file=sys.stdout)
    return 0
