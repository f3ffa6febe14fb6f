"""``frbench features``: the features of a fixed network for a data set, computed once."""

from __future__ import annotations

from pathlib import Path

from frbench.contracts.errors import UserError
from frbench.runs.quiet import quieten
from frbench.support.atomic import check_new
from frbench.support.parser import Parser, divided, seed
from frbench.support.progress import loading
from frbench.support.stops import interruptible

EXAMPLES = """\
examples:
  frbench features --network Timm --network.name resnet18 --network.checkpoint resnet18.pth \\
    --data CIFAR10S --out cifar10s.npz
  frbench features --ckpt_path best.ckpt --out feats.npz
  frbench features --ckpt_path best.ckpt --data ImageTable --data.root photos --out photos.npz

--network.OPTION VALUE and --data.OPTION VALUE set options. The file has the features x of every
row of every split, with y, z, split, id and names; train on it by
frbench fit --data ArrayData --data.path feats.npz --model.network.hidden '[]'
"""


def main(argv: list[str]) -> int:
    """Run ``frbench features``.

    Raises:
        UserError: If an option, the network, the checkpoint or the data cannot be used.
    """
    parser = Parser(
        "frbench features",
        description="Run a network once over all splits of a data set, without random transforms\n"
        "and in evaluation mode, and write its features.",
        epilog=EXAMPLES,
    )
    parser.add_argument("--ckpt_path", type=Path, help="checkpoint whose network is taken")
    parser.add_argument("--out", type=Path, required=True, help=".npz file to write")
    parser.add_argument("--seed", type=seed, default=0, help="seed of weights that no file gives")
    parser.add_argument("--network", help="class of the network, without --ckpt_path")
    parser.add_argument("--data", help="data set; by default the checkpoint's")
    args, extra = parser.parse_known_args(argv)
    words = divided(extra, ("--network.", "--data."), "features")
    for role in ("network", "data"):
        if (name := getattr(args, role)) is not None:
            words[f"--{role}."].insert(0, f"--{role}={name}")
    if bool(words["--network."]) == (args.ckpt_path is not None):
        raise UserError("Give the network, --network NAME, or a checkpoint, --ckpt_path: one.")
    if args.ckpt_path is None and args.data is None:
        raise UserError("--network needs --data NAME, the data set; frbench data lists files.")
    if args.out.suffix != ".npz":
        raise UserError(f"--out must end in .npz, got {args.out}.")
    check_new(args.out, args.out.with_suffix(".json"))
    with loading():
        from frbench.runs.features import of_checkpoint, of_network, write_features
    quieten()
    with interruptible(lambda: "nothing was written; the same command begins anew"):
        if args.ckpt_path is not None:
            source = of_checkpoint(args.ckpt_path, words["--data."])
        else:
            source = of_network(words["--network."], words["--data."], args.seed)
        print(source.about)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        rows = write_features(source, args.out)
    counts = ", ".join(f"{name} {count}" for name, count in rows.items())
    print(f"written to {args.out}: {counts} rows; next: frbench fit --data ArrayData "
          f"--data.path {args.out}")  # fmt: skip
    return 0
